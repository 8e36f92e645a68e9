"""Rows that go into a database and come out as they were, under locks that no two gateways take crosswise."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from gateway.dialplan.booking import Burst, Claim, Period, Unit
from gateway.storage import bookrows
from gateway.storage.book import Ask, Book, Frozen, burst_id
from gateway.storage.bookrows import OLD, Rows, bookings, budgets, bursts, clocks, frozen, metadata
from gateway.storage.database import engine_for
from gateway.storage.direct import driver
from gateway.storage.versions import bring_up
from gateway.storage.windows import window

NOW = 1_795_348_800.0
JULIET = "juliet@shakespeare.lit"
CLAIMS = tuple(Claim(f"{name} juliet", name, Unit.SECONDS, Period.DAY, 1000) for name in ("b", "a", "c"))
BURST = Burst("fast juliet", "fast", 2, 60)
ASK = Ask("c1", JULIET, CLAIMS, (BURST,), None, 60)


@pytest.fixture
def engine(url: str) -> Any:
    made = engine_for(url)
    bring_up(made, metadata, "bookings", 1)
    yield made
    made.dispose()


@pytest.fixture
def rows(engine: Engine) -> Rows:
    return Rows(engine.dialect.name)


def a_book(now: float = NOW) -> Book:
    return Book(now, lambda period: window(period, now))


def loaded(rows: Rows, connection: Any, now: float = NOW, **what: Any) -> Book:
    book = a_book(now)
    wanted = {"calls": ("c1",), "accounts": (JULIET,), "bursts_of": {burst_id(BURST): JULIET}, "claims": CLAIMS}
    rows.load(connection, book, **{**wanted, **what})
    return book


def booked(rows: Rows, engine: Engine) -> None:
    with engine.begin() as connection:
        book = loaded(rows, connection)
        book.reserve(ASK, 300)
        rows.save(connection, book)


def test_what_was_saved_is_loaded_as_it_was(rows: Rows, engine: Engine) -> None:
    with engine.begin() as connection:
        first = loaded(rows, connection)
        first.reserve(ASK, 300)
        first.extend(ASK, 90, None, True, 300)
        first.freeze(JULIET, "stolen password")
        rows.save(connection, first)
    with engine.begin() as connection:
        second = loaded(Rows(engine.dialect.name), connection)
    first.entries["c1"].new = False
    assert second.entries == first.entries
    assert second.counters == first.counters
    assert second.bursts == first.bursts
    assert second.frozen == first.frozen == {JULIET: Frozen(JULIET, "stolen password", second.frozen[JULIET].since)}


def test_what_was_settled_is_gone_and_its_budgets_are_not(rows: Rows, engine: Engine) -> None:
    booked(rows, engine)
    with engine.begin() as connection:
        book = loaded(rows, connection, claims=())
        book.settle("c1", 42, 0, True)
        rows.save(connection, book)
        assert connection.execute(select(bookings)).all() == []
        assert {(row.used, row.reserved) for row in connection.execute(select(budgets))} == {(42, 0)}


def test_a_call_whose_lease_is_over_is_found(rows: Rows, engine: Engine) -> None:
    booked(rows, engine)
    for now, found in ((NOW + 299, 0), (NOW + 301, 1), (NOW - 5000, 1)):
        with engine.begin() as connection:
            assert len(rows.load_lapsed(connection, a_book(now))) == found


def test_what_is_over_is_taken_away_a_bounded_number_at_a_time(rows: Rows, engine: Engine) -> None:
    with engine.begin() as connection:
        old = {"key": "", "budget": "", "unit": "", "period": "", "begins": 0, "ends": 1, "most": 0, "used": 0}
        connection.execute(budgets.insert(), [{"id": str(n), "reserved": 0, **old} for n in range(OLD + 5)])
        rows.clean(connection, NOW)
        assert connection.execute(select(func.count()).select_from(budgets)).scalar() == 5
    booked(rows, engine)
    for days in (1, 5):
        with engine.begin() as connection:
            rows.clean(connection, NOW + days * 86_400)
            left = [connection.execute(select(func.count()).select_from(table)).scalar() for table in (budgets, bursts)]
            assert left == [3 if days == 1 else 0, 0]


def test_rows_that_were_taken_away_behind_our_back_are_made_anew(rows: Rows, engine: Engine) -> None:
    booked(rows, engine)
    with engine.begin() as connection:
        connection.execute(budgets.delete())
    with engine.begin() as connection:
        book = loaded(rows, connection)
        book.reserve(Ask("c2", JULIET, CLAIMS), 300)
        rows.save(connection, book)
        assert {row.reserved for row in connection.execute(select(budgets))} == {60}


def test_the_latest_time_that_was_seen_stays(rows: Rows, engine: Engine) -> None:
    with engine.begin() as connection:
        for at in (NOW, NOW + 5, NOW - 5):
            rows.mark(connection, at)
        assert connection.execute(select(clocks.c.at)).scalars().all() == [NOW + 5]


def test_an_account_is_frozen_once_and_thawed_with_what_it_began(rows: Rows, engine: Engine) -> None:
    booked(rows, engine)
    for reason in ("first", "second"):  # as two gateways do at once
        with engine.begin() as connection:
            book = a_book()
            book.freeze(JULIET, reason)
            rows.save(connection, book)
    with engine.begin() as connection:
        assert [row.reason for row in connection.execute(select(frozen))] == ["first"]
        assert rows.thaw(connection, JULIET)
        assert not rows.thaw(connection, JULIET)
        assert connection.execute(select(bursts)).all() == []


@pytest.mark.slow
def test_rows_are_locked_table_by_table_and_in_the_order_of_their_keys(
    postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_for(postgres.database())
    bring_up(engine, metadata, "bookings", 1)
    booked(Rows("postgresql"), engine)
    said: list[tuple[str, Any]] = []

    class Overheard:
        def __init__(self, connection: Any) -> None:
            self.driver = driver(connection)

        def execute(self, statement: str, parameters: Any) -> Any:
            said.append((" ".join(statement.split()), parameters))
            return self.driver.execute(statement, parameters)

    monkeypatch.setattr(bookrows, "driver", Overheard)
    with engine.begin() as connection:
        loaded(Rows("postgresql"), connection)
    engine.dispose()
    locks = [statement for statement, _ in said if "FOR UPDATE" in statement]
    assert [re.findall(r"FROM (\w+)", lock) for lock in locks] == [["bookings"], ["call_bursts"], ["budgets"]]
    assert all(re.search(r"ORDER BY \w+\.(call|id) FOR UPDATE$", lock) for lock in locks)
    made = next(parameters for statement, parameters in said if "INTO budgets" in statement)
    order = [row["id"] for row in json.loads(made["rows"])]
    assert order == sorted(order)
    assert len(order) == len(CLAIMS)
