"""The video of one call: what bridge.py does for its audio, done for the picture beside it.

    the callee is offered     offered()    a leg for its video, and a section in our offer
    the caller is answered    answered()   a leg for his, one codec for both, the two legs connected
    an end offers anew        reoffered()  the section stays while the end keeps it; a new one is refused

Names are those of the audio's legs; the engine's own name of a video leg has VIDEO behind it. Whatever goes wrong here
is logged, and the call goes on without a picture.

An end on the XMPP side that bundles (RFC 9143) has its video on the audio's transport. It is offered one of its own all
the same, since only its answer tells: Dino bundles nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from gateway.call.events import Trickled
from gateway.errors import MediaError, NegotiationError
from gateway.media.engine import VIDEO, LegKind, LegStatistics, MediaEngine
from gateway.session import protection, video
from gateway.session.audio import our_setup
from gateway.session.model import Direction, Media, Session, Setup, Stream, Transport
from gateway.session.policy import Policy, Towards
from gateway.session.protection import Srtp

log = structlog.get_logger()

MAX_TRICKLED = 64  # notices kept for video that is not connected yet


@dataclass(slots=True)
class _Picture:
    """One end's video as it stands."""

    towards: Towards
    srtp: Srtp
    ours: Media  # what we last said of it
    stream: Stream | None = None
    setup: Setup = Setup.ACTIVE
    bundled: bool = False
    connected: bool = False


