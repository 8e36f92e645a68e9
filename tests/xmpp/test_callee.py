"""A contact calls a user on all of his devices: in every order."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from gateway.call.causes import Cause
from gateway.call.events import Answered, HungUp, Leg, Ringing, Trickled, Waking
from gateway.call.leg import LegControl
from gateway.session.model import Session
from gateway.xmpp import disco, stanzas
from gateway.xmpp.callee import MOST_KEPT, UNHEARD, CalleeLeg
from gateway.xmpp.caps import Abilities, Entity, Identity
from gateway.xmpp.presence import Device
from gateway.xmpp.session import Ignored, Send

USER = "juliet@shakespeare.lit"
BALCONY, GARDEN = f"{USER}/balcony", f"{USER}/garden"
ROMEO = "romeo%shakespeare.lit@sip.example.com"
VOICE = f"{ROMEO}/sip"
CONTENT = "<content xmlns='urn:xmpp:jingle:1' creator='initiator' name='voice'>{}</content>"
ANSWER = CONTENT.format(
    "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>"
    "<payload-type id='111' name='opus' clockrate='48000' channels='2'/></description>"
    "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='8hhy' pwd='asd88fgpdd777uzjYhagZg'>"
    "<fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256' setup='active'>"
    f"{':'.join(['CD'] * 32)}</fingerprint>"
    "</transport>"
)
CANDIDATE = CONTENT.format(
    "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1'><candidate component='1' foundation='1' generation='0' "
    "id='c' ip='192.0.2.3' network='0' port='45664' priority='1694498815' protocol='udp' type='host'/></transport>"
)
World = Any  # tests/xmpp/conftest.py


def labels(sent: list[ET.Element]) -> list[str]:
    return [stanzas.describe(stanza)[0] for stanza in sent]


def to(sent: list[ET.Element]) -> list[tuple[str, str]]:
    return [(stanzas.describe(stanza)[0], stanza.get("to", "")) for stanza in sent]


def sid(stanza: ET.Element) -> str:
    jingle = stanzas.jingle_of(stanza)
    return "" if jingle is None else jingle.get("sid", "")


def dial(world: World, offer: Session, user: str = USER) -> LegControl:
    leg: LegControl = world.router.callee("call-7", 3, user, ROMEO, world.reports.append)
    leg.dial(offer)
    return leg


def comes(
    world: World, device: str, *, jmi: bool, known: bool = True, asked: str = ROMEO, kind: str = "pc"
) -> list[ET.Element]:
    """A device of the user's is there; its capabilities are found out. What is said to it then."""
    features = disco.SETS.contact.features - (frozenset() if jmi else {stanzas.JMI})
    entity = Entity((Identity("client", kind),), features)
    caps = f"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='{entity.ver}'/>" if known else ""
    before = len(world.sent)
    for sent in world.presence(device, asked, caps):
        if sent.tag == stanzas.IQ and sent.get("type") == "get":
            info = ET.tostring(entity.info(), encoding="unicode")
            head = f"id='{sent.get('id')}' from='{device}' to='{sent.get('from')}'"
            world.says(f"<iq type='result' {head}>{info}</iq>")
    return [stanza for stanza in world.sent[before:] if stanza.tag == stanzas.MESSAGE]


def initiates(sent: list[ET.Element]) -> list[ET.Element]:
    return [stanza for stanza in sent if stanzas.describe(stanza)[0] == "session-initiate"]


# --- with JMI


def test_a_call_asks_for_presence_and_proposes_to_the_bare_jid(world: World, our_offer: Session) -> None:
    dial(world, our_offer)
    assert to(world.sent) == [("presence", USER), ("presence probe", USER), ("JMI propose", USER)]
    assert stanzas.temppres_of(world.sent[0])
    assert {stanza.get("from") for stanza in (world.sent[0], world.sent[2])} == {VOICE}
    assert world.sent[2].get("type") == "chat"


def test_a_strangers_call_asks_for_no_presence(world: World, our_offer: Session) -> None:
    leg = world.router.callee("call-7", 3, USER, ROMEO, world.reports.append, ask_presence=False)
    leg.dial(our_offer)
    assert labels(world.sent) == ["JMI propose"]


def test_a_call_is_dialled_once(world: World, our_offer: Session) -> None:
    leg = dial(world, our_offer)
    world.take()
    leg.dial(our_offer)
    assert world.take() == []


