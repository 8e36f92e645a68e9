from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from gateway.media.lane import lane
from gateway.media.leg import Leg
from gateway.media.rtp import Packet
from gateway.session.model import Stream
from tests.media.ends import EVENT_8, OPUS, PCMA, packet, stream


class Told(Leg):
    """A leg that keeps what it sends; `slow` keeps to the long way."""

    def __init__(self, shared: Packet, agreed: Stream, *, slow: bool = False) -> None:
        super().__init__("call", "leg", shared, lambda event: None)
        self.out.ssrc, self.out.seq, self.out.timestamp = 7, 65_000, 2**32 - 90_000
        self.got: list[bytes] = []
        self.slow = slow
        self.long = 0  # packets that went the long way
        self.agree(agreed)

    def send(self) -> None:
        self.got.append(bytes(self.packet))
        self.sent(self.packet.length)

    def heard(self, now: float) -> None:
        self.long += 1
        super().heard(now)

    def hear(self, data: bytes, now: float) -> None:
        self.packet.fill(data)
        (self.heard if self.slow else self.take)(now)


def pair(agreed: Stream, *, slow: bool) -> tuple[Told, Told]:
    shared = Packet()
    a, b = Told(shared, agreed, slow=slow), Told(shared, agreed)
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
    assert a.take.__qualname__.startswith(lane.__qualname__)
