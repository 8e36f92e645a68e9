"""What to offer, what to answer, and what the media engine is then to do: RFC 3264 for two legs at once.

        caller ──offer──> us ──offer_callee──> callee
        caller <─answer── us <─────answer───── callee
                          └─ answer_caller: the answer, and a Stream per leg

Rules
1. A codec that both ends have is relayed; only opus, PCMA and PCMU can be turned into each other, if the policy lets
   them.
2. Policy.codecs is what the SIP side may use, in its order. An XMPP end may use whatever it offered.
3. Answers keep the offer's sections, their names, order and payload numbers, and hold one voice codec: the chosen one.
4. telephone-event is answered only if offered, at the chosen codec's clock (RFC 4733 §2.1); towards XMPP without
   parameters, towards SIP with `0-15`.
5. Towards XMPP media is DTLS-SRTP over ICE or nothing. Hold never shows there: those clients know no content-modify.

Payload numbers: what we send carries the number that the receiver gave (RFC 3264 §5.1), what we get carries ours.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from gateway.errors import NegotiationError
from gateway.session import codecs, protection
from gateway.session.codecs import OPUS, is_opus, is_transcodable, twin
from gateway.session.model import Codec, Direction, Dtmf, Media, Profile, Session, Setup, Stream, Transport
from gateway.session.protection import Srtp

_BROWSERS = frozenset({"opus", "g722", "pcmu", "pcma"})  # the voices that libwebrtc has
_EVENTS = (("", "0-15"),)  # RFC 4733 §2.4.1: the keys of a telephone and A-D
_XMPP_DTMF = {48_000: Codec(110, "telephone-event", 48_000), 8000: Codec(126, "telephone-event", 8000)}  # as libwebrtc
_SIP_DTMF = {
    8000: Codec(101, "telephone-event", 8000, 1, _EVENTS),
    48_000: Codec(102, "telephone-event", 48_000, 1, _EVENTS),
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
    """What the SIP side may use: encoding names in order of preference, whether media is protected there, how digits
    go, and whether calls may have video. Without telephone-event where digits do not go so: an end that hears of it
    sends nothing else.
    """

    codecs: tuple[str, ...] = ("PCMA", "PCMU")
    transcode: Transcode = Transcode.FALLBACK
    srtp: Srtp = Srtp.OFF
    dtmf: Dtmf = Dtmf.RFC4733
    video: bool = False


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both ends came to: our answer to the caller, and what the engine is to do on each leg."""

    answer: Session
    caller: Stream
    callee: Stream


def check(towards: Towards, offer: Session, policy: Policy) -> None:
    """Raise what an answer to this offer would raise for lack of audio or protection, before anybody is rung."""
    _audio(offer, towards, policy.srtp)


# ----------------------------------------------------------------------------------------------------------- offering


def offer_callee(
    policy: Policy, towards: Towards, caller: Session | None, transport: Transport, beside: Stream | None = None
) -> Session:
    """What we offer the callee for this caller; None where the caller's own session comes later, or where the callee
    comes to an end that has agreed to `beside` already (a transfer).

    Raises NegotiationError when the policy leaves nothing that could be offered.
    """
    offered = _audio(caller) if caller is not None else None
    theirs = _voices(policy, offered) if offered is not None else (beside.send,) if beside is not None else None
    voices = _for_sip(policy, theirs) if towards is Towards.SIP else _for_xmpp(policy, theirs)
    if not voices:
        raise NegotiationError("no codec that the policy allows could be offered")
    dtmf = _XMPP_DTMF if towards is Towards.XMPP else _SIP_DTMF
    clocks = dict.fromkeys(OPUS.clock_rate if is_opus(codec) else 8000 for codec in voices)
    direction = Direction.SENDRECV
    if offered is not None and towards is Towards.SIP:
        direction = offered.direction
    events = () if _silenced(policy, towards) else tuple(dtmf[clock] for clock in clocks)
    media = _section("audio", (*voices, *events), transport, towards, direction)
    if towards is Towards.SIP:
        profile, transport = protection.offered(transport, policy.srtp)
        media = replace(media, profile=profile, transport=transport)
    if towards is Towards.XMPP:
        transport = replace(media.transport, rtcp_mux=True)
        if transport.fingerprint is not None:
            transport = replace(transport, fingerprint=replace(transport.fingerprint, setup=Setup.ACTPASS))
        # A group of one: max-bundle clients (Movim) refuse an offer without, and those that know none pass it over.
        return Session((replace(media, transport=transport),), bundle=(media.name,))
    return Session((media,))


