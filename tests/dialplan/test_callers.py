"""Who is said to call, and what limits a call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.addresses import SipUri
from gateway.dialplan.callers import limits
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import CallerSettings, Identity, Inbound, InboundRoute, Limit, LimitRule, inbound, mappable
from tests.dialplan.verona import AMERICA, BACKUP, CARRIER, FRIENDS, INBOUND, JULIET, PLAN, SPELLED, refused, routed

# Who is said to call -------------------------------------------------------------------------------------------------


def test_each_trunk_is_sent_numbers_as_its_policy_says() -> None:
    found = routed("+12025550123", SPELLED)
    assert [target and target.split("@")[0] for target in found.targets] == ["sip:12025550123", "sip:+12025550123"]
    assert found.number == "+12025550123"
    assert found.identities == (
        Identity("12025550199", "Juliet", "+12025550199"),
        Identity("+12025550199", "Juliet"),
    )


def test_a_rules_policy_wins_over_the_trunks() -> None:
    plan = replace(SPELLED, routes=(replace(AMERICA, policy="nine"),))
    assert (routed("+12025550123", plan).target or "").startswith("sip:9+12025550123@")


def test_an_extension_stays_behind_the_number() -> None:
    assert (routed("+12025550123;ext=55", SPELLED).target or "").startswith("sip:12025550123;ext=55@")


def test_a_trunks_number_shows_where_the_caller_has_none() -> None:
    plan = replace(SPELLED, callers={})
    assert [who.from_user for who in routed("+12025550123", plan).identities] == ["12025550100", "+12025550101"]
    other = replace(plan, trunks={**plan.trunks, "carrier": replace(CARRIER, from_="account7", policy="national")})
    assert routed("+12025550123", other).identities[0].from_user == "account7"


def test_anonymous_callers_are_told_to_trunks_in_confidence_alone() -> None:
    plan = replace(SPELLED, routes=(AMERICA, FRIENDS))
    found = routed("+12025550123", plan, "nurse@shakespeare.lit")
    assert found.identities == (
        Identity(asserted="+12025550150", anonymous=True),
        Identity(asserted="+12025550150", anonymous=True),
    )
    assert routed("romeo%montague.example", plan, "nurse@shakespeare.lit").rule == "friends"
    direct = replace(plan, callers={**plan.callers, JULIET: CallerSettings(anonymous=True)})
    assert routed("romeo%montague.example", direct).identities == (Identity(anonymous=True),)
    assert routed("romeo%montague.example", plan).identities == (Identity(display="Juliet"),)


def test_a_rule_decides_about_privacy_before_what_is_set_for_the_caller() -> None:
    shown = replace(SPELLED, routes=(replace(AMERICA, anonymous=False),))
    assert not routed("+12025550123", shown, "nurse@shakespeare.lit").identities[0].anonymous
    hidden = replace(SPELLED, routes=(replace(AMERICA, anonymous=True),))
    assert routed("+12025550123", hidden).identities[0].anonymous


ANONYMOUS = ["*672025550123", "*67+12025550123", "*67 (202) 555-0123", "*672025550123%198.51.100.9"]


@pytest.mark.parametrize("local", ANONYMOUS)
def test_a_prefix_withholds_the_caller_of_one_call(local: str) -> None:
    plan = replace(SPELLED, anonymous_prefix="*67")
    found = routed(local, plan)
    assert (found.number, found.rule, found.identities[0].anonymous) == ("+12025550123", "america", True)
    assert mappable(plan, local)
    assert not routed("+12025550123", plan).identities[0].anonymous


def test_the_prefix_leads_around_no_rule() -> None:
    plan = replace(SPELLED, anonymous_prefix="*67")
    assert refused("*67+19005550123", plan).rule == "premium"
    assert routed("*67911", plan).kind is Kind.EMERGENCY
    assert refused("*67+" + "1" * 40, plan).kind is None


def test_a_users_region_reads_what_he_dials() -> None:
    plan = replace(PLAN, callers={JULIET: CallerSettings(region="GB"), "@office": CallerSettings("+442079460018")})
    assert routed("020 7946 0018", plan).number == "+442079460018"
    assert routed("020 7946 0018", plan, "nurse@shakespeare.lit").number == "+442079460018", "by his own number"
    assert routed("202 555 0123", plan, region="US").number == "+12025550123"


# Limits --------------------------------------------------------------------------------------------------------------


def test_a_call_has_the_limits_of_its_user_his_groups_and_its_trunks() -> None:
    plan = replace(
        PLAN,
        trunks={"carrier": replace(CARRIER, max_calls=30), "backup": BACKUP},
        limits=(
            LimitRule(user=("@office",), concurrent=5),
            LimitRule(user=("*@shakespeare.lit",), concurrent=2, per_minute=10, longest=3600),
            LimitRule(group="office", concurrent=8),
            LimitRule(trunk="carrier", concurrent=40, per_minute=60),
        ),
    )
    trunk = Limit("trunk carrier", 30, 60)
    assert routed("+12025550123", plan).limits == (Limit(f"user {JULIET}", 2, 10, 3600), trunk)
    nurse = "nurse@shakespeare.lit"
    assert routed("+12025550123", plan, nurse).limits == (Limit(f"user {nurse}", 5), Limit("group office", 8), trunk)
    assert routed("911", plan).limits == ()
    came = inbound(
        replace(INBOUND, trunks=plan.trunks, limits=plan.limits),
        Inbound(SipUri.parse("sip:+12025550100@x.example"), "carrier"),
    )
    assert isinstance(came, InboundRoute)
    assert came.limits == (trunk,)


def test_a_way_that_is_no_trunk_and_one_that_is_asked_twice_count_no_more() -> None:
    plan = replace(PLAN, trunks={"carrier": replace(CARRIER, max_calls=3)})
    assert limits(plan, JULIET, ("direct", "carrier", "carrier", "echo")) == (Limit("trunk carrier", 3),)
    assert limits(plan, None, ()) == ()


def test_a_user_and_his_rule_say_how_long_a_call_lasts() -> None:
    plan = replace(
        PLAN,
        callers={JULIET: CallerSettings(longest=60), "@office": CallerSettings(longest=90)},
        limits=(LimitRule(user=("*@shakespeare.lit",), concurrent=2, longest=3600),),
    )
    own = (Limit(f"user {JULIET}", longest=60), Limit(f"user {JULIET}", 2, longest=3600))
    assert limits(plan, JULIET, ()) == own
    assert limits(plan, "nurse@shakespeare.lit", ())[0].longest == 90
    assert limits(plan, None, (), replace(AMERICA, longest=30)) == (Limit("rule america", longest=30),)
