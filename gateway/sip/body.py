"""What SIP bodies hold: SDP, alone or inside multipart, digits in INFO, and the place of an emergency call. Pure."""

from __future__ import annotations

from gateway.errors import SdpError, SipError
from gateway.session import sdp
from gateway.session.model import Media, Session
from gateway.sip.headers import pairs
from gateway.sip.message import Message

MAX_PARTS = 16
MAX_DEPTH = 3  # of bodies in bodies
DIGITS = frozenset("0123456789*#ABCD")


def sdp_of(message: Message) -> str | None:
    """The session description in a message; None when its body is empty, or something else that need not be understood
    (RFC 3261 §20.11). Raises SipError 415 for anything else.
    """
    found = description_of(message)
    return _text(found) if found is not None else None


def description_of(message: Message) -> bytes | None:
    """The same in the octets that were sent."""
    if not message.body:
        return None
    encoding = (message.headers.get("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise SipError(f"a body in encoding {encoding[:32]!r}", 415)
    kind = message.content_type
    if kind == "application/sdp":
        return message.body
    if kind.startswith("multipart/"):
        found = _described(message.headers.get("Content-Type") or "", message.body, MAX_DEPTH)
        if found is not None:
            return found
    handling = dict(pairs((message.headers.get("Content-Disposition") or "").partition(";")[2], ";")).get("handling")
    if (handling or "").lower() == "optional":
        return None
    raise SipError("a body that is no SDP", 415)


def _described(kind: str, body: bytes, depth: int) -> bytes | None:
    """The first SDP in a multipart body, which may have others inside (RFC 5621 §3.2)."""
    for part_kind, part in _parts(kind, body):
        named = part_kind.partition(";")[0].strip().lower()
        if named == "application/sdp":
            return part
        if named.startswith("multipart/") and depth > 1:
            found = _described(part_kind, part, depth - 1)
            if found is not None:
                return found
    return None


def session_of(message: Message) -> Session | None:
    """The session that a message describes, None without a body. Raises SipError: 415, or 488 if it is illegible."""
    text = sdp_of(message)
    try:
        return sdp.parse(text) if text is not None else None
    except SdpError as fault:
        raise SipError(str(fault), 488) from None


def takes_sdp(message: Message) -> bool:
    """Whether its sender would read an SDP in our answer: who names nothing does (RFC 3261 §20.1)."""
    accepted = [kind.partition(";")[0].strip() for kind in message.headers.tokens("Accept")]
    return not accepted or any(kind in ("application/sdp", "application/*", "*/*") for kind in accepted)


def with_place(description: str, place: str, content_id: str, boundary: str) -> tuple[str, bytes]:
    """Content-Type and body of an INVITE that says where its caller is: SDP and a PIDF-LO document (RFC 6442 §3.1).

    `content_id` is what the Geolocation header's cid: URI names (RFC 2392). Who does not know PIDF-LO may ignore that
    part and still take the call: it is there by reference, and its handling optional (RFC 5621 §3.1, §8.2).
    """
    parts = (
        ("Content-Type: application/sdp", description.rstrip("\r\n")),
        (
            "Content-Type: application/pidf+xml\r\n"
            f"Content-ID: <{content_id}>\r\n"
            "Content-Disposition: by-reference;handling=optional",
            "\r\n".join(place.strip().splitlines()),
        ),
    )
    text = "".join(f"--{boundary}\r\n{head}\r\n\r\n{content}\r\n\r\n" for head, content in parts)
    return f'multipart/mixed;boundary="{boundary}"', f"{text}--{boundary}--\r\n".encode()


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def _parts(kind: str, body: bytes) -> list[tuple[str, bytes]]:
    """The parts of a multipart body (RFC 2046 §5.1.1): the value of Content-Type, and the content. COMPAT: carriers
    that add ISUP beside SDP.
    """
    named = pairs(kind.partition(";")[2], ";")
    boundary = next((value for name, value in named if name == "boundary"), None)
    if not boundary or len(boundary) > 70:
        raise SipError("a multipart body without a boundary", 415)
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("utf-8", "surrogateescape"), MAX_PARTS + 1)
    out: list[tuple[str, bytes]] = []
    for piece in pieces[1 : MAX_PARTS + 1]:
        if piece.startswith(b"--"):
            break
        head, _, content = piece.partition(b"\r\n\r\n")
        kind = "text/plain"
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-type":
                kind = value.strip().decode("utf-8", "surrogateescape")
        out.append((kind, content))
    return out


def dtmf_of(message: Message) -> tuple[str, int] | None:
    """Digits and milliseconds of an INFO, ("", …) when its signal is none; None when it is not about DTMF.

    `application/dtmf-relay` has `Signal=5` and `Duration=160`; `application/dtmf` the digit alone.
    """
    if message.content_type == "application/dtmf":
        return _digit(_text(message.body).strip()), 100
    if message.content_type != "application/dtmf-relay":
        return None
    fields: dict[str, str] = {}
    for line in _text(message.body).splitlines()[:8]:
        name, _, value = line.partition("=")
        fields[name.strip().lower()] = value.strip()
    duration = fields.get("duration", "")
    milliseconds = int(duration) if duration.isascii() and duration.isdigit() and len(duration) <= 5 else 100
    return _digit(fields.get("signal", "")), min(max(milliseconds, 40), 6000)


def digit_body(digit: str, duration: int) -> str:
    """What an INFO with `application/dtmf-relay` says of one digit, `duration` ms long."""
    return f"Signal={digit}\r\nDuration={duration}\r\n"


# RFC 5168 §4: what video phones without RTCP feedback say, and understand.
PICTURE_TYPE = "application/media_control+xml"
PICTURE = (
    '<?xml version="1.0" encoding="utf-8"?>\r\n<media_control><vc_primitive><to_encoder>'
    "<picture_fast_update/></to_encoder></vc_primitive></media_control>\r\n"
)


def asks_picture(message: Message) -> bool:
    """Whether an INFO asks for a whole picture (RFC 5168 §4); nothing else of that document is known here."""
    return message.content_type == PICTURE_TYPE and b"picture_fast_update" in message.body[:4096]


def _digit(text: str) -> str:
    """COMPAT: phones that write * and # as their event numbers, 10 and 11 (RFC 4733 §3.2)."""
    digit = {"10": "*", "11": "#"}.get(text, text.upper())
    return digit if len(digit) == 1 and digit in DIGITS else ""


class Description:
    """What we say of ourselves in one dialog: one o= id, and a version that grows with every change (RFC 3264 §8)."""

    def __init__(self, session_id: str) -> None:
        self._id = session_id
        self._version = 0
        self._last: tuple[tuple[Media, ...], tuple[str, ...], str] | None = None

    def write(self, session: Session) -> str:
        """The SDP for an offer or an answer of ours."""
        said = (session.media, session.bundle, session.origin)
        if self._last is not None and said != self._last:
            self._version += 1
        self._last = said
        return sdp.render(Session(*said, self._id, self._version))