def test_the_whole_way_of_a_proposed_call(world: World, our_offer: Session) -> None:
    leg = dial(world, our_offer)
    world.take()
    world.jmi("ringing", "our1", BALCONY, VOICE)
    world.jmi("ringing", "our1", GARDEN, VOICE)
    assert world.told() == [Ringing(3)]
    (initiate,) = world.jmi("proceed", "our1", BALCONY, VOICE)
    jingle = stanzas.jingle_of(initiate)
    assert jingle is not None
    assert (initiate.get("from"), initiate.get("to")) == (VOICE, BALCONY)
    assert (jingle.get("action"), jingle.get("sid"), jingle.get("initiator")) == ("session-initiate", "our1", VOICE)
    world.replies(initiate)
    assert to(world.jingle("session-accept", ANSWER, "our1", BALCONY)) == [("result", BALCONY), ("JMI retract", GARDEN)]
    (answered,) = world.told()
    assert isinstance(answered, Answered)
    assert answered.attempt == 3
    world.take()
    leg.hang_up(Cause.NORMAL)
    assert to(world.take()) == [
        ("session-terminate", BALCONY),
        ("JMI finish", BALCONY),
        ("JMI retract", USER),
        ("presence unavailable", USER),
    ]
    assert world.router.calls == 0


def acknowledges(world: World, device: str, asked: str = VOICE) -> None:
    """The device gives the receipt that the propose asks for."""
    received = "<received xmlns='urn:xmpp:receipts' id='jm-propose-our1'/>"
    world.says(f"<message from='{device}' to='{asked}'>{received}</message>")


def test_a_receipt_counts_as_ringing(world: World, our_offer: Session) -> None:
    comes(world, BALCONY, jmi=True)
    dial(world, our_offer)
    acknowledges(world, BALCONY)
    assert world.told() == [Ringing(3)]
    world.ignored.clear()
    acknowledges(world, BALCONY)
    world.jmi("ringing", "our1", BALCONY, VOICE)
    assert world.told() == []
    assert world.ignored == ["ringing again", "ringing again"]


def test_a_client_that_gives_receipts_and_knows_no_calls_does_not_ring(world: World, our_offer: Session) -> None:
    comes(world, BALCONY, jmi=False)
    dial(world, our_offer)
    world.ignored.clear()
    acknowledges(world, BALCONY)
    acknowledges(world, GARDEN)
    assert world.told() == []
    assert world.ignored == ["receipt of a device without calls"] * 2


def test_a_device_that_proceeds_too_late_is_told_in_both_ways(world: World, our_offer: Session) -> None:
    """Conversations and Siskin understand the retract, Monal the finish."""
    dial(world, our_offer)
    assert labels(world.jmi("proceed", "our1", BALCONY, VOICE)) == ["session-initiate"]
    assert world.jmi("proceed", "our1", BALCONY, VOICE) == []
    assert to(world.jmi("proceed", "our1", GARDEN, VOICE)) == [("JMI retract", GARDEN), ("JMI finish", GARDEN)]
    world.jingle("session-accept", ANSWER, "our1", BALCONY)
    assert to(world.jmi("proceed", "our1", GARDEN, VOICE)) == [("JMI retract", GARDEN), ("JMI finish", GARDEN)]
    assert [type(report) for report in world.told()] == [Answered]


def test_devices_that_ring_are_told_when_another_took_the_call(world: World, our_offer: Session) -> None:
    """Each by its full JID, and never the one that took it: Movim and Kaidan do not understand the carbon."""
    comes(world, BALCONY, jmi=True)
    comes(world, GARDEN, jmi=True)
    comes(world, f"{USER}/attic", jmi=True, known=False)
    dial(world, our_offer)
    assert to(world.jmi("proceed", "our1", BALCONY, VOICE)) == [("session-initiate", BALCONY)]
    _, retract = world.jingle("session-accept", ANSWER, "our1", BALCONY)
    assert (retract.get("to"), stanzas.describe(retract)) == (GARDEN, ("JMI retract", "cancel answered elsewhere"))


