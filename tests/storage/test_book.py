"""What budgets have left after calls that reserve, talk, end, crash and come back, on rows that are always at hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.dialplan.booking import Burst, Claim, Period, Tariff, Unit
from gateway.storage.book import LEASE, Answer, Ask, Book, Exhausted, Frozen, Granted, budget_id, short_id
from gateway.storage.windows import Window, window

JULIET = "juliet@shakespeare.lit"
MIDNIGHT = 1_795_392_000  # 2026-11-23 00:00 UTC
NOON = MIDNIGHT - 43_200
CENT = 10_000  # millionths of the unit

CALLS = Claim("all user juliet", "all", Unit.CALLS, Period.DAY, 3)
TALK = Claim("abroad user juliet", "abroad", Unit.SECONDS, Period.DAY, 100)
SPEND = Claim("spend user juliet", "spend", Unit.MONEY, Period.MONTH, 100 * CENT, currency="EUR")
TARIFF = Tariff("EUR", connect=5 * CENT, per_minute=60 * CENT)  # a cent a second
BURST = Burst("burst juliet", "fast", 3, 60)


def ask(call: str, *claims: Claim, seconds: int = 60, bursts: tuple[Burst, ...] = ()) -> Ask:
    return Ask(call, JULIET, claims, bursts, TARIFF, seconds)


class Day:
    """A book whose rows are all at hand; the time goes on as it is told to."""

    def __init__(self, now: float = NOON) -> None:
        self.book = Book(now, self._window)

    def _window(self, period: Period) -> Window:
        return window(period, self.book.now)

    def at(self, now: float) -> Day:
        self.book.now = now
        return self

    def reserve(self, ask: Ask, lease: float = 300) -> Answer:
        return self.book.reserve(ask, lease)

    def extend(self, ask: Ask, seconds: int, tariff: Tariff | None = TARIFF, *, answered: bool = True) -> Answer:
        return self.book.extend(ask, seconds, tariff, answered, 300)

    def settle(self, call: str, seconds: int = 0, cost: int = 0, *, answered: bool = True) -> None:
        self.book.settle(call, seconds, cost, answered)

    def sweep(self) -> None:
        for entry in list(self.book.entries.values()):
            if not entry.lapsed and not self.book.now <= entry.until <= self.book.now + LEASE + 60:
                self.book.lapse(entry)

    def drawn(self, claim: Claim) -> list[tuple[int, int]]:
        """Used and reserved in each window, the first one first."""
        mine = [c for c in self.book.counters.values() if c.id.endswith(budget_id(claim))]
        return [(c.used, c.reserved) for c in sorted(mine, key=lambda c: c.begins)]


@pytest.fixture
def day() -> Day:
    return Day()


def test_a_budget_pays_for_as_many_calls_as_it_has_and_for_no_more(day: Day) -> None:
    for call in "abc":
        assert day.reserve(ask(call, CALLS)) == Granted(60)
    assert day.reserve(ask("d", CALLS)) == Exhausted(CALLS, left=0)
    day.settle("a", answered=False)
    assert day.reserve(ask("d", CALLS)) == Granted(60)
    assert day.drawn(CALLS) == [(0, 3)]


def test_what_is_left_is_granted_and_then_nothing(day: Day) -> None:
    first = ask("a", TALK)
    assert day.reserve(first) == Granted(60)
    assert day.extend(first, 120) == Granted(100)
    assert day.extend(first, 160) == Exhausted(TALK, left=0, seconds=100)
    assert day.reserve(ask("b", TALK)) == Exhausted(TALK, left=0)


def test_all_budgets_pay_for_the_same_time_and_the_one_that_does_not_is_named(day: Day) -> None:
    call = ask("a", CALLS, TALK, SPEND)
    assert day.reserve(call) == Granted(60)
    assert day.extend(call, 120) == Granted(95)  # 5 cents for the connection, 95 for so many seconds
    assert (day.drawn(CALLS), day.drawn(TALK), day.drawn(SPEND)) == ([(0, 1)], [(0, 95)], [(0, 100 * CENT)])
    assert day.extend(call, 150) == Exhausted(SPEND, left=0, seconds=95)


def test_a_call_that_one_budget_refuses_takes_nothing_of_the_others(day: Day) -> None:
    dear = replace(SPEND, most=5 * CENT)
    assert day.reserve(ask("a", CALLS, dear, bursts=(BURST,))) == Exhausted(dear, left=5 * CENT)
    assert day.drawn(CALLS) == [(0, 0)]
    assert day.book.changed_counters == {}
    assert day.book.changed_bursts == {}


def test_an_extension_that_comes_twice_or_late_changes_nothing(day: Day) -> None:
    call = ask("a", TALK)
    day.reserve(call)
    for seconds in (80, 80, 70):
        assert day.extend(call, seconds) == Granted(seconds)
    assert day.drawn(TALK) == [(0, 80)]
    day.reserve(call)  # the word on the first was lost
    assert day.drawn(TALK) == [(0, 80)]


def test_whoever_answers_at_another_price_is_paid_by_it(day: Day) -> None:
    call = ask("a", SPEND, seconds=60)
    day.reserve(call)
    dear = replace(TARIFF, per_minute=120 * CENT)
    assert day.extend(call, 40, dear) == Granted(40)
    assert day.drawn(SPEND) == [(0, 85 * CENT)]
    assert day.extend(call, 60, dear) == Exhausted(SPEND, left=15 * CENT, seconds=47)  # of 60 that were granted


def test_what_a_call_really_used_takes_the_place_of_its_reservation(day: Day) -> None:
    day.reserve(ask("a", CALLS, TALK, SPEND))
    day.settle("a", 7, 12 * CENT)
    assert (day.drawn(CALLS), day.drawn(TALK), day.drawn(SPEND)) == ([(1, 0)], [(7, 0)], [(12 * CENT, 0)])
    day.settle("a", 7, 12 * CENT)
    day.settle("nobody's", 7)
    assert day.drawn(TALK) == [(7, 0)]


def test_a_call_that_nobody_answered_used_nothing(day: Day) -> None:
    day.reserve(ask("a", CALLS, TALK, SPEND))
    day.settle("a", 7, 12, answered=False)
    assert (day.drawn(CALLS), day.drawn(TALK), day.drawn(SPEND)) == ([(0, 0)], [(0, 0)], [(0, 0)])


def test_what_a_call_used_beyond_its_reservation_counts_too(day: Day) -> None:
    day.reserve(ask("a", TALK, seconds=90))
    day.settle("a", 110)
    assert day.drawn(TALK) == [(110, 0)]
    assert day.reserve(ask("b", TALK)) == Exhausted(TALK, left=0)


def test_a_new_window_begins_anew_and_a_call_draws_on_the_one_that_it_talks_in(day: Day) -> None:
    call = ask("a", TALK, CALLS)
    day.at(MIDNIGHT - 30).reserve(call)
    assert day.at(MIDNIGHT + 10).extend(call, 150) == Granted(150)
    assert day.drawn(TALK) == [(0, 60), (0, 90)]
    assert day.drawn(CALLS) == [(0, 1), (0, 0)]  # it is one call
    day.settle("a", 75)
    assert day.drawn(TALK) == [(60, 0), (15, 0)]


def test_a_reservation_that_was_never_answered_is_given_back_when_its_lease_is_over(day: Day) -> None:
    day.reserve(ask("a", CALLS, TALK))
    day.at(NOON + 301).sweep()
    assert (day.drawn(CALLS), day.drawn(TALK)) == ([(0, 0)], [(0, 0)])


def test_of_a_call_that_was_answered_all_that_was_granted_counts_as_used(day: Day) -> None:
    call = ask("a", CALLS, TALK)
    day.reserve(call)
    day.extend(call, 80)
    day.at(NOON + 301).sweep()
    assert (day.drawn(CALLS), day.drawn(TALK)) == ([(1, 0)], [(80, 0)])


def test_an_extension_renews_the_lease(day: Day) -> None:
    call = ask("a", TALK)
    day.reserve(call)
    day.at(NOON + 200).extend(call, 60, answered=False)
    day.at(NOON + 400).sweep()
    assert day.drawn(TALK) == [(0, 60)]


def test_a_lease_of_a_clock_that_was_wrong_is_over(day: Day) -> None:
    day.at(NOON + 1e7).reserve(ask("a", replace(TALK, period=Period.MONTH)), lease=1e9)
    day.at(NOON).sweep()
    assert day.drawn(replace(TALK, period=Period.MONTH)) == [(0, 0)]


@pytest.mark.parametrize("answered", [True, False])
def test_a_gateway_that_was_only_slow_settles_its_lapsed_call_exactly(day: Day, answered: bool) -> None:
    call = ask("a", TALK)
    day.reserve(call)
    if answered:
        day.extend(call, 80)
    day.at(NOON + 301).sweep()
    day.settle("a", 33)
    assert day.drawn(TALK) == [(33, 0)]


def test_a_lapsed_call_that_talks_on_is_taken_up_again(day: Day) -> None:
    call = ask("a", TALK)
    day.reserve(call)
    day.extend(call, 80)
    day.at(NOON + 301).sweep()
    assert day.extend(call, 100) == Granted(100)
    assert day.drawn(TALK) == [(0, 100)]


def test_a_call_that_lapsed_while_it_rang_counts_again_once_it_talks(day: Day) -> None:
    call = ask("a", TALK)
    day.reserve(call)
    day.at(NOON + 301).sweep()
    assert day.reserve(ask("b", TALK, seconds=100)) == Granted(100)
    day.extend(call, 60)
    assert day.drawn(TALK) in ([(60, 100)], [(0, 160)])
    day.settle("a", 10)
    day.settle("b", 20)
    assert day.drawn(TALK) == [(30, 0)]


def test_too_many_calls_in_too_short_a_time_freeze_the_account(day: Day) -> None:
    for call in "abc":
        assert day.reserve(ask(call, CALLS, bursts=(BURST,))) == Granted(60)
    found = day.reserve(ask("d", CALLS, bursts=(BURST,)))
    assert isinstance(found, Frozen)
    assert (found.account, found.fresh) == (JULIET, True)
    assert found.reason == "fast: more than 3 calls in 60 seconds"
    assert day.drawn(CALLS) == [(0, 3)]
    again = day.reserve(ask("e"))
    assert isinstance(again, Frozen)
    assert not again.fresh


def test_calls_that_begin_slowly_enough_freeze_nobody(day: Day) -> None:
    free = replace(CALLS, most=100)
    for number in range(20):
        assert day.at(NOON + 20 * number).reserve(ask(f"c{number}", free, bursts=(BURST,))) == Granted(60)


def test_a_call_that_nobody_answered_counts_in_a_burst(day: Day) -> None:
    for call in "abc":
        day.reserve(ask(call, bursts=(BURST,)))
        day.settle(call, answered=False)
    assert isinstance(day.reserve(ask("d", bursts=(BURST,))), Frozen)


def test_who_uses_up_a_budget_that_freezes_is_frozen(day: Day) -> None:
    strict = replace(CALLS, most=1, freeze=True)
    day.reserve(ask("a", strict))
    assert day.reserve(ask("b", strict)) == Exhausted(strict, left=0)  # the first may come back unanswered
    day.settle("a", 10)
    assert day.reserve(ask("b", strict)) == Exhausted(strict, left=0, frozen=True)
    assert isinstance(day.reserve(ask("c")), Frozen)


def test_whoever_has_reserved_all_he_may_spend_and_hangs_up_early_is_not_frozen(day: Day) -> None:
    strict = replace(SPEND, freeze=True)
    call = ask("a", strict, seconds=100_000)
    assert day.reserve(call) == Granted(95)
    assert day.extend(call, 155) == Exhausted(strict, left=0, seconds=95)
    day.settle("a", 1, TARIFF.cost(1))
    assert isinstance(day.reserve(ask("b", strict)), Granted)


def test_a_frozen_account_is_granted_nothing_more_for_calls_that_it_has(day: Day) -> None:
    call = ask("a", TALK)
    day.reserve(call)
    day.book.freeze(JULIET, "an operator says so")
    day.book.freeze(JULIET, "twice")
    found = day.extend(call, 90)
    assert isinstance(found, Frozen)
    assert found.reason == "an operator says so"
    day.settle("a", 60)
    assert day.drawn(TALK) == [(60, 0)]


def test_another_unit_or_period_under_the_same_key_is_another_budget(day: Day) -> None:
    day.reserve(ask("a", TALK, seconds=100))
    other = replace(TALK, unit=Unit.CALLS)
    assert day.reserve(ask("b", other, replace(TALK, period=Period.HOUR))) == Granted(60)
    assert day.drawn(TALK) == [(0, 100)]


def test_a_budget_that_was_made_smaller_has_nothing_left(day: Day) -> None:
    day.reserve(ask("a", TALK))
    small = replace(TALK, most=50)
    assert day.reserve(ask("b", small)) == Exhausted(small, left=0)


def test_a_claim_that_stands_there_twice_is_drawn_on_once(day: Day) -> None:
    day.reserve(ask("a", CALLS, CALLS))
    assert day.drawn(CALLS) == [(0, 1)]


def test_money_without_a_price_is_none(day: Day) -> None:
    assert day.reserve(replace(ask("a", replace(SPEND, most=0)), tariff=None)) == Granted(60)


def test_long_names_are_told_apart_in_a_short_space() -> None:
    long = "ü" * 3000
    assert short_id("juliet") == "juliet"
    assert short_id("ü") == "ü"
    for refused in ("a\0", "a\ud800"):
        assert short_id(refused).isalnum()
    assert len(short_id(long + "a")) <= 180
    assert short_id(long + "a") != short_id(long + "b")


def test_a_call_that_lapsed_while_it_rang_and_talks_counts_though_it_is_granted_nothing_more(day: Day) -> None:
    call = ask("a", TALK)
    day.reserve(call)
    day.at(NOON + 301).sweep()
    day.book.freeze(JULIET, "an operator says so")
    assert isinstance(day.extend(call, 60), Frozen)
    assert day.drawn(TALK) == [(60, 0)]
