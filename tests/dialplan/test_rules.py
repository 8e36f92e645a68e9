"""The values that a dialplan says."""

from __future__ import annotations

from dataclasses import replace

from gateway.addresses import SipUri
from gateway.dialplan.rules import Match, Trunk


def test_a_match_knows_its_patterns_however_it_was_made() -> None:
    match = Match(number=("+1202*",), host=("a.example",), user=("r*",), name=("echo",), from_=("@office", "j@x"))
    assert match.numbers.match("+12025550123")
    assert (match.hosts.match("a.example"), match.users.match("romeo"), match.names.match("echo")) == (True,) * 3
    assert (match.callers.match("j@x"), match.callers.match("@office")) == (True, False)
    assert replace(match, number=("+44*",)).numbers.match("+442079460018")
    assert Match() == Match()
    assert Match(number=("1",)) != Match()


def test_a_password_is_in_no_repr() -> None:
    assert "s3cret" not in repr(Trunk("a", SipUri.parse("sip:a.example"), "me", "s3cret"))
