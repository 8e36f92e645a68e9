"""The seam's words and rtpengine's: transports as the SDP that its ng protocol speaks, and its counters as ours. Pure.

rtpengine knows calls of two parties, who offer and answer. The seam knows legs, allocated before anybody knows who will
talk with whom. So each call has a party of nobody's, who offers to every leg:

    allocate    offer   nobody → leg      with what a leg of this kind speaks; the answer tells our transport
    connect     answer  leg → nobody      with what the far end said: its ICE and DTLS begin
    both are    offer   leg → its peer    with both ends' codecs: from now on they hear each other
    connected   answer  peer → leg

Both session descriptions are the gateway's; of what rtpengine writes only the transport is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.errors import MediaError, SdpError
from gateway.media.engine import Digit, LegKind, LegStatistics
from gateway.media.sdes import SUITES
from gateway.session import sdp
from gateway.session.model import Codec, Crypto, Direction, Media, Profile, Session, Setup, Stream, Transport

NOBODY = "nobody"  # the tag of the party that every leg was offered by
UNSPECIFIED = "0.0.0.0"  # noqa: S104 -- written into SDP, never bound to
DIGITS = "0123456789*#ABCD"  # RFC 4733 §3.2, by their event codes
SHORTEST, LONGEST = 100, 5_000  # ms, the digits that "play DTMF" plays

_PLACEHOLDER = (Codec(8, "PCMA", 8_000),)
# An RTP end is listened to where its first packet after an offer or answer comes from, and nobody else is (safety rule
# 7); a port stays the leg's own, whoever its peer is and wherever that one's packets come from.
FLAGS = ("strict-source", "endpoint-learning-immediate", "port-latching", "trust-address", "inject-DTMF")
_REVERSED = {Setup.ACTIVE: Setup.PASSIVE, Setup.PASSIVE: Setup.ACTIVE}

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Counted:
    """What the daemon knows of one leg."""

    packets: int
    octets: int
    errors: int
    heard: float  # when the last packet came, unix time in whole seconds
    verified: bool  # DTLS is done, and the certificate is the one that was announced
    reported: Reported | None = None  # what this end says about what it was sent


@dataclass(frozen=True, slots=True)
class Reported:
    """What one end says in RTCP about the voice of the other, averaged over the call but for the packets lost."""

    lost: int
    jitter: float  # ms
    round_trip: float  # ms, between the daemon and the end that reports
    mos: float


def profile(kind: LegKind, *, keyed: bool) -> Profile:
    """`keyed`: SRTP with keys in the SDP (RFC 4568)."""
    if kind is LegKind.WEBRTC:
        return Profile.DTLS
    return Profile.SAVP if keyed else Profile.AVP


def towards(kind: LegKind, *, keyed: bool, ip: int | None = None) -> Arguments:
    """What an offer or answer that goes out to a leg of this kind has to be like, `ip` being the version of its end."""
    spoken: Arguments = {"transport-protocol": str(profile(kind, keyed=keyed)), "flags": list(FLAGS)}
    if kind is LegKind.WEBRTC:
        # An SDES key beside the fingerprint would be a way around it.
        return spoken | {"ICE": "force", "SDES": ["off"], "rtcp-mux": ["require"]}
    spoken |= {"ICE": "remove", "DTLS": "off", "rtcp-mux": ["demux"]}
    spoken |= {} if ip is None else {"address-family": f"IP{ip}"}
    return spoken | ({} if keyed else {"SDES": ["off"]})


def placeholder() -> str:
    """What nobody offers: a codec, and that nothing is sent or taken.

    The address is one for examples (RFC 5737): for 0.0.0.0, rtpengine would write 0.0.0.0 in place of its own.
    """
    nothing = Media("0", "audio", _PLACEHOLDER, Transport("192.0.2.1"), direction=Direction.INACTIVE)
    return sdp.render(Session((nothing,)))


def described(kind: LegKind, remote: Transport, stream: Stream, setup: Setup) -> str:
    """What the far end of a leg has agreed to, as if it said so itself. `setup` is our own role.

    Raises MediaError. The codec that it wants comes alone, so that no other one is relayed to it.
    """
    codecs = (stream.send, *((stream.send_dtmf,) if stream.send_dtmf else ()))
    if kind is LegKind.WEBRTC:
        if remote.fingerprint is None or remote.ice is None:
            raise MediaError("a WebRTC leg needs ICE and a fingerprint")
        theirs = _REVERSED.get(setup, Setup.ACTPASS)
        first = next((one for one in remote.ice.candidates if one.component == 1), None)
        remote = replace(
            remote,
            address=first.ip if first else UNSPECIFIED,
            port=first.port if first else 9,
            rtcp_port=None,
            rtcp_mux=True,
            fingerprint=replace(remote.fingerprint, setup=theirs),
            crypto=(),
        )
    else:
        remote = replace(remote, address=remote.address or UNSPECIFIED, ice=None, fingerprint=None)
    media = Media(
        "0",
        "audio",
        codecs,
        remote,
        profile(kind, keyed=bool(remote.crypto)),
        stream.direction.reversed,
        stream.ptime,
    )
    try:
        return sdp.render(Session((media,)))
    except SdpError as error:
        raise MediaError(f"the far end cannot be described: {error}") from error


def transcoding(one: Stream, other: Stream) -> Arguments:
    """What an offer between these two ends says of codecs: nothing where both have the same."""
    wanted = []
    if not one.send.same_as(other.send):
        wanted.append(_named(other.send))
    if other.send_dtmf and (one.send_dtmf is None or not one.send_dtmf.same_as(other.send_dtmf)):
        wanted.append(_named(other.send_dtmf))
    return {"codec": {"transcode": wanted}} if wanted else {}


def faster(one: Stream, other: Stream) -> bool:
    """Whether the first one's codec has the faster clock."""
    return one.send.clock_rate > other.send.clock_rate


