"""After any sequence of calls, crashes and restarts nothing stays reserved, and used is what was talked."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gateway.dialplan.booking import Claim, Period, Unit
from gateway.storage.book import Answer, Book
from gateway.storage.bookings import Ask, Bookings, Granted
from gateway.storage.bookrows import bookings as calls
from gateway.storage.bookrows import budgets
from gateway.storage.windows import window
from tests.storage.bank import Time, gateway, on

CLAIM = Claim("abroad user juliet", "abroad", Unit.SECONDS, Period.HOUR, 500)

_WHICH = st.integers(0, 2)  # of the calls that live
_STEP = st.one_of(
    st.tuples(st.just("reserve"), st.integers(0, 1), st.integers(1, 200)),  # at which gateway, how many seconds
    st.tuples(st.just("extend"), _WHICH, st.integers(1, 400)),  # seconds in all
    st.tuples(st.just("ring on"), _WHICH, st.just(0)),
    st.tuples(st.just("settle"), _WHICH, st.integers(0, 400)),
    st.tuples(st.just("give up"), _WHICH, st.just(0)),
    st.tuples(st.just("crash"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("pass"), st.integers(0, 1), st.sampled_from([10, 200, 310, 3600])),  # who sweeps then
)
STEPS = st.lists(_STEP, min_size=3, max_size=25)


@dataclass
class Call:
    name: str
    at: int  # the gateway
    granted: int
    answered: bool = False
    settled: int | None = None
    alive: bool = True  # its gateway has not crashed since

    @property
    def used(self) -> int:
        if self.settled is not None:
            return self.settled
        return self.granted if self.answered else 0


class Bare:
    """A gateway with all of its rows at hand: what is decided, without a database."""

    def __init__(self, book: Book, time: Time) -> None:
        self.book, self.time = book, time
        self.asks: dict[str, Ask] = {}

    async def reserve(self, ask: Ask) -> Answer:
        self.asks[ask.call] = ask
        self.book.now = self.time.wall
        return self.book.reserve(ask, 300)

    async def extend(self, call: str, seconds: int, *, answered: bool = True) -> Answer:
        self.book.now = self.time.wall
        return self.book.extend(self.asks[call], seconds, None, answered, 300)

    def settle(self, call: str, seconds: int = 0, cost: int = 0, answered: bool = False) -> None:
        self.book.settle(call, seconds, cost, answered)

    async def sweep(self) -> None:
        for entry in list(self.book.entries.values()):
            if not entry.lapsed and entry.until < self.time.wall:
                self.book.lapse(entry)

    async def stop(self) -> None: ...


@dataclass
class Story:
    another: Callable[[], Awaitable[Any]]
    time: Time
    calls: list[Call] = field(default_factory=list)
    gateways: list[Any] = field(default_factory=list)

    async def told(self, steps: list[tuple[str, int, int]]) -> None:
        self.gateways = [await self.another(), await self.another()]
        for step, which, amount in steps:
            await self.does(step, which, amount)
        for bookings in self.gateways:
            await bookings.stop()

    async def does(self, step: str, which: int, amount: int) -> None:
        living = [call for call in self.calls if call.alive and call.settled is None]
        match step:
            case "reserve":
                name = f"c{len(self.calls)}"
                found = await self.gateways[which].reserve(
                    Ask(name, "juliet@shakespeare.lit", (CLAIM,), (), None, amount)
                )
                self.calls.append(Call(name, which, found.seconds if isinstance(found, Granted) else 0))
            case "crash":
                await self.gateways[which].stop()
                for call in self.calls:
                    call.alive = call.alive and call.at != which
                self.gateways[which] = await self.another()
            case "pass":
                self.time.on(amount)
                await self.gateways[which].sweep()
            case _ if which < len(living):
                call = living[which]
                bookings = self.gateways[call.at]
                match step:
                    case "extend" if call.granted:
                        found = await bookings.extend(call.name, amount)
                        call.answered = True
                        call.granted = max(call.granted, found.seconds if isinstance(found, Granted) else 0)
                    case "ring on" if call.granted and not call.answered:
                        await bookings.extend(call.name, call.granted, answered=False)
                    case "settle" if call.granted:
                        call.settled = min(amount, call.granted)
                        bookings.settle(call.name, call.settled, 0, answered=True)
                    case "give up":
                        call.settled = 0
                        bookings.settle(call.name)


@settings(max_examples=500, deadline=None)
@given(STEPS)
def test_reservations_balance_to_zero_and_used_is_what_was_talked(steps: list[tuple[str, int, int]]) -> None:
    time = Time()
    book = Book(time.wall, lambda period: window(period, time.wall))

    async def another() -> Bare:
        return Bare(book, time)

    async def told() -> None:
        story = Story(another, time)
        await story.told(steps)
        time.on(400)
        await (await another()).sweep()
        assert sum(counter.reserved for counter in book.counters.values()) == 0
        assert sum(counter.used for counter in book.counters.values()) == sum(call.used for call in story.calls)

    asyncio.run(told())


async def in_a_database(url: str, steps: list[tuple[str, int, int]]) -> None:
    time = Time()

    async def another() -> Bookings:
        made = Bookings(url, limit=20.0, **on(time))
        await made.start()
        return made

    story = Story(another, time)
    await story.told(steps)
    time.on(400)
    async with gateway(url, **on(time)) as last:
        await last.sweep()
        with last.engine.connect() as connection:
            rows = connection.execute(select(budgets.c.used, budgets.c.reserved)).all()
            assert sum(row.reserved for row in rows) == 0
            assert sum(row.used for row in rows) == sum(call.used for call in story.calls)
            assert all(row.lapsed for row in connection.execute(select(calls)))


@settings(max_examples=15, deadline=None)
@given(STEPS)
@example([("reserve", 0, 100), ("extend", 0, 100), ("pass", 1, 310), ("settle", 0, 10)])
@example([("reserve", 0, 100), ("extend", 0, 100), ("pass", 1, 310), ("extend", 0, 200), ("crash", 0, 0)])
@example([("reserve", 0, 100), ("pass", 1, 310), ("reserve", 1, 450), ("extend", 0, 100), ("settle", 0, 10)])
def test_a_database_balances_as_well(steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(in_a_database(f"sqlite:///{Path(folder) / 'gateway.db'}", steps))
