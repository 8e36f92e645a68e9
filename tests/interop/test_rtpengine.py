"""Whole calls whose media goes through a real rtpengine: nothing is different for those who talk."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.interop.client.client import Client, both_hear
from tests.interop.client.jingle import DTMF_48000, OPUS
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.rtpengine import Rtpengine
from tests.interop.peers.server import Server


@pytest.fixture
async def rtpengine() -> AsyncIterator[Rtpengine]:
    async with Rtpengine() as daemon:
        yield daemon


@pytest.fixture
async def gateway(server: Server, rtpengine: Rtpengine) -> AsyncIterator[Gateway]:
    """The shipped configuration but for its engine."""
    async with Gateway(server, None, passwords=None, **rtpengine.settings) as process:
        yield await process.ready()


async def test_a_user_calls_a_telephone(juliet: Client, phone: Baresip, gateway: Gateway) -> None:
    call = await juliet.call(gateway.contact_of(phone.uri))
    await call.answered()
    await both_hear(call, phone)
    await call.hang_up()
    await phone.event("CALL_CLOSED")


async def test_a_telephone_calls_a_user_whose_client_knows_only_opus(
    server: Server, phone: Baresip, gateway: Gateway
) -> None:
    user = server.account("juliet")
    async with Client(*user, tone=tones.draw(phone.tone), codecs=(OPUS, DTMF_48000), resource="other") as other:
        await phone.dial(gateway.sip_uri("juliet"))
        call = await other.incoming()
        await call.accept()
        await both_hear(call, phone)
        await call.hang_up()
        await phone.event("CALL_CLOSED")


async def test_the_daemon_dies_and_both_ends_are_told(
    juliet: Client, phone: Baresip, gateway: Gateway, rtpengine: Rtpengine
) -> None:
    call = await juliet.call(gateway.contact_of(phone.uri))
    await call.answered()
    await both_hear(call, phone)
    await rtpengine.child.stop()
    await phone.event("CALL_CLOSED")
    await call.ended()
