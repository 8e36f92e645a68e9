"""SIP messages as values (RFC 3261 §7): headers, requests, responses, and how they are written.

1. Headers stay raw and in order; none is read before somebody asks for it. Via and Record-Route are echoed verbatim.
2. Whatever is written passes one check that no CR, LF or NUL is inside a field: nobody injects a header through us.

How octets become a message: parser.py.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from functools import lru_cache

from gateway.errors import SipError
from gateway.sip.headers import CSeq, NameAddr, Via, split

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

_UNSENT = {408: "no answer", 503: "cannot be reached"}  # of local stand-ins of which no more is known
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


def checked(text: str) -> str:
    """The same text, if it can stand inside a message: in a name, in a value. Raises ValueError."""
    if not text.isprintable():  # seldom; what breaks the framing is never printable, nor what no encoding has
        if "\r" in text or "\n" in text or "\0" in text:
            raise ValueError("a line break inside a header field")
        text.encode("utf-8", "surrogateescape")
    return text


def canonical(name: str) -> str:
    """The one lower-case spelling of a header field's name, compact forms included."""
    return _folded(name) if len(name) <= MAX_NAME else name.lower()


@lru_cache(maxsize=1024)  # messages share their names
def _folded(name: str) -> str:
    lower = name.lower()
    return COMPACT.get(lower, lower)


class Headers:
    """The header fields of one message, in order, as (name, value) text; a lookup folds case and compact forms.

    `first` has the first value of each field by canonical name: for reading only, where a message's few are read again
    and again.
    """

    __slots__ = ("_fields", "first")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: list[tuple[str, str, str]] = []
        self.first: dict[str, str] = {}
        self.extend(fields)

    @classmethod
    def of(cls, fields: list[tuple[str, str, str]]) -> Headers:
        """Of fields whose canonical names are known."""
        new = cls.__new__(cls)
        new._fields, new.first = fields, {key: value for key, _, value in reversed(fields)}
        return new

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first field of that name."""
        return self.first.get(_folded(name), default)

    def all(self, name: str) -> list[str]:
        """Every field of that name as it was written; commas inside are left alone."""
        key = _folded(name)
        if key not in self.first:
            return []
        if len(self.first) == len(self._fields):
            return [self.first[key]]  # each is there once, as in most messages
        return [value for k, _, value in self._fields if k == key]

    def listed(self, name: str) -> list[str]:
        """The elements of a comma-separated header, over all fields of that name (RFC 3261 §7.3.1)."""
        return [element for value in self.all(name) for element in split(value, ",")]

    def tokens(self, name: str) -> frozenset[str]:
        """The elements of a header that lists option tags or methods, lower case."""
        if _folded(name) not in self.first:
            return frozenset()
        return frozenset([element.lower() for element in self.listed(name)])

    def add(self, name: str, value: str) -> None:
        key = canonical(name)
        self._fields.append((key, name, value))
        self.first.setdefault(key, value)

    def extend(self, fields: Iterable[tuple[str, str]]) -> None:
        """Add several."""
        rows, first = self._fields, self.first
        for name, value in fields:
            key = _folded(name) if len(name) <= MAX_NAME else name.lower()
            rows.append((key, name, value))
            first.setdefault(key, value)

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
        new = Headers.__new__(Headers)
        new._fields, new.first = self._fields.copy(), self.first.copy()
        return new

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
        kept = self._cseq
        if kept is None or kept[0] is not self.headers.first.get("cseq"):
            text = self._need("cseq")
            kept = self._cseq = text, CSeq.parse(text)
        return kept[1]

    @property
    def via(self) -> Via:
        """The topmost Via."""
        kept = self._via
        if kept is None or kept[0] is not self.headers.first.get("via"):
            text = self._need("via")
            first = split(text, ",", limit=1)
            kept = self._via = text, Via.parse(first[0] if first else "")
        return kept[1]

    @property
    def from_(self) -> NameAddr:
        kept = self._from
        if kept is None or kept[0] is not self.headers.first.get("from"):
            text = self._need("from")
            kept = self._from = text, NameAddr.parse(text)
        return kept[1]

    @property
    def to(self) -> NameAddr:
        kept = self._to
        if kept is None or kept[0] is not self.headers.first.get("to"):
            text = self._need("to")
            kept = self._to = text, NameAddr.parse(text)
        return kept[1]

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
    def told(self) -> str:
        """What became of the request, for people; a local stand-in has no status, for nobody sent one."""
        if not self.local:
            return self.label
        if self.reason != PHRASES.get(self.status):
            return self.reason
        return _UNSENT.get(self.status, self.reason)

    @property
    def status_code(self) -> int:
        """aiosip's name for the status."""
        return self.status

    @property
    def method(self) -> str:
        """The method that it answers."""
        return self.cseq.method


def respond(request: Request, status: int, reason: str = "", *, tag: str | None = None) -> Response:
    """A response to `request` with the fields that RFC 3261 §8.2.6 copies; `tag` goes into a To that has none."""
    asked = request.headers.first
    fields = [("via", "Via", value) for value in request.headers.all("Via")]
    # Of a field that must not be repeated the first counts, so that even this answer can be read.
    if "from" in asked:
        fields.append(("from", "From", asked["from"]))
    if status > 100 and tag is not None and not _is_tagged(request):
        fields.append(("to", "To", f"{asked.get('to', '')};tag={tag}"))
    elif "to" in asked:
        fields.append(("to", "To", asked["to"]))
    fields += [(key, name, asked[key]) for key, name in (("call-id", "Call-ID"), ("cseq", "CSeq")) if key in asked]
    if status == 100:  # RFC 3261 §8.2.6.1
        fields += [("timestamp", "Timestamp", value) for value in request.headers.all("Timestamp")]
    response = Response(status, reason, Headers.of(fields))
    response._via = request._via  # it is the same text
    return response


def _is_tagged(request: Request) -> bool:
    try:
        return request.to.tag is not None
    except SipError:
        return False  # a To that nobody can read is echoed, with a tag behind it
