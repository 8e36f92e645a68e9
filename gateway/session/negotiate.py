"""What to offer, what to answer, and what the media engine is then to do: RFC 3264 for two legs at once.

        caller ──offer──> us ──offer_callee──> callee
        caller <─answer── us <─────answer───── callee
                          └─ answer_caller: the answer, and a Stream per leg

Rules
1. A codec that both ends have is relayed; only opus, PCMA and PCMU can be turned into each other, if the policy says so.
2. Policy.codecs is what the SIP side may use, in its order. An XMPP end may use whatever it offered.
3. Answers keep the offer's sections, their names, order and payload numbers, and hold one voice codec: the chosen one.
4. telephone-event is answered only if offered, at the chosen codec's clock (RFC 4733 §2.1); towards XMPP without
   parameters, towards SIP with `0-15`.
5. Towards XMPP media is DTLS-SRTP over ICE or nothing. Hold never shows there: those clients know no content-modify.

Payload numbers: what we send carries the number that the receiver gave (RFC 3264 §5.1), what we get carries ours.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.errors import NegotiationError
from gateway.session.model import Codec, Direction, Media, Profile, Session, Setup, Stream, Transport
from gateway.session.payloads import NUMBERS, STATIC

TRANSCODABLE = frozenset({"opus", "pcma", "pcmu"})
_BROWSERS = ("opus", "G722", "PCMU", "PCMA")  # the voices that libwebrtc has, whose payload numbers we borrow
_OPUS = Codec(111, "opus", 48_000, 2, (("minptime", "10"), ("useinbandfec", "1")))
_XMPP_DTMF = {48_000: Codec(110, "telephone-event", 48_000), 8000: Codec(126, "telephone-event", 8000)}
_EVENTS = (("", "0-15"),)  # RFC 4733 §2.4.1: the keys of a telephone and A-D
_SIP_DTMF = {
    8000: Codec(101, "telephone-event", 8000, 1, _EVENTS),
    48_000: Codec(102, "telephone-event", 48_000, 1, _EVENTS),
}
# Encodings that have no static number but that an operator may list: their clocks and channels.
_DYNAMIC = {
    "opus": _OPUS,
    "SPEEX": Codec(0, "speex", 8000),
    "ILBC": Codec(0, "iLBC", 8000),
    "G726-32": Codec(0, "G726-32", 8000),
    "AMR": Codec(0, "AMR", 8000),
    "AMR-WB": Codec(0, "AMR-WB", 16_000),
}
_PTIME = 20


class Towards(enum.StrEnum):
    """What an end speaks: ICE with DTLS-SRTP, or plain RTP."""

    XMPP = "xmpp"
    SIP = "sip"


class Transcode(enum.StrEnum):
    """Whether voices may be turned into one another: a gain in reach and in loss, a cost in CPU and quality."""

    NEVER = "never"
    FALLBACK = "fallback"  # relay what both ends have, transcode only if there is nothing
    PREFER_OPUS = "prefer-opus"  # opus on the XMPP side whenever it has it


@dataclass(frozen=True, slots=True)
class Policy:
    """What the SIP side may use: encoding names in order of preference."""

    codecs: tuple[str, ...] = ("PCMA", "PCMU")
    transcode: Transcode = Transcode.FALLBACK


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both ends came to: our answer to the caller, and what the engine is to do on each leg."""

    answer: Session
    caller: Stream
    callee: Stream


class UnprotectedError(NegotiationError):
    """The end would take the call without the protection that its side demands (no DTLS, no ICE; SDES only)."""


# ----------------------------------------------------------------------------------------------------------- offering


def offer_callee(policy: Policy, towards: Towards, caller: Session | None, transport: Transport) -> Session:
    """What we offer the callee for this caller; None where the caller's own session comes later.

    Raises NegotiationError when the policy leaves nothing that could be offered.
    """
    theirs = _voices(policy, _taken(caller)) if caller is not None else None
    voices = _for_sip(policy, theirs) if towards is Towards.SIP else _for_xmpp(policy, theirs)
    if not voices:
        raise NegotiationError("no codec that the policy allows could be offered")
    dtmf = _XMPP_DTMF if towards is Towards.XMPP else _SIP_DTMF
    clocks = dict.fromkeys(48_000 if _is_opus(codec) else 8000 for codec in voices)
    codecs = (*voices, *(dtmf[clock] for clock in clocks))
    direction = Direction.SENDRECV
    if caller is not None and towards is Towards.SIP:
        direction = _taken(caller).direction
    return Session((_section("audio", codecs, transport, towards, direction, offering=True),))


