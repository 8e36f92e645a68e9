"""Who is asked when, and which failure the caller hears of."""

from __future__ import annotations

from gateway.call.causes import Cause
from gateway.call.events import Destination
from gateway.call.hunt import Attempt, Hunt

A, B, C = (Destination("xmpp", name) for name in "abc")


def test_stages_follow_each_other_and_callees_of_a_stage_are_asked_together() -> None:
    hunt = Hunt(((A, B), (C,)), frozenset({Cause.NO_ANSWER}))
    assert hunt.next_stage() == [Attempt(1, A), Attempt(2, B)]
    assert not hunt.failed(1, Cause.NO_ANSWER)
    assert hunt.live == {2: B}
    assert not hunt.failed(2, Cause.NO_ANSWER)
    assert hunt.next_stage() == [Attempt(3, C)]
    assert hunt.failed(3, Cause.NO_ANSWER)
    assert hunt.next_stage() == []


def test_a_cause_that_does_not_lead_on_ends_the_hunt() -> None:
    hunt = Hunt(((A,), (B,)), frozenset({Cause.CONGESTION}))
    hunt.next_stage()
    assert hunt.failed(1, Cause.BUSY)
    assert not hunt.more


def test_it_is_known_beforehand_which_failure_leads_on() -> None:
    hunt = Hunt(((A,), (B,)), frozenset({Cause.TIMEOUT}))
    hunt.next_stage()
    assert (hunt.leads_on(Cause.TIMEOUT), hunt.leads_on(Cause.BUSY)) == (True, False)
    hunt.detour(1, ((C,),))
    assert hunt.leads_on(Cause.BUSY), "where a callee points to is asked whatever became of him"
    hunt.next_stage()
    hunt.failed(2, Cause.TIMEOUT)
    hunt.next_stage()
    assert not hunt.leads_on(Cause.TIMEOUT)


def test_the_first_answer_wins_and_names_the_losers() -> None:
    hunt = Hunt(((A, B, C),), frozenset())
    hunt.next_stage()
    assert hunt.won(2) == [1, 3]
    assert hunt.winner == Attempt(2, B)
    assert not hunt.live


def test_a_failure_of_an_attempt_that_is_over_is_not_counted() -> None:
    hunt = Hunt(((A,),), frozenset())
    hunt.next_stage()
    assert hunt.failed(1, Cause.BUSY)
    assert not hunt.failed(1, Cause.CONGESTION)
    assert hunt.verdict.cause is Cause.BUSY


def test_the_caller_hears_the_most_telling_failure() -> None:
    hunt = Hunt(((A, B, C),), frozenset())
    hunt.next_stage()
    for number, cause in enumerate((Cause.CONGESTION, Cause.BUSY, Cause.UNAVAILABLE), 1):
        hunt.failed(number, cause, cause.label)
    assert (hunt.verdict.cause, hunt.verdict.text) == (Cause.BUSY, "busy")
    assert Hunt((), frozenset()).verdict.cause is Cause.NOT_FOUND


def test_a_stage_that_takes_too_long_is_given_up_whole() -> None:
    hunt = Hunt(((A, B), (C,)), frozenset())
    hunt.next_stage()
    assert hunt.give_up_stage(Cause.NO_ANSWER) == [1, 2]
    assert hunt.next_stage() == [Attempt(3, C)]
