"""Which leg a stanza is for, what is refused, bounded and counted, and what a lost link does to calls."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from gateway.call.causes import Cause
from gateway.call.events import Held, HungUp, Leg, Trickled
from gateway.call.leg import LegControl
from gateway.session.model import Session
from gateway.xmpp import calls, lines, outbox, stanzas

JULIET = "juliet@shakespeare.lit/balcony"
USER = "juliet@shakespeare.lit"
ROMEO = "romeo%shakespeare.lit@sip.example.com"
CONTENT = (
    "<content creator='initiator' name='voice'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>"
    "<payload-type id='111' name='opus' clockrate='48000' channels='2'/></description>"
    "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='8hhy' pwd='asd88fgpdd777uzjYhagZg'/></content>"
)
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
    retract, finish = world.jmi("proceed", "gone")
    assert [stanzas.describe(retract), stanzas.describe(finish)] == [("JMI retract", "gone"), ("JMI finish", "gone")]
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
    assert labels(world.propose()) == ["error", "JMI finish", "JMI reject"]
    assert world.router.calls == 0


def test_a_call_that_cannot_be_admitted_is_rejected(world: World) -> None:
    def fails(incoming: object, leg: object) -> None:
        raise RuntimeError("no")

    world.on_call = fails
    assert labels(world.propose()) == ["error", "JMI finish", "JMI reject"]
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
    for n in range(lines.MOST_LEGS_PER_USER):
        world.propose(f"s{n}")
    (reject,) = world.propose("one more")
    assert stanzas.describe(reject) == ("JMI reject", "busy")
    (error,) = world.initiate("another")
    assert stanzas.condition(error).name == "resource-constraint"
    assert world.propose("other", user="nurse@shakespeare.lit/x") == []


def test_a_user_is_called_so_often_at_a_time_and_can_still_call(world: World, our_offer: Session) -> None:
    for n in range(lines.MOST_LEGS_PER_USER):
        world.router.callee(f"c{n}", 1, USER, ROMEO, world.reports.append).dial(our_offer)
    world.take()
    world.router.callee("c", 1, USER, ROMEO, world.reports.append).dial(our_offer)
    assert world.told() == [HungUp(Leg.CALLEE, Cause.CONGESTION, 1, Cause.CONGESTION.text)]
    assert world.take() == []
    assert world.propose("for help", to="+12025550123@sip.example.com") == []


def test_the_gateway_has_so_many_calls_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_LEGS", 1)
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
    world.jmi("ringing", "our1", "nurse@shakespeare.lit/x", f"{ROMEO}/sip")
    world.take()
    world.told()
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


# --- a sign of life for clients that give up early

SUBSCRIBE = f"<presence type='subscribe' from='{USER}' to='{ROMEO}'/>"
SUBSCRIBED = f"<presence type='subscribed' from='{USER}' to='{ROMEO}'/>"


@pytest.fixture
def mutual(world: World) -> World:
    """Juliet and Romeo see each other's presence."""
    world.says(SUBSCRIBE)
    world.says(SUBSCRIBED)
    world.take()
    return world


def test_a_subscribed_caller_is_told_that_it_rings_before_his_client_gives_up(mutual: World) -> None:
    mutual.propose()
    assert labels(mutual.passes(calls.RINGING_AFTER - 0.1)) == []
    assert labels(mutual.passes(0.2)) == ["JMI ringing"]
    assert mutual.told() == []
    assert [trace.label for trace in mutual.traces] == ["JMI propose", "JMI ringing (synthetic)"]
    assert labels(mutual.passes(60.0)) == []
    mutual.take()
    mutual.leg.alert()
    assert labels(mutual.take()) == ["JMI ringing"]


def test_what_rings_or_is_over_is_not_said_to_ring(mutual: World) -> None:
    mutual.propose("s1")
    mutual.leg.alert()
    mutual.propose("s2")
    mutual.leg.ask()
    mutual.propose("s3")
    mutual.leg.hang_up(Cause.BUSY)
    mutual.propose("s4")
    mutual.jmi("retract", "s4")
    assert "JMI ringing" not in labels(mutual.passes(10.0))


def test_nothing_is_said_to_ring_for_a_stranger_to_the_contact(world: World) -> None:
    world.says(SUBSCRIBE)  # one way only
    world.propose()
    assert labels(world.passes(10.0)) == []


def test_the_operator_may_have_nothing_but_the_truth(mutual: World) -> None:
    mutual.router._calls._ringing_after = None
    mutual.propose()
    assert labels(mutual.passes(10.0)) == []


# --- both call each other (XEP-0353 §4.1, XEP-0166 §7.2.16)


def tied(stanza: ET.Element) -> bool:
    return any(child.tag.endswith("}tie-break") for child in stanza.iter())


