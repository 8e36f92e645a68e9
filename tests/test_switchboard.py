"""Whole calls through the switchboard, with fake legs and a fake engine: what each side hears, and what is recorded."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from gateway.addresses import SipUri
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.call.machine import State
from gateway.dialplan.hours import Hours, zone_of
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import (
    Emergency,
    LimitRule,
    Match,
    Plan,
    Rule,
)
from gateway.media import engine as media
from gateway.session.model import Codec, Profile, Session, Setup
from gateway.sip.telephony import OutgoingCall
from gateway.switchboard import Limits
from tests.board import DOMAIN, JULIET, NURSE, PLAN, Scene
from tests.support import OPUS, PCMA, PCMU, phone_session, webrtc_session


async def test_a_late_call_rings_is_asked_to_join_and_is_answered() -> None:
    scene = Scene()
    caller, admitted = scene.from_xmpp("romeo%montague.lit")
    callee = await scene.dialled()
    outgoing = callee.made_for[0]
    assert isinstance(outgoing, OutgoingCall)
    assert str(outgoing.target) == "sip:romeo@montague.lit"
    assert str(outgoing.from_uri) == f"sip:juliet%40shakespeare.lit@{DOMAIN}"
    assert caller.told == []
    callee.sink(ev.Ringing(1))
    assert caller.told == [("alert",)]
    callee.sink(ev.Answered(1, phone_session(PCMA)))
    assert caller.names() == ["alert", "ask"]
    admitted.sink(ev.CallerJoined(webrtc_session(OPUS, PCMA)))
    await scene.until(lambda: "answer" in caller.names())
    admitted.sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))
    assert callee.told[-1] == ("hang_up", Cause.NORMAL, "")
    record = await scene.ended()
    assert (record.direction, record.caller, record.dialled) == ("outbound", JULIET, "romeo%montague.lit")
    assert (record.cause, record.by, record.rule, record.via) == ("normal", "caller", "friends", "direct")
    assert record.answered is not None
    assert record.media["caller"]["received_packets"] == 1
    assert scene.board.live == 0
    assert scene.begun == ["outbound"]


async def test_a_call_that_is_over_leaves_memory_at_once_and_not_with_a_collection_of_garbage() -> None:
    scene = Scene()
    _, admitted = scene.from_xmpp("+12025550123", webrtc_session(OPUS, PCMU))
    callee = await scene.dialled()
    callee.sink(ev.Answered(1, phone_session(PCMU)))
    machine = weakref.ref(scene.board._lines[scene.call].machine)
    gc.disable()
    try:
        admitted.sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))
        await scene.ended()
        await scene.settled()
        assert machine() is None, "a leg knows whom to tell, and that is not the line that knows the leg"
    finally:
        gc.enable()


async def test_a_trunk_that_is_down_is_followed_by_the_next_and_its_media_is_given_back() -> None:
    scene = Scene()
    scene.from_xmpp("+12025550123", webrtc_session())
    first = await scene.dialled()
    first.sink(ev.HungUp(Leg.CALLEE, Cause.CONGESTION, 1, "503 Service Unavailable"))
    second = await scene.dialled(2)
    assert second.made_for[0].proxy == SipUri.parse("sip:sbc.backup.example")
    await scene.until(lambda: ("release", "callee1") in scene.engine.names())
    second.sink(ev.HungUp(Leg.CALLEE, Cause.BUSY, 2, "486 Busy Here"))
    record = await scene.ended()
    assert [(tried.via, tried.cause, tried.blame, tried.text) for tried in record.attempts] == [
        ("carrier", "congestion", "network", "503 Service Unavailable"),
        ("backup", "busy", "callee", "486 Busy Here"),
    ]


async def test_the_test_line_answers_without_any_sip() -> None:
    scene = Scene()
    caller, admitted = scene.from_xmpp("echo")
    await scene.until(lambda: caller.names() == ["ask"])
    admitted.sink(ev.CallerJoined(webrtc_session()))
    await scene.until(lambda: caller.names() == ["ask", "answer"])
    assert ("loop", "caller") in scene.engine.names()
    assert scene.callees == []
    admitted.sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))
    assert (await scene.ended()).direction == "test"


async def test_what_the_dialplan_refuses_is_refused_with_its_reason_and_costs_no_media() -> None:
    scene = Scene()
    caller, _ = scene.from_xmpp("romeo%elsewhere.example")
    record = await scene.ended()
    assert caller.names() == ["hang_up"]
    assert caller.told[0][1] is Cause.FORBIDDEN
    assert caller.told[0][2]
    assert record.cause == "forbidden"
    assert scene.engine.names() == [("release", None)]


async def test_a_name_for_a_trunk_is_that_trunk_and_not_a_way_around_its_rules() -> None:
    scene = Scene()
    scene.names["alias.lit"] = frozenset({"192.0.2.5"})
    caller, _ = scene.from_xmpp("romeo%alias.lit")
    await scene.ended()
    assert caller.told[0][1] is Cause.FORBIDDEN
    assert scene.callees == []


async def test_a_number_from_a_trunk_rings_everybody_and_the_first_answer_stops_the_others() -> None:
    scene = Scene()
    caller, _ = scene.from_sip("sip:+12025550100@sip.example.com")
    await scene.dialled(2)
    juliet, nurse = scene.callees
    assert juliet.made_for == (JULIET, f"+12025550177@{DOMAIN}")
    assert nurse.made_for == (NURSE, f"+12025550177@{DOMAIN}")
    nurse.sink(ev.Ringing(2))
    assert caller.names() == ["alert"]
    nurse.sink(ev.Answered(2, webrtc_session(PCMU, setup=Setup.ACTIVE, name="audio")))
    assert juliet.told[-1] == ("hang_up", Cause.ELSEWHERE, "")
    await scene.until(lambda: "answer" in caller.names())


async def test_a_sequence_asks_one_after_the_other() -> None:
    scene = Scene()
    scene.from_sip("sip:desk@sip.example.com")
    first = await scene.dialled()
    assert first.made_for[0] == JULIET
    first.sink(ev.HungUp(Leg.CALLEE, Cause.DECLINED, 1))
    assert (await scene.dialled(2)).made_for[0] == NURSE


async def test_the_asserted_identity_is_believed_from_a_trunk_alone() -> None:
    scene = Scene()
    scene.from_sip("sip:desk@sip.example.com", asserted="sip:+12025550199@192.0.2.5")
    assert (await scene.dialled()).made_for[1] == f"+12025550199@{DOMAIN}"
    scene.from_sip(
        "sip:nurse@sip.example.com", "198.51.100.66", "sip:+12025550177@evil.example", "sip:+12025550199@evil.example"
    )
    contact = (await scene.dialled(2)).made_for[1]
    assert contact == f"+12025550177%evil.example@{DOMAIN}", "a stranger never appears as a number"
    assert [leg.ask_presence for leg in scene.callees] == [True, False], "and never learns who is there"


async def test_two_anonymous_callers_are_two_contacts() -> None:
    scene = Scene()
    for _ in range(2):
        scene.from_sip("sip:desk@sip.example.com", from_="sip:anonymous@anonymous.invalid", anonymous=True)
    await scene.dialled(2)
    one, other = (leg.made_for[1] for leg in scene.callees)
    assert one != other
    assert "12025550177" not in one + other


async def test_strangers_are_refused_at_once_where_no_rule_is_for_them() -> None:
    closed = tuple(rule for rule in PLAN.inbound if not rule.match.any_source)
    scene = Scene(plan=replace(PLAN, inbound=closed))
    answers = []
    for whom in ("juliet", "nobody", "nurse", "juliet%shakespeare.lit", "+12025550100"):
        leg, _ = scene.from_sip(f"sip:{whom}@sip.example.com", "198.51.100.66", "sip:x@evil.example")
        await scene.until(lambda leg=leg: leg.told != [])
        answers.append(leg.told)
    assert answers == [[("hang_up", Cause.FORBIDDEN, "")]] * 5
    assert scene.callees == []


async def test_a_stranger_at_the_address_behind_a_trunks_name_is_that_trunk() -> None:
    scene = Scene()
    scene.names["sbc.backup.example"] = frozenset({"192.0.2.99"})
    watch = asyncio.create_task(scene.board.watch_trunks())
    await scene.settled()
    scene.from_sip("sip:+12025550100@sip.example.com", "192.0.2.99")
    assert (await scene.dialled()).made_for[1] == f"+12025550177@{DOMAIN}"
    watch.cancel()


async def test_two_ends_without_a_common_codec_are_both_told_why() -> None:
    scene = Scene()
    caller, admitted = scene.from_xmpp("+12025550123")
    callee = await scene.dialled()
    callee.sink(ev.Answered(1, phone_session(PCMU)))
    admitted.sink(ev.CallerJoined(webrtc_session(Codec(96, "speex", 16000))))
    record = await scene.ended()
    assert record.cause == "no-common-codec"
    assert caller.told[-1][:2] == callee.told[-1][:2] == ("hang_up", Cause.NO_COMMON_CODEC)


async def test_a_caller_without_encryption_is_refused_as_insecure() -> None:
    scene = Scene()
    plain = phone_session(PCMU)
    caller, _ = scene.from_xmpp("echo", plain)
    assert (await scene.ended()).cause == "security"
    assert caller.told[-1][1] is Cause.SECURITY


async def test_lost_media_ends_a_call_and_lost_media_of_one_of_two_callees_does_not() -> None:
    scene = Scene()
    _, admitted = scene.from_sip("sip:+12025550100@sip.example.com")
    await scene.dialled(2)
    scene.engine.on_event(media.Lost(admitted.call, "callee1", Cause.INTERNAL, "worker died"))
    scene.engine.on_event(media.Digit(admitted.call, "callee2", "5", 100))
    scene.engine.on_event(media.Connected("another call", "caller"))
    assert scene.records == []
    scene.callees[1].sink(ev.Answered(2, webrtc_session(PCMU, setup=Setup.ACTIVE, name="audio")))
    await scene.until(lambda: scene.engine.names().count(("connect", "caller")) == 1)
    scene.engine.on_event(media.Connected(admitted.call, "caller"))
    scene.engine.on_event(media.Lost(admitted.call, "callee2", Cause.MEDIA_LOST, "silence"))
    assert (await scene.ended()).cause == "media-lost"
    assert {t.label for t in scene.traced} >= {"callee1 lost", "callee2 digit 5", "caller connected", "callee2 lost"}


async def test_digits_for_a_trunk_that_takes_info_are_told_to_its_leg() -> None:
    plan = replace(PLAN, trunks={name: replace(trunk, dtmf="info") for name, trunk in PLAN.trunks.items()})
    scene = Scene(plan=plan)
    caller, admitted = scene.from_xmpp("+12025550123", webrtc_session(OPUS))
    callee = await scene.dialled()
    callee.sink(ev.Answered(1, phone_session(PCMU)))
    await scene.until(lambda: "answer" in caller.names())
    scene.engine.on_event(media.Digit(admitted.call, "caller", "7", 120))
    admitted.sink(ev.Dialled(Leg.CALLER, 0, "42"))
    await scene.until(lambda: callee.names().count("dial_digits") == 2)
    assert callee.told[-2:] == [("dial_digits", "7", 120), ("dial_digits", "42", 100)]
    assert ("dtmf", "callee1") not in scene.engine.names()


async def test_a_leg_that_fails_does_not_keep_the_other_from_being_told() -> None:
    scene = Scene()
    caller, admitted = scene.from_xmpp("romeo%montague.lit", webrtc_session())
    callee = await scene.dialled()

    def broken() -> None:
        raise RuntimeError("a bug in a room")

    caller.on_told = broken
    callee.sink(ev.Ringing(1))
    assert callee.told[-1][:2] == ("hang_up", Cause.CANCELLED)
    assert (await scene.ended()).cause == "internal"
    admitted.sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))  # late, and harmless


async def test_a_callee_room_that_cannot_make_a_leg_is_a_failed_attempt() -> None:
    scene = Scene()
    scene.board.attach(cast(Any, None), cast(Any, None))
    caller, _ = scene.from_xmpp("romeo%montague.lit", webrtc_session())
    assert (await scene.ended()).cause == "internal"
    assert caller.told[-1][1] is Cause.INTERNAL


async def test_one_user_cannot_take_all_lines() -> None:
    scene = Scene(limits=Limits(calls=10, per_user=2))
    legs = [scene.from_xmpp("romeo%montague.lit")[0] for _ in range(3)]
    await scene.until(lambda: legs[2].told != [])
    assert legs[2].told == [
        ("hang_up", Cause.CONGESTION, "caller juliet@shakespeare.lit: no more than 2 calls at a time")
    ]
    assert [leg.told for leg in legs[:2]] == [[], []]


async def test_a_trunk_whose_lines_are_all_busy_leads_to_the_next_and_takes_no_more_from_outside() -> None:
    scene = Scene(plan=replace(PLAN, trunks={**PLAN.trunks, "carrier": replace(PLAN.trunks["carrier"], max_calls=1)}))
    scene.from_xmpp("+12025550123", webrtc_session())
    await scene.dialled()
    scene.from_xmpp("+12025550124", webrtc_session())
    assert (await scene.dialled(2)).made_for[0].proxy == PLAN.trunks["backup"].proxy
    inbound, _ = scene.from_sip("sip:desk@sip.example.com")
    await scene.until(lambda: inbound.told != [])
    assert inbound.told == [("hang_up", Cause.CONGESTION, "trunk carrier: no more than 1 calls at a time")]
    scene.callees[0].sink(ev.HungUp(Leg.CALLEE, Cause.BUSY, 1))
    await scene.until(lambda: len(scene.records) == 2)
    inbound, _ = scene.from_sip("sip:desk@sip.example.com")
    await scene.dialled(3)
    assert inbound.told == []


async def test_a_trunk_that_demands_encryption_never_gets_a_call_in_clear() -> None:
    trunks = {name: replace(trunk, srtp="required") for name, trunk in PLAN.trunks.items()}
    scene = Scene(plan=replace(PLAN, trunks=trunks))
    caller, _ = scene.from_xmpp("+12025550123", webrtc_session())
    callee = await scene.dialled()
    offer = callee.told[0][1]
    assert isinstance(offer, Session)
    assert offer.audio is not None
    assert offer.audio.profile is Profile.SAVP
    callee.sink(ev.Answered(1, phone_session(PCMU)))
    assert (await scene.ended()).cause == "security"
    assert caller.told[-1][1] is Cause.SECURITY


async def test_a_trunk_that_demands_encryption_calls_with_it_or_not_at_all() -> None:
    trunks = {name: replace(trunk, srtp="required") for name, trunk in PLAN.trunks.items()}
    scene = Scene(plan=replace(PLAN, trunks=trunks))
    caller, _ = scene.from_sip("sip:desk@sip.example.com")
    assert (await scene.ended()).cause == "security"
    assert caller.told[-1][1] is Cause.SECURITY
    assert scene.callees == []


async def test_an_address_that_turns_out_to_be_a_trunk_is_known_as_one() -> None:
    assert Scene().board.routing.is_trunk("192.0.2.5")
    assert not Scene().board.routing.is_trunk("192.0.2.6")


async def test_a_full_house_refuses_the_next_call() -> None:
    scene = Scene(limits=Limits(calls=2, per_user=20))
    legs = [scene.from_xmpp("romeo%montague.lit", user=f"user{n}@shakespeare.lit/x")[0] for n in range(3)]
    await scene.until(lambda: legs[2].told != [])
    assert legs[2].told == [("hang_up", Cause.CONGESTION, "gateway: no more than 2 calls at a time")]


async def test_the_deadline_of_a_call_is_kept_by_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    caller, _ = scene.from_xmpp("romeo%montague.lit", webrtc_session())
    callee = await scene.dialled()
    callee.sink(ev.Ringing(1))
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + 121)
    await scene.until(lambda: bool(scene.records))
    assert caller.told[-1][1] is Cause.NO_ANSWER
    assert callee.told[-1][1] is Cause.CANCELLED


async def test_stopping_ends_every_call_with_its_cause_and_writes_every_record() -> None:
    scene = Scene()
    talking, _ = scene.from_xmpp("romeo%montague.lit", webrtc_session(PCMA))
    callee = await scene.dialled()
    callee.sink(ev.Answered(1, phone_session(PCMA)))
    await scene.until(lambda: "answer" in talking.names())
    ringing, _ = scene.from_sip("sip:+12025550100@sip.example.com")
    await scene.dialled(3)
    await scene.board.drain()
    assert talking.told[-1][1] is ringing.told[-1][1] is Cause.SHUTDOWN
    assert callee.told[-1][1] is Cause.SHUTDOWN
    assert {record.cause for record in scene.records} == {"shutdown"}
    assert len(scene.records) == 2
    assert scene.board.live == 0


@pytest.mark.parametrize(
    ("local", "mapped"),
    [
        ("echo", True),
        ("romeo%montague.lit", True),
        ("+12025550123", True),
        ("a%%b", False),
        ("+1", False),
        ("nobody", False),
    ],
)
async def test_an_address_maps_whatever_the_dialplan_says_about_calling_it(local: str, mapped: bool) -> None:
    assert Scene().board.mappable(local) is mapped


# Limits, emergencies, who calls


def limited(*limits: LimitRule, **more: Any) -> Plan:
    return replace(PLAN, limits=limits, groups={"staff": (JULIET, NURSE)}, **more)


async def refusal(scene: Scene, number: int = 0, user: str = f"{JULIET}/phone") -> str:
    """What a call to a number is refused with, "" when it is placed."""
    before = len(scene.callees)
    caller, _ = scene.from_xmpp(f"+1202555{number:04}", webrtc_session(), user)
    await scene.until(lambda: bool(caller.told) or len(scene.callees) > before)
    if not caller.told:
        return ""
    assert caller.told[0][1] is Cause.CONGESTION
    return str(caller.told[0][2])


async def test_a_users_limit_is_his_own_and_his_groups_is_for_all_of_it() -> None:
    scene = Scene(
        plan=limited(LimitRule(user=("*@shakespeare.lit",), concurrent=2), LimitRule(group="staff", concurrent=3))
    )
    assert [await refusal(scene) for _ in range(3)] == ["", "", f"user {JULIET}: no more than 2 calls at a time"]
    nurse = f"{NURSE}/phone"
    assert [await refusal(scene, 0, nurse) for _ in range(2)] == ["", "group staff: no more than 3 calls at a time"]
    assert await refusal(scene, 0, "romeo@shakespeare.lit/x") == ""
    scene.callees[0].sink(ev.HungUp(Leg.CALLEE, Cause.BUSY, 1))
    await scene.until(lambda: any(record.cause == "busy" for record in scene.records))
    assert await refusal(scene, 0, nurse) == "", "what is over is given back"


async def test_set_ups_are_counted_by_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(plan=limited(LimitRule(user=("*",), per_minute=2)))
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    assert [await refusal(scene) for _ in range(3)] == ["", "", f"user {JULIET}: no more than 2 calls a minute"]
    now += 60
    assert await refusal(scene) == ""


async def test_a_trunk_over_its_limit_leads_to_the_next_and_two_of_them_to_a_refusal() -> None:
    scene = Scene(plan=limited(LimitRule(trunk="carrier", concurrent=1), LimitRule(trunk="backup", per_minute=1)))
    assert [await refusal(scene) for _ in range(3)] == ["", "", "trunk carrier: no more than 1 calls at a time"]
    assert [leg.made_for[0].proxy.host for leg in scene.callees] == ["192.0.2.5", "sbc.backup.example"]


async def test_a_call_that_came_by_a_trunk_counts_for_it_too() -> None:
    scene = Scene(plan=limited(LimitRule(trunk="carrier", concurrent=1)))
    scene.from_sip("sip:desk@sip.example.com")
    await scene.dialled()
    leg, _ = scene.from_sip("sip:desk@sip.example.com")
    await scene.until(lambda: leg.told != [])
    assert leg.told == [("hang_up", Cause.CONGESTION, "trunk carrier: no more than 1 calls at a time")]


async def test_the_longest_conversation_is_the_shortest_of_its_limits() -> None:
    limits = (
        LimitRule(user=("*",), longest=600.0),
        LimitRule(group="staff", longest=900.0),
        LimitRule(trunk="carrier", longest=60.0),
    )
    scene = Scene(plan=limited(*limits))
    _, admitted = scene.from_xmpp("+12025550123", webrtc_session(PCMU))
    first = await scene.dialled()
    first.sink(ev.HungUp(Leg.CALLEE, Cause.CONGESTION, 1))
    second = await scene.dialled(2)
    second.sink(ev.Answered(2, phone_session(PCMU)))
    machine = scene.board._lines[admitted.call].machine
    await scene.until(lambda: machine.state is State.TALKING)
    deadline = (machine.deadline or 0.0) - asyncio.get_running_loop().time()
    assert 590 < deadline <= 600, "the other trunk's limit is not this call's"


EMERGENCY = Emergency("route", ("carrier", "backup"), callback="+12025550111", location=(("A3", "Verona"),))


async def test_an_emergency_call_goes_above_every_limit_and_is_logged_loudly() -> None:
    none = LimitRule(user=("*",), concurrent=0, per_minute=0)
    trunks = {name: replace(trunk, max_calls=0) for name, trunk in PLAN.trunks.items()}
    limits = Limits(calls=0, per_user=0)
    scene = Scene(limits, limited(none, LimitRule(trunk="carrier", concurrent=0), trunks=trunks, emergency=EMERGENCY))
    assert await refusal(scene) != ""
    with capture_logs() as logs:
        scene.from_xmpp("911", webrtc_session())
        outgoing = (await scene.dialled()).made_for[0]
    assert str(outgoing.target).startswith("sip:911@192.0.2.5")
    assert outgoing.from_uri.user == "+12025550111"
    assert "<ca:A3>Verona</ca:A3>" in outgoing.place
    assert not outgoing.anonymous
    (line,) = [line for line in logs if line["event"] == "emergency call"]
    assert line["log_level"] == "warning"
    assert (line["caller"], line["number"], line["trunk"]) == (JULIET, "911", "carrier, backup")
    assert (line["callback"], line["place"]) == ("+12025550111", True)


@pytest.mark.parametrize(
    "cause", [Cause.CONGESTION, Cause.FORBIDDEN, Cause.NOT_FOUND, Cause.BUSY, Cause.NO_COMMON_CODEC]
)
async def test_an_emergency_call_tries_the_next_trunk_whatever_the_first_says(cause: Cause) -> None:
    scene = Scene(plan=limited(emergency=EMERGENCY))
    scene.from_xmpp("911", webrtc_session())
    (await scene.dialled()).sink(ev.HungUp(Leg.CALLEE, cause, 1))
    assert (await scene.dialled(2)).made_for[0].proxy.host == "sbc.backup.example"


async def test_a_refused_emergency_call_is_logged_loudly_and_refused_at_once() -> None:
    scene = Scene(plan=limited(emergency=Emergency("refuse")))
    with capture_logs() as logs:
        caller, _ = scene.from_xmpp("911", webrtc_session())
        await scene.ended()
    assert caller.told[0][1] is Cause.FORBIDDEN
    assert "telephone" in str(caller.told[0][2])
    assert [line["log_level"] for line in logs if line["event"] == "emergency call refused"] == ["warning"]


@pytest.mark.parametrize(("hours", "placed"), [("Mon 13:00-14:00", True), ("Mon 14:00-15:00", False)])
async def test_a_rule_with_hours_is_asked_at_the_time_that_it_is(hours: str, placed: bool) -> None:
    office = Match(kind=(Kind.NUMBER,), hours=Hours.parse([hours], zone_of("UTC")))
    scene = Scene(plan=replace(PLAN, routes=(Rule("office", office, ("carrier",)),)))
    caller, _ = scene.from_xmpp("+12025550123", webrtc_session())  # 1,000,000 s: Monday, 12 January 1970, 13:46
    await scene.until(lambda: bool(caller.told or scene.callees))
    assert bool(scene.callees) is placed


async def test_a_bug_in_routing_ends_the_call_and_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr("gateway.dialplan.plan.route", broken)
    monkeypatch.setattr("gateway.dialplan.plan.inbound", broken)
    scene = Scene()
    for leg, _ in (scene.from_xmpp("+12025550123"), scene.from_sip("sip:desk@sip.example.com")):
        await scene.until(lambda leg=leg: leg.told != [])
        assert leg.told == [("hang_up", Cause.INTERNAL, "")]
    await scene.until(lambda: scene.board.live == 0)


async def test_a_caller_whose_name_folds_to_nothing_is_a_caller_all_the_same() -> None:
    scene = Scene()
    scene.from_sip("sip:desk@sip.example.com", from_="sip:%C2%AD@192.0.2.5")
    assert (await scene.dialled()).made_for[1] == f"anonymous%192.0.2.5@{DOMAIN}"
