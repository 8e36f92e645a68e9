"""How many calls a limit allows: at a time, and set up within a minute. Counting only; which limits a call is under is
the dialplan's word. Pure: `now` is given, in seconds.

    take(call, limits, now) ── all have room ──> counted under each of them ── give_back(call) ──> counted no more
                              └─ one has none ───> its words, and nothing is counted

1. A call is counted under all of its keys or under none. A refused one leaves no trace: whoever asks again and again
   is not kept out by his asking.
2. The minute slides: of n set-ups a minute the n-th last must be sixty seconds old.
3. `count` counts without asking: an emergency call goes above every limit, and still takes its line.
4. Memory is bounded: what is counted ends with its call, and of set-ups only the latest are remembered, of keys
   those that were busy last.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable

from gateway.dialplan.plan import Limit

MINUTE = 60.0  # s
REMEMBERED = 20_000  # keys with a set-up in the last minute


class Book:
    """What is counted now."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._in_use: Counter[str] = Counter()
        self._keys: dict[str, list[str]] = {}  # call -> the keys that it is counted under
        self._set_up: OrderedDict[str, deque[float]] = OrderedDict()  # key -> when, latest last

    def in_use(self, key: str) -> int:
        """Calls that are counted under a key."""
        return self._in_use[key]

    def __len__(self) -> int:
        """Calls that are counted."""
        return len(self._keys)

    def take(self, call: str, limits: Iterable[Limit], now: float) -> str | None:
        """Count a call under these keys, or say for people which of them has no room left."""
        asked = tuple(limits)
        for limit in asked:
            if limit.concurrent is not None and self._in_use[limit.key] >= limit.concurrent:
                return f"{limit.key}: no more than {limit.concurrent} calls at a time"
            if limit.per_minute is not None and self._is_hasty(limit.key, limit.per_minute, now):
                return f"{limit.key}: no more than {limit.per_minute} calls a minute"
        self.count(call, asked, now)
        return None

    def count(self, call: str, limits: Iterable[Limit], now: float) -> None:
        """Count a call under these keys, whatever they allow."""
        windows: dict[str, int] = {}
        for limit in limits:  # a key may stand under two limits, and is one call all the same
            windows[limit.key] = max(windows.get(limit.key, 0), limit.per_minute or 0)
        for key, per_minute in windows.items():
            self._keys.setdefault(call, []).append(key)
            self._in_use[key] += 1
            if per_minute:
                self._remember(key, per_minute, now)

    def give_back(self, call: str, key: str | None = None) -> None:
        """The call is over, or (with `key`) counts under this one no more. Repeats are harmless."""
        mine = self._keys.get(call, [])
        for over in tuple(mine) if key is None else (key,) if key in mine else ():
            mine.remove(over)
            self._in_use[over] -= 1
            if not self._in_use[over]:
                del self._in_use[over]
        if not mine:
            self._keys.pop(call, None)

    def _is_hasty(self, key: str, per_minute: int, now: float) -> bool:
        times = self._set_up.get(key, deque())
        if per_minute < 1:
            return True
        return len(times) >= per_minute and now - times[-per_minute] < MINUTE

    def _remember(self, key: str, per_minute: int, now: float) -> None:
        times = self._set_up.setdefault(key, deque())
        self._set_up.move_to_end(key)
        times.append(now)
        while len(times) > per_minute:
            times.popleft()
        while len(self._set_up) > self._remembered:
            self._set_up.popitem(last=False)
        for oldest in tuple(self._set_up)[:2]:  # two for each that comes: what is over never piles up
            if now - self._set_up[oldest][-1] >= MINUTE:
                del self._set_up[oldest]
