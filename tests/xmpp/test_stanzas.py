"""Builders and readers of stanzas."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gateway.session.jingle import Reason
from gateway.xmpp import stanzas

SAID = Path(__file__).parents[1] / "vectors" / "jingle_message"


def parse(text: str) -> ET.Element:
    return ET.fromstring(f"<stream xmlns='jabber:component:accept'>{text}</stream>")[0]


@pytest.mark.parametrize(
    ("jid", "parts"),
    [
        ("juliet@shakespeare.lit/balcony", ("juliet", "shakespeare.lit", "balcony")),
        ("juliet@shakespeare.lit/a@b/c", ("juliet", "shakespeare.lit", "a@b/c")),
        ("shakespeare.lit", ("", "shakespeare.lit", "")),
        ("shakespeare.lit/x@y", ("", "shakespeare.lit", "x@y")),
        ("", ("", "", "")),
    ],
)
def test_a_jid_falls_into_its_three_parts(jid: str, parts: tuple[str, str, str]) -> None:
    assert (stanzas.local(jid), stanzas.domain(jid), stanzas.resource(jid)) == parts


def test_an_error_goes_back_to_who_asked_with_the_same_id() -> None:
    request = parse("<iq type='set' id='7' from='a@b/c' to='d@e'><jingle xmlns='urn:xmpp:jingle:1'/></iq>")
    answer = stanzas.error(request, "item-not-found", "no\x00such", jingle="unknown-session")
    assert dict(answer.attrib) == {"to": "a@b/c", "from": "d@e", "id": "7", "type": "error"}
    assert stanzas.condition(answer) == stanzas.Condition("item-not-found", "unknown-session", "no\ufffdsuch")


def test_an_error_that_names_nothing_is_undefined() -> None:
    assert stanzas.condition(parse("<iq type='error'/>")).name == "undefined-condition"


@pytest.mark.parametrize("text", ["a\x01b", "a\ud800b", "a\uffffb"])
def test_what_xml_forbids_is_replaced(text: str) -> None:
    assert stanzas.legal(text) == "a\ufffdb"


def test_what_xml_allows_is_kept() -> None:
    assert stanzas.legal("a\tb\r\né𝄞") == "a\tb\r\né𝄞"


def test_a_jingle_message_reads_as_it_was_written() -> None:
    for kind in stanzas.JMI_KINDS:
        stanza = stanzas.jmi(kind, "s1", "a@b/c", "d@e/sip", reason=Reason("busy", "486 Busy Here"))
        spoken = stanzas.jmi_of(stanza)
        assert spoken is not None
        assert (spoken.kind, spoken.sid, spoken.reason) == (kind, "s1", Reason("busy", "486 Busy Here"))
        assert stanza.get("type") == "chat"
        assert stanza.find(f"{{{stanzas.HINTS}}}store") is not None


def test_a_propose_names_its_media_and_asks_for_a_receipt() -> None:
    spoken = stanzas.jmi_of(stanzas.jmi("propose", "s1", "a@b", "d@e/sip"))
    assert spoken == stanzas.JmiMessage("propose", "s1", None, ("audio",), True)


def test_proceed_says_nothing_of_devices() -> None:
    (element, _) = stanzas.jmi("proceed", "s1", "a@b/c", "d@e/sip")
    assert len(element) == 0


@pytest.mark.parametrize(
    ("name", "kind", "media"),
    [
        ("dino_0.4_propose", "propose", ("audio",)),
        ("dino_0.4_video_propose", "propose", ("audio", "video")),
        ("dino_0.4_retract", "retract", ()),
        ("dino_0.4_proceed", "proceed", ()),  # it names an OMEMO device, which is passed over
        ("dino_0.4_reject", "reject", ()),
    ],
)
def test_jingle_messages_of_programs_are_read(name: str, kind: str, media: tuple[str, ...]) -> None:
    spoken = stanzas.jmi_of(parse((SAID / f"{name}.xml").read_text()))
    assert spoken is not None
    assert (spoken.kind, spoken.media, spoken.reason, spoken.receipt) == (kind, media, None, False)
    assert spoken.sid


@pytest.mark.parametrize(
    "text", ["<message/>", "<message><accept xmlns='urn:xmpp:jingle-message:0' id='1'/></message>"]
)
def test_other_messages_are_no_jingle_messages(text: str) -> None:
    assert stanzas.jmi_of(parse(text)) is None


def test_a_receipt_reads_as_it_was_written() -> None:
    assert stanzas.receipt_of(stanzas.receipt("a@b/c", "d@e", "jm-propose-1")) == "jm-propose-1"
    assert stanzas.receipt_of(parse("<message/>")) == ""


@pytest.mark.parametrize("name", ["temppres", "decloak"])
@pytest.mark.parametrize("namespace", stanzas.TEMPPRES)
def test_temporary_presence_is_asked_in_four_namespaces(namespace: str, name: str) -> None:
    assert stanzas.temppres_of(parse(f"<presence><{name} xmlns='{namespace}' reason='whim'/></presence>"))


@pytest.mark.parametrize(
    "text", ["<presence/>", "<presence><x xmlns='urn:xmpp:temppres:0'/></presence>", "<presence><temppres/></presence>"]
)
def test_other_presence_asks_for_nothing(text: str) -> None:
    assert not stanzas.temppres_of(parse(text))


def test_capabilities_need_a_hash_and_a_ver() -> None:
    c = "<presence><c xmlns='http://jabber.org/protocol/caps' {}/></presence>"
    assert stanzas.caps_of(parse(c.format("hash='sha-1' node='n' ver='v'"))) == ("sha-1", "n", "v")
    assert stanzas.caps_of(parse(c.format("node='n' ver='v' ext='old'"))) is None
    assert stanzas.caps_of(parse(c.format(f"hash='sha-1' node='n' ver='{'v' * 600}'"))) is None
    assert stanzas.caps_of(parse("<presence/>")) is None


def test_an_iq_request_has_exactly_one_child() -> None:
    assert stanzas.payload(parse("<iq><a/></iq>")) is not None
    assert stanzas.payload(parse("<iq/>")) is None
    assert stanzas.payload(parse("<iq><a/><b/></iq>")) is None


JINGLE = "<iq type='set'><jingle xmlns='urn:xmpp:jingle:1' action='{}' sid='s'>{}</jingle></iq>"


@pytest.mark.parametrize(
    ("text", "described"),
    [
        (
            JINGLE.format("session-terminate", "<reason><busy/><text>no</text></reason>"),
            ("session-terminate", "busy, no"),
        ),
        (JINGLE.format("session-info", "<mute xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"), ("session-info", "mute")),
        (JINGLE.format("session-info", "<dtmf xmlns='urn:xmpp:jingle:dtmf:0' code='1'/>"), ("session-info", "dtmf")),
        (
            JINGLE.format(
                "session-initiate",
                "<content name='a'><description xmlns='urn:xmpp:jingle:apps:rtp:1'>"
                "<payload-type name='opus'/><payload-type name='PCMA'/></description></content>",
            ),
            ("session-initiate", "a: opus PCMA"),
        ),
        ("<message><ringing xmlns='urn:xmpp:jingle-message:0' id='s'/></message>", ("JMI ringing", "")),
        ("<message><received xmlns='urn:xmpp:receipts' id='s'/></message>", ("receipt", "")),
        ("<message><body>hi</body></message>", ("message", "")),
        ("<presence type='unavailable'/>", ("presence unavailable", "")),
        ("<presence><temppres xmlns='urn:xmpp:temppres:0'/></presence>", ("presence", "temporary presence asked")),
        ("<iq type='result'/>", ("result", "")),
        ("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>", ("iq", "")),
        (
            "<iq type='error'><error><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
            ("error", "gone"),
        ),
    ],
)
def test_a_ladder_says_what_a_stanza_is(text: str, described: tuple[str, str]) -> None:
    assert stanzas.describe(parse(text)) == described


def test_a_refusal_names_what_it_refuses_and_no_more() -> None:
    contents = (
        "<content creator='initiator' name='v' senders='initiator'>"
        "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='video'><payload-type id='96' name='VP8'/></description>"
        "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='u' pwd='p'><candidate/></transport></content>"
        "<content creator='responder' name='file'><description xmlns='urn:xmpp:jingle:apps:file-transfer:5'/></content>"
    )
    request = ET.fromstring(f"<jingle xmlns='urn:xmpp:jingle:1' action='content-add' sid='s1'>{contents}</jingle>")
    refusal = stanzas.refusal("content-reject", "s1", request)
    assert (refusal.get("action"), refusal.get("sid")) == ("content-reject", "s1")
    video, file = refusal
    assert video.attrib == {"creator": "initiator", "name": "v", "senders": "initiator"}
    assert [(stanzas.split(child)[1], child.attrib, len(child)) for child in video] == [
        ("description", {"media": "video"}, 0),
        ("transport", {"ufrag": "u", "pwd": "p"}, 0),
    ]
    assert (file.attrib, len(file)) == ({"creator": "responder", "name": "file"}, 0)


@pytest.mark.parametrize(
    ("attributes", "pressed"),
    [
        ({"code": "5"}, ("5", 100)),
        ({"code": "a#*", "duration": "250"}, ("A#*", 250)),
        ({"code": "1", "duration": "1"}, ("1", 40)),
        ({"code": "1", "duration": "99999"}, ("1", 6000)),
        ({"code": "1", "duration": "123456"}, ("1", 100)),
        ({"code": "1", "duration": "²"}, ("1", 100)),
        ({"code": "x"}, None),
        ({"code": "1" * 33}, None),
        ({}, None),
    ],
)
def test_digits_are_read_with_their_duration(attributes: dict[str, str], pressed: tuple[str, int] | None) -> None:
    assert stanzas.dtmf_of(ET.Element("dtmf", attributes)) == pressed
