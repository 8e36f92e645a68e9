"""The tables of bookings, and how a batch's rows come out of them and go back, within one transaction.

A row that two gateways may change is locked before it is read. PostgreSQL locks rows, in an order that all keep, table
by table (calls, bursts, budgets) and within one by key, so that none waits for another in a circle; a row that may not
be there yet is made first. SQLite has locked the whole database by then (BEGIN IMMEDIATE).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    MetaData,
    String,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    column,
    delete,
    false,
    func,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite

from gateway.dialplan.booking import Claim
from gateway.storage.book import LEASE, Book, Counter, Entry, Frozen, Hold, short_id
from gateway.storage.database import storable
from gateway.storage.direct import driver, written

VERSION = 1
LAPSED = 200  # reservations that one sweep takes up
OLD = 1000  # rows that it cleans up, of each kind
KEPT = 2 * 86_400.0  # s that what is over is kept: a late settle finds it
KNOWN = 50_000  # rows that need not be made first, as they are there
FROZEN = 10_000  # accounts that are known by heart
EARLY = 5.0  # s before its time at which a gateway with another clock may take a row away

_ID, _LONG = 255, 1024

metadata = MetaData()
budgets = Table(
    "budgets",
    metadata,
    Column("id", String(_ID), primary_key=True),  # window, unit, period and key
    Column("key", String(_LONG), nullable=False),
    Column("budget", String(_ID), nullable=False),
    Column("unit", String(16), nullable=False),
    Column("period", String(16), nullable=False),
    Column("begins", BigInteger, nullable=False),  # seconds since the epoch, as all times here
    Column("ends", BigInteger, nullable=False, index=True),
    Column("most", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
)
bookings = Table(
    "bookings",
    metadata,
    Column("call", String(_ID), primary_key=True),
    Column("account", String(_LONG), nullable=False),
    Column("until", Float, nullable=False, index=True),
    Column("seconds", BigInteger, nullable=False),
    Column("answered", Boolean, nullable=False),
    Column("lapsed", Boolean, nullable=False),
    Column("holds", JSON, nullable=False),
)
bursts = Table(
    "call_bursts",
    metadata,
    Column("id", String(_ID), primary_key=True),
    Column("account", String(_ID), nullable=False, index=True),  # its short id
    Column("until", Float, nullable=False),
    Column("times", JSON, nullable=False),
)
frozen = Table(
    "frozen_accounts",
    metadata,
    Column("id", String(_ID), primary_key=True),
    Column("account", String(_LONG), nullable=False),
    Column("reason", String(_LONG), nullable=False),
    Column("since", Float, nullable=False),
)
clocks = Table(
    "booking_clock", metadata, Column("id", BigInteger, primary_key=True, autoincrement=False), Column("at", Float)
)

_HOLDS = cast(bookings.c.holds, Text).label("holds")  # each driver has its own idea of what JSON is
_ENTRIES = select(*(_HOLDS if column is bookings.c.holds else column for column in bookings.c))
_BURSTS = select(bursts.c.id, cast(bursts.c.times, Text))
_LAPSED = (
    _ENTRIES.where(bookings.c.lapsed == false())
    .where(or_(bookings.c.until < bindparam("now"), bookings.c.until > bindparam("now") + LEASE + 60))
    .order_by(bookings.c.until)
    .limit(LAPSED)
)


class Rows:
    """Loads and saves, for one thread of one gateway. `dialect` is "sqlite" or "postgresql"."""

    def __init__(self, dialect: str) -> None:
        self._locking = dialect != "sqlite"
        self._known: dict[str, float] = {}  # rows that are there, and until when nobody takes them away
        # The text of each is the same for one row and for a hundred.
        self._frozen = self._among(frozen.c.id, select(frozen))
        self._gone = self._among(bookings.c.call, delete(bookings))
        self._entries, self._bursts, self._counters = (
            self._among(key, question.order_by(key).with_for_update() if self._locking else question.order_by(key))
            for key, question in (
                (bookings.c.call, _ENTRIES),
                (bursts.c.id, _BURSTS),
                (budgets.c.id, select(budgets)),
            )
        )
        self._add_entries = self._written(self._insert(bookings))
        self._change_entries = self._upsert(bookings, "until", "seconds", "answered", "lapsed", "holds")
        self._make = {
            table: self._written(self._insert(table).on_conflict_do_nothing()) for table in (budgets, bursts, frozen)
        }
        self._save_counters = self._upsert(budgets, "budget", "most", "used", "reserved")
        self._save_bursts = self._upsert(bursts, "account", "until", "times")

    # Statements.

    def _written(self, statement: Any) -> str:
        return written(statement, "postgresql" if self._locking else "sqlite")

    def _among(self, column: Column[str], statement: Any) -> str:
        """With the rows alone whose key is among `these`."""
        return self._written(statement.where(self._is_one_of(column)))

    def _is_one_of(self, column: Column[str]) -> Any:
        if self._locking:
            return column == any_(bindparam("these", type_=postgresql.ARRAY(String)))
        return column.in_(text("SELECT value FROM json_each(:these)").columns(value=String))

    def _these(self, keys: Iterable[str]) -> dict[str, Any]:
        ordered = sorted(set(keys))
        return {"these": ordered if self._locking else json.dumps(ordered)}

    def _insert(self, table: Table) -> Any:
        """Of one row; on PostgreSQL of all `rows` at once, which come as JSON."""
        if not self._locking:
            return sqlite.insert(table)
        columns = [column(own.name, Text() if isinstance(own.type, JSON) else own.type) for own in table.c]
        rows = func.json_to_recordset(cast(bindparam("rows", type_=Text), JSON)).table_valued(*columns)
        rows = rows.render_derived("new", with_types=True)
        values = (cast(rows.c[own.name], JSON) if isinstance(own.type, JSON) else rows.c[own.name] for own in table.c)
        return postgresql.insert(table).from_select([own.name for own in table.c], select(*values))

    def _upsert(self, table: Table, *names: str) -> str:
        """Where the row is there, these columns change."""
        made = self._insert(table)
        changes = {name: made.excluded[name] for name in names}
        return self._written(made.on_conflict_do_update(index_elements=table.primary_key.columns, set_=changes))

    # Rows.

    def forget(self) -> None:
        """The database may be another one than before."""
        self._known.clear()

    def load(
        self,
        connection: Connection,
        book: Book,
        *,
        calls: Collection[str] = (),
        accounts: Iterable[str] = (),
        bursts_of: Mapping[str, str] = MappingProxyType({}),
        claims: Iterable[Claim] = (),
    ) -> None:
        """Fill the book with what these concern, `bursts_of` by id with their accounts.

        All is asked before anything is read, so that it takes one round trip; but a call's reservation has to be known
        before the budgets that it holds.
        """
        to = driver(connection)
        wanted = book.counters_of(claims)
        entries = self._asked(to, self._entries, calls)
        stopped = self._asked(to, self._frozen, [short_id(account) for account in accounts])
        times = self._asked_bursts(to, book, bursts_of)
        counters = None if calls else self._asked_counters(to, book, wanted)
        for row in _rows(entries):
            _enter(book, row)
        book.frozen.update(map(_frozen, _rows(stopped)))
        _take_bursts(book, times)
        if self._some_vanished(bursts_of.keys(), book.bursts.keys()):
            _take_bursts(book, self._asked_bursts(to, book, bursts_of))
        if counters is None:
            counters = self._asked_counters(to, book, wanted)
        _take_counters(book, counters)
        if self._some_vanished(wanted.keys(), book.counters.keys()):
            _take_counters(book, self._asked_counters(to, book, wanted))
        self._know((name, counter.ends) for name, counter in wanted.items())

    def load_lapsed(self, connection: Connection, book: Book) -> list[Entry]:
        """Fill the book with reservations whose lease is over, and their budgets."""
        wanted = _LAPSED.with_for_update(skip_locked=True) if self._locking else _LAPSED
        over = [_enter(book, row) for row in connection.execute(wanted, {"now": book.now})]
        _take_counters(book, self._asked_counters(driver(connection), book, {}))
        return over

    def _asked(self, to: Any, question: str, these: Collection[str]) -> Any:
        """A cursor, or None where nothing is wanted."""
        return to.execute(question, self._these(these)) if these else None

    def _asked_bursts(self, to: Any, book: Book, wanted: Mapping[str, str]) -> Any:
        made = [_burst_row(name, wanted[name], 0.0, []) for name in self._unknown(wanted, book.now)]
        self._put(to, self._make[bursts], made)
        return self._asked(to, self._bursts, wanted)

    def _asked_counters(self, to: Any, book: Book, wanted: Mapping[str, Counter]) -> Any:
        """Those that are wanted, and those that the book's entries draw on."""
        made = [_counter_row(wanted[name]) for name in self._unknown(wanted, book.now)]
        self._put(to, self._make[budgets], made)
        held = {hold.counter for entry in book.entries.values() for hold in entry.holds}
        return self._asked(to, self._counters, wanted.keys() | held)

    def _unknown(self, wanted: Iterable[str], now: float) -> list[str]:
        """What has to be made before it can be locked, in the order of its keys."""
        if not self._locking:
            return []
        return sorted(name for name in wanted if self._known.get(name, 0.0) <= now)

    def _know(self, found: Iterable[tuple[str, float]]) -> None:
        if len(self._known) > KNOWN:
            self.forget()
        self._known.update(found)

    def _some_vanished(self, wanted: Set[str], found: Set[str]) -> bool:
        """Whether not all rows that were to be locked were there: somebody had taken away what we knew of."""
        vanished = self._locking and not wanted <= found
        if vanished:
            self.forget()
        return vanished

    def _put(self, to: Any, statement: str, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        if self._locking:
            to.execute(statement, {"rows": json.dumps(rows)})
        else:
            to.executemany(statement, rows)

    def save(self, connection: Connection, book: Book) -> None:
        """Write back what has changed."""
        to = driver(connection)
        if book.gone:
            to.execute(self._gone, self._these(book.gone))
        changed = book.changed_entries.values()
        self._put(to, self._add_entries, [_entry_row(entry) for entry in changed if entry.new])
        self._put(to, self._change_entries, [_entry_row(entry) for entry in changed if not entry.new])
        if book.changed_bursts:
            rows = [
                _burst_row(name, account, until, book.bursts[name])
                for name, (account, until) in book.changed_bursts.items()
            ]
            self._put(to, self._save_bursts, rows)
            self._know((name, until - EARLY) for name, (_, until) in book.changed_bursts.items())
        if book.changed_counters:
            self._put(to, self._save_counters, [_counter_row(c) for c in book.changed_counters.values()])
        self._put(to, self._make[frozen], [_frozen_row(*who) for who in book.newly_frozen.items()])

    def thaw(self, connection: Connection, account: str) -> bool:
        """Whether it was frozen. What began before is forgotten, or he would be frozen again at once."""
        found = connection.execute(delete(frozen).where(frozen.c.id == short_id(account)))
        mine = select(bursts.c.id).where(bursts.c.account == short_id(account)).order_by(bursts.c.id)
        ids = list(connection.execute(mine.with_for_update() if self._locking else mine).scalars())
        if ids:
            connection.execute(delete(bursts).where(self._is_one_of(bursts.c.id)), self._these(ids))
        return found.rowcount > 0

    def all_frozen(self, connection: Connection) -> dict[str, Frozen]:
        """By short id; those who were frozen last, where they are very many."""
        wanted = select(frozen).order_by(frozen.c.since.desc()).limit(FROZEN)
        return dict(map(_frozen, connection.execute(wanted)))

    def clean(self, connection: Connection, now: float) -> None:
        """Take away what is over, a bounded number of rows."""
        for table, over in (
            (budgets, budgets.c.ends < now - KEPT),
            (bookings, (bookings.c.lapsed == true()) & (bookings.c.until < now - KEPT)),
            (bursts, bursts.c.until < now),
        ):
            (key,) = table.primary_key.columns
            old = select(key).where(over).limit(OLD)
            if self._locking:
                old = old.with_for_update(skip_locked=True)
            connection.execute(delete(table).where(key.in_(old.scalar_subquery())))

    def mark(self, connection: Connection, at: float) -> None:
        """Keep the latest time that was seen here."""
        seen = connection.execute(select(clocks.c.at)).scalar()
        if seen is None or seen < at:
            to = postgresql.insert(clocks) if self._locking else sqlite.insert(clocks)
            made = to.values(id=1, at=at)
            connection.execute(made.on_conflict_do_update(index_elements=[clocks.c.id], set_={"at": made.excluded.at}))


def _rows(cursor: Any) -> list[Any]:
    return cursor.fetchall() if cursor is not None else []


def _enter(book: Book, row: Sequence[Any]) -> Entry:
    call, account, until, seconds, answered, lapsed, holds = row
    taken = [Hold(*hold) for hold in json.loads(holds)]
    return book.entries.setdefault(
        call, Entry(call, account, until, seconds, bool(answered), bool(lapsed), taken, new=False)
    )


def _frozen(row: Sequence[Any]) -> tuple[str, Frozen]:
    name, account, reason, since = row
    return name, Frozen(account, reason, datetime.fromtimestamp(since, UTC))


def _take_bursts(book: Book, cursor: Any) -> None:
    for name, times in _rows(cursor):
        book.bursts[name] = [float(at) for at in json.loads(times)]


def _take_counters(book: Book, cursor: Any) -> None:
    for row in _rows(cursor):
        book.counters[row[0]] = Counter(*row)


def _entry_row(entry: Entry) -> dict[str, Any]:
    holds = [[h.counter, h.budget, h.unit, h.begins, h.granted, h.used] for h in entry.holds]
    return {
        "call": entry.call,
        "account": storable(entry.account)[:_LONG],
        "until": entry.until,
        "seconds": entry.seconds,
        "answered": entry.answered,
        "lapsed": entry.lapsed,
        "holds": json.dumps(holds),
    }


def _burst_row(name: str, account: str, until: float, times: list[float]) -> dict[str, Any]:
    return {"id": name, "account": short_id(account), "until": until, "times": json.dumps(times)}


def _frozen_row(name: str, found: Frozen) -> dict[str, Any]:
    return {
        "id": name,
        "account": storable(found.account)[:_LONG],
        "reason": storable(found.reason)[:_LONG],
        "since": found.since.timestamp(),
    }


def _counter_row(counter: Counter) -> dict[str, Any]:
    return {
        "id": counter.id,
        "key": storable(counter.key)[:_LONG],
        "budget": storable(counter.budget)[:_ID],
        "unit": counter.unit,
        "period": counter.period,
        "begins": counter.begins,
        "ends": counter.ends,
        "most": counter.most,
        "used": counter.used,
        "reserved": counter.reserved,
    }
