"""Budgets in real databases: SQLite, and a PostgreSQL server that the tests start."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from gateway.dialplan.booking import Burst, Claim, Period, Unit
from gateway.errors import GatewayError
from gateway.storage import bookings as module
from gateway.storage.bookings import Ask, Bookings, BookingsAway, Exhausted, Frozen, Granted
from gateway.storage.bookrows import bookings as calls
from gateway.storage.bookrows import budgets, bursts
from tests.storage.bank import BURST, HUNDRED, JULIET, SPEND, TALK, Time, ask, drawn, gateway, on, settled
from tests.storage.locks import locked


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
from tests.storage.bank import HUNDRED, JULIET, SPEND, TARIFF, gateway

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
from tests.storage.bank import TALK, ask, gateway, settled

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


async def test_who_is_frozen_is_remembered_for_when_the_database_is_away(url: str) -> None:
    async with gateway(url) as one, gateway(url) as other:
        await one.freeze(JULIET, "stolen password")
        assert one.remembered(JULIET) == await one.frozen(JULIET)
        await other.sweep()
        assert other.remembered(JULIET) == one.remembered(JULIET)
        async with gateway(url) as late:
            assert late.remembered(JULIET) == one.remembered(JULIET)
        await one.thaw(JULIET)
        assert one.remembered(JULIET) is None
        await other.reserve(ask("a", TALK))
        assert other.remembered(JULIET) is None
        await one.freeze(JULIET, "again")
        await other.thaw(JULIET)
        await one.sweep()
        assert one.remembered(JULIET) is None
    assert one.remembered(JULIET) is None


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


async def test_no_sql_runs_on_the_event_loop(url: str) -> None:
    asking: set[int] = set()

    def overheard(frame: FrameType, what: str, called: Any) -> None:
        """Whoever calls a driver: the module `sqlite3`, which is written in C, or the package `psycopg`."""
        called_by = type(getattr(called, "__self__", None)).__module__ if what == "c_call" else ""
        if "sqlite3" in called_by or frame.f_globals.get("__name__", "").startswith("psycopg"):
            asking.add(threading.get_ident())

    bookings = Bookings(url, limit=20.0)
    threading.setprofile(overheard)
    sys.setprofile(overheard)
    try:
        await bookings.start()
        await bookings.reserve(ask("a", TALK, bursts=(BURST,)))
        await bookings.extend("a", 90)
        bookings.settle("a")
        await bookings.freeze(JULIET, "x")
        await bookings.thaw(JULIET)
        await bookings.accounts()
        await bookings.sweep()
        await bookings.stop()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert asking
    assert threading.get_ident() not in asking


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
