"""The books balance, whatever happens in whatever order: calls, answers, transfers, refusals, a database that comes and
goes, and gateways that die in the middle of it all.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.accounts import Accounts, Shut
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.call.leg import Admitted
from gateway.dialplan.booking import Booking, Unit
from tests.board import JULIET, Asked, Scene
from tests.scenarios.clock import jumping, passes
from tests.support import phone_session, webrtc_session
from tests.till import MINUTE, Till, books, claim

MOST_CALLS, MOST_MONEY = 6, 2_000_000
BOOKING = Booking(JULIET, (claim(Unit.CALLS, MOST_CALLS), claim(Unit.MONEY, MOST_MONEY, budget="spent")), (), (MINUTE,))


@dataclass
class Settled(Till):
    """Remembers what calls came to."""

    answered: int = 0
    cost: int = 0

    def settle(self, call: str, seconds: int, cost: int, answered: bool) -> None:
        super().settle(call, seconds, cost, answered)
        self.answered += answered
        self.cost += cost if answered else 0


@dataclass
class World:
    till: Settled = field(default_factory=Settled)
    calls: list[Admitted] = field(default_factory=list)
    lost: int = 0  # calls that were answered when their gateway died
    granted: int = 0  # what was granted to them

    def __post_init__(self) -> None:
        self.starts()

    def starts(self) -> None:
        self.accounts = Accounts(self.till)
        self.scene = Scene(accounts=self.accounts)
        books(self.scene.board.routing, BOOKING)

    async def happens(self, what: str, which: int) -> None:
        callees, calls = self.scene.callees, self.calls
        callee: Asked | None = callees[which % len(callees)] if callees else None
        match what:
            case "call":
                _, admitted = self.scene.from_xmpp("+12025550123", webrtc_session() if which % 3 else None)
                calls.append(admitted)
            case "join" if calls:
                calls[which % len(calls)].sink(ev.CallerJoined(webrtc_session()))
            case "hang up" if calls:
                calls[which % len(calls)].sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))
            case "answer" if callee:
                callee.sink(ev.Answered(callee.attempt, phone_session()))
            case "refuse" if callee:
                cause = Cause.CONGESTION if which % 2 else Cause.BUSY
                callee.sink(ev.HungUp(Leg.CALLEE, cause, callee.attempt))
            case "transfer" if callee:
                callee.sink(ev.TransferAsked(Leg.CALLEE, callee.attempt, "sip:+12025550177@192.0.2.5"))
            case "redirect" if callee:
                callee.sink(ev.Redirected(callee.attempt, ("sip:+12025550177@192.0.2.5",)))
                callee.sink(ev.HungUp(Leg.CALLEE, Cause.FORBIDDEN, callee.attempt))
            case "media lost" if calls:
                calls[which % len(calls)].sink(ev.MediaLost(Cause.MEDIA_LOST))
            case "time":
                await passes(which)
            case "away":
                self.till.away = not self.till.away
            case "crash":
                self.dies()
                self.starts()
        await self.scene.settled()

    def dies(self) -> None:
        """Nobody settles anything; later the leases of what it had are over."""
        self.accounts._till = Shut()
        self.till.open.clear()
        self.calls.clear()
        for entry in tuple(self.till.book.entries.values()):
            if entry.answered:
                self.lost += 1
                self.granted += sum(hold.granted for hold in entry.holds if hold.unit == Unit.MONEY)
            self.till.book.lapse(entry)
        self.till.book.entries.clear()


ACTS = ("call", "answer", "call", "answer", "join", "hang up", "refuse", "transfer", "redirect", "media lost", "away")
STEPS = st.lists(st.tuples(st.sampled_from((*ACTS, "time", "time", "crash")), st.integers(0, 100)), max_size=40)


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_nothing_stays_reserved_and_nothing_is_used_that_was_not_talked(steps: list[tuple[str, int]]) -> None:
    async def play() -> World:
        with jumping():
            world = World()
            for what, which in steps:
                await world.happens(what, which)
                used, reserved = world.till.used(Unit.CALLS)
                assert used + reserved <= MOST_CALLS
            world.till.away = False
            await world.scene.board.drain()
            await world.scene.settled()
        return world

    world = asyncio.run(play())
    till = world.till
    assert till.open == {}
    assert till.used(Unit.CALLS) == (till.answered + world.lost, 0)
    assert till.used(Unit.MONEY) == (till.cost + world.granted, 0)
