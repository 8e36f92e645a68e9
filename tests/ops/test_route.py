"""What `gateway route` says of money, of calls from SIP and of what only DNS knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.addresses import SipUri
from gateway.dialplan import prices
from gateway.dialplan.booking import Period, Unit
from gateway.dialplan.plan import Inbound, Refusal, Request, Route, inbound
from gateway.dialplan.rules import Allowance, BudgetRule, BurstRule, Match, Rule
from gateway.errors import AddressError
from gateway.ops.route import called, calling, lines, outgoing, outgoing_by_dns, reachable
from tests.dialplan.verona import CARRIER, INBOUND, JULIET, PLAN, with_rules

NUMBER = "+12025550123"
LISTED = with_rules(Rule("listed", Match(), via=("enum",)), *PLAN.routes)


def printed(outcome: Route | Refusal) -> list[str]:
    return [line for line, _ in lines(outcome)]


def test_a_call_is_told_with_its_price_and_what_it_is_booked_under() -> None:
    table, _ = prices.read("prefix,connect,per_minute\n1,0,0.012\n", name="a", currency="EUR")
    plan = replace(
        PLAN,
        trunks={**PLAN.trunks, "carrier": replace(CARRIER, prices="a")},
        prices={"a": table},
        budgets=(BudgetRule("all", (Allowance(Unit.CALLS, Period.HOUR, 10),), user=("*",), freeze=True),),
        bursts=(BurstRule("many", 5, 60, user=("*",)),),
    )
    assert printed(outgoing(plan, Request(JULIET, NUMBER)))[-4:] == [
        f"via carrier: sip:{NUMBER}@sbc.carrier.example;transport=tls, 0.012 EUR a minute",
        f"via backup: sip:{NUMBER}@198.51.100.9:5080",
        f"budget all: 10 calls an hour, counted as all user {JULIET}, and freezes who uses it up",
        f"burst many: 5 calls within 60 s, counted as many user {JULIET}",
    ]


def test_it_is_told_that_enum_was_not_asked() -> None:
    shown = printed(outgoing(LISTED, Request(JULIET, NUMBER)))
    assert shown[-1] == f"DNS was not asked whether ENUM has {NUMBER}: --dns does"


async def test_dns_is_asked_as_for_a_call() -> None:
    async def look_up(uri: SipUri) -> frozenset[str]:
        return frozenset({"192.0.2.77"} if uri.host == "cheap.example" else ())

    async def enum(number: str, suffixes: Sequence[str]) -> tuple[SipUri, ...] | str:
        assert (number, suffixes) == (NUMBER, ("e164.arpa",))
        return tuple(map(SipUri.parse, ("sip:a@cheap.example", "sip:a@montague.example")))

    outcome = await outgoing_by_dns(LISTED, Request(JULIET, NUMBER), look_up, enum)
    assert isinstance(outcome, Route)
    assert (outcome.rule, outcome.targets, outcome.ask) == ("listed", ("sip:a@montague.example",), None)
    host = await outgoing_by_dns(PLAN, Request(JULIET, "a%x.montague.example"), look_up, enum)
    assert isinstance(host, Route)
    trunk = await outgoing_by_dns(
        with_rules(Rule("all", Match(), via=("direct",))), Request(JULIET, "a%cheap.example"), look_up, enum
    )
    assert isinstance(trunk, Refusal)


async def test_it_is_told_that_dns_did_not_answer() -> None:
    async def nobody(number: str, suffixes: Sequence[str]) -> str:
        return "DNS did not answer"

    async def look_up(uri: SipUri) -> frozenset[str]:
        return frozenset()

    outcome = await outgoing_by_dns(LISTED, Request(JULIET, NUMBER), look_up, nobody)
    assert (outcome.rule, "ENUM: DNS did not answer" in outcome.steps) == ("america", True)
    assert isinstance(await outgoing_by_dns(LISTED, Request(JULIET, "a%%b"), look_up, nobody), Refusal)


def test_a_call_from_sip_is_told_by_whom_it_rings() -> None:
    call = Inbound(called("+12025550100", "sip.example.com"), "carrier")
    shown = [line for line, _ in lines(inbound(INBOUND, call, explain=True))]
    assert shown[-1] == f"rings {JULIET}"


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("sip:nurse@sip.example.com", "sip:nurse@sip.example.com"),
        ("nurse", "sip:nurse@sip.example.com"),
        ("nurse@other.example", "sip:nurse@other.example"),
        ("tel:+12025550100", "tel:+12025550100"),
    ],
)
def test_whom_sip_calls_may_be_written_short(address: str, uri: str) -> None:
    assert str(called(address, "sip.example.com")) == uri


@pytest.mark.parametrize(
    ("caller", "trunk", "local"),
    [
        ("+12025550177", True, "+12025550177"),
        ("(202) 555-0177", True, "+12025550177"),
        ("2025550177@pbx.example", True, "+12025550177"),
        ("2025550177@pbx.example", False, "2025550177%pbx.example"),
        ("sip:Romeo@montague.example;x=y", False, "romeo%montague.example"),
        ("anonymous", False, "anonymous%anonymous.invalid"),
    ],
)
def test_who_calls_from_sip_appears_as_he_would(caller: str, trunk: bool, local: str) -> None:
    assert calling(PLAN, caller, CARRIER if trunk else None) == local


@pytest.mark.parametrize("caller", ["+12025550177", "sip:@", "a@b@c"])
def test_a_caller_who_is_none_is_told(caller: str) -> None:
    with pytest.raises(AddressError):
        calling(PLAN, caller, None)


@pytest.mark.parametrize(
    ("targets", "routed"),
    [
        (("sip:a@10.0.0.1",), False),
        (("sip:a@10.0.0.1", "sip:a@montague.example"), True),
        (("sip:a@10.0.0.1", "sip:a@10.1.0.1"), False),
        (("sip:a@10.9.0.1",), True),
        (("sip:a@9.9.9.9",), True),
    ],
)
def test_a_direct_call_to_an_address_that_is_not_public_is_refused(targets: tuple[str, ...], routed: bool) -> None:
    outcome = outgoing(with_rules(Rule("all", Match(), via=("direct",))), Request(JULIET, "a%montague.example"))
    assert isinstance(outcome, Route)
    several = replace(outcome, target=targets[0], targets=targets, via=("direct",) * len(targets))
    found = reachable(several, ["10.9.0.0/16"])
    assert isinstance(found, Route) is routed
    by_trunk = replace(several, via=("carrier",) * len(targets))
    assert reachable(by_trunk, ()) is by_trunk
