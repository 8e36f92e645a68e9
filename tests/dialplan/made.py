"""Plans and calls made up at random, small enough to meet."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import strategies as st

from gateway.addresses import SipUri
from gateway.dialplan.booking import Period, Unit
from gateway.dialplan.hours import Hours, zone_of
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import Emergency, Match, Plan, Request, Rule, Trunk
from gateway.dialplan.regex import Regex
from gateway.dialplan.rules import Allowance, BudgetRule, BurstRule

LONDON = zone_of("Europe/London")
GROUPS = {"office": ("nurse@shakespeare.lit", "*@verona.example"), "nobody": ()}


def some(*values: object) -> st.SearchStrategy[tuple[object, ...]]:
    """Mostly no condition, as in most rules."""
    return st.one_of(st.just(()), st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True).map(tuple))


MATCHES = st.builds(
    Match,
    kind=some(Kind.NUMBER, Kind.SHORT, Kind.URI, Kind.NAME),
    country=some("US", "GB", "+1", "+44"),
    type=some("mobile", "fixed_line", "premium_rate", "toll_free"),
    number=some("+1*", "+1202*", "+12025550123", "*23", "4*", "+44*18", "*"),
    host=some("montague.example", "*.example", "*"),
    user=some("romeo", "r*", "*o", "*m*", "+1*"),
    name=some("echo", "e*", "*o"),
    from_=some("*", "@office", "@nobody", "juliet@shakespeare.lit", "*@shakespeare.lit"),
    regex=some(Regex(r"\+1202\d*"), Regex(r"(r|ech)o.*"), Regex(".*3"), Regex(r"[^+].*")),
    hours=st.sampled_from([None, None, Hours.parse(["Mon-Fri 08:00-18:00"], LONDON), Hours.parse(["Sun"], LONDON)]),
)
WAYS = st.sampled_from([("backup",), ("backup", "other"), ("direct",), ("echo",)])
RULES = st.lists(
    st.tuples(MATCHES, WAYS, st.booleans(), st.booleans()).map(
        lambda x: (
            Rule("", x[0], refuse="refused by a rule")
            if x[2]
            else Rule("", x[0], x[1], weights=(1, 2) if x[3] and len(x[1]) == 2 else (), failover=("busy",))
        )
    ),
    max_size=8,
).map(lambda rules: tuple(replace(rule, name=f"rule {number}") for number, rule in enumerate(rules)))
BUDGETS = st.lists(
    st.builds(
        BudgetRule,
        name=st.sampled_from(["all", "some"]),
        allowances=st.just((Allowance(Unit.CALLS, Period.HOUR, 1),)),
        match=MATCHES,
        user=some("*", "@office", "juliet@shakespeare.lit"),
        freeze=st.booleans(),
    ),
    max_size=2,
).map(tuple)
PLANS = st.builds(
    lambda routes, region, budgets: Plan(
        users=("shakespeare.lit",),
        own=frozenset({"sip.example.com"}),
        region=region,
        emergency=Emergency("route", ("carrier",)),
        groups=GROUPS,
        trunks={
            name: Trunk(name, SipUri.parse(f"sip:{name}.carrier.example")) for name in ("carrier", "backup", "other")
        },
        routes=routes,
        anonymous_prefix="*67",
        budgets=budgets,
        bursts=(BurstRule("any", 1, 3600, user=("*",)),) if budgets else (),
    ),
    RULES,
    st.sampled_from(["US", "GB", None]),
    BUDGETS,
)
EMERGENCIES = ("911", "112", "+1911", "9-1-1", "911#", "*67911", "*82911", "*31#911", "#31#112#", "+44999")
CALLS = st.builds(
    lambda caller, local, host, at, draw: Request(caller, local + host, at=at, draw=draw),
    st.sampled_from(["juliet@shakespeare.lit", "nurse@shakespeare.lit", "romeo@verona.example", "x@elsewhere.example"]),
    st.sampled_from(
        [
            *("+12025550123", "2025550123", "*672025550123", "+19005550123", "+442079460018", "+18005550199"),
            *("411", "romeo", "echo", "123", "+12", *EMERGENCIES),
        ]
    ),
    st.sampled_from(["", "", "%montague.example", "%backup.carrier.example"]),
    st.sampled_from([None, datetime(2026, 11, 23, 12, tzinfo=UTC), datetime(2026, 11, 22, 20, tzinfo=UTC)]),
    st.sampled_from([None, 0.0, 0.4, 0.999]),
)
