"""SIP messages as they are on the wire (RFC 3261 §7), read tolerantly and written strictly.

    bytes ── parse ──> Request | Response ── bytes() ──> bytes

1. Headers stay raw and in order; none is read before somebody asks for it. Via and Record-Route are echoed verbatim.
2. Every pass over the input is linear, and everything is capped: octets, header fields, the length of a line.
3. Whatever is written passes one check that no CR, LF or NUL is inside a field: nobody injects a header through us.
4. What a peer did wrong is a MalformedError with the status to answer, and with the request as far as it could be read.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from functools import lru_cache

from gateway.errors import SipError
from gateway.sip.headers import CSeq, NameAddr, Via, split

MAX_MESSAGE = 65_535  # octets; also the largest UDP datagram
MAX_HEADERS = 200  # header fields of one message
MAX_LINE = 16_384  # octets of one header field, unfolded
MAX_NAME = 255  # octets of a field's name

VERSION = "SIP/2.0"

COMPACT = {  # RFC 3261 §7.3.3 and the IANA registry
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}

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

PHRASES = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}

_UNFIT = re.compile(r"[ \t\r<>\0]")  # for a Request-URI
_NAMES = ("from", "to", "contact")  # fields with a display name
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~")


def canonical(name: str) -> str:
    """The one lower-case spelling of a header field's name, compact forms included."""
    return _folded(name) if len(name) <= MAX_NAME else name.lower()


@lru_cache(maxsize=1024)  # messages share their names
def _folded(name: str) -> str:
    lower = name.lower()
    return COMPACT.get(lower, lower)


@lru_cache(maxsize=1024)
def _known(name: str) -> tuple[str, str]:
    """The same and the name; ("", "") for what is none."""
    return (canonical(name), name) if name and _TOKEN.issuperset(name) else ("", "")


