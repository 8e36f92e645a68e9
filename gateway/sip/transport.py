"""The wire: datagrams and streams between Flows. Whatever arrives is handed on with the flow that an answer takes.

    Datagrams (UDP) ──┐
                      ├── Transports ── on_message, on_closed ──>        send(flow), udp(), connect() <──
    Streams (the rest)┘

Answers go to the address that the packet came from, whatever its Via says; to which port, see agent.way_back.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from gateway.sip.datagrams import Datagrams, OnFailure, sendable
from gateway.sip.layer import Address, Flow
from gateway.sip.locate import ip_of
from gateway.sip.overload import Source
from gateway.sip.pulse import Pace
from gateway.sip.seats import Room
from gateway.sip.streams import OnClosed, OnMessage, Streams
from gateway.sip.tls import Tls, TlsSettings

MAX_FLOWS = 4096  # that are remembered; a flood of forged sources has them made anew


def is_ours(host: str) -> bool:
    """Whether a text is an address of this machine: one that a socket can be bound to."""
    address = ip_of(host)
    if address is None or address.is_unspecified or address.is_multicast:
        return False
    with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


class Transports:
    """`advertise` is our address for Via and Contact behind NAT; `is_trunk` says for whom connections are kept;
    `on_failure` hears of datagrams that the network could not deliver."""

    def __init__(
        self,
        on_message: OnMessage,
        on_closed: OnClosed,
        advertise: str | None = None,
        *,
        is_trunk: Callable[[Source], bool] = lambda source: False,
        tls: TlsSettings | None = None,
        pace: Pace | None = None,
        room: Room | None = None,
        on_failure: OnFailure = lambda quoted, remote: None,
    ) -> None:
        self.on_message = on_message
        self._on_failure = on_failure
        self._advertise = advertise
        self.streams = Streams(
            self._from_stream,
            on_closed,
            host_of=lambda local: self.advertise or local,
            is_trunk=is_trunk,
            tls=Tls(tls),
            pace=pace,
            room=room,
        )
        self._datagrams: list[Datagrams] = []
        self._sockets: dict[Address, Datagrams] = {}  # the same, by their addresses
        self._flows: dict[tuple[Address, Address], Flow] = {}  # of datagrams, by both ends

    @property
    def advertise(self) -> str | None:
        return self._advertise

    @advertise.setter
    def advertise(self, address: str | None) -> None:
        self._advertise = address
        self._flows.clear()

    async def listen(self, protocol: str, host: str, port: int) -> Address:
        """Bind; port 0 takes any. Gives the address bound. Raises OSError, and SipError for TLS without certificate."""
        if protocol == "UDP":
            datagrams = Datagrams(host, port, self._from_datagrams, self._on_failure)
            self._datagrams.append(datagrams)
            self._sockets.setdefault(datagrams.local, datagrams)
            return datagrams.local
        return self.streams.listen(protocol, host, port)

    @property
    def listening(self) -> list[tuple[str, Address]]:
        """What we are bound to."""
        return [("UDP", datagrams.local) for datagrams in self._datagrams] + self.streams.listening

    @property
    def is_listening(self) -> bool:
        """Whether there is any of those."""
        return bool(self._datagrams or self.streams.listening)

    @property
    def backlog(self) -> int:
        """Turns of the loop in a row that left datagrams unread."""
        return max((datagrams.backlog for datagrams in self._datagrams), default=0)

    async def close(self) -> None:
        for datagrams in self._datagrams:
            datagrams.close()
        self._datagrams.clear()
        self._sockets.clear()
        await self.streams.close()

    def _from_datagrams(self, data: bytes, datagrams: Datagrams, remote: Address) -> None:
        self.on_message(data, self._flow_of(datagrams, remote), False)

    def _from_stream(self, data: bytes, flow: Flow, framed: bool) -> bool | None:
        return self.on_message(data, flow, framed)

    # Ways out

    def _flow_of(self, datagrams: Datagrams, remote: Address) -> Flow:
        """One for all that comes from there: what its transactions and dialogs keep is the same object."""
        known = self._flows.get((datagrams.local, remote))
        if known is not None:
            return known
        host = self.advertise or _local_towards(datagrams.local[0], remote[0])
        if len(self._flows) >= MAX_FLOWS:
            self._flows.clear()
        flow = self._flows[datagrams.local, remote] = Flow("UDP", datagrams.local, remote, (host, datagrams.local[1]))
        return flow

    def udp(self, remote: Address) -> Flow | None:
        """A flow for datagrams to this address; None when none of our sockets speaks its version of IP."""
        address = ip_of(remote[0])
        if address is None or not sendable(remote):
            return None
        usable = [datagrams for datagrams in self._datagrams if datagrams.version == address.version]
        return self._flow_of(usable[0], (str(address), remote[1])) if usable else None

    def is_open(self, connection: int) -> bool:
        return self.streams.is_open(connection)

    async def connect(self, transport: str, remote: Address, domain: str = "") -> Flow:
        """A flow to this address, over an open connection if there is one; with TLS to who proves to be `domain`.

        Raises OSError.
        """
        if transport == "UDP":
            flow = self.udp(remote)
            if flow is None:
                raise OSError("no socket of ours sends there")
            return flow
        if not sendable(remote):
            raise OSError("no address to connect to")
        return await self.streams.connect(transport, remote, domain or remote[0])

    def send(self, flow: Flow, data: bytes) -> bool:
        """Put octets on a flow; False when they cannot leave."""
        if flow.transport == "UDP":
            found = self._sockets.get(flow.local)
            return found is not None and sendable(flow.remote) and found.send(data, flow.remote)
        return self.streams.send(flow, data)


def _local_towards(bound: str, remote: str) -> str:
    """Our address as this remote end sees it when we are bound to any: what the kernel would send from."""
    if bound not in ("0.0.0.0", "::"):  # noqa: S104 - it is compared, not bound to
        return bound
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((remote, 9))  # of a datagram socket: no packet leaves
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1" if family == socket.AF_INET else "::1"


__all__ = ["Pace", "Room", "TlsSettings", "Transports", "ip_of", "is_ours", "sendable"]
