"""What happens inside a call: media before the answer, hold, new networks, transfers, replacements."""

from __future__ import annotations

from dataclasses import replace

from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.call.leg import Admitted
from gateway.call.words import Say
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import LimitRule, Match, Rule
from gateway.media import engine as media
from gateway.session.model import Setup
from tests.board import JULIET, NURSE, PLAN, Asked, Scene, replacing, talk
from tests.support import OPUS, PCMU, FakeLeg, phone_session, webrtc_session

EARLY = replace(
    PLAN, routes=(Rule("numbers", Match(kind=(Kind.NUMBER,)), ("carrier", "backup"), early_media=True), *PLAN.routes)
)


async def test_a_caller_hears_an_announcement_before_the_answer_where_the_rule_says_so() -> None:
    scene = Scene(plan=EARLY)
    caller, admitted = scene.from_xmpp("+12025550123")
    callee = await scene.dialled()
    callee.sink(ev.Progressed(1, phone_session(PCMU)))
    assert caller.names() == ["ask"]
    admitted.sink(ev.CallerJoined(webrtc_session(OPUS, PCMU)))
    await scene.until(lambda: "answer" in caller.names())
    callee.sink(ev.HungUp(Leg.CALLEE, Cause.NOT_FOUND, 1, "no such number", 1))
    assert caller.told[-1] == ("hang_up", Cause.NOT_FOUND, "no such number", 1)
    assert (await scene.ended()).answered is None


async def test_a_transfer_rings_the_new_party_and_connects_it_with_the_user() -> None:
    scene, caller, _, callee = await talk()
    callee.sink(ev.TransferAsked(Leg.CALLEE, 1, "sip:+12025550177@192.0.2.5"))
    third = await scene.dialled(2)
    assert callee.told[-1] == ("transferred", None)
    third.sink(ev.Ringing(2))
    await scene.until(lambda: ("play", "caller") in scene.engine.names())
    third.sink(ev.Answered(2, phone_session(PCMU)))
    await scene.until(lambda: callee.names()[-1] == "hang_up")
    assert callee.told[-2:] == [("transferred", Cause.NORMAL), ("hang_up", Cause.NORMAL, "")]
    assert scene.engine.connected("callee2")[2] == "caller"
    await scene.until(lambda: ("release", "callee1") in scene.engine.names())
    third.sink(ev.HungUp(Leg.CALLEE, Cause.NORMAL, 2))
    assert caller.told[-1] == ("hang_up", Cause.NORMAL, "")
    record = await scene.ended()
    assert record.cause == "normal"
    assert [(tried.origin, tried.cause) for tried in record.attempts] == [("route", "normal"), ("transfer", "normal")]
    assert len(scene.board.routing.book) == 0


async def test_a_transfer_that_the_dialplan_refuses_is_refused_and_the_talk_goes_on() -> None:
    scene, caller, _, callee = await talk()
    callee.sink(ev.TransferAsked(Leg.CALLEE, 1, "sip:tybalt@elsewhere.example"))
    await scene.until(lambda: callee.names()[-1] == "transferred")
    assert callee.told[-1] == ("transferred", Cause.FORBIDDEN)
    assert caller.names()[-1] == "answer"
    assert scene.board.live == 1


async def test_a_stranger_transfers_nobody() -> None:
    scene = Scene()
    caller, admitted = scene.from_sip("sip:nurse@sip.example.com", "198.51.100.66", "sip:x@evil.example")
    nurse = await scene.dialled()
    nurse.sink(ev.Answered(1, webrtc_session(PCMU, setup=Setup.ACTIVE, name="audio")))
    await scene.until(lambda: "answer" in caller.names())
    admitted.sink(ev.TransferAsked(Leg.CALLER, 0, "sip:+12025550177@192.0.2.5"))
    await scene.until(lambda: caller.names()[-1] == "transferred")
    assert caller.told[-1] == ("transferred", Cause.FORBIDDEN)
    assert len(scene.callees) == 1


