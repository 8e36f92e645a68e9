"""Calls as Siskin makes and takes them; the rules are those of tests/clients/siskin.py."""

from __future__ import annotations

import pytest

from gateway.session.model import Direction
from gateway.sip.message import Request
from tests.clients import user_agent as ua
from tests.clients.borogove import Borogove
from tests.clients.conversations import Conversations
from tests.clients.home import STREAM, Home
from tests.clients.monal import Monal
from tests.clients.siskin import CONNECTED, CONNECTING, ENDED, RINGING, Siskin
from tests.scenarios.clock import passes
from tests.scenarios.scene import CALLING, CONTACT, DOMAIN, OUR_NUMBER, Phone
from tests.scenarios.telephones import hung_up_content, talking
from tests.support import phone_session


def knows_two_resources_without_jmi(juliet: Siskin) -> None:
    """As of a gateway that another server's cache, or an older version of ours, made it believe in."""
    features = frozenset({ua.JINGLE, ua.ICE_UDP, ua.DTLS, ua.RTP, ua.RTP_AUDIO})
    for jid in (f"{CONTACT}/sip", f"{CONTACT}/other"):
        caps = ua.make(ua.CAPS, "c", hash="sha-1", node="urn:old", ver="old")
        juliet.presences[jid] = ua.make(STREAM, "presence", caps)
    juliet.capable["urn:old#old"] = features


async def calls_two_resources(juliet: Siskin, phone: Phone) -> Request:
    """Her call to both rings at the phone; the INVITE that it got."""
    knows_two_resources_without_jmi(juliet)
    juliet.call(CONTACT)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 180)
    await passes(5)
    return invite


# Outgoing


@pytest.mark.parametrize("known", [True, False])
async def test_a_number_is_called_and_talked_with(home: Home, known: bool) -> None:
    juliet = Siskin(home)
    if known:
        home.adds(CONTACT)
        await passes(1)
    await talking(home, juliet, rings_for=3)
    await passes(60)
    await hung_up_content(home, juliet)
    assert juliet.sees == [RINGING, CONNECTING, CONNECTED, ENDED]


async def test_a_phone_may_ring_for_as_long_as_the_dialplan_lets_it(home: Home) -> None:
    juliet, phone = Siskin(home), home.scene.phone
    juliet.call(CONTACT)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 180)
    await passes(100)
    phone.answers(invite, 200, phone_session())
    await juliet.until(CONNECTED)
    await hung_up_content(home, juliet)


async def test_one_call_to_two_resources_is_one_call(home: Home) -> None:
    """Both have the same sid; when one accepts, the other session is terminated, which must not end the call."""
    juliet, phone = Siskin(home), home.scene.phone
    invite = await calls_two_resources(juliet, phone)
    phone.answers(invite, 200, phone_session())
    await juliet.until(CONNECTED)
    await passes(10)
    assert phone.heard.count("INVITE") == 1
    await hung_up_content(home, juliet)


async def test_giving_up_a_call_to_two_resources_gives_up_the_call(home: Home) -> None:
    juliet, phone = Siskin(home), home.scene.phone
    invite = await calls_two_resources(juliet, phone)
    juliet.hang_up()
    await phone.hears("CANCEL")
    phone.answers(invite, 487)
    assert (await home.scene.over()).cause == "cancelled"


async def test_a_failed_call_to_two_resources_closes_its_screen(home: Home) -> None:
    juliet, phone = Siskin(home), home.scene.phone
    knows_two_resources_without_jmi(juliet)
    juliet.call(CONTACT)
    phone.answers(await phone.hears("INVITE"), 486)
    await juliet.until(ENDED)
    await home.scene.over()


# In a call


async def test_holding_at_the_phone_and_muting_at_the_client_break_nothing(home: Home) -> None:
    juliet, phone = Siskin(home), home.scene.phone
    invite = await talking(home, juliet, rings_for=3)
    juliet.mutes()
    for direction in (Direction.SENDONLY, Direction.SENDRECV):
        await phone.reoffers(invite, direction)
        await passes(60)
    juliet.mutes(unmute=True)
    await passes(5)
    await hung_up_content(home, juliet)


# Incoming


async def test_it_stops_ringing_when_another_kind_of_client_answers(home: Home) -> None:
    """Monal tells nobody but the caller, and carbons are no news to Siskin's calls."""
    siskin, monal, sip = Siskin(home), Monal(home), home.scene.phone
    home.adds(CALLING)
    await passes(1)
    sip.calls(OUR_NUMBER)
    await siskin.until("Incoming call")
    monal.answer()
    sip.confirms(await sip.hears_back("200 OK"))
    await monal.until("Connected")
    await passes(5)
    assert siskin.sees == ["Incoming call", ENDED]
    monal.hang_up()
    await sip.hears("BYE")
    await home.scene.over()


async def test_it_stops_ringing_for_a_number_that_is_new_to_a_user_who_has_another(home: Home) -> None:
    """The gateway has been away since the devices came online, and hears of them from those he is subscribed with."""
    home.adds(f"+12025550124@{DOMAIN}")
    siskin, monal, sip = Siskin(home), Monal(home), home.scene.phone
    await passes(1)
    home.scene.link_breaks()
    home.scene.link_is_back()
    await passes(30)
    sip.calls(OUR_NUMBER)
    await siskin.until("Incoming call")
    monal.answer()
    sip.confirms(await sip.hears_back("200 OK"))
    await monal.until("Connected")
    await passes(1)
    seen = list(siskin.sees)
    monal.hang_up()
    await sip.hears("BYE")
    await home.scene.over()
    assert seen == ["Incoming call", ENDED]


@pytest.mark.parametrize("takes_it", [Monal, Borogove])
async def test_it_stops_ringing_at_the_end_of_a_call_that_another_device_took(
    home: Home, takes_it: type[Monal | Borogove]
) -> None:
    """Of a user who has no number in the roster the devices are not known, so that none can be told before."""
    siskin, other, sip = Siskin(home), takes_it(home), home.scene.phone
    sip.calls(OUR_NUMBER)
    await siskin.until("Incoming call")
    await other.until(other.RINGS)
    other.answer()
    sip.confirms(await sip.hears_back("200 OK"))
    await passes(1)
    other.hang_up()
    await sip.hears("BYE")
    await home.scene.over()
    await passes(1)
    assert siskin.sees == ["Incoming call", ENDED]


@pytest.mark.parametrize("known", [True, False])
async def test_it_stops_ringing_when_another_kind_of_client_declines(home: Home, known: bool) -> None:
    """Conversations tells the caller, and its own kind by carbons (which declines by itself after half a minute)."""
    siskin, conversations, sip = Siskin(home), Conversations(home), home.scene.phone
    if known:
        home.adds(CALLING)
        await passes(1)
    sip.calls(OUR_NUMBER)
    await siskin.until("Incoming call")
    conversations.decline()
    await sip.hears_back("486 Busy Here")
    await home.scene.over()
    await passes(5)
    assert siskin.sees == ["Incoming call", ENDED]


async def test_two_devices_that_answer_at_one_moment_leave_no_call_behind(home: Home) -> None:
    """Each tells the other that it has the call, and both give up (MJ/JingleModule.swift:193)."""
    phone, tablet, sip = Siskin(home), Siskin(home, "siskin-2"), home.scene.phone
    sip.calls(OUR_NUMBER)
    await phone.until("Incoming call")
    await tablet.until("Incoming call")
    tablet.answer()
    phone.answer()
    await passes(25)
    await sip.hears_back("480 Temporarily Unavailable")
    await home.scene.over()
    assert (phone.talk, tablet.talk) == (None, None)
