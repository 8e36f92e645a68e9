"""The fast lane: an orderly packet of a voice that both ends speak, from one socket to the other in one function.

    socket ── the next one of its source? ── authentic? ── header rewritten ── protected ──> socket
                      └── no ──> the long way (leg.py), which alone knows what to do about it

Most packets are the next one of the same source with the same payload type. For those the long way comes to adding one
here and there and rewriting the header by the same offsets (rtp.Relay); a lane does just that, with all that it needs
side by side in one object: at hundreds of calls a packet costs what it touches, not what it computes.

What a lane has counted is its own until it settles. So everyone who looks at the counters of a leg settles first, and
whoever else takes the outgoing stream over shuts the lane (Outgoing.begin). It opens again behind the next packet that
went the long way and left everything in order. One packet in 256 goes that way in any case, which keeps both in step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.media.reception import Reception
from gateway.media.rtp import MINIMUM, ROOM, WORDS, Packet, Relay
from gateway.media.srtp import PROTECT, UNPROTECT, Native, buffer

Address = tuple[str, int]
_SHUT = -1  # no packet has this number

_unpack, _pack = WORDS.unpack_from, WORDS.pack_into


class Counters(Protocol):
    """What is needed of the leg that packets come from, and of the one that they go to."""

    allowance: float
    dropped: Counter[str]
    packet: Packet
    received_octets: int
    received_packets: int
    sent_octets: int
    sent_packets: int


class Socket(Protocol):
    """What is needed of a datagram socket that does not block."""

    def recv_into(self, buffer: bytearray, nbytes: int, /) -> int: ...

    def recvfrom_into(self, buffer: bytearray, nbytes: int, /) -> tuple[int, Any]: ...

    def send(self, data: memoryview, /) -> int: ...

    def sendto(self, data: memoryview, address: Address, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Inlet:
    """Where a leg's packets come in. `otherwise` takes a packet as it came, with its source if the socket has many."""

    sock: Socket
    connected: bool
    srtp: Native | None
    otherwise: Callable[[Address | None], None]


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where a leg's packets go out; no address where the socket is connected."""

    sock: Socket
    address: Address | None
    srtp: Native | None


