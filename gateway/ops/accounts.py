"""`gateway accounts`, `freeze`, `thaw`: what users have spent of what they may, and who may not spend at all.

    user juliet@shakespeare.lit  abroad  2.30 EUR a day  0.14 EUR  5.00 EUR  2026-11-23 01:00:00

All of it is in the database, where a gateway that runs reads it with its next call. Times are those of the operator's
zone, in JSON of UTC.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.dialplan.booking import Unit
from gateway.dialplan.money import Money
from gateway.ops.terminal import local, plain_console
from gateway.ops.trace import plain
from gateway.storage.bookings import Accounts, Bookings, Usage
from gateway.storage.history import reading

PATIENCE = 10.0  # s that a command waits for the database: who typed it sees that it does

Found = TypeVar("Found")


# Each returns the command's exit code and raises GatewayError -------------------------------------------------------


def list_accounts(url: str, *, as_json: bool, console: Console | None = None) -> int:
    """Print what is drawn of every budget in its present window, and who is frozen."""
    found = asyncio.run(_unstarted(url, lambda bookings: bookings.accounts()))
    if as_json:
        sys.stdout.write(json.dumps(as_row(found)) + "\n")
    elif found.budgets or found.frozen:
        (console or plain_console()).print(table(found))
    else:
        sys.stderr.write("nothing is drawn on, and nobody is frozen\n")
    return 0


def freeze(url: str, account: str, reason: str) -> int:
    """From now on this bare JID makes no calls that cost."""

    async def ask(bookings: Bookings) -> int:
        if (there := await bookings.frozen(account)) is not None:
            sys.stderr.write(f"{account} is frozen since {local(there.since)}: {plain(there.reason)}\n")
            return 1
        await bookings.freeze(account, reason)
        return 0

    return asyncio.run(_started(url, ask))


def thaw(url: str, account: str) -> int:
    """He may again, as far as his budgets go."""

    async def ask(bookings: Bookings) -> int:
        if await bookings.thaw(account):
            return 0
        sys.stderr.write(f"{account} is not frozen\n")
        return 1

    return asyncio.run(_started(url, ask))


async def _started(url: str, ask: Callable[[Bookings], Awaitable[Found]]) -> Found:
    reading(url).dispose()  # a file that is not there is no gateway's, and none is made
    bookings = Bookings(url, limit=PATIENCE)
    await bookings.start()
    try:
        return await ask(bookings)
    finally:
        await bookings.stop()


async def _unstarted(url: str, ask: Callable[[Bookings], Awaitable[Found]]) -> Found:
    reading(url).dispose()
    bookings = Bookings(url, limit=PATIENCE)
    try:
        return await ask(bookings)
    finally:
        await bookings.stop()


# How it looks ---------------------------------------------------------------------------------------------------------


def table(found: Accounts) -> Table:
    """A line for each budget that is drawn on, and one for whoever is frozen and draws on none."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("who", overflow="fold")
    shown.add_column("budget", overflow="fold")
    for name in ("used", "reserved", "of"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column(f"until ({datetime.now().astimezone().tzname() or 'local'})", no_wrap=True)
    shown.add_column("frozen since", no_wrap=True)
    shown.add_column("why", overflow="fold")
    frozen = {each.account: each for each in found.frozen}
    for usage in found.budgets:
        who, currency = owner(usage)
        cold = frozen.pop(who.removeprefix("user "), None) if who.startswith("user ") else None
        amounts = [_amount(usage.unit, amount, currency) for amount in (usage.used, usage.reserved, usage.most)]
        shown.add_row(
            Text(plain(who)),
            Text(plain(usage.budget)),
            Text(amounts[0], "bold red" if usage.used + usage.reserved >= usage.most else ""),
            amounts[1] if usage.reserved else "",
            f"{amounts[2]} {_each(usage.period)}",
            local(usage.until),
            Text(local(cold.since) if cold else "", "bold red"),
            Text(plain(cold.reason) if cold else ""),
        )
    for cold in frozen.values():
        label = Text(plain(f"user {cold.account}"))
        shown.add_row(label, "", "", "", "", "", Text(local(cold.since), "bold red"), Text(plain(cold.reason)))
    return shown


def as_row(found: Accounts) -> dict[str, object]:
    """For programs: amounts are calls, seconds, or millionths of the currency's unit."""
    return {
        "budgets": [
            {
                "who": owner(usage)[0],
                "budget": usage.budget,
                "unit": usage.unit,
                "currency": owner(usage)[1],
                "period": usage.period,
                "used": usage.used,
                "reserved": usage.reserved,
                "most": usage.most,
                "until": usage.until.astimezone(UTC).isoformat(),
            }
            for usage in found.budgets
        ],
        "frozen": [
            {"account": each.account, "reason": each.reason, "since": each.since.astimezone(UTC).isoformat()}
            for each in found.frozen
        ],
    }


def owner(usage: Usage) -> tuple[str, str]:
    """Whose budget this is, "user JID" or "group NAME", and its currency, of its key (dialplan/spending.py)."""
    who = usage.key.removeprefix(f"{usage.budget} ")
    if usage.unit != Unit.MONEY:
        return who, ""
    who, _, currency = who.rpartition(" ")
    return who, currency


def _amount(unit: str, amount: int, currency: str) -> str:
    match unit:
        case Unit.MONEY:
            return str(Money(amount, currency))
        case Unit.SECONDS:
            return f"{amount // 60}:{amount % 60:02} min"
    return f"{amount} call{'' if amount == 1 else 's'}"


def _each(period: str) -> str:
    return "an hour" if period == "hour" else f"a {period}"
