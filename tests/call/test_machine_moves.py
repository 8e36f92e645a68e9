"""Media before the answer, and ends that change hands: redirection, transfer, replacement."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call import effects as do
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.machine import Call, State
from gateway.session.model import Session

OFFER, CALLEE_OFFER, EARLY, ANSWER, CALLER_ANSWER, NEW = (
    Session((), id=name) for name in ("o", "co", "e", "a", "c", "n")
)
TRUNK = Destination("carrier", "sip:+12025550123@a", early=True)
BACKUP = Destination("backup", "sip:+12025550123@b")
THIRD = Destination("carrier", "sip:+12025550177@a")
CALL = ev.Offered(((TRUNK,),), OFFER)
LATE = ev.Offered(((TRUNK,),), None)
TRANSFER = ev.Transfer(1, ((THIRD,),))


def ringing(offered: ev.Offered = CALL) -> Call:
    call = Call()
    for event in (offered, ev.OfferReady(1, CALLEE_OFFER), ev.Ringing(1)):
        call.handle(event, 1.0)
    return call


def talking() -> Call:
    call = ringing()
    for event in (ev.Answered(1, ANSWER), ev.AnswerReady(1, CALLER_ANSWER)):
        call.handle(event, 2.0)
    assert call.state is State.TALKING
    return call


# --- media before the answer


def test_early_media_is_heard_and_the_answer_that_repeats_it_only_starts_the_talk() -> None:
    call = ringing()
    assert call.handle(ev.Progressed(1, EARLY), 1.1) == [do.PrepareAnswer(1, EARLY, OFFER)]
    assert call.handle(ev.AnswerReady(1, CALLER_ANSWER), 1.2) == [do.Answer(CALLER_ANSWER)]
    assert call.handle(ev.Answered(1, EARLY), 5.0) == []
    assert call.state is State.TALKING
    record = call.handle(ev.HungUp(Leg.CALLER, Cause.NORMAL), 9.0)[-1]
    assert isinstance(record, do.Record)
    assert record.answered_at == 5.0


def test_a_late_caller_is_asked_for_his_session_once_when_media_comes_early() -> None:
    call = ringing(LATE)
    assert call.handle(ev.Progressed(1, EARLY), 1.1) == [do.AskCaller()]
    assert call.handle(ev.Answered(1, ANSWER), 1.2) == []
    assert call.handle(ev.CallerJoined(OFFER), 1.3) == [do.PrepareAnswer(1, ANSWER, OFFER)]


def test_a_late_caller_joins_the_early_media() -> None:
    call = ringing(LATE)
    call.handle(ev.Progressed(1, EARLY), 1.1)
    assert call.handle(ev.CallerJoined(OFFER), 1.3) == [do.PrepareAnswer(1, EARLY, OFFER)]


def test_an_answer_from_elsewhere_than_the_early_media_is_paired_with_the_caller_who_has_his() -> None:
    call = ringing()
    call.handle(ev.Progressed(1, EARLY), 1.1)
    call.handle(ev.AnswerReady(1, CALLER_ANSWER), 1.2)
    assert call.handle(ev.Answered(1, ANSWER), 5.0) == [do.Pair(1, ANSWER, 0)]
    call.handle(ev.Paired(1), 5.1)
    assert call.state is State.TALKING


def test_an_answer_that_overtakes_the_early_media_waits_for_the_callers_and_is_then_paired() -> None:
    call = ringing()
    call.handle(ev.Progressed(1, EARLY), 1.1)
    assert call.handle(ev.Answered(1, ANSWER), 1.2) == []
    assert call.handle(ev.AnswerReady(1, CALLER_ANSWER), 1.3) == [do.Answer(CALLER_ANSWER), do.Pair(1, ANSWER, 0)]


def test_an_answer_that_was_withheld_too_long_leaves_time_for_the_pairing_that_follows() -> None:
    call = ringing(replace(CALL, await_media=True))
    call.handle(ev.Progressed(1, EARLY), 1.1)
    call.handle(ev.Answered(1, ANSWER), 1.2)
    assert call.handle(ev.AnswerReady(1, CALLER_ANSWER), 1.3) == []
    assert call.handle(ev.TimedOut(), 4.3) == [do.Answer(CALLER_ANSWER), do.Pair(1, ANSWER, 0)]
    assert call.deadline == 14.3


def test_early_media_is_not_let_through_where_the_destination_does_not_say_so() -> None:
    call = ringing(ev.Offered(((replace(TRUNK, early=False),),), OFFER))
    assert call.handle(ev.Progressed(1, EARLY), 1.1) == []


def test_after_early_media_the_next_trunk_is_paired_with_the_same_caller() -> None:
    call = ringing(ev.Offered(((TRUNK,), (BACKUP,)), OFFER, frozenset({Cause.CONGESTION})))
    call.handle(ev.Progressed(1, EARLY), 1.1)
    call.handle(ev.AnswerReady(1, CALLER_ANSWER), 1.2)
    todo = call.handle(ev.HungUp(Leg.CALLEE, Cause.CONGESTION, 1), 2.0)
    assert todo == [do.ReleaseAttempt(1), do.PrepareOffer(2, BACKUP, OFFER)]
    call.handle(ev.OfferReady(2, CALLEE_OFFER), 2.1)
    assert call.handle(ev.Answered(2, ANSWER), 3.0) == [do.Pair(2, ANSWER, 0)]
    assert call.handle(ev.PairFailed(2, Cause.NO_COMMON_CODEC), 3.1)[:2] == [
        do.HangUp(Leg.CALLER, Cause.NO_COMMON_CODEC, 0),
        do.HangUp(Leg.CALLEE, Cause.NO_COMMON_CODEC, 2),
    ]


def test_an_attempt_whose_early_media_cannot_be_heard_is_cancelled() -> None:
    call = ringing()
    call.handle(ev.Progressed(1, EARLY), 1.1)
    todo = call.handle(ev.AnswerFailed(1, Cause.NO_COMMON_CODEC), 1.2)
    assert do.HangUp(Leg.CALLEE, Cause.CANCELLED, 1) in todo
    assert do.HangUp(Leg.CALLER, Cause.NO_COMMON_CODEC, 0) in todo


# --- redirection


def test_a_callee_who_points_elsewhere_is_followed_before_the_next_trunk() -> None:
    call = ringing(ev.Offered(((TRUNK,), (BACKUP,)), OFFER))
    assert call.handle(ev.Detour(1, ((THIRD,),)), 2.0) == [do.ReleaseAttempt(1), do.PrepareOffer(2, THIRD, OFFER)]


def test_of_two_callees_one_who_points_elsewhere_waits_for_the_other() -> None:
    call = ringing(ev.Offered(((TRUNK, BACKUP),), OFFER))
    assert call.handle(ev.Detour(1, ((THIRD,),)), 2.0) == [do.ReleaseAttempt(1)]
    todo = call.handle(ev.OfferFailed(2, Cause.INTERNAL), 3.0)
    assert todo == [do.ReleaseAttempt(2), do.PrepareOffer(3, THIRD, OFFER)]


# --- transfer


def test_a_transfer_connects_the_end_that_stays_with_the_new_one_and_lets_the_asker_go() -> None:
    call = talking()
    assert call.handle(TRANSFER, 10.0) == [do.TellTransfer(1, None), do.PrepareOffer(2, THIRD, None, 0)]
    assert call.handle(ev.OfferReady(2, CALLEE_OFFER), 10.1) == [do.Dial(2, THIRD, CALLEE_OFFER)]
    assert call.handle(ev.Ringing(2), 11.0) == [do.Play(0, "ringback")]
    assert call.handle(ev.Ringing(2), 11.5) == []
    assert call.handle(ev.Answered(2, NEW), 12.0) == [do.Pair(2, NEW, 0)]
    assert call.handle(ev.Paired(2), 12.1) == [
        do.Play(0, None),
        do.TellTransfer(1, Cause.NORMAL),
        do.HangUp(Leg.CALLEE, Cause.NORMAL, 1),
        do.ReleaseAttempt(1),
    ]
    assert call.handle(ev.HungUp(Leg.CALLEE, Cause.NORMAL, 1), 12.2) == []  # the asker's own good-bye crosses
    assert call.handle(ev.HungUp(Leg.CALLEE, Cause.NORMAL, 2), 20.0)[0] == do.HangUp(Leg.CALLER, Cause.NORMAL, 0)


def test_a_caller_may_transfer_the_callee_and_leave() -> None:
    call = talking()
    assert call.handle(ev.Transfer(0, ((THIRD,),)), 10.0) == [
        do.TellTransfer(0, None),
        do.PrepareOffer(2, THIRD, None, 1),
    ]
    assert call.handle(ev.HungUp(Leg.CALLER, Cause.NORMAL), 10.05) == []
    for event in (ev.OfferReady(2, CALLEE_OFFER), ev.Answered(2, NEW)):
        call.handle(event, 10.1)
    assert call.handle(ev.Paired(2), 10.2) == [do.ReleaseAttempt(0)]
    ended = call.handle(ev.HungUp(Leg.CALLEE, Cause.NORMAL, 1), 20.0)
    assert ended[0] == do.HangUp(Leg.CALLEE, Cause.NORMAL, 2)
    record = ended[-1]
    assert isinstance(record, do.Record)
    assert record.by is Leg.CALLEE


def test_a_transfer_that_fails_is_told_and_the_two_go_on_talking() -> None:
    call = talking()
    deadline = call.deadline
    call.handle(TRANSFER, 10.0)
    call.handle(ev.OfferReady(2, CALLEE_OFFER), 10.1)
    call.handle(ev.Ringing(2), 10.2)
    assert call.handle(ev.HungUp(Leg.CALLEE, Cause.BUSY, 2), 11.0) == [
        do.ReleaseAttempt(2),
        do.Play(0, None),
        do.TellTransfer(1, Cause.BUSY),
    ]
    assert (call.state, call.deadline) == (State.TALKING, deadline)


def test_a_transfer_that_fails_after_the_asker_left_ends_the_call() -> None:
    call = talking()
    call.handle(TRANSFER, 10.0)
    call.handle(ev.HungUp(Leg.CALLEE, Cause.NORMAL, 1), 10.1)
    call.handle(ev.OfferReady(2, CALLEE_OFFER), 10.2)
    todo = call.handle(ev.HungUp(Leg.CALLEE, Cause.BUSY, 2), 11.0)
    assert do.HangUp(Leg.CALLER, Cause.BUSY, 0) in todo
    assert not any(isinstance(effect, do.HangUp) and effect.attempt == 1 for effect in todo)


def test_a_transfer_that_nobody_answers_is_given_up_and_the_talk_goes_on() -> None:
    call = talking()
    call.handle(TRANSFER, 10.0)
    call.handle(ev.OfferReady(2, CALLEE_OFFER), 10.1)
    assert call.deadline == 70.0
    assert call.handle(ev.TimedOut(), 70.0) == [
        do.HangUp(Leg.CALLEE, Cause.CANCELLED, 2),
        do.ReleaseAttempt(2),
        do.TellTransfer(1, Cause.NO_ANSWER),
    ]
    assert call.state is State.TALKING


def test_a_second_transfer_while_one_is_under_way_changes_nothing() -> None:
    call = talking()
    call.handle(TRANSFER, 10.0)
    assert call.handle(ev.Transfer(0, ((BACKUP,),)), 10.1) == []


def test_the_end_that_stays_may_hang_up_in_the_middle_of_a_transfer() -> None:
    call = talking()
    call.handle(TRANSFER, 10.0)
    call.handle(ev.OfferReady(2, CALLEE_OFFER), 10.1)
    call.handle(ev.Answered(2, NEW), 10.2)
    todo = call.handle(ev.HungUp(Leg.CALLER, Cause.NORMAL), 10.3)
    assert todo[:2] == [do.HangUp(Leg.CALLEE, Cause.CANCELLED, 2), do.HangUp(Leg.CALLEE, Cause.NORMAL, 1)]


# --- replacement


def test_a_newcomer_takes_the_place_of_an_end_and_is_answered() -> None:
    call = talking()
    number = call.reserve()
    assert call.handle(ev.TakeOver(1, number, NEW), 10.0) == [do.Adopt(number, NEW, 0)]
    assert call.handle(ev.Adopted(number, ANSWER), 10.1) == [
        do.Answer(ANSWER, number),
        do.HangUp(Leg.CALLEE, Cause.ELSEWHERE, 1),
        do.ReleaseAttempt(1),
    ]
    assert call.handle(ev.HungUp(Leg.CALLEE, Cause.NORMAL, number), 20.0)[0] == do.HangUp(Leg.CALLER, Cause.NORMAL, 0)


def test_a_newcomer_whom_nothing_can_be_agreed_with_goes_and_the_talk_goes_on() -> None:
    call = talking()
    number = call.reserve()
    call.handle(ev.TakeOver(1, number, NEW), 10.0)
    todo = call.handle(ev.PairFailed(number, Cause.NO_COMMON_CODEC), 10.1)
    assert todo == [do.HangUp(Leg.CALLEE, Cause.NO_COMMON_CODEC, number, ""), do.ReleaseAttempt(number)]
    assert call.state is State.TALKING


def test_a_newcomer_who_gives_up_leaves_the_talk_alone() -> None:
    call = talking()
    number = call.reserve()
    call.handle(ev.TakeOver(1, number, NEW), 10.0)
    assert call.handle(ev.HungUp(Leg.CALLEE, Cause.CANCELLED, number), 10.1) == [do.ReleaseAttempt(number)]


def test_nobody_takes_over_a_call_that_is_not_up() -> None:
    call = ringing()
    assert call.handle(ev.TakeOver(1, 7, NEW), 2.0) == [do.HangUp(Leg.CALLEE, Cause.CANCELLED, 7)]


def test_a_newcomer_in_the_middle_of_a_transfer_ends_the_transfer() -> None:
    call = talking()
    call.handle(TRANSFER, 10.0)
    call.handle(ev.OfferReady(2, CALLEE_OFFER), 10.1)
    number = call.reserve()
    call.handle(ev.TakeOver(1, number, NEW), 10.2)
    assert call.handle(ev.Adopted(number, ANSWER), 10.3) == [
        do.Answer(ANSWER, number),
        do.HangUp(Leg.CALLEE, Cause.CANCELLED, 2),
        do.ReleaseAttempt(2),
        do.TellTransfer(1, Cause.CANCELLED),
        do.HangUp(Leg.CALLEE, Cause.ELSEWHERE, 1),
        do.ReleaseAttempt(1),
    ]


# --- whatever the order

_NUMBER = st.integers(0, 4)
_CAUSE = st.sampled_from([Cause.BUSY, Cause.NORMAL, Cause.CONGESTION])
_EVENTS = st.one_of(
    st.builds(ev.OfferReady, _NUMBER, st.just(CALLEE_OFFER)),
    st.builds(ev.OfferFailed, _NUMBER, _CAUSE),
    st.builds(ev.Ringing, _NUMBER),
    st.builds(ev.Progressed, _NUMBER, st.just(EARLY)),
    st.builds(ev.Answered, _NUMBER, st.sampled_from([EARLY, ANSWER])),
    st.just(ev.CallerJoined(OFFER)),
    st.builds(ev.MediaUp, _NUMBER),
    st.builds(ev.AnswerReady, _NUMBER, st.just(CALLER_ANSWER)),
    st.builds(ev.AnswerFailed, _NUMBER, _CAUSE),
    st.builds(ev.Paired, _NUMBER),
    st.builds(ev.PairFailed, _NUMBER, _CAUSE),
    st.builds(ev.Adopted, _NUMBER, st.just(ANSWER)),
    st.builds(ev.Detour, _NUMBER, st.just(((THIRD,),))),
    st.builds(ev.Transfer, _NUMBER, st.just(((THIRD,), (BACKUP,)))),
    st.tuples(_NUMBER),  # a newcomer for whoever has this number
    st.builds(ev.HungUp, st.just(Leg.CALLEE), _CAUSE, _NUMBER),
    st.just(ev.HungUp(Leg.CALLER, Cause.NORMAL)),
    st.just(ev.TimedOut()),
)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from([CALL, LATE, replace(CALL, await_media=True)]), st.booleans(), st.lists(_EVENTS, max_size=14))
def test_whatever_the_order_nobody_is_left_in_half_a_call(offered: ev.Offered, up: bool, events: list[object]) -> None:
    """Everybody who was dialled or came is hung up, or left himself; nothing rings or is recorded twice."""
    call, done, left, came = Call(), list[do.Effect](), set[int](), set[int]()

    def tell(event: ev.Event) -> None:
        if isinstance(event, ev.HungUp | ev.Detour):
            left.add(event.attempt)
        done.extend(call.handle(event, 3.0))

    begun: list[ev.Event] = [offered, ev.OfferReady(1, CALLEE_OFFER)]
    answered: list[ev.Event] = [ev.Answered(1, ANSWER), ev.CallerJoined(OFFER), ev.AnswerReady(1, CALLER_ANSWER)]
    for event in (*begun, *(answered if up else ())):
        tell(event)
    for told in events:
        if isinstance(told, ev.Event):
            tell(told)
        elif isinstance(told, tuple):
            number = call.reserve()
            came.add(number)
            tell(ev.TakeOver(told[0], number, NEW))
    tell(ev.Stopped(Cause.SHUTDOWN))
    assert call.state is State.ENDED
    assert call.deadline is None
    kinds = [type(effect) for effect in done]
    assert [kinds.count(once) for once in (do.Record, do.CloseMedia)] == [1, 1]
    assert kinds.count(do.Alert) <= 1
    assert kinds.count(do.AskCaller) <= 1
    assert sum(isinstance(effect, do.Answer) and effect.attempt == 0 for effect in done) <= 1
    there = {effect.attempt for effect in done if isinstance(effect, do.Dial)} | came | {0}
    hung_up = {effect.attempt for effect in done if isinstance(effect, do.HangUp)}
    assert there <= hung_up | left
