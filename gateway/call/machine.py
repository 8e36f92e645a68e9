"""One bridged call, from offer to record.

Rule 1: everything that decides what a call does next is in this file and in hunt.py, which says who is asked when.
Rule 2: this file knows a caller and callees. Which of them speaks XMPP and which SIP is the switchboard's business,
        so both directions are one machine.
Rule 3: no clock, no I/O, no await. Time comes in as `now`; work goes out as effects, in the order they are due.
Rule 4: a leg's own rules (CANCEL or BYE, retract or terminate, glare, trickle) stay in the leg.

         Offered              Ringing             Answered                          AnswerReady
    NEW ─────────> SEEKING ──────────> RINGING ─────────────┬──────────> ANSWERED ─────────────> TALKING
                      │                   ▲ │               │ no session    ▲
                      │                   └─┘ next stage    └──> JOINING ───┘
                      └──────────── Answered ───────────────┘      CallerJoined

    any state ── HungUp, MediaLost, Stopped, TimedOut, every attempt failed ──> ENDED

The set-up deadline is absolute: neither a repeated 180 nor a new stage re-arms it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.call import effects as do
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.effects import Effect
from gateway.call.events import Event, Leg
from gateway.call.hunt import Attempt, Hunt
from gateway.session.model import Session


class State(enum.Enum):
    NEW = enum.auto()
    SEEKING = enum.auto()  # callees are being asked, none rings
    RINGING = enum.auto()
    JOINING = enum.auto()  # a callee answered, the caller brings his session
    ANSWERED = enum.auto()  # both sessions are known, media is being brought together
    TALKING = enum.auto()
    ENDED = enum.auto()


_SETTING_UP = (State.SEEKING, State.RINGING)
_TAKEN = (State.JOINING, State.ANSWERED, State.TALKING)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take, in seconds."""

    setup: float = 120.0  # from the offer to an answer, whatever happens between
    stage: float | None = None  # one stage of a sequence, when another follows
    join: float = 20.0  # for the caller's session after a callee answered
    answer: float = 10.0  # for the media engine
    talk: float = 12 * 3600.0


