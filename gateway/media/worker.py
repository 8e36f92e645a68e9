"""The calls of one media worker: it owns their sockets and keys, and knows nothing of SIP, XMPP and plans.

ng commands (commands.py, public.py) ──> Worker ──> Call ──> legs
                                         tell() <── events
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from gateway.errors import MediaError
from gateway.media import opus
from gateway.media.dtls import Certificate
from gateway.media.effort import Effort
from gateway.media.engine import VIDEO, LegKind, LegStatistics, MediaEvent, Recorded
from gateway.media.leg import BANDWIDTH, Leg, Patience
from gateway.media.pace import Pacer
from gateway.media.pairs import Call
from gateway.media.poller import Poller
from gateway.media.ports import Bind, Ports, bind_for, binds
from gateway.media.prompts import Prompts
from gateway.media.recorder import Recorder
from gateway.media.rtp import Packet
from gateway.media.rtpleg import RtpLeg
from gateway.media.video import FOREVER, SHARE, BundledLeg, Video, VideoRtpLeg, VideoWebRtcLeg
from gateway.media.webrtcleg import WebRtcLeg
from gateway.reach import Reach
from gateway.session.model import Setup, Stream, Transport

log = structlog.get_logger()

T = TypeVar("T", bound=Leg)

TICK = 0.5  # s
NEAR = Bind("127.0.0.1", "127.0.0.1")  # legs whose far end is another worker's, on this machine
_NEARBY = Reach((NEAR.address,))
MAX_LEGS = 64  # of one call


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What one worker is told at its start; `low` and `high` are its own share of the ports."""

    address: str = "0.0.0.0"  # noqa: S104 -- media comes from anywhere
    advertise: str | None = None
    low: int = 20_000
    high: int = 29_999
    allow: tuple[str, ...] = ()
    patience: Patience = field(default_factory=Patience)
    hold: str = ""  # a WAV or Opus file for those who wait; none: music of our own
    bandwidth: int = BANDWIDTH  # bit/s that each end may send
    region: str = ""  # whose ringing and busy tones are played (ISO 3166)
    json_log: bool = False
    recordings: str = ""  # the folder that they are written to
    record_format: str = "wav"
    record_notice: str = ""  # a WAV or Opus file that says so; none: a tone
    adapts: bool = True  # Opus complexity follows the load


