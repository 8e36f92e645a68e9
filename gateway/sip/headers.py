"""The header values that the stack itself reads: NameAddr, Via, CSeq, Reason, and the fields of authentication.

Each is a frozen value with `parse` and `__str__`. Every scanner walks its text once, from left to right: a quoted
string and an angle bracket hide separators, an escape hides one character, and nothing is ever tried twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from gateway.errors import SipError

Parameters = tuple[tuple[str, str | None], ...]

MAX_SEQUENCE = 2**31 - 1  # RFC 3261 §8.1.1.5
REMEMBERED = 256  # characters of an address that is worth remembering


def split(text: str, separator: str, limit: int = 0) -> list[str]:
    """The pieces between separators that stand outside quotes and angle brackets, stripped, empty ones left out.

    With `limit` only so many pieces are looked for. An unclosed quote or bracket hides the rest.
    """
    if separator not in text:
        return [piece] if (piece := text.strip()) else []
    if '"' not in text and "<" not in text:  # nothing can be hidden: most values there are
        plain = [piece for raw in text.split(separator) if (piece := raw.strip())]
        return plain[:limit] if limit else plain
    pieces: list[str] = []
    start, quoted, depth, index, end = 0, False, 0, 0, len(text)
    while index < end:
        character = text[index]
        if quoted:
            if character == "\\":
                index += 1
            elif character == '"':
                quoted = False
        elif character == '"':
            quoted = True
        elif character == "<":
            depth = 1
        elif character == ">":
            depth = 0
        elif character == separator and not depth:
            if piece := text[start:index].strip():
                pieces.append(piece)
                if len(pieces) == limit:
                    return pieces
            start = index + 1
        index += 1
    if piece := text[start:].strip():
        pieces.append(piece)
    return pieces


def unquote(text: str) -> str:
    """The content of a quoted string (RFC 3261 §25.1); text without quotes comes back as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    out, index, end = list[str](), 1, len(text) - 1
    while index < end:
        if text[index] == "\\" and index + 1 < end:
            index += 1
        out.append(text[index])
        index += 1
    return "".join(out)


def quote(text: str) -> str:
    """The text as a quoted string; a line break, which no header can carry, becomes a space."""
    flat = text.replace("\r", " ").replace("\n", " ").replace("\0", " ")
    return '"' + flat.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parameters(text: str) -> Parameters:
    """`;a=b;c` as pairs, names in lower case, values unquoted."""
    return pairs(text, ";")


def pairs(text: str, separator: str) -> Parameters:
    """Names and values between separators, names in lower case, values unquoted (quotes hide separators)."""
    out: list[tuple[str, str | None]] = []
    for piece in split(text, separator):
        name, equals, value = piece.partition("=")
        out.append((name.strip().lower(), unquote(value.strip()) if equals else None))
    return tuple(out)


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~[]:")


def _write(values: Parameters) -> str:
    return "".join(
        f";{name}" if value is None else f";{name}={value if value and _PLAIN.issuperset(value) else quote(value)}"
        for name, value in values
    )


def _lookup(values: Parameters, name: str) -> str | None:
    for key, value in values:
        if key == name:
            return value or ""
    return None


class NameAddr(NamedTuple):
    """A From, To, Contact, Route or Record-Route value: `"Display" <uri>;parameters` or a bare URI with parameters.

    `uri` is the text of the URI as it was written. aiosip calls this value a Contact, and so may you.
    """

    uri: str
    display: str = ""
    parameters: Parameters = ()

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Raises SipError when there is no URI in it."""
        return _remembered(text) if len(text) <= REMEMBERED else _name_addr(text)

    @classmethod
    def from_header(cls, text: str) -> NameAddr:
        """aiosip's name for the same."""
        return cls.parse(text)

    def __str__(self) -> str:
        display = f"{quote(self.display)} " if self.display else ""
        return f"{display}<{self.uri}>{_write(self.parameters)}"

    def parameter(self, name: str) -> str | None:
        """The parameter's value; "" for one without a value, None when it is absent."""
        return _lookup(self.parameters, name)

    @property
    def tag(self) -> str | None:
        for name, value in self.parameters:
            if name == "tag":
                return value or None
        return None

    def with_tag(self, tag: str) -> NameAddr:
        others = [(name, value) for name, value in self.parameters if name != "tag"]
        return NameAddr(self.uri, self.display, (*others, ("tag", tag)))

    # What aiosip's Contact offers; a scheme without user or host has none.
    @property
    def user(self) -> str | None:
        user, at, _ = self.uri.partition(":")[2].rpartition("@")
        return user.partition(":")[0] if at else None

    @property
    def host(self) -> str:
        return self._authority()[0]

    @property
    def port(self) -> int | None:
        return self._authority()[1]

    def _authority(self) -> tuple[str, int | None]:
        rest = self.uri.partition(":")[2].rpartition("@")[2]
        return host_port(rest.partition(";")[0].partition("?")[0])


_UNFIT = re.compile(r"""[ \t"<>\r\n\0]""")  # for a URI


