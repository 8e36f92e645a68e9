"""The media side of one call: what is allocated, negotiated and connected for it, in session facts.

The call's machine asks (PrepareOffer, PrepareAnswer), the switchboard hands the asking here, and this file knows which
transport, which codecs and which DTLS and ICE roles each leg gets. The caller's leg is allocated only when it is known
what to answer him with; each attempt's leg when it is asked.

    offer(attempt)   allocate callee<n>  ──> our offer to the callee
    answer(attempt)  allocate caller, agree, connect both ──> our answer to the caller
    test_line()      allocate caller, connect, prompt, loop ──> our answer to the caller
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.call.events import Leg, Reoffered, Trickled
from gateway.errors import MediaError, NegotiationError
from gateway.media.engine import LegKind, LegStatistics, MediaEngine
from gateway.session import negotiate
from gateway.session.model import Session, Setup, Stream, Transport
from gateway.session.negotiate import Policy, Towards

MAX_TRICKLED = 64  # notices kept for a leg that is not connected yet
MAX_DIGITS = 64


@dataclass(slots=True)
class _Side:
    """One leg's media as it stands."""

    name: str
    towards: Towards
    policy: Policy
    transport: Transport
    ours: Session | None = None  # what we last said to this end
    stream: Stream | None = None
    setup: Setup = Setup.ACTIVE


def kind_of(towards: Towards) -> LegKind:
    return LegKind.WEBRTC if towards is Towards.XMPP else LegKind.RTP


def leg_name(leg: Leg, attempt: int) -> str:
    """The engine's name of a leg."""
    return "caller" if leg is Leg.CALLER else f"callee{attempt}"


