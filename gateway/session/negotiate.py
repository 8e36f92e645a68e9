"""What to offer, what to answer, and what the media engine is then to do: RFC 3264 for two legs at once.

        caller ──offer──> us ──offer_callee──> callee
        caller <─answer── us <─────answer───── callee
                          └─ answer_caller: the answer, and a Stream per leg

    choice.py     which codec is spoken
    audio.py      which section is taken, and what ours looks like
    video.py      the video beside it
    policy.py     what the operator lets the SIP side use

Payload numbers: what we send carries the number that the receiver gave (RFC 3264 §5.1), what we get carries ours. Hold
never shows towards XMPP: those clients know no content-modify.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.errors import NegotiationError
from gateway.session import audio, choice, codecs, protection
from gateway.session.codecs import is_opus, is_transcodable, twin
from gateway.session.model import Codec, Direction, Media, Session, Setup, Stream, Transport
from gateway.session.policy import Policy, Towards


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both ends came to: our answer to the caller, and what the engine is to do on each leg."""

    answer: Session
    caller: Stream
    callee: Stream


def check(towards: Towards, offer: Session, policy: Policy) -> None:
    """Raise what an answer to this offer would raise for lack of audio or protection, before anybody is rung."""
    audio.taken(offer, towards, policy.srtp)


def offer_callee(
    policy: Policy, towards: Towards, caller: Session | None, transport: Transport, beside: Stream | None = None
) -> Session:
    """What we offer the callee for this caller; None where the caller's own session comes later, or where the callee
    comes to an end that has agreed to `beside` already (a transfer).

    Raises NegotiationError when the policy leaves nothing that could be offered.
    """
    offered = audio.taken(caller) if caller is not None else None
    theirs = choice.allowed(policy, offered) if offered is not None else (beside.send,) if beside is not None else None
    voices = choice.offered(policy, towards, theirs)
    direction = Direction.SENDRECV
    if offered is not None and towards is Towards.SIP:
        direction = offered.direction
    media = audio.section(
        "audio", (*voices, *choice.offered_events(policy, towards, voices)), transport, towards, direction
    )
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


def answer_caller(
    policy: Policy, towards_caller: Towards, caller: Session, our_offer: Session, callee: Session, transport: Transport
) -> Agreement:
    """Bring the caller's offer and the callee's answer together. Raises NegotiationError, UnprotectedError."""
    offered = audio.taken(caller, towards_caller, policy.srtp)
    ours, theirs = answered(our_offer, callee)
    near, far = choice.pair(policy, towards_caller, offered, ours, theirs)
    callee_stream = _offered_stream(ours, theirs, far)
    relayed = twin(near, (far,)) is not None
    direction = offered.direction.reversed
    if towards_caller is Towards.SIP:
        direction = audio.both(direction, theirs.direction)
    answer = audio.answer(
        policy,
        towards_caller,
        caller,
        offered,
        codecs.between(near, far),
        transport,
        direction,
        callee_stream.ptime if relayed else audio.PTIME,
    )
    return Agreement(answer, _answered_stream(offered, answer, near), callee_stream)


def answer_alone(policy: Policy, towards: Towards, offer: Session, transport: Transport) -> tuple[Session, Stream]:
    """Answer an offer ourselves, as the test line does: with a codec that the engine can speak, opus if it may be."""
    offered = audio.taken(offer, towards, policy.srtp)
    voices = sorted(filter(is_transcodable, choice.allowed(policy, offered)), key=lambda codec: not is_opus(codec))
    if not voices:
        raise NegotiationError("the offer has no codec that the gateway speaks")
    answer = audio.answer(
        policy,
        towards,
        offer,
        offered,
        codecs.ours(voices[0]),
        transport,
        offered.direction.reversed,
        audio.ptime(offered),
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
    offered = audio.taken(offer, towards, policy.srtp)
    chosen = choice.beside(
        policy, choice.allowed(policy, offered), [stream.send, *([peer.send] if peer is not None else [])], peer
    )
    answer = audio.answer(
        policy,
        towards,
        offer,
        offered,
        codecs.ours(chosen) if peer is None else codecs.between(chosen, peer.send),
        audio.taken(ours).transport,
        audio.both(offered.direction.reversed, allowed),
        audio.taken(ours).ptime or audio.PTIME,
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
    offered = audio.taken(offer, towards, policy.srtp)
    chosen = choice.beside(policy, choice.allowed(policy, offered), [peer.send], peer)
    answer = audio.answer(
        policy,
        towards,
        offer,
        offered,
        codecs.between(chosen, peer.send),
        transport,
        offered.direction.reversed,
        audio.ptime(offered),
    )
    return answer, _answered_stream(offered, answer, chosen)


def held(ours: Session, stream: Stream, direction: Direction) -> Session:
    """Our new offer on a leg that goes on as it is but for the direction (RFC 3264 §8.4): hold, and its end."""
    said = audio.taken(ours)
    kept = tuple(codec for codec in said.codecs if codec.is_dtmf or codec.same_as(stream.send))
    media = tuple(m if m.rejected or m.kind != "video" else replace(m, direction=direction) for m in ours.media)
    offer = replace(ours, media=media).with_media(replace(said, codecs=kept or said.codecs, direction=direction))
    return replace(offer, version=ours.version + 1)


def moved(ours: Session, transport: Transport) -> Session:
    """What we said, on a transport with new ICE credentials (RFC 8445 §9), the same fingerprint and role."""
    kept = audio.taken(ours).transport
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
    voices = choice.answered(ours, theirs)
    if peer is None:
        return _offered_stream(ours, theirs, voices[0])
    return _offered_stream(ours, theirs, choice.beside(policy or Policy(), voices, [peer.send], peer))


def answered(our_offer: Session, answer: Session) -> tuple[Media, Media]:
    """Our audio section and what the answer says of it.

    Raises NegotiationError where it takes no audio or no codec of ours, UnprotectedError where it takes no protection.
    """
    ours = audio.taken(our_offer)
    theirs = next((m for m in answer.media if m.name == ours.name and m.kind == "audio"), answer.audio)
    if theirs is None or theirs.rejected or theirs.foreign:
        raise NegotiationError("the answer takes no audio")
    if ours.profile.dtls:
        protection.demand_dtls(theirs)
    protection.check_answered(ours, theirs)
    if not choice.answered(ours, theirs):
        raise NegotiationError("the answer has no codec that was offered")
    return ours, theirs


def _offered_stream(ours: Media, theirs: Media, chosen: Codec) -> Stream:
    """We offered, they answered."""
    voices = choice.answered(ours, theirs)
    dtmf = tuple(codec for codec in theirs.dtmf if twin(codec, ours.dtmf) is not None)
    return Stream(
        send=chosen,
        receive=_expected(ours, ours.voices, voices),
        send_dtmf=choice.event(dtmf, chosen),
        receive_dtmf=_expected(ours, ours.dtmf, dtmf),
        direction=audio.both(ours.direction, theirs.direction.reversed),
        ptime=audio.ptime(theirs),
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
    ours = audio.taken(answer)
    return Stream(
        send=chosen,
        receive=ours.voices,
        send_dtmf=twin(ours.dtmf[0], offered.dtmf) if ours.dtmf else None,
        receive_dtmf=ours.dtmf,
        direction=ours.direction,
        ptime=audio.ptime(offered),
        rtcp_mux=ours.transport.rtcp_mux,
    )
