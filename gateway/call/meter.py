"""How a call's booked time goes on: slice by slice, each paid for before it is talked. Pure, and of one call leg alone.

    reserved ── answered ──> talking ── LEAD s before the paid time ends ──> Extend ──┐
                                 ^                                                    ├─ granted ────> further
                                 └────────────────────────────────────────────────────┤
                                                        Warn, later Stop <── refused ─┤  (used up, frozen)
                            tried again, for one slice at the operator's risk <── away ─┘

Rules
1. What is asked for is always the talk time in all, so that an answer that is lost or comes twice changes nothing. An
   answer to anything but the latest question is late, and changes nothing either.
2. Time counts from the callee's answer: a carrier charges from there, whether or not the caller's media has come.
   Nobody charges for a call that is not answered.
3. Nobody is cut off without a warning: who is refused talks on for what was granted, who has less than LEAD s left is
   warned at once.
4. Where the database does not answer, a call goes on for what was granted and one slice more, is warned likewise, and
   ends with a cause that says so; every few seconds it is asked again.
5. It is settled once, with what was talked and what that costs by the tariff of the way that was answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.call.causes import Cause
from gateway.dialplan.booking import Tariff

SLICE = 60  # s that are reserved at a time
LEAD = 20.0  # s before the end of what is paid at which more is asked for, and a caller is warned
GRACE = float(SLICE)  # s that a call goes on unpaid while nobody answers
RETRY = 5.0  # s between questions that nobody answered
MARGIN = 1.0  # s before the end of what is paid at which it ends: our clock is not the carrier's
PATIENCE = 5.0  # s until an answer that did not come will not come
RENEWAL = 120.0  # s; while it rings: a reservation that nobody renews is given back


class Order:
    """What is to be done."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Extend(Order):
    """Ask for so many seconds in all, and tell `granted`, `refused` or `away` with this number."""

    number: int
    seconds: int
    tariff: Tariff | None
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Warn(Order):
    """Let whoever pays know that the call ends in so many seconds, and why."""

    cause: Cause
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Stop(Order):
    """End the call."""

    cause: Cause
    text: str


@dataclass(frozen=True, slots=True)
class Settle(Order):
    """The last word on this booking; `cost` is in millionths of the tariff's currency."""

    seconds: int
    cost: int
    answered: bool


class Meter:
    """One booking. `granted` is the talk time that was reserved, in seconds; feed `timed_out` at `deadline`."""

    def __init__(self, granted: int, now: float) -> None:
        self.deadline: float | None = now + RENEWAL
        self.settled: Settle | None = None
        self.tariff: Tariff | None = None  # of the way that was answered
        self._granted = granted
        self._began: float | None = None
        self._number = 0  # of the latest question
        self._asked_at: float | None = None  # while its answer is awaited
        self._ending: tuple[Cause, str] | None = None
        self._ends_at = 0.0
        self._warned = False

    @property
    def answered(self) -> bool:
        return self._began is not None

    @property
    def price(self) -> tuple[int, str] | None:
        """What the call came to, and the currency; None while it goes on, and where nobody knows a price."""
        if self.settled is None or self.tariff is None:
            return None
        return self.settled.cost, self.tariff.currency

    def answer(self, tariff: Tariff | None, now: float) -> list[Order]:
        """The callee took the call at `now`, by a way with this tariff."""
        if self._began is not None or self.settled is not None:
            return []
        self._began, self.tariff = now, tariff
        return self._ask(max(SLICE, self._granted), now)

    def grant(self, number: int, seconds: int, now: float) -> list[Order]:
        """So much talk time is paid for, in all."""
        if not self._awaits(number):
            return []
        grew, self._granted = seconds > self._granted, seconds
        if self._began is None:
            self.deadline = now + RENEWAL
            return []
        if not _is_near(self._paid_until, now):
            self._ending, self._warned = None, False
            self.deadline = self._paid_until - LEAD
            return []
        if grew:  # a little more, and perhaps the last of it
            return self._ask(self._granted + SLICE, now)
        return self._end_at(self._paid_until, Cause.EXHAUSTED, "", now)

    def refuse(self, number: int, cause: Cause, text: str, now: float) -> list[Order]:
        """No more is granted: a budget is used up, or the account is frozen."""
        if not self._awaits(number):
            return []
        if self._began is None:  # what was reserved stays reserved
            self.deadline = now + RENEWAL
            return []
        end = self._paid_until
        if end <= now and self._ending is not None:  # he talks at the operator's risk already, and is not warned yet
            end = min(now + LEAD, end + GRACE)
        return self._end_at(end, cause, text, now)

    def away(self, number: int, now: float) -> list[Order]:
        """Nobody answered the question."""
        if not self._awaits(number):
            return []
        if self._began is None:
            self.deadline = now + RETRY
            return []
        return self._end_at(self._paid_until + GRACE, Cause.UNBOOKED, "", now)

    def timed_out(self, now: float) -> list[Order]:
        """`deadline` has passed."""
        if self.settled is not None:
            return []
        if self._asked_at is not None:
            return self.away(self._number, now)
        if self._began is None:
            return self._ask(self._granted, now, answered=False)
        if self._ending is None:
            return self._ask(self._granted + SLICE, now)
        cause, text = self._ending
        if now >= self._ends_at:
            self.deadline = None
            return [Stop(cause, text)]
        warned = self._warn(now)
        if cause is Cause.UNBOOKED:
            return [*warned, *self._ask(int(max(self._granted, now - self._began)) + SLICE, now)]
        self.deadline = self._ends_at
        return warned

    def end(self, now: float) -> list[Order]:
        """The call, or this leg of it, is over."""
        if self.settled is not None:
            return []
        self.deadline = None
        seconds = 0.0 if self._began is None else max(0.0, now - self._began)
        cost = self.tariff.cost(seconds) if self.tariff is not None else 0
        self.settled = Settle(-int(-seconds // 1), cost, self._began is not None)
        return [self.settled]

    @property
    def _paid_until(self) -> float:
        return (self._began or 0.0) + self._granted - MARGIN

    def _awaits(self, number: int) -> bool:
        if self.settled is not None or self._asked_at is None or number != self._number:
            return False
        self._asked_at = None
        return True

    def _ask(self, seconds: int, now: float, *, answered: bool = True) -> list[Order]:
        self._number += 1
        self._asked_at = now
        self.deadline = now + PATIENCE
        return [Extend(self._number, seconds, self.tariff, answered)]

    def _end_at(self, when: float, cause: Cause, text: str, now: float) -> list[Order]:
        if self._ending is None or self._ending[0] is not cause:
            self._warned = False
        self._ending, self._ends_at = (cause, text), when
        if when <= now:
            self.deadline = None
            return [*self._warn(now), Stop(cause, text)]
        warned = self._warn(now)
        next_look = when if self._warned else when - LEAD
        self.deadline = min(next_look, now + RETRY) if cause is Cause.UNBOOKED else next_look
        return warned

    def _warn(self, now: float) -> list[Order]:
        """Once, when no more than LEAD is left."""
        if self._warned or self._ending is None or not _is_near(self._ends_at, now):
            return []
        self._warned = True
        return [Warn(*self._ending, max(self._ends_at - now, 0.0))]


def _is_near(when: float, now: float) -> bool:
    return when - now < LEAD + 0.1  # a timer that is early by a rounding is not early
