"""The plan, asked about trunks, names and callers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.dialplan.compiled import address_of, same
from gateway.dialplan.rules import CallerSettings, Match
from tests.dialplan.verona import CARRIER, JULIET, PLAN


def test_a_password_is_in_no_repr() -> None:
    plan = replace(PLAN, trunks={"a": replace(CARRIER, password="s3cret")})
    assert "s3cret" not in repr(plan)


@pytest.mark.parametrize(
    ("local", "behind"),
    [
        ("*672025550123", "2025550123"),
        (r"*67\20(202)\20555-0123", " (202) 555-0123"),
        ("*67echo", None),
        ("2025550123", None),
        ("*67", None),
        ("*67" + "1" * 10_000, None),
    ],
)
def test_what_stands_behind_the_prefix_of_anonymous_calls_is_told(local: str, behind: str | None) -> None:
    assert replace(PLAN, anonymous_prefix="*67").withheld(local) == behind
    assert PLAN.withheld(local) is None


def test_what_a_user_does_not_set_his_groups_do_in_their_order() -> None:
    nurse = "nurse@shakespeare.lit"
    plan = replace(
        PLAN,
        groups={"office": (nurse,), "all": ("*@shakespeare.lit",)},
        callers={
            "@office": CallerSettings(display="Office"),
            nurse: CallerSettings(region="GB"),
            "@all": CallerSettings("+12025550100", "All", anonymous=True),
        },
    )
    assert plan.settings(nurse) == CallerSettings("+12025550100", "Office", "GB", True)
    assert plan.settings(JULIET) == CallerSettings("+12025550100", "All", None, True)
    assert plan.settings("x@elsewhere.example") == CallerSettings()


def test_a_changed_plan_is_compiled_anew() -> None:
    assert PLAN.index is not replace(PLAN, routes=()).index


def test_one_host_has_several_spellings() -> None:
    assert same("::ffff:192.0.2.1", ("192.0.2.1",))
    assert same("a.example", ("a.example",))
    assert not same("a.example", ("192.0.2.1",))
    assert str(address_of("192.0.2.1")) == "192.0.2.1"
    assert address_of("127.1") is None


@pytest.mark.parametrize(
    ("callers", "caller", "may"),
    [
        ((), JULIET, True),
        ((), "tybalt@elsewhere.example", False),
        (("*",), "tybalt@elsewhere.example", True),
        (("@office",), "nurse@shakespeare.lit", True),
        (("@office",), JULIET, False),
        (("@nobody",), JULIET, False),
    ],
)
def test_a_rule_that_names_no_callers_is_for_our_users(callers: tuple[str, ...], caller: str, may: bool) -> None:
    assert PLAN.may(Match(from_=callers), caller) is may


@pytest.mark.parametrize(
    ("source", "trunk"),
    [
        ("192.0.2.5", "carrier"),
        ("::ffff:192.0.2.5", "carrier"),
        ("2001:db8::7", "carrier"),
        ("198.51.100.9", "backup"),
        ("198.51.100.10", None),
        ("203.0.113.50", "carrier"),
        ("not an address", None),
    ],
)
def test_a_trunk_is_known_by_its_addresses(source: str, trunk: str | None) -> None:
    found = PLAN.trunk_of(source, {"carrier": {"203.0.113.50"}})
    assert (found.name if found else None) == trunk
