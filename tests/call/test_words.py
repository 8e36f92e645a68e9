"""What users read about their calls."""

from __future__ import annotations

import pytest

from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.call.words import LANGUAGES, LONGEST_DETAIL, Kind, Say, said, worth_saying


@pytest.mark.parametrize("cause", [Cause.FORBIDDEN, Cause.NOT_FOUND, Cause.CONGESTION, Cause.NO_ANSWER])
def test_a_caller_is_told_what_his_client_shows_as_busy_or_not_at_all(cause: Cause) -> None:
    assert worth_saying(Say.FAILURES, cause, Leg.CALLEE, Leg.CALLER, talked=False) is Kind.FAILED


@pytest.mark.parametrize("cause", [Cause.BUSY, Cause.DECLINED, Cause.NORMAL, Cause.CANCELLED])
def test_what_every_client_shows_is_not_said_again(cause: Cause) -> None:
    for talked in (False, True):
        assert worth_saying(Say.ALL, cause, Leg.CALLEE, Leg.CALLER, talked=talked) is None


def test_nobody_is_told_what_he_did_himself() -> None:
    assert worth_saying(Say.ALL, Cause.MEDIA_FAILED, Leg.CALLER, Leg.CALLER, talked=False) is None


def test_a_talk_that_broke_is_told_to_either_user() -> None:
    for user in Leg:
        assert worth_saying(Say.FAILURES, Cause.MEDIA_LOST, None, user, talked=True) is Kind.CUT


def test_missed_calls_are_told_where_the_operator_wants_it() -> None:
    missed = (Cause.CANCELLED, Leg.CALLER, Leg.CALLEE)
    assert worth_saying(Say.ALL, *missed, talked=False) is Kind.MISSED
    assert worth_saying(Say.FAILURES, *missed, talked=False) is None
    assert worth_saying(Say.ALL, Cause.BUSY, None, Leg.CALLEE, talked=False) is None


def test_an_operator_who_wants_nothing_said_has_nothing_said() -> None:
    assert worth_saying(Say.NOTHING, Cause.FORBIDDEN, None, Leg.CALLER, talked=False) is None


def test_every_language_has_every_sentence_and_the_operators_comes_first() -> None:
    for kind in Kind:
        for cause in Cause:
            lines = said(kind, cause, party="+1 202-555-0123", first="de")
            assert [language for language, _ in lines] == ["de", "en", "fr"]
            assert len({text for _, text in lines}) == len(LANGUAGES)
            assert all("{" not in text for _, text in lines)


def test_the_dialplans_own_words_are_what_a_refused_caller_reads() -> None:
    text = dict(said(Kind.FAILED, Cause.FORBIDDEN, "premium numbers are not allowed here"))["en"]
    assert text == "The call was not connected: premium numbers are not allowed here"


def test_what_the_far_side_says_stands_beside_ours_on_one_bounded_line() -> None:
    assert dict(said(Kind.FAILED, Cause.CONGESTION, "503 Service\r\nUnavailable"))["en"] == (
        "The call was not connected: the line is out of service (503 Service Unavailable)"
    )
    assert len(dict(said(Kind.FAILED, Cause.CONGESTION, "x" * 9000))["fr"]) < LONGEST_DETAIL + 100
    assert "(" not in dict(said(Kind.FAILED, Cause.CONGESTION, Cause.CONGESTION.text))["en"]


def test_a_call_that_is_about_to_end_says_when_and_why() -> None:
    text = dict(said(Kind.ENDING, Cause.EXHAUSTED, "abroad", seconds=20))
    assert text["en"] == "This call ends in 20 seconds: the budget for such calls is used up (abroad)"
    assert text["de"] == "Dieser Anruf endet in 20 Sekunden: das Budget für solche Anrufe ist aufgebraucht (abroad)"
