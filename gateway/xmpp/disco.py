"""What the gateway says it is and can (XEP-0030, XEP-0115), and what it makes of others' answers.

Two kinds of entity: the domain, and the contacts behind it (bare JID and every resource alike).

    asked of      node            answer
    known JID     none            the full set
    known JID     NODE#ver        the set that hashes to this ver, the node echoed (Conversations compares it)
    known JID     any other       item-not-found
"""

from __future__ import annotations

import base64
import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from gateway import addresses
from gateway.addresses import SipUri
from gateway.errors import AddressError
from gateway.xmpp import stanzas
from gateway.xmpp.stanzas import (
    CAPS,
    DISCO_INFO,
    DISCO_ITEMS,
    DTMF,
    GATEWAY,
    JINGLE,
    JMI,
    PING,
    RECEIPTS,
    RTP,
    VERSION,
    bare,
    local,
)

NODE = "urn:xmpp-sip-gateway"
COMMANDS = "http://jabber.org/protocol/commands"

RTP_AUDIO = "urn:xmpp:jingle:apps:rtp:audio"
DTLS = "urn:xmpp:jingle:apps:dtls:0"
ICE = "urn:xmpp:jingle:transports:ice-udp:1"

_MOST_FEATURES = 500  # of another entity's answer
_MOST_IDENTITIES = 20
_LONGEST_WRITTEN = 300  # characters of what people write


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    category: str
    type: str
    lang: str = ""
    name: str = ""


@dataclass(frozen=True)
class Entity:
    """One entity's identities and features, and the hash that stands for them."""

    identities: tuple[Identity, ...]
    features: frozenset[str]

    @cached_property
    def ver(self) -> str:
        """The verification string's hash (XEP-0115 §5.1), sha-1."""
        return verification(self, "sha1")

    def caps(self) -> ET.Element:
        return ET.Element(f"{{{CAPS}}}c", {"hash": "sha-1", "node": NODE, "ver": self.ver})

    def info(self, node: str | None = None) -> ET.Element:
        """The answer to disco#info; the node is echoed (XEP-0030 §3.2)."""
        query = ET.Element(f"{{{DISCO_INFO}}}query", {} if node is None else {"node": node})
        for identity in self.identities:
            given = {"category": identity.category, "type": identity.type, "name": identity.name}
            ET.SubElement(query, f"{{{DISCO_INFO}}}identity", {k: v for k, v in given.items() if v})
        for feature in sorted(self.features):
            ET.SubElement(query, f"{{{DISCO_INFO}}}feature", {"var": feature})
        return query

    def answers(self, node: str | None) -> bool:
        return not node or node == f"{NODE}#{self.ver}"


CONTACT = Entity(
    (Identity("client", "phone", name="SIP"),),
    frozenset(
        (
            CAPS,
            DISCO_INFO,
            DISCO_ITEMS,
            JINGLE,
            JMI,
            RTP,
            RTP_AUDIO,
            "urn:xmpp:jingle:apps:rtp:info:1",
            DTLS,
            ICE,
            "urn:xmpp:jingle:apps:grouping:0",
            DTMF,
            RECEIPTS,
            PING,
            VERSION,
            "urn:xmpp:temppres:0",
            "urn:xmpp:decloak:0",
        )
    ),
)

# gateway/pstn is what Cheogram's dialler and borogove's call button look for.
DOMAIN = Entity(
    (Identity("gateway", "pstn", name="SIP and telephone gateway"),),
    frozenset((CAPS, DISCO_INFO, DISCO_ITEMS, GATEWAY, PING, VERSION, "urn:xmpp:temppres:0", "urn:xmpp:decloak:0")),
)


def items(node: str | None = None) -> ET.Element:
    """The answer to disco#items: there are none, telephone numbers are not listed."""
    return ET.Element(f"{{{DISCO_ITEMS}}}query", {} if node is None else {"node": node})


def has_items(node: str | None) -> bool:
    """Whether the node exists for disco#items; that of ad-hoc commands does, and is empty (XEP-0050 §3.1)."""
    return not node or node == COMMANDS


def verification(entity: Entity, algorithm: str, forms: tuple[str, ...] = ()) -> str:
    """The hash of XEP-0115 §5.1; `forms` are the extended information forms, already spelled (steps 6 and 7)."""
    spelled = [f"{i.category}/{i.type}/{i.lang}/{i.name}<" for i in sorted(entity.identities)]
    spelled += [f"{feature}<" for feature in sorted(entity.features)]
    spelled += sorted(forms)
    digest = hashlib.new(algorithm, "".join(spelled).encode("utf-8", "replace"), usedforsecurity=False)
    return base64.b64encode(digest.digest()).decode("ascii")


_ALGORITHMS = {"sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512"}
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_FORM = "{jabber:x:data}"


