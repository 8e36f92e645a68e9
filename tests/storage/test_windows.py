from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialplan.booking import Period
from gateway.storage.windows import BEHIND, Calendar, SteadyClock, window

NOON = datetime(2026, 11, 22, 12, 34, 56, tzinfo=UTC).timestamp()


def utc(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("period", "begins", "ends"),
    [
        (Period.HOUR, utc(2026, 11, 22, 12), utc(2026, 11, 22, 13)),
        (Period.DAY, utc(2026, 11, 22), utc(2026, 11, 23)),
        (Period.MONTH, utc(2026, 11, 1), utc(2026, 12, 1)),
    ],
)
def test_windows_are_hours_days_and_months_of_utc(period: Period, begins: int, ends: int) -> None:
    found = window(period, NOON)
    assert (found.begins, found.ends) == (begins, ends)


def test_a_window_ends_where_the_next_begins_over_the_end_of_a_year_and_in_a_leap_year() -> None:
    for at in (utc(2026, 12, 31, 23), utc(2028, 2, 29, 12)):
        for period in Period:
            first = window(period, at)
            assert window(period, first.ends - 0.001) == first
            assert window(period, first.ends).begins == first.ends


@given(st.floats(0, 4e9), st.sampled_from(Period))
def test_every_moment_lies_in_its_window(at: float, period: Period) -> None:
    found = window(period, at)
    assert found.begins <= at < found.ends


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_summer_time_moves_no_window(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for at in (utc(2026, 3, 29, 1), utc(2026, 10, 25, 1), utc(2026, 11, 1, 6)):
            assert window(Period.DAY, at).begins == at - at % 86_400
            assert window(Period.HOUR, at).begins == at - at % 3600
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("step", [-90_000.0, -3600.0, -1.0, 1.0, 3600.0, 1e9])
def test_a_clock_that_is_set_while_we_run_moves_nothing_and_is_noticed(step: float) -> None:
    clock = SteadyClock(NOON, boot=100.0)
    assert clock.now(160.0) == clock.calendar(160.0) == NOON + 60
    assert bool(clock.astray(NOON + 60 + step, 160.0)) == (abs(step) > 5)


@pytest.mark.parametrize("behind", [1.0, 3600.0, BEHIND])
def test_a_start_with_a_clock_that_is_behind_goes_back_to_no_earlier_window(behind: float) -> None:
    clock = SteadyClock(NOON - behind, boot=5.0, mark=NOON)
    assert clock.calendar(5.0) == clock.calendar(5.0 + behind) == NOON  # it stands still
    assert clock.calendar(5.0 + behind + 1) == NOON + 1  # and goes on in its phase
    assert clock.now(6.0) == NOON - behind + 1  # leases and bursts do not wait


def test_a_clock_that_was_far_ahead_before_the_start_is_not_waited_for() -> None:
    assert SteadyClock(NOON, boot=5.0, mark=NOON + BEHIND + 1).calendar(5.0) == NOON


def test_a_clock_that_is_ahead_after_a_start_is_believed() -> None:
    assert SteadyClock(NOON + 1e7, boot=5.0, mark=NOON).calendar(5.0) == NOON + 1e7


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=20),
    st.floats(0, BEHIND),
)
def test_the_calendar_never_goes_back_while_we_run(ticks: list[tuple[float, float]], behind: float) -> None:
    clock = SteadyClock(NOON, boot=0.0, mark=NOON + behind)
    boot, last = 0.0, 0.0
    for by, _set_to in ticks:
        boot += by
        now = clock.calendar(boot)
        assert now >= last
        last = now


@given(st.lists(st.floats(0, 4e9), min_size=1, max_size=5), st.lists(st.floats(-4000, 4000), max_size=5))
def test_a_calendar_knows_the_windows_of_the_time_that_it_was_turned_to(far: list[float], near: list[float]) -> None:
    calendar = Calendar(far[0])
    for at in [*far, *(far[-1] + step for step in near if far[-1] + step >= 0)]:
        calendar.turn(at)
        assert [calendar(period) for period in Period] == [window(period, at) for period in Period]
