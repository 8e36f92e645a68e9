"""What both kinds of leg share: counters, the path to the other leg, digits, prompts, and the end that each comes to.

A transport (rtpleg, webrtcleg) takes packets off its sockets and calls `take` with those that are authentic; it sends
what `send` finds in the worker's packet. In between:

    heard ── digits ──> Digit event
       └──── path ────> the peer's send, unless someone else speaks there (speech.py) or it is on hold
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from gateway.call.causes import Cause
from gateway.errors import MediaError
from gateway.media.bridge import Path
from gateway.media.control import INTERVAL, Control
from gateway.media.ears import Ears
from gateway.media.engine import Connected, Digit, LegStatistics, Lost, MediaEvent
from gateway.media.lane import Inlet, Lane, Outlet
from gateway.media.pace import Pacer
from gateway.media.prompts import NOISE, Encoded, Sound, encoded
from gateway.media.recorder import Recording
from gateway.media.rtp import HEADER, MINIMUM, DigitReader, Outgoing, Packet, Pressed, payload
from gateway.media.speech import Digits, Speaker
from gateway.media.transcode import can, carries_tones
from gateway.session.model import Direction, Dtmf, Source, Stream

SENDS = (Direction.SENDRECV, Direction.SENDONLY)
HEARS = (Direction.SENDRECV, Direction.RECVONLY)
BANDWIDTH = 1_000_000  # bit/s
BURST = 2.0  # s of it that may come at once
SHORTEST, LONGEST = 70, 500  # ms, of a digit that goes on as a tone
GAP = 0.06  # s without a packet, after which comfort noise is sent

Tell = Callable[[MediaEvent], None]


def _nothing(now: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait before a leg counts as lost."""

    connect: float = 20.0  # ICE and DTLS together
    first: float = 60.0  # the first packet on an RTP leg
    silence: float = 60.0  # between packets on an RTP leg


