"""A till for scenes: the bookings' own arithmetic without a database, which can be away, or late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gateway.dialplan.booking import Booking, Claim, Period, Tariff, Unit
from gateway.dialplan.plan import Plan, Refusal, Route
from gateway.routing import Routing
from gateway.storage.book import Answer, Ask, Book, Frozen, Granted
from gateway.storage.bookings import BookingsAway
from gateway.storage.windows import Window

MINUTE = Tariff("EUR", connect=100_000, per_minute=60_000)  # 0.10 EUR, and a thousandth a second


def claim(unit: Unit, most: int, *, freeze: bool = False, budget: str = "abroad") -> Claim:
    return Claim(f"{budget} user juliet@shakespeare.lit", budget, unit, Period.DAY, most, freeze)


def one_call(account: str = "juliet@shakespeare.lit") -> Booking:
    return Booking(account, (claim(Unit.CALLS, 1),), (), (MINUTE,))


@dataclass
class Till:
    """`away`: it answers nobody. `waits`: it answers when this is set."""

    away: bool = False
    waits: asyncio.Event | None = None
    book: Book = field(default_factory=lambda: Book(0.0, lambda period: Window(0, 10**9)))
    open: dict[str, Ask] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)  # everything that was asked of it, in order

    async def reserve(self, ask: Ask) -> Answer:
        self.open[ask.call] = ask
        self.said.append(f"reserve {ask.seconds}")
        await self._opens()
        return self.book.reserve(ask, 300.0)

    async def extend(self, call: str, seconds: int, tariff: Tariff | None, *, answered: bool) -> Answer:
        self.said.append(f"extend {seconds}")
        await self._opens()
        if call not in self.open:
            return Granted(0)
        return self.book.extend(self.open[call], seconds, tariff, answered, 300.0)

    def settle(self, call: str, seconds: int, cost: int, answered: bool) -> None:
        """As in gateway.storage.bookings, once and for all; whoever settles twice is found out."""
        self.said.append(f"settle {seconds} {cost}" if answered else "settle nothing")
        del self.open[call]
        self.book.settle(call, seconds, cost, answered)

    def remembered(self, account: str) -> Frozen | None:
        return self.book.frozen.get(account)

    async def _opens(self) -> None:
        if self.waits is not None:
            await self.waits.wait()
        if self.away:
            raise BookingsAway("the database is away")

    def used(self, unit: Unit = Unit.CALLS) -> tuple[int, int]:
        """What is used and reserved of all budgets of this unit."""
        counters = [counter for counter in self.book.counters.values() if counter.unit == unit]
        return sum(counter.used for counter in counters), sum(counter.reserved for counter in counters)


def books(routing: Routing, booking: Callable[[Route], Booking | None] | Booking | None) -> None:
    """From now on the dialplan wants this booked for every call but those for help."""
    decide = routing.decide

    async def deciding(plan: Plan, caller: str, local: str) -> Route | Refusal:
        outcome = await decide(plan, caller, local)
        if isinstance(outcome, Refusal) or outcome.emergency:
            return outcome
        wanted = booking(outcome) if callable(booking) else booking
        if wanted is not None and len(wanted.tariffs) == 1:
            wanted = replace(wanted, tariffs=wanted.tariffs * len(outcome.via))
        return replace(outcome, booking=wanted)

    routing.decide = deciding  # type: ignore[method-assign]  # the dialplan's own bookings have tests of their own
