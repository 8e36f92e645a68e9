"""Jingle messages that cross others, come too late or ask for what cannot be: what their sender is told.

Each of these has a client that waits, rings or shows something false without it.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from gateway.xmpp import stanzas
from tests.scenarios.scene import CALLING, CONTACT, DOMAIN, OUR_NUMBER, Device, Scene
from tests.support import phone_session


def proposes(juliet: Device, contact: str, sid: str, *, media: str = "audio", receipt: bool = False) -> None:
    stanza = stanzas.message(contact, juliet.jid, id=f"jm-propose-{sid}")
    propose = ET.SubElement(stanza, f"{{{stanzas.JMI}}}propose", {"id": sid})
    ET.SubElement(propose, f"{{{stanzas.RTP}}}description", {"media": media})
    if receipt:
        ET.SubElement(stanza, "{urn:xmpp:receipts}request")
    juliet.sends(stanza)


def ties(stanza: ET.Element) -> bool:
    return stanza[0].find(f"{{{stanzas.JMI}}}tie-break") is not None


# Two who call each other (XEP-0353 §4.1)


async def test_a_user_s_propose_with_the_lower_id_takes_the_place_of_the_one_that_it_crossed(scene: Scene) -> None:
    juliet = scene.device()
    scene.phone.calls(OUR_NUMBER)
    await juliet.hears("JMI propose")
    juliet.proposes(CALLING, "!")
    retract = await juliet.hears("JMI retract")
    assert ties(retract)
    await scene.phone.hears_back("486 Busy Here")
    invite = await scene.phone.hears("INVITE")
    assert (await scene.over()).cause == "busy"
    scene.phone.answers(invite, 486)
    await juliet.hears("JMI reject")
    await scene.over()


async def test_a_user_s_propose_with_the_higher_id_gives_way_to_the_one_that_it_crossed(scene: Scene) -> None:
    juliet = scene.device()
    invite = scene.phone.calls(OUR_NUMBER)
    propose = await juliet.hears("JMI propose")
    juliet.proposes(CALLING, "~")
    reject = await juliet.hears("JMI reject")
    assert ties(reject)
    assert reject[0].get("id") == "~"
    juliet.says("ringing", CALLING, propose[0].get("id", ""))
    await scene.phone.hears_back("180 Ringing")
    scene.phone.cancels(invite)
    await scene.over()
    assert "INVITE" not in scene.phone.heard


# What is too late


@pytest.mark.parametrize("moment", ["after the retract", "after the call"])
async def test_a_proceed_of_a_call_that_is_over_is_told_so_in_both_words(scene: Scene, moment: str) -> None:
    """Conversations and Siskin understand the retract, Monal the finish; each waits for a session without it."""
    juliet = scene.device()
    invite = scene.phone.calls(OUR_NUMBER)
    propose = await juliet.hears("JMI propose")
    sid = propose[0].get("id", "")
    scene.phone.cancels(invite)
    await juliet.hears("JMI retract")
    if moment == "after the call":
        await scene.over()
    juliet.says("proceed", propose.get("from", ""), sid)
    for label in ("JMI retract", "JMI finish"):
        told = await juliet.hears(label)
        assert (told.get("from"), told.get("to"), told[0].get("id")) == (f"{CALLING}/sip", juliet.jid, sid)
        assert told.find("{urn:xmpp:carbons:2}private") is not None, "another device may be talking with this contact"
    assert "session-initiate" not in juliet.heard


async def test_a_device_that_waits_for_a_proceed_no_more_ends_the_call_by_an_error(scene: Scene) -> None:
    """Conversations (JingleConnectionManager.deliverMessage). The phone has answered, and has nobody to wait for."""
    juliet = scene.device()
    juliet.proposes(CONTACT, "s1")
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, phone_session())
    proceed = await juliet.hears("JMI proceed")
    juliet.sends(stanzas.error(proceed, "item-not-found"))
    await scene.phone.hears("BYE")
    record = await scene.over()
    assert (record.cause, record.by) == ("cancelled", "caller")


# What is asked for


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_propose_that_wants_a_receipt_has_it_when_the_phone_rings(scene: Scene, wanted: bool) -> None:
    """To Conversations it is as good as ringing, and it gives up without either."""
    juliet = scene.device()
    proposes(juliet, CONTACT, "s1", receipt=wanted)
    invite = await scene.phone.hears("INVITE")
    assert "receipt" not in juliet.heard
    scene.phone.answers(invite, 180)
    ringing = await juliet.hears("JMI ringing")
    if wanted:
        receipt = await juliet.hears("receipt")
        assert stanzas.receipt_of(receipt) == "jm-propose-s1"
        assert receipt.get("from") == ringing.get("from")
    scene.phone.answers(invite, 486)
    await juliet.hears("JMI reject")
    await scene.over()
    assert juliet.heard.count("receipt") == wanted


async def test_a_propose_without_sound_is_rejected_and_calls_nobody(scene: Scene) -> None:
    juliet = scene.device()
    proposes(juliet, CONTACT, "s1", media="video")
    assert await juliet.hears_reason("JMI reject") == "unsupported-applications"
    assert scene.phone.heard == []


async def test_a_propose_that_the_dialplan_refuses_is_rejected_too(scene: Scene) -> None:
    """The error alone is nothing to Siskin, which would show the call for ever."""
    juliet = scene.device()
    juliet.proposes(f"+19005550123@{DOMAIN}", "s1")
    await juliet.hears("error forbidden")
    reject = await juliet.hears("JMI reject")
    assert (reject.get("to"), reject[0].get("id")) == (juliet.jid, "s1")
    await scene.over()
    assert scene.phone.heard == []
