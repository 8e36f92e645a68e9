"""Chromium and baresip see each other through the gateway: pictures that neither end's makers wrote for the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.server import Server
from tests.interop.web.browser import Browser


@pytest.fixture
async def gateway(server: Server) -> AsyncIterator[Gateway]:
    async with Gateway(server, media__video="true") as process:
        yield await process.ready()


@pytest.fixture
async def browser(server: Server, gateway: Gateway) -> AsyncIterator[Browser]:
    """Juliet, in a browser with a camera."""
    user = server.jid("juliet"), server.users["juliet"], server.websocket
    async with Browser(*user, tone=tones.draw()) as page:
        await page.do("film")
        yield page


@pytest.fixture
async def phone(browser: Browser) -> AsyncIterator[Baresip]:
    """A telephone with a camera. Its VP9 is not Chromium's ("F-bit not supported"), so that VP8 it is."""
    async with Baresip(tone=tones.draw(browser.tone), video="vp8") as baresip:
        yield baresip


async def both_hear_and_see(browser: Browser, phone: Baresip) -> None:
    await asyncio.gather(browser.hears(phone.tone), phone.hears(browser.tone), browser.sees(), phone.sees())


async def test_a_browser_and_a_telephone_see_each_other(browser: Browser, phone: Baresip, gateway: Gateway) -> None:
    address = await browser.do("add", gateway.contact_of(phone.uri))
    assert await browser.do("call", address) is True
    await both_hear_and_see(browser, phone)
    await browser.do("hangUp")
    await phone.event("CALL_CLOSED")


@pytest.mark.parametrize("policy", ["balanced", "max-bundle"])
async def test_a_telephone_and_a_browser_see_each_other(
    browser: Browser, phone: Baresip, gateway: Gateway, policy: str
) -> None:
    await browser.do("bundles", policy)
    await browser.do("add", gateway.contact_of(phone.uri))
    await phone.dial(gateway.sip_uri("juliet"))
    await browser.do("incoming")
    await browser.do("ring")
    await browser.do("accept")
    await phone.event("CALL_ESTABLISHED")
    await both_hear_and_see(browser, phone)
    await phone.hang_up()
    assert await browser.do("ended") == "success"


async def test_a_telephone_without_a_camera_talks_to_a_browser_with_one(browser: Browser, gateway: Gateway) -> None:
    async with Baresip(tone=tones.draw(browser.tone)) as phone:
        address = await browser.do("add", gateway.contact_of(phone.uri))
        assert await browser.do("call", address) is True
        await asyncio.gather(browser.hears(phone.tone), phone.hears(browser.tone))
