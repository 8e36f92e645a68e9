"""gateway.sip.accepted: a 200 until its ACK, on a clock set by hand."""

from __future__ import annotations

from gateway.sip.accepted import Accepted
from gateway.sip.message import Response
from gateway.sip.transaction import Timers
from tests.sip.bench import UDP

OK = Response(200)


def accepted() -> Accepted:
    made = Accepted(Timers())
    made.add(1, OK, UDP, 0.0, initial=True, offering=False)
    return made


def test_it_is_repeated_with_growing_pauses_of_four_seconds_at_most() -> None:
    waiting, times = accepted(), []
    while not waiting.lost(now := waiting.deadline or 0.0):
        assert waiting.again(now) == [(UDP, OK)]
        times.append(now)
    assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert now == 32.0
    assert not waiting
    assert waiting.deadline is None


def test_its_ack_ends_it_once() -> None:
    waiting = accepted()
    assert waiting.initial
    assert not waiting.acknowledged(2)
    assert waiting.acknowledged(1)
    assert not waiting.acknowledged(1)
    assert not waiting.initial
    assert waiting.again(100.0) == []


def test_an_offer_in_it_is_open_until_its_ack() -> None:
    waiting = accepted()
    assert not waiting.offering
    waiting.add(2, OK, UDP, 0.0, initial=False, offering=True)
    assert waiting.offering
    assert len(waiting) == 2
    waiting.clear()
    assert not waiting.offering
