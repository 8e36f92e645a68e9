"""IQ requests about the gateway and its contacts: who asks what, and the one reply."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from gateway.xmpp import caps, disco, stanzas
from gateway.xmpp.presence import Presences
from gateway.xmpp.services import Services

BARE = "juliet@shakespeare.lit"
JULIET = f"{BARE}/balcony"
ROMEO = "romeo%shakespeare.lit@sip.example.com"
NUMBER = "+12025550123@sip.example.com"
DOMAIN = "sip.example.com"
NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z


def parse(text: str) -> ET.Element:
    return ET.fromstring(f"<stream xmlns='jabber:component:accept'>{text}</stream>")[0]


class Desk:
    def __init__(self) -> None:
        self.now = NOON
        self.refused: set[str] = set()
        self.no_voice: set[str] = set()
        mappable = {"a%%b": False, "nobody": False}
        self.presences = Presences(
            DOMAIN,
            ("shakespeare.lit",),
            lambda local: mappable.get(local, True),
            may_call=lambda user, local: local not in self.refused,
            may_dial=lambda user: user not in self.no_voice,
        )
        self.services = Services(
            self.presences,
            mappable=lambda local: mappable.get(local, True),
            version="1.0",
            unix_now=lambda: self.now,
        )

    def all(self, to: str, child: str, kind: str = "get", user: str = JULIET) -> list[ET.Element]:
        request = parse(f"<iq type='{kind}' id='1' from='{user}' to='{to}'>{child}</iq>")
        sent = self.services.answer(request, request[0])
        assert (sent[0].get("id"), sent[0].get("from"), sent[0].get("to")) == ("1", to, user)
        return sent

    def asks(self, to: str, child: str, kind: str = "get", user: str = JULIET) -> ET.Element:
        (answer,) = self.all(to, child, kind, user)
        return answer


@pytest.fixture
def desk() -> Desk:
    return Desk()


def info(node: str | None = None) -> str:
    return f"<query xmlns='http://jabber.org/protocol/disco#info'{f' node={node!r}' if node is not None else ''}/>"


# --- discovery


@pytest.mark.parametrize("to", [ROMEO, f"{ROMEO}/sip", f"{ROMEO}/any"])
@pytest.mark.parametrize("node", [None, "", *sorted(disco.SETS.contact.nodes)])
def test_a_contact_tells_its_features_with_and_without_node(desk: Desk, to: str, node: str | None) -> None:
    answer = desk.asks(to, info(node))
    assert answer.get("type") == "result"
    assert answer[0].get("node") == node or not node
    assert caps.read_info(answer[0]).features == disco.SETS.contact.features


@pytest.mark.parametrize("to", [ROMEO, DOMAIN])
@pytest.mark.parametrize("node", [f"{caps.NODE}#other", "http://elsewhere#x", caps.NODE, "urn:xmpp:caps#sha-256.x"])
def test_a_foreign_node_is_not_found(desk: Desk, to: str, node: str) -> None:
    assert stanzas.condition(desk.asks(to, info(node))).name == "item-not-found"


def test_a_node_is_answered_with_its_set_whatever_the_dialplan_says(desk: Desk) -> None:
    desk.refused.add("+12025550123")
    for entity in (desk.presences.sets.contact, desk.presences.sets.mute):
        for node in entity.nodes:
            assert caps.read_info(desk.asks(NUMBER, info(node))[0]) == caps.read_info(entity.info())


def test_without_a_node_it_is_the_set_for_this_user(desk: Desk) -> None:
    desk.refused.add("+12025550123")
    assert caps.read_info(desk.asks(NUMBER, info())[0]).features == desk.presences.sets.mute.features
    assert "pstn" in [i.type for i in caps.read_info(desk.asks(DOMAIN, info())[0]).identities]
    desk.no_voice.add(BARE)
    assert [i.type for i in caps.read_info(desk.asks(DOMAIN, info())[0]).identities] == ["simple"]


def test_the_domain_lists_the_test_line_for_those_who_may_call_it(desk: Desk) -> None:
    items = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
    assert [item.attrib for item in desk.asks(DOMAIN, items)[0]] == [{"jid": f"echo@{DOMAIN}", "name": "Echo test"}]
    desk.refused.add("echo")
    assert len(desk.asks(DOMAIN, items)[0]) == 0
    assert len(desk.asks(ROMEO, items)[0]) == 0


def test_there_are_no_commands_and_no_other_items(desk: Desk) -> None:
    commands = desk.asks(DOMAIN, f"<query xmlns='http://jabber.org/protocol/disco#items' node='{disco.COMMANDS}'/>")
    assert (commands[0].get("node"), len(commands[0])) == (disco.COMMANDS, 0)
    other = "<query xmlns='http://jabber.org/protocol/disco#items' node='x'/>"
    assert stanzas.condition(desk.asks(DOMAIN, other)).name == "item-not-found"


# --- small questions


@pytest.mark.parametrize(("to", "condition"), [("a%%b", "jid-malformed"), ("nobody", "item-not-found")])
@pytest.mark.parametrize("child", [info(), "<ping xmlns='urn:xmpp:ping'/>", "<vCard xmlns='vcard-temp'/>"])
def test_an_address_that_cannot_be_mapped_is_an_error(desk: Desk, to: str, condition: str, child: str) -> None:
    said = stanzas.condition(desk.asks(f"{to}@{DOMAIN}", child))
    assert said.name == condition
    assert said.text


def test_ping_version_time_and_uptime_are_answered(desk: Desk) -> None:
    desk.now += 90.5
    pong = desk.asks(ROMEO, "<ping xmlns='urn:xmpp:ping'/>")
    assert (pong.get("type"), len(pong)) == ("result", 0)
    version = desk.asks(DOMAIN, "<query xmlns='jabber:iq:version'/>")
    assert [child.text for child in version[0]] == ["xmpp-sip-gateway", "1.0"]
    time = desk.asks(ROMEO, "<time xmlns='urn:xmpp:time'/>")
    assert [child.text for child in time[0]] == ["+00:00", "2026-01-01T12:01:30Z"]
    last = desk.asks(DOMAIN, "<query xmlns='jabber:iq:last'/>")
    assert last[0].get("seconds") == "90"


@pytest.mark.parametrize(
    ("to", "child", "kind"),
    [
        (ROMEO, "<vCard xmlns='vcard-temp'/>", "set"),
        (ROMEO, "<query xmlns='jabber:iq:gateway'/>", "get"),
        (ROMEO, "<query xmlns='jabber:iq:gateway'><prompt>echo</prompt></query>", "set"),
        (ROMEO, "<query xmlns='jabber:iq:last'/>", "get"),
        (ROMEO, "<query xmlns='jabber:iq:register'/>", "get"),
        (ROMEO, "<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='x'/></pubsub>", "get"),
        (ROMEO, "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='x'/></pubsub>", "set"),
        (DOMAIN, "<nonsense xmlns='urn:x'/>", "get"),
        (DOMAIN, "<query xmlns='http://jabber.org/protocol/disco#info'/>", "set"),
    ],
)
def test_what_nobody_offers_is_unavailable(desk: Desk, to: str, child: str, kind: str) -> None:
    assert stanzas.condition(desk.asks(to, child, kind)).name == "service-unavailable"


# --- profiles


def test_a_contacts_vcards_have_its_number_as_people_write_it(desk: Desk) -> None:
    card = desk.asks(NUMBER, "<vCard xmlns='vcard-temp'/>")[0]
    assert card.findtext("{vcard-temp}FN") == "+1 202-555-0123"
    newer = desk.asks(NUMBER, "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>")[0]
    assert newer.tag == "{urn:ietf:params:xml:ns:vcard-4.0}vcard"


def test_items_are_answered_as_a_pep_service_would(desk: Desk) -> None:
    def asked(node: str) -> ET.Element:
        return desk.asks(NUMBER, f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{node}'/></pubsub>")

    items = asked("urn:xmpp:avatar:metadata")[0][0]
    assert items.get("node") == "urn:xmpp:avatar:metadata"
    assert items[0].get("id") == items[0][0][0].get("id")
    # Conversations asks everybody for this one before it offers encryption.
    assert stanzas.condition(asked("eu.siacs.conversations.axolotl.devicelist")).name == "item-not-found"


# --- jabber:iq:gateway


@pytest.mark.parametrize(
    ("written", "jid"),
    [
        ("(202) 555-0123", "2025550123"),
        ("+1 202 555 0123", "+12025550123"),
        ("sip:Romeo@shakespeare.lit", "romeo%shakespeare.lit"),
        ("echo", "echo"),
    ],
)
def test_the_gateway_turns_what_people_write_into_a_jid(desk: Desk, written: str, jid: str) -> None:
    answer = desk.asks(DOMAIN, f"<query xmlns='jabber:iq:gateway'><prompt>{written}</prompt></query>", "set")
    assert [(child.tag.partition("}")[2], child.text) for child in answer[0]] == [
        ("jid", f"{jid}@{DOMAIN}"),
        ("prompt", f"{jid}@{DOMAIN}"),
    ]


def test_the_gateway_says_what_to_write(desk: Desk) -> None:
    prompt = desk.asks(DOMAIN, "<query xmlns='jabber:iq:gateway'/>")[0]
    assert [child.tag.partition("}")[2] for child in prompt] == ["desc", "prompt"]
    assert all(child.text for child in prompt)


@pytest.mark.parametrize("written", ["", "a b@c", "@host", "nobody", "+1\u0662"])
def test_what_cannot_be_an_address_has_no_jid(desk: Desk, written: str) -> None:
    answer = desk.asks(DOMAIN, f"<query xmlns='jabber:iq:gateway'><prompt>{written}</prompt></query>", "set")
    said = stanzas.condition(answer)
    assert said.name == "item-not-found"
    assert said.text, "why"


# --- jabber:iq:register

REGISTER = "<query xmlns='jabber:iq:register'/>"
REMOVE = "<query xmlns='jabber:iq:register'><remove/></query>"


def names(element: ET.Element) -> list[str]:
    return [child.tag.partition("}")[2] for child in element]


def kinds(sent: list[ET.Element]) -> list[str]:
    return [stanza.get("type", "available") for stanza in sent]


def test_a_user_registers_without_filling_anything_in(desk: Desk) -> None:
    assert names(desk.asks(DOMAIN, REGISTER)[0]) == ["instructions"]
    assert kinds(desk.all(DOMAIN, REGISTER, "set")) == ["result", "subscribe", "available"]
    assert names(desk.asks(DOMAIN, REGISTER)[0]) == ["registered", "instructions"]
    assert kinds(desk.all(DOMAIN, REMOVE, "set")) == ["result", "unsubscribe", "unsubscribed", "unavailable"]
    assert names(desk.asks(DOMAIN, REGISTER)[0]) == ["instructions"]


@pytest.mark.parametrize("kind", ["get", "set"])
@pytest.mark.parametrize("user", ["tybalt@verona.lit/x", "shakespeare.lit"])
def test_strangers_and_servers_cannot_register(desk: Desk, kind: str, user: str) -> None:
    assert stanzas.condition(desk.asks(DOMAIN, REGISTER, kind, user)).name == "not-allowed"


def test_without_room_nobody_registers(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.presences, "register", lambda user, asked: None)
    assert stanzas.condition(desk.asks(DOMAIN, REGISTER, "set")).name == "resource-constraint"
