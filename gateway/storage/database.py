"""A database with one writer: rows are put on the event loop and written by a thread, in their order.

    put ──▶ bounded queue ──▶ writer thread ──▶ database        (never SQL on the event loop)

Rules:
1. `put` returns at once, whatever the database does. A row that finds the queue full is dropped, with its reason.
2. A database that goes away is tried again, with the rows kept in order; one row that it will not have is dropped and
   does not take the others with it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Connection, Engine, MetaData, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.errors import GatewayError
from gateway.storage.versions import bring_up

log = structlog.get_logger()

BATCH = 200  # rows in one transaction
GATHER = 0.1  # s in which rows come together: under load a transaction for each would cost as much as its call
STARTING = 15.0  # s to open the database
STOPPING = 5.0  # s that a database may let us wait for what is left; one that takes it is given all
SQLITE_WAIT = 2000  # ms for another process's lock, before our own retry

Row = TypeVar("Row")
Found = TypeVar("Found")


class Database(Generic[Row]):
    """The tables of `metadata`, as of `version`, in the database at `url` (SQLAlchemy's form). Methods are for the
    event loop's thread.

    `write` puts rows into a transaction, in the writer's thread; `drop` is told of each row that was not stored and
    why, from either thread, and must not raise. `retry` is in seconds, doubled up to 30. Raises GatewayError for a URL
    that cannot be used.
    """

    def __init__(
        self,
        url: str,
        metadata: MetaData,
        write: Callable[[Connection, Sequence[Row]], None],
        drop: Callable[[Row, str], None],
        *,
        name: str,
        capacity: int,
        retry: float = 1.0,
        version: int = 1,
    ) -> None:
        self.engine = engine_for(url)
        self._metadata, self._version = metadata, version
        self._into = write
        self._drop = drop
        self._name = name
        self._queue: queue.SimpleQueue[Row | None] = queue.SimpleQueue()  # None: the end
        self._capacity = capacity
        self._retry = retry
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._give_up_at = 0.0  # of time.monotonic, once stopping

    async def start(self) -> None:
        """Open the database, make or complete its tables, start the writer. Raises GatewayError when that fails."""
        try:
            await asyncio.wait_for(
                asyncio.to_thread(bring_up, self.engine, self._metadata, self._name, self._version), STARTING
            )
        except TimeoutError:
            raise GatewayError(f"[storage] url: no answer from the database in {STARTING:g} s") from None
        except SQLAlchemyError as error:
            raise GatewayError(f"[storage] url: {short(error)}") from error
        self._stopping.clear()
        self._thread = threading.Thread(target=self._write, name=self._name.replace(" ", "-"), daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what is left and close the database; one that is away is given a few seconds. Harmless when it does
        not run.
        """
        thread, self._thread = self._thread, None
        if thread is not None:
            self._give_up_at = time.monotonic() + STOPPING
            self._stopping.set()
            self._queue.put(None)
            await asyncio.to_thread(thread.join)
        await asyncio.to_thread(self.engine.dispose)

    def put(self, row: Row) -> None:
        """Have it written. Never blocks and never raises."""
        if self._queue.qsize() < self._capacity:
            self._queue.put(row)
        else:
            self._drop(row, "the queue is full")

    async def read(self, question: Callable[[Connection], Found]) -> Found:
        """What `question` finds, asked in another thread. Raises GatewayError."""
        try:
            return await asyncio.to_thread(self._ask, question)
        except SQLAlchemyError as error:
            raise GatewayError(f"{self._name} cannot be read: {short(error)}") from error

    def _ask(self, question: Callable[[Connection], Found]) -> Found:
        with self.engine.connect() as connection:
            return question(connection)

    # The writer's thread.

    def _write(self) -> None:
        going = True
        while going:
            batch, going = self._take()
            if batch:
                self._store(batch)

    def _take(self) -> tuple[list[Row], bool]:
        """The rows that wait, after waiting for one; and whether more may come."""
        row = self._queue.get()  # this thread alone takes
        batch: list[Row] = []
        if row is not None:
            self._stopping.wait(GATHER)
        while row is not None:
            batch.append(row)
            if len(batch) == BATCH or self._queue.empty():
                return batch, True
            row = self._queue.get()
        return batch, False

    def _store(self, batch: Sequence[Row]) -> None:
        """Write them all, waiting for the database as long as it takes, or as long as stopping may take."""
        pause = self._retry
        while not (self._stopping.is_set() and time.monotonic() >= self._give_up_at):
            try:
                with self.engine.begin() as connection:
                    self._into(connection, batch)
                self._give_up_at = time.monotonic() + STOPPING
                return
            except Exception as error:  # whatever it is, this thread goes on
                if not _passing(error):
                    self._store_singly(batch, short(error))
                    return
                log.warning("rows wait for the database", of=self._name, rows=len(batch), error=short(error))
            self._stopping.wait(pause)
            if self._stopping.is_set():
                time.sleep(min(pause, 0.1))
            pause = min(pause * 2, 30.0)
        for row in batch:
            self._drop(row, "the database is away")

    def _store_singly(self, batch: Sequence[Row], error: str) -> None:
        """One of them is to blame: write each by itself and drop the one that is refused then."""
        if len(batch) == 1:
            self._drop(batch[0], error)
            return
        for row in batch:
            self._store([row])


def storable(text: str) -> str:
    """The text without what a database refuses: NUL, lone surrogates."""
    if text.isprintable():  # so are most, and neither of the two
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def short(error: Exception) -> str:
    """The first line of it: SQLAlchemy's others hold the statement and the values."""
    return str(error).partition("\n")[0][:300]


def _passing(error: Exception) -> bool:
    """Whether trying again may help: the connection or a lock, not what the row holds."""
    return isinstance(error, PoolTimeout) or (
        isinstance(error, DBAPIError)
        and (error.connection_invalidated or type(error).__name__ in ("OperationalError", "InterfaceError"))
    )


def engine_for(url: str, connect: Mapping[str, Any] | None = None) -> Engine:
    """An engine, not connected yet; `connect` goes to libpq. Raises GatewayError for a URL that cannot be used."""
    try:
        parts = make_url(url)
        backend = parts.get_backend_name()
        if parts.drivername == "postgresql":  # SQLAlchemy would take psycopg2
            parts = parts.set(drivername="postgresql+psycopg")
        if backend == "sqlite" and parts.database in (None, "", ":memory:"):  # each thread would have its own
            raise GatewayError("[storage] url: name a file, sqlite:///gateway.db; one in memory cannot be shared")
        arguments: dict[str, Any] = {}
        if backend == "postgresql":
            arguments = {"connect_timeout": 5, **(connect or {})}  # s
            if "options" in arguments and "options" in parts.query:
                arguments["options"] += f" {parts.query['options']}"  # the operator has the last word
        engine = create_engine(parts, pool_pre_ping=True, hide_parameters=True, connect_args=arguments)
    except (ArgumentError, NoSuchModuleError) as error:
        raise GatewayError(f"[storage] url: {short(error)}") from error
    except ModuleNotFoundError as error:
        raise GatewayError(f"[storage] url: its driver is not installed: {error.name}") from error
    if backend == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
    return engine


def _tune_sqlite(connection: Any, _pool: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
    cursor.execute("PRAGMA synchronous = NORMAL")  # with WAL: a power cut may lose the last rows, never the file
    cursor.execute(f"PRAGMA busy_timeout = {SQLITE_WAIT}")
    cursor.close()
