"""Statements that go to the driver itself: all of a transaction or nothing, and faults as SQLAlchemy raises them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, bindparam, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from gateway.storage.bookings import _engine
from gateway.storage.direct import driver, transaction, written

numbers = Table("numbers", MetaData(), Column("number", Integer, primary_key=True))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = _engine(url, 20.0)
    numbers.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as made:
        yield made


def put(connection: Connection, *some: int) -> None:
    statement = written(insert(numbers), connection.dialect.name)
    for number in some:
        driver(connection).execute(statement, {"number": number})


def there(engine: Engine) -> list[int]:
    with engine.connect() as another:
        return list(another.execute(select(numbers.c.number).order_by(numbers.c.number)).scalars())


def test_what_is_written_out_takes_its_parameters_by_name_and_keeps_order(connection: Connection) -> None:
    asked = select(numbers).where(numbers.c.number > bindparam("least")).order_by(numbers.c.number)
    statement = written(asked, connection.dialect.name)
    with transaction(connection):
        put(connection, 3, 1, 2)
        several = [driver(connection).execute(statement, {"least": least}) for least in (0, 2)]
        assert [[number for (number,) in cursor.fetchall()] for cursor in several] == [[1, 2, 3], [3]]


def test_others_see_a_transaction_when_it_has_ended(engine: Engine, connection: Connection) -> None:
    with transaction(connection):
        put(connection, 1, 2)
        assert there(engine) == []
    assert there(engine) == [1, 2]


def test_a_statement_that_is_refused_takes_back_all_of_its_transaction(engine: Engine, connection: Connection) -> None:
    with transaction(connection):
        put(connection, 1)
    with pytest.raises(IntegrityError) as caught, transaction(connection):
        put(connection, 2, 1, 3)
    assert not caught.value.connection_invalidated
    connection.invalidate()
    assert there(engine) == [1]
    with transaction(connection):
        put(connection, 4)
    assert there(engine) == [1, 4]


def test_whoever_fails_within_it_has_written_nothing(engine: Engine, connection: Connection) -> None:
    def interrupted() -> None:
        put(connection, 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), transaction(connection):
        interrupted()
    connection.invalidate()
    assert there(engine) == []


def test_a_statement_that_makes_no_sense_is_told_from_a_connection_that_is_gone(connection: Connection) -> None:
    with pytest.raises(DBAPIError) as caught, transaction(connection):
        driver(connection).execute("SELECT nothing FROM nowhere")
    assert not caught.value.connection_invalidated


@pytest.mark.slow
def test_a_session_that_the_server_ends_is_known_to_be_gone(postgres: Any) -> None:
    engine = _engine(postgres.database(), 20.0)
    with engine.connect() as connection, engine.connect() as another:
        with another.begin():
            another.exec_driver_sql(f"SELECT pg_terminate_backend({driver(connection).info.backend_pid})")
        with pytest.raises(OperationalError) as caught, transaction(connection):
            driver(connection).execute("SELECT 1").fetchall()
        assert caught.value.connection_invalidated
        connection.invalidate()
    engine.dispose()


def test_a_second_writer_of_a_file_learns_at_once_that_he_has_to_wait(tmp_path: Path) -> None:
    engine = _engine(f"sqlite:///{tmp_path / 'gateway.db'}", 20.0)
    with engine.connect() as first, engine.connect() as second, transaction(first):
        driver(second).execute("PRAGMA busy_timeout = 0")
        with pytest.raises(OperationalError, match="locked"), transaction(second):
            pytest.fail("it has begun")
    engine.dispose()
