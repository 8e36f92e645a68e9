"""A thread that books together what waits, and a database that is locked, full, broken, stopped or hung meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event
from structlog.testing import capture_logs

from gateway.storage import bookkeeper as module
from gateway.storage.bookings import Ask, Bookings, BookingsAway, Granted
from gateway.storage.direct import driver
from tests.storage.bank import JULIET, TALK, ask, drawn, gateway, patiently
from tests.storage.locks import locked
from tests.storage.postgres import Server


def connection(bookings: Bookings) -> Connection:
    """The one that it books over, which belongs to its thread: nothing may be under way."""
    assert bookings._keeper is not None
    assert bookings._keeper.connection is not None
    return bookings._keeper.connection


def reconnected(bookings: Bookings) -> None:
    """What it asks next it asks over a new connection."""
    assert bookings._keeper is not None
    bookings._keeper.disconnect()
    bookings.engine.dispose()


async def test_one_booking_that_the_database_refuses_takes_no_other_with_it(bank: Bookings) -> None:
    await bank.reserve(Ask("c\ud800", "j\ud800@x", (replace(TALK, key="k\ud800", budget="b\ud800"),)))
    bad: Any = object()
    with capture_logs() as log:
        answers = await asyncio.gather(
            bank.reserve(ask("a", TALK)),
            bank.reserve(ask("b", replace(TALK, most=bad))),
            bank.reserve(ask("c", TALK)),
            return_exceptions=True,
        )
    assert answers[::2] == [Granted(60), Granted(60)]
    assert isinstance(answers[1], BookingsAway)
    assert any(line["event"] == "the database refuses a booking" for line in log)


async def test_a_locked_file_refuses_paid_calls_and_keeps_what_was_settled(tmp_path: Path) -> None:
    file = tmp_path / "gateway.db"
    async with gateway(f"sqlite:///{file}", limit=0.05) as bookings:
        bookings._limit = 20.0  # it is the database that refuses, sooner
        assert await bookings.reserve(ask("a", TALK)) == Granted(60)
        with locked(file):
            bookings.settle("a", 10, answered=True)
            with pytest.raises(BookingsAway, match="locked"):
                await bookings.reserve(ask("b", TALK))
            bookings.settle("b")
        assert await patiently(bookings, ask("c", TALK)) == Granted(60)
        assert await drawn(bookings) == {"abroad": (10, 60)}


async def test_a_full_disk_refuses_paid_calls_and_loses_nothing_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    file = tmp_path / "gateway.db"
    async with gateway(f"sqlite:///{file}") as bookings:
        granted: list[str] = []
        full = lambda connection, _: connection.execute("PRAGMA max_page_count = 1")  # noqa: E731
        event.listen(bookings.engine, "connect", full)
        reconnected(bookings)

        async def until_it_is_full() -> None:
            for _ in range(10_000):
                await bookings.reserve(ask(f"c{len(granted)}", replace(TALK, most=10**9)))
                granted.append(f"c{len(granted)}")

        with pytest.raises(BookingsAway, match="full"):
            await until_it_is_full()
        event.remove(bookings.engine, "connect", full)
        for call in granted:
            bookings.settle(call, 7, answered=True)
        assert await patiently(bookings, ask("again", replace(TALK, most=10**9))) == Granted(60)
        assert granted
        assert await drawn(bookings) == {"abroad": (7 * len(granted), 60)}


@pytest.mark.slow
@pytest.mark.parametrize("code", ["40P01", "40001"])
async def test_a_booking_that_another_gateway_was_in_the_way_of_is_tried_again(postgres: Server, code: str) -> None:
    """The server may say so in its operator's language."""
    async with gateway(postgres.database()) as bookings:
        with bookings.engine.begin() as another:
            another.exec_driver_sql("CREATE SEQUENCE tries")
            another.exec_driver_sql(
                "CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('tries') = 1 THEN "
                f"RAISE EXCEPTION 'Verklemmung entdeckt' USING ERRCODE = '{code}'; END IF; RETURN NEW; END $$"
            )
            another.exec_driver_sql("CREATE TRIGGER t BEFORE INSERT ON bookings FOR EACH ROW EXECUTE FUNCTION once()")
        assert await bookings.reserve(ask("a", TALK)) == Granted(60)
        assert await drawn(bookings) == {"abroad": (0, 60)}


