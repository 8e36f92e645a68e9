"""A leg of plain RTP: one even port for RTP, the next one for RTCP (RFC 3550 §11), symmetric (RFC 4961), latched.

    open ── connect() ──> armed ── first RTP packet of an agreed payload type ──> latched
                            ^  │                                                 ^  │
                            │  └── from where nobody expects it ──> on trial ────┘  │
                            └──────────────── connect() again: a re-offer ──────────┘

Armed, we send to the address that the SDP names, if policy permits it, and take the first packet from anywhere: behind
NAT the SDP names another address than packets come from. But it may be a stranger's who tries every port, so that
source is on trial for some seconds, in which the first packet from the address that was named takes its place. An end
that is known and says where it was before (a refresh, a hold) is waited for as long, and nobody is heard instead.
Latched, the socket is connected to its source, and the kernel keeps everyone else's packets out (RTP bleed: nobody can
inject sound, or have it sent to himself). With SRTP (sdes.py) only an authentic packet latches.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable

from cffi import FFI  # type: ignore[import-untyped]  # cffi ships no types

from gateway.call.causes import Cause
from gateway.errors import MediaError
from gateway.media import sdes as sdes_keys
from gateway.media.lane import Inlet, Lane, Outlet
from gateway.media.leg import Leg, Patience, Tell
from gateway.media.pace import Pacer
from gateway.media.poller import Readers
from gateway.media.ports import Bind, Ports, plain
from gateway.media.rtp import ROOM, Packet, is_rtp
from gateway.media.srtp import Keys, Srtp
from gateway.reach import Reach
from gateway.session.model import Crypto, Direction, Stream, Transport

_ffi = FFI()
_ffi.cdef("int connect(int fd, const void *address, unsigned int length);")
_libc = _ffi.dlopen(None)
_BURST = 64  # packets read in one go when the latch closes
_TRIAL = 5.0  # s in which the named address may still turn an unexpected source out

Address = tuple[str, int]


class RtpLeg(Leg):
    def __init__(
        self,
        call: str,
        name: str,
        packet: Packet,
        tell: Tell,
        *,
        ports: Ports,
        bind: Bind,
        reach: Reach,
        patience: Patience,
        sdes: bool = False,
        pacer: Pacer | None = None,
        readers: Readers | None = None,
    ) -> None:
        super().__init__(call, name, packet, tell, pacer)
        self.bind = bind
        self._ports, self._reach, self._patience = ports, reach, patience
        self._loop = asyncio.get_running_loop()
        self._readers = readers or self._loop
        self._port, self._sockets = ports.bind([(bind.address, 0), (bind.address, 1)])
        self._rtp, self._rtcp = self._sockets
        self._own = sdes_keys.ours(secrets.token_bytes) if sdes else ()
        self._srtp: Srtp | None = None  # where the far end named a key
        self._theirs: Crypto | None = None
        self._closed = False
        self._named: Address | None = None  # by SDP, if permitted
        self._latched: Address | None = None
        self._target: Address | None = None  # where to send while nothing is latched
        self._expected: frozenset[Address | None] = frozenset()  # sources that latch at once
        self._found: Address | None = None  # where this end was latched last
        self._said: tuple[str | None, int] = (None, 0)  # what SDP named, permitted or not
        self._stays = False  # it was latched, and names the same again
        self._tried: Address | None = None  # the source on trial
        self._tried_until = 0.0
        self._payloads: frozenset[int] = frozenset()
        self._named_rtcp: Address | None = None  # by SDP: a=rtcp (RFC 3605), else the port above
        self._found_rtcp: Address | None = None  # where its RTCP came from, since the last offer and answer
        self._deadline: float | None = None
        self._counted = 0  # packets received before the last tick
        self._readers.add_reader(self._rtp.fileno(), self._unexpected)
        self._readers.add_reader(self._rtcp.fileno(), self._control)

    @property
    def transport(self) -> Transport:
        return Transport(self.bind.announced, self._port, self._port + 1, crypto=self._own)

    def connect(self, remote: Transport, stream: Stream) -> None:
        """Offer and answer are done, for the first time or again: send to what was named, and latch anew.

        Of keys the far end has the one that was agreed; ours is that of the same suite. Raises MediaError.
        """
        self._secure(remote.crypto)
        self.agree(stream)
        previous, before = self._named, self._found
        self._named = None
        if remote.address is not None:
            if self._reach.permits(remote.address, remote.port):
                self._named = (plain(remote.address), remote.port)
            elif stream.direction is not Direction.INACTIVE:
                self.log.info("named address not used", address=remote.address, port=remote.port)
        self._found_rtcp = None
        self._named_rtcp = (self._named[0], remote.rtcp_port or remote.port + 1) if self._named else None
        self._stays = before is not None and (remote.address, remote.port) == self._said
        self._said = (remote.address, remote.port)
        # An end that names the same address again may still sit behind the NAT that it was found behind.
        self._target = before if before is not None and self._named in (None, previous) else self._named
        self._found = before if self._target == before else None
        self._expected = frozenset((self._named, self._target)) - {None}
        self._tried = None
        self._payloads = frozenset(codec.pt for codec in (*stream.receive, *stream.receive_dtmf))
        if self._latched is not None:
            _disconnect(self._rtp)
            self._latched = None
        self._read(self._armed)
        self.open_lanes()
        if self._target is not None:
            self.ready.set()
        now = self._loop.time()
        self._deadline = now + (self._patience.silence if self.connected.is_set() else self._patience.first)

    def _secure(self, named: tuple[Crypto, ...]) -> None:
        theirs = named[0] if named else None
        if theirs is None:
            self._srtp = None
        elif self._theirs is None or self._srtp is None or theirs.suite != self._theirs.suite:
            receiving = sdes_keys.master(theirs)
            own = next((crypto for crypto in self._own if crypto.suite == theirs.suite), None)
            if own is None:
                raise MediaError(f"we named no SRTP key for {theirs.suite}")
            profile = sdes_keys.SUITES[theirs.suite]
            self._srtp = Srtp(Keys(profile, sdes_keys.master(own), receiving), self.packet)
        elif theirs.key != self._theirs.key:
            self._srtp.expect(sdes_keys.master(theirs))
        self._theirs = theirs

    def send(self) -> None:
        packet = self.packet
        octets = packet.length
        if self._srtp is not None and not self._srtp.protect():
            self.dropped["repeated"] += 1
            return
        try:
            if self._latched is not None:
                self._rtp.send(packet.view[: packet.length])
            elif self._target is not None:
                self._rtp.sendto(packet.view[: packet.length], self._target)
            else:
                self.dropped["nowhere"] += 1
                return
        except OSError:
            self.dropped["unsent"] += 1  # a full queue, or an ICMP error of an earlier packet
            return
        self.sent(octets)

    def send_control(self) -> None:
        latched, packet = self._latched, self.packet
        if latched is None or (self._srtp is not None and not self._srtp.protect_rtcp()):
            return
        with contextlib.suppress(OSError):  # the next report says more
            if self.stream is not None and self.stream.rtcp_mux:
                self._rtp.send(packet.view[: packet.length])
                return
            to = self._found_rtcp or self._named_rtcp
            if to is None or to[0] != latched[0]:
                to = (latched[0], latched[1] + 1)  # RFC 3550 §11: behind NAT, at a guess
            if to[1] < 65_536:
                self._rtcp.sendto(packet.view[: packet.length], to)

    def inlet(self) -> Inlet | None:
        srtp = self._srtp
        if self._latched is None or self._closed or (srtp is not None and srtp.inward is None):
            return None
        return Inlet(self._rtp, True, None if srtp is None else srtp.inward, self._sort)

    def outlet(self) -> Outlet | None:
        srtp = self._srtp
        if (self._latched is None and self._target is None) or (srtp is not None and srtp.outward is None):
            return None
        address = None if self._latched is not None else self._target
        return Outlet(self._rtp, address, None if srtp is None else srtp.outward)

    def read_by(self, lane: Lane | None) -> None:
        if self._latched is not None and not self._closed:
            self._read(self._latched_to_it if lane is None else lane.connected)

    def tick(self, now: float) -> None:
        super().tick(now)
        if self.received_packets != self._counted:
            self._counted = self.received_packets
            self._deadline = now + self._patience.silence
        if self.over or self._deadline is None or not self.hears or now < self._deadline:
            return
        if self.connected.is_set():
            self.lose(Cause.MEDIA_LOST, f"nothing was heard for {self._patience.silence:g} s")
        else:
            self.lose(Cause.MEDIA_LOST, f"no packet came within {self._patience.first:g} s")

    async def close(self) -> None:
        await super().close()
        if not self._closed:
            self._closed = True
            for sock in self._sockets:
                self._readers.remove_reader(sock.fileno())
            self._ports.give_back(self._port, self._sockets, self._loop.time())

    # readers of the RTP socket: before connect(), armed or trying, latched

    def _read(self, reader: Callable[[], None]) -> None:
        self._readers.remove_reader(self._rtp.fileno())
        self._readers.add_reader(self._rtp.fileno(), reader)

    def _receive(self) -> Address | None:
        try:
            self.packet.length, address = self._rtp.recvfrom_into(self.packet.data, ROOM)
        except OSError:
            return None
        return address[0], address[1]

    def _unexpected(self) -> None:
        if self._receive() is not None:
            self.dropped["early"] += 1

    def _armed(self) -> None:
        address = self._receive()
        if address is None:
            return
        if not self._is_agreed() or (self._tried not in (None, address) and address not in self._expected):
            self.dropped["stranger"] += 1
            return
        now = self._loop.time()
        if self._tried is None:
            self._tried, self._tried_until = address, now + _TRIAL
        if self._expected and address not in self._expected and now < self._tried_until:
            if self._stays:
                self.dropped["stranger"] += 1
                return
            self._target = address
            self.open_lanes()
            self._take()
            self.tell_connected()
        else:
            self._latch(address)

    def _is_agreed(self) -> bool:
        """RTP of an agreed payload type, and authentic where there are keys."""
        if not is_rtp(self.packet) or self.packet.data[1] & 0x7F not in self._payloads:
            return False
        return self._srtp is None or self._srtp.unprotect()

    def _latch(self, address: Address) -> None:
        """This source, whose packet was just read, and no other until the next offer and answer."""
        try:
            self._rtp.connect(address)
        except OSError:
            self.dropped["stranger"] += 1  # nobody can be answered there
            return
        self._latched = self._found = address
        self._read(self._latched_to_it)
        self._take()
        self._drain(address)
        self.open_lanes()
        self.tell_connected()

    def _drain(self, latched: Address) -> None:
        """What came before connect() took effect is in the queue yet, whoever sent it."""
        for _ in range(_BURST):
            address = self._receive()
            if address is None:
                return
            if address == latched and is_rtp(self.packet) and (self._srtp is None or self._srtp.unprotect()):
                self._take()
            else:
                self.dropped["stranger"] += 1

    def _latched_to_it(self) -> None:
        try:
            self.packet.length = self._rtp.recv_into(self.packet.data, ROOM)
        except OSError:
            return
        self._sort(None)

    def _sort(self, _: Address | None) -> None:
        """`packet` came from the source that is latched."""
        if not is_rtp(self.packet):
            self._muxed()
        elif self._srtp is None or self._srtp.unprotect():
            self._take()
        else:
            self.dropped["unauthentic"] += 1

    def _take(self) -> None:
        self.take(self._loop.time())

    def _muxed(self) -> None:
        """No RTP on the latched socket: RTCP, where that was agreed (RFC 5761)."""
        if self.stream is None or not self.stream.rtcp_mux:
            self.dropped["malformed"] += 1
        elif self._srtp is None or self._srtp.unprotect_rtcp():
            self.heard_control(self._loop.time())
        else:
            self.dropped["unauthentic"] += 1

    def _control(self) -> None:
        try:
            self.packet.length, address = self._rtcp.recvfrom_into(self.packet.data, ROOM)
        except OSError:
            return
        source = self._latched or self._tried
        known = source is not None and address[0] == source[0] and self._found_rtcp in (None, address[:2])
        if known and (self._srtp is None or self._srtp.unprotect_rtcp()):
            self._found_rtcp = address[:2]
            now = self._loop.time()
            self._deadline = now + self._patience.silence
            self.heard_control(now)
        else:
            self.dropped["stranger"] += 1


def _disconnect(sock: socket.socket) -> None:
    """Dissolve the association of a datagram socket (connect(2): AF_UNSPEC), which Python's connect() cannot say."""
    _libc.connect(sock.fileno(), bytes(16), 16)
