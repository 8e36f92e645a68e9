from __future__ import annotations

import pytest

from gateway.media import feedback
from gateway.media.feedback import MOST_LOST, Feedback
from gateway.media.rtcp import Report, write

OURS, THEIRS, ANOTHER = 0x11111111, 0x22222222, 0x33333333
REPORT = write(Report(THEIRS, None, ()), "cname")


@pytest.mark.parametrize("before", [b"", REPORT], ids=["alone", "behind a report"])
def test_a_picture_is_wanted_by_either_word(before: bytes) -> None:
    assert feedback.read(before + feedback.pli(THEIRS, OURS), OURS) == Feedback(picture=True)
    assert feedback.read(before + feedback.fir(THEIRS, OURS, 7), OURS) == Feedback(picture=True)


def test_a_picture_of_another_stream_is_not_ours() -> None:
    assert feedback.read(feedback.pli(THEIRS, ANOTHER), OURS) == Feedback(other=1)
    assert not feedback.read(feedback.fir(THEIRS, ANOTHER, 7), OURS).picture


def test_who_names_no_stream_means_the_one_that_there_is() -> None:
    assert feedback.read(feedback.pli(THEIRS, 0), OURS).picture


@pytest.mark.parametrize(
    "lost",
    [(5,), (5, 6, 21), (5, 22), (65_535, 0, 3), tuple(range(100, 140)), (3, 40, 41, 90)],
    ids=["one", "sixteen behind", "seventeen behind", "over the turn", "a burst", "scattered"],
)
def test_lost_packets_are_named_in_words_of_seventeen(lost: tuple[int, ...]) -> None:
    said = feedback.nack(THEIRS, OURS, lost)
    assert len(said) % 4 == 0
    assert feedback.read(REPORT + said, OURS) == Feedback(lost=lost)


def test_the_bytes_are_those_of_the_standards() -> None:
    assert feedback.pli(THEIRS, OURS).hex() == "81ce00022222222211111111"  # RFC 4585 §6.3.1
    assert feedback.fir(THEIRS, OURS, 7).hex() == "84ce000422222222000000001111111107000000"  # RFC 5104 §4.3.1.1
    assert feedback.nack(THEIRS, OURS, (5, 6, 21)).hex() == "81cd0003222222221111111100058001"  # RFC 4585 §6.2.1


def test_what_is_no_feedback_of_ours_to_pass_on_is_counted() -> None:
    remb = feedback.pli(THEIRS, OURS).replace(b"\x81", b"\x8f", 1)
    assert feedback.read(REPORT + remb + remb, OURS) == Feedback(other=2)
    assert feedback.read(REPORT, OURS) == feedback.NONE


@pytest.mark.parametrize(
    "data",
    [b"", b"\x81", b"\x81\xce\x00\x02", b"\x81\xce\xff\xff" + bytes(8), b"\x01\xce\x00\x02" + bytes(8), bytes(64)],
    ids=["nothing", "a byte", "a head", "too long", "another version", "zeros"],
)
def test_what_cannot_be_read_asks_for_nothing(data: bytes) -> None:
    assert feedback.read(data, OURS) == feedback.NONE


def test_a_flood_of_numbers_is_cut_off() -> None:
    said = feedback.read(feedback.nack(THEIRS, OURS, range(0, 60_000, 17)), OURS)
    assert len(said.lost) == MOST_LOST


def test_entries_that_are_cut_off_are_passed_over() -> None:
    whole = feedback.fir(THEIRS, OURS, 1)
    cut = bytes([0x84, 0xCE, 0, 3]) + whole[4:16]
    assert feedback.read(cut, OURS) == feedback.NONE
