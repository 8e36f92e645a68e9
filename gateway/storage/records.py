"""Call records: one row for each call that came to an end, one for each callee that it tried, and its ladder.

Rules:
1. A record that cannot be stored is counted and written to the log instead: it may be what somebody is billed by.
2. What peers sent is clipped to the column, and freed of what a database refuses (NUL, lone surrogates).
3. A call is stored once, whole: its rows are one transaction, and a batch that is written again because nobody knows
   whether the first time counted finds there what it has stored.
How rows get into a database that may be away, without SQL on the event loop: database.py. Reading: history.py.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache, partial
from itertools import chain
from operator import attrgetter
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
    bindparam,
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


# A message of a call: seconds since the epoch, "xmpp" | "sip" | "media", sent, label, key, text.
Step = tuple[float, str, bool, str, str, str]


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What is kept of a call. Times are aware datetimes in UTC, `duration` is in seconds, 0 when never answered.

    `cause`, `blame` and `q850` are those of gateway.call.causes; `by` is who ended it: "caller", "callee", "" for us.
    `media` holds a leg's counters under the leg's name. `price` is in millionths of the currency's unit, None where no
    price is known. `ladder` holds the messages of the call.
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
    ladder: tuple[Step, ...] = ()


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


_QUALITY = frozenset(item.name for item in fields(Quality))


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


def _getter(columns: Iterable[Column[Any]]) -> Callable[[Any], tuple[Any, ...]]:
    """Of a record what these columns hold; a quality is its columns."""
    return attrgetter(*(f"quality.{c.name}" if c.name in _QUALITY else c.name for c in columns))


_TOGETHER = (32, 8, 1)  # rows of one statement; a driver remembers the few that there are

# What stands in a row, in the order of its columns.
_of_call = _getter(column for column in calls.columns if column.name != "number")
_of_attempt = _getter(column for column in attempts.columns if column.name != "call")


class _Rows:
    """Rows of one table in the words of its driver. SQLAlchemy writes the statement, once; on its own way to each row
    it would take longer than the database.
    """

    def __init__(self, table: Table, dialect: Dialect) -> None:
        columns = [column for column in table.columns if column is not table.autoincrement_column]
        self._names = [column.name for column in columns]
        self._converters = [_converter(column, dialect) for column in columns]
        compiled = insert(table).compile(dialect=dialect, column_keys=self._names)
        self._statement, self._by_name = str(compiled), not compiled.positional
        head, values, row = self._statement.rpartition(" VALUES ")
        self._several = {size: head + values + ", ".join([row] * size) for size in _TOGETHER}

    def write(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        # By columns: what a column asks of its values is mostly answered for all of them at once.
        columns = zip(self._converters, zip(*rows, strict=True), strict=False)  # without rows there are none
        ready = list(zip(*(of(values) if of else values for of, values in columns), strict=True))
        if self._by_name:
            if ready:
                connection.exec_driver_sql(self._statement, [dict(zip(self._names, row, strict=True)) for row in ready])
            return
        # SQLite's module lets go of the interpreter for each statement, and a busy event loop is slow to give it back:
        # so many rows are one statement.
        for size, several in self._several.items():
            while len(ready) >= size:
                connection.exec_driver_sql(several, tuple(chain.from_iterable(ready[:size])))
                del ready[:size]


@cache
def _rows(table: Table, dialect: Dialect) -> _Rows:
    return _Rows(table, dialect)


Converter = Callable[[Sequence[Any]], Sequence[Any]]


def _converter(column: Column[Any], dialect: Dialect) -> Converter | None:
    """What makes the values of this column ones for the driver, and keeps rule 2; None where nothing has to be done."""
    if isinstance(column.type, String):
        return partial(_clipped, length=column.type.length or _LONG)
    if isinstance(column.type, JSON):
        return lambda trees: [_json(tree) for tree in trees]
    process = column.type.dialect_impl(dialect).bind_processor(dialect)
    if process is None:
        return None
    return lambda values: [None if value is None else process(value) for value in values]


def _clipped(texts: Sequence[str], length: int) -> Sequence[str]:
    if "".join(texts).isprintable() and max(map(len, texts)) <= length:  # mostly all of them
        return texts
    return [storable(text)[:length] for text in texts]


def _json(value: Any) -> str:
    text = json.dumps(value)
    # A character that a database refuses would stand there escaped.
    return text if "\\u0000" not in text and "\\ud" not in text else json.dumps(_storable_tree(value))


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


_there = select(calls.c.id).where(calls.c.id.in_(bindparam("ids", expanding=True)))


def _write(connection: Connection, batch: Sequence[CallRecord]) -> None:
    new = {record.id: record for record in reversed(batch)}
    asked = [storable(call) for call in new]
    # Some twice, or there would be a statement for each length of a batch: a driver keeps those that it has seen.
    asked += asked[-1:] * (-len(asked) % _TOGETHER[0])
    for call in connection.execute(_there, {"ids": asked}).scalars():
        new.pop(call, None)
    records = list(reversed(new.values()))
    tried = [(record.id, *_of_attempt(attempt)) for record in records for attempt in record.attempts]
    told = [(record.id, record.ladder) for record in records if record.ladder]
    for table, rows in ((calls, [_of_call(record) for record in records]), (attempts, tried), (ladders, told)):
        _rows(table, connection.dialect).write(connection, rows)
