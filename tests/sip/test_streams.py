"""gateway.sip.streams: connections of every kind, against peers made of sockets and OpenSSL alone."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from gateway.errors import SipError
from gateway.sip import streams as module
from gateway.sip import websocket
from gateway.sip.layer import Flow
from gateway.sip.overload import Source
from gateway.sip.pulse import Pace
from gateway.sip.seats import Room
from gateway.sip.streams import Streams
from gateway.sip.tls import Tls, TlsPeer, TlsSettings, UntrustedError
from tests.patience import PATIENCE
from tests.sip.authority import Authority, Demanding

MESSAGE = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n"
BARE = b"OPTIONS sip:a SIP/2.0\r\n\r\n"  # as a WebSocket carries it, without Content-Length


class Ends:
    """The stack's side; `trunks` are addresses and TLS names for whom seats are kept."""

    def __init__(self, tls: TlsSettings | None = None, *trunks: str, pace: Pace | None = None, **room: int) -> None:
        self.got: asyncio.Queue[tuple[bytes, Flow, bool]] = asyncio.Queue()
        self.closed: asyncio.Queue[int] = asyncio.Queue()
        self.distrusted: list[str] = []
        self.trunks = frozenset(trunks)
        self.streams = Streams(
            lambda *message: self.got.put_nowait(message),
            self.on_closed,
            host_of=lambda local: local,
            is_trunk=self.is_trunk,
            tls=Tls(tls),
            pace=pace,
            room=Room(**room),
        )

    def on_closed(self, connection: int, distrust: str) -> None:
        self.closed.put_nowait(connection)
        self.distrusted += [distrust] if distrust else []

    def is_trunk(self, source: Source) -> bool:
        return not self.trunks.isdisjoint((source.address, *source.names))

    async def receive(self) -> tuple[bytes, Flow, bool]:
        async with asyncio.timeout(PATIENCE):
            return await self.got.get()

    async def gone(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.closed.get()


@contextlib.asynccontextmanager
async def ending(*ends: Ends) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for each in ends:
            await each.streams.close()


async def read(reader: asyncio.StreamReader, size: int = -1) -> bytes:
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            return await (reader.read() if size < 0 else reader.readexactly(size))
    return b""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def settings(authority: Authority, *names: str, **others: object) -> TlsSettings:
    certificate, key = authority.issue(*names)
    return TlsSettings(certificate, key, **others)  # type: ignore[arg-type]


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.ca)


# --- TCP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_stream_is_opened_once_and_used_by_all(host: str) -> None:
    here, there = Ends(), Ends()
    async with ending(here, there):
        remote = there.streams.listen("TCP", host, 0)
        one, two = await asyncio.gather(*(here.streams.connect("TCP", remote, host) for _ in range(2)))
        assert one is two
        assert await here.streams.connect("TCP", remote, "another.name") is one
        assert one.reliable
        assert here.streams.send(one, MESSAGE[:9])
        assert here.streams.send(one, MESSAGE[9:] + MESSAGE)
        data, back, framed = await there.receive()
        assert (data, framed, back.sent_by) == (MESSAGE, True, remote)
        assert (await there.receive())[0] == MESSAGE
        assert there.streams.send(back, MESSAGE)
        assert (await here.receive())[0] == MESSAGE
        await there.streams.close()
        assert await here.gone() == one.connection
        assert not here.streams.send(one, MESSAGE)
        assert not here.streams.is_open(one.connection)


async def test_a_ping_is_answered_and_nonsense_cut() -> None:
    ends = Ends()
    async with ending(ends):
        reader, writer = await asyncio.open_connection(*ends.streams.listen("TCP", "127.0.0.1", 0))
        writer.write(b"\r\n\r\n")
        assert await read(reader, 2) == b"\r\n"
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await read(reader) == b""
        writer.close()


async def test_a_connection_of_ours_is_kept_alive_and_given_up_when_the_answers_stop() -> None:
    ends = Ends(pace=Pace(ping=0.05, pong=0.05))
    heard = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(4) == b"\r\n\r\n"
        writer.write(b"\r\n")
        assert await reader.readexactly(4) == b"\r\n\r\n"  # and to this one there is no answer
        heard.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with ending(ends):
        flow = await ends.streams.connect("TCP", server.sockets[0].getsockname(), "127.0.0.1")
        assert await ends.gone() == flow.connection
        assert heard.is_set()
    server.close()
    await server.wait_closed()


