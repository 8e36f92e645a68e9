"""What happens to a packet between two legs: one direction, decided once per offer and answer, by payload type.

    voice, the codec that the far end wants      rewritten in place (rtp.Relay)
    voice, another one                           transcoded: Opus, PCMA, PCMU
    telephone-event                              passed on, the duration in the other clock (RFC 4733 §2.3.5)
                                                 or left out, where the far end takes none
    video                                        rewritten in place
    anything else                                dropped

Events have the timeline of the voice that they interrupt (RFC 4733 §2.1), so whoever carries the voice carries them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.errors import MediaError
from gateway.media.reorder import Window
from gateway.media.rtp import HEADER, Arrivals, Outgoing, Packet, Relay, convert_duration, payload
from gateway.media.transcode import RATE, Transcoder, can
from gateway.session.model import Codec, Stream

_PICTURES = 90_000  # the clock of all video (RFC 3551 §5), and of no voice

Send = Callable[[], None]
_Frame = tuple[int, int, int, bytes]  # sequence, timestamp, SSRC, payload
Dropped = str | None  # the reason, or None for a packet that went on


class Carrier(Protocol):
    """Carries one voice codec, and the events in between."""

    def voice(self, packet: Packet, now: float) -> Dropped: ...

    def event(self, packet: Packet, now: float, clock: int, to: Codec | None) -> Dropped: ...


class Relayed:
    def __init__(self, out: Outgoing, send: Send, pt: int, *, voice: bool = True) -> None:
        self.relay, self.pt = Relay(out, voice=voice), pt
        self._send = send

    def voice(self, packet: Packet, now: float) -> Dropped:
        if not self.relay.rewrite(packet, self.pt, now):
            return "late"
        self._send()
        return None

    def event(self, packet: Packet, now: float, clock: int, to: Codec | None) -> Dropped:
        if to is None:
            self.relay.skip(packet)
            return "event"
        span = payload(packet)
        if span is None or span[1] - span[0] < 4:
            return "malformed"
        convert_duration(packet, span[0], clock, to.clock_rate)
        if not self.relay.rewrite(packet, to.pt, now):
            return "late"
        self._send()
        return None


class Transcoded:
    def __init__(self, out: Outgoing, send: Send, source: Codec, sink: Codec, ptime: int) -> None:
        self._out, self._send, self._source, self._sink = out, send, source, sink
        self._transcoder = Transcoder(source, sink, ptime)
        self._arrivals = Arrivals()
        self._window: Window[_Frame] | None = None  # from when packets first overtook each other
        self._last = 0  # timestamp in
        self._elapsed = 0  # since the source began, in its clock; unlike the timestamp it never wraps
        self._start = 0  # timestamp out that belongs to it
        self._fresh = True  # the next frame begins a talkspurt (RFC 3551 §4.1)

    def voice(self, packet: Packet, now: float) -> Dropped:
        span = payload(packet)
        if span is None or span[0] == span[1]:
            return "malformed"
        _, _, seq, timestamp, ssrc = HEADER.unpack_from(packet.data)
        frame = (seq, timestamp, ssrc, bytes(packet.view[span[0] : span[1]]))
        if self._window is None:
            return self._decode(frame, packet, now)
        # Of those that go on now the last is most likely this one; a reason is one packet's, and one is counted.
        reasons = [self._decode(each, packet, now) for each in self._window.push(seq, frame)]
        return next(filter(None, reasons), None)

    def event(self, packet: Packet, now: float, clock: int, to: Codec | None) -> Dropped:
        span = payload(packet)
        if span is None or span[1] - span[0] < 4:
            return "malformed"
        marker = packet.data[1] & 0x80 != 0
        convert_duration(packet, span[0], clock, to.clock_rate if to is not None else clock)
        body = bytes(packet.view[span[0] : span[0] + 4])
        _, _, seq, timestamp, ssrc = HEADER.unpack_from(packet.data)
        if self._window is not None:
            for each in self._window.flush():
                self._decode(each, packet, now)
            self._window.expected = (seq + 1) & 0xFFFF
        if self._follow(seq, timestamp, ssrc, now) < 0:
            return "late"
        if to is None:
            return "event"
        at = self._elapsed * self._sink.clock_rate // self._source.clock_rate
        self._write(packet, to.pt, at, body, now, marker=marker)
        return None

    def _decode(self, frame: _Frame, packet: Packet, now: float) -> Dropped:
        seq, timestamp, ssrc, data = frame
        lost = self._follow(seq, timestamp, ssrc, now)
        if lost < 0:
            if self._window is None:
                self._window = Window(self._arrivals.highest + 1)
            return "late"
        try:
            frames = list(self._transcoder.feed(self._elapsed * RATE // self._source.clock_rate, data, lost))
        except MediaError:
            return "undecodable"
        for tick, coded in frames:
            at = tick * self._sink.clock_rate // RATE
            if coded:
                self._write(packet, self._sink.pt, at, coded, now, marker=self._fresh)
            else:  # time goes on, so that nobody fills a gap that is wanted
                self._out.used(self._out.seq, (self._start + at) & 0xFFFFFFFF, now)
            self._fresh = not coded
        return None

    def _follow(self, seq: int, timestamp: int, ssrc: int, now: float) -> int:
        """Move with the source's time; how many packets are missing, -1 for one that comes too late."""
        lost = self._arrivals.lost(seq, ssrc)
        if lost is None or self._out.source is not self:
            _, self._start = self._out.begin(self, now)
            self._last, self._elapsed = timestamp, 0
            self._transcoder.restart()
            self._fresh = True
            return 0
        if lost >= 0:
            step = (timestamp - self._last) & 0xFFFFFFFF
            self._elapsed += step if step < 0x80000000 else step - 0x100000000
            self._last = timestamp
        return lost

    def _write(self, packet: Packet, pt: int, at: int, body: bytes, now: float, *, marker: bool) -> None:
        out = self._out
        seq, timestamp = (out.seq + 1) & 0xFFFF, (self._start + at) & 0xFFFFFFFF
        packet.write(pt, seq, timestamp, out.ssrc, body, marker=marker)
        out.used(seq, timestamp, now)
        self._send()


