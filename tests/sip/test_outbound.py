"""gateway.sip.outbound: the ways to a next hop."""

from __future__ import annotations

import asyncio

import pytest

from gateway.sip.application import UDP, IncomingRequest
from gateway.sip.message import Request
from gateway.sip.outbound import LARGE
from tests.sip.programs import ROMEO, calling, serving, to
from tests.sip.wire import SDP, Datagrams, method


async def test_a_large_request_goes_over_a_stream_where_the_target_lets_it() -> None:
    async with calling() as app, Datagrams() as peer:
        accepted: asyncio.Queue[bytes] = asyncio.Queue()

        async def on_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.put_nowait(await reader.readuntil(b"\r\n\r\n"))
            writer.close()

        server = await asyncio.start_server(on_stream, "127.0.0.1", peer.port)
        far = await app.connect(("127.0.0.1", peer.port))
        await far.invite(from_details=ROMEO, to_details=to(("127.0.0.1", peer.port)), payload=LARGE * "v")
        async with asyncio.timeout(5):
            assert b"Via: SIP/2.0/TCP" in await accepted.get()
        server.close()
        await server.wait_closed()
        named = await app.connect(("127.0.0.1", peer.port), UDP)
        await named.invite(from_details=ROMEO, to_details=to(("127.0.0.1", peer.port)), payload=LARGE * "v")
        assert method(await peer.receive("INVITE")) == "INVITE"
        await far.invite(from_details=ROMEO, to_details=to(("127.0.0.1", peer.port)), payload=LARGE * "v")
        assert method(await peer.receive("INVITE")) == "INVITE"  # nobody listens there any more


async def test_an_address_without_a_permit_is_asked_nothing() -> None:
    async with calling(permit=lambda address: address != "127.0.0.1") as app, Datagrams() as peer:
        far = await app.connect(("127.0.0.1", peer.port))
        dialog = await far.invite(from_details=ROMEO, to_details=ROMEO)
        response = await dialog.ready()
        assert (response.status, response.local) == (503, True)
        trusted = await app.connect(("127.0.0.1", peer.port), trusted=True)
        await trusted.invite(from_details=ROMEO, to_details=ROMEO)
        assert method(await peer.receive("INVITE")) == "INVITE"


@pytest.mark.parametrize("target", ["sip:x@10.9.9.9", "sip:x@[nonsense", "mailto:x@y"])
async def test_a_contact_that_leads_nowhere_falls_back_to_where_the_call_came_from(target: str) -> None:
    async def on_invite(request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(200, payload=SDP)
        assert (await anext(dialog)).label == "ACK"
        await dialog.close()

    async with serving(INVITE=on_invite) as (app, address), Datagrams(address[1]) as peer:
        app.permit = lambda found: found != "10.9.9.9"
        caller = peer.caller()
        caller.contact = f"<{target}>"
        peer.send(caller.request("INVITE", content=SDP))
        caller.took(await peer.receive(200))
        peer.send(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
        assert (await peer.receive("BYE")).startswith(f"BYE {target} ")
