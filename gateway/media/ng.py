"""rtpengine's ng protocol: bencoded dictionaries in datagrams, and who repeats what when one is lost.

    request    cookie SP d7:command5:offer…e          repeated by the client until it is answered
    answer     cookie SP d6:result2:ok…e              kept by the server, and sent again for a repeated cookie

A cookie is chosen by the client and is unique to one request. The server runs a command once, however often it
arrives. Bencode is read strictly (no leading zeros, no trailing bytes, no key twice) and within bounds of size, depth
and count; keys need not be sorted, because rtpengine's own clients do not sort them all.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, TypeAlias

import structlog

from gateway.errors import MediaError, NgError

log = structlog.get_logger()

Value: TypeAlias = "int | str | list[Value] | dict[str, Value]"
Message: TypeAlias = dict[str, Value]

MAX_DATAGRAM = 65_535
MAX_DEPTH = 12
MAX_ITEMS = 4_096
MAX_DIGITS = 19  # of an integer: what fits into 64 bits
MAX_COOKIE = 64
MAX_QUEUE = 1_024  # datagrams that wait for a full kernel queue
CACHE = 1_024  # answers that a server keeps
FIRST_REPEAT = 0.25  # seconds; doubled each time


def encode(value: Value | Mapping[str, Any]) -> bytes:
    """Bencode; keys are sorted as the format demands. Raises TypeError for anything but int, str, list and dict."""
    out: list[bytes] = []
    _encode(value, out)
    return b"".join(out)


def _encode(value: Any, out: list[bytes]) -> None:
    match value:
        case int():
            out.append(b"i%de" % value)
        case str():
            raw = value.encode("utf-8", "surrogateescape")
            out.append(b"%d:%s" % (len(raw), raw))
        case list() | tuple():
            out.append(b"l")
            for item in value:
                _encode(item, out)
            out.append(b"e")
        case dict():
            out.append(b"d")
            for key in sorted(value, key=lambda key: key.encode("utf-8", "surrogateescape")):
                _encode(key, out)
                _encode(value[key], out)
            out.append(b"e")
        case _:
            raise TypeError(f"bencode has no {type(value).__name__}")


def decode(data: bytes) -> Value:
    """One bencoded value that fills `data`. Raises NgError."""
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise NgError(f"{len(data) - reader.at} bytes follow the value")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.items = 0

    def value(self, depth: int) -> Value:
        self.items += 1
        if depth > MAX_DEPTH or self.items > MAX_ITEMS:
            raise NgError("too deep or too many values")
        match self.data[self.at : self.at + 1]:
            case b"i":
                self.at += 1
                return self._integer(b"e", signed=True)
            case b"l":
                self.at += 1
                items: list[Value] = []
                while not self._ends():
                    items.append(self.value(depth + 1))
                return items
            case b"d":
                self.at += 1
                pairs: dict[str, Value] = {}
                while not self._ends():
                    key = self._string()
                    if key in pairs:
                        raise NgError(f"key {key!r} comes twice")
                    pairs[key] = self.value(depth + 1)
                return pairs
            case b"":
                raise NgError("the message ends too early")
            case _:
                return self._string()

    def _ends(self) -> bool:
        if self.data[self.at : self.at + 1] != b"e":
            return False
        self.at += 1
        return True

    def _integer(self, end: bytes, *, signed: bool) -> int:
        stop = self.data.find(end, self.at, self.at + MAX_DIGITS + 2)
        text = self.data[self.at : max(stop, self.at)]
        digits = text[1:] if signed and text.startswith(b"-") else text
        if not digits.isdigit() or (digits.startswith(b"0") and text != b"0"):
            raise NgError(f"no number at byte {self.at}")
        self.at = stop + 1
        return int(text)

    def _string(self) -> str:
        length = self._integer(b":", signed=False)
        raw = self.data[self.at : self.at + length]
        if len(raw) != length:
            raise NgError("a string is longer than the message")
        self.at += length
        return raw.decode("utf-8", "surrogateescape")


def split(datagram: bytes) -> tuple[bytes, bytes]:
    """Cookie and body. Raises NgError."""
    cookie, space, body = datagram.partition(b" ")
    if not space or not 0 < len(cookie) <= MAX_COOKIE:
        raise NgError("no cookie")
    return cookie, body


def message(body: bytes) -> Message:
    """The body of a request or an answer, which is a dictionary. Raises NgError."""
    value = decode(body)
    if not isinstance(value, dict):
        raise NgError("not a dictionary")
    return value


class Endpoint:
    """A datagram socket on the event loop: whole datagrams in and out, a bounded queue while the kernel's is full.

    asyncio's own datagram transport cannot send on an unnamed pair of unix sockets, which is what joins the signalling
    process and its workers.
    """

    def __init__(self, sock: socket.socket, received: Callable[[bytes, Any], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._received = received
        self._queue: deque[tuple[bytes, Any]] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, data: bytes, address: Any = None) -> None:
        """Send, or queue; with a full queue the datagram is lost, as any datagram may be."""
        if self._queue:
            if len(self._queue) < MAX_QUEUE:
                self._queue.append((data, address))
            return
        if not self._sent(data, address):
            self._queue.append((data, address))
            self._loop.add_writer(self._sock.fileno(), self._writable)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()

    def _sent(self, data: bytes, address: Any) -> bool:
        try:
            if address is None:
                self._sock.send(data)
            else:
                self._sock.sendto(data, address)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:  # the other end is gone: its owner learns that in another way
            log.debug("datagram not sent", error=str(error))
        return True

    def _writable(self) -> None:
        while self._queue:
            if not self._sent(*self._queue[0]):
                return
            self._queue.popleft()
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            data, address = self._sock.recvfrom(MAX_DATAGRAM)
        except OSError:
            return
        self._received(data, address)


class NgClient:
    """Asks one ng server over a connected socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._endpoint = Endpoint(sock, self._answered)
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count()
        self._waiting: dict[bytes, asyncio.Future[Message]] = {}

    async def request(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, patience: float = 3.0
    ) -> Message:
        """The answer, which says neither error nor nothing.

        Raises NgError (refused), MediaError (no answer, closed).
        """
        loop = asyncio.get_running_loop()
        cookie = f"{self._prefix}_{next(self._numbers)}".encode()
        data = cookie + b" " + encode({**(arguments or {}), "command": command})
        answer: asyncio.Future[Message] = loop.create_future()
        self._waiting[cookie] = answer
        wait, deadline = FIRST_REPEAT, loop.time() + patience
        try:
            while not answer.done() and (left := deadline - loop.time()) > 0:
                self._endpoint.send(data)
                await asyncio.wait((answer,), timeout=min(wait, left))
                wait *= 2
            if not answer.done():
                raise MediaError(f"no answer to {command} within {patience:g} s")
            result = answer.result()
        finally:
            del self._waiting[cookie]
            answer.cancel()
        if result.get("result") == "error":
            raise NgError(str(result.get("error-reason", "no reason given")))
        return result

    def close(self, reason: str = "the media worker is gone") -> None:
        """Whoever still waits gets a MediaError."""
        self._endpoint.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(MediaError(reason))

    def _answered(self, datagram: bytes, _: Any) -> None:
        try:
            cookie, body = split(datagram)
            answer = self._waiting.get(cookie)
            if answer is not None and not answer.done():
                answer.set_result(message(body))
        except NgError as error:
            log.warning("unreadable ng answer", error=str(error))


