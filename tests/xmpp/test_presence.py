"""Temporary presence, subscriptions, probes, devices; and the bounds of what is remembered."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from gateway.xmpp import disco, presence, stanzas
from gateway.xmpp.presence import Device, Presences

JULIET = "juliet@shakespeare.lit/balcony"
ROMEO = "romeo%shakespeare.lit@sip.example.com"
TEMPPRES = "<temppres xmlns='urn:xmpp:temppres:0' reason='media'/>"


def parse(text: str) -> ET.Element:
    return ET.fromstring(f"<stream xmlns='jabber:component:accept'>{text}</stream>")[0]


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.presences = Presences("sip.example.com", ("shakespeare.lit",), lambda local: local not in ("a%%b", "who"))
        self.seen: list[Device] = []
        self.presences.on_device = self.seen.append

    def says(self, kind: str = "", inner: str = "", user: str = JULIET, to: str = ROMEO) -> list[str]:
        type_ = f" type='{kind}'" if kind else ""
        stanza = parse(f"<presence from='{user}' to='{to}'{type_} id='p'>{inner}</presence>")
        return [told(sent) for sent in self.presences.receive(stanza, self.now)]

    def passes(self, seconds: float) -> list[str]:
        self.now += seconds
        return [told(sent) for sent in self.presences.tick(self.now)]

    def knows(self, features: str, ver: str, question: ET.Element, user: str = JULIET) -> bool:
        id_ = question.get("id")
        return self.presences.answered(
            parse(
                f"<iq type='result' from='{user}' to='x' id='{id_}'>"
                f"<query xmlns='http://jabber.org/protocol/disco#info' node='n#{ver}'>{features}</query></iq>"
            )
        )


def told(stanza: ET.Element) -> str:
    """A sent stanza in a few words: `caps ROMEO -> JULIET`."""
    what = stanza.get("type", "presence")
    if stanza.get("type") is None:
        assert [child.tag for child in stanza] == [f"{{{stanzas.CAPS}}}c"], "bare presence: capabilities, nothing else"
        what = "caps"
    if stanza.get("type") == "error":
        what = stanzas.condition(stanza).name
    if stanza.tag == stanzas.IQ:
        what = "info?"
    return f"{what} {stanza.get('from')} -> {stanza.get('to')}"


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("reason", [" reason='media'", " reason='text'", " reason='file'", " reason='whim'", ""])
@pytest.mark.parametrize("namespace", stanzas.TEMPPRES)
@pytest.mark.parametrize(
    "to", [ROMEO, f"{ROMEO}/sip", f"{ROMEO}/else", "+12025550123@sip.example.com", "sip.example.com"]
)
def test_a_request_is_answered_from_the_jid_asked_to_the_full_jid(
    scene: Scene, to: str, namespace: str, reason: str
) -> None:
    for name in ("temppres", "decloak"):
        assert scene.says(inner=f"<{name} xmlns='{namespace}'{reason}/>", to=to) == [f"caps {to} -> {JULIET}"]


def test_a_stranger_is_answered_like_anybody(scene: Scene) -> None:
    assert scene.says(inner=TEMPPRES, user="tybalt@verona.lit/x") == [f"caps {ROMEO} -> tybalt@verona.lit/x"]


def test_a_request_inside_a_subscription_is_answered_too(scene: Scene) -> None:
    bare = "juliet@shakespeare.lit"
    assert scene.says("subscribe", TEMPPRES, bare) == [
        f"caps {ROMEO} -> {bare}",
        f"subscribed {ROMEO} -> {bare}",
        f"subscribe {ROMEO} -> {bare}",
        f"caps {ROMEO}/sip -> {bare}",
    ]


@pytest.mark.parametrize(("to", "condition"), [("a%%b", "jid-malformed"), ("who", "item-not-found")])
@pytest.mark.parametrize("kind", ["", "subscribe", "probe"])
def test_an_address_that_cannot_be_mapped_gets_an_error(scene: Scene, kind: str, to: str, condition: str) -> None:
    jid = f"{to}@sip.example.com"
    assert scene.says(kind, TEMPPRES, to=jid) == [f"{condition} {jid} -> {JULIET}"]


@pytest.mark.parametrize("kind", ["error", "unavailable", "unsubscribe", "unsubscribed", "subscribed", "nonsense"])
def test_presence_that_ends_things_never_gets_an_error(scene: Scene, kind: str) -> None:
    assert not [said for said in scene.says(kind, to="a%%b@sip.example.com") if "malformed" in said]


def test_a_share_ends_after_ten_minutes_without_a_call(scene: Scene) -> None:
    scene.says(inner=TEMPPRES)
    assert scene.presences.deadline == 600.0
    assert scene.passes(599.0) == []
    assert scene.passes(1.0) == [f"unavailable {ROMEO} -> {JULIET}"]
    assert scene.presences.deadline is None


def test_asking_again_begins_anew(scene: Scene) -> None:
    scene.says(inner=TEMPPRES)
    scene.passes(500.0)
    assert scene.says(inner=TEMPPRES) == [f"caps {ROMEO} -> {JULIET}"]
    assert scene.passes(599.0) == []
    assert scene.passes(1.0) == [f"unavailable {ROMEO} -> {JULIET}"]


def test_a_share_lasts_as_long_as_the_call_and_ends_with_it(scene: Scene) -> None:
    scene.says(inner=TEMPPRES)
    scene.presences.call_began(JULIET, ROMEO)
    scene.presences.call_began(JULIET, ROMEO)
    assert scene.passes(700.0) == []
    assert scene.presences.call_ended(JULIET, ROMEO) == []
    assert [told(sent) for sent in scene.presences.call_ended(JULIET, ROMEO)] == [f"unavailable {ROMEO} -> {JULIET}"]
    assert scene.passes(9999.0) == []


def test_another_devices_call_ends_nothing(scene: Scene) -> None:
    scene.says(inner=TEMPPRES)
    scene.presences.call_began("juliet@shakespeare.lit/garden", ROMEO)
    assert scene.presences.call_ended("juliet@shakespeare.lit/garden", ROMEO) == []


def test_the_askers_unavailable_presence_ends_it(scene: Scene) -> None:
    scene.says(inner=TEMPPRES)
    assert scene.says("unavailable") == [f"unavailable {ROMEO} -> {JULIET}"]
    assert scene.says("unavailable") == []


def test_a_user_has_at_most_a_hundred_and_the_oldest_ends(scene: Scene) -> None:
    for n in range(presence.SHARES_PER_USER):
        assert len(scene.says(inner=TEMPPRES, to=f"+1202555{n:04}@sip.example.com")) == 1
    assert scene.says(inner=TEMPPRES) == [
        f"caps {ROMEO} -> {JULIET}",
        f"unavailable +12025550000@sip.example.com -> {JULIET}",
    ]
    assert len(scene.says(inner=TEMPPRES, user="nurse@shakespeare.lit/x")) == 1


def test_of_strangers_only_the_latest_are_remembered(scene: Scene) -> None:
    for n in range(presence.REMEMBERED_OF_STRANGERS):
        scene.says(inner=TEMPPRES, user=f"s{n}@verona.lit/x")
    assert scene.says(inner=TEMPPRES, user="late@verona.lit/x") == [
        f"caps {ROMEO} -> late@verona.lit/x",
        f"unavailable {ROMEO} -> s0@verona.lit/x",
    ]


def test_a_subscription_takes_the_share_over(scene: Scene) -> None:
    scene.says(inner=TEMPPRES)
    scene.says("subscribe", user="juliet@shakespeare.lit")
    assert scene.passes(9999.0) == []
    assert scene.says(inner=TEMPPRES) == [f"caps {ROMEO} -> {JULIET}"]
    assert scene.passes(9999.0) == []


def test_our_own_subscription_is_asked_for_once(scene: Scene) -> None:
    bare = "juliet@shakespeare.lit"
    assert f"subscribe {ROMEO} -> {bare}" in scene.says("subscribe", user=bare)
    assert f"subscribe {ROMEO} -> {bare}" not in scene.says("subscribe", user=bare)
    assert scene.says("subscribed", user=bare) == []
    assert scene.says("unsubscribe", user=bare) == [f"unsubscribed {ROMEO} -> {bare}", f"unavailable {ROMEO} -> {bare}"]
    assert f"subscribe {ROMEO} -> {bare}" in scene.says("subscribe", user=bare)


def test_who_refused_our_subscription_is_asked_again_with_his_next(scene: Scene) -> None:
    bare = "juliet@shakespeare.lit"
    scene.says("subscribe", user=bare)
    assert scene.says("unsubscribed", user=bare) == []
    assert f"subscribe {ROMEO} -> {bare}" in scene.says("subscribe", user=bare)


def test_a_probe_is_answered_by_the_constant_resource(scene: Scene) -> None:
    assert scene.says("probe") == [f"caps {ROMEO}/sip -> {JULIET}"]
    assert scene.says("probe", to="sip.example.com") == [f"caps sip.example.com -> {JULIET}"]


def test_directed_presence_is_answered_once_until_unavailable(scene: Scene) -> None:
    assert scene.says() == [f"caps {ROMEO}/sip -> {JULIET}"]
    assert scene.says() == []
    assert scene.says(to="+12025550123@sip.example.com") == [f"caps +12025550123@sip.example.com/sip -> {JULIET}"]
    assert scene.says("unavailable") == []
    assert scene.says() == [f"caps {ROMEO}/sip -> {JULIET}"]


@pytest.mark.parametrize("user", ["tybalt@verona.lit/x", "shakespeare.lit", "conference.shakespeare.lit/x"])
def test_presence_is_not_volunteered_to_strangers_and_servers(scene: Scene, user: str) -> None:
    assert scene.says(user=user) == []


CAPS = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='{}'/>"


def announced(entity: disco.Entity) -> tuple[str, str]:
    """A presence's caps and the features that prove them."""
    inner = "".join(ET.tostring(child, encoding="unicode") for child in entity.info())
    return CAPS.format(entity.ver), inner