def _for_sip(policy: Policy, caller: tuple[Codec, ...] | None) -> tuple[Codec, ...]:
    """The policy's codecs; with a caller, what can be relayed comes first, then what can be reached by transcoding."""
    wanted = [codec for name in policy.codecs if (codec := codecs.named(name)) is not None]
    if caller is None:
        return codecs.numbered(wanted)
    reachable = policy.transcode is not Transcode.NEVER and any(map(is_transcodable, caller))
    relayed = {c: codecs.passed_on(c, other) for c in wanted if (other := twin(c, caller)) is not None}
    turned = [c for c in wanted if c not in relayed and reachable and is_transcodable(c)]
    if policy.transcode is Transcode.PREFER_OPUS and any(map(is_opus, caller)):
        # opus will be spoken on the other side whatever comes: the trunk's own order decides on this one
        return codecs.numbered(relayed.get(c, c) for c in wanted if c in relayed or c in turned)
    return codecs.numbered((*relayed.values(), *turned))


def _for_xmpp(policy: Policy, caller: tuple[Codec, ...] | None) -> tuple[Codec, ...]:
    """The caller's codecs that libwebrtc knows, in the policy's order, and opus where it can be transcoded."""
    if caller is None:
        caller = tuple(codec for name in policy.codecs if (codec := codecs.named(name)) is not None)
    voices = [codec for c in caller if c.name.lower() in _BROWSERS and (codec := codecs.named(c.name)) is not None]
    if policy.transcode is not Transcode.NEVER and any(map(is_transcodable, caller)):
        voices.append(OPUS)
    if policy.transcode is Transcode.PREFER_OPUS:
        voices.sort(key=lambda codec: not is_opus(codec))
    return tuple(dict.fromkeys(voices))


# ---------------------------------------------------------------------------------------------------------- answering


def answer_caller(
    policy: Policy, towards_caller: Towards, caller: Session, our_offer: Session, callee: Session, transport: Transport
) -> Agreement:
    """Bring the caller's offer and the callee's answer together. Raises NegotiationError, UnprotectedError."""
    offered = _audio(caller, towards_caller, policy.srtp)
    ours, theirs = answered(our_offer, callee)
    near, far = _pair(policy, towards_caller, offered, ours, theirs)
    callee_stream = _offered_stream(ours, theirs, far)
    relayed = twin(near, (far,)) is not None
    direction = offered.direction.reversed
    if towards_caller is Towards.SIP:
        direction = both(direction, theirs.direction)
    answer = _answer(
        policy,
        towards_caller,
        caller,
        offered,
        codecs.passed_on(near, far) if relayed else codecs.ours(near),
        transport,
        direction,
        callee_stream.ptime if relayed else _PTIME,
    )
    return Agreement(answer, _answered_stream(offered, answer, near), callee_stream)


def answer_alone(policy: Policy, towards: Towards, offer: Session, transport: Transport) -> tuple[Session, Stream]:
    """Answer an offer ourselves, as the test line does: with a codec that the engine can speak, opus if it may be."""
    offered = _audio(offer, towards, policy.srtp)
    voices = sorted(filter(is_transcodable, _voices(policy, offered)), key=lambda codec: not is_opus(codec))
    if not voices:
        raise NegotiationError("the offer has no codec that the gateway speaks")
    answer = _answer(
        policy, towards, offer, offered, codecs.ours(voices[0]), transport, offered.direction.reversed, _ptime(offered)
    )
    return answer, _answered_stream(offered, answer, voices[0])


