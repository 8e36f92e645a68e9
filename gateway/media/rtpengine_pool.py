"""The rtpengine daemons that calls may go to: which of them is asked, and which is left alone for a while.

    usable ── pings unanswered, or an offer ──> disabled for a while ── a ping is answered ──> usable

A new call goes to the daemon with the fewest calls for its weight; a call stays where it began.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from gateway.addresses import host_and_port
from gateway.errors import AddressError, MediaError, NgError
from gateway.media.ng import NgClient

log = structlog.get_logger()

MAX_WEIGHT = 1_000


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds, and how often."""

    ping: float = 2.0  # between pings
    answer: float = 1.0  # that a daemon may take
    missed: int = 3  # pings in a row until it counts as dead


@dataclass(frozen=True, slots=True)
class Address:
    """Where a daemon listens for ng, and how much of the calls it takes beside others."""

    host: str
    port: int
    weight: int = 1


def address(text: str) -> Address:
    """`udp:192.0.2.1:2223`, `udp:192.0.2.1:2223;weight=2`. Raises MediaError."""
    place, _, parameter = text.partition(";")
    scheme, colon, endpoint = place.partition(":")
    name, _, number = parameter.partition("=")
    weight = 1
    if parameter:
        weight = int(number) if name == "weight" and number.isascii() and number.isdigit() and len(number) < 5 else 0
    if scheme != "udp" or not colon or not 0 < weight <= MAX_WEIGHT:
        raise MediaError(f"{text!r} is not udp:ADDRESS:PORT or udp:ADDRESS:PORT;weight=NUMBER")
    try:
        host, port = host_and_port(endpoint)
    except AddressError as error:
        raise MediaError(f"{text!r}: {error}") from error
    if port is None:
        raise MediaError(f"{text!r} names no port")
    return Address(host, port, weight)


class Node:
    """One daemon. `calls` are those that it has."""

    def __init__(self, where: Address, pace: Pace, died: Callable[[Node], None]) -> None:
        self.where = where
        self.name = f"{where.host}:{where.port}"
        self.calls: set[str] = set()
        self.usable = False
        self._pace, self._died = pace, died
        self._client: NgClient | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask it once, and from then on regularly. Raises MediaError for an address that cannot be."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                self.where.host, self.where.port, type=socket.SOCK_DGRAM
            )
            family, kind, protocol, _, place = found[0]
            sock = socket.socket(family, kind, protocol)
            sock.connect(place)
        except OSError as error:
            raise MediaError(f"rtpengine {self.name}: {error}") from error
        self._client = NgClient(sock)
        self.usable = await self._answers()
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._client is not None:
            self._client.close("the media engine was stopped")
        self._client = None
        self.calls.clear()

    async def ask(self, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises NgError when it says no, MediaError when it says nothing."""
        if self._client is None:
            raise MediaError("the media engine is not running")
        answer = await self._client.request(command, arguments, patience=self._pace.answer)
        if answer.get("result") not in ("ok", "pong"):  # "load limit": rtpengine, --max-sessions and its kin
            raise NgError(f"{answer.get('result')}: {answer.get('message', 'no reason given')}")
        return answer

    def disable(self) -> None:
        """It did not answer: new calls go elsewhere until a ping is answered again."""
        if self.usable:
            log.warning("rtpengine does not answer", node=self.name, calls=len(self.calls))
        self.usable = False

    async def _answers(self) -> bool:
        with contextlib.suppress(MediaError, NgError):
            await self.ask("ping", {})
            return True
        return False

    async def _keep(self) -> None:
        missed = 0
        while True:
            await asyncio.sleep(self._pace.ping)
            if await self._answers():
                if not self.usable:
                    log.info("rtpengine answers", node=self.name)
                missed, self.usable = 0, True
                continue
            missed += 1
            if missed < self._pace.missed:
                continue
            self.disable()
            if self.calls:
                log.error("rtpengine died", node=self.name, calls=len(self.calls))
                self._died(self)


class Pool:
    def __init__(self, addresses: tuple[Address, ...], pace: Pace, died: Callable[[Node], None]) -> None:
        self.nodes = tuple(Node(where, pace, died) for where in addresses)

    async def start(self) -> None:
        """Raises MediaError when not one of them answers."""
        await asyncio.gather(*(node.start() for node in self.nodes))
        if not any(node.usable for node in self.nodes):
            raise MediaError(f"no rtpengine answers: {', '.join(node.name for node in self.nodes) or 'none is named'}")

    async def stop(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.nodes))

    def choice(self, tried: frozenset[Node]) -> Node:
        """Where a new call goes, if not to one of those. Raises MediaError."""
        usable = [node for node in self.nodes if node.usable and node not in tried]
        if not usable:
            raise MediaError("no rtpengine takes the call")
        return min(usable, key=lambda node: len(node.calls) / node.where.weight)