def test_devices_that_ring_are_told_when_another_took_the_call_and_lost_it(world: World, our_offer: Session) -> None:
    comes(world, GARDEN, jmi=True)
    dial(world, our_offer)
    world.jmi("proceed", "our1", BALCONY, VOICE)
    world.take()
    world.passes(21.0)
    assert to(world.take())[:3] == [
        ("session-terminate", BALCONY),
        ("JMI finish", BALCONY),
        ("JMI retract", GARDEN),
    ]


@pytest.mark.parametrize("told", [ROMEO, "+12025550123@sip.example.com"])
def test_a_device_that_goes_away_when_another_takes_the_call_is_told_nothing(
    world: World, our_offer: Session, told: str
) -> None:
    """Its server would give it to the one that talks, whichever contact heard that it went."""
    comes(world, GARDEN, jmi=True)
    dial(world, our_offer)
    world.jmi("proceed", "our1", BALCONY, VOICE)
    world.presence(GARDEN, told, kind="unavailable")
    assert labels(world.jingle("session-accept", ANSWER, "our1", BALCONY)) == ["result"]


def test_what_is_for_one_device_is_copied_to_no_other(world: World, our_offer: Session) -> None:
    """Movim and Dino take a carbon of it for the end of their own call."""
    comes(world, GARDEN, jmi=True)
    dial(world, our_offer)
    world.jmi("proceed", "our1", BALCONY, VOICE)
    retract = world.jingle("session-accept", ANSWER, "our1", BALCONY)[-1]
    for stanza in (retract, *world.jmi("proceed", "our1", GARDEN, VOICE), *world.jmi("proceed", "x", GARDEN, VOICE)):
        hints = {stanzas.split(child) for child in stanza}
        assert {(stanzas.CARBONS, "private"), (stanzas.HINTS, "no-copy"), (stanzas.HINTS, "store")} <= hints
        assert stanza.get("type") == "chat"


def test_a_telephone_that_the_call_woke_is_asked_anew(world: World, our_offer: Session) -> None:
    """Once, and only if it was not there: Conversations does not ring for the propose that its server kept."""
    comes(world, GARDEN, jmi=True, kind="phone")
    dial(world, our_offer)
    world.take()
    world.passes(10.0)
    (propose,) = comes(world, BALCONY, jmi=True, kind="phone")
    assert (stanzas.describe(propose)[0], propose.get("to"), propose.get("id")) == (
        "JMI propose",
        BALCONY,
        "jm-propose-our1",
    )
    assert comes(world, BALCONY, jmi=True, kind="phone") == []
    assert comes(world, f"{USER}/desk", jmi=True, kind="pc") == []
    world.presence(GARDEN, ROMEO, kind="unavailable")
    world.passes(1.0)
    assert [stanza.tag for stanza in world.sent if stanza.get("to") == GARDEN and stanza.tag == stanzas.MESSAGE] == []
    world.jmi("ringing", "our1", BALCONY, VOICE)
    assert world.told() == [Ringing(3)]


def test_nobody_is_asked_anew_for_a_call_that_was_taken(world: World, our_offer: Session) -> None:
    dial(world, our_offer)
    world.passes(10.0)
    world.jmi("proceed", "our1", BALCONY, VOICE)
    assert comes(world, GARDEN, jmi=True, kind="phone") == []


def test_a_device_that_hangs_up_while_it_is_asked_has_declined(world: World, our_offer: Session) -> None:
    dial(world, our_offer)
    world.jmi("proceed", "our1", BALCONY, VOICE)
    assert labels(world.jmi("reject", "our1", BALCONY, VOICE)) == ["session-terminate", "JMI retract"]
    assert world.told() == [HungUp(Leg.CALLEE, Cause.DECLINED, 3)]
    assert world.router.calls == 0


@pytest.mark.parametrize(
    ("after", "given", "cause"),
    [
        (28.9, "", Cause.BUSY),
        (29.0, "", Cause.NO_ANSWER),
        (29.0, "<reason xmlns='urn:xmpp:jingle:1'><busy/></reason>", Cause.BUSY),
        (1.0, "<reason xmlns='urn:xmpp:jingle:1'><decline/></reason>", Cause.DECLINED),
        (1.0, "<reason xmlns='urn:xmpp:jingle:1'><cancel/></reason>", Cause.DECLINED),
        (1.0, "<reason xmlns='urn:xmpp:jingle:1'><incompatible-parameters/></reason>", Cause.NO_COMMON_CODEC),
    ],
)
def test_a_reject_is_for_all_devices(world: World, our_offer: Session, after: float, given: str, cause: Cause) -> None:
    dial(world, our_offer)
    world.passes(after)
    world.told()
    world.jmi("reject", "our1", BALCONY, VOICE, given)
    assert world.told() == [HungUp(Leg.CALLEE, cause, 3)]
    assert world.router.calls == 0


