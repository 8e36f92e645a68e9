"""Who a contact is for people: names, vCards of both kinds, pictures."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET

import pytest

from gateway.xmpp import avatar, profile


def texts(element: ET.Element) -> dict[str, str]:
    """Each leaf by its path, namespaces left out."""
    found: dict[str, str] = {}

    def walk(node: ET.Element, path: str) -> None:
        for child in node:
            name = f"{path}{child.tag.partition('}')[2]}"
            found[name] = child.text or ""
            walk(child, f"{name}/")

    walk(element, "")
    return found


@pytest.mark.parametrize(
    ("local", "name", "number", "uri", "code"),
    [
        ("+12025550123", "+1 202-555-0123", "+12025550123", "tel:+12025550123", 1),
        ("+442079460018;ext=5", "+44 20 7946 0018", "+442079460018", "tel:+442079460018", 44),
        ("tel\\3a+12025550123", "+1 202-555-0123", "+12025550123", "tel:+12025550123", 1),
        ("2025550123", "2025550123", "", "", 0),
        ("911", "911", "", "", 0),
        ("+999123456", "+999123456", "", "", 0),
        ("romeo%shakespeare.lit", "romeo@shakespeare.lit", "", "sip:romeo@shakespeare.lit", 0),
        ("+12025550123%carrier.example", "+12025550123@carrier.example", "", "sip:+12025550123@carrier.example", 1),
        ("romeo%m\u00fcnchen.example", "romeo@m\u00fcnchen.example", "", "sip:romeo@xn--mnchen-3ya.example", 0),
        ("echo", "echo", "", "", 0),
        ("a%%b", "a%%b", "", "", 0),
        ("", "Telephone", "", "", 0),
    ],
)
def test_a_contact_has_the_name_that_people_write(local: str, name: str, number: str, uri: str, code: int) -> None:
    assert profile.profile(local) == profile.Profile(name, number, uri, avatar.picture(code))


def test_a_numbers_vcard_can_be_dialled() -> None:
    card = profile.vcard_temp(profile.profile("+12025550123"))
    assert card.tag == "{vcard-temp}vCard"
    found = texts(card)
    picture = base64.b64encode(avatar.picture(1).data).decode()
    assert found == {
        "FN": "+1 202-555-0123",
        "NICKNAME": "+1 202-555-0123",
        "TEL": "",
        "TEL/VOICE": "",
        "TEL/NUMBER": "+1 202-555-0123",
        "PHOTO": "",
        "PHOTO/TYPE": "image/png",
        "PHOTO/BINVAL": picture,
    }


def test_a_sip_address_stands_in_its_vcard() -> None:
    found = texts(profile.vcard_temp(profile.profile("romeo%shakespeare.lit")))
    assert (found["FN"], found["URL"]) == ("romeo@shakespeare.lit", "sip:romeo@shakespeare.lit")
    assert "TEL" not in found


@pytest.mark.parametrize(
    ("local", "row"),
    [
        ("+12025550123", ("tel/uri", "tel:+12025550123")),
        ("romeo%shakespeare.lit", ("impp/uri", "sip:romeo@shakespeare.lit")),
        ("echo", None),
    ],
)
def test_the_newer_vcard_says_the_same(local: str, row: tuple[str, str] | None) -> None:
    who = profile.profile(local)
    card = profile.vcard4(who)
    assert card.tag == "{urn:ietf:params:xml:ns:vcard-4.0}vcard"
    found = {path: text for path, text in texts(card).items() if "/" in path}
    assert (found.pop("fn/text"), found.pop("nickname/text")) == (who.name, who.name)
    assert found.pop("photo/uri").startswith("data:image/png;base64,")
    assert found == ({} if row is None else dict([row]))


def test_the_picture_is_one_wherever_it_is_asked_for() -> None:
    who = profile.profile("+442079460018")
    id_, metadata = profile.item(who, "urn:xmpp:avatar:metadata") or ("", ET.Element("none"))
    (info,) = metadata
    assert info.attrib == {
        "id": who.picture.sha1,
        "bytes": str(len(who.picture.data)),
        "type": "image/png",
        "width": "64",
        "height": "64",
    }
    assert id_ == who.picture.sha1
    id_, data = profile.item(who, "urn:xmpp:avatar:data") or ("", ET.Element("none"))
    assert (id_, base64.b64decode(data.text or "")) == (who.picture.sha1, who.picture.data)
    assert profile.picture_update(who)[0].text == who.picture.sha1


def test_a_name_and_a_vcard_are_items_too_and_nothing_else_is() -> None:
    who = profile.profile("echo")
    _, nick = profile.item(who, "http://jabber.org/protocol/nick") or ("", ET.Element("none"))
    assert (nick.tag, nick.text) == ("{http://jabber.org/protocol/nick}nick", "echo")
    _, card = profile.item(who, "urn:xmpp:vcard4") or ("", ET.Element("none"))
    assert card.tag == "{urn:ietf:params:xml:ns:vcard-4.0}vcard"
    assert profile.item(who, "eu.siacs.conversations.axolotl.devicelist") is None
