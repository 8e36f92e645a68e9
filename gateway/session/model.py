"""What two ends of a call agree on: the one model behind both spellings, SDP and Jingle.

A Session is what one end says of itself (an offer or an answer). It holds Media sections (Jingle: contents); each has
its codecs and a Transport, which is all that a media engine tells and needs to know. Everything is frozen and compares
by value; nothing here knows how it is written on a wire.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace


class Direction(enum.StrEnum):
    """Who sends, seen from the end that says it (RFC 8866 §6.7; Jingle `senders`, XEP-0166 §7.3)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def reversed(self) -> Direction:
        """The same agreement, seen from the other end."""
        return {Direction.SENDONLY: Direction.RECVONLY, Direction.RECVONLY: Direction.SENDONLY}.get(self, self)


class Setup(enum.StrEnum):
    """Who opens the DTLS association (RFC 4145 §4, RFC 8842)."""

    ACTPASS = "actpass"
    ACTIVE = "active"
    PASSIVE = "passive"
    HOLDCONN = "holdconn"


class Profile(enum.StrEnum):
    """The RTP profile of a media section's transport (RFC 3551, 3711, 4585, 5764)."""

    AVP = "RTP/AVP"
    AVPF = "RTP/AVPF"
    SAVP = "RTP/SAVP"
    SAVPF = "RTP/SAVPF"
    DTLS = "UDP/TLS/RTP/SAVPF"
    DTLS_AVP = "UDP/TLS/RTP/SAVP"

    @property
    def dtls(self) -> bool:
        return self in (Profile.DTLS, Profile.DTLS_AVP)


class Dtmf(enum.StrEnum):
    """How digits go to an end and come from it."""

    RFC4733 = "rfc4733"  # as telephone-event, where both ends have it; as tones where not
    INFO = "info"  # in signalling (SIP INFO)
    INBAND = "inband"  # as tones


@dataclass(frozen=True, slots=True)
class Codec:
    """One payload type: rtpmap, fmtp and rtcp-fb of SDP, `<payload-type/>` of XEP-0167.

    `parameters` are fmtp pairs in their order; a value without a name (`0-15` of telephone-event) has the name "".
    """

    pt: int
    name: str
    clock_rate: int
    channels: int = 1
    parameters: tuple[tuple[str, str], ...] = ()
    feedback: tuple[str, ...] = ()  # rtcp-fb, "nack pli"

    def same_as(self, other: Codec) -> bool:
        """The same encoding, whatever its payload number and parameters are (names fold case, RFC 4855 §3)."""
        return (self.name.lower(), self.clock_rate, self.channels) == (
            other.name.lower(),
            other.clock_rate,
            other.channels,
        )

    @property
    def is_dtmf(self) -> bool:
        """A telephone-event payload (RFC 4733)."""
        return self.name.lower() == "telephone-event"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One ICE candidate (RFC 8839 §5.1, XEP-0176 §5.2). `id`, `network` exist in Jingle only."""

    foundation: str
    component: int
    protocol: str  # "udp" or "tcp"
    priority: int
    ip: str  # may be an mDNS name (RFC 8828)
    port: int
    type: str  # host, srflx, prflx, relay
    related_ip: str | None = None
    related_port: int | None = None
    generation: int = 0
    id: str = ""
    network: int = 0
    tcp_type: str | None = None


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The certificate that this end will show in DTLS (RFC 8122, XEP-0320)."""

    algorithm: str  # "sha-256"
    value: str  # "AB:CD:…", upper case
    setup: Setup


@dataclass(frozen=True, slots=True)
class Crypto:
    """One SRTP key that this end sends with, named in the signalling (SDES: RFC 4568, XEP-0167 §7)."""

    tag: int
    suite: str  # "AES_CM_128_HMAC_SHA1_80"
    key: str = field(repr=False)  # "inline:…", a secret
    parameters: str = ""


