"""Transfers: REFER (RFC 3515), its NOTIFYs, and Replaces (RFC 3891), read and written. Pure.

REFER ── refer ──> Transfer: to whom, in whose place, is there a subscription
202, NOTIFY "100 Trying", …, NOTIFY "200 OK" with Subscription-State: terminated
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.addresses import SipUri
from gateway.call.causes import Cause
from gateway.errors import AddressError, SipError
from gateway.sip.headers import NameAddr, parameters
from gateway.sip.message import PHRASES, Request

EXPIRES = 180  # seconds that the one who asked for a transfer hears of it: as long as a phone may ring

MAX_VALUE = 1024  # characters of Replaces and Referred-By


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a REFER asks for. `notify` is False when its sender wants to hear no more of it (RFC 4488)."""

    target: SipUri  # without headers
    replaces: str
    referred_by: str
    notify: bool


def refer(request: Request) -> Transfer:
    """Read a REFER. Raises SipError with the status to refuse it with."""
    listed = request.headers.listed("Refer-To")
    if len(listed) != 1:
        raise SipError("a REFER has one Refer-To", 400)  # RFC 3515 §2.4.2
    try:
        named = NameAddr.parse(listed[0])
        if named.uri.partition(":")[0].lower() not in ("sip", "sips", "tel"):
            raise SipError("nothing that can be called", 416)
        uri = SipUri.parse(named.uri)
    except AddressError as fault:
        raise SipError(str(fault), 400) from None
    if (uri.parameter("method") or "INVITE").upper() != "INVITE":
        raise SipError("a REFER to something else than a call", 400)
    replaces = [value for name, value in uri.headers if name.lower() == "replaces"]
    if len(replaces) > 1 or any(len(value) > MAX_VALUE for value in replaces):
        raise SipError("a Replaces that is none", 400)
    if replaces:
        Replaced.parse(replaces[0])
    referred_by = request.headers.get("Referred-By") or ""
    if len(referred_by) > MAX_VALUE:
        raise SipError("a Referred-By that is too long", 400)
    target = replace(uri, headers=(), parameters=tuple(p for p in uri.parameters if p[0] != "method"))
    sub = (request.headers.get("Refer-Sub") or "true").partition(";")[0].strip().lower()
    return Transfer(target, replaces[0] if replaces else "", referred_by, sub != "false")


@dataclass(frozen=True, slots=True)
class Replaced:
    """The dialog that a Replaces header names, as the one who gets it sees it: `local` is our tag in it."""

    call_id: str
    local: str
    remote: str
    early_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Replaced:
        """Raises SipError for one that lacks a tag."""
        call_id, _, rest = text.partition(";")
        found = dict(parameters(rest))
        to_tag, from_tag = found.get("to-tag"), found.get("from-tag")
        if not call_id.strip() or not to_tag or not from_tag or len(text) > MAX_VALUE:
            raise SipError("a Replaces that is none", 400)
        return cls(call_id.strip(), to_tag, from_tag, "early-only" in found)


def replaced(request: Request) -> Replaced | None:
    """The dialog that an INVITE wants to take the place of. Raises SipError."""
    listed = request.headers.listed("Replaces")
    if not listed:
        return None
    if len(listed) > 1 or "Join" in request.headers:
        raise SipError("more than one dialog to take the place of", 400)  # RFC 3891 §3
    return Replaced.parse(listed[0])


def progress(
    cause: Cause | None, event: str = "refer", *, unsubscribed: bool = False, gone: bool = False
) -> tuple[str, dict[str, str]]:
    """Body and headers of the NOTIFY that says how a transfer goes: None, it is under way (RFC 3515 §2.4.5).

    `gone`: there is no dialog such as the one that was to be replaced, as RFC 3891 §3 says it.
    """
    if cause is None:
        status, state = 100, "terminated;reason=timeout" if unsubscribed else f"active;expires={EXPIRES}"
    else:
        status = 481 if gone else 200 if cause is Cause.NORMAL else max(cause.sip, 400)
        state = "terminated;reason=noresource"
    body = f"SIP/2.0 {status} {PHRASES.get(status) or 'Failed'}\r\n"
    return body, {
        "Event": event,
        "Subscription-State": state,
        "Content-Type": "message/sipfrag;version=2.0",
    }
