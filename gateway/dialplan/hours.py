"""Hours of the week in a time zone: `Mon-Fri 08:00-18:00`, `Sat 09:00-12:00`, `22:00-06:00` (every night).

The zone's own clock decides, so that summer time moves nothing: 08:00 is 08:00 there. A span that ends before it begins
goes on into the next day. Days without a time are whole days.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 24 * 60
_WEEK = 7 * _DAY

_SPAN = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?)? ?(?:(?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d))?", re.ASCII
)


class HoursError(ValueError):
    """The text names no hours."""


def zone_of(name: str) -> tzinfo:
    """A zone by its name in the time zone database. Raises HoursError."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError; directories and odd names are others
        raise HoursError(f"{name!r} is no time zone, as Europe/London is one") from None


@dataclass(frozen=True, slots=True)
class Hours:
    """Minutes of the week, as bits of `minutes` from Monday 00:00 on, by the clock of a zone."""

    zone: tzinfo
    minutes: int = field(repr=False)
    text: str = ""

    @classmethod
    def parse(cls, texts: Sequence[str], zone: tzinfo) -> Hours:
        """Raises HoursError for the first text that is none."""
        minutes = 0
        for text in texts:
            minutes |= _minutes(text)
        return cls(zone, minutes, ", ".join(texts))

    def contain(self, at: datetime) -> bool:
        """Whether it is within these hours; a time without a zone is one of this zone."""
        there = at.astimezone(self.zone) if at.tzinfo else at
        return bool(self.minutes >> (there.weekday() * _DAY + there.hour * 60 + there.minute) & 1)

    def cover(self, other: Hours) -> bool:
        """Whether these hours are certain to have all of the other's."""
        return self.zone == other.zone and not other.minutes & ~self.minutes


def _minutes(text: str) -> int:
    found = _SPAN.fullmatch(text.strip().lower())
    if not found or not (found["first"] or found["start"]):
        raise HoursError(f"{text!r} is no span of hours, as Mon-Fri 08:00-18:00 is one")
    first = _day(found["first"]) if found["first"] else 0
    last = _day(found["last"]) if found["last"] else first if found["first"] else 6
    start, end = (_minute(found["start"]), _minute(found["end"])) if found["start"] else (0, _DAY)
    if start == end:
        raise HoursError(f"{text!r} ends when it begins; 00:00-24:00 is the whole day")
    length = (end - start) % _DAY or _DAY
    minutes = 0
    for day in range(first, last + 1 + (7 if last < first else 0)):
        span = ((1 << length) - 1) << (day % 7 * _DAY + start)
        minutes |= (span & ((1 << _WEEK) - 1)) | span >> _WEEK  # Sunday night goes on on Monday
    return minutes


def _day(name: str) -> int:
    if name not in _DAYS:
        raise HoursError(f"{name!r} is no day: {', '.join(day.title() for day in _DAYS)}")
    return _DAYS.index(name)


def _minute(text: str) -> int:
    hour, minute = int(text[:2]), int(text[3:])
    if hour * 60 + minute > _DAY or minute > 59:
        raise HoursError(f"{text} is no time of day")
    return hour * 60 + minute
