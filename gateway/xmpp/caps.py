"""What an entity is and can (XEP-0030), and the short strings that stand for it (XEP-0115 and XEP-0390).

    Entity ──verification string──> sha-1 ─────────────> <c xmlns='…/caps' node=NODE ver=…/>   asked as NODE#ver
           ──hash function input──> sha-256, sha3-256 ─> <c xmlns='urn:xmpp:caps'><hash/></c>  asked as urn:xmpp:caps#…

Two ways of spelling one thing: that of XEP-0115 joins by "<", so that different entities may have one spelling, that of
XEP-0390 by control characters, which no XML can hold. Both sort by octets (i;octet), which in UTF-8 is the order of
code points, and so Python's.
"""

from __future__ import annotations

import base64
import hashlib
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import cached_property

from gateway.xmpp.stanzas import CAPS, DISCO_INFO, JINGLE, JMI, LANG, RTP

NODE = "urn:xmpp-sip-gateway"
CAPS2 = "urn:xmpp:caps"
HASHES = "urn:xmpp:hashes:2"

RTP_AUDIO = "urn:xmpp:jingle:apps:rtp:audio"
RTP_VIDEO = "urn:xmpp:jingle:apps:rtp:video"
DTLS = "urn:xmpp:jingle:apps:dtls:0"
ICE = "urn:xmpp:jingle:transports:ice-udp:1"

_MOST_FEATURES = 500  # of another entity's answer
_MOST_IDENTITIES = 20  # and forms
_FORM = "{jabber:x:data}"

# The IANA names that XEP-0115 §4 and XEP-0300 §3 use, and Python's.
_ALGORITHMS = {"sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512"}
_ALGORITHMS2 = {"sha-256": "sha256", "sha3-256": "sha3_256"}


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    category: str
    type: str
    lang: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Form:
    """Extended information (XEP-0128): its FORM_TYPE, and the other fields with their values."""

    kind: str
    fields: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Entity:
    """One entity's identities, features and forms, and the hashes that stand for them."""

    identities: tuple[Identity, ...]
    features: frozenset[str]
    forms: tuple[Form, ...] = ()

    @cached_property
    def ver(self) -> str:
        """XEP-0115 §5.1 with sha-1, which every client knows."""
        return verification(self, "sha-1")

    @cached_property
    def nodes(self) -> frozenset[str]:
        """The nodes that ask for exactly this set (XEP-0115 §6.2, XEP-0390 §4.3)."""
        modern = (f"{CAPS2}#{name}.{value}" for name, value in hashes(self).items())
        return frozenset((f"{NODE}#{self.ver}", *modern))

    def caps(self) -> list[ET.Element]:
        """The two elements that announce it in presence."""
        modern = ET.Element(f"{{{CAPS2}}}c")
        for name, value in hashes(self).items():
            ET.SubElement(modern, f"{{{HASHES}}}hash", {"algo": name}).text = value
        return [ET.Element(f"{{{CAPS}}}c", {"hash": "sha-1", "node": NODE, "ver": self.ver}), modern]

    def info(self, node: str | None = None) -> ET.Element:
        """The answer to disco#info; the node is echoed (XEP-0030 §3.2)."""
        query = ET.Element(f"{{{DISCO_INFO}}}query", {} if node is None else {"node": node})
        for identity in self.identities:
            given = {"category": identity.category, "type": identity.type, "name": identity.name}
            if identity.lang:
                given[LANG] = identity.lang
            ET.SubElement(query, f"{{{DISCO_INFO}}}identity", {k: v for k, v in given.items() if v})
        for feature in sorted(self.features):
            ET.SubElement(query, f"{{{DISCO_INFO}}}feature", {"var": feature})
        return query


# --- the hashes


def verification(entity: Entity, algorithm: str) -> str:
    """The `ver` of XEP-0115 §5.1 with one of the algorithms that it names. Raises KeyError for another."""
    spelled = [f"{i.category}/{i.type}/{i.lang}/{i.name}" for i in sorted(entity.identities)]
    spelled += sorted(entity.features)
    for form in sorted(entity.forms):
        spelled.append(form.kind)
        for name, values in sorted(form.fields):
            spelled += [name, *sorted(values)]
    # A "<" that somebody sent stays spelled as in XML, or a feature could pass for two (§5.1, at its end).
    text = "".join(part.replace("<", "&lt;") + "<" for part in spelled)
    return _digest(text, _ALGORITHMS[algorithm])


