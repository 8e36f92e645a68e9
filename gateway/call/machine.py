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

Early media (Progressed, where the destination allows it) brings the caller in while callees are still sought: he is
asked and answered once, and whoever answers then is paired with what he agreed to.

The two ends of a call that is up have numbers: 0 is the caller, others are attempts. Who holds an end may change:

    TALKING ── Transfer: a new hunt beside the talk ── Answered ── Paired ──> the asker goes, the new one is an end
            ── TakeOver: a newcomer ── Adopted ──> likewise

The set-up deadline is absolute: neither a repeated 180 nor a new stage re-arms it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.call import effects as do
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.effects import Effect
from gateway.call.events import Destination, Event, Leg
from gateway.call.hunt import Hunt
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
CALLER = 0  # the number of the end that called


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take, in seconds."""

    setup: float = 120.0  # from the offer to an answer, whatever happens between
    stage: float | None = None  # one stage of a sequence, when another follows
    join: float = 20.0  # for the caller's session after a callee answered
    answer: float = 10.0  # for the media engine
    media: float = 3.0  # for the callee's media to flow, where the caller's answer waits for it
    talk: float = 12 * 3600.0
    transfer: float = 60.0  # for somebody at the other end of a transfer to answer


@dataclass(slots=True)
class _Move:
    """A transfer under way: the end `by` asked for it, the end `kept` stays."""

    by: int
    kept: int
    rang: bool = False


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
        self._ends = {Leg.CALLER: CALLER}  # who holds which end; the callee's when one has answered
        self._destination: Destination | None = None  # of whom answered
        self._asked = False  # the caller was asked for his session
        self._joining: tuple[int, Session] | None = None  # the attempt that the caller's answer is or was made for
        self._joined = False  # and he has it
        self._await_media = False
        self._flowing: set[int] = set()  # attempts whose media is connected
        self._withheld: Session | None = None  # the caller's answer, until the callee can hear him
        self._early = 0  # the attempt whose media is heard before its answer
        self._move: _Move | None = None
        self._left: set[int] = set()  # ends that hung up, while the call goes on
        self._newcomers: dict[int, int] = {}  # who comes in whose place
        self._setup_by = 0.0
        self._talk_by = 0.0
        self._offered_at = 0.0
        self._rang_at: float | None = None
        self._answered_at: float | None = None

    @property
    def attempt(self) -> int:
        """Who holds the callee's end, 0 while nobody does."""
        return self._ends.get(Leg.CALLEE, 0)

    def holds(self, number: int) -> bool:
        """Whether this is one of the two ends of the conversation."""
        return number in self._ends.values()

    @property
    def moving(self) -> bool:
        """Whether somebody is sought to take one end's place."""
        return self._move is not None

    def can_transfer(self, number: int) -> bool:
        """Whether this end may have the other one connected elsewhere now."""
        return self.state is State.TALKING and self._move is None and self.holds(number)

    def reserve(self) -> int:
        """The number of a newcomer, for TakeOver."""
        return self._hunt.reserve()

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
                alternative = self._hunt.leads_on(Cause.TIMEOUT)
                return [do.Dial(attempt, self._hunt.live[attempt], session, alternative)]
            case ev.OfferFailed(attempt, cause, text) if attempt in self._hunt.live:
                # Its media may be lost after it was asked, and then somebody's telephone is ringing.
                return [*self._cancel(attempt), *self._attempt_failed(attempt, None, cause, text, now)]
            case ev.Waking(attempt) if attempt in self._hunt.live and self.state is State.SEEKING:
                return [do.Progress()]
            case ev.Ringing(attempt) if attempt in self._hunt.live:
                return self._rings(now)
            case ev.Progressed(attempt, session) if attempt in self._hunt.live:
                return self._progressed(attempt, session)
            case ev.Detour(attempt, stages) if attempt in self._hunt.live:
                return self._detour(attempt, stages, now)
            case ev.Answered(attempt, session):
                return self._answered(attempt, session, now)
            case ev.CallerJoined(session):
                return self._caller_joined(session, now)
            case ev.AnswerReady(attempt, session):
                return self._answer_ready(attempt, session, now)
            case ev.MediaUp(attempt):
                self._flowing.add(attempt)
                return self._answer_withheld(now) if attempt == self.attempt else []
            case ev.AnswerFailed(attempt, cause, text):
                return self._answer_failed(attempt, cause, text, now)
            case ev.Paired(attempt):
                return self._paired(attempt, now)
            case ev.PairFailed(attempt, cause, text):
                return self._pair_failed(attempt, cause, text, now)
            case ev.Transfer(by) if self.can_transfer(by):
                return self._transfer(event, now)
            case ev.TakeOver() if self.state is State.TALKING and self.holds(event.old):
                return self._take_over(event)
            case ev.TakeOver(_, attempt):
                return [do.HangUp(Leg.CALLEE, Cause.CANCELLED, attempt)]
            case ev.Adopted(attempt, session):
                return self._adopted(attempt, session)
            case ev.HungUp() if self._alive:
                return self._hung_up(event, now)
            case ev.MediaLost(cause, text) | ev.Stopped(cause, text) if self._alive:
                return self._end(cause, None, text, now)
            case ev.TimedOut() if self.deadline is not None:
                return self._timed_out(now)
        return []

    @property
    def _alive(self) -> bool:
        return self.state is not State.ENDED

    def _enter(self, state: State, deadline: float | None) -> None:
        self.state, self.deadline = state, deadline

    # --- callees are sought

    def _offered(self, event: ev.Offered, now: float) -> list[Effect]:
        self._offered_at = now
        self._setup_by = now + self._patience.setup
        self._caller = event.session
        self._await_media = event.await_media
        self._hunt = Hunt(event.stages, event.advance_on)
        self._enter(State.SEEKING, self._setup_by)
        if not self._hunt.more:
            return self._end(Cause.NOT_FOUND, None, "", now)
        return self._next_stage(now)

    def _next_stage(self, now: float) -> list[Effect]:
        started = self._hunt.next_stage()
        stage_by = now + self._patience.stage if self._patience.stage and self._hunt.more else self._setup_by
        self.deadline = min(self._setup_by, stage_by)
        beside = self._move.kept if self._move else None
        caller = None if self._move else self._caller
        return [do.PrepareOffer(a.number, a.destination, caller, beside) for a in started]

    def _detour(self, attempt: int, stages: tuple[tuple[Destination, ...], ...], now: float) -> list[Effect]:
        self._hunt.detour(attempt, stages)
        self._dialled.discard(attempt)
        todo: list[Effect] = [do.ReleaseAttempt(attempt)]
        return todo if self._hunt.live else todo + self._next_stage(now)

    def _rings(self, now: float) -> list[Effect]:
        if self._move is not None:
            first, self._move.rang = not self._move.rang, True
            return [do.Play(self._move.kept, "ringback")] if first else []
        if self.state is State.RINGING:  # a forking proxy may ring more than once
            return []
        self._rang_at = now
        self._enter(State.RINGING, self.deadline)
        return [do.Alert()]

    def _progressed(self, attempt: int, session: Session) -> list[Effect]:
        """The caller hears what the callee's network says, once it may be heard and one has something to say."""
        early = attempt in self._dialled and self._hunt.live[attempt].early and self.state in _SETTING_UP
        if not early or self._early:
            return []
        self._early, self._callee = attempt, session
        if self._joined:
            return [do.Pair(attempt, session, CALLER)]
        if self._caller is None:
            return self._ask_caller()
        return self._join(attempt, session, self._caller)

    def _attempt_failed(
        self, attempt: int, by: Leg | None, cause: Cause, text: str, now: float, q850: int | None = None
    ) -> list[Effect]:
        if attempt not in self._hunt.live:
            return []
        if attempt == self._early:
            self._early = 0
        over = self._hunt.failed(attempt, cause, text, q850)
        self._dialled.discard(attempt)
        if over:
            verdict = self._hunt.verdict
            if self._move is not None:
                return [do.ReleaseAttempt(attempt), *self._move_failed(verdict.cause, verdict.text, now)]
            # An earlier attempt's word may say more than the failure of this one.
            said_by = by if verdict.cause is cause else Leg.CALLEE
            return self._end(verdict.cause, said_by, verdict.text, now, verdict.q850)
        todo: list[Effect] = [do.ReleaseAttempt(attempt)]
        if not self._hunt.live:
            todo += self._next_stage(now)
        return todo

    # --- one answers, and is brought together with the caller

    def _answered(self, attempt: int, session: Session, now: float) -> list[Effect]:
        if attempt not in self._hunt.live or attempt not in self._dialled:
            if self.holds(attempt):  # the same answer again
                return []
            # It crossed our cancel, or another callee was quicker: nobody may be left in a call with himself.
            cause = Cause.ELSEWHERE if self.state in _TAKEN else Cause.CANCELLED
            return [do.HangUp(Leg.CALLEE, cause, attempt)]
        destination = self._hunt.live[attempt]
        todo: list[Effect] = []
        for loser in self._hunt.won(attempt):
            todo += self._drop(loser, Cause.ELSEWHERE)
        if self._move is not None:
            self.deadline = min(self._talk_by, now + self._patience.answer)
            return [*todo, do.Pair(attempt, session, self._move.kept)]
        heard = self._callee if attempt == self._early else None
        self._callee, self._destination = session, destination
        self._ends[Leg.CALLEE] = attempt
        if self._caller is None:
            self._enter(State.JOINING, now + self._patience.join)
            return todo + self._ask_caller()
        self._enter(State.ANSWERED, now + self._patience.answer)
        if self._joining is None:
            return todo + self._join(attempt, session, self._caller)
        if not self._joined:
            return todo  # his answer is being made, for the media that came early
        if session == heard:
            self._talk(now)
            return todo
        return [*todo, do.Pair(attempt, session, CALLER)]

    def _ask_caller(self) -> list[Effect]:
        first, self._asked = not self._asked, True
        return [do.AskCaller()] if first else []

    def _join(self, attempt: int, callee: Session, caller: Session) -> list[Effect]:
        self._joining = (attempt, callee)
        return [do.PrepareAnswer(attempt, callee, caller)]

    def _caller_joined(self, session: Session, now: float) -> list[Effect]:
        if self._caller is not None or self._callee is None:
            if self.state in _SETTING_UP and self._caller is None:  # he did not wait to be asked
                self._caller = session
            return []
        self._caller = session
        if self.state is State.JOINING:
            self._enter(State.ANSWERED, now + self._patience.answer)
            return self._join(self.attempt, self._callee, session)
        if self.state in _SETTING_UP and self._early:
            return self._join(self._early, self._callee, session)
        return []

    def _awaits_answer(self, attempt: int) -> bool:
        """Whether the caller's answer is being made, for the media of this attempt."""
        awaited = self._joining is not None and self._joining[0] == attempt and not self._joined
        return awaited and self.state in (*_SETTING_UP, State.ANSWERED)

    def _answer_ready(self, attempt: int, session: Session, now: float) -> list[Effect]:
        if not self._awaits_answer(attempt):
            return []
        self._joined = True
        if self._await_media and self.state is State.ANSWERED and attempt not in self._flowing:
            self._withheld = session
            self.deadline = now + self._patience.media
            return []
        return self._say_answer(session, now)

    def _answer_withheld(self, now: float) -> list[Effect]:
        session, self._withheld = self._withheld, None
        return [] if session is None or not self._alive else self._say_answer(session, now)

    def _say_answer(self, session: Session, now: float) -> list[Effect]:
        todo: list[Effect] = [do.Answer(session)]
        if self.state is State.ANSWERED and self._callee is not None:
            if self._joining == (self.attempt, self._callee):
                self._talk(now)
            else:
                self.deadline = now + self._patience.answer
                todo.append(do.Pair(self.attempt, self._callee, CALLER))
        return todo

    def _answer_failed(self, attempt: int, cause: Cause, text: str, now: float) -> list[Effect]:
        if not self._awaits_answer(attempt):
            return []
        if self.state is State.ANSWERED and attempt == self.attempt:
            return self._end(cause, None, text, now)
        self._joining = None
        if self.state is State.ANSWERED and self._caller is not None and self._callee is not None:
            return self._join(self.attempt, self._callee, self._caller)
        return [*self._cancel(attempt), *self._attempt_failed(attempt, None, cause, text, now)]

    def _talk(self, now: float) -> None:
        self._answered_at = now
        talk = self._destination.talk if self._destination else None
        self._talk_by = now + (self._patience.talk if talk is None else min(talk, self._patience.talk))
        self._enter(State.TALKING, self._talk_by)

    def _paired(self, attempt: int, now: float) -> list[Effect]:
        if self.state is State.ANSWERED and attempt == self.attempt:
            self._talk(now)
        if self._move is None or self._hunt.winner is None or attempt != self._hunt.winner.number:
            return []
        move, self._move = self._move, None
        self.deadline = self._talk_by
        self._put(attempt, move.by)
        todo: list[Effect] = [do.Play(move.kept, None)] if move.rang else []
        if move.by not in self._left:
            todo += [do.TellTransfer(move.by, Cause.NORMAL), self._hang_up(move.by, Cause.NORMAL)]
        return [*todo, do.ReleaseAttempt(move.by)]

    def _pair_failed(self, attempt: int, cause: Cause, text: str, now: float) -> list[Effect]:
        if self._newcomers.pop(attempt, None) is not None:
            return [self._hang_up(attempt, cause, text), do.ReleaseAttempt(attempt)]
        if self._move is not None and self._hunt.winner is not None and attempt == self._hunt.winner.number:
            failed = self._move_failed(cause, text, now)
            return [self._hang_up(attempt, cause, text), do.ReleaseAttempt(attempt), *failed]
        if self.state is State.ANSWERED and attempt == self.attempt:
            return self._end(cause, None, text, now)
        return []  # media before the answer is nothing that a call depends on

    # --- another takes one of the ends

    def _transfer(self, event: ev.Transfer, now: float) -> list[Effect]:
        self._move = _Move(event.by, self._other(event.by))
        self._hunt = Hunt(event.stages, event.advance_on, self._hunt.last)
        self._setup_by = min(self._talk_by, now + self._patience.transfer)
        return [do.TellTransfer(event.by, None), *self._next_stage(now)]

    def _move_failed(self, cause: Cause, text: str, now: float) -> list[Effect]:
        move, self._move = self._move, None
        self.deadline = self._talk_by
        if move is None or move.by in self._left:  # then nobody is there whom the other could go on talking with
            return self._end(cause, None, text, now)
        todo: list[Effect] = [do.Play(move.kept, None)] if move.rang else []
        return [*todo, do.TellTransfer(move.by, cause)]

    def _take_over(self, event: ev.TakeOver) -> list[Effect]:
        self._newcomers[event.attempt] = event.old
        return [do.Adopt(event.attempt, event.session, self._other(event.old))]

    def _adopted(self, attempt: int, session: Session) -> list[Effect]:
        old = self._newcomers.pop(attempt, None)
        if old is None or self.state is not State.TALKING or not self.holds(old):
            return [self._hang_up(attempt, Cause.CANCELLED)] if old is not None else []
        todo: list[Effect] = [do.Answer(session, attempt)]
        if self._move is not None:
            todo += self._give_up_move()
        self._put(attempt, old)
        return [*todo, self._hang_up(old, Cause.ELSEWHERE), do.ReleaseAttempt(old)]

    def _give_up_move(self) -> list[Effect]:
        """The ends are not what they were when the transfer was asked for."""
        move, self._move = self._move, None
        self.deadline = self._talk_by
        todo = [effect for attempt in self._sought() for effect in self._drop(attempt, Cause.CANCELLED)]
        self._hunt.abandon()
        if move is not None and move.by not in self._left:
            todo.append(do.TellTransfer(move.by, Cause.CANCELLED))
        return [*todo, do.Play(move.kept, None)] if move is not None and move.rang else todo

    def _sought(self) -> list[int]:
        """Attempts of a transfer that are not an end yet."""
        winner = self._hunt.winner
        taken = [winner.number] if winner is not None and not self.holds(winner.number) else []
        return [*self._hunt.live, *taken]

    def _put(self, number: int, old: int) -> None:
        side = Leg.CALLER if self._ends[Leg.CALLER] == old else Leg.CALLEE
        self._ends[side] = number

    def _other(self, number: int) -> int:
        return self._ends[Leg.CALLEE] if self._ends[Leg.CALLER] == number else self._ends[Leg.CALLER]

    # --- somebody leaves

    def _hung_up(self, event: ev.HungUp, now: float) -> list[Effect]:
        number = CALLER if event.leg is Leg.CALLER else event.attempt
        if self._newcomers.pop(number, None) is not None:
            return [do.ReleaseAttempt(number)]
        if self._move is not None:
            if number == self._move.by:
                self._left.add(number)  # RFC 5589 §6.1: he may leave once the transfer is under way
                return []
            winner = self._hunt.winner
            if winner is not None and number == winner.number:
                return [do.ReleaseAttempt(number), *self._move_failed(event.cause, event.text, now)]
        if number in self._hunt.live:
            return self._attempt_failed(number, Leg.CALLEE, event.cause, event.text, now, event.q850)
        for side, holder in self._ends.items():
            if holder == number:
                return self._end(event.cause, side, event.text, now, event.q850)
        return []

    def _timed_out(self, now: float) -> list[Effect]:
        if self._withheld is not None:  # it may still come, and a caller who hears nothing longer hangs up
            return self._answer_withheld(now)
        if self._move is not None and now < self._talk_by:
            todo = [effect for attempt in self._sought() for effect in self._drop(attempt, Cause.CANCELLED)]
            self._hunt.abandon()
            return todo + self._move_failed(Cause.NO_ANSWER, "", now)
        if self.state in _SETTING_UP and now < self._setup_by:
            todo = []
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

    def _hang_up(self, number: int, cause: Cause, text: str = "", q850: int | None = None) -> do.HangUp:
        return do.HangUp(Leg.CALLER if number == CALLER else Leg.CALLEE, cause, number, text, q850)

    def _cancel(self, attempt: int) -> list[Effect]:
        return [do.HangUp(Leg.CALLEE, Cause.CANCELLED, attempt)] if attempt in self._dialled else []

    def _drop(self, attempt: int, cause: Cause) -> list[Effect]:
        """Hang one attempt up, if it was asked at all, and give its media back."""
        todo: list[Effect] = []
        if attempt in self._dialled:
            self._dialled.discard(attempt)
            todo.append(do.HangUp(Leg.CALLEE, cause, attempt))
        todo.append(do.ReleaseAttempt(attempt))
        return todo

    def _end(self, cause: Cause, by: Leg | None, text: str, now: float, q850: int | None = None) -> list[Effect]:
        """Hang up whoever has not hung up, close the media, write the record."""
        if self.state is State.NEW:  # given up before the dialplan had said anything
            self._offered_at = now
        left = self._left | ({self._ends[by]} if by in self._ends else set())
        todo: list[Effect] = []
        if self._ends[Leg.CALLER] not in left:
            todo.append(self._hang_up(self._ends[Leg.CALLER], cause, text, q850))
        for attempt in (*self._sought(), *self._newcomers):
            if attempt in self._dialled or attempt in self._newcomers:
                # The caller's leg says why the call failed; a callee who never answered sees a call that went away.
                todo.append(do.HangUp(Leg.CALLEE, Cause.CANCELLED, attempt))
        self._hunt.abandon()
        if Leg.CALLEE in self._ends and self.attempt not in left:
            todo.append(self._hang_up(self.attempt, cause, text, q850))
        todo.append(do.CloseMedia())
        todo.append(
            do.Record(
                cause,
                by,
                text,
                self._destination,
                self._offered_at,
                self._rang_at,
                self._answered_at,
                now,
            )
        )
        self._enter(State.ENDED, None)
        return todo
