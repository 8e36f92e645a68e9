"""[[budget]], [[burst]] and [users].budget, as files say them."""

from __future__ import annotations

from pathlib import Path

from gateway.dialplan import budgets
from gateway.dialplan.booking import Period, Unit
from gateway.dialplan.numbers import Kind
from gateway.dialplan.rules import Allowance, BudgetRule, BurstRule, Match
from gateway.dialplan.schema_money import AllowanceSection
from tests.dialplan.test_load import faults_of, loaded

GROUPS = '[groups]\noffice = ["nurse@shakespeare.lit"]\n'


def test_a_budget_is_kept_in_calls_and_seconds(tmp_path: Path) -> None:
    text = """
[[budget]]
name = "abroad"
user = ["*@shakespeare.lit", "@office"]
match = { country = ["GB", "+49"], type = "mobile" }
calls_per_day = 20
minutes_per_hour = 30
freeze = true
[[budget]]
name = "office"
group = "office"
calls_per_hour = 100
[[burst]]
name = "hammering"
user = "*"
match = { number = "+44*" }
calls = 10
within = 60
"""
    plan, warnings = loaded(tmp_path, a=GROUPS + text)
    assert warnings == ()
    kinds = (Kind.NUMBER, Kind.SHORT)
    assert plan.budgets == (
        BudgetRule(
            "abroad",
            (Allowance(Unit.CALLS, Period.DAY, 20), Allowance(Unit.SECONDS, Period.HOUR, 1800)),
            Match(kinds, country=("GB", "+49"), type=("mobile",)),
            ("*@shakespeare.lit", "@office"),
            freeze=True,
        ),
        BudgetRule("office", (Allowance(Unit.CALLS, Period.HOUR, 100),), group="office"),
    )
    assert plan.bursts == (BurstRule("hammering", 10, 60, Match(kinds, number=("+44*",)), ("*",)),)


def test_a_users_own_budget_is_kept(tmp_path: Path) -> None:
    text = """
[users."@office".budget]
calls_per_day = 5
[users."juliet@shakespeare.lit"]
budget = { minutes_per_day = 9 }
"""
    plan, _ = loaded(tmp_path, a=GROUPS + text)
    assert plan.callers["@office"].allowances == (Allowance(Unit.CALLS, Period.DAY, 5),)
    assert plan.callers["juliet@shakespeare.lit"].allowances == (Allowance(Unit.SECONDS, Period.DAY, 540),)


def test_money_is_kept_in_millionths() -> None:
    section = AllowanceSection.model_validate({"spend_per_hour": "1 EUR", "spend_per_month": "20.50 EUR"})
    assert list(budgets.allowances(section)) == [
        Allowance(Unit.MONEY, Period.HOUR, 1_000_000, "EUR"),
        Allowance(Unit.MONEY, Period.MONTH, 20_500_000, "EUR"),
    ]


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    text = """
[[budget]]
name = "nobody"
calls_per_day = 1
[[budget]]
name = "both"
user = "*"
group = "offce"
calls_per_day = 1
[[budget]]
name = "nothing"
user = ["@nobody", "*"]
[[budget]]
name = "both"
user = "*"
match = { country = "XX" }
spend_per_day = "5 EUR"
[[burst]]
name = "nothing"
user = "*"
calls = 1
within = 5
[[budget]]
name = "shape"
user = "*"
calls_per_day = 0
spend_per_hour = "5"
[users."@office"]
budget = { spend_per_month = "9.00 EUR" }
"""
    assert faults_of(tmp_path, a=GROUPS + text) == [
        "a.toml:4: a budget has one of user and group",
        "a.toml:7: a budget has one of user and group",
        "a.toml:10: 'offce' is no group, did you mean 'office'?",
        "a.toml:12: a budget says how much: calls, minutes or money in an hour, a day or a month",
        "a.toml:14: there is no group 'nobody'",
        "a.toml:16: there is a budget 'both' already",
        "a.toml:18: 'XX' is no region or calling code",
        "a.toml:19: nothing has a price: no trunk and no route names any",
        "a.toml:21: there is a budget 'nothing' already",
        "a.toml:28: calls_per_day: input should be greater than or equal to 1",
        'a.toml:29: spend_per_hour: money is written as "12.50 EUR", with six digits behind the point at most',
        "a.toml:31: nothing has a price: no trunk and no route names any",
    ]
