"""Our offers inside a call: one at a time, in order, and again after one that crossed theirs (RFC 3261 §14.1). Pure.

add ──> waiting ── next ──> under way ── 2xx, refusal ──> done
           ^                   ├── 491 ── a pause by lot ──┐
           └───────────────────┴───────────────────────────┘
                               └── rings and rings ── CANCEL ── still nothing ──> given up
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.message import Headers
from gateway.sip.usage import Exchange

MAX_TRIES = 5  # of one offer that crosses theirs or is asked to wait
LONGEST_WAIT = 10  # seconds that a far side may ask for (RFC 3261 §14.2)


@dataclass(slots=True)
class Offer:
    """A re-INVITE or an UPDATE with a body. `exchange` is whose outcome its user waits for, whatever it takes."""

    exchange: Exchange
    method: str
    headers: Headers
    body: bytes
    tries: int = 0


class Offers:
    """`owner`: the Call-ID is ours, which decides who pauses for how long."""

    __slots__ = ("_give_up_at", "_not_before", "_owner", "_waiting", "cancelled", "current")

    def __init__(self, *, owner: bool) -> None:
        self.current: Offer | None = None
        self.cancelled = False  # the current one
        self._owner = owner
        self._waiting: list[Offer] = []
        self._not_before: float | None = None
        self._give_up_at: float | None = None

    def __len__(self) -> int:
        return len(self._waiting) + (self.current is not None)

    @property
    def deadline(self) -> float | None:
        if self.current is not None:
            return self._give_up_at
        return self._not_before if self._waiting else None

    def add(self, offer: Offer) -> None:
        self._waiting.append(offer)

    def next(self, now: float) -> Offer | None:
        """The next one is under way from now on; None while another is, or in a pause."""
        if self.current is not None or not self._waiting or (self._not_before is not None and now < self._not_before):
            return None
        self._not_before = self._give_up_at = None
        self.cancelled = False
        self.current = self._waiting.pop(0)
        self.current.tries += 1
        return self.current

    def crossed(self, lot: int, now: float) -> None:
        """Theirs crossed ours: 2.1 to 4 s if the Call-ID is ours, else up to 2 s, in steps of 10 ms. `lot` decides."""
        self.again(now + (2.1 + lot % 191 / 100 if self._owner else lot % 201 / 100))

    def again(self, at: float) -> None:
        """The current one is to be sent once more."""
        if self.current is not None:
            self._waiting.insert(0, self.current)
        self.current, self._not_before, self._give_up_at = None, at, None

    def tick(self, now: float) -> None:
        """A pause is over when its time has passed, whatever else has to be waited for."""
        if self._not_before is not None and now >= self._not_before:
            self._not_before = None

    def rings(self, until: float) -> None:
        """The current one got a provisional response: from now on nothing but us limits how long it takes."""
        if self._give_up_at is None:
            self._give_up_at = until

    def leave(self, until: float) -> None:
        """The call ends while the current one is under way."""
        if self.current is not None:
            self._give_up_at = until

    def overdue(self, now: float) -> bool:
        return self.current is not None and self._give_up_at is not None and now >= self._give_up_at

    def cancel(self, until: float) -> None:
        """The current one gets a CANCEL."""
        self.cancelled, self._give_up_at = True, until

    def done(self) -> None:
        self.current = self._give_up_at = None

    def clear(self) -> list[Offer]:
        """Those that wait in vain."""
        waiting, self._waiting = self._waiting, []
        return waiting