class Worker:
    """The calls of this process, and the commands on them. `tell` takes what happens."""

    def __init__(self, settings: WorkerSettings, tell: Callable[[MediaEvent], None]) -> None:
        """Raises MediaError for settings that cannot work."""
        self._tell = tell
        self._patience, self._bandwidth = settings.patience, settings.bandwidth
        self._binds = binds(settings.address, settings.advertise)
        try:
            self._reach = Reach(settings.allow)
        except ValueError as error:
            raise MediaError(f"allow: {error}") from error
        self._ports = Ports(settings.low, settings.high)
        self._packet = Packet()
        self._pacer = Pacer()
        self._poller = Poller()
        self._prompts = Prompts(settings.hold, settings.region, settings.record_notice)
        self._recorder = Recorder(settings.recordings, settings.record_format)
        self._certificate = Certificate()
        self._calls: dict[str, Call] = {}
        self._effort, self._adapts = Effort(TICK), settings.adapts
        self._ticker = asyncio.get_running_loop().call_later(TICK, self._tick)

    async def close(self) -> None:
        self._ticker.cancel()
        for call in list(self._calls):
            await self.release(call, None)
        await self._recorder.close()
        self._pacer.close()
        self._poller.close()
        self._ports.close()

    @property
    def size(self) -> int:
        """How many calls there are."""
        return len(self._calls)

    def call(self, call: str) -> Call:
        """Raises MediaError."""
        known = self._calls.get(call)
        if known is None:
            raise MediaError(f"unknown call {call}")
        return known

    def leg(self, call: str, name: str) -> Leg:
        """Raises MediaError."""
        known = self._calls.get(call)
        if known is None or name not in known.legs:
            raise MediaError(f"unknown leg {name} of call {call}")
        return known.legs[name]

    # the seam's methods

    async def allocate(
        self,
        call: str,
        leg: str,
        kind: LegKind,
        *,
        controlling: bool = False,
        setup: Setup = Setup.ACTPASS,
        sdes: bool = False,
        rtcp_mux: bool = True,
        video: str = "",
        ip: int | None = None,
        near: bool = False,
    ) -> Transport:
        """`video` is "bundled" or "apart" for a leg of that, see MediaEngine.allocate_video."""
        known = self._calls.setdefault(call, Call())
        found = known.legs.get(leg)
        if found is None:
            if len(known.legs) >= MAX_LEGS:
                raise MediaError("too many legs in one call")
            try:
                found = self._new(known, call, leg, kind, controlling, setup, sdes, rtcp_mux, video, ip, near)
            finally:
                if found is None and not known.legs:
                    del self._calls[call]
            known.legs[leg] = found
            found.limit(self._bandwidth * (SHARE if video else 1))
        if not isinstance(found, RtpLeg if kind is LegKind.RTP else (WebRtcLeg, BundledLeg)):
            raise MediaError(f"leg {leg} is of the other kind")
        return found.transport

    async def connect(
        self,
        call: str,
        leg: str,
        remote: Transport,
        stream: Stream,
        *,
        peer: str | None = None,
        setup: Setup = Setup.ACTIVE,
    ) -> None:
        found = self.leg(call, leg)
        known = self._calls[call]
        if peer is not None:
            known.meet(leg, peer)
        if isinstance(found, WebRtcLeg):
            await found.connect(remote, stream, setup)
        elif isinstance(found, RtpLeg):
            found.connect(remote, stream)
        elif isinstance(found, BundledLeg):
            found.connect(stream)
        known.wire(leg)

    async def release(self, call: str, leg: str | None = None) -> dict[str, LegStatistics]:
        known = self._calls.get(call)
        if known is None:
            return {}
        counted: dict[str, LegStatistics] = {}
        for name in [each for each in known.legs if leg in (None, each)]:
            gone = known.legs.pop(name)
            counted[name] = gone.statistics()
            known.peers.pop(known.peers.pop(name, ""), None)
            if gone.peer is not None:
                gone.peer.part()
            await gone.close()
        if not known.legs and self._calls.get(call) is known:
            del self._calls[call]
            await self.recorded(known)
        return counted

    def play(self, call: str, leg: str, prompt: str) -> None:
        self.leg(call, leg).play(self._prompts.named(prompt))

    def ask_picture(self, call: str, leg: str) -> None:
        """Ask its end for a whole picture."""
        found = self.leg(call, leg)
        if not isinstance(found, Video):
            raise MediaError("this leg has no video")
        found.want_picture(found.control.reception.ssrc or 0, asyncio.get_running_loop().time())

    def loop(self, call: str, leg: str) -> None:
        """Have its end hear itself."""
        found = self.leg(call, leg)
        self._calls[call].meet(leg, leg)
        found.bridge(found)

    async def record(self, call: str, name: str) -> None:
        known = self.call(call)
        if known.recording is not None:
            raise MediaError("the call is recorded already")
        recording = await self._recorder.begin(call, name)
        if self._calls.get(call) is not known or known.recording is not None:  # the disk took its time
            await self._recorder.end(recording)
            raise MediaError("the call is over, or is recorded already")
        known.record(recording)

    async def recorded(self, call: Call) -> Recorded | None:
        """End what is recorded of this call."""
        recording, call.recording = call.recording, None
        return None if recording is None else await self._recorder.end(recording)

    async def statistics(self, call: str) -> dict[str, LegStatistics]:
        known = self._calls.get(call)
        return {name: leg.statistics() for name, leg in known.legs.items()} if known is not None else {}

    def _new(
        self,
        known: Call,
        call: str,
        name: str,
        kind: LegKind,
        controlling: bool,
        setup: Setup,
        sdes: bool,
        rtcp_mux: bool,
        video: str,
        ip: int | None,
        near: bool,
    ) -> RtpLeg | WebRtcLeg | BundledLeg:
        voice = known.legs.get(name.removesuffix(VIDEO)) if video else None
        if video == "bundled":
            if not isinstance(voice, WebRtcLeg):
                raise MediaError("there is no transport of a voice to be shared")
            return BundledLeg(call, name, self._packet, self._tell, voice)
        if kind is LegKind.RTP:
            rtp = (VideoRtpLeg if video else RtpLeg)(
                call,
                name,
                self._packet,
                self._tell,
                ports=self._ports,
                bind=NEAR if near else voice.bind if isinstance(voice, RtpLeg) else bind_for(self._binds, ip),
                reach=_NEARBY if near else self._reach,
                patience=FOREVER if video else self._patience,
                sdes=sdes,
                pacer=self._pacer,
                readers=self._poller,
            )
            return _in_time(rtp, voice)
        webrtc = (VideoWebRtcLeg if video else WebRtcLeg)(
            call,
            name,
            self._packet,
            self._tell,
            ports=self._ports,
            binds=self._binds,
            reach=self._reach,
            patience=self._patience,
            certificate=self._certificate,
            controlling=controlling,
            setup=setup,
            rtcp_mux=rtcp_mux,
            pacer=self._pacer,
            readers=self._poller,
        )
        return _in_time(webrtc, voice)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._ports.tick(now)
        if self._adapts:
            self._try()
        for call in list(self._calls.values()):
            for leg in call.legs.values():
                leg.tick(now)
        self._ticker = loop.call_later(TICK, self._tick)

    def _try(self) -> None:
        """As hard as there is time for."""
        complexity = self._effort.observe(time.monotonic(), time.thread_time())
        if complexity != opus.Encoder.common:
            opus.Encoder.common = complexity
            log.info("Opus complexity", complexity=complexity, busy=f"{self._effort.share:.0%}")


def _in_time(leg: T, voice: Leg | None) -> T:
    """Who receives both plays them in time, if both have one name (RFC 3550 §6.5.1: CNAME)."""
    if voice is not None:
        leg.control.cname = voice.control.cname
        if isinstance(leg, WebRtcLeg):
            leg.transport = replace(leg.transport, source=leg.source)
    return leg
