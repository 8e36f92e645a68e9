"""What an operator finds of a call that real telephones made, while the gateway goes on."""

from __future__ import annotations

import asyncio
import json
import os
import wave
from pathlib import Path
from typing import Any

import numpy as np

from tests.interop.client.client import Client
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import CONFIGURATION, Gateway, gateway_command
from tests.interop.peers.process import PATIENCE, PHONE_HOST
from tests.interop.peers.server import Server

RECORDED = f"""
[[route]]
name = "telephones"
match = {{ kind = "uri", host = "{PHONE_HOST}" }}
via = "direct"
record = "notice"
"""
BEEP = 1_400.0  # Hz


async def asked(gateway: Gateway, *arguments: str) -> str:
    """What `gateway` with these arguments prints."""
    settings = os.environ | {"GATEWAY_STORAGE__URL": f"sqlite:///{gateway.directory}/gateway.db"}
    command = (str(gateway_command()), *arguments, "--config", str(CONFIGURATION))
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=settings)
    out, _ = await asyncio.wait_for(child.communicate(), PATIENCE)
    return out.decode()


async def test_a_call_is_listed_with_its_stages_and_its_sound_while_the_gateway_runs(
    juliet: Client, phone: Baresip, gateway: Gateway
) -> None:
    call = await juliet.call(gateway.contact_of(phone.uri))
    await call.answered()
    await asyncio.gather(call.voice.hears(phone.tone, seconds=3.0), phone.hears(juliet.tone))
    await phone.hang_up()
    assert await call.ended() == "success"
    record: dict[str, Any] = {}
    while not record:  # its row is written beside the signalling
        for line in (await asked(gateway, "calls", "--json")).splitlines():
            record = json.loads(line)
    stages = [record[name] for name in ("offered", "routed", "asked", "progress", "answered", "ended")]
    assert stages == sorted(stages)
    assert record["connected"] is not None
    assert (record["cause"], record["by"], record["blame"]) == ("normal", "callee", "nobody")
    (attempt,) = record["attempts"]
    assert (attempt["cause"], attempt["via"], attempt["number"]) == ("normal", "direct", 1)
    for leg in ("caller", "callee1"):
        assert record["media"][leg]["received_packets"] > 100
        assert record["media"][leg]["mos"] > 3.5
    assert record["quality"]["loss"] < 5
    assert record["id"] in await asked(gateway, "calls", "--since", "1h", "--user", juliet.jid.partition("/")[0])
    ladder = await asked(gateway, "trace", record["id"])
    for step in ("session-initiate", "INVITE", "BYE", "session-terminate", "media: callee1 connected", "MOS"):
        assert step in ladder


async def test_a_recorded_call_is_told_to_both_and_is_a_file_with_an_end_in_each_channel(
    server: Server, tmp_path: Path
) -> None:
    async with (
        Gateway(server, RECORDED, media__recordings=str(tmp_path)) as gateway,
        Client(*server.account("juliet")) as juliet,
        Baresip(tone=tones.draw(juliet.tone)) as phone,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact_of(phone.uri))
        await call.answered()
        await asyncio.gather(call.voice.hears(BEEP, seconds=0.25), phone.hears(BEEP, seconds=0.25))
        await asyncio.gather(call.voice.hears(phone.tone, seconds=2.0), phone.hears(juliet.tone, seconds=2.0))
        await call.hang_up()
        record: dict[str, Any] = {}
        while not record:  # its row is written beside the signalling
            for line in (await asked(gateway, "calls", "--json")).splitlines():
                record = json.loads(line)
        assert record["recording_fault"] == ""
        assert record["recording"].endswith(f"-{record['id']}.wav")
        with wave.open(str(tmp_path / record["recording"])) as file:
            both = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768
        left, right = both[0::2], both[1::2]
        assert tones.seconds_of(juliet.tone, left, 8_000) > 1.5
        assert tones.seconds_of(phone.tone, right, 8_000) > 1.5
        for channel in (left, right):
            assert tones.seconds_of(BEEP, channel, 8_000) == 0.0
