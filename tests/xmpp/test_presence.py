"""Temporary presence, subscriptions, probes, what is volunteered; and the bounds of what is remembered."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from gateway.xmpp import disco, presence, stanzas
from gateway.xmpp.caps import Entity, Identity
from gateway.xmpp.presence import Device, Presences
from gateway.xmpp.shares import SHARES_PER_USER

JULIET = "juliet@shakespeare.lit/balcony"
ROMEO = "romeo%shakespeare.lit@sip.example.com"
TEMPPRES = "<temppres xmlns='urn:xmpp:temppres:0' reason='media'/>"


# What presence says of a contact or of the domain, in a word.
KINDS = {"caps": disco.SETS.contact, "mute": disco.SETS.mute, "pstn": disco.SETS.gateway, "plain": disco.SETS.plain}


def parse(text: str) -> ET.Element:
    return ET.fromstring(f"<stream xmlns='jabber:component:accept'>{text}</stream>")[0]


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.refused: set[str] = set()  # local parts that nobody may call
        self.no_voice: set[str] = set()  # users without any voice route
        self.ignored: list[str] = []
        self.kept: list[tuple[str, str, str]] = []
        self.sent: list[ET.Element] = []
        self.presences = self.begin()
        self.seen: list[Device] = []
        self.presences.on_device = self.seen.append

    def begin(self) -> Presences:
        return Presences(
            "sip.example.com",
            ("shakespeare.lit",),
            lambda local: local not in ("a%%b", "who"),
            may_call=lambda user, local: local not in self.refused,
            may_dial=lambda user: user not in self.no_voice,
            on_ignored=self.ignored.append,
            on_subscription=lambda *change: self.kept.append(change),
        )

    def says(self, kind: str = "", inner: str = "", user: str = JULIET, to: str = ROMEO) -> list[str]:
        type_ = f" type='{kind}'" if kind else ""
        stanza = parse(f"<presence from='{user}' to='{to}'{type_} id='p'>{inner}</presence>")
        self.sent = self.presences.receive(stanza, self.now)
        return [told(sent) for sent in self.sent]

    def passes(self, seconds: float) -> list[str]:
        self.now += seconds
        return [told(sent) for sent in self.presences.tick(self.now)]

    def knows(self, features: str, question: ET.Element) -> bool:
        head = f"from='{JULIET}' to='x' id='{question.get('id')}'"
        query = f"<query xmlns='http://jabber.org/protocol/disco#info'>{features}</query>"
        return self.presences.answered(parse(f"<iq type='result' {head}>{query}</iq>"))


def told(stanza: ET.Element) -> str:
    """A sent stanza in a few words: `caps ROMEO -> JULIET`."""
    what = stanza.get("type", "presence")
    if stanza.get("type") is None:
        ver = stanza[0].get("ver")
        assert stanza[0].tag == f"{{{stanzas.CAPS}}}c"
        what = next(name for name, entity in KINDS.items() if entity.ver == ver)
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
    kind = "caps" if "@" in to else "pstn"
    for name in ("temppres", "decloak"):
        assert scene.says(inner=f"<{name} xmlns='{namespace}'{reason}/>", to=to) == [f"{kind} {to} -> {JULIET}"]
        assert [child.tag for child in scene.sent[-1]] == [f"{{{stanzas.CAPS}}}c", "{urn:xmpp:caps}c"], "and no more"


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
    for n in range(SHARES_PER_USER):
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
    assert scene.says("probe", to="sip.example.com") == [f"pstn sip.example.com -> {JULIET}"]


def test_directed_presence_is_answered_once_until_unavailable(scene: Scene) -> None:
    assert scene.says() == [f"caps {ROMEO}/sip -> {JULIET}"]
    assert scene.says() == []
    assert scene.says(to="+12025550123@sip.example.com") == [f"caps +12025550123@sip.example.com/sip -> {JULIET}"]
    assert scene.says("unavailable") == []
    assert scene.says() == [f"caps {ROMEO}/sip -> {JULIET}"]


@pytest.mark.parametrize("user", ["tybalt@verona.lit/x", "shakespeare.lit", "conference.shakespeare.lit/x"])
def test_presence_is_not_volunteered_to_strangers_and_servers(scene: Scene, user: str) -> None:
    assert scene.says(user=user) == []


def test_another_gateway_is_not_shown_anything_unasked(scene: Scene) -> None:
    another = Entity((Identity("gateway", "sms"),), frozenset())
    (announced, _), inner = another.caps(), "".join(ET.tostring(c, encoding="unicode") for c in another.info())
    scene.says(inner=ET.tostring(announced, encoding="unicode"))
    (asked,) = (sent for sent in scene.sent if sent.tag == stanzas.IQ)
    assert scene.knows(inner, asked)
    assert scene.says(to="+12025550123@sip.example.com") == []


def test_nobody_is_known_to_be_there_after_the_link_was_lost(scene: Scene) -> None:
    scene.says()
    scene.presences.link_lost()
    assert scene.presences.devices(JULIET) == ()
    assert scene.says() == [f"caps {ROMEO}/sip -> {JULIET}"]


# --- calls of ours


def test_a_call_to_a_user_asks_for_his_presence_and_takes_ours_back(scene: Scene) -> None:
    shown, probe = scene.presences.request("juliet@shakespeare.lit", ROMEO, 0.0)
    assert [child.tag.partition("}")[2] for child in shown] == ["c", "c", "temppres"]
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