class Headers:
    """The header fields of one message, in order, as (name, value) text; a lookup folds case and compact forms.

    `first` has the first value of each field by canonical name: for reading only, where a message's few are read again
    and again.
    """

    __slots__ = ("_fields", "first")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: list[tuple[str, str, str]] = []
        self.first: dict[str, str] = {}
        for name, value in fields:
            self.add(name, value)

    @classmethod
    def of(cls, fields: list[tuple[str, str, str]]) -> Headers:
        """Of fields whose canonical names are known."""
        new = cls()
        new._fields, new.first = fields, {key: value for key, _, value in reversed(fields)}
        return new

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first field of that name."""
        return self.first.get(_folded(name), default)

    def all(self, name: str) -> list[str]:
        """Every field of that name as it was written; commas inside are left alone."""
        key = _folded(name)
        return [value for k, _, value in self._fields if k == key] if key in self.first else []

    def listed(self, name: str) -> list[str]:
        """The elements of a comma-separated header, over all fields of that name (RFC 3261 §7.3.1)."""
        return [element for value in self.all(name) for element in split(value, ",")]

    def tokens(self, name: str) -> frozenset[str]:
        """The elements of a header that lists option tags or methods, lower case."""
        return frozenset([element.lower() for element in self.listed(name)])

    def add(self, name: str, value: str) -> None:
        key = canonical(name)
        self._fields.append((key, name, value))
        self.first.setdefault(key, value)

    def prepend(self, name: str, value: str) -> None:
        key = canonical(name)
        self._fields.insert(0, (key, name, value))
        self.first[key] = value

    def set(self, name: str, value: str) -> None:
        """Replace the first field of that name, drop the others, or append it."""
        key = canonical(name)
        if key in self.first:
            index = next(index for index, field in enumerate(self._fields) if field[0] == key)
            rest = [field for field in self._fields[index + 1 :] if field[0] != key]
            self._fields[index:] = [(key, name, value), *rest]
        else:
            self._fields.append((key, name, value))
        self.first[key] = value

    def replace_first(self, name: str, value: str) -> None:
        """Replace the first field of that name and leave the others."""
        key = canonical(name)
        for index, (k, written, _) in enumerate(self._fields):
            if k == key:
                self._fields[index] = (key, written, value)
                self.first[key] = value
                return

    def remove(self, name: str) -> None:
        key = canonical(name)
        if self.first.pop(key, None) is not None:
            self._fields = [field for field in self._fields if field[0] != key]

    def copy(self) -> Headers:
        return Headers.of(self._fields.copy())

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name, value) for _, name, value in self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Message:
    """What requests and responses share. The typed views below raise SipError for a field that cannot be read.

    A view of a field that one message is asked for ten times is kept, with the text that it was read from.
    """

    __slots__ = ("_cseq", "_from", "_to", "_via", "body", "headers")

    def __init__(self, headers: Headers, body: bytes = b"") -> None:
        self.headers = headers
        self.body = body
        self._via: tuple[str, Via] | None = None
        self._from: tuple[str, NameAddr] | None = None
        self._to: tuple[str, NameAddr] | None = None
        self._cseq: tuple[str, CSeq] | None = None

    # Abstract for the type checker alone: with ABCMeta each isinstance() would be a call of its own.
    @property
    @abstractmethod
    def start_line(self) -> str: ...

    @property
    @abstractmethod
    def label(self) -> str:
        """What a ladder prints."""

    @property
    def call_id(self) -> str:
        return self._need("call-id")

    @property
    def cseq(self) -> CSeq:
        text = self._need("cseq")
        if self._cseq is None or self._cseq[0] is not text:
            self._cseq = text, CSeq.parse(text)
        return self._cseq[1]

    @property
    def via(self) -> Via:
        """The topmost Via."""
        text = self._need("via")
        if self._via is None or self._via[0] is not text:
            first = split(text, ",", limit=1)
            self._via = text, Via.parse(first[0] if first else "")
        return self._via[1]

    @property
    def from_(self) -> NameAddr:
        text = self._need("from")
        if self._from is None or self._from[0] is not text:
            self._from = text, NameAddr.parse(text)
        return self._from[1]

    @property
    def to(self) -> NameAddr:
        text = self._need("to")
        if self._to is None or self._to[0] is not text:
            self._to = text, NameAddr.parse(text)
        return self._to[1]

    def _need(self, key: str) -> str:
        try:
            return self.headers.first[key]
        except KeyError:
            raise SipError(f"no {key}") from None

    @property
    def contact(self) -> NameAddr | None:
        """The first Contact; None when there is none or it is `*`."""
        listed = self.headers.listed("Contact")
        return NameAddr.parse(listed[0]) if listed and listed[0] != "*" else None

    @property
    def content_type(self) -> str:
        """The body's type without parameters, lower case; "" when none is named."""
        return (self.headers.get("Content-Type") or "").split(";", 1)[0].strip().lower()

    # aiosip's names for the same things
    @property
    def payload(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def from_details(self) -> NameAddr:
        return self.from_

    @property
    def to_details(self) -> NameAddr:
        return self.to

    @property
    def contact_details(self) -> NameAddr | None:
        return self.contact

    def __bytes__(self) -> bytes:
        """The message on the wire; Content-Length is ours. Raises ValueError when a field would break the framing."""
        lines = [self.start_line]
        lines += [f"{name}: {value}" for key, name, value in self.headers._fields if key != "content-length"]
        lines.append(f"Content-Length: {len(self.body)}")
        text = "\r\n".join(lines)
        breaks = len(lines) - 1  # ours; one more is somebody else's
        if text.count("\r") != breaks or text.count("\n") != breaks or "\0" in text:
            raise ValueError("a line break inside a header field")
        return text.encode("utf-8", "surrogateescape") + b"\r\n\r\n" + self.body

    def __repr__(self) -> str:
        return f"<{self.label} {self.headers.get('Call-ID')} {self.headers.get('CSeq')}>"


class Request(Message):
    """`account` is whose password its sender proved to know: what we found, and nothing that is on the wire."""

    __slots__ = ("account", "method", "uri")

    def __init__(self, method: str, uri: str, headers: Headers | None = None, body: bytes = b"") -> None:
        super().__init__(headers if headers is not None else Headers(), body)
        self.method = method
        self.uri = uri
        self.account: str | None = None

    @property
    def start_line(self) -> str:
        return f"{self.method} {self.uri} {VERSION}"

    @property
    def label(self) -> str:
        return self.method

    @property
    def max_forwards(self) -> int:
        """Max-Forwards; 70 when it is absent (RFC 3261 §16.3), SipError when it is no number."""
        value = self.headers.get("Max-Forwards")
        if value is None:
            return 70
        if not (value.isascii() and value.isdigit() and len(value) <= 20 and int(value) <= 255):
            raise SipError("Max-Forwards is no number from 0 to 255")
        return int(value)

    def copy(self) -> Request:
        return Request(self.method, self.uri, self.headers.copy(), self.body)


class Response(Message):
    """`local`: it never was on a wire, but stands for a time-out (408), a dead transport (503), RFC 3261 §8.1.3.1, or a
    far end that TLS does not trust (usage.UNTRUSTED).
    """

    __slots__ = ("local", "reason", "status")

    def __init__(
        self, status: int, reason: str = "", headers: Headers | None = None, body: bytes = b"", *, local: bool = False
    ) -> None:
        super().__init__(headers if headers is not None else Headers(), body)
        self.status = status
        self.reason = reason or PHRASES.get(status, "")
        self.local = local

    @property
    def start_line(self) -> str:
        return f"{VERSION} {self.status} {self.reason}"

    @property
    def label(self) -> str:
        return f"{self.status} {self.reason}".rstrip()

    @property
    def status_code(self) -> int:
        """aiosip's name for the status."""
        return self.status

    @property
    def method(self) -> str:
        """The method that it answers."""
        return self.cseq.method


class MalformedError(SipError):
    """A message that cannot be taken; `request` is it as far as it was read, when a 4xx can be sent for it."""

    def __init__(self, message: str, status: int = 400, request: Request | None = None) -> None:
        super().__init__(message, status)
        self.request = request


_ECHOED = (("from", "From"), ("to", "To"), ("call-id", "Call-ID"), ("cseq", "CSeq"))


def respond(request: Request, status: int, reason: str = "", *, tag: str | None = None) -> Response:
    """A response to `request` with the fields that RFC 3261 §8.2.6 copies; `tag` goes into a To that has none."""
    asked = request.headers.first
    fields = [("via", "Via", value) for value in request.headers.all("Via")]
    # Of a field that must not be repeated the first counts, so that even this answer can be read.
    fields += [(key, name, asked[key]) for key, name in _ECHOED if key in asked]
    headers = Headers.of(fields)
    if status > 100 and tag is not None:
        try:
            tagged = request.to.tag is not None
        except SipError:
            tagged = False  # a To that nobody can read is echoed, with a tag behind it
        if not tagged:
            headers.set("To", f"{asked.get('to', '')};tag={tag}")
    if status == 100:
        for value in request.headers.all("Timestamp"):  # RFC 3261 §8.2.6.1
            headers.add("Timestamp", value)
    return Response(status, reason, headers)


def parse(data: bytes, *, framed: bool = False) -> Request | Response:
    """Read one message. `framed`: the body was cut to Content-Length by a stream's framing already.

    Raises MalformedError. A datagram may hold more octets than Content-Length says; they are ignored (RFC 3261 §18.3).
    """
    if len(data) > MAX_MESSAGE:
        raise MalformedError("more than 64 KiB", 513)
    head, separator, body = _divide(data)
    lines, fault = _lines(head.decode("utf-8", "surrogateescape"))
    headers, nameless, doubled = _fields(lines)
    fault = fault or nameless
    message = _start(lines[0], headers)
    message.body = body
    request = message if isinstance(message, Request) else None
    if fault is None and not separator:
        fault = "no blank line after the headers"
    if fault is None:
        fault = doubled or _strayed(headers)
    if fault is None and not framed:
        fault = _cut(message)
    if fault is not None:
        raise MalformedError(fault, 400, request)
    return message


def _divide(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Head, separator, body. COMPAT: hand-written clients that end lines with a bare LF."""
    crlf, lf = data.find(b"\r\n\r\n"), data.find(b"\n\n")
    if crlf >= 0 and (lf < 0 or crlf < lf):
        return data[:crlf], b"\r\n\r\n", data[crlf + 4 :]
    if lf >= 0:
        return data[:lf], b"\n\n", data[lf + 2 :]
    return data, b"", b""


def _lines(head: str) -> tuple[list[str], str | None]:
    """The start line and one line for each header field (RFC 3261 §7.3.1), up to the first fault if there is one."""
    breaks = head.count("\r\n")
    if (
        len(head) <= MAX_LINE
        and breaks == head.count("\n") == head.count("\r")
        and not ("\0" in head or "\n " in head or "\n\t" in head)
    ):
        return head.split("\r\n"), None  # as nearly all are written: nothing to unfold, nothing to find fault with
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


def _fields(lines: list[str]) -> tuple[Headers, str | None, str | None]:
    """The header fields; what is wrong with a line of them, and what with all of them, as far as anything is."""
    headers = Headers()
    fields, first = headers._fields, headers.first
    fault: str | None = None
    doubled: str | None = None
    for line in lines[1 : MAX_HEADERS + 2]:
        name, colon, value = line.partition(":")
        key = _USUAL.get(name, "")
        if not key and colon and len(name) <= MAX_NAME:
            key, name = _known(name.rstrip(" \t"))
        if not key or not colon:
            fault = fault or ("a header line without a name" if line else None)
            continue
        value = value.strip()
        fields.append((key, name, value))
        if key not in first:
            first[key] = value
        elif key in SINGLE:
            doubled = doubled or f"more than one {key}"
    if len(lines) > MAX_HEADERS + 1:
        fault = f"more than {MAX_HEADERS} header fields"
    return headers, fault, doubled


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
