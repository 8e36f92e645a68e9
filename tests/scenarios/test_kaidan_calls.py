"""Calls as Kaidan makes and takes them."""

from __future__ import annotations

import asyncio

import pytest

from tests.clients.dino import Dino
from tests.clients.home import Home
from tests.clients.kaidan import Kaidan
from tests.scenarios.clock import passes
from tests.scenarios.scene import DOMAIN, NUMBER, Scene
from tests.support import phone_session

CONTACT = f"{NUMBER}@{DOMAIN}"
OUR_NUMBER = f"sip:+12025550100@{DOMAIN}"


@pytest.fixture
def scene(home: Home) -> Scene:
    return home.scene


# Calling


async def test_a_number_that_was_never_heard_of_is_called(home: Home, scene: Scene) -> None:
    kaidan = Kaidan(home)
    kaidan.call(CONTACT)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 180)
    await passes(40)
    scene.phone.answers(invite, 200, phone_session())
    await kaidan.until("connected")
    await passes(20)
    kaidan.hang_up()
    await kaidan.until("ended")
    await scene.phone.hears("BYE")
    assert (await scene.over()).by == "caller"
    assert kaidan.complaints == []


async def test_a_call_outlives_the_time_in_which_rtcp_too_has_to_be_connected(home: Home, scene: Scene) -> None:
    kaidan = Kaidan(home)
    kaidan.call(CONTACT)
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, phone_session())
    await kaidan.until("connected")
    await passes(60)
    kaidan.hang_up()
    assert (await scene.over()).by == "caller"
    assert kaidan.complaints == []


async def test_a_kaidan_user_gives_up_while_it_rings(home: Home, scene: Scene) -> None:
    kaidan = Kaidan(home)
    kaidan.call(CONTACT)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 180)
    kaidan.hang_up()
    await scene.phone.hears("CANCEL")
    scene.phone.answers(invite, 487)
    assert (await scene.over()).cause == "cancelled"


@pytest.mark.parametrize("status", [486, 603, 404, 503])
async def test_a_phone_that_does_not_answer_closes_the_window(home: Home, scene: Scene, status: int) -> None:
    kaidan = Kaidan(home)
    kaidan.call(CONTACT)
    scene.phone.answers(await scene.phone.hears("INVITE"), status)
    await kaidan.until("ended")
    await scene.over()


async def test_a_phone_that_hangs_up_closes_the_window(home: Home, scene: Scene) -> None:
    """Both the session and the proposal come to an end, each said once by each side."""
    kaidan = Kaidan(home)
    kaidan.call(CONTACT)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 200, phone_session())
    await kaidan.until("connected")
    scene.phone.hangs_up(invite)
    await kaidan.until("ended")
    assert (await scene.over()).by == "callee"
    await passes(1)
    assert kaidan.heard.count("message finish") == 1


async def test_a_video_call_to_a_number_without_video_ends_when_it_is_answered(home: Home, scene: Scene) -> None:
    """Kaidan asks only after the proceed; what remains is to hang up the phone at once, not after a time-out."""
    kaidan = Kaidan(home)
    kaidan.call(CONTACT, video=True)
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, phone_session())
    await kaidan.until("ended")
    before = asyncio.get_running_loop().time()
    await scene.phone.hears("BYE")
    assert asyncio.get_running_loop().time() - before < 2
    assert (await scene.over()).by == "caller"


# Being called


async def test_a_kaidan_rings_answers_and_hangs_up(home: Home, scene: Scene) -> None:
    kaidan = Kaidan(home)
    scene.phone.calls(OUR_NUMBER)
    await kaidan.until("incoming")
    await scene.phone.hears_back("180 Ringing")
    kaidan.answer()
    ok = await scene.phone.hears_back("200 OK")
    scene.phone.confirms(ok)
    await kaidan.until("connected")
    kaidan.hang_up()
    await scene.phone.hears("BYE")
    assert (await scene.over()).by == "callee"
    assert kaidan.complaints == []


async def test_a_call_to_a_kaidan_outlives_the_time_in_which_rtcp_too_has_to_be_connected(
    home: Home, scene: Scene
) -> None:
    kaidan = Kaidan(home)
    scene.phone.calls(OUR_NUMBER)
    await kaidan.until("incoming")
    kaidan.answer()
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await kaidan.until("connected")
    await passes(60)
    kaidan.hang_up()
    assert (await scene.over()).by == "callee"
    assert kaidan.complaints == []


