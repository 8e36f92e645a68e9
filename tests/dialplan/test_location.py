"""A civic address on its way to whoever takes an emergency call: valid by the schemas that define it.

No validator of XML Schema is among our libraries. MODELS says of each element what its complexType says: which children
in which order, which of them have to be there, and which attributes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import pytest

from gateway.dialplan.location import ELEMENTS, pidf_lo
from gateway.dialplan.schema import LocationSection

PIDF = "{urn:ietf:params:xml:ns:pidf}"
MODEL = "{urn:ietf:params:xml:ns:pidf:data-model}"
GEOPRIV = "{urn:ietf:params:xml:ns:pidf:geopriv10}"
POLICY = "{urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy}"
CIVIC = "{urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr}"
ADDRESS = re.findall(
    r"\w+",
    "country A1 A2 A3 A4 A5 A6 PRM PRD RD STS POD POM RDSEC RDBR RDSUBBR HNO HNS LMK LOC FLR NAM PC BLD UNIT ROOM SEAT "
    "PLC PCN POBOX ADDCODE",
)


@dataclass(frozen=True)
class Model:
    """A sequence: `children` in their order, those in `required` at least once; `other` namespaces may follow."""

    children: tuple[str, ...] = ()
    required: frozenset[str] = frozenset()
    other: bool = False
    attributes: frozenset[str] = frozenset()
    text: str | None = None  # what the simpleType asks of it


MODELS = {
    # RFC 3863 §4.4: tuples, notes, then anything of other namespaces; the entity has to be there.
    f"{PIDF}presence": Model((f"{PIDF}tuple", f"{PIDF}note"), other=True, attributes=frozenset({"entity"})),
    # RFC 4479 §5: what describes the person, then notes, then a timestamp; the id has to be there.
    f"{MODEL}person": Model((f"{GEOPRIV}geopriv", f"{MODEL}note", f"{MODEL}timestamp"), attributes=frozenset({"id"})),
    # RFC 4119 §2.2.5
    f"{GEOPRIV}geopriv": Model(
        (f"{GEOPRIV}location-info", f"{GEOPRIV}usage-rules", f"{GEOPRIV}method", f"{GEOPRIV}provided-by"),
        frozenset({f"{GEOPRIV}location-info", f"{GEOPRIV}usage-rules"}),
        other=True,
    ),
    f"{GEOPRIV}location-info": Model(other=True),
    f"{GEOPRIV}usage-rules": Model(
        tuple(f"{POLICY}{each}" for each in ("retransmission-allowed", "retention-expiry", "ruleset-reference"))
    ),
    f"{POLICY}retransmission-allowed": Model(text="true|false|1|0"),  # xs:boolean
    f"{GEOPRIV}method": Model(text="GPS|A-GPS|Manual|DHCP|Triangulation|Cell|802.11"),  # RFC 4119 §6.1
    # RFC 5139 §4
    f"{CIVIC}civicAddress": Model(
        tuple(f"{CIVIC}{each}" for each in ADDRESS),
        other=True,
    ),
    f"{CIVIC}country": Model(text="[A-Z]{2}"),
}
ONCE = (CIVIC, GEOPRIV, POLICY)  # no element of these schemas occurs twice in its sequence


def faults(element: ET.Element) -> list[str]:
    """What a validator would complain of."""
    model = MODELS.get(element.tag, Model(text=r"\S(.*\S)?"))  # every other element here is a caType, a token
    found = [f"{element.tag} has no {name}" for name in model.attributes - set(element.keys())]
    found += [f"{element.tag} has a {name}" for name in set(element.keys()) - model.attributes]
    if model.text is not None and not re.fullmatch(model.text, element.text or ""):
        found.append(f"{element.tag} is {element.text!r}")
    if model.text is None and (element.text or "").strip():
        found.append(f"{element.tag} has text")
    places = []
    for child in element:
        if child.tag in model.children:
            places.append(model.children.index(child.tag))
        elif model.other and child.tag.partition("}")[0] != element.tag.partition("}")[0]:
            places.append(len(model.children))
        else:
            found.append(f"{element.tag} with {child.tag}")
        found += faults(child)
    if places != sorted(places):
        found.append(f"{element.tag} in the wrong order")
    tags = [child.tag for child in element]
    found += [f"{element.tag} without {name}" for name in model.required - set(tags)]
    if element.tag.startswith(ONCE) and len(tags) != len(set(tags)):
        found.append(f"{element.tag} with one child twice")
    return found


def address(root: ET.Element) -> ET.Element:
    found = root.find(f"{MODEL}person/{GEOPRIV}geopriv/{GEOPRIV}location-info/{CIVIC}civicAddress")
    assert found is not None  # RFC 5491 §3: the location of a person stands in his element
    return found


def test_the_document_places_the_caller() -> None:
    text = pidf_lo((("country", "GB"), ("A3", "London"), ("RD", "Fish & <Chips> Street")), "romeo@x.example")
    root = ET.fromstring(text)
    assert root.tag == f"{PIDF}presence"
    assert root.get("entity") == "pres:romeo@x.example"
    assert [(each.tag.removeprefix(CIVIC), each.text) for each in address(root)] == [
        ("country", "GB"),
        ("A3", "London"),
        ("RD", "Fish & <Chips> Street"),
    ]
    assert faults(root) == []


def test_an_address_with_everything_is_valid_by_the_schemas() -> None:
    section = LocationSection.model_validate(dict.fromkeys(ELEMENTS, "Straße 1") | {"country": "DE"})
    values = section.model_dump()
    root = ET.fromstring(pidf_lo(tuple((element, values[key]) for key, element in ELEMENTS.items()), "romeo@x.example"))
    assert len(address(root)) == len(ELEMENTS)
    assert faults(root) == []


@pytest.mark.parametrize(
    ("jid", "entity"),
    [
        ("o\\27hara@x.example", "pres:o%5C27hara@x.example"),
        ('a"b&c@x.example', "pres:a%22b%26c@x.example"),
        ("jürgen@bücher.example", "pres:j%C3%BCrgen@b%C3%BCcher.example"),
    ],
)
def test_whoever_calls_becomes_a_uri(jid: str, entity: str) -> None:
    root = ET.fromstring(pidf_lo((("country", "GB"),), jid))
    assert root.get("entity") == entity
    assert faults(root) == []


@pytest.mark.parametrize(
    "location",
    [
        (("A3", "London"), ("country", "GB")),
        (("country", "GB"), ("PC", "SE1"), ("HNO", "10")),
        (("country", "GB"), ("country", "GB")),
        (("country", "England"),),
        (("country", "GB"), ("CITY", "London")),
        (("country", "GB"), ("A3", " ")),
    ],
)
def test_what_is_not_valid_would_be_seen(location: tuple[tuple[str, str], ...]) -> None:
    assert faults(ET.fromstring(pidf_lo(location, "romeo@x.example")))


def test_every_key_of_the_table_is_an_element() -> None:
    assert list(ELEMENTS) == list(LocationSection.model_fields)
