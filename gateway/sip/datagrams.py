"""UDP sockets, read in batches, that no packet and no address can take away.

A datagram is sent only to an IP address and a port that were checked: an impossible port or a host name in sendto would
close an asyncio endpoint, or block the loop on DNS. So these are plain sockets.

What the network says of a datagram that did not arrive comes back by the socket's error queue, where Linux keeps it
apart for each (icmp.py); without one, silence has to say it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable
from functools import lru_cache

import structlog

from gateway.sip.icmp import IP_RECVERR, IPV6_RECVERR, is_failure
from gateway.sip.layer import Address
from gateway.sip.locate import LONGEST, ip_of

log = structlog.get_logger()

RECEIVE_BUFFER = 4 * 1024 * 1024  # bursts: the buffer overflows before the CPU does
TIMESTAMP = 35  # SO_TIMESTAMPNS of Linux: the kernel says when a datagram came
BATCH = 8  # datagrams read in one turn of the loop: in a flood each turn of everybody else waits for as many

QUOTED = 1280  # octets of a datagram that ICMP gives back (RFC 4443 §3.1; for IPv4 it is less)

# What sendto says when nothing will help: no route, or a firewall of ours (RFC 3261 §18.4).
HOPELESS = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM})

OnDatagram = Callable[[bytes, "Datagrams", Address], None]
OnFailure = Callable[[bytes, Address], None]  # the beginning of what could not be delivered, and whom it was for


def sendable(address: Address) -> bool:
    """Whether a socket may be given this address."""
    return len(address[0]) <= LONGEST and _sendable(address)


@lru_cache(maxsize=4096)  # every datagram comes from one and goes to one
def _sendable(address: Address) -> bool:
    host, port = address
    return 0 < port < 65_536 and ip_of(host) is not None


def _waited(told: list[tuple[int, int, bytes]]) -> int:
    """How many ms ago the kernel took a datagram in."""
    for level, kind, data in told:
        if level == socket.SOL_SOCKET and kind == TIMESTAMP and len(data) >= 16:
            seconds, nanoseconds = struct.unpack_from("=qq", data)
            return max(0, int((time.time() - seconds) * 1000 - nanoseconds / 1e6))
    return 0


class Datagrams:
    """One bound UDP socket. `backlog` is how long, in ms, what was read last had waited for us; 0 where nothing waits,
    and where the kernel does not tell. That something is always waiting is no sign of anything: under load the loop
    and its callers keep each other busy, and what counts is whether the queue grows.
    """

    def __init__(
        self, host: str, port: int, on_datagram: OnDatagram, on_failure: OnFailure = lambda quoted, remote: None
    ) -> None:
        """Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._on_datagram = on_datagram
        self._on_failure = on_failure
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, TIMESTAMP, 1)
                self._socket.setsockopt(*(IPV6_RECVERR if family == socket.AF_INET6 else IP_RECVERR), 1)
            self._socket.setblocking(False)
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        self.local: Address = self._socket.getsockname()[:2]
        self.version = 6 if family == socket.AF_INET6 else 4
        self.backlog = 0
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def _read(self) -> None:
        for number in range(BATCH):
            try:
                if number:
                    data, source = self._socket.recvfrom(65_535)
                else:
                    data, told, _, source = self._socket.recvmsg(65_535, 64)
                    self.backlog = _waited(told)
            except (BlockingIOError, InterruptedError):
                self.backlog = 0
                if not number:  # something woke us, and it was no datagram
                    self._failures()
                return
            except OSError:  # what became of an earlier one of ours
                self._failures()
                continue
            remote: Address = source[:2]
            if sendable(remote):  # port 0: nobody could be answered there
                self._on_datagram(data, self, remote)

    def _failures(self) -> None:
        """Empty the error queue, or the loop would be woken for ever."""
        with contextlib.suppress(OSError):
            for _ in range(BATCH):
                data, told, _, source = self._socket.recvmsg(QUOTED, 256, socket.MSG_ERRQUEUE)
                if is_failure(told) and source:
                    self._on_failure(data, source[:2])

    def send(self, data: bytes, remote: Address) -> bool:
        """False when it did not leave; where that is for good, `on_failure` hears of it."""
        try:
            try:
                self._socket.sendto(data, remote)
            except OSError:  # it may be about an earlier one, to anybody; that it was said once is enough
                self._socket.sendto(data, remote)
        except (OSError, OverflowError) as fault:
            log.info("sip datagram not sent", remote=f"{remote[0]}:{remote[1]}", error=str(fault))
            if isinstance(fault, OSError) and fault.errno in HOPELESS:
                self._on_failure(data, remote)
            return False
        return True
