"""The button lights: what users see of a contact before they call it, client by client."""

from __future__ import annotations

import pytest

from gateway.xmpp import stanzas
from tests.clients.borogove import Borogove
from tests.clients.cheogram import Cheogram
from tests.clients.conversations import Conversations
from tests.clients.dino import Dino
from tests.clients.home import Home
from tests.clients.movim import Movim
from tests.clients.user_agent import UserAgent, make
from tests.scenarios.scene import CONTACT, DOMAIN

PREMIUM = f"+19005550123@{DOMAIN}"


async def settled(client: UserAgent) -> None:
    """Until what was asked before this has been answered."""
    await client.disco(CONTACT)
    await client.disco(CONTACT)


async def test_an_added_number_can_be_called_and_a_refused_one_cannot(home: Home) -> None:
    phone, browser, laptop = Conversations(home, "phone"), Movim(home, "browser"), Borogove(home, "laptop")
    home.adds(CONTACT)
    home.adds(PREMIUM)
    await browser.lights(CONTACT)
    for client in (phone, laptop):
        await settled(client)
    assert phone.capable(CONTACT) == [f"{CONTACT}/sip"]
    assert phone.capable(PREMIUM) == []
    assert (browser.buttons(CONTACT), browser.buttons(PREMIUM)) == (["audio"], [])
    assert (laptop.can_call(CONTACT), laptop.can_call(PREMIUM)) == (True, False)
    assert phone.complaints + browser.complaints + laptop.complaints == []


async def test_a_device_that_comes_later_sees_the_same(home: Home) -> None:
    home.knows(CONTACT)
    movim = Movim(home)
    await movim.lights(CONTACT)
    movim.goes_offline()
    later = Movim(home, "later")
    await later.lights(CONTACT)


async def test_who_asks_for_presence_sees_a_refused_number_as_callable(home: Home) -> None:
    """XEP-0276 asks what a contact can, not whether this user may."""
    phone = Conversations(home)
    asking = stanzas.presence(PREMIUM, phone.jid)
    asking.append(make(stanzas.TEMPPRES[0], "temppres", reason="media"))
    phone.send(asking)
    await settled(phone)
    assert phone.capable(PREMIUM) == [PREMIUM]
    assert phone.complaints == []


@pytest.mark.parametrize("contact", [CONTACT, PREMIUM])
async def test_dino_asks_without_a_node_and_is_told_what_presence_said(home: Home, contact: str) -> None:
    dino = Dino(home)
    home.adds(contact)
    await settled(dino)
    (jid,) = (jid for jid in dino.presences if jid.startswith(contact))
    assert await dino._can_rtp(jid) == (contact == CONTACT)
    assert dino.complaints == []


async def test_a_dialler_finds_the_gateway_in_the_contact_list(home: Home) -> None:
    cheogram = Cheogram(home)
    assert cheogram.gateway() == ""
    home.adds(DOMAIN)
    await settled(cheogram)
    assert cheogram.gateway() == DOMAIN
    cheogram.adds_contact("(202) 555-0123")
    await cheogram.until(CONTACT)
    cheogram.adds_contact("nobody here")
    await cheogram.until("there is no such contact")


async def test_a_user_without_a_voice_route_has_no_dialler(home: Home) -> None:
    home.scene.component._router.presences.may_dial = lambda user: False
    cheogram = Cheogram(home)
    home.adds(DOMAIN)
    await settled(cheogram)
    assert cheogram.gateway() == ""
