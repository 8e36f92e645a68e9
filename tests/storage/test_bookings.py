"""Budgets in real databases: SQLite, and a PostgreSQL server that the tests start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from structlog.testing import capture_logs

from gateway.dialplan.booking import Burst, Claim, Period, Tariff, Unit
from gateway.errors import GatewayError
from gateway.storage import bookings as module
from gateway.storage.bookings import Ask, Bookings, BookingsAway, Exhausted, Frozen, Granted
from gateway.storage.bookrows import bookings as calls
from gateway.storage.bookrows import budgets, bursts
from tests.storage.postgres import Server

JULIET = "juliet@shakespeare.lit"
HUNDRED = Claim("all user juliet", "all", Unit.CALLS, Period.MONTH, 100)
TALK = Claim("abroad user juliet", "abroad", Unit.SECONDS, Period.MONTH, 1000)
SPEND = Claim("spend user juliet", "spend", Unit.MONEY, Period.MONTH, 10_000_000, currency="EUR")
TARIFF = Tariff("EUR", connect=50_000, per_minute=600_000)
BURST = Burst("fast juliet", "fast", 3, 60)


def ask(call: str, *claims: Claim, seconds: int = 60, bursts: tuple[Burst, ...] = ()) -> Ask:
    return Ask(call, JULIET, claims, bursts, TARIFF, seconds)


class Time:
    """Both clocks of a gateway, to be set by the test."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
        self.boot = 1000.0

    def on(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds


@asynccontextmanager
async def gateway(url: str, **how: Any) -> AsyncIterator[Bookings]:
    bookings = Bookings(url, **{"limit": 20.0, "retry": 0.01, **how})
    await bookings.start()
    try:
        yield bookings
    finally:
        await bookings.stop()


def on(time: Time) -> dict[str, Callable[[], float]]:
    return {"wall": lambda: time.wall, "boot": lambda: time.boot}


async def drawn(bookings: Bookings) -> dict[str, tuple[int, int]]:
    """Used and reserved of each budget, in the database."""
    bookings._limit = 20.0  # reading is not what is tried
    return {usage.budget: (usage.used, usage.reserved) for usage in (await bookings.accounts()).budgets}


async def settled(bookings: Bookings) -> None:
    """All that was settled so far is in the database: what is booked later comes later."""
    await bookings.thaw("nobody@shakespeare.lit")


@pytest.fixture
async def bank(url: str) -> AsyncIterator[Bookings]:
    async with gateway(url) as bookings:
        yield bookings


async def test_two_hundred_calls_at_once_book_exactly_a_budget_of_one_hundred(bank: Bookings) -> None:
    answers = await asyncio.gather(*(bank.reserve(ask(f"c{n}", HUNDRED, SPEND, seconds=1)) for n in range(200)))
    assert answers.count(Granted(1)) == 100
    assert answers.count(Exhausted(HUNDRED, left=0)) == 100
    assert await drawn(bank) == {"all": (0, 100), "spend": (0, 6_000_000)}
    for n in range(200):
        bank.settle(f"c{n}", 1, 60_000, answered=n % 2 == 0)
    await settled(bank)
    used = sum(isinstance(answer, Granted) for answer in answers[::2])
    assert await drawn(bank) == {"all": (used, 0), "spend": (used * 60_000, 0)}


PROCESS = """
import asyncio, json, sys
from gateway.storage.bookings import Ask, Bookings, Granted
from tests.storage.test_bookings import HUNDRED, JULIET, SPEND, TARIFF, gateway

async def main(name, url):
    async with gateway(url) as bookings:
        print("ready", flush=True)
        sys.stdin.readline()
        claims = (HUNDRED, SPEND)
        asked = [Ask(f"{name}-{n}", JULIET, claims[:: 1 - n % 2 * 2], (), TARIFF, 1) for n in range(50)]
        answers = await asyncio.gather(*(bookings.reserve(one) for one in asked))
        for one, answer in zip(asked, answers):
            if isinstance(answer, Granted):
                await bookings.extend(one.call, 2)
        for one in asked:
            bookings.settle(one.call, 2, 70_000, answered=True)
        print(json.dumps(sum(isinstance(answer, Granted) for answer in answers)), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_four_processes_book_exactly_one_budget_among_them(url: str) -> None:
    async with gateway(url) as bookings:
        processes = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PROCESS, f"p{n}", url),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            for n in range(4)
        ]
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
        assert sum(json.loads(output) for output, _ in outputs) == 100
        assert await drawn(bookings) == {"all": (100, 0), "spend": (7_000_000, 0)}


KILLED = """
import asyncio, sys
from tests.storage.test_bookings import TALK, ask, gateway, settled

async def main(url):
    async with gateway(url) as bookings:
        for call in ("rang", "talked", "is over"):
            await bookings.reserve(ask(call, TALK))
        await bookings.extend("talked", 100)
        bookings.settle("is over", 7, answered=True)
        await settled(bookings)
        print("acknowledged", flush=True)
        sys.stdin.readline()

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.slow
async def test_a_gateway_that_is_killed_loses_nothing_that_was_acknowledged(url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, url), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"acknowledged\n"
    process.kill()
    await process.communicate()
    async with gateway(url) as bookings:
        assert await bookings.sweep() == 0
        assert await drawn(bookings) == {"abroad": (7, 160)}
    later = time.time() + 400
    async with gateway(url, wall=lambda: later) as bookings:
        assert await bookings.sweep() == 2
        assert await drawn(bookings) == {"abroad": (107, 0)}


async def test_a_call_talks_on_slice_by_slice_until_its_budget_pays_no_more(bank: Bookings) -> None:
    assert await bank.reserve(ask("a", replace(TALK, most=100))) == Granted(60)
    assert await bank.extend("a", 120) == Granted(100)
    assert await bank.extend("a", 160) == Exhausted(replace(TALK, most=100), left=0, seconds=100)
    bank.settle("a", 99, 0, answered=True)
    await settled(bank)
    assert await drawn(bank) == {"abroad": (99, 0)}


async def test_a_call_that_reserved_nothing_is_granted_nothing(bank: Bookings) -> None:
    assert await bank.extend("a", 60) == Granted(0)
    bank.settle("a", 60, 1, answered=True)
    await settled(bank)
    assert await drawn(bank) == {}


async def test_counters_survive_a_restart(url: str) -> None:
    async with gateway(url) as bookings:
        await bookings.reserve(ask("a", TALK))
        bookings.settle("a", 42, answered=True)
    async with gateway(url) as bookings:
        assert await drawn(bookings) == {"abroad": (42, 0)}
        assert await bookings.reserve(ask("b", replace(TALK, most=50))) == Granted(8)


async def test_what_a_dead_gateway_had_reserved_is_given_back_by_another(url: str) -> None:
    time = Time()
    async with gateway(url, **on(time)) as alive:
        async with gateway(url, **on(time)) as dead:
            await dead.reserve(ask("rang", TALK))
            await dead.reserve(ask("talked", TALK))
            await dead.extend("talked", 100)
        await alive.reserve(ask("mine", TALK))
        assert await alive.sweep() == 0
        time.on(200)
        assert await alive.extend("mine", 60) == Granted(60)
        time.on(200)
        assert await alive.sweep() == 2
        assert await drawn(alive) == {"abroad": (100, 60)}


async def test_a_gateway_that_was_only_slow_settles_what_another_has_given_back(url: str) -> None:
    time = Time()
    async with gateway(url, **on(time)) as slow, gateway(url, **on(time)) as other:
        for call in ("rang", "talked", "talks on"):
            await slow.reserve(ask(call, TALK))
        await slow.extend("talked", 100)
        await slow.extend("talks on", 100)
        time.on(400)
        assert await other.sweep() == 3
        slow.settle("rang", 5, answered=True)
        slow.settle("talked", 50, answered=True)
        assert await slow.extend("talks on", 200) == Granted(200)
        assert await drawn(slow) == {"abroad": (55, 200)}


async def test_a_burst_freezes_the_account_in_all_gateways_until_it_is_thawed(url: str) -> None:
    async with gateway(url) as one, gateway(url) as other:
        for call in "abc":
            assert await one.reserve(ask(call, bursts=(BURST,))) == Granted(60)
        found = await other.reserve(ask("d", bursts=(BURST,)))
        assert isinstance(found, Frozen)
        assert found.fresh
        again = await one.reserve(ask("e"))
        assert again == replace(found, fresh=False)
        assert await one.frozen(JULIET) == again
        assert (await one.accounts()).frozen == (again,)
        assert await one.frozen("romeo@montague.lit") is None
        assert await one.thaw(JULIET)
        assert not await one.thaw(JULIET)
        for call in "fgh":  # what was before is forgotten
            assert await one.reserve(ask(call, bursts=(BURST,))) == Granted(60)
        assert isinstance(await one.reserve(ask("i", bursts=(BURST,))), Frozen)


async def test_an_operator_freezes_an_account(bank: Bookings) -> None:
    await bank.reserve(ask("a", TALK))
    await bank.freeze(JULIET, "stolen password")
    assert isinstance(await bank.reserve(ask("b")), Frozen)
    found = await bank.extend("a", 120)
    assert isinstance(found, Frozen)
    assert found.reason == "stolen password"


async def test_a_new_month_begins_anew_and_what_is_long_over_is_taken_away(url: str) -> None:
    time = Time()
    async with gateway(url, **on(time)) as bookings:
        await bookings.reserve(ask("a", TALK, bursts=(BURST,)))
        time.on(12 * 86_400)
        assert await bookings.sweep() == 1
        assert await bookings.reserve(ask("b", TALK)) == Granted(60)
        bookings.settle("b")
        await bookings.sweep()
        with bookings.engine.connect() as connection:
            assert [row.used for row in connection.execute(select(budgets))] == [0]
            assert connection.execute(select(calls)).all() == []
            assert connection.execute(select(bursts)).all() == []


@pytest.mark.parametrize("step", [-40 * 86_400, -7200, 7200, 40 * 86_400])
async def test_a_clock_that_is_set_moves_no_budget(url: str, step: float) -> None:
    time = Time()
    async with gateway(url, **on(time)) as bookings:
        await bookings.reserve(ask("a", replace(TALK, most=60)))
        time.wall += step
        with capture_logs() as log:
            assert await bookings.sweep() == 0
            assert await bookings.sweep() == 0
        assert isinstance(await bookings.reserve(ask("b", replace(TALK, most=60))), Exhausted)
    assert [line["event"] for line in log].count(
        "the system's clock was set; budgets go on by the old one until a restart"
    ) == 1


async def test_no_sql_runs_on_the_event_loop(bank: Bookings) -> None:
    threads: set[int] = set()
    event.listen(bank.engine, "before_cursor_execute", lambda *_: threads.add(threading.get_ident()))
    await bank.reserve(ask("a", TALK, bursts=(BURST,)))
    await bank.extend("a", 90)
    bank.settle("a")
    await bank.freeze(JULIET, "x")
    await bank.thaw(JULIET)
    await bank.accounts()
    await bank.sweep()
    assert threads
    assert threading.get_ident() not in threads


async def test_text_that_a_database_refuses_is_booked_all_the_same(bank: Bookings) -> None:
    strange = Claim("a\0b\ud800" + "ü" * 3000, "n\0" + "x" * 3000, Unit.CALLS, Period.DAY, 1)
    account = "j\0\ud800@" + "ü" * 3000
    one = Ask("c\0\ud800" * 2000, account, (strange,), (Burst(strange.key, "b", 1, 10),))
    assert await bank.reserve(one) == Granted(60)
    assert await bank.extend(one.call, 70) == Granted(70)
    assert isinstance(await bank.reserve(replace(one, call="d")), Frozen)
    assert await bank.frozen(account) is not None
    assert await bank.thaw(account)
    bank.settle(one.call, 1, answered=True)
    await settled(bank)
    (usage,) = (await bank.accounts()).budgets
    assert (usage.used, usage.reserved, usage.most) == (1, 0, 1)


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


# A database that is away


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


async def test_a_locked_file_refuses_paid_calls_and_keeps_what_was_settled(tmp_path: Path) -> None:
    file = tmp_path / "gateway.db"
    async with gateway(f"sqlite:///{file}", limit=0.05) as bookings:
        assert await patiently(bookings, ask("a", TALK)) == Granted(60)
        with locked(file):
            bookings.settle("a", 10, answered=True)
            with pytest.raises(BookingsAway):
                await bookings.reserve(ask("b", TALK))
            bookings.settle("b")
        assert await patiently(bookings, ask("c", TALK)) == Granted(60)
        assert await drawn(bookings) == {"abroad": (10, 60)}


async def patiently(bookings: Bookings, one: Ask) -> object:
    """What is answered as soon as the database answers."""
    while True:
        try:
            return await bookings.reserve(one)
        except BookingsAway:
            await asyncio.sleep(0.01)


async def test_a_full_disk_refuses_paid_calls_and_loses_nothing_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    file = tmp_path / "gateway.db"
    async with gateway(f"sqlite:///{file}") as bookings:
        granted: list[str] = []
        full = lambda connection, _: connection.execute("PRAGMA max_page_count = 1")  # noqa: E731
        event.listen(bookings.engine, "connect", full)
        bookings._disconnect()
        bookings.engine.dispose()

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


async def test_a_file_that_is_no_database_refuses_paid_calls_until_it_is_put_back(tmp_path: Path) -> None:
    file = tmp_path / "gateway.db"
    async with gateway(f"sqlite:///{file}") as bookings:
        await bookings.reserve(ask("a", TALK))
    whole = file.read_bytes()
    async with gateway(f"sqlite:///{file}") as bookings:
        file.write_bytes(b"this is no database, " * (len(whole) // 20))
        bookings._disconnect()
        bookings.engine.dispose()
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
        connection: Any = bookings._connection
        served_by = connection.connection.dbapi_connection.info.backend_pid
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


async def test_no_more_wait_than_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 3)
    file = tmp_path / "gateway.db"
    async with gateway(f"sqlite:///{file}", limit=0.2) as bookings:
        with locked(file):
            answers = await asyncio.gather(
                *(bookings.reserve(ask(f"c{n}", TALK)) for n in range(10)), return_exceptions=True
            )
    said = [str(answer) for answer in answers]
    assert said.count("too many bookings wait for the database") == 7


async def test_bookings_that_do_not_run_refuse_and_may_be_read(url: str) -> None:
    idle = Bookings(url)
    with pytest.raises(BookingsAway, match="not running"):
        await idle.reserve(ask("a", TALK))
    assert (await idle.accounts()).budgets == ()
    assert await idle.frozen(JULIET) is None
    idle.settle("a")
    await idle.stop()


async def test_a_database_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    bookings = Bookings(f"sqlite:///{tmp_path}/nowhere/gateway.db")
    with pytest.raises(GatewayError, match=r"\[storage\] url: .*unable to open database file"):
        await bookings.start()
    await bookings.stop()
