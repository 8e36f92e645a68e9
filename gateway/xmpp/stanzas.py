"""XMPP stanzas as plain elements: names, builders, readers.

Rules
    1. Everything here is an ElementTree element in the component's stream namespace (XEP-0114 §3), in and out.
    2. A builder returns a new element; a reader never raises and takes nothing for granted.
    3. JIDs are strings. Those of incoming stanzas were prepared by the server that vouches for them (RFC 6120
       §8.1.2.1), so that they compare by equality.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.session.jingle import ICE_UDP, Reason, parse_reason
from gateway.session.jingle import reason as reason_element
from gateway.session.text import MAX_MEDIA

STREAM = "jabber:component:accept"
ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
CAPS = "http://jabber.org/protocol/caps"
DISCO_INFO = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"
JINGLE = "urn:xmpp:jingle:1"
JINGLE_ERRORS = "urn:xmpp:jingle:errors:1"
JMI = "urn:xmpp:jingle-message:0"
RTP = "urn:xmpp:jingle:apps:rtp:1"
RTP_INFO = "urn:xmpp:jingle:apps:rtp:info:1"
DTMF = "urn:xmpp:jingle:dtmf:0"
HINTS = "urn:xmpp:hints"
CARBONS = "urn:xmpp:carbons:2"
RECEIPTS = "urn:xmpp:receipts"
PING = "urn:xmpp:ping"
VERSION = "jabber:iq:version"
GATEWAY = "jabber:iq:gateway"
REGISTER = "jabber:iq:register"
LAST = "jabber:iq:last"
TIME = "urn:xmpp:time"

LANG = "{http://www.w3.org/XML/1998/namespace}lang"  # the attribute xml:lang

# XEP-0276 v0.1, v0.3, the form that Telepathy used before it, and the name that stanza.js knows.
TEMPPRES = (
    "urn:xmpp:temppres:0",
    "urn:xmpp:decloak:0",
    "http://telepathy.freedesktop.org/xmpp/protocol/decloak",
    "urn:xmpp:decloaking:0",
)

MESSAGE, PRESENCE, IQ = (f"{{{STREAM}}}{name}" for name in ("message", "presence", "iq"))

RESOURCE = "sip"  # of every contact, wherever the choice is ours

# What a JMI message can be (XEP-0353 v0.8).
JMI_KINDS = ("propose", "ringing", "proceed", "reject", "retract", "finish")

MOST_DIGITS = 32  # in one word
_DTMF = frozenset("0123456789*#ABCD")
_LONGEST_TEXT = 300  # characters of a human's text that are read or passed on

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def bare(jid: str) -> str:
    """`juliet@shakespeare.lit/balcony` -> `juliet@shakespeare.lit` (a resource may contain "@" and "/")."""
    return jid.partition("/")[0]


def resource(jid: str) -> str:
    return jid.partition("/")[2]


def local(jid: str) -> str:
    """The part before the "@"; empty for a domain."""
    head, at, _ = bare(jid).rpartition("@")
    return head if at else ""


def domain(jid: str) -> str:
    return bare(jid).rpartition("@")[2]


def legal(text: str) -> str:
    """The text without what XML 1.0 §2.2 forbids: one such character, from SIP say, would end the whole stream."""
    return _ILLEGAL.sub("\ufffd", text)


def message(to: str, from_: str, *, id: str = "", type: str = "chat") -> ET.Element:
    return _stanza(MESSAGE, to, from_, id, type)


def presence(to: str, from_: str, *, type: str = "") -> ET.Element:
    return _stanza(PRESENCE, to, from_, "", type)


def iq(to: str, from_: str, *, id: str, type: str = "set") -> ET.Element:
    return _stanza(IQ, to, from_, id, type)


def _stanza(tag: str, to: str, from_: str, id_: str, type_: str) -> ET.Element:
    attributes = {"to": to, "from": from_}
    if id_:
        attributes["id"] = id_
    if type_:
        attributes["type"] = type_
    return ET.Element(tag, attributes)


def result(request: ET.Element) -> ET.Element:
    """The empty result of an IQ (RFC 6120 §8.2.3), from the very JID that was asked."""
    return iq(request.get("from", ""), request.get("to", ""), id=request.get("id", ""), type="result")


def error(
    stanza: ET.Element,
    condition: str,
    text: str = "",
    *,
    type: str = "cancel",
    jingle: str | None = None,
) -> ET.Element:
    """The error that answers a stanza (RFC 6120 §8.3); `jingle` adds the condition of XEP-0166 §12."""
    answer = _stanza(stanza.tag, stanza.get("from", ""), stanza.get("to", ""), stanza.get("id", ""), "error")
    body = ET.SubElement(answer, f"{{{STREAM}}}error", {"type": type})
    ET.SubElement(body, f"{{{ERRORS}}}{condition}")
    if text:
        ET.SubElement(body, f"{{{ERRORS}}}text").text = legal(text[:_LONGEST_TEXT])
    if jingle:
        ET.SubElement(body, f"{{{JINGLE_ERRORS}}}{jingle}")
    return answer


@dataclass(frozen=True, slots=True)
class Condition:
    """What an error stanza says; `jingle` is the application's condition (XEP-0166 §12) or empty."""

    name: str
    jingle: str = ""
    text: str = ""


