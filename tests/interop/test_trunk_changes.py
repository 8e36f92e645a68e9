"""SIPp as a carrier that makes use of SIP in a call: hold, transfer, redirection, early media, session timers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.interop.client.client import Client
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.process import PHONE_HOST, TRUNK_HOST
from tests.interop.peers.server import Server
from tests.interop.peers.sipp import Sipp

NUMBER, OTHER, PREMIUM = "+12025550123", "+12025550199", "+19005550123"
NOBODY = f"{TRUNK_HOST}:5062"


def plan(carrier: str, backup: str = NOBODY) -> str:
    """One number leads to the second trunk, others to the first; nobody may call premium numbers."""
    return f"""
[numbers]
region = "US"

[emergency]
action = "refuse"

[[trunk]]
name = "carrier"
proxy = "sip:{carrier}"
allow = ["{TRUNK_HOST}"]

[[trunk]]
name = "backup"
proxy = "sip:{backup}"

[[route]]
name = "no premium numbers"
match = {{ kind = "number", type = "premium_rate" }}
refuse = "no premium numbers"

[[route]]
name = "the other one"
match = {{ kind = "number", number = "{OTHER}" }}
via = "backup"

[[route]]
name = "north america"
match = {{ kind = "number", country = ["US"] }}
via = "carrier"
early_media = true

[[route]]
name = "telephones"
match = {{ kind = "uri", host = "{PHONE_HOST}" }}
via = "direct"
transfers = true

[[inbound]]
match = {{ number = "+12025550100" }}
to = "juliet@shakespeare.lit"
"""


@pytest.fixture
async def juliet(server: Server) -> AsyncIterator[Client]:
    async with Client(*server.account("juliet")) as client:
        yield client


@contextlib.asynccontextmanager
async def beside(server: Server, carrier: Sipp, backup: str = NOBODY) -> AsyncIterator[Gateway]:
    async with Gateway(server, plan(carrier.host, backup)) as gateway:
        yield await gateway.ready()


async def test_a_carrier_moves_holds_and_resumes(server: Server, juliet: Client) -> None:
    async with Sipp("answer_and_change", milliseconds="1500") as carrier, beside(server, carrier) as gateway:
        call = await juliet.call(gateway.contact(NUMBER))
        await call.answered()
        await call.voice.hears(juliet.tone, seconds=0.5)  # the carrier sends back what it hears
        await call.holds(True)
        await call.holds(False)
        call.voice.forget()
        await call.voice.hears(juliet.tone)
        await call.hang_up()
        await carrier.done()


async def test_a_carrier_sends_a_user_on_to_another_number(server: Server, juliet: Client) -> None:
    async with (
        Baresip(OTHER, tone=tones.draw(juliet.tone)) as other,
        Sipp("answer_and_refer", elsewhere=f"sip:{OTHER}@{TRUNK_HOST}", milliseconds="1000") as carrier,
        beside(server, carrier, other.host) as gateway,
    ):
        call = await juliet.call(gateway.contact(NUMBER))
        await call.answered()
        await other.event("CALL_ESTABLISHED")
        await asyncio.gather(call.voice.hears(other.tone), other.hears(juliet.tone))
        await carrier.done()
        await call.hang_up()
        await other.event("CALL_CLOSED")
        assert "SIP/2.0 200 OK" in carrier.messages.split("REFER", 1)[1]


async def test_a_telephone_sends_a_user_on_to_another(server: Server, juliet: Client) -> None:
    async with (
        Baresip() as phone,
        Baresip("nurse", tone=tones.draw(juliet.tone, phone.tone)) as other,
        Gateway(server, plan(f"{TRUNK_HOST}:5060")) as gateway,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact_of(phone.uri))
        await call.answered()
        await call.voice.hears(phone.tone)
        await phone.command("transfer", other.uri)
        await phone.event("CALL_CLOSED")
        await asyncio.gather(call.voice.hears(other.tone), other.hears(juliet.tone))
        await other.hang_up()
        assert await call.ended() == "success"


async def test_a_call_follows_a_redirection_that_its_user_may_follow(server: Server, juliet: Client) -> None:
    async with (
        Baresip(OTHER, tone=tones.draw(juliet.tone)) as other,
        Sipp("refuse", status=f"302 Moved Temporarily\nContact: <sip:{OTHER}@{TRUNK_HOST}>") as carrier,
        beside(server, carrier, other.host) as gateway,
    ):
        call = await juliet.call(gateway.contact(NUMBER))
        await call.answered()
        await asyncio.gather(call.voice.hears(other.tone), other.hears(juliet.tone))
        await call.hang_up()
        await carrier.done()


async def test_a_redirection_to_a_premium_number_is_not_followed(server: Server, juliet: Client) -> None:
    async with (
        Sipp("refuse", status=f"302 Moved Temporarily\nContact: <sip:{PREMIUM}@{TRUNK_HOST}>") as carrier,
        beside(server, carrier) as gateway,
    ):
        call = await juliet.call(gateway.contact(NUMBER))
        assert await call.ended() in ("error", "reject")
        await carrier.done()
        await gateway.logged("redirection not followed", reason="no premium numbers")


async def test_a_user_hears_what_a_carrier_says_before_the_answer(server: Server, juliet: Client) -> None:
    async with Sipp("until_cancelled", first="183 Session Progress") as carrier, beside(server, carrier) as gateway:
        call = await juliet.call(gateway.contact(NUMBER))
        await call.voice.hears(juliet.tone)
        await call.hang_up()
        await carrier.done()


async def test_a_carrier_is_told_that_it_was_heard_and_moves_before_it_answers(server: Server, juliet: Client) -> None:
    """PRACK (RFC 3262) and UPDATE (RFC 3311) before the answer, which brings no session any more."""
    async with Sipp("answer_reliably") as carrier, beside(server, carrier) as gateway:
        call = await juliet.call(gateway.contact(NUMBER))
        await call.answered()
        await gateway.logged("trace", peer="sip", sent=True, label="ACK")
        await call.hang_up()
        await carrier.done()


async def test_a_contact_who_does_not_ring_rings_after_all_before_the_client_gives_up(
    server: Server, juliet: Client
) -> None:
    """Conversations waits six seconds for a sign of life from a contact who shares his presence."""
    async with Sipp("until_cancelled", first="100 Trying") as carrier, beside(server, carrier) as gateway:
        await juliet.add(gateway.contact(NUMBER))
        call = await juliet.call(gateway.contact(NUMBER))
        await call.ringing()
        await call.hang_up()
        await carrier.done()


async def test_a_carrier_that_wants_longer_sessions_gets_them(server: Server, juliet: Client) -> None:
    async with Sipp("answer_for_longer", milliseconds="500") as carrier, beside(server, carrier) as gateway:
        call = await juliet.call(gateway.contact(NUMBER))
        await call.answered()
        await call.voice.hears(juliet.tone)
        await call.hang_up()
        await carrier.done()


async def test_a_carrier_calls_without_an_offer_and_too_briefly(server: Server, juliet: Client) -> None:
    async with Gateway(server, plan(f"{TRUNK_HOST}:5060")) as gateway:
        await gateway.ready()
        words = {"user": "+12025550100", "caller": NUMBER, "milliseconds": "3000"}
        async with Sipp("call_briefly", target=gateway.sip_host, **words) as carrier:
            call = await juliet.incoming()
            await call.accept()
            await call.voice.hears(juliet.tone)
            assert await call.ended() == "success"
            await carrier.done()