def test_the_lower_sid_of_two_that_cross_wins_when_it_is_ours(world: World, our_offer: Session) -> None:
    world.router.callee("call-9", 1, USER, ROMEO, world.reports.append).dial(our_offer)  # our1
    (reject,) = world.propose("zzz")
    assert stanzas.describe(reject) == ("JMI reject", "expired Tie-Break")
    assert (reject.get("to"), tied(reject)) == (JULIET, True)
    (error,) = world.initiate("zzz")
    assert stanzas.condition(error) == stanzas.Condition("conflict", "tie-break", "the contact calls already")
    assert world.calls == []
    assert world.told() == []


@pytest.mark.parametrize("direct", [False, True])
def test_the_lower_sid_of_two_that_cross_wins_when_it_is_theirs(world: World, our_offer: Session, direct: bool) -> None:
    world.router.callee("call-9", 1, USER, ROMEO, world.reports.append).dial(our_offer)
    world.take()
    sent = world.initiate("aaa") if direct else world.propose("aaa")
    retract = next(stanza for stanza in sent if stanzas.describe(stanza)[0] == "JMI retract")
    assert (retract.get("to"), tied(retract)) == (USER, True)
    assert world.told() == [HungUp(Leg.CALLEE, Cause.BUSY, 1, "the user calls this contact")]
    assert [incoming.key for incoming, _ in world.calls] == ["aaa"]
    assert world.router.calls == 1


def test_calls_of_others_do_not_cross(world: World, our_offer: Session) -> None:
    world.router.callee("call-9", 1, USER, ROMEO, world.reports.append).dial(our_offer)
    assert world.propose("zzz", to="+12025550123@sip.example.com") == []
    assert world.propose("zzz", user="nurse@shakespeare.lit/x") == []
    assert world.jmi("proceed", "our1") != []
    assert world.propose("zzz") == []  # answered by now
    assert len(world.calls) == 3


# --- digits from a chat


def chat(world: World, body: str, to: str = ROMEO, user: str = JULIET) -> list[str]:
    """What is told of it."""
    world.says(f"<message type='chat' from='{user}' to='{to}' id='m'><body>{body}</body></message>")
    return [report.digits for report in world.told()]


@pytest.mark.parametrize(
    ("body", "digits"), [("#123", "123"), (" #*9# ", "*9#"), ("#a", "A"), ("##", "#"), (f"#{'1' * 16}", "1" * 16)]
)
def test_digits_may_be_written_during_a_call(world: World, our_offer: Session, body: str, digits: str) -> None:
    world.initiate()
    world.leg.answer(our_offer)
    world.take()
    assert chat(world, body) == [digits]
    assert world.take() == []


@pytest.mark.parametrize("body", ["123", "#", "#12x", f"#{'1' * 17}", "# 1", "hello #1"])
def test_text_is_text(world: World, our_offer: Session, body: str) -> None:
    world.initiate()
    world.leg.answer(our_offer)
    world.take()
    assert chat(world, body) == []
    assert labels(world.take()) == ["error"]


def test_digits_are_for_the_call_of_that_device_and_contact_if_there_is_one(world: World, our_offer: Session) -> None:
    world.initiate()
    assert chat(world, "#1") == []
    world.leg.answer(our_offer)
    assert chat(world, "#1", to="+12025550123@sip.example.com") == []
    assert chat(world, "#1", user="juliet@shakespeare.lit/garden") == []
    world.router._calls._chat_dtmf = False
    assert chat(world, "#1") == []


def test_a_called_user_may_write_digits_too(world: World, our_offer: Session) -> None:
    answered(world, our_offer)
    assert chat(world, "#1") == ["1"]


def answered(world: World, our_offer: Session) -> LegControl:
    """A user was called, and took it."""
    callee: LegControl = world.router.callee("call-9", 7, USER, ROMEO, world.reports.append)
    callee.dial(our_offer)
    world.jmi("proceed", "our1")
    world.jingle("session-accept", CONTENT, "our1")
    world.told()
    world.take()
    return callee


# --- hold, restarts


@pytest.mark.parametrize("called", [False, True])
def test_hold_and_restarts_go_to_the_device_that_talks(world: World, our_offer: Session, called: bool) -> None:
    if called:
        leg = answered(world, our_offer)
    else:
        world.initiate()
        leg = world.leg
        leg.hold(True, our_offer)
        leg.answer(our_offer)
        world.take()
    leg.hold(True, our_offer)
    leg.hold(False, our_offer)
    leg.restart(our_offer)
    leg.transferred(Cause.NORMAL)
    sent = world.take()
    assert [stanzas.describe(stanza) for stanza in sent] == [
        ("session-info", "hold"),
        ("session-info", "unhold"),
        ("transport-info", "voice"),
    ]
    assert {stanza.get("to") for stanza in sent} == {JULIET}


def test_hold_and_restarts_before_there_is_a_session_are_nothing(world: World, our_offer: Session) -> None:
    world.propose()
    world.take()
    callee = world.router.callee("call-9", 1, USER, ROMEO, world.reports.append)
    for leg in (world.leg, callee):
        leg.hold(True, our_offer)
        leg.restart(our_offer)
    assert world.take() == []


