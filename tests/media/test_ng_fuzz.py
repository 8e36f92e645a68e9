"""Malformed commands to a worker: an error or nothing, and the worker goes on as it was."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from typing import Any

import pytest

from gateway.errors import MediaError
from gateway.media import ng
from gateway.media.commands import Commands
from gateway.media.engine import LegKind
from gateway.media.ng import NgServer, encode
from gateway.media.wire import pack
from gateway.media.worker import Worker, WorkerSettings
from gateway.session.model import Candidate, Crypto, Fingerprint, Ice, Setup, Transport
from tests.media.ends import EVENT_8, OPUS, PCMA, SAFETY, Events, Phone, stream

ICE = Ice("u" * 8, "p" * 24, (Candidate("1", 1, "udp", 2_130_706_431, "127.0.0.9", 9, "host"),))
FINGERPRINT = Fingerprint("sha-256", ":".join(["AB"] * 32), Setup.ACTIVE)
KEY = Crypto(1, "AES_CM_128_HMAC_SHA1_80", "inline:" + "A" * 40)
COMMANDS: list[dict[str, Any]] = [
    {"command": "ping"},
    {"command": "allocate", "call": "d", "leg": "a", "kind": "rtp", "sdes": 1},
    {"command": "allocate", "call": "d", "leg": "b", "kind": "webrtc", "controlling": 1, "setup": "actpass"},
    {
        **{"command": "connect", "call": "d", "leg": "a", "peer": "b", "setup": "active"},
        **{"remote": pack(Transport("127.0.0.1", 9, crypto=(KEY,))), "stream": pack(stream(PCMA, EVENT_8))},
    },
    {
        **{"command": "connect", "call": "d", "leg": "b", "peer": "a", "setup": "passive"},
        **{"remote": pack(Transport(ice=ICE, fingerprint=FINGERPRINT)), "stream": pack(stream(OPUS))},
    },
    {"command": "candidates", "call": "d", "leg": "b", "candidates": pack(ICE.candidates), "ice": pack(ICE)},
    {"command": "restart", "call": "d", "leg": "b", "ice": pack(ICE)},
    {"command": "play", "call": "d", "leg": "a", "prompt": "ringback"},
    {"command": "stop playing", "call": "d", "leg": "a"},
    {"command": "loop", "call": "d", "leg": "a"},
    {"command": "dtmf", "call": "d", "leg": "a", "digits": "12", "duration": 100},
    {"command": "record", "call": "d", "name": "name"},
    {"command": "recorded", "call": "d"},
    {"command": "statistics", "call": "d"},
    {"command": "release", "call": "d", "leg": "b"},
]
ODD: list[Any] = [0, -1, 2**62, "", "x" * 300, "\udcff\udc80", [], [[]], {}, {"a": {"b": []}}, "é", "1e999", "nan"]


def changed(value: Any, rng: random.Random) -> Any:
    """The same with one thing in it that is something else, or is not there."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        copy = dict(value)
        key = rng.choice(list(copy))
        if rng.random() < 0.2:
            del copy[key]
        elif rng.random() < 0.1:
            copy[rng.choice(["", "x", "call", "kind"])] = rng.choice(ODD)
        else:
            copy[key] = changed(copy[key], rng)
        return copy
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        return [*value[:at], changed(value[at], rng), *value[at + 1 :]]
    return rng.choice(ODD)


def mangled(body: bytes, rng: random.Random) -> bytes:
    data = bytearray(body)
    for _ in range(rng.randrange(1, 4)):
        match rng.randrange(4):
            case 0:
                data[rng.randrange(len(data))] = rng.randrange(256)
            case 1:
                del data[rng.randrange(1, len(data) + 1) :]
            case 2:
                data += rng.randbytes(rng.randrange(1, 9))
            case 3:
                at = rng.randrange(len(data))
                data[at:at] = rng.choice((b"i" * 20, b"l" * 20, b"d", b"e", b"9" * 20, b"i-0e", b"0:"))
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
async def test_a_command_that_is_malformed_is_an_error_and_changes_nothing_else(
    ports: tuple[int, int], phone: Phone, seed: int
) -> None:
    rng = random.Random(seed)
    worker = Worker(WorkerSettings("127.0.0.1", None, *ports, ("127.0.0.0/8",)), Events())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    commands = Commands(worker)
    server, loop = NgServer(theirs, commands.handle), asyncio.get_running_loop()
    try:
        transport = await worker.allocate("kept", "a", LegKind.RTP)
        await worker.connect("kept", "a", phone.transport, stream(PCMA), peer="a")
        reasons: set[str] = set()
        for number in range(300):
            command = rng.choice(COMMANDS)
            body = mangled(encode(command), rng) if rng.random() < 0.4 else encode(changed(command, rng))
            if rng.random() < 0.3:
                with contextlib.suppress(MediaError):  # by now every port may be in use
                    await commands.handle(COMMANDS[rng.choice((1, 2))])  # there is something that it could be about
            await loop.sock_sendall(ours, b"%d " % number + body)
            async with asyncio.timeout(SAFETY):
                cookie, answer = ng.split(await loop.sock_recv(ours, 65_536))
            assert cookie == b"%d" % number
            said = ng.message(answer)
            assert said["result"] in ("ok", "pong", "error"), said
            reasons.add(str(said.get("error-reason", "")))
        assert not [reason for reason in reasons if reason.startswith("internal error")]
        assert len(reasons) > 20
        phone.far = (str(transport.address), transport.port)
        phone.say(PCMA, b"still here", 160)
        assert (await phone.hear())[12:] == b"still here"
    finally:
        server.close()
        ours.close()
        await worker.close()