def test_a_reject_after_proceed_changes_nothing(world: World, our_offer: Session) -> None:
    dial(world, our_offer)
    world.jmi("proceed", "our1", BALCONY, VOICE)
    world.jmi("reject", "our1", GARDEN, VOICE)
    world.jmi("ringing", "our1", GARDEN, VOICE)
    world.jmi("retract", "our1", GARDEN, VOICE)
    assert world.told() == []


def test_nobody_else_answers(world: World, our_offer: Session) -> None:
    dial(world, our_offer)
    world.take()
    for kind in ("ringing", "reject"):
        world.jmi(kind, "our1", "tybalt@verona.lit/x", VOICE)
    assert world.told() == []
    assert {who for _, who in to(world.jmi("proceed", "our1", "tybalt@verona.lit/x", VOICE))} == {"tybalt@verona.lit/x"}
    assert world.told() == []


def test_no_accept_after_proceed_is_given_up(world: World, our_offer: Session) -> None:
    dial(world, our_offer)
    world.jmi("proceed", "our1", BALCONY, VOICE)
    world.take()
    assert labels(world.passes(20.0)) == ["session-terminate", "JMI finish", "JMI retract", "presence unavailable"]
    (ended,) = world.told()
    assert (ended.cause, ended.attempt) == (Cause.UNAVAILABLE, 3)


def test_no_reaction_at_all_is_retracted(world: World, our_offer: Session) -> None:
    leg = dial(world, our_offer)
    world.passes(40.0)
    assert world.told() == [Waking(3)]
    world.take()
    leg.hang_up(Cause.NO_ANSWER)
    retract, gone = world.take()
    assert to([retract, gone]) == [("JMI retract", USER), ("presence unavailable", USER)]
    leg.hang_up(Cause.NO_ANSWER)
    assert world.take() == []
    assert world.told() == []


def test_a_cancel_after_proceed_terminates(world: World, our_offer: Session) -> None:
    leg = dial(world, our_offer)
    world.jmi("proceed", "our1", BALCONY, VOICE)
    world.take()
    leg.hang_up(Cause.CANCELLED)
    terminate, finish, *_ = world.take()
    assert to([terminate, finish]) == [("session-terminate", BALCONY), ("JMI finish", BALCONY)]
    assert stanzas.describe(terminate)[1] == "cancel, the caller gave up"
    (error,) = world.jingle("session-accept", ANSWER, "our1", BALCONY)
    assert stanzas.condition(error).jingle == "unknown-session"


BOUNCE = (
    "<message type='error' id='jm-propose-our1' from='{}' to='{}'><error type='cancel'>"
    "<{} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
)


@pytest.mark.parametrize(
    ("condition", "cause"),
    [("service-unavailable", Cause.UNAVAILABLE), ("remote-server-not-found", Cause.NOT_FOUND)],
)
def test_a_bounced_propose_ends_a_call_that_has_nobody_else(
    world: World, our_offer: Session, condition: str, cause: Cause
) -> None:
    dial(world, our_offer)
    world.take()
    world.says(BOUNCE.format(BALCONY, VOICE, condition))  # one device's error is not the server's
    assert world.told() == []
    world.says(BOUNCE.format(USER, VOICE, condition))
    assert world.told() == [HungUp(Leg.CALLEE, cause, 3, condition)]
    assert "JMI retract" not in labels(world.take())


def test_the_devices_terminate_before_the_answer_is_a_refusal(world: World, our_offer: Session) -> None:
    dial(world, our_offer)
    world.jmi("proceed", "our1", BALCONY, VOICE)
    world.jingle("session-terminate", "<reason><success/></reason>", "our1", BALCONY)
    assert world.told() == [HungUp(Leg.CALLEE, Cause.DECLINED, 3)]


