"""What a call asks of its edges, in the imperative and in the order in which it is to be done."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.session.model import Session


class Effect:
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class PrepareOffer(Effect):
    """Get media for this attempt and build its offer; tell OfferReady or OfferFailed."""

    attempt: int
    destination: Destination
    caller: Session | None


@dataclass(frozen=True, slots=True)
class Dial(Effect):
    """Ask the callee."""

    attempt: int
    destination: Destination
    session: Session


@dataclass(frozen=True, slots=True)
class Alert(Effect):
    """Tell the caller that it rings."""


@dataclass(frozen=True, slots=True)
class AskCaller(Effect):
    """The callee answered; have the caller bring his session (JMI proceed); tell CallerJoined."""


@dataclass(frozen=True, slots=True)
class PrepareAnswer(Effect):
    """Bring the two ends' media together and build the caller's answer; tell AnswerReady or AnswerFailed."""

    attempt: int
    callee: Session
    caller: Session


@dataclass(frozen=True, slots=True)
class Answer(Effect):
    session: Session


@dataclass(frozen=True, slots=True)
class HangUp(Effect):
    """End one leg with this cause; an attempt that lost the race is hung up with ELSEWHERE."""

    leg: Leg
    cause: Cause
    attempt: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseAttempt(Effect):
    """This attempt's media is no longer needed, the call goes on."""

    attempt: int


@dataclass(frozen=True, slots=True)
class CloseMedia(Effect):
    pass


@dataclass(frozen=True, slots=True)
class Record(Effect):
    """Write the call record; always the last effect of a call. Times are those of `now`, in seconds."""

    cause: Cause
    by: Leg | None
    text: str
    destination: Destination | None
    offered_at: float
    rang_at: float | None
    answered_at: float | None
    ended_at: float
