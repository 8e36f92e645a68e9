"""Telephones that are reached by IPv6, signalling and media, and by IPv4, whichever the gateway likes better."""

from __future__ import annotations

import pytest

from tests.interop.client.client import Client, both_hear
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.carrier import OURS, THEIRS, plan
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.process import HOST, free_port
from tests.interop.peers.server import Server


@pytest.mark.parametrize("media", ["127.0.0.1,::1", "::1,127.0.0.1"])
@pytest.mark.parametrize(("host", "connection"), [("127.0.0.2", "IP4 127.0.0.1"), ("::1", "IP6 ::1")])
async def test_calls_both_ways_by_the_version_of_ip_that_the_telephone_has(
    server: Server, media: str, host: str, connection: str
) -> None:
    port = free_port()
    own = f"[::1]:{port}" if ":" in host else f"{HOST}:{port}"
    async with (
        Client(*server.account("juliet")) as juliet,
        Baresip(THEIRS, tone=tones.draw(juliet.tone), host=host) as phone,
        Gateway(
            server,
            plan(phone.proxy),
            sip__listen=f"udp:{HOST}:{port},udp:[::1]:{port}",
            media__address=media,
            media__allow="127.0.0.0/8,::1/128",
        ) as gateway,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact(THEIRS))
        await call.answered()
        await both_hear(call, phone)
        await call.hang_up()
        await phone.event("CALL_CLOSED")
        await phone.dial(f"sip:{OURS}@{own}")
        call = await juliet.incoming()
        await call.accept()
        await both_hear(call, phone)
        ours = f"c=IN {connection}"
        theirs = f"c=IN {connection.split(maxsplit=1)[0]} {host}"
        connections = [line for line in phone.child.lines if line.startswith("c=")]
        assert set(connections) == {ours, theirs}