class NgServer:
    """Runs each request once and answers it, also when it is repeated."""

    def __init__(self, sock: socket.socket, handle: Callable[[Message], Awaitable[Mapping[str, Any]]]) -> None:
        self._endpoint = Endpoint(sock, self._asked)
        self._handle = handle
        self._answers: OrderedDict[Hashable, bytes | None] = OrderedDict()  # None: still at work
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        self._endpoint.close()
        for task in self._tasks:
            task.cancel()

    def _asked(self, datagram: bytes, address: Any) -> None:
        try:
            cookie, body = split(datagram)
        except NgError as error:
            log.warning("unreadable ng request", error=str(error))
            return
        key = (address, cookie)
        if key in self._answers:
            answer = self._answers[key]
            if answer is not None:
                self._endpoint.send(answer, address or None)
            return
        self._answers[key] = None
        if len(self._answers) > CACHE:
            self._answers.popitem(last=False)
        task = asyncio.create_task(self._run(key, cookie, body, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: Hashable, cookie: bytes, body: bytes, address: Any) -> None:
        try:
            result = await self._handle(message(body))
        except (NgError, MediaError) as error:
            result = {"result": "error", "error-reason": str(error)}
        except Exception as error:  # a fault of ours must not leave the other side without an answer
            log.exception("ng command failed")
            result = {"result": "error", "error-reason": f"internal error: {type(error).__name__}"}
        answer = cookie + b" " + encode(result)
        if key in self._answers:
            self._answers[key] = answer
        self._endpoint.send(answer, address or None)
