"""Which leg a stanza is for, what is refused, bounded and counted, and what a lost link does to calls."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from gateway.call.causes import Cause
from gateway.call.events import HungUp, Leg, Trickled
from gateway.session.model import Session
from gateway.xmpp import calls, outbox, stanzas

JULIET = "juliet@shakespeare.lit/balcony"
USER = "juliet@shakespeare.lit"
ROMEO = "romeo%shakespeare.lit@sip.example.com"
World = Any  # tests/xmpp/conftest.py


def labels(sent: list[ET.Element]) -> list[str]:
    """Without presence, which has tests of its own."""
    return [stanzas.describe(stanza)[0] for stanza in sent if stanza.tag != stanzas.PRESENCE]


@pytest.mark.parametrize(
    "action", ["session-accept", "session-info", "session-terminate", "transport-info", "nonsense"]
)
def test_an_unknown_session_is_said_to_be_one(world: World, action: str) -> None:
    (answer,) = world.jingle(action, sid="nobody knows")
    said = stanzas.condition(answer)
    assert (said.name, said.jingle) == ("item-not-found", "unknown-session")


@pytest.mark.parametrize("sid", ["", "x" * 201])
def test_a_sid_that_cannot_be_used_is_a_bad_request(world: World, sid: str) -> None:
    (answer,) = world.initiate(sid)
    assert stanzas.condition(answer).name == "bad-request"
    (answer,) = world.propose(sid)
    assert stanzas.condition(answer).name == "bad-request"
    assert world.calls == []


def test_a_propose_to_the_domain_is_a_bad_request(world: World) -> None:
    (answer,) = world.propose(to="sip.example.com")
    assert stanzas.condition(answer).name == "bad-request"


def test_a_propose_without_sound_is_rejected(world: World) -> None:
    (reject,) = world.jmi("propose", inner="<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='video'/>")
    assert stanzas.describe(reject) == ("JMI reject", "unsupported-applications")
    assert world.calls == []


def test_a_proceed_for_nothing_is_finished(world: World) -> None:
    (finish,) = world.jmi("proceed", "gone")
    assert stanzas.describe(finish) == ("JMI finish", "gone")
    assert world.jmi("ringing", "gone") == []


def test_a_session_of_another_contact_is_another(world: World) -> None:
    world.initiate()
    (answer,) = world.jingle("session-terminate", to="+12025550123@sip.example.com/sip")
    assert stanzas.condition(answer).jingle == "unknown-session"
    (answer,) = world.jingle("session-terminate", user="juliet@shakespeare.lit/garden")
    assert stanzas.condition(answer).jingle == "unknown-session"
    assert world.told() == []


def test_candidates_of_the_caller_are_told(world: World) -> None:
    world.initiate()
    candidate = (
        "<content name='voice'><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1'>"
        "<candidate component='1' foundation='1' generation='0' id='c' ip='192.0.2.3' network='0' port='4' "
        "priority='1' protocol='udp' type='host'/></transport></content>"
    )
    assert labels(world.jingle("transport-info", candidate)) == ["result"]
    (told,) = world.told()
    assert isinstance(told, Trickled)
    assert (told.leg, told.attempt) == (Leg.CALLER, 0)


def test_malformed_jingle_changes_nothing_and_is_answered(world: World, our_offer: Session) -> None:
    world.initiate()
    world.leg.answer(our_offer)
    world.take()
    (answer,) = world.jingle("make-coffee")
    assert stanzas.condition(answer) == stanzas.Condition("bad-request", "", "unknown action 'make-coffee'")
    assert world.told() == []
    assert labels(world.jingle("session-info")) == ["result"]


def test_a_call_may_be_hung_up_while_it_is_admitted(world: World) -> None:
    world.on_call = lambda incoming, leg: leg.hang_up(Cause.FORBIDDEN)
    assert labels(world.propose()) == ["error", "JMI reject"]
    assert world.router.calls == 0


def test_a_call_that_cannot_be_admitted_is_rejected(world: World) -> None:
    def fails(incoming: object, leg: object) -> None:
        raise RuntimeError("no")

    world.on_call = fails
    assert labels(world.propose()) == ["error", "JMI reject"]
    assert labels(world.initiate()) == ["result", "session-terminate"]
    assert world.router.calls == 0


def test_a_ladder_has_both_directions(world: World, our_offer: Session) -> None:
    world.propose()
    world.leg.alert()
    world.leg.ask()
    world.initiate()
    world.leg.answer(our_offer)
    world.leg.hang_up(Cause.NORMAL)
    assert {(trace.call, trace.peer, trace.key) for trace in world.traces} == {("call-1", "xmpp", "s1")}
    assert [(trace.sent, trace.label) for trace in world.traces] == [
        (False, "JMI propose"),
        (True, "JMI ringing"),
        (True, "JMI proceed"),
        (False, "session-initiate"),
        (True, "session-accept"),
        (True, "session-terminate"),
        (True, "JMI finish"),
    ]


def test_what_is_due_for_the_other_leg_has_no_effect(world: World, our_offer: Session) -> None:
    world.propose()
    world.take()
    world.leg.dial(our_offer)
    callee = world.router.callee("call-2", 1, USER, ROMEO, world.reports.append)
    callee.alert()
    callee.ask()
    callee.answer(our_offer)
    callee.reanswer(None)
    assert world.sent == []


def test_a_user_has_so_many_calls_and_no_more(world: World, our_offer: Session) -> None:
    for n in range(calls.MOST_LEGS_PER_USER):
        world.propose(f"s{n}")
    (reject,) = world.propose("one more")
    assert stanzas.describe(reject) == ("JMI reject", "busy")
    (error,) = world.initiate("another")
    assert stanzas.condition(error).name == "resource-constraint"
    assert world.propose("other", user="nurse@shakespeare.lit/x") == []


def test_a_user_is_called_so_often_at_a_time_and_can_still_call(world: World, our_offer: Session) -> None:
    for n in range(calls.MOST_LEGS_PER_USER):
        world.router.callee(f"c{n}", 1, USER, ROMEO, world.reports.append).dial(our_offer)
    world.take()
    world.router.callee("c", 1, USER, ROMEO, world.reports.append).dial(our_offer)
    assert world.told() == [HungUp(Leg.CALLEE, Cause.CONGESTION, 1, Cause.CONGESTION.text)]
    assert world.take() == []
    assert world.propose("for help", to="+12025550123@sip.example.com") == []


def test_the_gateway_has_so_many_calls_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MOST_LEGS", 1)
    world.propose()
    assert labels(world.propose(user="nurse@shakespeare.lit/x")) == ["JMI reject"]
    (error,) = world.initiate(user="nurse@shakespeare.lit/x")
    assert stanzas.condition(error).name == "resource-constraint"


def test_calls_outlive_a_short_loss_and_are_asked_after_it(world: World, our_offer: Session) -> None:
    world.initiate()
    world.leg.answer(our_offer)
    world.propose("s2")
    world.take()
    world.router.link_down()
    world.router.link_down()
    assert world.passes(59.0) == []
    assert world.told() == []
    world.router.link_up()
    (ping,) = world.take()
    assert stanzas.describe(ping) == ("session-info", "")
    world.replies(ping, "item-not-found", "unknown-session")
    assert [(report.leg, report.cause) for report in world.told()] == [(Leg.CALLER, Cause.LINK_LOST)]
    assert world.router.calls == 1
    assert world.passes(100.0) == []


def test_a_device_that_is_not_back_is_asked_again(world: World, our_offer: Session) -> None:
    world.initiate()
    world.leg.answer(our_offer)
    world.router.link_down()
    world.router.link_up()
    world.replies(world.take()[-1], "service-unavailable")
    assert world.told() == []
    (again,) = world.passes(15.0)
    world.replies(again)
    assert world.told() == []
    assert world.router.deadline is None


def test_what_was_said_meanwhile_is_said_when_the_link_is_back(world: World, our_offer: Session) -> None:
    world.initiate()
    world.take()
    world.router.link_down()
    world.leg.answer(our_offer)
    assert world.take() == []
    world.router.link_up()
    assert labels(world.take()) == ["session-accept", "session-info"]


def test_after_the_grace_every_call_ends(world: World, our_offer: Session) -> None:
    world.initiate()
    world.leg.answer(our_offer)
    callee = world.router.callee("call-2", 4, "nurse@shakespeare.lit", ROMEO, world.reports.append)
    callee.dial(our_offer)
    world.take()
    world.router.link_down()
    assert world.passes(60.0) == []
    lost = Cause.LINK_LOST
    assert world.told() == [HungUp(Leg.CALLER, lost, 0, lost.text), HungUp(Leg.CALLEE, lost, 4, lost.text)]
    assert world.router.calls == 0
    world.router.link_up()
    assert labels(world.take()) == ["session-terminate", "JMI retract"]


def test_a_stale_propose_is_not_sent_after_the_grace(world: World, our_offer: Session) -> None:
    world.initiate()
    world.router.link_down()
    world.leg.alert()
    world.take()
    world.passes(60.0)
    world.router.link_up()
    assert labels(world.take()) == ["session-terminate"]


def test_nobody_is_called_without_a_link(world: World, our_offer: Session) -> None:
    world.router.link_down()
    world.router.callee("c", 1, USER, ROMEO, world.reports.append).dial(our_offer)
    assert world.told() == [HungUp(Leg.CALLEE, Cause.LINK_LOST, 1, Cause.LINK_LOST.text)]


def test_what_waits_for_the_link_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_KEPT", 1)
    world.initiate()
    world.initiate("s2", user="nurse@shakespeare.lit/x")
    world.take()
    world.router.link_down()
    for _, leg in world.calls:
        leg.alert()
    world.router.link_up()
    assert len([label for label in world.take() if stanzas.describe(label)[1] == "ringing"]) == 1
