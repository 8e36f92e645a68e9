"""A media worker: one process, one core, many calls. It owns sockets and keys; it knows nothing of SIP, XMPP and plans.

    signalling ══ ng over a unix socket ══> Worker.handle ──> Call ──> legs
               <══ events over another ═══

It ends when its parent does (the pipe on stdin breaks), so that no port stays taken behind a gateway that crashed.
Started with `--ng udp:HOST:PORT` it stands alone and speaks the public commands of ng (publicng.py).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import json
import logging
import pathlib
import re
import signal
import socket
import sys
import wave
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from gateway.errors import MediaError, NgError
from gateway.media.dtls import Certificate
from gateway.media.engine import LegKind, LegStatistics, MediaEvent
from gateway.media.leg import Leg, Patience
from gateway.media.ng import Endpoint, Message, NgServer, Value, encode
from gateway.media.ports import Ports, binds
from gateway.media.rtp import DIGITS, Packet
from gateway.media.rtpleg import RtpLeg
from gateway.media.webrtcleg import WebRtcLeg
from gateway.media.wire import pack, unpack
from gateway.reach import Reach
from gateway.session.model import Candidate, Ice, Setup, Stream, Transport

log = structlog.get_logger()

TICK = 0.5  # s
MAX_LEGS = 64  # of one call
MAX_DIGITS = 64  # to be sent at once
PROMPTS = pathlib.Path(__file__).parent / "prompts"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What one worker is told at its start; `low` and `high` are its own share of the ports."""

    address: str
    advertise: str | None
    low: int
    high: int
    allow: tuple[str, ...] = ()
    patience: Patience = field(default_factory=Patience)


@dataclass(slots=True)
class Call:
    legs: dict[str, Leg] = field(default_factory=dict)
    peers: dict[str, str] = field(default_factory=dict)  # both ways; may name legs that are yet to come

    def meet(self, one: str, other: str) -> None:
        """These two shall hear each other; whoever they were promised to before is not."""
        for name in (one, other):
            self.peers.pop(self.peers.pop(name, ""), None)
        self.peers[one], self.peers[other] = other, one

    def wire(self, name: str) -> None:
        """Bridge this leg with its peer, once both streams are known."""
        leg, peer = self.legs[name], self.legs.get(self.peers.get(name, ""))
        if peer is not None and peer.stream is not None and leg.stream is not None:
            leg.bridge(peer)


@functools.lru_cache(maxsize=16)
def prompt(name: str) -> bytes:
    """The samples of a prompt of this package: WAV, 8 kHz, 16 bit, mono. Raises MediaError."""
    file = PROMPTS / f"{name}.wav"
    if not re.fullmatch(r"[a-z0-9-]{1,32}", name) or not file.exists():
        raise MediaError(f"no prompt named {name!r}")
    with wave.open(str(file)) as sound:
        if (sound.getframerate(), sound.getsampwidth(), sound.getnchannels()) != (8_000, 2, 1):
            raise MediaError(f"prompt {name!r} is not 8 kHz, 16 bit, mono")
        return bytes(sound.readframes(sound.getnframes()))


