from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.media import poller as module
from gateway.media.poller import Poller
from tests.media.ends import SAFETY


class Sockets:
    def __init__(self) -> None:
        self.poller = Poller()
        self.heard: list[tuple[int, bytes]] = []
        self.pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(5)]
        for number in range(len(self.pairs)):
            self.listen(number)

    def listen(self, number: int) -> None:
        sock = self.pairs[number][0]
        self.poller.add_reader(sock.fileno(), lambda: self.heard.append((number, sock.recv(100))))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SAFETY):
            while len(self.heard) < count:  # noqa: ASYNC110 -- a list tells nobody
                await asyncio.sleep(0)


@pytest.fixture
async def sockets() -> AsyncIterator[Sockets]:
    sockets = Sockets()
    yield sockets
    sockets.poller.close()
    sockets.poller.close()
    for pair in sockets.pairs:
        for sock in pair:
            sock.close()


async def test_whoever_is_readable_is_read_until_there_is_nothing_left(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MANY", 2)
    for piece in (b"one", b"two", b"three"):
        for _, far in sockets.pairs:
            far.send(piece)
    await sockets.until(15)
    assert sorted(set(sockets.heard)) == sorted(sockets.heard)
    for number in range(5):
        assert [piece for at, piece in sockets.heard if at == number] == [b"one", b"two", b"three"]


async def test_a_reader_may_be_replaced_or_removed_by_another_one(sockets: Sockets) -> None:
    def greedy() -> None:
        sockets.heard.append((0, sockets.pairs[0][0].recv(100)))
        for number in range(1, 5):
            sockets.poller.remove_reader(sockets.pairs[number][0].fileno())

    sockets.poller.add_reader(sockets.pairs[0][0].fileno(), greedy)
    for _, far in sockets.pairs:
        far.send(b"x")
    await sockets.until(1)
    await asyncio.sleep(0)
    count = len(sockets.heard)
    await asyncio.sleep(0)
    assert len(sockets.heard) == count
    sockets.poller.remove_reader(sockets.pairs[1][0].fileno())
    missing = [number for number in range(1, 5) if number not in dict(sockets.heard)]
    for number in missing:
        sockets.listen(number)
    await sockets.until(5)


class Time:
    """A clock of the test's, and the pauses that were made."""

    def __init__(self) -> None:
        self.now = 10.0
        self.pauses: list[float] = []

    async def wakes(self, apart: float, datagrams: int, times: int = 4) -> int:
        """How many pauses are made while the poller is woken so often, for so many each time."""
        poller = Poller(lambda: self.now, self.pauses.append)
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(datagrams)]
        for near, _ in pairs:
            poller.add_reader(near.fileno(), lambda near=near: near.recv(100))  # type: ignore[misc]
        for _ in range(times):
            self.now += apart
            for _, far in pairs:
                far.send(b"x")
            poller._readable()
        poller.close()
        for pair in pairs:
            for sock in pair:
                sock.close()
        return len(self.pauses)


async def test_packets_that_come_densely_and_one_by_one_wait_for_company() -> None:
    assert await Time().wakes(module.DENSE / 2, 1) == 3


async def test_packets_that_are_rare_or_come_by_the_dozen_wait_for_nothing() -> None:
    assert await Time().wakes(module.DENSE * 2, 1) == 0
    assert await Time().wakes(module.DENSE / 2, module.DOZEN) == 0
