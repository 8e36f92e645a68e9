"""The media side of one call: what is allocated, negotiated and connected for it, in session facts.

The call's machine asks (PrepareOffer, PrepareAnswer), the switchboard hands the asking here, and this file knows which
transport, which codecs and which DTLS and ICE roles each leg gets. The caller's leg is allocated only when it is known
what to answer him with; each attempt's leg when it is asked.

    offer(attempt)   allocate callee<n>  ──> our offer to the callee
    answer(attempt)  allocate caller, agree, connect both ──> our answer to the caller
    test_line()      allocate caller, connect, prompt, loop ──> our answer to the caller

Inside a call, ends are named by number (0 is the caller, others are attempts): pair() and adopt() give one end another
to talk with, reoffer(), hold() and trickle() change what one end has agreed to, and the other end's media goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.call.causes import Cause
from gateway.call.events import Leg, Reanswered, Reoffered, Trickled
from gateway.errors import MediaError, NegotiationError
from gateway.media.engine import VIDEO, LegKind, LegStatistics, MediaEngine, Recorded
from gateway.pictures import Pictures
from gateway.reach import version_of
from gateway.session import negotiate, protection
from gateway.session.audio import our_setup, remote_transport
from gateway.session.model import Direction, Dtmf, Ice, Session, Setup, Stream, Transport
from gateway.session.policy import Policy, Towards
from gateway.session.protection import Srtp, UnprotectedError

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
    offered: bool = False  # we offered, and not this end
    ice: Ice | None = None  # its end's
    held: bool = False  # the other end has put this one on hold
    holds: bool = False  # this end takes nothing from the other one
    pending: Session | None = None  # what we offered anew

    @property
    def dtmf(self) -> Dtmf:
        return self.policy.dtmf if self.towards is Towards.SIP else Dtmf.RFC4733

    @property
    def takes_info(self) -> bool:
        return self.dtmf is Dtmf.INFO


@dataclass(frozen=True, slots=True)
class Reanswer:
    """What to say to an end that offered anew; `held` tells what that means for the other one, None: nothing new."""

    answer: Session
    held: bool | None = None


def kind_of(towards: Towards) -> LegKind:
    return LegKind.WEBRTC if towards is Towards.XMPP else LegKind.RTP


def leg_name(leg: Leg, attempt: int) -> str:
    """The engine's name of a leg."""
    return end_name(0 if leg is Leg.CALLER else attempt)


def number_of(name: str) -> int:
    """The number of the end whose leg has this name."""
    name = name.removesuffix(VIDEO)
    return 0 if name == "caller" else int(name.removeprefix("callee"))


def end_name(number: int) -> str:
    """The engine's name of the leg of an end with this number."""
    return f"callee{number}" if number else "caller"


Signalled = Callable[[int, str, int], None]  # the number of an end, digits, ms of each


