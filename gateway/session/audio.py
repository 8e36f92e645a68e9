"""The audio section of a description: which of theirs is taken, what ours looks like, and where media goes to.

Rules
1. Answers keep the offer's sections, their names, order and payload numbers, and hold one voice codec: the chosen one.
2. Towards XMPP media is DTLS-SRTP over ICE or nothing.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.errors import NegotiationError
from gateway.session import choice, protection
from gateway.session.model import Codec, Direction, Media, Profile, Session, Setup, Transport
from gateway.session.policy import Policy, Towards
from gateway.session.protection import Srtp

PTIME = 20  # ms of voice in a packet, where nobody asks for another length


def taken(session: Session, towards: Towards | None = None, srtp: Srtp = Srtp.OFF) -> Media:
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


def remote_transport(session: Session, towards: Towards | None = None, srtp: Srtp = Srtp.OFF) -> Transport:
    """Where that end's audio is: with BUNDLE that is the transport of the group's first section (RFC 9143 §7.3).

    The candidates of all sections that share its credentials are put together. Raises NegotiationError without audio.
    """
    media = taken(session, towards, srtp)
    members = [m for name in session.bundle for m in session.media if m.name == name and not m.rejected]
    if media not in members or members[0].transport.ice is None:
        return media.transport
    ice = members[0].transport.ice
    shared = [m.transport.ice for m in members if m.transport.ice is not None and m.transport.ice.ufrag == ice.ufrag]
    return replace(
        media.transport,
        address=members[0].transport.address,
        port=members[0].transport.port,
        fingerprint=members[0].transport.fingerprint or media.transport.fingerprint,
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


def section(
    name: str, voices: tuple[Codec, ...], transport: Transport, towards: Towards, direction: Direction
) -> Media:
    """An audio section of ours, in the shape that its side expects."""
    if towards is Towards.XMPP:
        voices = tuple(replace(c, parameters=tuple(p for p in c.parameters if all(p))) for c in voices)
        return Media(name, "audio", voices, transport, Profile.DTLS, direction)
    return Media(name, "audio", voices, transport, Profile.AVP, direction, ptime=PTIME)


def answer(
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
    event = choice.answered_event(policy, towards, offered, chosen)
    mux = offered.transport.rtcp_mux and (transport.rtcp_mux or towards is Towards.XMPP)
    transport = replace(transport, rtcp_mux=mux)
    if transport.fingerprint is not None and offered.transport.fingerprint is not None:
        setup = our_setup(offered.transport.fingerprint.setup, offering=False)
        transport = replace(transport, fingerprint=replace(transport.fingerprint, setup=setup))
    if towards is Towards.SIP:
        transport = protection.answered(offered, transport, policy.srtp)
    audio = section(offered.name, (chosen, event) if event else (chosen,), transport, towards, direction)
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


def both(one: Direction, other: Direction) -> Direction:
    """What both allow, seen from the same end."""
    sends = all(d in (Direction.SENDRECV, Direction.SENDONLY) for d in (one, other))
    receives = all(d in (Direction.SENDRECV, Direction.RECVONLY) for d in (one, other))
    if sends:
        return Direction.SENDRECV if receives else Direction.SENDONLY
    return Direction.RECVONLY if receives else Direction.INACTIVE


def ptime(media: Media) -> int:
    """Milliseconds of voice in a packet that an end asks for; the usual where it asks for what nobody sends."""
    return media.ptime if media.ptime in (10, 20, 30, 40, 50, 60) else PTIME


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
