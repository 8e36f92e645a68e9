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
Each rule that was looked at leaves a step when an explanation is asked for, so that `gateway route` tells why.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from gateway import addresses
from gateway.addresses import Dialled, Name, SipUri
from gateway.dialplan import numbers
from gateway.dialplan.index import Facts, Index, expanded
from gateway.dialplan.location import pidf_lo
from gateway.dialplan.numbers import Kind, Reading
from gateway.dialplan.patterns import Globs, stands_for
from gateway.dialplan.rules import (
    CallerSettings,
    Emergency,
    Example,
    Format,
    Identity,
    InboundMatch,
    InboundRule,
    Limit,
    LimitRule,
    Match,
    Policy,
    Rule,
    Trunk,
)
from gateway.dialplan.spelling import spelled
from gateway.errors import AddressError

__all__ = [
    "CallerSettings", "Emergency", "Example", "Format", "Identity", "Inbound", "InboundMatch", "InboundRoute",
    "InboundRule", "Kind", "Limit", "LimitRule", "Match", "Plan", "Policy", "Refusal", "Request", "Route", "Rule",
    "Trunk", "caller_local", "inbound", "mappable", "route", "stands_for",
]  # fmt: skip

# Parameters that may go out with a direct call. Others could send it elsewhere (maddr), bend the request (method, ttl)
# or the route (lr); RFC 3261 §19.1.1.
_PARAMETERS = frozenset({"transport", "user"})
_PLAIN = Policy("")


