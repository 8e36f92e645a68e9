"""The video of a call, beside the audio that it is: what is offered, answered and agreed (RFC 3264, XEP-0167).

        caller ──offer──> offered() ──> offer() ──> callee
        caller <─answer── answer() <── agree() <─── answered()

Rules
1. Video is relayed as it comes or not at all, so both ends need the same codec: VP8, VP9, AV1, or H264 of one profile
   and packetization mode. One is answered, and neither red nor FEC nor rtx: a NACK is answered with the packet itself.
2. No call fails for its video: what cannot be agreed is refused (port 0 in SDP, left out in Jingle), the audio goes on.
3. Feedback (RFC 4585, 5104) is agreed on each side by itself, of what the media engine passes on or answers. Header
   extensions are not relayed, so neither transport-cc nor goog-remb can work: left out.
4. What protects the audio of a side protects its video, or there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.errors import NegotiationError
from gateway.session import protection
from gateway.session.audio import announced, both, our_setup
from gateway.session.model import Codec, Direction, Media, Profile, Session, Setup, Stream, Transport
from gateway.session.policy import Towards
from gateway.session.protection import Srtp

NAME = "video"
FEEDBACK = ("nack", "nack pli", "ccm fir")
MOST_CODECS = 8
CLOCK = 90_000
_FIRST_NUMBER = 96  # below those of the audio in one bundle (RFC 9143 §10.1.1: numbers there are not to collide)
_H264 = (("level-asymmetry-allowed", "1"), ("packetization-mode", "1"), ("profile-level-id", "42e01f"))
# What a callee is offered for a caller who said only that he wants video: what every client and most phones have.
USUAL = (
    Codec(96, "VP8", CLOCK, feedback=FEEDBACK),
    Codec(97, "H264", CLOCK, parameters=_H264, feedback=FEEDBACK),
)
_KNOWN = frozenset({"vp8", "vp9", "h264", "av1"})


@dataclass(frozen=True, slots=True)
class Agreed:
    """One codec under its two numbers, each with the feedback of its side and what the other end says of it."""

    caller: Codec
    callee: Codec


def usable(session: Session, towards: Towards, srtp: Srtp = Srtp.OFF) -> Media | None:
    """The video section of an end's description that could be relayed, with the codecs that could; None without."""
    for media in session.media:
        if media.kind != "video" or media.rejected or media.foreign or media.direction is Direction.INACTIVE:
            continue
        codecs = _distinct(codec for codec in media.codecs if _is_known(codec))
        try:
            if towards is Towards.XMPP:
                protection.demand_dtls(media)
            else:
                protection.check_offered(media, srtp)
        except NegotiationError:
            continue
        if codecs:
            return replace(media, codecs=codecs)
    return None


def same(one: Codec, other: Codec) -> bool:
    """Whether what one end sends in this codec the other one can decode."""
    return one.same_as(other) and _variant(one) == _variant(other)


def offer(
    theirs: Media | None, transport: Transport, towards: Towards, srtp: Srtp = Srtp.OFF, name: str = NAME
) -> Media:
    """What we offer a callee for a caller whose video section is `theirs`; None: he only said that he has video."""
    codecs = USUAL if theirs is None else _numbered(theirs.codecs)
    if towards is Towards.XMPP:
        transport = replace(transport, rtcp_mux=True)
        if transport.fingerprint is not None:
            transport = replace(transport, fingerprint=replace(transport.fingerprint, setup=Setup.ACTPASS))
        return announced(Media(name, "video", codecs, transport, Profile.DTLS))
    # COMPAT: phones know rtcp-fb beside RTP/AVP, and many refuse RTP/AVPF: the profile is the audio's.
    profile, transport = protection.offered(transport, srtp)
    direction = Direction.SENDRECV if theirs is None else theirs.direction
    return Media(name, "video", codecs, transport, profile, direction)


def beside(session: Session, media: Media) -> Session:
    """Our offer with this section at its end, in the audio's group if there is one."""
    if not session.bundle:
        return replace(session, media=(*session.media, media))
    return replace(session, media=(*map(announced, session.media), media), bundle=(*session.bundle, media.name))


def answered(ours: Media, answer: Session) -> Media | None:
    """What the answer says of the video that we offered; None where it takes none of it."""
    theirs = next((m for m in answer.media if m.name == ours.name and m.kind == "video"), None)
    theirs = theirs or next((m for m in answer.media if m.kind == "video"), None)
    if theirs is None or theirs.rejected or theirs.foreign:
        return None
    try:
        if ours.profile.dtls:
            protection.demand_dtls(theirs)
        protection.check_answered(ours, theirs)
    except NegotiationError:
        return None
    codecs = tuple(codec for codec in theirs.codecs if any(same(codec, each) for each in ours.codecs))
    return replace(theirs, codecs=codecs) if codecs else None


def agree(offered: Media, ours: Media, theirs: Media) -> Agreed | None:
    """The first codec of the callee's answer `theirs` (to our offer `ours`) that the caller's offer has too."""
    if direction(offered, ours, theirs) is Direction.INACTIVE:
        return None  # COMPAT: Dino and Movim end at senders='none'
    for far in theirs.codecs:
        near = next((codec for codec in offered.codecs if same(codec, far)), None)
        if near is not None:
            return Agreed(
                replace(near, parameters=_passed_on(far), feedback=_ours(near)),
                replace(far, feedback=_ours(far)),
            )
    return None


