"""A civic address as a PIDF-LO document (RFC 4119, 5139), to go along with an emergency call (RFC 6442).

The keys of [emergency.location] are words; each stands for an element of RFC 4776 §3.4 and RFC 5139 §3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

# In the order of the schema (RFC 5139 §4), where civicAddress is a sequence.
ELEMENTS: Mapping[str, str] = {
    "country": "country",  # ISO 3166
    "state": "A1",
    "county": "A2",
    "city": "A3",
    "district": "A4",
    "street": "RD",
    "number": "HNO",
    "number_suffix": "HNS",
    "landmark": "LMK",
    "location": "LOC",
    "floor": "FLR",
    "name": "NAM",
    "postcode": "PC",
    "building": "BLD",
    "unit": "UNIT",
    "room": "ROOM",
}


def pidf_lo(location: Sequence[tuple[str, str]], caller: str) -> str:
    """The document; `location` has pairs of an element and its text in the order of ELEMENTS, `caller` is the bare JID
    of whom it places, who becomes a pres URI (RFC 3859 §2).

    It may be handed on to where the call goes, which RFC 4119 §2.2.2 asks to be said.
    """
    entity = f"pres:{quote(caller, safe='@')}"
    civic = "".join(f"<ca:{element}>{escape(text)}</ca:{element}>" for element, text in location)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
        ' xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"'
        ' xmlns:gbp="urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy"'
        ' xmlns:ca="urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr"'
        f" entity={quoteattr(entity)}>"
        '<dm:person id="caller"><gp:geopriv>'
        f"<gp:location-info><ca:civicAddress>{civic}</ca:civicAddress></gp:location-info>"
        "<gp:usage-rules><gbp:retransmission-allowed>true</gbp:retransmission-allowed></gp:usage-rules>"
        "<gp:method>Manual</gp:method>"
        "</gp:geopriv></dm:person></presence>"
    )