class Bridge:
    """The media of one call. Its methods raise MediaError and NegotiationError; they are to be called one at a time."""

    def __init__(self, engine: MediaEngine, call: str, caller: Towards) -> None:
        self._engine = engine
        self._call = call
        self._towards_caller = caller
        self._sides: dict[str, _Side] = {}
        self._connected: set[str] = set()
        self._trickled: dict[str, list[Trickled]] = {}
        self._peer: dict[str, str] = {}
        self._digits: list[tuple[str, str, int]] = []

    async def offer(self, attempt: int, towards: Towards, policy: Policy, caller: Session | None) -> Session:
        """Allocate this attempt's leg; what we offer its callee."""
        if caller is not None:
            # Nobody's phone rings for a caller whom we would have to refuse when it is answered.
            negotiate.check(self._towards_caller, caller)
        name = leg_name(Leg.CALLEE, attempt)
        transport = await self._engine.allocate(
            self._call, name, kind_of(towards), controlling=True, setup=Setup.ACTPASS
        )
        ours = negotiate.offer_callee(policy, towards, caller, transport)
        self._sides[name] = _Side(name, towards, policy, transport, ours)
        return ours

    async def answer(self, attempt: int, policy: Policy, callee: Session, caller: Session) -> Session:
        """Bring the callee that answered and the caller together; what we answer the caller."""
        name = leg_name(Leg.CALLEE, attempt)
        side = self._sides.get(name)
        if side is None or side.ours is None:
            raise MediaError(f"{name} was never offered anything")
        mine = await self._allocate_caller(policy, caller)
        agreed = negotiate.answer_caller(policy, self._towards_caller, caller, side.ours, callee, mine.transport)
        mine.ours, mine.stream, side.stream = agreed.answer, agreed.caller, agreed.callee
        side.setup = _our_setup(callee, side.towards, offering=True)
        self._peer = {mine.name: side.name, side.name: mine.name}
        await self._connect(side, callee)
        await self._connect(mine, caller)
        return agreed.answer

    async def test_line(self, policy: Policy, caller: Session) -> Session:
        """Answer the caller with a prompt and his own voice."""
        mine = await self._allocate_caller(policy, caller)
        answer, stream = negotiate.answer_alone(policy, self._towards_caller, caller, mine.transport)
        mine.ours, mine.stream = answer, stream
        await self._connect(mine, caller)
        await self._engine.play(self._call, mine.name, "echo")
        await self._engine.loop(self._call, mine.name)
        return answer

    async def reoffer(self, notice: Reoffered) -> Session:
        """The end of a leg offers anew (RFC 3264 §8): keep our transport, follow its address, codec and direction."""
        name = leg_name(notice.leg, notice.attempt)
        side = self._sides.get(name)
        if side is None or side.ours is None or side.stream is None or name not in self._connected:
            raise NegotiationError("nothing to renegotiate yet")
        if notice.session is None:
            return side.ours
        peer = self._sides.get(self._peer.get(name, ""))
        answer, stream = negotiate.reanswer(
            side.policy,
            side.towards,
            notice.session,
            ours=side.ours,
            stream=side.stream,
            peer=peer.stream if peer else None,
        )
        side.ours, side.stream = answer, stream
        await self._connect(side, notice.session)
        return answer

    async def trickle(self, notice: Trickled) -> None:
        """Candidates that came later than their session; kept while the leg is not connected."""
        name = leg_name(notice.leg, notice.attempt)
        if name not in self._connected:
            waiting = self._trickled.setdefault(name, [])
            if len(waiting) < MAX_TRICKLED:
                waiting.append(notice)
            return
        await self._engine.candidates(self._call, name, notice.candidates, ice=notice.ice, complete=notice.complete)

    async def digits(self, leg: Leg, attempt: int, digits: str, duration: int) -> None:
        """Digits that one end pressed by signalling go out at the other end as RFC 4733; kept until there is one."""
        peer = self._peer.get(leg_name(leg, attempt))
        if peer is None or peer not in self._connected:
            if leg is Leg.CALLER and sum(len(waiting) for _, waiting, _ in self._digits) + len(digits) <= MAX_DIGITS:
                self._digits.append((leg_name(leg, attempt), digits, duration))
            return
        await self._engine.dtmf(self._call, peer, digits, duration)

    async def flush_digits(self) -> None:
        """The call is up: what the caller pressed before the answer goes out now."""
        waiting, self._digits = self._digits, []
        for name, digits, duration in waiting:
            if peer := self._peer.get(name):
                await self._engine.dtmf(self._call, peer, digits, duration)

    async def release_attempt(self, attempt: int) -> None:
        name = leg_name(Leg.CALLEE, attempt)
        self._sides.pop(name, None)
        self._trickled.pop(name, None)
        self._connected.discard(name)
        await self._engine.release(self._call, name)

    async def close(self) -> dict[str, LegStatistics]:
        """Give everything back; the counters the legs had."""
        self._sides.clear()
        self._connected.clear()
        return await self._engine.release(self._call)

    def carries(self, name: str) -> bool:
        """This leg's media is part of the conversation: losing it ends the call."""
        return name in self._connected

    async def _allocate_caller(self, policy: Policy, caller: Session) -> _Side:
        setup = _our_setup(caller, self._towards_caller, offering=False)
        # The offerer is the controlling agent (RFC 8445 §6.1.1): the caller offered, so not we.
        transport = await self._engine.allocate(
            self._call, "caller", kind_of(self._towards_caller), controlling=False, setup=setup
        )
        side = _Side("caller", self._towards_caller, policy, transport, setup=setup)
        self._sides["caller"] = side
        return side

    async def _connect(self, side: _Side, remote: Session) -> None:
        transport = negotiate.remote_transport(remote, side.towards)
        if side.stream is None:
            raise NegotiationError("nothing was agreed")
        early = self._trickled.pop(side.name, [])
        if transport.ice is not None:
            # What was trickled before we connected belongs to the session as if it had come with it (XEP-0176 §5.4).
            found = tuple(c for notice in early for c in notice.candidates)
            complete = transport.ice.complete or any(notice.complete for notice in early)
            ice = replace(transport.ice, candidates=transport.ice.candidates + found, complete=complete)
            transport = replace(transport, ice=ice)
        await self._engine.connect(
            self._call, side.name, transport, side.stream, peer=self._peer.get(side.name), setup=side.setup
        )
        self._connected.add(side.name)


def _our_setup(theirs: Session, towards: Towards, *, offering: bool) -> Setup:
    fingerprint = negotiate.remote_transport(theirs, towards).fingerprint
    return Setup.ACTIVE if fingerprint is None else negotiate.our_setup(fingerprint.setup, offering=offering)
