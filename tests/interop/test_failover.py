"""A carrier whose DNS names two servers: the first is not there, silent or too busy, and calls reach the second."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.addresses import SipUri
from gateway.call.causes import Cause
from gateway.call.events import Answered
from gateway.sip import resolver
from gateway.sip.resolver import Resolver
from gateway.sip.telephony import OutgoingCall
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.process import PATIENCE, TRUNK_HOST, free_port
from tests.interop.peers.sipp import Sipp
from tests.sip.house import OFFER, House
from tests.sip.test_resolver import ZONE, NameServer

TARGET = SipUri.parse("sip:romeo@carrier.example")


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NameServer]:
    """A name server on loopback, which the resolver that everybody shares asks."""
    made = NameServer()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: made, ("127.0.0.1", 0))
    monkeypatch.setattr(resolver, "_shared", Resolver([transport.get_extra_info("sockname")]))
    yield made
    transport.close()


def published(monkeypatch: pytest.MonkeyPatch, first: str, second: str) -> None:
    """NAPTR, SRV and addresses of carrier.example: `first` and `second` are host:port, in this order."""
    monkeypatch.setitem(ZONE, ("carrier.example.", "NAPTR"), ['10 10 "s" "SIP+D2U" "" _sip._udp.carrier.example.'])
    services = []
    for priority, place in enumerate((first, second), 1):
        host, _, port = place.rpartition(":")
        services.append(f"{priority} 0 {port} sbc{priority}.carrier.example.")
        monkeypatch.setitem(ZONE, (f"sbc{priority}.carrier.example.", "A"), [host])
    monkeypatch.setitem(ZONE, ("_sip._udp.carrier.example.", "SRV"), services)


@contextlib.asynccontextmanager
async def troubled(trouble: str) -> AsyncIterator[str]:
    """The first server: host:port."""
    match trouble:
        case "not there":
            yield f"{TRUNK_HOST}:{free_port()}"
        case "silent":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
                mute.bind((TRUNK_HOST, 0))
                yield f"{TRUNK_HOST}:{mute.getsockname()[1]}"
        case _:
            async with Sipp("refuse", status=trouble) as busy:
                yield busy.host
                await busy.done()


@pytest.mark.parametrize("trouble", ["not there", "silent", "503 Service Unavailable"])
async def test_a_call_reaches_the_second_server_and_the_next_one_goes_there_at_once(
    house: House, server: NameServer, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    async with troubled(trouble) as first, Baresip() as second:
        published(monkeypatch, first, second.host)
        for number in (1, 2):
            outgoing = OutgoingCall(TARGET, SipUri.parse("sip:juliet@gw.example"), "Juliet")
            leg = house.telephony.callee(f"call{number}", 1, outgoing, house.reports.put_nowait)
            leg.dial(OFFER)
            async with asyncio.timeout(PATIENCE):
                while not isinstance(await house.reports.get(), Answered):
                    pass
            await second.event("CALL_ESTABLISHED")
            leg.hang_up(Cause.NORMAL)
            await second.event("CALL_CLOSED")
    invites = [(traced.call, traced.text.split(";")[0]) for traced in house.traced if traced.label == "INVITE"]
    asked = list(dict.fromkeys(invites))  # over UDP it is repeated while nobody answers
    assert asked == [
        ("call1", f"UDP to {first}"),
        ("call1", f"UDP to {second.host}"),
        ("call2", f"UDP to {second.host}"),
    ]
    assert ("carrier.example.", "NAPTR") in server.asked
    assert ("_sip._udp.carrier.example.", "SRV") in server.asked
