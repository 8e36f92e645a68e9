"""[[prices]], and what trunks, routes and budgets say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dialplan import pricing
from gateway.dialplan.files import matching
from gateway.dialplan.prices import PriceTable
from tests.dialplan.test_load import faults_of, loaded

HEAD = """
[numbers]
region = "US"
[emergency]
action = "refuse"
[[prices]]
name = "a"
file = "prices/a.csv"
currency = "EUR"
step = 6
[[trunk]]
name = "carrier"
proxy = "sip:192.0.2.1"
prices = "a"
"""
ROUTE = '[[route]]\nname = "out"\nmatch = { kind = "number" }\nvia = "carrier"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "a.csv").write_text("prefix,connect,per_minute\n1,0,0.01\n")
    return tmp_path


def test_a_table_is_read_from_beside_the_file_that_names_it(folder: Path) -> None:
    plan, warnings = loaded(folder, a=HEAD + ROUTE)
    assert warnings == ()
    table = plan.prices["a"]
    assert isinstance(table, PriceTable)
    assert (len(table), table.currency, table.free) == (1, "EUR", False)
    tariff = table.tariff("+12025550123")
    assert tariff
    assert (tariff.per_minute, tariff.step) == (10_000, 6)
    assert plan.trunks["carrier"].prices == "a"


def test_a_change_of_a_price_file_is_one_of_the_dialplan(folder: Path) -> None:
    plan, _ = loaded(folder, a=HEAD + ROUTE)
    files = [path for where, pattern in plan.includes for path in matching(Path(where), pattern)]
    assert files == [folder / "prices" / "a.csv"]


def test_a_broken_price_is_told_with_its_file_and_line_beside_everything_else(folder: Path) -> None:
    (folder / "prices" / "a.csv").write_text("prefix,connect,per_minute\n1,0,0.01\n44,0,much\n0,0,0\n")
    assert faults_of(folder, a=HEAD + ROUTE + 'prices = "b"\n') == [
        "prices/a.csv:3: per_minute: 'much' is no price, as 0.012 is one",
        "prices/a.csv:4: prefix: '0' is no beginning of a number in E.164",
        "a.toml:19: 'b' is no prices",
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "a.toml:8: file: prices/a.csv cannot be read: No such file or directory"),
        (b"prefix,connect,per_minute\n1,0,\xff\n", "prices/a.csv:2: not UTF-8"),
        (b"x" * 101, "a.toml:8: file: prices/a.csv is larger than 100 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault(
    folder: Path, content: bytes | None, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pricing, "MAX_FILE", 100)
    (folder / "prices" / "a.csv").unlink()
    if content is not None:
        (folder / "prices" / "a.csv").write_bytes(content)
    assert faults_of(folder, a=HEAD + ROUTE) == [fault]


TWO = """
[[trunk]]
name = "backup"
proxy = "sip:192.0.2.2"
[[trunk]]
name = "dollars"
proxy = "sip:192.0.2.3"
prices = "d"
[[prices]]
name = "d"
file = "prices/a.csv"
currency = "USD"
"""


@pytest.mark.parametrize(
    ("rule", "faults"),
    [
        ('via = ["carrier", "backup"]\norder = "cheapest"', ["31: trunk 'backup' has no prices to be compared"]),
        ('via = ["carrier", "dollars"]\norder = "cheapest"', ["31: prices in EUR and USD cannot be compared"]),
        (
            'via = ["carrier", "echo"]\norder = "cheapest"\nweights = [1, 2]',
            ["30: echo always answers", "31: the order is drawn by weights, or by prices"],
        ),
        ('via = "carrier"\norder = "cheapest"', ["31: order is for several vias, and there is one"]),
        ('via = "echo"\nprices = "a"', ["31: prices are for trunks, and none is asked"]),
        ('refuse = "no"\nprices = "a"\norder = "cheapest"', ["31: prices is for calls that ring", "32: order is for"]),
        ('refuse = "no"\nrecord = "yes"', ["31: record is for calls that ring, and this rule refuses"]),
    ],
)
def test_a_rule_that_no_price_can_order_is_a_fault(folder: Path, rule: str, faults: list[str]) -> None:
    found = faults_of(
        folder, a=HEAD + TWO + f'[[route]]\nname = "out"\nmatch = {{ kind = ["number", "name"] }}\n{rule}\n'
    )
    assert len(found) == len(faults)
    for fault, expected in zip(found, faults, strict=True):
        line, text = expected.split(": ", 1)
        assert fault.startswith(f"a.toml:{line}: {text}")


def test_budgets_of_money_add_up_one_currency(folder: Path) -> None:
    budget = '[[budget]]\nname = "m"\nuser = "*"\nspend_per_day = "5 {}"\n'
    own = '[users."juliet@shakespeare.lit"]\nbudget = { spend_per_hour = "5 EUR" }\n'
    assert loaded(folder, a=HEAD + ROUTE + budget.format("EUR") + own)[0].budgets
    assert loaded(folder, a=HEAD + TWO + ROUTE)[0].prices  # two currencies that nobody adds up
    assert faults_of(folder, a=HEAD + ROUTE + budget.format("USD") + own) == [
        "a.toml:22: a budget in USD, and calls cost EUR"
    ]
    assert faults_of(folder, a=HEAD + TWO + ROUTE + own) == [
        "a.toml:26: prices in USD, and other calls cost EUR: budgets cannot add them up"
    ]


def test_a_budget_of_money_needs_a_price(folder: Path) -> None:
    text = '[users."juliet@shakespeare.lit"]\nbudget = { spend_per_hour = "5 EUR" }\n'
    assert faults_of(folder, a=text) == ["a.toml:2: nothing has a price: no trunk and no route names any"]


def test_a_trunk_whose_calls_no_budget_of_money_sees_is_told(folder: Path) -> None:
    budget = '[[budget]]\nname = "m"\nuser = "*"\nspend_per_day = "5 EUR"\n'
    other = '[[trunk]]\nname = "other"\nproxy = "sip:192.0.2.9"\n'
    rule = '[[route]]\nname = "out"\nmatch = { kind = "number" }\nvia = ["carrier", "other"]\n'
    warned = "a.toml:15: warning: no prices: budgets of money do not see what calls by 'other' cost"
    assert list(map(str, loaded(folder, a=HEAD + other + rule + budget)[1])) == [warned]
    assert loaded(folder, a=HEAD + other + rule + 'prices = "a"\n' + budget)[1] == ()
    assert loaded(folder, a=HEAD + other + rule)[1] == ()
    assert loaded(folder, a=HEAD + other + ROUTE + budget)[1] == ()