def _for_sip(policy: Policy, caller: tuple[Codec, ...] | None) -> tuple[Codec, ...]:
    """The policy's codecs; with a caller, what can be relayed comes first, then what can be reached by transcoding."""
    wanted = [codec for name in policy.codecs if (codec := _named(name)) is not None]
    if caller is not None:
        relayed = [_with_parameters(codec, twin) for codec in wanted if (twin := _twin(codec, caller)) is not None]
        others = [codec for codec in wanted if _twin(codec, caller) is None and _transcodable(codec)]
        reachable = policy.transcode is not Transcode.NEVER and any(map(_transcodable, caller))
        wanted = relayed + (others if reachable else [])
        if policy.transcode is Transcode.PREFER_OPUS and any(map(_is_opus, caller)):
            # opus will be spoken on the other side whatever comes: the trunk's own order decides on this one
            wanted.sort(key=lambda codec: _rank(codec.name, policy.codecs))
    return _numbered(wanted)


def _for_xmpp(policy: Policy, caller: tuple[Codec, ...] | None) -> tuple[Codec, ...]:
    """The caller's codecs that libwebrtc knows, in the policy's order, and opus where it can be transcoded."""
    source = (
        [codec for name in policy.codecs if (codec := _named(name)) is not None] if caller is None else list(caller)
    )
    source.sort(key=lambda codec: _rank(codec.name, policy.codecs))
    known = {name.lower(): name for name in _BROWSERS}
    voices = [_OPUS if _is_opus(c) else STATIC[NUMBERS[c.name.upper()]] for c in source if c.name.lower() in known]
    if policy.transcode is not Transcode.NEVER and any(map(_transcodable, source)) and _OPUS not in voices:
        voices.append(_OPUS)
    if policy.transcode is Transcode.PREFER_OPUS:
        voices.sort(key=lambda codec: not _is_opus(codec))
    return tuple(dict.fromkeys(voices))


# ---------------------------------------------------------------------------------------------------------- answering


def answer_caller(  # noqa: PLR0917 - three sessions, in the order in which a call makes them
    policy: Policy, towards_caller: Towards, caller: Session, our_offer: Session, callee: Session, transport: Transport
) -> Agreement:
    """Bring the caller's offer and the callee's answer together. Raises NegotiationError, UnprotectedError."""
    offered = _taken(caller)
    _protected(offered, towards_caller)
    ours, theirs = answered(our_offer, callee)
    if ours.profile.dtls:
        _protected(theirs, Towards.XMPP)
    near, far = _pair(policy, towards_caller, offered, ours, theirs)
    callee_stream = _offered_stream(ours, theirs, far)
    relayed = near.same_as(far) or (_is_opus(near) and _is_opus(far))
    direction = offered.direction.reversed
    if towards_caller is Towards.SIP:
        direction = _both(direction, theirs.direction)
    answer = _answer(
        towards_caller,
        caller,
        offered,
        _with_parameters(near, far) if relayed else _own(near),
        transport,
        direction,
        callee_stream.ptime if relayed else _PTIME,
    )
    return Agreement(answer, _answered_stream(offered, _taken(answer), near), callee_stream)


def answer_alone(policy: Policy, towards: Towards, offer: Session, transport: Transport) -> tuple[Session, Stream]:
    """Answer an offer ourselves, as the test line does: with a codec that the engine can speak."""
    offered = _taken(offer)
    _protected(offered, towards)
    voices = _voices(policy, offered, towards)
    chosen = next(filter(_transcodable, voices), None)
    if chosen is None:
        raise NegotiationError("the offer has no codec that the gateway speaks")
    answer = _answer(towards, offer, offered, _own(chosen), transport, offered.direction.reversed, _PTIME)
    return answer, _answered_stream(offered, _taken(answer), chosen)


def reanswer(
    policy: Policy, towards: Towards, offer: Session, *, ours: Session, stream: Stream, peer: Stream | None = None
) -> tuple[Session, Stream]:
    """Answer a new offer inside a call (re-INVITE: hold, another address, another codec), on the transport of `ours`.

    `ours` is what we said last on this leg and `stream` what holds there; `peer` is the other leg's stream. The codec
    stays if it is offered still; else one that the peer's leg speaks already; else one that can be transcoded. Raises
    NegotiationError, UnprotectedError.
    """
    offered = _taken(offer)
    _protected(offered, towards)
    voices = _voices(policy, offered, towards)
    speaks = [stream.send, *([peer.send] if peer is not None else [])]
    chosen = next((twin for codec in speaks if (twin := _twin(codec, voices)) is not None), None)
    if chosen is None and policy.transcode is not Transcode.NEVER and (peer is None or _transcodable(peer.send)):
        chosen = next(filter(_transcodable, voices), None)
    if chosen is None:
        raise NegotiationError("the new offer has no codec that this call can go on with")
    transport = _taken(ours).transport
    answer = _answer(towards, offer, offered, _own(chosen), transport, offered.direction.reversed, _PTIME)
    # RFC 3264 §8: the version counts up whenever the description differs from the last one.
    answer = replace(answer, origin=ours.origin, id=ours.id, version=ours.version)
    if answer != ours:
        answer = replace(answer, version=ours.version + 1)
    return answer, _answered_stream(offered, _taken(answer), chosen)


