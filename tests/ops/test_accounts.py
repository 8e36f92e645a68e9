"""`gateway accounts`, `freeze` and `thaw` as an operator uses them, on a database that a gateway could be using."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from gateway.dialplan.booking import Claim, Period, Tariff, Unit
from gateway.errors import GatewayError
from gateway.ops.accounts import freeze, list_accounts, owner, thaw
from gateway.storage.bookings import Ask, Bookings, Exhausted, Frozen, Granted

JULIET, NURSE = "juliet@shakespeare.lit", "nurse@shakespeare.lit"
MONEY = Claim(f"abroad user {JULIET} EUR", "abroad", Unit.MONEY, Period.DAY, 190_000, currency="EUR")
TIME = Claim("all of us group house staff", "all of us", Unit.SECONDS, Period.MONTH, 36_000)
CALLS = Claim(f"own budget user {NURSE}", "own budget", Unit.CALLS, Period.HOUR, 1)
TARIFF = Tariff("EUR", connect=100_000, per_minute=60_000)


@pytest.fixture
async def bookings(url: str) -> AsyncIterator[Bookings]:
    """A gateway's, which runs."""
    made = Bookings(url, limit=20.0)
    await made.start()
    yield made
    await made.stop()


async def in_a_thread(command: Callable[[], int]) -> int:
    """A command has a loop of its own."""
    return await asyncio.to_thread(command)


def lines(console: io.StringIO) -> list[str]:
    return [" ".join(line.split()) for line in console.getvalue().splitlines()]


async def used(bookings: Bookings) -> None:
    assert isinstance(await bookings.reserve(Ask("c1", JULIET, (MONEY, TIME), tariff=TARIFF)), Granted)
    assert isinstance(await bookings.reserve(Ask("c2", NURSE, (CALLS,))), Granted)
    bookings.settle("c1", 75, 175_000, answered=True)
    assert isinstance(await bookings.reserve(Ask("c3", NURSE, (CALLS,))), Exhausted)


async def test_what_is_used_of_how_much_is_listed_with_until_when(bookings: Bookings, url: str) -> None:
    await used(bookings)
    await bookings.freeze(NURSE, "too many at \x1b[2Jnight")
    await bookings.freeze("romeo@montague.lit", "unpaid")
    page = io.StringIO()
    console = Console(file=page, width=200, highlight=False)
    assert await in_a_thread(lambda: list_accounts(url, as_json=False, console=console)) == 0
    head, *rows = lines(page)
    assert head.startswith("who budget used reserved of until (")
    assert rows[0].startswith(f"user {JULIET} abroad 0.175 EUR 0.19 EUR a day 20")
    assert rows[1].startswith("group house staff all of us 1:15 min 600:00 min a month 20")
    assert rows[2].startswith(f"user {NURSE} own budget 0 calls 1 call 1 call an hour 20")
    assert rows[2].endswith("too many at ·[2Jnight")
    assert rows[3].startswith("user romeo@montague.lit 20")
    assert rows[3].endswith("unpaid")


async def test_programs_get_exact_amounts(bookings: Bookings, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await used(bookings)
    await bookings.freeze(NURSE, "night")
    assert await in_a_thread(lambda: list_accounts(url, as_json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert {
        key: found["budgets"][0][key] for key in ("who", "budget", "unit", "currency", "period", "used", "most")
    } == {
        "who": f"user {JULIET}",
        "budget": "abroad",
        "unit": "money",
        "currency": "EUR",
        "period": "day",
        "used": 175_000,
        "most": 190_000,
    }
    assert found["budgets"][0]["until"].endswith("+00:00")
    assert [(each["account"], each["reason"]) for each in found["frozen"]] == [(NURSE, "night")]


async def test_nothing_is_said_of_nothing(bookings: Bookings, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await in_a_thread(lambda: list_accounts(url, as_json=False)) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "nothing is drawn on, and nobody is frozen\n")


async def test_a_gateway_that_runs_heeds_a_freeze_and_a_thaw_at_once(
    bookings: Bookings, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await in_a_thread(lambda: freeze(url, JULIET, "unpaid")) == 0
    refused = await bookings.reserve(Ask("c1", JULIET, (MONEY,), tariff=TARIFF))
    assert isinstance(refused, Frozen)
    assert refused.reason == "unpaid"
    assert await in_a_thread(lambda: freeze(url, JULIET, "again")) == 1
    assert "unpaid" in capsys.readouterr().err
    assert await in_a_thread(lambda: thaw(url, JULIET)) == 0
    assert isinstance(await bookings.reserve(Ask("c2", JULIET, (MONEY,), tariff=TARIFF)), Granted)
    assert await in_a_thread(lambda: thaw(url, JULIET)) == 1
    assert "is not frozen" in capsys.readouterr().err


def test_a_database_that_cannot_be_asked_is_an_error(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'there' / 'is' / 'none.db'}"
    for ask in (partial(list_accounts, url, as_json=False), partial(thaw, url, JULIET)):
        with pytest.raises(GatewayError):
            ask()


async def test_whose_a_budget_is_stands_in_its_key(bookings: Bookings) -> None:
    await used(bookings)
    found = {usage.budget: owner(usage) for usage in (await bookings.accounts()).budgets}
    assert found == {
        "abroad": (f"user {JULIET}", "EUR"),
        "all of us": ("group house staff", ""),
        "own budget": (f"user {NURSE}", ""),
    }
