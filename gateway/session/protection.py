"""How media is kept from listeners: DTLS-SRTP towards XMPP, and towards SIP keys in the SDP where a trunk wants them.

    towards XMPP   DTLS-SRTP over ICE or nothing (RFC 8826 §4.3 is why: users were promised it)
    towards SIP    off        RTP/AVP, keys are neither offered nor taken
                   optional   RTP/AVP with keys beside it (RFC 8643): whoever knows them protects, the others do not;
                              RTP/SAVP is taken when it is offered
                   required   RTP/SAVP with keys (RFC 4568), and nothing less

A key travels in the signalling: it keeps out those who see the media alone, and signalling over TLS protects the key.
"""

from __future__ import annotations

import enum
from dataclasses import replace

from gateway.errors import NegotiationError
from gateway.session.model import Crypto, Media, Profile, Transport

_HASHES = frozenset({"sha-1", "sha-224", "sha-256", "sha-384", "sha-512"})  # RFC 8122 §5: neither MD5 nor MD2
PLAIN = (Profile.AVP, Profile.AVPF)
KEYED = (Profile.SAVP, Profile.SAVPF)


class Srtp(enum.StrEnum):
    """What a trunk says of keys in the SDP."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


class UnprotectedError(NegotiationError):
    """The end would take the call without the protection that its side demands."""


def demand_dtls(media: Media) -> None:
    """Raise UnprotectedError unless this section has a fingerprint that proves something, and ICE."""
    if media.transport.fingerprint is None:
        instead = "SDES" if media.transport.crypto else "nothing"
        raise UnprotectedError(f"media must be protected by DTLS-SRTP, and {instead} is offered")
    if media.transport.fingerprint.algorithm not in _HASHES:
        raise UnprotectedError(f"a fingerprint by {media.transport.fingerprint.algorithm} proves nothing")
    if media.transport.ice is None:
        raise UnprotectedError("media must go through ICE")


def check_offered(media: Media, srtp: Srtp) -> None:
    """Raise NegotiationError, UnprotectedError for a SIP end's section that this side does not take."""
    keyed = media.profile in KEYED
    if not keyed and media.profile not in PLAIN:
        raise NegotiationError(f"the profile {media.profile} is not supported")
    if keyed and srtp is Srtp.OFF:
        raise NegotiationError(f"the profile {media.profile} is not spoken here")
    if not media.transport.crypto and (keyed or srtp is Srtp.REQUIRED):
        raise UnprotectedError("media must be protected, and no key is offered")


def offered(transport: Transport, srtp: Srtp) -> tuple[Profile, Transport]:
    """The profile and the keys that we offer on our own transport."""
    if srtp is Srtp.OFF or not transport.crypto:
        return Profile.AVP, replace(transport, crypto=())
    return Profile.SAVP if srtp is Srtp.REQUIRED else Profile.AVP, transport


def answered(theirs: Media, ours: Transport, srtp: Srtp) -> Transport:
    """Our transport with the one key that answers an offer (RFC 4568 §5.1.2): of the first suite that we have too,
    under its tag. Raises UnprotectedError where there is none and must be one.
    """
    by_suite = {crypto.suite: crypto for crypto in ours.crypto}
    for crypto in theirs.transport.crypto if srtp is not Srtp.OFF else ():
        own = by_suite.get(crypto.suite)
        if own is not None and not crypto.parameters:  # session parameters change what is sent; none are needed
            return replace(ours, crypto=(replace(own, tag=crypto.tag),))
    if theirs.profile in KEYED or srtp is Srtp.REQUIRED:
        raise UnprotectedError("there is no SRTP suite in common")
    return replace(ours, crypto=())


def check_answered(ours: Media, theirs: Media) -> None:
    """Raise UnprotectedError where our offer of keys was answered without one (RFC 4568 §5.1.3)."""
    if ours.profile in KEYED and not agreed(ours.transport, theirs.transport):
        raise UnprotectedError("the answer protects the media with no key that was offered")


def agreed(ours: Transport, theirs: Transport) -> tuple[Crypto, ...]:
    """The other end's key for the suite that offer and answer came to; none without protection."""
    said = {(crypto.tag, crypto.suite) for crypto in ours.crypto}
    return tuple(crypto for crypto in theirs.crypto if (crypto.tag, crypto.suite) in said)[:1]


def settled(ours: Media, theirs: Transport) -> Media:
    """What we said, with the one key that was agreed, so that the next offer says no other."""
    kept = {(crypto.tag, crypto.suite) for crypto in agreed(ours.transport, theirs)}
    crypto = tuple(own for own in ours.transport.crypto if (own.tag, own.suite) in kept)
    return replace(ours, transport=replace(ours.transport, crypto=crypto))
