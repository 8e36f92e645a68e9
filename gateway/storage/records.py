"""Call records: one row for each call that came to an end.

    put ──▶ bounded queue ──▶ writer thread ──▶ database        (never SQL on the event loop)

Rules:
1. `put` returns at once, whatever the database does. A record that finds the queue full is counted and written to the
   log instead: it may be what somebody is billed by.
2. A database that goes away is tried again, with the records kept in order; one row that it will not have is logged and
   does not take the others with it.
3. What peers sent is clipped to the column, and freed of what a database refuses (NUL, lone surrogates).
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Dialect,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    create_engine,
    event,
    insert,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.errors import GatewayError

log = structlog.get_logger()

QUEUE = 10_000  # records that wait for the database; about 20 MB at worst
BATCH = 200  # records in one transaction
STARTING = 15.0  # s to open the database
STOPPING = 5.0  # s to write what is left
SQLITE_WAIT = 2000  # ms for another process's lock, before our own retry


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What is kept of a call. Times are aware datetimes in UTC, `duration` is in seconds, 0 when never answered.

    `cause`, `blame` and `q850` are those of gateway.call.causes; `by` is who ended it: "caller", "callee", "" for us.
    `media` holds a leg's counters under the leg's name.
    """

    id: str  # the gateway's own, the one in the log
    direction: str  # "outbound" (XMPP to SIP), "inbound", "test"
    caller: str
    callee: str
    dialled: str  # as the caller wrote it
    rule: str
    via: str
    cause: str
    blame: str
    text: str
    by: str
    offered: datetime
    ended: datetime
    rang: datetime | None = None
    answered: datetime | None = None
    duration: float = 0.0
    q850: int = 0
    media: Mapping[str, Any] = field(default_factory=dict)


