"""Calls as clients on the borogove SDK make and take them."""

from __future__ import annotations

import pytest

from tests.clients.borogove import Borogove
from tests.clients.dino import Dino
from tests.clients.home import Home
from tests.scenarios.clock import passes
from tests.scenarios.scene import DOMAIN, NUMBER, Scene
from tests.support import phone_session

CONTACT = f"{NUMBER}@{DOMAIN}"
OUR_NUMBER = f"sip:+12025550100@{DOMAIN}"


@pytest.fixture
def scene(home: Home) -> Scene:
    return home.scene


# Calling


async def test_the_button_lights_for_a_number_that_says_what_it_can(home: Home) -> None:
    borogove = Borogove(home)
    assert not borogove.can_call(CONTACT)
    home.adds(CONTACT)
    await borogove._wait(lambda: borogove.can_call(CONTACT), "a button")


async def test_the_button_lights_for_any_number_of_a_telephone_gateway(home: Home) -> None:
    borogove = Borogove(home)
    await borogove.adds_gateway(DOMAIN)
    assert borogove.can_call(CONTACT)


@pytest.mark.parametrize("video", [False, True])
async def test_a_borogove_user_calls_talks_and_hangs_up(home: Home, scene: Scene, video: bool) -> None:
    borogove = Borogove(home)
    borogove.call(CONTACT, video=video)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 180)
    await passes(40)
    scene.phone.answers(invite, 200, phone_session())
    await borogove.until("ongoing")
    borogove.hang_up()
    await scene.phone.hears("BYE")
    assert (await scene.over()).by == "caller"
    assert borogove.complaints == []


async def test_a_borogove_user_gives_up_while_it_rings(home: Home, scene: Scene) -> None:
    borogove = Borogove(home)
    borogove.call(CONTACT)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 180)
    borogove.hang_up()
    await scene.phone.hears("CANCEL")
    scene.phone.answers(invite, 487)
    assert (await scene.over()).cause == "cancelled"


@pytest.mark.parametrize("status", [486, 404, 503])
async def test_a_phone_that_does_not_answer_ends_the_call(home: Home, scene: Scene, status: int) -> None:
    borogove = Borogove(home)
    borogove.call(CONTACT)
    scene.phone.answers(await scene.phone.hears("INVITE"), status)
    await borogove.until("ended")
    await scene.over()


async def test_a_phone_that_hangs_up_ends_the_call(home: Home, scene: Scene) -> None:
    borogove = Borogove(home)
    borogove.call(CONTACT)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 200, phone_session())
    await borogove.until("ongoing")
    scene.phone.hangs_up(invite)
    await borogove.until("ended")
    assert (await scene.over()).by == "callee"


async def test_a_camera_turned_on_in_the_call_does_not_end_it(home: Home, scene: Scene) -> None:
    borogove = Borogove(home)
    borogove.call(CONTACT)
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, phone_session())
    await borogove.until("ongoing")
    borogove.turns_camera_on()
    await borogove.hears("iq content-reject")
    await passes(60)
    assert borogove.state == "ongoing"
    borogove.hang_up()
    await scene.over()


async def test_a_call_whose_media_finds_no_way_ends_for_both(home: Home, scene: Scene) -> None:
    """The browser gives up, and says so twice: the session ends, then the proposal does."""
    borogove = Borogove(home)
    borogove._candidates = list  # type: ignore[method-assign]  # it has no network
    borogove.call(CONTACT)
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, phone_session())
    await borogove.until("ended")
    await scene.phone.hears("BYE")
    assert (await scene.over()).cause == "media-failed"
    await passes(1)
    assert not [label for label in borogove.heard if label.startswith("message error")]


# Being called


async def test_a_borogove_rings_answers_and_hangs_up(home: Home, scene: Scene) -> None:
    """It says nothing when it rings; where it is known to be there, the phone hears ringing all the same."""
    home.knows(CONTACT)
    borogove = Borogove(home)
    await borogove.hears("presence")
    scene.phone.calls(OUR_NUMBER)
    await borogove.until("incoming")
    await scene.phone.hears_back("180 Ringing")
    borogove.answer()
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await borogove.until("ongoing")
    borogove.hang_up()
    await scene.phone.hears("BYE")
    assert (await scene.over()).by == "callee"
    assert borogove.complaints == []


async def test_a_borogove_that_nobody_knows_to_be_there_is_answered_too(home: Home, scene: Scene) -> None:
    borogove = Borogove(home)
    scene.phone.calls(OUR_NUMBER)
    await borogove.until("incoming")
    await passes(10)
    borogove.answer()
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await borogove.until("ongoing")
    borogove.hang_up()
    await scene.over()


async def test_a_call_that_is_declined_without_a_word_is_not_answered(home: Home, scene: Scene) -> None:
    borogove = Borogove(home)
    scene.phone.calls(OUR_NUMBER)
    await borogove.until("incoming")
    borogove.decline()
    await passes(60)
    await scene.phone.hears_back("480 Temporarily Unavailable")
    await scene.over()


async def test_a_phone_that_gives_up_stops_the_ringing(home: Home, scene: Scene) -> None:
    borogove = Borogove(home)
    invite = scene.phone.calls(OUR_NUMBER)
    await borogove.until("incoming")
    scene.phone.cancels(invite)
    await borogove.until("ended")
    assert (await scene.over()).cause == "cancelled"


async def test_a_phone_that_hangs_up_on_an_answered_call_ends_it(home: Home, scene: Scene) -> None:
    borogove = Borogove(home)
    scene.phone.calls(OUR_NUMBER)
    await borogove.until("incoming")
    borogove.answer()
    ok = await scene.phone.hears_back("200 OK")
    scene.phone.confirms(ok)
    await borogove.until("ongoing")
    scene.phone.hangs_up(ok)
    await borogove.until("ended")
    assert (await scene.over()).by == "caller"


async def test_a_borogove_stops_ringing_when_a_dino_answers(home: Home, scene: Scene) -> None:
    borogove, dino = Borogove(home), Dino(home)
    scene.phone.calls(OUR_NUMBER)
    await borogove.until("incoming")
    await dino.until("incoming")
    dino.answer()
    await borogove.until("ended")
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await dino.until("connected")
    dino.hang_up()
    await scene.over()


async def test_a_borogove_stops_ringing_when_a_dino_declines(home: Home, scene: Scene) -> None:
    borogove, dino = Borogove(home), Dino(home)
    scene.phone.calls(OUR_NUMBER)
    await borogove.until("incoming")
    await dino.until("incoming")
    dino.decline()
    await borogove.until("ended")
    await scene.over()
