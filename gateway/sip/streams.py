"""Connections: TCP and TLS, plain or as WebSockets, whoever opened them.

    accept ──> a seat? ──> handshakes, in time ──┐
    connect ──> handshakes, name proven ─────────┴──> Stream: read, frame, hand on, until it ends
                                                         └ CRLF or WebSocket pings, idleness (pulse.py)

1. Those who connect are counted before they cost a handshake (seats.py).
2. A connection to the same address by the same transport, whose far end has proven the same name, is used again
   (RFC 5923), by requests too, as long as the same is asked of it (a reload of the dialplan may ask for more).
3. A peer that does not read what we write is cut off, and so is one that makes no sense.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import structlog

from gateway.errors import SipError
from gateway.sip.complaints import Complaints
from gateway.sip.framing import Framer
from gateway.sip.headers import bracketed
from gateway.sip.layer import Address, Flow
from gateway.sip.locate import PORTS, SECURE
from gateway.sip.overload import Source
from gateway.sip.pulse import Pace, Pulse, Turn
from gateway.sip.seats import Room, Seats
from gateway.sip.tls import Tls, TlsPeer, UntrustedError, names_of, said_of
from gateway.sip.websocket import Client, Server

log = structlog.get_logger()

MAX_OURS = 2000  # connections that we opened
MAX_UNSENT = 1024 * 1024  # octets that a peer may leave unread
CONNECT = 4.0  # seconds for all handshakes of a connection of ours
HANDSHAKE = 10.0  # seconds for the TLS handshake of whoever connects to us
ACCEPT_PAUSE = 1.0  # seconds without accepting anybody when the system has no socket left
READ = 65_536

OnMessage = Callable[[bytes, Flow, bool], bool | None]  # octets, flow, framed; False: nobody wanted it
OnClosed = Callable[[int, str], None]  # number of the connection; why its far end does not trust us, mostly ""


class Codec(Protocol):
    """Octets of a stream to SIP messages and back: Framer, or one end of a WebSocket."""

    framed: bool
    open: bool
    pongs: int

    @property
    def midway(self) -> bool: ...
    def feed(self, data: bytes) -> list[bytes]: ...
    def pop(self) -> bytes: ...
    def wrap(self, message: bytes) -> bytes: ...
    def ping(self) -> bytes: ...


class Stream:
    """One connection. One that we opened has `proven` what was asked of its far end then."""

    def __init__(
        self,
        flow: Flow,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        codec: Codec,
        *,
        proven: TlsPeer | None = None,
    ) -> None:
        self.flow = flow
        self.reader = reader
        self.writer = writer
        self.codec = codec
        self.ours = proven is not None
        self.proven = proven
        self.alias: Address | None = None  # where its far end would be connected to instead (RFC 5923)

    def write(self, data: bytes) -> bool:
        """False when it is closing, or cut off because the peer does not read."""
        if self.writer.is_closing():
            return False
        if self.writer.transport.get_write_buffer_size() > MAX_UNSENT:
            log.warning("sip stream cut, the peer does not read", source=self.flow.remote[0])
            self.writer.transport.abort()
            return False
        self.writer.write(data)
        return True


class Streams:
    """`host_of` gives what Via and Contact say of us on a connection with these two ends; `is_trunk` who has a seat."""

    def __init__(
        self,
        on_message: OnMessage,
        on_closed: OnClosed,
        *,
        host_of: Callable[[str], str],
        is_trunk: Callable[[Source], bool],
        tls: Tls,
        pace: Pace | None = None,
        room: Room | None = None,
    ) -> None:
        self._on_message = on_message
        self._on_closed = on_closed
        self._host_of = host_of
        self._is_trunk = is_trunk
        self.tls = tls
        self.pace = pace or Pace()
        self.seats = Seats(room)
        self.complaints = Complaints(0.0)
        self._numbers = itertools.count(1)
        self._streams: dict[int, Stream] = {}
        self._listening: list[tuple[str, socket.socket]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting: dict[tuple[str, Address, str], asyncio.Task[Flow]] = {}

    # Who comes to us

    @property
    def listening(self) -> list[tuple[str, Address]]:
        return [(transport, sock.getsockname()[:2]) for transport, sock in self._listening]

    def listen(self, transport: str, host: str, port: int) -> Address:
        """Raises OSError, and SipError for TLS without a certificate that can be used."""
        if transport in SECURE:
            self.tls.server()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            sock.bind((host, port))
            sock.listen(128)
        except OSError:
            sock.close()
            raise
        self._listening.append((transport, sock))
        self._spawn(self._accept(transport, sock))
        bound: Address = sock.getsockname()[:2]
        return bound

    async def _accept(self, transport: str, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, remote = await loop.sock_accept(sock)
            except ConnectionError:
                continue  # gone before we looked
            except OSError as fault:  # no file descriptor left: those whom we have come first
                log.error("sip connections are not accepted", error=str(fault))
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            number, source = next(self._numbers), Source(remote[0], remote[1], transport)
            if refusal := self.seats.take(number, source.address, trunk=self._is_trunk(source)):
                self._complain("no seat", refusal, source)
                connection.close()
                continue
            self._spawn(self._welcome(number, transport, connection, source))

    async def _welcome(self, number: int, transport: str, connection: socket.socket, source: Source) -> None:
        loop = asyncio.get_running_loop()
        try:
            reader = asyncio.StreamReader(limit=READ)
            protocol = asyncio.StreamReaderProtocol(reader)
            secure = transport in SECURE
            try:
                wire, _ = await loop.connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=self.tls.server() if secure else None,
                    ssl_handshake_timeout=HANDSHAKE if secure else None,
                )
            except (OSError, SipError) as fault:
                # asyncio drops the alert that OpenSSL has ready (RFC 8446 §6.2): he sees a reset, and our log says why.
                self._complain(*said_of(fault), source)
                connection.close()
                return
            writer = asyncio.StreamWriter(wire, protocol, reader, loop)
            names = names_of(writer.get_extra_info("ssl_object"))
            known = Source(source.address, source.port, transport, names)
            self.seats.settle(number, trunk=self._is_trunk(known))
            codec: Codec = Server() if transport in ("WS", "WSS") else Framer()
            flow = self._flow(number, transport, writer, (source.address, source.port), names)
            await self._run(Stream(flow, reader, writer, codec))
        finally:
            self.seats.leave(number)

    def _complain(self, label: str, text: str, source: Source) -> None:
        """Whoever connected does not get in; of a flood only the beginning and the number are told."""
        untold = self.complaints.note(label, asyncio.get_running_loop().time())
        if untold is not None:
            who = f"{bracketed(source.address)}:{source.port}"
            log.warning(
                "sip connection refused", source=who, transport=source.transport, reason=text, kind=label, untold=untold
            )

    # Whom we go to

    def find(self, transport: str, remote: Address, domain: str) -> Flow | None:
        """An open connection that a request for this domain may take."""
        for stream in self._streams.values():
            flow = stream.flow
            if flow.transport != transport or remote not in (flow.remote, stream.alias) or stream.writer.is_closing():
                continue
            if transport not in SECURE or self._suffices(stream, domain):
                return flow
        return None

    def _suffices(self, stream: Stream, domain: str) -> bool:
        """Whether what its far end has proven is what this domain has to prove now (RFC 5922 §7.3)."""
        return self.tls.proven(domain, stream.flow.names) and (
            stream.proven is None or _beside_name(stream.proven) == _beside_name(self.tls.peer(domain))
        )

    def alias(self, connection: int, port: int) -> None:
        """The far end lets requests to this port of its come over the connection that it opened (RFC 5923 §8).

        That counts for who has proven a name alone: else anybody could draw to himself what is for another service of
        his address. `find` looks whether it is the name that is wanted.
        """
        stream = self._streams.get(connection)
        if stream is not None and not stream.ours and stream.flow.names:
            stream.alias = (stream.flow.remote[0], port)

    def is_open(self, connection: int) -> bool:
        stream = self._streams.get(connection)
        return stream is not None and not stream.writer.is_closing()

    async def connect(self, transport: str, remote: Address, domain: str) -> Flow:
        """A connection to this address, an open one if there is one; with TLS, to who proves to be `domain`.

        Raises OSError; UntrustedError where that is not proven.
        """
        known = self.find(transport, remote, domain)
        if known is not None:
            return known
        key = (transport, remote, domain if transport in SECURE else "")
        task = self._connecting.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._connect(transport, remote, domain))
            self._connecting[key] = task
            task.add_done_callback(lambda done: self._connected(key, done))
        try:
            return await asyncio.shield(task)
        except TimeoutError as late:
            raise OSError("the connection timed out") from late
        except ssl.SSLError as fault:
            raise UntrustedError(f"no TLS with {domain}: {said_of(fault)[1]}") from fault
        except SipError as fault:
            raise OSError(str(fault)) from fault

    def _connected(self, key: tuple[str, Address, str], task: asyncio.Task[Flow]) -> None:
        self._connecting.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever asked may have gone away, and nobody else wants to know

    async def _connect(self, transport: str, remote: Address, domain: str) -> Flow:
        if sum(stream.ours for stream in self._streams.values()) >= MAX_OURS:
            raise OSError("too many connections")
        peer = self.tls.peer(domain)
        async with asyncio.timeout(CONNECT):
            if transport in SECURE:
                context, name = self.tls.client(domain), self.tls.name(domain)
                reader, writer = await asyncio.open_connection(*remote, limit=READ, ssl=context, server_hostname=name)
            else:
                reader, writer = await asyncio.open_connection(*remote, limit=READ)
            stream = None
            try:
                stream = await self._greet(transport, remote, domain, peer, reader, writer)
            finally:
                if stream is None:
                    writer.transport.abort()
        self._spawn(self._run(stream))
        return stream.flow

    async def _greet(
        self,
        transport: str,
        remote: Address,
        domain: str,
        peer: TlsPeer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> Stream:
        """What comes before the first message: whose certificate it is, the handshake of a WebSocket."""
        names = names_of(writer.get_extra_info("ssl_object"))
        if transport in SECURE and not self.tls.proven(domain, names):
            raise UntrustedError(
                f"the certificate is not that of {self.tls.name(domain)}, but of {', '.join(names) or 'nobody'}"
            )
        codec: Codec = Framer()
        if transport in ("WS", "WSS"):
            port = "" if remote[1] == PORTS[transport] else f":{remote[1]}"
            codec = Client(f"{bracketed(domain or remote[0])}{port}", secrets.token_bytes(16), peer.ws_path)
            writer.write(codec.pop())
            while not codec.open:
                data = await reader.read(READ)
                if not data:
                    raise OSError("the connection was closed in the handshake")
                codec.feed(data)  # a server says nothing before it is asked
        flow = self._flow(next(self._numbers), transport, writer, remote, names, domain)
        stream = self._streams[flow.connection] = Stream(flow, reader, writer, codec, proven=peer)
        return stream

    # Both

    def _flow(
        self,
        number: int,
        transport: str,
        writer: asyncio.StreamWriter,
        remote: Address,
        names: tuple[str, ...],
        domain: str = "",
    ) -> Flow:
        local: Address = writer.get_extra_info("sockname", ("", 0))[:2]
        # Where others may come back to: where we listen for it, wherever we went out from (RFC 3261 §18.1.1).
        port = next((bound[1] for kind, bound in self.listening if kind == transport), local[1])
        return Flow(transport, local, remote, (self._host_of(local[0]), port), number, names, domain)

    async def _run(self, stream: Stream) -> None:
        """Until it ends."""
        loop, distrust = asyncio.get_running_loop(), ""
        codec, number = stream.codec, stream.flow.connection
        pulse = Pulse(loop.time(), self.pace, ours=stream.ours)
        self._streams[number] = stream
        try:
            while True:
                try:
                    async with asyncio.timeout_at(pulse.deadline):
                        data = await stream.reader.read(READ)
                except TimeoutError:
                    turn = pulse.fire(loop.time())
                    if turn is Turn.CLOSE:
                        return
                    if turn is Turn.PING:
                        stream.write(codec.ping())
                    continue
                if not data:
                    return
                self._take(stream, pulse, data)
        except SipError as fault:
            log.info("sip stream cut", source=stream.flow.remote[0], error=str(fault))
        except ssl.SSLError as fault:
            # In TLS 1.3 a handshake is over for who connects before his certificate was looked at (RFC 8446 §4.4.2).
            distrust = f"no TLS with {stream.flow.domain or stream.flow.remote[0]}: {said_of(fault)[1]}"
            log.warning("sip stream cut", source=stream.flow.remote[0], error=distrust)
        except OSError:
            pass
        finally:
            self._gone(stream, distrust)

    def _take(self, stream: Stream, pulse: Pulse, data: bytes) -> None:
        codec, pongs = stream.codec, stream.codec.pongs
        try:
            messages = codec.feed(data)
        finally:
            if replies := codec.pop():
                stream.write(replies)
        # What nobody wanted, as all that strangers say, does not buy a connection its seat.
        wanted = [self._on_message(message, stream.flow, codec.framed) is not False for message in messages]
        now = asyncio.get_running_loop().time()
        pulse.heard(now, whole=any(wanted), midway=codec.midway, pong=codec.pongs > pongs)

    def _gone(self, stream: Stream, distrust: str) -> None:
        if self._streams.pop(stream.flow.connection, None) is None:
            return
        if stream.ours and (tls := stream.writer.get_extra_info("ssl_object")) is not None:
            self.tls.remember(tls)
        wire = stream.writer.transport
        # Who left something unread may never read it, and closing would wait for him.
        wire.abort() if wire.get_write_buffer_size() else stream.writer.close()
        self._on_closed(stream.flow.connection, distrust)

    def send(self, flow: Flow, message: bytes) -> bool:
        """False when it cannot leave on this connection any more."""
        stream = self._streams.get(flow.connection)
        return stream is not None and stream.write(stream.codec.wrap(message))

    def _spawn(self, work: asyncio._CoroutineLike[None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        tasks = (*self._tasks, *self._connecting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, sock in self._listening:
            sock.close()
        self._listening.clear()


def _beside_name(peer: TlsPeer) -> TlsPeer:
    """Whom its certificate has to be from and what we show; the name in it is compared with what was proven."""
    return replace(peer, server_name=None)