async def test_a_trunk_that_called_transfers_the_user_at_his_cost() -> None:
    scene = Scene()
    caller, admitted = scene.from_sip("sip:desk@sip.example.com")
    juliet = await scene.dialled()
    juliet.sink(ev.Answered(1, webrtc_session(PCMU, setup=Setup.ACTIVE, name="audio")))
    await scene.until(lambda: "answer" in caller.names())
    admitted.sink(ev.TransferAsked(Leg.CALLER, 0, "sip:+12025550188@192.0.2.5"))
    third = await scene.dialled(2)
    assert third.made_for[0].from_uri.user == "+12025550100"
    third.sink(ev.Answered(2, phone_session(PCMU)))
    await scene.until(lambda: caller.names()[-1] == "hang_up")
    admitted.sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))
    juliet.sink(ev.HungUp(Leg.CALLEE, Cause.NORMAL, 1))
    assert third.told[-1] == ("hang_up", Cause.NORMAL, "")


async def test_a_user_may_be_transferred_to_another_user() -> None:
    scene, _, _, callee = await talk()
    callee.sink(ev.TransferAsked(Leg.CALLEE, 1, "sip:+12025550100@sip.example.com"))
    third = await scene.dialled(2)
    assert third.made_for == (JULIET, f"juliet%shakespeare.lit@{'sip.example.com'}")


async def test_a_redirection_is_followed_within_the_callers_rules() -> None:
    scene = Scene()
    scene.from_xmpp("+12025550123", webrtc_session(OPUS, PCMU))
    first = await scene.dialled()
    first.sink(ev.Redirected(1, ("sip:+12025550177@192.0.2.5",)))
    first.sink(ev.HungUp(Leg.CALLEE, Cause.FORBIDDEN, 1, "302 Moved Temporarily"))
    second = await scene.dialled(2)
    assert str(second.made_for[0].target).startswith("sip:+12025550177@")
    second.sink(ev.Stopped(Cause.SHUTDOWN))
    record = await scene.ended()
    tried = [(attempt.origin, attempt.cause) for attempt in record.attempts]
    assert tried == [("route", "redirected"), ("redirect", "shutdown")]
    assert record.hops == 1


async def test_a_redirection_that_is_not_followed_ends_the_call_with_the_reason() -> None:
    scene = Scene()
    caller, _ = scene.from_xmpp("romeo%montague.lit", webrtc_session(OPUS, PCMU))
    first = await scene.dialled()
    first.sink(ev.Redirected(1, ("sip:+19005550123@192.0.2.5",)))
    first.sink(ev.HungUp(Leg.CALLEE, Cause.FORBIDDEN, 1, "302 Moved Temporarily"))
    record = await scene.ended()
    assert "redirected, and" in record.text
    assert caller.names() == ["hang_up"]


async def test_a_newcomer_from_the_same_trunk_takes_the_place_of_the_phone() -> None:
    scene, caller, admitted, callee = await talk()
    newcomer = FakeLeg()
    taken = scene.board.on_sip_call(replacing(admitted.call, 1, session=phone_session(PCMU)), newcomer)
    await scene.until(lambda: callee.names()[-1] == "hang_up")
    assert newcomer.names() == ["answer"]
    assert callee.told[-1] == ("hang_up", Cause.ELSEWHERE, "")
    taken.sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))
    assert caller.told[-1] == ("hang_up", Cause.NORMAL, "")


async def test_nobody_else_takes_the_place_of_the_phone() -> None:
    scene, _, admitted, callee = await talk()
    for source, call in (("198.51.100.66", admitted.call), ("192.0.2.5", "another")):
        newcomer = FakeLeg()
        scene.board.on_sip_call(replacing(call, 1, source, phone_session(PCMU)), newcomer)
        await scene.until(lambda leg=newcomer: leg.names() == ["hang_up"])
        assert newcomer.told[0][1] is Cause.FORBIDDEN
    assert "hang_up" not in callee.names()


async def consulting(scene: Scene, admitted: Admitted) -> tuple[FakeLeg, Admitted, Asked]:
    """The nurse called the same telephone, and it talks with her in a second call."""
    nurse, other = scene.from_xmpp("+12025550123", webrtc_session(OPUS, PCMU), user=f"{NURSE}/ward")
    second = await scene.dialled(2)
    second.sink(ev.Answered(1, phone_session(PCMU)))
    await scene.until(lambda: "answer" in nurse.names())
    return nurse, other, second