def test_the_devices_terminate_after_the_answer_is_the_end(world: World, our_offer: Session) -> None:
    dial(world, our_offer)
    world.jmi("proceed", "our1", BALCONY, VOICE)
    world.jingle("session-accept", ANSWER, "our1", BALCONY)
    world.told()
    world.jingle("session-terminate", "<reason><success/></reason>", "our1", BALCONY)
    assert world.told() == [HungUp(Leg.CALLEE, Cause.NORMAL, 3)]


def test_a_refused_session_initiate_ends_the_call(world: World, our_offer: Session) -> None:
    dial(world, our_offer)
    (initiate,) = world.jmi("proceed", "our1", BALCONY, VOICE)
    world.replies(initiate, "not-acceptable")
    assert [report.cause for report in world.told()] == [Cause.NO_COMMON_CODEC]


# --- who rings silently


def test_a_device_that_is_there_counts_as_ringing_after_two_seconds(world: World, our_offer: Session) -> None:
    comes(world, BALCONY, jmi=True)
    dial(world, our_offer)
    world.passes(1.9)
    assert world.told() == []
    world.passes(0.1)
    assert world.told() == [Ringing(3)]


def test_a_telephone_that_has_to_be_woken_does_not_ring_yet(world: World, our_offer: Session) -> None:
    dial(world, our_offer)
    world.passes(30.0)
    assert world.told() == [Waking(3)]


def test_a_device_that_can_only_be_asked_directly_does_not_ring_by_a_propose(world: World, our_offer: Session) -> None:
    comes(world, BALCONY, jmi=False)
    dial(world, our_offer)
    world.passes(2.0)
    assert world.told() == [Waking(3)]


# --- without JMI


def test_devices_without_jmi_are_asked_directly_and_the_others_never(world: World, our_offer: Session) -> None:
    comes(world, BALCONY, jmi=True)
    comes(world, GARDEN, jmi=False)
    world.take()
    dial(world, our_offer)
    assert ("JMI propose", USER) in to(world.sent)
    (initiate,) = initiates(world.sent)
    assert (initiate.get("to"), sid(initiate)) == (GARDEN, "our1-1")


def test_a_device_that_answers_the_presence_request_is_asked_too(world: World, our_offer: Session) -> None:
    dial(world, our_offer)
    world.take()
    comes(world, GARDEN, jmi=False, asked=VOICE)
    (initiate,) = initiates(world.sent)
    assert initiate.get("to") == GARDEN
    world.take()
    comes(world, GARDEN, jmi=False, asked=VOICE)
    assert initiates(world.sent) == []


def test_the_first_accept_wins_and_the_others_are_cancelled(world: World, our_offer: Session) -> None:
    comes(world, BALCONY, jmi=False)
    comes(world, GARDEN, jmi=False)
    dial(world, our_offer)
    first, second = initiates(world.sent)
    assert sid(first) != sid(second)
    world.replies(first)
    world.jingle("session-info", "<ringing xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>", sid(second), GARDEN)
    assert world.told() == [Ringing(3)]
    world.take()
    result, cancelled, retract = world.jingle("session-accept", ANSWER, sid(first), BALCONY)
    assert to([result, cancelled, retract]) == [
        ("result", BALCONY),
        ("session-terminate", GARDEN),
        ("JMI retract", USER),
    ]
    assert stanzas.describe(cancelled)[1] == "cancel"
    assert [type(report) for report in world.told()] == [Answered]
    (error,) = world.jingle("session-accept", ANSWER, sid(second), GARDEN)
    assert stanzas.condition(error).jingle == "unknown-session"
    assert world.told() == []


def test_a_proceed_cancels_the_direct_ones(world: World, our_offer: Session) -> None:
    comes(world, GARDEN, jmi=False)
    dial(world, our_offer)
    world.take()
    assert to(world.jmi("proceed", "our1", BALCONY, VOICE)) == [
        ("session-initiate", BALCONY),
        ("session-terminate", GARDEN),
    ]


def test_only_the_winners_candidates_reach_the_media(world: World, our_offer: Session) -> None:
    comes(world, BALCONY, jmi=False)
    comes(world, GARDEN, jmi=False)
    dial(world, our_offer)
    first, second = initiates(world.sent)
    world.jingle("transport-info", CANDIDATE, sid(first), BALCONY)
    world.jingle("transport-info", CANDIDATE.replace("192.0.2.3", "192.0.2.66"), sid(second), GARDEN)
    assert world.told() == []
    world.jingle("session-accept", ANSWER, sid(second), GARDEN)
    answered, trickled = world.told()
    assert isinstance(answered, Answered)
    assert isinstance(trickled, Trickled)
    assert (trickled.leg, trickled.attempt, trickled.candidates[0].ip) == (Leg.CALLEE, 3, "192.0.2.66")
    world.jingle("transport-info", CANDIDATE, sid(second), GARDEN)
    assert [type(report) for report in world.told()] == [Trickled]


