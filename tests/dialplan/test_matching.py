"""Which condition keeps a rule from a call, and what people are told of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.dialplan.hours import Hours
from gateway.dialplan.index import Facts
from gateway.dialplan.matching import differing, why_not
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import Match, Rule
from gateway.dialplan.regex import Regex
from tests.dialplan.made import LONDON
from tests.dialplan.verona import JULIET, PLAN

CALL = Facts(
    Kind.NUMBER, "+12025550123", "+12025550123", "romeo", "montague.example", None, JULIET, ("mobile",), ("+1", "US")
)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("match", "differs", "words"),
    [
        (Match(kind=(Kind.URI, Kind.NAME)), "kind", "it is for kind uri or name"),
        (Match(name=("echo",)), "name", "the name differs"),
        (Match(host=("*.lit",)), "host", "the host differs"),
        (Match(user=("nurse",)), "user", "the user part differs"),
        (Match(number=("+44*",)), "number", "the number differs"),
        (Match(regex=(Regex(r"\+44.*"),)), "regex", "the regular expression does not match"),
        (Match(country=("GB", "+44")), "country", "the country is not GB or +44"),
        (Match(type=("fixed_line",)), "type", "the type is not fixed_line"),
        (Match(hours=Hours.parse(["Sun"], LONDON)), "hours", "it is for Sun"),
        (Match(from_=("nurse@shakespeare.lit",)), "from", f"{JULIET} is not among its callers"),
    ],
)
def test_the_condition_that_differs_is_told(match: Match, differs: str, words: str) -> None:
    assert differing(PLAN, Rule("it", match, ("echo",)), CALL, NOON) == differs
    assert why_not(differs, match, JULIET) == words


def test_all_conditions_that_are_met_are_a_match() -> None:
    match = Match(
        (Kind.NUMBER,), ("US",), ("mobile",), ("+1202*",), ("montague.example",), ("r*",), (), ("*@shakespeare.lit",),
        (Regex(r"\+1.*"),), Hours.parse(["Mon"], LONDON),
    )  # fmt: skip
    assert differing(PLAN, Rule("it", match, ("echo",)), CALL, NOON) is None
