"""SIPp as a carrier: it wants digests, refuses calls and brings calls of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from tests.interop.client.client import Client
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.process import PATIENCE, TRUNK_HOST
from tests.interop.peers.server import Server
from tests.interop.peers.servers import ON_EVERY_SERVER
from tests.interop.peers.sipp import Sipp, digest_is_right
from tests.sip.wire import answer, method

USERNAME, PASSWORD = "shakespeare", "all the world's a stage"
PASSWORDS = {"carrier.password": PASSWORD}


def plan(first: str, second: str) -> str:
    """A dialplan with two trunks at these hosts."""
    return f"""
[numbers]
region = "US"

[emergency]
action = "refuse"

[[trunk]]
name = "carrier"
proxy = "sip:{first}"
username = "{USERNAME}"
password_file = "carrier.password"
from = "+12025550100"
allow = ["{TRUNK_HOST}"]

[[trunk]]
name = "backup"
proxy = "sip:{second}"
username = "{USERNAME}"
password_file = "carrier.password"
allow = ["{TRUNK_HOST}"]

[[route]]
name = "north america"
match = {{ kind = "number", country = ["US"] }}
via = ["carrier", "backup"]

[[inbound]]
match = {{ number = "+12025550100" }}
to = "juliet@shakespeare.lit"
"""


@pytest.fixture
async def quiet_juliet(server: Server) -> AsyncIterator[Client]:
    async with Client(*server.account("juliet")) as client:
        yield client


@pytest.mark.parametrize(("algorithm", "transport"), [("MD5", "udp"), ("SHA-256", "udp"), ("SHA-256", "tcp")])
async def test_a_trunk_that_wants_a_digest_gets_it(
    server: Server, quiet_juliet: Client, algorithm: str, transport: str
) -> None:
    juliet = quiet_juliet
    async with Sipp("answer_challenged", algorithm=algorithm, transport=transport) as carrier:
        place = f"{carrier.host};transport={transport}"
        async with Gateway(server, plan(place, place), passwords=PASSWORDS) as gateway:
            await gateway.ready()
            call = await juliet.call(gateway.contact("(202) 555-0123".replace(" ", "\\20")))
            await call.answered()
            await call.voice.hears(juliet.tone)  # the trunk sends back what it hears
            await call.hang_up()
            await carrier.done()
        assert digest_is_right(carrier.messages, method="INVITE", username=USERNAME, password=PASSWORD)
        assert PASSWORD not in carrier.messages
        assert "INVITE sip:+12025550123@" in carrier.messages
        assert f"SIP/2.0/{transport.upper()}" in carrier.messages


async def test_the_second_trunk_takes_a_call_that_the_first_cannot(server: Server, quiet_juliet: Client) -> None:
    juliet = quiet_juliet
    async with (
        Sipp("refuse", status="503 Service Unavailable") as carrier,
        Sipp("answer_challenged", algorithm="MD5") as backup,
        Gateway(server, plan(carrier.host, backup.host), passwords=PASSWORDS) as gateway,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact("+12025550123"))
        await call.answered()
        await call.voice.hears(juliet.tone)
        await call.hang_up()
        await carrier.done()
        await backup.done()


async def test_a_trunk_that_says_nothing_is_left_for_the_second_and_cancelled_when_it_rings_after_all(
    server: Server, quiet_juliet: Client
) -> None:
    juliet, loop = quiet_juliet, asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind((TRUNK_HOST, 0))
        mute.setblocking(False)
        carrier = f"{TRUNK_HOST}:{mute.getsockname()[1]}"
        async with (
            Sipp("answer_challenged", algorithm="MD5") as backup,
            Gateway(server, plan(carrier, backup.host), passwords=PASSWORDS) as gateway,
        ):
            await gateway.ready()
            call = await juliet.call(gateway.contact("+12025550123"))
            await call.answered()
            invite, source = await loop.sock_recvfrom(mute, 65_535)
            mute.sendto(answer(invite.decode(), 180).encode(), source)
            async with asyncio.timeout(PATIENCE):
                while method((await loop.sock_recv(mute, 65_535)).decode()) != "CANCEL":
                    pass  # the INVITE again
            await call.voice.hears(juliet.tone)
            await call.hang_up()
            await backup.done()


async def test_a_busy_number_is_busy_and_the_second_trunk_is_not_asked(server: Server, quiet_juliet: Client) -> None:
    juliet = quiet_juliet
    async with (
        Sipp("refuse", status="486 Busy Here") as carrier,
        Sipp("refuse", status="404 Not Found") as backup,
        Gateway(server, plan(carrier.host, backup.host), passwords=PASSWORDS) as gateway,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact("+12025550123"))
        assert await call.ended() == "reject"
        await carrier.done()
        assert not backup.messages


async def test_a_trunk_brings_a_call_by_tcp(server: Server, quiet_juliet: Client) -> None:
    async with Gateway(server, plan(f"{TRUNK_HOST}:5060", f"{TRUNK_HOST}:5062"), passwords=PASSWORDS) as gateway:
        await gateway.ready()
        arguments = {"user": "+12025550100", "caller": "+12025550123", "milliseconds": "3000"}
        async with Sipp("call", target=gateway.sip_host, transport="tcp", **arguments) as carrier:
            call = await quiet_juliet.incoming()
            await call.accept()
            await call.voice.hears(quiet_juliet.tone)
            assert await call.ended() == "success"
            await carrier.done()


@ON_EVERY_SERVER
async def test_a_trunk_brings_a_call_under_the_callers_number(server: Server, quiet_juliet: Client) -> None:
    juliet = quiet_juliet
    async with Gateway(server, plan(f"{TRUNK_HOST}:5060", f"{TRUNK_HOST}:5062"), passwords=PASSWORDS) as gateway:
        await gateway.ready()
        arguments = {"user": "+12025550100", "caller": "+12025550123", "milliseconds": "3000"}
        async with Sipp("call", target=gateway.sip_host, **arguments) as carrier:
            call = await juliet.incoming()
            assert call.peer.partition("/")[0] == gateway.contact("+12025550123")
            await call.accept()
            await call.voice.hears(juliet.tone)
            assert await call.ended() == "success"
            await carrier.done()


HELP = """
[emergency]
action = "route"
via = "carrier"
callback = "+12025550111"

