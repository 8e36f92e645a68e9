from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import event
from structlog.testing import capture_logs

from gateway.storage.database import engine_for
from gateway.storage.history import History, Question
from gateway.storage.records import AttemptRecord, CallRecord, Quality, Records
from gateway.storage.records import _write as write

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
    key="a84b4c76e66710",
    trunk="carrier",
    routed=NOON + timedelta(milliseconds=3),
    asked=NOON + timedelta(milliseconds=9),
    progress=NOON + timedelta(milliseconds=500),
    connected=NOON + timedelta(seconds=5),
    emergency=True,
    hops=1,
    price=12_345_678,
    currency="EUR",
    recording="20261122T120004Z-c1.wav",
    recording_fault="No space left on device",
    quality=Quality("opus PCMA", 1.5, 12.5, 80.0, 3.9),
    attempts=(
        AttemptRecord(
            number=1,
            via="reserve",
            target="sip:+12025550123@reserve.example",
            origin="route",
            cause="congestion",
            blame="network",
            text="out of lines",
            q850=34,
            began=NOON,
            dialled=NOON + timedelta(milliseconds=9),
            ended=NOON + timedelta(milliseconds=200),
        ),
        AttemptRecord(
            number=2,
            via="carrier",
            target="sip:+12025550123@sbc.carrier.example",
            origin="redirect",
            cause="normal",
            blame="nobody",
            text="",
            q850=16,
            began=NOON + timedelta(milliseconds=200),
            quality=Quality("PCMA", 1.5, 12.5, 80.0, 3.9),
        ),
    ),
    ladder=((NOON.timestamp(), "sip", True, "INVITE", "k1", ""), (NOON.timestamp() + 1, "media", False, "up", "c", "")),
)


@pytest.fixture
async def store(url: str) -> AsyncIterator[Records]:
    opened = Records(url, retry=0.01)
    await opened.start()
    yield opened
    await opened.stop()


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Somebody else writes calls to the database and takes his time."""
    engine = engine_for(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("LOCK TABLE calls IN EXCLUSIVE MODE")
        yield
        connection.rollback()
    engine.dispose()


def stored(url: str) -> list[CallRecord]:
    """What an operator finds, the oldest first."""
    history = History(url)
    try:
        found = [history.call(record.id) for record in history.calls(Question(limit=1000))]
        return [record for record in found if record is not None]
    finally:
        history.close()


async def test_a_record_comes_back_as_it_was_put(store: Records, url: str) -> None:
    store.put(CALL)
    await store.stop()
    assert stored(url) == [CALL]


async def test_a_call_that_was_never_answered_has_no_time_of_answer(store: Records, url: str) -> None:
    refused = replace(CALL, rang=None, answered=None, duration=0.0, cause="busy", media={})
    store.put(refused)
    await store.stop()
    assert stored(url) == [refused]


async def test_times_are_utc_whatever_they_came_in(store: Records, url: str) -> None:
    store.put(replace(CALL, ended=CALL.ended.astimezone(timezone(timedelta(hours=5)))))
    await store.stop()
    (found,) = stored(url)
    assert found.ended == CALL.ended
    assert found.ended.tzinfo is UTC


async def test_no_sql_runs_on_the_event_loop(store: Records) -> None:
    threads: set[int] = set()
    event.listen(store._database.engine, "before_cursor_execute", lambda *_: threads.add(threading.get_ident()))
    store.put(CALL)
    await store.stop()
    assert threads
    assert threading.get_ident() not in threads


async def test_a_full_queue_drops_counts_and_logs_the_record_and_never_waits(url: str) -> None:
    dropped: list[CallRecord] = []
    idle = Records(url, capacity=2, on_drop=dropped.append)  # not started: nobody empties it
    with capture_logs() as log:
        for n in range(4):
            idle.put(replace(CALL, id=f"c{n}"))
    assert idle.dropped == 2
    assert [r.id for r in dropped] == ["c2", "c3"]
    assert [(line["call"], line["record"]["callee"]) for line in log] == [("c2", CALL.callee), ("c3", CALL.callee)]
    await idle.stop()


async def test_a_row_that_the_database_refuses_takes_no_other_with_it(store: Records, url: str) -> None:
    bad: Any = object()
    with capture_logs() as log:
        with locked(url):  # so that the three make one batch
            for record in (CALL, replace(CALL, id="bad", q850=bad), replace(CALL, id="c2")):
                store.put(record)
        await store.stop()
    assert [r.id for r in stored(url)] == ["c1", "c2"]
    assert [line["call"] for line in log if line["log_level"] == "error"] == ["bad"]
    assert store.dropped == 1


async def test_what_a_peer_sent_is_clipped_and_made_storable(store: Records, url: str) -> None:
    store.put(replace(CALL, text="a\0b\ud800" + "x" * 5000, media={"caller": {"c\0": ["\ud800", 1, None]}}))
    await store.stop()
    (found,) = stored(url)
    assert len(found.text) == 1024
    assert found.text.startswith("a\ufffdb?xxx")
    assert found.media == {"caller": {"c\ufffd": ["?", 1, None]}}


async def test_records_survive_a_restart_and_the_table_is_made_once(store: Records, url: str) -> None:
    store.put(CALL)
    await store.stop()
    await store.start()
    store.put(replace(CALL, id="c2"))
    await store.stop()
    assert [r.id for r in stored(url)] == ["c1", "c2"]


async def test_a_record_that_is_put_twice_is_stored_once(store: Records, url: str) -> None:
    store.put(CALL)
    store.put(CALL)
    await store.stop()
    await store.start()
    store.put(CALL)  # as after a commit whose word was lost
    store.put(replace(CALL, id="c2"))
    await store.stop()
    assert [r.id for r in stored(url)] == ["c1", "c2"]
    assert store.dropped == 0


async def test_nothing_that_was_put_before_the_stop_is_lost(store: Records, url: str) -> None:
    for n in range(1003):
        store.put(replace(CALL, id=f"c{n:04}"))
    await store.stop()
    history = History(url)
    assert [r.id for r in history.calls(Question(limit=1004))] == [f"c{n:04}" for n in range(1003)]
    history.close()
    assert store.dropped == 0


async def test_a_record_that_is_not_stored_is_logged_without_its_ladder(url: str) -> None:
    idle = Records(url, capacity=1)
    with capture_logs() as log:
        idle.put(CALL)
        idle.put(CALL)
    assert log[0]["record"]["attempts"][0]["cause"] == "congestion"
    assert log[0]["record"]["ladder"] == ()
    await idle.stop()


async def test_a_call_whose_attempts_the_database_refuses_leaves_no_half_of_itself(store: Records, url: str) -> None:
    bad: Any = object()
    broken = replace(CALL, id="bad", attempts=(replace(CALL.attempts[0], q850=bad),))
    with capture_logs():
        store.put(broken)
        await store.stop()
    assert stored(url) == []
    assert store.dropped == 1


async def test_batches_of_all_sizes_are_written_with_a_few_statements(store: Records) -> None:
    said: set[str] = set()
    event.listen(store._database.engine, "before_cursor_execute", lambda *about: said.add(about[2]))
    with store._database.engine.begin() as connection:
        for size in range(1, 70):
            write(connection, [replace(CALL, id=f"{size}.{number}") for number in range(size)])
    assert len(said) <= 12, "a driver keeps each that it has seen"