def _named(codec: Codec) -> str:
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    return f"{codec.name}/{codec.clock_rate}{channels}"


def transport(text: Any, kind: LegKind, setup: Setup) -> Transport:
    """Our end of a leg, from the SDP that rtpengine wrote. Raises MediaError."""
    try:
        audio = sdp.parse(text if isinstance(text, str) else "").audio
    except SdpError as error:
        raise MediaError(f"rtpengine's SDP cannot be read: {error}") from error
    if audio is None:
        raise MediaError("rtpengine's SDP has no audio")
    found = audio.transport
    if kind is LegKind.RTP:
        # rtpengine offers every suite that it knows, NULL ciphers among them.
        keys = tuple(_padded(one) for one in found.crypto if one.suite in SUITES)
        return Transport(found.address, found.port, found.rtcp_port, crypto=keys)
    if found.ice is None or found.fingerprint is None:
        raise MediaError("rtpengine's SDP has no ICE or no fingerprint")
    return Transport(
        found.address,
        found.port,
        rtcp_mux=True,
        ice=replace(found.ice, complete=True),
        fingerprint=replace(found.fingerprint, setup=setup),
    )


def _padded(crypto: Crypto) -> Crypto:
    """COMPAT: rtpengine 10.5 leaves out the padding of base64, which RFC 4568 §6.1 asks for."""
    method, colon, key = crypto.key.partition(":")
    return replace(crypto, key=f"{method}{colon}{key}{'=' * (-len(key) % 4)}")


def counters(answer: Mapping[str, Any]) -> dict[str, Counted]:
    """The legs in an answer to `query` or `delete`; what is not as expected is left out."""
    found = {}
    tags, sources = answer.get("tags"), answer.get("SSRC")
    for name, tag in tags.items() if isinstance(tags, dict) else ():
        try:
            stream = tag["medias"][0]["streams"][0]
            stats, flags = stream["stats"], stream["flags"]
            found[name] = Counted(
                int(stats["packets"]),
                int(stats["bytes"]),
                int(stats["errors"]),
                float(stream["last packet"]),
                "DTLS fingerprint verified" in flags,
                _reported(sources, stream.get("SSRC")),
            )
        except (KeyError, IndexError, TypeError, ValueError):
            continue
    return found


def _reported(sources: Any, ssrc: Any) -> Reported | None:
    """What the end whose voice has this SSRC said; None while it said nothing, and for what is not as expected."""
    try:
        told = sources[str(ssrc)]
        mean = told["average MOS"]
        return Reported(
            int(told["cumulative loss"]),
            float(mean["jitter"]),
            float(mean["round-trip time leg"]) / 1000,
            float(mean["MOS"]) / 10,
        )
    except (KeyError, TypeError, ValueError):
        return None


def statistics(mine: Counted, peers: Counted | None, stream: Stream | None, *, connected: bool) -> LegStatistics:
    """rtpengine counts what comes in: what went out is what came in from the peer. What never came it does not know."""
    told = mine.reported
    return LegStatistics(
        received_packets=mine.packets,
        received_octets=mine.octets,
        sent_packets=peers.packets if peers else 0,
        sent_octets=peers.octets if peers else 0,
        dropped=(("error", mine.errors),) if mine.errors else (),
        codec=stream.send.name if stream else "",
        connected=connected,
        far_lost=told.lost if told else 0,
        far_jitter=told.jitter if told else 0.0,
        round_trip=told.round_trip if told else None,
        far_mos=told.mos if told else None,
    )


def digit(datagram: bytes) -> Digit | None:
    """A line of the DTMF log (`--dtmf-log-dest`): one digit, when its end has let go of it. None for anything else."""
    try:
        said = json.loads(datagram)
        event = int(said["event"])
        if said["type"] != "DTMF" or not 0 <= event < len(DIGITS):
            return None
        return Digit(str(said["callid"]), str(said["source_tag"]), DIGITS[event], int(said["duration"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def held(stream: Stream) -> bool:
    """Whether its end is not expected to send anything."""
    return stream.direction in (Direction.SENDONLY, Direction.INACTIVE)
