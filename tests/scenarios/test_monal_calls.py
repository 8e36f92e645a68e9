"""Calls as Monal makes and takes them; the rules are those of tests/clients/monal.py."""

from __future__ import annotations

from tests.clients.conversations import Conversations
from tests.clients.home import Home
from tests.clients.monal import CONNECTED, CONNECTING, DISCOVERING, ENDED, RINGING, Monal
from tests.scenarios.clock import passes
from tests.scenarios.scene import CONTACT, OUR_NUMBER
from tests.scenarios.telephones import hung_up_content, talking
from tests.support import phone_session

# Outgoing


async def test_a_number_in_the_roster_does_not_seem_to_lack_support(home: Home) -> None:
    juliet = Monal(home)
    home.adds(CONTACT)
    await passes(1)
    await talking(home, juliet, rings_for=3)
    await hung_up_content(home, juliet)
    assert juliet.sees == [DISCOVERING, RINGING, CONNECTING, CONNECTED, ENDED["normal"]]


async def test_a_phone_that_rings_for_longer_is_given_up_by_the_client_and_stops(home: Home) -> None:
    juliet, phone = Monal(home), home.scene.phone
    juliet.call(CONTACT)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 180)
    await passes(46)
    await phone.hears("CANCEL")
    phone.answers(invite, 487)
    assert (await home.scene.over()).cause == "cancelled"


async def test_a_known_number_may_take_its_time_to_ring(home: Home) -> None:
    """Thirty seconds for the first sign of a device."""
    juliet, phone = Monal(home), home.scene.phone
    home.adds(CONTACT)
    await passes(1)
    juliet.call(CONTACT)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 100)
    await passes(35)
    phone.answers(invite, 180)
    await passes(5)
    phone.answers(invite, 200, phone_session())
    await juliet.until(CONNECTED)
    await hung_up_content(home, juliet)


# In a call


async def test_a_broken_path_ends_the_call_at_the_phone_too(home: Home) -> None:
    juliet = Monal(home)
    await talking(home, juliet, rings_for=3)
    juliet.loses_its_connection()
    await juliet.until(ENDED["connectivity"])
    await home.scene.phone.hears("BYE")
    await home.scene.over()


async def test_a_further_call_of_the_same_number_does_not_take_the_place_of_the_first(home: Home) -> None:
    """Monal would leave the call that it has for the new one, and answer that by itself (MLCall.m:495)."""
    juliet, phone = Monal(home), home.scene.phone
    phone.calls(OUR_NUMBER)
    await juliet.until("Incoming call")
    juliet.answer()
    ok = await phone.hears_back("200 OK")
    phone.confirms(ok)
    await juliet.until(CONNECTED)
    phone.calls(OUR_NUMBER)
    await phone.hears_back("486 Busy Here")
    await home.scene.over()
    await hung_up_content(home, juliet)


# Incoming


async def test_a_device_that_answers_a_moment_too_late_is_told_so_and_the_call_goes_on(home: Home) -> None:
    """It says finish of its own then, which Conversations ignores. Another Monal would take it for its own call's end,
    as any carbon of a finish (MLVoIPProcessor.m:627): two of them that answer at one moment cannot be helped from here.
    """
    late, quick, sip = Monal(home), Conversations(home), home.scene.phone
    sip.calls(OUR_NUMBER)
    await late.until("Incoming call")
    await quick.until("Incoming call")
    quick.answer()
    late.answer()
    sip.confirms(await sip.hears_back("200 OK"))
    await quick.until("Connected")
    await passes(30)
    assert late.calls == {}, late.sees
    assert quick.sees[-1] == "Connected"
    quick.hang_up()
    await sip.hears("BYE")
    await home.scene.over()


async def test_what_a_late_device_is_told_does_not_reach_the_one_that_talks(home: Home) -> None:
    quick, late, sip = Monal(home), Conversations(home), home.scene.phone
    sip.calls(OUR_NUMBER)
    await late.until("Incoming call")
    await quick.until("Incoming call")
    quick.answer()
    late.answer()
    sip.confirms(await sip.hears_back("200 OK"))
    await quick.until(CONNECTED)
    await late.until("Retracted call")
    await passes(30)
    await hung_up_content(home, quick)
