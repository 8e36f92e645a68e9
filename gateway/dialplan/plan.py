"""Where a call goes: route() for calls from XMPP, inbound() for calls from SIP. Pure, and able to explain itself.

    local part ─> what is it? ─┬─ emergency ─────────> [emergency]: its trunks, or refused; before every rule
                               ├─ one of our names ──> refused
                               ├─ number, short code ┐
                               ├─ SIP URI ───────────┼> the first rule that matches: its trunks, or its refusal
                               └─ name ──────────────┘  nothing matched: refused

Rules
 1. Who may call out: users of the domains in `[xmpp] users`. A rule without `from` is for them alone, and so is
    [emergency]; a rule for others says so.
 2. One number, one set of rules: a SIP URI with a dialled string for a user is a number call, and so is any whose host
    is a trunk's, by name, by address or by what it resolves to.
 3. We never dial ourselves, and no URI says on its own where else to send the call (`maddr`).
 4. Who may call in: trunks, and anybody where an inbound rule says `source = "any"`; only to users of `[xmpp] users`.
    Only a trunk's caller appears as a number.
Each rule that was looked at leaves a step, so that `gateway route` tells why.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from gateway import addresses
from gateway.addresses import Dialled, Name, SipUri
from gateway.dialplan import numbers
from gateway.dialplan.numbers import Kind, Reading
from gateway.errors import AddressError

__all__ = [
    "Emergency", "Example", "Identity", "Inbound", "InboundMatch", "InboundRoute", "InboundRule", "Kind", "Limit",
    "Match", "Plan", "Refusal", "Request", "Route", "Rule", "Trunk", "caller_local", "inbound", "mappable", "route",
]  # fmt: skip

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Parameters that may go out with a direct call. Others could send it elsewhere (maddr), bend the request (method, ttl)
# or the route (lr); RFC 3261 §19.1.1.
_PARAMETERS = frozenset({"transport", "user"})


# The plan -------------------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Rule:
    """One [[route]]: either `via` (trunks, "direct" or "echo", tried in this order) or the text of a refusal."""

    name: str
    match: Match
    via: tuple[str, ...] = ()
    refuse: str | None = None


@dataclass(frozen=True, slots=True)
class Emergency:
    action: Literal["route", "refuse"]
    via: tuple[str, ...] = ()
    foreign: Literal["emergency", "refuse"] = "emergency"
    numbers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class InboundMatch:
    """What an inbound rule is for; an empty field matches everything, `any_source` false asks for a trunk."""

    any_source: bool = False
    trunk: tuple[str, ...] = ()
    number: tuple[str, ...] = ()
    user: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InboundRule:
    """One [[inbound]]. `{user}` in `to` is what the first `*` of the matching user pattern stands for."""

    name: str
    match: InboundMatch
    to: tuple[str, ...]
    ring: Literal["parallel", "sequence"] = "parallel"


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


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides where calls go. `users` are the domains of our users; `own` our names, whatever the port;
    `endpoints` the addresses and ports that we listen on, where another port may well be somebody else's.
    """

    users: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()
    endpoints: frozenset[tuple[str, int]] = frozenset()
    region: str | None = None
    route_unassigned: bool = False
    emergency: Emergency | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    trunks: Mapping[str, Trunk] = field(default_factory=dict)
    routes: tuple[Rule, ...] = ()
    inbound: tuple[InboundRule, ...] = ()
    examples: tuple[Example, ...] = ()

    def trunk_of(self, source: str, resolved: Mapping[str, Collection[str]] = MappingProxyType({})) -> Trunk | None:
        """The trunk that an IP address belongs to: by `allow`, by the address in `proxy`, or by what the proxy's name
        resolves to (`resolved`: trunk name to addresses). The first trunk of the files wins.
        """
        address = _address(source)
        if address is None:
            return None
        for trunk in self.trunks.values():
            if any(address.version == network.version and address in network for network in trunk.allow):
                return trunk
            known = (trunk.proxy.host, *resolved.get(trunk.name, ()))
            if any(_address(host) == address for host in known):
                return trunk
        return None

    def named(self, name: str) -> bool:
        """Whether a rule leads somewhere for a local part of kind `name`."""
        return any(
            rule.refuse is None and (rule.match.name or Kind.NAME in rule.match.kind) and _any(rule.match.name, name)
            for rule in self.routes
        )

    def is_own(self, uri: SipUri, resolved: Collection[str] = ()) -> bool:
        """Whether a URI leads back to this gateway, itself or by what its host resolves to."""
        port = uri.port or (5061 if uri.scheme == "sips" or uri.parameter("transport") == "tls" else 5060)
        ours = [host for host, our_port in self.endpoints if our_port == port]
        return any(_same(host, self.own) or _same(host, ours) for host in (uri.host, *resolved))

    def ours(self, jid: str) -> bool:
        """Whether a bare JID belongs to one of our users' domains."""
        local, _, domain = jid.rpartition("@")
        return bool(local) and domain in self.users


