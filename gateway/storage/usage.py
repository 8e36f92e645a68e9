"""Budgets and frozen accounts as an operator reads them, also of a gateway that runs, and writing nothing.

Where no gateway has booked anything yet, nothing is used and nobody is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, inspect, select

from gateway.dialplan.booking import Period
from gateway.storage.book import Frozen, short_id
from gateway.storage.bookrows import budgets, frozen
from gateway.storage.windows import window


@dataclass(frozen=True, slots=True)
class Usage:
    """What is drawn of a budget in its present window, which ends at `until`. Amounts are the claim's."""

    key: str
    budget: str
    unit: str
    period: str
    most: int
    used: int
    reserved: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Accounts:
    budgets: tuple[Usage, ...]
    frozen: tuple[Frozen, ...]


def usage(connection: Connection, at: float) -> tuple[Usage, ...]:
    """What is drawn on in the windows of this time, in seconds since the epoch."""
    if not inspect(connection).has_table(budgets.name):
        return ()
    c = budgets.c
    begun = [window(period, at).begins for period in Period]  # at midnight an hour begins with the day
    present = select(budgets).where(c.begins.in_(begun), c.ends > at).order_by(c.key, c.id)
    return tuple(
        Usage(row.key, row.budget, row.unit, row.period, row.most, row.used, row.reserved, _moment(row.ends))
        for row in connection.execute(present)
    )


def frozen_accounts(connection: Connection, account: str | None = None) -> tuple[Frozen, ...]:
    """All that are frozen, the first one first, or this one."""
    if not inspect(connection).has_table(frozen.name):
        return ()
    wanted = select(frozen).order_by(frozen.c.since)
    if account is not None:
        wanted = wanted.where(frozen.c.id == short_id(account))
    return tuple(Frozen(row.account, row.reason, _moment(row.since)) for row in connection.execute(wanted))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
