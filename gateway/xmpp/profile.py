"""Who a contact is, for people: a name as it is written, a number to dial, a picture.

    asked by IQ                                               answered with
    <vCard xmlns='vcard-temp'/>                               XEP-0054
    <vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>         XEP-0292
    pubsub items urn:xmpp:vcard4                              the same
    pubsub items urn:xmpp:avatar:metadata, …:data             XEP-0084
    pubsub items http://jabber.org/protocol/nick              XEP-0172

A component is no PEP service: it announces nothing, and answers who asks.
"""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from gateway import contacts
from gateway.addresses import SipUri
from gateway.contacts import Dialled, Name
from gateway.dialplan import emergencies, numbers
from gateway.errors import AddressError
from gateway.xmpp import avatar
from gateway.xmpp.avatar import Picture

VCARD_TEMP = "vcard-temp"
VCARD_UPDATE = "vcard-temp:x:update"
VCARD4 = "urn:ietf:params:xml:ns:vcard-4.0"
NICK = "http://jabber.org/protocol/nick"
AVATAR_DATA = "urn:xmpp:avatar:data"
AVATAR_METADATA = "urn:xmpp:avatar:metadata"
PUBSUB = "http://jabber.org/protocol/pubsub"

DOMAIN_NAME = "Telephone"


@dataclass(frozen=True, slots=True)
class Profile:
    """`number` is in E.164 or empty, `uri` what a telephone dials: tel, sip or sips; empty for a plain name."""

    name: str
    number: str
    uri: str
    picture: Picture


def profile(local: str) -> Profile:
    """The contact with this local part; the gateway itself for an empty one. Never raises."""
    try:
        found = contacts.contact(local) if local else Name(DOMAIN_NAME)
    except AddressError:
        found = Name(local)
    match found:
        case Name(text):
            return Profile(text, "", "", avatar.picture())
        case SipUri():
            name = f"{found.user or ''}@{contacts.readable_host(found.host)}"
            return Profile(name, "", str(found), avatar.picture(_calling_code(found.user or "")))
        case Dialled():
            return _of_number(found.text)


def _of_number(text: str) -> Profile:
    """Only E.164 is the same number for whoever looks; what else is dialled stands there as it was written."""
    if not _calling_code(text):
        return Profile(text, "", "", avatar.picture())
    return Profile(numbers.international(text), text, f"tel:{text}", avatar.picture(_calling_code(text)))


def _calling_code(text: str) -> int:
    number = text[1:] if text.startswith("+") else ""
    return int(emergencies.calling_code(number) or 0) if number.isdecimal() and number.isascii() else 0


# --- as elements


def vcard_temp(who: Profile) -> ET.Element:
    """XEP-0054, with the picture that XEP-0153 announces."""
    card = ET.Element(f"{{{VCARD_TEMP}}}vCard")

    def add(parent: ET.Element, name: str, text: str = "") -> ET.Element:
        child = ET.SubElement(parent, f"{{{VCARD_TEMP}}}{name}")
        child.text = text or None
        return child

    add(card, "FN", who.name)
    add(card, "NICKNAME", who.name)
    if who.number:
        telephone = add(card, "TEL")
        add(telephone, "VOICE")
        add(telephone, "NUMBER", who.name)
    elif who.uri:
        add(card, "URL", who.uri)
    photo = add(card, "PHOTO")
    add(photo, "TYPE", "image/png")
    add(photo, "BINVAL", _base64(who.picture))
    return card


def vcard4(who: Profile) -> ET.Element:
    """XEP-0292, which is RFC 6351: a telephone by its tel URI, a SIP address as a way to reach somebody at once."""
    card = ET.Element(f"{{{VCARD4}}}vcard")
    photo = f"data:image/png;base64,{_base64(who.picture)}"
    rows = [("fn", "text", who.name), ("nickname", "text", who.name), ("photo", "uri", photo)]
    if who.uri:
        rows.append(("tel" if who.number else "impp", "uri", who.uri))
    for name, kind, text in rows:
        ET.SubElement(ET.SubElement(card, f"{{{VCARD4}}}{name}"), f"{{{VCARD4}}}{kind}").text = text
    return card


def item(who: Profile, node: str) -> tuple[str, ET.Element] | None:
    """The only item of a pubsub node, with its id; None for a node that there is not."""
    match node:
        case "urn:xmpp:vcard4":
            return "current", vcard4(who)
        case "urn:xmpp:avatar:metadata":
            metadata = ET.Element(f"{{{AVATAR_METADATA}}}metadata")
            told = {"bytes": len(who.picture.data), "width": avatar.SIZE, "height": avatar.SIZE}
            known = {"id": who.picture.sha1, "type": "image/png", **{k: str(v) for k, v in told.items()}}
            ET.SubElement(metadata, f"{{{AVATAR_METADATA}}}info", known)
            return who.picture.sha1, metadata
        case "urn:xmpp:avatar:data":
            data = ET.Element(f"{{{AVATAR_DATA}}}data")
            data.text = _base64(who.picture)
            return who.picture.sha1, data
        case "http://jabber.org/protocol/nick":
            return "current", nick(who)
    return None


def nick(who: Profile) -> ET.Element:
    """For a subscription request; never for presence (XEP-0172 §4.1)."""
    element = ET.Element(f"{{{NICK}}}nick")
    element.text = who.name
    return element


def picture_update(who: Profile) -> ET.Element:
    """What volunteered presence says of the picture (XEP-0153 §3.1)."""
    update = ET.Element(f"{{{VCARD_UPDATE}}}x")
    ET.SubElement(update, f"{{{VCARD_UPDATE}}}photo").text = who.picture.sha1
    return update


def _base64(picture: Picture) -> str:
    return base64.b64encode(picture.data).decode("ascii")
