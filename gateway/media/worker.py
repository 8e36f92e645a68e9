"""A media worker: one process, one core, many calls. It owns sockets and keys; it knows nothing of SIP, XMPP and plans.

    signalling ══ ng over a unix socket ══> Worker.handle ──> Call ──> legs
               <══ events over another ═══

It ends when its parent does (the pipe on stdin breaks), so that no port stays taken behind a gateway that crashed.
Started with `--ng udp:HOST:PORT` it stands alone and speaks the public commands of ng (public.py).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import re
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import structlog

from gateway.errors import MediaError, NgError
from gateway.media import opus
from gateway.media.dtls import Certificate
from gateway.media.effort import Effort
from gateway.media.engine import VIDEO, LegKind, LegStatistics, Lost, MediaEvent, Recorded
from gateway.media.leg import BANDWIDTH, Leg, Patience
from gateway.media.ng import Endpoint, Message, NgServer, Value, encode
from gateway.media.pace import Pacer
from gateway.media.pairs import Call
from gateway.media.poller import Poller
from gateway.media.ports import Bind, Ports, bind_for, binds
from gateway.media.prompts import Prompts
from gateway.media.public import Public
from gateway.media.recorder import Recorder
from gateway.media.rtp import DIGITS, Packet
from gateway.media.rtpleg import RtpLeg
from gateway.media.video import FOREVER, SHARE, BundledLeg, Video, VideoRtpLeg, VideoWebRtcLeg
from gateway.media.webrtcleg import WebRtcLeg
from gateway.media.wire import pack, unpack
from gateway.reach import Reach
from gateway.session.model import Candidate, Ice, Setup, Stream, Transport

log = structlog.get_logger()

T = TypeVar("T", bound=Leg)

TICK = 0.5  # s
NEAR = Bind("127.0.0.1", "127.0.0.1")  # legs whose far end is another worker's, on this machine
_NEARBY = Reach((NEAR.address,))
MAX_LEGS = 64  # of one call
MAX_DIGITS = 64  # to be sent at once


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
        self._commands: dict[str, Callable[[Message], Awaitable[Mapping[str, Any]]]] = {
            "ping": self._ping,
            "allocate": self._allocate,
            "connect": self._connect,
            "candidates": self._candidates,
            "restart": self._restart,
            "ask picture": self._ask_picture,
            "play": self._play,
            "stop playing": self._stop_playing,
            "loop": self._loop,
            "dtmf": self._dtmf,
            "record": self._record,
            "recorded": self._recorded,
            "release": self._release,
            "statistics": self._statistics,
        }

    async def handle(self, message: Message) -> Mapping[str, Any]:
        """Run one command. Raises NgError and MediaError, which the server turns into answers."""
        command = self._commands.get(text(message, "command"))
        if command is None:
            raise NgError("Unrecognized command")
        return await command(message)

    async def close(self) -> None:
        self._ticker.cancel()
        for call in list(self._calls):
            await self.release(call, None)
        await self._recorder.close()
        self._pacer.close()
        self._poller.close()
        self._ports.close()

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
        found = self._leg(call, leg)
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

    def _call(self, call: str) -> Call:
        known = self._calls.get(call)
        if known is None:
            raise MediaError(f"unknown call {call}")
        return known

    def _leg(self, call: str, name: str) -> Leg:
        known = self._calls.get(call)
        if known is None or name not in known.legs:
            raise MediaError(f"unknown leg {name} of call {call}")
        return known.legs[name]

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

    # the same as commands

    async def _ping(self, _: Message) -> Mapping[str, Any]:
        return {"result": "pong", "calls": len(self._calls)}

    async def _allocate(self, message: Message) -> Mapping[str, Any]:
        transport = await self.allocate(
            text(message, "call"),
            text(message, "leg"),
            unpack(LegKind, message.get("kind")),
            controlling=bool(message.get("controlling", 0)),
            setup=unpack(Setup, message.get("setup", "actpass")),
            sdes=bool(message.get("sdes", 0)),
            rtcp_mux=bool(message.get("rtcp_mux", 1)),
            video=text(message, "video") if "video" in message else "",
            near=bool(message.get("near", 0)),
            ip=6 if message.get("ip") == 6 else 4 if message.get("ip") == 4 else None,
        )
        return ok(transport=pack(transport))

    async def _connect(self, message: Message) -> Mapping[str, Any]:
        await self.connect(
            text(message, "call"),
            text(message, "leg"),
            unpack(Transport, message.get("remote")),
            unpack(Stream, message.get("stream")),
            peer=text(message, "peer") if "peer" in message else None,
            setup=unpack(Setup, message.get("setup", "active")),
        )
        return ok()

    async def _candidates(self, message: Message) -> Mapping[str, Any]:
        leg = self._leg(text(message, "call"), text(message, "leg"))
        if isinstance(leg, WebRtcLeg):
            remote = unpack(Ice, message["ice"]) if "ice" in message else None
            await leg.candidates(unpack(tuple[Candidate, ...], message.get("candidates", [])), remote)
        return ok()

    async def _restart(self, message: Message) -> Mapping[str, Any]:
        leg = self._leg(text(message, "call"), text(message, "leg"))
        if not isinstance(leg, WebRtcLeg):
            raise MediaError("this leg has no ICE")
        return ok(transport=pack(await leg.restart(unpack(Ice, message.get("ice")))))

    async def _ask_picture(self, message: Message) -> Mapping[str, Any]:
        leg = self._leg(text(message, "call"), text(message, "leg"))
        if not isinstance(leg, Video):
            raise MediaError("this leg has no video")
        leg.want_picture(leg.control.reception.ssrc or 0, asyncio.get_running_loop().time())
        return ok()

    async def _play(self, message: Message) -> Mapping[str, Any]:
        self._leg(text(message, "call"), text(message, "leg")).play(self._prompts.named(text(message, "prompt")))
        return ok()

    async def _stop_playing(self, message: Message) -> Mapping[str, Any]:
        self._leg(text(message, "call"), text(message, "leg")).stop_playing()
        return ok()

    async def _loop(self, message: Message) -> Mapping[str, Any]:
        call, name = text(message, "call"), text(message, "leg")
        leg = self._leg(call, name)
        self._calls[call].meet(name, name)
        leg.bridge(leg)
        return ok()

    async def _dtmf(self, message: Message) -> Mapping[str, Any]:
        digits, duration = text(message, "digits"), message.get("duration", 100)
        if not 0 < len(digits) <= MAX_DIGITS or any(digit not in DIGITS for digit in digits.upper()):
            raise MediaError(f"not digits: {digits[:MAX_DIGITS]!r}")
        if not isinstance(duration, int) or not 40 <= duration <= 5_000:
            raise MediaError("a digit lasts between 40 and 5000 ms")
        self._leg(text(message, "call"), text(message, "leg")).dial(digits, duration)
        return ok()

    async def _record(self, message: Message) -> Mapping[str, Any]:
        call = text(message, "call")
        known = self._call(call)
        if known.recording is not None:
            raise MediaError("the call is recorded already")
        recording = await self._recorder.begin(call, text(message, "name"))
        if self._calls.get(call) is not known or known.recording is not None:  # the disk took its time
            await self._recorder.end(recording)
            raise MediaError("the call is over, or is recorded already")
        known.record(recording)
        return ok()

    async def _recorded(self, message: Message) -> Mapping[str, Any]:
        recorded = await self.recorded(self._call(text(message, "call")))
        return ok() if recorded is None else ok(recorded=pack(recorded))

    async def _release(self, message: Message) -> Mapping[str, Any]:
        name = text(message, "leg") if "leg" in message else None
        counted = await self.release(text(message, "call"), name)
        return ok(legs={name: pack(statistics) for name, statistics in counted.items()})

    async def _statistics(self, message: Message) -> Mapping[str, Any]:
        counted = await self.statistics(text(message, "call"))
        return ok(legs={name: pack(statistics) for name, statistics in counted.items()})


def _in_time(leg: T, voice: Leg | None) -> T:
    """Who receives both plays them in time, if both have one name (RFC 3550 §6.5.1: CNAME)."""
    if voice is not None:
        leg.control.cname = voice.control.cname
        if isinstance(leg, WebRtcLeg):
            leg.transport = replace(leg.transport, source=leg.source)
    return leg


def ok(**values: Any) -> Mapping[str, Any]:
    return {"result": "ok", **values}


def text(message: Message, key: str) -> str:
    """A string of a message. Raises NgError."""
    value: Value | None = message.get(key)
    if not isinstance(value, str):
        raise NgError(f"{key} is missing")
    return value


async def serve_parent(settings: WorkerSettings, commands: socket.socket, events: socket.socket) -> None:
    """Work for the process that started this one, until it is gone or says TERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the parent's to handle
    loop.add_reader(sys.stdin.fileno(), stop.set)  # nothing is ever written there: readable means closed
    out = Endpoint(events, lambda *_: None)
    worker = Worker(settings, lambda event: out.send(encode({"event": type(event).__name__, "fields": pack(event)})))
    server = NgServer(commands, worker.handle)
    gc.collect()
    gc.freeze()  # what was imported stays; no collection need look at it again
    await stop.wait()
    loop.remove_reader(sys.stdin.fileno())
    await worker.close()
    server.close()
    out.close()