def reanswer(
    policy: Policy,
    towards: Towards,
    offer: Session,
    *,
    ours: Session,
    stream: Stream,
    peer: Stream | None = None,
    allowed: Direction = Direction.SENDRECV,
) -> tuple[Session, Stream]:
    """Answer a new offer inside a call (re-INVITE: hold, another address, another codec), on the transport of `ours`.

    `ours` is what we said last on this leg and `stream` what holds there; `peer` is the other leg's stream; `allowed`
    is sendonly while the other end holds this one. The codec stays if it is offered still; else one that the peer's leg
    speaks already; else one that can be transcoded. Raises NegotiationError, UnprotectedError.
    """
    offered = _audio(offer, towards, policy.srtp)
    chosen = _beside_codec(
        policy, _voices(policy, offered), [stream.send, *([peer.send] if peer is not None else [])], peer
    )
    relayed = peer is not None and twin(chosen, (peer.send,)) is not None
    answer = _answer(
        policy,
        towards,
        offer,
        offered,
        codecs.passed_on(chosen, peer.send) if relayed and peer is not None else codecs.ours(chosen),
        _audio(ours).transport,
        both(offered.direction.reversed, allowed),
        _audio(ours).ptime or _PTIME,
    )
    # RFC 3264 §8: the version counts up by one whenever the description differs from the last one.
    answer = replace(answer, origin=ours.origin, id=ours.id, version=ours.version)
    if answer != ours:
        answer = replace(answer, version=ours.version + 1)
    return answer, _answered_stream(offered, answer, chosen)


def answer_beside(
    policy: Policy, towards: Towards, offer: Session, peer: Stream, transport: Transport
) -> tuple[Session, Stream]:
    """Answer a newcomer's offer, for a talk with an end that has agreed to `peer` already (Replaces, RFC 3891).

    Raises NegotiationError, UnprotectedError.
    """
    offered = _audio(offer, towards, policy.srtp)
    chosen = _beside_codec(policy, _voices(policy, offered), [peer.send], peer)
    relayed = twin(chosen, (peer.send,)) is not None
    answer = _answer(
        policy,
        towards,
        offer,
        offered,
        codecs.passed_on(chosen, peer.send) if relayed else codecs.ours(chosen),
        transport,
        offered.direction.reversed,
        _ptime(offered),
    )
    return answer, _answered_stream(offered, answer, chosen)


def held(ours: Session, stream: Stream, direction: Direction) -> Session:
    """Our new offer on a leg that goes on as it is but for the direction (RFC 3264 §8.4): hold, and its end."""
    audio = _audio(ours)
    kept = tuple(codec for codec in audio.codecs if codec.is_dtmf or codec.same_as(stream.send))
    media = tuple(m if m.rejected or m.kind != "video" else replace(m, direction=direction) for m in ours.media)
    offer = replace(ours, media=media).with_media(replace(audio, codecs=kept or audio.codecs, direction=direction))
    return replace(offer, version=ours.version + 1)


def moved(ours: Session, transport: Transport) -> Session:
    """What we said, on a transport with new ICE credentials (RFC 8445 §9), the same fingerprint and role."""
    audio = _audio(ours)
    kept = audio.transport
    changed = replace(transport, fingerprint=kept.fingerprint, rtcp_mux=kept.rtcp_mux)
    media = tuple(
        replace(m, transport=replace(changed, rtcp_mux=m.transport.rtcp_mux))
        if m.transport.ice is not None and kept.ice is not None and m.transport.ice.ufrag == kept.ice.ufrag
        else m
        for m in ours.media
    )
    return replace(ours, media=media, version=ours.version + 1)


def callee_stream(
    our_offer: Session, answer: Session, policy: Policy | None = None, peer: Stream | None = None
) -> Stream:
    """What a leg that answered our offer came to by itself: to a re-INVITE of ours, in an ACK to our offer in a 200, or
    beside an end that has agreed to `peer` already.

    Raises NegotiationError, UnprotectedError.
    """
    ours, theirs = answered(our_offer, answer)
    voices = _answered_voices(ours, theirs)
    if peer is None:
        return _offered_stream(ours, theirs, voices[0])
    return _offered_stream(ours, theirs, _beside_codec(policy or Policy(), voices, [peer.send], peer))