async def test_whoever_connects_and_says_nothing_is_cut() -> None:
    ends = Ends(pace=Pace(whole=0.05))
    async with ending(ends):
        remote = ends.streams.listen("TCP", "127.0.0.1", 0)
        silent, slow = [await asyncio.open_connection(*remote) for _ in range(2)]
        slow[1].write(MESSAGE + b"OPTIONS")
        assert await read(silent[0]) == b""
        assert await read(slow[0]) == b""
        for _, writer in (silent, slow):
            writer.close()


async def test_what_nobody_wants_to_hear_keeps_no_connection_open() -> None:
    ends = Ends(pace=Pace(whole=0.1))
    ends.streams._on_message = lambda *message: False
    async with ending(ends):
        reader, writer = await asyncio.open_connection(*ends.streams.listen("TCP", "127.0.0.1", 0))
        writer.write(MESSAGE)
        assert await read(reader) == b""
        writer.close()


async def test_strangers_do_not_take_the_seats_of_trunks() -> None:
    ends = Ends(None, "127.0.0.2", strangers=2, per_source=2)
    async with ending(ends):
        host, port = ends.streams.listen("TCP", "127.0.0.1", 0)
        strangers = [await asyncio.open_connection(host, port) for _ in range(2)]
        for _, writer in strangers:
            writer.write(MESSAGE)
            await ends.receive()
        refused, writer = await asyncio.open_connection(host, port)
        assert await read(refused) == b""
        assert ends.streams.complaints.counts["no seat"] == 1
        _, trunk = await asyncio.open_connection(host, port, local_addr=("127.0.0.2", 0))
        trunk.write(MESSAGE)
        assert (await ends.receive())[1].remote[0] == "127.0.0.2"
        for each in (writer, trunk, *(w for _, w in strangers)):
            each.close()
        while len(ends.streams.seats):
            await ends.gone()
            await asyncio.sleep(0)


