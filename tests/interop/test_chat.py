"""What a chat beside the calls is good for: keys for clients without any, and who has called."""

from __future__ import annotations

from tests.interop.client.client import Client
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.server import Server


async def test_a_message_is_dialled_and_a_missed_call_is_written_down(server: Server) -> None:
    async with (
        Client(*server.account("juliet")) as juliet,
        Baresip() as phone,
        Gateway(server, xmpp__chat_dtmf="true", xmpp__chat_lines="all", xmpp__language="de") as gateway,
    ):
        await gateway.ready()
        contact = gateway.contact_of(phone.uri)
        call = await juliet.call(contact)
        await call.answered()
        juliet.write(contact, "#123")
        await phone.pressed("123")
        await call.hang_up()
        await phone.event("CALL_CLOSED")

        juliet.texts.clear()
        await phone.dial(gateway.sip_uri("juliet"))
        await juliet.incoming()
        await phone.event("CALL_RINGING")
        await phone.hang_up()
        assert "verpasst" in (await juliet.reads(contact)).lower()
