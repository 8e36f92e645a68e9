"""Calls as Psi makes them, which cannot be: it knows no DTLS, and the gateway takes no media without."""

from __future__ import annotations

import pytest

from tests.clients.dino import Dino
from tests.clients.home import Home
from tests.clients.psi import Psi
from tests.scenarios.clock import passes
from tests.scenarios.scene import CONTACT, OUR_NUMBER, Scene


@pytest.fixture
def scene(home: Home) -> Scene:
    """Juliet is at home, and the number has been in her roster for long."""
    home.knows(CONTACT)
    return home.scene


async def test_a_call_without_encryption_is_refused_at_once_and_the_phone_never_rings(home: Home, scene: Scene) -> None:
    psi = Psi(home)
    psi.call(f"{CONTACT}/sip")
    await psi.until("ended: rejected or terminated")
    assert (await scene.over()).cause == "security"
    assert scene.phone.heard == []
    assert psi.complaints == []


async def test_a_psi_user_who_gives_up_at_once_leaves_nothing_behind(home: Home, scene: Scene) -> None:
    psi = Psi(home)
    psi.call(f"{CONTACT}/sip")
    psi.hang_up()
    await scene.over()
    assert scene.phone.heard == []


async def test_a_user_who_has_psi_only_is_not_reached_and_nothing_rings(home: Home, scene: Scene) -> None:
    """It acknowledges the proposal, as it does any message; that is not ringing."""
    psi = Psi(home)
    await psi.hears("iq get")
    scene.phone.calls(OUR_NUMBER)
    await passes(70)
    await scene.phone.hears_back("480 Temporarily Unavailable")
    await scene.over()
    assert psi.sees == []
    assert "180 Ringing" not in scene.phone.heard


async def test_a_psi_beside_a_dino_is_left_in_peace(home: Home, scene: Scene) -> None:
    psi, dino = Psi(home), Dino(home)
    await psi.hears("iq get")
    await dino.hears("iq get")
    scene.phone.calls(OUR_NUMBER)
    await dino.until("incoming")
    await scene.phone.hears_back("180 Ringing")
    dino.answer()
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await dino.until("connected")
    dino.hang_up()
    await scene.over()
    assert psi.sees == []
    assert psi.complaints == []
