"""A civic address on its way to whoever takes an emergency call."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from gateway.dialplan.location import ELEMENTS, pidf_lo
from gateway.dialplan.schema import LocationSection

CIVIC = "{urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr}"
GEOPRIV = "{urn:ietf:params:xml:ns:pidf:geopriv10}"


def test_the_document_places_the_caller() -> None:
    text = pidf_lo((("country", "GB"), ("A3", "London"), ("RD", "Fish & <Chips> Street")), 'pres:o"hara@x.example')
    root = ET.fromstring(text)
    assert root.tag == "{urn:ietf:params:xml:ns:pidf}presence"
    assert root.get("entity") == 'pres:o"hara@x.example'
    address = root.find(f".//{GEOPRIV}location-info/{CIVIC}civicAddress")
    assert address is not None
    assert [(each.tag.removeprefix(CIVIC), each.text) for each in address] == [
        ("country", "GB"),
        ("A3", "London"),
        ("RD", "Fish & <Chips> Street"),
    ]
    # RFC 4119 §2.2.1: location-info and usage-rules have to be there.
    assert root.find(f".//{GEOPRIV}usage-rules") is not None


def test_every_key_of_the_table_is_an_element() -> None:
    assert list(ELEMENTS) == list(LocationSection.model_fields)
