"""One line of the switchboard."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gateway.bridge import Bridge
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.machine import Call
from gateway.dialplan.plan import Plan
from gateway.line import EchoLine, Facts, Line, as_attempt, audible
from gateway.session.model import Session
from gateway.session.policy import Towards
from tests.support import FakeEngine, FakeLeg

UNKNOWN = ev.HungUp(Leg.CALLEE, Cause.UNAVAILABLE, 1, "no such user")


def line(*, quiet: bool) -> Line:
    """A call that is being asked for."""
    made = Line(
        id="c1",
        machine=Call(),
        caller=FakeLeg(),
        bridge=Bridge(cast(Any, FakeEngine()), "c1", Towards.SIP),
        facts=Facts("inbound", "sip:x@evil.example", "sip:juliet@sip.example.com"),
        plan=Plan(),
        quiet=quiet,
    )
    made.machine.handle(ev.Offered(((Destination("xmpp", "juliet@shakespeare.lit"),),), Session(())), 0.0)
    return made


def test_a_stranger_does_not_hear_that_nobody_is_there() -> None:
    assert audible(line(quiet=True), UNKNOWN) == ()
    assert audible(line(quiet=False), UNKNOWN) == (UNKNOWN,)


def test_a_stranger_does_not_hear_that_somebody_is_being_woken() -> None:
    assert audible(line(quiet=True), ev.Waking(1)) == ()
    assert audible(line(quiet=False), ev.Waking(1)) == (ev.Waking(1),)


def test_what_was_kept_from_him_counts_again_once_somebody_rings() -> None:
    made = line(quiet=True)
    audible(made, UNKNOWN)
    rings = ev.Ringing(2)
    assert audible(made, rings) == (rings, UNKNOWN)
    assert audible(made, rings) == (rings,)


@pytest.mark.parametrize("cause", [Cause.BUSY, Cause.DECLINED])
def test_a_persons_own_word_is_heard(cause: Cause) -> None:
    said = ev.HungUp(Leg.CALLEE, cause, 1)
    assert audible(line(quiet=True), said) == (said,)


async def test_the_test_line_answers_at_once_but_not_from_within_the_question() -> None:
    heard: list[ev.Report] = []
    testing = EchoLine(3, heard.append)
    testing.dial(Session(()))
    assert heard == []
    await asyncio.sleep(0)
    assert heard == [ev.Answered(3, Session(()))]
    testing.hang_up(Cause.NORMAL)
    assert len(heard) == 1


def test_each_end_has_a_leg_and_a_way_that_it_came_by() -> None:
    made = line(quiet=False)
    made.callees[1], made.destinations[1] = FakeLeg(), Destination("carrier", "sip:+12025550123@a")
    assert made.control(0) is made.caller
    assert (made.control(1), made.control(2)) == (made.callees[1], None)
    assert [made.via(number) for number in (0, 1, 2)] == ["direct", "carrier", ""]
    made.trunk = "carrier"
    assert made.via(0) == "carrier"
    made.facts.direction = "outbound"
    assert made.via(0) == "xmpp"


def test_whoever_called_in_anothers_place_is_heard_as_that_attempt() -> None:
    assert as_attempt(ev.HungUp(Leg.CALLER, Cause.NORMAL), 3) == ev.HungUp(Leg.CALLEE, Cause.NORMAL, 3)
    assert as_attempt(ev.Held(Leg.CALLER, 0, True), 3) == ev.Held(Leg.CALLEE, 3, True)
    assert as_attempt(ev.Ringing(1), 3) == ev.Ringing(1)
