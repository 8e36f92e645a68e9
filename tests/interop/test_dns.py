"""A gateway that asks a name server of its operator's: numbers by ENUM, trunks by their services, and what goes wrong.

The name server is NSD. Telephones are known to the gateway by their names alone.
"""

from __future__ import annotations

import contextlib

import pytest

from tests.interop.client.client import Client, both_hear
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.carrier import OURS, THEIRS, plan
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.nsd import BROKEN, Nsd
from tests.interop.peers.process import TRUNK_HOST, free_port
from tests.interop.peers.server import Server

DIGITS = ".".join(reversed(THEIRS.removeprefix("+")))
LISTED = DIGITS + r' NAPTR 100 10 "u" "E2U+sip" "!^\\+1(.*)$!sip:\\1@voice.example!" .' + "\n"


def services(transport: str, *places: str) -> str:
    """The records of a host whose servers are these, host:port, in this order."""
    label = transport.lower()
    records = [f'@ NAPTR 10 10 "s" "SIP+D2{transport[0]}" "" _sip._{label}\n']
    for priority, place in enumerate(places, 1):
        host, _, port = place.rpartition(":")
        records += [f"_sip._{label} SRV {priority} 0 {port} sbc{priority}\n", f"sbc{priority} A {host}\n"]
    return "".join(records)


def listed(proxy: str, suffix: str, *keys: str) -> str:
    """The dialplan of a carrier whose rule, with these keys, asks ENUM first."""
    text = plan(proxy).replace('region = "US"', f'region = "US"\nenum_suffix = "{suffix}"')
    return text.replace('via = "carrier"', "\n".join(('via = ["enum", "carrier"]', *keys)))


async def test_a_number_is_called_at_the_address_that_enum_has_for_it(server: Server) -> None:
    async with (
        Client(*server.account("juliet")) as juliet,
        Baresip(THEIRS.removeprefix("+1"), tone=tones.draw(juliet.tone)) as phone,
        Nsd({"enum.example": LISTED, "voice.example": services("UDP", phone.host)}) as names,
        Gateway(
            server, listed(f"sip:{TRUNK_HOST}:{free_port()}", "enum.example"), sip__nameservers=names.address
        ) as gateway,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact(THEIRS))
        await call.answered()
        await both_hear(call, phone)
        await call.hang_up()
        await phone.event("CALL_CLOSED")
        assert any(line.startswith(f"INVITE sip:{phone.user}@voice.example SIP/2.0") for line in phone.child.lines)


async def test_a_trunk_is_found_by_its_services_and_known_by_its_address(server: Server) -> None:
    async with (
        Client(*server.account("juliet")) as juliet,
        Baresip(THEIRS, tone=tones.draw(juliet.tone), host=TRUNK_HOST) as phone,
        Nsd({"carrier.example": services("TCP", f"{TRUNK_HOST}:{free_port()}", phone.host)}) as names,
        Gateway(server, plan("sip:carrier.example"), sip__nameservers=names.address) as gateway,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact(THEIRS))
        await call.answered()
        await both_hear(call, phone)
        await call.hang_up()
        await phone.event("CALL_CLOSED")
        assert any(line.startswith("Via: SIP/2.0/TCP") for line in phone.child.lines)  # what NAPTR names
        await phone.dial(gateway.sip_uri(OURS))
        call = await juliet.incoming()
        await call.accept()
        await both_hear(call, phone)


@pytest.mark.parametrize("trouble", ["not listed", "leads inside", "SERVFAIL", "REFUSED", "silent"])
async def test_a_number_for_which_enum_is_of_no_use_goes_to_the_trunk(server: Server, trouble: str) -> None:
    suffix = {"SERVFAIL": BROKEN, "REFUSED": "nobody.example"}.get(trouble, "enum.example")
    zones = {"enum.example": LISTED if trouble == "leads inside" else "", "voice.example": "@ A 10.0.0.1\n"}
    async with (
        Client(*server.account("juliet")) as juliet,
        Baresip(THEIRS, tone=tones.draw(juliet.tone), host=TRUNK_HOST) as phone,
        Nsd(zones) as names,
        Gateway(server, listed(phone.proxy, suffix), sip__nameservers=names.address) as gateway,
    ):
        await gateway.ready()
        with names.silent() if trouble == "silent" else contextlib.nullcontext():
            call = await juliet.call(gateway.contact(THEIRS))
            await call.answered()
            await both_hear(call, phone)
            await call.hang_up()
            await phone.event("CALL_CLOSED")


async def test_a_number_for_which_dns_fails_is_called_no_other_way_where_the_rule_says_so(server: Server) -> None:
    async with (
        Client(*server.account("juliet")) as juliet,
        Baresip(THEIRS, host=TRUNK_HOST) as phone,
        Nsd({}) as names,
        Gateway(
            server, listed(phone.proxy, BROKEN, 'enum_failure = "refuse"'), sip__nameservers=names.address
        ) as gateway,
    ):
        await gateway.ready()
        contact = gateway.contact(THEIRS)
        call = await juliet.call(contact)
        assert await call.ended() == "reject"
        assert "DNS" in await juliet.reads(contact)
        assert phone.events == []
