"""The SIP stack's programs behind Kamailio: registered with digest, called through its Record-Route, forked to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.sip.application import Application, BaseDialplan, Contact, Dialog, Handler, IncomingRequest
from gateway.sip.message import Request
from gateway.sip.tls import TlsSettings
from tests.interop.peers.kamailio import DOMAIN, PASSWORD, Kamailio
from tests.interop.peers.process import PATIENCE
from tests.sip.authority import Authority
from tests.sip.wire import SDP

ROMEO = Contact.from_header(f"sip:romeo@{DOMAIN}")
JULIET = Contact.from_header(f"sip:juliet@{DOMAIN}")


class Phone(BaseDialplan):
    """Answers every call and keeps what it hears. `go` lets the answers out."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.rung = asyncio.Event()
        self.go = asyncio.Event()
        self.spoken = asyncio.Event()
        self.over = asyncio.Event()

    async def resolve(self, **_: object) -> Handler | None:
        return self.on_request

    async def on_request(self, request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(180)
        self.rung.set()
        await self.go.wait()
        await dialog.reply(message, 200, payload=SDP)
        async for each in dialog:
            self.heard.append(each.label)
            self.spoken.set()
        self.over.set()


@contextlib.asynccontextmanager
async def program(authority: Authority, transport: str, phone: Phone | None = None) -> AsyncIterator[Application]:
    certificate, key = authority.issue("127.0.0.1")
    app = Application(dialplan=phone, tls=TlsSettings(certificate, key, authority.ca))
    await app.run(protocol=transport, local_addr=("127.0.0.1", 0))
    try:
        yield app
    finally:
        await app.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def kamailio(authority: Authority) -> AsyncIterator[Kamailio]:
    certificate, key = authority.issue(DOMAIN, "127.0.0.1")
    async with Kamailio(certificate, key, authority.ca, demands=True) as proxy:
        yield proxy


async def registered(app: Application, kamailio: Kamailio, transport: str) -> None:
    peer = await app.connect(kamailio.uri(transport))
    answer = await peer.register(
        from_details=JULIET, to_details=JULIET, uri=f"sip:{DOMAIN}", username="juliet", password=PASSWORD
    )
    assert answer.status_code == 200


async def called(app: Application, kamailio: Kamailio, transport: str) -> Dialog:
    peer = await app.connect(kamailio.uri(transport))
    return await peer.invite(from_details=ROMEO, to_details=JULIET, payload=SDP, username="romeo", password=PASSWORD)


async def answered(call: Dialog) -> int:
    async for message in call.wait_for_terminate():
        if message.status >= 200:
            return message.status
    return 0


@pytest.mark.parametrize(
    ("caller", "callee"),
    [("UDP", "UDP"), ("TCP", "TCP"), ("TLS", "TLS"), ("TLS", "UDP"), ("UDP", "TLS"), ("WS", "WS"), ("WS", "UDP")],
)
async def test_a_call_through_a_record_routing_proxy(
    caller: str, callee: str, kamailio: Kamailio, authority: Authority
) -> None:
    """Both ends are authenticated, the ACK and the BYE take the recorded route, each end by its own transport."""
    phone = Phone()
    async with program(authority, callee, phone) as there, program(authority, caller) as here:
        async with asyncio.timeout(PATIENCE):
            await registered(there, kamailio, callee)
            call = await called(here, kamailio, caller)
            await phone.rung.wait()
            phone.go.set()
            assert await answered(call) == 200
            await phone.spoken.wait()  # Kamailio's workers let a BYE overtake the ACK that came just before it
            await call.close()
            await phone.over.wait()
        assert phone.heard == ["ACK", "BYE"]
        assert f"heard BYE from {caller.lower()}" in "\n".join(kamailio.process.lines)


async def test_a_wrong_password_and_a_user_that_nobody_is(kamailio: Kamailio, authority: Authority) -> None:
    async with program(authority, "UDP") as app, asyncio.timeout(PATIENCE):
        peer = await app.connect(kamailio.uri("UDP"))
        wrong = await peer.register(
            from_details=JULIET, to_details=JULIET, uri=f"sip:{DOMAIN}", username="juliet", password="wrong"
        )
        assert wrong.status_code == 401
        assert await answered(await called(app, kamailio, "UDP")) == 404


async def test_two_telephones_that_answer_at_once(kamailio: Kamailio, authority: Authority) -> None:
    """Kamailio forks and lets both answers through: one call remains, and the other one is hung up properly."""
    one, two = Phone(), Phone()
    async with (
        program(authority, "UDP", one) as first,
        program(authority, "TCP", two) as second,
        program(authority, "UDP") as here,
        asyncio.timeout(PATIENCE),
    ):
        await registered(first, kamailio, "UDP")
        await registered(second, kamailio, "TCP")
        call = await called(here, kamailio, "UDP")
        await asyncio.gather(one.rung.wait(), two.rung.wait())
        one.go.set()
        two.go.set()
        assert await answered(call) == 200
        ends = [asyncio.create_task(phone.over.wait()) for phone in (one, two)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        lost, kept = (one, two) if one.over.is_set() else (two, one)
        assert lost.heard in (["ACK", "BYE"], ["BYE"], ["CANCEL"])
        assert not kept.over.is_set()
        await kept.spoken.wait()
        await call.close()
        await asyncio.gather(*ends)
        assert kept.heard == ["ACK", "BYE"]


async def test_a_call_that_is_given_up_while_it_rings(kamailio: Kamailio, authority: Authority) -> None:
    phone = Phone()
    async with (
        program(authority, "TLS", phone) as there,
        program(authority, "TCP") as here,
        asyncio.timeout(PATIENCE),
    ):
        await registered(there, kamailio, "TLS")
        call = await called(here, kamailio, "TCP")
        await phone.rung.wait()
        await call.close()
        assert (await call.ready()).status == 487
        phone.go.set()
        await phone.over.wait()
        assert phone.heard == ["CANCEL"]
