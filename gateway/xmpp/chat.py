"""A line in the conversation with a contact: what became of a call, where the user looks for it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from gateway.xmpp import stanzas


def line(user: str, contact: str, id: str, bodies: Sequence[tuple[str, str]]) -> ET.Element:
    """A message to a user (bare JID), from the contact's own JID, to be kept where he is offline (XEP-0334).

    `bodies` are (language, text). The first has no `xml:lang` of its own: clients that know one body only read it, the
    others pick (RFC 6121 §5.2.3).
    """
    message = stanzas.message(user, contact, id=id)
    for number, (language, text) in enumerate(bodies):
        body = ET.SubElement(message, f"{{{stanzas.STREAM}}}body", {stanzas.LANG: language} if number else {})
        body.text = stanzas.legal(text)
    ET.SubElement(message, f"{{{stanzas.HINTS}}}store")
    return message
