"""Sockets: datagrams and streams between Flows. Whatever arrives is handed on with the flow that an answer takes.

1. A datagram is sent only to an IP address and a port that were checked here: an impossible port or a host name in
   sendto would close an asyncio endpoint or block the loop on DNS.
2. Answers go to where the packet came from.
3. Streams are counted, overall and per source, and cut off when they do not read what we write.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import socket
from collections import Counter
from collections.abc import Callable

import structlog

from gateway.errors import SipError
from gateway.sip.framing import PING, PONG, Framer
from gateway.sip.layer import Address, Flow

log = structlog.get_logger()

RECEIVE_BUFFER = 4 * 1024 * 1024  # bursts: the buffer overflows before the CPU does
BATCH = 8  # datagrams read in one turn of the loop: in a flood each turn of everybody else waits for as many
MAX_STREAMS = 2000
MAX_STREAMS_PER_SOURCE = 64
MAX_UNSENT = 1024 * 1024  # octets that a peer may leave unread
IDLE = 3600.0  # seconds without an octet until a stream is closed
WHOLE = 32.0  # seconds for the first message of whoever connects to us, and for the rest of one that was begun
CONNECT = 4.0  # seconds for a TCP handshake

OnMessage = Callable[[bytes, Flow, bool], None]  # octets, flow, framed
OnClosed = Callable[[int], None]


def ip_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address if the text is one."""
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def is_ours(host: str) -> bool:
    """Whether a text is an address of this machine: one that a socket can be bound to."""
    address = ip_of(host)
    if address is None or address.is_unspecified or address.is_multicast:
        return False
    with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def sendable(address: Address) -> bool:
    """Whether a socket may be given this address."""
    host, port = address
    return 0 < port < 65_536 and ip_of(host) is not None


class _Datagrams:
    """One bound UDP socket, read in batches."""

    def __init__(self, owner: Transports, sock: socket.socket) -> None:
        self.owner = owner
        self.sock = sock
        self.local: Address = sock.getsockname()[:2]
        self.version = 6 if sock.family == socket.AF_INET6 else 4

    def read(self) -> None:
        for _ in range(BATCH):
            try:
                data, source = self.sock.recvfrom(65_535)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as fault:  # an ICMP error of an earlier send
                log.debug("sip datagram error", error=str(fault))
                continue
            remote: Address = source[:2]
            if not sendable(remote):
                continue  # port 0: nobody could be answered there
            self.owner.on_message(data, self.owner.flow_of(self, remote), False)

    def send(self, data: bytes, remote: Address) -> bool:
        try:
            self.sock.sendto(data, remote)
        except (OSError, OverflowError) as fault:  # a full buffer, no route: retransmission heals it or times out
            log.info("sip datagram not sent", remote=f"{remote[0]}:{remote[1]}", error=str(fault))
            return False
        return True


class _Stream:
    """One TCP connection, whoever opened it."""

    def __init__(self, number: int, writer: asyncio.StreamWriter, flow: Flow) -> None:
        self.number = number
        self.writer = writer
        self.flow = flow
        self.task: asyncio.Task[None] | None = None


