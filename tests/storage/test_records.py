from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from structlog.testing import capture_logs

from gateway.storage.records import CallRecord, Records

NOON = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)
CALL = CallRecord(
    id="c1",
    direction="outbound",
    caller="juliet@shakespeare.lit",
    callee="sip:+12025550123@sbc.carrier.example",
    dialled="+12025550123",
    rule="north america",
    via="carrier",
    cause="normal",
    blame="nobody",
    text="",
    by="caller",
    offered=NOON,
    rang=NOON + timedelta(seconds=1),
    answered=NOON + timedelta(seconds=4),
    ended=NOON + timedelta(seconds=64),
    duration=60.0,
    q850=16,
    media={"caller": {"received_packets": 3000, "codec": "opus"}},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@pytest.fixture
async def store(file: Path) -> AsyncIterator[Records]:
    opened = Records(f"sqlite:///{file}", retry=0.01)
    await opened.start()
    yield opened
    await opened.stop()


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Somebody else writes to the database and takes his time."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def stored(file: Path) -> list[CallRecord]:
    """What a gateway that is started later finds."""
    reader = Records(f"sqlite:///{file}")
    await reader.start()
    try:
        return await reader.recent(1000)
    finally:
        await reader.stop()


async def test_a_record_comes_back_as_it_was_put(store: Records, file: Path) -> None:
    store.put(CALL)
    await store.stop()
    assert await stored(file) == [CALL]


async def test_a_call_that_was_never_answered_has_no_time_of_answer(store: Records, file: Path) -> None:
    refused = replace(CALL, rang=None, answered=None, duration=0.0, cause="busy", media={})
    store.put(refused)
    await store.stop()
    assert await stored(file) == [refused]


async def test_times_are_utc_whatever_they_came_in(store: Records, file: Path) -> None:
    store.put(replace(CALL, ended=CALL.ended.astimezone(timezone(timedelta(hours=5)))))
    await store.stop()
    (found,) = await stored(file)
    assert found.ended == CALL.ended
    assert found.ended.tzinfo is UTC


async def test_the_newest_come_first_and_no_more_than_asked_for(store: Records, file: Path) -> None:
    for n in range(5):
        store.put(replace(CALL, id=f"c{n}"))
    await store.stop()
    reader = Records(f"sqlite:///{file}")
    assert [r.id for r in await reader.recent(3)] == ["c4", "c3", "c2"]
    assert await reader.recent(-1) == []
    await reader.stop()


async def test_no_sql_runs_on_the_event_loop(store: Records) -> None:
    threads: set[int] = set()
    event.listen(store._database.engine, "before_cursor_execute", lambda *_: threads.add(threading.get_ident()))
    store.put(CALL)
    await store.recent()
    await store.stop()
    assert threads
    assert threading.get_ident() not in threads


async def test_a_full_queue_drops_counts_and_logs_the_record_and_never_waits(file: Path) -> None:
    dropped: list[CallRecord] = []
    idle = Records(f"sqlite:///{file}", capacity=2, on_drop=dropped.append)  # not started: nobody empties it
    with capture_logs() as log:
        for n in range(4):
            idle.put(replace(CALL, id=f"c{n}"))
    assert idle.dropped == 2
    assert [r.id for r in dropped] == ["c2", "c3"]
    assert [(line["call"], line["record"]["callee"]) for line in log] == [("c2", CALL.callee), ("c3", CALL.callee)]
    await idle.stop()


async def test_a_row_that_the_database_refuses_takes_no_other_with_it(store: Records, file: Path) -> None:
    bad: Any = object()
    with capture_logs() as log:
        with locked(file):  # so that the three make one batch
            for record in (CALL, replace(CALL, id="bad", q850=bad), replace(CALL, id="c2")):
                store.put(record)
        await store.stop()
    assert [r.id for r in await stored(file)] == ["c2", "c1"]
    assert [line["call"] for line in log if line["log_level"] == "error"] == ["bad"]
    assert store.dropped == 1


async def test_what_a_peer_sent_is_clipped_and_made_storable(store: Records, file: Path) -> None:
    store.put(replace(CALL, text="a\0b\ud800" + "x" * 5000, media={"caller": {"c\0": ["\ud800", 1, None]}}))
    await store.stop()
    (found,) = await stored(file)
    assert len(found.text) == 1024
    assert found.text.startswith("a\ufffdb?xxx")
    assert found.media == {"caller": {"c\ufffd": ["?", 1, None]}}


async def test_records_survive_a_restart_and_the_table_is_made_once(store: Records, file: Path) -> None:
    store.put(CALL)
    await store.stop()
    await store.start()
    store.put(replace(CALL, id="c2"))
    await store.stop()
    assert [r.id for r in await stored(file)] == ["c2", "c1"]
