"""The thread that keeps the books: what waits is booked together, and answered once it is on the disk.

    put ──▶ what waits ──▶ one transaction: load, decide (book.py), save ──▶ answers

Rules:
1. One transaction locks the rows that a batch concerns, and only when it is committed is anybody answered.
2. When the database is away, whoever waits is told so; what was settled is owed, and tried again.
3. One order that the database refuses takes no other with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.errors import GatewayError
from gateway.storage.book import Book, Frozen, short_id
from gateway.storage.bookrows import LAPSED, Rows
from gateway.storage.database import short
from gateway.storage.direct import told, transaction
from gateway.storage.orders import Order, Settle, Sweep, Thaw, carried_out, concerned
from gateway.storage.windows import Calendar, SteadyClock

log = structlog.get_logger()

BATCH = 200  # orders in one transaction
SWEEP = 10.0  # s between two sweeps
STOPPING = 5.0  # s that the database may let us wait for what is left

# What PostgreSQL says of transactions that were in each other's way, whatever its language: deadlock_detected
# and serialization_failure.
_CROSSED = frozenset({"40P01", "40001"})


class BookingsAway(GatewayError):  # noqa: N818 (what callers read: the bookings are away)
    """The database did not book it: it is down, full, locked or too slow. It is not known to be unbooked either; a
    settle puts that right, or the lease.
    """


@dataclass(slots=True)
class Job:
    order: Order
    answer: asyncio.Future[Any] | None = None
    until: float = float("inf")  # of time.monotonic: nobody waits for it any longer


class Bookkeeper:
    """Carries out what is `put`, in its order, in the database of `engine`, whose transactions begin by themselves
    where they have the option `booking`. `clock` goes by `boot`, the seconds since boot; `wall` is the system's time.
    `retry` is in seconds, between two tries of what is owed. Answers are told on `loop`. `frozen` has who was frozen
    when the database was last heard, by short id, and is brought up to date by each sweep.
    """

    def __init__(
        self,
        engine: Engine,
        clock: SteadyClock,
        loop: asyncio.AbstractEventLoop,
        *,
        wall: Callable[[], float],
        boot: Callable[[], float],
        retry: float,
        frozen: dict[str, Frozen],
    ) -> None:
        self.frozen = frozen
        self.connection: Connection | None = None  # the thread's
        self._engine, self._clock, self._loop = engine, clock, loop
        self._wall, self._boot, self._retry = wall, boot, retry
        self._rows = Rows(engine.dialect.name)
        self._calendar = Calendar(clock.calendar(boot()))
        self._astray = 0.0
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # None: the end
        self._owed: deque[Job] = deque()  # settles that the database has refused so far; the thread's
        self._missed = 0  # orders since the database went away
        self._give_up_at = float("inf")
        self._thread = threading.Thread(target=self._work, name="bookings", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Never blocks."""
        self._queue.put(job)

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    @property
    def owed(self) -> int:
        return len(self._owed)

    async def stop(self) -> None:
        """Write what is owed, within a few seconds."""
        self._give_up_at = time.monotonic() + STOPPING
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.sleep(0)  # the last answers

    # The thread.

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
                batch.append(Job(Sweep()))
            self._book_all(batch)
            if self._owed and now >= try_at:
                try_at = now + self._retry
        for job in self._owed:
            log.error("booking not settled: its lease will end it", what=repr(job.order))
        self._owed.clear()
        self.disconnect()

    def _take(self, patience: float) -> tuple[list[Job], bool]:
        """What waits, after waiting for one so long; and whether more may come."""
        batch: list[Job] = []
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

    def _book_all(self, batch: Sequence[Job]) -> None:
        """Orders go together, one after the other; what is of another kind goes alone."""
        together: list[Job] = [self._owed.popleft() for _ in range(min(len(self._owed), BATCH))]
        for job in batch:
            if isinstance(job.order, Thaw | Sweep):
                self._book(together)
                together = []
                self._book([job])
            elif time.monotonic() < job.until:
                together.append(job)
        self._book(together)

    def _book(self, batch: Sequence[Job], again: bool = True) -> None:
        if not batch:
            return
        try:
            answers = self._transact(batch, not again)
        except Exception as error:  # whatever it is, this thread goes on
            self._rows.forget()  # what was made in this transaction is not there
            self.disconnect()
            if again and _worth_another_try(error):
                self._book(batch, again=False)
            elif _away(error):
                self._owed.extendleft(job for job in reversed(batch) if isinstance(job.order, Settle))
                if not self._missed:
                    log.warning("bookings wait for the database", error=short(error))
                self._missed += len(batch)
                self._answer([(job, BookingsAway(short(error))) for job in batch])
            elif len(batch) > 1:  # one of them is to blame
                for job in batch:
                    self._book([job])
            else:
                log.error("the database refuses a booking", what=repr(batch[0].order), error=short(error))
                self._answer([(batch[0], BookingsAway(short(error)))])
            return
        if self._missed:
            log.info("bookings have their database again", missed=self._missed, owed=len(self._owed))
            self._missed = 0
        self._answer([(job, answer) for job, answer in zip(batch, answers, strict=True)])

    def _answer(self, answers: Sequence[tuple[Job, object]]) -> None:
        told = [(job.answer, answer) for job, answer in answers if job.answer is not None]
        if told:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                self._loop.call_soon_threadsafe(_tell, told)

    def _transact(self, batch: Sequence[Job], again: bool) -> list[object]:
        """One transaction; the answers once it is committed. `again`: it was tried before, perhaps with success."""
        connection = self.connection
        if connection is None:
            connection = self.connection = self._engine.connect()
        match batch[0].order:
            case Thaw(account):
                with connection.begin():
                    thawed = self._rows.thaw(connection, account)
                self.frozen.pop(short_id(account), None)
                return [thawed]
            case Sweep():
                with connection.begin(), told(connection):
                    return [self._swept(connection)]
        orders = [job.order for job in batch]
        rows = concerned(orders, again=again)
        with transaction(connection):
            book = self._a_book(self._boot())  # the time at which the rows are ours
            self._rows.load(
                connection, book, calls=rows.calls, accounts=rows.accounts, bursts_of=rows.bursts, claims=rows.claims
            )
            answers = [carried_out(book, order) for order in orders]
            self._rows.save(connection, book)
        for account in map(short_id, rows.accounts):
            if account in book.frozen:
                self.frozen[account] = book.frozen[account]
            else:
                self.frozen.pop(account, None)
        return answers

    def _swept(self, connection: Connection) -> int:
        boot = self._boot()
        book = self._a_book(boot)
        over = self._rows.load_lapsed(connection, book)
        for entry in over:
            log.warning("a booking's lease is over", call=entry.call, account=entry.account, answered=entry.answered)
            book.lapse(entry)
        self._rows.save(connection, book)
        self._rows.clean(connection, book.now)
        self._rows.mark(connection, self._clock.calendar(boot))
        self.frozen = self._rows.all_frozen(connection)
        if len(over) == LAPSED:
            self._queue.put(Job(Sweep()))
        astray = self._clock.astray(self._wall(), boot)
        if bool(astray) != bool(self._astray):
            log.warning("the system's clock was set; budgets go on by the old one until a restart", seconds=astray)
        self._astray = astray
        return len(over)

    def _a_book(self, boot: float) -> Book:
        self._calendar.turn(self._clock.calendar(boot))
        return Book(self._clock.now(boot), self._calendar)

    def disconnect(self) -> None:
        """What it was connected to is another one, or is in a state that nobody knows."""
        connection, self.connection = self.connection, None
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except Exception as error:
                log.warning("closing the database failed", error=short(error))


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
        isinstance(error, DBAPIError)
        and (error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _CROSSED)
    )


def _away(error: Exception) -> bool:
    """Whether it is the database, and not what was to be booked."""
    return isinstance(error, PoolTimeout) or (
        isinstance(error, DBAPIError) and not isinstance(error, IntegrityError | DataError)
    )
