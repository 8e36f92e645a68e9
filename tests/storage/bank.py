"""Bookings to be tried out, in whatever database, with calls, budgets and clocks at hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from gateway.dialplan.booking import Burst, Claim, Period, Tariff, Unit
from gateway.storage.bookings import Ask, Bookings, BookingsAway

JULIET = "juliet@shakespeare.lit"
HUNDRED = Claim("all user juliet", "all", Unit.CALLS, Period.MONTH, 100)
TALK = Claim("abroad user juliet", "abroad", Unit.SECONDS, Period.MONTH, 1000)
SPEND = Claim("spend user juliet", "spend", Unit.MONEY, Period.MONTH, 10_000_000, currency="EUR")
TARIFF = Tariff("EUR", connect=50_000, per_minute=600_000)
BURST = Burst("fast juliet", "fast", 3, 60)


def ask(call: str, *claims: Claim, seconds: int = 60, bursts: tuple[Burst, ...] = ()) -> Ask:
    return Ask(call, JULIET, claims, bursts, TARIFF, seconds)


class Time:
    """Both clocks of a gateway, to be set by the test."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
        self.boot = 1000.0

    def on(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds


@asynccontextmanager
async def gateway(url: str, **how: Any) -> AsyncIterator[Bookings]:
    bookings = Bookings(url, **{"limit": 20.0, "retry": 0.01, **how})
    await bookings.start()
    try:
        yield bookings
    finally:
        await bookings.stop()


def on(time: Time) -> dict[str, Any]:
    return {"wall": lambda: time.wall, "boot": lambda: time.boot}


async def drawn(bookings: Bookings) -> dict[str, tuple[int, int]]:
    """Used and reserved of each budget, in the database."""
    bookings._limit = 20.0  # reading is not what is tried
    return {usage.budget: (usage.used, usage.reserved) for usage in (await bookings.accounts()).budgets}


async def settled(bookings: Bookings) -> None:
    """All that was settled so far is in the database: what is booked later comes later."""
    await bookings.thaw("nobody@shakespeare.lit")


async def patiently(bookings: Bookings, one: Ask) -> object:
    """What is answered as soon as the database answers."""
    while True:
        try:
            return await bookings.reserve(one)
        except BookingsAway:
            await asyncio.sleep(0.01)