def callee_stream(our_offer: Session, answer: Session) -> Stream:
    """What a leg that answered our offer came to by itself: a re-INVITE of ours, or an offer of ours in a 200.

    Raises NegotiationError, UnprotectedError.
    """
    ours, theirs = answered(our_offer, answer)
    if ours.profile.dtls:
        _protected(theirs, Towards.XMPP)
    return _offered_stream(ours, theirs, _answered_voices(ours, theirs)[0])


def answered(our_offer: Session, answer: Session) -> tuple[Media, Media]:
    """Our audio section and what the answer says of it. Raises NegotiationError where it takes none."""
    ours = _taken(our_offer)
    theirs = next((m for m in answer.media if m.name == ours.name and m.kind == "audio"), answer.audio)
    if theirs is None or theirs.rejected or theirs.foreign:
        raise NegotiationError("the answer takes no audio")
    if not _answered_voices(ours, theirs):
        raise NegotiationError("the answer has no codec that was offered")
    return ours, theirs


def remote_transport(session: Session) -> Transport:
    """Where that end's audio is: with BUNDLE that is the transport of the group's first section (RFC 9143 §7.3).

    The candidates of all sections that share the credentials are put together. Raises NegotiationError without audio.
    """
    audio = _taken(session)
    ice = audio.transport.ice
    if audio.name not in session.bundle or ice is None:
        return audio.transport
    by_name = {m.name: m for m in session.media if not m.rejected and not m.foreign}
    tagged = next((by_name[name] for name in session.bundle if name in by_name), audio)
    ice = tagged.transport.ice or ice
    shared = [by_name[name].transport.ice for name in session.bundle if name in by_name]
    candidates = dict.fromkeys(
        c for one in shared if one is not None and one.ufrag == ice.ufrag for c in one.candidates
    )
    return replace(
        audio.transport,
        address=tagged.transport.address,
        port=tagged.transport.port,
        ice=replace(
            ice, candidates=tuple(candidates), complete=any(one is not None and one.complete for one in shared)
        ),
        fingerprint=tagged.transport.fingerprint or audio.transport.fingerprint,
    )


def our_setup(theirs: Setup, *, offering: bool) -> Setup:
    """Who we are in DTLS, given what the other end says (RFC 8842 §5): we answer active unless it is active itself.

    When we offered actpass and the answer says actpass too, which it must not, somebody has to begin: we do.
    """
    if theirs is Setup.HOLDCONN:
        return Setup.HOLDCONN
    if theirs is Setup.ACTIVE:
        return Setup.PASSIVE
    if theirs is Setup.ACTPASS and offering:
        return Setup.ACTIVE  # COMPAT: answerers that copy the offer's line
    return Setup.ACTIVE


# ------------------------------------------------------------------------------------------------------ codec by codec


def _named(name: str) -> Codec | None:
    if name.upper() in NUMBERS:
        return STATIC[NUMBERS[name.upper()]]
    return _DYNAMIC.get("opus" if name.lower() == "opus" else name.upper())


def _is_opus(codec: Codec) -> bool:
    return codec.name.lower() == "opus"


def _transcodable(codec: Codec) -> bool:
    return codec.name.lower() in TRANSCODABLE and codec.clock_rate == (48_000 if _is_opus(codec) else 8000)


def _twin(codec: Codec, others: Iterable[Codec]) -> Codec | None:
    """The same encoding among the others; opus is opus, whatever channels a sloppy end wrote (RFC 7587 §4.1)."""
    return next((o for o in others if o.same_as(codec) or (_is_opus(o) and _is_opus(codec))), None)


def _rank(name: str, order: tuple[str, ...]) -> int:
    lowered = [one.lower() for one in order]
    return lowered.index(name.lower()) if name.lower() in lowered else len(lowered)


