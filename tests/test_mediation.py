"""Media inside a call, as its machine orders it and its legs ask for it: hold, new networks, recordings."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any, cast

from gateway.addresses import SipUri
from gateway.bridge import Bridge
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.call.machine import Call
from gateway.errors import MediaError
from gateway.line import Facts, Line
from gateway.media import engine as media
from gateway.mediation import Mediation
from gateway.session.model import Codec, Direction, Ice, Session, Setup
from gateway.session.policy import Towards
from tests.board import JULIET, PLAN, Scene, directed, replacing, talk
from tests.support import OPUS, PCMU, FakeEngine, FakeLeg, candidate, phone_session, webrtc_session


async def test_a_phone_that_holds_its_caller_says_so_to_the_user_and_both_are_answered() -> None:
    scene, caller, _, callee = await talk()
    callee.sink(ev.Reoffered(Leg.CALLEE, 1, directed(Direction.SENDONLY)))
    await scene.until(lambda: "hold" in caller.names())
    assert callee.names()[-1] == "reanswer"
    assert caller.told[-1][1] is True
    callee.sink(ev.Reoffered(Leg.CALLEE, 1, directed(Direction.SENDRECV)))
    await scene.until(lambda: caller.names().count("hold") == 2)
    assert caller.told[-1][1] is False
    assert [t.label for t in scene.traced if "hold" in t.label] == ["callee1 holds", "callee1 takes off hold"]


async def test_a_user_who_holds_has_the_phone_offered_music_and_the_talk_again() -> None:
    scene, _, admitted, callee = await talk()
    admitted.sink(ev.Held(Leg.CALLER, 0, True))
    await scene.until(lambda: "hold" in callee.names())
    _, held, offer = callee.told[-1]
    assert held is True
    assert isinstance(offer, Session)
    assert offer.audio is not None
    assert offer.audio.direction is Direction.SENDONLY
    assert ("play", "callee1") in scene.engine.names()
    callee.sink(ev.Reanswered(Leg.CALLEE, 1, directed(Direction.RECVONLY)))
    admitted.sink(ev.Held(Leg.CALLER, 0, False))
    await scene.until(lambda: callee.names().count("hold") == 2)
    assert ("stop_playing", "callee1") in scene.engine.names()


async def test_a_client_on_a_new_network_gets_our_new_credentials() -> None:
    scene, caller, admitted, _ = await talk()
    admitted.sink(ev.Trickled(Leg.CALLER, 0, (), Ice("vvvv", "q" * 22)))
    await scene.until(lambda: "restart" in caller.names())
    ours = caller.told[-1][1]
    assert isinstance(ours, Session)
    assert ours.audio is not None
    assert ours.audio.transport.ice is not None
    assert ours.audio.transport.ice.ufrag == "anew"
    assert "caller restarts ICE" in [t.label for t in scene.traced]


async def test_a_user_who_was_held_for_a_transfer_is_taken_off_hold_when_the_new_party_answers() -> None:
    scene, caller, _, callee = await talk()
    callee.sink(ev.Reoffered(Leg.CALLEE, 1, directed(Direction.SENDONLY)))
    callee.sink(ev.TransferAsked(Leg.CALLEE, 1, "sip:+12025550177@192.0.2.5"))
    third = await scene.dialled(2)
    assert [what[1] for what in caller.told if what[0] == "hold"] == [True]
    third.sink(ev.Answered(2, phone_session(PCMU)))
    await scene.until(lambda: callee.names()[-1] == "hang_up")
    assert [what[1] for what in caller.told if what[0] == "hold"] == [True, False]


async def test_a_telephone_that_a_user_holds_talks_with_the_newcomer_who_takes_his_place() -> None:
    scene, _, admitted, callee = await talk()
    admitted.sink(ev.Held(Leg.CALLER, 0, True))
    await scene.until(lambda: "hold" in callee.names())
    callee.sink(ev.Reanswered(Leg.CALLEE, 1, directed(Direction.RECVONLY)))
    newcomer = FakeLeg()
    scene.board.on_sip_call(replacing(admitted.call, 1, session=phone_session(PCMU)), newcomer)
    await scene.until(lambda: callee.names()[-1] == "hang_up")
    assert newcomer.names() == ["answer"]


async def test_a_trunk_that_sends_no_offer_gets_ours_when_the_user_has_answered() -> None:
    scene = Scene()
    leg = FakeLeg()
    incoming = replace(replacing("", 0), uri=SipUri.parse("sip:desk@sip.example.com"), replaces=None)
    admitted = scene.board.on_sip_call(incoming, leg)
    juliet = await scene.dialled()
    offer = juliet.told[0][1]
    assert isinstance(offer, Session)
    assert offer.audio is not None
    juliet.sink(ev.Answered(1, webrtc_session(OPUS, setup=Setup.ACTIVE, name=offer.audio.name)))
    await scene.until(lambda: leg.names() == ["ask"])
    assert isinstance(leg.told[0][1], Session)
    admitted.sink(ev.CallerJoined(phone_session(PCMU)))
    await scene.until(lambda: scene.engine.names()[-2:] == [("connect", "callee1"), ("connect", "caller")])


async def test_candidates_of_a_leg_that_restarts_nothing_go_to_its_media() -> None:
    scene, caller, admitted, _ = await talk()
    admitted.sink(ev.Trickled(Leg.CALLER, 0, (candidate(),)))
    await scene.until(lambda: scene.engine.names()[-1] == ("candidates", "caller"))
    assert "restart" not in caller.names()


async def test_an_engine_that_fails_ends_the_call_and_says_so() -> None:
    scene = Scene()
    scene.engine.fails = {"allocate"}
    caller, _ = scene.from_xmpp("romeo%montague.lit")
    assert (await scene.ended()).cause == "internal"
    assert caller.told[-1][1] is Cause.INTERNAL


async def test_digits_and_candidates_and_re_offers_reach_the_media_without_touching_the_call() -> None:
    scene = Scene()
    caller, admitted = scene.from_xmpp("+12025550123", webrtc_session(OPUS))
    callee = await scene.dialled()
    admitted.sink(ev.Dialled(Leg.CALLER, 0, "42"))
    admitted.sink(ev.Trickled(Leg.CALLER, 0, (candidate(),)))
    callee.sink(ev.Reoffered(Leg.CALLEE, 1, phone_session(PCMU)))
    await scene.until(lambda: ("reanswer", None) in callee.told)
    callee.sink(ev.Answered(1, phone_session(PCMU, Codec(101, "telephone-event", 8000))))
    await scene.until(lambda: ("dtmf", "callee1") in scene.engine.names())
    callee.sink(ev.Reoffered(Leg.CALLEE, 1, phone_session(PCMU, ip="192.0.2.44")))
    await scene.until(lambda: len([1 for what, *_ in callee.told if what == "reanswer"]) == 2)
    assert isinstance(callee.told[-1][1], Session)
    assert scene.engine.connected("callee1")[0].address == "192.0.2.44"
    assert caller.names() == ["answer"]


async def test_a_call_whose_rule_records_is_recorded_from_the_answer_on_under_a_name_of_ours() -> None:
    rules = tuple(replace(rule, record="notice") for rule in PLAN.routes)
    scene = Scene(plan=replace(PLAN, routes=rules))
    caller, admitted = scene.from_xmpp("+12025550123", webrtc_session(OPUS, PCMU))
    callee = await scene.dialled()
    assert not [asked for asked in scene.engine.asked if asked[0] == "record"]
    callee.sink(ev.Answered(1, phone_session(PCMU)))
    await scene.until(lambda: ("play", "callee1", "notice") in scene.engine.asked)
    (name,) = [asked[1] for asked in scene.engine.asked if asked[0] == "record"]
    scene.engine.tape = media.Recorded(f"{name}.wav", "No space left on device")
    admitted.sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))
    record = await scene.ended()
    assert record.recording == f"{name}.wav"
    assert re.fullmatch(rf"[0-9]{{8}}T[0-9]{{6}}Z-{record.id}", str(name))
    assert record.recording_fault == "No space left on device"
    assert "answer" in caller.names()


async def test_a_call_that_cannot_be_recorded_goes_on_and_its_record_says_so() -> None:
    rules = tuple(replace(rule, record="yes") for rule in PLAN.routes)
    scene = Scene(plan=replace(PLAN, routes=rules))
    scene.engine.fails.add("record")
    caller, admitted = scene.from_xmpp("+12025550123", webrtc_session(OPUS, PCMU))
    (await scene.dialled()).sink(ev.Answered(1, phone_session(PCMU)))
    await scene.until(lambda: "answer" in caller.names())
    await scene.settled()
    admitted.sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))
    record = await scene.ended()
    assert (record.cause, record.recording, record.recording_fault) == ("normal", "", "record failed")


async def test_what_is_ordered_of_the_media_is_done_in_order_whatever_fails_before_it() -> None:
    bridge = Bridge(cast(Any, FakeEngine()), "c1", Towards.XMPP)
    line = Line("c1", Call(), FakeLeg(), bridge, Facts("outbound", JULIET, "+12025550123"), PLAN)
    told: list[tuple[str, ev.Report]] = []
    mediation = Mediation(
        Scene().board.routing,
        lambda call, report: told.append((call, report)),
        lambda line, number, control: None,
        lambda call, leg, what: None,
        lambda: 0.0,
    )
    done: list[str] = []

    async def fail(error: Exception) -> None:
        await asyncio.sleep(0)
        done.append(type(error).__name__)
        raise error

    async def work() -> None:
        done.append("work")

    mediation.do(line, lambda: fail(MediaError("the worker is gone")))
    mediation.do(line, lambda: fail(ZeroDivisionError()))
    mediation.do(line, work)
    await asyncio.gather(*line.tasks)
    assert done == ["MediaError", "ZeroDivisionError", "work"]
    assert told == [("c1", ev.Stopped(Cause.INTERNAL))]