@dataclass(frozen=True, slots=True)
class Ice:
    """Credentials and candidates of one end (RFC 8839, XEP-0176)."""

    ufrag: str
    pwd: str
    candidates: tuple[Candidate, ...] = ()
    options: tuple[str, ...] = ()  # "trickle", "renomination"
    lite: bool = False
    complete: bool = False  # end-of-candidates was said


@dataclass(frozen=True, slots=True)
class Source:
    """One announced SSRC with its attributes (RFC 5576, XEP-0339); names and values in their order."""

    ssrc: int
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Transport:
    """Where and how one end takes and sends RTP: what a media engine gives (allocate) and gets (connect).

    Plain RTP has address, port and rtcp_port; an ICE transport has ice and fingerprint, and may have both.
    """

    address: str | None = None  # an IP address, or a host name that someone named (safety rule 3 applies)
    port: int = 9
    rtcp_port: int | None = None  # None: port + 1, or muxed
    rtcp_mux: bool = False
    ice: Ice | None = None
    fingerprint: Fingerprint | None = None
    crypto: tuple[Crypto, ...] = ()
    source: Source | None = None  # what it sends as, where the engine knows


@dataclass(frozen=True, slots=True)
class HeaderExtension:
    """RFC 8285 / XEP-0294."""

    id: int
    uri: str
    direction: Direction = Direction.SENDRECV


@dataclass(frozen=True, slots=True)
class Media:
    """One media section (SDP m=) or content (Jingle)."""

    name: str  # mid, or the content's name
    kind: str  # "audio", "video", "application"
    codecs: tuple[Codec, ...]
    transport: Transport
    profile: Profile = Profile.AVP
    direction: Direction = Direction.SENDRECV
    ptime: int | None = None  # ms
    extensions: tuple[HeaderExtension, ...] = ()
    sources: tuple[Source, ...] = ()
    creator: str = "initiator"  # Jingle only
    rejected: bool = False  # SDP port 0; a Jingle content that is left out
    foreign: str = ""  # no RTP ("udptl t38", or a Jingle description's namespace): always rejected, only named

    def codec(self, pt: int) -> Codec | None:
        return next((c for c in self.codecs if c.pt == pt), None)

    @property
    def voices(self) -> tuple[Codec, ...]:
        """The codecs that carry sound: neither telephone-event nor comfort noise, red or FEC."""
        return tuple(c for c in self.codecs if c.name.lower() not in ("telephone-event", "cn", "red", "ulpfec", "rtx"))

    @property
    def dtmf(self) -> tuple[Codec, ...]:
        return tuple(c for c in self.codecs if c.is_dtmf)


@dataclass(frozen=True, slots=True)
class Session:
    """What one end offers or answers: its media in order, and which share one transport (BUNDLE, RFC 9143)."""

    media: tuple[Media, ...]
    bundle: tuple[str, ...] = ()  # names; empty when not grouped
    origin: str = "-"  # SDP o= user name
    id: str = "0"  # SDP o= session id
    version: int = 0  # SDP o= version

    @property
    def audio(self) -> Media | None:
        """The first audio section that was not rejected."""
        return next((m for m in self.media if m.kind == "audio" and not m.rejected), None)

    @property
    def video(self) -> Media | None:
        """The first video section that was not rejected."""
        return next((m for m in self.media if m.kind == "video" and not m.rejected), None)

    def with_media(self, media: Media) -> Session:
        """The same session with the section of that name replaced."""
        return replace(self, media=tuple(media if m.name == media.name else m for m in self.media))


@dataclass(frozen=True, slots=True)
class Stream:
    """What offer and answer came to, for one leg's audio or video, seen from us: all but the transports that an engine
    needs.

    `send` is what we send to that leg's end, with the payload number that it wants; `receive` is what it may send.
    """

    send: Codec
    receive: tuple[Codec, ...]
    send_dtmf: Codec | None = None
    receive_dtmf: tuple[Codec, ...] = ()
    direction: Direction = Direction.SENDRECV  # seen from us
    ptime: int = 20  # ms
    rtcp_mux: bool = False
    dtmf: Dtmf = Dtmf.RFC4733
