"""What a journal says of whole calls, told by the machine that it watches."""

from __future__ import annotations

import pytest

from gateway.call import effects as do
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.journal import MOST_ATTEMPTS, Journal
from gateway.call.machine import Call, Patience
from gateway.session.model import Session

FIRST, SECOND, THIRD = (Destination(via, f"sip:1@{via}") for via in ("first", "second", "third"))
OURS, THEIRS = Session(()), Session((), version=2)


class Watched:
    """A machine with its journal."""

    def __init__(self, *stages: tuple[Destination, ...], advance: Cause = Cause.CONGESTION, stage: float | None = None):
        self.machine, self.journal = Call(Patience(stage=stage)), Journal(began=0.0)
        self.effects: list[do.Effect] = []
        self.tell(1.0, ev.Offered(stages, OURS, frozenset({advance})))

    def tell(self, now: float, *events: ev.Event) -> None:
        for event in events:
            self.journal.heard(event, now)
            for effect in self.machine.handle(event, now):
                self.journal.did(effect, now)
                self.effects.append(effect)

    def talk(self, attempt: int, now: float) -> None:
        self.tell(now, ev.OfferReady(attempt, OURS), ev.Answered(attempt, THEIRS), ev.AnswerReady(attempt, OURS))

    def end_of(self, attempt: int) -> tuple[Cause | None, float | None]:
        noted = self.journal.attempts[attempt]
        return noted.cause, noted.ended


def test_a_call_that_is_answered_has_every_stage_of_its_set_up() -> None:
    call = Watched((FIRST,))
    call.tell(2.0, ev.OfferReady(1, OURS))
    call.tell(3.0, ev.Progressed(1, THEIRS))
    call.tell(4.0, ev.Ringing(1))
    call.tell(5.0, ev.Ringing(1))
    call.tell(6.0, ev.Answered(1, THEIRS), ev.AnswerReady(1, OURS))
    call.journal.media(1, 7.0)
    assert call.journal.connected is None  # the caller hears nothing yet
    call.journal.media(0, 8.0)
    call.journal.media(0, 8.5)
    call.tell(9.0, ev.HungUp(Leg.CALLER, Cause.NORMAL))
    noted, attempt = call.journal, call.journal.attempts[1]
    assert (noted.began, noted.routed, noted.dialled, noted.progress, noted.connected) == (0.0, 1.0, 2.0, 3.0, 8.0)
    assert (attempt.rang, attempt.answered, attempt.connected, attempt.ended) == (4.0, 6.0, 7.0, 9.0)
    assert (attempt.cause, attempt.origin, attempt.destination) == (Cause.NORMAL, "route", FIRST)


def test_a_trunk_that_failed_keeps_its_own_reason_when_the_next_one_takes_the_call() -> None:
    call = Watched((FIRST,), (SECOND,))
    call.tell(2.0, ev.OfferReady(1, OURS), ev.HungUp(Leg.CALLEE, Cause.CONGESTION, 1, "no lines", 34))
    call.talk(2, 3.0)
    call.tell(9.0, ev.HungUp(Leg.CALLEE, Cause.NORMAL, 2))
    first = call.journal.attempts[1]
    assert (first.cause, first.text, first.q850, first.ended) == (Cause.CONGESTION, "no lines", 34, 2.0)
    assert call.end_of(2) == (Cause.NORMAL, 9.0)


def test_callees_that_lost_to_another_were_answered_elsewhere_whether_or_not_they_were_asked() -> None:
    call = Watched((FIRST, SECOND, THIRD))
    call.tell(2.0, ev.OfferReady(2, OURS))
    call.talk(1, 3.0)
    assert [call.end_of(attempt) for attempt in (1, 2, 3)] == [
        (None, None),
        (Cause.ELSEWHERE, 3.0),
        (Cause.ELSEWHERE, 3.0),
    ]


@pytest.mark.parametrize(("rings", "cause"), [(True, Cause.NO_ANSWER), (False, Cause.UNAVAILABLE)])
def test_a_callee_that_was_waited_for_in_vain_did_not_answer_and_nobody_cancelled(rings: bool, cause: Cause) -> None:
    call = Watched((FIRST,), (SECOND,), stage=10.0)
    call.tell(2.0, ev.OfferReady(1, OURS), *([ev.Ringing(1)] if rings else []))
    call.tell(11.0, ev.TimedOut())
    assert call.end_of(1) == (cause, 11.0)
    call.tell(12.0, ev.OfferReady(2, OURS))
    call.tell(13.0, ev.HungUp(Leg.CALLER, Cause.CANCELLED))
    assert call.end_of(2) == (Cause.CANCELLED, 13.0)


@pytest.mark.parametrize("event", [ev.Stopped(Cause.SHUTDOWN), ev.MediaLost(Cause.SHUTDOWN)])
def test_who_is_being_asked_when_the_gateway_ends_the_call_was_not_cancelled_by_the_caller(event: ev.Event) -> None:
    call = Watched((FIRST, SECOND))
    call.tell(2.0, ev.OfferReady(1, OURS))
    call.tell(3.0, event)
    assert call.end_of(1) == call.end_of(2) == (Cause.SHUTDOWN, 3.0)


