"""When a budget begins anew: windows of a steady calendar, and the clock that they go by. Pure.

Rules:
1. Windows are UTC's hours, days and months: a change to summer time moves none of them.
2. The clock is read once, at the start, and goes on as the time since boot does, which nobody sets (CLOCK_BOOTTIME: a
   suspended machine's sleep counts). A step of the system's clock, forwards or back, moves nothing while we run.
3. A window never goes back to an earlier one, over a restart too: as long as a new start's clock is behind what the
   database has seen (`mark`) by a day at most, the calendar stands still. By more, it was the earlier clock that was
   wrong: the calendar follows the new one. A clock that is ahead after a restart is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway.dialplan.booking import Period

BEHIND = 86_400.0  # s that the calendar waits for a clock to catch up
ASTRAY = 5.0  # s between our clock and the system's that are worth a word


@dataclass(frozen=True, slots=True)
class Window:
    """From `begins` until just before `ends`, in seconds since the epoch."""

    begins: int
    ends: int


def window(period: Period, at: float) -> Window:
    """The window that a time in seconds since the epoch lies in."""
    moment = datetime.fromtimestamp(at, UTC).replace(minute=0, second=0, microsecond=0)
    match period:
        case Period.HOUR:
            after = moment + timedelta(hours=1)
        case Period.DAY:
            moment = moment.replace(hour=0)
            after = moment + timedelta(days=1)
        case Period.MONTH:
            moment = moment.replace(day=1, hour=0)
            after = (moment + timedelta(days=31)).replace(day=1)
    return Window(int(moment.timestamp()), int(after.timestamp()))


class Calendar:
    """The windows of the time that it was last turned to. Each is found once for as long as it lasts."""

    def __init__(self, at: float) -> None:
        self._at = at
        self._windows: dict[Period, Window] = {}

    def turn(self, at: float) -> None:
        self._at = at

    def __call__(self, period: Period) -> Window:
        found = self._windows.get(period)
        if found is None or not found.begins <= self._at < found.ends:
            found = self._windows[period] = window(period, self._at)
        return found


class SteadyClock:
    """Made at the start from the time (`wall`, seconds since the epoch), the seconds since boot, and the latest time
    that the database has seen; from then on it asks for the seconds since boot alone.
    """

    def __init__(self, wall: float, boot: float, mark: float = 0.0) -> None:
        self._offset = wall - boot
        self._floor = mark if mark - wall <= BEHIND else 0.0

    def now(self, boot: float) -> float:
        """Seconds since the epoch: for leases, bursts, and what people read."""
        return boot + self._offset

    def calendar(self, boot: float) -> float:
        """The time that windows go by (rule 3)."""
        return max(self.now(boot), self._floor)

    def astray(self, wall: float, boot: float) -> float:
        """How far the system's clock has been set since, in seconds; 0 for what is not worth a word."""
        by = wall - self.now(boot)
        return by if abs(by) >= ASTRAY else 0.0
