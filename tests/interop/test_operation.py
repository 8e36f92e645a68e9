"""What an operator sees: a wrong secret, a server that restarts, a gateway that is stopped."""

from __future__ import annotations

import asyncio

from tests.interop.client.client import Client
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.process import PATIENCE
from tests.interop.peers.server import Server
from tests.interop.peers.servers import ON_EVERY_SERVER


@ON_EVERY_SERVER
async def test_a_wrong_secret_is_one_clear_line_and_exit_code_one(server: Server) -> None:
    async with Gateway(server, secret="no such secret") as gateway:
        assert await gateway.child.wait() == 1
        assert len([line for line in gateway.child.lines if "secret" in line]) == 1
        assert not any("Traceback" in line for line in gateway.child.lines)
        assert not any("no such secret" in line for line in gateway.child.lines)


@ON_EVERY_SERVER
async def test_a_server_that_is_down_at_the_start_is_waited_for(server: Server) -> None:
    await server.stop()
    async with Gateway(server) as gateway:
        await gateway.child.line("(?i)refused|connect")
        await server.start()
        await gateway.ready()


@ON_EVERY_SERVER
async def test_a_call_survives_a_restart_of_the_server(
    server: Server, juliet: Client, phone: Baresip, gateway: Gateway
) -> None:
    call = await juliet.call(gateway.contact_of(phone.uri))
    await call.answered()
    await asyncio.gather(call.voice.hears(phone.tone), phone.hears(juliet.tone))
    await server.stop()
    call.voice.forget()
    await call.voice.hears(phone.tone, seconds=2.0)
    await server.start()
    await asyncio.wait_for(juliet.online.wait(), PATIENCE)
    await gateway.ready()
    call.voice.forget()
    await asyncio.gather(call.voice.hears(phone.tone, seconds=2.0), call.voice.hears(phone.tone))
    assert not call.over
    await phone.hang_up()
    assert await call.ended(timeout=60) == "success"


async def test_a_gateway_that_is_stopped_ends_its_calls(juliet: Client, phone: Baresip, gateway: Gateway) -> None:
    call = await juliet.call(gateway.contact_of(phone.uri))
    await call.answered()
    await call.voice.hears(phone.tone)
    assert await gateway.child.stop() == 0
    await phone.event("CALL_CLOSED")
    assert await call.ended()