class Leg(abc.ABC):
    """One leg of one call. `packet` and `pacer` are the worker's; `tell` takes events."""

    def __init__(self, call: str, name: str, packet: Packet, tell: Tell, pacer: Pacer | None = None) -> None:
        self.call, self.name = call, name
        self.log = structlog.get_logger().bind(call=call, leg=name)
        self.packet = packet
        self.stream: Stream | None = None
        self.peer: Leg | None = None
        self.path: Path | None = None  # from here to the peer
        self._way: tuple[object, ...] = ()  # what it was laid for
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
        self._ears: Ears | None = None  # where its end's digits come as sound
        self._recording: tuple[Recording, int] | None = None  # what its end says, in this channel
        self.control = Control(self.out, secrets.token_urlsafe(12))  # RFC 7022 §4.2: a CNAME that tells nothing
        self._report_at: float | None = None
        self.allowance = self._burst = 0.0  # octets that may have come until now; that may come at once
        self.limit(BANDWIDTH)
        self._ticked = asyncio.get_running_loop().time()
        self.speaker = Speaker(self)
        self._pacer = pacer
        self._noise: Encoded
        self._noise_from = 0.0  # when it began
        self._noise_at = self._noise_start = 0  # the next frame; the timestamp of the first
        self._now: Callable[[], float] = time.monotonic  # which is the loop's time too
        self.sends = self.hears = False
        self.take: Callable[[float], None] = self.heard  # what transports call
        self._lane: Lane | None = None  # from here to the peer

    @property
    def source(self) -> Source:
        """What this leg's end gets, for its signalling."""
        return Source(self.out.ssrc, (("cname", self.control.cname),))

    def limit(self, bandwidth: int) -> None:
        """What this leg's end may send, in bit/s; more is dropped, but for bursts of some seconds."""
        self._burst = self.allowance = bandwidth / 8 * BURST

    # to be done by the transport

    @abc.abstractmethod
    def send(self) -> None:
        """Send the RTP packet that is in `packet`; it may be changed."""

    @abc.abstractmethod
    def send_control(self) -> None:
        """Send the RTCP packet that is in `packet`, if there is somewhere to send it; it may be changed."""

    def inlet(self) -> Inlet | None:
        """Where packets of the far end come in, if a lane may read them there."""
        return None

    def outlet(self) -> Outlet | None:
        """Where packets to the far end go out, if a lane may send them there."""
        return None

    @abc.abstractmethod
    def read_by(self, lane: Lane | None) -> None:
        """Have this lane read what comes in, or let the leg do it."""

    async def close(self) -> None:
        """Stop everything of this leg."""
        self.over = True
        self.sends = self.hears = False
        self.open_lanes()
        self._watch()
        await self.speaker.close()

    def tick(self, now: float) -> None:
        """Once in a while: what is noticed by nothing happening."""
        lane = self._lane
        if lane is not None:
            lane.settle()
        earned = self._burst / BURST * (now - self._ticked)
        self.allowance = min(max(self.allowance, self.received_octets) + earned, self.received_octets + self._burst)
        self._ticked = now
        if lane is not None:
            lane.grant()
        self._press(self._digits.idle(now))
        if self.connected.is_set() and not self.over:
            if self._report_at is not None and now >= self._report_at:
                self._report(now)
            if self._report_at is None or now >= self._report_at:
                # RFC 3550 §6.2: not in lockstep with others
                self._report_at = now + INTERVAL * random.uniform(0.5, 1.5)  # noqa: S311 -- no secret

    @property
    def holds(self) -> bool:
        """The far end put the call on hold: it sends nothing, or music at best (RFC 3264 §8.4)."""
        return self.stream is not None and not (self.sends and self.hears)

    # streams and the peer

    def agree(self, stream: Stream) -> None:
        """What offer and answer came to; the paths to and from the peer follow."""
        before, self.stream = self.stream, stream
        self.out.pace(stream.send.clock_rate, stream.ptime)
        self._events = {codec.pt: codec.clock_rate for codec in stream.receive_dtmf}
        if stream.dtmf is not Dtmf.INBAND:
            self._ears = None
        elif self._ears is None or before is None or before.receive != stream.receive:
            self._ears = Ears(stream.receive)
        self.control.reception.clock = (stream.receive or (stream.send,))[0].clock_rate
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
        peer = self.peer
        if peer is not None:
            self._lay(peer)
            peer._lay(self)
        for leg in (self, peer):
            if leg is not None:
                leg._open()
                leg._watch()

    def _lay(self, peer: Leg) -> None:
        """The path to the peer, if it is another one than is there: a refresh or a hold must not interrupt it."""
        stream, towards = self.stream, peer.stream
        if stream is None or towards is None:
            return
        way = (peer, stream.receive, stream.receive_dtmf, towards.send, towards.send_dtmf, towards.ptime)
        if self.path is None or way != self._way:
            self.path, self._way = Path(stream, towards, peer.out, peer.send), way

    def part(self) -> None:
        self.peer = self.path = None
        self._open()
        self._watch()

    def open_lanes(self) -> None:
        """Sockets, keys or the path of this leg are other ones: what leads from here and to here is laid anew."""
        self._open()
        if self.peer is not None and self.peer is not self:
            self.peer._open()

    def _open(self) -> None:
        """Have packets taken by the fast lane, where there can be one to the peer, and by `heard` where not."""
        if self._lane is not None:
            self._lane.retire()
        tap: Callable[[float], None] | None = None
        self.take = self.heard
        if self._recording is not None and self.stream is not None and self._is_passed_on:
            recording, channel = self._recording
            tap = recording.tap(channel, self.stream.receive, self.packet, _nothing)
            self.take = recording.tap(channel, self.stream.receive, self.packet, self.heard)
        self._lane = self._made_lane(tap)
        self.read_by(self._lane)

    def _made_lane(self, tap: Callable[[float], None] | None) -> Lane | None:
        peer, path = self.peer, self.path
        direct = path.direct if path is not None else None
        if (
            peer is None
            or direct is None
            or self.over
            or peer.over
            or self._ears is not None
            or not self.hears
            or not peer.sends
            or peer.speaker.busy
        ):
            return None
        inlet, outlet = self.inlet(), peer.outlet()
        if inlet is None or outlet is None:
            return None
        pt, to = direct
        return Lane(self, peer, self.control.reception, to.relay, pt, to.pt, inlet, outlet, self._now, tap)

    def settle(self) -> None:
        """Have the lanes from here and to here say what they counted."""
        for leg in (self, self.peer):
            if leg is not None and leg._lane is not None:
                leg._lane.settle()

    @property
    def _is_passed_on(self) -> bool:
        """Whether the peer hears what this leg's end says."""
        peer = self.peer
        return peer is not None and self.path is not None and self.hears and peer.sends and not peer.speaker.busy

    def record(self, recording: Recording, channel: int) -> None:
        """From now on; a leg has the same channel as long as it lasts."""
        self._recording = (recording, channel)
        self._open()

    def spoken(self) -> None:
        """Somebody else speaks to this leg than its peer, or no more."""
        if self.peer is not None:
            self.peer._open()

    # packets and events

    def heard(self, now: float) -> None:
        """`packet` holds an authentic RTP packet from this leg's end. The orderly ones go by lane.py."""
        packet = self.packet
        self.received_packets += 1
        self.received_octets += packet.length
        if self.received_octets > self.allowance:
            self.dropped["flood"] += 1
            return
        _, second, seq, timestamp, ssrc = HEADER.unpack_from(packet.data)
        clock = self._events.get(second & 0x7F)
        self.control.reception.arrived(seq, timestamp, ssrc, now, clock is None)
        if not self.hears:
            self.dropped["held"] += 1
            return
        if clock is not None:
            self._read_digit(clock, now)
        elif self._ears is not None:
            self._listen(self._ears, second & 0x7F)
        peer, path = self.peer, self.path
        if peer is None or path is None:
            self.dropped["unbridged"] += 1
        elif not peer.sends:
            self.dropped["held"] += 1
        elif not peer.speaker.busy:
            reason = path.forward(packet, now)
            if reason is not None:
                self.dropped[reason] += 1
        else:
            self.dropped["spoken over"] += 1

    def heard_control(self, now: float) -> None:
        """`packet` holds an authentic RTCP packet from this leg's end."""
        if not self.control.heard(bytes(self.packet), now):
            self.dropped["malformed"] += 1

    def _report(self, now: float) -> None:
        self.settle()
        peer, path = self.peer, self.path
        # Its voice is passed on as it is: what is lost behind us is lost for it.
        beyond = peer.control.lost_there if peer is not None and path is not None and not path.transcodes else 0.0
        octets = self.sent_octets - MINIMUM * self.sent_packets
        self.packet.fill(self.control.compose(now, time.time(), self.sent_packets, octets, beyond))
        self.send_control()

    def sent(self, octets: int) -> None:
        """`packet` is on its way, as it is now; without its protection it had so many octets."""
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
            self.open_lanes()
            self.log.info("media lost", cause=cause.label, reason=text)
            self._tell(Lost(self.call, self.name, cause, text))

    def statistics(self) -> LegStatistics:
        self.settle()
        reception, reported = self.control.reception, self.control.reported
        heard = self.stream.receive[0].name if self.stream and self.stream.receive else ""
        return LegStatistics(
            self.received_packets,
            self.received_octets,
            self.sent_packets,
            self.sent_octets,
            tuple(sorted(self.dropped.items())),
            self.stream.send.name if self.stream else "",
            self.connected.is_set() and not self.over,
            reception.lost,
            round(reception.jitter_ms, 2),
            reported.lost if reported else 0,
            round(reported.jitter * 1000 / self.out.clock, 2) if reported else 0.0,
            self.control.round_trip,
            self.control.mos_here(heard),
            self.control.mos_there(self.stream.send.name if self.stream else "", self.sent_packets),
        )

    def _read_digit(self, clock: int, now: float) -> None:
        span = payload(self.packet)
        if span is not None:
            timestamp = HEADER.unpack_from(self.packet.data)[3]
            self._press(self._digits.read(timestamp, bytes(self.packet.view[span[0] : span[1]]), clock, now))

    def _listen(self, ears: Ears, pt: int) -> None:
        span = payload(self.packet)
        if span is not None:
            with contextlib.suppress(MediaError):  # the path says so
                self._press(ears.hear(pt, bytes(self.packet.view[span[0] : span[1]])), sound=True)

    def _press(self, pressed: tuple[Pressed, ...], *, sound: bool = False) -> None:
        """Digits that were heard. As events they have gone on to a peer that takes events, as `sound` to any other."""
        for digit in pressed:
            self._tell(Digit(self.call, self.name, digit.digit, digit.duration))
            peer = self.peer
            if peer is None or peer is self or peer.stream is None or peer.stream.dtmf is Dtmf.INFO:
                continue
            if (peer.stream.send_dtmf is not None) is sound:
                with contextlib.suppress(MediaError):  # it takes neither events nor tones, or is over
                    peer.dial(digit.digit, min(max(digit.duration, SHORTEST), LONGEST))

    # what is said to this leg in place of its peer

    def play(self, sound: Sound) -> None:
        """As soon as there is somewhere to send to. Raises MediaError."""
        self._demand_life()
        self.speaker.play(sound)

    def stop_playing(self) -> None:
        """End the prompts; digits that wait are still sent."""
        self.speaker.stop()

    def dial(self, digits: str, duration: int) -> None:
        """Send digits as telephone events, or as tones where the far end takes none and its codec carries them.

        Raises MediaError where neither can be.
        """
        self._demand_life()
        stream = self.stream
        if stream is not None and stream.send_dtmf is None and not carries_tones(stream.send):
            raise MediaError("the far end takes no telephone events, nor would it hear tones")
        self.speaker.dial(Digits(digits, duration))

    def write(self, pt: int, timestamp: int, body: bytes, *, marker: bool) -> None:
        """Send a packet of our own making, if the far end listens."""
        if self.sends and not self.over:
            seq = (self.out.seq + 1) & 0xFFFF
            self.packet.write(pt, seq, timestamp & 0xFFFFFFFF, self.out.ssrc, body, marker=marker)
            self.out.used(seq, timestamp & 0xFFFFFFFF, self._now())
            self.send()

    def _demand_life(self) -> None:
        if self.over:
            raise MediaError("the leg is over")

    # comfort noise

    def _watch(self) -> None:
        """Have the gaps in what is sent to this leg filled, where they would be ours to answer for.

        The far end's media timer must not run out, nor its user think that the line is dead: while nobody is bridged,
        while the peer is on hold, and where we transcode, because then its pauses (DTX) are not in the far end's codec.
        Between ends of the same codec a pause is theirs.
        """
        stream, peer = self.stream, self.peer
        wanted = (
            not self.over
            and stream is not None
            and self.sends
            and can(stream.send)
            and (peer is None or peer.path is None or peer.holds or peer.path.transcodes)
        )
        if self._pacer is not None:
            self._pacer.watch(self, wanted)

    def fill(self, now: float) -> None:
        """Comfort noise, if there has been a gap for some time."""
        self.settle()
        out, stream = self.out, self.stream
        if self.speaker.busy or stream is None or not self.connected.is_set():
            return
        if out.source is not self:
            if out.at is None:
                if self.peer is None or not self.peer.holds:
                    return  # nothing was said yet, and nobody is on hold: the call is only beginning
            elif now - out.at < GAP:
                return
            self._noise = encoded(NOISE, stream.send.name.lower(), stream.ptime)
            self._noise_at, self._noise_from = 0, now
            _, self._noise_start = out.begin(self, now)
        noise = self._noise
        step = noise.frame_ms * stream.send.clock_rate // 1000
        while self._noise_from + self._noise_at * noise.frame_ms / 1000 <= now:
            frame = noise.frame(self._noise_at)
            if frame is None:
                return
            self.write(stream.send.pt, self._noise_start + self._noise_at * step, frame, marker=self._noise_at == 0)
            self._noise_at += 1