class Transports:
    def __init__(self, on_message: OnMessage, on_closed: OnClosed, advertise: str | None = None) -> None:
        self.on_message = on_message
        self.on_closed = on_closed
        self.advertise = advertise
        self._datagrams: list[_Datagrams] = []
        self._servers: list[asyncio.Server] = []
        self._streams: dict[int, _Stream] = {}
        self._sources: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._connecting: dict[Address, asyncio.Task[Flow]] = {}
        self._towards: dict[tuple[str, str], str] = {}
        self._tcp_port: int | None = None

    async def listen(self, protocol: str, host: str, port: int) -> Address:
        """Bind; port 0 takes any. Gives the address bound. Raises OSError."""
        if protocol == "UDP":
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_DGRAM)
            try:
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
                sock.setblocking(False)
                sock.bind((host, port))
            except OSError:
                sock.close()
                raise
            datagrams = _Datagrams(self, sock)
            self._datagrams.append(datagrams)
            asyncio.get_running_loop().add_reader(sock.fileno(), datagrams.read)
            return datagrams.local
        server = await asyncio.start_server(self._accepted, host, port, limit=65_536)
        self._servers.append(server)
        bound: Address = server.sockets[0].getsockname()[:2]
        self._tcp_port = bound[1]
        return bound

    @property
    def listening(self) -> list[tuple[str, Address]]:
        """What we are bound to."""
        udp = [("UDP", datagrams.local) for datagrams in self._datagrams]
        return udp + [("TCP", sock.getsockname()[:2]) for server in self._servers for sock in server.sockets]

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        for datagrams in self._datagrams:
            loop.remove_reader(datagrams.sock.fileno())
            datagrams.sock.close()
        self._datagrams.clear()
        for server in self._servers:
            server.close()
        tasks = [stream.task for stream in self._streams.values() if stream.task is not None]
        connecting = list(self._connecting.values())
        for task in (*tasks, *connecting):
            task.cancel()
        await asyncio.gather(*tasks, *connecting, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    # Ways out

    def flow_of(self, datagrams: _Datagrams, remote: Address) -> Flow:
        host = self.advertise or self._local_towards(datagrams.local[0], remote[0])
        return Flow("UDP", datagrams.local, remote, (host, datagrams.local[1]))

    def udp(self, remote: Address) -> Flow | None:
        """A flow for datagrams to this address; None when none of our sockets speaks its version of IP."""
        address = ip_of(remote[0])
        if address is None or not sendable(remote):
            return None
        usable = [datagrams for datagrams in self._datagrams if datagrams.version == address.version]
        return self.flow_of(usable[0], (str(address), remote[1])) if usable else None

    def stream_to(self, remote: Address) -> Flow | None:
        """A stream to this address that is open already."""
        return next((stream.flow for stream in self._streams.values() if stream.flow.remote == remote), None)

    def is_open(self, connection: int) -> bool:
        return connection in self._streams

    async def tcp(self, remote: Address) -> Flow:
        """A stream to this address, an open one if there is one. Raises OSError."""
        known = self.stream_to(remote)
        if known is not None:
            return known
        if not sendable(remote):
            raise OSError("no address to connect to")
        task = self._connecting.get(remote)
        if task is None:
            task = asyncio.ensure_future(self._connect(remote))
            self._connecting[remote] = task
            task.add_done_callback(lambda _: self._connecting.pop(remote, None))
        try:
            return await asyncio.shield(task)
        except TimeoutError as late:
            raise OSError("the connection timed out") from late

    async def _connect(self, remote: Address) -> Flow:
        if len(self._streams) >= MAX_STREAMS:
            raise OSError("too many connections")
        async with asyncio.timeout(CONNECT):
            reader, writer = await asyncio.open_connection(*remote, limit=65_536)
        stream = self._adopt(writer, remote)
        stream.task = asyncio.ensure_future(self._run(stream, reader))
        return stream.flow

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        remote: Address = writer.get_extra_info("peername", ("", 0))[:2]
        if len(self._streams) >= MAX_STREAMS or self._sources[remote[0]] >= MAX_STREAMS_PER_SOURCE:
            log.warning("sip connection refused, too many", source=remote[0])
            writer.transport.abort()
            return
        stream = self._adopt(writer, remote)
        stream.task = asyncio.current_task()
        with contextlib.suppress(asyncio.CancelledError):
            await self._run(stream, reader, owes=True)

    def _adopt(self, writer: asyncio.StreamWriter, remote: Address) -> _Stream:
        local: Address = writer.get_extra_info("sockname")[:2]
        number = next(self._numbers)
        port = self._tcp_port if self._tcp_port is not None else local[1]
        flow = Flow("TCP", local, remote, (self.advertise or local[0], port), number)
        stream = self._streams[number] = _Stream(number, writer, flow)
        self._sources[remote[0]] += 1
        return stream

    async def _run(self, stream: _Stream, reader: asyncio.StreamReader, *, owes: bool = False) -> None:
        """Until it ends. While a message is owed, single octets now and then do not keep it open."""
        framer = Framer()
        loop = asyncio.get_running_loop()
        due = loop.time() + (WHOLE if owes else IDLE)
        try:
            while True:
                async with asyncio.timeout_at(due):
                    data = await reader.read(65_536)
                if not data:
                    return
                messages = framer.feed(data)
                owed, owes = owes, framer.midway or (owes and not messages)
                if messages or not owed:
                    due = loop.time() + (WHOLE if owes else IDLE)
                for message in messages:
                    if message == PING:
                        stream.writer.write(PONG)
                    else:
                        self.on_message(message, stream.flow, True)
        except SipError as fault:
            log.info("sip stream cut", source=stream.flow.remote[0], error=str(fault))
        except (OSError, TimeoutError):
            pass
        finally:
            self._gone(stream)

    def _gone(self, stream: _Stream) -> None:
        if self._streams.pop(stream.number, None) is None:
            return
        source = stream.flow.remote[0]
        self._sources[source] -= 1
        if self._sources[source] <= 0:
            del self._sources[source]
        stream.writer.transport.abort() if stream.writer.transport.get_write_buffer_size() else stream.writer.close()
        self.on_closed(stream.number)

    def send(self, flow: Flow, data: bytes) -> bool:
        """Put octets on a flow; False when they cannot leave."""
        if flow.transport == "UDP":
            found = next((d for d in self._datagrams if d.local == flow.local), None)
            return found is not None and sendable(flow.remote) and found.send(data, flow.remote)
        stream = self._streams.get(flow.connection)
        if stream is None or stream.writer.is_closing():
            return False
        if stream.writer.transport.get_write_buffer_size() > MAX_UNSENT:
            log.warning("sip stream cut, the peer does not read", source=flow.remote[0])
            stream.writer.transport.abort()
            return False
        stream.writer.write(data)
        return True

    def _local_towards(self, bound: str, remote: str) -> str:
        """Our address as this remote end sees it when we are bound to any: what the kernel would send from."""
        if bound not in ("0.0.0.0", "::"):  # noqa: S104 - it is compared, not bound to
            return bound
        known = self._towards.get((bound, remote))
        if known is not None:
            return known
        family = socket.AF_INET6 if ":" in bound else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((remote, 9))  # of a datagram socket: no packet leaves
                found = str(probe.getsockname()[0])
            except OSError:
                found = "127.0.0.1" if family == socket.AF_INET else "::1"
        if len(self._towards) > 1024:
            self._towards.clear()
        self._towards[bound, remote] = found
        return found
