"""What is said of those who connect and do not get in: each is counted, and as many are logged as somebody reads. Pure.

note ──> how many before it were not told        or None: this one is not told either
"""

from __future__ import annotations

from collections import Counter

from gateway.sip.overload import Bucket, Rate

TOLD = Rate(1 / 6, 20.0)  # ten a minute; whoever scans all ports of the world at once fills no disk


class Complaints:
    """`counts` is for metrics, by labels of our own."""

    def __init__(self, now: float, rate: Rate = TOLD) -> None:
        self.counts: Counter[str] = Counter()
        self._rate = rate
        self._bucket = Bucket(rate, now)
        self._untold = 0

    def note(self, label: str, now: float) -> int | None:
        """One more. When it may be told, how many since the last time were not; else None."""
        self.counts[label] += 1
        if not self._bucket.take(self._rate, now):
            self._untold += 1
            return None
        untold, self._untold = self._untold, 0
        return untold
