"""Jingle as a client writes and reads it: XEP-0166, 0167, 0176, 0320, 0293, 0338 for one audio content.

Written on its own, without a line of the gateway's, so that two misunderstandings cannot cancel out. `read` is as
strict as the strictest of today's clients and says what they would refuse; it never guesses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

JINGLE = "urn:xmpp:jingle:1"
JMI = "urn:xmpp:jingle-message:0"
RTP = "urn:xmpp:jingle:apps:rtp:1"
RTP_INFO = "urn:xmpp:jingle:apps:rtp:info:1"
RTP_AUDIO = "urn:xmpp:jingle:apps:rtp:audio"
ICE = "urn:xmpp:jingle:transports:ice-udp:1"
DTLS = "urn:xmpp:jingle:apps:dtls:0"
GROUPING = "urn:xmpp:jingle:apps:grouping:0"
DTMF = "urn:xmpp:jingle:dtmf:0"

FEATURES = (JINGLE, RTP, RTP_AUDIO, RTP_INFO, ICE, DTLS, GROUPING, DTMF)


class Refusal(Exception):
    """A stanza that a client in the field would not take."""


@dataclass(frozen=True)
class Codec:
    number: int
    name: str
    rate: int
    channels: int = 1
    parameters: tuple[tuple[str, str], ...] = ()


OPUS = Codec(111, "opus", 48000, 2, (("minptime", "10"), ("useinbandfec", "1")))
G722 = Codec(9, "G722", 8000)
PCMU = Codec(0, "PCMU", 8000)
PCMA = Codec(8, "PCMA", 8000)
DTMF_48000 = Codec(110, "telephone-event", 48000)
DTMF_8000 = Codec(126, "telephone-event", 8000)

LIBWEBRTC = (OPUS, G722, PCMU, PCMA, DTMF_48000, DTMF_8000)  # what Conversations offers, in its order


@dataclass(frozen=True)
class Candidate:
    foundation: str
    component: int
    protocol: str
    priority: int
    ip: str
    port: int
    type: str


@dataclass(frozen=True)
class Content:
    """One end's audio."""

    name: str
    codecs: tuple[Codec, ...]
    ufrag: str
    pwd: str
    fingerprint: str
    setup: str
    candidates: tuple[Candidate, ...] = ()
    bundled: bool = True
    creator: str = "initiator"
    muxed: bool = field(default=True)


def write(action: str, sid: str, content: Content, **attributes: str) -> ET.Element:
    """A session-initiate or session-accept."""
    jingle = ET.Element(f"{{{JINGLE}}}jingle", {"action": action, "sid": sid, **attributes})
    if content.bundled:
        group = ET.SubElement(jingle, f"{{{GROUPING}}}group", semantics="BUNDLE")
        ET.SubElement(group, f"{{{GROUPING}}}content", name=content.name)
    element = ET.SubElement(jingle, f"{{{JINGLE}}}content", name=content.name, creator=content.creator, senders="both")
    description = ET.SubElement(element, f"{{{RTP}}}description", media="audio")
    for codec in content.codecs:
        payload = ET.SubElement(
            description, f"{{{RTP}}}payload-type", id=str(codec.number), name=codec.name, clockrate=str(codec.rate)
        )
        if codec.channels != 1:
            payload.set("channels", str(codec.channels))
        for name, value in codec.parameters:
            ET.SubElement(payload, f"{{{RTP}}}parameter", name=name, value=value)
    ET.SubElement(description, f"{{{RTP}}}rtcp-mux")
    transport = ET.SubElement(element, f"{{{ICE}}}transport", ufrag=content.ufrag, pwd=content.pwd)
    fingerprint = ET.SubElement(transport, f"{{{DTLS}}}fingerprint", hash="sha-256", setup=content.setup)
    fingerprint.text = content.fingerprint
    _write_candidates(transport, content.candidates)
    return jingle


def write_candidates(sid: str, content: Content, candidates: tuple[Candidate, ...]) -> ET.Element:
    """A transport-info that trickles some candidates."""
    jingle = ET.Element(f"{{{JINGLE}}}jingle", action="transport-info", sid=sid)
    element = ET.SubElement(jingle, f"{{{JINGLE}}}content", name=content.name, creator=content.creator)
    transport = ET.SubElement(element, f"{{{ICE}}}transport", ufrag=content.ufrag, pwd=content.pwd)
    _write_candidates(transport, candidates)
    return jingle


def _write_candidates(transport: ET.Element, candidates: tuple[Candidate, ...]) -> None:
    for number, candidate in enumerate(candidates, 1):
        ET.SubElement(
            transport,
            f"{{{ICE}}}candidate",
            component=str(candidate.component),
            foundation=candidate.foundation,
            generation="0",
            id=f"c{number}",
            ip=candidate.ip,
            network="0",
            port=str(candidate.port),
            priority=str(candidate.priority),
            protocol=candidate.protocol,
            type=candidate.type,
        )


def info(sid: str, action: str, *children: ET.Element, **attributes: str) -> ET.Element:
    jingle = ET.Element(f"{{{JINGLE}}}jingle", {"action": action, "sid": sid, **attributes})
    jingle.extend(children)
    return jingle


def reason(condition: str) -> ET.Element:
    element = ET.Element(f"{{{JINGLE}}}reason")
    ET.SubElement(element, f"{{{JINGLE}}}{condition}")
    return element


