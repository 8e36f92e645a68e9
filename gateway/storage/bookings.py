"""Budgets booked before anybody is asked to talk: exact across processes and gateways, and never SQL on the event loop.

    reserve, extend ──▶ ┐                                              ┌─▶ answers
    settle          ──▶ ┴─ what waits ──▶ bookkeeper.py, one thread ───┤
                                                                       └─▶ the database

Rules:
1. What was answered survives a crash and a power cut.
2. A reserve or extend that has no answer within `limit` is refused with BookingsAway, and so is one that finds too many
   waiting. Whoever asks refuses the call. Free and emergency calls never come here.
3. A settle waits as long as the database is away. One that cannot be kept is left to the lease (book.py, rule 3).
4. Every gateway sweeps: reservations of those that died are given back by whoever comes first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, event, func, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.dialplan.booking import Tariff
from gateway.errors import GatewayError
from gateway.storage.book import Answer, Ask, Exhausted, Frozen, Granted, short_id
from gateway.storage.bookkeeper import BookingsAway, Bookkeeper, Job
from gateway.storage.bookrows import VERSION, Rows, clocks, metadata
from gateway.storage.database import STARTING, engine_for, short
from gateway.storage.orders import Extend, Freeze, Order, Reserve, Settle, Sweep, Thaw
from gateway.storage.usage import Accounts, Usage, frozen_accounts, usage
from gateway.storage.versions import bring_up
from gateway.storage.windows import SteadyClock

__all__ = ["Accounts", "Ask", "Bookings", "BookingsAway", "Exhausted", "Frozen", "Granted", "Usage"]

log = structlog.get_logger()

LIMIT = 1.0  # s for an answer
LEASE = 300.0  # s that a reservation lives without a word
WAITING = 1000  # asks that wait
OWED = 20_000  # settles that wait for a database that is away

Found = TypeVar("Found")


class Bookings:
    """The bookings in the database at `url` (SQLAlchemy's form). Methods are for the event loop's thread.

    `retry` and `limit` are in seconds: between two tries of what is owed, and for an answer. `wall` and `boot` tell the
    time, in seconds since the epoch and since boot. Raises GatewayError for a URL that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        retry: float = 1.0,
        limit: float = LIMIT,
        wall: Callable[[], float] = time.time,
        boot: Callable[[], float] | None = None,
    ) -> None:
        self.engine = _engine(url, limit)
        self._writing = self.engine.execution_options(booking=True)
        self._retry, self._limit = retry, limit
        self._wall, self._boot = wall, boot or _since_boot
        self._clock = SteadyClock(wall(), self._boot())
        self._open: dict[str, Ask] = {}  # calls that reserved and did not settle
        self._keeper: Bookkeeper | None = None

    async def start(self) -> None:
        """Open the database, make or complete its tables, start the thread. Raises GatewayError when that fails."""
        try:
            self._clock, frozen = await asyncio.wait_for(asyncio.to_thread(self._prepare), STARTING)
        except TimeoutError:
            raise GatewayError(f"[storage] url: no answer from the database in {STARTING:g} s") from None
        except SQLAlchemyError as error:
            raise GatewayError(f"[storage] url: {short(error)}") from error
        self._keeper = Bookkeeper(
            self._writing,
            self._clock,
            asyncio.get_running_loop(),
            wall=self._wall,
            boot=self._boot,
            retry=self._retry,
            frozen=frozen,
        )

    async def stop(self) -> None:
        """Write what is owed, within a few seconds, and close the database. Harmless when it does not run."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await keeper.stop()
        self._open.clear()
        await asyncio.to_thread(self.engine.dispose)

    async def reserve(self, ask: Ask, lease: float = LEASE) -> Answer:
        """Book `ask.seconds` of talk, or as much as all of its budgets pay for, before anybody is asked to talk.

        Whatever comes of it, `settle` ends it. `lease` is in seconds, an hour at most. Raises BookingsAway.
        """
        ask = replace(ask, call=short_id(ask.call))
        known = ask.call in self._open
        self._open[ask.call] = ask
        return await self._booked(Reserve(ask, lease, known))

    async def extend(
        self, call: str, seconds: int, tariff: Tariff | None = None, lease: float = LEASE, *, answered: bool = True
    ) -> Answer:
        """Have the call last `seconds` in all, counted from its answer, at the tariff of whoever answered; renew its
        lease. A repeated one changes nothing. Raises BookingsAway.

        The first belongs to the answer itself: what was granted to an answered call counts as used should we crash.
        A call that has reserved nothing is granted nothing. A frozen account's calls are granted nothing more.
        """
        ask = self._open.get(short_id(call))
        if ask is None:
            return Granted(0)
        return await self._booked(Extend(ask, seconds, tariff or ask.tariff, answered, lease))

    def settle(self, call: str, seconds: int = 0, cost: int = 0, answered: bool = False) -> None:
        """The call is over and took this, in seconds and in millionths of the currency: that takes the place of its
        reservation, and what it did not use is given back. One that nobody answered used nothing. Never blocks, never
        raises; a second time is harmless.
        """
        call = short_id(call)
        keeper = self._keeper
        if self._open.pop(call, None) is None:
            return
        if keeper is None or keeper.waiting + keeper.owed >= OWED:
            log.error("booking not settled: its lease will end it", call=call, seconds=seconds, cost=cost)
            return
        keeper.put(Job(Settle(call, max(0, seconds), max(0, cost), answered)))

    async def freeze(self, account: str, reason: str) -> None:
        """No paid calls for this bare JID until it is thawed. Raises BookingsAway."""
        await self._ask(Freeze(account, reason))

    async def thaw(self, account: str) -> bool:
        """Whether it was frozen; calls that began before count in no burst any more. Raises BookingsAway."""
        return bool(await self._ask(Thaw(account)))

    async def sweep(self) -> int:
        """Give back what those that died had reserved, as it is done every few seconds: how many calls. Raises
        BookingsAway.
        """
        return int(await self._ask(Sweep()))

    async def frozen(self, account: str) -> Frozen | None:
        """Whether and why an account is frozen; also without a start. Raises BookingsAway."""
        found = await self._read(lambda connection: frozen_accounts(connection, account))
        return found[0] if found else None

    def remembered(self, account: str) -> Frozen | None:
        """Whether it was frozen when the database was last heard, by whatever gateway: for when it is not."""
        return self._keeper.frozen.get(short_id(account)) if self._keeper is not None else None

    async def accounts(self) -> Accounts:
        """The budgets that are drawn on at present, and all frozen accounts; also without a start. Raises
        BookingsAway.
        """
        at = self._clock.calendar(self._boot())
        return Accounts(
            await self._read(lambda connection: usage(connection, at)),
            await self._read(frozen_accounts),
        )

    async def _booked(self, order: Reserve | Extend) -> Answer:
        answer: Answer = await self._ask(order)
        return answer

    async def _ask(self, order: Order) -> Any:
        keeper = self._keeper
        if keeper is None:
            raise BookingsAway("bookings are not running")
        if keeper.waiting >= WAITING:
            raise BookingsAway("too many bookings wait for the database")
        answer = asyncio.get_running_loop().create_future()
        keeper.put(Job(order, answer, time.monotonic() + self._limit))
        try:
            async with asyncio.timeout(self._limit):
                return await answer
        except TimeoutError:
            raise BookingsAway(f"no answer from the database in {self._limit:g} s") from None

    async def _read(self, question: Callable[[Connection], Found]) -> Found:
        def ask() -> Found:
            with self.engine.connect() as connection:
                return question(connection)

        try:
            async with asyncio.timeout(self._limit):
                return await asyncio.to_thread(ask)
        except TimeoutError:
            raise BookingsAway(f"no answer from the database in {self._limit:g} s") from None
        except SQLAlchemyError as error:
            raise BookingsAway(short(error)) from error

    def _prepare(self) -> tuple[SteadyClock, dict[str, Frozen]]:
        bring_up(self._writing, metadata, "bookings", VERSION)
        with self.engine.connect() as connection:
            mark = connection.execute(select(clocks.c.at)).scalar() or 0.0
            wall = self._wall()
            if self.engine.dialect.name != "sqlite":  # gateways on several machines go by one clock
                behind = connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one()
                wall += float(behind) - time.time()
            return SteadyClock(wall, self._boot(), mark), Rows(self.engine.dialect.name).all_frozen(connection)


def _since_boot() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _engine(url: str, limit: float) -> Engine:
    """An engine whose transactions give up before those who wait for them do, and are safe from a power cut."""
    patience = max(1, int(limit * 800))  # ms
    engine = engine_for(
        url,
        {
            "connect_timeout": max(2, round(limit)),  # s
            "tcp_user_timeout": 2000,  # ms; a server that vanished without a word (libpq, Linux)
            "options": f"-c lock_timeout={patience} -c statement_timeout={patience}"
            f" -c idle_in_transaction_session_timeout=10000",
        },
    )
    if engine.dialect.name == "sqlite":

        def tune(connection: Any, _record: object) -> None:
            connection.isolation_level = None  # the driver begins nothing by itself
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA busy_timeout = {patience}")

        def begin(connection: Connection) -> None:
            if connection.get_execution_options().get("booking"):  # who only reads waits for nobody
                connection.exec_driver_sql("BEGIN IMMEDIATE")

        event.listen(engine, "connect", tune)
        event.listen(engine, "begin", begin)
    return engine