class Path:
    """From a leg that hears `source` to one that is sent `sink`."""

    def __init__(self, source: Stream, sink: Stream, out: Outgoing, send: Send) -> None:
        self._carriers: dict[int, Carrier] = {}
        for codec in source.receive:
            if codec.same_as(sink.send):
                voice = codec.clock_rate != _PICTURES
                self._carriers[codec.pt] = Relayed(out, send, sink.send.pt, voice=voice)
            elif can(codec) and can(sink.send):
                self._carriers[codec.pt] = Transcoded(out, send, codec, sink.send, sink.ptime)
        self._events = {codec.pt: codec.clock_rate for codec in source.receive_dtmf}
        self._to = sink.send_dtmf
        self._current: Carrier | None = next(iter(self._carriers.values()), None)
        self.transcodes = isinstance(self._current, Transcoded)

    @property
    def direct(self) -> tuple[int, Relayed] | None:
        """The payload type whose voice is only rewritten, and by whom; the first of several."""
        return next(((pt, carrier) for pt, carrier in self._carriers.items() if isinstance(carrier, Relayed)), None)

    def forward(self, packet: Packet, now: float) -> Dropped:
        """Pass the packet on; why not, if not. The packet is used up either way."""
        pt = packet.data[1] & 0x7F
        carrier = self._carriers.get(pt)
        if carrier is not None:
            self._current = carrier
            return carrier.voice(packet, now)
        if pt in self._events and self._current is not None:
            return self._current.event(packet, now, self._events[pt], self._to)
        return "payload"