def read_info(query: ET.Element) -> Entity:
    """Another entity's answer, bounded."""
    identities = tuple(
        Identity(i.get("category", ""), i.get("type", ""), i.get(_LANG, ""), i.get("name", ""))
        for i in query.findall(f"{{{DISCO_INFO}}}identity")[:_MOST_IDENTITIES]
    )
    features = (f.get("var", "") for f in query.findall(f"{{{DISCO_INFO}}}feature")[:_MOST_FEATURES])
    return Entity(identities, frozenset(features))


def proves(query: ET.Element, hash_: str, ver: str) -> bool:
    """Whether the answer hashes to the ver that was announced (XEP-0115 §5.4): only then may others share it."""
    algorithm = _ALGORITHMS.get(hash_)
    if algorithm is None:
        return False
    return verification(read_info(query), algorithm, _forms(query)) == ver


def _forms(query: ET.Element) -> tuple[str, ...]:
    """Each extended information form as XEP-0115 §5.1 spells it: its FORM_TYPE, then the fields with their values."""
    spelled = []
    for form in query.findall(f"{_FORM}x")[:_MOST_IDENTITIES]:
        kind, fields = "", []
        for field in form.findall(f"{_FORM}field")[:_MOST_FEATURES]:
            values = sorted(value.text or "" for value in field.findall(f"{_FORM}value"))
            if field.get("var") == "FORM_TYPE":
                kind = "".join(values[:1])
            else:
                fields.append((field.get("var", ""), values))
        if kind:
            lines = (f"{name}<" + "".join(f"{value}<" for value in values) for name, values in sorted(fields))
            spelled.append(f"{kind}<" + "".join(lines))
    return tuple(spelled)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What matters of a user's device for calling it; all False for one whose capabilities are known and lack it."""

    jmi: bool = False  # takes a propose
    direct: bool = False  # takes a session-initiate with audio, ICE and DTLS
    gateway: bool = False  # it is one of our kind: never volunteer presence to it


def abilities(entity: Entity) -> Abilities:
    return Abilities(
        jmi=JMI in entity.features,
        direct={JINGLE, RTP, RTP_AUDIO, ICE, DTLS} <= entity.features,
        gateway=any(identity.category == "gateway" for identity in entity.identities),
    )


# --- answering


def answer(request: ET.Element, child: ET.Element, mappable: Callable[[str], bool], version: str) -> ET.Element:
    """The reply to an IQ request that is about us and not about a call: a result or an error."""
    asked = request.get("to", "")
    if local(asked) and not mappable(local(asked)):
        return stanzas.error(request, complaint(local(asked)))
    reply, node = stanzas.result(request), child.get("node")
    space, name = stanzas.split(child)
    match (space, name, request.get("type")):
        case (stanzas.DISCO_INFO, "query", "get"):
            entity = CONTACT if local(asked) else DOMAIN
            if not entity.answers(node):
                return stanzas.error(request, "item-not-found")
            reply.append(entity.info(node))
        case (stanzas.DISCO_ITEMS, "query", "get"):
            if not has_items(node):
                return stanzas.error(request, "item-not-found")
            reply.append(items(node))
        case (stanzas.PING, "ping", "get"):
            pass  # XEP-0199 §4.2: the empty result is all
        case (stanzas.VERSION, "query", "get"):
            query = ET.SubElement(reply, child.tag)
            ET.SubElement(query, f"{{{space}}}name").text = "xmpp-sip-gateway"
            ET.SubElement(query, f"{{{space}}}version").text = version
        case (stanzas.GATEWAY, "query", "get") if not local(asked):
            query = ET.SubElement(reply, child.tag)
            ET.SubElement(query, f"{{{space}}}desc").text = "A telephone number or a SIP address"
            ET.SubElement(query, f"{{{space}}}prompt")
        case (stanzas.GATEWAY, "query", "set") if not local(asked):
            written = local_of(child.findtext(f"{{{space}}}prompt") or "")
            if not written or not mappable(written):
                return stanzas.error(request, "item-not-found")
            query = ET.SubElement(reply, child.tag)
            # XEP-0100 §6.3 names <jid/>; older clients read <prompt/>.
            for name in ("jid", "prompt"):
                ET.SubElement(query, f"{{{space}}}{name}").text = f"{written}@{bare(asked)}"
        case _:
            return stanzas.error(request, "service-unavailable")
    return reply


def complaint(name: str) -> str:
    """The condition that says why a local part cannot be mapped: a bad address, a bad number, or an unknown name."""
    address = "%" in name or "\\40" in name
    number = name.startswith(("+", "00")) or name.strip("0123456789-.()# *") == ""
    return "jid-malformed" if address or number else "item-not-found"


def local_of(written: str) -> str:
    """The local part for what people write into `jabber:iq:gateway`: `(202) 555-0123`, `sip:romeo@shakespeare.lit`.

    Empty when it is no address; whether there is such a contact is for the caller to find out.
    """
    text = written.strip()[:_LONGEST_WRITTEN]
    try:
        if "@" in text:
            return addresses.local_of(SipUri.parse(text if text.startswith(("sip:", "sips:")) else f"sip:{text}"))
        return addresses.local_of(addresses.contact(text.removeprefix("sip:").removeprefix("tel:")))
    except AddressError:
        return ""
