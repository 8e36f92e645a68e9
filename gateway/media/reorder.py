"""Packets that overtook each other, put in order for those who must decode them.

    next is 7:   8 ──> held      7 ──> 7, 8 go on      9 ──> goes on      12, 13 held, 14 ──> 10 and 11 are given up

Nothing is held back while nothing is missing, so that an orderly network costs no time.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from gateway.media.rtp import MAX_DROPOUT

WINDOW = 2  # packets that wait for a missing one

T = TypeVar("T")


class Window(Generic[T]):
    """`expected` is the number that comes next."""

    __slots__ = ("_held", "expected")

    def __init__(self, expected: int) -> None:
        self.expected = expected & 0xFFFF
        self._held: dict[int, T] = {}

    def push(self, seq: int, item: T) -> list[T]:
        """What may go on now, in order; one that comes too late goes on too, for whoever counts it."""
        ahead = (seq - self.expected) & 0xFFFF
        if ahead >= 0x10000 - MAX_DROPOUT:
            return [item]
        if ahead > MAX_DROPOUT:  # a source that began anew
            return [*self.flush(), *self._take(seq, item)]
        if ahead == 0 and not self._held:
            return self._take(seq, item)
        self._held[seq] = item
        ready: list[T] = []
        while self._held:
            if self.expected in self._held:
                ready.append(self._held.pop(self.expected))
            elif len(self._held) <= WINDOW:
                break
            self.expected = (self.expected + 1) & 0xFFFF
        return ready

    def flush(self) -> list[T]:
        """All that is held; what is missing is given up."""
        order = sorted(self._held, key=lambda seq: (seq - self.expected) & 0xFFFF)
        ready = [self._held.pop(seq) for seq in order]
        if order:
            self.expected = (order[-1] + 1) & 0xFFFF
        return ready

    def _take(self, seq: int, item: T) -> list[T]:
        self.expected = (seq + 1) & 0xFFFF
        return [item]
