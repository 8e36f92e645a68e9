"""Call records: one row for each call that came to an end, one for each callee that it tried, and its ladder.

Rules:
1. A record that cannot be stored is counted and written to the log instead: it may be what somebody is billed by.
2. What peers sent is clipped to the column, and freed of what a database refuses (NUL, lone surrogates).
3. A call is stored once, whole: its rows are one transaction, and a batch that is written again because nobody knows
   whether the first time counted finds there what it has stored.
How rows get into a database that may be away, without SQL on the event loop: database.py. Reading: history.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import structlog
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
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
    false,
    insert,
    select,
)

from gateway.storage.database import Database, storable

log = structlog.get_logger()

VERSION = 3  # 1: calls alone, without the stages between offer and answer; 2: without recordings
QUEUE = 10_000  # records that wait for the database; about 20 MB at worst


@dataclass(frozen=True, slots=True)
class Quality:
    """How a leg, or the worst leg of a call, sounded. None: nobody knows."""

    codec: str = ""
    loss: float | None = None  # percent, of the worse direction
    jitter: float | None = None  # ms, likewise
    round_trip: float | None = None  # ms
    mos: float | None = None  # 1 to 4.5, of the worse direction


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """What is kept of one callee that a call tried. `cause` is "redirected" for one that pointed elsewhere."""

    number: int  # from 1; its leg is callee<number> in the call's media
    via: str
    target: str
    origin: str  # "route", "redirect", "transfer", "replacement": how it came to be asked
    cause: str
    blame: str
    text: str
    q850: int
    began: datetime
    dialled: datetime | None = None
    progress: datetime | None = None
    rang: datetime | None = None
    answered: datetime | None = None
    connected: datetime | None = None
    ended: datetime | None = None
    quality: Quality = Quality()


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What is kept of a call. Times are aware datetimes in UTC, `duration` is in seconds, 0 when never answered.

    `cause`, `blame` and `q850` are those of gateway.call.causes; `by` is who ended it: "caller", "callee", "" for us.
    `media` holds a leg's counters under the leg's name. `price` is in millionths of the currency's unit, None where no
    price is known. `ladder` holds the messages of the call as (seconds since the epoch, "xmpp" | "sip" | "media", sent,
    label, key, text).
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
    key: str = ""  # the caller's SIP Call-ID or Jingle sid
    trunk: str = ""  # that the call came by or left by
    routed: datetime | None = None
    asked: datetime | None = None  # when the first callee was
    progress: datetime | None = None  # when one first said anything
    connected: datetime | None = None  # when the media of both ends was
    emergency: bool = False
    hops: int = 0  # how often it was sent elsewhere: redirections and transfers
    price: int | None = None
    currency: str = ""  # ISO 4217
    recording: str = ""  # the file's name in the folder of recordings
    recording_fault: str = ""  # why it is not whole, or is not there
    quality: Quality = Quality()
    attempts: tuple[AttemptRecord, ...] = ()
    ladder: tuple[tuple[float, str, bool, str, str, str], ...] = ()


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


def _quality_columns() -> list[Column[Any]]:
    return [
        Column("codec", String(_SHORT), nullable=False, server_default=""),
        Column("loss", Float),
        Column("jitter", Float),
        Column("round_trip", Float),
        Column("mos", Float),
    ]


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
    # Since version 2. What is not empty needs a default: rows of version 1 get it.
    Column("key", String(_SHORT), nullable=False, server_default="", index=True),
    Column("trunk", String(_SHORT), nullable=False, server_default="", index=True),
    Column("routed", _Utc),
    Column("asked", _Utc),
    Column("progress", _Utc),
    Column("connected", _Utc),
    Column("emergency", Boolean, nullable=False, server_default=false()),
    Column("hops", Integer, nullable=False, server_default="0"),
    Column("price", BigInteger),
    Column("currency", String(3), nullable=False, server_default=""),
    Column("recording", String(_SHORT), nullable=False, server_default=""),
    Column("recording_fault", String(_LONG), nullable=False, server_default=""),
    *_quality_columns(),
)

attempts = Table(
    "attempts",
    metadata,
    Column("call", String(_SHORT), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("via", String(_SHORT), nullable=False, index=True),
    Column("target", String(_LONG), nullable=False),
    Column("origin", String(_SHORT), nullable=False),
    Column("cause", String(_SHORT), nullable=False),
    Column("blame", String(_SHORT), nullable=False),
    Column("text", String(_LONG), nullable=False),
    Column("q850", Integer, nullable=False),
    Column("began", _Utc, nullable=False),
    Column("dialled", _Utc),
    Column("progress", _Utc),
    Column("rang", _Utc),
    Column("answered", _Utc),
    Column("connected", _Utc),
    Column("ended", _Utc),
    *_quality_columns(),
)

ladders = Table(
    "ladders",
    metadata,
    Column("call", String(_SHORT), primary_key=True),
    Column("rungs", JSON, nullable=False),
)


def _row(table: Table, known: Mapping[str, Any]) -> dict[str, Any]:
    """What is known as columns of the table, after rule 2; a quality is its columns."""
    quality = known.get("quality")
    row = {**known, **(asdict(quality) if quality is not None else {})}
    found: dict[str, Any] = {}
    for name, length, is_tree in _shape(table):
        if name not in row:
            continue
        value = row[name]
        if length:
            value = storable(value)[:length]
        elif is_tree:
            value = _storable_tree(value)
        found[name] = value
    return found


@cache
def _shape(table: Table) -> tuple[tuple[str, int, bool], ...]:
    """Of each column its name, the length of its text, and whether it is a tree of values."""
    return tuple(
        (c.name, (c.type.length or 0) if isinstance(c.type, String) else 0, isinstance(c.type, JSON))
        for c in table.columns
    )


def _shallow(record: CallRecord | AttemptRecord) -> dict[str, Any]:
    return {item.name: getattr(record, item.name) for item in fields(record)}


def _storable_tree(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, (int, float)) or value is None:
        return value
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
            url, metadata, _write, self._drop, name="call records", capacity=capacity, retry=retry, version=VERSION
        )
        self._on_drop = on_drop
        self._counting = threading.Lock()
        self.dropped = 0

    async def start(self) -> None:
        """Open the database, make or complete its tables, start the writer. Raises GatewayError when that fails."""
        await self._database.start()

    async def stop(self) -> None:
        """Write what is left, within a few seconds, and close the database. Harmless when it does not run."""
        await self._database.stop()

    def put(self, record: CallRecord) -> None:
        """Have it written. Never blocks and never raises."""
        self._database.put(record)

    def _drop(self, record: CallRecord, why: str) -> None:
        with self._counting:
            self.dropped += 1
        # Its messages are in the log already, each at its time.
        log.error("call record not stored", call=record.id, why=why, record=asdict(replace(record, ladder=())))
        if self._on_drop is not None:
            self._on_drop(record)


def _write(connection: Connection, batch: Sequence[CallRecord]) -> None:
    new = {record.id: record for record in reversed(batch)}
    there = connection.execute(select(calls.c.id).where(calls.c.id.in_([storable(call) for call in new]))).scalars()
    for call in there:
        new.pop(call, None)
    records = list(reversed(new.values()))
    tried = [(record.id, attempt) for record in records for attempt in record.attempts]
    for table, rows in (
        (calls, [_row(calls, _shallow(record)) for record in records]),
        (attempts, [_row(attempts, {"call": call, **_shallow(attempt)}) for call, attempt in tried]),
        (ladders, [_row(ladders, {"call": r.id, "rungs": r.ladder}) for r in records if r.ladder]),
    ):
        if rows:
            connection.execute(insert(table), rows)
