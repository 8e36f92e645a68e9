"""A line of a ladder."""

from __future__ import annotations

from gateway.call.trace import Traced


def test_a_line_has_no_text_unless_there_is_something_to_say() -> None:
    assert Traced("c1", "sip", True, "INVITE", "x@y").text == ""
