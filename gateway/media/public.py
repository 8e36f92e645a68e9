"""The public commands of rtpengine's ng protocol, for programs that bring their own SDP: ping, offer, answer, delete,
query, list.

    offer   SDP of the caller ──> allocate the callee's leg ──> SDP for the callee
    answer  SDP of the callee ──> allocate the caller's leg, connect both ──> SDP for the caller
    delete, query

`transport-protocol` of an offer says what the callee speaks: UDP/TLS/RTP/SAVPF (ICE and DTLS-SRTP) or RTP/AVP; without
it he speaks what the caller does. `codec` may hold `transcode`, the codecs that plain RTP may use. Flags that are not
known here are ignored, as rtpengine ignores them; commands that are not are refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.errors import GatewayError, NgError
from gateway.media.engine import LegKind, LegStatistics
from gateway.session import negotiate, sdp
from gateway.session.audio import our_setup, remote_transport
from gateway.session.model import Profile, Session, Setup, Stream, Transport
from gateway.session.policy import Policy, Towards

DEFAULT = ("PCMA", "PCMU", "G722", "opus")
MAX_LISTED = 1_000
OFFER_PATIENCE = 3_600.0  # s, until an offer that nobody answered is forgotten; rtpengine's own default

Message = Mapping[str, Any]
Answer = Mapping[str, Any]


class Engine(Protocol):
    """What is needed of gateway.media.engine.MediaEngine."""

    async def allocate(
        self, call: str, leg: str, kind: LegKind, *, controlling: bool = False, setup: Setup = Setup.ACTPASS
    ) -> Transport: ...

    async def connect(
        self,
        call: str,
        leg: str,
        remote: Transport,
        stream: Stream,
        *,
        peer: str | None = None,
        setup: Setup = Setup.ACTIVE,
    ) -> None: ...

    async def release(self, call: str, leg: str | None = None) -> dict[str, LegStatistics]: ...

    async def statistics(self, call: str) -> dict[str, LegStatistics]: ...


@dataclass(frozen=True, slots=True)
class Offered:
    """A call between its offer and its end."""

    caller: Session
    towards_caller: Towards
    ours: Session
    policy: Policy
    since: float
    answered: bool = False


class Public:
    """Runs public commands on an engine. `now` tells seconds."""

    def __init__(self, engine: Engine, now: Callable[[], float]) -> None:
        self._engine = engine
        self._now = now
        self._calls: dict[str, Offered] = {}
        self._commands: dict[str, Callable[[Message], Awaitable[Answer]]] = {
            "ping": self._ping,
            "offer": self._offer,
            "answer": self._answer,
            "delete": self._delete,
            "query": self._query,
            "list": self._list,
        }

    async def handle(self, message: Message) -> Answer:
        """The answer to one command. Raises NgError."""
        command = self._commands.get(_text(message, "command"))
        if command is None:
            raise NgError("Unrecognized command")
        try:
            return await command(message)
        except NgError:
            raise
        except GatewayError as error:
            raise NgError(str(error)) from error

    async def _ping(self, _: Message) -> Answer:
        return {"result": "pong"}

    async def _offer(self, message: Message) -> Answer:
        await self._forget_unanswered()
        call, caller = _text(message, "call-id"), sdp.parse(_text(message, "sdp"))
        towards = _towards(_profile(message), caller)
        policy = _policy(message)
        transport = await self._engine.allocate(call, "callee", _kind(towards), controlling=True)
        try:
            ours = negotiate.offer_callee(policy, towards, caller, transport)
        except GatewayError:
            if call not in self._calls:
                await self._engine.release(call)
            raise
        self._calls[call] = Offered(caller, _towards(None, caller), ours, policy, self._now())
        return {"result": "ok", "sdp": sdp.render(ours)}

    async def _answer(self, message: Message) -> Answer:
        call, callee = _text(message, "call-id"), sdp.parse(_text(message, "sdp"))
        known = self._known(call)
        setup = _setup(known.caller, offering=False)
        transport = await self._engine.allocate(call, "caller", _kind(known.towards_caller), setup=setup)
        agreed = negotiate.answer_caller(
            known.policy, known.towards_caller, known.caller, known.ours, callee, transport
        )
        far, near = remote_transport(callee), remote_transport(known.caller)
        theirs = _setup(callee, offering=True)
        await self._engine.connect(call, "callee", far, agreed.callee, peer="caller", setup=theirs)
        await self._engine.connect(call, "caller", near, agreed.caller, peer="callee", setup=setup)
        self._calls[call] = Offered(
            known.caller, known.towards_caller, known.ours, known.policy, known.since, answered=True
        )
        return {"result": "ok", "sdp": sdp.render(agreed.answer)}

    async def _delete(self, message: Message) -> Answer:
        call = _text(message, "call-id")
        self._known(call)
        del self._calls[call]
        return {"result": "ok", **_totals(await self._engine.release(call))}

    async def _query(self, message: Message) -> Answer:
        call = _text(message, "call-id")
        known = self._known(call)
        return {"result": "ok", "created": int(known.since), **_totals(await self._engine.statistics(call))}

    async def _list(self, message: Message) -> Answer:
        limit = message.get("limit", 32)
        if not isinstance(limit, int) or not 0 < limit <= MAX_LISTED:
            raise NgError(f"limit is not between 1 and {MAX_LISTED}")
        return {"result": "ok", "calls": list(self._calls)[:limit]}

    async def _forget_unanswered(self) -> None:
        limit = self._now() - OFFER_PATIENCE
        for call in [call for call, known in self._calls.items() if not known.answered and known.since < limit]:
            del self._calls[call]
            await self._engine.release(call)

    async def lost(self, call: str) -> None:
        """Media of this call is over: nobody may ever delete it, so it is forgotten now."""
        if self._calls.pop(call, None) is not None:
            await self._engine.release(call)

    def _known(self, call: str) -> Offered:
        if call not in self._calls:
            raise NgError("Unknown call-id")
        return self._calls[call]


def _text(message: Message, key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str):
        raise NgError(f"{key} is missing")
    return value


def _profile(message: Message) -> Profile | None:
    named = message.get("transport-protocol")
    try:
        return None if named is None else Profile(named)
    except ValueError as error:
        raise NgError(f"transport-protocol {named} is not supported") from error


def _towards(profile: Profile | None, session: Session) -> Towards:
    if profile is None:
        dtls = session.audio is not None and session.audio.transport.ice is not None
    elif profile not in (Profile.AVP, Profile.DTLS):
        raise NgError(f"transport-protocol {profile} is not supported")
    else:
        dtls = profile.dtls
    return Towards.XMPP if dtls else Towards.SIP


def _kind(towards: Towards) -> LegKind:
    return LegKind.WEBRTC if towards is Towards.XMPP else LegKind.RTP


def _policy(message: Message) -> Policy:
    codec = message.get("codec", {})
    wanted = codec.get("transcode", []) if isinstance(codec, dict) else []
    names = tuple(name for name in wanted if isinstance(name, str)) if isinstance(wanted, list) else ()
    return Policy(names or DEFAULT)


def _setup(theirs: Session, *, offering: bool) -> Setup:
    audio = theirs.audio
    if audio is None or audio.transport.fingerprint is None:
        return Setup.ACTIVE
    return our_setup(audio.transport.fingerprint.setup, offering=offering)


def _totals(legs: Mapping[str, LegStatistics]) -> dict[str, Any]:
    """The shape of rtpengine's totals: what came in, over all legs; and our own counters by leg."""
    rtp = {
        "packets": sum(leg.received_packets for leg in legs.values()),
        "bytes": sum(leg.received_octets for leg in legs.values()),
    }
    by_leg = {
        name: {
            "received": leg.received_packets,
            "sent": leg.sent_packets,
            "codec": leg.codec,
            "connected": int(leg.connected),
            "dropped": dict(leg.dropped),
        }
        for name, leg in legs.items()
    }
    return {"totals": {"RTP": rtp}, "legs": by_leg}
