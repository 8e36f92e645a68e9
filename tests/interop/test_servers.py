"""Where servers have a say: users who are away, users with several devices, messages for one device alone."""

from __future__ import annotations

import asyncio

from tests.interop.client.client import Client
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.server import Server
from tests.interop.peers.servers import ON_EVERY_SERVER

pytestmark = ON_EVERY_SERVER


async def test_who_was_away_finds_the_call_and_that_it_is_over(server: Server, gateway: Gateway) -> None:
    """Both servers keep the propose, as its hint asks them to, and what took it back."""
    async with Baresip() as phone:
        await phone.dial(gateway.sip_uri("juliet"))
        await gateway.logged("trace", label="JMI propose")
        await phone.hang_up()
        await gateway.logged("ended")
        assert not [event for event in phone.events if event["type"] == "CALL_RINGING"]
    async with Client(*server.account("juliet")) as juliet:
        call = await juliet.incoming()
        assert await call.ended() == "retract"


async def test_who_comes_while_it_is_called_answers(server: Server, gateway: Gateway) -> None:
    """A push wakes a device, which logs in and finds the call."""
    async with Baresip() as phone:
        await phone.dial(gateway.sip_uri("juliet"))
        await gateway.logged("trace", label="JMI propose")
        async with Client(*server.account("juliet"), tone=tones.draw(phone.tone)) as juliet:
            call = await juliet.incoming()
            await call.accept()
            await asyncio.gather(call.voice.hears(phone.tone), phone.hears(juliet.tone))
            await call.hang_up()
            await phone.event("CALL_CLOSED")


async def test_what_is_for_one_device_reaches_no_other(server: Server, gateway: Gateway) -> None:
    """A carbon of what tells the other device "too late" would end the call of the one that talks."""
    async with (
        Client(*server.account("juliet"), carbons=True) as juliet,
        Client(*server.account("juliet"), carbons=True, resource="tablet") as tablet,
        Baresip(tone=tones.draw(juliet.tone)) as phone,
    ):
        for device in (juliet, tablet):
            await device.add(gateway.contact_of(phone.uri))
        await phone.dial(gateway.sip_uri("juliet"))
        call, other = await juliet.incoming(), await tablet.incoming()
        await call.accept()
        await tablet.hears_of("sent proceed")
        assert await other.ended() == "retract"
        await asyncio.gather(call.voice.hears(phone.tone), phone.hears(juliet.tone))
        assert not {"received retract", "received finish", "received reject"} & set(juliet.carbons)
        assert not call.over
        await phone.hang_up()
        assert await call.ended() == "success"


async def test_of_two_devices_that_answer_at_once_one_talks(server: Server, gateway: Gateway) -> None:
    async with (
        Client(*server.account("juliet"), carbons=True) as juliet,
        Client(*server.account("juliet"), tone=juliet.tone, carbons=True, resource="tablet") as tablet,
        Baresip(tone=tones.draw(juliet.tone)) as phone,
    ):
        await phone.dial(gateway.sip_uri("juliet"))
        calls = await juliet.incoming(), await tablet.incoming()
        answers = await asyncio.gather(*(call.accept() for call in calls), return_exceptions=True)
        [talking] = [call for call, answer in zip(calls, answers, strict=True) if answer is None]
        await asyncio.gather(talking.voice.hears(phone.tone), phone.hears(juliet.tone))
        await talking.hang_up()
        await phone.event("CALL_CLOSED")