MODERN = disco.Entity((disco.Identity("client", "phone"),), disco.CONTACT.features)
CLASSIC = disco.Entity((disco.Identity("client", "pc"),), disco.CONTACT.features - {stanzas.JMI})
ANOTHER_GATEWAY = disco.Entity((disco.Identity("gateway", "sms"),), frozenset())


def question(scene: Scene, caps: str, user: str = JULIET, to: str = ROMEO) -> list[ET.Element]:
    stanza = parse(f"<presence from='{user}' to='{to}'>{caps}</presence>")
    return [sent for sent in scene.presences.receive(stanza, scene.now) if sent.tag == stanzas.IQ]


def test_capabilities_are_looked_up_once_for_each_hash(scene: Scene) -> None:
    caps, features = announced(CLASSIC)
    (asked,) = question(scene, caps)
    assert asked.get("to") == JULIET
    assert asked[0].get("node") == f"n#{CLASSIC.ver}"
    assert question(scene, caps, "nurse@shakespeare.lit/x") == []
    assert scene.presences.devices("nurse@shakespeare.lit") == (Device("nurse@shakespeare.lit/x", None),)
    assert scene.knows(features, CLASSIC.ver, asked)
    able = disco.Abilities(direct=True)
    assert scene.presences.devices("juliet@shakespeare.lit") == (Device(JULIET, able),)
    assert scene.presences.devices("nurse@shakespeare.lit") == (Device("nurse@shakespeare.lit/x", able),)
    assert Device(JULIET, able) in scene.seen
    assert question(scene, caps, "friar@shakespeare.lit/cell") == []
    assert scene.presences.devices("friar@shakespeare.lit") == (Device("friar@shakespeare.lit/cell", able),)


