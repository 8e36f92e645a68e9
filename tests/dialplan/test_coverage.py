"""Rules that are never reached: certain cases, and only those."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given

from gateway.dialplan.coverage import unreached, unreached_inbound
from gateway.dialplan.hours import Hours, zone_of
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import InboundMatch, InboundRule, Match, Plan, Request, Route, Rule, route
from gateway.dialplan.regex import Regex
from tests.dialplan.made import CALLS, PLANS

LONDON = zone_of("Europe/London")
DAY, NOON = Hours.parse(["Mon-Fri 08:00-18:00"], LONDON), Hours.parse(["Tue 12:00-13:00"], LONDON)


def plan_of(*matches: Match) -> Plan:
    rules = tuple(Rule(f"rule {number}", match, ("echo",)) for number, match in enumerate(matches))
    return Plan(("shakespeare.lit",), groups={"office": ("juliet@shakespeare.lit",)}, routes=rules)


@pytest.mark.parametrize(
    ("first", "second", "covered"),
    [
        (Match(), Match(), True),
        (Match(kind=(Kind.NUMBER, Kind.SHORT)), Match(kind=(Kind.NUMBER,)), True),
        (Match(kind=(Kind.NUMBER,)), Match(), False),
        (Match(kind=(Kind.NUMBER,)), Match(kind=(Kind.NUMBER, Kind.SHORT)), False),
        (Match(number=("+1*",)), Match(number=("+1202*", "+13")), True),
        (Match(number=("+1202*",)), Match(number=("+1*",)), False),
        (Match(number=("+1*", "+4*")), Match(number=("+44*", "+1*")), True),
        (Match(country=("US",)), Match(country=("US",), type=("mobile",)), True),
        (Match(country=("US",), type=("mobile",)), Match(country=("US",)), False),
        (Match(host=("*.example",)), Match(host=("a.example",), user=("x",)), True),
        (Match(regex=(Regex("a+"),)), Match(regex=(Regex("a+"),)), True),
        (Match(regex=(Regex("a+"),)), Match(regex=(Regex("aa"),)), False),
        (Match(regex=(Regex(".*a"),)), Match(regex=(Regex(".*a"),), user=("b",)), True),
        (Match(regex=(Regex(".*a"), Regex("b+"))), Match(regex=(Regex("b+"),)), True),
        (Match(hours=DAY), Match(hours=NOON), True),
        (Match(hours=NOON), Match(hours=DAY), False),
        (Match(hours=DAY), Match(), False),
        (Match(from_=("*@shakespeare.lit",)), Match(), True),
        (Match(), Match(from_=("@office",)), True),
        (Match(), Match(from_=("*",)), False),
        (Match(from_=("@office",)), Match(from_=("juliet@shakespeare.lit",)), True),
        (Match(from_=("@office",)), Match(), False),
        (Match(from_=("*",)), Match(from_=("@office",)), True),
        (Match(name=("*",)), Match(name=("echo",)), True),
    ],
)
def test_a_rule_is_never_reached_when_one_before_it_matches_all_that_it_does(
    first: Match, second: Match, covered: bool
) -> None:
    pairs = unreached(plan_of(first, Match(user=("x",), name=("x",)), second))
    assert [pair for pair in pairs if pair[0] == 2] == ([(2, 0)] if covered else [])


@pytest.mark.slow
@given(PLANS, CALLS)
def test_no_call_comes_to_a_rule_that_is_never_reached(plan: Plan, call: Request) -> None:
    outcome = route(plan, replace(call, at=call.at or datetime(2026, 11, 24, 12, 30, tzinfo=UTC)))
    dead = {plan.routes[later].name for later, _ in unreached(plan)}
    assert outcome.rule not in dead
    assert isinstance(outcome, Route) or outcome.reason


@pytest.mark.parametrize(
    ("first", "second", "covered"),
    [
        (InboundMatch(number=("+1202*",)), InboundMatch(number=("+12025550100",)), True),
        (InboundMatch(trunk=("a",), number=("+1*",)), InboundMatch(number=("+1202*",)), False),
        (InboundMatch(trunk=("a", "b")), InboundMatch(trunk=("b",), user=("x",)), True),
        (InboundMatch(), InboundMatch(any_source=True), False),
        (InboundMatch(any_source=True, user=("*%a",)), InboundMatch(trunk=("a",), user=("x%a",)), True),
        (InboundMatch(caller=("+44*",)), InboundMatch(caller=("+4420*",), user=("x",)), True),
        (InboundMatch(caller=("+44*",)), InboundMatch(caller=("+44*@evil.example",)), False),
        (InboundMatch(caller=("+44*",)), InboundMatch(), False),
        (InboundMatch(caller=("*",)), InboundMatch(caller=("anonymous", "*@a.example")), True),
        (InboundMatch(hours=DAY), InboundMatch(hours=NOON), True),
        (InboundMatch(hours=DAY), InboundMatch(), False),
    ],
)
def test_inbound_rules_are_never_reached_likewise(first: InboundMatch, second: InboundMatch, covered: bool) -> None:
    rules = tuple(InboundRule("", match, ("juliet@shakespeare.lit",)) for match in (first, second))
    assert list(unreached_inbound(Plan(inbound=rules))) == ([(1, 0)] if covered else [])