async def test_half_open_handshakes_are_counted_and_end(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE", 0.1)
    ends = Ends(settings(authority, "gw.example"), half_open_per_source=2)
    async with ending(ends):
        remote = ends.streams.listen("TLS", "127.0.0.1", 0)
        mute = [await asyncio.open_connection(*remote) for _ in range(3)]  # no ClientHello ever
        for reader, writer in mute:
            assert await read(reader) == b""
            writer.close()
        assert ends.streams.complaints.counts["no seat"] == 1
        context = trusting(authority)
        reader, writer = await asyncio.open_connection(*remote, ssl=context, server_hostname="gw.example")
        writer.write(b"\r\n\r\n")
        assert await read(reader, 2) == b"\r\n"
        writer.close()


async def test_connections_fail_as_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends()
    async with ending(ends):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            with pytest.raises(OSError, match=r"Connect|refused"):
                await ends.streams.connect("TCP", free.getsockname(), "127.0.0.1")
        monkeypatch.setattr(module, "MAX_OURS", 0)
        with pytest.raises(OSError, match="too many"):
            await ends.streams.connect("TCP", ("127.0.0.1", 9), "127.0.0.1")


async def test_a_handshake_that_takes_forever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT", 0.1)
    ends = Ends()
    async with ending(ends):
        with socket.socket() as mute:
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            for transport in ("TLS", "WS"):
                with pytest.raises(OSError, match="timed out"):
                    await ends.streams.connect(transport, mute.getsockname(), "127.0.0.1")


async def test_a_peer_that_does_not_read_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNSENT", 1000)
    ends = Ends()
    async with ending(ends):
        remote = ends.streams.listen("TCP", "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*remote, limit=1)
        writer.write(MESSAGE)
        _, flow, _ = await ends.receive()
        assert any(not ends.streams.send(flow, b"x" * 1_000_000) for _ in range(64))
        assert await ends.gone() == flow.connection
        writer.close()


async def test_no_socket_left_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACCEPT_PAUSE", 0.0)
    ends, loop = Ends(), asyncio.get_running_loop()
    accept, failures = loop.sock_accept, iter([OSError(24, "Too many open files"), ConnectionAbortedError()])

    async def failing(sock: socket.socket) -> tuple[socket.socket, object]:
        if (fault := next(failures, None)) is not None:
            raise fault
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", failing)
    async with ending(ends):
        reader, writer = await asyncio.open_connection(*ends.streams.listen("TCP", "127.0.0.1", 0))
        writer.write(b"\r\n\r\n")
        assert await read(reader, 2) == b"\r\n"
        writer.close()


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_tls_both_ways_and_each_knows_the_other(authority: Authority) -> None:
    trunk = Ends(settings(authority, "carrier.example", ca=authority.ca))
    gateway = Ends(settings(authority, "sip:gw.example", ca=authority.ca), "carrier.example", strangers=1)
    async with ending(trunk, gateway):
        remote = gateway.streams.listen("TLS", "127.0.0.1", 0)
        flow = await trunk.streams.connect("TLS", remote, "gw.example")
        assert (flow.names, flow.domain) == (("gw.example",), "gw.example")
        trunk.streams.send(flow, MESSAGE)
        data, back, framed = await gateway.receive()
        assert (data, framed, back.transport, back.names) == (MESSAGE, True, "TLS", ("carrier.example",))
        # RFC 5923: who has proven a name is asked over the connection that he opened.
        assert gateway.streams.find("TLS", back.remote, "carrier.example") is back
        assert gateway.streams.find("TLS", back.remote, "other.example") is None
        assert await trunk.streams.connect("TLS", remote, "gw.example") is flow


async def test_who_has_proven_a_name_may_have_its_port_reached_over_his_own_connection(authority: Authority) -> None:
    trunk = Ends(settings(authority, "carrier.example", ca=authority.ca))
    stranger = Ends(TlsSettings(ca=authority.ca))
    gateway = Ends(settings(authority, "gw.example", ca=authority.ca))
    async with ending(trunk, stranger, gateway):
        remote = gateway.streams.listen("TLS", "127.0.0.1", 0)
        for ends in (stranger, trunk):
            ends.streams.send(await ends.streams.connect("TLS", remote, "gw.example"), MESSAGE)
            _, back, _ = await gateway.receive()
            gateway.streams.alias(back.connection, 5061)
        assert await gateway.streams.connect("TLS", ("127.0.0.1", 5061), "carrier.example") is back
        assert gateway.streams.find("TLS", ("127.0.0.1", 5061), "other.example") is None
        assert gateway.streams.find("TLS", ("127.0.0.1", 5062), "carrier.example") is None


@pytest.mark.parametrize("transport", ["TCP", "TLS", "WS", "WSS"])
async def test_the_largest_message_there_may_be_comes_whole(transport: str, authority: Authority) -> None:
    here, there = Ends(TlsSettings(ca=authority.ca)), Ends(settings(authority, "gw.example"))
    large = b"MESSAGE sip:a SIP/2.0\r\nContent-Length: 60000\r\n\r\n" + os.urandom(60_000)
    async with ending(here, there):
        remote = there.streams.listen(transport, "127.0.0.1", 0)
        flow = await here.streams.connect(transport, remote, "gw.example")
        for _ in range(3):
            assert here.streams.send(flow, large)
            data, back, _ = await there.receive()
            assert data == large
            assert there.streams.send(back, large)
            assert (await here.receive())[0] == large


async def test_a_connection_is_not_used_for_a_name_that_it_did_not_prove(authority: Authority) -> None:
    here = Ends(TlsSettings(ca=authority.ca))
    there = Ends(settings(authority, "one.example"))
    async with ending(here, there):
        remote = there.streams.listen("TLS", "127.0.0.1", 0)
        await here.streams.connect("TLS", remote, "one.example")
        with pytest.raises(UntrustedError, match=r"not that of two\.example, but of one\.example"):
            await here.streams.connect("TLS", remote, "two.example")


async def test_a_renewed_certificate_is_shown_to_who_comes_and_cuts_nobody(authority: Authority) -> None:
    shown = settings(authority, "sip.example.com")
    here, there = Ends(TlsSettings(ca=authority.ca)), Ends(shown)
    late = Ends(TlsSettings(ca=authority.ca))
    async with ending(here, there, late):
        remote = there.streams.listen("TLS", "127.0.0.1", 0)
        old = await here.streams.connect("TLS", remote, "sip.example.com")
        assert shown.certificate
        assert shown.key
        for new, file in zip(authority.issue("new.example.com"), (shown.certificate, shown.key), strict=True):
            new.replace(file)
        there.streams.tls.follow(shown)
        new_flow = await late.streams.connect("TLS", remote, "new.example.com")
        assert new_flow.names == ("new.example.com",)
        for ends, flow in ((here, old), (late, new_flow)):
            assert ends.streams.send(flow, MESSAGE)
            assert (await there.receive())[0] == MESSAGE


@pytest.mark.parametrize("asked", ["name", "authority", "nothing new"])
async def test_a_connection_that_is_up_takes_no_request_when_more_is_asked_of_its_end(
    authority: Authority, tmp_path: Path, asked: str
) -> None:
    """What is under way on it goes on."""
    domain, other = "carrier.example", Authority(tmp_path, "other")
    more = {
        "name": TlsPeer(ca=authority.ca, server_name="sbc.example"),
        "authority": TlsPeer(ca=other.ca),
        "nothing new": TlsPeer(ca=authority.ca),
    }
    here = Ends(TlsSettings(peers={domain: TlsPeer(ca=authority.ca)}))
    there = Ends(settings(authority, domain))
    async with ending(here, there):
        remote = there.streams.listen("TLS", "127.0.0.1", 0)
        flow = await here.streams.connect("TLS", remote, domain)
        here.streams.tls.follow(TlsSettings(peers={domain: more[asked]}))
        if asked == "nothing new":
            assert await here.streams.connect("TLS", remote, domain) is flow
        else:
            with pytest.raises(UntrustedError):
                await here.streams.connect("TLS", remote, domain)
        assert here.streams.send(flow, MESSAGE)
        assert (await there.receive())[0] == MESSAGE


async def test_who_is_not_signed_by_whom_we_trust_gets_nothing(authority: Authority, tmp_path: Path) -> None:
    got: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read())

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("sip.example.com"))
    server = await asyncio.start_server(peer, "127.0.0.1", 0, ssl=context)
    other = Ends(TlsSettings(peers={"sip.example.com": TlsPeer(ca=Authority(tmp_path, "other").ca)}))
    async with ending(other):
        with pytest.raises(UntrustedError, match=r"^no TLS with sip\.example\.com: certificate verify failed: .+"):
            await other.streams.connect("TLS", server.sockets[0].getsockname(), "sip.example.com")
    assert b"".join(got) == b""
    server.close()
    await server.wait_closed()


