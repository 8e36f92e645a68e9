"""What arrives from one end, counted as RFC 3550 counts it: loss and jitter, for reports and for statistics."""

from __future__ import annotations

_DROPOUT = 3_000  # A.1: a larger jump is a source that began anew
_MISORDER = 100


class Reception:
    """One incoming stream after another. Times are seconds; `clock` is that of its timestamps."""

    __slots__ = (
        "_at",
        "_base",
        "_cycles",
        "_earlier",
        "_expected_then",
        "_highest",
        "_jitter",
        "_received",
        "_received_then",
        "_timestamp",
        "clock",
        "ssrc",
    )

    def __init__(self) -> None:
        self.ssrc: int | None = None
        self.clock = 8_000
        self._base = self._highest = self._cycles = self._received = 0
        self._expected_then = self._received_then = 0  # at the last report
        self._earlier = 0  # lost by sources before this one
        self._jitter = 0.0  # in timestamp units
        self._at = 0.0
        self._timestamp: int | None = None

    def arrived(self, seq: int, timestamp: int, ssrc: int, now: float, voice: bool = True) -> None:
        """A packet. Events repeat their timestamp, so that they say nothing about jitter (`voice` is false)."""
        ahead = (seq - self._highest) & 0xFFFF
        if ssrc != self.ssrc or _DROPOUT <= ahead < 0x10000 - _MISORDER:
            self._begin(seq, ssrc)
        elif ahead < _DROPOUT:
            if seq < self._highest:
                self._cycles += 0x10000
            self._highest = seq
        self._received += 1
        if not voice:
            return
        if self._timestamp is not None:
            step = (timestamp - self._timestamp) & 0xFFFFFFFF
            if step >= 0x80000000:
                step -= 0x100000000
            late = (now - self._at) * self.clock - step
            self._jitter += (abs(late) - self._jitter) / 16  # §6.4.1
        self._timestamp, self._at = timestamp, now

    @property
    def highest(self) -> int:
        """The extended highest sequence number (§6.4.1)."""
        return self._cycles + self._highest

    @property
    def received(self) -> int:
        """Packets of the source that sends now."""
        return self._received

    @property
    def expected(self) -> int:
        return 0 if self.ssrc is None else self.highest - self._base + 1

    @property
    def lost(self) -> int:
        """Packets that never came, over all sources; repeated ones may hide some."""
        return self._earlier + max(0, self.expected - self._received)

    @property
    def jitter(self) -> int:
        """In timestamp units."""
        return round(self._jitter)

    @property
    def jitter_ms(self) -> float:
        return self._jitter * 1000 / self.clock

    def fraction(self) -> float:
        """The share that was lost since this was asked last (A.3)."""
        expected, received = self.expected - self._expected_then, self._received - self._received_then
        self._expected_then, self._received_then = self.expected, self._received
        return max(0, expected - received) / expected if expected > 0 else 0.0

    def _begin(self, seq: int, ssrc: int) -> None:
        self._earlier = self.lost
        self.ssrc, self._base, self._highest, self._cycles, self._received = ssrc, seq, seq, 0, 0
        self._expected_then = self._received_then = 0
        self._timestamp = None
