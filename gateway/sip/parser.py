"""Octets into SIP messages (RFC 3261 §7, §25), tolerantly, in linear time.

    bytes ── parse ──> Request | Response ── bytes() ──> bytes

1. Every pass over the input is linear, and everything is capped: octets, header fields, the length of a line.
2. What a peer did wrong is a MalformedError with the status to answer, and with the request as far as it could be read.
"""

from __future__ import annotations

import re
from functools import lru_cache

from gateway.errors import SipError
from gateway.sip.headers import split
from gateway.sip.message import MAX_NAME, VERSION, Headers, Message, Request, Response, canonical

MAX_MESSAGE = 65_535  # octets; also the largest UDP datagram
MAX_HEADERS = 200  # header fields of one message
MAX_LINE = 16_384  # octets of one header field, unfolded

# As nearly everybody spells them: these need no second look.
_USUAL = {
    name: name.lower()
    for name in (
        *("Via", "From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards", "Content-Type", "Content-Length", "Allow"),
        *("Supported", "Require", "User-Agent", "Server", "Route", "Record-Route", "Expires", "Accept", "Subject"),
        *("Session-Expires", "Min-SE", "P-Asserted-Identity", "Privacy", "Reason", "Allow-Events", "Date", "RAck"),
        *("Authorization", "Proxy-Authorization", "WWW-Authenticate", "Proxy-Authenticate", "Warning", "RSeq", "Event"),
    )
}

# Fields that a message has once (RFC 3261 §7.3.1; two of them is how smugglers of requests begin, RFC 4475 §3.3.8).
SINGLE = frozenset({"from", "to", "call-id", "cseq", "max-forwards", "content-length"})

_FOLDED = re.compile(r"\n[ \t]")
_UNFIT = re.compile(r"[ \t\r<>\0]")  # for a Request-URI
_NAMES = ("from", "to", "contact")  # fields with a display name
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~")


class MalformedError(SipError):
    """A message that cannot be taken; `request` is it as far as it was read, when a 4xx can be sent for it."""

    def __init__(self, message: str, status: int = 400, request: Request | None = None) -> None:
        super().__init__(message, status)
        self.request = request


@lru_cache(maxsize=1024)
def _known(name: str) -> tuple[str, str]:
    """The same and the name; ("", "") for what is none."""
    return (canonical(name), name) if name and _TOKEN.issuperset(name) else ("", "")


def parse(data: bytes, *, framed: bool = False) -> Request | Response:
    """Read one message. `framed`: the body was cut to Content-Length by a stream's framing already.

    Raises MalformedError. A datagram may hold more octets than Content-Length says; they are ignored (RFC 3261 §18.3).
    """
    if len(data) > MAX_MESSAGE:
        raise MalformedError("more than 64 KiB", 513)
    lines, separator, body, fault = _usual(data) or _divide(data)
    headers, nameless = _fields(lines)
    fault = fault or nameless
    message = _start(lines[0], headers)
    message.body = body
    request = message if isinstance(message, Request) else None
    if fault is None and not separator:
        fault = "no blank line after the headers"
    if fault is None:
        fault = _doubled(headers) or _strayed(headers)
    if fault is None and not framed:
        fault = _cut(message)
    if fault is not None:
        raise MalformedError(fault, 400, request)
    return message


Divided = tuple[list[str], bytes, bytes, str | None]  # start line and header fields, separator, body, first fault


def _usual(data: bytes) -> Divided | None:
    """As nearly all are written: every line ends with CRLF, nothing to unfold, nothing to find fault with."""
    end = data.find(b"\r\n\r\n")
    if not 0 <= end <= MAX_LINE:
        return None
    head = data[:end].decode("utf-8", "surrogateescape")
    lines = head.split("\r\n")
    if not head.count("\n") == head.count("\r") == len(lines) - 1 or "\0" in head or _FOLDED.search(head):
        return None
    return lines, b"\r\n\r\n", data[end + 4 :], None


def _divide(data: bytes) -> Divided:
    """All others. COMPAT: hand-written clients that end lines with a bare LF."""
    crlf, lf = data.find(b"\r\n\r\n"), data.find(b"\n\n")
    head, separator, body = data, b"", b""
    if crlf >= 0 and (lf < 0 or crlf < lf):
        head, separator, body = data[:crlf], b"\r\n\r\n", data[crlf + 4 :]
    elif lf >= 0:
        head, separator, body = data[:lf], b"\n\n", data[lf + 2 :]
    lines, fault = _unfolded(head.decode("utf-8", "surrogateescape"))
    return lines, separator, body, fault


