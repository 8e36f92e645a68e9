"""Which devices are there and what they can: asked once for each hash, believed where it proves itself, bounded."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from gateway.xmpp import devices as module
from gateway.xmpp import disco, stanzas
from gateway.xmpp.caps import Abilities, Entity, Identity
from gateway.xmpp.devices import Device, Devices

JULIET = "juliet@shakespeare.lit/balcony"
VOICE = "romeo%shakespeare.lit@sip.example.com/sip"
CAPS = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='{}'/>"


def parse(text: str) -> ET.Element:
    return ET.fromstring(f"<stream xmlns='jabber:component:accept'>{text}</stream>")[0]


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.devices = Devices()
        self.told: list[Device] = []
        self.devices.on_device = self.told.append

    def seen(self, caps: str = "", user: str = JULIET) -> list[ET.Element]:
        return self.devices.seen(parse(f"<presence from='{user}' to='x'>{caps}</presence>"), VOICE, self.now)

    def knows(self, features: str, question: ET.Element, user: str = JULIET) -> bool:
        query = f"<query xmlns='http://jabber.org/protocol/disco#info'>{features}</query>"
        return self.devices.answered(parse(f"<iq type='result' from='{user}' id='{question.get('id')}'>{query}</iq>"))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def announced(entity: Entity) -> tuple[str, str]:
    """A presence's caps and the features that prove them."""
    inner = "".join(ET.tostring(child, encoding="unicode") for child in entity.info())
    return CAPS.format(entity.ver), inner


MODERN = Entity((Identity("client", "phone"),), disco.SETS.contact.features)
CLASSIC = Entity((Identity("client", "pc"),), disco.SETS.contact.features - {stanzas.JMI})


def test_capabilities_are_looked_up_once_for_each_hash(scene: Scene) -> None:
    caps, features = announced(CLASSIC)
    (asked,) = scene.seen(caps)
    assert (asked.get("to"), asked.get("from")) == (JULIET, VOICE)
    assert asked[0].get("node") == f"n#{CLASSIC.ver}"
    assert scene.seen(caps, "nurse@shakespeare.lit/x") == []
    assert scene.devices.of("nurse@shakespeare.lit") == (Device("nurse@shakespeare.lit/x", None),)
    assert scene.knows(features, asked)
    able = Abilities(direct=True)
    assert scene.devices.of("juliet@shakespeare.lit") == (Device(JULIET, able),)
    assert scene.devices.of("nurse@shakespeare.lit") == (Device("nurse@shakespeare.lit/x", able),)
    assert Device(JULIET, able) in scene.told
    assert scene.seen(caps, "friar@shakespeare.lit/cell") == []
    assert scene.devices.of("friar@shakespeare.lit") == (Device("friar@shakespeare.lit/cell", able),)


def test_an_answer_that_does_not_prove_its_hash_is_for_that_device_alone(scene: Scene) -> None:
    caps = CAPS.format("forged")
    (asked,) = scene.seen(caps)
    scene.seen(caps, "nurse@shakespeare.lit/x")
    assert scene.knows(announced(MODERN)[1], asked)
    assert scene.devices.of(JULIET) == (Device(JULIET, Abilities(jmi=True, direct=True, mobile=True)),)
    assert scene.devices.of("nurse@shakespeare.lit") == (Device("nurse@shakespeare.lit/x", None),)


def test_an_answer_of_somebody_else_is_none(scene: Scene) -> None:
    caps, features = announced(MODERN)
    (asked,) = scene.seen(caps)
    assert not scene.knows(features, asked, "tybalt@verona.lit/x")
    error = parse(f"<iq type='error' from='{JULIET}' id='{asked.get('id')}'/>")
    assert scene.devices.answered(error)
    assert scene.devices.of(JULIET) == (Device(JULIET, None),)
    assert len(scene.seen(caps)) == 1


def test_a_device_without_capabilities_is_there_until_it_is_gone(scene: Scene) -> None:
    assert scene.seen() == []
    assert scene.devices.of("juliet@shakespeare.lit") == (Device(JULIET, None),)
    scene.devices.gone(JULIET)
    scene.devices.gone(JULIET)
    assert scene.devices.of("juliet@shakespeare.lit") == ()


def test_a_bare_address_is_no_device(scene: Scene) -> None:
    assert scene.seen(CAPS.format("v"), "juliet@shakespeare.lit") == []
    assert scene.devices.of("juliet@shakespeare.lit") == ()


def test_a_device_that_changes_its_capabilities_is_asked_again(scene: Scene) -> None:
    caps, features = announced(MODERN)
    (asked,) = scene.seen(caps)
    scene.knows(features, asked)
    assert scene.seen(caps) == []
    assert len(scene.seen(CAPS.format("other"))) == 1


@pytest.mark.parametrize(("category", "expected"), [("gateway", True), ("client", False)])
def test_another_gateway_is_told_from_a_client(scene: Scene, category: str, expected: bool) -> None:
    caps, features = announced(Entity((Identity(category, "sms"),), frozenset()))
    (asked,) = scene.seen(caps)
    assert not scene.devices.is_gateway(JULIET), "not known yet"
    scene.knows(features, asked)
    assert scene.devices.is_gateway(JULIET) == expected
    assert not scene.devices.is_gateway("juliet@shakespeare.lit/else")


def test_devices_and_lookups_are_bounded(scene: Scene) -> None:
    for n in range(module.LOOKUPS + 50):
        asked = scene.seen(CAPS.format(f"v{n}"), f"juliet@shakespeare.lit/{n}")
        assert bool(asked) == (n < module.LOOKUPS)
    assert len(scene.devices.of("juliet@shakespeare.lit")) == module.DEVICES_PER_USER
    scene.now += module.LOOKUP_LASTS
    assert scene.seen(CAPS.format("late"), "juliet@shakespeare.lit/late")


def test_users_with_devices_are_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "USERS_WITH_DEVICES", 3)
    for n in range(5):
        scene.seen(user=f"u{n}@shakespeare.lit/x")
    assert [len(scene.devices.of(f"u{n}@shakespeare.lit")) for n in range(5)] == [0, 0, 1, 1, 1]


def test_nobody_is_known_to_be_there_after_all_was_forgotten(scene: Scene) -> None:
    (asked,) = scene.seen(CAPS.format("v"))
    scene.devices.clear()
    assert scene.devices.of(JULIET) == ()
    assert not scene.knows("", asked)