def answered(our_offer: Session, answer: Session) -> tuple[Media, Media]:
    """Our audio section and what the answer says of it.

    Raises NegotiationError where it takes no audio or no codec of ours, UnprotectedError where it takes no protection.
    """
    ours = _audio(our_offer)
    theirs = next((m for m in answer.media if m.name == ours.name and m.kind == "audio"), answer.audio)
    if theirs is None or theirs.rejected or theirs.foreign:
        raise NegotiationError("the answer takes no audio")
    if ours.profile.dtls:
        protection.demand_dtls(theirs)
    protection.check_answered(ours, theirs)
    if not _answered_voices(ours, theirs):
        raise NegotiationError("the answer has no codec that was offered")
    return ours, theirs


def remote_transport(session: Session, towards: Towards | None = None, srtp: Srtp = Srtp.OFF) -> Transport:
    """Where that end's audio is: with BUNDLE that is the transport of the group's first section (RFC 9143 §7.3).

    The candidates of all sections that share its credentials are put together. Raises NegotiationError without audio.
    """
    audio = _audio(session, towards, srtp)
    members = [m for name in session.bundle for m in session.media if m.name == name and not m.rejected]
    if audio not in members or members[0].transport.ice is None:
        return audio.transport
    ice = members[0].transport.ice
    shared = [m.transport.ice for m in members if m.transport.ice is not None and m.transport.ice.ufrag == ice.ufrag]
    return replace(
        audio.transport,
        address=members[0].transport.address,
        port=members[0].transport.port,
        fingerprint=members[0].transport.fingerprint or audio.transport.fingerprint,
        ice=replace(
            ice,
            candidates=tuple(dict.fromkeys(candidate for one in shared for candidate in one.candidates)),
            complete=any(one.complete for one in shared),
        ),
    )


def our_setup(theirs: Setup, *, offering: bool) -> Setup:
    """Who we are in DTLS, given what the other end says (RFC 8842 §5): active, unless it is active itself.

    As the answerer that is the role which RFC 8842 §5.3 recommends. As the offerer (of actpass) we take what is left;
    COMPAT: an answerer that copies actpass, which it must not, waits for nobody knows what: then we begin.
    """
    if theirs is Setup.HOLDCONN:
        return Setup.HOLDCONN
    if theirs is Setup.ACTPASS and offering:
        return Setup.ACTIVE
    return Setup.PASSIVE if theirs is Setup.ACTIVE else Setup.ACTIVE


# ------------------------------------------------------------------------------------------------------ codec by codec


def _voices(policy: Policy, media: Media) -> tuple[Codec, ...]:
    """The voices that may be used: of a SIP end those of the policy, in its order; of an XMPP end all, in its own."""
    if media.profile.dtls:
        return media.voices
    allowed = [c for c in media.voices if codecs.rank(c, policy.codecs) < len(policy.codecs)]
    return tuple(sorted(allowed, key=lambda c: codecs.rank(c, policy.codecs)))


def _pair(policy: Policy, towards: Towards, offered: Media, ours: Media, theirs: Media) -> tuple[Codec, Codec]:
    """The caller's codec with the caller's number, and the callee's with the callee's."""
    near, far = _voices(policy, offered), _answered_voices(ours, theirs)
    relayed = next(((other, codec) for codec in far if (other := twin(codec, near)) is not None), None)
    opus_first = sorted(filter(is_transcodable, near), key=lambda codec: not is_opus(codec))
    near_turned = opus_first if towards is Towards.XMPP else list(filter(is_transcodable, near))
    far_turned = list(filter(is_transcodable, far))
    if policy.transcode is not Transcode.NEVER and near_turned and far_turned:
        preferred = policy.transcode is Transcode.PREFER_OPUS
        # where the other end has opus as well, this is a relay after all
        if preferred and towards is Towards.XMPP and is_opus(near_turned[0]):
            return near_turned[0], twin(near_turned[0], far) or far_turned[0]
        if preferred and ours.profile.dtls and is_opus(far_turned[0]):
            return twin(far_turned[0], near) or near_turned[0], far_turned[0]
        if relayed is None:
            return near_turned[0], far_turned[0]
    if relayed is None:
        raise NegotiationError("the two ends have no codec in common")
    return relayed