def _unfolded(head: str) -> tuple[list[str], str | None]:
    """The start line and one line for each header field (RFC 3261 §7.3.1), up to the first fault if there is one."""
    found: list[list[str]] = []
    fault, length = None, 0
    for raw in head.split("\n"):
        line = raw.removesuffix("\r")
        if "\0" in line and canonical(line.partition(":")[0].strip()) in _NAMES:
            # Legal where it is quoted (RFC 3261 §25.1, RFC 4475 §3.1.1.2). Nobody misses it; many stop reading there.
            line = line.replace("\\\0", "")
        folded = len(found) > 0 and line[:1] in (" ", "\t")
        length = length + len(line) if folded else len(line)
        if found and ("\r" in line or "\0" in line):
            fault = "a bare CR or NUL in the headers"
            break
        if found and length > MAX_LINE:
            fault = "a header field of more than 16 KiB"
            break
        if folded and len(found) == 1:
            continue  # a start line has no second one
        if folded:
            found[-1].append(line.strip())
        else:
            found.append([line])
    return [" ".join(part for part in parts if part) for parts in found], fault


def _fields(lines: list[str]) -> tuple[Headers, str | None]:
    """The header fields, and the first fault if there is one."""
    fields: list[tuple[str, str, str]] = []
    fault: str | None = None
    for line in lines[1 : MAX_HEADERS + 2]:
        name, colon, value = line.partition(":")
        key = _USUAL.get(name, "")
        if not key and colon and len(name) <= MAX_NAME:
            key, name = _known(name.rstrip(" \t"))
        if key and colon:
            fields.append((key, name, value.strip()))
        elif line and not fault:
            fault = "a header line without a name"
    if len(lines) > MAX_HEADERS + 1:
        fault = f"more than {MAX_HEADERS} header fields"
    return Headers.of(fields), fault


def _start(line: str, headers: Headers) -> Request | Response:
    if line[:4].upper() == "SIP/":
        version, _, rest = line.partition(" ")
        code, _, reason = rest.partition(" ")
        if version.upper() != VERSION:
            raise MalformedError(f"a response of version {version[:16]!r}", 505)
        if not (len(code) == 3 and code.isascii() and code.isdigit() and "100" <= code <= "699"):
            raise MalformedError("a response without a status from 100 to 699")
        return Response(int(code), reason, headers)
    method, _, rest = line.partition(" ")
    # COMPAT: white space around and behind the words of the line, which has one meaning (RFC 4475 §3.1.2.9, §3.1.2.10)
    uri, _, version = rest.rstrip(" \t").rpartition(" ")
    if not method or not _TOKEN.issuperset(method) or not version.upper().startswith("SIP/"):
        raise MalformedError("neither a request nor a status line")
    request = Request(method, uri.strip(), headers)
    if version.upper() != VERSION:
        raise MalformedError(f"version {version[:16]!r}", 505, request)
    if not request.uri or _UNFIT.search(request.uri):
        # RFC 4475 §3.1.2.7, §3.1.2.8: angle brackets around the Request-URI, or white space inside
        raise MalformedError("the Request-URI is none", 400, request)
    return request


def _doubled(headers: Headers) -> str | None:
    if len(headers) == len(headers.first):
        return None  # each is there once
    return next((f"more than one {name}" for name in sorted(SINGLE) if len(headers.all(name)) > 1), None)


def _strayed(headers: Headers) -> str | None:
    """A list of hops in which something is no hop could not be echoed in a form that anybody reads alike
    (RFC 4475 §3.1.2.1); empty elements are nothing.
    """
    for value in headers.all("Via"):
        if value.startswith("SIP/") and "," not in value:
            continue  # as most are: one hop
        if any(hop[:3].upper() != "SIP" for hop in split(value, ",")):
            return "a Via that is none"
    return None


def _cut(message: Message) -> str | None:
    """Cut a datagram's body to Content-Length; the fault if it promises more than there is."""
    declared = message.headers.get("Content-Length")
    if declared is None:
        return None
    if not (declared.isascii() and declared.isdigit() and len(declared) <= 9):
        return "Content-Length is no number"
    if int(declared) > len(message.body):
        return "the body is shorter than Content-Length"
    message.body = message.body[: int(declared)]
    return None
