"""Which of several targets a request goes to next (RFC 3263 §4.3): in order, past those that failed lately. Pure.

targets ─ Penalties.rank ─> Course ── advance ──> the one to try
              ^                └───── fail ─────┐  (503, silence, a dead connection)
              └─────── for half a minute ───────┘
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

PENALTY = 32.0  # seconds: as long as somebody waited in vain (64*T1)
# Seconds without a word after which the next target is asked. RFC 3263 §4.3 waits for timer B or F, 32 s, by which time
# the caller has given up; a 100 comes within 200 ms (RFC 3261 §17.2.1), and by now the request has left four times over
# UDP, the last 1.5 s ago. The only target, and the last one, have all of 64*T1.
SILENCE = 5.0
LONGEST = 60.0  # whatever Retry-After says: a target that is last is still tried when it is the only one
MAX_PENALTIES = 1000


@dataclass(frozen=True, slots=True)
class Target:
    transport: str  # "UDP", "TCP", "TLS", "WS", "WSS"
    host: str  # an IP address
    port: int


class Penalties:
    """Targets that failed a short while ago. They are tried last, not never."""

    def __init__(self) -> None:
        self._until: dict[Target, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def add(self, target: Target, now: float, seconds: float | None = None) -> None:
        """It failed; `seconds` is what it asked for itself (Retry-After)."""
        if len(self._until) >= MAX_PENALTIES:
            self._until = {known: until for known, until in self._until.items() if until > now}
        if len(self._until) >= MAX_PENALTIES:
            del self._until[min(self._until, key=self._until.__getitem__)]
        self._until[target] = now + (PENALTY if seconds is None else min(max(seconds, 1.0), LONGEST))

    def forgive(self, target: Target) -> None:
        """It answered."""
        self._until.pop(target, None)

    def rank(self, targets: Iterable[Target], now: float) -> list[Target]:
        """The same in the same order, but for those that serve a penalty: they come last, the oldest failure first."""
        return sorted(targets, key=lambda target: max(self._until.get(target, now) - now, 0.0))


class Course:
    """The targets of one request, one after the other. `current` is the one that is tried now."""

    def __init__(
        self, targets: Iterable[Target], penalties: Penalties, now: float, owner: Target | None = None
    ) -> None:
        """`owner` has the dialog that the request belongs to: whatever it said to others, nobody else knows it."""
        self._rest = penalties.rank(dict.fromkeys(targets), now)
        if owner is not None:  # by whichever transport: a large request prefers the stream to it
            self._rest.sort(key=lambda target: (target.host, target.port) != (owner.host, owner.port))
        self._penalties = penalties
        self.current: Target | None = None

    @property
    def more(self) -> bool:
        return bool(self._rest)

    def advance(self) -> Target | None:
        """The next one to try; None when there is none left."""
        self.current = self._rest.pop(0) if self._rest else None
        return self.current

    def fail(self, now: float, seconds: float | None = None) -> None:
        """The current one cannot be reached, does not answer, or said 503."""
        if self.current is not None:
            self._penalties.add(self.current, now, seconds)

    def answer(self) -> None:
        """The current one is alive."""
        if self.current is not None:
            self._penalties.forgive(self.current)


def widened(targets: Iterable[Target], *, large: bool) -> list[Target]:
    """For a request that is too large for a datagram: each UDP target by TCP first (RFC 3261 §18.1.1)."""
    out: list[Target] = []
    for target in targets:
        if large and target.transport == "UDP":
            out.append(Target("TCP", target.host, target.port))
        out.append(target)
    return out


def seconds_of(retry_after: str | None) -> float | None:
    """What a Retry-After says (RFC 3261 §20.33): a number, then perhaps a comment and parameters."""
    number = (retry_after or "").split("(")[0].split(";")[0].strip()
    return float(number) if number.isascii() and number.isdigit() and len(number) <= 9 else None
