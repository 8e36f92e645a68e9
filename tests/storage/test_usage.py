from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection

from gateway.dialplan.booking import Claim, Period, Unit
from gateway.storage.book import Ask, Book
from gateway.storage.bookrows import Rows, metadata
from gateway.storage.database import engine_for
from gateway.storage.usage import Usage, frozen_accounts, usage
from gateway.storage.windows import Calendar

NOON = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
HOUR = Claim("fast juliet", "fast", Unit.CALLS, Period.HOUR, 3)
MONTH = Claim("abroad juliet", "abroad", Unit.SECONDS, Period.MONTH, 1000)


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    engine = engine_for(url)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


@pytest.fixture
def booked(connection: Connection) -> Connection:
    """A call an hour ago and one now; an account that is frozen."""
    metadata.create_all(connection)
    rows = Rows(connection.dialect.name)
    for hours in (1, 0):
        now = (NOON - timedelta(hours=hours)).timestamp()
        book = Book(now, Calendar(now))
        ask = Ask(f"c{hours}", "juliet@shakespeare.lit", (HOUR, MONTH))
        rows.load(connection, book, claims=ask.claims)
        book.reserve(ask, 300)
        book.freeze("romeo@montague.lit", "stolen password")
        rows.save(connection, book)
    return connection


def test_what_is_drawn_in_the_present_windows_is_listed(booked: Connection) -> None:
    month = Usage("abroad juliet", "abroad", "seconds", "month", 1000, 0, 120, datetime(2026, 12, 1, tzinfo=UTC))
    hour = Usage("fast juliet", "fast", "calls", "hour", 3, 0, 1, datetime(2026, 11, 22, 13, tzinfo=UTC))
    assert usage(booked, NOON.timestamp()) == (month, hour)
    assert usage(booked, NOON.timestamp() + 3600) == (month,)
    assert usage(booked, NOON.timestamp() + 86_400 * 30) == ()


def test_frozen_accounts_are_listed_and_found(booked: Connection) -> None:
    (found,) = frozen_accounts(booked)
    assert found == replace(found, account="romeo@montague.lit", reason="stolen password", fresh=False)
    assert found.since == NOON - timedelta(hours=1)
    assert frozen_accounts(booked, "romeo@montague.lit") == (found,)
    assert frozen_accounts(booked, "juliet@shakespeare.lit") == ()


def test_where_nothing_was_booked_nothing_is_used(connection: Connection) -> None:
    assert usage(connection, NOON.timestamp()) == ()
    assert frozen_accounts(connection) == ()
