"""Our 2xx to an INVITE until its ACK: repeated, over streams too (RFC 3261 §13.3.1.4). Pure.

Beyond the next hop there may be datagrams, so the transaction's reliability says nothing about the way to the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.layer import Flow
from gateway.sip.message import Response
from gateway.sip.transaction import Timers


@dataclass(slots=True)
class _Repeat:
    response: Response
    flow: Flow
    initial: bool
    offering: bool
    interval: float
    next: float
    end: float


class Accepted:
    """By the CSeq number of their INVITE."""

    __slots__ = ("_repeats", "_timers")

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._repeats: dict[int, _Repeat] = {}

    def __len__(self) -> int:
        return len(self._repeats)

    @property
    def deadline(self) -> float | None:
        if not self._repeats:
            return None
        return min(min(repeat.next, repeat.end) for repeat in self._repeats.values())

    @property
    def initial(self) -> bool:
        """The 2xx that made the call has no ACK: no BYE of ours may leave (§15)."""
        return any(repeat.initial for repeat in self._repeats.values())

    @property
    def offering(self) -> bool:
        """One has our offer, which its ACK is to answer."""
        return any(repeat.offering for repeat in self._repeats.values())

    def add(self, number: int, response: Response, flow: Flow, now: float, *, initial: bool, offering: bool) -> None:
        t1 = self._timers.t1
        end = now + self._timers.patience
        self._repeats[number] = _Repeat(response, flow, initial, offering, t1, now + t1, end)

    def acknowledged(self, number: int) -> bool:
        """Whether that ACK was waited for."""
        return self._repeats.pop(number, None) is not None

    def again(self, now: float) -> list[tuple[Flow, Response]]:
        """What is to be sent once more."""
        due = [repeat for repeat in self._repeats.values() if repeat.next <= now < repeat.end]
        for repeat in due:
            repeat.interval = min(repeat.interval * 2, self._timers.t2)
            repeat.next = now + repeat.interval
        return [(repeat.flow, repeat.response) for repeat in due]

    def lost(self, now: float) -> bool:
        """Whether an ACK did not come in 64*T1; then it is waited for no more."""
        late = [number for number, repeat in self._repeats.items() if now >= repeat.end]
        for number in late:
            del self._repeats[number]
        return bool(late)

    def clear(self) -> None:
        self._repeats.clear()
