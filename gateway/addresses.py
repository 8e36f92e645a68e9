"""SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966) and the hosts in them, each in its one spelling.

A host is a DNS name or a canonical IP address. `127.1`, `0x7f000001` and `017700000001` are refused, because resolvers
read them as addresses that no policy has seen.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache

import idna

from gateway.errors import AddressError

MAX_URI = 4096  # characters; longer ones are refused before anything looks at them
REMEMBERED = 256  # characters of a URI that is worth remembering

SCHEMES = ("sip", "sips", "tel")

_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()")
_USER = _UNRESERVED | frozenset("&=+$,;?/")
_PASSWORD = _UNRESERVED | frozenset("&=+$,")
_PARAMETER = _UNRESERVED | frozenset("[]/:&+$")
_HEADER = _UNRESERVED | frozenset("[]/?:+$")

_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class SipUri:
    """A SIP, SIPS or tel URI (RFC 3261 §19.1, RFC 3966), decoded.

    `user` and the values are percent-decoded; `host` is lower case and ASCII, IPv6 without brackets, "" for tel.
    """

    scheme: str
    user: str | None
    host: str
    port: int | None = None
    parameters: tuple[tuple[str, str | None], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> SipUri:
        """Reads a URI as it stands in a message, without angle brackets. Raises AddressError.

        Escapes that are none are taken literally, as in sip:juliet%shakespeare.lit@sip.example.com.
        """
        return _remembered(text) if len(text) <= REMEMBERED else cls._parse(text)

    @classmethod
    def _parse(cls, text: str) -> SipUri:
        if len(text) > MAX_URI:
            raise AddressError(f"a URI of {len(text)} characters")
        text = text.strip()
        scheme, colon, rest = text.partition(":")
        scheme = scheme.lower()
        if not colon or scheme not in SCHEMES:
            raise AddressError(f"not a SIP or tel URI: {shown(text)}")
        if any(character <= " " or character == "\x7f" for character in rest):
            raise AddressError(f"a space or control character in {shown(text)}")
        if scheme == "tel":
            number, *parameters = rest.split(";")
            if not number:
                raise AddressError("a tel URI without a number")
            return cls("tel", _decoded(number), "", parameters=_parameters(parameters))
        return cls._parse_sip(scheme, rest)

    @classmethod
    def _parse_sip(cls, scheme: str, rest: str) -> SipUri:
        user: str | None = None
        password: str | None = None
        userinfo, at, after = rest.partition("@")  # `;` and `?` may stand in a user, `@` may not
        if at:
            raw_user, colon, raw_password = userinfo.partition(":")
            if not raw_user:
                raise AddressError("an empty user before the @")
            user, password = _decoded(raw_user), _decoded(raw_password) if colon else None
        address, _, headers = (after if at else rest).partition("?")
        if "@" in address:
            raise AddressError(f"more than one @ in {shown(rest)}")
        hostport, *parameters = address.split(";")
        host, port = host_and_port(hostport)
        return cls(scheme, user, host, port, _parameters(parameters), _headers(headers), password)

    def parameter(self, name: str) -> str | None:
        """The value of a parameter; "" when it has none (`;lr`), None when it is absent."""
        for key, value in self.parameters:
            if key == name:
                return value or ""
        return None

    @property
    def hostport(self) -> str:
        """The host as a URI spells it, with the port if there is one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def __str__(self) -> str:
        text = f"{self.scheme}:"
        if self.user is not None:
            text += _encoded(self.user, _USER)
            if self.password is not None:
                text += ":" + _encoded(self.password, _PASSWORD)
            text += "@" if self.host else ""
        text += self.hostport
        for name, value in self.parameters:
            text += f";{name}" if value is None else f";{name}={_encoded(value, _PARAMETER)}"
        if self.headers:
            pairs = (f"{_encoded(name, _HEADER)}={_encoded(value, _HEADER)}" for name, value in self.headers)
            text += "?" + "&".join(pairs)
        return text


