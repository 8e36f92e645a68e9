"""What a dialplan says, as frozen values: trunks, rules, number policies, limits, and what is set for callers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, TypeGuard

from gateway.addresses import SipUri
from gateway.dialplan.booking import Period, Unit
from gateway.dialplan.fields import Record
from gateway.dialplan.hours import Hours
from gateway.dialplan.numbers import Kind
from gateway.dialplan.patterns import NONE, Globs
from gateway.dialplan.regex import Regex

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Spelling = Literal["e164", "international", "national"]


@dataclass(frozen=True, slots=True)
class Format:
    """How a number is spelled: `prefix` and the spelling, or for what matches an exception its spelling alone."""

    spelling: Spelling = "e164"
    prefix: str = ""
    exceptions: tuple[tuple[str, Spelling], ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """How a trunk wants numbers: the called one, the caller's in From and, unless None, in P-Asserted-Identity.

    `region` says which numbers are national.
    """

    name: str
    region: str | None = None
    to: Format = Format()
    from_: Format = Format()
    asserted: Format | None = None


@dataclass(frozen=True, slots=True)
class Trunk:
    """A provider or PBX. `proxy` takes its calls; `from_` is the number that calls show; `max_calls` None: no limit."""

    name: str
    proxy: SipUri
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    register: bool = False
    from_: str | None = None
    codecs: tuple[str, ...] = ("PCMA", "PCMU")
    dtmf: str = "rfc4733"
    srtp: str = "off"
    transcode: str = "fallback"
    max_calls: int | None = None
    allow: tuple[Network, ...] = ()
    policy: str | None = None
    transfers: bool = True
    ping: int = 0  # seconds between OPTIONS
    tls_names: tuple[str, ...] = ()  # names in the certificates with which its calls come
    ca: str | None = None  # files in PEM, by their full paths
    server_name: str | None = None  # in its own certificate
    certificate: str | None = None
    key: str | None = None
    inbound_username: str | None = None  # its calls may prove to be its own by these
    inbound_password: str | None = field(default=None, repr=False)
    from_host: str | None = None  # in From and P-Asserted-Identity
    prices: str | None = None
    video: bool = False
    ws_path: str = "/"  # of its WebSocket

    @property
    def own_number(self) -> str | None:
        """`from_` where it is a number in E.164; some providers want the name of an account there."""
        return self.from_ if is_e164(self.from_) else None

    @property
    def proof(self) -> tuple[str | None, ...]:
        """What its connections have to prove, and show: of all trunks at one host the same."""
        return self.ca, self.server_name, self.certificate, self.key

    @property
    def proves(self) -> bool:
        """Whether it is reached by TLS, or may be: DNS can say so, and then it has words for certificates."""
        return is_encrypted(self.proxy) or any(self.proof)

    @property
    def by_websocket(self) -> bool:
        return (self.proxy.parameter("transport") or "").lower() in ("ws", "wss")

    def asked(self, user: str) -> SipUri:
        """What it is asked for: a number or a name at its own host, without what is for the way there (`lr`)."""
        parameters = tuple(pair for pair in self.proxy.parameters if pair[0] != "lr")
        return replace(self.proxy, user=user, parameters=parameters, password=None, headers=())


def is_encrypted(proxy: SipUri) -> bool:
    """Whether a URI asks for TLS."""
    return proxy.scheme == "sips" or (proxy.parameter("transport") or "").lower() in ("tls", "wss")


def is_e164(text: str | None) -> TypeGuard[str]:
    return bool(text and text[0] == "+" and text[1:].isascii() and text[1:].isdigit())


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule is for; an empty field matches everything. All are prepared: lower case, hosts in ASCII."""

    kind: tuple[Kind, ...] = ()
    country: tuple[str, ...] = ()  # the library's regions, or calling codes with their +
    type: tuple[str, ...] = ()  # of numbers.TYPES
    number: tuple[str, ...] = ()  # as dialled after normalisation, `*` stands for any digits
    host: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    from_: tuple[str, ...] = ()  # bare JIDs with `*`, or "@group"; empty: [xmpp] users
    regex: tuple[Regex, ...] = ()  # for the number, the short code, user@host or the name
    hours: Hours | None = None
    numbers: Globs = field(init=False, repr=False, compare=False)
    hosts: Globs = field(init=False, repr=False, compare=False)
    users: Globs = field(init=False, repr=False, compare=False)
    names: Globs = field(init=False, repr=False, compare=False)
    callers: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, patterns in (
            ("numbers", self.number),
            ("hosts", self.host),
            ("users", self.user),
            ("names", self.name),
            ("callers", [text for text in self.from_ if not text.startswith("@")]),
        ):
            object.__setattr__(self, name, Globs(patterns) if patterns else NONE)


