from __future__ import annotations

import dataclasses

import pytest

from gateway.call.causes import Cause
from gateway.media.engine import Connected, Digit, LegKind, LegStatistics, Lost


@pytest.mark.parametrize(
    "event", [Connected("c", "l"), Lost("c", "l", Cause.MEDIA_LOST, "why"), Digit("c", "l", "1", 100)]
)
def test_an_event_names_its_call_and_leg_and_does_not_change(event: Connected | Lost | Digit) -> None:
    assert (event.call, event.leg) == ("c", "l")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.leg = "other"  # type: ignore[misc]


def test_a_leg_that_nobody_spoke_to_has_counted_nothing() -> None:
    assert LegStatistics() == LegStatistics(0, 0, 0, 0, (), "", False)


def test_kinds_are_written_as_configuration_and_wire_write_them() -> None:
    assert [str(kind) for kind in LegKind] == ["webrtc", "rtp"]