[emergency.location]
country = "US"
city = "Verona"
street = "Capulet Street"
"""


async def test_a_call_for_help_brings_the_number_to_call_back_and_the_place(
    server: Server, quiet_juliet: Client
) -> None:
    juliet = quiet_juliet
    async with Sipp("answer_challenged", algorithm="MD5") as carrier:
        text = plan(carrier.host, carrier.host).replace('[emergency]\naction = "refuse"\n', HELP)
        async with Gateway(server, text, passwords=PASSWORDS) as gateway:
            await gateway.ready()
            call = await juliet.call(gateway.contact("911"))
            await call.answered()
            await call.voice.hears(juliet.tone)
            await call.hang_up()
            await carrier.done()
        for said in ("INVITE sip:911@", "+12025550111", "Geolocation: <cid:", "application/pidf+xml", "Capulet Street"):
            assert said in carrier.messages


async def test_an_anonymous_caller_is_known_to_the_trunk_alone(server: Server, quiet_juliet: Client) -> None:
    juliet = quiet_juliet
    async with Sipp("answer_challenged", algorithm="MD5") as carrier:
        text = plan(carrier.host, carrier.host)
        text += f'[users."{server.jid("juliet")}"]\ncaller_id = "+12025550177"\nanonymous = true\n'
        async with Gateway(server, text, passwords=PASSWORDS) as gateway:
            await gateway.ready()
            call = await juliet.call(gateway.contact("+12025550123"))
            await call.answered()
            await call.hang_up()
            await carrier.done()
        assert "Privacy: id" in carrier.messages
        assert "anonymous@anonymous.invalid" in carrier.messages
        assert "P-Asserted-Identity: <sip:+12025550177@" in carrier.messages
        assert "juliet" not in carrier.messages
