"""Calls that cost, from the button of a user's client to what the trunk's telephone hears and what the user reads."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.dialplan import prices
from gateway.dialplan.booking import Period, Unit
from gateway.dialplan.plan import Emergency, Kind, Plan
from gateway.dialplan.rules import Allowance, BudgetRule, BurstRule, Match
from gateway.sip.message import Request
from tests.clients.conversations import Conversations
from tests.clients.home import STREAM, Home
from tests.clients.user_agent import XML_LANG
from tests.scenarios.clock import jumping, passes
from tests.scenarios.scene import DOMAIN, JULIET, NUMBER, Scene
from tests.support import phone_session

USED_UP = "the budget for such calls is used up (abroad)"
ABROAD = f"+442079460123@{DOMAIN}"
AT_HOME = f"{NUMBER}@{DOMAIN}"
HELP = f"911@{DOMAIN}"
TABLE = "prefix,connect,per_minute\n44,0.10,0.60\n1,0,0.06\n"  # EUR: a hundredth a second abroad
ABOVE = Match(kind=(Kind.NUMBER,), country=("GB",))


class Town(Scene):
    """The carrier charges by its table; abroad is one Euro a day, and three calls in ten seconds are too many."""

    budget = BudgetRule("abroad", (Allowance(Unit.MONEY, Period.DAY, 1_000_000, "EUR"),), ABOVE, user=("*",))
    burst = BurstRule("hurry", 3, 10, user=("*",))

    def plan(self) -> Plan:
        plan = super().plan()
        table, faults = prices.read(TABLE, name="carrier", currency="EUR")
        assert faults == []
        return replace(
            plan,
            trunks={"carrier": replace(plan.trunks["carrier"], prices="carrier")},
            prices={"carrier": table},
            budgets=(self.budget,),
            bursts=(self.burst,),
            emergency=Emergency("route", ("carrier",)),
        )


class Reader(Conversations):
    """Shows what is written to it, in German where there is any."""

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.reads: list[str] = []

    def receive(self, stanza: ET.Element) -> None:
        bodies = {body.get(XML_LANG, ""): body.text or "" for body in stanza.findall(f"{{{STREAM}}}body")}
        if text := bodies.get("de") or bodies.get(""):
            self.reads.append(text)
        super().receive(stanza)


@pytest.fixture
async def town() -> AsyncIterator[Home]:
    with jumping():
        async with Town() as scene:
            yield Home(scene)
            assert scene.till.open == {}
            assert scene.till.used(Unit.MONEY)[1] == 0


async def talks(town: Home, juliet: Reader, contact: str) -> Request:
    """Juliet calls and talks; the INVITE that the phone got."""
    juliet.sees.clear()
    juliet.call(contact)
    invite = await town.scene.phone.hears("INVITE")
    town.scene.phone.answers(invite, 200, phone_session())
    await juliet.until("Connected")
    await town.scene.phone.hears("ACK")
    return invite


async def refused(town: Home, juliet: Reader, contact: str) -> str:
    """Juliet calls, and nobody's telephone rings; why, as her record says."""
    before = town.scene.phone.heard.count("INVITE")
    juliet.call(contact)
    record = await town.scene.over()
    await town.scene.phone.is_heard()
    await passes(1)
    assert town.scene.phone.heard.count("INVITE") == before
    assert not juliet.busy
    return record.cause


async def test_a_budget_of_one_call_is_used_up_by_one_call_and_the_next_says_so(town: Home) -> None:
    scene = town.scene
    one = BudgetRule("abroad", (Allowance(Unit.CALLS, Period.DAY, 1),), ABOVE, user=("*",))
    scene.switchboard.routing.plan = replace(scene.switchboard.routing.plan, budgets=(one,))
    juliet = Reader(town)
    await talks(town, juliet, ABROAD)
    await passes(29)
    juliet.hang_up()
    await scene.phone.hears("BYE")
    record = await scene.over()
    assert (record.cause, record.price, record.currency) == ("normal", 100_000 + 300_000, "EUR")
    assert await refused(town, juliet, ABROAD) == "exhausted"
    assert juliet.reads == ["Der Anruf kam nicht zustande: das Budget für solche Anrufe ist aufgebraucht (abroad)"]
    await talks(town, juliet, AT_HOME)
    juliet.hang_up()
    assert (await scene.over()).cause == "normal"