def _beside_codec(policy: Policy, voices: tuple[Codec, ...], wanted: list[Codec], peer: Stream | None) -> Codec:
    """Of these voices the first wanted one, else one that can be turned into the peer's. Raises NegotiationError."""
    chosen = next((other for codec in wanted if (other := twin(codec, voices)) is not None), None)
    if chosen is None and policy.transcode is not Transcode.NEVER and (peer is None or is_transcodable(peer.send)):
        chosen = next(filter(is_transcodable, voices), None)
    if chosen is None:
        raise NegotiationError("there is no codec that this call can go on with")
    return chosen


def _answered_voices(ours: Media, theirs: Media) -> tuple[Codec, ...]:
    """The answer's voices that we did offer, with the answer's numbers, the best first.

    A SIP answer's order is its preference (RFC 3264 §6.1). COMPAT: Monal (2024-10) keeps payload types in a hash map
    and answers in any order, while libwebrtc sends what stands first in the offer: of an XMPP end our own order holds.
    """
    if ours.profile.dtls:
        return tuple(other for codec in ours.voices if (other := twin(codec, theirs.voices)) is not None)
    return tuple(codec for codec in theirs.voices if twin(codec, ours.voices) is not None)


def _offered_stream(ours: Media, theirs: Media, chosen: Codec) -> Stream:
    """We offered, they answered."""
    voices = _answered_voices(ours, theirs)
    dtmf = tuple(codec for codec in theirs.dtmf if twin(codec, ours.dtmf) is not None)
    return Stream(
        send=chosen,
        receive=_expected(ours, ours.voices, voices),
        send_dtmf=_event(dtmf, chosen),
        receive_dtmf=_expected(ours, ours.dtmf, dtmf),
        direction=both(ours.direction, theirs.direction.reversed),
        ptime=_ptime(theirs),
        rtcp_mux=ours.transport.rtcp_mux and theirs.transport.rtcp_mux,
    )