def test_a_device_that_holds_is_told(world: World, our_offer: Session) -> None:
    callee = answered(world, our_offer)
    world.jingle("session-info", "<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>", "our1")
    assert world.told() == [Held(Leg.CALLEE, 7, True)]
    callee.hang_up(Cause.NORMAL)


# --- endings


def test_a_call_that_ends_while_the_link_is_down_ends_at_the_device_too(world: World, our_offer: Session) -> None:
    callee = answered(world, our_offer)
    world.router.link_down()
    callee.hang_up(Cause.NORMAL)
    assert world.take() == []
    assert world.passes(20.0) == []
    world.router.link_up()
    terminate, *others = world.take()
    assert labels([terminate, *others]) == ["session-terminate", "JMI finish", "JMI retract"]
    world.replies(terminate, "service-unavailable")  # the server is back, the device is not yet
    (again,) = world.passes(outbox.ENDING_AGAIN)
    assert again is terminate
    world.replies(again)
    assert world.passes(200.0) == []


def test_an_ending_that_the_dead_link_may_have_swallowed_is_said_again(world: World, our_offer: Session) -> None:
    callee = answered(world, our_offer)
    callee.hang_up(Cause.NORMAL)
    said = labels(world.take())
    world.router.link_down()
    world.router.link_up()
    assert labels(world.take()) == said == ["session-terminate", "JMI finish", "JMI retract"]


def test_a_proceed_that_comes_back_means_that_nobody_waits_for_it(world: World) -> None:
    """As Conversations says it of a call that it gave up."""
    world.propose()
    world.leg.ask()
    error = (
        f"<message type='error' from='{JULIET}' to='{ROMEO}/sip' id='jm-proceed-s1'><error type='cancel' code='404'>"
        "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )
    world.says(error)
    assert world.told() == [HungUp(Leg.CALLER, Cause.CANCELLED, 0, "the caller's device is gone")]
    world.says(error)
    assert world.ignored == ["message error"]


# --- what is ignored is counted


def test_what_has_no_effect_on_a_call_is_counted(world: World, our_offer: Session) -> None:
    bounce = "<message type='error' from='{}' to='{}/sip' id='{}'/>"
    receipt = "<message from='{}' to='{}' id='r'><received xmlns='urn:xmpp:receipts' id='{}'/></message>"
    for act, counted in (
        (lambda: world.jmi("ringing", "nobody"), "jingle message of no call"),
        (lambda: world.says(bounce.format(JULIET, ROMEO, "jm-propose-x")), "message error"),
        (lambda: world.says(bounce.format(JULIET, ROMEO, "other")), "message error"),
        (lambda: world.says(receipt.format(JULIET, ROMEO, "jm-propose-x")), "receipt of nothing"),
        (lambda: world.says(f"<iq type='result' id='9-1' from='{JULIET}' to='{ROMEO}/sip'/>"), "reply to nothing"),
        (lambda: world.propose("s1"), ""),
        (lambda: world.propose("s1"), "JMI propose out of order"),
        (lambda: world.jmi("ringing", "s1"), "JMI ringing out of order"),
        (lambda: world.says(bounce.format(JULIET, ROMEO, "jm-ringing-s1")), "JMI error"),
        (lambda: world.says(receipt.format(JULIET, ROMEO, "jm-propose-s1")), "receipt of nothing"),
        (lambda: world.says(f"<iq type='result' id='1-1' from='x@y/z' to='{ROMEO}/sip'/>"), "reply to nothing"),
        (lambda: world.jmi("retract", "s1"), ""),
        (lambda: answered(world, our_offer), ""),
        (lambda: world.jmi("proceed", "our1"), "JMI proceed out of order"),
        (lambda: world.jmi("reject", "our1"), "JMI reject out of order"),
        (lambda: world.says(bounce.format(USER, ROMEO, "jm-propose-our1")), "JMI error"),
        (lambda: world.jingle("session-info", "<x xmlns='y'/>", "our1"), "session-info unknown"),
    ):
        world.ignored.clear()
        act()
        assert world.ignored == [counted] * bool(counted)


def test_a_further_call_of_who_is_talked_with_finds_the_user_busy(world: World, our_offer: Session) -> None:
    """Monal would take it for the same call, moved to another device, and drop the one that it has."""
    first = answered(world, our_offer)
    world.router.callee("call-10", 1, USER, ROMEO, world.reports.append).dial(our_offer)
    assert world.take() == []
    assert world.told() == [HungUp(Leg.CALLEE, Cause.BUSY, 1, Cause.BUSY.text)]
    world.router.callee("call-11", 1, USER, "+12025550123@sip.example.com", world.reports.append).dial(our_offer)
    assert labels(world.take())[-1] == "JMI propose"
    first.hang_up(Cause.NORMAL)
    world.propose("s1")
    world.take()
    world.router.callee("call-12", 1, USER, ROMEO, world.reports.append).dial(our_offer)
    assert labels(world.take()) == []
