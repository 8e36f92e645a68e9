"""A trunk that is reached by IPv6, signalling and media; the user's own network is IPv4's."""

from __future__ import annotations

import asyncio

from tests.interop.client.client import Call, Client
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.carrier import OURS, THEIRS, plan
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.process import free_port
from tests.interop.peers.server import Server


async def both_hear(call: Call, phone: Baresip) -> None:
    await asyncio.gather(call.voice.hears(phone.tone), phone.hears(call.client.tone))


async def test_calls_both_ways_over_ipv6(server: Server) -> None:
    sip = f"[::1]:{free_port()}"
    async with (
        Client(*server.account("juliet")) as juliet,
        Baresip(THEIRS, tone=tones.draw(juliet.tone), host="::1") as phone,
        Gateway(
            server,
            plan(phone.proxy),
            sip__listen=f"udp:{sip}",
            media__address="::1,127.0.0.1",
            media__allow="127.0.0.0/8,::1/128",
        ) as gateway,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact(THEIRS))
        await call.answered()
        await both_hear(call, phone)
        await call.hang_up()
        await phone.event("CALL_CLOSED")
        await phone.dial(f"sip:{OURS}@{sip}")
        call = await juliet.incoming()
        await call.accept()
        await both_hear(call, phone)
        connections = [line for line in phone.child.lines if line.startswith("c=")]
        assert set(connections) == {"c=IN IP6 ::1"}