class Pictures:
    """The video of one call; raises nothing."""

    def __init__(self, engine: MediaEngine, call: str) -> None:
        self._engine, self._call = engine, call
        self._ends: dict[str, _Picture] = {}
        self._given_back: dict[str, LegStatistics] = {}
        self._trickled: dict[str, list[Trickled]] = {}  # for ends that are not connected yet

    def wanted(self, policy: Policy, towards: Towards, caller: Session | None, *, said: bool) -> bool:
        """Whether to offer video for this caller; `said`: he wants it, and his session comes later."""
        if not policy.video or not self._engine.video:
            return False
        return said if caller is None else video.usable(caller, towards, policy.srtp) is not None

    async def offered(
        self, name: str, towards: Towards, policy: Policy, ours: Session, caller: Session | None, of_caller: Towards
    ) -> Session:
        """Our offer to this callee, with video."""
        try:
            transport = await self._engine.allocate_video(
                self._call,
                name + VIDEO,
                _kind(towards),
                controlling=True,
                setup=Setup.ACTPASS,
                sdes=towards is Towards.SIP and policy.srtp is not Srtp.OFF,
            )
        except MediaError as error:
            log.warning("a call without its video", call=self._call, leg=name, error=str(error))
            return ours
        theirs = None if caller is None else video.usable(caller, of_caller, policy.srtp)
        section = video.offer(theirs, transport, towards, policy.srtp)
        self._ends[name] = _Picture(towards, policy.srtp, section)
        return video.beside(ours, section)

    def said(self, name: str, session: Session) -> Session:
        """Our description to this end, with what became of its video by its answer."""
        end = self._ends.get(name)
        return session if end is None else session.with_media(end.ours)

    async def answered(
        self, name: str, callee: Session, near: str, towards: Towards, policy: Policy, caller: Session, answer: Session
    ) -> Session:
        """The callee answered our offer, and `answer` is ours to the caller: with video, if both take it.

        The legs of the audio are there; connect() follows.
        """
        far = self._ends.get(name)
        if far is None:
            return answer
        theirs = video.answered(far.ours, callee)
        offered = video.usable(caller, towards, policy.srtp)
        agreed = video.agree(offered, far.ours, theirs) if offered is not None and theirs is not None else None
        if offered is None or theirs is None or agreed is None:
            await self.release(name)
            return answer
        try:
            if video.shares(callee, theirs):
                await self._share(name, far)
            bundled = video.shares(caller, offered)
            setup = _setup(offered, offering=False)
            transport = await self._engine.allocate_video(
                self._call,
                near + VIDEO,
                _kind(towards),
                bundled=bundled,
                controlling=False,
                setup=setup,
                sdes=towards is Towards.SIP and policy.srtp is not Srtp.OFF,
                rtcp_mux=towards is Towards.SIP or offered.transport.rtcp_mux,
            )
            way = video.direction(offered, far.ours, theirs)
            section = video.answer(offered, agreed, transport, towards, way, policy.srtp)
        except (MediaError, NegotiationError) as error:
            log.warning("a call without its video", call=self._call, leg=near, error=str(error))
            await self.release(name)
            await self.release(near)
            return answer
        far.stream = video.callee_stream(far.ours, theirs, agreed)
        far.setup = _setup(theirs, offering=True)
        stream = video.caller_stream(section, agreed)
        self._ends[near] = _Picture(towards, policy.srtp, section, stream, setup, bundled)
        return video.placed(answer, section, caller)

    async def connect(self, name: str, peer: str, remote: Session) -> None:
        """This end's description is known, and its audio connected."""
        end = self._ends.get(name)
        theirs = _section(remote, end.ours) if end is not None else None
        if end is None or end.stream is None or theirs is None:
            return
        transport = self._with_trickled(name, theirs.transport)
        transport = replace(transport, crypto=protection.agreed(end.ours.transport, transport))
        end.ours = protection.settled(end.ours, transport)
        try:
            await self._engine.connect(
                self._call, name + VIDEO, transport, end.stream, peer=peer + VIDEO, setup=end.setup
            )
            end.connected = True
        except MediaError as error:
            log.warning("a call without its video", call=self._call, leg=name, error=str(error))

    async def trickle(self, name: str, notice: Trickled) -> None:
        """More candidates for video that has a path of its own."""
        end = self._ends.get(name)
        if end is not None and end.connected:
            try:
                await self._engine.candidates(
                    self._call, name + VIDEO, notice.candidates, ice=notice.ice, complete=notice.complete
                )
            except MediaError as error:
                log.warning("media", call=self._call, leg=name, error=str(error))
        elif len(waiting := self._trickled.setdefault(name, [])) < MAX_TRICKLED:
            waiting.append(notice)

    def _with_trickled(self, name: str, transport: Transport) -> Transport:
        found = tuple(c for notice in self._trickled.pop(name, []) for c in notice.candidates)
        ice = transport.ice
        return transport if ice is None else replace(transport, ice=replace(ice, candidates=ice.candidates + found))

    async def reoffered(self, name: str, peer: str, offer: Session, answer: Session, allowed: Direction) -> Session:
        """This end offers anew; our answer, with its video where that goes on. New video is refused."""
        end, offered = self._ends.get(name), None
        if end is not None and end.stream is not None:
            offered = video.usable(offer, end.towards, end.srtp) or _paused(offer)
        if end is None or end.stream is None or offered is None:
            return answer
        found = video.reanswer(offered, end.ours, end.stream, allowed)
        if found is None:
            return answer
        end.ours, end.stream = found
        await self.connect(name, peer, offer)
        return answer.with_media(end.ours)

    async def ask(self, name: str) -> None:
        """Ask this end for a whole picture."""
        end = self._ends.get(name)
        if end is None or not end.connected:
            return
        try:
            await self._engine.ask_picture(self._call, name + VIDEO)
        except MediaError as error:
            log.warning("media", call=self._call, leg=name, error=str(error))

    async def release(self, name: str) -> None:
        """The video of this end is over."""
        if self._ends.pop(name, None) is None:
            return
        self._trickled.pop(name, None)
        try:
            counted = await self._engine.release(self._call, name + VIDEO)
            self._given_back |= {leg: each for leg, each in counted.items() if each.received_packets}
        except MediaError as error:
            log.warning("media", call=self._call, leg=name, error=str(error))

    def close(self) -> dict[str, LegStatistics]:
        """The counters of legs that were given back before the call's end."""
        self._ends.clear()
        return self._given_back

    async def _share(self, name: str, end: _Picture) -> None:
        """This end bundles: its video is on the audio's transport, and what it was offered beside is not needed."""
        await self._engine.release(self._call, name + VIDEO)
        transport = await self._engine.allocate_video(self._call, name + VIDEO, _kind(end.towards), bundled=True)
        end.bundled = True
        end.ours = replace(end.ours, transport=transport)


def _kind(towards: Towards) -> LegKind:
    return LegKind.WEBRTC if towards is Towards.XMPP else LegKind.RTP


def _setup(theirs: Media, *, offering: bool) -> Setup:
    fingerprint = theirs.transport.fingerprint
    return Setup.ACTIVE if fingerprint is None else our_setup(fingerprint.setup, offering=offering)


def _section(session: Session, ours: Media) -> Media | None:
    """What an end says of the video that we speak of in `ours`."""
    found = [m for m in session.media if m.kind == "video" and not m.rejected]
    return next((m for m in found if m.name == ours.name), found[0] if found else None)


def _paused(offer: Session) -> Media | None:
    """A section that is on hold goes on, if only to be taken off it."""
    return offer.video if offer.video is not None and offer.video.codecs else None
