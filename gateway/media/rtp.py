"""RTP (RFC 3550) and telephone events (RFC 4733), in place and without a clock.

What leaves towards one end is one stream for the life of its leg: one SSRC, a sequence without holes of our making and
a timestamp that moves with time, whoever speaks: the other leg, a prompt, our own digits, after a re-INVITE another
source.

    in   ssrc A  seq 900 901 902 | ssrc B  seq 5 6 7 8        A source that is new to the stream is anchored at the
    out  ssrc X  seq  17  18  19 |            20 21 22 23     next number and keeps its offset from then on; what it
                                                              sends from before its anchor would take a number that
                                                              is used already (with SRTP: a nonce), and is dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

HEADER = struct.Struct("!BBHII")
WORDS = struct.Struct("!HHII")  # the same, its first two octets as one
EVENT = struct.Struct("!BBH")
MINIMUM = 12
ROOM = 1_500  # the longest packet taken in
TRAILER = 144 + 16  # what SRTP may add behind it
MAX_DROPOUT = 3_000  # RFC 3550 A.1: a larger jump of the sequence is a source that began anew
DIGITS = "0123456789*#ABCD"  # RFC 4733 §3.2, by event code


class Packet:
    """The packet that is being handled: one buffer, used again for each."""

    __slots__ = ("data", "length", "native", "view")

    def __init__(self) -> None:
        self.data = bytearray(ROOM + TRAILER)
        self.view = memoryview(self.data)
        self.length = 0
        self.native: object = None  # the buffer as srtp.py hands it to libsrtp

    def fill(self, raw: bytes) -> None:
        self.length = len(raw)
        self.data[: self.length] = raw

    def write(self, pt: int, seq: int, timestamp: int, ssrc: int, payload: bytes, *, marker: bool = False) -> None:
        """Compose a packet without extensions."""
        HEADER.pack_into(self.data, 0, 0x80, pt | (0x80 if marker else 0), seq, timestamp, ssrc)
        self.length = MINIMUM + len(payload)
        self.data[MINIMUM : self.length] = payload

    def __bytes__(self) -> bytes:
        return bytes(self.view[: self.length])


def is_rtp(packet: Packet) -> bool:
    """Version 2, long enough, and not RTCP by its second byte (RFC 5761 §4)."""
    return packet.length >= MINIMUM and packet.data[0] >> 6 == 2 and not 192 <= packet.data[1] <= 223


def payload(packet: Packet) -> tuple[int, int] | None:
    """Where the payload begins and ends, behind CSRCs and extension and before padding; None when it cannot be."""
    data, end = packet.data, packet.length
    first = data[0]
    start = MINIMUM + 4 * (first & 0x0F)
    if first & 0x10:
        if start + 4 > end:
            return None
        start += 4 + 4 * ((data[start + 2] << 8) | data[start + 3])
    if first & 0x20:
        if start >= end or not 0 < data[end - 1] <= end - start:
            return None
        end -= data[end - 1]
    return (start, end) if start <= end else None


class Outgoing:
    """The one stream towards a leg. Whoever writes to it calls itself `source`; who keeps account of its own of what it
    writes leaves word in `ahead`, and is told before another takes over.
    """

    __slots__ = ("ahead", "at", "clock", "seq", "source", "span", "ssrc", "timestamp")

    def __init__(self, ssrc: int, seq: int, timestamp: int, clock: int = 8_000) -> None:
        self.ssrc = ssrc
        self.seq = seq  # the highest that was used
        self.timestamp = timestamp  # of the packet with that number
        self.at: float | None = None  # when that was
        self.clock = clock
        self.span = 1  # what a packet lasts, in that clock
        self.source: object | None = None
        self.ahead: Callable[[], None] | None = None

    def pace(self, clock: int, ptime: int) -> None:
        """The clock of the codec that is spoken from now on, and the ms that a packet lasts."""
        self.clock, self.span = clock, clock * ptime // 1000

    def begin(self, source: object, now: float) -> tuple[int, int]:
        """The number and timestamp of a new source's first packet; time that passed in between is kept."""
        if self.ahead is not None:
            ahead, self.ahead = self.ahead, None
            ahead()
        self.source = source
        elapsed = 0 if self.at is None else max(self.span, round((now - self.at) * self.clock))
        return (self.seq + 1) & 0xFFFF, (self.timestamp + elapsed) & 0xFFFFFFFF

    def used(self, seq: int, timestamp: int, now: float) -> None:
        self.seq, self.timestamp, self.at = seq, timestamp, now


