"""A leg that carries video: relayed as it comes, beside the leg of the same end that carries its voice.

What it has more than any leg is RTCP feedback (feedback.py), which crosses the gateway:

    its end wants a picture (PLI, FIR)  ──> asked of the peer's end, by what was agreed with that one; with an end that
                                            knows no feedback it is signalling's to ask (PictureWanted)
    its end misses packets (NACK)       ──> sent again from what we keep; what we never had is asked of the peer's end

Three transports: RTP on ports of its own, ICE on ports of its own, or the voice's ICE (BUNDLE), where packets are told
apart by their payload type (RFC 9143 §9.2) and RTCP by the SSRC that it speaks of.

Nobody's call ends because a camera is covered: there is no time-out here, the voice's leg has one.
"""

from __future__ import annotations

import abc
import contextlib
import math
from collections import OrderedDict
from dataclasses import replace

from gateway.call.causes import Cause
from gateway.media import feedback
from gateway.media.engine import LegStatistics, PictureWanted
from gateway.media.lane import Lane, Outlet
from gateway.media.leg import Leg, Patience, Tell
from gateway.media.rtcp import Report, write
from gateway.media.rtp import Packet, Relay
from gateway.media.rtpleg import RtpLeg
from gateway.media.webrtcleg import WebRtcLeg
from gateway.session.model import Stream, Transport

SHARE = 4  # times the bandwidth of a voice's leg
KEPT = 256  # packets that can be sent again: more than a second of a telephone's picture
AGAIN = 4  # times at most
FOREVER = Patience(first=math.inf, silence=math.inf)
PICTURE_BY_WORD = 2.0  # s, where signalling asks
PICTURE = 0.3  # s between two pictures that are asked for: each is as long as many others


class Video(Leg):
    """What the three have in common."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]  # those of the transport
        self._kept: OrderedDict[int, tuple[bytes, int]] = OrderedDict()  # by number: as it left, how often
        self._asked_at = -math.inf  # for a picture
        self._commands = 0

    def sent(self, octets: int) -> None:
        super().sent(octets)
        if self.stream is not None and "nack" in self.stream.send.feedback:
            data = bytes(self.packet)
            self._kept[data[2] << 8 | data[3]] = (data, 0)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def outlet(self) -> Outlet | None:
        return None  # what is sent is kept; and a picture is many packets of one time, for which no lane is made

    @abc.abstractmethod
    def resend(self, data: bytes) -> None:
        """Send a packet once more as it left the first time: protected, so under the same number and no new nonce."""

    def heard_control(self, now: float) -> None:
        said = feedback.read(bytes(self.packet), self.out.ssrc)
        super().heard_control(now)
        self.dropped["feedback"] += said.other
        source, peer = self.out.source, self.peer
        if not isinstance(peer, Video) or not isinstance(source, Relay):
            return
        if said.picture:
            peer.want_picture(source.ssrc, now)
        missed = [seq for seq in said.lost if not self._again(seq)]
        if missed:
            peer.want(source.ssrc, [(seq - source.seq) & 0xFFFF for seq in missed])

    def _again(self, seq: int) -> bool:
        """Whether we had this packet, and so need not ask for it."""
        kept = self._kept.get(seq)
        if kept is None:
            return False
        data, times = kept
        if times < AGAIN:
            self._kept[seq] = (data, times + 1)
            self.resend(data)
        else:
            self.dropped["feedback"] += 1
        return True

    def want_picture(self, about: int, now: float) -> None:
        """The peer needs a whole picture of this end's stream."""
        agreed = self.stream.send.feedback if self.stream is not None else ()
        by_rtcp = "nack pli" in agreed or "ccm fir" in agreed
        if now - self._asked_at < (PICTURE if by_rtcp else PICTURE_BY_WORD):
            self.dropped["feedback"] += 1
            return
        self._asked_at = now
        if not by_rtcp:
            self._tell(PictureWanted(self.call, self.name))
        elif "nack pli" in agreed:
            self._speak(feedback.pli(self.out.ssrc, about))
        else:
            self._commands += 1
            self._speak(feedback.fir(self.out.ssrc, about, self._commands))

    def want(self, about: int, lost: list[int]) -> None:
        """These packets of this end's stream never came to us."""
        if self.stream is None or "nack" not in self.stream.send.feedback:
            self.dropped["feedback"] += 1
            return
        self._speak(feedback.nack(self.out.ssrc, about, lost))

    def _speak(self, said: bytes) -> None:
        """RFC 4585 §3.1: behind a report, if an empty one, and the name of who speaks."""
        self.packet.fill(write(Report(self.out.ssrc, None, ()), self.control.cname) + said)
        self.send_control()

    def statistics(self) -> LegStatistics:
        return replace(super().statistics(), mos=None, far_mos=None)  # those are of voices

    def lose(self, cause: Cause, text: str) -> None:
        super().lose(cause, f"video: {text}")


class VideoRtpLeg(Video, RtpLeg):
    """On a pair of ports of its own; latched and kept from strangers as a voice's leg is."""

    def resend(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            if self._latched is not None:
                self._rtp.send(data)


class VideoWebRtcLeg(Video, WebRtcLeg):
    """With ICE and DTLS of its own, for an end that does not bundle."""

    def resend(self, data: bytes) -> None:
        _send_again(self, data)


class _OnVoice(Leg):
    """On the transport of its end's voice."""

    def __init__(self, call: str, name: str, packet: Packet, tell: Tell, voice: WebRtcLeg) -> None:
        super().__init__(call, name, packet, tell)
        self.voice = voice
        self.control.cname = voice.control.cname
        self.payloads: frozenset[int] = frozenset()

    @property
    def transport(self) -> Transport:
        return replace(self.voice.transport, source=self.source)

    def connect(self, stream: Stream) -> None:
        """From now on packets of these payload types are this leg's, and not the voice's."""
        self.payloads = frozenset(codec.pt for codec in stream.receive)
        self.agree(stream)
        self.voice.beside = self
        if self.voice.connected.is_set():
            self.tell_connected()

    def send(self) -> None:
        voice, packet = self.voice, self.packet
        srtp, path, octets = voice.srtp, voice.pair, packet.length
        if srtp is None or path is None or voice.over:
            self.dropped["unconnected"] += 1
        elif not srtp.protect():
            self.dropped["repeated"] += 1
        else:
            try:
                path[0].sendto(packet.view[: packet.length], path[1])
            except OSError:
                self.dropped["unsent"] += 1
            else:
                self.sent(octets)

    def send_control(self) -> None:
        self.voice.send_control()

    def read_by(self, lane: Lane | None) -> None:
        """What comes is read by the voice's leg."""

    async def close(self) -> None:
        await super().close()
        if self.voice.beside is self:
            self.voice.beside = None


class BundledLeg(Video, _OnVoice):
    """With the ICE and DTLS of its end's voice."""

    def resend(self, data: bytes) -> None:
        _send_again(self.voice, data)


def _send_again(leg: WebRtcLeg, data: bytes) -> None:
    path = leg.pair
    if path is not None and not leg.over:
        with contextlib.suppress(OSError):
            path[0].sendto(data, path[1])
