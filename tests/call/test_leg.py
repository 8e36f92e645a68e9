"""The interface that both rooms implement."""

from __future__ import annotations

from gateway.call.events import Report, Ringing
from gateway.call.leg import Admitted


def test_an_admitted_call_can_be_told_what_happens() -> None:
    heard: list[Report] = []
    admitted = Admitted("c1", heard.append)
    admitted.sink(Ringing(1))
    assert (admitted.call, heard) == ("c1", [Ringing(1)])
