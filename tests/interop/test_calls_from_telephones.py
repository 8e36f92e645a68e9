"""Telephones call users of an XMPP server, through the gateway and with real peers at both ends."""

from __future__ import annotations

import contextlib

import pytest

from tests.interop.client.client import Client, both_hear
from tests.interop.client.jingle import DTMF_48000, OPUS
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import CONFIGURATION, Gateway
from tests.interop.peers.server import Server
from tests.interop.peers.servers import ON_EVERY_SERVER


def with_inbound(*users: str) -> str:
    """The shipped dialplan, with more users who may be called."""
    shipped = (CONFIGURATION.parent / "dialplan.toml").read_text()
    more = (
        f"""
[[inbound]]
match = {{ source = "any", user = "{user}" }}
to = "{user}@shakespeare.lit"
"""
        for user in users
    )
    return "".join((shipped, *more))


@ON_EVERY_SERVER
async def test_a_telephone_calls_a_user(juliet: Client, phone: Baresip, gateway: Gateway) -> None:
    await phone.dial(gateway.sip_uri("juliet"))
    call = await juliet.incoming()
    await phone.event("CALL_RINGING")
    await call.accept()
    await both_hear(call, phone)
    await call.hang_up()
    await phone.event("CALL_CLOSED")


async def test_a_telephone_calls_a_user_over_tcp(juliet: Client, gateway: Gateway) -> None:
    async with Baresip(tone=tones.draw(juliet.tone), transport="tcp") as phone:
        await phone.dial(gateway.sip_uri("juliet") + ";transport=tcp")
        call = await juliet.incoming()
        await call.accept()
        await both_hear(call, phone)
        await phone.hang_up()
        assert await call.ended() == "success"


async def test_a_telephone_calls_a_user_whose_client_knows_only_opus(
    server: Server, phone: Baresip, gateway: Gateway
) -> None:
    user = server.account("juliet")
    async with Client(*user, tone=tones.draw(phone.tone), codecs=(OPUS, DTMF_48000), resource="other") as other:
        await phone.dial(gateway.sip_uri("juliet"))
        call = await other.incoming()
        await call.accept()
        assert call.remote is not None
        await both_hear(call, phone)
        await call.hang_up()


@ON_EVERY_SERVER
async def test_a_telephone_calls_a_user_with_a_simple_client(server: Server, gateway: Gateway) -> None:
    """His caps do not name Jingle Message Initiation, so he is asked directly at his full JID."""
    user = server.account("juliet")
    async with Client(*user, tone=440, jmi=False) as old_juliet, Baresip(tone=520) as phone:
        await old_juliet.add(gateway.contact_of(phone.uri))
        await phone.dial(gateway.sip_uri("juliet"))
        call = await old_juliet.incoming()
        await phone.event("CALL_RINGING")
        await call.accept()
        await both_hear(call, phone)
        await call.hang_up()
        await phone.event("CALL_CLOSED")


async def test_the_telephone_hangs_up(juliet: Client, phone: Baresip, gateway: Gateway) -> None:
    await phone.dial(gateway.sip_uri("juliet"))
    call = await juliet.incoming()
    await call.accept()
    await both_hear(call, phone)
    await phone.hang_up()
    assert await call.ended() == "success"


async def test_keys_go_both_ways(juliet: Client, phone: Baresip, gateway: Gateway) -> None:
    await phone.dial(gateway.sip_uri("juliet"))
    call = await juliet.incoming()
    await call.accept()
    await both_hear(call, phone)
    await phone.press("12#")
    await call.voice.pressed("12#")
    call.voice.press("456")
    await phone.pressed("456")
    await call.press("90*")
    await phone.pressed("90*")
    await call.hang_up()


@pytest.mark.parametrize("jmi", [True, False], ids=["announced", "direct"])
async def test_a_user_declines(server: Server, gateway: Gateway, jmi: bool) -> None:
    user = server.account("juliet")
    async with Client(*user, jmi=jmi) as juliet, Baresip() as phone:
        await juliet.add(gateway.contact_of(phone.uri))
        await phone.dial(gateway.sip_uri("juliet"))
        call = await juliet.incoming()
        await call.hang_up()
        closed = await phone.event("CALL_CLOSED")
        assert closed["param"].startswith("486" if jmi else "603")


async def test_a_telephone_gives_up_while_it_rings(juliet: Client, phone: Baresip, gateway: Gateway) -> None:
    await phone.dial(gateway.sip_uri("juliet"))
    call = await juliet.incoming()
    await phone.event("CALL_RINGING")
    await phone.hang_up()
    assert await call.ended() == "retract"


@ON_EVERY_SERVER
async def test_all_devices_ring_and_the_others_stop_when_one_answers(
    juliet: Client, server: Server, phone: Baresip, gateway: Gateway
) -> None:
    user = server.account("juliet")
    async with Client(*user, tone=juliet.tone, resource="tablet") as tablet:
        await phone.dial(gateway.sip_uri("juliet"))
        call, other = await juliet.incoming(), await tablet.incoming()
        await call.accept()
        await both_hear(call, phone)
        await call.hang_up()
        assert other.voice.packets == 0


async def test_strangers_are_told_one_thing_of_whoever_does_not_answer_and_within_a_minute(server: Server) -> None:
    """A server that keeps messages for offline users keeps the propose too, and a push may wake a device.

    Tybalt has no account, and nobody here is called Mercutio: a stranger who calls them learns no more than that.
    """
    user = server.account("juliet")
    names = ("juliet", "romeo", "tybalt", "mercutio")
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(server, with_inbound("romeo", "tybalt")))
        phones = [await stack.enter_async_context(Baresip(name)) for name in names]
        juliet = await stack.enter_async_context(Client(*user))
        await gateway.ready()
        for name, phone in zip(names, phones, strict=True):
            await phone.dial(gateway.sip_uri(name))
        call = await juliet.incoming()
        for phone in phones:
            closed = await phone.event("CALL_CLOSED", timeout=60)
            assert closed["param"].startswith("480")
        assert await call.ended() == "retract"
        assert not [event for phone in phones[1:] for event in phone.events if event["type"] == "CALL_RINGING"]