def mappable(plan: Plan, local: str) -> bool:
    """Whether the local part of a contact names anything, whoever asks and whether or not he may call it."""
    return addresses.mappable(local, plan.named)


# XMPP to SIP ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """A user (bare JID, as his server vouched for it) calls the contact with this local part.

    `resolved` is what the host of a SIP URI resolves to, `trunk_hosts` what the trunks' proxies do: names and addresses
    that the caller of route() has looked up.
    """

    caller: str
    local: str
    region: str | None = None
    at: datetime | None = None
    resolved: frozenset[str] = frozenset()
    trunk_hosts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, as one via is to show him; numbers are spelled as its number policy wants them.

    `from_user` is the user part of From, None for our own form (the JID at our SIP domain). `asserted` is the user part
    of P-Asserted-Identity, None for no such header; only trunks get one (RFC 3325 §5). `anonymous`: From is
    "Anonymous" <sip:anonymous@anonymous.invalid> with `Privacy: id` (RFC 3323 §4.1.1.3, RFC 3325 §9.3).
    """

    from_user: str | None = None
    display: str = ""
    asserted: str | None = None
    anonymous: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """What may run at a time, begin within a minute, and last, counted under `key`; None: no limit.

    Keys are "user JID", "group NAME" and "trunk NAME". A trunk's counts for the attempt through it, the others for the
    whole call. `longest` is in seconds.
    """

    key: str
    concurrent: int | None = None
    per_minute: int | None = None
    longest: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """`targets` has a SIP URI per `via`, None for the test line; `target` is the first. `number` is E.164.

    `identities` has one per `via`. An emergency call has no `limits`, may have a `callback` number in E.164 and a
    `geolocation`, a PIDF-LO document (RFC 4119, 5139) to go along as RFC 6442 says.
    """

    kind: Kind
    number: str | None
    target: str | None
    via: tuple[str, ...]
    targets: tuple[str | None, ...]
    rule: str
    steps: tuple[str, ...]
    identities: tuple[Identity, ...] = ()
    limits: tuple[Limit, ...] = ()
    emergency: bool = False
    geolocation: str | None = None
    callback: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nobody is called. `rule` is None when no rule said so; `kind` None when the address means nothing."""

    kind: Kind | None
    number: str | None
    rule: str | None
    reason: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Callee:
    """What the local part turned out to be: a reading for what is dialled, a URI for what has a host, or both."""

    kind: Kind
    reading: Reading | None = None
    uri: SipUri | None = None
    trunk: str | None = None  # whose host the URI names, in words
    name: str = ""

    @property
    def number(self) -> str | None:
        return self.reading.number if self.reading else None


def route(plan: Plan, request: Request) -> Route | Refusal:
    """Decides about a call from XMPP; never raises for what a user dialled."""
    steps: list[str] = []
    callee = _read(plan, request, steps)
    if isinstance(callee, Refusal):
        return callee

    def refuse(reason: str, rule: str | None = None) -> Refusal:
        steps.append(f"refused: {reason}")
        return Refusal(callee.kind, callee.number, rule, reason, tuple(steps))

    if callee.kind is Kind.EMERGENCY and callee.reading:
        return _emergency(plan, request, callee.reading, steps)
    if callee.uri and plan.is_own(callee.uri, request.resolved):
        return refuse(f"{callee.uri.host} is this gateway itself")
    undiallable = _undiallable(plan, callee.reading)
    if undiallable and (callee.uri is None or callee.trunk):
        return refuse(undiallable)
    for rule in plan.routes:
        why_not = _mismatch(plan, rule.match, request, callee)
        if why_not:
            steps.append(f"rule {rule.name}: no, {why_not}")
            continue
        if rule.refuse is not None:
            steps.append(f"rule {rule.name}: matches and refuses")
            return refuse(rule.refuse, rule.name)
        steps.append(f"rule {rule.name}: matches, via {', '.join(rule.via)}")
        if undiallable and any(via in plan.trunks for via in rule.via):
            return refuse(undiallable, rule.name)
        targets = tuple(_target(plan, via, callee) for via in rule.via)
        for via, target in zip(rule.via, targets, strict=True):
            if isinstance(target, _No):
                return refuse(f"via {via}: {target.reason}", rule.name)
        plain = tuple(None if target is None else str(target) for target in targets)
        steps.append(f"calls {plain[0] or 'the test line'}")
        identities = tuple(_identity(plan, via) for via in rule.via)
        limits = _limits(plan, rule.via)
        return Route(callee.kind, callee.number, plain[0], rule.via, plain, rule.name, tuple(steps), identities, limits)
    return refuse("no rule allows this call")


def _read(plan: Plan, request: Request, steps: list[str]) -> _Callee | Refusal:
    """What the local part is, in the order of rules 1 and 2 of this module."""
    try:
        contact = addresses.contact(request.local)
    except AddressError as error:
        steps.append(f"refused: {error}")
        return Refusal(None, None, None, str(error), tuple(steps))
    region = request.region or plan.region
    listed = plan.emergency.numbers if plan.emergency else ()
    match contact:
        case Name(text):
            steps.append(f"{text} is a name")
            return _Callee(Kind.NAME, name=text)
        case Dialled():
            callee = _dialled(contact, region, listed)
        case SipUri():
            callee = _read_uri(plan, request, contact, region, listed)
    steps.append(_description(callee, request.local, region))
    return callee


def _dialled(dialled: Dialled, region: str | None, listed: Collection[str]) -> _Callee:
    reading = numbers.read(dialled, region, listed)
    return _Callee(reading.kind, reading)


def _read_uri(plan: Plan, request: Request, uri: SipUri, region: str | None, listed: Collection[str]) -> _Callee:
    # RFC 3261 §19.1.6: the user part may be a telephone-subscriber, with parameters of its own behind a semicolon.
    user = addresses.folded(uri.user or "").partition(";")[0]
    trunk = _trunk_at(plan, request, uri)
    if addresses.is_dialled(user):
        try:
            reading = numbers.read(addresses.dialled(user), region, listed, at_a_host=True)
        except AddressError as error:
            reading = Reading(Kind.NUMBER, user, problem=str(error))
        return _Callee(reading.kind, reading, uri, trunk)
    if trunk:
        return _Callee(Kind.NUMBER, Reading(Kind.NUMBER, user, problem=f"{trunk} takes numbers only"), uri, trunk)
    return _Callee(Kind.URI, uri=uri)


def _undiallable(plan: Plan, reading: Reading | None) -> str | None:
    """Why no trunk is given what was dialled; a user part of digits can still be reached at its own host."""
    if reading is None:
        return None
    if not reading.assigned and not plan.route_unassigned:
        return f"{reading.number} is not assigned to anybody"
    return reading.problem


def _description(callee: _Callee, local: str, region: str | None) -> str:
    reading = callee.reading
    if reading is None:
        return f"{local} is the SIP URI {callee.uri}"
    place = f" (read as dialled in {region})" if region else ""
    if reading.number is None:
        foreign = ", of another country" if reading.foreign else ""
        return f"{local} is a call of kind {reading.kind}: {reading.dial}{foreign}{place}"
    what = "/".join(reading.types) if reading.assigned else "unassigned"
    return f"{local} is the number {reading.number}, {what}, country {reading.country or 'unknown'}{place}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _same(host: str, others: Collection[str]) -> bool:
    """Whether a host is one of these, an IPv4 address in IPv6's clothes included."""
    address = _address(host)
    return host in others or (address is not None and any(_address(other) == address for other in others))


