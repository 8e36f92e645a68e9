"""Calls as Kaidan makes and takes them."""

from __future__ import annotations

import asyncio

import pytest

from tests.clients.dino import Dino
from tests.clients.home import Home
from tests.clients.kaidan import Kaidan
from tests.scenarios.scene import CONTACT, OUR_NUMBER, Scene
from tests.support import phone_session


@pytest.fixture
def scene(home: Home) -> Scene:
    return home.scene


# Calling


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
