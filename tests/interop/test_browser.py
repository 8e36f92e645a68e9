"""Chromium with stanza.js, a client stack that nobody here wrote, calls a telephone and is called by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.server import Server
from tests.interop.peers.servers import ON_EVERY_SERVER
from tests.interop.web.browser import Browser


@pytest.fixture
async def browser(server: Server, gateway: Gateway) -> AsyncIterator[Browser]:
    """Juliet, in a browser."""
    user = server.jid("juliet"), server.users["juliet"], server.websocket
    async with Browser(*user, tone=tones.draw()) as page:
        yield page


async def call_up(browser: Browser, phone: Baresip, gateway: Gateway) -> None:
    address = await browser.do("add", gateway.contact_of(phone.uri))
    assert await browser.do("call", address) is True
    await both_hear(browser, phone)


async def both_hear(browser: Browser, phone: Baresip) -> None:
    await asyncio.gather(browser.hears(phone.tone), phone.hears(browser.tone))


@pytest.fixture
async def phone(browser: Browser) -> AsyncIterator[Baresip]:
    async with Baresip(tone=tones.draw(browser.tone)) as baresip:
        yield baresip


async def test_a_browser_calls_the_test_line_and_hears_itself(browser: Browser, gateway: Gateway) -> None:
    address = await browser.do("add", gateway.contact("echo"))
    assert await browser.do("call", address) is True
    await browser.hears(browser.tone)
    await browser.do("hangUp")


@ON_EVERY_SERVER
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


async def test_keys_go_both_ways(browser: Browser, phone: Baresip, gateway: Gateway) -> None:
    """A browser plays RFC 4733 events as the tones that they stand for."""
    await call_up(browser, phone, gateway)
    await browser.do("press", "12#")
    await phone.pressed("12#")
    heard = asyncio.create_task(browser.hears_key("5"))
    await phone.press("5")
    await heard


async def test_a_browser_holds_a_telephone_and_takes_it_off(browser: Browser, phone: Baresip, gateway: Gateway) -> None:
    await call_up(browser, phone, gateway)
    lines = len(phone.child.lines)
    await browser.do("hold")
    await phone.child.line("^a=(sendonly|inactive)", after=lines)
    lines = len(phone.child.lines)
    await browser.do("resume")
    await phone.child.line("^a=sendrecv", after=lines)
    await both_hear(browser, phone)


async def test_a_telephone_holds_a_browser_and_takes_it_off(browser: Browser, phone: Baresip, gateway: Gateway) -> None:
    await call_up(browser, phone, gateway)
    await phone.command("hold")
    await browser.do("held", True)
    await phone.command("resume")
    await browser.do("held", False)
    await both_hear(browser, phone)


async def test_a_browser_that_changes_its_network_goes_on(browser: Browser, phone: Baresip, gateway: Gateway) -> None:
    """stanza.js restarts ICE by a transport-info with new credentials, as XEP-0176 §5.8 has it."""
    await call_up(browser, phone, gateway)
    before, now = await browser.do("restartIce")
    assert before != now
    await both_hear(browser, phone)
    await browser.do("hangUp")
    await phone.event("CALL_CLOSED")


async def test_a_browser_gives_up_while_it_rings(browser: Browser, gateway: Gateway) -> None:
    async with Baresip(answer="manual") as phone:
        address = await browser.do("add", gateway.contact_of(phone.uri))
        asked = asyncio.create_task(browser.do("call", address))
        await phone.event("CALL_INCOMING")
        await browser.do("rings")
        await browser.do("cancel")
        await phone.event("CALL_CLOSED")
        assert await asked == "cancel"


async def test_a_telephone_gives_up_while_a_browser_rings(browser: Browser, phone: Baresip, gateway: Gateway) -> None:
    await browser.do("add", gateway.contact_of(phone.uri))
    await phone.dial(gateway.sip_uri("juliet"))
    await browser.do("incoming")
    await browser.do("ring")
    await phone.event("CALL_RINGING")
    await phone.hang_up()
    assert await browser.do("ended") == "cancel"


async def test_two_tabs_ring_and_one_stops_when_the_other_answers(
    browser: Browser, server: Server, phone: Baresip, gateway: Gateway
) -> None:
    user = server.jid("juliet"), server.users["juliet"], server.websocket
    async with Browser(*user, tone=browser.tone, resource="other tab") as other:
        for tab in (browser, other):
            await tab.do("add", gateway.contact_of(phone.uri))
        await phone.dial(gateway.sip_uri("juliet"))
        for tab in (browser, other):
            await tab.do("incoming")
            await tab.do("ring")
        await phone.event("CALL_RINGING")
        await other.do("accept")
        assert await browser.do("ended") == "cancel"
        await both_hear(other, phone)
        await other.do("hangUp")
        await phone.event("CALL_CLOSED")
