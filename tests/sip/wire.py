"""A SIP peer made of a socket and string formatting: it shares no code with the stack that it tests."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from types import TracebackType

from tests.patience import PATIENCE

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
_numbers = itertools.count(1)


def field(message: str, name: str) -> str:
    """The first header of that name; "" when there is none."""
    for line in message.split("\r\n\r\n", 1)[0].split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name.lower():
            return value.strip()
    return ""


def fields(message: str, name: str) -> list[str]:
    lines = message.split("\r\n\r\n", 1)[0].split("\r\n")[1:]
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip().lower() == name.lower()]


def body(message: str) -> str:
    return message.split("\r\n\r\n", 1)[1]


def status(message: str) -> int:
    """0 for a request."""
    return int(message.split(" ", 2)[1]) if message.startswith("SIP/2.0 ") else 0


def method(message: str) -> str:
    return message.split(" ", 1)[0]


def tag(value: str) -> str:
    return value.partition(";tag=")[2].partition(";")[0]


def uri(value: str) -> str:
    return value.partition("<")[2].partition(">")[0]


def answer(
    request: str, code: int, reason: str = "Whatever", *, to_tag: str = "peer", extra: str = "", content: str = ""
) -> str:
    """A response to a request of the stack."""
    lines = [f"SIP/2.0 {code} {reason}"]
    lines += [f"Via: {via}" for via in fields(request, "Via")]
    lines += [f"From: {field(request, 'From')}"]
    to = field(request, "To")
    lines += [f"To: {to}" if ";tag=" in to or code == 100 or not to_tag else f"To: {to};tag={to_tag}"]
    lines += [f"Call-ID: {field(request, 'Call-ID')}", f"CSeq: {field(request, 'CSeq')}"]
    lines += [line for line in extra.split("\n") if line]
    if content:
        lines.append("Content-Type: application/sdp")
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", content])


class Caller:
    """What a peer needs to write the requests of one call that it places."""

    def __init__(self, host: str, port: int, target: str, *, transport: str = "UDP") -> None:
        number = next(_numbers)
        self.host, self.port, self.target, self.transport = host, port, target, transport
        self.call_id = f"call-{number}@wire.example"
        self.from_ = f"<sip:romeo@wire.example>;tag=from{number}"
        self.to = f"<{target}>"
        self.contact = f"<sip:romeo@{host}:{port}>"
        self.branch = f"z9hG4bKwire{number}"
        self.sequence = 0

    def request(
        self, name: str, *, branch: str | None = None, sequence: int | None = None, extra: str = "", content: str = ""
    ) -> str:
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        if branch is None:
            branch = f"{self.branch}.{name}.{sequence}"
        lines = [
            f"{name} {self.target} SIP/2.0",
            f"Via: SIP/2.0/{self.transport} {self.host}:{self.port};branch={branch};rport",
            "Max-Forwards: 70",
            f"From: {self.from_}",
            f"To: {self.to}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {sequence} {name}",
            f"Contact: {self.contact}",
        ]
        lines += [line for line in extra.split("\n") if line]
        if content and "content-type" not in extra.lower():
            lines.append("Content-Type: application/sdp")
        return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", content])

    def took(self, response: str) -> None:
        """A response with a To tag: from now on requests are inside its dialog."""
        self.to = field(response, "To")
        if field(response, "Contact"):
            self.target = uri(field(response, "Contact"))


class Datagrams:
    """A UDP socket of a peer, on the loop of the test."""

    def __init__(self, to: int | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]
        self.to = to
        self._seen: set[bytes] = set()

    async def __aenter__(self) -> Datagrams:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, message: str | bytes, port: int | None = None) -> None:
        data = message.encode() if isinstance(message, str) else message
        self.socket.sendto(data, ("127.0.0.1", port or self.to or 0))

    async def receive(self, *wanted: int | str, again: bool = False) -> str:
        """The next message; with `wanted`, statuses and methods, the next of those. What repeats an earlier one is
        passed over, for a busy machine is not always answered within T1; a test of repeats asks for it `again`.
        """
        async with asyncio.timeout(PATIENCE):
            while True:
                data, source = await asyncio.get_running_loop().sock_recvfrom(self.socket, 65_535)
                self.to = source[1]
                if data in self._seen and not again:
                    continue
                self._seen.add(data)
                message = data.decode()
                if not wanted or status(message) in wanted or method(message) in wanted:
                    return message

    async def silent(self, seconds: float = 0.15) -> bool:
        """Whether nothing comes for so long; for what must never come, no test waits longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().sock_recvfrom(self.socket, 65_535)
                return False
        return True

    def caller(self, user: str = "juliet", **others: str) -> Caller:
        return Caller("127.0.0.1", self.port, f"sip:{user}@127.0.0.1:{self.to}", **others)
