"""Which way is asked at what price, and which is not asked for want of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.dialplan import prices
from gateway.dialplan.booking import Period, Tariff, Unit
from gateway.dialplan.costs import in_words
from gateway.dialplan.plan import Kind, Match, Plan, Rule
from gateway.dialplan.rules import Allowance, BudgetRule
from tests.dialplan.verona import BACKUP, CARRIER, JULIET, PLAN, refused, routed

TO_US, TO_GB, TO_FR = "+12025550123", "+442079460018", "+33142685300"
NUMBERS = Rule("numbers", Match(kind=(Kind.NUMBER, Kind.SHORT)), via=("carrier", "backup"))


def table(name: str, *rows: str, free: bool = False) -> prices.PriceTable:
    text = "\n".join(("prefix,connect,per_minute,first,step", *rows))
    built, faults = prices.read(text, name=name, currency="EUR", free=free)
    assert faults == []
    return built


TABLES = {
    "a": table("a", "1,0,0.012,,", "44,0.05,0.01,,", "33,0,0.1,,"),
    "b": table("b", "1,0,0.010,60,60", "44,0,0.02,,"),
    "retail": table("retail", "1,0,0.10,,", "33,0,0.50,,"),
    "flat": table("flat", "1,0,0,,", free=True),
}


def priced(rule: Rule = NUMBERS, carrier: str | None = "a", backup: str | None = "b", **changes: Any) -> Plan:
    trunks = {"carrier": replace(CARRIER, prices=carrier), "backup": replace(BACKUP, prices=backup)}
    return replace(PLAN, routes=(rule,), trunks=trunks, prices=TABLES, **changes)


def test_a_call_costs_what_its_trunk_charges() -> None:
    call = routed(TO_US, priced())
    assert call.via == ("carrier", "backup")
    assert call.booking
    assert call.booking.account == JULIET
    assert call.booking.tariffs == (
        Tariff("EUR", 0, 12_000, 1, 1, "1", "a"),
        Tariff("EUR", 0, 10_000, 60, 60, "1", "b"),
    )
    assert "by carrier it costs 0.012 EUR a minute (a, 1)" in call.steps
    assert "by backup it costs 0.01 EUR a minute, 60/60 (b, 1)" in call.steps


@pytest.mark.parametrize(("number", "vias"), [(TO_US, ("backup", "carrier")), (TO_GB, ("backup", "carrier"))])
def test_the_cheapest_way_is_asked_first(number: str, vias: tuple[str, ...]) -> None:
    call = routed(number, priced(replace(NUMBERS, cheapest=True)))
    assert call.via == vias
    assert call.target == f"sip:{number}@198.51.100.9:5080"
    assert call.booking
    assert [tariff.table for tariff in call.booking.tariffs if tariff] == ["b", "a"]


def test_the_cheapest_way_is_that_of_a_minute_with_its_connection() -> None:
    steps = routed(TO_GB, priced(replace(NUMBERS, cheapest=True))).steps
    assert "the cheapest first, for a minute: backup 0.02 EUR, carrier 0.06 EUR" in steps


def test_ways_that_cost_the_same_keep_their_order() -> None:
    same = replace(NUMBERS, cheapest=True)
    assert routed(TO_US, priced(same, "a", "a")).via == ("carrier", "backup")
    swapped = replace(same, via=("backup", "carrier"))
    assert routed(TO_US, priced(swapped, "a", "a")).via == ("backup", "carrier")


def test_what_is_no_trunk_costs_nothing_and_comes_first() -> None:
    rule = Rule("any", Match(), via=("carrier", "direct"), cheapest=True)
    call = routed("12025550123%montague.example", priced(rule))
    assert call.via == ("direct", "carrier")
    assert "the cheapest first, for a minute: direct nothing, carrier 0.012 EUR" in call.steps
    assert call.booking
    assert call.booking.tariffs[0] is None


def test_a_trunk_without_a_price_for_the_number_is_left_out() -> None:
    call = routed(TO_FR, priced())
    assert (call.via, call.target, len(call.identities)) == (
        ("carrier",),
        f"sip:{TO_FR}@sbc.carrier.example;transport=tls",
        1,
    )
    assert f"without backup: b has no price for {TO_FR}" in call.steps
    assert call.transfers == ("carrier",)


def test_what_nobody_has_a_price_for_is_refused() -> None:
    outcome = refused("+81312345678", priced())
    assert (outcome.reason, outcome.rule, outcome.wanted) == ("b has no price for +81312345678", "numbers", False)
    assert refused("411", priced()).reason == "b has no price for what is no number"


def test_the_caller_is_charged_what_the_rule_says_in_place_of_the_trunk() -> None:
    call = routed(TO_US, priced(replace(NUMBERS, prices="retail", cheapest=True)))
    assert call.via == ("backup", "carrier")  # by what they cost us
    assert call.booking
    assert [tariff and tariff.per_minute for tariff in call.booking.tariffs] == [100_000, 100_000]
    assert refused(TO_GB, priced(replace(NUMBERS, prices="retail"))).reason == f"retail has no price for {TO_GB}"


def test_a_call_that_is_known_to_be_free_is_not_booked_unless_something_counts_it() -> None:
    free = priced(replace(NUMBERS, prices="flat"))
    assert routed(TO_US, free).booking is None
    assert routed("411", priced(NUMBERS, "flat", "flat")).booking is None
    counted = replace(free, budgets=(BudgetRule("all", (Allowance(Unit.CALLS, Period.DAY, 5),), user=("*",)),))
    assert routed(TO_US, counted).booking


def test_a_trunk_without_prices_may_still_be_asked_and_a_frozen_account_is_still_frozen() -> None:
    call = routed(TO_US, priced(NUMBERS, None, None))
    assert call.booking
    assert (call.booking.tariffs, call.booking.empty) == ((None, None), True)


def test_no_price_stands_before_an_emergency_call() -> None:
    call = routed("911", priced(carrier="retail", backup="retail"))
    assert (call.via, call.booking) == (("carrier",), None)


@pytest.mark.parametrize(
    ("tariff", "words"),
    [
        (None, "nothing"),
        (Tariff("EUR"), "nothing"),
        (Tariff("EUR", 50_000), "0.05 EUR"),
        (Tariff("EUR", 0, 12_000), "0.012 EUR a minute"),
        (Tariff("USD", 50_000, 100_000, 60, 60), "0.05 USD and 0.10 USD a minute, 60/60"),
    ],
)
def test_a_price_in_words(tariff: Tariff | None, words: str) -> None:
    assert in_words(tariff) == words
