"""ENUM as a way: the addresses that DNS has for a number, after what goes for every direct call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.addresses import SipUri
from gateway.dialplan import direct, prices
from gateway.dialplan.naptr import Listed, Listing
from gateway.dialplan.plan import Kind, Match, Rule, mappable
from tests.dialplan.verona import AMERICA, PLAN, refused, routed, with_rules

NUMBER = "+12025550123"
ENUM = Rule("enum", Match(kind=(Kind.NUMBER,)), via=("enum", "carrier"))
ALONE = replace(ENUM, name="alone", via=("enum",))


def known(*uris: str | Listed, failure: str = "") -> dict[str, Listing]:
    listed = tuple(each if isinstance(each, Listed) else Listed(SipUri.parse(each)) for each in uris)
    return {NUMBER: Listing(listed, failure)}


def test_what_enum_has_is_called_before_the_trunk() -> None:
    call = routed(NUMBER, with_rules(ENUM), enum=known("sip:a@montague.example", "sips:b@montague.example"))
    assert call.via == ("direct", "direct", "carrier")
    assert call.targets == (
        "sip:a@montague.example",
        "sips:b@montague.example",
        f"sip:{NUMBER}@sbc.carrier.example;transport=tls",
    )
    assert call.ask is None
    assert f"ENUM has sip:a@montague.example, sips:b@montague.example for {NUMBER}" in call.steps
    assert len(call.identities) == 3
    assert call.transfers == ("carrier",)
    assert routed(NUMBER, with_rules(replace(ENUM, transfers=True)), enum=known("sip:a@b.example")).transfers == (
        "direct",
        "carrier",
    )


def test_without_an_answer_it_is_said_what_to_ask_for() -> None:
    call = routed(NUMBER, with_rules(ENUM))
    assert (call.via, call.ask) == (("carrier",), NUMBER)
    assert f"ENUM: not asked for {NUMBER} here" in call.steps
    refusal = refused(NUMBER, with_rules(ALONE))
    assert (refusal.ask, refusal.rule) == (NUMBER, None)


def test_nobody_is_asked_for_whom_the_rule_is_not_meant() -> None:
    rule = replace(ALONE, match=Match(kind=(Kind.NUMBER,), from_=("nurse@shakespeare.lit",)))
    assert refused(NUMBER, with_rules(rule)).ask is None
    assert routed("911", with_rules(rule, ENUM)).ask is None


def test_a_number_that_is_not_listed_goes_the_next_way_or_by_the_next_rule() -> None:
    assert routed(NUMBER, with_rules(ENUM), enum=known()).via == ("carrier",)
    call = routed(NUMBER, with_rules(ALONE, AMERICA), enum=known())
    assert (call.rule, call.via) == ("america", ("carrier", "backup"))
    assert "the next rule" in call.steps
    assert refused(NUMBER, with_rules(ALONE), enum=known()).reason == "no rule allows this call"


@pytest.mark.parametrize("rule", [ENUM, ALONE])
def test_where_dns_fails_the_rule_says_what_follows(rule: Rule) -> None:
    failed = known(failure="nobody answered")
    assert routed(NUMBER, with_rules(rule, AMERICA), enum=failed).via[0] == "carrier"
    refusal = refused(NUMBER, with_rules(replace(rule, enum_failure="refuse"), AMERICA), enum=failed)
    assert (refusal.reason, refusal.rule, refusal.wanted) == ("nobody answered", rule.name, False)
    assert routed(NUMBER, with_rules(replace(rule, enum_failure="refuse"), AMERICA), enum=known()).via[0] == "carrier"


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ("sip:a@sip.example.com", "sip.example.com is this gateway itself"),
        ("sip:a@203.0.113.7", "203.0.113.7 is this gateway itself"),
        ("sip:a@sbc.carrier.example", "its host is trunk carrier, which is called by number"),
        ("sip:a@192.0.2.9", "its host is a trunk, which is called by number"),
        ("sip:a@b.example;maddr=192.0.2.9", "the URI parameter maddr is not allowed"),
        ("sip:911@b.example", "it is an emergency number"),
        (Listed(SipUri.parse("sip:a@c.example"), frozenset({"203.0.113.7"})), "c.example is this gateway itself"),
        (Listed(SipUri.parse("sip:a@c.example"), frozenset({"192.0.2.77"})), "its host is a trunk, which is called"),
    ],
)
def test_what_no_user_may_call_directly_nobody_may_put_into_dns(listed: str | Listed, why: str) -> None:
    call = routed(NUMBER, with_rules(ENUM), enum=known(listed, "sip:12025550123@montague.example"))
    assert call.targets[0] == "sip:12025550123@montague.example"
    assert any(step.startswith("without sip:") and why in step for step in call.steps)
    assert routed(NUMBER, with_rules(ENUM), enum=known(listed)).via == ("carrier",)


def test_addresses_of_trunks_that_were_looked_up_count() -> None:
    call = routed(NUMBER, with_rules(ENUM), enum=known("sip:a@198.18.0.1"), trunk_hosts=frozenset({"198.18.0.1"}))
    assert call.via == ("carrier",)


@pytest.mark.parametrize("local", ["411", "romeo%montague.example", "+12025550123;ext=55"])
def test_what_is_no_number_alone_is_not_asked_for(local: str) -> None:
    plan = with_rules(Rule("any", Match(), via=("enum", "backup")))
    call = routed(local, plan, enum=known("sip:a@montague.example"))
    assert (call.via, call.ask) == (("backup",), None)


def test_enum_costs_nothing_and_is_not_booked() -> None:
    table, _ = prices.read("prefix,connect,per_minute\n1,0,0.01\n", name="a", currency="EUR")
    trunks = {"carrier": replace(PLAN.trunks["carrier"], prices="a")}
    plan = with_rules(replace(ENUM, cheapest=True, via=("carrier", "enum")), prices={"a": table}, trunks=trunks)
    call = routed(NUMBER, plan, enum=known("sip:a@montague.example"))
    assert call.via == ("direct", "carrier")
    assert call.booking
    assert [tariff and tariff.per_minute for tariff in call.booking.tariffs] == [None, 10_000]
    assert routed(NUMBER, replace(plan, routes=(ALONE,)), enum=known("sip:a@montague.example")).booking is None


def test_a_contact_whom_only_enum_may_have_is_there() -> None:
    assert mappable(with_rules(ALONE), NUMBER)
    assert direct.odd_parameter(SipUri.parse("sip:a@b.example;transport=tcp;user=phone")) is None
