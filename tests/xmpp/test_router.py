"""Which stanza goes where, what is refused, what is bounded, and what a lost link does."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from gateway.call.causes import Cause
from gateway.xmpp import router, stanzas
from gateway.xmpp.subscriptions import MOST_PER_USER

JULIET = "juliet@shakespeare.lit/balcony"
USER = "juliet@shakespeare.lit"
ROMEO = "romeo%shakespeare.lit@sip.example.com"
VOICE = f"{ROMEO}/sip"
PING = "<ping xmlns='urn:xmpp:ping'/>"
World = Any  # tests/xmpp/conftest.py


def labels(sent: list[ET.Element]) -> list[str]:
    return [stanzas.describe(stanza)[0] for stanza in sent]


def iq(inner: str, *, kind: str = "get", user: str = JULIET, to: str = ROMEO, id_: str = " id='1'") -> str:
    return f"<iq type='{kind}'{id_} from='{user}' to='{to}'>{inner}</iq>"


# --- who is heard


@pytest.mark.parametrize(
    ("user", "to"),
    [
        (JULIET, "romeo@elsewhere.lit"),
        (JULIET, ""),
        ("", ROMEO),
        ("echo@sip.example.com", ROMEO),
        (JULIET, "sip.example.com.x"),
    ],
)
def test_what_is_not_for_us_or_from_us_is_dropped(world: World, user: str, to: str) -> None:
    assert world.says(iq(PING, user=user, to=to)) == []
    assert world.presence(user, to, "<temppres xmlns='urn:xmpp:temppres:0'/>") == []


@pytest.mark.parametrize("to", [ROMEO, VOICE, "sip.example.com"])
def test_a_ping_is_answered_by_who_was_asked(world: World, to: str) -> None:
    answer = world.says(iq(PING, to=to))[0]
    assert (answer.get("type"), answer.get("from"), answer.get("to")) == ("result", to, JULIET)


@pytest.mark.parametrize(
    "text",
    [
        iq("", kind="get"),
        iq(PING + PING),
        iq(PING, id_=""),
    ],
)
def test_an_iq_request_that_is_none_is_a_bad_request(world: World, text: str) -> None:
    (answer,) = world.says(text)
    assert stanzas.condition(answer).name == "bad-request"


@pytest.mark.parametrize(
    ("counted", "text"),
    [
        ("not for us", iq(PING, to="romeo@elsewhere.lit")),
        ("reply to nothing", iq("<error/>", kind="error")),
        ("reply to nothing", iq("", kind="result")),
        ("request type", iq(PING, kind="odd")),
        ("message error", f"<message type='error' from='{JULIET}' to='{ROMEO}'><body>x</body></message>"),
        ("message without text", f"<message type='groupchat' from='{JULIET}' to='{ROMEO}'><body>x</body></message>"),
        ("message without text", f"<message from='{JULIET}' to='{ROMEO}'><composing xmlns='urn:x'/></message>"),
        (
            "receipt of nothing",
            f"<message from='{JULIET}' to='{ROMEO}'><received xmlns='urn:xmpp:receipts' id='x'/></message>",
        ),
        ("presence error", f"<presence type='error' from='{JULIET}' to='a%%b@sip.example.com'/>"),
        ("presence type", f"<presence type='odd' from='{JULIET}' to='{ROMEO}'/>"),
        ("unknown stanza", f"<nonsense from='{JULIET}' to='{ROMEO}'/>"),
    ],
)
def test_errors_and_what_asks_for_nothing_are_not_answered_but_counted(world: World, counted: str, text: str) -> None:
    assert world.says(text) == []
    assert world.ignored == [counted]


def test_text_is_refused_while_it_cannot_be_carried(world: World) -> None:
    answer = world.says(f"<message type='chat' id='m' from='{JULIET}' to='{ROMEO}'><body>Hi</body></message>")[0]
    assert (answer.get("type"), answer.get("id")) == ("error", "m")
    assert stanzas.condition(answer).name == "service-unavailable"


@pytest.mark.parametrize(
    "text",
    [
        iq(PING),
        iq("<vCard xmlns='vcard-temp'/>", to=VOICE),
        f"<message type='chat' id='m' from='{JULIET}' to='{ROMEO}'><body>Hi</body></message>",
        f"<message type='chat' id='jm' from='{JULIET}' to='{ROMEO}'>"
        "<propose xmlns='urn:xmpp:jingle-message:0' id='s1'>"
        "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose></message>",
    ],
)
def test_the_first_word_to_a_contact_shows_it(world: World, text: str) -> None:
    (shown,) = (sent for sent in world.says(text) if sent.tag == stanzas.PRESENCE)
    assert (shown.get("from"), shown.get("to"), shown.get("type")) == (VOICE, JULIET, None)
    assert stanzas.caps_of(shown) is not None
    assert not [sent for sent in world.says(text) if sent.tag == stanzas.PRESENCE], "once"


def test_the_first_word_to_what_cannot_be_mapped_shows_nothing(world: World) -> None:
    (answer,) = world.says(iq(PING, to="a%%b@sip.example.com"))
    assert stanzas.condition(answer).name == "jid-malformed"


def test_jingle_to_the_domain_is_unavailable(world: World) -> None:
    (answer,) = world.initiate(to="sip.example.com")
    assert stanzas.condition(answer).name == "service-unavailable"
    assert world.calls == []


# --- the switchboard's side


def test_the_presence_that_was_asked_for_ends_with_the_call(world: World) -> None:
    world.presence(inner="<temppres xmlns='urn:xmpp:temppres:0'/>")
    world.propose()
    world.take()
    world.leg.hang_up(Cause.BUSY)
    assert labels(world.take()) == ["JMI reject", "presence unavailable"]


def test_the_presence_that_was_asked_for_ends_after_ten_minutes(world: World) -> None:
    world.presence(inner="<temppres xmlns='urn:xmpp:temppres:0'/>")
    assert labels(world.passes(599.0)) == []
    assert labels(world.passes(1.0)) == ["presence unavailable"]


# --- bounds


def test_a_device_with_a_long_contact_list_logs_in(world: World) -> None:
    contacts = [f"+1202555{number:04}@sip.example.com" for number in range(MOST_PER_USER)]
    for contact in contacts:
        world.presence(to=contact)
        world.presence(to=contact, kind="probe")
    assert world.ignored == []
    assert {sent.get("from", "").removesuffix("/sip") for sent in world.sent} == set(contacts)


def test_a_stranger_is_heard_less(world: World) -> None:
    for number in range(int(router.BURST) + 1):
        world.presence(user="tybalt@verona.lit/x", to=f"+1202555{number:04}@sip.example.com", kind="probe")
    assert world.ignored == ["too many"]


def test_a_user_who_sends_too_much_is_not_heard_for_a_while(world: World) -> None:
    for _ in range(int(router.BURST_OF_USERS)):
        assert world.says(iq(PING))[0].get("type") == "result"
    (error,) = world.says(iq(PING))
    assert stanzas.condition(error).name == "resource-constraint"
    assert world.ignored == ["too many"]
    assert world.presence(inner="<temppres xmlns='urn:xmpp:temppres:0'/>") == []
    assert world.says(iq(PING, user="nurse@shakespeare.lit/x"))[0].get("type") == "result"
    world.now += 1.0
    assert world.says(iq(PING))[0].get("type") == "result"


# --- the link
