"""Whether a trunk is there, as its answers to OPTIONS tell (RFC 3261 §11). Pure.

    unknown ──┬── any answer ──> up ── silence, 503 ──> doubtful ── once more ──> down
              └── silence, 503, twice ──> down ── any answer ──> up

Any final response but 503 is a sign of life: many a trunk answers 404, 405 or 484 to somebody whom it does not know.
What is down is asked more often than what is up.
"""

from __future__ import annotations

import enum

OFTEN = 5.0  # seconds until a doubtful one is asked again
DOWN = 30.0  # until one that is down is
PATIENCE = 2  # failures in a row until one is down


class State(enum.Enum):
    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class Probe:
    """One trunk's. `interval` is in seconds, `deadline` when it wants to be asked next; None while it is."""

    def __init__(self, now: float, interval: float = 60.0) -> None:
        self.interval = interval
        self.state = State.UNKNOWN
        self.since = now  # it has been in this state
        self.problem = ""  # why it is down, for people
        self.deadline: float | None = now
        self._failures = 0

    def asked(self) -> None:
        """The OPTIONS is on its way."""
        self.deadline = None

    def answered(self, status: int, label: str, now: float, *, local: bool = False) -> bool:
        """The final response, or its `local` stand-in for silence and dead connections; whether the state changed."""
        before = self.state
        if local or status == 503:
            self._failures += 1
            self.problem = label
            if self._failures >= PATIENCE:
                self.state = State.DOWN
        else:
            self._failures, self.problem, self.state = 0, "", State.UP
        if self.state is State.UP and not self._failures:
            self.deadline = now + self.interval
        else:
            self.deadline = now + min(self.interval, DOWN if self.state is State.DOWN else OFTEN)
        if self.state is not before:
            self.since = now
        return self.state is not before
