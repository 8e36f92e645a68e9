"""Calls for help: nothing else has a say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialplan import prices
from gateway.dialplan.booking import Period, Unit
from gateway.dialplan.help import for_help
from gateway.dialplan.numbers import Kind, Reading, Region
from gateway.dialplan.plan import CallerSettings, Emergency, Refusal, Route
from gateway.dialplan.rules import Allowance, BudgetRule, BurstRule
from tests.dialplan.made import BUDGETS, EMERGENCIES
from tests.dialplan.verona import BACKUP, CARRIER, JULIET, PLAN, routed

READING = Reading(Kind.EMERGENCY, "911")
EMPTY, _ = prices.read("prefix,connect,per_minute\n999,99,99\n", name="a", currency="EUR")
NONE = Allowance(Unit.MONEY, Period.MONTH, 0, "EUR")


def test_a_users_call_goes_by_the_trunks_of_emergency_with_his_number() -> None:
    plan = replace(PLAN, emergency=Emergency("route", ("backup", "carrier"), callback="+12025550100"))
    found = for_help(plan, JULIET, CallerSettings(), READING, Region("US", "of the file"), [])
    assert isinstance(found, Route)
    assert (found.via, found.callback) == (("backup", "carrier"), "+12025550100")
    assert found.targets == ("sip:911@198.51.100.9:5080", "sip:911@sbc.carrier.example;transport=tls")


@pytest.mark.parametrize("caller", ["x@elsewhere.example", "shakespeare.lit"])
def test_whoever_is_no_user_is_not_helped(caller: str) -> None:
    found = for_help(PLAN, caller, CallerSettings(), READING, Region("US", ""), [])
    assert isinstance(found, Refusal)
    assert found.reason == "emergency calls are for users of this gateway"


@settings(deadline=None)
@given(BUDGETS, st.sampled_from(EMERGENCIES), st.sampled_from(["", "%montague.example"]), st.booleans())
def test_no_budget_burst_or_price_blocks_an_emergency_number(
    budgets: tuple[BudgetRule, ...], number: str, host: str, priced: bool
) -> None:
    everything = BudgetRule("nothing", (NONE, Allowance(Unit.CALLS, Period.HOUR, 1)), user=("*",), freeze=True)
    table = "a" if priced else None
    plan = replace(
        PLAN,
        budgets=(*budgets, everything),
        bursts=(BurstRule("any", 1, 86_400, user=("*",)),),
        prices={"a": EMPTY},
        trunks={"carrier": replace(CARRIER, prices=table), "backup": replace(BACKUP, prices=table)},
        callers={JULIET: CallerSettings(allowances=(NONE,))},
    )
    call = routed(number + host, plan)
    assert (call.emergency, call.via, call.booking, call.limits, call.record, call.ask) == (
        True, ("carrier",), None, (), "no", None,
    )  # fmt: skip
