"""UDP sockets out of the configured range.

A leg gets an even port and the odd one above it (RFC 3550 §11), an ICE leg the even one for each of its addresses. A
port that is given back stays bound for a while and what comes is left to the kernel to drop: a packet that is still on
its way, or a far end that has not heard of the end, must not be heard in the next call. Only when no other port is left
is the one that rested longest taken again at once.
"""

from __future__ import annotations

import errno
import ipaddress
import random
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from aioice.ice import get_host_addresses

from gateway.errors import MediaError

REST = 15.0  # s
_SMALL = 1  # the kernel rounds a receive buffer up to its minimum


@dataclass(frozen=True, slots=True)
class Bind:
    """An address to bind a socket to, and the one to tell others."""

    address: str
    announced: str


def binds(address: str, advertise: str | None) -> tuple[Bind, ...]:
    """What to bind and announce, the most useful first.

    `address` is one address, or an IPv4 and an IPv6 one with a comma in between, and so is `advertise`. A wildcard with
    an advertised address is one socket that announces that alone (the gateway is behind a one-to-one NAT); without, it
    is a socket for each address of this machine but loopback, which is bound only where it is named. Raises MediaError.
    """
    try:
        bound = [ipaddress.ip_address(part.strip()) for part in address.split(",")]
        told = {
            (found := ipaddress.ip_address(part.strip())).version: str(found)
            for part in (advertise or "").split(",")
            if part
        }
    except ValueError as error:
        raise MediaError(f"media address: {error}") from error
    found_binds: list[Bind] = []
    for ip in bound:
        if not ip.is_unspecified or ip.version in told:
            found_binds.append(Bind(str(ip), told.get(ip.version, str(ip))))
            continue
        first = _outward(ip.version)
        hosts = get_host_addresses(use_ipv4=ip.version == 4, use_ipv6=ip.version == 6)
        usable = [host for host in hosts if not ipaddress.ip_address(host).is_link_local]
        found_binds += [Bind(host, host) for host in sorted(usable, key=lambda host: host != first)]
    if not found_binds:
        loopback = "127.0.0.1" if bound[0].version == 4 else "::1"
        found_binds.append(Bind(loopback, loopback))
    return tuple(found_binds)


def bind_for(binds: Sequence[Bind], ip: int | None) -> Bind:
    """The most useful one of this version of IP; of the other one where there is none, and for None the first."""
    wanted = ":" if ip == 6 else "." if ip == 4 else ""
    return next((bind for bind in binds if wanted in bind.address), binds[0])


def quieten(sock: socket.socket) -> None:
    """Nobody reads this socket any more: the kernel is to keep next to nothing of what comes."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)


def plain(address: str) -> str:
    """An IP address in its one spelling, IPv4 inside IPv6 taken out. Raises ValueError."""
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _outward(version: int) -> str | None:
    """The source address of this machine's default route; connecting a UDP socket sends nothing."""
    family, far = (socket.AF_INET, "192.0.2.1") if version == 4 else (socket.AF_INET6, "2001:db8::1")
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((far, 9))
            return str(sock.getsockname()[0])
        except OSError:
            return None


class Ports:
    """The even ports from `low` to `high`. Times are seconds of any one clock."""

    def __init__(self, low: int, high: int) -> None:
        even = list(range(low + low % 2, high, 2))
        if not even:
            raise MediaError(f"no pair of ports in {low}-{high}")
        random.shuffle(even)  # not guessable from the last call's
        self._free = deque(even)
        self._resting: deque[tuple[float, int, Sequence[socket.socket]]] = deque()

    def bind(self, addresses: Sequence[tuple[str, int]]) -> tuple[int, tuple[socket.socket, ...]]:
        """One even port P, and a socket on P + offset for each (address, offset). Raises MediaError."""
        for _ in range(len(self._free) + len(self._resting)):
            if not self._free:
                self._wake()
            port = self._free.popleft()
            sockets: list[socket.socket] = []
            try:
                for address, offset in addresses:
                    sockets.append(_bound(address, port + offset))
            except OSError as error:
                for sock in sockets:
                    sock.close()
                self._free.append(port)
                if error.errno == errno.EADDRINUSE:
                    continue  # another program's
                raise MediaError(f"no media socket on {address}: {error.strerror}") from error
            return port, tuple(sockets)
        raise MediaError("every media port is in use")

    def give_back(self, port: int, sockets: Sequence[socket.socket], now: float) -> None:
        for sock in sockets:
            quieten(sock)
        self._resting.append((now + REST, port, sockets))

    def tick(self, now: float) -> None:
        """Free what has rested long enough."""
        while self._resting and self._resting[0][0] <= now:
            self._wake()

    def close(self) -> None:
        while self._resting:
            self._wake()

    def _wake(self) -> None:
        _, port, sockets = self._resting.popleft()
        for sock in sockets:
            sock.close()
        self._free.append(port)


def _bound(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
