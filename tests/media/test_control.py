from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.media.control import Control
from gateway.media.rtcp import Block, Report, Sent, read, write
from gateway.media.rtp import Outgoing

WALL = 1_700_000_000.0


@pytest.fixture
def out() -> Outgoing:
    out = Outgoing(7, 100, 5_000)
    out.used(101, 5_160, 10.0)
    return out


@pytest.fixture
def control(out: Outgoing) -> Control:
    return Control(out, "nobody")


@pytest.fixture
def heard(control: Control) -> Callable[..., bool]:
    def hear(report: Report, now: float) -> bool:
        return control.heard(write(report, "other"), now)

    return hear


def composed(control: Control, now: float, packets: int = 0, beyond: float = 0.0) -> Report:
    reports = read(control.compose(now, WALL + now, packets, packets * 160, beyond))
    assert reports is not None
    (report,) = reports
    return report


def test_who_sends_reports_what_he_sent_and_who_does_not_only_what_he_got(control: Control) -> None:
    first = composed(control, 12.0, packets=50)
    assert first.ssrc == 7
    assert first.sent is not None
    assert (first.sent.packets, first.sent.octets) == (50, 8_000)
    assert first.sent.timestamp == 5_160 + 2 * 8_000  # the timestamp that belongs to now
    assert first.sent.ntp >> 32 == int(WALL + 12 + 2_208_988_800)
    assert first.blocks == ()
    control.reception.arrived(5, 160, 9, 12.5)
    second = composed(control, 17.0, packets=50)
    assert second.sent is None
    assert [block.ssrc for block in second.blocks] == [9]


def test_what_came_from_the_far_end_is_in_our_report(control: Control, heard: Callable[..., bool]) -> None:
    for number in range(10):
        if number != 4:
            control.reception.arrived(number, number * 160, 9, number * 0.02)
    assert heard(Report(9, Sent(0x1111_2222_3333_4444, 0, 9, 9), ()), 1.0)
    (block,) = composed(control, 3.5).blocks
    assert (block.lost, block.highest, block.last_sr, block.delay) == (1, 9, 0x2222_3333, 2.5)
    assert block.fraction == pytest.approx(0.1, abs=0.01)


def test_a_loss_behind_us_is_part_of_the_way(control: Control) -> None:
    for number in range(10):
        control.reception.arrived(number, number * 160, 9, number * 0.02)
    (block,) = composed(control, 1.0, beyond=0.5).blocks
    assert (block.fraction, block.lost) == (0.5, 0)


def test_the_round_trip_is_told_by_an_answer_to_our_report(control: Control, heard: Callable[..., bool]) -> None:
    sent = composed(control, 12.0, packets=50).sent
    assert sent is not None
    last = sent.ntp >> 16 & 0xFFFFFFFF
    assert heard(Report(9, None, (Block(7, 0.125, 6, 150, 80, last, 2.0),)), 14.08)
    assert control.round_trip == pytest.approx(80, abs=0.1)
    assert control.reported is not None
    assert (control.lost_there, control.reported.lost, control.reported.jitter) == (0.125, 6, 80)
    assert control.mos_there("PCMA", 50) == pytest.approx(2.7, abs=1.0)


@pytest.mark.parametrize(
    ("last", "delay"), [(0, 0.0), (12_345, 0.0), (None, 60.0)], ids=["none", "made up", "too long"]
)
def test_a_round_trip_that_cannot_be_is_none(
    control: Control, heard: Callable[..., bool], last: int | None, delay: float
) -> None:
    sent = composed(control, 12.0, packets=50).sent
    assert sent is not None
    answered = sent.ntp >> 16 & 0xFFFFFFFF if last is None else last
    heard(Report(9, None, (Block(7, 0.0, 0, 1, 1, answered, delay),)), 13.0)
    assert control.round_trip is None


def test_reports_about_others_are_nothing_to_us(control: Control, heard: Callable[..., bool]) -> None:
    heard(Report(9, Sent(1 << 40, 0, 1, 1), (Block(8, 0.5, 5, 1, 1, 0, 0.0),)), 1.0)
    assert control.reported is None
    assert control.lost_there == 0.0
    control.reception.arrived(1, 1, 10, 1.0)
    assert composed(control, 2.0).blocks[0].last_sr == 0
    assert not control.heard(b"\x80", 1.0)


def test_only_so_many_reports_are_remembered(control: Control) -> None:
    for number in range(100):
        composed(control, 10.0 + number, packets=number + 1)
    assert len(control._said) == 8


def test_who_heard_nothing_has_no_opinion(control: Control) -> None:
    assert control.mos_here("PCMA") is None
    assert control.mos_there("PCMA", 5) is None
    control.reception.arrived(1, 1, 10, 1.0)
    assert control.mos_here("PCMA") == pytest.approx(4.38, abs=0.05)


def test_who_never_sent_reports_nothing_sent() -> None:
    assert composed(Control(Outgoing(7, 0, 0), "x"), 1.0, packets=0).sent is None
