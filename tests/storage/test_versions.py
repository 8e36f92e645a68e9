from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, create_engine, inspect

from gateway.errors import GatewayError
from gateway.storage.history import History, Question
from gateway.storage.records import Records
from gateway.storage.versions import bring_up
from tests.storage.test_records import CALL

# The table as the first version of the gateway made it, and a call as it wrote one.
FIRST = """
CREATE TABLE calls (
    number INTEGER NOT NULL, id VARCHAR(255) NOT NULL, direction VARCHAR(255) NOT NULL, caller VARCHAR(1024) NOT NULL,
    callee VARCHAR(1024) NOT NULL, dialled VARCHAR(1024) NOT NULL, rule VARCHAR(255) NOT NULL,
    via VARCHAR(255) NOT NULL, cause VARCHAR(255) NOT NULL, blame VARCHAR(255) NOT NULL, text VARCHAR(1024) NOT NULL,
    "by" VARCHAR(255) NOT NULL, offered DATETIME NOT NULL, rang DATETIME, answered DATETIME, ended DATETIME NOT NULL,
    duration FLOAT NOT NULL, q850 INTEGER NOT NULL, media JSON NOT NULL, PRIMARY KEY (number)
);
CREATE INDEX ix_calls_id ON calls (id);
INSERT INTO calls VALUES (1, 'old', 'outbound', 'juliet@shakespeare.lit', 'sip:+12025550123@sbc.carrier.example',
    '+12025550123', 'all', 'carrier', 'busy', 'callee', 'busy', 'callee', '2026-03-01 10:00:00.000000', NULL, NULL,
    '2026-03-01 10:00:09.000000', 0.0, 17, '{"caller": {"codec": "opus"}}');
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "gateway.db"
    connection = sqlite3.connect(made)
    connection.executescript(FIRST)
    connection.close()
    return made


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    yield made
    made.dispose()


def listed(file: Path) -> list[str]:
    history = History(f"sqlite:///{file}")
    try:
        return [record.id for record in history.calls(Question())]
    finally:
        history.close()


async def test_a_database_of_the_first_version_is_brought_up_and_its_calls_stay_readable(file: Path) -> None:
    records = Records(f"sqlite:///{file}")
    await records.start()
    records.put(CALL)
    await records.stop()
    history = History(f"sqlite:///{file}")
    old, new = history.call("old"), history.call("c1")
    history.close()
    assert new == CALL
    assert old is not None
    assert (old.cause, old.offered) == ("busy", datetime(2026, 3, 1, 10, tzinfo=UTC))
    assert (old.trunk, old.routed, old.emergency, old.hops, old.price, old.attempts) == ("", None, False, 0, None, ())


def test_a_database_that_no_newer_gateway_has_opened_is_read_as_it_is(file: Path) -> None:
    before = file.read_bytes()
    history = History(f"sqlite:///{file}")
    (old,) = history.calls(Question(trunk="carrier", failed=True, user="juliet@shakespeare.lit", number="12025550123"))
    found = history.call("old")
    history.close()
    assert old == found
    assert old.media == {"caller": {"codec": "opus"}}
    assert file.read_bytes() == before


async def test_a_gateway_that_died_half_way_goes_on_where_it_was(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("ALTER TABLE calls ADD COLUMN trunk VARCHAR(255) NOT NULL DEFAULT ''")
    connection.close()
    for _ in range(2):
        records = Records(f"sqlite:///{file}")
        await records.start()
        await records.stop()
    assert listed(file) == ["old"]


async def test_tables_of_a_newer_gateway_are_left_alone(file: Path) -> None:
    records = Records(f"sqlite:///{file}")
    await records.start()
    await records.stop()
    connection = sqlite3.connect(file)
    connection.execute("UPDATE schema_versions SET version = 99 WHERE name = 'call records'")
    connection.commit()
    connection.close()
    with pytest.raises(GatewayError, match=r"of a newer gateway \(version 99"):
        await Records(f"sqlite:///{file}").start()


def test_columns_and_indexes_that_have_come_since_are_added_with_their_defaults(engine: Engine) -> None:
    first, second = MetaData(), MetaData()
    Table("order", first, Column("number", Integer, primary_key=True))
    Table(
        "order",
        second,
        Column("number", Integer, primary_key=True),
        Column("group", String(20), nullable=False, server_default="none", index=True),
        Column("note", String(20)),
    )
    bring_up(engine, first, "orders", 1)
    with engine.begin() as connection:
        connection.exec_driver_sql('INSERT INTO "order" (number) VALUES (7)')
    bring_up(engine, second, "orders", 2)
    with engine.connect() as connection:
        assert connection.exec_driver_sql('SELECT * FROM "order"').all() == [(7, "none", None)]
        assert connection.exec_driver_sql("SELECT * FROM schema_versions").all() == [("orders", 2)]
    assert [index["column_names"] for index in inspect(engine).get_indexes("order")] == [["group"]]