def answer(
    offered: Media,
    agreed: Agreed,
    transport: Transport,
    towards: Towards,
    direction: Direction,
    srtp: Srtp = Srtp.OFF,
) -> Media:
    """Our section for a caller's. Raises UnprotectedError where no key is in common."""
    transport = replace(
        transport, rtcp_mux=offered.transport.rtcp_mux and (transport.rtcp_mux or towards is Towards.XMPP)
    )
    if transport.fingerprint is not None and offered.transport.fingerprint is not None:
        setup = our_setup(offered.transport.fingerprint.setup, offering=False)
        transport = replace(transport, fingerprint=replace(transport.fingerprint, setup=setup))
    codec = agreed.caller
    profile = offered.profile
    if towards is Towards.XMPP:
        codec = replace(codec, parameters=tuple(pair for pair in codec.parameters if all(pair)))
        profile = Profile.DTLS
    else:
        transport = protection.answered(offered, transport, srtp)
    section = Media(offered.name, "video", (codec,), transport, profile, direction, creator=offered.creator)
    return announced(section) if towards is Towards.XMPP else section


def placed(answer: Session, media: Media, offer: Session) -> Session:
    """Our answer with its video section exchanged for this one, and in the group where the offer has it there."""
    found = answer.with_media(media)
    kept = {m.name for m in found.media if not m.rejected}
    bundle = tuple(name for name in offer.bundle if name in kept) if answer.bundle else ()
    return replace(found, bundle=bundle)


def direction(offered: Media, ours: Media, theirs: Media) -> Direction:
    """What we do on the caller's side: what the callee does, and the caller lets us."""
    return both(offered.direction.reversed, both(ours.direction.reversed, theirs.direction))


def caller_stream(answer: Media, agreed: Agreed) -> Stream:
    """What the engine is to do on the leg of the end that offered."""
    receive = answer.codecs
    return Stream(agreed.caller, receive, direction=answer.direction, rtcp_mux=answer.transport.rtcp_mux)


def callee_stream(ours: Media, theirs: Media, agreed: Agreed) -> Stream:
    """What the engine is to do on the leg of the end that answered: it gets its own number, we get the one offered.

    COMPAT: phones that send with the number of their answer; taken where ours does not mean another codec.
    """
    far = agreed.callee
    receive = tuple(codec for codec in ours.codecs if same(codec, far))
    if ours.codec(far.pt) is None:
        receive += (far,)
    return Stream(
        far,
        receive,
        direction=both(ours.direction, theirs.direction.reversed),
        rtcp_mux=ours.transport.rtcp_mux and theirs.transport.rtcp_mux,
    )


def reanswer(offered: Media, ours: Media, stream: Stream, allowed: Direction) -> tuple[Media, Stream] | None:
    """Our section for one that is offered anew inside a call, on the transport that we have; None: it ends here.

    The codec stays, whatever number it has now.
    """
    codec = next((c for c in offered.codecs if same(c, stream.send)), None)
    if codec is None or not ours.codecs:
        return None
    kept = replace(codec, parameters=ours.codecs[0].parameters, feedback=_ours(codec))
    way = both(offered.direction.reversed, allowed)
    media = replace(ours, name=offered.name, codecs=(kept,), direction=way, profile=offered.profile)
    send = replace(codec, feedback=kept.feedback)
    return media, replace(stream, send=send, receive=(kept,), direction=way)


def shares(session: Session, media: Media) -> bool:
    """Whether this section goes over the audio's transport (BUNDLE)."""
    return session.audio is not None and {media.name, session.audio.name} <= set(session.bundle)


def _is_known(codec: Codec) -> bool:
    return codec.name.lower() in _KNOWN and codec.clock_rate == CLOCK


def _distinct(codecs: Iterable[Codec]) -> tuple[Codec, ...]:
    """Each once: Chromium offers H264 six times, and of some only the level is another."""
    found: list[Codec] = []
    for codec in codecs:
        if len(found) < MOST_CODECS and not any(same(codec, other) for other in found):
            found.append(codec)
    return tuple(found)


def _numbered(codecs: Iterable[Codec]) -> tuple[Codec, ...]:
    numbered = (replace(codec, pt=_FIRST_NUMBER + number, feedback=FEEDBACK) for number, codec in enumerate(codecs))
    return tuple(replace(codec, parameters=_passed_on(codec)) for codec in numbered)


def _ours(codec: Codec) -> tuple[str, ...]:
    """Of the feedback that an end offers or takes, what we do too."""
    return tuple(said for said in FEEDBACK if said in codec.feedback)


def _passed_on(codec: Codec) -> tuple[tuple[str, str], ...]:
    """What an end wants to receive, for the one that will send it; no bit rates, which are Google's own."""
    return tuple(pair for pair in codec.parameters if not pair[0].lower().startswith("x-google"))


def _variant(codec: Codec) -> tuple[str, ...]:
    """What makes two codecs of one name different ones."""
    said = {name.lower(): value.strip().lower() for name, value in codec.parameters}
    match codec.name.lower():
        case "h264":  # RFC 6184 §8.2.2: both must be the same; absent, they are 0 and Baseline
            return (said.get("packetization-mode", "0"), _profile(said.get("profile-level-id", "42000a")))
        case "vp9":  # RFC 9628 §6
            return (said.get("profile-id", "0"),)
        case "av1":  # AV1 RTP §7.2.1
            return (said.get("profile", "0"),)
    return ()


def _profile(level_id: str) -> str:
    """The H264 profile of a profile-level-id: its first byte, of Main the one constraint that makes it Baseline.

    COMPAT: phones write 42001f and 42801f for what is Constrained Baseline (42e01f), and nobody encodes the rest of it.
    """
    profile, constraints = level_id[:2], level_id[2:4]
    baseline = profile == "4d" and len(constraints) == 2 and constraints[0] in "89abcdef"
    return "42" if baseline else profile