def _trunk_at(plan: Plan, request: Request, uri: SipUri) -> str | None:
    """The trunk, or "a trunk", that this URI's host is or resolves to."""
    for host in (uri.host, *request.resolved):
        for trunk in plan.trunks.values():
            if _same(host, (trunk.proxy.host,)):
                return f"trunk {trunk.name}"
        if _same(host, request.trunk_hosts) or plan.trunk_of(host):
            return "a trunk"
    return None


def _emergency(plan: Plan, request: Request, reading: Reading, steps: list[str]) -> Route | Refusal:
    """Emergency calls: nothing but [emergency] and the caller's domain has a say."""
    policy = plan.emergency

    def refuse(reason: str) -> Refusal:
        steps.append(f"refused: {reason}")
        return Refusal(Kind.EMERGENCY, None, "emergency" if policy else None, reason, tuple(steps))

    if not plan.ours(request.caller):
        return refuse("emergency calls are for users of this gateway")
    if policy is None or policy.action == "refuse":
        return refuse("emergency calls cannot be made here: use a telephone")
    if reading.foreign and policy.foreign == "refuse":
        return refuse(f"{reading.dial} is an emergency number of another country: use a telephone")
    steps.append(f"[emergency]: via {', '.join(policy.via)}, before every rule")
    targets = tuple(str(_at_trunk(plan.trunks[via], reading.dial)) for via in policy.via)
    steps.append(f"calls {targets[0]}")
    identities = tuple(_identity(plan, via) for via in policy.via)
    callback = next((identity.from_user for identity in identities if identity.from_user), None)
    return Route(
        Kind.EMERGENCY, None, targets[0], policy.via, targets, "emergency", tuple(steps), identities,
        emergency=True, callback=callback,
    )  # fmt: skip


