"""Service discovery and entity capabilities."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from gateway.xmpp import disco, stanzas
from gateway.xmpp.disco import Entity, Identity


def parse(text: str) -> ET.Element:
    return ET.fromstring(f"<stream xmlns='jabber:component:accept'>{text}</stream>")[0]


# XEP-0115 §5.2 and §5.3, the two examples.
SIMPLE = """<query xmlns='http://jabber.org/protocol/disco#info' node='http://code.google.com/p/exodus#QgayPKawpkPSDYmwT/WM94uAlu0='>
 <identity category='client' name='Exodus 0.9.1' type='pc'/>
 <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>
 <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/></query>"""
COMPLEX = """<query xmlns='http://jabber.org/protocol/disco#info' node='http://psi-im.org#q07IKJEyjvHSyhy//CH0CxmKi8w='>
 <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>
 <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>
 <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>
 <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>
 <x xmlns='jabber:x:data' type='result'>
  <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
  <field var='ip_version' type='text-multi'><value>ipv4</value><value>ipv6</value></field>
  <field var='os'><value>Mac</value></field><field var='os_version'><value>10.5.1</value></field>
  <field var='software'><value>Psi</value></field>
  <field var='software_version'><value>0.11</value></field></x></query>"""


@pytest.mark.parametrize(
    ("query", "ver"), [(SIMPLE, "QgayPKawpkPSDYmwT/WM94uAlu0="), (COMPLEX, "q07IKJEyjvHSyhy//CH0CxmKi8w=")]
)
def test_xep0115_examples_are_proven(query: str, ver: str) -> None:
    assert disco.proves(ET.fromstring(query), "sha-1", ver)


def test_another_answer_proves_nothing() -> None:
    assert not disco.proves(ET.fromstring(SIMPLE), "sha-1", "q07IKJEyjvHSyhy//CH0CxmKi8w=")
    assert not disco.proves(ET.fromstring(SIMPLE), "md5", "QgayPKawpkPSDYmwT/WM94uAlu0=")


@pytest.mark.parametrize("entity", [disco.CONTACT, disco.DOMAIN])
def test_what_we_announce_is_proven_by_what_we_answer(entity: Entity) -> None:
    caps = entity.caps()
    node = f"{caps.get('node')}#{caps.get('ver')}"
    assert disco.proves(entity.info(node), caps.get("hash", ""), caps.get("ver", ""))
    assert entity.info(node).get("node") == node


def test_a_contact_can_be_called_by_every_client() -> None:
    assert disco.abilities(disco.CONTACT) == disco.Abilities(jmi=True, direct=True)
    assert "urn:xmpp:jingle:apps:rtp:video" not in disco.CONTACT.features
    assert [(i.category, i.type) for i in disco.CONTACT.identities] == [("client", "phone")]


def test_the_domain_is_a_telephone_gateway() -> None:
    assert [(i.category, i.type) for i in disco.DOMAIN.identities] == [("gateway", "pstn")]
    assert disco.abilities(disco.DOMAIN).gateway


def test_a_client_without_dtls_cannot_be_asked_directly() -> None:
    features = disco.CONTACT.features - {disco.DTLS, stanzas.JMI}
    assert disco.abilities(Entity((Identity("client", "pc"),), features)) == disco.Abilities()


def test_a_huge_answer_is_cut() -> None:
    features = "".join(f"<feature var='f{n}'/>" for n in range(2000))
    query = ET.fromstring(f"<query xmlns='http://jabber.org/protocol/disco#info'>{features}</query>")
    assert len(disco.read_info(query).features) == 500


ROMEO = "romeo%shakespeare.lit@sip.example.com"
VER = f"{disco.NODE}#{disco.CONTACT.ver}"


def ask(to: str, child: str, kind: str = "get") -> ET.Element:
    request = parse(f"<iq type='{kind}' id='1' from='juliet@shakespeare.lit/balcony' to='{to}'>{child}</iq>")
    return disco.answer(request, request[0], lambda local: local != "a%%b", "1.0")


def info(node: str | None = None) -> str:
    return f"<query xmlns='http://jabber.org/protocol/disco#info'{f' node={node!r}' if node is not None else ''}/>"


@pytest.mark.parametrize("to", [ROMEO, f"{ROMEO}/sip", f"{ROMEO}/any"])
@pytest.mark.parametrize("node", [None, "", VER])
def test_a_contact_tells_its_features_with_and_without_node(to: str, node: str | None) -> None:
    answer = ask(to, info(node))
    assert answer.get("type") == "result"
    assert answer.get("from") == to
    assert answer[0].get("node") == node
    assert disco.read_info(answer[0]).features == disco.CONTACT.features


@pytest.mark.parametrize("to", [ROMEO, "sip.example.com"])
@pytest.mark.parametrize("node", [f"{disco.NODE}#other", "http://elsewhere#x", disco.NODE])
def test_a_foreign_node_is_not_found(to: str, node: str) -> None:
    assert stanzas.condition(ask(to, info(node))).name == "item-not-found"


def test_each_entity_knows_its_own_ver_only() -> None:
    assert stanzas.condition(ask("sip.example.com", info(VER))).name == "item-not-found"
    assert ask("sip.example.com", info(f"{disco.NODE}#{disco.DOMAIN.ver}")).get("type") == "result"


def test_an_address_that_cannot_be_mapped_is_an_error() -> None:
    assert stanzas.condition(ask("a%%b@sip.example.com", info())).name == "jid-malformed"


@pytest.mark.parametrize("to", [ROMEO, "sip.example.com"])
def test_there_are_no_items(to: str) -> None:
    answer = ask(to, "<query xmlns='http://jabber.org/protocol/disco#items'/>")
    assert (answer.get("type"), len(answer[0])) == ("result", 0)
    commands = f"<query xmlns='http://jabber.org/protocol/disco#items' node='{disco.COMMANDS}'/>"
    assert ask(to, commands)[0].get("node") == disco.COMMANDS
    other = "<query xmlns='http://jabber.org/protocol/disco#items' node='x'/>"
    assert stanzas.condition(ask(to, other)).name == "item-not-found"


def test_ping_and_version_are_answered() -> None:
    pong = ask(ROMEO, "<ping xmlns='urn:xmpp:ping'/>")
    assert (pong.get("type"), len(pong)) == ("result", 0)
    version = ask("sip.example.com", "<query xmlns='jabber:iq:version'/>")
    assert [child.text for child in version[0]] == ["xmpp-sip-gateway", "1.0"]


@pytest.mark.parametrize("kind", ["get", "set"])
def test_what_nobody_knows_is_unavailable(kind: str) -> None:
    assert stanzas.condition(ask(ROMEO, "<vCard xmlns='vcard-temp'/>", kind)).name == "service-unavailable"
    assert stanzas.condition(ask(ROMEO, "<query xmlns='jabber:iq:gateway'/>", kind)).name == "service-unavailable"


@pytest.mark.parametrize(
    ("written", "jid"),
    [
        ("(202) 555-0123", "2025550123"),
        ("+1 202 555 0123", "+12025550123"),
        ("tel:+12025550123", "+12025550123"),
        ("sip:Romeo@shakespeare.lit", "romeo%shakespeare.lit"),
        ("echo", "echo"),
    ],
)
def test_the_gateway_turns_what_people_write_into_a_jid(written: str, jid: str) -> None:
    answer = ask("sip.example.com", f"<query xmlns='jabber:iq:gateway'><prompt>{written}</prompt></query>", "set")
    assert [(child.tag.partition("}")[2], child.text) for child in answer[0]] == [
        ("jid", f"{jid}@sip.example.com"),
        ("prompt", f"{jid}@sip.example.com"),
    ]
    prompt = ask("sip.example.com", "<query xmlns='jabber:iq:gateway'/>")
    assert [child.tag.partition("}")[2] for child in prompt[0]] == ["desc", "prompt"]


@pytest.mark.parametrize("written", ["", "a b@c", "@host", "a%%b"])
def test_what_cannot_be_an_address_has_no_jid(written: str) -> None:
    answer = ask("sip.example.com", f"<query xmlns='jabber:iq:gateway'><prompt>{written}</prompt></query>", "set")
    assert stanzas.condition(answer).name == "item-not-found"


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        ("a%%b", "jid-malformed"),
        ("a\\40", "jid-malformed"),
        ("+1", "jid-malformed"),
        ("0012", "jid-malformed"),
        ("12", "jid-malformed"),
        ("nobody", "item-not-found"),
    ],
)
def test_an_error_says_whether_the_address_is_bad_or_unknown(name: str, condition: str) -> None:
    assert disco.complaint(name) == condition
