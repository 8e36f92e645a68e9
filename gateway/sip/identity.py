"""Who calls, who is called, who it was for first: the headers that say so beside From and To. Pure.

    P-Asserted-Identity (RFC 3325), Remote-Party-ID (its forerunner), Privacy (RFC 3323)
    Diversion (RFC 5806), History-Info (RFC 7044): a call that was forwarded

All of it is what some network says; whether that network is believed is decided elsewhere.
"""

from __future__ import annotations

from gateway.addresses import SipUri
from gateway.errors import AddressError, SipError
from gateway.sip.calls import OutgoingCall
from gateway.sip.headers import NameAddr
from gateway.sip.message import Message

# RFC 3323 §4.1.1.3
ANONYMOUS = NameAddr("sip:anonymous@anonymous.invalid", "Anonymous")

MAX_LISTED = 16  # elements of one header that are looked at


def identity_headers(outgoing: OutgoingCall) -> dict[str, str]:
    """The headers that say who calls beside From, and who may learn it (RFC 3325 §9)."""
    headers = {"P-Asserted-Identity": f"<{outgoing.asserted}>"} if outgoing.asserted is not None else {}
    # §9.3: "id" takes the asserted identity away where the trust ends.
    return {**headers, "Privacy": "id"} if outgoing.anonymous else headers


def asserted(message: Message) -> SipUri | None:
    """The first P-Asserted-Identity that can be read."""
    named = _parties(message, "P-Asserted-Identity")
    return named[0][0] if named else None


def party(message: Message) -> tuple[SipUri, str] | None:
    """Who is at the far end, and his name, as its network says; None when it says nothing, or he wants privacy.

    COMPAT: Asterisk, FreeSWITCH and older Cisco gateways say it in Remote-Party-ID (draft-ietf-sip-privacy-04).
    """
    if message.headers.tokens("Privacy") & {"id", "user", "header"}:
        return None
    if named := _parties(message, "P-Asserted-Identity"):
        return named[0][0], named[0][1].display
    for uri, value in _parties(message, "Remote-Party-ID"):
        return None if (value.parameter("privacy") or "off").lower() not in ("off", "") else (uri, value.display)
    return None


def is_hidden(message: Message, from_uri: SipUri) -> bool:
    """The caller asks for privacy (RFC 3323), or hides already."""
    hidden = from_uri.host == "anonymous.invalid" or (from_uri.user or "").lower() == "anonymous"
    return hidden or bool(message.headers.tokens("Privacy") & {"id", "user", "header"})


def diverted(message: Message) -> SipUri | None:
    """Whom a forwarded call was for first; None for a call that was not forwarded.

    The first diversion is the last Diversion listed (RFC 5806 §4.2: each new one is put on top). In History-Info it is
    the entry with the lowest index, if there is more than one (RFC 7044 §5).
    """
    found = [uri for uri, _ in _parties(message, "Diversion")]
    if found:
        return found[-1]
    entries = [
        (_index(value.parameter("index")), uri)
        for uri, value in _parties(message, "History-Info")
        if value.parameter("index")
    ]
    return min(entries, key=lambda entry: entry[0])[1] if len(entries) > 1 else None


def _parties(message: Message, name: str) -> list[tuple[SipUri, NameAddr]]:
    found: list[tuple[SipUri, NameAddr]] = []
    for text in message.headers.listed(name)[:MAX_LISTED]:
        try:
            value = NameAddr.parse(text)
            found.append((SipUri.parse(value.uri), value))
        except (SipError, AddressError):
            continue
    return found


def _index(text: str | None) -> tuple[int, ...]:
    """`1.2.1` as numbers; one that is none comes last."""
    pieces = (text or "").split(".")[:MAX_LISTED]
    if not all(piece.isascii() and piece.isdigit() and len(piece) <= 9 for piece in pieces):
        return (2**31,)
    return tuple(int(piece) for piece in pieces)
