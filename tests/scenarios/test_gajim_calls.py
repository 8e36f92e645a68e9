"""Gajim: today's makes no calls, that of before 2.0.2 made some without encryption."""

from __future__ import annotations

import pytest

from tests.clients.dino import Dino
from tests.clients.gajim import Gajim, OldGajim
from tests.clients.home import Home
from tests.scenarios.clock import passes
from tests.scenarios.scene import CALLING, CONTACT, OUR_NUMBER, Scene


@pytest.fixture
def scene(home: Home) -> Scene:
    """Juliet is at home, and both numbers have been in her roster for long."""
    home.knows(CONTACT)
    home.knows(CALLING)
    return home.scene


async def test_a_user_who_has_gajim_only_is_not_reached_and_nothing_rings(home: Home, scene: Scene) -> None:
    """It acknowledges the proposal, as it does any message; that is not ringing."""
    gajim = Gajim(home)
    await gajim.hears("iq get")
    scene.phone.calls(OUR_NUMBER)
    await gajim.hears("message propose")
    await passes(70)
    await scene.phone.hears_back("480 Temporarily Unavailable")
    await scene.over()
    assert "180 Ringing" not in scene.phone.heard
    assert "iq session-initiate" not in gajim.heard


async def test_a_gajim_beside_a_dino_does_not_ring_for_it(home: Home, scene: Scene) -> None:
    gajim, dino = Gajim(home), Dino(home)
    await gajim.hears("iq get")
    await dino.hears("iq get")
    scene.phone.calls(OUR_NUMBER)
    await dino.until("incoming")
    dino.answer()
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    await dino.until("connected")
    dino.hang_up()
    await scene.over()


async def test_an_old_gajim_is_refused_for_want_of_encryption(home: Home, scene: Scene) -> None:
    gajim = OldGajim(home)
    await gajim.hears("presence")
    gajim.call(CONTACT)
    assert (await scene.over()).cause == "security"
    await gajim.hears("iq session-terminate")
    assert gajim.complaints == ["security-error"]
    assert scene.phone.heard == []
