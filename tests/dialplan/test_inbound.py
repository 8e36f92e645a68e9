"""Calls from SIP: who is rung, and under what name the caller appears."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.addresses import SipUri
from gateway.dialplan.coverage import unreached_inbound
from gateway.dialplan.hours import Hours, zone_of
from gateway.dialplan.inbound import Inbound, caller_local, inbound
from gateway.dialplan.plan import (
    CallerSettings,
    InboundMatch,
    InboundRoute,
    InboundRule,
    Limit,
    Plan,
    Policy,
    Refusal,
    Trunk,
)
from tests.dialplan.made import some
from tests.dialplan.verona import CARRIER, INBOUND, JULIET, PLAN


@pytest.mark.parametrize(
    ("uri", "trunk", "to"),
    [
        ("sip:+12025550100@sip.example.com", "carrier", [JULIET]),
        ("sip:2025550100@sip.example.com", "backup", [JULIET]),
        ("sip:1-202-555-0100;x=y@sip.example.com", "backup", [JULIET]),
        ("tel:+1-202-555-0100", "backup", [JULIET]),
        ("sip:+13035550100@sip.example.com", "backup", [JULIET]),
        ("sip:juliet%40shakespeare.lit@sip.example.com", "carrier", [JULIET]),
        ("sip:juliet%shakespeare.lit@sip.example.com", "carrier", [JULIET]),
        ("sip:Juliet%40Shakespeare.lit@sip.example.com", "carrier", [JULIET]),
        (
            "sip:eve%40evil.example%40shakespeare.lit@sip.example.com",
            "carrier",
            [r"eve\40evil.example@shakespeare.lit"],
        ),
        ("sip:nurse@sip.example.com", None, ["nurse@shakespeare.lit", JULIET]),
        ("sip:NURSE@sip.example.com", "carrier", ["nurse@shakespeare.lit", JULIET]),
    ],
)
def test_a_call_from_sip_rings_whom_the_first_rule_says(uri: str, trunk: str | None, to: list[str]) -> None:
    found = inbound(INBOUND, Inbound(SipUri.parse(uri), trunk))
    assert isinstance(found, InboundRoute)
    assert list(found.to) == to
    assert found.ring == ("sequence" if len(to) > 1 else "parallel")


@pytest.mark.parametrize(
    ("uri", "trunk"),
    [
        ("sip:+12025550100@sip.example.com", None),
        ("sip:juliet%40shakespeare.lit@sip.example.com", None),
        ("sip:juliet%40shakespeare.lit@sip.example.com", "backup"),
        ("sip:+12025550199@sip.example.com", "carrier"),
        ("sip:%40shakespeare.lit@sip.example.com", "carrier"),
        ("sip:sip.example.com", "carrier"),
        ("sip:%20%40shakespeare.lit@sip.example.com", "backup"),
        ("sip:+120255501000000000000000000000000000000@sip.example.com", "carrier"),
    ],
)
def test_a_call_from_sip_that_no_rule_is_for_rings_nobody(uri: str, trunk: str | None) -> None:
    outcome = inbound(INBOUND, Inbound(SipUri.parse(uri), trunk))
    assert isinstance(outcome, Refusal)
    assert outcome.rule is None


def test_nobody_but_our_users_is_ever_rung() -> None:
    outcome = inbound(INBOUND, Inbound(SipUri.parse("sip:xanthippe@sip.example.com"), "backup"))
    assert isinstance(outcome, Refusal)
    assert (outcome.rule, "not a user of this gateway" in outcome.reason) == ("anything", True)


def test_a_captured_name_that_no_jid_carries_rings_nobody() -> None:
    plan = replace(PLAN, inbound=(InboundRule("all", InboundMatch(user=("*",)), ("{user}@shakespeare.lit",)),))
    outcome = inbound(plan, Inbound(SipUri.parse("sip:%E2%80%AEtilt@sip.example.com"), "carrier"))
    assert isinstance(outcome, Refusal)
    assert outcome.rule == "all"


def test_an_inbound_decision_explains_itself() -> None:
    found = inbound(INBOUND, Inbound(SipUri.parse("sip:nurse@sip.example.com"), None), explain=True)
    assert [step.split(":")[0] for step in found.steps[1:]] == ["number", "by address", "nurse"]
    assert "in sequence" in found.steps[-1]


@pytest.mark.parametrize(
    ("uri", "trunk", "local"),
    [
        ("sip:+12025550123@sbc.carrier.example", CARRIER, "+12025550123"),
        ("sip:2025550123@sbc.carrier.example;user=phone", CARRIER, "+12025550123"),
        ("tel:+1-202-555-0123", CARRIER, "+12025550123"),
        ("sip:411@sbc.carrier.example", CARRIER, "411%sbc.carrier.example"),
        ("sip:+12025550123@sbc.carrier.example", None, "+12025550123%sbc.carrier.example"),
        ("tel:+1-202-555-0123", None, "+1-202-555-0123%anonymous.invalid"),
        ("sip:Romeo@montague.example;transport=tcp", None, "romeo%montague.example"),
        ("sip:romeo@192.0.2.1:5062", None, r"romeo%192.0.2.1\3a5062"),
        ("sip:montague.example", None, "anonymous%montague.example"),
        ("sip:%20@montague.example", None, "anonymous%montague.example"),
        ("sip:" + "1" * 40 + "@montague.example", CARRIER, "1" * 40 + "%montague.example"),
        ("tel:romeo", CARRIER, "romeo%sbc.carrier.example"),
    ],
)
def test_only_a_trunks_caller_appears_as_a_number(uri: str, trunk: Trunk | None, local: str) -> None:
    assert caller_local(PLAN, SipUri.parse(uri), trunk) == local


def test_a_trunks_national_numbers_are_of_its_policys_region() -> None:
    british = replace(CARRIER, policy="british")
    plan = replace(
        INBOUND, policies={"british": Policy("british", "GB")}, trunks={"carrier": british},
        inbound=(InboundRule("london", InboundMatch(trunk=("carrier",), number=("+442079460018",)), (JULIET,)),),
    )  # fmt: skip
    called = inbound(plan, Inbound(SipUri.parse("sip:02079460018@sip.example.com"), "carrier"))
    assert isinstance(called, InboundRoute)
    assert called.number == "+442079460018"
    assert caller_local(plan, SipUri.parse("sip:01134960999@sbc.carrier.example"), british) == "+441134960999"
    elsewhere = inbound(plan, Inbound(SipUri.parse("sip:02079460018@sip.example.com"), "carrier", region="US"))
    assert isinstance(elsewhere, Refusal)


def test_a_caller_without_any_usable_name_is_anonymous() -> None:
    nameless = SipUri("sip", "romeo", "not a host" * 200)
    assert caller_local(PLAN, nameless, None) == "anonymous%anonymous.invalid"


def ringing(plan: Plan, caller: str | None, at: datetime | None = None, trunk: str | None = "carrier") -> str | None:
    return inbound(plan, Inbound(SipUri.parse("sip:+12025550100@x.example"), trunk, caller=caller, at=at)).rule


@pytest.mark.parametrize(
    ("pattern", "caller", "matches"),
    [
        ("+44*", "+442079460018", True),
        ("+44*", "+12025550123", False),
        ("+44*", r"+442079460018%evil.example", False),  # a stranger's own word
        ("+44*", None, False),
        ("*@montague.example", "romeo%montague.example", True),
        ("*@montague.example", r"Romeo%Montague.example\3a5062", True),
        ("*@montague.example", "romeo%evil.example", False),
        ("*@montague.example", "411%montague.example", True),
        ("anonymous", "anonymous%anonymous.invalid", True),
        ("anonymous", "anonymous%1a2b.anonymous.invalid", True),
        ("anonymous", "anonymous%montague.example", True),
        ("anonymous", "%%", True),
        ("anonymous", "+12025550123", False),
        ("*", "romeo%montague.example", True),
        ("*", "reception", True),
    ],
)
def test_a_rule_may_ask_who_calls(pattern: str, caller: str | None, matches: bool) -> None:
    rule = InboundRule("r", InboundMatch(caller=(pattern,)), (JULIET,))
    assert ringing(replace(PLAN, inbound=(rule,)), caller) == ("r" if matches else None)


def test_a_rule_may_have_hours_and_without_a_clock_refusals_hold_and_ways_do_not() -> None:
    day = Hours.parse(["Mon-Fri 08:00-18:00"], zone_of("Europe/London"))
    plan = replace(
        PLAN,
        inbound=(
            InboundRule("day", InboundMatch(hours=day), (JULIET,)),
            InboundRule("night", InboundMatch(), refuse="come by day"),
        ),
    )
    noon, night = datetime(2026, 11, 23, 12, tzinfo=UTC), datetime(2026, 11, 23, 20, tzinfo=UTC)
    assert [ringing(plan, None, at) for at in (noon, night, None)] == ["day", "night", "night"]
    closed = replace(plan, inbound=(InboundRule("day", InboundMatch(hours=day), refuse="by night"),))
    assert [ringing(closed, None, at) for at in (noon, night, None)] == ["day", None, "day"]


def test_a_refusal_that_a_rule_wants_says_its_text_and_explains_itself() -> None:
    rules = (
        InboundRule("others", InboundMatch(caller=("+1*",)), (JULIET,)),
        InboundRule("no", InboundMatch(), refuse="no, thank you"),
    )
    call = Inbound(SipUri.parse("sip:+12025550100@x.example"), "carrier", caller="+442079460018")
    found = inbound(replace(PLAN, inbound=rules), call, explain=True)
    assert isinstance(found, Refusal)
    assert (found.reason, found.wanted) == ("no, thank you", True)
    assert found.steps[1:] == (
        "its caller is +442079460018",
        "others: no, the caller differs",
        "no: matches and refuses",
        "refused: no, thank you",
    )


def test_ringing_lasts_as_the_rule_says_or_the_longest_of_its_users() -> None:
    rule = InboundRule("r", InboundMatch(any_source=True), (JULIET, "nurse@shakespeare.lit"), longest=60)
    callers = {JULIET: CallerSettings(ring_seconds=20), "nurse@shakespeare.lit": CallerSettings(ring_seconds=40)}
    call = Inbound(SipUri.parse("sip:+12025550100@x.example"), "carrier")

    def found(rule: InboundRule, call: Inbound = call) -> InboundRoute:
        outcome = inbound(replace(PLAN, inbound=(rule,), callers=callers), call)
        assert isinstance(outcome, InboundRoute)
        return outcome

    assert found(rule).ring_seconds == 40
    assert found(replace(rule, ring_seconds=10)).ring_seconds == 10
    assert found(replace(rule, ring_seconds=10, ring="sequence")).steps[-1] == "each rings 10 s"
    assert found(rule).limits == (Limit("rule r", longest=60),)
    stranger = found(rule, replace(call, trunk=None))
    assert (stranger.ring_seconds, stranger.steps[-1]) == (None, "a stranger's call rings as long as any")


NOON, NIGHT = datetime(2026, 11, 23, 12, tzinfo=UTC), datetime(2026, 11, 23, 20, tzinfo=UTC)
DAY = Hours.parse(["Mon-Fri 08:00-18:00"], zone_of("Europe/London"))
RULES = st.lists(
    st.builds(
        lambda match, refused: InboundRule("", match, () if refused else (JULIET,), refuse="no" if refused else None),
        st.builds(
            InboundMatch,
            any_source=st.booleans(),
            trunk=some("carrier", "backup"),
            number=some("+1202*", "+12025550100", "+1*"),
            user=some("*", "j*", "*t", "+1*"),
            caller=some("+44*", "+4420*", "*@montague.example", "*@*", "anonymous", "*"),
            hours=st.sampled_from([None, None, DAY]),
        ),
        st.booleans(),
    ),
    max_size=6,
).map(lambda rules: tuple(replace(rule, name=f"rule {number}") for number, rule in enumerate(rules)))
COMING = st.builds(
    lambda user, trunk, caller, at: Inbound(SipUri("sip", user, "sip.example.com"), trunk, None, caller, at),
    st.sampled_from(["+12025550100", "juliet", "nurse"]),
    st.sampled_from(["carrier", "backup", None]),
    st.sampled_from([None, "+442079460018", "+442079460018%evil.example", "romeo%montague.example", "anonymous%x.y"]),
    st.sampled_from([None, NOON, NIGHT]),
)


@given(RULES, COMING)
def test_the_first_rule_for_calls_from_sip_that_matches_decides_and_none_that_is_never_reached(
    rules: tuple[InboundRule, ...], call: Inbound
) -> None:
    plan = replace(PLAN, inbound=rules)
    found, explained = inbound(plan, call), inbound(plan, call, explain=True)
    assert replace(found, steps=()) == replace(explained, steps=())
    alone = (rule.name for rule in rules if inbound(replace(PLAN, inbound=(rule,)), call).rule)
    assert found.rule == next(alone, None)
    # What is never reached is told by rules that have a clock.
    dead = {rules[later].name for later, _ in unreached_inbound(plan)}
    assert call.at is None or found.rule not in dead
