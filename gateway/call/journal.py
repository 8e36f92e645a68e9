"""What a call went through, for its record: when each stage of its set-up was reached, and what became of each attempt.

The journal decides nothing. It is told every event before the machine hears it and every effect that the machine asks
for, and keeps the first time and the first reason: what is said of an attempt that is over already changes nothing.
All times are those of `now`, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.call import effects as do
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg

MOST_ATTEMPTS = 200  # of one call; further ones are carried out and not noted

Origin = Literal["route", "redirect", "transfer", "replacement"]


@dataclass(slots=True)
class Attempt:
    """One callee that was tried. `cause` is None while it is not over, and for one that pointed elsewhere."""

    number: int
    destination: Destination
    origin: Origin
    began: float
    dialled: float | None = None
    progress: float | None = None  # the far end's first word, whatever it was
    rang: float | None = None
    answered: float | None = None
    connected: float | None = None  # its media
    ended: float | None = None
    cause: Cause | None = None
    text: str = ""
    q850: int | None = None  # as the far end's network said it
    redirected: bool = False


@dataclass(slots=True)
class Journal:
    """One call's. `attempts` are in the order in which they were begun."""

    began: float | None = None
    routed: float | None = None
    caller_connected: float | None = None  # the caller's media
    attempts: dict[int, Attempt] = field(default_factory=dict)
    _event: ev.Event | None = None  # that the effects are about
    _origins: dict[Destination, Origin] = field(default_factory=dict)

    @property
    def dialled(self) -> float | None:
        """When the first callee was asked."""
        return min((a.dialled for a in self.attempts.values() if a.dialled is not None), default=None)

    @property
    def progress(self) -> float | None:
        """When a callee first said anything."""
        return min((a.progress for a in self.attempts.values() if a.progress is not None), default=None)

    @property
    def connected(self) -> float | None:
        """When the media of both ends was there for the first time; of a call with one end, when that was."""
        answered = [a for a in self.attempts.values() if a.answered is not None and a.destination.via != "echo"]
        if not answered:
            return self.caller_connected
        callee = min((a.connected for a in answered if a.connected is not None), default=None)
        if callee is None or self.caller_connected is None:
            return None
        return max(callee, self.caller_connected)

    def heard(self, event: ev.Event, now: float) -> None:
        """This happened; the effects that `did` tells next are about it."""
        self._event = event
        match event:
            case ev.Offered() | ev.Refused() if self.routed is None:
                self.routed = now
            case ev.Detour(_, stages):
                self._sent_elsewhere(stages, "redirect")
            case ev.Transfer(_, stages):
                self._sent_elsewhere(stages, "transfer")
            case ev.Ringing(number):
                self._reached(number, now, "progress", "rang")
            case ev.Progressed(number):
                self._reached(number, now, "progress")
            case ev.Answered(number):
                self._reached(number, now, "progress", "answered")
            case ev.HungUp(Leg.CALLEE, cause, number, text, q850):
                self._close(number, now, cause, text, q850)
            case ev.OfferFailed(number, cause, text) | ev.AnswerFailed(number, cause, text):
                self._close(number, now, cause, text)
            case ev.PairFailed(number, cause, text):
                self._close(number, now, cause, text)

    def did(self, effect: do.Effect, now: float) -> None:
        """The machine asks for this."""
        match effect:
            case do.PrepareOffer(number, destination):
                self.begin(number, destination, self._origins.get(destination, "route"), now)
            case do.Dial(number):
                self._reached(number, now, "dialled")
            case do.Answer(_, number) if number:
                self._reached(number, now, "answered")
            case do.HangUp(_, cause, number, text, q850) if number:
                self._close(number, now, self._why(number, cause), text, q850)
            case do.ReleaseAttempt(number) if isinstance(self._event, ev.Detour) and self._event.attempt == number:
                self._redirect(number, now)
            case do.ReleaseAttempt(number) if number:
                taken = isinstance(self._event, ev.Answered)
                self._close(number, now, self._why(number, Cause.ELSEWHERE if taken else Cause.CANCELLED))
            case do.Record(cause, _, text):
                for attempt in self.attempts.values():
                    whole = attempt.answered is not None
                    why = cause if whole else self._why(attempt.number, Cause.CANCELLED)
                    self._close(attempt.number, now, why, text if whole else "")

    def begin(self, number: int, destination: Destination, origin: Origin, now: float) -> None:
        """This callee is tried from now on, or came by itself in another's place."""
        if len(self.attempts) < MOST_ATTEMPTS:
            self.attempts.setdefault(number, Attempt(number, destination, origin, now))

    def media(self, number: int, now: float) -> None:
        """The media of the end with this number is connected; 0 is the caller."""
        if number:
            self._reached(number, now, "connected")
        elif self.caller_connected is None:
            self.caller_connected = now

    def _sent_elsewhere(self, stages: tuple[tuple[Destination, ...], ...], origin: Origin) -> None:
        for stage in stages:
            for destination in stage:
                if len(self._origins) < MOST_ATTEMPTS:
                    self._origins[destination] = origin

    def _reached(self, number: int, now: float, *stages: str) -> None:
        attempt = self.attempts.get(number)
        if attempt is None or attempt.ended is not None:
            return
        for stage in stages:
            if getattr(attempt, stage) is None:
                setattr(attempt, stage, now)

    def _redirect(self, number: int, now: float) -> None:
        attempt = self.attempts.get(number)
        if attempt is not None and attempt.ended is None:
            attempt.redirected, attempt.ended = True, now

    def _close(self, number: int, now: float, cause: Cause, text: str = "", q850: int | None = None) -> None:
        attempt = self.attempts.get(number)
        if attempt is not None and attempt.ended is None:
            attempt.ended, attempt.cause, attempt.text, attempt.q850 = now, cause, text, q850

    def _why(self, number: int, cause: Cause) -> Cause:
        """Why we gave an attempt up: every callee that has not answered is told CANCELLED, and few callers cancel."""
        attempt = self.attempts.get(number)
        if cause is not Cause.CANCELLED or attempt is None or attempt.answered is not None:
            return cause
        match self._event:
            case ev.TimedOut():
                return Cause.NO_ANSWER if attempt.rang is not None else Cause.UNAVAILABLE
            case ev.Stopped(said) | ev.MediaLost(said):
                return said
        return cause
