"""The four sets that the gateway announces, and what people write for an address."""

from __future__ import annotations

import pytest

from gateway.xmpp import caps, disco, stanzas
from gateway.xmpp.caps import Entity

# What each client looks at before it shows a call button, or sends a call.
CONVERSATIONS = {
    "urn:xmpp:jingle:1",
    "urn:xmpp:jingle:transports:ice-udp:1",
    "urn:xmpp:jingle:apps:rtp:1",
    "urn:xmpp:jingle:apps:dtls:0",
    "urn:xmpp:jingle:apps:rtp:audio",
    "urn:xmpp:jingle-message:0",
}
PAGE = CONVERSATIONS | {
    "http://jabber.org/protocol/disco#info",
    "http://jabber.org/protocol/caps",
    "urn:xmpp:jingle:apps:rtp:info:1",
    "urn:xmpp:jingle:apps:grouping:0",
    "urn:xmpp:jingle:dtmf:0",
    "urn:xmpp:receipts",
    "urn:xmpp:ping",
    *stanzas.TEMPPRES,
}


def kinds(entity: Entity) -> list[str]:
    return [f"{i.category}/{i.type}" for i in entity.identities]


def test_a_contact_can_be_called_by_every_client() -> None:
    assert disco.SETS.contact.features >= PAGE
    assert kinds(disco.SETS.contact) == ["client/phone"]
    assert "urn:xmpp:jingle:apps:rtp:video" not in disco.SETS.contact.features
    assert "http://jabber.org/protocol/chatstates" not in disco.SETS.contact.features, "there is no text yet"


def test_a_contact_with_video_says_so_and_nothing_else_is_new() -> None:
    assert disco.SETS.camera.features - disco.SETS.contact.features == {"urn:xmpp:jingle:apps:rtp:video"}
    assert disco.SETS.camera.identities == disco.SETS.contact.identities


def test_a_contact_that_may_not_be_called_has_no_call_feature() -> None:
    mute = disco.SETS.mute
    assert kinds(mute) == ["client/phone"]
    assert not any("jingle" in feature for feature in mute.features)
    assert caps.abilities(mute) == caps.Abilities(mobile=True)
    assert mute.features < disco.SETS.contact.features


def test_the_domain_is_a_telephone_gateway_and_for_some_users_none() -> None:
    assert kinds(disco.SETS.gateway) == ["gateway/pstn", "gateway/simple"]
    assert kinds(disco.SETS.plain) == ["gateway/simple"]
    assert disco.SETS.gateway.features == disco.SETS.plain.features
    assert {"jabber:iq:gateway", "jabber:iq:register"} <= disco.SETS.gateway.features


def test_the_sets_have_hashes_of_their_own() -> None:
    sets = disco.SETS
    of_contacts, of_domain = (sets.contact, sets.camera, sets.mute), (sets.gateway, sets.plain)
    assert len({entity.ver for entity in (*of_contacts, *of_domain)}) == 5
    for of_contact, entity in (*((True, each) for each in of_contacts), *((False, each) for each in of_domain)):
        for node in entity.nodes:
            assert sets.asked(node, of_contact=of_contact) is entity
            assert sets.asked(node, of_contact=not of_contact) is None


@pytest.mark.parametrize("node", [caps.NODE, f"{caps.NODE}#", "http://elsewhere#x", "urn:xmpp:caps#sha-256.x"])
def test_no_other_node_stands_for_anything(node: str) -> None:
    assert disco.SETS.asked(node, of_contact=True) is None


def test_candidates_all_at_once_are_asked_for_by_the_operator_alone() -> None:
    assert "urn:ietf:rfc:3264" not in disco.SETS.contact.features
    switched = disco.sets(inline_candidates=True)
    assert switched.contact.features - disco.SETS.contact.features == {"urn:ietf:rfc:3264"}
    assert switched.mute.features == disco.SETS.mute.features


def test_only_the_node_of_commands_has_items_beside_the_domains_own() -> None:
    assert disco.has_items(None)
    assert disco.has_items("")
    assert disco.has_items(disco.COMMANDS)
    assert not disco.has_items("x")


@pytest.mark.parametrize(
    ("name", "condition", "text"),
    [
        ("a%%b", "jid-malformed", "not a user"),
        ("a\\40", "jid-malformed", "not a host name"),
        ("+1", "jid-malformed", "not an international number"),
        ("1" * 40, "jid-malformed", "more than 32 digits"),
        ("12", "jid-malformed", "no address"),
        ("+1\u0662\u0660\u0662", "jid-malformed", "its digits are not 0 to 9"),
        ("\u0967\u0968\u0969", "jid-malformed", "its digits are not 0 to 9"),
        ("nobody", "item-not-found", "no such contact"),
    ],
)
def test_an_error_says_whether_the_address_is_bad_or_unknown(name: str, condition: str, text: str) -> None:
    said, words = disco.complaint(name)
    assert said == condition
    assert text in words


@pytest.mark.parametrize(
    ("written", "local"),
    [
        ("(202) 555-0123", "2025550123"),
        ("+1 202 555 0123", "+12025550123"),
        ("tel:+12025550123", "+12025550123"),
        ("sip:Romeo@shakespeare.lit", "romeo%shakespeare.lit"),
        ("echo", "echo"),
        ("a b@c", ""),
        ("@host", ""),
        ("", ""),
    ],
)
def test_what_people_write_becomes_a_local_part(written: str, local: str) -> None:
    assert disco.local_of(written) == local