def test_an_attempt_that_got_no_media_says_so() -> None:
    call = Watched((FIRST,))
    call.tell(2.0, ev.OfferFailed(1, Cause.NO_COMMON_CODEC, "no codec"))
    assert (call.end_of(1), call.journal.attempts[1].text) == ((Cause.NO_COMMON_CODEC, 2.0), "no codec")
    assert call.journal.dialled is None


def test_two_ends_that_cannot_be_brought_together_say_so() -> None:
    call = Watched((FIRST,))
    call.tell(2.0, ev.OfferReady(1, OURS), ev.Answered(1, THEIRS), ev.AnswerFailed(1, Cause.SECURITY, "in clear"))
    assert call.end_of(1) == (Cause.SECURITY, 2.0)


def test_a_callee_that_points_elsewhere_is_redirected_and_its_targets_are_known_as_such() -> None:
    call = Watched((FIRST,))
    call.tell(2.0, ev.OfferReady(1, OURS), ev.Detour(1, ((SECOND,),)))
    first, second = call.journal.attempts[1], call.journal.attempts[2]
    assert (first.redirected, first.cause, first.ended) == (True, None, 2.0)
    assert (second.origin, second.destination) == ("redirect", SECOND)


def test_a_transfer_is_an_attempt_of_its_own_and_who_asked_for_it_is_over() -> None:
    call = Watched((FIRST,))
    call.talk(1, 2.0)
    call.tell(3.0, ev.Transfer(1, ((SECOND,),)))
    call.tell(4.0, ev.OfferReady(2, OURS), ev.Answered(2, THEIRS), ev.Paired(2))
    assert call.journal.attempts[2].origin == "transfer"
    assert call.end_of(1) == (Cause.NORMAL, 4.0)
    call.tell(9.0, ev.HungUp(Leg.CALLER, Cause.NORMAL))
    assert call.end_of(2) == (Cause.NORMAL, 9.0)


def test_a_transfer_that_fails_leaves_its_reason_and_the_talk_goes_on() -> None:
    call = Watched((FIRST,))
    call.talk(1, 2.0)
    call.tell(3.0, ev.Transfer(1, ((SECOND,),)), ev.OfferReady(2, OURS), ev.Answered(2, THEIRS))
    call.tell(4.0, ev.PairFailed(2, Cause.NO_COMMON_CODEC))
    assert call.end_of(2) == (Cause.NO_COMMON_CODEC, 4.0)
    assert call.end_of(1) == (None, None)


def test_who_takes_anothers_place_is_noted_with_his_answer() -> None:
    call = Watched((FIRST,))
    call.talk(1, 2.0)
    call.journal.begin(2, SECOND, "replacement", 3.0)
    call.tell(3.0, ev.TakeOver(1, 2, OURS))
    call.tell(4.0, ev.Adopted(2, THEIRS))
    noted = call.journal.attempts[2]
    assert (noted.origin, noted.answered, noted.ended) == ("replacement", 4.0, None)
    assert call.end_of(1) == (Cause.ELSEWHERE, 4.0)


def test_what_is_said_of_an_attempt_that_is_over_changes_nothing() -> None:
    call = Watched((FIRST,), (SECOND,))
    call.tell(2.0, ev.OfferReady(1, OURS), ev.HungUp(Leg.CALLEE, Cause.CONGESTION, 1))
    call.tell(3.0, ev.Ringing(1), ev.HungUp(Leg.CALLEE, Cause.BUSY, 1), ev.Ringing(7))
    call.journal.media(1, 3.0)
    call.journal.heard(ev.Detour(1, ()), 3.0)
    call.journal.did(do.ReleaseAttempt(1), 3.0)
    first = call.journal.attempts[1]
    assert (first.cause, first.ended, first.rang, first.connected, first.redirected) == (
        Cause.CONGESTION,
        2.0,
        None,
        None,
        False,
    )


def test_a_refused_call_was_routed_and_tried_nobody() -> None:
    journal = Journal(began=0.0)
    journal.heard(ev.Refused(Cause.FORBIDDEN), 1.0)
    assert (journal.routed, journal.attempts, journal.connected) == (1.0, {}, None)


def test_a_test_line_has_one_end() -> None:
    call = Watched((Destination("echo", ""),))
    call.talk(1, 2.0)
    call.journal.media(0, 3.0)
    assert call.journal.connected == 3.0


def test_a_call_without_end_leaves_memory_flat() -> None:
    journal = Journal()
    many = tuple((Destination("direct", f"sip:{n}@example.com"),) for n in range(MOST_ATTEMPTS + 50))
    journal.heard(ev.Detour(1, many), 1.0)
    for number, (destination,) in enumerate(many, 1):
        journal.did(do.PrepareOffer(number, destination, None), 1.0)
    assert len(journal.attempts) == len(journal._origins) == MOST_ATTEMPTS
