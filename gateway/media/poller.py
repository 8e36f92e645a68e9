"""The media sockets of a worker behind one descriptor of the event loop.

asyncio spends as much on telling that a socket is readable as a relayed packet costs otherwise. So the sockets are in
an epoll set of their own, of which the loop sees only the set, and all that are readable are served in one go.

    packet ── wake-up ──> alone, or in company? ──> all that are readable
                            └── packets come densely, and few at a time: wait a little, for the next are on their way

A busy worker would else be woken for nearly every packet, which costs more than passing it on. The pause is a fraction
of a millisecond of a packet's twenty, and none is made where packets are rare or already come by the dozen.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable
from typing import Protocol

MANY = 64  # sockets asked for at a time
ROUNDS = 4  # of them, before the loop gets its turn
PAUSE = 0.0003  # s
DENSE = 0.001  # s between wake-ups
DOZEN = 12  # sockets that were readable at once


class Readers(Protocol):
    """What a leg needs: a poller, or the event loop itself."""

    def add_reader(self, descriptor: int, reader: Callable[[], None], /) -> object: ...

    def remove_reader(self, descriptor: int, /) -> object: ...


class Poller:
    """Calls a reader for each socket that has something to read; a reader takes one datagram or more."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._now, self._sleep = now, sleep
        self._woken, self._found = 0.0, 0  # the last time, and how many were readable then
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._readers: list[Callable[[], None] | None] = []  # by descriptor, which are small numbers
        self._loop.add_reader(self._epoll.fileno(), self._readable)

    def add_reader(self, descriptor: int, reader: Callable[[], None]) -> None:
        """Call `reader` from now on, in place of another."""
        self._readers += [None] * (descriptor + 1 - len(self._readers))
        if self._readers[descriptor] is None:
            self._epoll.register(descriptor, select.EPOLLIN)
        self._readers[descriptor] = reader

    def remove_reader(self, descriptor: int) -> None:
        if 0 <= descriptor < len(self._readers) and self._readers[descriptor] is not None:
            self._readers[descriptor] = None
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _readable(self) -> None:
        now = self._now()
        if now - self._woken < DENSE and self._found < DOZEN:
            self._sleep(PAUSE)
        self._woken, self._found = now, 0
        readers = self._readers
        for _ in range(ROUNDS):
            events = self._epoll.poll(0, MANY)
            for descriptor, _ in events:
                reader = readers[descriptor]
                if reader is not None:  # a reader before it may have closed it
                    reader()
            self._found += len(events)
            if len(events) < MANY:
                return
