from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aioice import stun

from gateway.media.mux import Address, Datagrams, Mux
from gateway.media.ports import Ports
from gateway.media.rtp import Packet
from tests.media.ends import SAFETY, Phone


class Shared:
    """A socket, who came by, and sessions that only listen."""

    def __init__(self, pool: Ports) -> None:
        self.port, (self.sock,) = pool.bind([("127.0.0.1", 0)])
        self.packet = Packet()
        self.media: list[tuple[bytes, Address]] = []
        self.strangers = self.unasked = 0
        self.checks: list[str] = []
        self.came = asyncio.Event()
        self.mux = Mux(self.sock, self.packet, self._media, self._stranger, asyncio.get_running_loop(), self._not_asked)

    def join(self, name: str) -> Datagrams:
        def received(message: stun.Message, address: Address, protocol: Any) -> None:
            self.checks.append(name)
            self.came.set()

        def lost(protocol: Any) -> None: ...

        session: Any = SimpleNamespace(
            local_username=name,
            request_received=received,
            received=lambda data, address, protocol: protocol.datagram_received(data, address),
            data_received=lambda data, component: self._stranger(),
            protocol_lost=lost,
        )
        transport = self.mux.join(session)
        transport.protocol.local_candidate = SimpleNamespace(component=1)  # type: ignore[assignment]
        return transport

    def _media(self, address: Address) -> None:
        self.media.append((bytes(self.packet), address))
        self.came.set()

    def _stranger(self) -> None:
        self.strangers += 1
        self.came.set()

    def _not_asked(self) -> None:
        self.unasked += 1
        self.came.set()

    async def after(self, phone: Phone, data: bytes) -> None:
        self.came.clear()
        phone.send(data)
        await asyncio.wait_for(self.came.wait(), SAFETY)


@pytest.fixture
async def shared(ports: tuple[int, int], phone: Phone) -> AsyncIterator[Shared]:
    shared = Shared(Ports(*ports))
    phone.far = ("127.0.0.1", shared.port)
    yield shared
    shared.mux.close()
    shared.sock.close()


def check(name: str) -> bytes:
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{name}:far"
    return bytes(request)


@pytest.mark.parametrize("kind", [stun.Class.RESPONSE, stun.Class.ERROR, stun.Class.INDICATION])
@pytest.mark.parametrize("sessions", [1, 2])
async def test_an_answer_to_nothing_is_counted(shared: Shared, phone: Phone, kind: stun.Class, sessions: int) -> None:
    for name in ("one", "other")[:sessions]:
        shared.join(name)
    await shared.after(phone, bytes(stun.Message(stun.Method.BINDING, kind)))
    assert (shared.unasked, shared.strangers, shared.checks) == (1, 0, [])


async def test_what_is_no_stun_is_media(shared: Shared, phone: Phone) -> None:
    shared.join("one")
    await shared.after(phone, b"\x80rtp")
    await shared.after(phone, b"\x16dtls")
    assert shared.media == [(b"\x80rtp", phone.address), (b"\x16dtls", phone.address)]


async def test_a_check_goes_to_the_session_whose_name_it_has(shared: Shared, phone: Phone) -> None:
    shared.join("one")
    shared.join("two")
    for name in ("one", "two", "one", "else"):
        await shared.after(phone, check(name))
    assert shared.checks == ["one", "two", "one", "two"]


async def test_an_answer_goes_to_the_session_that_asked(shared: Shared, phone: Phone) -> None:
    one = shared.join("one")
    shared.join("two")
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    asking = asyncio.ensure_future(one.protocol.request(request, phone.address))
    asked = stun.parse_message(await phone.hear())
    answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=asked.transaction_id)
    phone.send(bytes(answer))
    async with asyncio.timeout(SAFETY):
        assert (await asking)[0].message_class is stun.Class.RESPONSE


async def test_a_session_that_left_gets_nothing_more(shared: Shared, phone: Phone) -> None:
    one, two = shared.join("one"), shared.join("two")
    two.close()
    two.close()
    await shared.after(phone, check("two"))
    assert shared.checks == ["one"]
    one.close()
    await shared.after(phone, check("one"))
    assert (shared.checks, shared.strangers) == (["one"], 1)


@pytest.mark.parametrize("data", [b"", b"\x00\x01", check("one")[:-3]], ids=["empty", "short", "cut off"])
async def test_what_nobody_can_read_is_a_strangers(shared: Shared, phone: Phone, data: bytes) -> None:
    shared.join("one")
    shared.join("two")
    await shared.after(phone, data)
    assert shared.strangers == 1
