"""A user, a telephone network that charges, and a budget that lasts for twelve seconds: real peers, and SQLite."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.interop.client.client import Client
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.carrier import THEIRS
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.server import Server
from tests.interop.test_records import asked

PRICES = "prefix,connect,per_minute,destination\n1,0.10,0.60,North America\n"


def plan(carrier: str) -> str:
    """A tenth of a Euro, and a hundredth for each second; 0.22 EUR a day, and who uses them up is frozen."""
    return f"""
[numbers]
region = "US"
[emergency]
action = "refuse"
[[prices]]
name = "carrier"
file = "carrier.csv"
currency = "EUR"
[[trunk]]
name = "carrier"
proxy = "sip:{carrier}"
prices = "carrier"
[[route]]
name = "numbers"
match = {{ kind = "number" }}
via = "carrier"
[[budget]]
name = "pocket money"
user = "*@*"
spend_per_day = "0.22 EUR"
freeze = true
"""


@pytest.fixture
async def juliet(server: Server) -> AsyncIterator[Client]:
    async with Client(*server.account("juliet")) as client:
        yield client


async def records(gateway: Gateway, count: int) -> list[dict[str, Any]]:
    """So many calls that have ended; a row is written beside the signalling."""
    while len(lines := (await asked(gateway, "calls", "--json")).splitlines()) < count:
        pass
    return [json.loads(line) for line in lines]


async def test_a_budget_is_spent_by_the_second_and_ends_the_call_and_the_record_has_the_price(
    server: Server, juliet: Client
) -> None:
    async with (
        Baresip(THEIRS, tone=tones.draw(juliet.tone)) as phone,
        Gateway(server, plan(phone.host), passwords={"carrier.csv": PRICES}) as gateway,
    ):
        await gateway.ready()
        contact = gateway.contact(THEIRS)
        call = await juliet.call(contact)
        await call.answered()
        warning = await juliet.reads(contact)
        said = re.fullmatch(
            r"This call ends in (\d+) seconds: the budget for such calls is used up \(pocket money\)", warning
        )
        assert said, warning
        assert 1 <= int(said[1]) <= 12  # what is left when it has been booked
        await call.voice.hears(1_000.0, seconds=0.4)  # three pips
        await asyncio.gather(call.voice.hears(phone.tone, seconds=3.0), phone.hears(juliet.tone))
        assert await call.ended() == "expired"
        (first,) = await records(gateway, 1)
        assert (first["cause"], first["price"], first["currency"], first["via"]) == (
            "exhausted",
            "0.220000",
            "EUR",
            "carrier",
        )
        assert 10.5 < first["duration"] <= 12
        table = await asked(gateway, "accounts")
        jid = juliet.jid.partition("/")[0]
        assert f"user {jid}" in table
        assert "0.22 EUR a day" in table

        again = await juliet.call(contact)
        assert await again.ended() == "reject"
        assert (await records(gateway, 2))[1]["cause"] == "exhausted"
        assert any("Your account was blocked" in text for _, text in juliet.texts)
        third = await juliet.call(contact)
        assert await third.ended() == "reject"
        assert (await records(gateway, 3))[2]["cause"] == "frozen"
        found = json.loads(await asked(gateway, "accounts", "--json"))
        assert [each["account"] for each in found["frozen"]] == [jid]
        await gateway.counted('gateway_bookings_total{outcome="frozen"} 1.0')

        await asked(gateway, "thaw", jid)  # and the gateway that runs heeds it
        fourth = await juliet.call(contact)
        assert await fourth.ended() == "reject"
        assert (await records(gateway, 4))[3]["cause"] == "exhausted"
