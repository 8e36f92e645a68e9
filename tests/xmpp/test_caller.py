"""A user calls a contact, with JMI and directly, in the orders in which things happen and in others."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import permutations
from typing import Any

import pytest

from gateway.call.causes import Cause
from gateway.call.events import CallerJoined, HungUp, Leg
from gateway.session.jingle import parse_reason
from gateway.session.model import Session
from gateway.xmpp import stanzas
from gateway.xmpp.caller import JOIN_WITHIN, LEAVING_LASTS

JULIET = "juliet@shakespeare.lit/balcony"
ROMEO = "romeo%shakespeare.lit@sip.example.com"
VOICE = f"{ROMEO}/sip"
World = Any  # tests/xmpp/conftest.py


def labels(sent: list[ET.Element]) -> list[str]:
    return [stanzas.describe(stanza)[0] for stanza in sent]


def reason(stanza: ET.Element) -> tuple[str, str]:
    """Of a JMI message or a session-terminate."""
    found = next(child for child in stanza if child.tag.partition("}")[0] != f"{{{stanzas.HINTS}")
    given = parse_reason(found)
    return ("", "") if given is None else (given.condition, given.text)


# --- with JMI


def test_a_propose_is_a_call_without_a_session(world: World) -> None:
    assert world.propose() == []
    (incoming, _) = world.calls[0]
    assert (incoming.user, incoming.contact, incoming.local) == (JULIET, ROMEO, "romeo%shakespeare.lit")
    assert (incoming.session, incoming.key) == (None, "s1")


@pytest.mark.parametrize("to", [ROMEO, VOICE, f"{ROMEO}/other"])
def test_ringing_goes_to_the_full_jid_with_presence_and_once(world: World, to: str) -> None:
    world.propose(to=to)
    world.leg.alert()
    presence, ringing = world.take()
    assert labels([presence, ringing]) == ["presence", "JMI ringing"]
    assert {(s.get("from"), s.get("to")) for s in (presence, ringing)} == {(VOICE, JULIET)}
    world.leg.alert()
    assert world.take() == []


def test_a_receipt_is_given_when_it_rings_and_was_asked_for(world: World) -> None:
    world.says(
        f"<message type='chat' from='{JULIET}' to='{ROMEO}' id='jm-propose-s1'>"
        "<propose xmlns='urn:xmpp:jingle-message:0' id='s1'/><request xmlns='urn:xmpp:receipts'/></message>"
    )
    assert labels(world.take()) == ["presence"]
    world.leg.alert()
    assert labels(world.sent) == ["JMI ringing", "receipt"]
    assert stanzas.receipt_of(world.sent[-1]) == "jm-propose-s1"


def test_the_whole_way_of_a_proposed_call(world: World, our_offer: Session) -> None:
    world.propose()
    world.leg.alert()
    world.take()
    world.leg.ask()
    (proceed,) = world.take()
    assert stanzas.describe(proceed)[0] == "JMI proceed"
    assert (proceed.get("from"), proceed.get("to"), proceed.get("type")) == (VOICE, JULIET, "chat")
    (result,) = world.initiate()
    assert (result.get("type"), result.get("id"), result.get("from")) == ("result", "q1", VOICE)
    (joined,) = world.told()
    assert isinstance(joined, CallerJoined)
    assert joined.session.audio is not None
    world.take()
    world.leg.answer(our_offer)
    (accept,) = world.take()
    jingle = stanzas.jingle_of(accept)
    assert jingle is not None
    assert (jingle.get("action"), jingle.get("sid"), jingle.get("responder")) == ("session-accept", "s1", VOICE)
    assert (accept.get("from"), accept.get("to"), accept.get("type")) == (VOICE, JULIET, "set")
    world.replies(accept)
    assert labels(world.jingle("session-terminate", "<reason><success/></reason>")) == ["result"]
    assert world.told() == [HungUp(Leg.CALLER, Cause.NORMAL)]
    assert world.router.calls == 0


def test_proceed_without_ringing_brings_the_presence_along(world: World) -> None:
    world.propose()
    world.leg.ask()
    assert labels(world.sent) == ["presence", "JMI proceed"]
    world.leg.ask()
    assert len(world.sent) == 2


@pytest.mark.parametrize(
    ("cause", "text", "said"),
    [
        (Cause.BUSY, "486 Busy Here", ["JMI reject"]),
        (Cause.DECLINED, "", ["JMI reject"]),
        (Cause.FORBIDDEN, "premium numbers", ["error", "JMI finish", "JMI reject"]),
        (Cause.NOT_FOUND, "", ["error", "JMI finish", "JMI reject"]),
        (Cause.CONGESTION, "503", ["error", "JMI finish", "JMI reject"]),
    ],
)
def test_a_refusal_before_proceed_says_why(world: World, cause: Cause, text: str, said: list[str]) -> None:
    world.propose()
    world.take()
    world.leg.hang_up(cause, text)
    sent = world.take()
    assert labels(sent) == said
    assert reason(sent[-1]) == (cause.jingle, text or cause.text)
    if said[0] == "error":
        assert (sent[0].get("id"), sent[0].get("to"), sent[0].get("from")) == ("jm-propose-s1", JULIET, ROMEO)
        assert stanzas.condition(sent[0]).text == (text or cause.text)
        assert reason(sent[1]) == ("connectivity-error", text or cause.text)
    world.leg.hang_up(cause, text)
    assert world.take() == []
    assert world.router.calls == 0


def test_an_error_tells_a_wrong_number_from_a_forbidden_one(world: World) -> None:
    for cause, condition in ((Cause.NOT_FOUND, "item-not-found"), (Cause.FORBIDDEN, "forbidden")):
        world.propose()
        world.take()
        world.leg.hang_up(cause)
        assert stanzas.condition(world.take()[0]).name == condition


@pytest.mark.parametrize("kind", ["retract", "finish", "reject"])
@pytest.mark.parametrize("asked", [False, True])
def test_the_user_gives_up_before_he_joins(world: World, kind: str, asked: bool) -> None:
    world.propose()
    if asked:
        world.leg.ask()
    world.jmi(kind)
    assert world.told() == [HungUp(Leg.CALLER, Cause.CANCELLED)]
    assert world.router.calls == 0


def test_nobody_else_can_retract(world: World) -> None:
    world.propose()
    world.jmi("retract", user="juliet@shakespeare.lit/garden")
    world.jmi("retract", user="tybalt@verona.lit/x")
    world.jmi("retract", to="+12025550123@sip.example.com")
    assert world.told() == []


def test_a_repeated_propose_is_the_same_call(world: World) -> None:
    world.propose()
    assert world.propose() == []
    assert len(world.calls) == 1


def test_two_devices_may_use_one_sid(world: World) -> None:
    world.propose()
    world.propose(user="juliet@shakespeare.lit/garden")
    assert [incoming.user for incoming, _ in world.calls] == [JULIET, "juliet@shakespeare.lit/garden"]


def test_a_user_who_never_joins_is_let_go(world: World) -> None:
    world.propose()
    world.leg.ask()
    world.take()
    (finish,) = world.passes(JOIN_WITHIN)
    assert stanzas.describe(finish) == ("JMI finish", "timeout")
    (ended,) = world.told()
    assert (ended.leg, ended.cause) == (Leg.CALLER, Cause.TIMEOUT)


def test_a_session_that_crosses_our_hang_up_is_terminated_with_the_reason(world: World) -> None:
    world.propose()
    world.leg.ask()
    world.leg.hang_up(Cause.CONGESTION, "503 Service Unavailable")
    assert labels(world.take()) == ["presence", "JMI proceed", "JMI finish"]
    result, terminate = world.initiate()
    assert labels([result, terminate]) == ["result", "session-terminate"]
    assert reason(terminate) == ("connectivity-error", "503 Service Unavailable")
    assert world.told() == []
    assert world.router.calls == 0


def test_after_a_while_nothing_is_left_to_cross(world: World) -> None:
    world.propose()
    world.leg.ask()
    world.leg.hang_up(Cause.NORMAL)
    world.take()
    assert world.passes(LEAVING_LASTS) == []
    assert world.router.calls == 0
    assert world.told() == []


def test_a_session_before_proceed_waits_for_the_answer(world: World) -> None:
    world.propose()
    assert labels(world.initiate()) == ["result"]
    assert world.told() == []
    world.take()
    world.leg.ask()
    assert isinstance(world.told()[0], CallerJoined)
    assert world.take() == []


def test_hanging_up_a_proposed_call_finishes_it(world: World, our_offer: Session) -> None:
    world.propose()
    world.leg.ask()
    world.initiate()
    world.leg.answer(our_offer)
    world.take()
    world.leg.hang_up(Cause.NORMAL)
    sent = world.take()
    assert labels(sent) == ["session-terminate", "JMI finish"]
    assert {reason(stanza)[0] for stanza in sent} == {"success"}


def test_another_action_than_session_initiate_finds_no_session_yet(world: World) -> None:
    world.propose()
    (error,) = world.jingle("session-info")
    assert stanzas.condition(error) == stanzas.Condition("item-not-found", "unknown-session", "no such session yet")
    assert world.told() == []


def test_an_unreadable_session_changes_nothing(world: World) -> None:
    world.propose()
    world.leg.ask()
    world.take()
    (error,) = world.jingle("session-initiate", "")
    assert stanzas.condition(error).name == "bad-request"
    assert labels(world.initiate()) == ["result"]
    assert isinstance(world.told()[0], CallerJoined)


# --- without


@pytest.mark.parametrize("to", [ROMEO, VOICE, f"{ROMEO}/other"])
def test_a_direct_call_brings_its_session_and_is_answered_by_the_jid_it_called(
    world: World, our_offer: Session, to: str
) -> None:
    assert labels(world.initiate(to=to)) == ["result"]
    assert world.calls[0][0].session is not None
    world.take()
    world.leg.alert()
    world.leg.alert()
    (ringing,) = world.take()
    assert stanzas.describe(ringing) == ("session-info", "ringing")
    world.leg.ask()
    assert isinstance(world.told()[0], CallerJoined)
    world.leg.answer(our_offer)
    world.leg.answer(our_offer)
    (accept,) = world.take()
    assert {(stanza.get("from"), stanza.get("to")) for stanza in (ringing, accept)} == {(to, JULIET)}
    world.leg.hang_up(Cause.NORMAL)
    assert labels(world.take()) == ["session-terminate"]


@pytest.mark.parametrize(
    ("cause", "given"),
    [(Cause.BUSY, "busy"), (Cause.NOT_FOUND, "gone"), (Cause.NO_ANSWER, "timeout"), (Cause.FORBIDDEN, "general-error")],
)
def test_a_refused_direct_call_is_terminated_with_reason_and_text(world: World, cause: Cause, given: str) -> None:
    world.initiate()
    world.take()
    world.leg.hang_up(cause, "why")
    (terminate,) = world.take()
    assert reason(terminate) == (given, "why")


def test_the_same_session_to_another_resource_is_the_same_call(world: World) -> None:
    """Siskin asks every resource with one sid."""
    world.initiate(to=VOICE)
    assert labels(world.initiate(to=ROMEO)) == ["result"]
    assert len(world.calls) == 1


def test_a_direct_call_that_cannot_be_read_is_no_call(world: World) -> None:
    (error,) = world.jingle("session-initiate", "<content name='a'/><content name='a'/>")
    assert stanzas.condition(error).name == "bad-request"
    assert world.calls == []
    assert world.router.calls == 0


def test_going_away_before_the_answer_ends_the_call(world: World) -> None:
    world.initiate()
    world.presence(kind="unavailable", user="juliet@shakespeare.lit/garden")
    assert world.told() == []
    world.presence(kind="unavailable")
    assert world.told() == [HungUp(Leg.CALLER, Cause.CANCELLED, 0, "the device went away")]


def test_going_away_during_the_call_is_asked_about(world: World, our_offer: Session) -> None:
    world.initiate()
    world.leg.answer(our_offer)
    world.presence(kind="unavailable")
    assert world.told() == []
    (ping,) = world.passes(10.0)
    world.replies(ping, "item-not-found")
    assert [(report.leg, report.cause) for report in world.told()] == [(Leg.CALLER, Cause.UNAVAILABLE)]


def test_going_away_before_joining_cancels(world: World) -> None:
    world.propose()
    world.presence(kind="unavailable")
    assert world.told() == [HungUp(Leg.CALLER, Cause.CANCELLED, 0, "the device went away")]


def test_a_refused_answer_ends_the_call(world: World, our_offer: Session) -> None:
    world.initiate()
    world.leg.answer(our_offer)
    world.replies(world.sent[-1], "feature-not-implemented")
    assert [(r.leg, r.cause) for r in world.told()] == [(Leg.CALLER, Cause.NO_COMMON_CODEC)]


def test_who_leaves_leaves_however_often_he_is_told(world: World) -> None:
    world.propose()
    world.leg.ask()
    world.leg.hang_up(Cause.NORMAL)
    world.take()
    world.leg.hang_up(Cause.NORMAL)
    world.leg.hang_up(Cause.BUSY)
    assert world.take() == []
    world.passes(LEAVING_LASTS)
    assert world.router.calls == 0


@pytest.mark.parametrize("joined", [False, True])
def test_a_caller_who_went_away_is_told_in_case_that_he_is_back(world: World, joined: bool) -> None:
    world.propose()
    if joined:
        world.initiate()
    world.take()
    world.presence(JULIET, ROMEO, kind="unavailable")
    (told, *_) = [stanza for stanza in world.take() if stanza.tag != stanzas.PRESENCE]
    assert stanzas.describe(told)[0] == ("session-terminate" if joined else "JMI reject")
    assert world.told() == [HungUp(Leg.CALLER, Cause.CANCELLED, 0, "the device went away")]


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("success", Cause.CANCELLED),
        ("decline", Cause.CANCELLED),
        ("timeout", Cause.CANCELLED),
        ("gone", Cause.CANCELLED),
        ("failed-application", Cause.NO_COMMON_CODEC),
        ("connectivity-error", Cause.MEDIA_FAILED),
    ],
)
def test_who_ends_it_before_the_answer_has_given_up_unless_something_failed(
    world: World, said: str, cause: Cause
) -> None:
    world.initiate()
    world.jingle("session-terminate", f"<reason><{said}/></reason>")
    assert world.told() == [HungUp(Leg.CALLER, cause)]


# --- early media: he is asked, and answered, before the far side took the call


ACTS = ("alert", "ask", "join", "answer", "alert")


@pytest.mark.parametrize("order", sorted(set(permutations(ACTS))))
def test_what_the_call_does_may_come_in_any_order(world: World, our_offer: Session, order: tuple[str, ...]) -> None:
    """He rings and is asked at most once, joins once; an answer before he joined is none."""
    world.propose()
    world.take()
    said: list[str] = []
    for act in order:
        match act:
            case "join":
                world.initiate()
            case "answer":
                world.leg.answer(our_offer)
            case "ask":
                world.leg.ask()
            case _:
                world.leg.alert()
        said += [stanzas.describe(stanza)[0] for stanza in world.take() if stanza.get("type") != "result"]
    join, answer, ask = map(order.index, ("join", "answer", "ask"))
    assert said.count("session-accept") == (join < answer)
    assert said.count("JMI ringing") + said.count("session-info") <= 1
    assert [type(report) for report in world.told()] == [CallerJoined] * (not join < answer < ask)
    world.leg.hang_up(Cause.BUSY, "486 Busy Here")
    (terminate, finish) = world.take()
    assert stanzas.describe(terminate) == ("session-terminate", "busy, 486 Busy Here")
    assert stanzas.describe(finish) == ("JMI finish", "busy 486 Busy Here")
    assert world.router.calls == 0


def test_after_proceed_ringing_is_said_by_the_session(world: World, our_offer: Session) -> None:
    """A JMI ringing would begin a timer in Monal that ends the call while it talks."""
    world.propose()
    world.leg.ask()
    world.take()
    world.leg.alert()
    assert world.take() == []
    world.initiate()
    result, info = world.take()
    assert (result.get("type"), stanzas.describe(info)) == ("result", ("session-info", "ringing"))
    world.leg.alert()
    assert world.take() == []


def test_an_early_answer_and_a_late_refusal_end_the_session_with_the_reason(world: World, our_offer: Session) -> None:
    world.initiate()
    world.leg.answer(our_offer)
    world.leg.alert()
    assert [stanzas.describe(stanza)[0] for stanza in world.take()][-1] == "session-accept"
    world.leg.hang_up(Cause.DECLINED, "603 Decline")
    assert [stanzas.describe(stanza) for stanza in world.take()] == [("session-terminate", "decline, 603 Decline")]
