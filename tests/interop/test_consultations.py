"""A telephone that talks with two users in two calls through the gateway connects them with each other, and leaves."""

from __future__ import annotations

import asyncio

import pytest

from tests.interop.client.client import Call, Client
from tests.interop.peers import tones
from tests.interop.peers.carrier import OURS, THEIRS, plan
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.linphone import Linphone
from tests.interop.peers.process import PHONE_HOST
from tests.interop.peers.server import Server

ROMEOS = "+12025550144"
INBOUND = f"""
[[inbound]]
match = {{ number = "{ROMEOS}" }}
to = "romeo@shakespeare.lit"
"""


@pytest.mark.parametrize("begun_by", ["the user", "the telephone"])
async def test_a_telephone_consults_another_user_and_connects_the_two(server: Server, begun_by: str) -> None:
    async with (
        Client(*server.account("juliet")) as juliet,
        Client(*server.account("romeo"), tone=tones.draw(juliet.tone)) as romeo,
        Linphone(tone=tones.draw(juliet.tone, romeo.tone), answer="manual") as phone,
        Gateway(server, plan(phone.proxy, f'allow = ["{PHONE_HOST}"]') + INBOUND) as gateway,
    ):
        await gateway.ready()
        if begun_by == "the user":
            one = await juliet.call(gateway.contact(THEIRS))
            await one.ringing()
            phone.accept()
            await one.answered()
        else:
            one = await called(phone, gateway, OURS, juliet)
        await one.voice.hears(phone.tone)
        phone.hold()
        await phone.child.line("to LinphoneCallPaused")
        other = await called(phone, gateway, ROMEOS, romeo)
        await phone.child.line("Call 2 with .* connected")
        phone.transfer(1, 2)
        await asyncio.gather(one.voice.hears(romeo.tone), other.voice.hears(juliet.tone))
        assert [await phone.ended(), await phone.ended()] == ["ended", "ended"]
        await other.hang_up()
        assert await one.ended() == "success"
        for _ in range(2):
            await gateway.logged("ended", cause="normal")


async def called(phone: Linphone, gateway: Gateway, number: str, user: Client) -> Call:
    phone.dial(gateway.sip_uri(number))
    call = await user.incoming()
    await call.accept()
    return call
