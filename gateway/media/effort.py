"""How hard a worker tries: the complexity of its Opus encoders, by how busy it is.

    busy for half a second          ──> two less, at once: a worker that falls behind spoils every call that it has
    at ease for some seconds        ──> one more

What is given up is hardly heard (libopus' complexity 0 for 5), and is less than half of what a transcoded packet costs.
So a worker at ease that goes back from 0 to 5 is not busy by that alone, and nothing swings.
"""

from __future__ import annotations

COMPLEXITY = 5
BUSY = 0.8  # share of its core
EASE = 0.5
PATIENCE = 3.0  # s at ease, for each step back
_DOWN = 2
_OVERDUE = 1.4  # times the period: the worker did not get round


class Effort:
    """Is told every `period` seconds how much the worker has worked."""

    def __init__(self, period: float) -> None:
        self.complexity = COMPLEXITY
        self.share = 0.0  # of the time, in the last period
        self._period = period
        self._at: float | None = None
        self._spent = self._eased = 0.0

    def observe(self, now: float, spent: float) -> int:
        """The complexity from now on. `now` is a steady clock, `spent` the thread's CPU time, both in seconds.

        On a machine that others keep busy too, little CPU time may be all that there was: who comes late is busy.
        """
        if self._at is not None and now > self._at:
            elapsed = now - self._at
            self.share = 1.0 if elapsed > self._period * _OVERDUE else (spent - self._spent) / elapsed
            if self.share >= BUSY:
                self.complexity = max(0, self.complexity - _DOWN)
            if self.share > EASE:
                self._eased = now
            elif now - self._eased >= PATIENCE and self.complexity < COMPLEXITY:
                self.complexity, self._eased = self.complexity + 1, now
        else:
            self._eased = now
        self._at, self._spent = now, spent
        return self.complexity
