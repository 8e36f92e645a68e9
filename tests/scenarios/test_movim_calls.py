"""Calls as Movim makes and takes them."""

from __future__ import annotations

import pytest

from tests.clients.dino import Dino
from tests.clients.home import Home
from tests.clients.movim import Movim
from tests.scenarios.clock import passes
from tests.scenarios.scene import DOMAIN, NUMBER, Scene
from tests.support import phone_session

CONTACT = f"{NUMBER}@{DOMAIN}"
OUR_NUMBER = f"sip:+12025550100@{DOMAIN}"


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


async def test_a_movim_user_calls_talks_and_hangs_up(home: Home, scene: Scene) -> None:
    movim = await online(home)
    movim.call(CONTACT)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 180)
    await passes(40)  # it waits for as long as it takes
    scene.phone.answers(invite, 200, phone_session())
    await movim.until("connected")
    movim.mute()
    await passes(60)
    movim.hang_up()
    await scene.phone.hears("BYE")
    assert (await scene.over()).by == "caller"
    assert movim.sees == ["calling", "connected", "ended"]
    assert movim.complaints == []
    assert movim.can_dial


async def test_a_movim_user_gives_up_before_the_answer(home: Home, scene: Scene) -> None:
    """It terminates a session beside the retract, though there is none."""
    movim = await online(home)
    movim.call(CONTACT)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 180)
    movim.hang_up()
    await scene.phone.hears("CANCEL")
    scene.phone.answers(invite, 487)
    assert (await scene.over()).cause == "cancelled"
    await movim.hears("iq error item-not-found")


@pytest.mark.parametrize(
    ("status", "seen"), [(486, "ended: declined"), (603, "ended: declined"), (404, "ended"), (503, "ended")]
)
async def test_a_phone_that_does_not_answer_ends_the_call(home: Home, scene: Scene, status: int, seen: str) -> None:
    """What is nobody's refusal is not shown as one."""
    movim = await online(home)
    movim.call(CONTACT)
    scene.phone.answers(await scene.phone.hears("INVITE"), status)
    await movim.until(seen)
    await scene.over()


async def test_a_phone_that_hangs_up_ends_the_call(home: Home, scene: Scene) -> None:
    movim = await online(home)
    movim.call(CONTACT)
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 200, phone_session())
    await movim.until("connected")
    scene.phone.hangs_up(invite)
    await movim.until("ended")
    assert (await scene.over()).by == "callee"


async def test_an_offered_video_is_taken_in_since_max_bundle_has_one_transport(home: Home, scene: Scene) -> None:
    """A browser refuses an answer with fewer sections than its offer."""
    movim = await online(home)
    movim.call(CONTACT, video=True)
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, phone_session())
    await movim.until("connected")
    assert movim.complaints == []
    movim.hang_up()
    await scene.over()


async def test_a_camera_turned_on_in_the_call_does_not_end_it(home: Home, scene: Scene) -> None:
    movim = await online(home)
    movim.call(CONTACT)
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, phone_session())
    await movim.until("connected")
    movim.turns_camera_on()
    await movim.hears("iq content-reject")
    await passes(60)
    assert movim.sees[-1] == "connected"
    movim.hang_up()
    assert (await scene.over()).by == "caller"


# Being called


async def test_a_movim_rings_answers_and_hangs_up(home: Home, scene: Scene) -> None:
    movim = Movim(home)
    scene.phone.calls(OUR_NUMBER)
    await movim.until("incoming")
    await scene.phone.hears_back("180 Ringing")
    movim.answer()
    ok = await scene.phone.hears_back("200 OK")
    scene.phone.confirms(ok)
    await movim.until("connected")
    movim.hang_up()
    await scene.phone.hears("BYE")
    assert (await scene.over()).by == "callee"
    assert movim.complaints == []


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("who", ["user", "phone"])
async def test_a_call_that_a_movim_took_is_no_missed_call_in_its_chat(home: Home, who: str, known: bool) -> None:
    """It writes that line for every retract, of whatever call."""
    movim, phone = Movim(home), home.scene.phone
    if known:
        home.adds(f"+12025550199@{DOMAIN}")
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


async def test_a_movim_user_declines(home: Home, scene: Scene) -> None:
    movim = Movim(home)
    scene.phone.calls(OUR_NUMBER)
    await movim.until("incoming")
    movim.decline()
    await scene.phone.hears_back("486 Busy Here")
    await scene.over()


async def test_a_movim_user_who_talks_already_is_busy(home: Home, scene: Scene) -> None:
    movim = await online(home)
    movim.call(CONTACT)
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, phone_session())
    await movim.until("connected")
    scene.phone.calls(OUR_NUMBER)
    await scene.phone.hears_back("486 Busy Here")
    assert (await scene.over()).cause == "busy"
    assert movim.sees[-1] == "connected"
    movim.hang_up()
    await scene.over()


async def test_a_phone_that_gives_up_clears_the_lobby(home: Home, scene: Scene) -> None:
    movim = Movim(home)
    invite = scene.phone.calls(OUR_NUMBER)
    await movim.until("incoming")
    await scene.phone.hears_back("180 Ringing")
    scene.phone.cancels(invite)
    await movim.until("ended: missed")
    assert (await scene.over()).cause == "cancelled"


async def test_a_lobby_that_nobody_looks_at_is_cleared_by_the_gateway(home: Home, scene: Scene) -> None:
    movim = Movim(home)
    scene.phone.calls(OUR_NUMBER)
    await movim.until("ended: missed")
    await scene.phone.hears_back("480 Temporarily Unavailable")
    await scene.over()


async def test_a_movim_stops_ringing_when_another_device_answers(home: Home, scene: Scene) -> None:
    """The carbon of the other device's proceed tells it nothing."""
    movim, dino = await online(home), Dino(home)
    await dino.hears("presence")
    scene.phone.calls(OUR_NUMBER)
    await movim.until("incoming")
    await dino.until("incoming")
    dino.answer()
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await dino.until("connected")
    await passes(5)
    dino.hang_up()
    assert (await scene.over()).by == "callee"
    assert movim.sees == ["incoming", "ended: missed"]


async def test_a_movim_that_answers_a_moment_too_late_is_told_so_and_the_first_goes_on(
    home: Home, scene: Scene
) -> None:
    """What one device is told must not reach the other as a carbon: it would take it for its own call's end."""
    first, second = await online(home, "first"), await online(home, "second")
    scene.phone.calls(OUR_NUMBER)
    await first.until("incoming")
    await second.until("incoming")
    first.answer()
    second.answer()
    await second.until("ended: missed")
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await first.until("connected")
    await passes(60)
    assert first.sees == ["incoming", "connected"]
    first.hang_up()
    await scene.over()


async def test_a_movim_that_a_stranger_calls_stops_ringing_when_another_device_answers(home: Home) -> None:
    movim, dino = Movim(home), Dino(home)
    phone = home.scene.phone
    phone.calls(OUR_NUMBER)
    await movim.until("incoming")
    await dino.until("incoming")
    dino.answer()
    phone.confirms(await phone.hears_back("200 OK"))
    await dino.until("connected")
    await movim.until("ended: missed")
    dino.hang_up()
    await home.scene.over()
