"""What can happen to a call."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Leg


def test_each_leg_has_the_other() -> None:
    assert Leg.CALLER.other is Leg.CALLEE
    assert Leg.CALLEE.other is Leg.CALLER


def test_events_and_notices_are_frozen_and_told_apart_from_each_other() -> None:
    ended = ev.HungUp(Leg.CALLER, Cause.BUSY)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ended.cause = Cause.NORMAL  # type: ignore[misc]
    assert isinstance(ended, ev.Event)
    assert isinstance(ev.Dialled(Leg.CALLER, 0, "5"), ev.Notice)
    assert not isinstance(ev.Dialled(Leg.CALLER, 0, "5"), ev.Event)
