"""ENUM from the wire to the decision: a name server on loopback, the resolver, and what the dialplan makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from gateway.accounts import Accounts
from gateway.addresses import SipUri
from gateway.dialplan.plan import Kind, Match, Plan, Route, Rule, Trunk
from gateway.routing import Limits, Routing
from gateway.sip.resolver import Resolver
from tests.sip.test_resolver import NUMBER, NameServer, server

__all__ = ["server"]  # the fixture

JULIET = "juliet@shakespeare.lit"
NUMBERS = Match(kind=(Kind.NUMBER,))
PLAN = Plan(
    users=("shakespeare.lit",),
    region="US",
    trunks={"carrier": Trunk("carrier", SipUri.parse("sip:192.0.2.50"))},
    routes=(Rule("listed", NUMBERS, ("enum",)), Rule("numbers", NUMBERS, ("carrier",))),
    enum_suffixes=("e164.arpa", "private.example"),
)


class Asking:
    """A routing room whose DNS is the test's."""

    def __init__(self, server: NameServer) -> None:
        self._resolver = Resolver([("127.0.0.1", server.port)], chance=lambda: 0.0)
        self.routing = Routing(
            PLAN,
            sip_domain="sip.example.com",
            limits=Limits(),
            look_up=self._resolver.hosts,
            accounts=Accounts(cast(Any, None)),
            now=lambda: 0.0,
            unix_now=lambda: 1_000_000.0,
        )
        self.routing.ask_enum = self._resolver.enum

    async def decides(self, number: str, plan: Plan = PLAN) -> Route:
        outcome = await self.routing.decide(plan, JULIET, number)
        assert isinstance(outcome, Route), outcome
        return outcome


@pytest.fixture
async def asking(server: NameServer) -> Asking:
    return Asking(server)


async def test_a_number_is_called_where_dns_says(asking: Asking) -> None:
    call = await asking.decides(NUMBER)
    assert (call.rule, call.via) == ("listed", ("direct", "direct"))
    assert call.targets == ("sip:2025550123@plain.example", "sip:info@plain.example")


async def test_a_number_below_another_suffix_is_found_there(asking: Asking) -> None:
    assert (await asking.decides("+12025550124")).target == "sip:x@plain.example"


async def test_a_number_that_dns_does_not_know_goes_by_the_next_rule(asking: Asking) -> None:
    call = await asking.decides("+12025550199")
    assert (call.rule, call.target) == ("numbers", "sip:+12025550199@192.0.2.50")


async def test_so_does_one_for_which_dns_fails(asking: Asking, server: NameServer) -> None:
    server.fails = "e164.arpa."
    call = await asking.decides(NUMBER)
    assert call.rule == "numbers"
    assert any("DNS did not answer" in step for step in call.steps)


async def test_a_name_that_leads_to_a_trunk_is_a_trunks_whatever_it_is_called(asking: Asking) -> None:
    trunk = Trunk("plain", SipUri.parse("sip:192.0.2.3"))  # what plain.example resolves to
    call = await asking.decides(NUMBER, replace(PLAN, trunks={**PLAN.trunks, "plain": trunk}))
    assert (call.rule, call.via) == ("numbers", ("carrier",))
    assert any("which is called by number" in step for step in call.steps)


async def test_dns_is_asked_once_for_calls_that_come_again(asking: Asking, server: NameServer) -> None:
    for _ in range(3):
        await asking.decides(NUMBER)
    assert [name for name, kind in server.asked if name.endswith("e164.arpa.")] == [
        "3.2.1.0.5.5.5.2.0.2.1.e164.arpa.",
    ]  # fmt: skip


async def test_no_name_is_asked_for_help(asking: Asking, server: NameServer) -> None:
    await asking.routing.decide(PLAN, JULIET, "911")
    await asking.routing.decide(PLAN, "x@elsewhere.example", NUMBER)
    assert server.asked == []
