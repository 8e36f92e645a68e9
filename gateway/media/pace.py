"""The beat of a worker: every 20 ms, for legs that may have to be sent something though nobody speaks.

One timer for all of them, and none while there are none.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

BEAT = 0.02  # s


class Paced(Protocol):
    def fill(self, now: float) -> None:
        """A beat; `now` is the loop's time in seconds."""


class Pacer:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._watched: dict[Paced, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def watch(self, leg: Paced, wanted: bool) -> None:
        if not wanted:
            self._watched.pop(leg, None)
            return
        self._watched[leg] = None
        if self._timer is None:
            self._due = self._loop.time() + BEAT
            self._timer = self._loop.call_at(self._due, self._beat)

    def close(self) -> None:
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        self._timer = None
        if not self._watched:
            return
        now = self._loop.time()
        for leg in list(self._watched):
            leg.fill(now)
        self._due = max(self._due + BEAT, now)  # what was missed while the worker was busy is not made up for
        self._timer = self._loop.call_at(self._due, self._beat)