class Worker:
    """The calls of this process, and the commands on them. `tell` takes what happens."""

    def __init__(self, settings: WorkerSettings, tell: Callable[[MediaEvent], None]) -> None:
        """Raises MediaError for settings that cannot work."""
        self._tell = tell
        self._patience = settings.patience
        self._binds = binds(settings.address, settings.advertise)
        try:
            self._reach = Reach(settings.allow)
        except ValueError as error:
            raise MediaError(f"allow: {error}") from error
        self._ports = Ports(settings.low, settings.high)
        self._packet = Packet()
        self._certificate = Certificate()
        self._calls: dict[str, Call] = {}
        self._ticker = asyncio.get_running_loop().call_later(TICK, self._tick)
        self._commands: dict[str, Callable[[Message], Awaitable[Mapping[str, Any]]]] = {
            "ping": self._ping,
            "allocate": self._allocate,
            "connect": self._connect,
            "candidates": self._candidates,
            "play": self._play,
            "loop": self._loop,
            "dtmf": self._dtmf,
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
        self._ports.close()

    # the seam's methods

    async def allocate(self, call: str, name: str, kind: LegKind, controlling: bool, setup: Setup) -> Transport:
        known = self._calls.setdefault(call, Call())
        leg = known.legs.get(name)
        if leg is None:
            if len(known.legs) >= MAX_LEGS:
                raise MediaError("too many legs in one call")
            try:
                leg = self._new(call, name, kind, controlling, setup)
            finally:
                if leg is None and not known.legs:
                    del self._calls[call]
            known.legs[name] = leg
        if not isinstance(leg, RtpLeg if kind is LegKind.RTP else WebRtcLeg):
            raise MediaError(f"leg {name} is of the other kind")
        return leg.transport

    async def connect(
        self, call: str, name: str, remote: Transport, stream: Stream, *, peer: str | None, setup: Setup
    ) -> None:
        leg = self._leg(call, name)
        known = self._calls[call]
        if peer is not None:
            known.meet(name, peer)
        if isinstance(leg, WebRtcLeg):
            await leg.connect(remote, stream, setup)
        elif isinstance(leg, RtpLeg):
            leg.connect(remote, stream)
        known.wire(name)

    async def release(self, call: str, name: str | None) -> dict[str, LegStatistics]:
        known = self._calls.get(call)
        if known is None:
            return {}
        names = [each for each in known.legs if name in (None, each)]
        counted: dict[str, LegStatistics] = {}
        for each in names:
            leg = known.legs.pop(each)
            counted[each] = leg.statistics()
            known.peers.pop(known.peers.pop(each, ""), None)
            if leg.peer is not None:
                leg.peer.part()
            await leg.close()
        if not known.legs and self._calls.get(call) is known:
            del self._calls[call]
        return counted

    def _new(self, call: str, name: str, kind: LegKind, controlling: bool, setup: Setup) -> RtpLeg | WebRtcLeg:
        if kind is LegKind.RTP:
            return RtpLeg(
                call,
                name,
                self._packet,
                self._tell,
                ports=self._ports,
                bind=self._binds[0],
                reach=self._reach,
                patience=self._patience,
            )
        return WebRtcLeg(
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
        )

    def _leg(self, call: str, name: str) -> Leg:
        known = self._calls.get(call)
        if known is None or name not in known.legs:
            raise MediaError(f"unknown leg {name} of call {call}")
        return known.legs[name]

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._ports.tick(now)
        for call in list(self._calls.values()):
            for leg in call.legs.values():
                leg.tick(now)
        self._ticker = loop.call_later(TICK, self._tick)

    # the same as commands

    async def _ping(self, _: Message) -> Mapping[str, Any]:
        return {"result": "pong", "calls": len(self._calls)}

    async def _allocate(self, message: Message) -> Mapping[str, Any]:
        transport = await self.allocate(
            text(message, "call"),
            text(message, "leg"),
            unpack(LegKind, message.get("kind")),
            bool(message.get("controlling", 0)),
            unpack(Setup, message.get("setup", "actpass")),
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

    async def _play(self, message: Message) -> Mapping[str, Any]:
        self._leg(text(message, "call"), text(message, "leg")).play(prompt(text(message, "prompt")))
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

    async def _release(self, message: Message) -> Mapping[str, Any]:
        name = text(message, "leg") if "leg" in message else None
        counted = await self.release(text(message, "call"), name)
        return ok(legs={name: pack(statistics) for name, statistics in counted.items()})

    async def _statistics(self, message: Message) -> Mapping[str, Any]:
        call = self._calls.get(text(message, "call"))
        legs = call.legs if call is not None else {}
        return ok(legs={name: pack(leg.statistics()) for name, leg in legs.items()})


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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gateway media-worker")
    parser.add_argument("--settings", required=True, help="WorkerSettings as JSON")
    parser.add_argument("--fds", required=True, help="two inherited unix datagram sockets: commands, events")
    chosen = parser.parse_args(arguments)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    settings = unpack(WorkerSettings, json.loads(chosen.settings))
    commands, events = (socket.socket(fileno=int(number)) for number in chosen.fds.split(","))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve_parent(settings, commands, events))
    return 0


if __name__ == "__main__":
    sys.exit(main())
