"""The engine for scale: a pool of rtpengine daemons behind the seam of engine.py.

    RtpengineEngine ── call → node (rtpengine_pool.py) ── offer, answer, query (rtpengine_words.py) ──> daemon
                    <── DTMF log ───────────────────────────────────────────────────────────────────────┘

The ng protocol has no push, so each daemon is asked after its calls: often until both ends are connected, then now and
then. What it cannot do at all is in capabilities.py, and `gateway check` knows that.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from gateway.call.causes import Cause
from gateway.errors import MediaError, NgError
from gateway.media import rtpengine_words as words
from gateway.media.engine import Connected, LegKind, LegStatistics, Lost, MediaEngine, MediaEvent, Recorded
from gateway.media.jukebox import Jukebox
from gateway.media.leg import Patience
from gateway.media.ng import Endpoint
from gateway.media.rtpengine_pool import Address, Node, Pace, Pool
from gateway.media.rtpengine_words import NOBODY
from gateway.reach import Reach
from gateway.session.model import Candidate, Ice, Setup, Stream, Transport

log = structlog.get_logger()

LOOK = 0.2  # s between questions about calls that are not connected yet
MAX_REST = 5.0  # s between questions about others
MAX_INJECTED = 64
FOREVER = 1_000_000  # times that hold music and tones are played


@dataclass(frozen=True, slots=True)
class RtpengineSettings:
    """`[media]` with engine = "rtpengine"."""

    nodes: tuple[Address, ...]
    events: tuple[str, int] | None = None  # where the daemons' DTMF log comes in
    allow: tuple[str, ...] = ()  # as of the embedded engine
    patience: Patience = field(default_factory=Patience)
    pace: Pace = field(default_factory=Pace)
    hold: str = ""  # as of the embedded engine
    region: str = ""


@dataclass(slots=True)
class _Leg:
    name: str
    kind: LegKind
    sdes: bool
    ours: Transport
    ip: int | None = None
    near: bool = False  # its far end is another daemon's leg, or the same one's
    remote: Transport | None = None
    stream: Stream | None = None
    setup: Setup = Setup.ACTIVE
    peer: str = ""
    since: float = 0.0  # when its end became known, or was last heard
    packets: int = 0
    connected: bool = False
    lost: bool = False
    playing: bool = False  # it hears a prompt
    plays_until: float = math.inf
    hushed: bool = False  # nobody hears it

    @property
    def keyed(self) -> bool:
        """Whether it protects its media by keys in the SDP, as far as is known."""
        return self.sdes if self.remote is None else bool(self.remote.crypto)

    @property
    def said(self) -> str:
        """What its end said. Raises MediaError."""
        if self.remote is None or self.stream is None:
            raise MediaError(f"{self.name} is not connected")
        return words.described(self.kind, self.remote, self.stream, self.setup)


@dataclass(slots=True)
class _Call:
    name: str
    node: Node
    legs: dict[str, _Leg] = field(default_factory=dict)
    # Offer and answer belong together: nobody else asks for this call in between.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    looked: float = 0.0
    tagged: set[str] = field(default_factory=set)  # legs that were introduced to another
    injected: list[tuple[str, str]] = field(default_factory=list)  # legs and digits that come back as heard


class RtpengineEngine(MediaEngine):
    video = False

    def __init__(self, settings: RtpengineSettings) -> None:
        self.on_event: Callable[[MediaEvent], None] = lambda event: None
        self._settings = settings
        self._pool = Pool(settings.nodes, settings.pace, self._died)
        self._calls: dict[str, _Call] = {}
        self._reach = Reach()
        self._jukebox: Jukebox | None = None
        self._events: Endpoint | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def processes(self) -> tuple[int, ...]:
        """The ng ports of the daemons that take calls."""
        return tuple(node.where.port for node in self._pool.nodes if node.usable)

    async def start(self) -> None:
        try:
            self._reach = Reach(self._settings.allow)
        except ValueError as error:
            raise MediaError(f"allow: {error}") from error
        self._jukebox = Jukebox(self._settings.hold, self._settings.region)
        if self._settings.events is not None:
            self._events = Endpoint(_listening(self._settings.events), self._logged)
        try:
            await self._pool.start()
        except MediaError:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            with contextlib.suppress(MediaError, NgError):
                await call.node.ask("delete", {"call-id": call.name, "delete-delay": 0})
        if self._events is not None:
            self._events.close()
            self._events = None
        await self._pool.stop()

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
        del rtcp_mux  # its legs with ICE have one component
        del controlling  # whoever is offered something controls; a conflict of roles is settled by RFC 8445 §7.3.1.1
        found = self._calls.get(call)
        if found is None:
            ours = await self._begin(call, leg, kind, setup, sdes, ip)
        elif leg in found.legs:
            return found.legs[leg].ours
        else:
            async with found.lock:
                ours = await self._offered(found, leg, kind, setup, sdes, ip)
        self._leg(call, leg)[1].near = near
        return ours

    async def _begin(self, name: str, leg: str, kind: LegKind, setup: Setup, sdes: bool, ip: int | None) -> Transport:
        """A new call: at the next daemon when one does not take it."""
        tried: frozenset[Node] = frozenset()
        while True:
            call = _Call(name, self._pool.choice(tried))
            self._calls[name] = call
            call.node.calls.add(name)
            try:
                async with call.lock:
                    return await self._offered(call, leg, kind, setup, sdes, ip)
            except MediaError as error:
                self._forget(call)
                if not isinstance(error.__cause__, NgError):  # who refuses a call still lives
                    call.node.disable()
                log.warning("call not taken", call=name, node=call.node.name, reason=str(error))
                tried |= {call.node}

    async def _offered(
        self, call: _Call, leg: str, kind: LegKind, setup: Setup, sdes: bool, ip: int | None
    ) -> Transport:
        arguments = words.towards(kind, keyed=sdes, ip=ip) | {"via-branch": leg, "sdp": words.placeholder()}
        answer = await self._ask(call, "offer", {"from-tag": NOBODY, **arguments})
        ours = words.transport(answer.get("sdp"), kind, setup)
        call.legs[leg] = _Leg(leg, kind, sdes, ours, ip)
        return ours

    async def ask_picture(self, call: str, leg: str) -> None:
        raise MediaError("this engine relays no video yet")

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
        raise MediaError("this engine relays no video yet")

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
        found, mine = self._leg(call, leg)
        async with found.lock:
            mine.remote = remote if mine.near else self._permitted(remote)
            mine.stream, mine.setup = stream, setup
            mine.since = asyncio.get_running_loop().time()
            if peer is not None:
                self._pair(found, leg, peer)
            await self._agree(found, mine)

    @staticmethod
    def _pair(call: _Call, one: str, other: str) -> None:
        """These two hear each other, and nobody else does."""
        for name, peer in ((one, other), (other, one)):
            if name in call.legs:
                before = call.legs.get(call.legs[name].peer)
                if before is not None and before.name != peer:
                    before.peer = ""
                call.legs[name].peer = peer

    async def _agree(self, call: _Call, mine: _Leg, *, first: bool = False) -> None:
        """Tell the daemon what the end of this leg said, and to its peer if there is one; `first` has mine offer."""
        peer = call.legs.get(mine.peer)
        if mine.name not in call.tagged:
            tags = {"from-tag": NOBODY, "to-tag": mine.name, "via-branch": mine.name}
            await self._ask(call, "answer", {**tags, "flags": list(words.FLAGS), "sdp": mine.said})
        if peer is None or peer.stream is None or mine.stream is None:
            await self._hush(call, mine)  # what it says would be sent to where nobody is
            return
        call.tagged |= {mine.name, peer.name}
        # COMPAT: rtpengine 10.5 translates telephone events between clocks only where the slower clock offers.
        one, two = (mine, peer) if first or not words.faster(mine.stream, peer.stream) else (peer, mine)
        await self._introduce(call, one, two)
        for leg in call.legs.values():
            await self._hush(call, leg)

    async def _introduce(self, call: _Call, one: _Leg, two: _Leg) -> None:
        """Both hear each other from now on; what is said of each is where it was, with new credentials of ICE."""
        if one.stream is None or two.stream is None:
            raise MediaError("nothing was agreed")
        tags = {"from-tag": one.name, "to-tag": two.name}
        offer = words.towards(two.kind, keyed=two.keyed, ip=two.ip) | words.transcoding(one.stream, two.stream)
        answer = words.towards(one.kind, keyed=one.keyed, ip=one.ip)
        there = await self._ask(call, "offer", {**tags, **offer, "sdp": one.said})
        back = await self._ask(call, "answer", {**tags, **answer, "sdp": two.said})
        for leg, said in ((two, there), (one, back)):
            found = words.transport(said.get("sdp"), leg.kind, Setup.ACTPASS)
            if found.port != leg.ours.port:
                raise MediaError(f"rtpengine moved {leg.name} from port {leg.ours.port} to {found.port}")
            leg.ours = replace(leg.ours, ice=found.ice)

    async def _hush(self, call: _Call, leg: _Leg) -> None:
        """Nobody hears this end before it has a peer, while that one hears a prompt, or after it was given another."""
        if leg.stream is None:
            return
        peer = call.legs.get(leg.peer)
        silent = peer is None or peer.playing or leg.name not in call.tagged
        if silent is not leg.hushed:
            await self._ask(call, "block media" if silent else "unblock media", {"from-tag": leg.name})
            leg.hushed = silent

    def _permitted(self, remote: Transport) -> Transport:
        """Without the places that nobody may send us to (safety rule 3)."""
        if remote.ice is not None:
            named = tuple(one for one in remote.ice.candidates if self._reach.permits(one.ip, one.port))
            return replace(remote, ice=replace(remote.ice, candidates=named))
        if remote.address is not None and not self._reach.permits(remote.address, remote.port):
            return replace(remote, address=words.UNSPECIFIED)
        return remote

    async def candidates(
        self, call: str, leg: str, candidates: tuple[Candidate, ...], *, ice: Ice | None = None, complete: bool = False
    ) -> None:
        found, mine = self._leg(call, leg)
        async with found.lock:
            if mine.remote is None or mine.remote.ice is None:
                raise MediaError(f"{leg} is not connected")
            known = mine.remote.ice
            more = tuple(one for one in candidates if one not in known.candidates)
            said = replace(ice or known, candidates=known.candidates + more, complete=known.complete or complete)
            mine.remote = self._permitted(replace(mine.remote, ice=said))
            await self._agree(found, mine)

    async def restart(self, call: str, leg: str, ice: Ice) -> Transport:
        found, mine = self._leg(call, leg)
        async with found.lock:
            if mine.kind is not LegKind.WEBRTC or mine.remote is None:
                raise MediaError(f"{leg} has no ICE")
            if mine.peer not in found.legs:
                raise MediaError(f"{leg} has no peer")
            mine.remote = self._permitted(replace(mine.remote, ice=ice))
            await self._agree(found, mine, first=True)  # only who offers anew gets a new answer
            return mine.ours

    async def play(self, call: str, leg: str, prompt: str) -> None:
        found, mine = self._leg(call, leg)
        if self._jukebox is None:
            raise MediaError("the media engine is not running")
        sound = self._jukebox.record(prompt)
        async with found.lock:
            times = FOREVER if sound.endless else 1
            await self._ask(found, "play media", {"from-tag": leg, "blob": sound.wav, "repeat-times": times})
            mine.playing = True
            mine.plays_until = math.inf if sound.endless else asyncio.get_running_loop().time() + sound.seconds
            if mine.peer in found.legs:  # in place of what the peer says
                await self._hush(found, found.legs[mine.peer])

    async def stop_playing(self, call: str, leg: str) -> None:
        found, mine = self._leg(call, leg)
        if not mine.playing:
            return
        async with found.lock:
            mine.playing = False
            if mine.peer in found.legs:
                await self._hush(found, found.legs[mine.peer])
            with contextlib.suppress(MediaError):  # it has ended by itself
                await self._ask(found, "stop media", {"from-tag": leg})

    async def loop(self, call: str, leg: str) -> None:
        self._leg(call, leg)
        raise MediaError("rtpengine cannot let a leg hear itself")

    async def dtmf(self, call: str, leg: str, digits: str, duration: int = 100) -> None:
        found, mine = self._leg(call, leg)
        if mine.peer not in found.legs:
            raise MediaError(f"{leg} has no peer in whose place digits could be sent")
        lasting = min(max(duration, words.SHORTEST), words.LONGEST)
        async with found.lock:
            for one in digits.upper():
                if one not in words.DIGITS:
                    raise MediaError(f"{one!r} is no digit")
                # What comes from the peer goes out to this leg, and is logged as if it had said it.
                found.injected = [*found.injected[-MAX_INJECTED:], (mine.peer, one)]
                await self._ask(
                    found, "play DTMF", {"from-tag": mine.peer, "code": words.DIGITS.index(one), "duration": lasting}
                )

    async def record(self, call: str, name: str) -> None:
        raise MediaError("rtpengine records by a daemon of its own, which is not asked")

    async def recorded(self, call: str) -> Recorded | None:
        return None

    async def release(self, call: str, leg: str | None = None) -> dict[str, LegStatistics]:
        found = self._calls.get(call)
        if found is None or (leg is not None and leg not in found.legs):
            return {}
        last = leg is None or set(found.legs) == {leg}
        if last:
            self._forget(found)
        async with found.lock:
            counted = self._counted(found, await self._ask(found, "query", {}), leg)
            if last:
                await self._ask(found, "delete", {"delete-delay": 0})
                return counted
            gone = found.legs.pop(str(leg))
            if gone.peer in found.legs:
                found.legs[gone.peer].peer = ""
            with contextlib.suppress(MediaError):  # one that never answered has no tag, and is known by its branch
                await self._ask(found, "delete", {"from-tag": leg, "via-branch": leg, "delete-delay": 0})
            return counted

    async def statistics(self, call: str) -> dict[str, LegStatistics]:
        found = self._calls.get(call)
        return {} if found is None else self._counted(found, await self._ask(found, "query", {}), None)

    # Inside

    def _leg(self, call: str, leg: str) -> tuple[_Call, _Leg]:
        found = self._calls.get(call)
        if found is None:
            raise MediaError(f"unknown call {call}")
        if leg not in found.legs:
            raise MediaError(f"unknown leg {leg}")
        return found, found.legs[leg]

    def _forget(self, call: _Call) -> None:
        if self._calls.get(call.name) is call:
            del self._calls[call.name]
        call.node.calls.discard(call.name)

    async def _ask(self, call: _Call, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises MediaError, whatever went wrong."""
        try:
            return await call.node.ask(command, {"call-id": call.name, **arguments})
        except NgError as error:
            raise MediaError(f"rtpengine: {command}: {error}") from error

    @staticmethod
    def _counted(call: _Call, answer: Mapping[str, Any], only: str | None) -> dict[str, LegStatistics]:
        known = words.counters(answer)
        return {
            name: words.statistics(known[name], known.get(leg.peer), leg.stream, connected=leg.connected)
            if name in known
            else LegStatistics()
            for name, leg in call.legs.items()
            if only in (None, name)
        }

    def _died(self, node: Node) -> None:
        for name in sorted(node.calls):
            if name in self._calls:
                self._gone(self._calls[name], "the media daemon does not answer")

    def _gone(self, call: _Call, text: str) -> None:
        self._forget(call)
        for name in sorted(call.legs):
            self.on_event(Lost(call.name, name, Cause.INTERNAL, text))

    def _logged(self, datagram: bytes, _: Any) -> None:
        told = words.digit(datagram)
        call = self._calls.get(told.call) if told is not None else None
        if told is None or call is None or told.leg not in call.legs:
            return
        if (told.leg, told.digit) in call.injected:
            call.injected.remove((told.leg, told.digit))
            return
        self.on_event(told)

    async def _watch(self) -> None:
        patience = self._settings.patience
        rest = min(MAX_REST, patience.silence / 3)
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK)
            await self._end_prompts(loop.time())
            due = [
                call
                for call in self._calls.values()
                if any(leg.stream and not leg.connected for leg in call.legs.values())
                or loop.time() - call.looked > rest
            ]
            for call in due:
                call.looked = loop.time()
                try:
                    answer = await call.node.ask("query", {"call-id": call.name})
                except NgError:  # a daemon that was started anew knows nothing of it
                    if self._calls.get(call.name) is call:
                        self._gone(call, "the media daemon has lost the call")
                except MediaError:
                    continue  # the pool finds out
                else:
                    self._look(call, answer, loop.time())

    async def _end_prompts(self, now: float) -> None:
        """Who heard a prompt that ends by itself hears his peer again."""
        over = [
            (call.name, leg.name)
            for call in self._calls.values()
            for leg in call.legs.values()
            if leg.playing and leg.plays_until <= now
        ]
        for call, leg in over:
            with contextlib.suppress(MediaError):  # it has ended, or the pool finds out
                await self.stop_playing(call, leg)

    def _look(self, call: _Call, answer: Mapping[str, Any], now: float) -> None:
        known = words.counters(answer)
        for name, leg in list(call.legs.items()):
            counted = known.get(name)
            if counted is None or leg.stream is None or leg.lost or self._calls.get(call.name) is not call:
                continue
            if counted.packets > leg.packets:
                leg.packets, leg.since = counted.packets, now
            if not leg.connected and (counted.packets or counted.verified):
                leg.connected, leg.since = True, now
                self.on_event(Connected(call.name, name))
            elif (cause := self._overdue(leg, now - leg.since)) is not None:
                leg.lost = True
                self.on_event(Lost(call.name, name, *cause))

    def _overdue(self, leg: _Leg, waited: float) -> tuple[Cause, str] | None:
        """What this leg is lost of after it was silent for so long."""
        patience = self._settings.patience
        if leg.kind is LegKind.WEBRTC and not leg.connected:
            return (Cause.MEDIA_FAILED, "no ICE path or no DTLS") if waited > patience.connect else None
        if leg.kind is LegKind.WEBRTC or (leg.stream and words.held(leg.stream)):
            return None
        if not leg.connected:
            return (Cause.MEDIA_LOST, "no packet came") if waited > patience.first else None
        return (Cause.MEDIA_LOST, "packets stopped") if waited > patience.silence else None


def _listening(where: tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind(where)
    except OSError as error:
        sock.close()
        raise MediaError(f"the DTMF log cannot be taken at {where[0]}:{where[1]}: {error.strerror}") from error
    return sock
