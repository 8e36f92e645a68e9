"""A worker's methods as the commands of signalling, which started it: the seam of engine.py, over ng.

What is missing or cannot be is an error that says so; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.errors import MediaError, NgError
from gateway.media.engine import LegKind
from gateway.media.ng import Message
from gateway.media.rtp import DIGITS
from gateway.media.webrtcleg import WebRtcLeg
from gateway.media.wire import pack, unpack
from gateway.media.worker import Worker
from gateway.session.model import Candidate, Ice, Setup, Stream, Transport

MAX_DIGITS = 64  # to be sent at once


class Commands:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker
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

    async def _ping(self, _: Message) -> Mapping[str, Any]:
        return {"result": "pong", "calls": self._worker.size}

    async def _allocate(self, message: Message) -> Mapping[str, Any]:
        transport = await self._worker.allocate(
            *_leg(message),
            unpack(LegKind, message.get("kind")),
            controlling=bool(message.get("controlling", 0)),
            setup=unpack(Setup, message.get("setup", "actpass")),
            sdes=bool(message.get("sdes", 0)),
            rtcp_mux=bool(message.get("rtcp_mux", 1)),
            video=text(message, "video") if "video" in message else "",
            near=bool(message.get("near", 0)),
            ip=6 if message.get("ip") == 6 else 4 if message.get("ip") == 4 else None,
        )
        return _ok(transport=pack(transport))

    async def _connect(self, message: Message) -> Mapping[str, Any]:
        await self._worker.connect(
            *_leg(message),
            unpack(Transport, message.get("remote")),
            unpack(Stream, message.get("stream")),
            peer=text(message, "peer") if "peer" in message else None,
            setup=unpack(Setup, message.get("setup", "active")),
        )
        return _ok()

    async def _candidates(self, message: Message) -> Mapping[str, Any]:
        leg = self._worker.leg(*_leg(message))
        if isinstance(leg, WebRtcLeg):
            remote = unpack(Ice, message["ice"]) if "ice" in message else None
            await leg.candidates(unpack(tuple[Candidate, ...], message.get("candidates", [])), remote)
        return _ok()

    async def _restart(self, message: Message) -> Mapping[str, Any]:
        leg = self._worker.leg(*_leg(message))
        if not isinstance(leg, WebRtcLeg):
            raise MediaError("this leg has no ICE")
        return _ok(transport=pack(await leg.restart(unpack(Ice, message.get("ice")))))

    async def _ask_picture(self, message: Message) -> Mapping[str, Any]:
        self._worker.ask_picture(*_leg(message))
        return _ok()

    async def _play(self, message: Message) -> Mapping[str, Any]:
        self._worker.play(*_leg(message), text(message, "prompt"))
        return _ok()

    async def _stop_playing(self, message: Message) -> Mapping[str, Any]:
        self._worker.leg(*_leg(message)).stop_playing()
        return _ok()

    async def _loop(self, message: Message) -> Mapping[str, Any]:
        self._worker.loop(*_leg(message))
        return _ok()

    async def _dtmf(self, message: Message) -> Mapping[str, Any]:
        digits, duration = text(message, "digits"), message.get("duration", 100)
        if not 0 < len(digits) <= MAX_DIGITS or any(digit not in DIGITS for digit in digits.upper()):
            raise MediaError(f"not digits: {digits[:MAX_DIGITS]!r}")
        if not isinstance(duration, int) or not 40 <= duration <= 5_000:
            raise MediaError("a digit lasts between 40 and 5000 ms")
        self._worker.leg(*_leg(message)).dial(digits, duration)
        return _ok()

    async def _record(self, message: Message) -> Mapping[str, Any]:
        await self._worker.record(text(message, "call"), text(message, "name"))
        return _ok()

    async def _recorded(self, message: Message) -> Mapping[str, Any]:
        recorded = await self._worker.recorded(self._worker.call(text(message, "call")))
        return _ok() if recorded is None else _ok(recorded=pack(recorded))

    async def _release(self, message: Message) -> Mapping[str, Any]:
        name = text(message, "leg") if "leg" in message else None
        counted = await self._worker.release(text(message, "call"), name)
        return _ok(legs={name: pack(statistics) for name, statistics in counted.items()})

    async def _statistics(self, message: Message) -> Mapping[str, Any]:
        counted = await self._worker.statistics(text(message, "call"))
        return _ok(legs={name: pack(statistics) for name, statistics in counted.items()})


def text(message: Message, key: str) -> str:
    """A string of a message. Raises NgError."""
    value = message.get(key)
    if not isinstance(value, str):
        raise NgError(f"{key} is missing")
    return value


def _leg(message: Message) -> tuple[str, str]:
    """Which one: its call and its name."""
    return text(message, "call"), text(message, "leg")


def _ok(**values: Any) -> Mapping[str, Any]:
    return {"result": "ok", **values}
