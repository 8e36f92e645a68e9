"""What waits for the link, and the endings that are said until somebody heard them."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from gateway.session.jingle import Reason
from gateway.xmpp import outbox, stanzas
from gateway.xmpp.outbox import ENDING_AGAIN, ENDING_LASTS, UNHEARD, Outbox

JULIET = "juliet@shakespeare.lit/balcony"
VOICE = "romeo%shakespeare.lit@sip.example.com/sip"


def terminate(id_: str = "1-1") -> ET.Element:
    stanza = stanzas.iq(JULIET, VOICE, id=id_)
    stanza.append(stanzas.terminate("s1", Reason("success")))
    return stanza


def info(id_: str) -> ET.Element:
    stanza = stanzas.iq(JULIET, VOICE, id=id_)
    stanza.append(stanzas.jingle("session-info", "s1"))
    return stanza


def jmi(kind: str) -> ET.Element:
    return stanzas.jmi(kind, "s1", JULIET, VOICE)


class Scene:
    def __init__(self) -> None:
        self.sent: list[ET.Element] = []
        self.box = Outbox(self.sent.append)
        self.box.link_up(0.0)

    def take(self) -> list[str]:
        sent, self.sent[:] = list(self.sent), []
        return [stanzas.describe(stanza)[0] for stanza in sent]

    def replied(self, to: ET.Element, error: str = "", now: float = 0.0, from_: str = JULIET) -> bool:
        reply = stanzas.error(to, error) if error else stanzas.result(to)
        reply.set("from", from_)
        return self.box.answered(reply, now)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_what_is_said_while_the_link_is_down_is_said_in_its_order_when_it_is_back(scene: Scene) -> None:
    scene.box.link_down(1.0)
    for stanza in (info("1-1"), jmi("ringing"), terminate("1-2"), jmi("finish")):
        scene.box.say(stanza, 2.0)
    assert scene.take() == []
    scene.box.link_up(3.0)
    assert scene.take() == ["session-info", "JMI ringing", "session-terminate", "JMI finish"]


def test_an_ending_that_nobody_acknowledged_is_said_again_with_every_new_link(scene: Scene) -> None:
    ending = terminate()
    scene.box.say(ending, 0.0)
    assert scene.take() == ["session-terminate"]
    for at in (10.0, 20.0):
        scene.box.link_down(at)
        scene.box.link_up(at + 5)
        assert scene.take() == ["session-terminate"]
    assert scene.replied(ending)
    scene.box.link_down(30.0)
    scene.box.link_up(31.0)
    assert scene.take() == []


@pytest.mark.parametrize("error", ["item-not-found", "forbidden", ""])
def test_an_answered_ending_is_done_with(scene: Scene, error: str) -> None:
    ending = terminate()
    scene.box.say(ending, 0.0)
    assert scene.replied(ending, error)
    assert not scene.replied(ending, error)
    assert scene.box.deadline is None


def test_somebody_else_cannot_acknowledge_it(scene: Scene) -> None:
    ending = terminate()
    scene.box.say(ending, 0.0)
    assert not scene.replied(ending, from_="nurse@shakespeare.lit/x")


def test_a_device_on_its_way_back_is_told_until_it_is_there_or_two_minutes_are_over(scene: Scene) -> None:
    ending = terminate()
    scene.box.say(ending, 0.0)
    scene.take()
    now, said = 0.0, 0
    assert scene.replied(ending, "service-unavailable", now)
    while scene.box.deadline is not None:
        now = scene.box.deadline
        scene.box.tick(now - 0.1)
        assert scene.take() == []
        scene.box.tick(now)
        said += len(scene.take())
        assert scene.replied(ending, "service-unavailable", now)
    assert said == ENDING_LASTS / ENDING_AGAIN
    assert not scene.replied(ending, now=now)


def test_nothing_is_due_while_the_link_is_down(scene: Scene) -> None:
    ending = terminate()
    scene.box.say(ending, 0.0)
    scene.replied(ending, "service-unavailable")
    scene.box.link_down(1.0)
    assert scene.box.deadline is None
    scene.take()
    scene.box.tick(100.0)
    assert scene.take() == []


def test_a_client_that_never_answers_is_not_told_for_ever(scene: Scene) -> None:
    scene.box.say(terminate(), 0.0)
    scene.take()
    scene.box.tick(ENDING_LASTS + 1)
    scene.box.link_down(ENDING_LASTS + 2)
    scene.box.link_up(ENDING_LASTS + 3)
    assert scene.take() == []


def test_a_message_that_ended_a_call_is_said_again_if_the_old_link_may_have_been_dead(scene: Scene) -> None:
    scene.box.say(jmi("retract"), 0.0)
    scene.box.say(jmi("reject"), 20.0)
    scene.box.say(jmi("ringing"), 20.0)
    scene.take()
    scene.box.link_down(UNHEARD + 1)
    scene.box.link_up(UNHEARD + 2)
    assert scene.take() == ["JMI reject"]
    scene.box.link_down(UNHEARD + 3)
    scene.box.link_up(UNHEARD + 4)
    assert scene.take() == []


def test_when_all_calls_are_over_only_their_endings_wait(scene: Scene) -> None:
    scene.box.link_down(0.0)
    for stanza in (info("1-1"), jmi("propose"), terminate("1-2"), jmi("finish")):
        scene.box.say(stanza, 1.0)
    scene.box.drop_all_but_endings()
    scene.box.link_up(2.0)
    assert scene.take() == ["session-terminate", "JMI finish"]


def test_what_waits_and_what_is_remembered_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_KEPT", 1)
    monkeypatch.setattr(outbox, "MOST_ENDINGS", 2)
    for number in range(5):
        scene.box.say(terminate(f"1-{number}"), 0.0)
    scene.take()
    scene.box.link_down(1.0)
    scene.box.say(info("2-1"), 1.0)
    scene.box.say(info("2-2"), 1.0)
    scene.box.link_up(2.0)
    assert scene.take() == ["session-terminate", "session-terminate", "session-info"]
