"""Hours of the week, by the clock of the place."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.dialplan.hours import Hours, HoursError, zone_of

LONDON = zone_of("Europe/London")


@pytest.mark.parametrize(
    ("span", "inside", "outside"),
    [
        ("Mon-Fri 08:00-18:00", ["2026-11-23T08:00", "2026-11-27T17:59"], ["2026-11-23T07:59", "2026-11-28T12:00"]),
        ("sat", ["2026-11-28T00:00", "2026-11-28T23:59"], ["2026-11-29T00:00"]),
        ("22:00-06:00", ["2026-11-23T23:00", "2026-11-24T05:59", "2026-11-23T01:00"], ["2026-11-24T06:00"]),
        ("Sun 22:00-06:00", ["2026-11-29T22:00", "2026-11-30T05:59"], ["2026-11-29T05:00", "2026-12-01T01:00"]),
        ("Fri-Mon 09:00-10:00", ["2026-11-29T09:30", "2026-11-30T09:30"], ["2026-12-01T09:30"]),
        ("Mon 00:00-24:00", ["2026-11-23T23:59"], ["2026-11-24T00:00"]),
        ("Mon-Sun 23:59-24:00", ["2026-11-29T23:59"], ["2026-11-29T23:58"]),
    ],
)
def test_a_span_has_its_hours(span: str, inside: list[str], outside: list[str]) -> None:
    hours = Hours.parse([span], LONDON)
    assert [at for at in inside if not hours.contain(datetime.fromisoformat(at))] == []
    assert [at for at in outside if hours.contain(datetime.fromisoformat(at))] == []


def test_the_clock_of_the_place_decides_in_summer_too() -> None:
    hours = Hours.parse(["08:00-09:00"], LONDON)
    assert hours.contain(datetime(2026, 7, 1, 7, 30, tzinfo=UTC))
    assert not hours.contain(datetime(2026, 12, 1, 7, 30, tzinfo=UTC))


def test_several_spans_are_one() -> None:
    hours = Hours.parse(["Mon 08:00-09:00", "Tue"], LONDON)
    assert hours.contain(datetime.fromisoformat("2026-11-24T12:00"))
    assert hours.text == "Mon 08:00-09:00, Tue"


def test_hours_cover_what_lies_within_them() -> None:
    week, day = Hours.parse(["Mon-Fri"], LONDON), Hours.parse(["Tue 08:00-09:00"], LONDON)
    assert week.cover(day)
    assert not day.cover(week)
    assert not week.cover(Hours.parse(["Tue"], zone_of("Europe/Paris")))


@pytest.mark.parametrize(
    "text", ["", "Mo", "noon", "Mon-Foo", "25:00-26:00", "08:60-09:00", "08:00-08:00", "8:00-9:00"]
)
def test_what_is_no_span_is_told(text: str) -> None:
    with pytest.raises(HoursError):
        Hours.parse([text], LONDON)


@pytest.mark.parametrize("name", ["Europe/Londn", "", "../etc/passwd", "/etc/localtime", "Europe"])
def test_what_is_no_zone_is_told(name: str) -> None:
    with pytest.raises(HoursError, match="no time zone"):
        zone_of(name)
