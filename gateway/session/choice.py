"""Which codec is spoken: what is offered to a callee, what is taken of an offer, and what of an answer.

Rules
1. A codec that both ends have is relayed; only opus, G722, PCMA and PCMU can be turned into each other, if the policy
   lets them.
2. Policy.codecs is what the SIP side may use, in its order. An XMPP end may use whatever it offered.
3. telephone-event is answered only if offered, at the chosen codec's clock (RFC 4733 §2.1); towards XMPP without
   parameters, towards SIP with `0-15`, and not at all where the policy has digits go in another way.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.errors import NegotiationError
from gateway.session import codecs
from gateway.session.codecs import OPUS, is_opus, is_transcodable, twin
from gateway.session.model import Codec, Dtmf, Media, Stream
from gateway.session.policy import Policy, Towards, Transcode

_BROWSERS = frozenset({"opus", "g722", "pcmu", "pcma"})  # the voices that libwebrtc has
_EVENTS = (("", "0-15"),)  # RFC 4733 §2.4.1: the keys of a telephone and A-D
_XMPP_DTMF = {48_000: Codec(110, "telephone-event", 48_000), 8000: Codec(126, "telephone-event", 8000)}  # as libwebrtc
_SIP_DTMF = {
    8000: Codec(101, "telephone-event", 8000, 1, _EVENTS),
    48_000: Codec(102, "telephone-event", 48_000, 1, _EVENTS),
}


def offered(policy: Policy, towards: Towards, theirs: tuple[Codec, ...] | None) -> tuple[Codec, ...]:
    """The voices that a callee is offered, for a caller who may use `theirs`; None where nobody knows yet.

    Raises NegotiationError when the policy leaves nothing that could be offered.
    """
    voices = _for_sip(policy, theirs) if towards is Towards.SIP else _for_xmpp(policy, theirs)
    if not voices:
        raise NegotiationError("no codec that the policy allows could be offered")
    return voices


def offered_events(policy: Policy, towards: Towards, voices: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """The telephone-events that are offered beside these voices, one for each of their clocks."""
    if _silenced(policy, towards):
        return ()
    events = _XMPP_DTMF if towards is Towards.XMPP else _SIP_DTMF
    return tuple(events[clock] for clock in dict.fromkeys(OPUS.clock_rate if is_opus(c) else 8000 for c in voices))


def allowed(policy: Policy, media: Media) -> tuple[Codec, ...]:
    """The voices that may be used: of a SIP end those of the policy, in its order; of an XMPP end all, in its own."""
    if media.profile.dtls:
        return media.voices
    known = [c for c in media.voices if codecs.rank(c, policy.codecs) < len(policy.codecs)]
    return tuple(sorted(known, key=lambda c: codecs.rank(c, policy.codecs)))


def answered(ours: Media, theirs: Media) -> tuple[Codec, ...]:
    """The answer's voices that we did offer, with the answer's numbers, the best first.

    A SIP answer's order is its preference (RFC 3264 §6.1). COMPAT: Monal (2024-10) keeps payload types in a hash map
    and answers in any order, while libwebrtc sends what stands first in the offer: of an XMPP end our own order holds.
    """
    if ours.profile.dtls:
        return tuple(other for codec in ours.voices if (other := twin(codec, theirs.voices)) is not None)
    return tuple(codec for codec in theirs.voices if twin(codec, ours.voices) is not None)


def pair(policy: Policy, towards: Towards, offered: Media, ours: Media, theirs: Media) -> tuple[Codec, Codec]:
    """The caller's codec with the caller's number, and the callee's with the callee's. Raises NegotiationError."""
    near, far = allowed(policy, offered), answered(ours, theirs)
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


def beside(policy: Policy, voices: tuple[Codec, ...], wanted: list[Codec], peer: Stream | None) -> Codec:
    """Of these voices the first wanted one, else one that can be turned into the peer's. Raises NegotiationError."""
    chosen = next((other for codec in wanted if (other := twin(codec, voices)) is not None), None)
    if chosen is None and policy.transcode is not Transcode.NEVER and (peer is None or is_transcodable(peer.send)):
        chosen = next(filter(is_transcodable, voices), None)
    if chosen is None:
        raise NegotiationError("there is no codec that this call can go on with")
    return chosen


def event(events: tuple[Codec, ...], voice: Codec) -> Codec | None:
    """The telephone-event that shares the voice's clock; another rather than none."""
    return next((e for e in events if e.clock_rate == voice.clock_rate), events[0] if events else None)


def answered_event(policy: Policy, towards: Towards, offered: Media, voice: Codec) -> Codec | None:
    """The telephone-event that an answer with this voice has, with the offer's number; None without."""
    found = event(offered.dtmf, voice)
    if found is None or _silenced(policy, towards):
        return None
    return replace(found, parameters=() if towards is Towards.XMPP else _EVENTS, feedback=())


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


def _silenced(policy: Policy, towards: Towards) -> bool:
    """Whether telephone-event is left out, offered or not."""
    return towards is Towards.SIP and policy.dtmf is not Dtmf.RFC4733
