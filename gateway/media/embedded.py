"""The engine in the box: worker processes of our own, one per core, behind the seam of engine.py.

    EmbeddedEngine ── call → slot, the one with the fewest calls ──> Slot ═ process ═ worker.py

A call stays with the worker that it began in. A worker that dies, or no longer answers, is started again at once; the
legs that it had are Lost(INTERNAL), and nothing is moved: keys and sequence numbers are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from gateway.call.causes import Cause
from gateway.errors import MediaError, NgError
from gateway.media.engine import (
    Connected,
    Digit,
    LegKind,
    LegStatistics,
    Lost,
    MediaEngine,
    MediaEvent,
    PictureWanted,
    Recorded,
)
from gateway.media.leg import BANDWIDTH, Patience
from gateway.media.ng import Endpoint, NgClient, message
from gateway.media.ports import binds
from gateway.media.wire import pack, unpack
from gateway.media.worker import WorkerSettings
from gateway.reach import Reach
from gateway.session.model import Candidate, Ice, Setup, Stream, Transport

log = structlog.get_logger()

T = TypeVar("T")

_EVENTS: dict[str, type[MediaEvent]] = {kind.__name__: kind for kind in (Connected, Lost, Digit, PictureWanted)}
_BOOT = 30.0  # s, until a new process answers; on a machine that is starting everything at once too
_HEARTBEAT = 2.0  # s between pings, and how long one may take
_MISSED = 3  # pings in a row; a machine that is busy for a moment must not cost a worker its calls
_FAREWELL = 3.0  # s, until a worker that was told to end is killed
_HEALTHY = 10.0  # s; a process that lived shorter is started again with growing delay
_MAX_DELAY = 5.0
_WAIT = 6.0  # s, how long a new call waits for a worker
MIN_PORTS = 4  # of each worker


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """What the engine needs to know; `[media]` of the configuration."""

    address: str = "0.0.0.0"  # noqa: S104 -- media comes from anywhere
    advertise: str | None = None  # like address: one, or an IPv4 and an IPv6 one with a comma in between
    ports: tuple[int, int] = (20_000, 29_999)
    workers: int = 0  # 0: one per core
    allow: tuple[str, ...] = ()  # otherwise refused ranges that named candidates and SDP addresses may lie in
    patience: Patience = field(default_factory=Patience)
    hold: str = ""  # a WAV or Opus file for those who wait; none: music of our own
    bandwidth: int = BANDWIDTH  # bit/s that each end of a call may send
    region: str = ""  # whose ringing and busy tones are played (ISO 3166)
    json_log: bool = False  # whether the workers, too, write their lines as JSON
    recordings: str = ""  # the folder of recordings
    record_format: str = "wav"  # or opus
    record_notice: str = ""  # a WAV or Opus file that tells of the recording; none: a tone


class EmbeddedEngine(MediaEngine):
    video = True

    def __init__(self, settings: MediaSettings) -> None:
        self.on_event: Callable[[MediaEvent], None] = lambda event: None
        self._settings = settings
        self._slots: list[Slot] = []
        self._homes: dict[str, Slot] = {}

    @property
    def processes(self) -> tuple[int, ...]:
        """The process ids of the workers that take calls."""
        return tuple(slot.pid for slot in self._slots if slot.pid is not None and slot.ready.is_set())

    async def start(self) -> None:
        settings = self._settings
        binds(settings.address, settings.advertise)
        try:
            Reach(settings.allow)
        except ValueError as error:
            raise MediaError(f"allow: {error}") from error
        count = settings.workers or len(os.sched_getaffinity(0))
        shares = share(settings.ports, count)
        self._slots = [
            Slot(
                number,
                WorkerSettings(
                    settings.address,
                    settings.advertise,
                    low,
                    high,
                    settings.allow,
                    settings.patience,
                    settings.hold,
                    settings.bandwidth,
                    settings.region,
                    settings.json_log,
                    settings.recordings,
                    settings.record_format,
                    settings.record_notice,
                ),
                self._happened,
                self._bereaved,
            )
            for number, (low, high) in enumerate(shares)
        ]
        try:
            await asyncio.gather(*(slot.start() for slot in self._slots))
        except MediaError:
            await self.stop()
            raise

    async def stop(self) -> None:
        self._homes.clear()
        slots, self._slots = self._slots, []
        await asyncio.gather(*(slot.stop() for slot in slots))

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
        ip: int | None = None,
        near: bool = False,
    ) -> Transport:
        return await self._allocated(call, leg, kind, "", controlling, setup, sdes, rtcp_mux, ip, near)

    async def allocate_video(
        self,
        call: str,
        leg: str,
        kind: LegKind,
        *,
        bundled: bool = False,
        controlling: bool = False,
        setup: Setup = Setup.ACTPASS,
        sdes: bool = False,
        rtcp_mux: bool = True,
    ) -> Transport:
        video = "bundled" if bundled else "apart"
        return await self._allocated(call, leg, kind, video, controlling, setup, sdes, rtcp_mux)

    async def _allocated(
        self,
        call: str,
        leg: str,
        kind: LegKind,
        video: str,
        controlling: bool,
        setup: Setup,
        sdes: bool,
        rtcp_mux: bool,
        ip: int | None = None,
        near: bool = False,
    ) -> Transport:
        slot = self._homes.get(call) or await self._least_loaded()
        slot = self._homes.setdefault(call, slot)  # another leg of the call may have waited for a worker too
        slot.calls.setdefault(call, set()).add(leg)
        try:
            answer = await slot.ask(
                "allocate",
                call=call,
                leg=leg,
                kind=kind.value,
                controlling=int(controlling),
                setup=setup.value,
                sdes=int(sdes),
                rtcp_mux=int(rtcp_mux),
                **({"video": video} if video else {}),
                **({"ip": ip} if ip else {}),
                **({"near": 1} if near else {}),
            )
        except MediaError:
            self._forget(call, leg)
            raise
        return _read(Transport, answer.get("transport"))

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
        named = {} if peer is None else {"peer": peer}
        await self._home(call).ask(
            "connect", call=call, leg=leg, remote=pack(remote), stream=pack(stream), setup=setup.value, **named
        )

    async def ask_picture(self, call: str, leg: str) -> None:
        await self._home(call).ask("ask picture", call=call, leg=leg)

    async def candidates(
        self, call: str, leg: str, candidates: tuple[Candidate, ...], *, ice: Ice | None = None, complete: bool = False
    ) -> None:
        del complete  # the worker waits for checks anyway, and gives up by time
        credentials = {} if ice is None else {"ice": pack(ice)}
        await self._home(call).ask("candidates", call=call, leg=leg, candidates=pack(candidates), **credentials)

    async def restart(self, call: str, leg: str, ice: Ice) -> Transport:
        answer = await self._home(call).ask("restart", call=call, leg=leg, ice=pack(ice))
        return _read(Transport, answer.get("transport"))

    async def play(self, call: str, leg: str, prompt: str) -> None:
        await self._home(call).ask("play", call=call, leg=leg, prompt=prompt)

    async def stop_playing(self, call: str, leg: str) -> None:
        await self._home(call).ask("stop playing", call=call, leg=leg)

    async def loop(self, call: str, leg: str) -> None:
        await self._home(call).ask("loop", call=call, leg=leg)

    async def dtmf(self, call: str, leg: str, digits: str, duration: int = 100) -> None:
        await self._home(call).ask("dtmf", call=call, leg=leg, digits=digits, duration=duration)

    async def record(self, call: str, name: str) -> None:
        await self._home(call).ask("record", call=call, name=name)

    async def recorded(self, call: str) -> Recorded | None:
        answer = await self._home(call).ask("recorded", call=call)
        return _read(Recorded, answer["recorded"]) if "recorded" in answer else None

    async def release(self, call: str, leg: str | None = None) -> dict[str, LegStatistics]:
        slot = self._homes.get(call)
        if slot is None:
            return {}
        self._forget(call, leg)
        named = {} if leg is None else {"leg": leg}
        return _counted(await slot.ask("release", call=call, **named))

    async def statistics(self, call: str) -> dict[str, LegStatistics]:
        slot = self._homes.get(call)
        return {} if slot is None else _counted(await slot.ask("statistics", call=call))

    def _home(self, call: str) -> Slot:
        slot = self._homes.get(call)
        if slot is None:
            raise MediaError(f"unknown call {call}")
        return slot

    def _forget(self, call: str, leg: str | None) -> None:
        slot = self._homes.get(call)
        if slot is None:
            return
        legs = slot.calls.get(call, set())
        legs.discard(leg or "")
        if leg is None or not legs:
            slot.calls.pop(call, None)
            del self._homes[call]

    async def _least_loaded(self) -> Slot:
        if not self._slots:
            raise MediaError("the media engine is not running")
        if not any(slot.ready.is_set() for slot in self._slots):
            waits = [asyncio.ensure_future(slot.ready.wait()) for slot in self._slots]
            try:
                await asyncio.wait(waits, timeout=_WAIT, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        running = [slot for slot in self._slots if slot.ready.is_set()]
        if not running:
            raise MediaError("no media worker is running")
        return min(running, key=lambda slot: len(slot.calls))

    def _happened(self, event: MediaEvent) -> None:
        slot = self._homes.get(event.call)
        if slot is not None and event.leg in slot.calls.get(event.call, ()):
            self.on_event(event)

    def _bereaved(self, calls: Mapping[str, set[str]]) -> None:
        for call, legs in calls.items():
            self._homes.pop(call, None)
            for leg in sorted(legs):
                self.on_event(Lost(call, leg, Cause.INTERNAL, "the media worker died"))


class Slot:
    """One worker, as often as it has to be started. `calls` are those that it has, with their legs."""

    def __init__(
        self,
        number: int,
        settings: WorkerSettings,
        happened: Callable[[MediaEvent], None],
        bereaved: Callable[[Mapping[str, set[str]]], None],
    ) -> None:
        self.calls: dict[str, set[str]] = {}
        self.ready = asyncio.Event()
        self._number, self._settings, self._happened, self._bereaved = number, settings, happened, bereaved
        self._process: asyncio.subprocess.Process | None = None
        self._client: NgClient | None = None
        self._events: Endpoint | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Raises MediaError if the process does not come up."""
        self._keeper = asyncio.create_task(self._keep())
        await self._first

    async def stop(self) -> None:
        self._stopping = True
        self.calls.clear()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if not self._first.done():
            self._first.cancel()
        elif not self._first.cancelled():
            self._first.exception()

    async def ask(self, command: str, **arguments: Any) -> Mapping[str, Any]:
        """Raises MediaError, whatever went wrong."""
        if self._client is None:
            raise MediaError("the media worker is gone")
        try:
            return await self._client.request(command, arguments)
        except NgError as error:
            raise MediaError(str(error)) from error

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        delay = 0.0
        while True:
            began = loop.time()
            try:
                process, client = await self._boot()
                if not self._first.done():
                    self._first.set_result(None)
                self.ready.set()
                await self._watch(process, client)
            except (OSError, MediaError) as error:
                if not self._first.done():
                    self._first.set_exception(MediaError(f"media worker {self._number}: {error}"))
                    return
                log.error("media worker does not start", worker=self._number, error=str(error))
            finally:
                self.ready.clear()
                await self._bury()
            delay = 0.0 if loop.time() - began > _HEALTHY else min(delay * 2 + 0.05, _MAX_DELAY)
            await asyncio.sleep(delay)

    async def _boot(self) -> tuple[asyncio.subprocess.Process, NgClient]:
        commands, their_commands = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        events, their_events = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with their_commands, their_events:
            client = self._client = NgClient(commands)
            self._events = Endpoint(events, self._told)
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway.media.process",
                "--settings",
                json.dumps(pack(self._settings)),
                "--fds",
                f"{their_commands.fileno()},{their_events.fileno()}",
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(their_commands.fileno(), their_events.fileno()),
            )
        await self._answers(process, client, _BOOT)
        log.info("media worker started", worker=self._number, pid=process.pid)
        return process, client

    async def _watch(self, process: asyncio.subprocess.Process, client: NgClient) -> None:
        """Until the process is gone, or is beyond hope."""
        gone = asyncio.ensure_future(process.wait())
        missed = 0
        try:
            while missed < _MISSED:
                await asyncio.wait((gone,), timeout=_HEARTBEAT)
                if gone.done():
                    log.error("media worker died", worker=self._number, status=gone.result(), calls=len(self.calls))
                    return
                try:
                    await self._answers(process, client, _HEARTBEAT)
                    missed = 0
                except MediaError:
                    missed += 1
                    log.warning("media worker is late", worker=self._number, missed=missed, calls=len(self.calls))
            log.error("media worker does not answer", worker=self._number, calls=len(self.calls))
        finally:
            gone.cancel()

    @staticmethod
    async def _answers(process: asyncio.subprocess.Process, client: NgClient, patience: float) -> None:
        """A ping, unless the process ends before it is answered. Raises MediaError."""
        gone = asyncio.ensure_future(process.wait())
        pong = asyncio.ensure_future(client.request("ping", patience=patience))
        try:
            await asyncio.wait((gone, pong), return_when=asyncio.FIRST_COMPLETED)
            if not pong.done():
                raise MediaError("the process ended")
            pong.result()
        except NgError as error:
            raise MediaError(str(error)) from error
        finally:
            for future in (gone, pong):
                future.cancel()
            await asyncio.gather(gone, pong, return_exceptions=True)

    async def _bury(self) -> None:
        """End the process if it still runs, and tell about the calls it had."""
        client, self._client = self._client, None
        events, self._events = self._events, None
        process, self._process = self._process, None
        calls, self.calls = self.calls, {}
        if client is not None:
            client.close()
        if events is not None:
            events.close()
        if calls and not self._stopping:
            self._bereaved(calls)
        if process is not None:
            await _end(process, _FAREWELL if self._stopping else 0.0)

    def _told(self, datagram: bytes, _: Any) -> None:
        try:
            told = message(datagram)
            kind = _EVENTS[str(told.get("event"))]
            event = unpack(kind, told.get("fields"))
        except (NgError, KeyError) as error:
            log.warning("unreadable event of a media worker", error=str(error))
            return
        self._happened(event)


async def _end(process: asyncio.subprocess.Process, patience: float) -> None:
    if process.stdin is not None:
        process.stdin.close()  # which tells the worker to end
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def share(ports: tuple[int, int], workers: int) -> list[tuple[int, int]]:
    """An even range for each worker. Raises MediaError if there are too few ports."""
    low, high = ports
    each = (high - low + 1) // workers // 2 * 2
    if not 0 < low <= high <= 65_535 or each < MIN_PORTS:
        raise MediaError(f"ports {low}-{high} are too few for {workers} media workers")
    return [(low + number * each, low + (number + 1) * each - 1) for number in range(workers)]


def _counted(answer: Mapping[str, Any]) -> dict[str, LegStatistics]:
    return {name: _read(LegStatistics, counters) for name, counters in answer.get("legs", {}).items()}


def _read(kind: type[T], data: Any) -> T:
    try:
        return unpack(kind, data)
    except NgError as error:
        raise MediaError(f"media worker: {error}") from error
