"""gateway.sip.transport: sockets that no packet can take away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.sip import transport as module
from gateway.sip.layer import Flow
from gateway.sip.transport import Transports, ip_of, is_ours, sendable
from tests.sip.wire import Datagrams

MESSAGE = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n"


class Ends:
    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[bytes, Flow, bool]] = asyncio.Queue()
        self.closed: asyncio.Queue[int] = asyncio.Queue()
        self.transports = Transports(lambda *message: self.got.put_nowait(message), self.closed.put_nowait)

    async def receive(self) -> tuple[bytes, Flow, bool]:
        async with asyncio.timeout(5):
            return await self.got.get()


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    made = Ends()
    yield made
    await made.transports.close()


def test_what_may_be_given_to_a_socket() -> None:
    assert sendable(("192.0.2.1", 5060))
    assert sendable(("2001:db8::1", 1))
    for wrong in (("192.0.2.1", 0), ("192.0.2.1", 65_536), ("192.0.2.1", 99_999), ("localhost", 5060), ("", 5060)):
        assert not sendable(wrong)
    assert str(ip_of("[::1]")) == "::1"
    assert ip_of("example.com") is None


def test_our_own_addresses() -> None:
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
    assert not ends.transports.send(Flow("UDP", ("127.0.0.1", 1), ("127.0.0.1", 9), bound), b"x")
    assert not ends.transports.send(Flow("UDP", bound, ("127.0.0.1", 9), bound), b"x" * 70_000)
    async with Datagrams(bound[1]) as peer:
        peer.send(MESSAGE)
        assert (await ends.receive())[0] == MESSAGE


async def test_ipv6(ends: Ends) -> None:
    _, port = await ends.transports.listen("UDP", "::1", 0)
    flow = ends.transports.udp(("::1", port))
    assert flow is not None
    assert ends.transports.send(flow, MESSAGE)
    assert (await ends.receive())[1].remote == ("::1", port)


async def test_a_stream_is_opened_once_and_used_by_all(ends: Ends) -> None:
    other = Ends()
    remote = await other.transports.listen("TCP", "127.0.0.1", 0)
    one, two = await asyncio.gather(ends.transports.tcp(remote), ends.transports.tcp(remote))
    assert one is two
    assert await ends.transports.tcp(remote) is one
    assert one.reliable
    assert ends.transports.send(one, MESSAGE[:9])
    assert ends.transports.send(one, MESSAGE[9:] + MESSAGE)
    data, back, framed = await other.receive()
    assert (data, framed) == (MESSAGE, True)
    assert back.sent_by == remote
    assert (await other.receive())[0] == MESSAGE
    assert other.transports.send(back, MESSAGE)
    assert (await ends.receive())[0] == MESSAGE
    await other.transports.close()
    async with asyncio.timeout(5):
        assert await ends.closed.get() == one.connection
    assert not ends.transports.send(one, MESSAGE)
    assert not ends.transports.is_open(one.connection)


async def test_a_stream_that_makes_no_sense_is_cut_and_a_ping_answered(ends: Ends) -> None:
    host, port = await ends.transports.listen("TCP", "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"\r\n\r\n")
    assert await reader.readexactly(2) == b"\r\n"
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_whoever_connects_says_something_whole_in_time(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE", 0.2)
    _, port = await ends.transports.listen("TCP", "127.0.0.1", 0)
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    silent, slow, sound = streams
    sound[1].write(MESSAGE)
    slow[1].write(MESSAGE)
    await ends.receive()
    await ends.receive()
    async with asyncio.timeout(5):
        while not slow[0].at_eof():
            slow[1].write(b"I")  # as slowly as may be: it is the message that counts
            with contextlib.suppress(TimeoutError, ConnectionError):
                await asyncio.wait_for(slow[0].read(1), 0.05)
        assert await silent[0].read(1) == b""
    sound[1].write(MESSAGE)
    assert (await ends.receive())[0] == MESSAGE
    for _, writer in streams:
        writer.close()


async def test_connections_of_one_source_are_counted(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STREAMS_PER_SOURCE", 1)
    host, port = await ends.transports.listen("TCP", "127.0.0.1", 0)
    _, first = await asyncio.open_connection(host, port)
    first.write(MESSAGE)
    await ends.receive()
    reader, second = await asyncio.open_connection(host, port)
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    for writer in (first, second):
        writer.close()


async def test_connections_fail_as_oserror(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match=r"Connect|refused"):
            await ends.transports.tcp(free.getsockname())
    with pytest.raises(OSError, match="no address"):
        await ends.transports.tcp(("example.com", 5060))
    monkeypatch.setattr(module, "MAX_STREAMS", 0)
    with pytest.raises(OSError, match="too many"):
        await ends.transports.tcp(("127.0.0.1", 9))


async def test_a_peer_that_does_not_read_is_cut(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNSENT", 1000)
    host, port = await ends.transports.listen("TCP", "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(host, port, limit=1)
    writer.write(MESSAGE)
    _, flow, _ = await ends.receive()
    assert any(not ends.transports.send(flow, b"x" * 1_000_000) for _ in range(64))
    async with asyncio.timeout(5):
        assert await ends.closed.get() == flow.connection
    writer.close()


async def test_what_is_listened_on_and_advertised(ends: Ends) -> None:
    udp = await ends.transports.listen("UDP", "127.0.0.1", 0)
    tcp = await ends.transports.listen("TCP", "127.0.0.1", 0)
    assert ends.transports.listening == [("UDP", udp), ("TCP", tcp)]
    ends.transports.advertise = "203.0.113.7"
    flow = ends.transports.udp(("127.0.0.1", 5060))
    assert flow is not None
    assert flow.sent_by == ("203.0.113.7", udp[1])
    with pytest.raises(OSError, match="in use"):
        await ends.transports.listen("UDP", *udp)
