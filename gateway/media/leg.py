"""What both kinds of leg share: counters, the path to the other leg, digits, prompts, and the end that each comes to.

A transport (rtpleg, webrtcleg) takes packets off its sockets and calls `heard` with those that are authentic; it sends
what `send` finds in the worker's packet. In between:

    heard ── digits ──> Digit event
       └──── path ────> the peer's send, unless someone else speaks there (a prompt, digits) or it is on hold
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from gateway.call.causes import Cause
from gateway.errors import MediaError
from gateway.media.bridge import Path
from gateway.media.engine import Connected, Digit, LegStatistics, Lost, MediaEvent
from gateway.media.rtp import HEADER, DigitReader, Outgoing, Packet, Pressed, payload, steps
from gateway.media.transcode import Framed, can
from gateway.session.model import Direction, Stream

SENDS = (Direction.SENDRECV, Direction.SENDONLY)
HEARS = (Direction.SENDRECV, Direction.RECVONLY)
MAX_SPEECHES = 32  # prompts and runs of digits that wait for their turn

Tell = Callable[[MediaEvent], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait before a leg counts as lost."""

    connect: float = 20.0  # ICE and DTLS together
    first: float = 60.0  # the first packet on an RTP leg
    silence: float = 60.0  # between packets on an RTP leg


