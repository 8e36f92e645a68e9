"""What the gateway says it is and can (XEP-0030). How that is hashed: caps.py.

who               for whom                                  set
a contact         a user who may call it, and whoever asks  contact: a telephone with everything a call needs
                  by XEP-0276
a contact         a user whose call to it may have video    camera: the same, and clients show a camera beside it
a contact         a user whose call would be refused        mute: it is there, and nothing shows a call button
the domain        a user who may call any number            gateway: Cheogram and borogove dial through gateway/pstn
the domain        any other user                            plain

asked of      node                        answer
known JID     none                        the set that this user was shown, or would be
known JID     NODE#ver, urn:xmpp:caps#…   the very set that hashes to it, the node echoed (Conversations compares it)
known JID     any other                   item-not-found
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from gateway import contacts
from gateway.addresses import SipUri
from gateway.contacts import Name
from gateway.errors import AddressError
from gateway.xmpp.caps import CAPS2, DTLS, ICE, RTP_AUDIO, RTP_VIDEO, Entity, Identity
from gateway.xmpp.profile import VCARD4, VCARD_TEMP
from gateway.xmpp.stanzas import (
    CAPS,
    DISCO_INFO,
    DISCO_ITEMS,
    DTMF,
    GATEWAY,
    JINGLE,
    JMI,
    LAST,
    PING,
    RECEIPTS,
    REGISTER,
    RTP,
    RTP_INFO,
    TEMPPRES,
    TIME,
    VERSION,
)

COMMANDS = "http://jabber.org/protocol/commands"

# XEP-0176 §5.1: all candidates stand in the offer and the answer, none comes later.
INLINE_CANDIDATES = "urn:ietf:rfc:3264"

_LONGEST_WRITTEN = 300  # characters of what people write

_EVERYBODY = frozenset((CAPS, CAPS2, DISCO_INFO, DISCO_ITEMS, PING, VERSION, TIME, VCARD_TEMP, VCARD4, *TEMPPRES))
_CALLS = frozenset(
    (JINGLE, JMI, RTP, RTP_AUDIO, RTP_INFO, DTLS, ICE, DTMF, RECEIPTS, "urn:xmpp:jingle:apps:grouping:0")
)
_SERVICE = frozenset((GATEWAY, REGISTER, LAST))
_PSTN = Identity("gateway", "pstn", name="SIP and telephone gateway")
_SIMPLE = Identity("gateway", "simple", name="SIP and telephone gateway")
_PHONE = Identity("client", "phone", name="SIP")


@dataclass(frozen=True, slots=True)
class Sets:
    """The sets of the table above."""

    contact: Entity
    camera: Entity
    mute: Entity
    gateway: Entity
    plain: Entity

    def asked(self, node: str, *, of_contact: bool) -> Entity | None:
        """The set that a node stands for."""
        known = (self.contact, self.camera, self.mute) if of_contact else (self.gateway, self.plain)
        return next((entity for entity in known if node in entity.nodes), None)


def sets(*, inline_candidates: bool = False) -> Sets:
    """`inline_candidates` asks clients to gather first and send all at once: fewer stanzas, seconds later."""
    calls = _CALLS | {INLINE_CANDIDATES} if inline_candidates else _CALLS
    return Sets(
        contact=Entity((_PHONE,), _EVERYBODY | calls),
        camera=Entity((_PHONE,), _EVERYBODY | calls | {RTP_VIDEO}),
        mute=Entity((_PHONE,), _EVERYBODY),
        gateway=Entity((_PSTN, _SIMPLE), _EVERYBODY | _SERVICE),
        plain=Entity((_SIMPLE,), _EVERYBODY | _SERVICE),
    )


SETS = sets()


def items(found: tuple[tuple[str, str], ...], node: str | None = None) -> ET.Element:
    """The answer to disco#items: JIDs with their names."""
    query = ET.Element(f"{{{DISCO_ITEMS}}}query", {} if node is None else {"node": node})
    for jid, name in found:
        ET.SubElement(query, f"{{{DISCO_ITEMS}}}item", {"jid": jid, "name": name})
    return query


def has_items(node: str | None) -> bool:
    """Whether the node exists for disco#items; that of ad-hoc commands does, and is empty (XEP-0050 §3.1)."""
    return not node or node == COMMANDS


def complaint(name: str) -> tuple[str, str]:
    """Condition and words for a local part that cannot be mapped: a bad address, a bad number, or an unknown name."""
    try:
        found = contacts.contact(name)
        contacts.local_of(found)
    except AddressError as error:
        return "jid-malformed", str(error)
    if isinstance(found, Name):
        return "item-not-found", "there is no such contact"
    return "jid-malformed", "this is no address"


def local_of(written: str) -> str:
    """The local part for what people write into `jabber:iq:gateway`: `(202) 555-0123`, `sip:romeo@shakespeare.lit`.

    Empty when it is no address; whether there is such a contact is for the caller to find out.
    """
    text = written.strip()[:_LONGEST_WRITTEN]
    try:
        if "@" in text:
            return contacts.local_of(SipUri.parse(text if text.startswith(("sip:", "sips:")) else f"sip:{text}"))
        return contacts.local_of(contacts.contact(text.removeprefix("sip:").removeprefix("tel:")))
    except AddressError:
        return ""