def _voices(policy: Policy, media: Media, towards: Towards | None = None) -> tuple[Codec, ...]:
    """The voices that may be used: of a SIP end those of the policy, in its order; of an XMPP end all, in its own."""
    if towards is Towards.XMPP or (towards is None and media.profile.dtls):
        return media.voices
    allowed = {name.lower() for name in policy.codecs}
    return tuple(
        sorted((c for c in media.voices if c.name.lower() in allowed), key=lambda c: _rank(c.name, policy.codecs))
    )


def _numbered(codecs: list[Codec]) -> tuple[Codec, ...]:
    """Give those without a static number one from 96 on."""
    numbered, free = [], 96
    for codec in codecs:
        if codec.name.upper() in NUMBERS:
            numbered.append(codec)
        else:
            numbered.append(replace(codec, pt=free))
            free += 1
    return tuple(numbered)


def _with_parameters(codec: Codec, other: Codec) -> Codec:
    """This codec with the parameters of the end that will hear it, since it is relayed as it comes."""
    return replace(codec, parameters=other.parameters, feedback=())


def _own(codec: Codec) -> Codec:
    """This codec with our own parameters, since it ends here."""
    return replace(codec, parameters=_OPUS.parameters if _is_opus(codec) else (), feedback=())


def _pair(policy: Policy, towards: Towards, offered: Media, ours: Media, theirs: Media) -> tuple[Codec, Codec]:
    """The caller's codec with the caller's number, and the callee's with the callee's."""
    near = _voices(policy, offered, towards)
    far = _answered_voices(ours, theirs)
    relayed = next(((twin, codec) for codec in far if (twin := _twin(codec, near)) is not None), None)
    turned_near = next(filter(_is_opus, near), None) if towards is Towards.XMPP else None
    turned_near = turned_near or next(filter(_transcodable, near), None)
    turned_far = next(filter(_transcodable, far), None)
    can_turn = policy.transcode is not Transcode.NEVER and turned_near is not None and turned_far is not None
    prefer_turned = policy.transcode is Transcode.PREFER_OPUS and (
        (towards is Towards.XMPP and turned_near is not None and _is_opus(turned_near))
        or (ours.profile.dtls and _is_opus(far[0]))
    )
    if turned_near is not None and turned_far is not None and can_turn and (relayed is None or prefer_turned):
        # where one encoding serves both ends after all (opus to opus) this is a relay too
        twin = _twin(turned_near, far)
        return turned_near, twin or turned_far
    if relayed is None:
        raise NegotiationError("the two ends have no codec in common")
    return relayed


def _answered_voices(ours: Media, theirs: Media) -> tuple[Codec, ...]:
    """The answer's voices that we did offer, in the answer's order, with the answer's numbers."""
    return tuple(codec for codec in theirs.voices if _twin(codec, ours.voices) is not None)


def _offered_stream(ours: Media, theirs: Media, chosen: Codec) -> Stream:
    """We offered, they answered."""
    wanted = _answered_voices(ours, theirs)
    dtmf = tuple(codec for codec in theirs.dtmf if _twin(codec, ours.dtmf) is not None)
    return Stream(
        send=chosen,
        receive=tuple(twin for codec in wanted if (twin := _twin(codec, ours.voices)) is not None),
        send_dtmf=_event(dtmf, chosen),
        receive_dtmf=tuple(codec for codec in ours.dtmf if _twin(codec, dtmf) is not None),
        direction=_both(ours.direction, theirs.direction.reversed),
        ptime=_ptime(theirs),
        rtcp_mux=ours.transport.rtcp_mux and theirs.transport.rtcp_mux,
    )


def _answered_stream(offered: Media, answer: Media, chosen: Codec) -> Stream:
    """They offered, we answered: with their numbers, so that both ways carry the same."""
    dtmf = answer.dtmf
    return Stream(
        send=chosen,
        receive=answer.voices,
        send_dtmf=_twin(dtmf[0], offered.dtmf) if dtmf else None,
        receive_dtmf=dtmf,
        direction=answer.direction,
        ptime=_ptime(offered),
        rtcp_mux=offered.transport.rtcp_mux and answer.transport.rtcp_mux,
    )


def _event(events: tuple[Codec, ...], voice: Codec) -> Codec | None:
    """The telephone-event that shares the voice's clock; another rather than none."""
    return next((e for e in events if e.clock_rate == voice.clock_rate), events[0] if events else None)


def _ptime(media: Media) -> int:
    return media.ptime if media.ptime in (10, 20, 30, 40, 50, 60) else _PTIME


def _both(one: Direction, other: Direction) -> Direction:
    """What both allow, seen from the same end."""
    sends = all(d in (Direction.SENDRECV, Direction.SENDONLY) for d in (one, other))
    receives = all(d in (Direction.SENDRECV, Direction.RECVONLY) for d in (one, other))
    if sends:
        return Direction.SENDRECV if receives else Direction.SENDONLY
    return Direction.RECVONLY if receives else Direction.INACTIVE


