"""SIP addresses that are called at their own hosts: which of them may be, whoever named them, a user or ENUM."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from gateway import contacts
from gateway.addresses import SipUri
from gateway.dialplan import numbers
from gateway.dialplan.compiled import Plan, same
from gateway.dialplan.naptr import Listed, Listing
from gateway.dialplan.numbers import Kind
from gateway.errors import AddressError

# Parameters that may go out with a direct call. Others could send it elsewhere (maddr), bend the request (method, ttl)
# or the route (lr); RFC 3261 §19.1.1.
_PARAMETERS = frozenset({"transport", "user"})


def odd_parameter(uri: SipUri) -> str | None:
    """The first parameter that may not go out."""
    return next((name for name, _ in uri.parameters if name not in _PARAMETERS), None)


def trunk_at(plan: Plan, uri: SipUri, resolved: Collection[str], trunk_hosts: Collection[str]) -> str | None:
    """The trunk, or "a trunk", that this URI's host is or resolves to."""
    for host in (uri.host, *resolved):
        for trunk in plan.trunks.values():
            if same(host, (trunk.proxy.host,)):
                return f"trunk {trunk.name}"
        if same(host, trunk_hosts) or plan.trunk_of(host):
            return "a trunk"
    return None


def listed(
    plan: Plan, number: str, known: Mapping[str, Listing], trunk_hosts: Collection[str], steps: list[str]
) -> tuple[SipUri, ...] | str:
    """The addresses that ENUM has for a number and that may be called; a text where nobody knows of any."""
    listing = known[number]
    if listing.failure:
        return listing.failure
    found = []
    for each in listing.listed:
        if reason := _refused(plan, each, trunk_hosts):
            steps.append(f"without {each.uri}, which ENUM has: {reason}")
        else:
            found.append(each.uri)
    steps.append(f"ENUM has {', '.join(map(str, found)) or 'nothing that can be called'} for {number}")
    return tuple(found)


def _refused(plan: Plan, each: Listed, trunk_hosts: Collection[str]) -> str | None:
    """Why an address is not called that somebody put into DNS: what goes for any user's goes for it."""
    uri = each.uri
    if plan.is_own(uri, each.resolved):
        return f"{uri.host} is this gateway itself"
    if trunk := trunk_at(plan, uri, each.resolved, trunk_hosts):
        return f"its host is {trunk}, which is called by number"
    if name := odd_parameter(uri):
        return f"the URI parameter {name} is not allowed"
    try:
        dialled = contacts.dialled_in(dataclasses.replace(uri, user=contacts.folded(uri.user or "")))
    except AddressError:
        return None
    emergencies = plan.emergency.numbers if plan.emergency else ()
    if dialled and numbers.read(dialled, plan.region, emergencies, at_a_host=True).kind is Kind.EMERGENCY:
        return "it is an emergency number"
    return None