class Lane:
    """From `leg`, whose voice has the payload type `pt`, to `sink`, which is sent it as `to`; `now` is the clock."""

    __slots__ = (
        "_address",
        "_at",
        "_buffer",
        "_clock",
        "_data",
        "_expected",
        "_first",
        "_granted",
        "_inlet",
        "_leg",
        "_length",
        "_next",
        "_now",
        "_out_ssrc",
        "_packet",
        "_protect",
        "_receive",
        "_reception",
        "_relay",
        "_retired",
        "_room",
        "_send",
        "_seq_offset",
        "_since",
        "_sink",
        "_spread",
        "_ssrc",
        "_tap",
        "_timestamp",
        "_timestamp_offset",
        "_to",
        "_unprotect",
        "_view",
    )

    def __init__(
        self,
        leg: Counters,
        sink: Counters,
        reception: Reception,
        relay: Relay,
        pt: int,
        to: int,
        inlet: Inlet,
        outlet: Outlet,
        now: Callable[[], float],
        tap: Callable[[float], None] | None = None,
    ) -> None:
        """`tap` is called for each packet while it is as it came, in `leg.packet`."""
        self._leg, self._sink, self._reception, self._relay, self._inlet = leg, sink, reception, relay, inlet
        self._packet, self._data, self._view = leg.packet, leg.packet.data, leg.packet.view
        self._buffer, self._length = buffer(leg.packet)
        self._receive: Callable[..., Any] = inlet.sock.recv_into if inlet.connected else inlet.sock.recvfrom_into
        self._unprotect = inlet.srtp and inlet.srtp.context
        self._protect = outlet.srtp and outlet.srtp.context
        self._address = outlet.address
        self._send: Callable[..., Any] = outlet.sock.send if outlet.address is None else outlet.sock.sendto
        self._first, self._to = 0x8000 | pt, to
        self._now, self._tap, self._retired = now, tap, False
        self._next = self._since = _SHUT  # the number that is awaited; that was, when the lane settled last
        self._ssrc = self._timestamp = self._granted = self._room = 0
        self._at = self._spread = 0.0
        self._seq_offset = self._timestamp_offset = 0
        self._clock, self._out_ssrc = reception.clock, relay.out.ssrc
        self.resume()

    # readers, for a socket that is connected and for one that has many sources

    def connected(self) -> None:
        receive = self._receive  # CPython finds what is in a slot sooner than what it takes for a method
        try:
            size = receive(self._data, ROOM)
        except OSError:
            return
        if not self._passes(size):
            self._detour(size, None)

    def shared(self) -> None:
        receive = self._receive
        try:
            size, address = receive(self._data, ROOM)
        except OSError:
            return
        if not self._passes(size):
            self._detour(size, address)

    def _passes(self, size: int) -> bool:
        """Send the packet on; False if it is not the next one of the voice, or not authentic."""
        data, clock, send = self._data, self._now, self._send
        word, seq, timestamp, ssrc = _unpack(data)
        step = timestamp - self._timestamp
        if not (
            seq == self._next
            and word & 0xC07F == self._first  # version 2, the payload type
            and ssrc == self._ssrc
            and 0 < step < 0x80000000
            and seq & 0xFF
            and MINIMUM <= size <= self._room
        ):
            return False
        if self._unprotect is not None:
            length = self._length
            length[0] = size
            if UNPROTECT(self._unprotect, self._buffer, length):
                return False  # and is so the long way too
            size = length[0]
        now, tap = clock(), self._tap
        if tap is not None:
            self._packet.length = size
            tap(now)
        late = (now - self._at) * self._clock - step
        self._spread += ((late if late >= 0 else -late) - self._spread) / 16  # RFC 3550 §6.4.1
        self._next, self._timestamp, self._at = seq + 1, timestamp, now
        self._room -= size
        _pack(
            data,
            0,
            word & 0xFF80 | self._to,
            (seq + self._seq_offset) & 0xFFFF,
            (timestamp + self._timestamp_offset) & 0xFFFFFFFF,
            self._out_ssrc,
        )
        sent = size
        if self._protect is not None:
            length = self._length
            length[0] = size
            if PROTECT(self._protect, self._buffer, length):
                self._lose("repeated", size)
                return True
            sent = length[0]
        try:
            if self._address is None:
                send(self._view[:sent])
            else:
                send(self._view[:sent], self._address)
        except OSError:
            self._lose("unsent", size)  # a full queue, or an ICMP error of an earlier packet
        return True

    def _lose(self, reason: str, octets: int) -> None:
        """A packet that was counted as sent, or will be when the lane settles, was not."""
        sink = self._sink
        sink.dropped[reason] += 1
        sink.sent_packets -= 1
        sink.sent_octets -= octets

    def _detour(self, size: int, address: Address | None) -> None:
        self.settle()
        self._packet.length = size
        self._inlet.otherwise(address)
        self.resume()

    # what the lane knows, and what everybody knows

    def settle(self) -> None:
        """Bring home what was counted; the lane stays open."""
        leg, sink, relay, reception = self._leg, self._sink, self._relay, self._reception
        packets, octets = self._next - self._since, self._granted - self._room
        if packets:
            highest, self._since = self._next - 1, self._next
            leg.received_packets += packets
            leg.received_octets += octets
            sink.sent_packets += packets
            sink.sent_octets += octets
            reception.received += packets
            reception.highest_seq = highest
            reception.timestamp, reception.at, reception.spread = self._timestamp, self._at, self._spread
            relay.follow(highest, self._timestamp, self._at)
        self.grant()

    def grant(self) -> None:
        """What may come until the lane settles again."""
        self._granted = self._room = int(self._leg.allowance) - self._leg.received_octets

    def shut(self) -> None:
        """Settle; from now on everything goes the long way, until resume()."""
        self.settle()
        self._next = self._since = _SHUT

    def retire(self) -> None:
        """Shut for good: there are other sockets or keys, another path or none."""
        self.shut()
        self._retired = True

    def resume(self) -> None:
        """Go on behind the last packet, if it was this source's and went to where the lane leads."""
        reception, relay = self._reception, self._relay
        out = relay.out
        if self._retired or out.source is not relay or reception.ssrc != relay.ssrc:
            return
        if reception.highest_seq != relay.highest:
            return
        self._next = self._since = relay.highest + 1
        self._ssrc, self._timestamp = relay.ssrc, reception.timestamp
        self._at, self._spread = reception.at, reception.spread
        self._seq_offset, self._timestamp_offset = relay.seq, relay.timestamp
        self.grant()
        out.ahead = self.shut