class Bridge:
    """The media of one call. Its methods raise MediaError and NegotiationError; they are to be called one at a time."""

    def __init__(
        self, engine: MediaEngine, call: str, caller: Towards, signalled: Signalled = lambda number, digits, ms: None
    ) -> None:
        """`signalled` sends digits to an end that takes them by signalling alone."""
        self._signalled = signalled
        self._engine = engine
        self._call = call
        self._towards_caller = caller
        self._sides: dict[str, _Side] = {}
        self._connected: set[str] = set()
        self._trickled: dict[str, list[Trickled]] = {}
        self._peer: dict[str, str] = {}
        self._digits: list[tuple[str, str, int]] = []
        self._released: dict[str, LegStatistics] = {}  # counters of legs that were given back before
        self._recording: Recorded | None = None  # what is known of it
        self._notice = False  # whoever joins the conversation hears that it is recorded
        self._pictures = Pictures(engine, call)

    async def offer(
        self,
        attempt: int,
        towards: Towards,
        policy: Policy,
        caller: Session | None,
        beside: int | None = None,
        video: bool = False,
        ip: int | None = None,
        near: bool = False,
    ) -> Session:
        """Allocate this attempt's leg; what we offer its callee, who is to talk with the caller or the end `beside`.

        `video`: a caller whose session comes later wants it. `ip` is the version that the callee has, if he has one.
        A callee that is `near` is another call of ours.
        """
        if caller is not None:
            # Nobody's phone rings for a caller whom we would have to refuse when it is answered.
            negotiate.check(self._towards_caller, caller, policy)
        name = leg_name(Leg.CALLEE, attempt)
        transport = await self._engine.allocate(
            self._call,
            name,
            kind_of(towards),
            controlling=True,
            setup=Setup.ACTPASS,
            sdes=_keyed(towards, policy),
            # RFC 8035 §3: whoever offers to mux is ready for an answer that does not. Candidates of component 2 beside
            # rtcp-mux are what Dino offers everybody (0167_jingle_rtp/content_type.vala); libwebrtc passes them over.
            rtcp_mux=towards is Towards.SIP,
            ip=ip,
            near=near,
        )
        kept = None if beside is None else self._agreed(beside).stream
        ours = negotiate.offer_callee(policy, towards, caller, transport, kept)
        if beside is None and self._pictures.wanted(policy, self._towards_caller, caller, said=video):
            ours = await self._pictures.offered(name, towards, policy, ours, caller, self._towards_caller)
        self._sides[name] = _Side(name, towards, policy, transport, ours, offered=True)
        return ours

    async def offer_caller(self, policy: Policy, ip: int | None = None) -> Session:
        """Allocate the caller's leg; what we offer a caller who waits for an offer (an INVITE without SDP). `ip` is the
        version that he comes by.
        """
        transport = await self._engine.allocate(
            self._call,
            "caller",
            kind_of(self._towards_caller),
            controlling=True,
            setup=Setup.ACTPASS,
            sdes=_keyed(self._towards_caller, policy),
            ip=ip,
        )
        ours = negotiate.offer_callee(policy, self._towards_caller, None, transport)
        self._sides["caller"] = _Side("caller", self._towards_caller, policy, transport, ours, offered=True)
        return ours

    async def answer(self, attempt: int, policy: Policy, callee: Session, caller: Session) -> Session:
        """Bring the callee that answered and the caller together; what we answer the caller."""
        side = self._asked(attempt)
        mine = self._sides.get("caller")
        if mine is not None and mine.offered and mine.ours is not None:
            return await self._answered_both(side, callee, mine, caller)
        if side.ours is None:
            raise MediaError("nothing was offered")
        mine = await self._allocate_caller(policy, caller)
        agreed = negotiate.answer_caller(policy, self._towards_caller, caller, side.ours, callee, mine.transport)
        mine.ours, mine.stream, side.stream = agreed.answer, agreed.caller, agreed.callee
        mine.ours = await self._pictures.answered(
            side.name, callee, mine.name, self._towards_caller, policy, caller, agreed.answer
        )
        side.ours = self._pictures.said(side.name, side.ours)
        answer = mine.ours
        await self._bring_together(side, callee, mine, caller)
        await self._pictures.connect(side.name, mine.name, callee)
        await self._pictures.connect(mine.name, side.name, caller)
        return answer

    async def _answered_both(self, side: _Side, callee: Session, mine: _Side, caller: Session) -> Session:
        """Both ends have answered offers of ours."""
        if mine.ours is None or side.ours is None:
            raise MediaError("nothing was offered")
        mine.stream = negotiate.callee_stream(mine.ours, caller)
        side.stream = negotiate.callee_stream(side.ours, callee, side.policy, mine.stream)
        mine.setup = _our_setup(caller, mine.towards, offering=True)
        await self._bring_together(side, callee, mine, caller)
        return mine.ours

    async def _bring_together(self, side: _Side, callee: Session, mine: _Side, caller: Session) -> None:
        side.setup = _our_setup(callee, side.towards, offering=True)
        self._couple(mine, side)
        await self._connect(side, callee)
        await self._connect(mine, caller)

    async def pair(self, attempt: int, callee: Session, beside: int) -> None:
        """This attempt's callee answered, and talks from now on with an end that keeps what it has agreed to."""
        side, kept = self._asked(attempt), self._agreed(beside)
        if side.ours is None:
            raise MediaError("nothing was offered")
        side.stream = negotiate.callee_stream(side.ours, callee, side.policy, kept.stream)
        side.setup = _our_setup(callee, side.towards, offering=True)
        self._couple(kept, side)
        await self._connect(side, callee)
        await self._tell_recorded(side.name)

    async def adopt(
        self, attempt: int, towards: Towards, policy: Policy, offer: Session, beside: int, near: bool = False
    ) -> Session:
        """Somebody calls in place of another end; what we answer him. He talks with the end `beside` from now on."""
        kept = self._agreed(beside)
        if kept.stream is None:
            raise NegotiationError("nothing was agreed")
        negotiate.check(towards, offer, policy)
        name, setup = end_name(attempt), _our_setup(offer, towards, offering=False)
        transport = await self._engine.allocate(
            self._call,
            name,
            kind_of(towards),
            controlling=False,
            setup=setup,
            sdes=_keyed(towards, policy),
            rtcp_mux=_muxes(offer, towards),
            ip=_ip_of(offer),
            near=near,
        )
        side = _Side(name, towards, policy, transport, setup=setup)
        self._sides[name] = side
        side.ours, side.stream = negotiate.answer_beside(policy, towards, offer, kept.stream, transport)
        self._couple(kept, side)
        await self._connect(side, offer)
        await self._tell_recorded(side.name)
        return side.ours

    async def test_line(self, policy: Policy, caller: Session) -> Session:
        """Answer the caller with a prompt and his own voice."""
        mine = await self._allocate_caller(policy, caller)
        answer, stream = negotiate.answer_alone(policy, self._towards_caller, caller, mine.transport)
        mine.ours, mine.stream = answer, stream
        await self._connect(mine, caller)
        await self._engine.play(self._call, mine.name, "echo")
        await self._engine.loop(self._call, mine.name)
        return answer

    async def reoffer(self, notice: Reoffered) -> Reanswer:
        """The end of a leg offers anew (RFC 3264 §8): keep our transport, follow its address, codec and direction."""
        name = leg_name(notice.leg, notice.attempt)
        side = self._sides.get(name)
        if side is None or side.ours is None or side.stream is None or name not in self._connected:
            raise NegotiationError("nothing to renegotiate yet")
        if notice.session is None:  # RFC 3264 §5: it wants our offer, which Reanswered follows
            side.pending = negotiate.held(side.ours, side.stream, _allowed(side))
            side.ours = replace(side.ours, version=side.pending.version)
            return Reanswer(side.pending)
        peer = self._sides.get(self._peer.get(name, ""))
        answer, stream = negotiate.reanswer(
            side.policy,
            side.towards,
            notice.session,
            ours=side.ours,
            stream=side.stream,
            peer=peer.stream if peer else None,
            allowed=_allowed(side),
        )
        before, side.ours, side.stream = side.ours, answer, stream
        await self._connect(side, notice.session)
        peers = self._peer.get(name, "")
        side.ours = await self._pictures.reoffered(name, peers, notice.session, side.ours, _allowed(side))
        if replace(side.ours, version=before.version) == before:
            side.ours = before
        return Reanswer(side.ours, self._directed(side, notice.session))

    def _directed(self, side: _Side, theirs: Session) -> bool | None:
        """Whether this end takes nothing any more, or again; None when that is as it was (RFC 3264 §8.4)."""
        audio = theirs.audio
        holds = audio is not None and audio.direction in (Direction.SENDONLY, Direction.INACTIVE)
        changed, side.holds = holds != side.holds, holds
        return holds if changed else None

    async def hold(self, leg: Leg, attempt: int, held: bool) -> Session | None:
        """One end put the other on hold, or took it off: that one hears music, or the talk again. What it is offered
        anew; None when nothing changes by it.
        """
        side = self._sides.get(self._peer.get(leg_name(leg, attempt), ""))
        if side is None or side.ours is None or side.stream is None or side.held is held:
            return None
        side.held = held
        # An end that holds by its media's direction has music of its own (RFC 3264 §8.4); a word alone brings none.
        if self._sides[self._peer[side.name]].towards is Towards.XMPP:
            if held:
                await self._engine.play(self._call, side.name, "hold")
            else:
                await self._engine.stop_playing(self._call, side.name)
        if side.towards is Towards.XMPP:
            return side.ours
        side.pending = negotiate.held(side.ours, side.stream, _allowed(side))
        # RFC 3264 §8: the next description differs from this one, whether or not it is taken.
        side.ours = replace(side.ours, version=side.pending.version)
        return side.pending

    async def reanswered(self, notice: Reanswered) -> None:
        """An end answered what we offered it anew; if it would not, everything stays as it was."""
        side = self._sides.get(leg_name(notice.leg, notice.attempt))
        if side is None or side.pending is None:
            return
        offer, side.pending = side.pending, None
        if notice.session is None:
            return
        peer = self._sides.get(self._peer.get(side.name, ""))
        side.stream = negotiate.callee_stream(offer, notice.session, side.policy, peer.stream if peer else None)
        side.ours = offer
        await self._connect(side, notice.session)
        if peer is not None:
            await self._pictures.connect(side.name, peer.name, notice.session)

    async def play(self, number: int, prompt: str | None) -> None:
        """Let this end hear a prompt; None ends it."""
        name = end_name(number)
        if name not in self._connected:
            return
        if prompt is None:
            await self._engine.stop_playing(self._call, name)
        else:
            await self._engine.play(self._call, name, prompt)

    async def trickle(self, notice: Trickled) -> Session | None:
        """Candidates that came later than their session; kept while the leg is not connected.

        With credentials that are new its end restarts ICE: then what we say of ourselves anew.
        """
        name = leg_name(notice.leg, notice.attempt)
        if notice.video:
            await self._pictures.trickle(name, notice)
            return None
        if name not in self._connected:
            waiting = self._trickled.setdefault(name, [])
            if len(waiting) < MAX_TRICKLED:
                waiting.append(notice)
            return None
        side = self._sides.get(name)
        if side is not None and side.ours is not None and notice.ice is not None and _is_new(notice.ice, side.ice):
            theirs = replace(notice.ice, candidates=notice.candidates, complete=notice.complete)
            side.transport = await self._engine.restart(self._call, name, theirs)
            side.ice = theirs
            side.ours = negotiate.moved(side.ours, side.transport)
            return side.ours
        await self._engine.candidates(self._call, name, notice.candidates, ice=notice.ice, complete=notice.complete)
        return None

    async def ask_picture(self, leg: Leg, attempt: int) -> None:
        """One end needs a whole picture of the other."""
        if peer := self._peer.get(leg_name(leg, attempt)):
            await self._pictures.ask(peer)

    async def digits(self, leg: Leg, attempt: int, digits: str, duration: int) -> None:
        """Digits that one end pressed by signalling go out at the other as it takes them; kept until there is one."""
        peer = self._peer.get(leg_name(leg, attempt))
        if peer is None or peer not in self._connected:
            if leg is Leg.CALLER and sum(len(waiting) for _, waiting, _ in self._digits) + len(digits) <= MAX_DIGITS:
                self._digits.append((leg_name(leg, attempt), digits, duration))
            return
        await self._dial(peer, digits, duration)

    def heard(self, name: str, digit: str, duration: int) -> None:
        """A digit came with this leg's media. The engine passes it on, but to an end that takes none in its media."""
        peer = self._peer.get(name)
        if peer in self._connected and self._sides[peer].takes_info:
            self._signalled(number_of(peer), digit, duration)

    async def _dial(self, name: str, digits: str, duration: int) -> None:
        if self._sides[name].takes_info:
            self._signalled(number_of(name), digits, duration)
        else:
            await self._engine.dtmf(self._call, name, digits, duration)

    async def flush_digits(self) -> None:
        """The call is up: what the caller pressed before the answer goes out now."""
        waiting, self._digits = self._digits, []
        for name, digits, duration in waiting:
            if peer := self._peer.get(name):
                await self._dial(peer, digits, duration)

    async def record(self, name: str, *, notice: bool) -> None:
        """Record the conversation from now on, in a file of this name. With `notice` its ends hear so first, and so
        does whoever joins it later. Asked again it changes nothing.
        """
        if self._recording is not None:
            return
        try:
            await self._engine.record(self._call, name)
        except MediaError as error:
            self._recording = Recorded("", str(error))
            raise
        self._recording, self._notice = Recorded(name), notice
        for side in [name for name in self._sides if name in self._peer or name == "caller"]:
            await self._tell_recorded(side)

    async def _tell_recorded(self, side: str) -> None:
        if self._notice and side in self._connected:
            await self._engine.play(self._call, side, "notice")

    async def recorded(self) -> Recorded | None:
        """End the recording; what became of it, None where there was none."""
        if self._recording is None or not self._recording.file:
            return self._recording
        try:
            return await self._engine.recorded(self._call)
        except MediaError as error:
            return replace(self._recording, fault=str(error))

    async def release_attempt(self, attempt: int) -> None:
        name = end_name(attempt)
        self._sides.pop(name, None)
        self._trickled.pop(name, None)
        self._connected.discard(name)
        await self._pictures.release(name)
        self._released |= await self._engine.release(self._call, name)

    async def close(self) -> dict[str, LegStatistics]:
        """Give everything back; the counters the legs had."""
        self._sides.clear()
        self._connected.clear()
        return self._released | self._pictures.close() | await self._engine.release(self._call)

    def peer_of(self, leg: Leg, attempt: int) -> int:
        """The number of the end that this one talks with; its own, when there is none."""
        name = leg_name(leg, attempt)
        return number_of(self._peer.get(name, name))

    def carries(self, name: str) -> bool:
        """This leg's media is part of the conversation: losing it ends the call."""
        return name in self._connected

    def _asked(self, attempt: int) -> _Side:
        side = self._sides.get(end_name(attempt))
        if side is None or side.ours is None:
            raise MediaError(f"{end_name(attempt)} was never offered anything")
        return side

    def _agreed(self, number: int) -> _Side:
        side = self._sides.get(end_name(number))
        if side is None or side.stream is None:
            raise MediaError(f"{end_name(number)} has agreed to nothing")
        return side

    def _couple(self, one: _Side, other: _Side) -> None:
        self._peer = {one.name: other.name, other.name: one.name}

    async def _allocate_caller(self, policy: Policy, caller: Session) -> _Side:
        setup = _our_setup(caller, self._towards_caller, offering=False)
        # The offerer is the controlling agent (RFC 8445 §6.1.1): the caller offered, so not we.
        transport = await self._engine.allocate(
            self._call,
            "caller",
            kind_of(self._towards_caller),
            controlling=False,
            setup=setup,
            sdes=_keyed(self._towards_caller, policy),
            rtcp_mux=_muxes(caller, self._towards_caller),
            ip=_ip_of(caller),
        )
        side = _Side("caller", self._towards_caller, policy, transport, setup=setup)
        self._sides["caller"] = side
        return side

    async def _connect(self, side: _Side, remote: Session) -> None:
        transport = remote_transport(remote, side.towards, side.policy.srtp)
        if side.stream is None or side.ours is None or side.ours.audio is None:
            raise NegotiationError("nothing was agreed")
        ours = side.ours.audio
        transport = replace(transport, crypto=protection.agreed(ours.transport, transport))
        side.ours = side.ours.with_media(protection.settled(ours, transport))
        early = self._trickled.pop(side.name, [])
        if transport.ice is not None:
            # What was trickled before we connected belongs to the session as if it had come with it (XEP-0176 §5.4).
            found = tuple(c for notice in early for c in notice.candidates)
            complete = transport.ice.complete or any(notice.complete for notice in early)
            ice = replace(transport.ice, candidates=transport.ice.candidates + found, complete=complete)
            transport = replace(transport, ice=ice)
            side.ice = ice
        await self._engine.connect(
            self._call,
            side.name,
            transport,
            replace(side.stream, dtmf=side.dtmf),
            peer=self._peer.get(side.name),
            setup=side.setup,
        )
        self._connected.add(side.name)


