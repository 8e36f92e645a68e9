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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import contacts
from gateway.addresses import SipUri
from gateway.contacts import Dialled, Name
from gateway.dialplan import costs, numbers
from gateway.dialplan.booking import Tariff
from gateway.dialplan.callers import identity, limits, policy_of
from gateway.dialplan.compiled import Plan
from gateway.dialplan.direct import listed, odd_parameter, trunk_at
from gateway.dialplan.help import for_help
from gateway.dialplan.inbound import Inbound, caller_local, inbound, recorded
from gateway.dialplan.index import Facts
from gateway.dialplan.matching import differing, why_not
from gateway.dialplan.naptr import Listing
from gateway.dialplan.numbers import Kind, Reading, Region
from gateway.dialplan.outcomes import Identity, InboundRoute, Limit, Refusal, Route
from gateway.dialplan.patterns import stands_for
from gateway.dialplan.rules import (
    CallerSettings,
    Emergency,
    Example,
    Format,
    InboundMatch,
    InboundRule,
    LimitRule,
    Match,
    Policy,
    Rule,
    Trunk,
)
from gateway.dialplan.spelling import spelled
from gateway.dialplan.spending import booking, in_words
from gateway.dialplan.weights import drawn, shares
from gateway.errors import AddressError

__all__ = [
    "CallerSettings", "Emergency", "Example", "Format", "Identity", "Inbound", "InboundMatch", "InboundRoute",
    "InboundRule", "Kind", "Limit", "LimitRule", "Match", "Plan", "Policy", "Refusal", "Request", "Route", "Rule",
    "Trunk", "caller_local", "inbound", "limits", "mappable", "route", "stands_for",
]  # fmt: skip


def mappable(plan: Plan, local: str) -> bool:
    """Whether the local part of a contact names anything, whoever asks and whether or not he may call it."""
    withheld = plan.withheld(local)
    return contacts.mappable(local if withheld is None else withheld, plan.named)