def hashes(entity: Entity) -> dict[str, str]:
    """The Capability Hash Set of XEP-0390 §4.2, by algorithm."""
    text = "".join(f"{feature}\x1f" for feature in sorted(entity.features)) + "\x1c"
    people = (f"{i.category}\x1f{i.type}\x1f{i.lang}\x1f{i.name}\x1f\x1e" for i in entity.identities)
    text += "".join(sorted(people)) + "\x1c"
    text += "".join(sorted(map(_spelled_form, entity.forms))) + "\x1c"
    return {name: _digest(text, algorithm) for name, algorithm in _ALGORITHMS2.items()}


def _spelled_form(form: Form) -> str:
    every = (("FORM_TYPE", (form.kind,)), *form.fields)
    fields = (f"{name}\x1f" + "".join(sorted(f"{value}\x1f" for value in values)) + "\x1e" for name, values in every)
    return "".join(sorted(fields)) + "\x1d"


def _digest(text: str, algorithm: str) -> str:
    digest = hashlib.new(algorithm, text.encode("utf-8", "replace"), usedforsecurity=False)
    return base64.b64encode(digest.digest()).decode("ascii")


# --- other entities


def read_info(query: ET.Element) -> Entity:
    """Another entity's answer, bounded. Forms that do not say what they are do not count (XEP-0115 §5.4, 3.6)."""
    identities = tuple(
        Identity(i.get("category", ""), i.get("type", ""), i.get(LANG, ""), i.get("name", ""))
        for i in query.findall(f"{{{DISCO_INFO}}}identity")[:_MOST_IDENTITIES]
    )
    features = (f.get("var", "") for f in query.findall(f"{{{DISCO_INFO}}}feature")[:_MOST_FEATURES])
    forms = tuple(form for x in query.findall(f"{_FORM}x")[:_MOST_IDENTITIES] if (form := _read_form(x)) is not None)
    return Entity(identities, frozenset(features), forms)


def _read_form(x: ET.Element) -> Form | None:
    kind, fields = "", []
    for field in x.findall(f"{_FORM}field")[:_MOST_FEATURES]:
        values = tuple(value.text or "" for value in field.findall(f"{_FORM}value"))
        if field.get("var") != "FORM_TYPE":
            fields.append((field.get("var", ""), values))
        elif field.get("type", "hidden") == "hidden":
            kind = "".join(values[:1])
    return Form(kind, tuple(fields)) if kind else None


def proves(query: ET.Element, hash_: str, ver: str) -> bool:
    """Whether the answer hashes to the ver that was announced (XEP-0115 §5.4): only then may others share it.

    An answer that says something twice proves nothing: two different ones could have the same spelling.
    """
    entity = read_info(query)
    kinds = [form.kind for form in entity.forms]
    said = query.findall(f"{{{DISCO_INFO}}}feature")
    ill = (
        len(set(entity.identities)) < len(entity.identities)
        or len(entity.features) < min(len(said), _MOST_FEATURES)
        or len(set(kinds)) < len(kinds)
        or any(len(_kinds(x)) > 1 for x in query.findall(f"{_FORM}x")[:_MOST_IDENTITIES])
    )
    return not ill and hash_ in _ALGORITHMS and verification(entity, hash_) == ver


def _kinds(x: ET.Element) -> set[str]:
    fields = (field for field in x.findall(f"{_FORM}field") if field.get("var") == "FORM_TYPE")
    return {value.text or "" for field in fields for value in field.findall(f"{_FORM}value")}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What matters of a user's device for calling it; all False for one whose capabilities are known and lack it."""

    jmi: bool = False  # takes a propose
    direct: bool = False  # takes a session-initiate with audio, ICE and DTLS
    gateway: bool = False  # it is one of our kind: never volunteer presence to it
    mobile: bool = False  # a telephone or tablet, which sleeps and is woken by a push


def abilities(entity: Entity) -> Abilities:
    return Abilities(
        jmi=JMI in entity.features,
        direct={JINGLE, RTP, RTP_AUDIO, ICE, DTLS} <= entity.features,
        gateway=any(identity.category == "gateway" for identity in entity.identities),
        # COMPAT: Conversations says tablet on wide screens (DiscoManager.getIdentityType), and sleeps there too.
        mobile=any(i.category == "client" and i.type in ("phone", "tablet") for i in entity.identities),
    )