def _expected(ours: Media, offered: tuple[Codec, ...], answered: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """What may come of these codecs: with the numbers that we offered (RFC 3264 §6.1).

    COMPAT: phones that answer with numbers of their own and then send with those; taken where ours do not mean else.
    """
    numbers = tuple(other for codec in answered if (other := twin(codec, offered)) is not None)
    return numbers + tuple(codec for codec in answered if ours.codec(codec.pt) is None)


def _answered_stream(offered: Media, answer: Session, chosen: Codec) -> Stream:
    """They offered, we answered: with their numbers, so that both ways carry the same."""
    ours = _audio(answer)
    return Stream(
        send=chosen,
        receive=ours.voices,
        send_dtmf=twin(ours.dtmf[0], offered.dtmf) if ours.dtmf else None,
        receive_dtmf=ours.dtmf,
        direction=ours.direction,
        ptime=_ptime(offered),
        rtcp_mux=ours.transport.rtcp_mux,
    )


def _silenced(policy: Policy, towards: Towards) -> bool:
    """Whether telephone-event is left out, offered or not."""
    return towards is Towards.SIP and policy.dtmf is not Dtmf.RFC4733


def _event(events: tuple[Codec, ...], voice: Codec) -> Codec | None:
    """The telephone-event that shares the voice's clock; another rather than none."""
    return next((e for e in events if e.clock_rate == voice.clock_rate), events[0] if events else None)


def _ptime(media: Media) -> int:
    return media.ptime if media.ptime in (10, 20, 30, 40, 50, 60) else _PTIME


def both(one: Direction, other: Direction) -> Direction:
    """What both allow, seen from the same end."""
    sends = all(d in (Direction.SENDRECV, Direction.SENDONLY) for d in (one, other))
    receives = all(d in (Direction.SENDRECV, Direction.RECVONLY) for d in (one, other))
    if sends:
        return Direction.SENDRECV if receives else Direction.SENDONLY
    return Direction.RECVONLY if receives else Direction.INACTIVE


# -------------------------------------------------------------------------------------------------- section by section


def _audio(session: Session, towards: Towards | None = None, srtp: Srtp = Srtp.OFF) -> Media:
    """The audio section that we take: of several (RTP beside SRTP) the first that can be taken on that side.

    Without a side the first that some side could take, or else the first. Raises NegotiationError, UnprotectedError.
    """
    sections = [m for m in session.media if m.kind == "audio" and not m.rejected and not m.foreign]
    if not sections:
        raise NegotiationError("there is no audio")
    fault: NegotiationError | None = None
    for media in sections:
        try:
            if towards is Towards.XMPP or (towards is None and media.profile not in protection.PLAIN):
                protection.demand_dtls(media)
            elif towards is Towards.SIP:
                protection.check_offered(media, srtp)
        except NegotiationError as error:
            fault = fault or error
        else:
            return media
    if towards is None or fault is None:
        return sections[0]
    raise fault


def _section(
    name: str, voices: tuple[Codec, ...], transport: Transport, towards: Towards, direction: Direction
) -> Media:
    """An audio section of ours, in the shape that its side expects."""
    if towards is Towards.XMPP:
        voices = tuple(replace(c, parameters=tuple(p for p in c.parameters if all(p))) for c in voices)
        return Media(name, "audio", voices, transport, Profile.DTLS, direction)
    return Media(name, "audio", voices, transport, Profile.AVP, direction, ptime=_PTIME)


def _answer(
    policy: Policy,
    towards: Towards,
    offer: Session,
    offered: Media,
    chosen: Codec,
    transport: Transport,
    direction: Direction,
    ptime: int,
) -> Session:
    """The offer's sections in their order: the audio taken, video taken in where it costs nothing, the rest refused."""
    voices = [chosen]
    event = _event(offered.dtmf, chosen)
    if event is not None and not _silenced(policy, towards):
        voices.append(replace(event, parameters=() if towards is Towards.XMPP else _EVENTS, feedback=()))
    mux = offered.transport.rtcp_mux and (transport.rtcp_mux or towards is Towards.XMPP)
    transport = replace(transport, rtcp_mux=mux)
    if transport.fingerprint is not None and offered.transport.fingerprint is not None:
        setup = our_setup(offered.transport.fingerprint.setup, offering=False)
        transport = replace(transport, fingerprint=replace(transport.fingerprint, setup=setup))
    if towards is Towards.SIP:
        transport = protection.answered(offered, transport, policy.srtp)
    audio = _section(offered.name, tuple(voices), transport, towards, direction)
    audio = replace(audio, creator=offered.creator)
    if towards is Towards.XMPP and any(m.kind == "video" for m in offer.media):
        audio = announced(audio)
    if towards is Towards.SIP:
        audio = replace(audio, profile=offered.profile, ptime=ptime)  # RFC 3264 §6: the answer's profile is the offer's
    bundled = offer.bundle if towards is Towards.XMPP and offered.name in offer.bundle else ()
    sections = tuple(audio if m is offered else _beside(m, audio, bundled) for m in offer.media)
    kept = {m.name for m in sections if not m.rejected}
    return Session(sections, tuple(name for name in bundled if name in kept))


def announced(media: Media) -> Media:
    """The section with the SSRC that it sends as.

    COMPAT: Chromium 156 gives the audio of a bundle to nobody if its SSRC is not announced and the video is refused or
    goes one way: it then tells packets apart by SSRC alone. Beside no video, and beside one both ways, it does not.
    """
    source = media.transport.source
    return media if source is None else replace(media, sources=(source,))


def _beside(media: Media, audio: Media, bundled: tuple[str, ...]) -> Media:
    """The answer to a section that is not the audio.

    Video that shares the audio's transport is taken in and discarded, for clients that demand the same media in the
    answer; we never send (senders='initiator'). Without BUNDLE it would need ICE of its own: it is left out, which Dino
    takes well.
    """
    sends = media.direction in (Direction.SENDRECV, Direction.SENDONLY)
    plain = replace(media, extensions=(), sources=(), ptime=None)
    if media.kind == "video" and media.name in bundled and sends and media.codecs and not media.rejected:
        return replace(
            plain,
            codecs=tuple(
                replace(c, feedback=(), parameters=tuple(p for p in c.parameters if all(p))) for c in media.codecs
            ),
            transport=replace(audio.transport, rtcp_mux=media.transport.rtcp_mux),
            profile=audio.profile,
            direction=Direction.RECVONLY,
        )
    nowhere = Transport(address=audio.transport.address, port=0)
    return replace(plain, transport=nowhere, direction=Direction.INACTIVE, rejected=True)