class Call:
    """A bridged call. Feed `handle`, do the effects, and feed TimedOut when `deadline` has passed."""

    def __init__(self, patience: Patience | None = None) -> None:
        self.state = State.NEW
        self.deadline: float | None = None
        self._patience = patience or Patience()
        self._hunt = Hunt((), frozenset())
        self._caller: Session | None = None
        self._callee: Session | None = None
        self._dialled: set[int] = set()
        self._setup_by = 0.0
        self._offered_at = 0.0
        self._rang_at: float | None = None
        self._answered_at: float | None = None

    @property
    def attempt(self) -> int:
        """The attempt that answered, 0 before."""
        return self._hunt.winner.number if self._hunt.winner else 0

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event, return what is to be done about it.

        An event that the present state does not expect is late or crossed another one on the wire, which is everyday
        life in telephony: it changes nothing, except that a callee who answers in vain is hung up.
        """
        match event:
            case ev.Offered() if self.state is State.NEW:
                return self._offered(event, now)
            case ev.Refused(cause, text) if self.state is State.NEW:
                return self._end(cause, None, text, now)
            case ev.OfferReady(attempt, session) if attempt in self._hunt.live and attempt not in self._dialled:
                self._dialled.add(attempt)
                return [do.Dial(attempt, self._hunt.live[attempt], session)]
            case ev.OfferFailed(attempt, cause, text) if attempt in self._hunt.live:
                # Its media may be lost after it was asked, and then somebody's telephone is ringing.
                rings = attempt in self._dialled
                stop: list[Effect] = [do.HangUp(Leg.CALLEE, Cause.CANCELLED, attempt)] if rings else []
                return [*stop, *self._attempt_failed(attempt, None, cause, text, now)]
            case ev.Ringing(attempt) if attempt in self._hunt.live:
                return self._rings(now)
            case ev.Answered(attempt, session):
                return self._answered(attempt, session, now)
            case ev.CallerJoined(session):
                return self._joined(session, now)
            case ev.AnswerReady(session) if self.state is State.ANSWERED:
                self._answered_at = now
                self._enter(State.TALKING, now + self._longest)
                return [do.Answer(session)]
            case ev.AnswerFailed(cause, text) if self.state is State.ANSWERED:
                return self._end(cause, None, text, now)
            case ev.HungUp(Leg.CALLEE, cause, attempt, text):
                if attempt == self.attempt and self.state in _TAKEN:
                    return self._end(cause, Leg.CALLEE, text, now)
                return self._attempt_failed(attempt, Leg.CALLEE, cause, text, now)
            case ev.HungUp(Leg.CALLER, cause, _, text) if self._alive:
                return self._end(cause, Leg.CALLER, text, now)
            case ev.MediaLost(cause, text) | ev.Stopped(cause, text) if self._alive:
                return self._end(cause, None, text, now)
            case ev.TimedOut() if self.deadline is not None:
                return self._timed_out(now)
        return []

    @property
    def _alive(self) -> bool:
        return self.state is not State.ENDED

    @property
    def _longest(self) -> float:
        """Seconds that may be talked with the callee who answered."""
        talk = self._hunt.winner.destination.talk if self._hunt.winner else None
        return self._patience.talk if talk is None else min(talk, self._patience.talk)

    def _enter(self, state: State, deadline: float | None) -> None:
        self.state, self.deadline = state, deadline

    def _offered(self, event: ev.Offered, now: float) -> list[Effect]:
        self._offered_at = now
        self._setup_by = now + self._patience.setup
        self._caller = event.session
        self._hunt = Hunt(event.stages, event.advance_on)
        self._enter(State.SEEKING, self._setup_by)
        if not self._hunt.more:
            return self._end(Cause.NOT_FOUND, None, "", now)
        return self._next_stage(now)

    def _next_stage(self, now: float) -> list[Effect]:
        started = self._hunt.next_stage()
        stage_by = now + self._patience.stage if self._patience.stage and self._hunt.more else self._setup_by
        self.deadline = min(self._setup_by, stage_by)
        return [do.PrepareOffer(a.number, a.destination, self._caller) for a in started]

    def _rings(self, now: float) -> list[Effect]:
        if self.state is State.RINGING:  # a forking proxy may ring more than once
            return []
        self._rang_at = now
        self._enter(State.RINGING, self.deadline)
        return [do.Alert()]

    def _answered(self, attempt: int, session: Session, now: float) -> list[Effect]:
        if attempt not in self._hunt.live or attempt not in self._dialled:
            if attempt == self.attempt:  # the same answer again
                return []
            # It crossed our cancel, or another callee was quicker: nobody may be left in a call with himself.
            cause = Cause.ELSEWHERE if self.state in _TAKEN else Cause.CANCELLED
            return [do.HangUp(Leg.CALLEE, cause, attempt)]
        self._callee = session
        todo: list[Effect] = []
        for loser in self._hunt.won(attempt):
            todo += self._drop(loser, Cause.ELSEWHERE)
        if self._caller is None:
            self._enter(State.JOINING, now + self._patience.join)
            return [*todo, do.AskCaller()]
        return [*todo, *self._bring_together(self._caller, session, now)]

    def _joined(self, session: Session, now: float) -> list[Effect]:
        if self.state is State.JOINING and self._callee is not None:
            return self._bring_together(session, self._callee, now)
        if self.state in _SETTING_UP and self._caller is None:  # he did not wait to be asked
            self._caller = session
        return []

    def _bring_together(self, caller: Session, callee: Session, now: float) -> list[Effect]:
        self._caller = caller
        self._enter(State.ANSWERED, now + self._patience.answer)
        return [do.PrepareAnswer(self.attempt, callee, caller)]

    def _attempt_failed(self, attempt: int, by: Leg | None, cause: Cause, text: str, now: float) -> list[Effect]:
        if attempt not in self._hunt.live:
            return []
        over = self._hunt.failed(attempt, cause, text)
        self._dialled.discard(attempt)
        if over:
            verdict = self._hunt.verdict
            # An earlier attempt's word may say more than the failure of this one.
            return self._end(verdict.cause, by if verdict.cause is cause else Leg.CALLEE, verdict.text, now)
        todo: list[Effect] = [do.ReleaseAttempt(attempt)]
        if not self._hunt.live:
            todo += self._next_stage(now)
        return todo

    def _timed_out(self, now: float) -> list[Effect]:
        if self.state in _SETTING_UP and now < self._setup_by:
            todo: list[Effect] = []
            for attempt in self._hunt.give_up_stage(Cause.NO_ANSWER):
                todo += self._drop(attempt, Cause.CANCELLED)
            return todo + self._next_stage(now)
        match self.state:
            case State.RINGING:
                cause = Cause.NO_ANSWER
            case State.TALKING:
                cause = Cause.TOO_LONG
            case State.ANSWERED:
                cause = Cause.INTERNAL
            case State.JOINING:
                cause = Cause.TIMEOUT
            case _:
                cause = Cause.UNAVAILABLE  # asked, and not a word: a phone that is off, an offline user
        return self._end(cause, None, "", now)

    def _drop(self, attempt: int, cause: Cause) -> list[Effect]:
        """Hang one attempt up, if it was asked at all, and give its media back."""
        todo: list[Effect] = []
        if attempt in self._dialled:
            self._dialled.discard(attempt)
            todo.append(do.HangUp(Leg.CALLEE, cause, attempt))
        todo.append(do.ReleaseAttempt(attempt))
        return todo

    def _end(self, cause: Cause, by: Leg | None, text: str, now: float) -> list[Effect]:
        """Hang up whoever has not hung up, close the media, write the record."""
        if self.state is State.NEW:  # given up before the dialplan had said anything
            self._offered_at = now
        todo: list[Effect] = []
        if by is not Leg.CALLER:
            todo.append(do.HangUp(Leg.CALLER, cause, 0, text))
        winner: Attempt | None = self._hunt.winner
        for attempt in self._hunt.abandon():
            if attempt in self._dialled:
                # The caller's leg says why the call failed; a callee who never answered sees a call that went away.
                todo.append(do.HangUp(Leg.CALLEE, Cause.CANCELLED, attempt))
        if winner is not None and by is not Leg.CALLEE:
            todo.append(do.HangUp(Leg.CALLEE, cause, winner.number, text))
        todo.append(do.CloseMedia())
        todo.append(
            do.Record(
                cause,
                by,
                text,
                winner.destination if winner else None,
                self._offered_at,
                self._rang_at,
                self._answered_at,
                now,
            )
        )
        self._enter(State.ENDED, None)
        return todo
