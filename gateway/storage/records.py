"""Call records: one row for each call that came to an end.

Rules:
1. A record that cannot be stored is counted and written to the log instead: it may be what somebody is billed by.
2. What peers sent is clipped to the column, and freed of what a database refuses (NUL, lone surrogates).
How rows get into a database that may be away, without SQL on the event loop: database.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    DateTime,
    Dialect,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    insert,
    select,
)

from gateway.storage.database import Database, storable

log = structlog.get_logger()

QUEUE = 10_000  # records that wait for the database; about 20 MB at worst


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
    """The record as its columns, after rule 2."""
    row = asdict(record)
    for name, limit in _LIMITS.items():
        row[name] = storable(row[name])[:limit]
    row["media"] = _storable_tree(row["media"])
    return row


def _storable_tree(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(k)): _storable_tree(v) for k, v in value.items()}
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
        self._database: Database[CallRecord] = Database(
            url, metadata, _write, self._drop, name="call records", capacity=capacity, retry=retry
        )
        self._on_drop = on_drop
        self._counting = threading.Lock()
        self.dropped = 0

    async def start(self) -> None:
        """Open the database, make its table, start the writer. Raises GatewayError when that fails."""
        await self._database.start()

    async def stop(self) -> None:
        """Write what is left, within a few seconds, and close the database. Harmless when it does not run."""
        await self._database.stop()

    def put(self, record: CallRecord) -> None:
        """Have it written. Never blocks and never raises."""
        self._database.put(record)

    async def recent(self, count: int = 50) -> list[CallRecord]:
        """The calls that ended last, newest first, at most 1,000. Raises GatewayError."""
        columns = [c for c in calls.columns if c.name != "number"]
        question = select(*columns).order_by(calls.c.number.desc()).limit(max(0, min(count, 1000)))

        def ask(connection: Connection) -> list[CallRecord]:
            return [CallRecord(**row) for row in connection.execute(question).mappings()]

        return await self._database.read(ask)

    def _drop(self, record: CallRecord, why: str) -> None:
        with self._counting:
            self.dropped += 1
        log.error("call record not stored", call=record.id, why=why, record=asdict(record))
        if self._on_drop is not None:
            self._on_drop(record)


def _write(connection: Connection, batch: Sequence[CallRecord]) -> None:
    connection.execute(insert(calls), [_row(record) for record in batch])
