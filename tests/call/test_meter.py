"""How a call's booked time goes on, at a database that answers, refuses or is away."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call.causes import Cause
from gateway.call.meter import (
    GRACE,
    LEAD,
    MARGIN,
    PATIENCE,
    RENEWAL,
    RETRY,
    SLICE,
    Extend,
    Meter,
    Order,
    Settle,
    Stop,
    Warn,
)
from gateway.dialplan.booking import Tariff

MINUTE = Tariff("EUR", connect=100_000, per_minute=60_000)


def talking(granted: int = SLICE, *, at: float = 100.0) -> Meter:
    """Answered at `at`, and told that what was reserved is all that is paid for yet."""
    meter = Meter(granted, 0.0)
    (asked,) = meter.answer(MINUTE, at)
    assert asked == Extend(1, max(SLICE, granted), MINUTE)
    return meter


def well(granted: int = SLICE) -> Meter:
    meter = talking(granted)
    assert meter.grant(1, granted, 100.1) == []
    return meter


def at_deadline(meter: Meter) -> tuple[float, list[Order]]:
    now = meter.deadline
    assert now is not None
    return now, meter.timed_out(now)


def test_more_is_asked_for_before_the_paid_time_ends_and_the_call_goes_on() -> None:
    meter = well()
    now, orders = at_deadline(meter)
    assert now == 100 + SLICE - MARGIN - LEAD
    assert orders == [Extend(2, 2 * SLICE, MINUTE)]
    assert meter.grant(2, 2 * SLICE, now + 0.1) == []
    assert at_deadline(meter) == (100 + 2 * SLICE - MARGIN - LEAD, [Extend(3, 3 * SLICE, MINUTE)])


def test_who_is_granted_no_more_is_warned_and_talks_on_for_what_was_granted() -> None:
    meter = well()
    now, _ = at_deadline(meter)
    assert meter.refuse(2, Cause.EXHAUSTED, "abroad", now) == [Warn(Cause.EXHAUSTED, "abroad", LEAD)]
    assert at_deadline(meter) == (100 + SLICE - MARGIN, [Stop(Cause.EXHAUSTED, "abroad")])


def test_the_last_slice_is_as_long_as_the_budget_pays_for() -> None:
    meter = well()
    now, _ = at_deadline(meter)
    assert meter.grant(2, SLICE + 5, now) == []
    now, orders = at_deadline(meter)
    assert (now, orders) == (100 + SLICE + 5 - MARGIN - LEAD, [Extend(3, 2 * SLICE + 5, MINUTE)])
    assert meter.refuse(3, Cause.EXHAUSTED, "abroad", now) == [Warn(Cause.EXHAUSTED, "abroad", LEAD)]
    assert at_deadline(meter) == (100 + SLICE + 5 - MARGIN, [Stop(Cause.EXHAUSTED, "abroad")])


def test_whoever_gets_a_little_more_asks_again_for_he_may_get_more_yet() -> None:
    meter = talking(8)
    (again,) = meter.grant(1, 12, 100.0)
    assert again == Extend(2, 12 + SLICE, MINUTE)
    assert meter.refuse(2, Cause.EXHAUSTED, "abroad", 100.0) == [Warn(Cause.EXHAUSTED, "abroad", 12 - MARGIN)]


def test_a_first_slice_that_is_shorter_than_the_warning_is_warned_at_once() -> None:
    meter = talking(12)
    assert meter.grant(1, 12, 100.0) == [Warn(Cause.EXHAUSTED, "", 12 - MARGIN)]
    assert at_deadline(meter) == (112 - MARGIN, [Stop(Cause.EXHAUSTED, "")])


def test_a_frozen_account_ends_its_calls_as_a_budget_does() -> None:
    meter = talking()
    assert meter.refuse(1, Cause.FROZEN, "too many calls", 101.0) == []  # there is time until the warning
    now, orders = at_deadline(meter)
    assert orders == [Warn(Cause.FROZEN, "too many calls", cast(float, pytest.approx(LEAD)))]
    assert now == 100 + SLICE - MARGIN - LEAD
    assert at_deadline(meter)[1] == [Stop(Cause.FROZEN, "too many calls")]


def test_a_database_that_is_away_costs_one_slice_and_is_asked_again_and_again() -> None:
    meter = well()
    now, _ = at_deadline(meter)
    number, warned, asked = 2, [], 0
    assert meter.away(number, now) == []
    while True:
        now, orders = at_deadline(meter)
        warned += [order for order in orders if isinstance(order, Warn)]
        if isinstance(orders[-1], Stop):
            break
        for order in orders:
            if isinstance(order, Extend):
                asked, number = asked + 1, order.number
        orders = meter.away(number, now)
        warned += [order for order in orders if isinstance(order, Warn)]
        if orders and isinstance(orders[-1], Stop):
            break
    assert orders[-1] == Stop(Cause.UNBOOKED, "")
    assert now == pytest.approx(100 + SLICE - MARGIN + GRACE)
    assert [warning.cause for warning in warned] == [Cause.UNBOOKED]
    assert warned[0].seconds == pytest.approx(LEAD, abs=RETRY)
    assert asked > 5


def test_a_database_that_comes_back_carries_the_call_on() -> None:
    meter = well()
    now, _ = at_deadline(meter)
    meter.away(2, now)
    now, orders = at_deadline(meter)
    (asked,) = orders
    assert isinstance(asked, Extend)
    assert meter.grant(asked.number, asked.seconds, now) == []
    assert at_deadline(meter)[0] == pytest.approx(100 + asked.seconds - MARGIN - LEAD)


def test_what_is_refused_after_time_at_our_risk_is_warned_all_the_same() -> None:
    meter = well()
    now, _ = at_deadline(meter)
    meter.away(2, now)
    late = 100 + SLICE + 10
    (asked,) = meter.timed_out(late)
    assert isinstance(asked, Extend)
    assert asked.seconds == SLICE + 10 + SLICE
    assert meter.refuse(asked.number, Cause.EXHAUSTED, "abroad", late) == [Warn(Cause.EXHAUSTED, "abroad", LEAD)]
    assert at_deadline(meter) == (late + LEAD, [Stop(Cause.EXHAUSTED, "abroad")])


def test_a_question_without_an_answer_is_nobodys_answer() -> None:
    meter = talking()
    assert meter.deadline == 100 + PATIENCE
    assert meter.timed_out(100 + PATIENCE) == []
    assert meter.grant(1, SLICE, 106.0) == []  # too late
    assert meter.deadline == 100 + PATIENCE + RETRY


def test_a_late_answer_changes_nothing() -> None:
    meter = well()
    now, _ = at_deadline(meter)
    before = meter.deadline
    assert meter.refuse(1, Cause.EXHAUSTED, "abroad", now) == []
    assert meter.deadline == before


def test_an_answer_that_crosses_the_end_changes_nothing() -> None:
    meter = well()
    now, _ = at_deadline(meter)
    assert meter.end(now) == [Settle(39, 100_000 + 39_000, True)]
    for late in (meter.grant(2, 999, now), meter.refuse(2, Cause.FROZEN, "", now), meter.away(2, now)):
        assert late == []
    assert meter.end(now + 1) == meter.timed_out(now + 1) == meter.answer(MINUTE, now + 1) == []
    assert meter.price == (139_000, "EUR")
    assert meter.deadline is None


def test_a_call_that_nobody_answers_costs_nothing_and_is_renewed_while_it_rings() -> None:
    meter = Meter(SLICE, 0.0)
    assert at_deadline(meter) == (RENEWAL, [Extend(1, SLICE, None, answered=False)])
    assert meter.grant(1, SLICE, RENEWAL) == []
    assert at_deadline(meter) == (2 * RENEWAL, [Extend(2, SLICE, None, answered=False)])
    assert meter.away(2, 2 * RENEWAL) == []
    assert at_deadline(meter) == (2 * RENEWAL + RETRY, [Extend(3, SLICE, None, answered=False)])
    assert meter.refuse(3, Cause.FROZEN, "", 300.0) == []
    assert meter.end(310.0) == [Settle(0, 0, False)]
    assert meter.price is None


def test_what_nobody_charges_for_has_no_price() -> None:
    meter = Meter(SLICE, 0.0)
    meter.answer(None, 1.0)
    assert meter.end(31.0) == [Settle(30, 0, True)]
    assert meter.price is None


def test_a_second_answer_is_the_first_one() -> None:
    meter = talking()
    assert meter.answer(None, 150.0) == []
    assert meter.end(160.0) == [Settle(60, 160_000, True)]


@given(
    budget=st.integers(1, 400),
    lengths=st.floats(0, 600),
    absent=st.sets(st.integers(1, 30)),
)
def test_nobody_talks_longer_than_is_paid_for_but_for_one_slice_while_nobody_answers(
    budget: int, lengths: float, absent: set[int]
) -> None:
    meter = Meter(min(budget, SLICE), 0.0)
    orders, now, granted, warned, stopped = meter.answer(None, 0.0), 0.0, min(budget, SLICE), 0, False
    while not stopped:
        while orders:
            order = orders.pop(0)
            match order:
                case Extend(number) if number in absent:
                    orders += meter.away(number, now)
                case Extend(number, seconds) if min(seconds, budget) > granted or seconds <= granted:
                    granted = max(granted, min(seconds, budget))
                    orders += meter.grant(number, granted, now)
                case Extend(number):
                    orders += meter.refuse(number, Cause.EXHAUSTED, "abroad", now)
                case Warn():
                    warned += 1
                case Stop():
                    stopped = True
        if meter.deadline is None or meter.deadline >= lengths:
            break
        assert meter.deadline >= now
        now = meter.deadline
        orders = meter.timed_out(now)
    now = now if stopped else lengths
    (settled,) = meter.end(now)
    assert isinstance(settled, Settle)
    assert settled.seconds <= granted + (GRACE if absent else 0)
    assert warned or not stopped
