"""gateway.sip.pulse: how long a silent stream lives."""

from __future__ import annotations

from gateway.sip.pulse import Pace, Pulse, Turn

PACE = Pace(whole=32.0, idle=3600.0, ping=100.0, pong=10.0)


def heard(pulse: Pulse, now: float, *, whole: bool = False, midway: bool = False, pong: bool = False) -> None:
    pulse.heard(now, whole=whole, midway=midway, pong=pong)


def test_whoever_connects_says_something_whole_in_time() -> None:
    pulse = Pulse(0.0, PACE, ours=False)
    assert pulse.deadline == 32.0
    heard(pulse, 20.0, midway=True)  # single octets now and then do not keep it open
    heard(pulse, 31.0, midway=True)
    assert pulse.fire(31.9) is None
    assert pulse.fire(32.0) is Turn.CLOSE


def test_a_message_that_was_begun_is_ended_in_time() -> None:
    pulse = Pulse(0.0, PACE, ours=False)
    heard(pulse, 1.0, whole=True)
    assert pulse.deadline == 3601.0
    heard(pulse, 100.0, midway=True)
    assert pulse.deadline == 132.0
    heard(pulse, 110.0, whole=True, midway=True)
    assert pulse.deadline == 142.0
    heard(pulse, 120.0, whole=True)
    assert pulse.deadline == 3720.0


def test_a_keepalive_alone_does_not_buy_a_stranger_time() -> None:
    pulse = Pulse(0.0, PACE, ours=False)
    heard(pulse, 30.0)
    assert pulse.deadline == 32.0


def test_a_stream_of_ours_is_kept_alive() -> None:
    pulse = Pulse(0.0, PACE, ours=True)
    assert pulse.deadline == 100.0
    assert pulse.fire(100.0) is Turn.PING
    assert pulse.deadline == 200.0
    heard(pulse, 150.0, whole=True)
    assert pulse.deadline == 250.0


def test_who_never_answered_a_ping_may_go_on_doing_so() -> None:
    pulse = Pulse(0.0, PACE, ours=True)
    assert [pulse.fire(now) for now in (100.0, 110.0, 200.0, 300.0)] == [Turn.PING, None, Turn.PING, Turn.PING]
    assert pulse.fire(3600.0) is Turn.CLOSE  # nothing at all for an hour


def test_who_answered_once_and_stops_is_gone() -> None:
    pulse = Pulse(0.0, PACE, ours=True)
    pulse.fire(100.0)
    heard(pulse, 100.1, pong=True)
    assert pulse.fire(200.1) is Turn.PING
    assert pulse.deadline == 210.1
    assert pulse.fire(210.1) is Turn.CLOSE


def test_anything_at_all_is_a_sign_of_life() -> None:
    pulse = Pulse(0.0, PACE, ours=True)
    heard(pulse, 1.0, pong=True)
    assert pulse.fire(101.0) is Turn.PING
    heard(pulse, 102.0, whole=True)
    assert pulse.fire(111.0) is None
