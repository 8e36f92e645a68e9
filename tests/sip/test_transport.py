"""gateway.sip.transport: one wire of datagrams and streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.sip.layer import Flow
from gateway.sip.transport import MAX_FLOWS, Transports, ip_of, is_ours
from tests.patience import PATIENCE
from tests.sip.wire import Datagrams

MESSAGE = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n"


class Ends:
    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[bytes, Flow, bool]] = asyncio.Queue()
        self.closed: asyncio.Queue[int] = asyncio.Queue()
        self.transports = Transports(
            lambda *message: self.got.put_nowait(message), lambda number, why: self.closed.put_nowait(number)
        )

    async def receive(self) -> tuple[bytes, Flow, bool]:
        async with asyncio.timeout(PATIENCE):
            return await self.got.get()


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    made = Ends()
    yield made
    await made.transports.close()


def test_our_own_addresses() -> None:
    assert str(ip_of("[::1]")) == "::1"
    assert ip_of("example.com") is None
    assert is_ours("127.0.0.1")
    for other in ("192.0.2.1", "0.0.0.0", "224.0.0.1", "example.com"):
        assert not is_ours(other)


async def test_a_datagram_comes_with_the_flow_that_answers_it(ends: Ends) -> None:
    _, port = await ends.transports.listen("UDP", "0.0.0.0", 0)
    async with Datagrams(port) as peer:
        peer.send(MESSAGE)
        data, flow, framed = await ends.receive()
        assert (data, framed) == (MESSAGE, False)
        assert flow.remote == ("127.0.0.1", peer.port)
        assert flow.sent_by == ("127.0.0.1", port)
        assert ends.transports.send(flow, b"answer")
        assert await peer.receive() == "answer"


async def test_a_flood_leaves_others_their_turn(ends: Ends) -> None:
    _, port = await ends.transports.listen("UDP", "127.0.0.1", 0)
    async with Datagrams(port) as peer:
        for _ in range(100):
            peer.send(MESSAGE)
        for turn in range(3):
            await ends.receive()
            assert ends.got.qsize() <= (turn + 1) * 10


async def test_no_address_costs_the_socket(ends: Ends) -> None:
    bound = await ends.transports.listen("UDP", "127.0.0.1", 0)
    for remote in (("127.0.0.1", 99_999), ("127.0.0.1", 0), ("no.such.host.example", 5060), ("::1", 5060)):
        assert ends.transports.udp(remote) is None
        assert not ends.transports.send(Flow("UDP", bound, remote, bound), b"x")
        with pytest.raises(OSError, match="no socket"):
            await ends.transports.connect("UDP", remote)
    for remote in (("127.0.0.1", 99_999), ("example.com", 5060)):
        with pytest.raises(OSError, match="no address"):
            await ends.transports.connect("TCP", remote)
    assert not ends.transports.send(Flow("UDP", ("127.0.0.1", 1), ("127.0.0.1", 9), bound), b"x")
    assert not ends.transports.send(Flow("TCP", bound, ("127.0.0.1", 9), bound, 77), b"x")
    async with Datagrams(bound[1]) as peer:
        peer.send(MESSAGE)
        assert (await ends.receive())[0] == MESSAGE


@pytest.mark.parametrize("protocol", ["UDP", "TCP", "WS"])
async def test_ipv6(ends: Ends, protocol: str) -> None:
    bound = await ends.transports.listen("UDP", "::1", 0)
    if protocol != "UDP":
        bound = await ends.transports.listen(protocol, "::1", 0)
    flow = await ends.transports.connect(protocol, bound)
    assert ends.transports.send(flow, MESSAGE)
    data, back, _ = await ends.receive()
    assert (data, back.remote[0], back.sent_by[0]) == (MESSAGE, "::1", "::1")


async def test_what_is_listened_on_and_advertised(ends: Ends) -> None:
    udp = await ends.transports.listen("UDP", "127.0.0.1", 0)
    tcp = await ends.transports.listen("TCP", "127.0.0.1", 0)
    assert ends.transports.listening == [("UDP", udp), ("TCP", tcp)]
    ends.transports.advertise = "203.0.113.7"
    flow = ends.transports.udp(("127.0.0.1", 5060))
    assert flow is not None
    assert flow.sent_by == ("203.0.113.7", udp[1])
    assert (await ends.transports.connect("TCP", tcp)).sent_by == ("203.0.113.7", tcp[1])
    with pytest.raises(OSError, match="in use"):
        await ends.transports.listen("UDP", *udp)
    with pytest.raises(OSError, match="in use"):
        await ends.transports.listen("TCP", *tcp)


async def test_all_that_comes_from_one_end_has_one_flow_until_we_are_known_by_another_address(ends: Ends) -> None:
    await ends.transports.listen("UDP", "127.0.0.1", 0)
    first = ends.transports.udp(("127.0.0.1", 5090))
    assert first is ends.transports.udp(("127.0.0.1", 5090))
    assert first is not ends.transports.udp(("127.0.0.1", 5091))
    ends.transports.advertise = "203.0.113.9"
    now = ends.transports.udp(("127.0.0.1", 5090))
    assert now is not None
    assert now.sent_by[0] == "203.0.113.9"


async def test_a_flood_of_forged_sources_leaves_memory_flat(ends: Ends) -> None:
    await ends.transports.listen("UDP", "127.0.0.1", 0)
    for port in range(1, MAX_FLOWS + 10):
        ends.transports.udp(("127.0.0.1", port))
    assert len(ends.transports._flows) <= MAX_FLOWS
