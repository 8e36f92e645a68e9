"""How long a stream lives: what is owed on it, how long it may be silent, when it is asked whether it is there. Pure.

opened ──> heard … ──> silent for `idle` ──> CLOSE
  │          └ begun and not complete in `whole` ──> CLOSE
  └ ours: every now and then PING ──> no PONG, where there was one before ──> CLOSE     (RFC 5626 §4.4.1)
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """In seconds. `whole` is for the first message of whoever connects to us, and the rest of one that was begun."""

    whole: float = 32.0
    idle: float = 3600.0
    ping: float = 100.0  # RFC 5626 §4.4.1: 95 to 120 where the server named no time
    pong: float = 10.0  # §4.4.1


class Turn(enum.Enum):
    PING = "ping"
    CLOSE = "close"


class Pulse:
    """`ours`: we opened it, so we keep it alive. Otherwise a whole message is owed: octets now and then do not do."""

    def __init__(self, now: float, pace: Pace, *, ours: bool) -> None:
        self._pace = pace
        self._owes = not ours
        self._due = now + (pace.idle if ours else pace.whole)
        self._ping: float | None = now + pace.ping if ours else None
        self._pong: float | None = None
        self._answers = False  # it has answered a ping before; who never did may not know RFC 5626

    @property
    def deadline(self) -> float:
        return min(time for time in (self._due, self._ping, self._pong) if time is not None)

    def heard(self, now: float, *, whole: bool, midway: bool, pong: bool) -> None:
        """Octets came: with them a `whole` message or the rest of one, a `pong`, and the beginning of another."""
        owed, self._owes = self._owes, midway or (self._owes and not whole)
        if whole or not owed:
            self._due = now + (self._pace.whole if self._owes else self._pace.idle)
        if pong:
            self._answers = True
        self._pong = None  # whoever sends anything is there
        if self._ping is not None:
            self._ping = now + self._pace.ping

    def fire(self, now: float) -> Turn | None:
        """The deadline has passed."""
        if now >= self._due or (self._pong is not None and now >= self._pong):
            return Turn.CLOSE
        if self._ping is not None and now >= self._ping:
            self._ping = now + self._pace.ping
            self._pong = now + self._pace.pong if self._answers else None
            return Turn.PING
        return None
