from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.storage.history import History, Question
from gateway.storage.records import CallRecord, Records
from tests.storage.test_records import CALL, NOON, locked

DAY = timedelta(days=1)
CALLS = (
    replace(CALL, id="yesterday", key="k-1", offered=NOON - DAY),
    replace(CALL, id="busy", key="k-2", cause="busy", blame="callee", answered=None, caller="romeo@montague.lit"),
    replace(CALL, id="broken", key="k-2", offered=NOON + timedelta(seconds=1), cause="media-lost", blame="network"),
    replace(
        CALL,
        id="from-outside",
        direction="inbound",
        offered=NOON + DAY,
        caller="sip:+442079460123@other.example",
        callee="juliet@shakespeare.lit",
        dialled="100%",
        via="xmpp",
        trunk="other",
        attempts=(),
        ladder=(),
    ),
)


@pytest.fixture
async def running(url: str) -> AsyncIterator[Records]:
    """A gateway that has these calls behind it and goes on."""
    records = Records(url)
    await records.start()
    for call in CALLS:
        records.put(call)
    await records.stop()
    await records.start()
    yield records
    await records.stop()


@pytest.fixture
def full(running: Records, url: str) -> str:
    """The database with the calls."""
    return url


def found(url: str, **conditions: Any) -> list[str]:
    history = History(url)
    try:
        question = Question(**conditions)
        listed = [record.id for record in history.calls(question)]
        assert len(listed) == min(history.count(question), question.limit)
        return listed
    finally:
        history.close()


async def test_the_newest_come_last_and_no_more_than_asked_for(full: str) -> None:
    assert found(full) == ["yesterday", "busy", "broken", "from-outside"]
    assert found(full, limit=2) == ["broken", "from-outside"]
    assert found(full, limit=0) == []


@pytest.mark.parametrize(
    ("conditions", "calls"),
    [
        ({"since": NOON}, ["busy", "broken", "from-outside"]),
        ({"until": NOON}, ["yesterday"]),
        ({"since": NOON, "until": NOON + DAY}, ["busy", "broken"]),
        ({"user": "romeo@montague.lit"}, ["busy"]),
        ({"user": "juliet@shakespeare.lit", "since": NOON}, ["broken", "from-outside"]),
        ({"number": "+442079460123"}, ["from-outside"]),
        ({"number": "100%"}, ["from-outside"]),
        ({"number": "%"}, ["from-outside"]),  # means itself, and not anything
        ({"cause": "busy"}, ["busy"]),
        ({"failed": True}, ["busy", "broken"]),
        ({"trunk": "other"}, ["from-outside"]),
        ({"trunk": "reserve", "until": NOON}, ["yesterday"]),  # that was tried in vain
        ({"trunk": "nobody's"}, []),
    ],
)
async def test_calls_are_found_by(full: str, conditions: dict[str, Any], calls: list[str]) -> None:
    assert found(full, **conditions) == calls


@pytest.mark.parametrize(("name", "call"), [("busy", "busy"), ("k-1", "yesterday"), ("k-2", "broken")])
async def test_one_call_is_found_by_its_id_and_its_sid_with_all_that_is_known(full: str, name: str, call: str) -> None:
    history = History(full)
    record = history.call(name)
    history.close()
    assert record == next(known for known in CALLS if known.id == call)


async def test_a_call_that_is_not_there_is_none(full: str) -> None:
    history = History(full)
    assert history.call("nobody's") is None
    history.close()


async def test_it_is_read_while_the_gateway_writes_and_nothing_is_written_by_reading(full: str) -> None:
    history = History(full)
    with locked(full):
        assert len(list(history.calls(Question()))) == len(CALLS)
    with pytest.raises(Exception, match=r"read-?only"), history._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM calls")
    history.close()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_database_beside_which_nothing_may_be_written_is_read_all_the_same(full: str, running: Records) -> None:
    await running.stop()
    history = History(full)
    folder = Path(str(history._engine.url.database).removeprefix("file:")).parent
    history.close()
    os.chmod(folder, 0o500)
    try:
        assert found(full) == [call.id for call in CALLS]
    finally:
        os.chmod(folder, 0o700)


def test_a_database_that_is_not_there_or_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=r"none\.db is not there"):
        History(f"sqlite:///{tmp_path / 'none.db'}")
    (tmp_path / "text.db").write_text("this is no database, " * 100)
    with pytest.raises(GatewayError, match="call records cannot be read"):
        list(History(f"sqlite:///{tmp_path / 'text.db'}").calls(Question()))


def test_a_database_without_calls_has_none(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "empty.db").close()
    (tmp_path / "empty.db").touch()
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    assert found(url) == []
    history = History(url)
    assert history.call("x") is None
    history.close()


async def test_many_calls_come_in_their_order(url: str) -> None:
    records = Records(url)
    await records.start()
    many: list[CallRecord] = [
        replace(CALL, id=f"{n:04}", offered=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n), ladder=())
        for n in range(1200)
    ]
    for call in many:
        records.put(call)
    await records.stop()
    assert found(url, limit=1100) == [f"{n:04}" for n in range(100, 1200)]