class Relay:
    """Rewrites packets of one incoming stream in place into the outgoing one, by stable offsets."""

    __slots__ = ("_floor", "_mark", "highest", "out", "seq", "ssrc", "timestamp")

    def __init__(self, out: Outgoing, *, voice: bool = True) -> None:
        self.out = out
        self._mark = 0x80 if voice else 0  # of video the marker ends a picture
        self.ssrc = self.highest = self._floor = 0
        self.seq = self.timestamp = 0  # the offsets

    def rewrite(self, packet: Packet, pt: int, now: float) -> bool:
        """Put PT, sequence, timestamp and SSRC of the outgoing stream in; False: too late, to be dropped."""
        first, second, seq, timestamp, ssrc = HEADER.unpack_from(packet.data)
        out = self.out
        ahead = (seq - self.highest) & 0xFFFF
        if out.source is not self or ssrc != self.ssrc or MAX_DROPOUT < ahead < 0x10000 - MAX_DROPOUT:
            start_seq, start_timestamp = out.begin(self, now)
            self.ssrc, self.highest, self._floor = ssrc, seq, seq
            self.seq = start_seq - seq
            self.timestamp = start_timestamp - timestamp
            ahead = 1
            second |= self._mark  # a new talkspurt, for the receiver's playout (RFC 3551 §4.1)
        elif ahead < 0x8000:
            self._advance(seq)
        elif (seq - self._floor) & 0xFFFF >= 0x8000:
            return False
        new_seq, new_timestamp = (seq + self.seq) & 0xFFFF, (timestamp + self.timestamp) & 0xFFFFFFFF
        HEADER.pack_into(packet.data, 0, first, (second & 0x80) | pt, new_seq, new_timestamp, out.ssrc)
        if 0 < ahead < 0x8000:
            out.seq, out.timestamp, out.at = new_seq, new_timestamp, now
        return True

    def follow(self, seq: int, timestamp: int, now: float) -> None:
        """Packets of the source, up to this one, were rewritten elsewhere by the same offsets."""
        self._advance(seq)
        self.out.used((seq + self.seq) & 0xFFFF, (timestamp + self.timestamp) & 0xFFFFFFFF, now)

    def skip(self, packet: Packet) -> None:
        """This packet is not passed on: close the hole it would leave in the sequence."""
        _, _, seq, _, ssrc = HEADER.unpack_from(packet.data)
        if self.out.source is self and ssrc == self.ssrc and 0 < (seq - self.highest) & 0xFFFF < MAX_DROPOUT:
            self.seq -= 1
            self._advance(seq)
            self._floor = (seq + 1) & 0xFFFF

    def _advance(self, seq: int) -> None:
        self.highest = seq
        if (seq - self._floor) & 0xFFFF > MAX_DROPOUT:
            self._floor = (seq - MAX_DROPOUT) & 0xFFFF


class Arrivals:
    """The order of one incoming stream, for those who have to decode it."""

    __slots__ = ("_ssrc", "highest")

    def __init__(self) -> None:
        self._ssrc: int | None = None
        self.highest = 0

    def lost(self, seq: int, ssrc: int) -> int | None:
        """How many packets are missing before this one; -1: late or double; None: the first of a new source."""
        ahead = (seq - self.highest) & 0xFFFF
        if ssrc != self._ssrc or MAX_DROPOUT < ahead < 0x10000 - MAX_DROPOUT:
            self._ssrc, self.highest = ssrc, seq
            return None
        if ahead == 0 or ahead >= 0x8000:
            return -1
        self.highest = seq
        return ahead - 1