# -------------------------------------------------------------------------------------------------- section by section


def _taken(session: Session) -> Media:
    """The audio section that we take; of several the first that could be taken."""
    sections = [m for m in session.media if m.kind == "audio" and not m.rejected and not m.foreign]
    usable = [m for m in sections if m.profile in (Profile.AVP, Profile.AVPF) or m.transport.fingerprint is not None]
    if not sections:
        raise NegotiationError("there is no audio")
    return (usable or sections)[0]


def _protected(media: Media, towards: Towards) -> None:
    transport = media.transport
    if towards is Towards.XMPP:
        if transport.fingerprint is None:
            what = "SDES" if transport.crypto else "nothing"
            raise UnprotectedError(f"media must be protected by DTLS-SRTP, and {what} is offered")
        if transport.ice is None:
            raise UnprotectedError("media must go through ICE")
    elif media.profile not in (Profile.AVP, Profile.AVPF):
        raise NegotiationError(f"the profile {media.profile} is not supported")


def _section(
    name: str,
    codecs: tuple[Codec, ...],
    transport: Transport,
    towards: Towards,
    direction: Direction,
    *,
    offering: bool,
) -> Media:
    """An audio section of ours, in the shape that its side expects."""
    if towards is Towards.XMPP:
        codecs = tuple(replace(c, parameters=tuple(p for p in c.parameters if all(p))) for c in codecs)
        if offering:
            transport = replace(transport, rtcp_mux=True)
            if transport.fingerprint is not None:
                transport = replace(transport, fingerprint=replace(transport.fingerprint, setup=Setup.ACTPASS))
        return Media(name, "audio", codecs, transport, Profile.DTLS, direction)
    return Media(name, "audio", codecs, transport, Profile.AVP, direction, ptime=_PTIME)


def _answer(  # noqa: PLR0917 - the offer, and all that is new in its answer
    towards: Towards,
    offer: Session,
    offered: Media,
    chosen: Codec,
    transport: Transport,
    direction: Direction,
    ptime: int,
) -> Session:
    """The offer's sections in their order: the audio taken, video taken in where it costs nothing, the rest refused."""
    codecs = [chosen]
    event = _event(offered.dtmf, chosen)
    if event is not None:
        codecs.append(replace(event, parameters=() if towards is Towards.XMPP else _EVENTS, feedback=()))
    transport = replace(
        transport, rtcp_mux=offered.transport.rtcp_mux and (transport.rtcp_mux or towards is Towards.XMPP)
    )
    if towards is Towards.XMPP and transport.fingerprint is not None and offered.transport.fingerprint is not None:
        setup = our_setup(offered.transport.fingerprint.setup, offering=False)
        transport = replace(transport, fingerprint=replace(transport.fingerprint, setup=setup))
    audio = _section(offered.name, tuple(codecs), transport, towards, direction, offering=False)
    audio = replace(audio, creator=offered.creator, ptime=None if towards is Towards.XMPP else ptime)
    if towards is Towards.SIP:
        audio = replace(audio, profile=offered.profile)  # RFC 3264 §6: the answer's profile is the offer's
    bundled = offer.bundle if towards is Towards.XMPP and offered.name in offer.bundle else ()
    sections = tuple(audio if m is offered else _beside(m, audio, bundled) for m in offer.media)
    kept = {m.name for m in sections if not m.rejected}
    return Session(sections, tuple(name for name in bundled if name in kept))


def _beside(media: Media, audio: Media, bundled: tuple[str, ...]) -> Media:
    """The answer to a section that is not the audio.

    Video that shares the audio's transport is taken in and discarded, for clients that demand the same media in the
    answer; we never send (senders='initiator'). Without BUNDLE it would need ICE of its own: it is left out, which Dino
    takes well.
    """
    sends = media.direction in (Direction.SENDRECV, Direction.SENDONLY)
    if media.kind == "video" and media.name in bundled and sends and media.codecs and not media.rejected:
        codecs = tuple(
            replace(c, feedback=(), parameters=tuple(p for p in c.parameters if all(p))) for c in media.codecs
        )
        return replace(
            media,
            codecs=codecs,
            transport=replace(audio.transport, rtcp_mux=media.transport.rtcp_mux),
            profile=audio.profile,
            direction=Direction.RECVONLY,
            extensions=(),
            sources=(),
        )
    return replace(
        media,
        transport=Transport(port=0),
        direction=Direction.INACTIVE,
        extensions=(),
        sources=(),
        ptime=None,
        rejected=True,
    )
