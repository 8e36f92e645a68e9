"""Calls as web clients made with stanza.js make and take them: a session at once, no Jingle messages."""

from __future__ import annotations

import pytest

from tests.clients.dino import Dino
from tests.clients.home import Home
from tests.clients.stanzajs import StanzaJs
from tests.scenarios.clock import passes
from tests.scenarios.scene import CONTACT, OUR_NUMBER, Scene
from tests.support import phone_session


@pytest.fixture
def scene(home: Home) -> Scene:
    """Juliet is at home, and the number has been in her roster for long."""
    home.knows(CONTACT)
    return home.scene


async def talking(scene: Scene, web: StanzaJs, contact: str = f"{CONTACT}/sip") -> None:
    web.call(contact)
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, phone_session())
    await web.until("connected")
    await scene.phone.hears("ACK")


async def is_known(*devices: StanzaJs | Dino) -> None:
    """The gateway has asked what they can; of two that are alike only one."""
    await devices[0].hears("iq get")
    await passes(0.1)


# Calling


@pytest.mark.parametrize("contact", [f"{CONTACT}/sip", CONTACT, f"{CONTACT}/phone"])
async def test_a_web_client_calls_whatever_jid_of_the_number_it_likes(home: Home, scene: Scene, contact: str) -> None:
    """It hears nobody but the very JID that it called."""
    web = StanzaJs(home)
    web.call(contact)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 180)
    await web.until("ringing")
    scene.phone.answers(invite, 200, phone_session())
    await web.until("connected")
    web.hang_up()
    await scene.phone.hears("BYE")
    assert (await scene.over()).by == "caller"
    assert web.sees == ["calling", "ringing", "accepted", "connected", "ended"]
    assert web.complaints == []
    assert web.can_dial


async def test_it_does_not_ring_before_the_phone_does(home: Home, scene: Scene) -> None:
    web = StanzaJs(home)
    web.call(CONTACT)
    invite = await scene.phone.hears("INVITE")
    await passes(20)
    assert web.sees == ["calling"]
    scene.phone.answers(invite, 486)
    await scene.over()


# In the call


async def test_a_call_of_hours_is_not_ended_by_any_presence(home: Home, scene: Scene) -> None:
    """The contact's unavailable presence would end it."""
    web = StanzaJs(home)
    await talking(scene, web)
    await passes(3 * 3600)
    assert web.sees[-1] == "connected"
    web.hang_up()
    assert (await scene.over()).by == "caller"


async def test_mute_and_hold_of_the_web_client_are_acknowledged(home: Home, scene: Scene) -> None:
    web = StanzaJs(home)
    await talking(scene, web)
    web.heard.clear()
    web.mute()
    web.hold()
    web.resume()
    await passes(1)
    assert web.heard.count("iq result") == 3
    assert not [label for label in web.heard if "error" in label]
    web.hang_up()
    await scene.over()


async def test_a_web_user_who_holds_the_phone_is_heard_there(home: Home, scene: Scene) -> None:
    web = StanzaJs(home)
    await talking(scene, web)
    web.hold()
    again = await scene.phone.hears("INVITE")
    assert b"a=sendonly" in again.body or b"a=inactive" in again.body
    scene.phone.answers(again, 200, phone_session())
    await scene.phone.hears("ACK")
    web.resume()
    again = await scene.phone.hears("INVITE")
    assert b"a=sendonly" not in again.body
    scene.phone.answers(again, 200, phone_session())
    await scene.phone.hears("ACK")
    web.hang_up()
    assert (await scene.over()).cause == "normal"


async def test_digits_pressed_before_and_after_the_answer_reach_the_phone(home: Home, scene: Scene) -> None:
    web = StanzaJs(home)
    web.call(CONTACT)
    invite = await scene.phone.hears("INVITE")
    web.presses("12")
    await passes(1)
    assert [what for what, *_ in scene.engine.asked if what == "dtmf"] == []
    scene.phone.answers(invite, 200, phone_session())
    await web.until("connected")
    web.presses("3#")
    await passes(1)
    assert "".join(str(digits) for what, _, digits, *_ in scene.engine.asked if what == "dtmf") == "123#"
    web.hang_up()
    await scene.over()


async def test_a_network_change_finds_the_call_again(home: Home, scene: Scene) -> None:
    web = StanzaJs(home)
    await talking(scene, web)
    web.sees.clear()
    web.changes_network()
    await web.until("connected")
    assert not web.restarting
    assert web.complaints == []
    web.hang_up()
    assert (await scene.over()).cause == "normal"


async def test_a_tab_that_is_closed_ends_its_call(home: Home, scene: Scene) -> None:
    web = StanzaJs(home)
    await talking(scene, web)
    web.goes_offline()
    await passes(40)  # it might have changed its network only
    await scene.phone.hears("BYE")
    assert (await scene.over()).by == "caller"


async def test_a_page_that_was_reloaded_has_forgotten_its_call(home: Home, scene: Scene) -> None:
    web = StanzaJs(home)
    await talking(scene, web)
    web.reloads()
    await passes(10)
    await scene.phone.hears("BYE")
    assert (await scene.over()).by == "caller"


# Being called


async def test_a_dino_and_a_web_client_ring_and_the_web_client_answers(home: Home, scene: Scene) -> None:
    dino, web = Dino(home), StanzaJs(home)
    await is_known(dino, web)
    scene.phone.calls(OUR_NUMBER)
    await dino.until("incoming")
    await web.until("incoming")
    web.answer()
    await dino.until("ended: missed")
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await web.until("connected")
    web.hang_up()
    await scene.over()
