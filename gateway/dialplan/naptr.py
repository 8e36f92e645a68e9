r"""ENUM: from a number to SIP addresses by what DNS has under its digits (RFC 6116, RFC 3402).

    +442079460018 ──> 8.1.0.0.6.4.9.7.0.2.4.4.e164.arpa. ──NAPTR──> "u" "E2U+sip" "!^\+44(.*)$!sip:\1@montague.example!"
                  ──> sip:2079460018@montague.example

1. The records of the lowest order that make a SIP URI of this number count, by their preference (RFC 3403 §4.1). Each
   service that says sip does, E2U+pstn:sip (RFC 4769) among them.
2. The result of an expression is its replacement with the groups in it, whatever of the number it did not match.
3. Records that lead on to other names (an empty flag) are passed over: one number, one question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from gateway.addresses import SipUri
from gateway.dialplan.ere import Ere, EreError
from gateway.errors import AddressError

MAX_RECORDS = 50  # that are looked at
MAX_URIS = 5  # that are called
_SERVICES = frozenset({"sip", "pstn:sip"})


@dataclass(frozen=True, slots=True)
class Record:
    """One NAPTR record (RFC 3403 §4.1), its strings as they are in DNS."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A SIP URI that ENUM has for a number, and what its host resolves to: names and addresses."""

    uri: SipUri
    resolved: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Listing:
    """What ENUM says of a number: the best first, none where it is not listed. `failure`: why nobody knows."""

    listed: tuple[Listed, ...] = ()
    failure: str = ""


def domain(number: str, suffix: str) -> str:
    """Where a number in E.164 is asked for (RFC 6116 §3.4)."""
    return ".".join((*reversed(number.removeprefix("+")), suffix))


def uris(number: str, records: Iterable[Record]) -> tuple[SipUri, ...]:
    """The SIP URIs that these records make of a number in E.164, the best first."""
    ordered = sorted(records, key=lambda record: (record.order, record.preference))
    for _, same in groupby(ordered[:MAX_RECORDS], key=lambda record: record.order):
        if found := tuple(dict.fromkeys(_uris(number, same))):
            return found[:MAX_URIS]
    return ()


def _uris(number: str, records: Iterable[Record]) -> Iterator[SipUri]:
    for record in records:
        if record.flags.lower() != "u" or not _for_sip(record.service):
            continue
        text = rewritten(record.regexp, number)
        try:
            uri = SipUri.parse(text) if text else None
        except AddressError:
            continue
        # A header of a URI could say more than whom to call (RFC 3261 §19.1.5).
        if uri and uri.scheme in ("sip", "sips") and uri.user and not uri.headers and uri.password is None:
            yield uri


def _for_sip(service: str) -> bool:
    """Whether one of the services in E2U+sip+… is (RFC 6116 §3.4.3)."""
    first, *services = service.lower().split("+")
    return first == "e2u" and not _SERVICES.isdisjoint(services)


def rewritten(regexp: str, number: str) -> str | None:
    """What a substitution, as `!^(.*)$!sip:\\1@example.com!`, makes of a number; None for nothing (RFC 3402 §3.2)."""
    delimiter = regexp[:1]
    if not delimiter or delimiter in "\\i" or delimiter.isdigit():
        return None
    parts = list(_split(regexp[1:], delimiter))
    if len(parts) != 3 or parts[2] not in ("", "i"):
        return None
    pattern, replacement, flags = parts
    try:
        groups = Ere(pattern, ignore_case=flags == "i").search(number)
    except EreError:
        return None
    return None if groups is None else _filled(replacement, groups)


def _split(text: str, delimiter: str) -> Iterator[str]:
    """At each delimiter without a backslash before it; with one it is a character like others."""
    part, escaped = "", False
    for character in text:
        if escaped:
            part += character if character == delimiter else "\\" + character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == delimiter:
            yield part
            part = ""
        else:
            part += character
    yield part + ("\\" if escaped else "")


def _filled(replacement: str, groups: tuple[str, ...]) -> str | None:
    r"""With groups in the place of \1 to \9."""
    found, rest = "", replacement
    while rest:
        before, backslash, after = rest.partition("\\")
        found += before
        if not backslash:
            break
        character, rest = after[:1], after[1:]
        if character.isdigit():
            if not 0 < int(character) < len(groups):
                return None
            found += groups[int(character)]
        else:
            found += character
    return found
