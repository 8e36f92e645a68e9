"""What arrives from one end, counted as RFC 3550 counts it: loss and jitter, for reports and for statistics."""

from __future__ import annotations

_DROPOUT = 3_000  # A.1: a larger jump is a source that began anew
_MISORDER = 100
_NEVER = 1 << 40  # later than any timestamp


class Reception:
    """One incoming stream after another. Times are seconds; `clock` is that of its timestamps.

    Who takes an orderly packet by himself (lane.py) keeps `highest_seq`, `received`, `spread`, `timestamp` and `at`.
    """

    __slots__ = (
        "_base",
        "_cycles",
        "_earlier",
        "_expected_then",
        "_received_then",
        "at",
        "clock",
        "highest_seq",
        "received",
        "spread",
        "ssrc",
        "timestamp",
    )

    def __init__(self) -> None:
        self.ssrc: int | None = None
        self.clock = 8_000
        self.received = 0  # packets of the source that sends now
        self.highest_seq = self._base = self._cycles = 0
        self._expected_then = self._received_then = 0  # at the last report
        self._earlier = 0  # lost by sources before this one
        self.spread = 0.0  # jitter, in timestamp units
        self.at = 0.0  # when the last voice came
        self.timestamp = _NEVER  # of the last voice

    def arrived(self, seq: int, timestamp: int, ssrc: int, now: float, voice: bool = True) -> None:
        """A packet. Events repeat their timestamp, so that they say nothing about jitter (`voice` is false)."""
        ahead = (seq - self.highest_seq) & 0xFFFF
        if ssrc != self.ssrc or _DROPOUT <= ahead < 0x10000 - _MISORDER:
            self._begin(seq, ssrc)
        elif ahead < _DROPOUT:
            if seq < self.highest_seq:
                self._cycles += 0x10000
            self.highest_seq = seq
        self.received += 1
        if not voice:
            return
        if self.timestamp != _NEVER:
            step = (timestamp - self.timestamp) & 0xFFFFFFFF
            if step >= 0x80000000:
                step -= 0x100000000
            late = (now - self.at) * self.clock - step
            self.spread += (abs(late) - self.spread) / 16  # §6.4.1
        self.timestamp, self.at = timestamp, now

    @property
    def highest(self) -> int:
        """The extended highest sequence number (§6.4.1)."""
        return self._cycles + self.highest_seq

    @property
    def expected(self) -> int:
        return 0 if self.ssrc is None else self.highest - self._base + 1

    @property
    def lost(self) -> int:
        """Packets that never came, over all sources; repeated ones may hide some."""
        return self._earlier + max(0, self.expected - self.received)

    @property
    def jitter(self) -> int:
        """In timestamp units."""
        return round(self.spread)

    @property
    def jitter_ms(self) -> float:
        return self.spread * 1000 / self.clock

    def fraction(self) -> float:
        """The share that was lost since this was asked last (A.3)."""
        expected, received = self.expected - self._expected_then, self.received - self._received_then
        self._expected_then, self._received_then = self.expected, self.received
        return max(0, expected - received) / expected if expected > 0 else 0.0

    def _begin(self, seq: int, ssrc: int) -> None:
        self._earlier = self.lost
        self.ssrc, self._base, self.highest_seq, self._cycles, self.received = ssrc, seq, seq, 0, 0
        self._expected_then = self._received_then = 0
        self.timestamp = _NEVER