async def test_a_call_that_outlives_its_budget_is_warned_and_ended_and_the_far_side_learns_nothing_of_it(
    town: Home,
) -> None:
    juliet = Reader(town)
    await talks(town, juliet, ABROAD)  # ninety seconds for a Euro
    await passes(65)
    assert juliet.reads == []
    await passes(10)
    assert juliet.reads == ["Dieser Anruf endet in 20 Sekunden: das Budget für solche Anrufe ist aufgebraucht (abroad)"]
    assert [facts for facts in town.scene.engine.asked if facts[-1] == "warning"] == [("play", "caller", "warning")]
    assert juliet.sees[-1] == "Connected"
    await passes(12)
    bye = await town.scene.phone.hears("BYE")
    assert bye.headers["Reason"] == 'Q.850;cause=31;text="ended by the gateway"'
    record = await town.scene.over()
    assert (record.cause, record.blame, record.text, round(record.duration)) == ("exhausted", "caller", USED_UP, 89)
    assert (record.price, record.currency) == (1_000_000, "EUR")
    await passes(1)
    assert not juliet.busy
    assert juliet.reads[1:] == ["Der Anruf wurde unterbrochen: das Budget für solche Anrufe ist aufgebraucht (abroad)"]
    assert juliet.complaints == []


async def test_whoever_calls_in_a_hurry_is_frozen_and_reads_why_until_he_is_thawed(town: Home) -> None:
    juliet = Reader(town)
    for _ in range(3):
        await talks(town, juliet, AT_HOME)
        juliet.hang_up()
        await town.scene.over()
    assert await refused(town, juliet, AT_HOME) == "frozen"
    assert juliet.reads[0].startswith(
        "Ihr Konto wurde gesperrt: kostenpflichtige Anrufe sind vorerst gesperrt (hurry: "
    )
    assert juliet.reads[1].startswith("Der Anruf kam nicht zustande: kostenpflichtige Anrufe sind vorerst gesperrt")
    await passes(600)
    assert await refused(town, juliet, ABROAD) == "frozen"
    assert len(juliet.reads) == 3
    del town.scene.till.book.frozen[JULIET]
    town.scene.till.book.bursts.clear()
    await talks(town, juliet, AT_HOME)
    juliet.hang_up()
    assert (await town.scene.over()).cause == "normal"


async def test_help_is_called_by_whoever_is_frozen_has_nothing_left_and_finds_the_database_away(town: Home) -> None:
    juliet = Reader(town)
    town.scene.till.book.freeze(JULIET, "by hand")
    town.scene.till.away = True
    invite = await talks(town, juliet, HELP)
    assert invite.uri.startswith("sip:911@")
    await passes(600)
    juliet.hang_up()
    await town.scene.phone.hears("BYE")
    record = await town.scene.over()
    assert (record.cause, record.emergency, town.scene.till.said) == ("normal", True, [])


async def test_a_database_that_is_away_refuses_what_costs_and_says_so(town: Home) -> None:
    town.scene.till.away = True
    juliet = Reader(town)
    for contact in (AT_HOME, ABROAD):
        assert await refused(town, juliet, contact) == "unbooked"
    assert juliet.reads == ["Der Anruf kam nicht zustande: kostenpflichtige Anrufe sind zurzeit nicht möglich"] * 2
    juliet.call(f"echo@{DOMAIN}")  # nobody charges for it
    await juliet.until("Connected")
    juliet.hang_up()
    assert (await town.scene.over()).cause == "normal"


async def test_a_plan_that_changes_leaves_a_call_its_price_and_its_budget(town: Home) -> None:
    juliet = Reader(town)
    await talks(town, juliet, ABROAD)
    routing = town.scene.switchboard.routing
    dear, _ = prices.read("prefix,connect,per_minute\n44,9,9\n", name="carrier", currency="EUR")
    routing.plan = replace(routing.plan, prices={"carrier": dear}, budgets=())
    await passes(90)
    record = await town.scene.over()
    assert (record.cause, record.price) == ("exhausted", 1_000_000)