@pytest.mark.parametrize("given", ["busy", "decline"])
def test_a_persons_no_on_one_device_is_for_all(world: World, our_offer: Session, given: str) -> None:
    comes(world, BALCONY, jmi=False)
    comes(world, GARDEN, jmi=False)
    dial(world, our_offer)
    first, _ = initiates(world.sent)
    sent = world.jingle("session-terminate", f"<reason><{given}/></reason>", sid(first), BALCONY)
    assert labels(sent) == ["result", "session-terminate", "JMI retract", "presence unavailable"][: len(sent)]
    (ended,) = world.told()
    assert ended.cause in (Cause.BUSY, Cause.DECLINED)


def test_a_device_that_cannot_leaves_the_others_ringing(world: World, our_offer: Session) -> None:
    comes(world, BALCONY, jmi=False)
    comes(world, GARDEN, jmi=False)
    dial(world, our_offer)
    first, second = initiates(world.sent)
    world.replies(first, "service-unavailable")
    world.says(BOUNCE.format(USER, VOICE, "service-unavailable"))
    assert world.told() == []
    world.jingle("session-terminate", "<reason><failed-application/></reason>", sid(second), GARDEN)
    assert world.told() == [HungUp(Leg.CALLEE, Cause.NO_COMMON_CODEC, 3)]


def test_going_away_is_one_devices_matter_while_it_rings(world: World, our_offer: Session) -> None:
    comes(world, BALCONY, jmi=False)
    dial(world, our_offer)
    world.presence(BALCONY, kind="unavailable")
    assert world.told() == []
    (proceeding,) = world.jmi("proceed", "our1", GARDEN, VOICE)
    assert proceeding.get("to") == GARDEN
    world.presence(GARDEN, kind="unavailable")
    assert [report.cause for report in world.told()] == [Cause.UNAVAILABLE]


def test_another_device_does_not_speak_in_a_devices_session(world: World, our_offer: Session) -> None:
    comes(world, BALCONY, jmi=False)
    dial(world, our_offer)
    (initiate,) = initiates(world.sent)
    (error,) = world.jingle("session-accept", ANSWER, sid(initiate), GARDEN)
    assert stanzas.condition(error).jingle == "unknown-session"
    assert world.told() == []


def test_the_number_of_direct_sessions_is_bounded(our_offer: Session) -> None:
    leg = CalleeLeg(USER, VOICE, "our1", "1-", 1)
    devices = tuple(Device(f"{USER}/{n}", Abilities(direct=True)) for n in range(30))
    sent = leg.dial(our_offer, devices, 0.0)
    assert sum(isinstance(out, Send) and stanzas.describe(out.stanza)[0] == "session-initiate" for out in sent) == 10


def test_a_user_of_whom_nothing_is_heard_is_not_there(world: World, our_offer: Session) -> None:
    """A push may take long to wake a telephone; then nobody is waited for any more."""
    dial(world, our_offer)
    world.take()
    assert world.passes(UNHEARD - 1) == []
    assert labels(world.passes(2.0)) == ["JMI retract", "presence unavailable"]
    ended = HungUp(Leg.CALLEE, Cause.UNAVAILABLE, 3, "no sign of a device within 45 s")
    assert world.told() == [Waking(3), ended]
    assert world.router.calls == 0


def test_a_device_that_comes_late_and_says_nothing_counts_as_ringing(world: World, our_offer: Session) -> None:
    dial(world, our_offer)
    world.passes(10.0)
    comes(world, BALCONY, jmi=True)
    world.passes(1.9)
    assert world.told() == [Waking(3)]
    world.passes(0.2)
    assert world.told() == [Ringing(3)]
    world.passes(100.0)
    assert world.told() == []


