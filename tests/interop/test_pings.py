"""A trunk that is asked whether it is there: it goes, calls take the other one, and it comes back."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.interop.client.client import Client, both_hear
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.carrier import THEIRS, plan
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.process import TRUNK_HOST
from tests.interop.peers.server import Server

BACKUP = """
[[trunk]]
name = "backup"
proxy = "{proxy}"
"""


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_trunk_that_is_down_is_seen_and_tried_last(server: Server, transport: Literal["udp", "tcp"]) -> None:
    async with (
        Client(*server.account("juliet")) as juliet,
        Baresip(THEIRS, tone=tones.draw(juliet.tone), transport=transport, host=TRUNK_HOST) as backup,
    ):
        carrier = Baresip(THEIRS, tone=tones.draw(juliet.tone), transport=transport)
        text = plan(carrier.proxy, "ping = 1").replace('via = "carrier"', 'via = ["carrier", "backup"]')
        async with Gateway(server, text + BACKUP.format(proxy=backup.proxy)) as gateway:
            async with carrier:
                await gateway.ready()
                await gateway.counted('gateway_trunk_up{trunk="carrier"} 1.0')
                call = await juliet.call(gateway.contact(THEIRS))
                await call.answered()
                await both_hear(call, carrier)
                await call.hang_up()
                await carrier.event("CALL_CLOSED")
            await gateway.counted('gateway_trunk_up{trunk="carrier"} 0.0')
            call = await juliet.call(gateway.contact(THEIRS))
            await call.answered()
            await both_hear(call, backup)
            await call.hang_up()
            tried = [trace["text"] for trace in gateway.events("trace") if trace["label"] == "INVITE"]
            assert [text.partition(";")[0] for text in tried] == [
                f"{transport.upper()} to {phone.host}" for phone in (carrier, backup)
            ]
            async with carrier:
                await gateway.counted('gateway_trunk_up{trunk="carrier"} 1.0')
