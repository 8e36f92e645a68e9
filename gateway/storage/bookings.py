"""Budgets booked before anybody is asked to talk: exact across processes and gateways, and never SQL on the event loop.

    reserve, extend ──▶ ┐                                     ┌─▶ answers
    settle          ──▶ ┴─ what waits ──▶ one thread, ────────┤
                                          one transaction     └─▶ the database

Rules:
1. What waits is booked together: one transaction locks the rows that it concerns, book.py decides, the rows are written
   and committed, and only then is anybody answered. What was answered survives a crash and a power cut.
2. A reserve or extend that has no answer within `limit` is refused with BookingsAway, and so is one that finds too many
   waiting. Whoever asks refuses the call. Free and emergency calls never come here.
3. A settle waits as long as the database is away. One that cannot be kept is left to the lease (book.py, rule 3).
4. Every gateway sweeps: reservations of those that died are given back by whoever comes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, event, func, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.dialplan.booking import Claim, Tariff
from gateway.errors import GatewayError
from gateway.storage.book import Answer, Ask, Book, Exhausted, Frozen, Granted, burst_id, short_id
from gateway.storage.bookrows import LAPSED, VERSION, Rows, clocks, metadata
from gateway.storage.database import STARTING, engine_for, short
from gateway.storage.usage import Accounts, Usage, frozen_accounts, usage
from gateway.storage.versions import bring_up
from gateway.storage.windows import Calendar, SteadyClock

__all__ = ["Accounts", "Ask", "Bookings", "BookingsAway", "Exhausted", "Frozen", "Granted", "Usage"]

log = structlog.get_logger()

LIMIT = 1.0  # s for an answer
LEASE = 300.0  # s that a reservation lives without a word
WAITING = 1000  # asks that wait
OWED = 20_000  # settles that wait for a database that is away
BATCH = 200  # bookings in one transaction
SWEEP = 10.0  # s between two sweeps
STOPPING = 5.0  # s that the database may let us wait for what is left

Found = TypeVar("Found")


class BookingsAway(GatewayError):  # noqa: N818 (what callers read: the bookings are away)
    """The database did not book it: it is down, full, locked or too slow. It is not known to be unbooked either; a
    settle puts that right, or the lease.
    """


# What a batch is made of.


@dataclass(frozen=True, slots=True)
class _Reserve:
    ask: Ask
    lease: float
    known: bool  # it may have a reservation already


@dataclass(frozen=True, slots=True)
class _Extend:
    ask: Ask
    seconds: int
    tariff: Tariff | None
    answered: bool
    lease: float


@dataclass(frozen=True, slots=True)
class _Settle:
    call: str
    seconds: int
    cost: int
    answered: bool


@dataclass(frozen=True, slots=True)
class _Freeze:
    account: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Thaw:
    account: str


@dataclass(frozen=True, slots=True)
class _Sweep:
    pass


_What = _Reserve | _Extend | _Settle | _Freeze | _Thaw | _Sweep


@dataclass(slots=True)
class _Job:
    what: _What
    answer: asyncio.Future[Any] | None = None
    until: float = float("inf")  # of time.monotonic: nobody waits for it any longer


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
        self._rows = Rows(self.engine.dialect.name)
        self._retry, self._limit = retry, limit
        self._wall, self._boot = wall, boot or _since_boot
        self._clock = SteadyClock(wall(), self._boot())
        self._astray = 0.0
        self._open: dict[str, Ask] = {}  # calls that reserved and did not settle
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()  # None: the end
        self._owed: deque[_Job] = deque()  # settles that the database has refused so far; the thread's
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Connection | None = None  # the thread's
        self._missed = 0  # tries since the database went away
        self._give_up_at = float("inf")

    async def start(self) -> None:
        """Open the database, make or complete its tables, start the thread. Raises GatewayError when that fails."""
        try:
            self._clock = await asyncio.wait_for(asyncio.to_thread(self._prepare), STARTING)
        except TimeoutError:
            raise GatewayError(f"[storage] url: no answer from the database in {STARTING:g} s") from None
        except SQLAlchemyError as error:
            raise GatewayError(f"[storage] url: {short(error)}") from error
        self._loop = asyncio.get_running_loop()
        self._give_up_at = float("inf")
        self._thread = threading.Thread(target=self._work, name="bookings", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what is owed, within a few seconds, and close the database. Harmless when it does not run."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._give_up_at = time.monotonic() + STOPPING
            self._queue.put(None)
            await asyncio.to_thread(thread.join)
            await asyncio.sleep(0)  # the last answers
        self._open.clear()
        await asyncio.to_thread(self.engine.dispose)

    async def reserve(self, ask: Ask, lease: float = LEASE) -> Answer:
        """Book `ask.seconds` of talk, or as much as all of its budgets pay for, before anybody is asked to talk.

        Whatever comes of it, `settle` ends it. `lease` is in seconds, an hour at most. Raises BookingsAway.
        """
        ask = replace(ask, call=short_id(ask.call))
        known = ask.call in self._open
        self._open[ask.call] = ask
        return await self._booked(_Reserve(ask, lease, known))

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
        return await self._booked(_Extend(ask, seconds, tariff or ask.tariff, answered, lease))

    def settle(self, call: str, seconds: int = 0, cost: int = 0, answered: bool = False) -> None:
        """The call is over and took this, in seconds and in millionths of the currency: that takes the place of its
        reservation, and what it did not use is given back. One that nobody answered used nothing. Never blocks, never
        raises; a second time is harmless.
        """
        call = short_id(call)
        if self._open.pop(call, None) is None:
            return
        if self._queue.qsize() + len(self._owed) >= OWED:
            log.error("booking not settled: its lease will end it", call=call, seconds=seconds, cost=cost)
            return
        self._queue.put(_Job(_Settle(call, max(0, seconds), max(0, cost), answered)))

    async def freeze(self, account: str, reason: str) -> None:
        """No paid calls for this bare JID until it is thawed. Raises BookingsAway."""
        await self._ask(_Freeze(account, reason))

    async def thaw(self, account: str) -> bool:
        """Whether it was frozen; calls that began before count in no burst any more. Raises BookingsAway."""
        return bool(await self._ask(_Thaw(account)))

    async def sweep(self) -> int:
        """Give back what those that died had reserved, as it is done every few seconds: how many calls. Raises
        BookingsAway.
        """
        return int(await self._ask(_Sweep()))

    async def frozen(self, account: str) -> Frozen | None:
        """Whether and why an account is frozen; also without a start. Raises BookingsAway."""
        found = await self._read(lambda connection: frozen_accounts(connection, account))
        return found[0] if found else None

    async def accounts(self) -> Accounts:
        """The budgets that are drawn on at present, and all frozen accounts; also without a start. Raises
        BookingsAway.
        """
        at = self._clock.calendar(self._boot())
        return Accounts(
            await self._read(lambda connection: usage(connection, at)),
            await self._read(frozen_accounts),
        )

    async def _booked(self, what: _Reserve | _Extend) -> Answer:
        answer: Answer = await self._ask(what)
        return answer

    async def _ask(self, what: _What) -> Any:
        if self._thread is None:
            raise BookingsAway("bookings are not running")
        if self._queue.qsize() >= WAITING:
            raise BookingsAway("too many bookings wait for the database")
        answer = asyncio.get_running_loop().create_future()
        self._queue.put(_Job(what, answer, time.monotonic() + self._limit))
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

    # The thread.

    def _prepare(self) -> SteadyClock:
        bring_up(self._writing, metadata, "bookings", VERSION)
        with self.engine.connect() as connection:
            mark = connection.execute(select(clocks.c.at)).scalar() or 0.0
            wall = self._wall()
            if self.engine.dialect.name != "sqlite":  # gateways on several machines go by one clock
                behind = connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one()
                wall += float(behind) - time.time()
            return SteadyClock(wall, self._boot(), mark)

    def _work(self) -> None:
        sweep_at = time.monotonic() + SWEEP
        try_at = 0.0
        going = True
        while going or (self._owed and time.monotonic() < self._give_up_at):
            now = time.monotonic()
            due = min(sweep_at, try_at if self._owed else sweep_at)
            batch, more = self._take(max(0.0, due - now) if going else min(self._retry, 0.1))
            going = going and more
            now = time.monotonic()
            if now >= sweep_at:
                sweep_at = now + SWEEP
                batch.append(_Job(_Sweep()))
            self._book_all(batch)
            if self._owed and now >= try_at:
                try_at = now + self._retry
        for job in self._owed:
            log.error("booking not settled: its lease will end it", what=repr(job.what))
        self._owed.clear()
        self._disconnect()

    def _take(self, patience: float) -> tuple[list[_Job], bool]:
        """What waits, after waiting for one so long; and whether more may come."""
        batch: list[_Job] = []
        try:
            job = self._queue.get(timeout=patience)
            while job is not None:
                batch.append(job)
                if len(batch) == BATCH:
                    return batch, True
                job = self._queue.get_nowait()
            return batch, False
        except queue.Empty:
            return batch, True

    def _book_all(self, batch: Sequence[_Job]) -> None:
        """Bookings go together, in their order; what is of another kind goes alone."""
        together: list[_Job] = [self._owed.popleft() for _ in range(min(len(self._owed), BATCH))]
        for job in batch:
            if isinstance(job.what, _Thaw | _Sweep):
                self._book(together)
                together = []
                self._book([job])
            elif time.monotonic() < job.until:
                together.append(job)
        self._book(together)

    def _book(self, batch: Sequence[_Job], again: bool = True) -> None:
        if not batch:
            return
        try:
            answers = self._transact(batch, not again)
        except Exception as error:  # whatever it is, this thread goes on
            self._rows.forget()  # what was made in this transaction is not there
            self._disconnect()
            if again and _worth_another_try(error):
                self._book(batch, again=False)
            elif _away(error):
                self._owed.extendleft(job for job in reversed(batch) if isinstance(job.what, _Settle))
                if not self._missed:
                    log.warning("bookings wait for the database", error=short(error))
                self._missed += len(batch)
                self._answer([(job, BookingsAway(short(error))) for job in batch])
            elif len(batch) > 1:  # one of them is to blame
                for job in batch:
                    self._book([job])
            else:
                log.error("the database refuses a booking", what=repr(batch[0].what), error=short(error))
                self._answer([(batch[0], BookingsAway(short(error)))])
            return
        if self._missed:
            log.info("bookings have their database again", missed=self._missed, owed=len(self._owed))
            self._missed = 0
        self._answer([(job, answer) for job, answer in zip(batch, answers, strict=True)])

    def _answer(self, answers: Sequence[tuple[_Job, object]]) -> None:
        told = [(job.answer, answer) for job, answer in answers if job.answer is not None]
        if told and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                self._loop.call_soon_threadsafe(_tell, told)

    def _transact(self, batch: Sequence[_Job], again: bool) -> list[object]:
        """One transaction; the answers once it is committed. `again`: it was tried before, perhaps with success."""
        if self._connection is None:
            self._connection = self._writing.connect()
        connection = self._connection
        with connection.begin():
            boot = self._boot()
            match batch[0].what:
                case _Thaw(account):
                    return [self._rows.thaw(connection, account)]
                case _Sweep():
                    return [self._swept(connection, boot)]
            book = self._a_book(boot)
            calls: list[str] = []
            accounts: list[str] = []
            bursts: dict[str, str] = {}
            claims: list[Claim] = []
            for job in batch:
                match job.what:
                    case _Reserve(ask, _, known):
                        bursts |= {burst_id(burst): ask.account for burst in ask.bursts}
                        if known or again:
                            calls.append(ask.call)
                        accounts.append(ask.account)
                        claims += ask.claims
                    case _Extend(ask):
                        calls.append(ask.call)
                        accounts.append(ask.account)
                        claims += ask.claims
                    case _Settle(call):
                        calls.append(call)
                    case _Freeze(account):
                        accounts.append(account)
            self._rows.load(connection, book, calls=calls, accounts=accounts, bursts_of=bursts, claims=claims)
            answers = [_done(book, job.what) for job in batch]
            self._rows.save(connection, book)
        return answers

    def _swept(self, connection: Connection, boot: float) -> int:
        book = self._a_book(boot)
        over = self._rows.load(connection, book, calls=(), accounts=(), bursts_of={}, claims=(), lapsed=True)
        for entry in over:
            log.warning("a booking's lease is over", call=entry.call, account=entry.account, answered=entry.answered)
            book.lapse(entry)
        self._rows.save(connection, book)
        self._rows.clean(connection, book.now)
        self._rows.mark(connection, self._clock.calendar(boot))
        if len(over) == LAPSED:
            self._queue.put(_Job(_Sweep()))
        astray = self._clock.astray(self._wall(), boot)
        if bool(astray) != bool(self._astray):
            log.warning("the system's clock was set; budgets go on by the old one until a restart", seconds=astray)
        self._astray = astray
        return len(over)

    def _a_book(self, boot: float) -> Book:
        return Book(self._clock.now(boot), Calendar(self._clock.calendar(boot)))

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except Exception as error:
                log.warning("closing the database failed", error=short(error))


def _done(book: Book, what: _What) -> object:
    match what:
        case _Reserve(ask, lease):
            return book.reserve(ask, lease)
        case _Extend(ask, seconds, tariff, answered, lease):
            return book.extend(ask, seconds, tariff, answered, lease)
        case _Settle(call, seconds, cost, answered):
            book.settle(call, seconds, cost, answered)
        case _Freeze(account, reason):
            book.freeze(account, reason)
    return None


def _tell(told: Sequence[tuple[asyncio.Future[Any], object]]) -> None:
    for future, answer in told:
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _worth_another_try(error: Exception) -> bool:
    """The connection was stale, as after a restart of the server, a call has a reservation that we did not know of, or
    two gateways waited for each other. Trying again is safe whether or not the first try was committed: a call that
    has its reservation is given no second one.
    """
    return isinstance(error, IntegrityError) or (
        isinstance(error, DBAPIError) and (error.connection_invalidated or "deadlock" in str(error))
    )


def _away(error: Exception) -> bool:
    """Whether it is the database, and not what was to be booked."""
    return isinstance(error, PoolTimeout) or (
        isinstance(error, DBAPIError) and not isinstance(error, IntegrityError | DataError)
    )


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
