"""Who is asked when: stages one after the other, the callees of a stage together, the first answer wins.

    begin ──> stage 1: attempts 1, 2 ──all failed, cause in advance_on──> stage 2: attempt 3 ──> … ──> exhausted
                         │ one answers
                         └──> won: the others are the losers

Trunk failover, several users of one number and ring groups are this one machine; what differs is which causes lead on.
Attempts are numbered from 1 through the whole call and never reused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.call.causes import Cause
from gateway.call.events import Destination

# When every attempt failed, the caller is told the failure that says most about the callee (RFC 3261 §16.7 step 6 is
# the model: a human's decision counts more than a network's trouble). Earlier wins; causes not named come last.
_TELLING = (
    Cause.DECLINED,
    Cause.BUSY,
    Cause.NO_ANSWER,
    Cause.NO_COMMON_CODEC,
    Cause.SECURITY,
    Cause.FORBIDDEN,
    Cause.UNAVAILABLE,
    Cause.NOT_FOUND,
    Cause.CERTIFICATE,
)


@dataclass(frozen=True, slots=True)
class Attempt:
    number: int
    destination: Destination


@dataclass(frozen=True, slots=True)
class Failure:
    cause: Cause
    text: str
    q850: int | None = None


class Hunt:
    """The attempts of one call. `live` are those that may still answer."""

    def __init__(self, stages: Sequence[Sequence[Destination]], advance_on: frozenset[Cause], last: int = 0) -> None:
        """`last` is the last number that was used in this call before."""
        self._stages = [tuple(stage) for stage in stages if stage]
        self._detours: list[tuple[Destination, ...]] = []
        self._advance_on = advance_on
        self._count = last
        self._failures: list[Failure] = []
        self.live: dict[int, Destination] = {}
        self.winner: Attempt | None = None

    @property
    def more(self) -> bool:
        """There is another stage to go on to."""
        return bool(self._detours or self._stages)

    def leads_on(self, cause: Cause) -> bool:
        """Whether there is another stage for those whom this cause befalls."""
        return self.more and (bool(self._detours) or cause in self._advance_on)

    def reserve(self) -> int:
        """A number for somebody who was not asked but came."""
        self._count += 1
        return self._count

    @property
    def last(self) -> int:
        """The last number that was used."""
        return self._count

    @property
    def verdict(self) -> Failure:
        """The most telling failure so far."""
        if not self._failures:
            return Failure(Cause.NOT_FOUND, "")
        return min(self._failures, key=lambda f: _TELLING.index(f.cause) if f.cause in _TELLING else len(_TELLING))

    def next_stage(self) -> list[Attempt]:
        """Start the next stage; empty when there is none."""
        if not self.more:
            return []
        started = []
        for destination in (self._detours or self._stages).pop(0):
            self._count += 1
            self.live[self._count] = destination
            started.append(Attempt(self._count, destination))
        return started

    def failed(self, attempt: int, cause: Cause, text: str = "", q850: int | None = None) -> bool:
        """This attempt is over. True when the stage is over with it and the hunt may not go on: the call ends.

        A stage that may go on is started by `next_stage`, which the caller asks for when nothing is `live`.
        """
        if self.live.pop(attempt, None) is None:
            return False
        self._failures.append(Failure(cause, text, q850))
        if cause not in self._advance_on:
            self._stages.clear()
        return not self.live and not self.more

    def detour(self, attempt: int, stages: Sequence[Sequence[Destination]]) -> None:
        """This attempt pointed elsewhere: there comes next, before all that was planned and whatever else fails."""
        if self.live.pop(attempt, None) is not None:
            self._detours += [tuple(stage) for stage in stages if stage]

    def won(self, attempt: int) -> list[int]:
        """This attempt answered; the numbers of those that lost to it. Nothing is live afterwards."""
        destination = self.live.pop(attempt)
        self.winner = Attempt(attempt, destination)
        return self.abandon()

    def abandon(self) -> list[int]:
        """Give every live attempt up; their numbers."""
        losers = list(self.live)
        self.live.clear()
        self._stages.clear()
        self._detours.clear()
        return losers

    def give_up_stage(self, cause: Cause) -> list[int]:
        """The stage took too long: its attempts failed with `cause`; their numbers."""
        late = list(self.live)
        for _ in late:
            self._failures.append(Failure(cause, ""))
        self.live.clear()
        return late