def condition(stanza: ET.Element) -> Condition:
    """The condition of an error stanza; undefined-condition when it names none."""
    name, jingle, text = "undefined-condition", "", ""
    body = stanza.find(f"{{{STREAM}}}error")
    for child in () if body is None else body:
        space, tag = split(child)
        if space == ERRORS and tag == "text":
            text = (child.text or "").strip()[:_LONGEST_TEXT]
        elif space == ERRORS:
            name = tag
        elif space == JINGLE_ERRORS:
            jingle = tag
    return Condition(name, jingle, text)


def split(element: ET.Element) -> tuple[str, str]:
    """Namespace and name of an element."""
    space, brace, name = element.tag.rpartition("}")
    return (space[1:], name) if brace else ("", name)


def payload(stanza: ET.Element) -> ET.Element | None:
    """The one child of an IQ request, None when there is not exactly one (RFC 6120 §8.2.3)."""
    return stanza[0] if len(stanza) == 1 else None


# --- Jingle (XEP-0166) and Jingle Message Initiation (XEP-0353)


@dataclass(frozen=True, slots=True)
class JmiMessage:
    """One message of XEP-0353. `media` lists the media of a propose, in order; `receipt` says that one is wanted."""

    kind: str
    sid: str
    reason: Reason | None = None
    media: tuple[str, ...] = ()
    receipt: bool = False


def jmi_of(stanza: ET.Element) -> JmiMessage | None:
    """The Jingle message that a message stanza carries. None: it carries none; an empty sid: it lacks its id."""
    for child in stanza:
        space, kind = split(child)
        if space == JMI and kind in JMI_KINDS:
            media = tuple(d.get("media", "") for d in child.findall(f"{{{RTP}}}description"))
            receipt = stanza.find(f"{{{RECEIPTS}}}request") is not None
            return JmiMessage(kind, child.get("id", ""), parse_reason(child), media, receipt)
    return None


def jmi(
    kind: str,
    sid: str,
    to: str,
    from_: str,
    *,
    reason: Reason | None = None,
    id: str = "",
    tie: bool = False,
    private: bool = False,
    media: tuple[str, ...] = ("audio",),
) -> ET.Element:
    """A Jingle message, kept by servers for devices that are away (XEP-0334 `store`, XEP-0353 §3).

    `media` are those of a propose: Conversations wants the very same in the session that follows.
    `tie`: it ends a call that crossed another one (XEP-0353 §4.1). `private`: for this one device, whatever the call of
    that id is to its user's others (XEP-0280 §9). COMPAT: Movim and Dino take a carbon of it for their own.
    """
    stanza = message(to, from_, id=id or f"jm-{kind}-{sid}")
    element = ET.SubElement(stanza, f"{{{JMI}}}{kind}", {"id": sid})
    if kind == "propose":
        for kind_of_media in media:
            ET.SubElement(element, f"{{{RTP}}}description", {"media": kind_of_media})
        ET.SubElement(stanza, f"{{{RECEIPTS}}}request")
    if reason is not None:
        element.append(reason_element(reason.condition, reason.text))
    if tie:
        ET.SubElement(element, f"{{{JMI}}}tie-break")
    if private:
        ET.SubElement(stanza, f"{{{CARBONS}}}private")
        ET.SubElement(stanza, f"{{{HINTS}}}no-copy")
    ET.SubElement(stanza, f"{{{HINTS}}}store")  # COMPAT: Kaidan (QXmpp 1.16) reads none without, nor of another type
    return stanza


def receipt(to: str, from_: str, of: str) -> ET.Element:
    """The receipt for a message with the id `of` (XEP-0184 §5.4)."""
    stanza = message(to, from_, id=f"receipt-{of}"[:100])
    ET.SubElement(stanza, f"{{{RECEIPTS}}}received", {"id": of})
    ET.SubElement(stanza, f"{{{HINTS}}}store")
    return stanza


