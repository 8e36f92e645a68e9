"""linphone as a telephone: a SIP stack and a media stack that neither the gateway nor baresip shares anything with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.interop.client.client import Client, both_hear
from tests.interop.peers import tones
from tests.interop.peers.carrier import OURS, THEIRS, plan
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.linphone import Linphone
from tests.interop.peers.server import Server


@pytest.fixture
async def quiet_juliet(server: Server) -> AsyncIterator[Client]:
    async with Client(*server.account("juliet")) as client:
        yield client


async def test_linphone_calls_presses_a_key_and_hangs_up(juliet: Client, gateway: Gateway) -> None:
    async with Linphone(tone=tones.draw(juliet.tone)) as phone:
        phone.dial(gateway.sip_uri("juliet"))
        call = await juliet.incoming()
        await call.accept()
        await both_hear(call, phone)
        phone.press("7")
        await call.voice.pressed("7")
        phone.hang_up()
        await call.ended()


async def test_linphone_is_called_holds_and_is_hung_up(juliet: Client, gateway: Gateway) -> None:
    async with Linphone(tone=tones.draw(juliet.tone), answer="manual") as phone:
        call = await juliet.call(gateway.contact_of(phone.uri))
        await phone.rings()
        await call.ringing()
        phone.accept()
        await call.answered()
        await both_hear(call, phone)
        phone.hold()
        await phone.child.line("to LinphoneCallPaused")
        call.voice.forget()
        phone.resume()
        await phone.child.line("LinphoneCallResuming to LinphoneCallStreamsRunning")
        await call.voice.hears(phone.tone)
        await call.hang_up()
        await phone.ended()


async def test_linphone_is_refused(juliet: Client, gateway: Gateway) -> None:
    async with Linphone() as phone:
        phone.dial(gateway.sip_uri("juliet"))
        call = await juliet.incoming()
        await call.hang_up()
        await phone.was_told("486 Busy Here")
        assert await phone.ended() == "error"


async def test_linphone_protects_its_media(server: Server, quiet_juliet: Client) -> None:
    """It is called and calls, with keys in the SDP (RFC 4568)."""
    juliet = quiet_juliet
    async with (
        Linphone(tone=tones.draw(juliet.tone), encryption="srtp") as phone,
        Gateway(server, plan(phone.proxy, 'srtp = "required"')) as gateway,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact(THEIRS))
        await call.answered()
        await both_hear(call, phone)
        await call.hang_up()
        await phone.ended()
        phone.dial(gateway.sip_uri(OURS))
        call = await juliet.incoming()
        await call.accept()
        await both_hear(call, phone)
        assert phone.profiles() == ["RTP/SAVP"] * 4
