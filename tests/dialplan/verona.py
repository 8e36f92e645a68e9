"""A small plan that decisions are told by."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

from gateway.addresses import SipUri
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import (
    CallerSettings,
    Emergency,
    Format,
    InboundMatch,
    InboundRule,
    Match,
    Plan,
    Policy,
    Refusal,
    Request,
    Route,
    Rule,
    Trunk,
    route,
)

JULIET = "juliet@shakespeare.lit"
CARRIER = Trunk(
    "carrier",
    SipUri.parse("sip:sbc.carrier.example;transport=tls;lr"),
    allow=(ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("2001:db8::/64")),
)
BACKUP = Trunk("backup", SipUri.parse("sip:198.51.100.9:5080"))
PREMIUM = Rule("premium", Match(kind=(Kind.NUMBER,), type=("premium_rate",)), refuse="too dear")
AMERICA = Rule("america", Match(kind=(Kind.NUMBER,), country=("US", "+44")), via=("carrier", "backup"))
FRIENDS = Rule("friends", Match(kind=(Kind.URI,), host=("montague.example", "*.montague.example")), via=("direct",))
ECHO = Rule("test line", Match(kind=(Kind.NAME,), name=("echo",)), via=("echo",))
PLAN = Plan(
    users=("shakespeare.lit",),
    own=frozenset({"sip.example.com"}),
    endpoints=frozenset({("203.0.113.7", 5060), ("127.0.0.1", 5060)}),
    region="US",
    emergency=Emergency("route", ("carrier",)),
    groups={"office": ("nurse@shakespeare.lit", "*@verona.example")},
    trunks={"carrier": CARRIER, "backup": BACKUP},
    routes=(PREMIUM, AMERICA, FRIENDS, ECHO),
)


def with_rules(*rules: Rule, **changes: Any) -> Plan:
    return replace(PLAN, routes=rules, **changes)


def routed(local: str, plan: Plan = PLAN, caller: str = JULIET, **more: Any) -> Route:
    outcome = route(plan, Request(caller, local, **more))
    assert isinstance(outcome, Route), outcome
    return outcome


def refused(local: str, plan: Plan = PLAN, caller: str = JULIET, **more: Any) -> Refusal:
    outcome = route(plan, Request(caller, local, **more))
    assert isinstance(outcome, Refusal), outcome
    return outcome


INBOUND = replace(
    PLAN,
    inbound=(
        InboundRule("number", InboundMatch(number=("+12025550100", "+1303*")), (JULIET,)),
        InboundRule(
            "by address", InboundMatch(trunk=("carrier",), user=("*%shakespeare.lit",)), ("{user}@shakespeare.lit",)
        ),
        InboundRule(
            "nurse", InboundMatch(any_source=True, user=("nurse",)), ("nurse@shakespeare.lit", JULIET), "sequence"
        ),
        InboundRule("anything", InboundMatch(trunk=("backup",), user=("x*",)), ("{user}@elsewhere.example",)),
    ),
)

NATIONAL = Policy("national", "US", Format("national"), Format("international"), Format("e164"))
SPELLED = replace(
    PLAN,
    trunks={
        "carrier": replace(CARRIER, from_="+12025550100", policy="national"),
        "backup": replace(BACKUP, from_="+12025550101"),
    },
    policies={"national": NATIONAL, "nine": Policy("nine", None, Format(prefix="9"))},
    callers={
        JULIET: CallerSettings("+12025550199", "Juliet"),
        "@office": CallerSettings("+12025550150", "Capulet", anonymous=True),
    },
)

# In the words of a file: a trunk that charges by a table.
CHARGED = """\
[emergency]
action = "refuse"
[[trunk]]
name = "carrier"
proxy = "sip:192.0.2.1"
prices = "a"
[[prices]]
name = "a"
file = "a.csv"
currency = "EUR"
"""
