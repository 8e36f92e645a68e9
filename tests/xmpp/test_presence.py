"""Temporary presence, subscriptions, probes, what is volunteered; and the bounds of what is remembered."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from gateway import contacts
from gateway.xmpp import disco, presence, profile, stanzas
from gateway.xmpp.caps import Entity, Identity
from gateway.xmpp.presence import Device, Presences
from gateway.xmpp.shares import SHARES_PER_USER
from gateway.xmpp.subscriptions import MOST_PER_USER

JULIET = "juliet@shakespeare.lit/balcony"
BARE = "juliet@shakespeare.lit"
ROMEO = "romeo%shakespeare.lit@sip.example.com"
NUMBER = "+12025550123@sip.example.com"
DOMAIN = "sip.example.com"
TEMPPRES = "<temppres xmlns='urn:xmpp:temppres:0' reason='media'/>"


# What presence says of a contact or of the domain, in a word.
KINDS = {
    "caps": disco.SETS.contact,
    "camera": disco.SETS.camera,
    "mute": disco.SETS.mute,
    "pstn": disco.SETS.gateway,
    "plain": disco.SETS.plain,
}


def parse(text: str) -> ET.Element:
    return ET.fromstring(f"<stream xmlns='jabber:component:accept'>{text}</stream>")[0]


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.refused: set[str] = set()  # local parts that nobody may call
        self.no_voice: set[str] = set()  # users without any voice route
        self.ignored: list[str] = []
        self.kept: list[tuple[str, str, str]] = []
        self.cameras: set[str] = set()
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
            has_video=lambda user, local: local in self.cameras,
            on_ignored=self.ignored.append,
            on_subscription=lambda *change: self.kept.append(change),
        )

    def says(self, kind: str = "", inner: str = "", user: str = JULIET, to: str = ROMEO) -> list[str]:
        type_ = f" type='{kind}'" if kind else ""
        stanza = parse(f"<presence from='{user}' to='{to}'{type_} id='p'>{inner}</presence>")
        self.sent = self.presences.receive(stanza, self.now)
        return [told(sent) for sent in self.sent]

    def meets(self, user: str = JULIET, to: str = ROMEO) -> list[str]:
        return [told(sent) for sent in self.presences.met(user, to)]

    def restarts(self) -> None:
        """The gateway stops and starts; what was kept of its subscriptions comes back."""
        rows = {(user, contact): ties for user, contact, ties in self.kept}
        self.presences = self.begin()
        self.presences.restore((*pair, ties) for pair, ties in rows.items())

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


def test_clients_light_the_camera_of_a_contact_whose_calls_may_have_video(scene: Scene) -> None:
    scene.cameras.add("romeo%shakespeare.lit")
    assert scene.says(inner=TEMPPRES) == [f"camera {ROMEO} -> {JULIET}"]
    assert scene.presences.known_as(JULIET, ROMEO) is disco.SETS.camera
    scene.refused.add("romeo%shakespeare.lit")
    assert scene.presences.known_as("nurse@shakespeare.lit/x", ROMEO) is disco.SETS.mute


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
    assert scene.says("unsubscribe", user=bare) == [
        f"unsubscribed {ROMEO} -> {bare}",
        f"unavailable {ROMEO}/sip -> {bare}",
    ]
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
    caps = ET.tostring(announced, encoding="unicode")
    scene.says(inner=caps)
    (asked,) = (sent for sent in scene.sent if sent.tag == stanzas.IQ)
    assert scene.knows(inner, asked)
    assert scene.says(inner=caps, to=NUMBER) == []
    assert scene.meets(to=NUMBER) == []


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


def test_a_device_that_was_shown_the_contact_is_not_shown_it_again(scene: Scene) -> None:
    assert scene.says() == [f"caps {ROMEO}/sip -> {JULIET}"]
    assert scene.presences.introduce(JULIET, ROMEO) == []
    scene.says("unavailable")
    assert len(scene.presences.introduce(JULIET, ROMEO)) == 1


# --- first contact


def test_the_first_word_of_a_device_is_answered_once_until_unavailable(scene: Scene) -> None:
    assert scene.meets() == [f"caps {ROMEO}/sip -> {JULIET}"]
    assert scene.meets() == []
    assert scene.says() == []
    assert scene.meets("juliet@shakespeare.lit/garden") == [f"caps {ROMEO}/sip -> juliet@shakespeare.lit/garden"]
    scene.says("unavailable")
    assert scene.meets() == [f"caps {ROMEO}/sip -> {JULIET}"]


@pytest.mark.parametrize(
    ("user", "to"), [(BARE, ROMEO), (JULIET, DOMAIN), ("tybalt@verona.lit/x", ROMEO), ("shakespeare.lit", ROMEO)]
)
def test_only_devices_of_our_users_meet_contacts(scene: Scene, user: str, to: str) -> None:
    assert scene.meets(user, to) == []


def test_who_asked_for_presence_is_not_shown_it_twice(scene: Scene) -> None:
    scene.says(inner=TEMPPRES)
    assert scene.meets() == []
    scene.presences.request("nurse@shakespeare.lit", ROMEO, 0.0)
    assert scene.meets("nurse@shakespeare.lit/x") == []


# --- what the dialplan allows


def test_no_button_lights_for_a_call_that_would_be_refused(scene: Scene) -> None:
    scene.refused.add("+12025550123")
    assert scene.says(to=NUMBER) == [f"mute {NUMBER}/sip -> {JULIET}"]
    assert scene.says("probe", to=NUMBER) == [f"mute {NUMBER}/sip -> {JULIET}"]
    assert f"mute {NUMBER}/sip -> {BARE}" in scene.says("subscribe", to=NUMBER, user=BARE)
    assert scene.meets("nurse@shakespeare.lit/x", NUMBER) == [f"mute {NUMBER}/sip -> nurse@shakespeare.lit/x"]
    assert scene.says() == [f"caps {ROMEO}/sip -> {JULIET}"]


def test_who_asks_for_presence_is_shown_call_caps_whatever_the_dialplan_says(scene: Scene) -> None:
    scene.refused.add("+12025550123")
    assert scene.says(inner=TEMPPRES, to=NUMBER) == [f"caps {NUMBER} -> {JULIET}"]


def test_a_user_without_a_voice_route_sees_no_telephone_gateway(scene: Scene) -> None:
    scene.no_voice.add(BARE)
    assert scene.says(to=DOMAIN) == [f"plain {DOMAIN} -> {JULIET}"]
    assert scene.says(inner=TEMPPRES, to=DOMAIN) == [f"plain {DOMAIN} -> {JULIET}"]
    assert scene.says(to=DOMAIN, user="nurse@shakespeare.lit/x") == [f"pstn {DOMAIN} -> nurse@shakespeare.lit/x"]


def test_the_dialplan_is_asked_each_time(scene: Scene) -> None:
    scene.refused.add("+12025550123")
    assert scene.says("probe", to=NUMBER) == [f"mute {NUMBER}/sip -> {JULIET}"]
    scene.refused.clear()
    assert scene.says("probe", to=NUMBER) == [f"caps {NUMBER}/sip -> {JULIET}"]


def test_disco_without_a_node_says_what_was_shown(scene: Scene) -> None:
    sets = scene.presences.sets
    scene.refused.add("+12025550123")
    assert scene.presences.known_as(JULIET, NUMBER) is sets.mute
    assert scene.presences.known_as(JULIET, ROMEO) is sets.contact
    scene.says(inner=TEMPPRES, to=NUMBER)
    assert scene.presences.known_as(JULIET, NUMBER) is sets.contact
    assert scene.presences.known_as("juliet@shakespeare.lit/garden", NUMBER) is sets.mute
    scene.says("unavailable", to=NUMBER)
    assert scene.presences.known_as(JULIET, NUMBER) is sets.mute
    scene.presences.call_began(BARE, NUMBER)
    assert scene.presences.known_as(JULIET, NUMBER) is sets.contact, "that number is calling him"


def test_a_number_that_called_is_mute_again_afterwards(scene: Scene) -> None:
    scene.refused.add("+12025550123")
    scene.says("subscribe", to=NUMBER, user=BARE)
    scene.presences.request(BARE, NUMBER, 0.0)
    scene.presences.call_began(BARE, NUMBER)
    assert [told(sent) for sent in scene.presences.call_ended(BARE, NUMBER)] == [f"mute {NUMBER}/sip -> {BARE}"]


def test_volunteered_presence_announces_the_picture_and_no_nickname(scene: Scene) -> None:
    scene.says(to=NUMBER)
    (sent,) = scene.sent
    photo = sent.findtext("{vcard-temp:x:update}x/{vcard-temp:x:update}photo")
    assert photo == profile.profile("+12025550123").picture.sha1
    assert len(sent) == 3


# --- subscriptions


def test_our_subscribe_says_the_number_as_people_write_it(scene: Scene) -> None:
    scene.says("subscribe", user=BARE, to=NUMBER)
    (asking,) = (sent for sent in scene.sent if sent.get("type") == "subscribe")
    assert asking.findtext("{http://jabber.org/protocol/nick}nick") == "+1 202-555-0123"


def test_both_are_subscribed_when_both_have_said_so(scene: Scene) -> None:
    assert not scene.presences.subscribed(BARE, ROMEO)
    scene.says("subscribe", user=BARE)
    assert not scene.presences.subscribed(BARE, ROMEO)
    scene.says("subscribed", user=BARE)
    assert scene.presences.subscribed(BARE, ROMEO)
    assert scene.presences.subscribed(JULIET, f"{ROMEO}/sip")
    scene.says("unsubscribed", user=BARE)
    assert not scene.presences.subscribed(BARE, ROMEO)


def test_what_nobody_asked_cannot_be_approved(scene: Scene) -> None:
    assert scene.says("subscribed", user=BARE) == []
    assert scene.kept == []


def test_who_unsubscribed_may_be_shown_the_contact_again(scene: Scene) -> None:
    scene.says("subscribe", user=BARE)
    assert scene.says() == [f"caps {ROMEO}/sip -> {JULIET}"]
    scene.says("unsubscribe", user=BARE)
    assert scene.says() == [f"caps {ROMEO}/sip -> {JULIET}"]


def test_who_unsubscribes_while_our_probe_is_answered_sees_the_contact_go_for_good(scene: Scene) -> None:
    left = [f"unsubscribed {ROMEO} -> {BARE}", f"unavailable {ROMEO}/sip -> {BARE}"]
    for answer_first in (True, False):
        scene.presences.restore([(BARE, ROMEO, "sees seen asked")])
        scene.presences.link_up(scene.now)
        assert scene.passes(0.0) == [f"caps {ROMEO}/sip -> {BARE}", f"probe {ROMEO} -> {BARE}"]
        if answer_first:
            assert scene.says() == [f"caps {ROMEO}/sip -> {JULIET}"]
            assert scene.says("unsubscribe", user=BARE) == left
        else:
            assert scene.says("unsubscribe", user=BARE) == left
            assert scene.says() == [], "the contact would come back, and stay"
        assert scene.presences.devices(JULIET) == (Device(JULIET, None),), "calls to him still find his device"
        scene.presences.link_lost()


def test_who_unsubscribed_and_lets_us_see_him_is_shown_the_contact_when_he_asks(scene: Scene) -> None:
    """His server goes on sending his presence: that he is away now, or has come back, asks for nothing."""
    scene.says("subscribe", user=BARE)
    scene.says("subscribed", user=BARE)
    assert scene.says() == [f"caps {ROMEO}/sip -> {JULIET}"]
    scene.says("unsubscribe", user=BARE)
    assert scene.says(inner="<show>away</show>") == []
    scene.says("unavailable")
    assert scene.says() == []
    assert scene.meets() == [f"caps {ROMEO}/sip -> {JULIET}"]
    assert scene.says(inner=TEMPPRES) == [f"caps {ROMEO} -> {JULIET}"]
    assert f"caps {ROMEO}/sip -> {BARE}" in scene.says("subscribe", user=BARE)


def test_a_call_shows_the_contact_for_its_time_to_somebody_who_unsubscribed(scene: Scene) -> None:
    for said in ("subscribe", "subscribed", "unsubscribe"):
        scene.says(said, user=BARE)
    scene.presences.request(BARE, ROMEO, 0.0)
    scene.presences.call_began(BARE, ROMEO)
    assert scene.says() == []  # what the probe brought
    assert [told(sent) for sent in scene.presences.call_ended(BARE, ROMEO)] == [f"unavailable {ROMEO}/sip -> {BARE}"]


def test_a_restart_loses_no_subscription(scene: Scene) -> None:
    scene.says("subscribe", user=BARE)
    scene.says("subscribed", user=BARE)
    scene.says("subscribe", user="nurse@shakespeare.lit")
    scene.says("unsubscribe", user="nurse@shakespeare.lit")
    scene.says("subscribe", user="tybalt@verona.lit")
    assert scene.kept[-1] == ("nurse@shakespeare.lit", ROMEO, "")
    scene.restarts()
    assert scene.presences.subscribed(BARE, ROMEO)
    scene.presences.link_up(scene.now)
    assert scene.passes(0.0) == [f"caps {ROMEO}/sip -> {BARE}", f"probe {ROMEO} -> {BARE}"]
    assert scene.presences.deadline is None
    assert f"subscribe {ROMEO} -> {BARE}" not in scene.says("subscribe", user=BARE), "it was asked before"


def test_what_a_user_approves_while_we_are_away_is_asked_again_when_we_come(scene: Scene) -> None:
    """His server answers for him, when he has (RFC 6121 §3.1.3); he himself is asked no second time."""
    asked = f"subscribe {ROMEO} -> {BARE}"
    assert asked in scene.says("subscribe", user=BARE)
    scene.presences.refresh(scene.now)
    assert asked not in scene.passes(0.0), "a changed dialplan asks nobody"
    scene.restarts()
    scene.presences.link_up(scene.now)
    assert scene.passes(0.0) == [f"caps {ROMEO}/sip -> {BARE}", asked]
    assert scene.says("subscribed", user=BARE) == []
    assert scene.presences.subscribed(BARE, ROMEO)
    scene.presences.link_lost()
    scene.presences.link_up(scene.now)
    assert asked not in scene.passes(0.0), "he let us"
    scene.says("unsubscribe", user=BARE)
    assert scene.says() == [], "his server's broadcast is no word of his own"


def test_who_said_no_is_not_asked_again(scene: Scene) -> None:
    scene.says("subscribe", user=BARE)
    scene.says("unsubscribed", user=BARE)
    scene.presences.link_up(scene.now)
    assert scene.passes(0.0) == [f"caps {ROMEO}/sip -> {BARE}"]


def test_rows_of_others_domains_are_left_alone(scene: Scene) -> None:
    scene.presences.restore([(BARE, "romeo@old.example.com", "sees"), ("tybalt@verona.lit", ROMEO, "sees")])
    scene.presences.link_up(scene.now)
    assert scene.presences.deadline is None


def test_many_subscribers_are_told_little_by_little(scene: Scene) -> None:
    many = presence.ANNOUNCED_AT_ONCE * 2 + 10
    scene.presences.restore([(f"u{n}@shakespeare.lit", ROMEO, "sees seen asked") for n in range(many)])
    scene.presences.link_up(scene.now)
    told_at: list[int] = []
    while (due := scene.presences.deadline) is not None:
        scene.now = due
        told_at.append(len(scene.presences.tick(due)))
    assert told_at == [100, 100, 20], "presence and probe for each"


def test_each_user_is_asked_once_which_devices_are_there(scene: Scene) -> None:
    """By a contact who may know (RFC 6121 §4.3.2), whoever else is in his roster."""
    nurse, tybalt = "nurse@shakespeare.lit", "tybalt@shakespeare.lit"
    rows = [(BARE, ROMEO, "sees asked"), (BARE, NUMBER, "sees seen asked"), (BARE, DOMAIN, "seen registered")]
    scene.presences.restore([*rows, (nurse, NUMBER, "seen asked"), (tybalt, NUMBER, "sees asked")])
    scene.presences.link_up(scene.now)
    scene.presences.refresh(scene.now)
    asked = [f"probe {NUMBER} -> {BARE}", f"probe {NUMBER} -> {nurse}"]
    assert [sent for sent in scene.passes(0.0) if sent.startswith("probe")] == asked
    scene.presences.link_up(scene.now)
    assert not [sent for sent in scene.passes(0.0) if sent.startswith("probe")], "the link was not lost"
    scene.presences.link_lost()
    scene.presences.link_up(scene.now)
    assert [sent for sent in scene.passes(0.0) if sent.startswith("probe")] == asked


def test_a_changed_dialplan_asks_nobody_for_presence(scene: Scene) -> None:
    scene.says("subscribe", user=BARE)
    scene.says("subscribed", user=BARE)
    scene.presences.refresh(scene.now)
    assert scene.passes(0.0) == []


def test_a_changed_dialplan_is_shown_to_whom_it_concerns(scene: Scene) -> None:
    nurse = "nurse@shakespeare.lit"
    scene.refused.add("+12025550123")
    for user, to in ((BARE, ROMEO), (BARE, NUMBER), (nurse, NUMBER), (nurse, DOMAIN)):
        scene.says("subscribe", user=user, to=to)
    scene.presences.refresh(scene.now)
    assert scene.passes(0.0) == [], "nothing changed"
    scene.refused.clear()
    scene.no_voice.add(nurse)
    scene.says("unsubscribe", user=nurse, to=NUMBER)
    scene.presences.refresh(scene.now)
    assert scene.passes(0.0) == [f"caps {NUMBER}/sip -> {BARE}", f"plain {DOMAIN} -> {nurse}"]
    scene.no_voice.clear()
    scene.presences.refresh(scene.now)
    assert scene.passes(0.0) == [f"pstn {DOMAIN} -> {nurse}"]


def test_a_dialplan_that_changes_while_everybody_is_told_leaves_nobody_out(scene: Scene) -> None:
    scene.presences.restore([(BARE, ROMEO, "sees")])
    scene.presences.link_up(scene.now)
    scene.presences.refresh(scene.now)
    assert scene.passes(0.0) == [f"caps {ROMEO}/sip -> {BARE}"]


def test_nobody_is_told_while_the_link_is_down(scene: Scene) -> None:
    scene.presences.restore([(BARE, ROMEO, "sees")])
    scene.presences.link_up(scene.now)
    scene.presences.link_lost()
    assert scene.presences.deadline is None
    assert scene.passes(1.0) == []


def test_who_left_meanwhile_is_not_told(scene: Scene) -> None:
    scene.presences.restore([(BARE, ROMEO, "sees")])
    scene.presences.link_up(scene.now)
    scene.says("unsubscribe", user=BARE)
    assert scene.passes(1.0) == []


def test_everybody_is_told_once_that_we_go(scene: Scene) -> None:
    scene.says("subscribe", user=BARE)
    scene.says()
    scene.says(user="nurse@shakespeare.lit/x")
    scene.says(inner=TEMPPRES, user="tybalt@verona.lit/x")
    assert [told(sent) for sent in scene.presences.farewell()] == [
        f"unavailable {ROMEO}/sip -> {BARE}",
        f"unavailable {ROMEO}/sip -> nurse@shakespeare.lit/x",
        f"unavailable {ROMEO} -> tybalt@verona.lit/x",
    ]


def test_nobody_is_shown_a_contact_after_he_was_told_that_we_go(scene: Scene) -> None:
    """His client may greet the contact in the same moment: it would stay online without us."""
    nurse = "nurse@shakespeare.lit"
    scene.says("subscribe", user=BARE)
    scene.presences.link_up(scene.now)
    scene.presences.farewell()
    assert scene.passes(0.0) == []
    assert [scene.says(), scene.says("probe"), scene.says(inner=TEMPPRES), scene.meets()] == [[], [], [], []]
    assert scene.says("subscribe", user=nurse) == [f"subscribed {ROMEO} -> {nurse}", f"subscribe {ROMEO} -> {nurse}"]
    assert scene.kept[-1] == (nurse, ROMEO, "sees asked"), "he is told when we are back"


def test_a_probe_restores_what_we_have_lost(scene: Scene) -> None:
    scene.says("probe")
    assert scene.kept == [(BARE, ROMEO, "sees")]


def test_a_user_without_room_for_more_is_told_so(scene: Scene) -> None:
    for n in range(MOST_PER_USER):
        scene.says("subscribe", user=BARE, to=f"+1202555{n:04}@sip.example.com")
    assert scene.says("subscribe", user=BARE) == [f"unsubscribed {ROMEO} -> {BARE}"]
    assert scene.presences.register(BARE, DOMAIN) is None
    assert scene.ignored == ["too many subscriptions"]


@pytest.mark.parametrize(
    ("kind", "counted"), [("error", ["presence error"]), ("nonsense", ["presence type"]), ("subscribed", [])]
)
def test_what_is_ignored_is_counted(scene: Scene, kind: str, counted: list[str]) -> None:
    assert scene.says(kind) == []
    assert scene.ignored == counted


def test_digits_of_other_scripts_are_no_number(scene: Scene) -> None:
    mappable = Presences(DOMAIN, ("shakespeare.lit",), contacts.mappable)
    stanza = parse(f"<presence from='{JULIET}' to='+\u0661\u0662\u0663@{DOMAIN}'>{TEMPPRES}</presence>")
    (answer,) = mappable.receive(stanza, 0.0)
    condition = stanzas.condition(answer)
    assert condition.name == "jid-malformed"
    assert "its digits are not 0 to 9" in condition.text


# --- registration


def test_a_registered_user_sees_the_domain_and_is_told_when_it_comes(scene: Scene) -> None:
    followed = scene.presences.register(JULIET, DOMAIN)
    assert followed is not None
    assert [told(sent) for sent in followed] == [f"subscribe {DOMAIN} -> {BARE}", f"pstn {DOMAIN} -> {JULIET}"]
    assert scene.presences.registered(BARE)
    scene.restarts()
    assert scene.presences.registered(BARE)
    scene.presences.link_up(scene.now)
    assert scene.passes(0.0) == [f"pstn {DOMAIN} -> {BARE}", f"subscribe {DOMAIN} -> {BARE}"]
    assert [told(sent) for sent in scene.presences.unregister(JULIET, DOMAIN)] == [
        f"{kind} {DOMAIN} -> {BARE}" for kind in ("unsubscribe", "unsubscribed", "unavailable")
    ]
    assert not scene.presences.registered(BARE)
    assert scene.kept[-1] == (BARE, DOMAIN, "")


def test_presence_that_crosses_the_end_of_a_registration_shows_nothing_anew(scene: Scene) -> None:
    scene.presences.register(JULIET, DOMAIN)
    scene.says("subscribed", user=BARE, to=DOMAIN)
    assert scene.says(to=DOMAIN) == []
    scene.presences.unregister(JULIET, DOMAIN)
    assert scene.says(inner="<show>away</show>", to=DOMAIN) == []
    scene.says("unavailable", to=DOMAIN)
    assert scene.says(to=DOMAIN) == [f"pstn {DOMAIN} -> {JULIET}"]
