"""Chromium with stanza.js, a client stack that nobody here wrote, calls a telephone and is called by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.prosody import Prosody
from tests.interop.web.browser import Browser


@pytest.fixture
async def browser(prosody: Prosody, gateway: Gateway) -> AsyncIterator[Browser]:
    """Juliet, in a browser."""
    user = prosody.jid("juliet"), prosody.users["juliet"], prosody.websocket
    async with Browser(*user, tone=tones.draw()) as page:
        yield page


@pytest.fixture
async def phone(browser: Browser) -> AsyncIterator[Baresip]:
    async with Baresip(tone=tones.draw(browser.tone)) as baresip:
        yield baresip


async def test_a_browser_calls_the_test_line_and_hears_itself(browser: Browser, gateway: Gateway) -> None:
    address = await browser.do("add", gateway.contact("echo"))
    assert await browser.do("call", address) is True
    await browser.hears(browser.tone)
    await browser.do("hangUp")


async def test_a_browser_calls_a_telephone(browser: Browser, phone: Baresip, gateway: Gateway) -> None:
    address = await browser.do("add", gateway.contact_of(phone.uri))
    assert await browser.do("call", address) is True
    await asyncio.gather(browser.hears(phone.tone), phone.hears(browser.tone))
    await browser.do("press", "12#")
    await phone.pressed("12#")
    await browser.do("hangUp")
    await phone.event("CALL_CLOSED")


@pytest.mark.parametrize("policy", ["balanced", "max-bundle"])
async def test_a_telephone_calls_a_browser(browser: Browser, phone: Baresip, gateway: Gateway, policy: str) -> None:
    await browser.do("bundles", policy)
    await browser.do("add", gateway.contact_of(phone.uri))
    await phone.dial(gateway.sip_uri("juliet"))
    await browser.do("incoming")
    await browser.do("ring")
    await phone.event("CALL_RINGING")
    await browser.do("accept")
    await phone.event("CALL_ESTABLISHED")
    await asyncio.gather(browser.hears(phone.tone), phone.hears(browser.tone))
    await phone.hang_up()
    assert await browser.do("ended") == "success"


async def test_a_browser_declines(browser: Browser, phone: Baresip, gateway: Gateway) -> None:
    await browser.do("add", gateway.contact_of(phone.uri))
    await phone.dial(gateway.sip_uri("juliet"))
    await browser.do("incoming")
    await browser.do("decline")
    closed = await phone.event("CALL_CLOSED")
    assert closed["param"].startswith("603")


async def test_a_browser_hears_why_a_telephone_does_not_answer(browser: Browser, gateway: Gateway) -> None:
    async with Baresip(answer="manual") as phone:
        address = await browser.do("add", gateway.contact_of(phone.uri))
        asked = asyncio.create_task(browser.do("call", address))
        await phone.event("CALL_INCOMING")
        await phone.hang_up()
        assert await asked == "busy"
