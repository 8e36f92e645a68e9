"""Call records as they are read: filtered, oldest first, while the gateway runs and without writing a byte.

A database that an earlier gateway wrote and no newer one has opened yet is read as it is: what it has no column for is
empty. Methods block; they are for a command, or for a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    create_engine,
    func,
    inspect,
    make_url,
    or_,
    select,
)
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from gateway.errors import GatewayError
from gateway.storage.database import engine_for, short
from gateway.storage.records import AttemptRecord, CallRecord, Quality, attempts, calls, ladders

MOST = 100_000  # calls that one question gives
TOGETHER = 500  # that are held in memory

_QUALITY = tuple(item.name for item in fields(Quality))


@dataclass(frozen=True, slots=True)
class Question:
    """Which calls; all conditions hold. Times are aware, of the call's beginning; the latest `limit` of them."""

    since: datetime | None = None
    until: datetime | None = None  # not included
    user: str = ""  # a bare JID at either end
    number: str = ""  # digits, perhaps with a +, that either end has in its address
    cause: str = ""
    trunk: str = ""  # that it came by, left by or tried
    failed: bool = False  # never answered, or broken by the network or by us
    limit: int = 50


class History:
    """The call records of the database at `url` (SQLAlchemy's form). Every method raises GatewayError."""

    def __init__(self, url: str) -> None:
        self._engine = reading(url)

    def close(self) -> None:
        self._engine.dispose()

    def count(self, question: Question) -> int:
        """How many calls there are, whatever the limit."""
        with _Asking(self._engine) as asking:
            if not asking.has(calls):
                return 0
            found = asking.connection.execute(
                select(func.count()).select_from(calls).where(*asking.conditions(question))
            )
            return int(found.scalar_one())

    def calls(self, question: Question) -> Iterator[CallRecord]:
        """The calls with their attempts and without their ladders, oldest first."""
        with _Asking(self._engine) as asking:
            if not asking.has(calls):
                return
            latest = (
                select(calls.c.number)
                .where(*asking.conditions(question))
                .order_by(calls.c.offered.desc(), calls.c.number.desc())
                .limit(max(0, min(question.limit, MOST)))
            )
            numbers = list(asking.connection.execute(latest).scalars())[::-1]
            for start in range(0, len(numbers), TOGETHER):
                yield from asking.records(calls.c.number.in_(numbers[start : start + TOGETHER]))

    def call(self, name: str) -> CallRecord | None:
        """The call with this id, SIP Call-ID or Jingle sid, with attempts and ladder; of several the latest."""
        with _Asking(self._engine) as asking:
            if not asking.has(calls):
                return None
            named = [column for column in (calls.c.id, calls.c.key) if column.name in asking.columns(calls)]
            found = asking.records(or_(*(column == name for column in named)))
            return asking.with_ladder(found[-1]) if found else None


