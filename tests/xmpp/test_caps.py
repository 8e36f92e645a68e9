"""Entity capabilities: the examples of both specifications, and what proves nothing."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import pytest

from gateway.xmpp import caps, disco, stanzas
from gateway.xmpp.caps import Abilities, Entity, Form, Identity

INFO = "xmlns='http://jabber.org/protocol/disco#info'"

# XEP-0115 §5.2 and §5.3, the two examples.
SIMPLE = f"""<query {INFO} node='http://code.google.com/p/exodus#QgayPKawpkPSDYmwT/WM94uAlu0='>
 <identity category='client' name='Exodus 0.9.1' type='pc'/>
 <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>
 <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/></query>"""
COMPLEX = f"""<query {INFO} node='http://psi-im.org#q07IKJEyjvHSyhy//CH0CxmKi8w='>
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
VER, VER_COMPLEX = "QgayPKawpkPSDYmwT/WM94uAlu0=", "q07IKJEyjvHSyhy//CH0CxmKi8w="

# XEP-0390 §4.5, the two examples.
BOMBUS = """
    http://jabber.org/protocol/si http://jabber.org/protocol/bytestreams http://jabber.org/protocol/chatstates
    http://jabber.org/protocol/disco#info http://jabber.org/protocol/disco#items urn:xmpp:ping jabber:iq:time
    jabber:iq:privacy jabber:iq:version http://jabber.org/protocol/rosterx urn:xmpp:time jabber:x:oob
    http://jabber.org/protocol/ibb http://jabber.org/protocol/si/profile/file-transfer urn:xmpp:receipts
    jabber:iq:roster jabber:iq:last"""
TKABBER = """
    games:board http://jabber.org/protocol/activity http://jabber.org/protocol/activity+notify
    http://jabber.org/protocol/bytestreams http://jabber.org/protocol/chatstates http://jabber.org/protocol/commands
    http://jabber.org/protocol/disco#info http://jabber.org/protocol/disco#items http://jabber.org/protocol/evil
    http://jabber.org/protocol/feature-neg http://jabber.org/protocol/geoloc http://jabber.org/protocol/geoloc+notify
    http://jabber.org/protocol/ibb http://jabber.org/protocol/iqibb http://jabber.org/protocol/mood
    http://jabber.org/protocol/mood+notify http://jabber.org/protocol/rosterx http://jabber.org/protocol/si
    http://jabber.org/protocol/si/profile/file-transfer http://jabber.org/protocol/tune
    http://www.facebook.com/xmpp/messages http://www.xmpp.org/extensions/xep-0084.html#ns-metadata+notify
    jabber:iq:avatar jabber:iq:browse jabber:iq:dtcp jabber:iq:filexfer jabber:iq:ibb jabber:iq:inband jabber:iq:jidlink
    jabber:iq:last jabber:iq:oob jabber:iq:privacy jabber:iq:roster jabber:iq:time jabber:iq:version jabber:x:data
    jabber:x:event jabber:x:oob urn:xmpp:avatar:metadata+notify urn:xmpp:ping urn:xmpp:receipts urn:xmpp:time"""


def query(inner: str) -> ET.Element:
    return ET.fromstring(f"<query {INFO}>{inner}</query>")


def features(words: str) -> str:
    return "".join(f"<feature var='{word}'/>" for word in words.split())


@pytest.mark.parametrize(("text", "ver"), [(SIMPLE, VER), (COMPLEX, VER_COMPLEX)])
def test_xep0115_examples_are_proven(text: str, ver: str) -> None:
    assert caps.proves(ET.fromstring(text), "sha-1", ver)
    assert caps.read_info(ET.fromstring(text)).ver == ver


