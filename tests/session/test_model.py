from __future__ import annotations

import pytest

from gateway.session.model import Codec, Crypto, Direction, Media, Profile, Session, Transport

PCMU = Codec(0, "PCMU", 8000)
DTMF = Codec(101, "telephone-event", 8000)
CN = Codec(13, "CN", 8000)


def media(name: str = "audio", kind: str = "audio", rejected: bool = False) -> Media:
    return Media(name, kind, (PCMU, CN, DTMF), Transport(), rejected=rejected)


@pytest.mark.parametrize(
    ("said", "seen"),
    [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")],
)
def test_the_other_end_sees_a_direction_reversed(said: str, seen: str) -> None:
    assert Direction(said).reversed is Direction(seen)


def test_codecs_are_the_same_by_name_clock_and_channels() -> None:
    assert PCMU.same_as(Codec(97, "pcmu", 8000, 1, (("a", "b"),)))
    assert not PCMU.same_as(Codec(0, "PCMU", 16_000))
    assert not PCMU.same_as(Codec(0, "PCMU", 8000, 2))


def test_voices_are_neither_digits_nor_comfort_noise() -> None:
    assert media().voices == (PCMU,)
    assert media().dtmf == (DTMF,)
    assert DTMF.is_dtmf
    assert not PCMU.is_dtmf


def test_a_payload_type_is_found_by_its_number() -> None:
    assert media().codec(13) == CN
    assert media().codec(99) is None


def test_the_audio_of_a_session_is_the_first_that_was_not_rejected() -> None:
    first, second = media("1", rejected=True), media("2")
    assert Session((media("0", "video"), first, second)).audio == second
    assert Session((media("0", "video"),)).audio is None


def test_a_section_is_replaced_by_name() -> None:
    session = Session((media("1"), media("2")))
    changed = media("2", rejected=True)
    assert session.with_media(changed).media == (session.media[0], changed)


def test_dtls_is_a_matter_of_the_profile() -> None:
    assert Profile("UDP/TLS/RTP/SAVPF").dtls
    assert Profile("UDP/TLS/RTP/SAVP").dtls
    assert not Profile("RTP/SAVPF").dtls


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(Crypto(1, "AES_CM_128_HMAC_SHA1_80", "inline:secret"))