async def test_a_sweep_that_the_database_refuses_waits_for_it_like_bookings(tmp_path: Path) -> None:
    async with gateway(f"sqlite:///{tmp_path / 'gateway.db'}") as bookings:
        await bookings.reserve(ask("a", TALK), lease=-1.0)
        with bookings.engine.begin() as another:
            another.exec_driver_sql("ALTER TABLE budgets RENAME TO elsewhere")
        with capture_logs() as log, pytest.raises(BookingsAway, match="no such table"):
            await bookings.sweep()
        assert [line["event"] for line in log] == ["bookings wait for the database"]
        with bookings.engine.begin() as another:
            another.exec_driver_sql("ALTER TABLE elsewhere RENAME TO budgets")
        assert await bookings.sweep() == 1


async def test_a_file_that_is_no_database_refuses_paid_calls_until_it_is_put_back(tmp_path: Path) -> None:
    file = tmp_path / "gateway.db"
    async with gateway(f"sqlite:///{file}") as bookings:
        await bookings.reserve(ask("a", TALK))
    whole = file.read_bytes()
    async with gateway(f"sqlite:///{file}") as bookings:
        file.write_bytes(b"this is no database, " * (len(whole) // 20))
        reconnected(bookings)
        with pytest.raises(BookingsAway):
            await bookings.reserve(ask("b", TALK))
        with pytest.raises(BookingsAway):
            await bookings.accounts()
        file.write_bytes(whole)
        assert await patiently(bookings, ask("b", TALK)) == Granted(60)
        assert await drawn(bookings) == {"abroad": (0, 120)}


@pytest.fixture
def restarted() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_server_that_stops_and_starts_loses_nothing_that_was_acknowledged(restarted: Server, mode: str) -> None:
    async with gateway(restarted.database()) as bookings:
        for call in "abc":
            assert await bookings.reserve(ask(call, TALK)) == Granted(60)
        restarted.stop(mode)
        for call in "de":
            with pytest.raises(BookingsAway):
                await bookings.reserve(ask(call, TALK))
        bookings.settle("a", 10, answered=True)
        with pytest.raises(BookingsAway):
            await bookings.extend("b", 120)
        with pytest.raises(BookingsAway):
            await bookings.frozen(JULIET)
        restarted.start()
        assert await patiently(bookings, ask("f", TALK)) == Granted(60)
        assert await bookings.extend("b", 120) == Granted(120)
        assert await drawn(bookings) == {"abroad": (10, 240)}


@pytest.mark.slow
async def test_a_server_that_restarts_between_two_calls_is_not_noticed(restarted: Server) -> None:
    async with gateway(restarted.database()) as bookings:
        await bookings.reserve(ask("a", TALK))
        restarted.stop()
        restarted.start()
        assert await bookings.reserve(ask("b", TALK)) == Granted(60)
        assert await drawn(bookings) == {"abroad": (0, 120)}


@pytest.mark.slow
async def test_a_server_that_hangs_keeps_nobody_waiting_and_is_taken_up_again(restarted: Server) -> None:
    async with gateway(restarted.database()) as bookings:
        await bookings.reserve(ask("a", TALK))
        served_by = driver(connection(bookings)).info.backend_pid
        os.kill(served_by, signal.SIGSTOP)
        try:
            bookings._limit = 0.1
            for call in "bc":
                with pytest.raises(BookingsAway, match=r"no answer from the database in 0\.1 s"):
                    await bookings.reserve(ask(call, TALK))
                bookings.settle(call)
        finally:
            os.kill(served_by, signal.SIGCONT)
        bookings._limit = 20.0
        assert await bookings.reserve(ask("d", TALK)) == Granted(60)
        assert await drawn(bookings) == {"abroad": (0, 120)}


async def test_what_was_settled_waits_for_a_database_that_is_away_and_a_stop_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOPPING", 0.1)
    file = tmp_path / "gateway.db"
    with capture_logs() as log:
        async with gateway(f"sqlite:///{file}", limit=0.05) as bookings:
            await patiently(bookings, ask("a", TALK))
            with locked(file):
                bookings.settle("a", 10, answered=True)
                await bookings.stop()
    assert [line["event"] for line in log if line["log_level"] == "error"] == [
        "booking not settled: its lease will end it"
    ]