class _Asking:
    """A connection, and what the database on the other side of it has."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._columns: dict[str, set[str]] = {}

    def __enter__(self) -> _Asking:
        try:
            self.connection: Connection = self._engine.connect()
            inspector = inspect(self.connection)
            for table in (calls, attempts, ladders):
                if inspector.has_table(table.name):
                    self._columns[table.name] = {column["name"] for column in inspector.get_columns(table.name)}
        except SQLAlchemyError as error:
            raise GatewayError(f"call records cannot be read: {short(error)}") from error
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.connection.close()
        if isinstance(error, SQLAlchemyError):
            raise GatewayError(f"call records cannot be read: {short(error)}") from error

    def has(self, table: Table) -> bool:
        return table.name in self._columns

    def columns(self, table: Table) -> set[str]:
        return self._columns.get(table.name, set())

    def conditions(self, question: Question) -> list[ColumnElement[bool]]:
        c = calls.c
        found: list[ColumnElement[bool]] = []
        if question.since is not None:
            found.append(c.offered >= question.since)
        if question.until is not None:
            found.append(c.offered < question.until)
        if question.user:
            found.append(or_(c.caller == question.user, c.callee == question.user))
        if question.number:
            ends: tuple[Column[str], ...] = (c.caller, c.callee, c.dialled)
            found.append(or_(*(end.contains(question.number, autoescape=True) for end in ends)))
        if question.cause:
            found.append(c.cause == question.cause)
        if question.failed:
            found.append(or_(c.answered.is_(None), c.blame.in_(("network", "gateway"))))
        if question.trunk:
            found.append(self._through(question.trunk))
        return found

    def _through(self, trunk: str) -> ColumnElement[bool]:
        ways: list[ColumnElement[bool]] = [calls.c.via == trunk]
        if "trunk" in self.columns(calls):
            ways.append(calls.c.trunk == trunk)
        if self.has(attempts):
            # Not EXISTS: SQLite would look through all attempts of the trunk for each call.
            ways.append(calls.c.id.in_(select(attempts.c.call).where(attempts.c.via == trunk)))
        return or_(*ways)

    def records(self, which: ColumnElement[bool]) -> list[CallRecord]:
        """These calls, oldest first."""
        wanted = self._select(calls).where(which).order_by(calls.c.offered, calls.c.number)
        rows = [dict(row) for row in self.connection.execute(wanted).mappings()]
        tried = self._attempts([row["id"] for row in rows])
        return [_call(row, tuple(tried.get(row["id"], ()))) for row in rows]

    def _attempts(self, ids: list[str]) -> dict[str, list[AttemptRecord]]:
        found: dict[str, list[AttemptRecord]] = {}
        if ids and self.has(attempts):
            wanted = self._select(attempts).where(attempts.c.call.in_(ids)).order_by(attempts.c.call, attempts.c.number)
            for row in self.connection.execute(wanted).mappings():
                found.setdefault(row["call"], []).append(_attempt(dict(row)))
        return found

    def with_ladder(self, record: CallRecord) -> CallRecord:
        if not self.has(ladders):
            return record
        rungs = self.connection.execute(select(ladders.c.rungs).where(ladders.c.call == record.id)).scalar()
        return replace(record, ladder=tuple(tuple(rung) for rung in rungs or ()))

    def _select(self, table: Table) -> Select[Any]:
        return select(*(column for column in table.columns if column.name in self.columns(table)))


def _call(row: Mapping[str, Any], tried: tuple[AttemptRecord, ...]) -> CallRecord:
    kept = {name: value for name, value in row.items() if name not in ("number", *_QUALITY)}
    return CallRecord(**kept, quality=_quality(row), attempts=tried)


def _attempt(row: Mapping[str, Any]) -> AttemptRecord:
    kept = {name: value for name, value in row.items() if name not in ("call", *_QUALITY)}
    return AttemptRecord(**kept, quality=_quality(row))


def _quality(row: Mapping[str, Any]) -> Quality:
    return Quality(**{name: row[name] for name in _QUALITY if name in row})


def reading(url: str) -> Engine:
    """An engine that cannot write. Raises GatewayError for a URL that cannot be used, or a file that is not there."""
    engine = engine_for(url)
    parts = make_url(url)
    if parts.get_backend_name() != "sqlite":
        return engine.execution_options(postgresql_readonly=True)
    engine.dispose()
    file = Path(parts.database or "")
    if not file.is_file():
        raise GatewayError(f"the database cannot be read: {file} is not there")
    uri = parts.set(database=f"file:{quote(str(file.absolute()))}", query={"mode": "ro", "uri": "true"})
    engine = create_engine(uri, hide_parameters=True)
    try:
        with engine.connect() as connection:
            inspect(connection).get_table_names()
    except OperationalError:
        # Whoever may not write beside the file can read it only as one that nobody writes, which holds where no
        # writer's log is there (sqlite.org/wal.html, "Read-Only Databases").
        if file.with_name(f"{file.name}-wal").exists():
            return engine
        engine.dispose()
        engine = create_engine(uri.update_query_dict({"immutable": "1"}), hide_parameters=True)
    except SQLAlchemyError:
        return engine  # the first question tells what is wrong with it
    return engine