def cause_of(error: MediaError | NegotiationError) -> Cause:
    """Why a call ends that the bridge could not be made for."""
    if isinstance(error, MediaError):
        return Cause.INTERNAL
    return Cause.SECURITY if isinstance(error, UnprotectedError) else Cause.NO_COMMON_CODEC


def _keyed(towards: Towards, policy: Policy) -> bool:
    """Whether this leg may protect its media with keys in the SDP."""
    return towards is Towards.SIP and policy.srtp is not Srtp.OFF


def _muxes(offer: Session, towards: Towards) -> bool:
    """Whether this end takes RTP and RTCP on one component.

    COMPAT: QXmpp 1.16.3 (Kaidan) does not, and waits for both (QXmppStun.cpp:2563).
    """
    return towards is Towards.SIP or remote_transport(offer, towards).rtcp_mux


def _ip_of(offer: Session) -> int | None:
    """The version of IP at which whoever offers this wants to be sent to."""
    return version_of(offer.audio.transport.address) if offer.audio is not None else None


def _allowed(side: _Side) -> Direction:
    """What the other end lets us do on this side."""
    return Direction.SENDONLY if side.held else Direction.SENDRECV


def _is_new(ice: Ice, known: Ice | None) -> bool:
    """RFC 8445 §9: an ICE restart changes both."""
    return known is not None and (ice.ufrag, ice.pwd) != (known.ufrag, known.pwd)


def _our_setup(theirs: Session, towards: Towards, *, offering: bool) -> Setup:
    """Who begins with DTLS, which is spoken towards XMPP alone."""
    fingerprint = remote_transport(theirs, towards).fingerprint if towards is Towards.XMPP else None
    return Setup.ACTIVE if fingerprint is None else our_setup(fingerprint.setup, offering=offering)