def test_an_answer_that_does_not_prove_its_hash_is_for_that_device_alone(scene: Scene) -> None:
    caps = CAPS.format("forged")
    (asked,) = question(scene, caps)
    question(scene, caps, "nurse@shakespeare.lit/x")
    assert scene.knows(announced(MODERN)[1], "forged", asked)
    assert scene.presences.devices(JULIET) == (Device(JULIET, disco.Abilities(jmi=True, direct=True)),)
    assert scene.presences.devices("nurse@shakespeare.lit") == (Device("nurse@shakespeare.lit/x", None),)


def test_an_answer_of_somebody_else_is_none(scene: Scene) -> None:
    caps, features = announced(MODERN)
    (asked,) = question(scene, caps)
    assert not scene.knows(features, MODERN.ver, asked, "tybalt@verona.lit/x")
    error = parse(f"<iq type='error' from='{JULIET}' id='{asked.get('id')}'/>")
    assert scene.presences.answered(error)
    assert scene.presences.devices(JULIET) == (Device(JULIET, None),)
    assert len(question(scene, caps)) == 1


def test_a_device_without_capabilities_is_there_all_the_same(scene: Scene) -> None:
    scene.says()
    assert scene.presences.devices("juliet@shakespeare.lit") == (Device(JULIET, None),)
    scene.says("unavailable")
    assert scene.presences.devices("juliet@shakespeare.lit") == ()