def receipt_of(stanza: ET.Element) -> str:
    """The id of the message that this one acknowledges, or empty."""
    received = stanza.find(f"{{{RECEIPTS}}}received")
    return "" if received is None else received.get("id", "")


def jingle(action: str, sid: str, **attributes: str) -> ET.Element:
    """A `<jingle/>` element; the attributes are `initiator` and `responder`."""
    return ET.Element(f"{{{JINGLE}}}jingle", {"action": action, "sid": sid, **attributes})


def terminate(sid: str, reason: Reason) -> ET.Element:
    element = jingle("session-terminate", sid)
    element.append(reason_element(reason.condition, reason.text))
    return element


def refusal(action: str, sid: str, request: ET.Element) -> ET.Element:
    """`<jingle/>` that refuses the contents of a request: stubs with their names, media, senders and transports.

    COMPAT: Conversations knows its content-add again by name, media and senders (ContentAddition.summary).
    """
    answer = jingle(action, sid)
    for content in request.findall(f"{{{JINGLE}}}content")[:MAX_MEDIA]:
        kept = {key: value for key in ("creator", "name", "senders") if (value := content.get(key))}
        stub = ET.SubElement(answer, f"{{{JINGLE}}}content", kept)
        description = content.find(f"{{{RTP}}}description")
        if description is not None:
            ET.SubElement(stub, f"{{{RTP}}}description", {"media": description.get("media", "")})
        transport = content.find(f"{{{ICE_UDP}}}transport")
        if transport is not None:
            kept = {key: value for key in ("ufrag", "pwd") if (value := transport.get(key))}
            ET.SubElement(stub, f"{{{ICE_UDP}}}transport", kept)
    return answer


def dtmf_of(element: ET.Element) -> tuple[str, int] | None:
    """Digits and their duration in ms, of 40 to 6000, of XEP-0181's `<dtmf/>`; None when it names no digits."""
    digits = element.get("code", "").upper()
    if not 0 < len(digits) <= MOST_DIGITS or not _DTMF.issuperset(digits):
        return None
    duration = element.get("duration", "")
    length = int(duration) if duration.isascii() and duration.isdigit() and len(duration) <= 5 else 100
    return digits, min(max(length, 40), 6000)


def jingle_of(stanza: ET.Element) -> ET.Element | None:
    return stanza.find(f"{{{JINGLE}}}jingle")


# --- presence


def temppres_of(stanza: ET.Element) -> bool:
    """A request for temporary presence (XEP-0276), in any of its four names and whatever its reason."""
    return any(space in TEMPPRES and name in ("temppres", "decloak") for space, name in map(split, stanza))


def caps_of(stanza: ET.Element) -> tuple[str, str, str] | None:
    """Hash, node and ver of a presence's entity capabilities (XEP-0115 §4); None when it has none that can be used."""
    element = stanza.find(f"{{{CAPS}}}c")
    if element is None:
        return None
    found = tuple(element.get(name, "") for name in ("hash", "node", "ver"))
    hash_, node, ver = found
    usable = hash_ and ver and all(len(text) <= 512 for text in found)
    return (hash_, node, ver) if usable else None


# --- what a ladder prints


def describe(stanza: ET.Element) -> tuple[str, str]:
    """A stanza's label and secret-free detail for a trace: `("session-terminate", "busy")`."""
    type_ = stanza.get("type", "")
    if type_ == "error":
        found = condition(stanza)
        return "error", " ".join(filter(None, (found.name, found.jingle, found.text)))
    element = jingle_of(stanza)
    if element is not None:
        return element.get("action", "jingle")[:40], ", ".join(_details(element))
    spoken = jmi_of(stanza)
    if spoken is not None:
        return f"JMI {spoken.kind}", " ".join((*spoken.media, *_said(spoken.reason)))
    if receipt_of(stanza):
        return "receipt", ""
    _, name = split(stanza)
    if name == "presence":
        return f"presence {type_}".rstrip(), "temporary presence asked" if temppres_of(stanza) else ""
    return (type_, "") if name == "iq" and type_ == "result" else (name, "")


def _said(reason: Reason | None) -> tuple[str, ...]:
    return () if reason is None else tuple(filter(None, (reason.condition, reason.text)))


def _details(element: ET.Element) -> Iterator[str]:
    yield from _said(parse_reason(element))
    for child in element:
        space, name = split(child)
        if space == RTP_INFO:
            yield name
        elif space == DTMF:
            yield "dtmf"
        elif space == JINGLE and name == "content":
            names = (p.get("name", "") for p in child.iterfind(f"{{{RTP}}}description/{{{RTP}}}payload-type"))
            yield f"{child.get('name', '')[:16]}: {' '.join(names)[:120]}".rstrip(": ")
