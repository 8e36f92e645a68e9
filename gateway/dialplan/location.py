"""A civic address as a PIDF-LO document (RFC 4119, 5139), to go along with an emergency call (RFC 6442).

The keys of [emergency.location] are words; each stands for an element of RFC 4776 §3.4 and RFC 5139 §3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

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
    "name": "NAM",
    "building": "BLD",
    "unit": "UNIT",
    "floor": "FLR",
    "room": "ROOM",
    "location": "LOC",
    "postcode": "PC",
}


def pidf_lo(location: Sequence[tuple[str, str]], entity: str) -> str:
    """The document; `location` has pairs of an element and its text, `entity` is whom it places, as pres:romeo@….

    It may be handed on to where the call goes, which RFC 4119 §2.2.2 asks to be said.
    """
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
