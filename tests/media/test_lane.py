from __future__ import annotations

import random
import secrets
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.media.lane import Address, Inlet, Lane, Outlet
from gateway.media.leg import Leg
from gateway.media.rtp import HEADER, ROOM, Packet, is_rtp
from gateway.media.srtp import PROFILES, Keys, Srtp
from gateway.session.model import Stream
from tests.media.ends import EVENT_8, OPUS, PCMA, packet, stream

FAR = ("192.0.2.1", 4_000)


class Wire:
    """A socket: what comes is put in, what is sent is kept."""

    def __init__(self) -> None:
        self.coming: deque[bytes] = deque()
        self.sent: list[bytes] = []
        self.addresses: set[object] = set()
        self.jammed = False

    def recv_into(self, data: bytearray, room: int) -> int:
        if not self.coming:
            raise BlockingIOError
        raw = self.coming.popleft()
        data[: len(raw)] = raw
        return len(raw)

    def recvfrom_into(self, data: bytearray, room: int) -> tuple[int, Address]:
        return self.recv_into(data, room), FAR

    def send(self, data: memoryview) -> int:
        if self.jammed:
            raise BlockingIOError
        self.sent.append(bytes(data))
        return len(data)

    def sendto(self, data: memoryview, address: Address) -> int:
        self.addresses.add(address)
        return self.send(data)


class Told(Leg):
    """A leg on a wire; `slow` keeps to the long way, `keys` are SRTP's."""

    def __init__(
        self,
        shared: Packet,
        agreed: Stream,
        *,
        slow: bool = False,
        shares: bool = False,
        keys: Keys | None = None,
        in_place: bool = True,
    ) -> None:
        self.line = Wire()
        self.slow, self.shares, self.addressed = slow, shares, shares
        self.srtp = Srtp(keys, shared, in_place=in_place) if keys is not None else None
        self.long = 0  # packets that went the long way
        self.time = 0.0
        self.read: Callable[[], None] = self._read
        super().__init__("call", "leg", shared, lambda event: None)
        self._now = lambda: self.time
        self.out.ssrc, self.out.seq, self.out.timestamp = 7, 65_000, 2**32 - 90_000
        self.agree(agreed)

    @property
    def got(self) -> list[bytes]:
        return self.line.sent

    def inlet(self) -> Inlet | None:
        if self.slow or (self.srtp is not None and self.srtp.inward is None):
            return None
        return Inlet(self.line, not self.shares, None if self.srtp is None else self.srtp.inward, self._sort)

    def outlet(self) -> Outlet | None:
        if self.srtp is not None and self.srtp.outward is None:
            return None
        return Outlet(self.line, FAR if self.shares else None, None if self.srtp is None else self.srtp.outward)

    def read_by(self, lane: Lane | None) -> None:
        self.read = self._read if lane is None else lane.shared if self.shares else lane.connected

    def send(self) -> None:
        octets = self.packet.length
        if self.srtp is not None:
            self.srtp.protect()
        try:
            self.line.send(self.packet.view[: self.packet.length])
        except OSError:
            self.dropped["unsent"] += 1
        else:
            self.sent(octets)

    def send_control(self) -> None: ...

    def heard(self, now: float) -> None:
        self.long += 1
        super().heard(now)

    def hear(self, data: bytes, now: float) -> None:
        self.time = now
        self.line.coming.append(data)
        self.read()

    def _read(self) -> None:
        self.packet.length = self.line.recv_into(self.packet.data, ROOM)
        self._sort(None)

    def _sort(self, address: Address | None) -> None:
        assert address == (FAR if self.shares and self.read != self._read else None)
        if not is_rtp(self.packet):
            self.dropped["malformed"] += 1
        elif self.srtp is None or self.srtp.unprotect():
            self.take(self.time)
        else:
            self.dropped["unauthentic"] += 1


def pair(agreed: Stream, *, slow: bool, **more: Any) -> tuple[Told, Told]:
    """What `a` hears, `b` is sent."""
    shared = Packet()
    a, b = Told(shared, agreed, slow=slow, **more), Told(shared, agreed, **more)
    a.bridge(b)
    return a, b


Send = Callable[[bytes, float], None]


