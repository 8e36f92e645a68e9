"""What is decided says no more than was asked for."""

from __future__ import annotations

from gateway.dialplan.numbers import Kind
from gateway.dialplan.outcomes import Identity, InboundRoute, Limit, Route


def test_nothing_is_said_of_a_caller_and_nothing_is_limited_unless_a_plan_does() -> None:
    assert Identity() == Identity(None, "", None, False)
    assert Limit("user juliet@shakespeare.lit") == Limit("user juliet@shakespeare.lit", None, None, None)
    found = Route(Kind.NAME, None, None, ("echo",), (None,), "test line", ())
    assert (found.limits, found.emergency, found.geolocation, found.callback) == ((), False, None, None)
    assert InboundRoute((), "parallel", "", ()).limits == ()