def test_a_device_that_changes_its_capabilities_is_asked_again(scene: Scene) -> None:
    caps, features = announced(MODERN)
    (asked,) = question(scene, caps)
    scene.knows(features, MODERN.ver, asked)
    assert question(scene, caps) == []
    assert len(question(scene, CAPS.format("other"))) == 1


def test_another_gateway_is_not_shown_anything_unasked(scene: Scene) -> None:
    caps, features = announced(ANOTHER_GATEWAY)
    (asked,) = question(scene, caps)
    scene.knows(features, ANOTHER_GATEWAY.ver, asked)
    assert scene.says(inner=caps, to="+12025550123@sip.example.com") == []


def test_devices_and_lookups_are_bounded(scene: Scene) -> None:
    for n in range(presence.LOOKUPS + 50):
        asked = question(scene, CAPS.format(f"v{n}"), f"juliet@shakespeare.lit/{n}")
        assert bool(asked) == (n < presence.LOOKUPS)
    assert len(scene.presences.devices("juliet@shakespeare.lit")) == presence.DEVICES_PER_USER
    scene.now += presence.LOOKUP_LASTS
    assert question(scene, CAPS.format("late"), "juliet@shakespeare.lit/late")


def test_users_with_devices_are_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "USERS_WITH_DEVICES", 3)
    for n in range(5):
        scene.says(user=f"u{n}@shakespeare.lit/x")
    assert [len(scene.presences.devices(f"u{n}@shakespeare.lit")) for n in range(5)] == [0, 0, 1, 1, 1]


def test_nobody_is_known_to_be_there_after_the_link_was_lost(scene: Scene) -> None:
    scene.says()
    scene.presences.link_lost()
    assert scene.presences.devices(JULIET) == ()


# --- calls of ours


def test_a_call_to_a_user_asks_for_his_presence_and_takes_ours_back(scene: Scene) -> None:
    shown, probe = scene.presences.request("juliet@shakespeare.lit", ROMEO, 0.0)
    assert [child.tag.partition("}")[2] for child in shown] == ["c", "temppres"]
    assert (shown.get("from"), shown.get("to")) == (f"{ROMEO}/sip", "juliet@shakespeare.lit")
    assert told(probe) == f"probe {ROMEO} -> juliet@shakespeare.lit"
    scene.presences.call_began("juliet@shakespeare.lit", ROMEO)
    assert scene.says(to=f"{ROMEO}/sip") == []  # his answer needs none
    assert scene.presences.devices(JULIET) == (Device(JULIET, None),)
    ended = scene.presences.call_ended("juliet@shakespeare.lit", ROMEO)
    assert [told(sent) for sent in ended] == [f"unavailable {ROMEO}/sip -> juliet@shakespeare.lit"]


def test_a_user_who_has_the_contact_in_his_roster_keeps_seeing_it(scene: Scene) -> None:
    scene.presences.request("juliet@shakespeare.lit", ROMEO, 0.0)
    scene.presences.call_began("juliet@shakespeare.lit", ROMEO)
    assert scene.says() == [f"caps {ROMEO}/sip -> {JULIET}"]  # what the probe brought, sent to the bare JID
    assert scene.presences.call_ended("juliet@shakespeare.lit", ROMEO) == []


def test_a_subscriber_is_not_taken_anything_away_by_a_call(scene: Scene) -> None:
    scene.says("subscribe", user="juliet@shakespeare.lit")
    assert len(scene.presences.request("juliet@shakespeare.lit", ROMEO, 0.0)) == 2
    scene.presences.call_began("juliet@shakespeare.lit", ROMEO)
    assert scene.presences.call_ended("juliet@shakespeare.lit", ROMEO) == []


def test_the_caller_is_shown_the_constant_resource(scene: Scene) -> None:
    assert [told(sent) for sent in scene.presences.introduce(JULIET, ROMEO)] == [f"caps {ROMEO}/sip -> {JULIET}"]
