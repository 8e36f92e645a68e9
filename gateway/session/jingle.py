"""Session <-> the children of `<jingle/>`.

    <jingle>                                   XEP-0166
      <group semantics='BUNDLE'/>              XEP-0338   Session.bundle
      <content creator name senders>                      Media
        <description media>                    XEP-0167     codecs, rtcp-mux, ptime, crypto
          <payload-type/> <rtcp-fb/>           0293
          <rtp-hdrext/> <source/>              0294, 0339
        <transport ufrag pwd>                  XEP-0176     Transport.ice
          <candidate/> <fingerprint setup/>    0320

Rules: liberal in what is taken, since a stanza error ends the call in some clients: what is missing and can be guessed
is guessed, what is optional and cannot be read is as if it were not there. Strict in what is given, since clients crash
or refuse on less: every attribute that some client demands is there, every parameter has a name and a value.

`senders` names a role and Direction is seen from who speaks, so both ways need to know whether that is the initiator.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple
from xml.etree import ElementTree as ET

from gateway.errors import JingleError
from gateway.session import text as limits
from gateway.session.codecs import STATIC
from gateway.session.model import (
    Candidate,
    Codec,
    Crypto,
    Direction,
    Fingerprint,
    HeaderExtension,
    Ice,
    Media,
    Profile,
    Session,
    Setup,
    Source,
    Transport,
)
from gateway.session.text import is_address, is_fingerprint, is_ice, is_token, is_visible, preferred, visible, whole

JINGLE = "urn:xmpp:jingle:1"
RTP = "urn:xmpp:jingle:apps:rtp:1"
ICE_UDP = "urn:xmpp:jingle:transports:ice-udp:1"
DTLS = "urn:xmpp:jingle:apps:dtls:0"
GROUPING = "urn:xmpp:jingle:apps:grouping:0"
FEEDBACK = "urn:xmpp:jingle:apps:rtp:rtcp-fb:0"
HEADER_EXTENSION = "urn:xmpp:jingle:apps:rtp:rtp-hdrext:0"
SOURCES = "urn:xmpp:jingle:apps:rtp:ssma:0"
# Where Conversations says what a=ice-options says in SDP; no XEP has it.
ICE_OPTION = "http://gultsch.de/xmpp/drafts/jingle/transports/ice-udp/option"

_SENDERS = {
    # what the initiator says, what the responder says
    "both": (Direction.SENDRECV, Direction.SENDRECV),
    "initiator": (Direction.SENDONLY, Direction.RECVONLY),
    "responder": (Direction.RECVONLY, Direction.SENDONLY),
    "none": (Direction.INACTIVE, Direction.INACTIVE),
}
_REASONS = frozenset(
    {
        "alternative-session",
        "busy",
        "cancel",
        "connectivity-error",
        "decline",
        "expired",
        "failed-application",
        "failed-transport",
        "general-error",
        "gone",
        "incompatible-parameters",
        "media-error",
        "security-error",
        "success",
        "timeout",
        "unsupported-applications",
        "unsupported-transports",
    }
)


class TransportInfo(NamedTuple):
    """What transport-info brought; `ice` is set when credentials came along, be they new or those known already."""

    candidates: tuple[Candidate, ...]
    ice: Ice | None
    complete: bool


@dataclass(frozen=True, slots=True)
class Reason:
    """XEP-0166 §7.4: a condition of its list, and a text for people."""

    condition: str
    text: str = ""


# ------------------------------------------------------------------------------------------------------------ reading


def parse_session(jingle: ET.Element, *, by_initiator: bool | None = None) -> Session:
    """The contents of session-initiate, session-accept, content-add and the like. Raises JingleError.

    `by_initiator`: whether the initiator speaks; by default everybody who does not send session-accept.
    """
    if by_initiator is None:
        by_initiator = jingle.get("action") != "session-accept"
    contents = jingle.findall(f"{{{JINGLE}}}content")
    if not contents:
        raise JingleError("no content")
    if len(contents) > limits.MAX_MEDIA:
        raise JingleError(f"more than {limits.MAX_MEDIA} contents", "not-acceptable")
    media = tuple(_media(content, by_initiator) for content in contents)
    names = [m.name for m in media]
    if len(set(names)) < len(names):
        raise JingleError("two contents of one name")
    return Session(media, _bundle(jingle, names))


def parse_transport_info(jingle: ET.Element, names: Collection[str] | None = None) -> TransportInfo:
    """Candidates and credentials of transport-info, of the contents named (None: of all). Raises JingleError.

    Without BUNDLE each content has an ICE session of its own: those of a declined video must not reach the audio.
    """
    candidates: list[Candidate] = []
    ice: Ice | None = None
    complete = False
    for content in jingle.findall(f"{{{JINGLE}}}content")[: limits.MAX_MEDIA]:
        if names is not None and content.get("name") not in names:
            continue
        transport = content.find(f"{{{ICE_UDP}}}transport")
        if transport is None:
            continue
        found = _candidates(transport)
        candidates += found
        complete = complete or transport.find(f"{{{ICE_UDP}}}gathering-complete") is not None
        ice = ice or _ice(transport)
    return TransportInfo(tuple(candidates[: limits.MAX_CANDIDATES]), ice, complete)


def parse_reason(parent: ET.Element | None) -> Reason | None:
    """The `<reason/>` below this element (or the element itself); a condition that no XEP names is general-error."""
    if parent is None:
        return None
    reason = parent if parent.tag == f"{{{JINGLE}}}reason" else parent.find(f"{{{JINGLE}}}reason")
    if reason is None:
        return None
    text = reason.findtext(f"{{{JINGLE}}}text") or ""
    said = (child.tag.removeprefix(f"{{{JINGLE}}}") for child in reason)
    return Reason(next((tag for tag in said if tag in _REASONS), "general-error"), visible(text).strip())


def _bundle(jingle: ET.Element, names: list[str]) -> tuple[str, ...]:
    for group in jingle.findall(f"{{{GROUPING}}}group"):
        if group.get("semantics", "").upper() == "BUNDLE":
            members = (content.get("name") for content in group.findall(f"{{{GROUPING}}}content")[: limits.MAX_MEDIA])
            return tuple(dict.fromkeys(name for name in members if name in names and name is not None))
    return ()


def _media(content: ET.Element, by_initiator: bool) -> Media:
    name = content.get("name")
    if not name or not is_visible(name):
        raise JingleError("a content without a name")
    creator = "responder" if content.get("creator") == "responder" else "initiator"
    direction = _direction(content.get("senders"), by_initiator)
    transport_element = content.find(f"{{{ICE_UDP}}}transport")
    transport = _transport(transport_element) if transport_element is not None else Transport()
    description = content.find(f"{{{RTP}}}description")
    if description is None:
        other = next((child.tag for child in content if child.tag.endswith("}description")), "{}")
        namespace = visible(other[1:].partition("}")[0]) or "unknown"
        return Media(
            name,
            "application",
            (),
            Transport(port=0),
            direction=direction,
            creator=creator,
            rejected=True,
            foreign=namespace,
        )
    kind = description.get("media") or ""
    if not is_token(kind):
        raise JingleError(f"content {name!r} does not say which medium")
    # XEP-0167 §5 puts it into the description. COMPAT: some put it into the transport, as XEP-0176 once had it.
    mux = description.find(f"{{{RTP}}}rtcp-mux") is not None or (
        transport_element is not None and transport_element.find(f"{{{RTP}}}rtcp-mux") is not None
    )
    crypto = _crypto(description)
    profile = Profile.DTLS if transport.fingerprint else Profile.SAVPF if crypto else Profile.AVPF
    return Media(
        name=name,
        kind=kind,
        codecs=_codecs(description),
        transport=replace(transport, rtcp_mux=mux, crypto=crypto),
        profile=profile,
        direction=direction,
        ptime=_ptime(description),
        extensions=_extensions(description, by_initiator),
        sources=_sources(description),
        creator=creator,
    )


def _direction(senders: str | None, by_initiator: bool) -> Direction:
    return _SENDERS.get(senders or "both", _SENDERS["both"])[0 if by_initiator else 1]


def _codecs(description: ET.Element) -> tuple[Codec, ...]:
    elements = description.findall(f"{{{RTP}}}payload-type")
    if len(elements) > limits.MAX_CODECS:
        raise JingleError(f"more than {limits.MAX_CODECS} payload types", "not-acceptable")
    common = _feedback(description)
    found: dict[int, Codec] = {}
    for element in elements:
        codec = _codec(element, common)
        if codec is not None:
            found.setdefault(codec.pt, codec)
    return tuple(found.values())


def _codec(element: ET.Element, common: tuple[str, ...]) -> Codec | None:
    pt = whole(element.get("id"), 127)
    if pt is None:
        raise JingleError("a payload-type without a numeric id")
    known = STATIC.get(pt)
    name = element.get("name") or (known.name if known else "")
    if not is_token(name):
        return None  # as a dynamic number without rtpmap in SDP
    same = known is not None and known.name.upper() == name.upper()
    usual = known.clock_rate if known and same else 48_000 if name.lower() == "opus" else 8000
    clock = whole(element.get("clockrate"), 10_000_000, 1) or usual
    # RFC 7587 §4.1: opus has two channels on every wire. COMPAT: clients that leave the attribute out or say 1.
    channels = 2 if name.lower() == "opus" else whole(element.get("channels"), 255, 1) or 1
    feedback = tuple(dict.fromkeys(_feedback(element) + common))[: limits.MAX_FEEDBACK]
    return Codec(pt, name, clock, channels, _parameters(element, RTP), feedback)


def _parameters(element: ET.Element, namespace: str) -> tuple[tuple[str, str], ...]:
    """COMPAT: parameters without a name (telephone-event's `0-15` out of SDP), or without a value (stanza.js 12.22
    makes a name of red's `111/111`). Both are values without a name, as in SDP.
    """
    pairs = ((p.get("name") or "", p.get("value") or "") for p in element.findall(f"{{{namespace}}}parameter"))
    pairs = (pair if pair[1] else ("", pair[0]) for pair in pairs)
    return tuple(pair for pair in pairs if any(pair) and all(map(is_visible, pair)))[: limits.MAX_PARAMETERS]


def _feedback(element: ET.Element) -> tuple[str, ...]:
    found = []
    for child in element:
        if child.tag == f"{{{FEEDBACK}}}rtcp-fb":
            words = (child.get("type"), child.get("subtype"))
        elif child.tag == f"{{{FEEDBACK}}}rtcp-fb-trr-int":
            words = ("trr-int", child.get("value"))
        else:
            continue
        said = " ".join(" ".join(word for word in words if word).split())
        if said and is_visible(said):
            found.append(said)
    return tuple(found)[: limits.MAX_FEEDBACK]


def _ptime(description: ET.Element) -> int | None:
    """Jingle says it with each payload type, SDP once. COMPAT: Movim says it in the description."""
    places = (*description.findall(f"{{{RTP}}}payload-type"), description)
    said = (whole(element.get("ptime"), 1000, 1) for element in places)
    return next((ptime for ptime in said if ptime is not None), None)


def _extensions(description: ET.Element, by_initiator: bool) -> tuple[HeaderExtension, ...]:
    found: dict[int, HeaderExtension] = {}
    for element in description.findall(f"{{{HEADER_EXTENSION}}}rtp-hdrext")[: limits.MAX_EXTENSIONS]:
        key, uri = whole(element.get("id"), 4095 + 256, 1), element.get("uri")
        if key is not None and uri and is_visible(uri):
            found.setdefault(key, HeaderExtension(key, uri, _direction(element.get("senders"), by_initiator)))
    return tuple(found.values())


def _sources(description: ET.Element) -> tuple[Source, ...]:
    found: dict[int, Source] = {}
    for element in description.findall(f"{{{SOURCES}}}source")[: limits.MAX_SOURCES]:
        ssrc = whole(element.get("ssrc"), 0xFFFFFFFF)
        if ssrc is not None:
            found.setdefault(ssrc, Source(ssrc, _parameters(element, SOURCES)))
    return tuple(found.values())


def _crypto(description: ET.Element) -> tuple[Crypto, ...]:
    """SDES keys (XEP-0167 §7); COMPAT: Dino and old Gajim send them beside, or instead of, a fingerprint."""
    found = []
    for element in description.findall(f"{{{RTP}}}encryption/{{{RTP}}}crypto")[: limits.MAX_CRYPTO]:
        tag, suite, key = whole(element.get("tag"), 10**9), element.get("crypto-suite"), element.get("key-params")
        parameters = element.get("session-params") or ""
        if tag is not None and suite and is_token(suite) and key and is_visible(key) and is_visible(parameters):
            found.append(Crypto(tag, suite, key, parameters))
    return tuple(found)


def _transport(transport: ET.Element) -> Transport:
    fingerprint = _fingerprint(transport)
    ice = _ice(transport)
    return Transport(ice=ice, fingerprint=fingerprint)


def _ice(transport: ET.Element) -> Ice | None:
    ufrag, pwd = transport.get("ufrag"), transport.get("pwd")
    if not ufrag or not pwd:
        return None  # COMPAT: trickled candidates may come without (XEP-0176 §5.3 repeats them)
    if not is_ice(ufrag) or not is_ice(pwd):
        raise JingleError("ufrag or pwd with characters that ICE does not know")
    options = (child.tag.rpartition("}")[2] for child in transport if child.tag.startswith(f"{{{ICE_OPTION}}}"))
    return Ice(
        ufrag,
        pwd,
        tuple(_candidates(transport)),
        tuple(filter(is_token, options))[:16],
        complete=transport.find(f"{{{ICE_UDP}}}gathering-complete") is not None,
    )


def _candidates(transport: ET.Element) -> list[Candidate]:
    elements = transport.findall(f"{{{ICE_UDP}}}candidate")[: limits.MAX_CANDIDATES]
    found = [candidate for candidate in map(_candidate, elements) if candidate is not None]
    return [c if c.id else replace(c, id=f"c{number}") for number, c in enumerate(found)]


def _candidate(element: ET.Element) -> Candidate | None:
    """None for what cannot be used, as in SDP: one bad candidate is no reason to lose a call."""
    get = element.get
    component, priority, port = (
        whole(get("component") or "1", 256, 1),
        whole(get("priority"), 0xFFFFFFFF),
        whole(get("port"), 65_535),
    )
    foundation, ip, related, tcp_type = get("foundation") or "0", get("ip"), get("rel-addr"), get("tcptype")
    protocol, kind = (get("protocol") or "udp").lower(), (get("type") or "host").lower()
    if (
        component is None
        or priority is None
        or port is None
        or protocol not in ("udp", "tcp")
        or kind not in ("host", "srflx", "prflx", "relay")
        or not is_ice(foundation)
        or ip is None
        or not is_address(ip)
    ):
        return None
    return Candidate(
        foundation=foundation,
        component=component,
        protocol=protocol,
        priority=priority,
        ip=ip,
        port=port,
        type=kind,
        related_ip=related if is_address(related) else None,
        related_port=whole(get("rel-port") or get("rel_port"), 65_535),  # COMPAT: Monal (2024-10) writes rel_port
        generation=whole(get("generation"), 0xFFFF) or 0,
        id=visible(get("id") or "", 256),
        network=whole(get("network"), 0xFFFF) or 0,
        tcp_type=tcp_type if is_token(tcp_type) else None,
    )


def _fingerprint(transport: ET.Element) -> Fingerprint | None:
    """Of several the one that everybody can check, as in SDP."""
    found: list[Fingerprint] = []
    for element in transport.findall(f"{{{DTLS}}}fingerprint")[: limits.MAX_FINGERPRINTS]:
        value, said = (element.text or "").strip().upper(), element.get("setup") or "actpass"
        algorithm = (element.get("hash") or "sha-256").lower()
        if not is_fingerprint(value) or not is_token(algorithm):
            raise JingleError("a fingerprint that cannot be read")
        setup = Setup(said) if said in frozenset(Setup) else Setup.ACTPASS
        found.append(Fingerprint(algorithm, value, setup))
    return preferred(found)


# ------------------------------------------------------------------------------------------------------------ writing


def contents(session: Session, *, initiator: bool) -> list[ET.Element]:
    """The children of our session-initiate (`initiator`) or session-accept: group, and all but rejected contents."""
    taken = [media for media in session.media if not media.rejected]
    elements = []
    members = [name for name in session.bundle if any(media.name == name for media in taken)]
    if members:
        group = ET.Element(f"{{{GROUPING}}}group", semantics="BUNDLE")
        for name in members:
            ET.SubElement(group, f"{{{GROUPING}}}content", name=visible(name))
        elements.append(group)
    return elements + [_content(media, initiator) for media in taken]


def transport_info(media: Media, ice: Ice) -> ET.Element:
    """The `<content/>` of a transport-info that tells these credentials and candidates for this section.

    The fingerprint is the section's: XEP-0320 has it there too, and a client that restarts may look for it.
    """
    content = ET.Element(f"{{{JINGLE}}}content", creator=media.creator, name=visible(media.name))
    content.append(_transport_element(replace(media.transport, ice=ice)))
    return content


def reason(condition: str, text: str = "") -> ET.Element:
    """`<reason/>`; a condition that XEP-0166 §7.4 does not list becomes general-error."""
    element = ET.Element(f"{{{JINGLE}}}reason")
    ET.SubElement(element, f"{{{JINGLE}}}{condition if condition in _REASONS else 'general-error'}")
    said = visible(text).strip()
    if said:
        ET.SubElement(element, f"{{{JINGLE}}}text").text = said
    return element


def _content(media: Media, initiator: bool) -> ET.Element:
    content = ET.Element(f"{{{JINGLE}}}content", creator=media.creator, name=visible(media.name))
    if media.direction is not Direction.SENDRECV:  # "both" is the default, and some clients know no `senders`
        content.set("senders", _senders(media.direction, initiator))
    content.append(_description(media, initiator))
    content.append(_transport_element(media.transport))
    return content


def _senders(direction: Direction, initiator: bool) -> str:
    return next(name for name, said in _SENDERS.items() if said[0 if initiator else 1] is direction)


def _description(media: Media, initiator: bool) -> ET.Element:
    description = ET.Element(f"{{{RTP}}}description", media=visible(media.kind))
    for index, codec in enumerate(media.codecs):
        element = _payload_type(codec)
        if index == 0 and media.ptime is not None:
            element.set("ptime", str(media.ptime))
        description.append(element)
    if media.transport.crypto:
        encryption = ET.SubElement(description, f"{{{RTP}}}encryption")
        for crypto in media.transport.crypto:
            attributes = {
                "tag": str(crypto.tag),
                "crypto-suite": visible(crypto.suite),
                "key-params": visible(crypto.key),
            }
            if crypto.parameters:
                attributes["session-params"] = visible(crypto.parameters)
            ET.SubElement(encryption, f"{{{RTP}}}crypto", attributes)
    for extension in media.extensions:
        attributes = {"id": str(extension.id), "uri": visible(extension.uri)}
        if extension.direction is not Direction.SENDRECV:
            attributes["senders"] = _senders(extension.direction, initiator)
        ET.SubElement(description, f"{{{HEADER_EXTENSION}}}rtp-hdrext", attributes)
    for source in media.sources:
        element = ET.SubElement(description, f"{{{SOURCES}}}source", ssrc=str(source.ssrc))
        _add_parameters(element, SOURCES, source.parameters)
    if media.transport.rtcp_mux:
        ET.SubElement(description, f"{{{RTP}}}rtcp-mux")
    return description


def _payload_type(codec: Codec) -> ET.Element:
    element = ET.Element(
        f"{{{RTP}}}payload-type", id=str(codec.pt), name=visible(codec.name), clockrate=str(codec.clock_rate)
    )
    if codec.channels > 1:
        element.set("channels", str(codec.channels))
    # COMPAT: Conversations refuses blanks inside of names and values.
    _add_parameters(element, RTP, tuple(pair for pair in codec.parameters if not set(" ") & set("".join(pair))))
    for feedback in codec.feedback:
        kind, _, subtype = visible(feedback).partition(" ")
        if kind == "trr-int":
            ET.SubElement(element, f"{{{FEEDBACK}}}rtcp-fb-trr-int", value=subtype)
            continue
        child = ET.SubElement(element, f"{{{FEEDBACK}}}rtcp-fb", type=kind)
        if subtype:
            child.set("subtype", subtype)
    return element


def _add_parameters(parent: ET.Element, namespace: str, parameters: tuple[tuple[str, str], ...]) -> None:
    """COMPAT: Monal and Conversations refuse a parameter without name or value; such a one is left out."""
    for name, value in parameters:
        if visible(name) and visible(value):
            ET.SubElement(parent, f"{{{namespace}}}parameter", name=visible(name), value=visible(value))


def _transport_element(transport: Transport) -> ET.Element:
    element = ET.Element(f"{{{ICE_UDP}}}transport")
    ice = transport.ice
    if ice is not None:
        element.set("ufrag", visible(ice.ufrag))
        element.set("pwd", visible(ice.pwd))
    if transport.fingerprint is not None:
        fingerprint = transport.fingerprint
        child = ET.SubElement(
            element, f"{{{DTLS}}}fingerprint", hash=visible(fingerprint.algorithm), setup=str(fingerprint.setup)
        )
        child.text = visible(fingerprint.value)
    if ice is not None:
        for option in filter(is_token, ice.options):
            ET.SubElement(element, f"{{{ICE_OPTION}}}{option}")
        for number, candidate in enumerate(ice.candidates):
            ET.SubElement(element, f"{{{ICE_UDP}}}candidate", dict(_candidate_attributes(candidate, number)))
        if ice.complete:
            ET.SubElement(element, f"{{{ICE_UDP}}}gathering-complete")
    return element


def _candidate_attributes(candidate: Candidate, number: int) -> Iterator[tuple[str, str]]:
    """All ten attributes, always: Conversations drops a candidate that lacks one."""
    yield "component", str(candidate.component)
    yield "foundation", visible(candidate.foundation)
    yield "generation", str(candidate.generation)
    yield "id", visible(candidate.id) or f"c{number}"
    yield "ip", visible(candidate.ip)
    yield "network", str(candidate.network)
    yield "port", str(candidate.port)
    yield "priority", str(candidate.priority)
    yield "protocol", visible(candidate.protocol)
    yield "type", visible(candidate.type)
    if candidate.related_ip is not None:
        yield "rel-addr", visible(candidate.related_ip)
    if candidate.related_port is not None:
        yield "rel-port", str(candidate.related_port)
    if candidate.tcp_type is not None:
        yield "tcptype", visible(candidate.tcp_type)