async def test_the_name_is_said_in_the_handshake_and_a_session_taken_up_again(authority: Authority) -> None:
    asked: list[str | None] = []
    reused: list[bool] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("sip.example.com"))
    context.sni_callback = lambda _, name, __: asked.append(name)

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reused.append(writer.get_extra_info("ssl_object").session_reused)
        writer.write(MESSAGE)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(peer, "127.0.0.1", 0, ssl=context)
    ends = Ends(TlsSettings(ca=authority.ca), pace=Pace(idle=0.05))
    async with ending(ends):
        for _ in range(2):
            flow = await ends.streams.connect("TLS", server.sockets[0].getsockname(), "sip.example.com")
            await ends.receive()
            assert await ends.gone() == flow.connection
    assert asked[0] == "sip.example.com"
    assert reused == [False, True]
    server.close()
    await server.wait_closed()


async def test_plain_text_on_a_tls_port_costs_nobody_else_anything(authority: Authority) -> None:
    ends = Ends(settings(authority, "gw.example"))
    async with ending(ends):
        remote = ends.streams.listen("TLS", "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*remote)
        writer.write(MESSAGE)
        await read(reader)  # an alert or nothing
        writer.close()
        reader, writer = await asyncio.open_connection(*remote, ssl=trusting(authority), server_hostname="gw.example")
        writer.write(MESSAGE)
        assert (await ends.receive())[0] == MESSAGE
        writer.close()


async def test_whoever_fails_the_handshake_is_logged_and_counted_but_not_for_ever(
    authority: Authority, tmp_path: Path
) -> None:
    ends = Ends(settings(authority, "gw.example", ca=authority.ca))
    mallory = trusting(authority)
    mallory.load_cert_chain(*Authority(tmp_path, "mallory").issue("carrier.example"))
    async with ending(ends):
        remote = ends.streams.listen("TLS", "127.0.0.1", 0)
        with structlog.testing.capture_logs() as events:
            reader, writer = await asyncio.open_connection(*remote, ssl=mallory, server_hostname="gw.example")
            source = writer.get_extra_info("sockname")
            assert await read(reader) == b""
            writer.close()
            for _ in range(30):
                reader, writer = await asyncio.open_connection(*remote)
                writer.write(MESSAGE)
                assert await read(reader) == b""
                writer.close()
    told = [event for event in events if event["event"] == "sip connection refused"]
    assert told[0] == {
        "event": "sip connection refused",
        "log_level": "warning",
        "source": f"127.0.0.1:{source[1]}",
        "transport": "TLS",
        "kind": "certificate",
        "reason": told[0]["reason"],
        "untold": 0,
    }
    assert told[0]["reason"].startswith("certificate verify failed: ")
    assert (told[1]["kind"], told[1]["reason"]) == ("no tls", "wrong version number")
    assert 20 <= len(told) < 25
    assert ends.streams.complaints.counts == {"certificate": 1, "no tls": 30}


async def test_who_does_not_take_our_certificate_says_so_after_the_handshake(authority: Authority) -> None:
    """TLS 1.3: for us the handshake is over before they look at what we showed, and here it is nothing."""
    server = Demanding(authority, "sip.example.com")
    ends = Ends(TlsSettings(ca=authority.ca))
    async with ending(ends):
        meeting = asyncio.create_task(asyncio.to_thread(server.meet))
        flow = await ends.streams.connect("TLS", server.address, "sip.example.com")
        assert await ends.gone() == flow.connection
        assert ends.distrusted == ["no TLS with sip.example.com: tlsv13 alert certificate required"]
        await meeting


async def test_nobody_listens_for_tls_without_a_certificate() -> None:
    ends = Ends()
    with pytest.raises(SipError, match="certificate"):
        ends.streams.listen("TLS", "127.0.0.1", 0)


# --- WebSockets -------------------------------------------------------------------------------------------------------


def upgrade(key: str = "dGhlIHNhbXBsZSBub25jZQ==", protocol: str = "sip") -> bytes:
    return (
        "GET / HTTP/1.1\r\nHost: gw.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    ).encode()


def browser_frame(payload: bytes) -> bytes:
    mask = os.urandom(4)
    body = bytes(octet ^ mask[index % 4] for index, octet in enumerate(payload))
    return b"\x81" + bytes([0x80 | len(payload)]) + mask + body


@pytest.mark.parametrize("transport", ["WS", "WSS"])
async def test_a_browser_calls(transport: str, authority: Authority) -> None:
    ends = Ends(settings(authority, "gw.example"))
    async with ending(ends):
        remote = ends.streams.listen(transport, "127.0.0.1", 0)
        secure = {"ssl": trusting(authority), "server_hostname": "gw.example"} if transport == "WSS" else {}
        reader, writer = await asyncio.open_connection(*remote, **secure)  # type: ignore[arg-type]
        writer.write(upgrade())
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        writer.write(browser_frame(BARE))
        data, flow, framed = await ends.receive()
        assert (data, framed, flow.transport) == (BARE, False, transport)
        assert ends.streams.send(flow, BARE)
        assert await read(reader, 2 + len(BARE)) == b"\x81" + bytes([len(BARE)]) + BARE
        writer.close()


async def test_what_is_no_websocket_is_told_so_and_cut() -> None:
    ends = Ends()
    async with ending(ends):
        remote = ends.streams.listen("WS", "127.0.0.1", 0)
        for request, status in ((MESSAGE, b"400"), (upgrade(protocol="chat"), b"400"), (upgrade(key="x"), b"400")):
            reader, writer = await asyncio.open_connection(*remote)
            writer.write(request)
            assert (await read(reader)).startswith(b"HTTP/1.1 " + status)
            writer.close()


async def test_we_call_a_proxy_by_websocket() -> None:
    ends = Ends(TlsSettings(peers={"proxy.example": TlsPeer(ws_path="/ws?tenant=1")}))

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = head.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
        assert len(base64.b64decode(key)) == 16
        assert head.startswith("GET /ws?tenant=1 HTTP/1.1\r\nHost: proxy.example:")
        assert "Sec-WebSocket-Protocol: sip" in head
        accept = websocket.Server()  # its answer to our key; the frames below are made by hand
        accept.feed(head.encode())
        writer.write(accept.pop())
        first, second = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        payload = await reader.readexactly(second & 0x7F)
        text = bytes(octet ^ mask[index % 4] for index, octet in enumerate(payload))
        writer.write(struct.pack("!BBH", 0x81, 126, 3 * len(text)) + text * 3)
        assert (first, second & 0x80) == (0x81, 0x80)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    async with ending(ends):
        flow = await ends.streams.connect("WS", server.sockets[0].getsockname(), "proxy.example")
        assert ends.streams.send(flow, BARE + b"x" * 20)
        assert (await ends.receive())[0] == (BARE + b"x" * 20) * 3
    server.close()
    await server.wait_closed()


async def test_a_web_server_that_knows_no_sip_is_no_proxy() -> None:
    ends = Ends()

    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(web, "127.0.0.1", 0)
    async with ending(ends):
        with pytest.raises(OSError, match="no WebSocket there"):
            await ends.streams.connect("WS", server.sockets[0].getsockname(), "proxy.example")
    server.close()
    await server.wait_closed()
