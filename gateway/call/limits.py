"""How many calls an account may have: at a time, and set up within a minute. Counting only; whose limits count is the
dialplan's word. Pure: `now` is given, in seconds.

    take(call, accounts, now) ── all have room ──> counted for each of them ── give_back(call) ──> counted no more
                              └─ one has none ───> its words, and nothing is counted

1. A call is counted for all of its accounts or for none. A refused one leaves no trace: whoever asks again and again
   is not kept out by his asking.
2. The minute slides: of n set-ups a minute the n-th last must be sixty seconds old.
3. `count` counts without asking: an emergency call goes above every limit, and still takes its line.
4. Memory is bounded: what is counted ends with its call, and of set-ups only the latest are remembered, of accounts
   those that were busy last.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

MINUTE = 60.0  # s
REMEMBERED = 20_000  # accounts with a set-up in the last minute


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one account may have; None: as much as it likes. `whose` is for people: "juliet@shakespeare.lit"."""

    account: str
    concurrent: int | None = None
    per_minute: int | None = None
    whose: str = ""

    def __str__(self) -> str:
        return self.whose or self.account


class Book:
    """What is counted now."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._in_use: Counter[str] = Counter()
        self._accounts: dict[str, list[str]] = {}  # call -> accounts that it is counted for
        self._set_up: OrderedDict[str, deque[float]] = OrderedDict()  # account -> when, latest last

    def in_use(self, account: str) -> int:
        """Calls that are counted for an account."""
        return self._in_use[account]

    def __len__(self) -> int:
        """Calls that are counted for anybody."""
        return len(self._accounts)

    def take(self, call: str, allowances: Iterable[Allowance], now: float) -> str | None:
        """Count a call for these, or say for people which of them has no room left."""
        asked = tuple(allowances)
        for allowance in asked:
            if allowance.concurrent is not None and self._in_use[allowance.account] >= allowance.concurrent:
                return f"all {allowance.concurrent} lines of {allowance} are in use"
            if allowance.per_minute is not None and self._is_hasty(allowance.account, allowance.per_minute, now):
                return f"{allowance} has placed {allowance.per_minute} calls within a minute"
        self.count(call, asked, now)
        return None

    def count(self, call: str, allowances: Iterable[Allowance], now: float) -> None:
        """Count a call for these, whatever they may have."""
        for allowance in allowances:
            self._accounts.setdefault(call, []).append(allowance.account)
            self._in_use[allowance.account] += 1
            if allowance.per_minute:
                self._remember(allowance.account, allowance.per_minute, now)

    def give_back(self, call: str, account: str | None = None) -> None:
        """The call is over, or (with `account`) counts for this one no more. Repeats are harmless."""
        mine = self._accounts.get(call, [])
        for over in tuple(mine) if account is None else (account,) if account in mine else ():
            mine.remove(over)
            self._in_use[over] -= 1
            if not self._in_use[over]:
                del self._in_use[over]
        if not mine:
            self._accounts.pop(call, None)

    def _is_hasty(self, account: str, per_minute: int, now: float) -> bool:
        times = self._set_up.get(account, deque())
        if per_minute < 1:
            return True
        return len(times) >= per_minute and now - times[-per_minute] < MINUTE

    def _remember(self, account: str, per_minute: int, now: float) -> None:
        times = self._set_up.setdefault(account, deque())
        self._set_up.move_to_end(account)
        times.append(now)
        while len(times) > per_minute:
            times.popleft()
        while len(self._set_up) > self._remembered:
            self._set_up.popitem(last=False)
        for oldest in tuple(self._set_up)[:2]:  # two for each that comes: what is over never piles up
            if now - self._set_up[oldest][-1] >= MINUTE:
                del self._set_up[oldest]