def asked_for(other: Admitted, *, same_address: bool = True, number: int = 1) -> ev.TransferAsked:
    place = ev.Consulted(other.call, number, same_address)
    return ev.TransferAsked(Leg.CALLEE, 1, "sip:nurse@sip.example.com", "x;to-tag=1;from-tag=2", consulted=place)


async def test_a_telephone_connects_two_users_whom_it_talks_with_and_leaves() -> None:
    scene, caller, admitted, first = await talk()
    nurse, other, second = await consulting(scene, admitted)
    first.sink(asked_for(other))
    await scene.until(lambda: first.names()[-1] == "hang_up" and second.names()[-1] == "hang_up")
    assert first.told[-3:] == [
        ("transferred", None),
        ("transferred", Cause.NORMAL),
        ("hang_up", Cause.NORMAL, ""),
    ]
    assert second.told[-1] == ("hang_up", Cause.ELSEWHERE, "")
    # Each call gave its user a new peer, and these two are connected with each other, where nobody else gets at.
    assert scene.engine.connected("callee2")[2] == "caller"
    assert scene.engine.near == {"callee2"}
    assert len([asked for asked in scene.engine.asked if asked[:2] == ("allocate", "callee2")]) == 2
    assert len(scene.callees) == 2, "nobody was called"
    first.sink(ev.HungUp(Leg.CALLEE, Cause.NORMAL, 1))
    second.sink(ev.HungUp(Leg.CALLEE, Cause.NORMAL, 1))
    await scene.settled()
    assert "hang_up" not in caller.names() + nurse.names()
    other.sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))
    await scene.until(lambda: caller.names()[-1] == "hang_up" and len(scene.records) == 2)
    assert caller.told[-1] == ("hang_up", Cause.NORMAL, "")
    assert [record.cause for record in scene.records] == ["normal", "normal"]
    assert {record.hops for record in scene.records} == {1}
    assert [attempt.via for record in scene.records for attempt in record.attempts] == ["carrier", "joined"] * 2
    assert len(scene.board.routing.book) == 0


async def test_a_user_who_holds_is_still_one_who_holds_when_two_calls_are_one() -> None:
    scene, caller, admitted, first = await talk()
    nurse, other, second = await consulting(scene, admitted)
    first.sink(asked_for(other))
    await scene.until(lambda: first.names()[-1] == "hang_up" and second.names()[-1] == "hang_up")
    admitted.sink(ev.Held(Leg.CALLER, 0, True))
    await scene.until(lambda: "hold" in nurse.names())
    assert nurse.told[-1][1] is True
    admitted.sink(ev.Held(Leg.CALLER, 0, False))
    await scene.until(lambda: nurse.names().count("hold") == 2)
    assert nurse.told[-1][1] is False
    assert "hold" not in caller.names()


async def test_nobody_connects_calls_that_are_not_his() -> None:
    scene, caller, admitted, first = await talk()
    nurse, other, second = await consulting(scene, admitted)
    romeo, third = scene.from_xmpp("romeo%montague.lit", webrtc_session(OPUS, PCMU))
    direct = await scene.dialled(3)
    direct.sink(ev.Answered(1, phone_session(PCMU)))
    await scene.until(lambda: "answer" in romeo.names())
    wrong = (
        asked_for(third),  # another way's
        asked_for(admitted),  # the same call
        asked_for(Admitted("gone", lambda report: None)),
        asked_for(other, number=0),  # the user's end
    )
    for number, asked in enumerate(wrong, 1):
        first.sink(asked)
        await scene.until(lambda told=number: first.names().count("transferred") == told)
        assert first.told[-1] == ("transferred", Cause.FORBIDDEN)
    for leg in (caller, nurse, romeo, first, second, direct):
        assert "hang_up" not in leg.names()


async def test_a_direct_telephone_connects_its_own_calls_alone() -> None:
    plan = replace(PLAN, routes=(Rule("friends", Match(kind=(Kind.URI,)), ("direct",), transfers=True), *PLAN.routes))
    scene = Scene(plan=plan)
    calls = []
    for number, user in enumerate((f"{JULIET}/phone", f"{NURSE}/ward"), 1):
        leg, admitted = scene.from_xmpp("romeo%montague.lit", webrtc_session(OPUS, PCMU), user=user)
        callee = await scene.dialled(number)
        callee.sink(ev.Answered(1, phone_session(PCMU)))
        await scene.until(lambda leg=leg: "answer" in leg.names())
        calls.append((leg, admitted, callee))
    (juliet, _, first), (nurse, other, second) = calls
    first.sink(asked_for(other, same_address=False))
    await scene.until(lambda: "transferred" in first.names())
    assert first.told[-1] == ("transferred", Cause.FORBIDDEN)
    first.sink(asked_for(other))
    await scene.until(lambda: first.names()[-1] == "hang_up" and second.names()[-1] == "hang_up")
    assert "hang_up" not in juliet.names() + nurse.names()


