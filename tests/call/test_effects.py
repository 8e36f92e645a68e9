"""What a call asks for."""

from __future__ import annotations

from gateway.call import effects as do
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.session.model import Session


def test_effects_compare_by_what_they_ask_for() -> None:
    assert do.HangUp(Leg.CALLEE, Cause.BUSY, 1) == do.HangUp(Leg.CALLEE, Cause.BUSY, 1)
    assert do.HangUp(Leg.CALLEE, Cause.BUSY, 1) != do.HangUp(Leg.CALLEE, Cause.BUSY, 2)
    assert do.Dial(1, Destination("direct", "sip:a@b"), Session(())) != do.Dial(
        2, Destination("direct", "sip:a@b"), Session(())
    )


def test_a_hang_up_concerns_the_caller_unless_an_attempt_is_named() -> None:
    assert do.HangUp(Leg.CALLER, Cause.BUSY).attempt == 0