def _name_addr(text: str) -> NameAddr:
    opening = _outside_quotes(text, "<") if '"' in text else text.find("<")
    if opening < 0:
        # Without brackets every parameter is the header's, and a URI's own headers are not allowed (RFC 3261 §20.10).
        uri, _, rest = text.partition(";")
        display = ""
        if "?" in uri:
            raise SipError("a URI with headers, without brackets")
    else:
        closing = text.find(">", opening)
        if closing < 0:
            raise SipError("an address with an open bracket")
        uri, rest = text[opening + 1 : closing], text[closing + 1 :]
        display = unquote(text[:opening].strip())
    uri = uri.strip()
    scheme, colon, address = uri.partition(":")
    if not colon or not scheme or not address or _UNFIT.search(uri):
        raise SipError("an address without a URI")
    return NameAddr(uri, display, parameters(rest.lstrip().removeprefix(";")))


# One call reads its From and To some thirty times.
_remembered = lru_cache(maxsize=64)(_name_addr)


def _outside_quotes(text: str, wanted: str) -> int:
    quoted, index = False, 0
    while index < len(text):
        character = text[index]
        if quoted and character == "\\":
            index += 1
        elif character == '"':
            quoted = not quoted
        elif character == wanted and not quoted:
            return index
        index += 1
    return -1


def host_port(text: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `[v6]:port`; IPv6 comes without brackets, an impossible port is None."""
    text = text.strip()
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.strip().removeprefix(":")
    elif text.count(":") > 1:  # COMPAT: an IPv6 address without brackets
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    port = port.strip()
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    return host.strip().lower(), number if 0 < number <= 65_535 else None


def bracketed(host: str) -> str:
    """The host as a URI or a Via writes it."""
    return f"[{host}]" if ":" in host else host


class Via(NamedTuple):
    """One hop of a Via header (RFC 3261 §20.42, RFC 3581)."""

    transport: str  # upper case
    host: str  # IPv6 without brackets
    port: int | None
    parameters: Parameters = ()

    @classmethod
    def parse(cls, text: str) -> Via:
        """Raises SipError. White space around the slashes and the colon is legal (RFC 4475 §3.1.1.1)."""
        head, _, rest = text.partition(";")
        pieces = head.split("/", 2)
        if len(pieces) != 3 or pieces[0].strip().upper() != "SIP" or pieces[1].strip() != "2.0":
            raise SipError("a Via that is none")
        words = pieces[2].split(None, 1)
        if len(words) != 2:
            raise SipError("a Via without transport or sent-by")
        host, port = host_port(words[1])
        if not host:
            raise SipError("a Via without a host")
        return cls(words[0].upper(), host, port, parameters(rest))

    def __str__(self) -> str:
        port = f":{self.port}" if self.port is not None else ""
        return f"SIP/2.0/{self.transport} {bracketed(self.host)}{port}{_write(self.parameters)}"

    def parameter(self, name: str) -> str | None:
        return _lookup(self.parameters, name)

    @property
    def branch(self) -> str:
        return self.parameter("branch") or ""

    @property
    def sent_by(self) -> str:
        return f"{bracketed(self.host)}:{self.port}" if self.port is not None else bracketed(self.host)


class CSeq(NamedTuple):
    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Raises SipError for anything but a number below 2**31 and a method."""
        return _remembered_cseq(text) if len(text) <= REMEMBERED else _cseq(text)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


def _cseq(text: str) -> CSeq:
    words = text.split()
    if len(words) != 2 or not (words[0].isascii() and words[0].isdigit()) or len(words[0]) > 20:
        raise SipError("a CSeq that is none")
    if int(words[0]) > MAX_SEQUENCE:
        raise SipError("a CSeq of 2**31 or more")
    return CSeq(int(words[0]), words[1])


_remembered_cseq = lru_cache(maxsize=512)(_cseq)  # most calls have the same few


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a request or a response was sent (RFC 3326): `Q.850;cause=16;text="Normal"`."""

    protocol: str
    cause: int
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Reason:
        """Raises SipError when there is no numeric cause."""
        protocol, _, rest = text.partition(";")
        found = parameters(rest)
        cause = _lookup(found, "cause") or ""
        if not (cause.isascii() and cause.isdigit() and len(cause) <= 3):
            raise SipError("a Reason without a cause")
        return cls(protocol.strip(), int(cause), _lookup(found, "text") or "")

    def __str__(self) -> str:
        text = f";text={quote(self.text)}" if self.text else ""
        return f"{self.protocol};cause={self.cause}{text}"


@dataclass(frozen=True, slots=True)
class AuthField:
    """A challenge or credentials: a scheme and comma-separated parameters (RFC 7235 §2.1)."""

    scheme: str
    parameters: Parameters

    @classmethod
    def parse(cls, text: str) -> AuthField:
        """Never raises: what cannot be read is simply not there."""
        scheme, _, rest = text.strip().partition(" ")
        return cls(scheme, pairs(rest, ","))

    def parameter(self, name: str) -> str | None:
        return _lookup(self.parameters, name)
