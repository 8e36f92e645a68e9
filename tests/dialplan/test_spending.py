"""What a call is booked under, and what is booked for nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.dialplan.booking import Burst, Claim, Period, Unit
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import CallerSettings, Plan
from gateway.dialplan.rules import Allowance, BudgetRule, BurstRule, Match
from gateway.dialplan.spending import OWN
from tests.dialplan.verona import AMERICA, FRIENDS, JULIET, PLAN, routed

TEN = Allowance(Unit.CALLS, Period.HOUR, 10)
HOUR = Allowance(Unit.SECONDS, Period.DAY, 3600)
EUROS = Allowance(Unit.MONEY, Period.MONTH, 20_000_000, "EUR")
ALL = BudgetRule("all", (TEN, HOUR), user=("*",))
TO_US = "+12025550123"


def with_money(*budgets: BudgetRule, bursts: tuple[BurstRule, ...] = (), **changes: Any) -> Plan:
    return replace(PLAN, budgets=budgets, bursts=bursts, routes=(AMERICA, FRIENDS, *PLAN.routes[-1:]), **changes)


def claims(plan: Plan, local: str = TO_US, caller: str = JULIET) -> tuple[Claim, ...]:
    booked = routed(local, plan, caller).booking
    assert booked
    assert booked.account == caller
    return booked.claims


def test_a_call_is_booked_under_everything_that_its_budget_says() -> None:
    assert claims(with_money(ALL)) == (
        Claim(f"all user {JULIET}", "all", Unit.CALLS, Period.HOUR, 10),
        Claim(f"all user {JULIET}", "all", Unit.SECONDS, Period.DAY, 3600),
    )


def test_a_group_counts_as_a_whole_and_a_user_for_himself() -> None:
    group = BudgetRule("shared", (TEN,), group="office", freeze=True)
    plan = with_money(ALL, group, users=("shakespeare.lit", "verona.example"))
    assert [claim.key for claim in claims(plan, caller="romeo@verona.example")] == [
        "all user romeo@verona.example",
        "all user romeo@verona.example",
        "shared group office",
    ]
    assert claims(plan, caller="nurse@shakespeare.lit")[-1].freeze
    assert "shared group office" not in {claim.key for claim in claims(plan)}


@pytest.mark.parametrize(
    ("match", "counted"),
    [
        (Match(), True),
        (Match(number=("+1202*",)), True),
        (Match(number=("+1303*",)), False),
        (Match(country=("US", "CA")), True),
        (Match(country=("+1",)), True),
        (Match(country=("GB",)), False),
        (Match(type=("fixed_line",)), True),
        (Match(type=("premium_rate",)), False),
        (Match(kind=(Kind.NUMBER, Kind.SHORT), country=("US",)), True),
        (Match(kind=(Kind.SHORT,)), False),
    ],
)
def test_a_budget_counts_what_it_is_for(match: Match, counted: bool) -> None:
    booked = routed(TO_US, with_money(BudgetRule("some", (TEN,), match, ("*",)))).booking
    assert booked
    assert bool(booked.claims) is counted
    assert booked.empty is not counted


@pytest.mark.parametrize("local", ["romeo%montague.example", "echo"])
def test_what_no_trunk_is_asked_for_is_not_booked(local: str) -> None:
    assert routed(local, with_money(ALL, bursts=(BurstRule("b", 5, 60, user=("*",)),))).booking is None


def test_a_dialplan_without_money_books_nothing() -> None:
    assert routed(TO_US).booking is None


def test_no_emergency_call_is_booked() -> None:
    assert routed("911", with_money(ALL)).booking is None


def test_a_burst_counts_calls_of_its_users() -> None:
    bursts = (
        BurstRule("abroad", 5, 60, Match(country=("GB",)), ("*",)),
        BurstRule("many", 20, 300, user=("*@shakespeare.lit",)),
        BurstRule("theirs", 20, 300, user=("*@verona.example",)),
    )
    booked = routed(TO_US, with_money(bursts=bursts)).booking
    assert booked
    assert booked.bursts == (Burst(f"many user {JULIET}", "many", 20, 300),)
    assert not booked.empty


def test_a_users_own_budget_stands_in_place_of_everybodys() -> None:
    own = Allowance(Unit.CALLS, Period.HOUR, 100)
    settings = {JULIET: CallerSettings(allowances=(own,)), "@office": CallerSettings(allowances=(HOUR,))}
    everybodys = BudgetRule("all", (TEN, HOUR), user=("*",), freeze=True)
    abroad = BudgetRule("america", (TEN,), Match(country=("US",)), ("*",))
    found = claims(with_money(everybodys, abroad, callers=settings))
    assert [(claim.budget, claim.most, claim.freeze) for claim in found] == [
        ("all", 100, True),
        ("all", 3600, True),
        ("america", 10, False),
    ]
    nurses = claims(with_money(callers=settings), caller="nurse@shakespeare.lit")
    assert nurses == (Claim(f"{OWN} user nurse@shakespeare.lit", OWN, Unit.SECONDS, Period.DAY, 3600),)


def test_a_users_own_word_wins_over_his_groups_for_each_kind() -> None:
    nurse = "nurse@shakespeare.lit"
    settings = {
        nurse: CallerSettings(allowances=(Allowance(Unit.CALLS, Period.HOUR, 3),)),
        "@office": CallerSettings(allowances=(TEN, HOUR)),
    }
    assert [(c.unit, c.most) for c in claims(with_money(callers=settings), caller=nurse)] == [
        (Unit.CALLS, 3),
        (Unit.SECONDS, 3600),
    ]


def test_what_was_spent_in_one_currency_is_kept_apart_from_another() -> None:
    (claim,) = claims(with_money(BudgetRule("money", (EUROS,), user=("*",))))
    assert (claim.key, claim.currency, claim.most) == (f"money user {JULIET} EUR", "EUR", 20_000_000)


def test_a_frozen_account_is_asked_for_even_where_nothing_is_counted() -> None:
    call = routed(TO_US, with_money(BudgetRule("abroad", (TEN,), Match(country=("GB",)), ("*",))))
    assert call.booking
    assert call.booking.empty
    assert call.steps[-1] == f"nothing is booked, unless {JULIET} is frozen: then it is refused"


def test_the_explanation_says_what_is_booked() -> None:
    bursts = (BurstRule("many", 20, 300, user=("*",)),)
    one = BudgetRule(
        "one", (Allowance(Unit.CALLS, Period.DAY, 1), Allowance(Unit.SECONDS, Period.HOUR, 60)), user=("*",)
    )
    call = routed(TO_US, with_money(ALL, one, BudgetRule("cash", (EUROS,), user=("*",), freeze=True), bursts=bursts))
    assert call.steps[-6:] == (
        "books all: 10 calls an hour",
        "books all: 60 minutes a day",
        "books one: 1 call a day",
        "books one: 1 minute an hour",
        "books cash: 20.00 EUR a month; who uses it up is frozen",
        f"books many: more than 20 calls within 300 s freeze {JULIET}",
    )
