"""Calls as clients on the borogove SDK make and take them."""

from __future__ import annotations

import pytest

from tests.clients.borogove import Borogove
from tests.clients.home import Home
from tests.scenarios.clock import passes
from tests.scenarios.scene import CONTACT, DOMAIN, OUR_NUMBER, Scene
from tests.support import phone_session


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


async def test_a_call_that_is_declined_without_a_word_is_not_answered(home: Home, scene: Scene) -> None:
    borogove = Borogove(home)
    scene.phone.calls(OUR_NUMBER)
    await borogove.until("incoming")
    borogove.decline()
    await passes(60)
    await scene.phone.hears_back("480 Temporarily Unavailable")
    await scene.over()
