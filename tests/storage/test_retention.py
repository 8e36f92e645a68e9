from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, select
from structlog.testing import capture_logs

from gateway.storage import retention
from gateway.storage.database import engine_for
from gateway.storage.history import History, Question
from gateway.storage.records import Records, attempts, ladders
from gateway.storage.retention import BATCH, Retention
from tests.storage.test_records import CALL, NOON

DAY = timedelta(days=1)


@pytest.fixture
async def kept(url: str) -> AsyncIterator[Retention]:
    """A database with calls of ten days, and thirty days that each is kept for."""
    records = Records(url)
    await records.start()
    for number in range(10):
        records.put(replace(CALL, id=f"day {number}", offered=NOON + number * DAY))
    await records.stop()
    made = Retention(url, 30, pause=0)
    yield made
    await made.stop()


def left(url: str) -> list[str]:
    history = History(url)
    try:
        return [call.id for call in history.calls(Question())]
    finally:
        history.close()


async def test_calls_that_are_kept_long_enough_go_and_others_stay_whole(kept: Retention, url: str) -> None:
    assert await kept.sweep(NOON + 30 * DAY) == 0
    assert await kept.sweep(NOON + 33 * DAY + timedelta(seconds=1)) == 4
    assert left(url) == [f"day {number}" for number in range(4, 10)]
    history = History(url)
    assert history.call("day 4") == replace(CALL, id="day 4", offered=NOON + 4 * DAY)
    history.close()
    engine = engine_for(url)
    with engine.connect() as connection:
        for table in (attempts, ladders):
            assert "day 3" not in connection.execute(select(table.c.call)).scalars().all()
    engine.dispose()


async def test_many_go_a_batch_at_a_time(url: str) -> None:
    records = Records(url)
    await records.start()
    for number in range(2 * BATCH + 5):
        records.put(replace(CALL, id=f"{number}", attempts=(), ladder=()))
    await records.stop()
    made = Retention(url, 1, pause=0)
    committed: list[object] = []
    event.listen(made._engine, "commit", committed.append)
    assert await made.sweep(NOON + 2 * DAY) == 2 * BATCH + 5
    assert len(committed) >= 3
    assert left(url) == []
    await made.stop()


async def test_old_calls_go_while_the_gateway_runs_and_never_on_the_event_loop(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVERY", 0)
    records = Records(url)
    await records.start()
    made = Retention(url, 30, pause=0)
    threads: set[int] = set()
    event.listen(made._engine, "before_cursor_execute", lambda *_: threads.add(threading.get_ident()))
    deleted = asyncio.Event()
    loop = asyncio.get_running_loop()
    event.listen(made._engine, "commit", lambda _: loop.call_soon_threadsafe(deleted.set))
    made.start()
    now = datetime.now(UTC)
    records.put(replace(CALL, id="new", offered=now))
    records.put(replace(CALL, id="old", offered=now - 31 * DAY))
    await records.stop()
    while left(url) != ["new"]:
        deleted.clear()
        await deleted.wait()
    await made.stop()
    await made.stop()
    assert threads
    assert threading.get_ident() not in threads


async def test_a_database_that_is_away_or_empty_is_left_for_later(tmp_path: Path) -> None:
    away = Retention(f"sqlite:///{tmp_path}/nowhere/gateway.db", 30)
    with capture_logs() as log:
        assert await away.sweep(NOON) == 0
    assert [line["event"] for line in log] == ["old call records stay for now"]
    await away.stop()
    empty = Retention(f"sqlite:///{tmp_path}/empty.db", 30)
    assert await empty.sweep(NOON) == 0
    await empty.stop()