class _Utc(TypeDecorator[datetime]):
    """An aware datetime in UTC, in databases that know time zones and in those that do not (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

_SHORT, _LONG = 255, 1024

calls = Table(
    "calls",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # the order of writing
    Column("id", String(_SHORT), nullable=False, index=True),
    Column("direction", String(_SHORT), nullable=False),
    Column("caller", String(_LONG), nullable=False, index=True),
    Column("callee", String(_LONG), nullable=False),
    Column("dialled", String(_LONG), nullable=False),
    Column("rule", String(_SHORT), nullable=False),
    Column("via", String(_SHORT), nullable=False),
    Column("cause", String(_SHORT), nullable=False),
    Column("blame", String(_SHORT), nullable=False),
    Column("text", String(_LONG), nullable=False),
    Column("by", String(_SHORT), nullable=False),
    Column("offered", _Utc, nullable=False, index=True),
    Column("rang", _Utc),
    Column("answered", _Utc),
    Column("ended", _Utc, nullable=False),
    Column("duration", Float, nullable=False),
    Column("q850", Integer, nullable=False),
    Column("media", JSON, nullable=False),
)

_LIMITS = {c.name: c.type.length for c in calls.columns if isinstance(c.type, String) and c.type.length}


def _row(record: CallRecord) -> dict[str, Any]:
    """The record as its columns, after rule 3."""
    row = asdict(record)
    for name, limit in _LIMITS.items():
        row[name] = _storable(row[name])[:limit]
    row["media"] = _storable_tree(row["media"])
    return row


def _storable(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _storable_tree(value: Any) -> Any:
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, Mapping):
        return {_storable(str(k)): _storable_tree(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_storable_tree(v) for v in value]
    return value


class Records:
    """The call records of the database at `url` (SQLAlchemy's form). All methods are for the event loop's thread.

    `on_drop` is told of each record that was not stored, from either thread; it must not raise. Raises GatewayError for
    a URL that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        capacity: int = QUEUE,
        retry: float = 1.0,
        on_drop: Callable[[CallRecord], None] | None = None,
    ) -> None:
        self._engine = _engine(url)
        self._queue: queue.Queue[CallRecord | None] = queue.Queue(capacity)  # None: the end
        self._retry = retry  # s after a failure, doubled up to 30
        self._on_drop = on_drop
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._give_up_at = 0.0  # of time.monotonic, once stopping
        self._counting = threading.Lock()
        self.dropped = 0

    async def start(self) -> None:
        """Open the database, make its table, start the writer. Raises GatewayError when that fails."""
        try:
            await asyncio.wait_for(asyncio.to_thread(metadata.create_all, self._engine), STARTING)
        except TimeoutError:
            raise GatewayError(f"[storage] url: no answer from the database in {STARTING:g} s") from None
        except SQLAlchemyError as error:
            raise GatewayError(f"[storage] url: {_short(error)}") from error
        self._stopping.clear()
        self._thread = threading.Thread(target=self._write, name="call-records", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what is left, within a few seconds, and close the database. Harmless when it does not run."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._give_up_at = time.monotonic() + STOPPING
            self._stopping.set()
            await asyncio.to_thread(self._queue.put, None)  # the writer makes room, by writing or by giving up
            await asyncio.to_thread(thread.join)
        await asyncio.to_thread(self._engine.dispose)

    def put(self, record: CallRecord) -> None:
        """Have it written. Never blocks and never raises."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._drop(record, "the queue is full")

    async def recent(self, count: int = 50) -> list[CallRecord]:
        """The calls that ended last, newest first, at most 1,000. Raises GatewayError."""
        try:
            return await asyncio.to_thread(self._recent, max(0, min(count, 1000)))
        except SQLAlchemyError as error:
            raise GatewayError(f"call records cannot be read: {_short(error)}") from error

    def _recent(self, count: int) -> list[CallRecord]:
        columns = [c for c in calls.columns if c.name != "number"]
        with self._engine.connect() as connection:
            rows = connection.execute(select(*columns).order_by(calls.c.number.desc()).limit(count))
            return [CallRecord(**row) for row in rows.mappings()]

    # The writer's thread.

    def _write(self) -> None:
        going = True
        while going:
            batch, going = self._take()
            if batch:
                self._store(batch)

    def _take(self) -> tuple[list[CallRecord], bool]:
        """The records that wait, after waiting for one; and whether more may come."""
        batch: list[CallRecord] = []
        while True:
            record = self._queue.get()  # this thread alone takes
            if record is None:
                return batch, False
            batch.append(record)
            if len(batch) == BATCH or self._queue.empty():
                return batch, True

    def _store(self, batch: Sequence[CallRecord]) -> None:
        """Write them all, waiting for the database as long as it takes, or as long as stopping may take."""
        pause = self._retry
        while not (self._stopping.is_set() and time.monotonic() >= self._give_up_at):
            try:
                with self._engine.begin() as connection:
                    connection.execute(insert(calls), [_row(r) for r in batch])
                return
            except Exception as error:  # whatever it is, this thread goes on
                if not _passing(error):
                    self._store_singly(batch, _short(error))
                    return
                log.warning("call records wait for the database", records=len(batch), error=_short(error))
            self._stopping.wait(pause)
            if self._stopping.is_set():
                time.sleep(min(pause, 0.1))
            pause = min(pause * 2, 30.0)
        for record in batch:
            self._drop(record, "the database is away")

    def _store_singly(self, batch: Sequence[CallRecord], error: str) -> None:
        """One of them is to blame: write each by itself and drop the one that is refused then."""
        if len(batch) == 1:
            self._drop(batch[0], error)
            return
        for record in batch:
            self._store([record])

    def _drop(self, record: CallRecord, why: str) -> None:
        with self._counting:
            self.dropped += 1
        log.error("call record not stored", call=record.id, why=why, record=asdict(record))
        if self._on_drop is not None:
            self._on_drop(record)


def _passing(error: Exception) -> bool:
    """Whether trying again may help: the connection or a lock, not what the row holds."""
    return isinstance(error, PoolTimeout) or (
        isinstance(error, DBAPIError)
        and (error.connection_invalidated or type(error).__name__ in ("OperationalError", "InterfaceError"))
    )


def _short(error: Exception) -> str:
    """The first line of it: SQLAlchemy's others hold the statement and the values."""
    return str(error).partition("\n")[0][:300]


def _engine(url: str) -> Engine:
    try:
        parts = make_url(url)
        backend = parts.get_backend_name()
        if backend == "sqlite" and parts.database in (None, "", ":memory:"):  # each thread would have its own
            raise GatewayError("[storage] url: name a file, sqlite:///gateway.db; one in memory cannot be shared")
        arguments = {"connect_timeout": 5} if backend == "postgresql" else {}  # s, of libpq
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=arguments)
    except (ArgumentError, NoSuchModuleError) as error:
        raise GatewayError(f"[storage] url: {_short(error)}") from error
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