_remembered = lru_cache(maxsize=2048)(SipUri._parse)  # a call's few are read with each of its messages


def host_and_port(text: str) -> tuple[str, int | None]:
    """`shakespeare.lit:5062`, `[2001:db8::1]`: the host in its one spelling, and the port. Raises AddressError."""
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise AddressError(f"not an IPv6 address: {shown(text)}")
        host, colon, digits = f"[{inner}]", rest[:1], rest[1:]
    else:
        host, colon, digits = text.partition(":")
    if not colon:
        return host_of(host), None
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 65536):
        raise AddressError(f"not a port: {shown(digits)}")
    return host_of(host), int(digits)


def server(text: str) -> tuple[str, int | None]:
    """As `host_and_port`, for people: an IPv6 address without a port needs no brackets, unless its last group may be
    meant as one (RFC 5952 §6). Raises AddressError.
    """
    if text.startswith("[") or text.count(":") < 2:
        return host_and_port(text)
    before, _, last = text.rpartition(":")
    if _is_ipv6(before) and last.isdigit():
        raise AddressError(f"[{before}]:{last} with a port, [{text}] without: {shown(text)}")
    return host_of(text), None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def host_of(text: str) -> str:
    """The one spelling of a host: DNS names in lower-case ASCII without a final dot, IP addresses canonical, IPv6 with
    or without brackets in, without out. Raises AddressError.
    """
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
        if ":" not in text:
            raise AddressError(f"not an IPv6 address: {shown(text)}")
    if ":" in text:
        try:
            address = ipaddress.IPv6Address(text)
        except ValueError:
            raise AddressError(f"not an IPv6 address: {shown(text)}") from None
        if address.scope_id is not None:
            raise AddressError(f"an address of one link only: {shown(text)}")
        return address.compressed
    name = text.lower().removesuffix(".")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):  # idna lets a UnicodeError through on some code points
            raise AddressError(f"not a host name: {shown(text)}") from None
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressError(f"not a host name: {shown(text)}")
    if labels[-1].isdigit() or re.fullmatch(r"0x[0-9a-f]*", labels[-1]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise AddressError(f"neither a host name nor an IPv4 address: {shown(text)}") from None
    return name


def _parameters(parts: list[str]) -> tuple[tuple[str, str | None], ...]:
    found: list[tuple[str, str | None]] = []
    for part in parts:
        if not part:
            continue  # COMPAT: phones that end a URI with a semicolon
        name, equals, value = part.partition("=")
        name = name.lower()
        if not is_parameter_name(name):
            raise AddressError(f"not a URI parameter: {shown(part)}")
        found.append((name, _decoded(value) if equals else None))
    return tuple(found)


def is_parameter_name(text: str) -> bool:
    """RFC 3261 §25.1, pname."""
    return bool(text) and all(character in _PARAMETER for character in text)


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (pair.partition("=") for pair in text.split("&") if pair)
    return tuple((_decoded(name), _decoded(value)) for name, _, value in pairs)


def _decoded(text: str) -> str:
    """Percent-decodes what is UTF-8 and no control character, and leaves the rest as it stands."""

    def plain(run: re.Match[str]) -> str:
        try:
            decoded = bytes.fromhex(run[0].replace("%", "")).decode()
        except UnicodeDecodeError:
            return run[0]
        return run[0] if any(unicodedata.category(character) == "Cc" for character in decoded) else decoded

    return _ESCAPES.sub(plain, text)


def _encoded(text: str, allowed: frozenset[str]) -> str:
    if allowed.issuperset(text):  # as nearly all are
        return text
    return "".join(
        character if character in allowed else "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "replace"))
        for character in text
    )


def shown(text: str) -> str:
    """Somebody else's text as an error may show it."""
    return repr(text if len(text) <= 80 else text[:79] + "…")
