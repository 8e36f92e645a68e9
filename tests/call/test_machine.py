"""The life of a call, told without a wire."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from gateway.call import effects as do
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.machine import Call, Patience, State
from gateway.session.model import Session

OFFER, CALLEE_OFFER, ANSWER, CALLER_ANSWER = (Session((), id=name) for name in ("o", "co", "a", "ca"))
TRUNK, BACKUP = Destination("carrier", "sip:+12025550123@a"), Destination("backup", "sip:+12025550123@b")
NURSE, JULIET = Destination("xmpp", "nurse@shakespeare.lit"), Destination("xmpp", "juliet@shakespeare.lit")
ROMEO_CALLS = ev.Offered(((TRUNK,),), OFFER)
FAILOVER = ev.Offered(((TRUNK,), (BACKUP,)), OFFER, frozenset({Cause.CONGESTION, Cause.TIMEOUT}))
RING_BOTH = ev.Offered(((NURSE, JULIET),), OFFER)


def call_in(state: State, offered: ev.Offered = ROMEO_CALLS) -> Call:
    """A call that has come to `state` the ordinary way."""
    call = Call()
    late = offered.session is None
    way: dict[State, list[ev.Event]] = {
        State.NEW: [],
        State.SEEKING: [offered, ev.OfferReady(1, CALLEE_OFFER)],
        State.RINGING: [ev.Ringing(1)],
        State.JOINING: [ev.Answered(1, ANSWER)] if late else [],  # a caller with a session never stops here
        State.ANSWERED: [ev.CallerJoined(OFFER)] if late else [ev.Answered(1, ANSWER)],
        State.TALKING: [ev.AnswerReady(1, CALLER_ANSWER)],
        State.ENDED: [ev.HungUp(Leg.CALLER, Cause.NORMAL)],
    }
    for reached, events in way.items():
        for event in events:
            call.handle(event, now=1.0)
        assert call.state is reached or not events
        if reached is state:
            break
    return call


def kinds(effects: list[do.Effect]) -> list[type]:
    return [type(effect) for effect in effects]


def test_a_call_is_offered_dialled_rung_answered_and_recorded() -> None:
    call = Call()
    assert call.handle(ROMEO_CALLS, 0.0) == [do.PrepareOffer(1, TRUNK, OFFER)]
    assert call.handle(ev.OfferReady(1, CALLEE_OFFER), 0.1) == [do.Dial(1, TRUNK, CALLEE_OFFER)]
    assert call.handle(ev.Ringing(1), 1.0) == [do.Alert()]
    assert call.handle(ev.Answered(1, ANSWER), 5.0) == [do.PrepareAnswer(1, ANSWER, OFFER)]
    assert call.handle(ev.AnswerReady(1, CALLER_ANSWER), 5.1) == [do.Answer(CALLER_ANSWER)]
    assert call.handle(ev.HungUp(Leg.CALLEE, Cause.NORMAL, 1), 65.1) == [
        do.HangUp(Leg.CALLER, Cause.NORMAL),
        do.CloseMedia(),
        do.Record(Cause.NORMAL, Leg.CALLEE, "", TRUNK, 0.0, 1.0, 5.1, 65.1),
    ]


def test_a_late_caller_is_asked_for_his_session_only_when_the_callee_has_answered() -> None:
    call = Call()
    assert call.handle(ev.Offered(((TRUNK,),), None), 0.0) == [do.PrepareOffer(1, TRUNK, None)]
    call.handle(ev.OfferReady(1, CALLEE_OFFER), 0.1)
    assert call.handle(ev.Answered(1, ANSWER), 5.0) == [do.AskCaller()]
    assert call.handle(ev.CallerJoined(OFFER), 5.5) == [do.PrepareAnswer(1, ANSWER, OFFER)]
    assert call.handle(ev.AnswerReady(1, CALLER_ANSWER), 5.6) == [do.Answer(CALLER_ANSWER)]


def test_a_late_caller_who_does_not_wait_to_be_asked_is_not_asked() -> None:
    call = call_in(State.RINGING, ev.Offered(((TRUNK,),), None))
    assert call.handle(ev.CallerJoined(OFFER), 4.0) == []
    assert call.handle(ev.Answered(1, ANSWER), 5.0) == [do.PrepareAnswer(1, ANSWER, OFFER)]


def test_a_late_caller_who_never_joins_loses_the_call_and_the_callee_is_hung_up() -> None:
    call = call_in(State.JOINING, ev.Offered(((TRUNK,),), None))
    assert call.deadline == 1.0 + Patience().join
    todo = call.handle(ev.TimedOut(), call.deadline)
    assert do.HangUp(Leg.CALLEE, Cause.TIMEOUT, 1) in todo
    assert do.HangUp(Leg.CALLER, Cause.TIMEOUT) in todo


def test_a_caller_who_cancels_while_it_rings_cancels_the_callee() -> None:
    todo = call_in(State.RINGING).handle(ev.HungUp(Leg.CALLER, Cause.CANCELLED), 9.0)
    assert todo[:2] == [do.HangUp(Leg.CALLEE, Cause.CANCELLED, 1), do.CloseMedia()]


def test_an_answer_that_crosses_a_cancel_is_hung_up() -> None:
    call = call_in(State.RINGING)
    call.handle(ev.HungUp(Leg.CALLER, Cause.CANCELLED), 9.0)
    assert call.handle(ev.Answered(1, ANSWER), 9.01) == [do.HangUp(Leg.CALLEE, Cause.CANCELLED, 1)]


def test_the_same_answer_again_changes_nothing() -> None:
    call = call_in(State.TALKING)
    assert call.handle(ev.Answered(1, ANSWER), 9.0) == []


def test_both_ends_hanging_up_makes_one_record() -> None:
    call = call_in(State.TALKING)
    first = call.handle(ev.HungUp(Leg.CALLER, Cause.NORMAL), 9.0)
    second = call.handle(ev.HungUp(Leg.CALLEE, Cause.NORMAL, 1), 9.0)
    assert kinds(first + second).count(do.Record) == 1


def test_a_callee_never_dialled_is_never_hung_up() -> None:
    call = Call()
    call.handle(ROMEO_CALLS, 0.0)
    todo = call.handle(ev.MediaLost(Cause.INTERNAL), 2.0)
    assert todo[:2] == [do.HangUp(Leg.CALLER, Cause.INTERNAL), do.CloseMedia()]


def test_an_offer_that_is_ready_too_late_dials_nobody() -> None:
    call = Call()
    call.handle(ROMEO_CALLS, 0.0)
    call.handle(ev.HungUp(Leg.CALLER, Cause.CANCELLED), 0.1)
    assert call.handle(ev.OfferReady(1, CALLEE_OFFER), 0.2) == []


def test_a_busy_callee_is_told_to_the_caller_with_his_own_words() -> None:
    todo = call_in(State.SEEKING).handle(ev.HungUp(Leg.CALLEE, Cause.BUSY, 1, "486 Busy Here"), 2.0)
    assert todo[0] == do.HangUp(Leg.CALLER, Cause.BUSY, 0, "486 Busy Here")
    assert isinstance(todo[-1], do.Record)
    assert todo[-1].by is Leg.CALLEE


def test_ringing_too_long_is_no_answer() -> None:
    call = call_in(State.RINGING)
    assert call.deadline == 1.0 + Patience().setup
    todo = call.handle(ev.TimedOut(), call.deadline)
    assert todo[:2] == [do.HangUp(Leg.CALLER, Cause.NO_ANSWER), do.HangUp(Leg.CALLEE, Cause.CANCELLED, 1)]


def test_a_repeated_ring_neither_alerts_again_nor_gives_more_time() -> None:
    call = call_in(State.RINGING)
    before = call.deadline
    assert call.handle(ev.Ringing(1), 60.0) == []
    assert call.deadline == before


def test_silence_from_the_far_side_means_that_nobody_is_there() -> None:
    call = call_in(State.SEEKING)
    assert call.deadline is not None
    assert call.handle(ev.TimedOut(), call.deadline)[0] == do.HangUp(Leg.CALLER, Cause.UNAVAILABLE)


def test_a_refused_call_is_refused_and_recorded() -> None:
    assert Call().handle(ev.Refused(Cause.FORBIDDEN, "no premium numbers"), 0.0) == [
        do.HangUp(Leg.CALLER, Cause.FORBIDDEN, 0, "no premium numbers"),
        do.CloseMedia(),
        do.Record(Cause.FORBIDDEN, None, "no premium numbers", None, 0.0, None, None, 0.0),
    ]


def test_a_caller_who_gives_up_before_the_way_is_known_causes_no_call() -> None:
    call = Call()
    assert call.handle(ev.HungUp(Leg.CALLER, Cause.CANCELLED), 3.0) == [
        do.CloseMedia(),
        do.Record(Cause.CANCELLED, Leg.CALLER, "", None, 3.0, None, None, 3.0),
    ]
    assert call.handle(ROMEO_CALLS, 3.1) == []


def test_a_call_to_nobody_ends_as_not_found() -> None:
    assert Call().handle(ev.Offered((), OFFER), 0.0)[0] == do.HangUp(Leg.CALLER, Cause.NOT_FOUND)


def test_a_dead_trunk_leads_to_the_next_one() -> None:
    call = call_in(State.SEEKING, FAILOVER)
    assert call.handle(ev.HungUp(Leg.CALLEE, Cause.CONGESTION, 1), 2.0) == [
        do.ReleaseAttempt(1),
        do.PrepareOffer(2, BACKUP, OFFER),
    ]
    assert call.handle(ev.OfferReady(2, CALLEE_OFFER), 2.1) == [do.Dial(2, BACKUP, CALLEE_OFFER)]
    assert call.handle(ev.Answered(2, ANSWER), 3.0) == [do.PrepareAnswer(2, ANSWER, OFFER)]


def test_a_trunk_that_says_nothing_is_not_waited_for_when_there_is_another_one() -> None:
    call = Call()
    call.handle(FAILOVER, 0.0)
    assert call.handle(ev.OfferReady(1, CALLEE_OFFER), 0.1) == [do.Dial(1, TRUNK, CALLEE_OFFER, alternative=True)]
    picky = Call()
    picky.handle(replace(FAILOVER, advance_on=frozenset({Cause.CONGESTION})), 0.0)
    assert picky.handle(ev.OfferReady(1, CALLEE_OFFER), 0.1) == [do.Dial(1, TRUNK, CALLEE_OFFER)]


def test_a_busy_number_is_not_tried_on_the_next_trunk() -> None:
    todo = call_in(State.SEEKING, FAILOVER).handle(ev.HungUp(Leg.CALLEE, Cause.BUSY, 1), 2.0)
    assert todo[0] == do.HangUp(Leg.CALLER, Cause.BUSY)


def test_a_failed_offer_is_a_failed_attempt() -> None:
    call = Call()
    call.handle(FAILOVER, 0.0)
    assert do.PrepareOffer(2, BACKUP, OFFER) in call.handle(ev.OfferFailed(1, Cause.CONGESTION), 0.1)
    assert call.handle(ev.OfferFailed(2, Cause.INTERNAL, "no port"), 0.2)[0] == do.HangUp(
        Leg.CALLER, Cause.CONGESTION, 0, ""
    )


def test_a_telephone_that_rings_stops_when_its_media_is_lost() -> None:
    call = call_in(State.RINGING, FAILOVER)
    assert call.handle(ev.OfferFailed(1, Cause.CONGESTION), 2.0) == [
        do.HangUp(Leg.CALLEE, Cause.CANCELLED, 1),
        do.ReleaseAttempt(1),
        do.PrepareOffer(2, BACKUP, OFFER),
    ]
    call.handle(ev.OfferReady(2, CALLEE_OFFER), 2.1)
    assert call.handle(ev.OfferFailed(2, Cause.INTERNAL, "the media worker died"), 3.0)[0] == do.HangUp(
        Leg.CALLEE, Cause.CANCELLED, 2
    )


def test_our_own_trouble_is_not_recorded_as_the_callees() -> None:
    call = call_in(State.RINGING)
    (*_, record) = call.handle(ev.OfferFailed(1, Cause.INTERNAL, "the worker died"), 3.0)
    assert isinstance(record, do.Record)
    assert (record.cause, record.by) == (Cause.INTERNAL, None)


def test_the_second_stage_does_not_get_more_time_than_the_call_has() -> None:
    call = Call(Patience(setup=30.0, stage=20.0))
    call.handle(FAILOVER, 0.0)
    call.handle(ev.OfferReady(1, CALLEE_OFFER), 0.0)
    assert call.deadline == 20.0
    todo = call.handle(ev.TimedOut(), 20.0)
    assert todo == [do.HangUp(Leg.CALLEE, Cause.CANCELLED, 1), do.ReleaseAttempt(1), do.PrepareOffer(2, BACKUP, OFFER)]
    assert call.deadline == 30.0


def test_the_first_of_two_ringing_callees_wins_and_the_other_stops() -> None:
    call = Call()
    assert call.handle(RING_BOTH, 0.0) == [do.PrepareOffer(1, NURSE, OFFER), do.PrepareOffer(2, JULIET, OFFER)]
    for attempt in (1, 2):
        call.handle(ev.OfferReady(attempt, CALLEE_OFFER), 0.1)
        call.handle(ev.Ringing(attempt), 0.5)
    assert call.handle(ev.Answered(2, ANSWER), 3.0) == [
        do.HangUp(Leg.CALLEE, Cause.ELSEWHERE, 1),
        do.ReleaseAttempt(1),
        do.PrepareAnswer(2, ANSWER, OFFER),
    ]
    assert call.handle(ev.Answered(1, ANSWER), 3.01) == [do.HangUp(Leg.CALLEE, Cause.ELSEWHERE, 1)]
    assert call.handle(ev.HungUp(Leg.CALLEE, Cause.CANCELLED, 1), 3.02) == []
    assert call.state is State.ANSWERED


def test_one_of_two_ringing_callees_who_declines_does_not_end_the_call() -> None:
    call = Call()
    call.handle(RING_BOTH, 0.0)
    for attempt in (1, 2):
        call.handle(ev.OfferReady(attempt, CALLEE_OFFER), 0.1)
    assert call.handle(ev.HungUp(Leg.CALLEE, Cause.DECLINED, 1), 1.0) == [do.ReleaseAttempt(1)]
    todo = call.handle(ev.HungUp(Leg.CALLEE, Cause.UNAVAILABLE, 2), 2.0)
    assert todo[0] == do.HangUp(Leg.CALLER, Cause.DECLINED), "a human's word counts more than an absent phone"


def test_media_that_cannot_be_brought_together_ends_the_call_on_both_sides() -> None:
    todo = call_in(State.ANSWERED).handle(ev.AnswerFailed(1, Cause.NO_COMMON_CODEC, "opus only"), 2.0)
    assert todo[:2] == [
        do.HangUp(Leg.CALLER, Cause.NO_COMMON_CODEC, 0, "opus only"),
        do.HangUp(Leg.CALLEE, Cause.NO_COMMON_CODEC, 1, "opus only"),
    ]


def test_the_longest_duration_ends_a_call() -> None:
    call = call_in(State.TALKING)
    assert call.deadline == 1.0 + Patience().talk
    assert call.handle(ev.TimedOut(), call.deadline)[0] == do.HangUp(Leg.CALLER, Cause.TOO_LONG)


def test_the_callee_who_answers_says_how_long_may_be_talked_at_most() -> None:
    brief = replace(TRUNK, talk=60.0)
    assert call_in(State.TALKING, ev.Offered(((brief,),), OFFER)).deadline == 61.0
    endless = replace(TRUNK, talk=1e9)
    assert call_in(State.TALKING, ev.Offered(((endless,),), OFFER)).deadline == 1.0 + Patience().talk


def test_an_engine_that_never_comes_back_ends_the_call() -> None:
    call = call_in(State.ANSWERED)
    assert call.deadline == 1.0 + Patience().answer
    assert call.handle(ev.TimedOut(), call.deadline)[0] == do.HangUp(Leg.CALLER, Cause.INTERNAL)


def test_the_gateway_can_stop_a_call_that_rings() -> None:
    todo = call_in(State.RINGING).handle(ev.Stopped(Cause.SHUTDOWN), 3.0)
    assert todo[:2] == [do.HangUp(Leg.CALLER, Cause.SHUTDOWN), do.HangUp(Leg.CALLEE, Cause.CANCELLED, 1)]


EVERY_EVENT: list[ev.Event] = [
    RING_BOTH,
    ev.Refused(Cause.FORBIDDEN),
    ev.OfferReady(1, CALLEE_OFFER),
    ev.OfferReady(2, CALLEE_OFFER),
    ev.OfferFailed(2, Cause.INTERNAL),
    ev.AnswerReady(1, CALLER_ANSWER),
    ev.AnswerFailed(1, Cause.INTERNAL),
    ev.CallerJoined(OFFER),
    ev.Ringing(1),
    ev.Answered(1, ANSWER),
    ev.Answered(2, ANSWER),
    ev.HungUp(Leg.CALLER, Cause.NORMAL),
    ev.HungUp(Leg.CALLEE, Cause.BUSY, 1),
    ev.HungUp(Leg.CALLEE, Cause.CONGESTION, 2),
    ev.MediaLost(Cause.MEDIA_LOST),
    ev.Stopped(Cause.SHUTDOWN),
    ev.TimedOut(),
]


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("offered", [ROMEO_CALLS, ev.Offered(((TRUNK,),), None)], ids=["direct", "late"])
def test_every_event_in_every_state_is_survived(state: State, event: ev.Event, offered: ev.Offered) -> None:
    call = call_in(state, offered)
    call.handle(event, 2.0)
    assert (call.deadline is None) == (call.state in (State.NEW, State.ENDED))


@pytest.mark.parametrize("offered", [ROMEO_CALLS, RING_BOTH, FAILOVER, ev.Offered(((TRUNK,),), None)])
def test_whatever_the_order_nobody_is_left_in_half_a_call(offered: ev.Offered) -> None:
    """Late, crossing and doubled events in all orders of three after two ordinary ones; then everything is ended."""
    for order in itertools.product(EVERY_EVENT[1:], repeat=3):
        call = Call()
        told = [offered, ev.OfferReady(1, CALLEE_OFFER), *order]
        done = [effect for event in told for effect in call.handle(event, 1.0)]
        done += call.handle(ev.Stopped(Cause.SHUTDOWN), 2.0)
        assert call.state is State.ENDED
        seen = kinds(done)
        assert seen.count(do.Record) == 1
        assert seen.count(do.CloseMedia) == 1
        assert seen.count(do.Alert) <= 1
        assert seen.count(do.Answer) <= 1
        assert seen.count(do.PrepareAnswer) <= 1
        dialled = {effect.attempt for effect in done if isinstance(effect, do.Dial)}
        hung_up = {effect.attempt for effect in done if isinstance(effect, do.HangUp) and effect.leg is Leg.CALLEE}
        left = {event.attempt for event in told if isinstance(event, ev.HungUp)}
        assert dialled <= hung_up | left, order
        caller_left = any(isinstance(event, ev.HungUp) and event.leg is Leg.CALLER for event in told)
        caller_hung_up = any(isinstance(effect, do.HangUp) and effect.leg is Leg.CALLER for effect in done)
        assert caller_hung_up or caller_left, order
        if do.Answer in seen:
            assert ev.AnswerReady in map(type, order)


def test_a_callee_still_in_the_hunt_when_it_fails_elsewhere_is_cancelled() -> None:
    call = Call()
    call.handle(RING_BOTH, 0.0)
    for attempt in (1, 2):
        call.handle(ev.OfferReady(attempt, CALLEE_OFFER), 0.1)
    todo = call.handle(ev.HungUp(Leg.CALLER, Cause.CANCELLED), 1.0)
    assert todo[:2] == [do.HangUp(Leg.CALLEE, Cause.CANCELLED, 1), do.HangUp(Leg.CALLEE, Cause.CANCELLED, 2)]


def test_a_caller_who_will_speak_at_once_is_answered_when_he_can_be_heard() -> None:
    call = call_in(State.ANSWERED, replace(ROMEO_CALLS, await_media=True))
    assert call.handle(ev.AnswerReady(1, CALLER_ANSWER), 5.0) == []
    assert call.deadline == 8.0
    assert call.handle(ev.MediaUp(1), 5.3) == [do.Answer(CALLER_ANSWER)]
    assert call.state is State.TALKING
    assert call.handle(ev.MediaUp(1), 5.4) == []


def test_media_that_flows_before_the_answer_is_ready_is_not_waited_for() -> None:
    call = call_in(State.ANSWERED, replace(ROMEO_CALLS, await_media=True))
    assert call.handle(ev.MediaUp(1), 4.9) == []
    assert call.handle(ev.AnswerReady(1, CALLER_ANSWER), 5.0) == [do.Answer(CALLER_ANSWER)]


def test_media_that_takes_longer_than_three_seconds_does_not_keep_the_caller_waiting() -> None:
    call = call_in(State.ANSWERED, replace(ROMEO_CALLS, await_media=True))
    call.handle(ev.AnswerReady(1, CALLER_ANSWER), 5.0)
    assert call.handle(ev.TimedOut(), 8.0) == [do.Answer(CALLER_ANSWER)]
    assert call.state is State.TALKING


def test_a_callee_whose_media_fails_before_the_caller_was_answered_leaves_a_call_that_failed() -> None:
    call = call_in(State.ANSWERED, replace(ROMEO_CALLS, await_media=True))
    call.handle(ev.AnswerReady(1, CALLER_ANSWER), 5.0)
    todo = call.handle(ev.MediaLost(Cause.SECURITY), 6.0)
    assert todo[0] == do.HangUp(Leg.CALLER, Cause.SECURITY)
    assert call.handle(ev.MediaUp(1), 6.1) == []


def test_a_caller_hears_that_a_device_is_being_woken_and_nothing_rings() -> None:
    call = call_in(State.SEEKING)
    assert call.handle(ev.Waking(1), 3.0) == [do.Progress()]
    assert call_in(State.RINGING).handle(ev.Waking(1), 3.0) == []
    assert call_in(State.TALKING).handle(ev.Waking(1), 3.0) == []
