"""What becomes of a call: who may send whom elsewhere, at whose cost, and what counts against whose limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest

from gateway.accounts import Accounts
from gateway.addresses import SipUri
from gateway.bridge import Bridge
from gateway.call import effects as do
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.journal import MOST_ATTEMPTS
from gateway.call.machine import Call, State
from gateway.dialplan.fields import Failure
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import (
    CallerSettings,
    Emergency,
    InboundMatch,
    InboundRule,
    LimitRule,
    Match,
    Plan,
    Rule,
    Trunk,
)
from gateway.line import NOBODY, Facts, Line
from gateway.routing import DIRECT, MOST_HOPS, RING_ON, TRUNK_FAILURES, Limits, NotSent, Routing
from gateway.session.policy import Policy, Towards, Transcode
from gateway.sip.overload import Source, Standing
from tests.support import FakeEngine, FakeLeg
from tests.till import Till, books, one_call

JULIET, NURSE = "juliet@shakespeare.lit", "nurse@shakespeare.lit"
PLAN = Plan(
    users=("shakespeare.lit",),
    own=frozenset({"sip.example.com"}),
    region="US",
    trunks={
        "carrier": Trunk("carrier", SipUri.parse("sip:192.0.2.5"), codecs=("PCMU",)),
        "closed": Trunk("closed", SipUri.parse("sip:192.0.2.6"), transfers=False),
    },
    routes=(
        Rule("premium", Match(kind=(Kind.NUMBER,), type=("premium_rate",)), refuse="premium numbers are not allowed"),
        Rule("numbers", Match(kind=(Kind.NUMBER,)), ("carrier",), early_media=True),
        Rule("closed", Match(kind=(Kind.URI,), host=("closed.lit",)), ("closed",)),
        Rule("friends", Match(kind=(Kind.URI,), host=("*.lit",)), ("direct",), transcode="prefer-opus"),
        Rule("trusting", Match(kind=(Kind.URI,), host=("friend.example",)), ("direct",), transfers=True),
        Rule("test line", Match(name=("echo",)), ("echo",)),
    ),
    inbound=(InboundRule("nurse", InboundMatch(number=("+12025550100",)), (NURSE,)),),
    limits=(LimitRule(user=("nurse@shakespeare.lit",), concurrent=1, per_minute=1, longest=60.0),),
)


class Scene:
    """A routing room whose clocks stand still, and calls for it."""

    def __init__(self, plan: Plan = PLAN, direct: Policy = DIRECT) -> None:
        self.names: dict[str, frozenset[str]] = {}
        self.draw = 0.0
        self.till = Till()
        self.accounts = Accounts(self.till)
        self.routing = Routing(
            plan,
            sip_domain="sip.example.com",
            limits=Limits(),
            direct=direct,
            look_up=self.look_up,
            accounts=self.accounts,
            now=lambda: 5.0,
            unix_now=lambda: 1_000_000.0,
            draw=lambda: self.draw,
        )

    async def look_up(self, uri: SipUri) -> frozenset[str]:
        return self.names.get(uri.host, frozenset())

    def line(self, caller: str, callee: str, call: str = "c1") -> Line:
        facts = Facts("outbound", caller, callee)
        bridge = Bridge(cast(Any, FakeEngine()), call, Towards.XMPP)
        return Line(call, Call(), FakeLeg(), bridge, facts, self.routing.plan, payer=caller)

    async def routed(self, callee: str, caller: str = JULIET, call: str = "c1") -> tuple[Line, ev.Event]:
        line = self.line(caller, callee, call)
        return line, await self.routing.offer_from_user(
            line, None, await self.routing.decide(line.plan, caller, callee)
        )


async def test_a_rule_says_whether_the_caller_hears_what_comes_before_the_answer() -> None:
    _, offered = await Scene().routed("+12025550123")
    assert isinstance(offered, ev.Offered)
    assert [to.early for stage in offered.stages for to in stage] == [True]


async def test_a_rules_word_about_transcoding_holds_for_direct_calls_too() -> None:
    scene = Scene()
    line, _ = await scene.routed("romeo%montague.lit")
    policy = scene.routing.policy(line, Destination("direct", "sip:romeo@montague.lit"))
    assert policy.transcode is Transcode.PREFER_OPUS


async def test_a_trunk_may_send_a_user_elsewhere_as_the_users_own_call() -> None:
    scene = Scene()
    line, _ = await scene.routed("+12025550123")
    stages = await scene.routing.elsewhere(line, "carrier", ("sip:+12025550177@192.0.2.5",))
    assert stages == ((Destination("carrier", "sip:+12025550177@192.0.2.5", None, early=True),),)


async def test_nobody_is_sent_to_a_number_that_his_rules_refuse() -> None:
    scene = Scene()
    line, _ = await scene.routed("+12025550123")
    for target in ("sip:+19005550123@192.0.2.5", "tel:+19005550123", "sip:+19005550123@premium.example"):
        refused = await scene.routing.elsewhere(line, "carrier", (target,))
        assert refused == NotSent("premium numbers are not allowed")


async def test_a_direct_peer_sends_nobody_elsewhere_unless_the_rule_says_so() -> None:
    scene = Scene()
    line, _ = await scene.routed("romeo%montague.lit")
    assert isinstance(await scene.routing.elsewhere(line, "direct", ("sip:romeo@verona.lit",)), NotSent)
    trusting, _ = await scene.routed("romeo%friend.example")
    assert not isinstance(await scene.routing.elsewhere(trusting, "direct", ("sip:romeo@verona.lit",)), NotSent)


async def test_a_trunk_that_may_not_transfer_sends_nobody_elsewhere() -> None:
    scene = Scene()
    line, _ = await scene.routed("romeo%closed.lit")
    assert isinstance(await scene.routing.elsewhere(line, "closed", ("sip:romeo@verona.lit",)), NotSent)


async def test_a_call_is_sent_elsewhere_five_times_and_no_more() -> None:
    scene = Scene()
    line, _ = await scene.routed("+12025550123")
    for _ in range(MOST_HOPS):
        assert not isinstance(await scene.routing.elsewhere(line, "carrier", ("tel:+12025550177",)), NotSent)
    assert isinstance(await scene.routing.elsewhere(line, "carrier", ("tel:+12025550177",)), NotSent)


async def test_a_transfer_counts_as_one_more_beginning_and_not_as_one_more_call_at_a_time() -> None:
    scene = Scene(replace(PLAN, limits=(LimitRule(user=(JULIET,), concurrent=1, per_minute=2),)))
    line, offered = await scene.routed("+12025550123")
    assert isinstance(offered, ev.Offered)
    assert not isinstance(await scene.routing.elsewhere(line, "carrier", ("tel:+12025550177",)), NotSent)
    refused = await scene.routing.elsewhere(line, "carrier", ("tel:+12025550178",))
    assert refused == NotSent(f"user {JULIET}: no more than 2 calls a minute")
    assert scene.routing.book.in_use(f"user {JULIET}") == 1
    scene.routing.over(line)
    assert len(scene.routing.book) == 0


async def test_a_transfer_to_one_of_our_own_numbers_rings_its_user() -> None:
    scene = Scene()
    line, _ = await scene.routed("+12025550123")
    stages = await scene.routing.elsewhere(line, "carrier", ("sip:+12025550100@sip.example.com",))
    assert stages == ((Destination("xmpp", NURSE, 60.0),),)


async def test_a_call_is_replaced_only_at_the_trunk_that_asks_for_it() -> None:
    scene = Scene()
    line, _ = await scene.routed("+12025550123")
    stages = await scene.routing.elsewhere(line, "carrier", ("tel:+12025550177",), "abc;to-tag=1;from-tag=2")
    assert not isinstance(stages, NotSent)
    assert dict(line.headers[stages[0][0]])["Replaces"] == "abc;to-tag=1;from-tag=2"
    refused = await scene.routing.elsewhere(line, "carrier", ("sip:romeo@verona.lit",), "abc;to-tag=1;from-tag=2")
    assert isinstance(refused, NotSent)


async def test_what_cannot_be_read_leads_nowhere_and_the_next_target_is_tried() -> None:
    scene = Scene()
    line, _ = await scene.routed("+12025550123")
    assert isinstance(await scene.routing.elsewhere(line, "carrier", ("http://nowhere",)), NotSent)
    assert not isinstance(await scene.routing.elsewhere(line, "carrier", ("x", "tel:+12025550177")), NotSent)
    assert isinstance(await scene.routing.elsewhere(line, "carrier", ("sip:echo@sip.example.com",)), NotSent)


async def test_a_user_with_as_many_calls_as_he_may_have_is_busy_and_another_begins_none_of_his() -> None:
    scene = Scene()
    first, second = scene.line(JULIET, "", "c1"), scene.line(JULIET, "", "c2")
    to = Destination("xmpp", NURSE)
    assert scene.routing.attempt_refused(first, 1, to) is None
    refused = scene.routing.attempt_refused(second, 1, to)
    assert refused is not None
    assert refused.cause is Cause.BUSY
    scene.routing.attempt_over(first, 1)
    # His one beginning a minute is his own: others' calls do not use it up.
    assert scene.routing.attempt_refused(second, 1, to) is None
    _, offered = await scene.routed("+12025550123", NURSE, "c3")
    assert isinstance(offered, ev.Refused)
    scene.routing.attempt_over(second, 1)
    _, offered = await scene.routed("+12025550123", NURSE, "c4")
    assert isinstance(offered, ev.Offered)


async def test_a_stranger_does_not_learn_that_a_user_talks() -> None:
    scene = Scene()
    first, second = scene.line("x", "", "c1"), scene.line("x", "", "c2")
    second.quiet = True
    scene.routing.attempt_refused(first, 1, Destination("xmpp", NURSE))
    refused = scene.routing.attempt_refused(second, 1, Destination("xmpp", NURSE))
    assert refused is not None
    assert (refused.cause, refused.text) == (Cause.CONGESTION, "")


def test_who_may_have_video_is_known_without_a_call() -> None:
    routing = Scene().routing
    assert not routing.has_video(JULIET, "+12025550123")
    able = replace(PLAN, trunks={**PLAN.trunks, "carrier": replace(PLAN.trunks["carrier"], video=True)})
    routing = Scene(able).routing
    assert routing.has_video(JULIET, "+12025550123")
    assert not routing.has_video(JULIET, "+19005550123")  # refused
    assert not routing.has_video(JULIET, "romeo%friend.example")  # no trunk's
    assert not routing.has_video("tybalt@elsewhere.example", "+12025550123")


def test_a_trunk_with_video_has_it_in_its_policy_and_addresses_have_it_by_the_configuration() -> None:
    able = replace(PLAN, trunks={**PLAN.trunks, "carrier": replace(PLAN.trunks["carrier"], video=True)})
    scene = Scene(able, direct=replace(DIRECT, video=True))
    line = scene.line(JULIET, "", "c1")
    found = {via: scene.routing.policy(line, Destination(via, "")).video for via in ("carrier", "closed", "direct")}
    assert found == {"carrier": True, "closed": False, "direct": True}
    assert scene.routing.has_video(JULIET, "romeo%friend.example")


def test_who_may_call_what_is_known_without_a_call() -> None:
    routing = Scene().routing
    assert routing.may_call(JULIET, "+12025550123")
    assert not routing.may_call(JULIET, "+19005550123")
    assert not routing.may_call("tybalt@elsewhere.example", "+12025550123")
    assert routing.may_dial(JULIET)
    assert not routing.may_dial("tybalt@elsewhere.example")
    only_echo = replace(PLAN, routes=(Rule("test line", Match(name=("echo",)), ("echo",)),))
    assert not Scene(only_echo).routing.may_dial(JULIET)


def test_who_sends_something_new_is_a_trunk_a_guest_or_a_stranger() -> None:
    carrier, somebody = Source("192.0.2.5", 5060, "UDP"), Source("198.51.100.66", 5061, "TLS", ("sbc.carrier.example",))
    assert Scene().routing.standing(carrier) is Standing.TRUNK
    assert Scene().routing.standing(somebody) is Standing.STRANGER
    anybody = replace(PLAN, inbound=(InboundRule("any", InboundMatch(any_source=True), (NURSE,)),))
    assert Scene(anybody).routing.standing(somebody) is Standing.GUEST
    named = replace(PLAN, trunks={"carrier": replace(PLAN.trunks["carrier"], tls_names=("sbc.carrier.example",))})
    assert Scene(named).routing.standing(somebody) is Standing.TRUNK


def test_a_trunk_is_who_knows_its_password_wherever_he_is() -> None:
    trunk = replace(PLAN.trunks["carrier"], inbound_username="capulet", inbound_password="poison")
    routing = Scene(replace(PLAN, trunks={"carrier": trunk})).routing
    assert routing.accounts() == {"capulet": "poison"}
    assert routing.trunk_at("198.51.100.200") is None
    assert routing.trunk_at("198.51.100.200", account="capulet") is routing.plan.trunks["carrier"]
    assert routing.trunk_at("198.51.100.200", account="montague") is None
    assert Scene().routing.accounts() == {}


async def test_a_call_keeps_the_plan_that_it_began_with() -> None:
    scene = Scene()
    line, _ = await scene.routed("+12025550123")
    scene.routing.plan = replace(PLAN, routes=())
    assert not isinstance(await scene.routing.elsewhere(line, "carrier", ("tel:+12025550177",)), NotSent)
    _, offered = await scene.routed("+12025550123", call="c2")
    assert isinstance(offered, ev.Refused)


async def test_a_trunk_that_is_known_to_be_down_is_asked_last() -> None:
    two = Rule("numbers", Match(kind=(Kind.NUMBER,)), ("closed", "carrier"))
    scene = Scene(replace(PLAN, routes=(two,)))
    scene.routing.is_down = lambda trunk: trunk == "closed"
    _, offered = await scene.routed("+12025550123")
    assert isinstance(offered, ev.Offered)
    assert [to.via for stage in offered.stages for to in stage] == ["carrier", "closed"]


TWO = Rule("numbers", Match(kind=(Kind.NUMBER,)), ("closed", "carrier"))


async def test_a_rule_says_which_causes_lead_to_the_next_trunk() -> None:
    async def leading(rule: Rule, callee: str = "+12025550123") -> frozenset[Cause]:
        plan = replace(PLAN, routes=(rule,), emergency=Emergency("route", ("carrier",)))
        _, offered = await Scene(plan).routed(callee)
        assert isinstance(offered, ev.Offered)
        return offered.advance_on

    assert await leading(TWO) == TRUNK_FAILURES
    assert await leading(replace(TWO, failover=("busy", "timeout"))) == {Cause.BUSY, Cause.TIMEOUT}
    assert await leading(replace(TWO, failover=())) == frozenset()
    assert await leading(replace(TWO, failover=()), "911") == RING_ON, "for help every trunk is asked"


def test_every_cause_that_a_dialplan_may_name_is_one() -> None:
    assert set(get_args(Failure)) <= {cause.label for cause in Cause}
    assert {cause.label for cause in TRUNK_FAILURES} <= set(get_args(Failure))


async def test_calls_are_spread_over_trunks_by_weight() -> None:
    scene = Scene(replace(PLAN, routes=(replace(TWO, weights=(70, 30)),)))
    firsts = []
    for draw in (0.1, 0.69, 0.71, 0.9):
        scene.draw = draw
        _, offered = await scene.routed("+12025550123", call=f"c{draw}")
        assert isinstance(offered, ev.Offered)
        firsts.append(offered.stages[0][0].via)
    assert firsts == ["closed", "closed", "carrier", "carrier"]


async def test_each_via_has_the_time_that_its_rule_says_and_then_the_next_one_is_asked() -> None:
    scene = Scene(replace(PLAN, routes=(replace(TWO, ring_seconds=20.0),)))
    line, offered = await scene.routed("+12025550123")
    asked = [effect for effect in line.machine.handle(offered, 0.0) if isinstance(effect, do.PrepareOffer)]
    assert ([each.destination.via for each in asked], line.machine.deadline) == (["closed"], 20.0)
    asked = [effect for effect in line.machine.handle(ev.TimedOut(), 20.0) if isinstance(effect, do.PrepareOffer)]
    assert ([each.destination.via for each in asked], line.machine.deadline) == (["carrier"], 40.0)
    line.machine.handle(ev.TimedOut(), 40.0)
    assert line.machine.state is State.ENDED


async def test_a_caller_who_gave_up_before_he_was_routed_has_no_call_again() -> None:
    scene = Scene(replace(PLAN, routes=(replace(TWO, ring_seconds=20.0),)))
    line = scene.line(JULIET, "+12025550123")
    outcome = await scene.routing.decide(line.plan, JULIET, "+12025550123")
    line.machine.handle(ev.HungUp(Leg.CALLER, Cause.CANCELLED), 0.0)
    await scene.routing.offer_from_user(line, None, outcome)
    assert line.machine.state is State.ENDED


async def test_a_call_lasts_as_long_as_its_rule_says() -> None:
    scene = Scene(replace(PLAN, routes=(replace(TWO, longest=90.0),)))
    _, offered = await scene.routed("+12025550123")
    assert isinstance(offered, ev.Offered)
    assert {to.talk for stage in offered.stages for to in stage} == {90.0}


def called(rule: InboundRule, caller: str = "", trunk: str | None = "carrier", **more: Any) -> tuple[Line, ev.Event]:
    scene = Scene(replace(PLAN, inbound=(rule,), limits=(), **more))
    line = scene.line("", "")
    line.contact = caller
    uri = SipUri.parse("sip:+12025550100@sip.example.com")
    incoming = cast(Any, SimpleNamespace(uri=uri, source=("203.0.113.9", 5060), session=None))
    return line, scene.routing.offer_from_sip(line, incoming, PLAN.trunks[trunk] if trunk else None)


def deadline(rule: InboundRule, trunk: str | None = "carrier", **more: Any) -> tuple[float | None, float]:
    """Until when the first users ring, and when the last have stopped."""
    line, offered = called(rule, trunk=trunk, **more)
    line.machine.handle(offered, 0.0)
    first = last = line.machine.deadline or 0.0
    while line.machine.state is not State.ENDED:
        last = line.machine.deadline or 0.0
        line.machine.handle(ev.TimedOut(), last)
    return first, last


def test_users_are_rung_as_long_as_the_rule_says_and_strangers_learn_nothing_by_it() -> None:
    one = InboundRule("r", InboundMatch(any_source=True), (NURSE,))
    both = replace(one, to=(NURSE, JULIET), ring="sequence")
    assert deadline(one) == (55.0, 55.0)
    assert deadline(replace(one, ring_seconds=20)) == (20.0, 20.0)
    assert deadline(replace(one, ring_seconds=600)) == (170.0, 170.0)
    assert deadline(one, callers={NURSE: CallerSettings(ring_seconds=30)}) == (30.0, 30.0)
    assert deadline(both) == (25.0, 50.0)
    assert deadline(replace(both, ring_seconds=20)) == (20.0, 40.0)
    assert deadline(replace(one, ring_seconds=20), None) == (55.0, 55.0)
    assert deadline(replace(both, ring_seconds=20), None) == (27.5, 55.0)


def test_a_trunk_is_told_of_a_rule_that_refuses_and_a_stranger_is_not() -> None:
    rule = InboundRule("no", InboundMatch(any_source=True, caller=("+44*", "*@evil.example")), refuse="no, thank you")
    assert called(rule, "+442079460018")[1] == ev.Refused(Cause.FORBIDDEN, "no, thank you")
    refused = called(rule, "+12025550123")[1]
    assert isinstance(refused, ev.Refused)
    assert refused.cause is Cause.NOT_FOUND
    for caller in ("romeo%evil.example", "romeo%montague.example"):
        offered = called(rule, caller, None)[1]
        assert isinstance(offered, ev.Offered)
        assert offered.stages == ((NOBODY,),)


def test_a_rule_for_calls_from_sip_says_when_media_is_transcoded() -> None:
    line, _ = called(InboundRule("r", InboundMatch(), (NURSE,), transcode="never"))
    assert line.transcode == "never"


def test_a_call_to_a_user_lasts_as_long_as_he_and_the_rule_say() -> None:
    rule = InboundRule("r", InboundMatch(), (NURSE, JULIET), longest=300)
    offered = called(rule, callers={NURSE: CallerSettings(longest=60)})[1]
    assert isinstance(offered, ev.Offered)
    assert [to.talk for to in offered.stages[0]] == [60, 300]


async def test_what_a_call_may_cost_is_booked_before_anybody_is_asked() -> None:
    scene = Scene()
    books(scene.routing, one_call())
    line, offered = await scene.routed("+12025550123")
    assert isinstance(offered, ev.Offered)
    assert [fare.key for fare in line.fares] == ["c1"]
    _, refused = await scene.routed("+12025550123", call="c2")
    assert refused == ev.Refused(Cause.EXHAUSTED, "abroad")
    assert scene.till.said == ["reserve 60", "reserve 60", "settle nothing"]


async def test_a_limit_that_refuses_a_call_books_nothing() -> None:
    scene = Scene(replace(PLAN, limits=(LimitRule(user=(JULIET,), concurrent=0),)))
    books(scene.routing, one_call())
    assert isinstance((await scene.routed("+12025550123"))[1], ev.Refused)
    assert scene.till.said == []


async def test_whoever_is_sent_elsewhere_pays_for_that_too_or_is_not_sent() -> None:
    scene = Scene()
    books(scene.routing, one_call())
    line, _ = await scene.routed("+12025550123")
    found = await scene.routing.elsewhere(line, "carrier", ["sip:+12025550177@192.0.2.5"])
    assert found == NotSent("the budget for such calls is used up (abroad)")
    assert len(line.fares) == 1
    books(scene.routing, replace(one_call(), claims=()))
    assert not isinstance(await scene.routing.elsewhere(line, "carrier", ["sip:+12025550177@192.0.2.5"]), NotSent)
    assert [fare.key for fare in line.fares] == ["c1", "c1/3"]


async def test_what_was_booked_for_somebody_who_cannot_be_replaced_is_given_back() -> None:
    scene = Scene()
    line, _ = await scene.routed("+12025550123")
    books(scene.routing, one_call())
    refused = await scene.routing.elsewhere(line, "carrier", ["sip:romeo@montague.lit"], "a;to-tag=b;from-tag=c")
    assert refused == NotSent("a call can be replaced only at the trunk that asks for it")
    assert (scene.till.said, line.fares) == (["reserve 60", "settle nothing"], [])


# --- ENUM

NUMBER = "+12025550123"
BY_ENUM = replace(
    PLAN,
    routes=(Rule("listed", Match(kind=(Kind.NUMBER,), from_=(JULIET,)), ("enum",)), *PLAN.routes),
    enum_suffixes=("e164.example",),
)


class Directory:
    """What ENUM has for numbers, and who asked."""

    def __init__(self, *uris: str, failure: str = "") -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self._found: tuple[SipUri, ...] | str = failure or tuple(map(SipUri.parse, uris))

    async def __call__(self, number: str, suffixes: Sequence[str]) -> tuple[SipUri, ...] | str:
        self.asked.append((number, tuple(suffixes)))
        return self._found


async def test_a_number_goes_where_enum_says() -> None:
    scene = Scene(BY_ENUM)
    scene.routing.ask_enum = directory = Directory("sip:a@friend.example")
    _, offered = await scene.routed(NUMBER)
    assert isinstance(offered, ev.Offered)
    assert offered.stages == ((Destination("direct", "sip:a@friend.example"),),)
    assert directory.asked == [(NUMBER, ("e164.example",))]


async def test_a_name_in_enum_that_is_a_trunks_is_not_called() -> None:
    scene = Scene(BY_ENUM)
    scene.names = {"cheap.example": frozenset({"192.0.2.5"})}
    scene.routing.ask_enum = Directory("sip:+19005550123@cheap.example")
    outcome = await scene.routing.decide(BY_ENUM, JULIET, NUMBER)
    assert (outcome.rule, getattr(outcome, "via", None)) == ("numbers", ("carrier",))
    assert any("cheap.example" in step and "which is called by number" in step for step in outcome.steps)


@pytest.mark.parametrize("directory", [Directory(), Directory(failure="nobody answered")])
async def test_without_an_answer_of_enum_the_next_rule_decides(directory: Directory) -> None:
    scene = Scene(BY_ENUM)
    scene.routing.ask_enum = directory
    assert (await scene.routing.decide(BY_ENUM, JULIET, NUMBER)).rule == "numbers"


async def test_a_gateway_without_dns_goes_on_without_enum() -> None:
    assert (await Scene(BY_ENUM).routing.decide(BY_ENUM, JULIET, NUMBER)).rule == "numbers"


@pytest.mark.parametrize(
    ("caller", "callee"), [(NURSE, NUMBER), (JULIET, "911"), (JULIET, "echo"), ("x@elsewhere.example", NUMBER)]
)
async def test_enum_is_asked_for_nobody_else(caller: str, callee: str) -> None:
    scene = Scene(BY_ENUM)
    scene.routing.ask_enum = directory = Directory("sip:a@friend.example")
    await scene.routing.decide(BY_ENUM, caller, callee)
    assert directory.asked == []


async def test_a_number_that_only_enum_may_have_can_be_called() -> None:
    scene = Scene(replace(BY_ENUM, routes=BY_ENUM.routes[:1]))
    assert scene.routing.may_call(JULIET, NUMBER)
    assert not scene.routing.may_call(NURSE, NUMBER)


@pytest.mark.parametrize(
    ("found", "version"),
    [({"192.0.2.1"}, 4), ({"2001:db8::1", "2001:db8::2"}, 6), ({"192.0.2.1", "2001:db8::1"}, None), (set(), None)],
)
async def test_a_destination_has_a_version_of_ip_where_it_has_not_both(found: set[str], version: int | None) -> None:
    scene = Scene()
    line = scene.line(JULIET, "+12025550123")
    scene.routing.whereabouts.addresses["carrier"] = frozenset(found)
    assert await scene.routing.ip_of(line, Destination("carrier", "sip:+12025550123@carrier.example")) == version
    scene.names["phone.example"] = frozenset(found)
    assert await scene.routing.ip_of(line, Destination("direct", "sip:romeo@phone.example")) == version
    assert await scene.routing.ip_of(line, Destination("xmpp", "juliet@shakespeare.lit")) is None


async def test_an_attempt_that_no_record_would_have_is_not_made_but_for_help() -> None:
    scene = Scene()
    line, _ = await scene.routed("+12025550123")
    to = Destination("carrier", "sip:+12025550123@192.0.2.5")
    assert scene.routing.attempt_refused(line, MOST_ATTEMPTS, to) is None
    refused = scene.routing.attempt_refused(line, MOST_ATTEMPTS + 1, to)
    assert refused == ev.OfferFailed(MOST_ATTEMPTS + 1, Cause.CONGESTION, "more than 200 attempts in one call")