@pytest.mark.parametrize(
    ("inner", "sha_256", "sha3_256"),
    [
        (
            "<identity category='client' name='BombusMod' type='mobile'/>" + features(BOMBUS),
            "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=",
            "79mdYAfU9rEdTOcWDO7UEAt6E56SUzk/g6TnqUeuD9Q=",
        ),
        (
            "<identity category='client' name='Ткаббер' type='pc' xml:lang='ru'/>"
            "<identity category='client' name='Tkabber' type='pc' xml:lang='en'/>"
            + features(TKABBER)
            + "<x xmlns='jabber:x:data' type='result'>"
            "<field type='hidden' var='FORM_TYPE'><value>urn:xmpp:dataforms:softwareinfo</value></field>"
            "<field var='software'><value>Tkabber</value></field>"
            "<field var='software_version'><value>0.11.1-svn-20111216-mod (Tcl/Tk 8.6b2)</value></field>"
            "<field var='os'><value>Windows</value></field><field var='os_version'><value>XP</value></field></x>",
            "u79ZroNJbdSWhdSp311mddz44oHHPsEBntQ5b1jqBSY=",
            "XpUJzLAc93258sMECZ3FJpebkzuyNXDzRNwQog8eycg=",
        ),
    ],
)
def test_xep0390_examples_have_their_hashes(inner: str, sha_256: str, sha3_256: str) -> None:
    entity = caps.read_info(query(inner))
    assert caps.hashes(entity) == {"sha-256": sha_256, "sha3-256": sha3_256}
    assert f"urn:xmpp:caps#sha-256.{sha_256}" in entity.nodes
    assert f"urn:xmpp:caps#sha3-256.{sha3_256}" in entity.nodes


def test_another_answer_proves_nothing() -> None:
    assert not caps.proves(ET.fromstring(SIMPLE), "sha-1", VER_COMPLEX)
    assert not caps.proves(ET.fromstring(SIMPLE), "md5", VER)


def test_one_feature_cannot_pass_for_two() -> None:
    """XEP-0115 §5.1: `&lt;` stays as it is."""
    two = caps.read_info(query("<feature var='a'/><feature var='b'/>"))
    assert not caps.proves(query("<feature var='a&lt;b'/>"), "sha-1", two.ver)


FORM = "<x xmlns='jabber:x:data'>{}<field var='os'><value>Mac</value></field></x>"
KIND = "<field var='FORM_TYPE' type='hidden'><value>{}</value></field>"


@pytest.mark.parametrize(
    "inner",
    [
        "<identity category='client' type='pc'/><identity category='client' type='pc'/>",
        "<feature var='a'/><feature var='a'/>",
        FORM.format(KIND.format("k")) * 2,
        FORM.format("<field var='FORM_TYPE' type='hidden'><value>k</value><value>l</value></field>"),
    ],
)
def test_what_says_something_twice_proves_nothing(inner: str) -> None:
    """XEP-0115 §5.4, 3.3 to 3.5: different answers could be spelled alike."""
    said = query(inner)
    assert not caps.proves(said, "sha-1", caps.read_info(said).ver)


@pytest.mark.parametrize("first", ["", "<field var='FORM_TYPE' type='text-single'><value>k</value></field>"])
def test_a_form_that_does_not_say_what_it_is_does_not_count(first: str) -> None:
    """XEP-0115 §5.4, 3.6."""
    assert caps.read_info(query(FORM.format(first))).forms == ()
    named = caps.read_info(query(FORM.format(KIND.format("k"))))
    assert named.forms == (Form("k", (("os", ("Mac",)),)),)


@pytest.mark.parametrize("entity", [getattr(disco.SETS, each.name) for each in dataclasses.fields(disco.SETS)])
def test_what_we_announce_is_proven_by_what_we_answer(entity: Entity) -> None:
    classic, modern = entity.caps()
    node = f"{classic.get('node')}#{classic.get('ver')}"
    assert caps.proves(entity.info(node), classic.get("hash", ""), classic.get("ver", ""))
    assert entity.info(node).get("node") == node
    told = {f"urn:xmpp:caps#{child.get('algo')}.{child.text}" for child in modern}
    assert entity.nodes == {node, *told}
    assert len(told) == 2


def test_a_language_is_told_with_the_identity() -> None:
    entity = Entity((Identity("client", "pc", "en", "x"), Identity("client", "pc", "el", "y")), frozenset({"f"}))
    assert caps.read_info(entity.info()).identities == entity.identities
    assert caps.proves(entity.info(), "sha-256", caps.verification(entity, "sha-256"))


def test_a_client_without_dtls_cannot_be_asked_directly() -> None:
    some = disco.SETS.contact.features - {caps.DTLS, stanzas.JMI}
    assert caps.abilities(Entity((Identity("client", "pc"),), some)) == Abilities()
    assert caps.abilities(disco.SETS.contact) == Abilities(jmi=True, direct=True, mobile=True)
    assert caps.abilities(Entity((Identity("client", "tablet"),), some)) == Abilities(mobile=True)
    assert caps.abilities(disco.SETS.gateway).gateway


def test_a_huge_answer_is_cut() -> None:
    assert len(caps.read_info(query(features(" ".join(f"f{n}" for n in range(2000))))).features) == 500
