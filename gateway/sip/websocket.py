"""SIP over WebSocket (RFC 7118): the handshake and the frames of RFC 6455, as a server and as a client. Pure.

    octets ── feed ──> whole SIP messages          what the protocol wants written meanwhile: pop()
    SIP message ── wrap ──> one frame

One WebSocket message is one SIP message. Extensions are never agreed on; whoever sends one, or fragments without end,
or a frame larger than a SIP message may be, is told why and cut off.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NoReturn

from gateway.errors import SipError
from gateway.sip.parser import MAX_MESSAGE

MAX_HANDSHAKE = 8192
PROTOCOL = "sip"  # RFC 7118 §4

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_BAD_FRAME, _TOO_BIG = 1002, 1009  # RFC 6455 §7.4.1


class Opcode(enum.IntEnum):
    """RFC 6455 §5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


def accept_of(key: str) -> str:
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode("latin-1"), usedforsecurity=False).digest()).decode()


class WebSocket(ABC):
    """One end of a connection. `masks` gives four octets for each frame of a client, None for a server's end."""

    framed = False  # a message ends where its WebSocket message does

    def __init__(self) -> None:
        self.open = False
        self.pongs = 0
        self._buffer = bytearray()
        self._out = bytearray()
        self._message = bytearray()
        self._kind = 0  # of the message that is being put together; 0 between messages
        self._closed = False

    @property
    def midway(self) -> bool:
        """A handshake, a frame or a message was begun and is not complete."""
        return bool(self._buffer) or self._kind != 0

    def pop(self) -> bytes:
        """What has to be written now: handshakes, pongs, the closing."""
        out, self._out = bytes(self._out), bytearray()
        return out

    def wrap(self, message: bytes) -> bytes:
        """A SIP message as a frame: text where it is, as browsers like it (RFC 7118 §4.2 lets either)."""
        try:
            message.decode("utf-8")
        except UnicodeDecodeError:
            return self._frame(Opcode.BINARY, message)
        return self._frame(Opcode.TEXT, message)

    def ping(self) -> bytes:
        return self._frame(Opcode.PING, b"")

    def feed(self, data: bytes) -> list[bytes]:
        """Raises SipError when the connection is to be closed; what pop() gives then says why."""
        if self._closed:
            return []
        self._buffer += data
        if not self.open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0 and len(self._buffer) <= MAX_HANDSHAKE:
                return []
            if end < 0 or end > MAX_HANDSHAKE:
                self._refuse("431 Request Header Fields Too Large", "a WebSocket handshake without end")
            head = bytes(self._buffer[:end])
            del self._buffer[: end + 4]
            self._shake(head)
            self.open = True
        out: list[bytes] = []
        while (frame := self._next()) is not None:
            self._take(*frame, out)
        return out

    # The two ends

    @abstractmethod
    def _shake(self, head: bytes) -> None:
        """Read the other end's half of the handshake. Raises SipError."""

    def _refuse(self, status: str, why: str) -> NoReturn:
        raise SipError(why)

    @abstractmethod
    def _mask(self) -> bytes | None:
        """Of the next frame."""

    # Frames

    def _next(self) -> tuple[bool, int, bytes] | None:
        """The next whole frame: final?, opcode, payload."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        final, opcode = bool(buffer[0] & 0x80), buffer[0] & 0x0F
        if buffer[0] & 0x70:
            self._fail(_BAD_FRAME, "an extension that was not agreed on")
        masked, size, start = bool(buffer[1] & 0x80), buffer[1] & 0x7F, 2
        if masked != (self._mask() is None):
            self._fail(_BAD_FRAME, "a mask where there is none, or none where there is one")  # RFC 6455 §5.1
        if opcode >= Opcode.CLOSE and (size > 125 or not final):
            self._fail(_BAD_FRAME, "a control frame that is none")  # RFC 6455 §5.5
        if size >= 126:
            start += 2 if size == 126 else 8
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        if size > MAX_MESSAGE or len(self._message) + size > MAX_MESSAGE:
            self._fail(_TOO_BIG, "a message of more than 64 KiB")
        end = start + (4 if masked else 0) + size
        if len(buffer) < end:
            return None
        payload = bytes(buffer[end - size : end])
        if masked:
            payload = masked_with(bytes(buffer[start : start + 4]), payload)
        del buffer[:end]
        return final, opcode, payload

    def _take(self, final: bool, opcode: int, payload: bytes, out: list[bytes]) -> None:
        match opcode:
            case Opcode.PING:
                self._out += self._frame(Opcode.PONG, payload)
            case Opcode.PONG:
                self.pongs += 1
            case Opcode.CLOSE:
                self._out += self._frame(Opcode.CLOSE, payload[:2])
                self._closed = True
                raise SipError("closed")
            case Opcode.CONTINUATION | Opcode.TEXT | Opcode.BINARY:
                if (opcode == Opcode.CONTINUATION) != (self._kind != 0):
                    self._fail(_BAD_FRAME, "fragments out of order")
                self._kind = self._kind or opcode
                self._message += payload
                if final:
                    out.append(bytes(self._message))
                    self._message.clear()
                    self._kind = 0
            case _:
                self._fail(_BAD_FRAME, "an opcode that is none")

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        mask, size = self._mask(), len(payload)
        bit = 0x80 if mask is not None else 0
        if size < 126:
            head = bytes((0x80 | opcode, bit | size))
        elif size < 65_536:
            head = bytes((0x80 | opcode, bit | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | opcode, bit | 127)) + size.to_bytes(8, "big")
        return head + payload if mask is None else head + mask + masked_with(mask, payload)

    def _fail(self, code: int, why: str) -> NoReturn:
        self._out += self._frame(Opcode.CLOSE, code.to_bytes(2, "big"))
        self._closed = True
        raise SipError(why)


def masked_with(mask: bytes, payload: bytes) -> bytes:
    """The payload under the mask, which is its own inverse (RFC 6455 §5.3), all octets at once."""
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")


class Server(WebSocket):
    """The end that was connected to."""

    def _mask(self) -> bytes | None:
        return None

    def _refuse(self, status: str, why: str) -> NoReturn:
        self._out += f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
        self._closed = True
        raise SipError(why)

    def _shake(self, head: bytes) -> None:
        """RFC 6455 §4.2.1, and the subprotocol that RFC 7118 §4.1 demands."""
        first, fields = _head(head)
        words = first.split(" ")
        key = fields.get("sec-websocket-key", "")
        if len(words) != 3 or words[0] != "GET" or words[2] != "HTTP/1.1" or "host" not in fields:
            self._refuse("400 Bad Request", "no WebSocket handshake")
        if "websocket" not in _tokens(fields, "upgrade") or "upgrade" not in _tokens(fields, "connection"):
            self._refuse("426 Upgrade Required\r\nUpgrade: websocket", "HTTP without a WebSocket")
        if fields.get("sec-websocket-version") != "13":
            self._refuse("426 Upgrade Required\r\nSec-WebSocket-Version: 13", "another version of WebSocket")
        if not _is_key(key):
            self._refuse("400 Bad Request", "a WebSocket key that is none")
        if PROTOCOL not in _tokens(fields, "sec-websocket-protocol"):
            self._refuse("400 Bad Request", "a WebSocket without the subprotocol sip")
        self._out += (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_of(key)}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n"
        ).encode()


class Client(WebSocket):
    """The end that connects. `nonce` is 16 octets of chance; masks are derived from them and the frame's number.

    A mask is to keep proxies from reading our frames as requests (RFC 6455 §10.3): nobody must guess it before.
    """

    def __init__(self, host: str, nonce: bytes, path: str = "/") -> None:
        super().__init__()
        self._nonce = nonce
        self._frames = 0
        self._key = base64.b64encode(hashlib.sha256(nonce).digest()[:16]).decode()
        self._out += (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {self._key}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()

    def _mask(self) -> bytes:
        return hashlib.sha256(self._nonce + self._frames.to_bytes(8, "big")).digest()[:4]

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        self._frames += 1
        return super()._frame(opcode, payload)

    def _shake(self, head: bytes) -> None:
        """RFC 6455 §4.1."""
        first, fields = _head(head)
        if first.split(" ")[:2] != ["HTTP/1.1", "101"]:
            raise SipError(f"no WebSocket there: {first[:60]}")
        if fields.get("sec-websocket-accept") != accept_of(self._key) or "websocket" not in _tokens(fields, "upgrade"):
            raise SipError("a WebSocket handshake that does not fit")
        if fields.get("sec-websocket-protocol", "").lower() != PROTOCOL or "sec-websocket-extensions" in fields:
            raise SipError("a WebSocket without the subprotocol sip")


def _head(head: bytes) -> tuple[str, dict[str, str]]:
    """The first line and the fields, names in lower case; of repeated ones the values joined."""
    first, *lines = head.decode("latin-1").split("\r\n")
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return first, fields


def _tokens(fields: Mapping[str, str], name: str) -> set[str]:
    return {token.strip().lower() for token in fields.get(name, "").split(",")}


def _is_key(key: str) -> bool:
    """16 octets in base64 (RFC 6455 §4.2.1)."""
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
