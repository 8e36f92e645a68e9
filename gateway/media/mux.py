"""One media socket and those who share it: media, and one or two ICE sessions (RFC 7983, RFC 8445 §9).

datagram ── first byte > 3 ──> on_media(address), in the worker's packet
    └────── STUN ──> the session that it is for: an answer by its transaction, a check by its user name
                     (two while ICE restarts; what neither claims goes to the newest, which counts it)
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol, cast

from aioice import stun
from aioice.ice import Connection, StunProtocol

from gateway.media.poller import Readers
from gateway.media.rtp import ROOM, Packet

Address = tuple[str, int]


class Session(Protocol):
    """What is needed of an ICE session."""

    @property
    def local_username(self) -> str: ...

    def received(self, data: bytes, addr: Address, protocol: StunProtocol) -> None:
        """STUN that is for this session."""


class Datagrams(asyncio.DatagramTransport):
    """One session's share of a socket, as aioice wants to see a transport."""

    def __init__(self, mux: Mux, session: Session) -> None:
        super().__init__()
        self.sock = mux.sock
        self.session = session
        self.protocol = StunProtocol(cast(Connection, session))
        self.protocol.connection_made(self)
        self._mux = mux

    def sendto(self, data: Any, addr: Any = None) -> None:
        # Not sent is as lost on the way; a check is repeated, and consent notices a link that is down.
        with contextlib.suppress(OSError):
            self.sock.sendto(data, addr)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.sock.getsockname()[:2] if name == "sockname" else default

    def close(self) -> None:
        """The socket itself is its owner's."""
        if self._mux.leave(self):
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


_ASKS_NOT = 0x0110  # the class of a STUN message, 0 for a request (RFC 8489 §5)


class Mux:
    """Takes datagrams off a socket until it is closed. `on_stranger` is told of STUN that nobody can read, `on_unasked`
    of answers to nothing that was asked (any more) and of indications.
    """

    def __init__(
        self,
        sock: socket.socket,
        packet: Packet,
        on_media: Callable[[Address], None],
        on_stranger: Callable[[], None],
        readers: Readers,
        on_unasked: Callable[[], None] = lambda: None,
    ) -> None:
        self.sock = sock
        self._packet, self._on_media, self._on_stranger = packet, on_media, on_stranger
        self._on_unasked = on_unasked
        self._sessions: list[Datagrams] = []  # the newest first
        self._readers = readers
        self._closed = False
        self.read_by(None)

    def join(self, session: Session) -> Datagrams:
        transport = Datagrams(self, session)
        self._sessions.insert(0, transport)
        return transport

    def leave(self, transport: Datagrams) -> bool:
        """False: it had left before."""
        if transport not in self._sessions:
            return False
        self._sessions.remove(transport)
        return True

    def read_by(self, reader: Callable[[], None] | None) -> None:
        """From now on by this one, which hands on what is not its own by `sort`; None: as before."""
        if not self._closed:
            self._readers.add_reader(self.sock.fileno(), reader or self._readable)

    def close(self) -> None:
        self._closed = True
        self._readers.remove_reader(self.sock.fileno())

    def _readable(self) -> None:
        try:
            self._packet.length, address = self.sock.recvfrom_into(self._packet.data, ROOM)
        except OSError:
            return
        self.sort(address)

    def sort(self, address: Any) -> None:
        """The packet is a datagram from this source: to whom with it?"""
        packet = self._packet
        if packet.length and packet.data[0] > 3:  # RFC 7983 §7
            self._on_media(address[:2])
        else:
            self._stun(bytes(packet), address)

    def _stun(self, data: bytes, address: Any) -> None:
        if not self._sessions:
            self._on_stranger()
            return
        if len(data) >= stun.HEADER_LENGTH and int.from_bytes(data[:2]) & _ASKS_NOT:
            asked = data[8 : stun.HEADER_LENGTH]
            if not any(asked in transport.protocol.transactions for transport in self._sessions):
                self._on_unasked()
                return
        try:
            transport = self._sessions[0] if len(self._sessions) == 1 else self._addressee(data)
            transport.session.received(data, address[:2], transport.protocol)
        except (ValueError, KeyError, struct.error, IndexError):
            self._on_stranger()  # aioice leaves some malformed attributes to the caller

    def _addressee(self, data: bytes) -> Datagrams:
        message = stun.parse_message(data)
        name = str(message.attributes.get("USERNAME", "")).partition(":")[0]
        for transport in self._sessions:
            if message.message_class is stun.Class.REQUEST:
                if name == transport.session.local_username:
                    return transport
            elif message.transaction_id in transport.protocol.transactions:
                return transport
        return self._sessions[0]
