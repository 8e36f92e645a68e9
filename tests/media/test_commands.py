from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import MediaError, NgError
from gateway.media.commands import Commands
from gateway.media.engine import LegKind
from gateway.media.wire import pack
from gateway.media.worker import Worker
from tests.media.conftest import Command
from tests.media.ends import PCMA, Phone, stream


async def test_a_call_goes_from_allocation_to_release_in_commands(command: Command, phone: Phone) -> None:
    assert await command("ping") == {"result": "pong", "calls": 0}
    ours = (await command("allocate", call="c", leg="a", kind="rtp"))["transport"]
    assert await command("allocate", call="c", leg="a", kind="rtp") == {"result": "ok", "transport": ours}
    await command("connect", call="c", leg="a", remote=pack(phone.transport), stream=pack(stream(PCMA)))
    await command("loop", call="c", leg="a")
    phone.far = (ours["address"], ours["port"])
    phone.say(PCMA, b"echo", 160)
    assert (await phone.hear())[12:] == b"echo"
    counted = (await command("statistics", call="c"))["legs"]["a"]
    assert (counted["received_packets"], counted["sent_packets"], counted["codec"]) == (1, 1, "PCMA")
    assert (await command("release", call="c", leg="b"))["legs"] == {}
    assert (await command("release", call="c"))["legs"] == {"a": counted}
    assert (await command("release", call="c"))["legs"] == {}
    assert (await command("statistics", call="c"))["legs"] == {}
    assert await command("ping") == {"result": "pong", "calls": 0}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"command": "publish"}, "Unrecognized command"),
        ({}, "command is missing"),
        ({"command": "allocate", "call": "c", "leg": "b", "kind": "pigeon"}, "LegKind"),
        ({"command": "allocate", "call": "c", "kind": "rtp"}, "leg is missing"),
        ({"command": "allocate", "call": "c", "leg": "a", "kind": "webrtc"}, "other kind"),
        ({"command": "connect", "call": "c", "leg": "a", "remote": {}, "stream": {}}, "Stream"),
        ({"command": "candidates", "call": "c", "leg": "x", "candidates": []}, "unknown leg"),
        ({"command": "play", "call": "x", "leg": "a", "prompt": "echo"}, "unknown leg"),
        ({"command": "play", "call": "c", "leg": "a", "prompt": "../../etc/passwd"}, "no prompt"),
        ({"command": "play", "call": "c", "leg": "a", "prompt": "opera"}, "no prompt"),
        ({"command": "stop playing", "call": "c", "leg": "x"}, "unknown leg"),
        ({"command": "restart", "call": "c", "leg": "a", "ice": {"ufrag": "x", "pwd": "y"}}, "no ICE"),
        ({"command": "dtmf", "call": "c", "leg": "a", "digits": "12x"}, "not digits"),
        ({"command": "dtmf", "call": "c", "leg": "a", "digits": ""}, "not digits"),
        ({"command": "dtmf", "call": "c", "leg": "a", "digits": "1" * 65}, "not digits"),
        ({"command": "dtmf", "call": "c", "leg": "a", "digits": "1", "duration": 10**9}, "lasts between"),
        ({"command": "dtmf", "call": "c", "leg": "a", "digits": "1", "duration": "long"}, "lasts between"),
    ],
)
async def test_what_cannot_be_done_is_said(worker: Worker, arguments: Any, reason: str) -> None:
    await worker.allocate("c", "a", LegKind.RTP)
    with pytest.raises((NgError, MediaError), match=reason):
        await Commands(worker).handle(arguments)
    assert list(await worker.release("c", None)) == ["a"]