@dataclass(frozen=True, slots=True)
class Rule:
    """One [[route]]: either `via` (trunks, "direct", "enum" or "echo", tried in this order) or the text of a refusal.

    `weights`, one per via, draw the order anew for every call; `failover` are labels of causes that lead to the next
    via, None: the usual ones. `ring_seconds` is what each via has, `longest` how many seconds a call may last.
    `cheapest`: by the trunks' own prices; `prices`: what the caller is charged in their place.
    """

    name: str
    match: Match
    via: tuple[str, ...] = ()
    refuse: str | None = None
    policy: str | None = None
    anonymous: bool | None = None
    early_media: bool = False
    transcode: str | None = None
    transfers: bool | None = None
    weights: tuple[int, ...] = ()
    failover: tuple[str, ...] | None = None
    ring_seconds: float | None = None
    longest: float | None = None
    cheapest: bool = False
    prices: str | None = None
    record: Record = "no"
    enum_failure: Literal["next", "refuse"] = "next"

    @property
    def decides(self) -> bool:
        """Whether no later rule is asked once it matches: what has no way but ENUM may turn out to have none."""
        return self.via != ("enum",)


@dataclass(frozen=True, slots=True)
class Emergency:
    """`callback` is E.164; `location` the civic address, pairs of an RFC 4776 element (A1, RD, …) and its text."""

    action: Literal["route", "refuse"]
    via: tuple[str, ...] = ()
    foreign: Literal["emergency", "refuse"] = "emergency"
    numbers: frozenset[str] = frozenset()
    callback: str | None = None
    location: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CallerSettings:
    """What [users] sets for a user, or for the users of a group; None: not set."""

    caller_id: str | None = None  # E.164
    display: str | None = None
    region: str | None = None
    anonymous: bool | None = None
    ring_seconds: float | None = None
    longest: float | None = None
    transcode: str | None = None
    allowances: tuple[Allowance, ...] | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `most` calls, seconds or millionths of the unit of `currency` in each hour, day or month."""

    unit: Unit
    period: Period
    most: int
    currency: str = ""


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """One [[budget]]: for each user that matches or for a group as a whole, of the calls that `match` is for."""

    name: str
    allowances: tuple[Allowance, ...]
    match: Match = Match()
    user: tuple[str, ...] = ()
    group: str | None = None
    freeze: bool = False


@dataclass(frozen=True, slots=True)
class BurstRule:
    """One [[burst]], likewise: more than `calls` that begin within `within` seconds freeze the account."""

    name: str
    calls: int
    within: int
    match: Match = Match()
    user: tuple[str, ...] = ()
    group: str | None = None


@dataclass(frozen=True, slots=True)
class LimitRule:
    """One [[limit]]: for each user that matches, or for a group or a trunk as a whole; one of the three is set."""

    user: tuple[str, ...] = ()
    group: str | None = None
    trunk: str | None = None
    concurrent: int | None = None
    per_minute: int | None = None
    longest: float | None = None


def sip_caller(text: str) -> str:
    """Somebody at a host, or a pattern of such, so that no pattern of numbers is one of his: a stranger may call
    himself +12025550123@evil.example, and only a trunk's caller is +12025550123.
    """
    return f"sip:{text}" if "@" in text else text


@dataclass(frozen=True, slots=True)
class InboundMatch:
    """What an inbound rule is for; an empty field matches everything, `any_source` false asks for a trunk."""

    any_source: bool = False
    trunk: tuple[str, ...] = ()
    number: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    caller: tuple[str, ...] = ()  # +E.164, user@host, both with `*`, or "anonymous"
    hours: Hours | None = None
    callers: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "callers", Globs(map(sip_caller, self.caller)) if self.caller else NONE)


@dataclass(frozen=True, slots=True)
class InboundRule:
    """One [[inbound]]: either `to` or the text of a refusal. `{user}` in `to` is what the first `*` of the matching
    user pattern stands for.
    """

    name: str
    match: InboundMatch
    to: tuple[str, ...] = ()
    ring: Literal["parallel", "sequence"] = "parallel"
    refuse: str | None = None
    ring_seconds: float | None = None
    longest: float | None = None
    transcode: str | None = None
    record: Record = "no"


@dataclass(frozen=True, slots=True)
class Example:
    """One [[example]] with where it stands; `expect` maps keys of the outcome to what they must be."""

    file: str
    line: int
    caller: str | None
    to: str | None
    inbound: SipUri | None
    trunk: str | None
    region: str | None
    at: datetime | None
    expect: Mapping[str, object]
    calling: str | None = None  # who calls from SIP, as InboundMatch has it
    enum: tuple[SipUri, ...] | None = None  # None: not asked