def test_what_comes_late_or_twice_has_no_effect_on_a_leg(our_offer: Session) -> None:
    leg = CalleeLeg(USER, VOICE, "our1", "1-", 3)
    assert leg.dial(our_offer, (), 0.0) != []
    assert leg.dial(our_offer, (), 0.0) == []
    assert leg.receipt("another", BALCONY, VOICE) == [Ignored("receipt of nothing")]
    assert leg.answered(ET.Element("iq", id="1-1"), 0.0) == [Ignored("reply to nothing")]
    assert leg.departed(BALCONY, 0.0) == []
    assert leg.ping(0.0, 1.0) == []
    assert leg.hang_up(Cause.NORMAL, "", 1.0) != []
    assert leg.hang_up(Cause.NORMAL, "", 1.0) == []
    assert leg.overruled() == []
    assert leg.seen(Device(BALCONY, None), 2.0) == []


def test_candidates_of_a_device_that_only_rings_are_kept_within_bounds(world: World, our_offer: Session) -> None:
    comes(world, BALCONY, jmi=False)
    dial(world, our_offer)
    (direct,) = initiates(world.sent)
    for _ in range(MOST_KEPT + 1):
        world.jingle("transport-info", CANDIDATE, sid(direct), BALCONY)
    assert world.ignored == ["too many candidates"]
    world.jingle("session-accept", ANSWER, sid(direct), BALCONY)
    assert len([report for report in world.told() if isinstance(report, Trickled)]) == MOST_KEPT


def test_devices_that_ring_are_told_when_another_declined(world: World, our_offer: Session) -> None:
    """All of them, also those that nobody knows to be there: none has the call."""
    dial(world, our_offer)
    (retract,) = world.jmi("reject", "our1", BALCONY, VOICE)
    assert (retract.get("to"), stanzas.describe(retract)) == (USER, ("JMI retract", "cancel declined elsewhere"))
    hints = {stanzas.split(child) for child in retract}
    assert (stanzas.HINTS, "store") in hints


def test_who_said_that_he_rings_is_told_that_another_took_the_call(world: World, our_offer: Session) -> None:
    """Whether his presence is known or not; a client without calls is left in peace, and so is one that went away."""
    attic, desk = f"{USER}/attic", f"{USER}/desk"
    comes(world, attic, jmi=False)
    dial(world, our_offer)
    acknowledges(world, GARDEN)
    acknowledges(world, attic)
    world.jmi("ringing", "our1", desk, VOICE)
    world.presence(desk, ROMEO, kind="unavailable")
    world.jmi("proceed", "our1", BALCONY, VOICE)
    sent = to(world.jingle("session-accept", ANSWER, "our1", BALCONY))
    assert sent == [("result", BALCONY), ("JMI retract", GARDEN)]


@pytest.mark.parametrize("known", [False, True])
def test_a_call_that_is_over_is_retracted_where_nobody_knows_who_is_there(
    world: World, our_offer: Session, known: bool
) -> None:
    """A Siskin that does not understand that another device took it would ring on for ever."""
    if known:
        world.says(f"<presence type='subscribe' from='{USER}' to='{ROMEO}'/>")
        world.says(f"<presence type='subscribed' from='{USER}' to='{ROMEO}'/>")
    leg = dial(world, our_offer)
    world.jmi("proceed", "our1", BALCONY, VOICE)
    world.jingle("session-accept", ANSWER, "our1", BALCONY)
    world.take()
    leg.hang_up(Cause.NORMAL)
    assert (("JMI retract", USER) in to(world.take())) is not known


@pytest.mark.parametrize(("words", "told"), [("both", False), ("ringing", True), ("receipt", True), ("full", True)])
def test_a_call_that_is_over_is_not_retracted_where_that_reads_as_a_missed_call(
    world: World, our_offer: Session, words: str, told: bool
) -> None:
    """Movim, of which nothing is known but that it acknowledges to the bare JID and says that it rings."""
    leg = dial(world, our_offer)
    if words != "receipt":
        world.jmi("ringing", "our1", BALCONY, VOICE)
    if words != "ringing":
        acknowledges(world, BALCONY, VOICE if words == "full" else ROMEO)
    world.jmi("proceed", "our1", BALCONY, VOICE)
    world.jingle("session-accept", ANSWER, "our1", BALCONY)
    world.take()
    leg.hang_up(Cause.NORMAL)
    assert (("JMI retract", USER) in to(world.take())) is told
