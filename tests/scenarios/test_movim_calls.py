"""Calls as Movim makes and takes them."""

from __future__ import annotations

import pytest

from tests.clients.home import Home
from tests.clients.movim import Movim
from tests.scenarios.clock import passes
from tests.scenarios.scene import CALLING, CONTACT, OUR_NUMBER, Scene
from tests.scenarios.telephones import hung_up_content, talking


@pytest.fixture
def scene(home: Home) -> Scene:
    """Juliet is at home, and the number has been in her roster for long."""
    home.knows(CONTACT)
    return home.scene


async def online(home: Home, resource: str = "movim") -> Movim:
    """A browser that knows what the number can."""
    movim = Movim(home, resource)
    await movim.lights(CONTACT)
    return movim


# Calling


async def test_the_button_of_an_added_number_lights_for_audio_only(home: Home) -> None:
    movim = Movim(home)
    assert movim.buttons(CONTACT) == []
    home.adds(CONTACT)
    await movim.lights(CONTACT)
    assert movim.buttons(CONTACT) == ["audio"]


async def test_a_movim_user_mutes_herself_and_may_press_digits(home: Home, scene: Scene) -> None:
    movim = await online(home)
    await talking(home, movim, rings_for=40)
    movim.mute()
    await passes(60)
    assert (await hung_up_content(home, movim)).by == "caller"
    assert movim.sees == ["calling", "connected", "ended"]
    assert movim.can_dial


# Being called


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("who", ["user", "phone"])
async def test_a_call_that_a_movim_took_is_no_missed_call_in_its_chat(home: Home, who: str, known: bool) -> None:
    """It writes that line for every retract, of whatever call."""
    movim, phone = Movim(home), home.scene.phone
    if known:
        home.adds(CALLING)
        await passes(1)
    phone.calls(OUR_NUMBER)
    await movim.until("incoming")
    movim.answer()
    ok = await phone.hears_back("200 OK")
    phone.confirms(ok)
    await movim.until("connected")
    if who == "user":
        movim.hang_up()
    else:
        phone.hangs_up(ok)
    await home.scene.over()
    await passes(5)
    assert movim.lines == []
