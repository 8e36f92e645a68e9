"""A database that may be slow, locked or away, and rows that reach it in order or are dropped with a reason."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, event, insert, select
from structlog.testing import capture_logs

from gateway.errors import GatewayError
from gateway.storage import database
from gateway.storage.database import BATCH, Database, storable
from tests.storage.locks import locked

metadata = MetaData()
words = Table(
    "words", metadata, Column("number", Integer, primary_key=True), Column("word", String(20), nullable=False)
)


def write(connection: Connection, batch: Sequence[Any]) -> None:
    connection.execute(insert(words), [{"word": word} for word in batch])


def ask(connection: Connection) -> list[str]:
    return list(connection.execute(select(words.c.word).order_by(words.c.number)).scalars())


class Words(Database[Any]):
    def __init__(self, url: str, capacity: int = 1000) -> None:
        self.dropped: list[tuple[Any, str]] = []
        super().__init__(url, metadata, write, self._dropped, name="words", capacity=capacity, retry=0.01)

    def _dropped(self, word: Any, why: str) -> None:
        self.dropped.append((word, why))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@pytest.fixture
async def store(file: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Words]:
    monkeypatch.setattr(database, "SQLITE_WAIT", 0)
    opened = Words(f"sqlite:///{file}")
    await opened.start()
    yield opened
    await opened.stop()


async def test_rows_are_written_in_their_order_and_the_table_is_made_once(store: Words) -> None:
    store.put("a")
    await store.stop()
    await store.start()
    for word in "bcd":
        store.put(word)
    await store.stop()
    assert await store.read(ask) == ["a", "b", "c", "d"]


async def test_no_sql_runs_on_the_event_loop(store: Words) -> None:
    threads: set[int] = set()
    event.listen(store.engine, "before_cursor_execute", lambda *_: threads.add(threading.get_ident()))
    store.put("a")
    await store.read(ask)
    await store.stop()
    assert threads
    assert threading.get_ident() not in threads


async def test_a_full_queue_drops_and_never_waits(file: Path) -> None:
    idle = Words(f"sqlite:///{file}", capacity=2)  # not started: nobody empties it
    for word in "abcd":
        idle.put(word)
    assert idle.dropped == [("c", "the queue is full"), ("d", "the queue is full")]
    await idle.stop()


async def test_a_database_that_comes_back_gets_every_row_in_order(store: Words, file: Path) -> None:
    waited = threading.Event()
    event.listen(store.engine, "handle_error", lambda _: waited.set())
    said = [f"w{n}" for n in range(BATCH + 5)]
    with capture_logs() as log:
        with locked(file):
            for word in said:
                store.put(word)
            await asyncio.to_thread(waited.wait)
        await store.stop()
    assert store.dropped == []
    assert await store.read(ask) == said
    assert any("database is locked" in line["error"] and line["of"] == "words" for line in log)


async def test_stopping_does_not_wait_for_a_database_that_stays_away(
    store: Words, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "STOPPING", 0)
    with locked(file):
        for n in range(BATCH + 5):
            store.put(f"w{n}")
        await store.stop()
    assert len(store.dropped) == BATCH + 5
    assert {why for _, why in store.dropped} == {"the database is away"}


async def test_a_row_that_the_database_refuses_takes_no_other_with_it(store: Words, file: Path) -> None:
    bad = object()
    with locked(file):  # so that the three make one batch
        for word in ("a", bad, "c"):
            store.put(word)
    await store.stop()
    assert await store.read(ask) == ["a", "c"]
    assert [word for word, _ in store.dropped] == [bad]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "Could not parse"),
        ("gateway.db", "Could not parse"),
        ("sqlite://", "name a file"),
        ("sqlite:///:memory:", "name a file"),
        ("pigeon://x", "Can't load plugin"),
        ("mysql+pymysql://u:xyzzy@localhost/calls", "driver is not installed: pymysql"),
    ],
)
def test_a_url_that_cannot_be_used_is_a_clear_error_without_its_password(url: str, says: str) -> None:
    with pytest.raises(GatewayError, match=rf"\[storage\] url: .*{says}") as error:
        Words(url)
    assert "xyzzy" not in str(error.value)


async def test_a_database_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    store = Words(f"sqlite:///{tmp_path}/nowhere/gateway.db")
    with pytest.raises(GatewayError, match=r"\[storage\] url: .*unable to open database file"):
        await store.start()
    with pytest.raises(GatewayError, match="words cannot be read"):
        await store.read(ask)
    await store.stop()


async def test_a_database_that_does_not_answer_is_a_clear_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "STARTING", 0)
    store = Words(f"sqlite:///{file}")
    with pytest.raises(GatewayError, match=r"\[storage\] url: no answer from the database in 0 s"):
        await store.start()
    await store.stop()


async def test_stopping_twice_and_without_a_start_is_harmless(file: Path) -> None:
    store = Words(f"sqlite:///{file}")
    await store.stop()
    await store.start()
    await store.stop()
    await store.stop()


def test_text_is_freed_of_what_a_database_refuses() -> None:
    assert storable("a\0b\ud800ü") == "a\ufffdb?ü"


async def test_a_database_that_takes_its_time_gets_everything_at_the_stop(
    store: Words, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BATCH", 1)
    monkeypatch.setattr(database, "STOPPING", 0.3)
    event.listen(store.engine, "before_cursor_execute", lambda *_: threading.Event().wait(0.1))  # each statement
    for number in range(8):
        store.put(f"word {number}")
    await store.stop()
    assert store.dropped == []
    connection = sqlite3.connect(file)
    assert connection.execute("SELECT count(*) FROM words").fetchone() == (8,)
    connection.close()


async def test_rows_that_come_soon_after_each_other_are_one_transaction(file: Path) -> None:
    batches: list[list[Any]] = []
    written = threading.Event()

    def note(_: Connection, batch: Sequence[Any]) -> None:
        batches.append(list(batch))
        written.set()

    store: Database[Any] = Database(
        f"sqlite:///{file}", metadata, note, lambda row, why: None, name="words", capacity=BATCH
    )
    await store.start()
    for word in "abc":
        store.put(word)
        await asyncio.sleep(0)  # each gives the writer its turn
    assert await asyncio.to_thread(written.wait, 10)
    await store.stop()
    assert batches == [["a", "b", "c"]]


def test_a_url_of_postgresql_needs_no_driver() -> None:
    assert database.engine_for("postgresql://gateway@localhost/calls").driver == "psycopg"
