"""Calls as Dino makes and takes them."""

from __future__ import annotations

import pytest

from gateway.session.model import Candidate
from tests.clients.dino import Dino
from tests.clients.home import Home
from tests.scenarios.clock import passes
from tests.scenarios.scene import CONTACT, DOMAIN, OUR_NUMBER, Scene
from tests.support import phone_session


@pytest.fixture
def scene(home: Home) -> Scene:
    """Juliet is at home, and the number has been in her roster for long."""
    home.knows(CONTACT)
    return home.scene


async def talking(scene: Scene, dino: Dino) -> None:
    """She called and the phone answered."""
    await dino.hears("presence")
    dino.call(CONTACT)
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, phone_session())
    await scene.phone.hears("ACK")
    await dino.until("connected")


# Calling


async def test_a_dino_that_never_saw_the_number_sends_nothing_until_it_does(home: Home) -> None:
    scene = home.scene
    dino = Dino(home)
    dino.call(CONTACT)
    home.adds(CONTACT)
    await dino.hears("presence")
    assert scene.phone.heard == []
    assert dino.sees == ["calling"]
    dino.hang_up()
    dino.call(CONTACT)
    await scene.phone.hears("INVITE")
    dino.hang_up()
    assert (await scene.over()).cause == "cancelled"


async def test_a_dino_that_was_restarted_remembers_that_the_number_takes_proposals(scene: Scene, home: Home) -> None:
    dino = Dino(home)
    await talking(scene, dino)
    dino.hang_up()
    await scene.over()
    dino.presences.clear()
    dino.call(CONTACT)
    await scene.phone.hears("INVITE")
    dino.hang_up()
    assert (await scene.over()).cause == "cancelled"


async def test_a_number_that_the_dialplan_refuses_is_declined_at_once(scene: Scene, home: Home) -> None:
    home.knows(f"+19005550123@{DOMAIN}")
    dino = Dino(home)
    dino._knew_jmi.add(f"+19005550123@{DOMAIN}")  # from a time when it was allowed
    dino.call(f"+19005550123@{DOMAIN}")
    await dino.until("ended: declined")
    assert (await scene.over()).cause == "forbidden"


async def test_a_dino_user_gives_up_just_when_the_phone_is_answered(home: Home, scene: Scene) -> None:
    """The proceed has come, the session is offered, its answer is on the way."""
    dino = Dino(home)
    await dino.hears("presence")
    dino.call(CONTACT)
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, phone_session())
    await dino.hears("message proceed")
    assert dino._task is not None
    await dino._task
    dino.hang_up()
    await scene.phone.hears("BYE")
    assert (await scene.over()).by == "caller"
    await passes(5)
    assert dino.sees == ["calling", "ended"]


async def test_a_video_call_goes_on_with_its_audio_alone(scene: Scene, home: Home) -> None:
    """Without BUNDLE the video has an ICE session of its own, whose candidates must not reach the audio's."""
    dino = Dino(home)
    await dino.hears("presence")
    dino.call(CONTACT, video=True)
    scene.phone.answers(await scene.phone.hears("INVITE"), 200, phone_session())
    await dino.until("connected")
    told = [c for what, _, *facts in scene.engine.asked if what == "candidates" for c in _candidates(facts)]
    assert len(told) <= 2  # one for each of the audio's components
    assert dino.complaints == []
    dino.hang_up()
    await scene.over()


def _candidates(facts: list[object]) -> list[Candidate]:
    return [c for fact in facts if isinstance(fact, tuple) for c in fact if isinstance(c, Candidate)]


# In the call


async def test_a_dino_user_has_no_keypad_and_writes_her_digits_into_the_chat(home: Home, scene: Scene) -> None:
    """Dino offers no telephone-event; the operator has switched this on."""
    scene.component._router._calls._chat_dtmf = True
    dino = Dino(home)
    await talking(scene, dino)
    dino.writes("#42*")
    await passes(1)
    assert [(what, digits) for what, _, digits, *_ in scene.engine.asked if what == "dtmf"] == [("dtmf", "42*")]
    dino.hang_up()
    await scene.over()


async def test_a_gateway_that_stops_says_so(home: Home, scene: Scene) -> None:
    dino = Dino(home)
    await talking(scene, dino)
    await scene.switchboard.drain()
    await dino.hears("iq session-terminate")
    assert dino.sees[-1].startswith("ended: the")
    assert (await scene.over()).cause == "shutdown"


# Being called


async def test_a_dino_that_was_away_finds_a_missed_call_and_does_not_ring_on(home: Home, scene: Scene) -> None:
    """What the server kept comes late, the end of the call with its beginning; Dino looks at no delay."""
    home.stores = True
    dino = Dino(home)
    dino.goes_offline()
    scene.phone.calls(OUR_NUMBER)
    await passes(70)
    await scene.over()
    dino.comes_back()
    await dino.until("ended: missed")
    await passes(1)
    assert dino.sees == ["incoming", "ended: missed"]


async def test_a_dino_that_comes_back_while_it_is_called_answers(home: Home, scene: Scene) -> None:
    home.stores = True
    dino = Dino(home)
    dino.goes_offline()
    scene.phone.calls(OUR_NUMBER)
    await passes(10)
    dino.comes_back()
    await dino.until("incoming")
    dino.answer()
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await dino.until("connected")
    dino.hang_up()
    await scene.over()


async def test_a_dino_user_who_answers_and_hangs_up_at_once_leaves_no_call_behind(scene: Scene, home: Home) -> None:
    """It says nothing then (call_state.vala:171), and takes the session for a call of its own, which rings."""
    dino = Dino(home)
    scene.phone.calls(OUR_NUMBER)
    await dino.until("incoming")
    dino.answer()
    dino.hang_up()
    await dino.hears("iq session-terminate")
    await scene.phone.hears_back("480 Temporarily Unavailable")
    await scene.over()
    assert dino.state == "ended"
