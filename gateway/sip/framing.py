"""Messages in a stream (RFC 3261 §18.3): headers to the blank line, then Content-Length octets. Pure.

Each octet is searched once however it is chopped up; a peer that sends no blank line or promises too much is cut off.
"""

from __future__ import annotations

from gateway.errors import SipError
from gateway.sip.message import canonical
from gateway.sip.parser import MAX_MESSAGE

MAX_HEAD = 32_768

PING = b"\r\n\r\n"  # RFC 5626 §4.4.1: to be answered with one CRLF
PONG = b"\r\n"


class Framer:
    """Octets in, whole messages out. Keepalives are answered through pop(); `pongs` counts the answers to ours."""

    framed = True  # Content-Length says where a message ends
    open = True  # there is no handshake

    def __init__(self) -> None:
        self.pongs = 0
        self._pinged = False
        self._half = False
        self._buffer = bytearray()
        self._searched = 0
        self._size = 0  # of the message at the front once its head is complete, 0 before

    @property
    def midway(self) -> bool:
        """A message was begun and is not complete."""
        return len(self._buffer) > 0

    def pop(self) -> bytes:
        """What has to be written now."""
        pinged, self._pinged = self._pinged, False
        return PONG if pinged else b""

    def wrap(self, message: bytes) -> bytes:
        """A message as it is written."""
        return message

    def ping(self) -> bytes:
        return PING

    def feed(self, data: bytes) -> list[bytes]:
        """Raises SipError when the stream makes no sense any more; it is to be closed then."""
        self._buffer += data
        out: list[bytes] = []
        while True:
            if not self._size and not self._head():
                return out
            if len(self._buffer) < self._size:
                return out
            out.append(bytes(self._buffer[: self._size]))
            self._half = False
            del self._buffer[: self._size]
            self._size = self._searched = 0

    def _head(self) -> bool:
        if not self._searched:
            self._keepalives()
        end = self._buffer.find(b"\r\n\r\n", self._searched)
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise SipError("no end of the headers in sight", 513)
            # At the very front a lone CR or CRLF may yet become a keepalive, which _keepalives looks at again.
            self._searched = max(0, len(self._buffer) - 3) if len(self._buffer) > 3 else 0
            return False
        self._size = end + 4 + content_length(bytes(self._buffer[:end]))
        if self._size > MAX_MESSAGE:
            raise SipError("a message of more than 64 KiB", 513)
        return True

    def _keepalives(self) -> None:
        start = 0
        while self._buffer[start : start + 2] == PONG:
            if self._buffer[start : start + 4] == PING:
                self._pinged = True  # one answer is as good as a thousand
                start += 4
            elif len(self._buffer) >= start + 4 or len(self._buffer) == start + 2:
                # A pong, or the first half of a ping that was chopped up: then the other half follows at once.
                self._pinged, self._half = self._pinged or self._half, not self._half
                self.pongs += self._half
                start += 2
            else:
                break
        del self._buffer[:start]


def content_length(head: bytes) -> int:
    """What the Content-Length of this head says. Raises SipError when it is missing, doubled or no number."""
    found: list[bytes] = []
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if canonical(name.strip().decode("latin-1")) == "content-length":
            found.append(value.strip())
    if len(found) != 1 or not found[0].isdigit() or len(found[0]) > 9:
        raise SipError("a stream needs exactly one Content-Length")
    return int(found[0])
