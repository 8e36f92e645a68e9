"""The tables of bookings, and how a batch's rows come out of them and go back, within one transaction.

A row that two gateways may change is locked before it is read. PostgreSQL locks rows, in an order that all keep, table
by table (calls, bursts, budgets) and within one by key, so that none waits for another in a circle; a row that may not
be there yet is made first. SQLite has locked the whole database by then (BEGIN IMMEDIATE).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    MetaData,
    RowMapping,
    Select,
    String,
    Table,
    any_,
    bindparam,
    delete,
    false,
    insert,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from gateway.dialplan.booking import Claim
from gateway.storage.book import LEASE, Book, Counter, Entry, Frozen, Hold, short_id
from gateway.storage.database import storable

VERSION = 1
LAPSED = 200  # reservations that one sweep takes up
OLD = 1000  # rows that it cleans up, of each kind
KEPT = 2 * 86_400.0  # s that what is over is kept: a late settle finds it
KNOWN = 50_000  # counters that need not be made first, as they are there

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

_LAPSED = (
    select(bookings)
    .where(bookings.c.lapsed == false())
    .where(or_(bookings.c.until < bindparam("now"), bookings.c.until > bindparam("now") + LEASE + 60))
    .order_by(bookings.c.until)
    .limit(LAPSED)
)
_NEW_ENTRY = insert(bookings)
_CHANGE_ENTRY = update(bookings).where(bookings.c.call == bindparam("_call"))


class Rows:
    """Loads and saves, for one thread of one gateway. `dialect` is "sqlite" or "postgresql"."""

    def __init__(self, dialect: str) -> None:
        self._locking = dialect != "sqlite"
        self._known: set[str] = set()  # of rows that are there
        new: Any = postgresql.insert if self._locking else sqlite.insert
        # Statements are made once, and their text is the same for one key and for a hundred: making and reading them
        # would take longer than what they do.
        self._frozen = self._among(frozen.c.id, select(frozen))
        self._gone = self._among(bookings.c.call, delete(bookings))
        self._thawed = self._among(bursts.c.id, delete(bursts))
        self._entries, self._bursts, self._counters = (
            question.with_for_update() if self._locking else question
            for question in (
                self._among(key, select(key.table).order_by(key))
                for key in (bookings.c.call, bursts.c.id, budgets.c.id)
            )
        )
        self._make = {table: new(table).on_conflict_do_nothing() for table in (budgets, bursts, frozen)}
        self._save = {
            table: (made := new(table)).on_conflict_do_update(
                index_elements=["id"], set_={name: made.excluded[name] for name in names}
            )
            for table, names in (
                (budgets, ("budget", "most", "used", "reserved")),
                (bursts, ("account", "until", "times")),
                (clocks, ("at",)),
            )
        }

    def _among(self, column: Column[str], statement: Any) -> Any:
        """With the rows alone whose key is among `these`."""
        if self._locking:
            return statement.where(column == any_(bindparam("these", type_=postgresql.ARRAY(String))))
        return statement.where(column.in_(text("SELECT value FROM json_each(:these)").columns(value=String)))

    def _these(self, keys: Iterable[str]) -> dict[str, Any]:
        ordered = sorted(set(keys))
        return {"these": ordered if self._locking else json.dumps(ordered)}

    def forget(self) -> None:
        """The database may be another one than before."""
        self._known.clear()

    def load(
        self,
        connection: Connection,
        book: Book,
        *,
        calls: Iterable[str],
        accounts: Iterable[str],
        bursts_of: Mapping[str, str],
        claims: Iterable[Claim],
        lapsed: bool = False,
    ) -> list[Entry]:
        """Fill the book with what these concern, `bursts_of` by id with their accounts; the entries whose lease is
        over, where they are asked for.
        """
        for row in self._found(connection, self._entries, list(calls)):
            _enter(book, row)
        over = []
        if lapsed:
            wanted = _LAPSED.with_for_update(skip_locked=True) if self._locking else _LAPSED
            over = [_enter(book, row) for row in connection.execute(wanted, {"now": book.now}).mappings()]
        for row in self._found(connection, self._frozen, [short_id(account) for account in accounts]):
            since = datetime.fromtimestamp(row["since"], UTC)
            book.frozen[row["id"]] = Frozen(row["account"], row["reason"], since)
        self._load_bursts(connection, book, bursts_of)
        self._load_counters(connection, book, book.counters_of(claims))
        return over

    def _load_bursts(self, connection: Connection, book: Book, wanted: Mapping[str, str]) -> None:
        for _ in range(2):
            new = {name: account for name, account in wanted.items() if name not in self._known}
            made = [{"id": name, "account": short_id(new[name]), "until": 0, "times": []} for name in sorted(new)]
            self._have(connection, bursts, made)
            for row in self._found(connection, self._bursts, list(wanted)):
                book.bursts[row["id"]] = [float(at) for at in row["times"]]
            if self._all_there(wanted.keys(), book.bursts.keys()):
                break

    def _load_counters(self, connection: Connection, book: Book, wanted: dict[str, Counter]) -> None:
        held = {hold.counter for entry in book.entries.values() for hold in entry.holds}
        ids = list(wanted.keys() | held)
        for _ in range(2):
            self._have(connection, budgets, [_counter_row(wanted[i]) for i in sorted(wanted.keys() - self._known)])
            for row in self._found(connection, self._counters, ids):
                book.counters[row["id"]] = Counter(**row)
            if self._all_there(wanted.keys(), book.counters.keys()):
                break

    def _all_there(self, wanted: Set[str], found: Set[str]) -> bool:
        """Whether all rows that were to be locked were there, or somebody had taken away what we knew of."""
        if self._locking and not wanted <= found:
            self.forget()
            return False
        if len(self._known) + len(wanted) > KNOWN:
            self.forget()
        self._known |= wanted
        return True

    def _have(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        """Have these rows, in the order of their keys, there to be locked."""
        if rows and self._locking:
            connection.execute(self._make[table], rows)

    def _found(self, connection: Connection, question: Select[Any], these: list[str]) -> Iterable[RowMapping]:
        if not these:
            return ()
        return connection.execute(question, self._these(these)).mappings().all()

    def save(self, connection: Connection, book: Book) -> None:
        """Write back what has changed."""
        if book.gone:
            connection.execute(self._gone, self._these(book.gone))
        new = [_entry_row(entry) for entry in book.changed_entries.values() if entry.new]
        if new:
            connection.execute(_NEW_ENTRY, new)
        changed = [_entry_row(entry) for entry in book.changed_entries.values() if not entry.new]
        if changed:
            connection.execute(_CHANGE_ENTRY, [{"_call": row.pop("call"), **row} for row in changed])
        if book.changed_bursts:
            rows = [
                {"id": name, "account": short_id(account), "until": until, "times": book.bursts[name]}
                for name, (account, until) in book.changed_bursts.items()
            ]
            connection.execute(self._save[bursts], rows)
        if book.changed_counters:
            connection.execute(self._save[budgets], [_counter_row(c) for c in book.changed_counters.values()])
        if book.newly_frozen:
            rows = [
                {
                    "id": account,
                    "account": storable(found.account)[:_LONG],
                    "reason": storable(found.reason)[:_LONG],
                    "since": found.since.timestamp(),
                }
                for account, found in book.newly_frozen.items()
            ]
            connection.execute(self._make[frozen], rows)

    def thaw(self, connection: Connection, account: str) -> bool:
        """Whether it was frozen. What began before is forgotten, or he would be frozen again at once."""
        found = connection.execute(delete(frozen).where(frozen.c.id == short_id(account)))
        mine = select(bursts.c.id).where(bursts.c.account == short_id(account)).order_by(bursts.c.id)
        ids = list(connection.execute(mine.with_for_update() if self._locking else mine).scalars())
        if ids:
            connection.execute(self._thawed, self._these(ids))
        return found.rowcount > 0

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
            connection.execute(self._save[clocks], {"id": 1, "at": at})


def _enter(book: Book, row: RowMapping) -> Entry:
    holds = [Hold(*hold) for hold in row["holds"]]
    entry = Entry(**{**row, "holds": holds, "new": False})
    return book.entries.setdefault(entry.call, entry)


def _entry_row(entry: Entry) -> dict[str, Any]:
    holds = [[h.counter, h.budget, h.unit, h.begins, h.granted, h.used] for h in entry.holds]
    return {
        "call": entry.call,
        "account": storable(entry.account)[:_LONG],
        "until": entry.until,
        "seconds": entry.seconds,
        "answered": entry.answered,
        "lapsed": entry.lapsed,
        "holds": holds,
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
