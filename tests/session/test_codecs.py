from __future__ import annotations

import pytest

from gateway.session import codecs
from gateway.session.model import Codec

PCMA = Codec(8, "PCMA", 8000)
OPUS = Codec(96, "opus", 48_000, 2)


def test_the_static_table_is_that_of_rfc_3551() -> None:
    assert codecs.STATIC[0] == Codec(0, "PCMU", 8000)
    assert codecs.STATIC[8] == PCMA
    assert codecs.STATIC[9] == Codec(9, "G722", 8000)
    assert codecs.STATIC[3].name == "GSM"
    assert codecs.STATIC[18].name == "G729"
    assert codecs.STATIC[10].channels == 2
    assert 96 not in codecs.STATIC


@pytest.mark.parametrize(
    ("name", "pt"), [("pcma", 8), ("PCMU", 0), ("g722", 9), ("Opus", 111), ("L16", 10), ("DVI4", 5), ("speex", 96)]
)
def test_an_operator_names_codecs_in_any_case(name: str, pt: int) -> None:
    codec = codecs.named(name)
    assert codec is not None
    assert codec.pt == pt
    assert codec.name.lower() == name.lower()


def test_an_unknown_name_is_none() -> None:
    assert codecs.named("EVS") is None


def test_opus_is_its_own_twin_whatever_channels_somebody_wrote() -> None:
    mono = Codec(100, "OPUS", 48_000)
    assert codecs.twin(OPUS, (PCMA, mono)) == mono
    assert codecs.twin(PCMA, (OPUS, Codec(97, "pcma", 8000))) == Codec(97, "pcma", 8000)
    assert codecs.twin(PCMA, (Codec(97, "PCMA", 16_000),)) is None


@pytest.mark.parametrize(
    ("codec", "can"),
    [
        (PCMA, True),
        (OPUS, True),
        (Codec(0, "pcmu", 8000), True),
        (Codec(9, "G722", 8000), True),
        (Codec(97, "PCMA", 16_000), False),
        (Codec(97, "opus", 8000), False),
        (Codec(97, "PCMA", 8000, 2), False),
    ],
)
def test_four_codecs_can_be_turned_into_each_other(codec: Codec, can: bool) -> None:
    assert codecs.is_transcodable(codec) is can


def test_dynamic_numbers_go_up_from_96() -> None:
    found = codecs.numbered((PCMA, codecs.OPUS, Codec(96, "iLBC", 8000)))
    assert [codec.pt for codec in found] == [8, 96, 97]


def test_the_rank_of_a_codec_that_is_not_listed_is_behind_all() -> None:
    assert codecs.rank(PCMA, ("PCMU", "pcma")) == 1
    assert codecs.rank(OPUS, ("PCMU", "pcma")) == 2


def test_monals_truth_values_are_spelt_as_rfc_7587_does() -> None:
    monal = Codec(111, "opus", 48_000, 2, (("useinbandfec", "true"), ("stereo", "no"), ("minptime", "10")), ("nack",))
    told = codecs.passed_on(OPUS, monal)
    assert told == Codec(96, "opus", 48_000, 2, (("useinbandfec", "1"), ("minptime", "10")))


def test_other_codecs_parameters_are_passed_on_as_they_are() -> None:
    g729 = Codec(18, "G729", 8000, 1, (("annexb", "no"),))
    assert codecs.passed_on(Codec(18, "G729", 8000), g729).parameters == (("annexb", "no"),)


def test_what_ends_here_has_our_own_parameters() -> None:
    assert codecs.ours(Codec(96, "opus", 48_000, 2, (("stereo", "1"),))).parameters == codecs.OPUS.parameters
    assert codecs.ours(Codec(8, "PCMA", 8000, 1, (("x", "y"),), ("nack",))) == PCMA
