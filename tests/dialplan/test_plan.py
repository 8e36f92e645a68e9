"""Decisions, told by a small plan: who may call what, by which way, and who is rung."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.addresses import SipUri
from gateway.dialplan import plan as dialplan
from gateway.dialplan.hours import Hours
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import (
    CallerSettings,
    Emergency,
    Format,
    Identity,
    Inbound,
    InboundRoute,
    Limit,
    Match,
    Plan,
    Policy,
    Refusal,
    Request,
    Route,
    Rule,
    caller_local,
    inbound,
    mappable,
    route,
    stands_for,
)
from gateway.dialplan.regex import Regex
from tests.dialplan.made import CALLS, EMERGENCIES, LONDON, MATCHES, PLANS
from tests.dialplan.verona import AMERICA, CARRIER, INBOUND, JULIET, PLAN, PREMIUM, SPELLED, refused, routed, with_rules

# Where calls go ------------------------------------------------------------------------------------------------------


def test_a_number_goes_to_the_host_of_each_trunk_of_its_rule() -> None:
    found = routed("(202) 555-0123")
    assert (found.kind, found.number, found.rule, found.via) == (
        Kind.NUMBER,
        "+12025550123",
        "america",
        ("carrier", "backup"),
    )
    assert found.targets == (
        "sip:+12025550123@sbc.carrier.example;transport=tls",
        "sip:+12025550123@198.51.100.9:5080",
    )
    assert found.target == found.targets[0]


def test_a_sip_address_goes_to_its_own_host() -> None:
    found = routed(r"romeo%verona.montague.example\3a5062;transport=tcp")
    assert (found.kind, found.via, found.number) == (Kind.URI, ("direct",), None)
    assert found.target == "sip:romeo@verona.montague.example:5062;transport=tcp"


def test_a_sip_address_goes_through_a_trunk_as_a_whole() -> None:
    found = routed("romeo%elsewhere.example", with_rules(Rule("all", Match(), via=("backup",))))
    assert found.target == "sip:romeo@elsewhere.example"


def test_a_name_leads_to_the_test_line_or_to_its_namesake_at_a_trunk() -> None:
    assert routed("echo").targets == (None,)
    reception = Rule("pbx", Match(name=("reception",)), via=("backup",))
    assert routed("reception", with_rules(reception)).target == "sip:reception@198.51.100.9:5080"


def test_the_first_rule_that_matches_decides() -> None:
    assert refused("+19005550123").rule == "premium"
    later = with_rules(AMERICA, PREMIUM)
    assert routed("+19005550123", later).rule == "america"


def test_what_no_rule_matches_is_refused() -> None:
    outcome = refused("romeo%elsewhere.example")
    assert (outcome.kind, outcome.rule, outcome.reason) == (Kind.URI, None, "no rule allows this call")


def test_every_rule_that_was_looked_at_leaves_a_step() -> None:
    steps = route(PLAN, Request(JULIET, "romeo%montague.example"), explain=True).steps
    assert [step.split(":")[0] for step in steps] == [
        "romeo%montague.example is the SIP URI sip",
        "rule premium",
        "rule america",
        "rule friends",
        "calls sip",
    ]
    assert "kind number" in steps[1]


@pytest.mark.parametrize("local", ["a%%b", "+1", "", "@", "x" * 2000])
def test_what_names_nothing_is_refused_and_not_raised(local: str) -> None:
    assert refused(local).kind is None


@pytest.mark.parametrize(
    ("match", "local", "fits"),
    [
        (Match(), "echo", True),
        (Match(kind=(Kind.SHORT, Kind.NUMBER)), "411", True),
        (Match(kind=(Kind.NUMBER,)), "411", False),
        (Match(type=("mobile",)), "+12025550123", True),
        (Match(type=("fixed_line",)), "+12025550123", True),
        (Match(type=("toll_free", "mobile")), "+18005550199", True),
        (Match(type=("mobile",)), "+18005550199", False),
        (Match(type=("satellite",)), "+870773123456", True),
        (Match(type=("mobile",)), "+870773123456", False),
        (Match(country=("US",)), "+16135550123", False),
        (Match(country=("+1",)), "+16135550123", True),
        (Match(country=("US",)), "romeo%montague.example", False),
        (Match(number=("+1202*",)), "2025550123", True),
        (Match(number=("+1202*",)), "+13035550123", False),
        (Match(number=("4*",)), "411", True),
        (Match(number=("*",)), "echo", False),
        (Match(host=("*.example",)), "romeo%montague.example", True),
        (Match(host=("*.montague.example",)), "romeo%montague.example", False),
        (Match(host=("*",)), "echo", False),
        (Match(user=("r*o",)), "romeo%montague.example", True),
        (Match(user=("juliet",)), "romeo%montague.example", False),
        (Match(name=("ech*",)), "echo", True),
        (Match(name=("*",)), "411", False),
    ],
)
def test_a_rule_matches_what_it_says(match: Match, local: str, fits: bool) -> None:
    outcome = route(with_rules(Rule("it", match, via=("echo",))), Request(JULIET, local))
    assert isinstance(outcome, Route) is fits


def test_the_region_of_the_request_wins_over_the_plans() -> None:
    assert routed("02079460018", region="GB").number == "+442079460018"
    assert refused("02079460018").kind is Kind.NUMBER


@pytest.mark.parametrize(
    ("request_", "callers", "words"),
    [
        (Request(JULIET, "911", "GB"), {}, "GB, the region that was asked for"),
        (Request(JULIET, "911"), {JULIET: CallerSettings(region="GB")}, "GB, the region of the user"),
        (Request(JULIET, "911"), {"@office": CallerSettings(region="DE")}, "DE, the region of group office"),
        (Request(JULIET, "911"), {JULIET: CallerSettings("+442079460018")}, "GB, the region of +442079460018"),
        (Request(JULIET, "911"), {"@office": CallerSettings("+442079460018")}, "GB, the region of +442079460018"),
        (Request(JULIET, "911"), {}, "US, the region of [numbers]"),
    ],
)
def test_the_steps_say_whose_region_it_is(request_: Request, callers: dict[str, CallerSettings], words: str) -> None:
    outcome = route(replace(PLAN, callers=callers, groups={"office": (JULIET,)}), request_)
    assert f"(read as dialled in {words})" in outcome.steps[0]


def test_no_exit_code_is_guessed_for_a_national_number_of_another_country() -> None:
    policy = Policy("brazil", "BR", Format("national", "0"))
    plan = replace(PLAN, policies={"brazil": policy}, trunks={"carrier": replace(CARRIER, policy="brazil")})
    rules = (Rule("all", Match(), via=("carrier",)),)
    there = routed("+5511912345678", replace(plan, routes=rules))
    assert (there.target or "").startswith("sip:011912345678@")
    abroad = refused("+442079460018", replace(plan, routes=rules))
    assert abroad.rule == "all"
    assert "carriers in BR have exit codes of their own" in abroad.reason


def test_a_caller_without_a_national_spelling_is_told_in_e164() -> None:
    policy = Policy("brazil", "BR", from_=Format("national", "0"))
    plan = replace(
        PLAN, policies={"brazil": policy}, trunks={"carrier": replace(CARRIER, policy="brazil")},
        callers={JULIET: CallerSettings("+442079460018")}, routes=(Rule("all", Match(), via=("carrier",)),),
    )  # fmt: skip
    assert routed("+5511912345678", plan).identities[0].from_user == "+442079460018"


PLACED = replace(PLAN, emergency=Emergency("route", ("carrier",), location=(("country", "US"), ("A3", "Washington"))))


@pytest.mark.parametrize(
    ("settings", "placed"),
    [
        (CallerSettings(), True),
        (CallerSettings(region="US"), True),
        (CallerSettings(region="GB"), False),
        (CallerSettings("+442079460018"), True),  # a number says whose plan it is of, not where its user sits
    ],
)
def test_nobody_is_placed_where_he_is_said_not_to_be(settings: CallerSettings, placed: bool) -> None:
    call = routed("911", replace(PLACED, callers={JULIET: settings}))
    assert (call.geolocation is not None) is placed
    assert ("with the address of [emergency.location]" in call.steps) is placed
    assert ("without the address in US, since he is in GB" in call.steps) is not placed


@pytest.mark.parametrize(
    ("from_", "callback", "words"),
    [
        ("+12025550100", "+12025550100", "is called back at +12025550100"),
        ("verona", None, "cannot be called back: no number of his is known"),
        (None, None, "cannot be called back: no number of his is known"),
    ],
)
def test_only_numbers_are_called_back(from_: str | None, callback: str | None, words: str) -> None:
    call = routed("911", replace(PLAN, trunks={"carrier": replace(CARRIER, from_=from_)}))
    assert call.callback == callback
    assert words in call.steps


def test_unassigned_numbers_follow_the_policy() -> None:
    assert "not assigned" in refused("+441632960960").reason
    assert routed("+441632960960", replace(PLAN, route_unassigned=True)).rule == "america"


def test_a_number_that_cannot_be_read_is_refused_with_its_reason() -> None:
    assert "area code" in refused("5550123").reason


@pytest.mark.parametrize("local", ["911,", "*", "911,,1", "1,202,555,0123"])
def test_no_trunk_is_asked_for_what_is_neither_a_number_nor_a_name(local: str) -> None:
    outcome = refused(local, with_rules(Rule("all", Match(), via=("carrier",))))
    assert "neither a number nor a name" in outcome.reason
    assert routed("reception", with_rules(Rule("all", Match(), via=("carrier",)))).via == ("carrier",)


def test_direct_needs_a_host() -> None:
    outcome = refused("reception", with_rules(Rule("all", Match(), via=("direct",))))
    assert (outcome.rule, "no host" in outcome.reason) == ("all", True)


# Safety rule 1: who may call out -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "caller",
    ["tybalt@elsewhere.example", "juliet@shakespeare.lit.example", "shakespeare.lit", "juliet@sub.shakespeare.lit"],
)
@pytest.mark.parametrize("local", ["+12025550123", "romeo%montague.example", "echo", "911"])
def test_a_stranger_calls_nobody(caller: str, local: str) -> None:
    refused(local, caller=caller)


@pytest.mark.parametrize(
    ("callers", "caller", "may"),
    [
        (("*",), "tybalt@elsewhere.example", True),
        (("@office",), "nurse@shakespeare.lit", True),
        (("@office",), "benvolio@verona.example", True),
        (("@office",), JULIET, False),
        ((JULIET,), JULIET, True),
        (("*@shakespeare.lit",), JULIET, True),
        (("*@shakespeare.lit",), "x@y@shakespeare.lit.example", False),
        (("@nobody",), JULIET, True),
    ],
)
def test_a_rule_for_certain_callers_is_for_them_alone(callers: tuple[str, ...], caller: str, may: bool) -> None:
    plan = with_rules(Rule("it", Match(from_=callers), via=("echo",)), groups={**PLAN.groups, "nobody": ("juliet@*",)})
    assert isinstance(route(plan, Request(caller, "echo")), Route) is may


# Safety rule 2: one number, one set of rules -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "local",
    [
        "+19005550123",
        "+1 900 555 0123",
        "9005550123",
        "+19005550123%sbc.carrier.example",
        "+19005550123%SBC.Carrier.Example.",
        "+19005550123%198.51.100.9",
        r"+19005550123%198.51.100.9\3a5060",
        r"+19005550123%[\3a\3affff\3a198.51.100.9]",
        "9005550123%montague.example",
        "1-900-555-0123%anywhere.example",
        "+19005550123;ext=1%anywhere.example",
        "+１９００５５５０１２３%anywhere.example",
        r"tel\3a+1-900-555-0123",
    ],
)
def test_no_spelling_of_a_premium_number_leads_around_its_rule(local: str) -> None:
    everything = Rule("everything", Match(), via=("direct",))
    assert refused(local, with_rules(PREMIUM, everything)).rule == "premium"


@pytest.mark.parametrize(
    ("local", "more"),
    [
        ("romeo%sbc.carrier.example", {}),
        ("romeo%198.51.100.9", {}),
        ("romeo%192.0.2.77", {}),
        (r"romeo%[2001\3adb8\3a\3a5]", {}),
        ("romeo%alias.example", {"resolved": frozenset({"198.51.100.9"})}),
        ("romeo%alias.example", {"resolved": frozenset({"::ffff:198.51.100.9"})}),
        ("romeo%alias.example", {"resolved": frozenset({"203.0.113.99"}), "trunk_hosts": frozenset({"203.0.113.99"})}),
    ],
)
def test_a_trunk_takes_numbers_only_by_whatever_name(local: str, more: dict[str, Any]) -> None:
    outcome = refused(local, with_rules(Rule("everything", Match(), via=("direct",))), **more)
    assert (outcome.kind, "takes numbers only" in outcome.reason) == (Kind.NUMBER, True)


def test_a_number_at_a_trunks_host_is_not_called_directly() -> None:
    everything = with_rules(Rule("everything", Match(), via=("direct",)))
    assert "called by number" in refused("+12025550123%198.51.100.9", everything).reason
    assert routed("+12025550123%198.51.100.9").target == "sip:+12025550123@sbc.carrier.example;transport=tls"


def test_a_user_of_digits_can_be_called_at_his_host_by_a_rule_for_numbers() -> None:
    rule = Rule("iptel", Match(kind=(Kind.NUMBER, Kind.SHORT), host=("iptel.example",)), via=("direct",))
    assert routed("5550123%iptel.example", with_rules(rule)).target == "sip:5550123@iptel.example"
    assert routed("42%iptel.example", with_rules(rule)).target == "sip:42@iptel.example"
    assert refused("5550123", with_rules(rule)).rule is None
    trunk = replace(rule, via=("backup",))
    assert "area code" in refused("5550123%iptel.example", with_rules(trunk)).reason


def test_a_user_of_too_many_digits_is_no_way_out() -> None:
    plan = with_rules(Rule("everything", Match(), via=("backup",)))
    assert "32 digits" in refused("1" * 40 + "%anywhere.example", plan).reason


@pytest.mark.parametrize(
    ("local", "more"),
    [
        ("romeo%sip.example.com", {}),
        (r"romeo%sip.example.com\3a5070", {}),
        ("romeo%203.0.113.7", {}),
        (r"romeo%127.0.0.1\3a5060", {}),
        (r"romeo%[\3a\3affff\3a203.0.113.7]", {}),
        ("romeo%alias.example", {"resolved": frozenset({"203.0.113.7"})}),
        ("romeo%alias.example", {"resolved": frozenset({"sip.example.com"})}),
        ("+12025550123%sip.example.com", {}),
    ],
)
def test_we_never_dial_ourselves(local: str, more: dict[str, Any]) -> None:
    assert "this gateway itself" in refused(local, with_rules(Rule("all", Match(), via=("direct",))), **more).reason


def test_another_port_of_our_address_is_somebody_else() -> None:
    plan = with_rules(Rule("all", Match(), via=("direct",)))
    assert routed(r"romeo%127.0.0.1\3a5070", plan).target == "sip:romeo@127.0.0.1:5070"
    assert routed("romeo%203.0.113.7;transport=tls", plan).target == "sip:romeo@203.0.113.7;transport=tls"


@pytest.mark.parametrize("parameter", ["maddr=192.0.2.1", "lr", "method=bye", "ttl=255"])
def test_a_direct_call_goes_where_its_host_says(parameter: str) -> None:
    outcome = refused(f"romeo%montague.example;{parameter}")
    assert "is not allowed" in outcome.reason


# Emergency -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("local", ["911", "9-1-1", "+1911", "911%anywhere.example", "911;x=y%sip.example.com", "112"])
def test_an_emergency_call_goes_before_every_rule(local: str) -> None:
    plan = with_rules(Rule("no", Match(), refuse="no"))
    found = routed(local, plan)
    assert (found.kind, found.rule, found.via, found.number) == (Kind.EMERGENCY, "emergency", ("carrier",), None)
    assert (found.target or "").startswith(("sip:911@sbc.carrier", "sip:112@sbc.carrier"))


def test_emergency_calls_can_be_refused_at_once() -> None:
    outcome = refused("911", replace(PLAN, emergency=Emergency("refuse")))
    assert (outcome.rule, "use a telephone" in outcome.reason) == ("emergency", True)
    assert refused("911", replace(PLAN, emergency=None)).rule is None


def test_another_countrys_emergency_number_follows_the_policy() -> None:
    assert routed("999").target == "sip:999@sbc.carrier.example;transport=tls"
    strict = replace(PLAN, emergency=Emergency("route", ("carrier",), "refuse"))
    assert "another country" in refused("999", strict).reason
    assert routed("911", strict).kind is Kind.EMERGENCY


def test_an_extension_at_a_host_is_no_foreign_emergency() -> None:
    rule = Rule("pbx", Match(kind=(Kind.SHORT,), host=("pbx.example",)), via=("direct",))
    assert routed("110%pbx.example", with_rules(rule)).target == "sip:110@pbx.example"
    assert routed("110", with_rules(rule)).kind is Kind.EMERGENCY


@given(
    st.sampled_from(["911", "112", "+1911", "9-1-1", "0111911", "112", "+44999"]),
    st.sampled_from(["", "%anywhere.example", "%sbc.carrier.example", ";a=b%anywhere.example"]),
    st.lists(st.sampled_from([PREMIUM, AMERICA, Rule("all", Match(), via=("backup",))]), max_size=3),
)
def test_no_emergency_number_is_ever_routed_to_an_ordinary_trunk(text: str, host: str, rules: list[Rule]) -> None:
    assert routed(text + host, with_rules(*rules)).via == ("carrier",)


# What is there -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("local", "there"),
    [
        ("echo", True),
        ("Echo", True),
        ("nobody", False),
        ("+19005550123", True),
        ("romeo%elsewhere.example", True),
        ("911", True),
        ("a%%b", False),
        ("+1", False),
    ],
)
def test_an_address_is_mappable_whether_or_not_it_may_be_called(local: str, there: bool) -> None:
    assert mappable(PLAN, local) is there


def test_a_refused_name_and_a_rule_for_everything_name_nobody() -> None:
    plan = with_rules(Rule("no", Match(name=("tybalt",)), refuse="no"), Rule("all", Match(), via=("backup",)))
    assert not plan.named("tybalt")
    assert with_rules(Rule("all", Match(kind=(Kind.NAME,)), via=("backup",))).named("tybalt")


@pytest.mark.parametrize(
    ("pattern", "text", "captured"),
    [
        ("*", "", ""),
        ("*", "abc", "abc"),
        ("abc", "abc", "abc"),
        ("abc", "ab", None),
        ("a*c", "abbc", "bb"),
        ("a*a", "a", None),
        ("*%lit", "juliet%lit", "juliet"),
        ("*%*.lit", "juliet%a.b.lit", "juliet"),
        ("a*b*c", "a1b2c", "1"),
        ("a*b*c", "a1c2b", None),
        ("a*x*c", "a1b2c", None),
        ("**", "abc", ""),
    ],
)
def test_a_star_stands_for_any_text(pattern: str, text: str, captured: str | None) -> None:
    assert stands_for(pattern, text) == captured


def test_a_hostile_pattern_costs_no_more_than_its_length() -> None:
    assert stands_for("*a" * 500 + "b", "a" * 100_000) is None


PIECES = st.lists(
    st.one_of(
        st.text(max_size=8), st.sampled_from(["%", "@", ":", ";", "\\40", "\\3a", "911", "+1900", "sip:", "a.b", "*"])
    )
).map("".join)


@given(PIECES, PIECES)
def test_whatever_is_dialled_or_sent_is_decided_and_never_raised(one: str, two: str) -> None:
    open_to_all = replace(INBOUND, routes=(Rule("all", Match(from_=("*",)), via=("backup", "direct")),))
    for local in (one, f"{one}%{two}"):
        outcome = route(open_to_all, Request(JULIET, local))
        assert isinstance(outcome, Route | Refusal)
        assert mappable(open_to_all, local) in {True, False}
    for uri in (SipUri("sip", one or None, "h", parameters=(("x", two),)), SipUri("tel", one, "")):
        for trunk in (CARRIER, None):
            assert isinstance(inbound(open_to_all, Inbound(uri, trunk.name if trunk else None)), InboundRoute | Refusal)
            assert mappable(open_to_all, caller_local(open_to_all, uri, trunk))


def test_the_rooms_find_everything_in_one_place() -> None:
    assert set(dialplan.__all__) <= set(dir(dialplan))


# First match wins ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(PLANS, CALLS)
def test_the_index_and_a_look_at_every_rule_decide_alike(plan: Plan, call: Request) -> None:
    found, explained = route(plan, call), route(plan, call, explain=True)
    assert replace(found, steps=()) == replace(explained, steps=())


# What a few calls are, by hand: kind, number, text for a regex, user, host, name, types, countries.
BY_HAND = {
    "+12025550123": ("number", "+12025550123", "+12025550123", None, None, None, "fixed_line mobile", "US +1"),
    "2025550123": ("number", "+12025550123", "+12025550123", None, None, None, "fixed_line mobile", "US +1"),
    "+18005550199": ("number", "+18005550199", "+18005550199", None, None, None, "toll_free", "US +1"),
    "411": ("short", "411", "411", None, None, None, "", ""),
    "echo": ("name", None, "echo", None, None, "echo", "", ""),
    "romeo%montague.example": ("uri", None, "romeo@montague.example", "romeo", "montague.example", None, "", ""),
}


@pytest.mark.slow
@given(st.lists(MATCHES, max_size=6), st.sampled_from(sorted(BY_HAND)), st.sampled_from([JULIET, "x@verona.example"]))
def test_the_first_rule_that_matches_decides_whatever_stands_around_it(
    matches: list[Match], local: str, caller: str
) -> None:
    kind, number, text, user, host, name, types, countries = BY_HAND[local]
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday

    def glob(patterns: tuple[str, ...], value: str | None) -> bool:
        stars = (".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns)
        return not patterns or (value is not None and any(re.fullmatch(pattern, value) for pattern in stars))

    def matched(match: Match) -> bool:
        callers = tuple(p for f in match.from_ for p in (PLAN.groups.get(f[1:], ()) if f[0] == "@" else (f,)))
        return (
            (not match.kind or kind in match.kind)
            and glob(match.number, number)
            and glob(match.user, user)
            and glob(match.host, host)
            and glob(match.name, name)
            and (not match.regex or any(re.fullmatch(regex.pattern, text) for regex in match.regex))
            and (not match.type or bool(set(match.type) & set(types.split())))
            and (not match.country or bool(set(match.country) & set(countries.split())))
            and (not match.hours or match.hours.contain(noon))
            and (glob(callers, caller) and bool(callers) if match.from_ else caller.endswith("@shakespeare.lit"))
        )

    rules = [Rule(str(position), match, refuse="no") for position, match in enumerate(matches)]
    first = next((rule.name for rule in rules if matched(rule.match)), None)
    assert refused(local, with_rules(*rules), caller, at=noon).rule == first


@pytest.mark.slow
@given(PLANS, CALLS, st.sampled_from(EMERGENCIES), st.sampled_from(["", "%montague.example", "%198.51.100.9"]))
def test_no_emergency_call_ever_goes_another_way(plan: Plan, call: Request, number: str, host: str) -> None:
    found = route(replace(plan, region="US"), replace(call, local=number + host))
    assert found.kind is Kind.EMERGENCY
    if isinstance(found, Route):
        assert (found.via, found.emergency, found.limits, found.booking) == (("carrier",), True, (), None)
        assert (found.failover, found.ring_seconds, found.transcode) == (None, None, None)
        assert not any(identity.anonymous for identity in found.identities)


def test_a_decision_that_nobody_asked_to_explain_is_short() -> None:
    blocks = [Rule(f"b{n}", Match(number=(f"+1303{n:04}*",)), ("backup",)) for n in range(1000)]
    plan = with_rules(*blocks, AMERICA)
    request = Request(JULIET, "+12025550123")
    assert len(route(plan, request).steps) == 3
    assert len(route(plan, request, explain=True).steps) == 1003


# Hours and regular expressions ---------------------------------------------------------------------------------------


def test_hours_open_and_close_a_rule() -> None:
    day = Match(hours=Hours.parse(["Mon-Fri 08:00-18:00"], LONDON))
    plan = with_rules(Rule("day", day, ("echo",)), Rule("night", Match(), refuse="closed"))
    assert routed("echo", plan, at=datetime(2026, 11, 23, 9, tzinfo=UTC)).rule == "day"
    assert refused("echo", plan, at=datetime(2026, 11, 23, 19, tzinfo=UTC)).rule == "night"
    explained = route(plan, Request(JULIET, "echo", at=datetime(2026, 11, 23, 19, tzinfo=UTC)), explain=True)
    assert "rule day: no, it is for Mon-Fri 08:00-18:00" in explained.steps


def test_without_a_clock_what_may_be_closed_is_closed() -> None:
    day = Match(hours=Hours.parse(["Mon-Fri 08:00-18:00"], LONDON))
    assert refused("echo", with_rules(Rule("day", day, ("echo",)))).rule is None
    closed = with_rules(Rule("day", day, refuse="closed"), Rule("else", Match(), ("echo",)))
    assert refused("echo", closed).rule == "day"


@pytest.mark.parametrize(
    ("regex", "local"),
    [
        (r"\+1202\d{7}", "(202) 555-0123"),
        ("411", "411"),
        (r"(romeo|nurse)@.*\.example", "Romeo%Montague.example"),
        ("e?cho", "Echo"),
    ],
)
def test_an_expression_is_for_the_whole_of_what_is_called(regex: str, local: str) -> None:
    assert routed(local, with_rules(Rule("it", Match(regex=(Regex(regex),)), ("echo",)))).rule == "it"
    assert refused(local, with_rules(Rule("it", Match(regex=(Regex(regex + "x"),)), ("echo",)))).rule is None


# What goes along with an emergency call ------------------------------------------------------------------------------


def test_an_emergency_call_says_who_and_where() -> None:
    policy = Emergency("route", ("carrier", "backup"), callback="+12025550177", location=(("country", "US"),))
    plan = replace(SPELLED, emergency=policy)
    found = routed("911", plan)
    assert (found.emergency, found.callback) == (True, "+12025550199")
    assert found.identities[0] == Identity("12025550199", "Juliet", "+12025550199")
    assert "<ca:country>US</ca:country>" in (found.geolocation or "")
    assert f"pres:{JULIET}" in (found.geolocation or "")
    nurse = routed("911", plan, "nurse@shakespeare.lit")
    assert (nurse.callback, nurse.identities[0].anonymous) == ("+12025550150", False)
    assert routed("911", replace(plan, callers={})).callback == "+12025550177"


# Several ways --------------------------------------------------------------------------------------------------------

SPREAD = replace(AMERICA, weights=(70, 30), failover=("busy", "timeout"), ring_seconds=20, longest=600)


def test_vias_are_asked_in_the_order_that_was_drawn_each_with_its_own_target() -> None:
    plan = with_rules(SPREAD)
    first, second = routed("+12025550123", plan, draw=0.69), routed("+12025550123", plan, draw=0.7)
    assert (first.via, second.via) == (("carrier", "backup"), ("backup", "carrier"))
    assert second.targets == tuple(reversed(first.targets))
    assert second.target == second.targets[0]
    assert routed("+12025550123", plan).via == ("carrier", "backup"), "nothing is drawn for an explanation"


def test_weights_failover_and_ringing_are_explained() -> None:
    steps = routed("+12025550123", with_rules(SPREAD)).steps
    assert steps[1:5] == (
        "rule america: matches, via carrier, backup",
        "asked first: 70 % carrier, 30 % backup; in their order, since nothing is drawn here",
        "each has 20 s to be answered",
        "to the next one after: busy, timeout",
    )
    drawn = routed("+12025550123", with_rules(replace(SPREAD, failover=())), draw=0.9).steps
    assert drawn[1:3] == (
        "rule america: matches, via backup, carrier",
        "asked first: 70 % carrier, 30 % backup; drawn for this call",
    )
    assert drawn[4] == "to the next one after: nothing"


def test_a_rule_says_what_leads_on_and_how_long_its_calls_ring_and_last() -> None:
    found = routed("+12025550123", with_rules(SPREAD))
    assert (found.failover, found.ring_seconds) == (("busy", "timeout"), 20)
    assert found.limits == (Limit("rule america", longest=600),)
    plain = routed("+12025550123")
    assert (plain.failover, plain.ring_seconds, plain.limits) == (None, None, ())


def test_what_is_set_for_a_user_holds_where_his_rule_is_silent() -> None:
    plan = replace(PLAN, callers={JULIET: CallerSettings(longest=60, transcode="never", ring_seconds=9)})
    found = routed("+12025550123", plan)
    assert (found.transcode, found.ring_seconds) == ("never", None), "how long he is rung is for calls to him"
    assert found.limits == (Limit(f"user {JULIET}", longest=60),)
    ruled = routed("+12025550123", replace(plan, routes=(replace(AMERICA, transcode="prefer-opus"),)))
    assert ruled.transcode == "prefer-opus"
    assert routed("911", plan).limits == ()


def test_a_refusal_that_a_rule_wants_is_told_from_one_that_nobody_wrote() -> None:
    assert refused("+19005550123").wanted
    assert not refused("+442079460018", with_rules()).wanted


@given(st.lists(st.sampled_from(EMERGENCIES), min_size=1, max_size=3), st.floats(0, 1, exclude_max=True))
def test_no_draw_and_no_weight_leads_a_call_for_help_elsewhere(numbers: list[str], draw: float) -> None:
    plan = with_rules(replace(SPREAD, match=Match(), via=("backup", "carrier"), weights=(1, 0)))
    for number in numbers:
        assert routed(number, plan, draw=draw).via == ("carrier",)