async def serve_public(settings: WorkerSettings, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Speak the public commands on a UDP port until TERM or INT; `ready` is told the port. Raises MediaError."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    endings: set[asyncio.Task[None]] = set()

    def happened(event: MediaEvent) -> None:
        if isinstance(event, Lost):
            ending = asyncio.create_task(public.lost(event.call))
            endings.add(ending)
            ending.add_done_callback(endings.discard)

    worker = Worker(settings, happened)
    public = Public(worker, time.time)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        await worker.close()
        raise MediaError(f"{host}:{port}: {error.strerror}") from error
    server = NgServer(sock, public.handle)
    ready(sock.getsockname()[1])
    await stop.wait()
    await asyncio.gather(*endings)
    await worker.close()
    server.close()


def main(arguments: list[str] | None = None) -> int:
    """A worker of the engine (`--fds`), or one that stands alone (`--ng`).

    The exit status: 0, or 2 for wrong settings.
    """
    parser = argparse.ArgumentParser(prog="gateway media-worker")
    parser.add_argument("--settings", default="{}", help="WorkerSettings as JSON")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--fds", help="two inherited unix datagram sockets: commands, events")
    way.add_argument("--ng", help="where to take public commands, as udp:127.0.0.1:2223")
    chosen = parser.parse_args(arguments)
    try:
        settings = unpack(WorkerSettings, json.loads(chosen.settings))
        configure_log(settings.json_log)
        if chosen.fds is not None:
            commands, events = (socket.socket(fileno=int(number)) for number in chosen.fds.split(","))
            asyncio.run(serve_parent(settings, commands, events))
        else:
            host, port = listen_address(chosen.ng)
            asyncio.run(serve_public(settings, host, port, lambda bound: log.info("media worker listens", port=bound)))
    except (MediaError, NgError) as error:
        log.error("media worker cannot start", error=str(error))
        return 2
    return 0


def configure_log(as_json: bool) -> None:
    """Lines like the parent's, on the stderr that is shared with it."""
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info, structlog.processors.JSONRenderer()] if as_json else [plain]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def listen_address(text: str) -> tuple[str, int]:
    """`udp:HOST:PORT`, IPv6 in brackets. Raises MediaError."""
    found = re.fullmatch(r"udp:(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+)):([0-9]{1,5})", text)
    if found is None or int(found[3]) > 65_535:
        raise MediaError(f"{text!r} is not of the form udp:127.0.0.1:2223")
    return found[1] or found[2], int(found[3])


if __name__ == "__main__":
    sys.exit(main())
