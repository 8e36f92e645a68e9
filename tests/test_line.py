"""One line of the switchboard."""

from __future__ import annotations

import asyncio

import pytest

from gateway.bridge import Bridge
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.machine import Call
from gateway.line import EchoLine, Facts, Line, audible
from gateway.session.model import Session
from gateway.session.negotiate import Policy, Towards
from tests.support import FakeEngine, FakeLeg

UNKNOWN = ev.HungUp(Leg.CALLEE, Cause.UNAVAILABLE, 1, "no such user")


def line(*, quiet: bool) -> Line:
    """A call that is being asked for."""
    made = Line(
        id="c1",
        machine=Call(),
        caller=FakeLeg(),
        bridge=Bridge(FakeEngine(), "c1", Towards.SIP),
        facts=Facts("inbound", "sip:x@evil.example", "sip:juliet@sip.example.com"),
        make_callee=lambda attempt, to, sink: FakeLeg(),
        policy_of=lambda destination: Policy(),
        towards_callee=Towards.XMPP,
        quiet=quiet,
    )
    made.machine.handle(ev.Offered(((Destination("xmpp", "juliet@shakespeare.lit"),),), Session(())), 0.0)
    return made


def test_a_stranger_does_not_hear_that_nobody_is_there() -> None:
    assert audible(line(quiet=True), UNKNOWN) == ()
    assert audible(line(quiet=False), UNKNOWN) == (UNKNOWN,)


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
