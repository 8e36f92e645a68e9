"""What a call costs, and which budgets it is booked under: a route says it, who carries the route out books it.

    route() ──> Route.booking ──> reserved | exhausted | frozen      (gateway.storage.bookings, with one answer)
                                     └── while it lasts: a further slice of time, and its price; at the end: what it was

Money is counted in millionths of the currency's unit, time in whole seconds, so that sums are exact. Pure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Unit(enum.StrEnum):
    """What a budget counts."""

    CALLS = "calls"
    SECONDS = "seconds"
    MONEY = "money"  # millionths of the currency's unit


class Period(enum.StrEnum):
    """How long a budget lasts; each begins anew with the calendar's hour, day or month."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Tariff:
    """What talking to a destination costs: `connect` once it is answered and `per_minute`, in millionths of the unit of
    `currency` (ISO 4217). The first `first` seconds are charged whole, then every `step` that has begun ("60/1").
    """

    currency: str
    connect: int = 0
    per_minute: int = 0
    first: int = 1
    step: int = 1
    prefix: str = ""  # of the table's row, digits of E.164
    table: str = ""

    def cost(self, seconds: float) -> int:
        """The price of an answered call of that length, rounded up."""
        charged = self.first
        if seconds > self.first:
            steps = -(-(seconds - self.first) // self.step)
            charged += int(steps) * self.step
        return self.connect - (-self.per_minute * charged // 60)

    @property
    def free(self) -> bool:
        return not self.connect and not self.per_minute


@dataclass(frozen=True, slots=True)
class Claim:
    """One budget that a call draws on: at most `most` of `unit` within each `period`, of all that counts under `key`.

    `budget` is the name that the operator gave it, for people; `key` has whose and which, as "abroad user JID".
    `freeze`: who uses it up may make no paid calls until an operator thaws him. `currency` is what money is in.
    """

    key: str
    budget: str
    unit: Unit
    period: Period
    most: int
    freeze: bool = False
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Burst:
    """Too many calls in too short a time: more than `calls` that begin within `within` seconds freeze the account."""

    key: str
    name: str
    calls: int
    within: int


@dataclass(frozen=True, slots=True)
class Booking:
    """What a route wants booked before anybody is asked. `account` is the bare JID that pays.

    Whatever a trunk may be asked for has one as soon as the dialplan speaks of money, so that a frozen account stays
    frozen, but for calls that are known to be free and that nothing counts. An emergency call has none.
    """

    account: str
    claims: tuple[Claim, ...] = ()
    bursts: tuple[Burst, ...] = ()
    tariffs: tuple[Tariff | None, ...] = ()  # one per via; None: no price is known for it, and none is charged

    @property
    def empty(self) -> bool:
        """Nothing is booked, and all that matters is whether the account is frozen."""
        return not (self.claims or self.bursts or any(tariff and not tariff.free for tariff in self.tariffs))
