"""gateway.sip.peer: the requests of programs as they leave."""

from __future__ import annotations

import asyncio

import pytest

from gateway.sip.headers import NameAddr
from gateway.sip.peer import Peer
from tests.sip.programs import ROMEO, calling
from tests.sip.wire import Datagrams, answer, field, fields


async def test_a_registration_asks_the_registrar_for_our_address_until_it_expires() -> None:
    async with calling() as app, Datagrams() as peer:
        far = await app.connect(("127.0.0.1", peer.port))
        assert isinstance(far, Peer)
        asking = asyncio.ensure_future(far.register(from_details=ROMEO, to_details=ROMEO, expires=300))
        request = await peer.receive("REGISTER")
        assert request.startswith("REGISTER sip:127.0.0.1 SIP/2.0\r\n")  # without user and port, RFC 3261 §10.2
        assert field(request, "Expires") == "300"
        peer.send(answer(request, 200))
        dialog = await asking
        assert dialog.status_code == 200


async def test_a_header_that_would_break_the_framing_is_not_sent() -> None:
    async with calling() as app, Datagrams() as peer:
        far = await app.connect(("127.0.0.1", peer.port))
        for headers in ({"Subject": "a\r\nX: y"}, {"Sub\nject": "a"}):
            with pytest.raises(ValueError, match="line break"):
                await far.invite(from_details=ROMEO, to_details=ROMEO, headers=headers)
        with pytest.raises(ValueError, match="line break"):
            await far.invite(from_details=ROMEO, to_details=ROMEO, uri="sip:a\r\nX: y")
        assert await peer.silent()
        assert app.dialogs == []


async def test_a_contact_that_the_program_names_is_the_one_that_is_registered() -> None:
    async with calling() as app, Datagrams() as peer:
        far = await app.connect(("127.0.0.1", peer.port))
        elsewhere = NameAddr("sip:romeo@192.0.2.7:5099")
        asking = asyncio.ensure_future(far.register(from_details=ROMEO, to_details=ROMEO, contact_details=elsewhere))
        request = await peer.receive("REGISTER")
        assert fields(request, "Contact") == ["<sip:romeo@192.0.2.7:5099>"]
        peer.send(answer(request, 200))
        await asking