def orderly(send: Send, chance: random.Random) -> None:
    for number in range(600):
        send(packet(8, 65_300 + number, 2**32 - 20_000 + 160 * number, 9, b"x" * 160), number * 0.02)


def lossy(send: Send, chance: random.Random) -> None:
    for number in range(3_000):
        if chance.random() > 0.05:
            send(packet(8, number, 160 * number, 9, b"x" * 160), number * 0.02 + chance.random() * 0.03)


def disorderly(send: Send, chance: random.Random) -> None:
    order = sorted(range(3_000), key=lambda number: number + chance.random() * 4)
    for place, number in enumerate(order):
        source = 9 if number < 1_500 else 10
        send(packet(8, 30_000 + number, 160 * number, source, b"x" * 160), place * 0.02)
        if number % 7 == 0:
            send(packet(8, 30_000 + number, 160 * number, source, b"x" * 160), place * 0.02)


def with_events(send: Send, chance: random.Random) -> None:
    at = 0
    for number in range(2_000):
        event = number % 50 > 40
        at += 0 if event else 160
        body = b"\x05\x0a\x00\xa0" if event else b"x" * 160
        send(packet(101 if event else 8, number, at, 9, body, marker=chance.random() < 0.1), number * 0.02)


def anything(send: Send, chance: random.Random) -> None:
    for number in range(3_000):
        seq, at = chance.choice([number, number, number, chance.getrandbits(16)]), 160 * number
        data = bytearray(packet(chance.choice([8, 8, 8, 13, 101]), seq, at, chance.choice([9, 9, 9, 10]), b"x" * 40))
        data[0] = 0x80 | chance.choice([0, 0, 0, chance.getrandbits(6)])
        send(bytes(data), number * 0.02)


def run(kind: Any, slow: bool) -> tuple[Any, ...]:
    a, b = pair(stream(PCMA, EVENT_8), slow=slow)
    kind(a.hear, random.Random(5))
    return (b.got, a.statistics(), b.statistics(), a.control.compose(100.0, 1.7e9, 0, 0)), a.long


@pytest.mark.parametrize("kind", [orderly, lossy, disorderly, with_events, anything])
async def test_both_ways_come_to_the_same(kind: Any) -> None:
    (got, here, there, report), slowly = run(kind, slow=True)
    (fast_got, fast_here, fast_there, fast_report), quickly = run(kind, slow=False)
    same = fast_got == got  # a difference of thousands of packets takes pytest minutes to explain
    assert same
    assert (fast_here, fast_there) == (here, there)
    assert len(fast_report) == len(report)
    assert quickly < slowly


async def test_what_is_orderly_goes_the_short_way_but_for_one_in_256() -> None:
    _, long = run(orderly, slow=False)
    assert long <= 600 // 256 + 2


async def test_the_lane_is_closed_while_the_peer_shall_not_hear() -> None:
    a, b = pair(stream(PCMA), slow=False)
    for number in range(3):
        a.hear(packet(8, 10 + number, 160 * number, 9, b"x"), number * 0.02)
    b.speaker._set(True)
    a.hear(packet(8, 13, 480, 9, b"x"), 0.06)
    assert (len(b.got), a.dropped["spoken over"]) == (3, 1)
    b.speaker._set(False)
    a.hear(packet(8, 14, 640, 9, b"x"), 0.08)
    a.part()
    b.part()
    a.hear(packet(8, 15, 800, 9, b"x"), 0.1)
    assert (len(b.got), a.dropped["unbridged"]) == (4, 1)


async def test_what_is_over_the_limit_is_dropped_by_either_way() -> None:
    a, b = pair(stream(OPUS), slow=False)
    a.limit(8_000)
    for number in range(100):
        a.hear(packet(111, 10 + number, 960 * number, 9, b"x" * 88), number * 0.02)
    assert len(b.got) == 20
    assert a.dropped["flood"] == 80
    assert a.long == 81


def keys() -> Keys:
    profile = PROFILES[0]
    key = secrets.token_bytes(profile.key + profile.salt)
    return Keys(profile, key, key)


