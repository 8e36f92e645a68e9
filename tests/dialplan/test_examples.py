"""Example rows: proved, and told apart from what really happens; the files that are shipped prove theirs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gateway.addresses import SipUri
from gateway.dialplan import load
from gateway.dialplan.examples import as_row, prove
from gateway.dialplan.plan import Inbound, Plan, Request, inbound, route
from tests.dialplan.verona import CHARGED

SHIPPED = Path(__file__).parents[2] / "dialplan"

RULES = """
[[route]]
name = "test line"
match = { kind = "name", name = "echo" }
via = "echo"
[[inbound]]
name = "nurse"
match = { source = "any", user = "nurse" }
to = ["nurse@shakespeare.lit", "juliet@shakespeare.lit"]
ring = "sequence"
"""


def plan_of(folder: Path, examples: str = "") -> Plan:
    (folder / "a.toml").write_text(RULES + examples)
    plan, _ = load.load([folder / "a.toml"], users=["shakespeare.lit"], base=folder)
    return plan


def test_examples_that_hold_are_silent(tmp_path: Path) -> None:
    examples = """
[[example]]
from = "juliet@shakespeare.lit"
to = "echo"
expect = { outcome = "route", kind = "name", via = "echo", rule = "test line" }
[[example]]
inbound = "sip:nurse@sip.example.com"
expect = { outcome = "route", to = ["nurse@shakespeare.lit", "juliet@shakespeare.lit"], ring = "sequence" }
[[example]]
inbound = "sip:peter@sip.example.com"
expect = { outcome = "refuse", reason = "nobody is called by this name or number" }
"""
    assert prove(plan_of(tmp_path, examples)) == ()


def test_an_example_without_a_caller_is_for_any_of_our_users(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, '[[example]]\nto = "echo"\nexpect = { outcome = "route", via = ["echo"] }\n')
    assert prove(plan) == ()


def test_an_example_that_does_not_hold_is_a_fault_for_each_key(tmp_path: Path) -> None:
    examples = """
[[example]]
from = "tybalt@elsewhere.example"
to = "echo"
expect = { outcome = "route", via = ["echo"], rule = "test line" }
[[example]]
inbound = "sip:nurse@sip.example.com"
expect = { outcome = "route", ring = "parallel", kind = "uri" }
"""
    assert list(map(str, prove(plan_of(tmp_path, examples)))) == [
        "a.toml:15: the example's outcome is refuse, expected route (refused: no rule allows this call)",
        "a.toml:15: the example's via is [], expected ['echo']",
        "a.toml:15: the example's rule is nothing, expected test line",
        "a.toml:18: the example's kind is nothing, expected uri",
        "a.toml:18: the example's ring is sequence, expected parallel",
    ]


MONEY = f"""
{CHARGED}
[[budget]]
name = "all"
user = "*"
spend_per_day = "1 EUR"
[[burst]]
name = "many"
user = "*"
calls = 5
within = 60
[[route]]
name = "numbers"
match = {{ kind = "number" }}
via = ["enum", "carrier"]
record = "yes"
"""


def test_an_example_may_say_what_a_call_costs_and_what_enum_has(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prefix,connect,per_minute\n1,0.05,0.1\n")
    examples = """
[[example]]
to = "+12025550123"
expect = { outcome = "route", via = "carrier", tariff = "0.05 EUR and 0.10 EUR a minute", budgets = "all" }
[[example]]
to = "+12025550123"
enum = ["sip:a@montague.example"]
expect = { outcome = "route", via = ["direct", "carrier"], tariff = "nothing" }
[[example]]
to = "+12025550123"
enum = []
expect = { outcome = "route", via = "carrier", tariff = "free", budgets = [], record = "no" }
"""
    assert [str(fault).partition(": ")[2] for fault in prove(plan_of(tmp_path, MONEY + examples))] == [
        "the example's tariff is 0.05 EUR and 0.10 EUR a minute, expected free",
        "the example's budgets is ['all'], expected []",
        "the example's record is yes, expected no",
    ]


def test_a_row_says_what_would_be_booked(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prefix,connect,per_minute\n1,0.05,0.1\n")
    row = json.loads(
        json.dumps(as_row(route(plan_of(tmp_path, MONEY), Request("juliet@shakespeare.lit", "+12025550123"))))
    )
    assert list(row) == [
        *("outcome", "kind", "number", "target", "via", "rule", "reason", "steps"), *("booking", "record", "ask"),
    ]  # fmt: skip
    assert row["booking"] == {
        "account": "juliet@shakespeare.lit",
        "budgets": [
            {
                "budget": "all",
                "key": "all user juliet@shakespeare.lit EUR",
                "unit": "money",
                "period": "day",
                "most": 1_000_000,
                "currency": "EUR",
                "freeze": False,
            }
        ],
        "bursts": [{"burst": "many", "key": "many user juliet@shakespeare.lit", "calls": 5, "within": 60}],
        "tariffs": [
            {
                "prices": "a",
                "prefix": "1",
                "currency": "EUR",
                "connect": 50_000,
                "per_minute": 100_000,
                "first": 1,
                "step": 1,
            }
        ],
    }
    assert (row["record"], row["ask"]) == ("yes", "+12025550123")


def test_an_outcome_is_a_row_of_the_contract(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    row = as_row(route(plan, Request("juliet@shakespeare.lit", "echo")))
    assert list(row) == ["outcome", "kind", "number", "target", "via", "rule", "reason", "steps"]
    assert json.loads(json.dumps(row)) | {"steps": []} == {
        "outcome": "route",
        "kind": "name",
        "number": None,
        "target": None,
        "via": ["echo"],
        "rule": "test line",
        "reason": None,
        "steps": [],
    }
    refusal = as_row(route(plan, Request("juliet@shakespeare.lit", "a%%b")))
    assert list(refusal) == list(row)
    assert (refusal["outcome"], refusal["kind"], refusal["via"]) == ("refuse", None, ())
    assert as_row(inbound(plan, Inbound(SipUri.parse("sip:nurse@x.example"))))["ring"] == "sequence"


def test_the_rows_of_the_contract_come_out_as_they_are_written(tmp_path: Path) -> None:
    contract = Path(__file__).parent / "contract"
    shutil.copy(contract / "dialplan.toml", tmp_path)
    (tmp_path / "carrier.password").touch(mode=0o600)
    (tmp_path / "carrier.password").write_text("s3cret\n")
    plan, warnings = load.load([tmp_path / "dialplan.toml"], users=["shakespeare.lit"], own=["sip.example.com"])
    assert warnings == ()
    assert prove(plan) == ()
    dialled = ["+12025550123", "romeo%shakespeare.lit", "911", "echo", "+19005550123"]
    rows = [as_row(route(plan, Request("juliet@shakespeare.lit", local))) for local in dialled]
    expected = json.loads((contract / "route.json").read_text())
    assert json.loads(json.dumps([row | {"steps": ["…"]} for row in rows])) == expected


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.toml")), ids=lambda file: file.stem)
def test_the_files_that_are_shipped_are_valid_and_prove_their_examples(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path)
    shutil.copytree(SHIPPED / "prices", tmp_path / "prices")
    (tmp_path / "carrier.password").touch(mode=0o600)
    (tmp_path / "carrier.password").write_text("s3cret\n")
    plan, warnings = load.load([tmp_path / file.name], users=["shakespeare.lit"], own=["sip.example.com"])
    assert (warnings, prove(plan)) == ((), ())
    assert plan.examples
    assert f"`{file.name}`" in (SHIPPED / "README.md").read_text()