def convert_duration(packet: Packet, start: int, from_clock: int, to_clock: int) -> None:
    """Rewrite an event's duration field from one clock to another; longer than it holds saturates (RFC 4733 §2.3.5)."""
    if from_clock != to_clock:
        event, flags, duration = EVENT.unpack_from(packet.data, start)
        EVENT.pack_into(packet.data, start, event, flags, min(duration * to_clock // from_clock, 0xFFFF))


@dataclass(frozen=True, slots=True)
class Pressed:
    """A digit that was heard whole; duration in ms."""

    digit: str
    duration: int


class DigitReader:
    """Digits out of telephone-event packets, each once, though an event is sent in many packets and ends in three.

    An event is known by its timestamp. One whose end was lost is over when the next begins, or after `PATIENCE` without
    a packet. A long event goes on in segments that begin where the last one stopped (RFC 4733 §2.5.1.3).
    """

    PATIENCE = 0.4  # s

    __slots__ = ("_before", "_clock", "_duration", "_event", "_over", "_seen", "_timestamp")

    def __init__(self) -> None:
        self._timestamp: int | None = None
        self._event = 0
        self._duration = 0
        self._before = 0  # of earlier segments
        self._clock = 8_000
        self._over = True
        self._seen = 0.0

    def read(self, timestamp: int, body: bytes, clock: int, now: float) -> tuple[Pressed, ...]:
        """Digits that this packet ends. `body` is the payload; what is too short or no digit is none."""
        if len(body) < EVENT.size:
            return ()
        event, flags, duration = EVENT.unpack_from(body)
        if event >= len(DIGITS):
            return ()
        pressed: tuple[Pressed, ...] = ()
        self._seen = now
        if timestamp != self._timestamp:
            if self._timestamp is not None and (timestamp - self._timestamp) & 0xFFFFFFFF >= 0x80000000:
                return ()  # a packet of an earlier event, overtaken
            if not self._over and event == self._event and self._continues(timestamp):
                self._before += self._duration
            else:
                pressed = self.flush()
                self._before = 0
            self._timestamp, self._event, self._duration, self._clock, self._over = timestamp, event, 0, clock, False
        self._duration = max(self._duration, duration)
        if flags & 0x80 and not self._over:
            pressed += self.flush()
        return pressed

    def idle(self, now: float) -> tuple[Pressed, ...]:
        """The digit whose end never came, once that is certain."""
        return self.flush() if now - self._seen >= self.PATIENCE else ()

    def flush(self) -> tuple[Pressed, ...]:
        if self._over:
            return ()
        self._over = True
        return (Pressed(DIGITS[self._event], (self._before + self._duration) * 1000 // self._clock),)

    def _continues(self, timestamp: int) -> bool:
        step = (timestamp - (self._timestamp or 0)) & 0xFFFFFFFF
        return self._duration > 0 and abs(step - self._duration) <= self._clock // 50


@dataclass(frozen=True, slots=True)
class Step:
    """One packet of a generated digit."""

    at: float  # seconds from the start
    timestamp: int  # of its event, from the start
    body: bytes
    marker: bool


def steps(digits: str, duration: int, clock: int, *, interval: int = 20, pause: int = 80) -> Iterator[Step]:
    """The packets that say these digits, `duration` ms each, `pause` ms apart, every `interval` ms one.

    The end of each comes three times (RFC 4733 §2.5.1.4).
    """
    begin = 0
    for digit in digits.upper():
        code = DIGITS.index(digit)
        base = begin * clock // 1000
        for sent in range(interval, duration, interval):
            body = EVENT.pack(code, 10, min(sent * clock // 1000, 0xFFFF))
            yield Step((begin + sent - interval) / 1000, base, body, sent == interval)
        end = EVENT.pack(code, 0x80 | 10, min(duration * clock // 1000, 0xFFFF))
        for again in range(3):
            yield Step(
                (begin + duration + again * interval - interval) / 1000, base, end, duration <= interval and not again
            )
        begin += duration + pause
