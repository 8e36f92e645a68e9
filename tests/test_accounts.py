"""Whole calls that cost money, with fake legs and a till whose arithmetic is the real one: what each side hears, what
users read, what is booked and what it comes to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from gateway.accounts import Accounts, Shut
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.call.leg import Admitted
from gateway.call.meter import GRACE, LEAD, MARGIN, SLICE
from gateway.dialplan.booking import Booking, Burst, Tariff, Unit
from gateway.dialplan.plan import Emergency
from gateway.storage.records import CallRecord
from tests.board import DOMAIN, JULIET, NURSE, PLAN, Asked, Scene
from tests.scenarios.clock import jumping, passes
from tests.support import FakeLeg, phone_session, webrtc_session
from tests.till import MINUTE, Till, books, claim, one_call

USED_UP = "the budget for such calls is used up (abroad)"
ABROAD = "+442079460123"
NUMBER = "+12025550123"


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    with jumping():
        made = Scene(plan=replace(PLAN, emergency=Emergency("route", ("carrier",))))
        yield made
        assert made.till.open == {}
        assert made.till.used()[1] == made.till.used(Unit.SECONDS)[1] == made.till.used(Unit.MONEY)[1] == 0


def money(most: int, *, freeze: bool = False, tariff: Tariff = MINUTE) -> Booking:
    return Booking(JULIET, (claim(Unit.MONEY, most, freeze=freeze),), (), (tariff,))


async def talks(scene: Scene, number: str = NUMBER, leg: int = 1) -> tuple[FakeLeg, Admitted, Asked]:
    """Juliet talks with this number."""
    caller, admitted = scene.from_xmpp(number, webrtc_session())
    callee = await scene.dialled(leg)
    callee.sink(ev.Answered(callee.attempt, phone_session()))
    await scene.until(lambda: "answer" in caller.names())
    await scene.settled()
    return caller, admitted, callee


async def hangs_up(scene: Scene, admitted: Admitted) -> CallRecord:
    admitted.sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))
    return await scene.ended()


async def test_what_was_talked_is_settled_once_and_the_record_has_its_price(scene: Scene) -> None:
    books(scene.board.routing, money(10_000_000))
    _, admitted, _ = await talks(scene)
    await passes(125.5)
    record = await hangs_up(scene, admitted)
    assert (record.price, record.currency) == (100_000 + 126_000, "EUR")
    assert scene.till.said == ["reserve 60", "extend 60", "extend 120", "extend 180", "settle 126 226000"]
    assert scene.till.used(Unit.MONEY) == (226_000, 0)


@pytest.mark.parametrize("cause", [Cause.BUSY, Cause.NOT_FOUND, Cause.DECLINED])
async def test_a_call_that_nobody_answers_costs_nothing_and_gives_its_count_back(scene: Scene, cause: Cause) -> None:
    books(scene.board.routing, one_call())
    for leg in (1, 2):
        scene.from_xmpp(NUMBER, webrtc_session())
        callee = await scene.dialled(leg)
        callee.sink(ev.HungUp(Leg.CALLEE, cause, 1))
        await scene.until(lambda leg=leg: len(scene.records) == leg)
        assert scene.records[-1].price is None
        assert scene.till.used() == (0, 0)


async def test_a_caller_who_gives_up_while_it_is_booked_leaves_nothing_behind(scene: Scene) -> None:
    books(scene.board.routing, one_call())
    scene.till.waits = asyncio.Event()
    _, admitted = scene.from_xmpp(NUMBER, webrtc_session())
    await scene.until(lambda: scene.till.said == ["reserve 60"])
    admitted.sink(ev.HungUp(Leg.CALLER, Cause.CANCELLED))
    await scene.ended()
    scene.till.waits.set()
    await scene.until(lambda: scene.till.said[1:] == ["settle nothing"])
    assert scene.callees == []


async def test_a_used_up_budget_refuses_by_its_name_and_is_read_in_the_conversation(scene: Scene) -> None:
    books(scene.board.routing, one_call())
    _, admitted, _ = await talks(scene)
    caller, _ = scene.from_xmpp(ABROAD, webrtc_session())
    record = await scene.ended()
    assert (record.cause, record.blame, record.text) == ("exhausted", "caller", USED_UP)
    assert caller.told == [("hang_up", Cause.EXHAUSTED, "abroad")]
    assert scene.lines == [
        (JULIET, f"{ABROAD}@{DOMAIN}", "The call was not connected: the budget for such calls is used up (abroad)")
    ]
    assert len(scene.callees) == 1
    await hangs_up(scene, admitted)


async def test_a_call_that_outlives_its_budget_is_warned_and_ended_on_both_sides(scene: Scene) -> None:
    books(scene.board.routing, money(100_000 + 90_000))  # ninety seconds
    caller, _, callee = await talks(scene)
    await passes(90 - LEAD - MARGIN - 1)
    assert ("play", "caller") not in scene.engine.names()
    await passes(1)
    await scene.settled()
    assert ("play", "caller", "warning") in scene.engine.asked
    assert ("play", "callee1", "warning") not in scene.engine.asked
    assert "caller hears that the call will end" in [traced.label for traced in scene.traced]
    assert scene.lines == [
        (JULIET, f"{NUMBER}@{DOMAIN}", "This call ends in 20 seconds: the budget for such calls is used up (abroad)")
    ]
    assert "hang_up" not in caller.names()
    await passes(LEAD)
    record = await scene.ended()
    assert caller.told[-1] == callee.told[-1] == ("hang_up", Cause.EXHAUSTED, "abroad")
    assert (record.cause, record.by, record.price) == ("exhausted", "", 190_000)
    assert scene.lines[-1][2] == "The call was cut off: the budget for such calls is used up (abroad)"
    assert scene.till.used(Unit.MONEY)[0] <= 190_000


async def test_a_call_that_is_short_from_the_first_is_warned_when_somebody_can_hear_it(scene: Scene) -> None:
    books(scene.board.routing, money(100_000 + 15_000))
    _, admitted = scene.from_xmpp(NUMBER)
    callee = await scene.dialled()
    callee.sink(ev.Answered(1, phone_session()))
    await scene.settled()
    assert [line[2].partition(":")[0] for line in scene.lines] == ["This call ends in 14 seconds"]
    assert ("play", "caller", "warning") not in scene.engine.asked
    admitted.sink(ev.CallerJoined(webrtc_session()))
    await scene.until(lambda: ("play", "caller", "warning") in scene.engine.asked)
    await passes(14)
    assert (await scene.ended()).cause == "exhausted"


async def test_whoever_uses_a_freezing_budget_up_is_told_and_makes_no_call_that_costs(scene: Scene) -> None:
    frozen: list[bool] = []
    assert scene.accounts is not None
    scene.accounts._on_frozen = lambda: frozen.append(True)
    books(scene.board.routing, money(50_000, freeze=True))
    with capture_logs() as logged:
        scene.from_xmpp(NUMBER, webrtc_session())
        assert (await scene.ended()).cause == "exhausted"
    (said,) = [entry for entry in logged if entry["event"] == "account frozen"]
    assert (said["account"], said["reason"], said["log_level"], frozen) == (JULIET, "abroad", "warning", [True])
    assert scene.lines[0][2].startswith("Your account was blocked: calls that cost money are blocked for now (abroad)")
    scene.from_xmpp(NUMBER, webrtc_session())
    await scene.until(lambda: len(scene.records) == 2)
    assert scene.records[-1].cause == "frozen"
    assert scene.lines[-1][2].startswith("The call was not connected: calls that cost money are blocked for now")
    assert len(frozen) == 1


async def test_a_burst_freezes_once_and_the_reason_is_read(scene: Scene) -> None:
    books(scene.board.routing, Booking(JULIET, (), (Burst("b", "hurry", 1, 60),), (MINUTE,)))
    _, admitted, _ = await talks(scene)
    for _ in range(2):
        scene.from_xmpp(NUMBER, webrtc_session())
        await scene.until(lambda: scene.board.live == 1)
    assert [record.cause for record in scene.records] == ["frozen", "frozen"]
    assert [line[2].partition(" ")[0] for line in scene.lines] == ["Your", "The", "The"]
    assert "hurry: more than 1 calls in 60 seconds" in scene.lines[0][2]
    await hangs_up(scene, admitted)


async def test_a_freeze_ends_a_call_that_is_up_when_what_was_granted_is_over(scene: Scene) -> None:
    books(scene.board.routing, money(10_000_000))
    caller, _, _ = await talks(scene)
    await passes(50)
    scene.till.book.freeze(JULIET, "by hand")
    await passes(80)
    record = await scene.ended()
    assert (record.cause, record.text, round(record.duration)) == (
        "frozen",
        Cause.FROZEN.worded("by hand"),
        2 * SLICE - 1,
    )
    assert caller.told[-1] == ("hang_up", Cause.FROZEN, "by hand")


async def test_help_is_called_although_everything_is_used_up_frozen_and_away(scene: Scene) -> None:
    books(scene.board.routing, one_call())
    scene.till.book.freeze(JULIET, "by hand")
    scene.till.away = True
    _, admitted, callee = await talks(scene, "911")
    assert str(callee.made_for[0].target).startswith("sip:911@")
    await passes(500)
    record = await hangs_up(scene, admitted)
    assert (record.cause, record.emergency, record.price, scene.till.said) == ("normal", True, None, [])


async def test_a_database_that_is_away_refuses_what_costs_and_nothing_else(scene: Scene) -> None:
    scene.till.away = True
    books(scene.board.routing, lambda route: one_call() if route.via[0] == "carrier" else None)
    caller, _ = scene.from_xmpp(NUMBER, webrtc_session())
    record = await scene.ended()
    assert (record.cause, record.blame) == ("unbooked", "gateway")
    assert caller.told[0][1] is Cause.UNBOOKED
    assert scene.lines[-1][2] == "The call was not connected: calls that cost money cannot be made at the moment"
    assert scene.callees == []
    books(scene.board.routing, None)
    _, admitted, _ = await talks(scene, "romeo%montague.lit")
    await hangs_up(scene, admitted)
    assert scene.till.used() == (0, 0)


async def test_a_database_that_hangs_is_away_after_a_while(scene: Scene) -> None:
    scene.till.waits = asyncio.Event()
    books(scene.board.routing, one_call())
    scene.from_xmpp(NUMBER, webrtc_session())
    assert (await scene.ended()).cause == "unbooked"


async def test_where_only_a_frozen_account_matters_a_database_that_is_away_does_not(scene: Scene) -> None:
    books(scene.board.routing, Booking(JULIET))
    scene.till.away = True
    _, admitted, _ = await talks(scene)
    await passes(3600)
    await hangs_up(scene, admitted)
    scene.till.away = False
    _, admitted, _ = await talks(scene, leg=2)
    await hangs_up(scene, admitted)
    assert scene.till.said == ["reserve 60", "settle nothing"] * 2
    scene.till.book.freeze(JULIET, "by hand")
    scene.from_xmpp(NUMBER, webrtc_session())
    await scene.until(lambda: len(scene.records) == 3)
    assert scene.records[-1].cause == "frozen"
    scene.till.away = True  # a thief gains nothing by it
    scene.from_xmpp(NUMBER, webrtc_session())
    await scene.until(lambda: len(scene.records) == 4)
    assert scene.records[-1].cause == "frozen"


async def test_a_database_that_goes_away_costs_a_call_no_more_than_one_slice(scene: Scene) -> None:
    books(scene.board.routing, money(10_000_000))
    caller, _, _ = await talks(scene)
    scene.till.away = True
    await passes(SLICE + GRACE + 1)
    record = await scene.ended()
    assert (record.cause, round(record.duration)) == ("unbooked", SLICE + GRACE - MARGIN)
    assert caller.told[-1] == ("hang_up", Cause.UNBOOKED, "")
    assert scene.till.used(Unit.MONEY) == (100_000 + 120_000, 0)  # what it really was, over the reservation or not


async def test_a_database_that_comes_back_in_time_is_not_noticed(scene: Scene) -> None:
    books(scene.board.routing, money(10_000_000))
    caller, admitted, _ = await talks(scene)
    with capture_logs() as logged:
        scene.till.away = True
        await passes(SLICE + 10)
        scene.till.away = False
        await passes(600)
    told = [entry["event"] for entry in logged if "book" in entry["event"]]
    assert told == ["nothing can be booked", "bookings are answered again"]
    assert "hang_up" not in caller.names()
    assert (await hangs_up(scene, admitted)).cause == "normal"
    assert scene.lines == []


async def test_the_price_is_that_of_the_way_that_answered_and_the_dearest_is_reserved(scene: Scene) -> None:
    dear, cheap = Tariff("EUR", connect=1_000_000), Tariff("EUR", per_minute=60_000)
    books(
        scene.board.routing, Booking(JULIET, (claim(Unit.MONEY, 2_000_000),), (), (cheap, dear))
    )  # by carrier, by backup
    caller, admitted = scene.from_xmpp(NUMBER, webrtc_session())
    first = await scene.dialled()
    assert scene.till.used(Unit.MONEY) == (0, 1_000_000)
    first.sink(ev.HungUp(Leg.CALLEE, Cause.CONGESTION, 1))
    second = await scene.dialled(2)
    second.sink(ev.Answered(2, phone_session()))
    await scene.until(lambda: "answer" in caller.names())
    await passes(5)
    record = await hangs_up(scene, admitted)
    assert (record.via, record.price) == ("backup", 1_000_000)
    _, admitted, _ = await talks(scene, leg=3)
    await passes(29.5)
    admitted.sink(ev.HungUp(Leg.CALLER, Cause.NORMAL))
    await scene.until(lambda: len(scene.records) == 2)
    assert (scene.records[-1].via, scene.records[-1].price) == ("carrier", 30_000)


async def test_a_caller_who_never_joins_pays_for_the_answer_that_he_asked_for(scene: Scene) -> None:
    books(scene.board.routing, money(10_000_000))
    caller, _ = scene.from_xmpp(NUMBER)  # late: he brings his session when he is asked for it
    callee = await scene.dialled()
    callee.sink(ev.Answered(1, phone_session()))
    assert caller.names() == ["ask"]
    await passes(21)
    record = await scene.ended()
    assert (record.cause, record.answered, record.duration) == ("timeout", None, 0.0)
    assert record.price == 121_000


async def test_a_transfer_is_booked_as_a_call_of_its_own_and_both_books_balance(scene: Scene) -> None:
    books(scene.board.routing, money(10_000_000))
    _, admitted, romeo = await talks(scene)
    await passes(29.5)
    romeo.sink(ev.TransferAsked(Leg.CALLEE, 1, "sip:+12025550177@192.0.2.5"))
    nurse = await scene.dialled(2)
    assert list(scene.till.open) == [scene.call, f"{scene.call}/2"]
    nurse.sink(ev.Answered(2, phone_session()))
    await scene.until(lambda: romeo.told[-1][0] == "hang_up")
    assert list(scene.till.open) == [f"{scene.call}/2"]
    assert scene.till.used(Unit.MONEY)[0] == 130_000
    await passes(99.5)
    record = await hangs_up(scene, admitted)
    assert record.price == 130_000 + 200_000
    assert scene.till.used(Unit.MONEY) == (330_000, 0)


async def test_a_transfer_that_the_budget_does_not_pay_for_leaves_the_call_as_it_is(scene: Scene) -> None:
    books(scene.board.routing, one_call())
    _, admitted, romeo = await talks(scene)
    romeo.sink(ev.TransferAsked(Leg.CALLEE, 1, "sip:+12025550177@192.0.2.5"))
    await scene.until(lambda: romeo.names()[-1] == "transferred")
    assert romeo.told[-1] == ("transferred", Cause.FORBIDDEN)
    assert (await hangs_up(scene, admitted)).price == 101_000  # a second that has begun


async def test_a_transfer_that_nobody_answers_is_given_back_while_the_talk_goes_on(scene: Scene) -> None:
    books(scene.board.routing, money(10_000_000))
    _, admitted, romeo = await talks(scene)
    romeo.sink(ev.TransferAsked(Leg.CALLEE, 1, "sip:+12025550177@192.0.2.5"))
    nurse = await scene.dialled(2)
    nurse.sink(ev.HungUp(Leg.CALLEE, Cause.BUSY, 2))
    await scene.until(lambda: list(scene.till.open) == [scene.call])
    await passes(299.5)
    assert (await hangs_up(scene, admitted)).price == 400_000


async def test_whoever_is_left_of_a_call_whose_payer_went_hears_that_it_ends(scene: Scene) -> None:
    """A call to a user whose caller sends him to a number: the user pays, and is the one who hears it."""
    books(scene.board.routing, money(100_000 + 30_000))
    _, admitted = scene.from_sip("sip:+12025550100@sip.example.com")
    await scene.dialled(2)
    juliet, nurse = scene.callees
    juliet.sink(ev.Answered(1, webrtc_session()))
    await scene.until(lambda: nurse.told[-1][0] == "hang_up")
    await scene.settled()
    admitted.sink(ev.TransferAsked(Leg.CALLER, 0, "sip:+12025550123@192.0.2.5"))
    number = await scene.dialled(3)
    number.sink(ev.Answered(3, phone_session()))
    await passes(29)
    assert [facts for facts in scene.engine.asked if facts[-1] == "warning"] == [("play", "callee1", "warning")]
    assert (await scene.ended()).cause == "exhausted"
    assert scene.lines[0][0] == JULIET


async def test_the_gateways_own_end_settles_every_call(scene: Scene) -> None:
    books(scene.board.routing, money(10_000_000))
    await talks(scene)
    scene.from_xmpp(ABROAD, webrtc_session())
    await scene.dialled(2)
    await passes(9.5)
    await scene.board.drain()
    assert sorted(scene.till.said[-2:]) == ["settle 10 110000", "settle nothing"]
    assert {record.cause for record in scene.records} == {"shutdown"}


async def test_a_booking_that_fails_by_a_fault_of_ours_is_none(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(ask: object) -> None:
        raise RuntimeError("a bug")

    books(scene.board.routing, Booking(NURSE, (claim(Unit.CALLS, 5),)))
    monkeypatch.setattr(scene.till, "reserve", broken)
    monkeypatch.setattr(scene.till, "settle", lambda *what, **how: None)
    scene.from_xmpp(NUMBER, webrtc_session())
    assert (await scene.ended()).cause == "unbooked"


async def test_a_gateway_without_a_till_makes_no_calls_that_cost() -> None:
    with jumping():
        scene = Scene(accounts=Accounts(Shut()))
        books(scene.board.routing, one_call())
        scene.from_xmpp(NUMBER, webrtc_session())
        assert (await scene.ended()).cause == "unbooked"


async def test_what_the_database_said_and_how_soon_is_counted() -> None:
    said: list[str] = []
    till = Till()
    with jumping():
        scene = Scene(till=till, accounts=Accounts(till, on_answer=lambda outcome, seconds: said.append(outcome)))
        books(scene.board.routing, one_call())
        _, admitted, _ = await talks(scene)
        scene.from_xmpp(NUMBER, webrtc_session())
        await scene.ended()
        till.away = True
        scene.from_xmpp(NUMBER, webrtc_session())
        await scene.until(lambda: len(scene.records) == 2)
        await hangs_up(scene, admitted)
    assert said == ["granted", "granted", "exhausted", "away"]