class Leg:
    """One leg of one call. `packet` is the worker's; `tell` takes events."""

    def __init__(self, call: str, name: str, packet: Packet, tell: Tell) -> None:
        self.call, self.name = call, name
        self.log = structlog.get_logger().bind(call=call, leg=name)
        self.packet = packet
        self.stream: Stream | None = None
        self.peer: Leg | None = None
        self.path: Path | None = None  # from here to the peer
        randomness = random.SystemRandom()  # RFC 3550 §5.1: unpredictable, against known plaintext
        self.out = Outgoing(
            randomness.getrandbits(32), randomness.getrandbits(15), randomness.getrandbits(32)
        )  # the sequence starts in the lower half: RFC 3711 §3.3.1 for receivers that miss the start
        self.connected = asyncio.Event()  # media can flow both ways
        self.ready = asyncio.Event()  # there is somewhere to send to
        self.over = False
        self.dropped: Counter[str] = Counter()
        self.received_packets = self.received_octets = self.sent_packets = self.sent_octets = 0
        self._tell = tell
        self._digits = DigitReader()
        self._events: dict[int, int] = {}  # payload type: clock
        self._speeches: list[Coroutine[Any, Any, None]] = []
        self._speaker: asyncio.Task[None] | None = None
        self.sends = self.hears = False

    # to be done by the transport

    def send(self) -> None:
        """Send the RTP packet that is in `packet`; it may be changed."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop everything of this leg."""
        self.over = True
        self.sends = self.hears = False
        if self._speaker is not None:
            self._speaker.cancel()
            await asyncio.gather(self._speaker, return_exceptions=True)
        for speech in self._speeches:
            speech.close()
        self._speeches.clear()

    def tick(self, now: float) -> None:
        """Once in a while: what is noticed by nothing happening."""
        self._press(self._digits.idle(now))

    # streams and the peer

    def agree(self, stream: Stream) -> None:
        """What offer and answer came to; the paths to and from the peer follow."""
        self.stream = stream
        self.out.clock = stream.send.clock_rate
        self._events = {codec.pt: codec.clock_rate for codec in stream.receive_dtmf}
        self.sends, self.hears = stream.direction in SENDS, stream.direction in HEARS
        self.wire()

    def bridge(self, peer: Leg) -> None:
        """From now on these two hear each other, and nobody else; a leg may hear itself."""
        for one in (self, peer):
            if one.peer is not None and one.peer not in (self, peer):
                one.peer.part()
        self.peer, peer.peer = peer, self
        self.wire()

    def wire(self) -> None:
        """Lay the paths between this leg and its peer anew, as far as both streams are known."""
        if self.peer is None or self.stream is None or self.peer.stream is None:
            return
        self.path = Path(self.stream, self.peer.stream, self.peer.out, self.peer.send)
        self.peer.path = Path(self.peer.stream, self.stream, self.out, self.send)

    def part(self) -> None:
        self.peer = self.path = None

    # packets and events

    def heard(self, now: float) -> None:
        """`packet` holds an authentic RTP packet from this leg's end."""
        packet = self.packet
        self.received_packets += 1
        self.received_octets += packet.length
        if not self.hears:
            self.dropped["held"] += 1
            return
        clock = self._events.get(packet.data[1] & 0x7F)
        if clock is not None:
            self._read_digit(clock, now)
        peer, path = self.peer, self.path
        if peer is None or path is None:
            self.dropped["unbridged"] += 1
        elif not peer.sends:
            self.dropped["held"] += 1
        elif peer._speaker is None:
            reason = path.forward(packet, now)
            if reason is not None:
                self.dropped[reason] += 1

    def sent(self, octets: int) -> None:
        self.sent_packets += 1
        self.sent_octets += octets

    def tell_connected(self) -> None:
        if not self.connected.is_set() and not self.over:
            self.connected.set()
            self.ready.set()
            self._tell(Connected(self.call, self.name))

    def lose(self, cause: Cause, text: str) -> None:
        """This leg's media is over; said once."""
        if not self.over:
            self.over = True
            self.log.info("media lost", cause=cause.label, reason=text)
            self._tell(Lost(self.call, self.name, cause, text))

    def statistics(self) -> LegStatistics:
        return LegStatistics(
            self.received_packets,
            self.received_octets,
            self.sent_packets,
            self.sent_octets,
            tuple(sorted(self.dropped.items())),
            self.stream.send.name if self.stream else "",
            self.connected.is_set() and not self.over,
        )

    def _read_digit(self, clock: int, now: float) -> None:
        span = payload(self.packet)
        if span is not None:
            timestamp = HEADER.unpack_from(self.packet.data)[3]
            self._press(self._digits.read(timestamp, bytes(self.packet.view[span[0] : span[1]]), clock, now))

    def _press(self, pressed: tuple[Pressed, ...]) -> None:
        for digit in pressed:
            self._tell(Digit(self.call, self.name, digit.digit, digit.duration))

    # prompts and digits, one after the other

    def play(self, pcm: bytes) -> None:
        """Say this (8 kHz, 16 bit, mono), as soon as the leg is connected. Raises MediaError."""
        self._speak(self._say(pcm))

    def stop_playing(self) -> None:
        """End the prompts; digits that wait are still sent."""
        # the speaker takes what is left
        self._playing = False

    def dial(self, digits: str, duration: int) -> None:
        """Send digits as telephone events. Raises MediaError where the far end takes none."""
        if self.stream is not None and self.stream.send_dtmf is None:
            raise MediaError("the far end takes no telephone events")
        self._speak(self._dial(digits, duration))

    def _speak(self, speech: Coroutine[Any, Any, None]) -> None:
        if self.over or len(self._speeches) >= MAX_SPEECHES:
            speech.close()
            raise MediaError("the leg is over" if self.over else "too much to say at once")
        self._speeches.append(speech)
        if self._speaker is None:
            self._speaker = asyncio.create_task(self._speak_all())

    async def _speak_all(self) -> None:
        try:
            await self.ready.wait()
            while self._speeches:
                await self._speeches.pop(0)
        finally:
            self._speaker = None

    async def _say(self, pcm: bytes) -> None:
        stream = self.stream
        if stream is None or not can(stream.send):
            self.log.info("no prompt in this codec", codec=stream.send.name if stream else None)
            return
        framed = Framed(stream.send, stream.ptime)
        tail = framed.samples * 2 - len(pcm) % (framed.samples * 2)
        step = framed.samples * stream.send.clock_rate // 8_000
        loop = asyncio.get_running_loop()
        start = loop.time()
        _, timestamp = self.out.begin(framed, start)
        for index, at in enumerate(range(0, len(pcm), framed.samples * 2)):
            await _until(start + index * framed.frame_ms / 1000)
            piece = pcm[at : at + framed.samples * 2]
            for frame in framed.feed(piece if len(piece) == framed.samples * 2 else piece + bytes(tail)):
                self._write(stream.send.pt, timestamp + index * step, frame, marker=index == 0)

    async def _dial(self, digits: str, duration: int) -> None:
        codec = self.stream.send_dtmf if self.stream else None
        if codec is None:
            self.log.info("digits not sent: the far end takes no telephone events")
            return
        loop = asyncio.get_running_loop()
        start = loop.time()
        _, timestamp = self.out.begin(digits, start)
        clock = self.out.clock
        for step in steps(digits, duration, codec.clock_rate):
            await _until(start + step.at)
            # Events are on the voice's timeline (RFC 4733 §2.1), their duration is in their own clock.
            self._write(codec.pt, timestamp + step.timestamp * clock // codec.clock_rate, step.body, marker=step.marker)

    def _write(self, pt: int, timestamp: int, body: bytes, *, marker: bool) -> None:
        if self.sends and not self.over:
            seq = (self.out.seq + 1) & 0xFFFF
            self.packet.write(pt, seq, timestamp & 0xFFFFFFFF, self.out.ssrc, body, marker=marker)
            self.out.used(seq, timestamp & 0xFFFFFFFF, asyncio.get_running_loop().time())
            self.send()


async def _until(when: float) -> None:
    await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))