async def test_a_phone_that_hangs_up_on_an_answered_call_closes_the_window(home: Home, scene: Scene) -> None:
    kaidan = Kaidan(home)
    scene.phone.calls(OUR_NUMBER)
    await kaidan.until("incoming")
    kaidan.answer()
    ok = await scene.phone.hears_back("200 OK")
    scene.phone.confirms(ok)
    await kaidan.until("connected")
    scene.phone.hangs_up(ok)
    await kaidan.until("ended")
    assert (await scene.over()).by == "caller"


async def test_a_kaidan_user_declines(home: Home, scene: Scene) -> None:
    kaidan = Kaidan(home)
    scene.phone.calls(OUR_NUMBER)
    await kaidan.until("incoming")
    kaidan.decline()
    await scene.phone.hears_back("603 Decline")
    await scene.over()


async def test_a_phone_that_gives_up_stops_the_ringing(home: Home, scene: Scene) -> None:
    kaidan = Kaidan(home)
    invite = scene.phone.calls(OUR_NUMBER)
    await kaidan.until("incoming")
    await scene.phone.hears_back("180 Ringing")
    scene.phone.cancels(invite)
    await kaidan.until("ended")
    assert (await scene.over()).cause == "cancelled"


async def test_a_window_that_nobody_looks_at_is_closed_by_the_gateway(home: Home, scene: Scene) -> None:
    kaidan = Kaidan(home)
    scene.phone.calls(OUR_NUMBER)
    await kaidan.until("ended")
    await scene.phone.hears_back("480 Temporarily Unavailable")
    await scene.over()


async def test_a_second_call_of_the_same_number_rings_like_the_first(home: Home, scene: Scene) -> None:
    """A proposal of the same JID while it holds the first would be a tie break for it."""
    kaidan = Kaidan(home)
    for _ in range(2):
        invite = scene.phone.calls(OUR_NUMBER)
        await kaidan.until("incoming")
        await scene.phone.hears_back("180 Ringing")
        scene.phone.cancels(invite)
        await kaidan.until("ended")
        await scene.over()
        kaidan.sees.clear()
    assert kaidan.complaints == []


async def test_a_kaidan_stops_ringing_when_another_device_answers(home: Home, scene: Scene) -> None:
    home.knows(CONTACT)
    kaidan, dino = Kaidan(home), Dino(home)
    await kaidan.hears("presence")
    await dino.hears("presence")
    scene.phone.calls(OUR_NUMBER)
    await kaidan.until("incoming")
    await dino.until("incoming")
    dino.answer()
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await dino.until("connected")
    await passes(5)
    dino.hang_up()
    assert (await scene.over()).by == "callee"
    assert kaidan.sees == ["incoming", "ended"]


async def test_a_kaidan_that_answers_what_another_took_is_told(home: Home, scene: Scene) -> None:
    kaidan, dino = Kaidan(home), Dino(home)
    scene.phone.calls(OUR_NUMBER)
    await kaidan.until("incoming")
    await dino.until("incoming")
    dino.answer()
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await dino.until("connected")
    kaidan.answer()
    await kaidan.until("ended")
    assert dino.state == "talking"
    dino.hang_up()
    await scene.over()


async def test_a_kaidan_stops_ringing_when_another_device_declines(home: Home, scene: Scene) -> None:
    kaidan, dino = Kaidan(home), Dino(home)
    scene.phone.calls(OUR_NUMBER)
    await kaidan.until("incoming")
    await dino.until("incoming")
    dino.decline()
    await kaidan.until("ended")
    await scene.over()


async def test_a_kaidan_that_a_stranger_calls_stops_ringing_when_another_device_answers(
    home: Home, scene: Scene
) -> None:
    kaidan, dino = Kaidan(home), Dino(home)
    scene.phone.calls(OUR_NUMBER)
    await kaidan.until("incoming")
    await dino.until("incoming")
    dino.answer()
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await dino.until("connected")
    await kaidan.until("ended")
    dino.hang_up()
    await scene.over()