# XMPP to SIP ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """A user (bare JID, as his server vouched for it) calls the contact with this local part.

    `resolved` is what the host of a SIP URI resolves to, `trunk_hosts` what the trunks' proxies do: names and addresses
    that the caller of route() has looked up. `draw` is a random number in [0, 1) for rules with weights; without it
    vias are in the order of their rule. `enum` has what ENUM says of numbers that it was asked for.
    """

    caller: str
    local: str
    region: str | None = None
    at: datetime | None = None
    resolved: frozenset[str] = frozenset()
    trunk_hosts: frozenset[str] = frozenset()
    draw: float | None = None
    enum: Mapping[str, Listing] | None = None


_NOWHERE = Region(None, "")


@dataclass(frozen=True, slots=True)
class _Callee:
    """What the local part turned out to be: a reading for what is dialled, a URI for what has a host, or both."""

    kind: Kind
    reading: Reading | None = None
    uri: SipUri | None = None
    trunk: str | None = None  # whose host the URI names, in words
    name: str = ""
    anonymous: bool = False  # dialled with the prefix for it
    region: Region = _NOWHERE  # where it was dialled

    @property
    def number(self) -> str | None:
        return self.reading.number if self.reading else None

    def facts(self, caller: str) -> Facts:
        """What rules can ask of this call."""
        reading, uri = self.reading, self.uri
        user = contacts.folded(uri.user or "") if uri else None
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

    ask: str | None = None

    def refuse(reason: str, rule: str | None = None, *, wanted: bool = False) -> Refusal:
        steps.append(f"refused: {reason}")
        return Refusal(callee.kind, callee.number, rule, reason, tuple(steps), wanted, ask)

    if callee.kind is Kind.EMERGENCY and callee.reading:
        return for_help(plan, request.caller, settings, callee.reading, callee.region, steps)
    if callee.uri and plan.is_own(callee.uri, request.resolved):
        return refuse(f"{callee.uri.host} is this gateway itself")
    undiallable = _undiallable(plan, callee.reading)
    if undiallable and (callee.uri is None or callee.trunk):
        return refuse(undiallable)
    facts = callee.facts(request.caller)
    looked_at: Sequence[int] = range(len(plan.routes)) if explain else plan.index.find(facts)
    for number in looked_at:
        rule = plan.routes[number]
        if differs := differing(plan, rule, facts, request.at):
            if explain:
                steps.append(f"rule {rule.name}: no, {why_not(differs, rule.match, request.caller)}")
            continue
        if rule.refuse is not None:
            steps.append(f"rule {rule.name}: matches and refuses")
            return refuse(rule.refuse, rule.name, wanted=True)
        vias = _ordered(rule, request.draw, steps)
        found: tuple[SipUri, ...] = ()
        if "enum" in vias:
            asked = _listed(plan, request, callee, steps)
            if isinstance(asked, _No):
                steps.append(f"ENUM: {asked.reason}")
                ask = asked.ask or ask
                if asked.failed and rule.enum_failure == "refuse":
                    return refuse(asked.reason, rule.name)
            else:
                found = asked
            if not found and not (vias := tuple(via for via in vias if via != "enum")):
                steps.append("the next rule")
                continue
        tariffs: tuple[Tariff | None, ...] = ()
        if plan.counts:
            ways = costs.ways(plan, rule, vias, callee.number, steps)
            if isinstance(ways, str):
                return refuse(ways, rule.name)
            vias, tariffs = ways.vias, ways.tariffs
        if undiallable and any(via in plan.trunks for via in vias):
            return refuse(undiallable, rule.name)
        targets: tuple[SipUri | _No | None, ...]
        if found:
            vias, tariffs, targets = _with_listed(plan, rule, vias, tariffs, found, callee)
        else:
            targets = tuple(_target(plan, rule, via, callee) for via in vias)
        for via, target in zip(vias, targets, strict=True):
            if isinstance(target, _No):
                return refuse(f"via {via}: {target.reason}", rule.name)
        plain = tuple(None if target is None else str(target) for target in targets)
        steps.append(f"calls {plain[0] or 'the test line'}")
        withheld = callee.anonymous or (settings.anonymous if rule.anonymous is None else rule.anonymous) or False
        identities = tuple(identity(plan, rule.policy, via, settings, withheld=withheld) for via in vias)
        if withheld:
            steps.append("the caller's name and number are withheld")
        counted = limits(plan, request.caller, vias, rule)
        booked = booking(plan, facts, vias, tariffs) if plan.counts else None
        if rule.record != "no":
            steps.append(recorded(rule.record))
        if booked:
            steps.extend(in_words(booked))
        return Route(
            callee.kind, callee.number, plain[0], vias, plain, rule.name, tuple(steps), identities, counted,
            early_media=rule.early_media, transcode=rule.transcode or settings.transcode,
            transfers=_transferring(plan, rule, vias), failover=rule.failover, ring_seconds=rule.ring_seconds,
            booking=booked, record=rule.record, ask=ask,
        )  # fmt: skip
    return refuse("no rule allows this call")


def _ordered(rule: Rule, draw: float | None, steps: list[str]) -> tuple[str, ...]:
    """The vias of a rule in the order in which they are asked, and what leads from one to the next."""
    vias = drawn(rule.via, rule.weights, draw) if rule.weights and draw is not None else rule.via
    steps.append(f"rule {rule.name}: matches, via {', '.join(vias)}")
    if rule.weights:
        how = "in their order, since nothing is drawn here" if draw is None else "drawn for this call"
        steps.append(f"asked first: {shares(rule.via, rule.weights)}; {how}")
    if rule.ring_seconds is not None:
        steps.append(f"{'each' if len(vias) > 1 else 'it'} has {rule.ring_seconds:g} s to be answered")
    if rule.failover is not None:
        steps.append(f"to the next one after: {', '.join(rule.failover) or 'nothing'}")
    return vias


def _transferring(plan: Plan, rule: Rule, vias: tuple[str, ...]) -> tuple[str, ...]:
    """The vias whose callees may send the caller elsewhere: trunks, unless it or they say no; others if it says so."""
    if rule.transfers is not None:
        return tuple(dict.fromkeys(vias)) if rule.transfers else ()
    return tuple(via for via in vias if via in plan.trunks and plan.trunks[via].transfers)


def _read(plan: Plan, request: Request, settings: CallerSettings, steps: list[str]) -> _Callee | Refusal:
    """What the local part is, in the order of rules 1 and 2 of this module."""
    own = plan.callers.get(request.caller)
    known = numbers.region_of(
        asked=request.region, user=own.region if own else None, groups=plan.regions_of(request.caller),
        number=settings.caller_id, file=plan.region,
    )  # fmt: skip
    region = known.code
    listed = plan.emergency.numbers if plan.emergency else ()
    try:
        withheld = plan.withheld(request.local)
        contact = contacts.contact(request.local) if withheld is None else contacts.dialled(withheld)
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
    steps.append(_description(callee, request.local, known))
    return dataclasses.replace(callee, region=known)


def _read_uri(plan: Plan, request: Request, uri: SipUri, region: str | None, listed: Collection[str]) -> _Callee:
    trunk = trunk_at(plan, uri, request.resolved, request.trunk_hosts)
    user = contacts.folded(uri.user or "")
    withheld = plan.withheld(user)
    if withheld is not None:
        user = withheld
    try:
        dialled = contacts.dialled_in(dataclasses.replace(uri, user=user))
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


def _description(callee: _Callee, local: str, region: Region) -> str:
    reading = callee.reading
    if reading is None:
        return f"{local} is the SIP URI {callee.uri}"
    place = f" (read as dialled in {region.code}, the region {region.source})" if region.code else ""
    if reading.number is None:
        foreign = ", of another country" if reading.foreign else ""
        return f"{local} is a call of kind {reading.kind}: {reading.dial}{foreign}{place}"
    what = "/".join(reading.types) if reading.assigned else "unassigned"
    return f"{local} is the number {reading.number}, {what}, country {reading.country or 'unknown'}{place}"


@dataclass(frozen=True, slots=True)
class _No:
    reason: str
    ask: str | None = None  # the number that ENUM would have to be asked for
    failed: bool = False  # it was, and nobody answered


def _listed(plan: Plan, request: Request, callee: _Callee, steps: list[str]) -> tuple[SipUri, ...] | _No:
    """What ENUM has for what is called."""
    number, reading = callee.number, callee.reading
    if number is None or reading is None or reading.user != reading.dial:
        return _No("it has numbers alone, in E.164 and without extensions")
    if request.enum is None or number not in request.enum:
        return _No(f"not asked for {number} here", ask=number)
    found = listed(plan, number, request.enum, request.trunk_hosts, steps)
    return _No(found, failed=True) if isinstance(found, str) else found


def _with_listed(
    plan: Plan,
    rule: Rule,
    vias: Sequence[str],
    tariffs: Sequence[Tariff | None],
    found: Sequence[SipUri],
    callee: _Callee,
) -> tuple[tuple[str, ...], tuple[Tariff | None, ...], tuple[SipUri | _No | None, ...]]:
    """The vias, what they cost and what each is asked for; what ENUM has is called directly, and costs nothing."""
    ways: list[tuple[str, Tariff | None, SipUri | _No | None]] = []
    for via, tariff in zip(vias, tariffs or [None] * len(vias), strict=True):
        if via == "enum":
            ways += (("direct", None, uri) for uri in found)
        else:
            ways.append((via, tariff, _target(plan, rule, via, callee)))
    return tuple(via for via, _, _ in ways), tuple(tariff for _, tariff, _ in ways), tuple(to for _, _, to in ways)


def _target(plan: Plan, rule: Rule, via: str, callee: _Callee) -> SipUri | _No | None:
    """What a via is asked for: numbers and names at a trunk's own host, everything else by its full URI."""
    if via == "echo":
        return None
    if via == "direct":
        if callee.uri is None:
            return _No("it has no host to go to")
        if callee.trunk:
            return _No(f"its host is {callee.trunk}, which is called by number")
        if bad := odd_parameter(callee.uri):
            return _No(f"the URI parameter {bad} is not allowed")
        return callee.uri
    trunk = plan.trunks[via]
    if callee.reading is not None:
        number, user = callee.number, callee.reading.user
        if number is not None:
            policy = policy_of(plan, rule.policy, trunk)
            extension = user.removeprefix(callee.reading.dial)
            place = policy.region or plan.region
            spelling = spelled(number, policy.to, place)
            if spelling is None:
                return _No(f"carriers in {place} have exit codes of their own, so {number} has no national spelling")
            user = spelling + extension
        return trunk.asked(user)
    if callee.uri is None and not any(map(str.isalpha, callee.name)):
        return _No(f"{callee.name} is neither a number nor a name")  # 911, has a pause behind it, and no letter
    return callee.uri or trunk.asked(callee.name)
