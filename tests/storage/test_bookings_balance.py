"""After any sequence of calls, crashes and restarts nothing stays reserved, and used is what was talked."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gateway.dialplan.booking import Claim, Period, Unit
from gateway.storage.bookings import Ask, Bookings, Granted
from gateway.storage.bookrows import bookings as calls
from gateway.storage.bookrows import budgets
from tests.storage.test_bookings import Time, gateway, on

CLAIM = Claim("abroad user juliet", "abroad", Unit.SECONDS, Period.HOUR, 500)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 1), st.integers(1, 200)),  # at which gateway, how many seconds
        st.tuples(st.just("extend"), st.integers(0, 9), st.integers(1, 400)),  # which of the calls, seconds in all
        st.tuples(st.just("ring on"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("settle"), st.integers(0, 9), st.integers(0, 400)),
        st.tuples(st.just("give up"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("crash"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("pass"), st.just(0), st.integers(1, 2000)),  # so many seconds
        st.tuples(st.just("sweep"), st.integers(0, 1), st.just(0)),
    ),
    max_size=25,
)


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


@dataclass
class Story:
    url: str
    time: Time = field(default_factory=Time)
    calls: list[Call] = field(default_factory=list)
    gateways: list[Bookings] = field(default_factory=list)

    async def another(self) -> Bookings:
        made = Bookings(self.url, limit=20.0, **on(self.time))
        await made.start()
        return made

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
            case "sweep":
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


async def told(file: Path, steps: list[tuple[str, int, int]]) -> None:
    story = Story(f"sqlite:///{file}")
    await story.told(steps)
    story.time.on(400)
    async with gateway(story.url, **on(story.time)) as last:
        await last.sweep()
        with last.engine.connect() as connection:
            rows = connection.execute(select(budgets.c.used, budgets.c.reserved)).all()
            assert sum(row.reserved for row in rows) == 0
            assert sum(row.used for row in rows) == sum(call.used for call in story.calls)
            assert all(row.lapsed for row in connection.execute(select(calls)))


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_reservations_balance_to_zero_and_used_is_what_was_talked(steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(told(Path(folder) / "gateway.db", steps))
