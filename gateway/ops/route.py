"""`gateway route`: what would become of a call, for people; nobody is called.

  1. +12025550123 is the number +12025550123, fixed_line_or_mobile, country US
  2. rule america: matches, via carrier, backup
  …
via carrier: sip:+12025550123@sbc.carrier.example as +12025550100, 0.012 EUR a minute
budget all: 10 calls an hour, for user juliet@shakespeare.lit
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace

from gateway import contacts
from gateway.addresses import SipUri
from gateway.dialplan import plan as dialplan
from gateway.dialplan.costs import in_words
from gateway.dialplan.naptr import Listed, Listing
from gateway.dialplan.plan import InboundRoute, Plan, Refusal, Request, Route
from gateway.dialplan.spending import amount, each
from gateway.errors import AddressError
from gateway.reach import Reach
from gateway.trunks import LookUp, Whereabouts

Enum = Callable[[str, Sequence[str]], Awaitable[tuple[SipUri, ...] | str]]


def outgoing(plan: Plan, request: Request) -> Route | Refusal:
    """A user's call, by what the dialplan knows without DNS."""
    return dialplan.route(plan, request, explain=True)


async def outgoing_by_dns(plan: Plan, request: Request, look_up: LookUp, enum: Enum) -> Route | Refusal:
    """The same with what DNS says, as for a call that is placed."""
    whereabouts = Whereabouts(plan.trunks.values, look_up)
    outcome = dialplan.route(plan, request, explain=True)
    try:
        uri = contacts.contact(request.local)
    except AddressError:
        uri = None
    if isinstance(outcome, Route) and not outcome.emergency and isinstance(uri, SipUri) and uri.scheme != "tel":
        resolved = await whereabouts.resolved(uri)
        request = replace(request, resolved=resolved, trunk_hosts=whereabouts.hosts)
        outcome = dialplan.route(plan, request, explain=True)
    if (number := outcome.ask) is not None:
        found = await enum(number, plan.enum_suffixes)
        if isinstance(found, str):
            listing = Listing(failure=found)
        else:
            listing = Listing(tuple(map(Listed, found, await asyncio.gather(*map(whereabouts.resolved, found)))))
        request = replace(request, enum={number: listing}, trunk_hosts=whereabouts.hosts)
        outcome = dialplan.route(plan, request, explain=True)
    return outcome


def calling(plan: Plan, caller: str, trunk: dialplan.Trunk | None) -> str:
    """The local part under which a caller from SIP appears: a number of the trunk's, user@host, a URI, or "anonymous".
    Raises AddressError.
    """
    if caller == "anonymous":
        return "anonymous%anonymous.invalid"
    if caller.lower().startswith(("sip:", "sips:", "tel:")):
        uri = SipUri.parse(caller)
    elif "@" in caller:
        uri = SipUri.parse(f"sip:{caller}")
    elif trunk is not None:
        uri = SipUri("sip", caller, trunk.proxy.host)
    else:
        raise AddressError(f"{caller!r} is no caller: whoever is no trunk's has a host, as user@host")
    return dialplan.caller_local(plan, uri, trunk)


def called(address: str, host: str) -> SipUri:
    """Whom SIP calls: a URI, or a user or number at our own host. Raises AddressError."""
    if address.lower().startswith(("sip:", "sips:", "tel:")):
        return SipUri.parse(address)
    return SipUri.parse(f"sip:{address}" if "@" in address else f"sip:{address}@{host}")


def reachable(outcome: Route | Refusal, allow: Sequence[str]) -> Route | Refusal:
    """The dialplan's word, after the policy that a call meets when it is placed: no direct call to an address that is
    not public (safety rule 3). What a name resolves to is not looked up here.
    """
    if isinstance(outcome, Refusal) or set(outcome.via) != {"direct"}:
        return outcome
    hosts = [SipUri.parse(target or "").host for target in outcome.targets]
    reach = Reach(allow)
    if any(not _is_address(host) or reach.permits(host) for host in hosts):
        return outcome
    reason = f"{hosts[0]} is no public address, and [media] allow does not name it"
    return Refusal(outcome.kind, outcome.number, outcome.rule, reason, (*outcome.steps, f"refused: {reason}"))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def lines(outcome: Route | InboundRoute | Refusal) -> Iterator[tuple[str, str]]:
    """What is printed, each line with its style."""
    for number, step in enumerate(outcome.steps, 1):
        yield f"{number:>3}. {step}", ""
    match outcome:
        case Refusal():
            yield f"refused: {outcome.reason}", "bold red"
        case InboundRoute():
            yield f"rings {', '.join(outcome.to)}", "bold green"
        case Route():
            yield from _ways(outcome)
    if not isinstance(outcome, Refusal):
        yield from _limits(outcome)
    if isinstance(outcome, Route):
        yield from _booked(outcome)
    if not isinstance(outcome, InboundRoute) and outcome.ask:
        yield f"DNS was not asked whether ENUM has {outcome.ask}: --dns does", "bold yellow"


def _ways(route: Route) -> Iterator[tuple[str, str]]:
    tariffs = route.booking.tariffs if route.booking else ()
    for number, (via, target, who) in enumerate(zip(route.via, route.targets, route.identities, strict=True)):
        shown = "without name and number" if who.anonymous else f"as {who.from_user}" if who.from_user else ""
        trusted = f", P-Asserted-Identity {who.asserted}" if who.asserted else ""
        tariff = tariffs[number] if tariffs else None
        price = f", {in_words(tariff)}" if tariff else ""
        yield f"via {via}: {target or 'the test line'} {shown}{trusted}".rstrip() + price, "bold green"


def _limits(outcome: Route | InboundRoute) -> Iterator[tuple[str, str]]:
    for limit in outcome.limits:
        parts = ((limit.concurrent, "at a time"), (limit.per_minute, "a minute"), (limit.longest, "seconds long"))
        yield f"limit of {limit.key}: {', '.join(f'{n:g} {what}' for n, what in parts if n is not None)}", ""


def _booked(route: Route) -> Iterator[tuple[str, str]]:
    for claim in route.booking.claims if route.booking else ():
        freezes = ", and freezes who uses it up" if claim.freeze else ""
        yield f"budget {claim.budget}: {amount(claim)} {each(claim.period)}, counted as {claim.key}{freezes}", ""
    for burst in route.booking.bursts if route.booking else ():
        yield f"burst {burst.name}: {burst.calls} calls within {burst.within} s, counted as {burst.key}", ""