def _identity(plan: Plan, via: str) -> Identity:
    trunk = plan.trunks.get(via)
    return Identity(trunk.from_ if trunk else None)


def _limits(plan: Plan, ways: Collection[str]) -> tuple[Limit, ...]:
    trunks = (plan.trunks[via] for via in ways if via in plan.trunks)
    return tuple(Limit(f"trunk {trunk.name}", trunk.max_calls) for trunk in trunks if trunk.max_calls is not None)


@dataclass(frozen=True, slots=True)
class _No:
    reason: str


def _target(plan: Plan, via: str, callee: _Callee) -> SipUri | _No | None:
    """What a via is asked for: numbers and names at a trunk's own host, everything else by its full URI."""
    if via == "echo":
        return None
    if via == "direct":
        if callee.uri is None:
            return _No("it has no host to go to")
        if callee.trunk:
            return _No(f"its host is {callee.trunk}, which is called by number")
        if bad := [name for name, _ in callee.uri.parameters if name not in _PARAMETERS]:
            return _No(f"the URI parameter {bad[0]} is not allowed")
        return callee.uri
    trunk = plan.trunks[via]
    if callee.reading is not None:
        return _at_trunk(trunk, callee.reading.dial)
    return callee.uri or _at_trunk(trunk, callee.name)


def _at_trunk(trunk: Trunk, user: str) -> SipUri:
    parameters = tuple(
        pair for pair in trunk.proxy.parameters if pair[0] != "lr"
    )  # a Route's parameter, not a target's
    return dataclasses.replace(trunk.proxy, user=user, parameters=parameters, password=None, headers=())


def _mismatch(plan: Plan, match: Match, request: Request, callee: _Callee) -> str | None:
    """Why a rule is not for this call; None when it is."""
    reading = callee.reading
    if match.kind and callee.kind not in match.kind:
        return f"it is for kind {' or '.join(match.kind)}"
    if match.name and not (callee.kind is Kind.NAME and _any(match.name, callee.name)):
        return "the name differs"
    if match.host and not (callee.uri and _any(match.host, callee.uri.host)):
        return "the host differs"
    if match.user and not (callee.uri and _any(match.user, addresses.folded(callee.uri.user or ""))):
        return "the user part differs"
    if match.number and not (reading and _any(match.number, reading.dial)):
        return "the number differs"
    if match.country and not (reading and _in_country(match.country, reading)):
        return f"the country is not {' or '.join(match.country)}"
    if match.type and not (reading and set(match.type) & set(reading.types)):
        return f"the type is not {' or '.join(match.type)}"
    if not _may(plan, match.from_, request.caller):
        return f"{request.caller} is not among its callers"
    return None


def _in_country(countries: tuple[str, ...], reading: Reading) -> bool:
    return reading.country in countries or f"+{reading.calling_code}" in countries


def _may(plan: Plan, callers: tuple[str, ...], caller: str) -> bool:
    if not callers:
        return plan.ours(caller)
    for pattern in callers:
        members = plan.groups.get(pattern[1:], ()) if pattern.startswith("@") else (pattern,)
        if _any(members, caller):
            return True
    return False


# Patterns -------------------------------------------------------------------------------------------------------------