@pytest.mark.parametrize("in_place", [True, False])
async def test_with_srtp_what_is_authentic_goes_on_and_nothing_else(in_place: bool) -> None:
    agreed, near, far = keys(), Packet(), Packet()
    a, b = pair(stream(PCMA), slow=False, keys=agreed, in_place=in_place, shares=True)
    there = Srtp(agreed, near)
    sent: list[bytes] = []
    for number in range(50):
        near.fill(packet(8, 10 + number, 160 * number, 9, b"sound %d" % number))
        there.protect()
        sent.append(bytes(near))
    for number, raw in enumerate(sent):
        a.hear(raw[:-1] + bytes([raw[-1] ^ 1]), number * 0.02)
        a.hear(raw[:20], number * 0.02)
        a.hear(raw, number * 0.02)
        a.hear(raw, number * 0.02)
    assert len(b.got) == 50
    back = Srtp(agreed, far)
    for number, raw in enumerate(b.got):
        far.fill(raw)
        assert back.unprotect()
        assert bytes(far)[12:] == b"sound %d" % number
    assert (a.received_packets, a.dropped["unauthentic"]) == (50, 150)
    assert a.statistics().received_octets == b.statistics().sent_octets == sum(len(raw) - 16 for raw in sent)
    assert (b.line.addresses == {FAR}) is in_place


async def test_what_could_not_be_sent_is_no_longer_counted_as_sent() -> None:
    a, b = pair(stream(PCMA), slow=False)
    for number in range(10):
        b.line.jammed = number >= 6
        a.hear(packet(8, 10 + number, 160 * number, 9, b"x" * 160), number * 0.02)
    assert a.long == 1
    there = b.statistics()
    assert (a.statistics().received_packets, there.sent_packets, there.sent_octets) == (10, 6, 6 * 172)
    assert dict(there.dropped) == {"unsent": 4}


@pytest.mark.parametrize("shares", [True, False])
async def test_what_is_no_rtp_of_version_2_goes_to_the_leg(shares: bool) -> None:
    a, b = pair(stream(PCMA), slow=False, shares=shares)
    a.hear(packet(8, 10, 160, 9, b"x"), 0.0)
    a.hear(b"\x00" + packet(8, 11, 320, 9, b"x")[1:], 0.02)
    a.hear(packet(8, 11, 320, 9, b"x")[:11], 0.02)
    a.read()
    assert (len(b.got), a.dropped["malformed"]) == (1, 2)


async def test_who_speaks_in_between_gets_numbers_that_nobody_had() -> None:
    a, b = pair(stream(PCMA), slow=False)
    for number in range(9):
        a.hear(packet(8, 10 + number, 160 * number, 9, b"x"), number * 0.02)
        if number == 5:
            b.out.begin(b, number * 0.02)
            b.write(8, b.out.timestamp + 160, b"own", marker=False)
    assert [HEADER.unpack_from(raw)[2] for raw in b.got] == [(65_001 + number) & 0xFFFF for number in range(10)]
    assert a.statistics().received_packets == 9
    assert b.statistics().sent_packets == 10


async def test_a_lane_that_was_replaced_counts_nothing_twice() -> None:
    a, b = pair(stream(PCMA), slow=False)
    a.hear(packet(8, 10, 160, 9, b"x"), 0.0)
    old = a.read
    a.hear(packet(8, 11, 320, 9, b"x"), 0.02)
    a.open_lanes()
    assert a.statistics().received_packets == b.statistics().sent_packets == 2
    a.line.coming.append(packet(8, 12, 480, 9, b"x"))
    old()
    a.hear(packet(8, 13, 640, 9, b"x"), 0.06)
    assert a.statistics().received_packets == b.statistics().sent_packets == 4


async def test_a_recorded_voice_is_copied_as_it_came() -> None:
    a, b = pair(stream(PCMA, EVENT_8), slow=False)
    tape: list[bytes] = []

    def tap(channel: Any, codecs: Any, shared: Any, take: Any) -> Callable[[float], None]:
        def taken(now: float) -> None:
            tape.append(bytes(shared))
            take(now)

        return taken

    recording: Any = SimpleNamespace(tap=tap)
    a.record(recording, 0)
    said = [packet(8, 10 + number, 160 * number, 9, b"sound %d" % number) for number in range(20)]
    for number, raw in enumerate(said):
        a.hear(raw, number * 0.02)
    assert tape == said
    assert (len(b.got), a.long) == (20, 1)