async def test_a_call_that_ends_while_it_is_being_joined_fails_the_transfer_and_the_talk_goes_on() -> None:
    scene, caller, admitted, first = await talk()
    _, other, second = await consulting(scene, admitted)
    first.sink(asked_for(other))
    other.sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))
    await scene.until(lambda: first.names()[-1] == "transferred" and first.told[-1][1] is not None)
    assert first.told[-1][1] is not Cause.NORMAL
    assert second.names()[-1] == "hang_up"
    assert "hang_up" not in caller.names() + first.names()


async def test_media_that_is_lost_of_somebody_being_asked_ends_only_the_transfer() -> None:
    scene, _, admitted, callee = await talk()
    callee.sink(ev.TransferAsked(Leg.CALLEE, 1, "sip:+12025550177@192.0.2.5"))
    await scene.dialled(2)
    scene.board.on_media(media.Lost(admitted.call, "callee2", Cause.MEDIA_FAILED, "gone"))
    await scene.until(lambda: callee.told[-1] == ("transferred", Cause.MEDIA_FAILED))
    assert scene.board.live == 1


async def test_a_user_who_has_all_the_calls_he_may_have_is_busy_to_a_trunk() -> None:
    scene = Scene(plan=replace(PLAN, limits=(LimitRule(user=(JULIET, NURSE), concurrent=1),)))
    scene.from_sip("sip:desk@sip.example.com")
    await scene.dialled()
    caller, _ = scene.from_sip("sip:desk@sip.example.com")
    assert (await scene.dialled(2)).made_for[0] == NURSE  # the next of the sequence
    assert caller.told == []


async def test_a_user_reads_in_the_conversation_why_his_call_was_not_connected() -> None:
    scene = Scene()
    scene.from_xmpp("romeo%elsewhere.example")
    record = await scene.ended()
    contact = "romeo%elsewhere.example@sip.example.com"
    assert scene.lines == [(JULIET, contact, f"The call was not connected: {record.text}")]


async def test_users_whose_phones_rang_in_vain_read_of_a_missed_call_where_the_operator_wants_it() -> None:
    for say, lines in ((Say.ALL, 2), (Say.FAILURES, 0)):
        scene = Scene(say_what=say)
        _, admitted = scene.from_sip("sip:+12025550100@sip.example.com")
        (await scene.dialled(2)).sink(ev.Ringing(1))
        admitted.sink(ev.HungUp(Leg.CALLER, Cause.CANCELLED))
        await scene.ended()
        contact = "+12025550177@sip.example.com"
        missed = "Missed call from +12025550177"
        assert scene.lines == [(JULIET, contact, missed), (NURSE, contact, missed)][:lines]


async def test_a_stranger_for_whom_nothing_rang_writes_to_nobody() -> None:
    scene = Scene(say_what=Say.ALL)
    _, admitted = scene.from_sip("sip:nurse@sip.example.com", "198.51.100.66", "sip:x@evil.example")
    await scene.dialled()
    admitted.sink(ev.HungUp(Leg.CALLER, Cause.CANCELLED))
    await scene.ended()
    assert scene.lines == []


async def test_after_a_transfer_the_user_reads_with_whom_he_talks() -> None:
    scene = Scene(say_what=Say.ALL)
    caller, _ = scene.from_xmpp("+12025550123", webrtc_session(OPUS, PCMU))
    callee = await scene.dialled()
    callee.sink(ev.Answered(1, phone_session(PCMU)))
    await scene.until(lambda: "answer" in caller.names())
    callee.sink(ev.PartyChanged(Leg.CALLEE, 1, "sip:+12025550177@192.0.2.5"))
    assert scene.lines == [(JULIET, "+12025550123@sip.example.com", "You are talking with +12025550177 now")]