def stands_for(pattern: str, text: str) -> str | None:
    """What the first `*` of the pattern stands for, the whole text when it has none; None when they do not match.

    Linear: each piece between two stars is looked for once, from the left.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return text if text == pattern else None
    last = rest.pop()
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return None
    position, end = len(first), len(text) - len(last)
    star = end if not rest else -1
    for piece in rest:
        found = text.find(piece, position, end)
        if found < 0:
            return None
        star = found if star < 0 else star
        position = found + len(piece)
    return text[len(first) : star]


def _any(patterns: Collection[str], text: str) -> bool:
    return not patterns or any(stands_for(pattern, text) is not None for pattern in patterns)


# SIP to XMPP ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Inbound:
    """An INVITE for this Request-URI; `trunk` is the name of the trunk that it came from, None for anybody else."""

    uri: SipUri
    trunk: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class InboundRoute:
    """Bare JIDs to ring, together or one after the other. `number` is what was dialled, in E.164, if it was one."""

    to: tuple[str, ...]
    ring: Literal["parallel", "sequence"]
    rule: str
    steps: tuple[str, ...]
    number: str | None = None
    limits: tuple[Limit, ...] = ()


def inbound(plan: Plan, call: Inbound) -> InboundRoute | Refusal:
    """Decides about a call from SIP; never raises for what a peer sent."""
    # juliet%40shakespeare.lit and juliet%shakespeare.lit are one user to a rule.
    jid = addresses.jid_of(call.uri)
    user = addresses.folded(call.uri.user or "")
    shown = "%".join(jid.rsplit("@", 1)) if jid else user
    number = _e164(call.uri, call.region or plan.region)
    kind = Kind.NUMBER if number else Kind.URI
    source = f"trunk {call.trunk}" if call.trunk else "a stranger"
    steps = [f"{call.uri} from {source}, user {shown or 'empty'}" + (f", number {number}" if number else "")]

    def refuse(reason: str, rule: str | None = None) -> Refusal:
        steps.append(f"refused: {reason}")
        return Refusal(kind, number, rule, reason, tuple(steps))

    for rule in plan.inbound:
        why_not, captured = _inbound_mismatch(rule.match, call.trunk, shown, number)
        if why_not:
            steps.append(f"{rule.name}: no, {why_not}")
            continue
        try:
            # Names were prepared when the rule was read; what was captured is a peer's word.
            to = tuple(
                target.replace("{user}", addresses.prepared_local(captured)) if "{user}" in target else target
                for target in rule.to
            )
        except AddressError as error:
            return refuse(str(error), rule.name)
        if stranger := next((target for target in to if not plan.ours(target)), None):
            return refuse(f"{stranger} is not a user of this gateway", rule.name)
        steps.append(f"{rule.name}: matches, rings {', '.join(to)}" + (f" in {rule.ring}" if len(to) > 1 else ""))
        limits = _limits(plan, (call.trunk,) if call.trunk else ())
        return InboundRoute(to, rule.ring, rule.name, tuple(steps), number, limits)
    return refuse("nobody is called by this name or number")


def _inbound_mismatch(match: InboundMatch, trunk: str | None, user: str, number: str | None) -> tuple[str, str]:
    """Why a rule is not for this call ("" when it is), and what {user} stands for."""
    if trunk is None and not match.any_source:
        return "it is for calls from trunks", ""
    if match.trunk and trunk not in match.trunk:
        return f"it is for calls from {' or '.join(match.trunk)}", ""
    if match.number and not (number and _any(match.number, number)):
        return "the number differs", ""
    if not match.user:
        return "", user
    for pattern in match.user:
        captured = stands_for(pattern, user)
        if captured is not None:
            return "", captured
    return "the user part differs", ""


def _e164(uri: SipUri, region: str | None) -> str | None:
    """The number in the user part of a SIP or tel URI in E.164, None when it is none."""
    user = addresses.folded(uri.user or "").partition(";")[0]
    if not addresses.is_dialled(user):
        return None
    try:
        return numbers.read(addresses.dialled(user), region).number
    except AddressError:
        return None


def caller_local(plan: Plan, from_uri: SipUri, trunk: Trunk | None) -> str:
    """The local part under which a caller from SIP appears: +E164 from trunks alone, anybody else as user%host."""
    if trunk is not None and (number := _e164(from_uri, plan.region)):
        return number
    host = from_uri.host or (trunk.proxy.host if trunk else "anonymous.invalid")  # RFC 3323 §4.1.1.3
    # Where to call back is the user at his host; parameters describe the way this call came.
    for user in (from_uri.user, "anonymous"):
        try:
            return addresses.local_of(SipUri("sip", user, host, from_uri.port))
        except AddressError:
            continue
    return "anonymous%anonymous.invalid"
