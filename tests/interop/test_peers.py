"""The peers among themselves, without the gateway: what they prove about it is worth what they can do alone."""

from __future__ import annotations

import asyncio
import socket
import sys

import numpy as np
import pytest

from tests.interop.client.client import Client
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.process import Child, PeerError, free_port, is_bound, program
from tests.interop.peers.server import Server
from tests.interop.web.browser import Browser


def test_a_tone_is_found_and_another_one_is_not() -> None:
    recording = tones.sine(440, 2.0, 8000)
    assert tones.seconds_of(440, recording, 8000) == 2.0
    assert tones.seconds_of(500, recording, 8000) == 0.0


def test_a_faint_tone_in_noise_does_not_count_as_heard() -> None:
    noise = np.random.default_rng(1).normal(0, 0.2, 16000)
    assert tones.seconds_of(440, noise + tones.sine(440, 2.0, 8000, level=0.02), 8000) == 0.0


def test_silence_has_no_tone() -> None:
    assert tones.seconds_of(440, np.zeros(16000), 8000) == 0.0
    assert tones.seconds_of(440, *tones.silence()) == 0.0


def test_drawn_tones_can_be_told_apart() -> None:
    first = tones.draw()
    assert all(abs(tones.draw(first) - first) >= 60 for _ in range(100))


async def test_a_child_that_dies_is_reported_with_its_last_words() -> None:
    async with Child("a peer", [sys.executable, "-c", "print('no such file'); raise SystemExit(3)"]) as child:
        with pytest.raises(PeerError, match="no such file"):
            await child.line("ready")
        assert await child.wait() == 3


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_is_bound_while_somebody_has_it(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as somebody:
        somebody.bind(("127.0.0.3", free_port()))
        if kind is socket.SOCK_STREAM:
            somebody.listen()
        port = somebody.getsockname()[1]
        assert is_bound(port)
    assert not is_bound(port)


def test_a_missing_program_is_an_error_that_names_its_package() -> None:
    with pytest.raises(PeerError, match="package nothing-has-it"):
        program("no-such-program", package="nothing-has-it")


async def test_two_telephones_call_each_other() -> None:
    async with Baresip("a", tone=440) as a, Baresip("b", tone=520) as b:
        await a.dial(b.uri)
        await asyncio.gather(a.hears(520), b.hears(440))
        await a.press("12#")
        await b.pressed("12#")
        await a.hang_up()
        await b.event("CALL_CLOSED")


async def test_a_muted_telephone_is_not_heard() -> None:
    """What every other tone test rests on: a direction that says nothing makes it fail."""
    async with Baresip("a", tone=440) as a, Baresip("b", tone=520) as b:
        await a.dial(b.uri)
        await a.event("CALL_ESTABLISHED")
        await a.mute()
        await a.hears(520)
        with pytest.raises(AssertionError, match="was to hear 440 Hz"):
            await b.hears(440, timeout=2)


@pytest.mark.parametrize("jmi", [True, False], ids=["announced", "direct"])
async def test_two_users_call_each_other(server: Server, jmi: bool) -> None:
    juliet_tone, romeo_tone = 440.0, 520.0
    async with (
        Client(*server.account("juliet"), tone=juliet_tone, jmi=jmi) as juliet,
        Client(*server.account("romeo"), tone=romeo_tone, jmi=jmi) as romeo,
    ):
        address = await juliet.add(server.jid("romeo"))
        outgoing = await juliet.call(server.jid("romeo") if jmi else address)
        incoming = await romeo.incoming()
        await outgoing.ringing()
        await asyncio.gather(incoming.accept(), outgoing.answered())
        await asyncio.gather(outgoing.voice.hears(romeo_tone), incoming.voice.hears(juliet_tone))
        outgoing.voice.press("12#")
        await incoming.voice.pressed("12#")
        await incoming.hang_up()
        assert await outgoing.ended() == "success"


async def test_a_muted_user_is_not_heard(server: Server) -> None:
    async with (
        Client(*server.account("juliet"), tone=0) as juliet,
        Client(*server.account("romeo"), tone=520) as romeo,
    ):
        outgoing = await juliet.call(server.jid("romeo"))
        incoming = await romeo.incoming()
        await asyncio.gather(incoming.accept(), outgoing.answered())
        await outgoing.voice.hears(520)
        with pytest.raises(AssertionError, match="was to hear 440 Hz"):
            await incoming.voice.hears(440, timeout=2)


async def test_a_browser_and_our_client_understand_each_other(server: Server) -> None:
    """Our client's Jingle is held against a client stack that nobody here wrote, in both directions."""
    async with (
        # stanza.js trickles candidates that the strictest clients would not take.
        Client(*server.account("juliet"), tone=440, jmi=False, strict=False) as juliet,
        Browser(server.jid("romeo"), server.users["romeo"], server.websocket, tone=520) as romeo,
    ):
        address = await romeo.do("add", server.jid("juliet"))
        asked = asyncio.create_task(romeo.do("call", address))
        call = await juliet.incoming()
        await call.accept()
        assert await asked is True
        await asyncio.gather(call.voice.hears(520), romeo.hears(440))
        await romeo.do("press", "12#")
        await call.voice.pressed("12#")
        await romeo.do("hangUp")
        assert await call.ended() == "success"

        call = await juliet.call(await juliet.sees(server.jid("romeo")))
        await romeo.do("incoming")
        await romeo.do("ring")
        await call.ringing()
        await romeo.do("accept")
        await call.answered()
        await asyncio.gather(call.voice.hears(520), romeo.hears(440))
        await call.hang_up()
        assert await romeo.do("ended") == "success"