# The plan -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides where calls go. `users` are the domains of our users; `own` our names, whatever the port;
    `endpoints` the addresses and ports that we listen on, where another port may well be somebody else's; `callers`
    what [users] sets, by JID or "@group"; `anonymous_prefix` what is dialled before a number to call without a name.
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
    policies: Mapping[str, Policy] = field(default_factory=dict)
    callers: Mapping[str, CallerSettings] = field(default_factory=dict)
    limits: tuple[LimitRule, ...] = ()
    anonymous_prefix: str | None = None
    index: Index = field(init=False, repr=False, compare=False)
    inbound_index: Index = field(init=False, repr=False, compare=False)
    members: Mapping[str, Globs] = field(init=False, repr=False, compare=False)
    names: tuple[Rule, ...] = field(init=False, repr=False, compare=False)
    group_settings: tuple[tuple[str, CallerSettings], ...] = field(init=False, repr=False, compare=False)
    limited: tuple[Globs, ...] = field(init=False, repr=False, compare=False)  # whom each of `limits` is for

    def __post_init__(self) -> None:
        dialled = [Match(number=rule.match.number, user=rule.match.user) for rule in self.inbound]
        named = (rule for rule in self.routes if rule.match.name or Kind.NAME in rule.match.kind)
        derived = {
            "index": Index([rule.match for rule in self.routes], self.groups),
            "inbound_index": Index(dialled, {}),
            "members": {name: Globs(members) for name, members in self.groups.items()},
            "names": tuple(rule for rule in named if rule.refuse is None),
            "group_settings": tuple((name[1:], each) for name, each in self.callers.items() if name.startswith("@")),
            "limited": tuple(
                Globs(expanded((f"@{rule.group}",) if rule.group else rule.user, self.groups)) for rule in self.limits
            ),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

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
        return any(not rule.match.name or rule.match.names.match(name) for rule in self.names)

    def withheld(self, text: str) -> str | None:
        """What is dialled behind the prefix of anonymous calls; None when it does not begin with it.

        Text may be escaped as a local part is.
        """
        prefix = self.anonymous_prefix
        if not prefix or not text.startswith(prefix) or len(text) > addresses.MAX_LOCAL:
            return None
        rest = addresses.unescape(text.removeprefix(prefix))
        return rest if addresses.is_dialled(rest) else None

    def settings(self, caller: str) -> CallerSettings:
        """What is set for a bare JID: his own, and where that is silent his groups', in the order of the files."""
        if not self.callers:
            return CallerSettings()
        own = self.callers.get(caller)
        layers = [own] if own else []
        layers.extend(settings for group, settings in self.group_settings if self._in(group, caller))

        def first(name: str) -> Any:
            return next((value for layer in layers if (value := getattr(layer, name)) is not None), None)

        return CallerSettings(first("caller_id"), first("display"), first("region"), first("anonymous"))

    def _in(self, group: str, caller: str) -> bool:
        members = self.members.get(group)
        return members is not None and members.match(caller)

    def may(self, match: Match, caller: str) -> bool:
        """Whether a rule is for this caller (rule 1)."""
        if not match.from_:
            return self.ours(caller)
        return match.callers.match(caller) or any(
            self._in(text[1:], caller) for text in match.from_ if text.startswith("@")
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
    withheld = plan.withheld(local)
    return addresses.mappable(local if withheld is None else withheld, plan.named)


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
    anonymous: bool = False  # dialled with the prefix for it

    @property
    def number(self) -> str | None:
        return self.reading.number if self.reading else None

    def facts(self, caller: str) -> Facts:
        """What rules can ask of this call."""
        reading, uri = self.reading, self.uri
        user = addresses.folded(uri.user or "") if uri else None
        text = reading.dial if reading else f"{user}@{uri.host}" if uri else self.name
        countries = (f"+{reading.calling_code}", reading.country or "") if reading and reading.number else ()
        return Facts(
            self.kind, reading.dial if reading else None, text, user, uri.host if uri else None,
            self.name if self.kind is Kind.NAME else None, caller, reading.types if reading else (), countries,
        )  # fmt: skip


def route(plan: Plan, request: Request, *, explain: bool = False) -> Route | Refusal:
    """Decides about a call from XMPP; never raises for what a user dialled.

    `explain` looks at every rule up to the one that decides and leaves a step for each; without, only at those that
    could match. The decision is the same.
    """
    steps: list[str] = []
    settings = plan.settings(request.caller)
    callee = _read(plan, request, settings, steps)
    if isinstance(callee, Refusal):
        return callee

    def refuse(reason: str, rule: str | None = None) -> Refusal:
        steps.append(f"refused: {reason}")
        return Refusal(callee.kind, callee.number, rule, reason, tuple(steps))

    if callee.kind is Kind.EMERGENCY and callee.reading:
        return _emergency(plan, request, settings, callee.reading, steps)
    if callee.uri and plan.is_own(callee.uri, request.resolved):
        return refuse(f"{callee.uri.host} is this gateway itself")
    undiallable = _undiallable(plan, callee.reading)
    if undiallable and (callee.uri is None or callee.trunk):
        return refuse(undiallable)
    facts = callee.facts(request.caller)
    looked_at: Sequence[int] = range(len(plan.routes)) if explain else plan.index.find(facts)
    for number in looked_at:
        rule = plan.routes[number]
        if differs := _differs(plan, rule, facts, request.at):
            if explain:
                steps.append(f"rule {rule.name}: no, {_why_not(differs, rule.match, request.caller)}")
            continue
        if rule.refuse is not None:
            steps.append(f"rule {rule.name}: matches and refuses")
            return refuse(rule.refuse, rule.name)
        steps.append(f"rule {rule.name}: matches, via {', '.join(rule.via)}")
        if undiallable and any(via in plan.trunks for via in rule.via):
            return refuse(undiallable, rule.name)
        targets = tuple(_target(plan, rule, via, callee) for via in rule.via)
        for via, target in zip(rule.via, targets, strict=True):
            if isinstance(target, _No):
                return refuse(f"via {via}: {target.reason}", rule.name)
        plain = tuple(None if target is None else str(target) for target in targets)
        steps.append(f"calls {plain[0] or 'the test line'}")
        withheld = callee.anonymous or (settings.anonymous if rule.anonymous is None else rule.anonymous) or False
        identities = tuple(_identity(plan, rule.policy, via, settings, withheld=withheld) for via in rule.via)
        if withheld:
            steps.append("the caller's name and number are withheld")
        limits = _limits(plan, request.caller, rule.via)
        return Route(callee.kind, callee.number, plain[0], rule.via, plain, rule.name, tuple(steps), identities, limits)
    return refuse("no rule allows this call")


def _read(plan: Plan, request: Request, settings: CallerSettings, steps: list[str]) -> _Callee | Refusal:
    """What the local part is, in the order of rules 1 and 2 of this module."""
    known = numbers.region_of(user=request.region or settings.region, number=settings.caller_id, file=plan.region)
    region = known.code
    listed = plan.emergency.numbers if plan.emergency else ()
    try:
        withheld = plan.withheld(request.local)
        contact = addresses.contact(request.local) if withheld is None else addresses.dialled(withheld)
        if isinstance(contact, Dialled) and withheld is None:  # a tel URI
            withheld = plan.withheld(contact.text)
            contact = contact if withheld is None else dataclasses.replace(contact, text=withheld)
    except AddressError as error:
        steps.append(f"refused: {error}")
        return Refusal(None, None, None, str(error), tuple(steps))
    match contact:
        case Name(text):
            steps.append(f"{text} is a name")
            return _Callee(Kind.NAME, name=text)
        case Dialled():
            reading = numbers.read(contact, region, listed)
            callee = _Callee(reading.kind, reading, anonymous=withheld is not None)
        case SipUri():
            callee = _read_uri(plan, request, contact, region, listed)
    steps.append(_description(callee, request.local, region))
    return callee


def _read_uri(plan: Plan, request: Request, uri: SipUri, region: str | None, listed: Collection[str]) -> _Callee:
    trunk = _trunk_at(plan, request, uri)
    user = addresses.folded(uri.user or "")
    withheld = plan.withheld(user)
    if withheld is not None:
        user = withheld
    try:
        dialled = addresses.dialled_in(dataclasses.replace(uri, user=user))
        reading = numbers.read(dialled, region, listed, at_a_host=True) if dialled else None
    except AddressError as error:
        reading = Reading(Kind.NUMBER, user.partition(";")[0], problem=str(error))
    if reading:
        return _Callee(reading.kind, reading, uri, trunk, anonymous=withheld is not None)
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


def _emergency(
    plan: Plan, request: Request, settings: CallerSettings, reading: Reading, steps: list[str]
) -> Route | Refusal:
    """Emergency calls: nothing but [emergency] and the caller's domain has a say, no limit and no wish for privacy."""
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
    # Whoever takes the call rings back the user himself where he has a number.
    reachable = dataclasses.replace(settings, caller_id=settings.caller_id or policy.callback)
    identities = tuple(_identity(plan, None, via, reachable, withheld=False) for via in policy.via)
    callback = reachable.caller_id or next(
        (plan.trunks[via].from_ for via in policy.via if plan.trunks[via].from_), None
    )
    return Route(
        Kind.EMERGENCY, None, targets[0], policy.via, targets, "emergency", tuple(steps), identities, emergency=True,
        geolocation=pidf_lo(policy.location, f"pres:{request.caller}") if policy.location else None, callback=callback,
    )  # fmt: skip


def _policy(plan: Plan, of_rule: str | None, trunk: Trunk) -> Policy:
    return plan.policies.get(of_rule or trunk.policy or "", _PLAIN)


def _identity(plan: Plan, of_rule: str | None, via: str, settings: CallerSettings, *, withheld: bool) -> Identity:
    """Who a via is told that calls. Numbers and P-Asserted-Identity are for trunks (RFC 3325 §5)."""
    trunk = plan.trunks.get(via)
    if trunk is None:
        return Identity(display="" if withheld else settings.display or "", anonymous=withheld)
    policy = _policy(plan, of_rule, trunk)
    number = settings.caller_id or trunk.from_
    # A trunk has to know who calls when From does not say it (RFC 3325 §9.1).
    asserted = policy.asserted or (policy.from_ if withheld else None)
    return Identity(
        None if withheld else _spelled(plan, number, policy.from_, policy),
        "" if withheld else settings.display or "",
        _spelled(plan, number, asserted, policy) if asserted else None,
        withheld,
    )


def _spelled(plan: Plan, number: str | None, how: Format, policy: Policy) -> str | None:
    """A number in a policy's spelling; what is none, as the name of an account in a trunk's `from`, as it is."""
    if number is None or not (number.startswith("+") and number[1:].isdigit()):
        return number
    return spelled(number, how, policy.region or plan.region)


def _limits(plan: Plan, caller: str | None, ways: Collection[str]) -> tuple[Limit, ...]:
    """Whatever limits a call: its user's, the first [[limit]] that is for him, his groups' and its trunks'."""
    found: list[Limit] = []
    seen_user = False
    for rule, whom in zip(plan.limits, plan.limited, strict=True):
        if caller is None or (rule.user and seen_user) or not whom.match(caller):
            continue
        seen_user = seen_user or bool(rule.user)
        key = f"group {rule.group}" if rule.group else f"user {caller}"
        found.append(Limit(key, rule.concurrent, rule.per_minute, rule.longest))
    for via in dict.fromkeys(ways):
        trunk = plan.trunks.get(via)
        rules = [rule for rule in plan.limits if rule.trunk == via]
        if trunk and (rules or trunk.max_calls is not None):
            found.append(
                Limit(
                    f"trunk {via}",
                    _least([trunk.max_calls, *(rule.concurrent for rule in rules)]),
                    _least([rule.per_minute for rule in rules]),
                    _least([rule.longest for rule in rules]),
                )
            )
    return tuple(found)


_Number = TypeVar("_Number", int, float)


def _least(limits: Sequence[_Number | None]) -> _Number | None:
    return min((limit for limit in limits if limit is not None), default=None)


@dataclass(frozen=True, slots=True)
class _No:
    reason: str


def _target(plan: Plan, rule: Rule, via: str, callee: _Callee) -> SipUri | _No | None:
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
        number, user = callee.number, callee.reading.user
        if number is not None:
            policy = _policy(plan, rule.policy, trunk)
            extension = user.removeprefix(callee.reading.dial)
            user = spelled(number, policy.to, policy.region or plan.region) + extension
        return _at_trunk(trunk, user)
    return callee.uri or _at_trunk(trunk, callee.name)


def _at_trunk(trunk: Trunk, user: str) -> SipUri:
    parameters = tuple(
        pair for pair in trunk.proxy.parameters if pair[0] != "lr"
    )  # a Route's parameter, not a target's
    return dataclasses.replace(trunk.proxy, user=user, parameters=parameters, password=None, headers=())


def _differs(plan: Plan, rule: Rule, facts: Facts, at: datetime | None) -> str | None:
    """The condition that keeps a rule from matching; None when it matches."""
    match = rule.match
    if match.kind and facts.kind not in match.kind:
        return "kind"
    if match.name and not (facts.name is not None and match.names.match(facts.name)):
        return "name"
    if match.host and not (facts.host is not None and match.hosts.match(facts.host)):
        return "host"
    if match.user and not (facts.user is not None and match.users.match(facts.user)):
        return "user"
    if match.number and not (facts.number is not None and match.numbers.match(facts.number)):
        return "number"
    if match.regex and not any(regex.match(facts.text or "") for regex in match.regex):
        return "regex"
    if match.country and not any(country in match.country for country in facts.countries):
        return "country"
    if match.type and not any(type_ in match.type for type_ in facts.types):
        return "type"
    # Without a clock what is closed at night stays closed: refusals hold, ways do not.
    if match.hours and not (match.hours.contain(at) if at else rule.refuse is not None):
        return "hours"
    return None if plan.may(match, facts.caller or "") else "from"


def _why_not(differs: str, match: Match, caller: str) -> str:
    match differs:
        case "kind":
            return f"it is for kind {' or '.join(match.kind)}"
        case "country":
            return f"the country is not {' or '.join(match.country)}"
        case "type":
            return f"the type is not {' or '.join(match.type)}"
        case "hours":
            return f"it is for {match.hours.text if match.hours else ''}"
        case "from":
            return f"{caller} is not among its callers"
        case "user":
            return "the user part differs"
        case "regex":
            return "the regular expression does not match"
    return f"the {differs} differs"


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


def inbound(plan: Plan, call: Inbound, *, explain: bool = False) -> InboundRoute | Refusal:
    """Decides about a call from SIP; never raises for what a peer sent. `explain` as in route()."""
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

    looked_at: Sequence[int] = range(len(plan.inbound))
    if not explain:
        looked_at = plan.inbound_index.find(Facts(number=number, user=shown))
    for rule in (plan.inbound[index] for index in looked_at):
        why_not, captured = _inbound_mismatch(rule.match, call.trunk, shown, number)
        if why_not:
            if explain:
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
        limits = _limits(plan, None, (call.trunk,) if call.trunk else ())
        return InboundRoute(to, rule.ring, rule.name, tuple(steps), number, limits)
    return refuse("nobody is called by this name or number")


def _inbound_mismatch(match: InboundMatch, trunk: str | None, user: str, number: str | None) -> tuple[str, str]:
    """Why a rule is not for this call ("" when it is), and what {user} stands for."""
    if trunk is None and not match.any_source:
        return "it is for calls from trunks", ""
    if match.trunk and trunk not in match.trunk:
        return f"it is for calls from {' or '.join(match.trunk)}", ""
    if match.number and not (number and any(stands_for(pattern, number) is not None for pattern in match.number)):
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
    try:
        dialled = addresses.dialled_in(uri)
    except AddressError:
        return None
    return numbers.read(dialled, region).number if dialled else None


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
