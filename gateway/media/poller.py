"""The media sockets of a worker behind one descriptor of the event loop.

asyncio spends as much on telling that a socket is readable as a relayed packet costs otherwise. So the sockets are in
an epoll set of their own, of which the loop sees only the set, and all that are readable are served in one go.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Protocol

MANY = 64  # sockets asked for at a time
ROUNDS = 4  # of them, before the loop gets its turn


class Readers(Protocol):
    """What a leg needs: a poller, or the event loop itself."""

    def add_reader(self, descriptor: int, reader: Callable[[], None], /) -> object: ...

    def remove_reader(self, descriptor: int, /) -> object: ...


class Poller:
    """Calls a reader for each socket that has something to read; a reader takes one datagram or more."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._loop.add_reader(self._epoll.fileno(), self._readable)

    def add_reader(self, descriptor: int, reader: Callable[[], None]) -> None:
        """Call `reader` from now on, in place of another."""
        if descriptor not in self._readers:
            self._epoll.register(descriptor, select.EPOLLIN)
        self._readers[descriptor] = reader

    def remove_reader(self, descriptor: int) -> None:
        if self._readers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _readable(self) -> None:
        readers = self._readers
        for _ in range(ROUNDS):
            events = self._epoll.poll(0, MANY)
            for descriptor, _ in events:
                reader = readers.get(descriptor)
                if reader is not None:  # a reader before it may have closed it
                    reader()
            if len(events) < MANY:
                return