def read_reason(jingle: ET.Element) -> str:
    element = jingle.find(f"{{{JINGLE}}}reason")
    conditions = [] if element is None else [child for child in element if not child.tag.endswith("}text")]
    return conditions[0].tag.partition("}")[2] if conditions else ""


def read(jingle: ET.Element, offer: Content | None = None, *, strict: bool = True) -> Content:
    """The one audio content of a session-initiate, or of the session-accept to `offer`. Raises Refusal.

    Not `strict` takes what some clients send and others refuse.
    """
    contents = jingle.findall(f"{{{JINGLE}}}content")
    if len(contents) != 1:
        raise Refusal(f"{len(contents)} contents instead of one")
    element = contents[0]
    name = element.get("name", "")
    if not name or len(name) > 16 or any(map(str.isspace, name)):
        raise Refusal(f"content name {name!r}")  # Dino and old Asterisk want short names
    description = _child(element, f"{{{RTP}}}description")
    if description.get("media") != "audio":
        raise Refusal(f"media {description.get('media')!r}")
    transport = _child(element, f"{{{ICE}}}transport")
    fingerprint = _child(transport, f"{{{DTLS}}}fingerprint")
    if fingerprint.get("hash") != "sha-256" or not (fingerprint.text or "").strip():
        raise Refusal("no SHA-256 fingerprint")
    group = jingle.find(f"{{{GROUPING}}}group[@semantics='BUNDLE']")
    content = Content(
        name=name,
        codecs=tuple(_read_codec(payload, strict) for payload in description.findall(f"{{{RTP}}}payload-type")),
        ufrag=_attribute(transport, "ufrag"),
        pwd=_attribute(transport, "pwd"),
        fingerprint=(fingerprint.text or "").strip(),
        setup=_attribute(fingerprint, "setup"),
        candidates=read_candidates(transport, strict=strict),
        bundled=group is not None and [part.get("name") for part in group] == [name],
        creator=_attribute(element, "creator"),
        muxed=description.find(f"{{{RTP}}}rtcp-mux") is not None,
    )
    _examine(content, offer, strict)
    return content


def _examine(content: Content, offer: Content | None, strict: bool) -> None:
    if not content.codecs:
        raise Refusal("no payload types")
    if not content.muxed:
        raise Refusal("no rtcp-mux")
    if offer is None:
        if content.setup != "actpass":
            raise Refusal(f"setup {content.setup!r} in an offer (RFC 8842 §5.2)")
        return
    if content.setup not in ("active", "passive"):
        raise Refusal(f"setup {content.setup!r} in an answer (RFC 8842 §5.3)")
    if content.name != offer.name or content.creator != offer.creator:
        raise Refusal(f"content {content.name!r} of {content.creator} was not offered")
    if content.bundled != offer.bundled:
        raise Refusal("BUNDLE in the answer is not as it was in the offer")
    offered = {(codec.number, codec.name.lower(), codec.rate) for codec in offer.codecs}
    for codec in content.codecs:
        if (codec.number, codec.name.lower(), codec.rate) not in offered:
            raise Refusal(f"payload type {codec.number} {codec.name} was not offered")
    if content.codecs[0].name == "telephone-event":
        raise Refusal("telephone-event before the chosen codec")  # Dino takes the first payload type for the codec
    if strict and not content.candidates:
        raise Refusal("no candidates in the answer")  # several later ones break Movim and Monal


def _read_codec(payload: ET.Element, strict: bool) -> Codec:
    for parameter in payload.findall(f"{{{RTP}}}parameter"):
        if strict and not (parameter.get("name") and parameter.get("value")):
            raise Refusal("a parameter without name or value")  # Monal and Conversations
    name = _attribute(payload, "name")
    channels = int(payload.get("channels", "1"))
    if name.lower() == "opus" and channels != 2:
        raise Refusal("opus without two channels (RFC 7587 §7)")
    return Codec(
        int(_attribute(payload, "id")),
        name,
        int(_attribute(payload, "clockrate")),
        channels,
        tuple((p.get("name", ""), p.get("value", "")) for p in payload.findall(f"{{{RTP}}}parameter")),
    )


def read_candidates(transport: ET.Element, *, strict: bool = True) -> tuple[Candidate, ...]:
    return tuple(_read_candidate(candidate, strict) for candidate in transport.findall(f"{{{ICE}}}candidate"))


def _read_candidate(element: ET.Element, strict: bool) -> Candidate:
    for name in ("generation", "id", "network") if strict else ():
        _attribute(element, name)  # Dino drops candidates without them
    return Candidate(
        _attribute(element, "foundation"),
        int(_attribute(element, "component")),
        _attribute(element, "protocol"),
        int(_attribute(element, "priority")),
        _attribute(element, "ip"),
        int(_attribute(element, "port")),
        _attribute(element, "type"),
    )


def _child(element: ET.Element, tag: str) -> ET.Element:
    child = element.find(tag)
    if child is None:
        raise Refusal(f"no {tag.partition('}')[2]}")
    return child


def _attribute(element: ET.Element, name: str) -> str:
    value = element.get(name)
    if not value:
        raise Refusal(f"{element.tag.partition('}')[2]} without {name}")
    return value
