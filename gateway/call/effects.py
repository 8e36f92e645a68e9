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
    """Get media for this attempt and build its offer; tell OfferReady or OfferFailed.

    `beside` is the number of the end that it is to talk with, when that one is in the call already (a transfer).
    """

    attempt: int
    destination: Destination
    caller: Session | None
    beside: int | None = None


@dataclass(frozen=True, slots=True)
class Dial(Effect):
    """Ask the callee. `alternative`: somebody else is asked if nothing at all is heard of him."""

    attempt: int
    destination: Destination
    session: Session
    alternative: bool = False


@dataclass(frozen=True, slots=True)
class Alert(Effect):
    """Tell the caller that it rings."""


@dataclass(frozen=True, slots=True)
class Progress(Effect):
    """Tell the caller that the call goes on, although nothing rings."""


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
    """Answer whoever called: the caller, or with a number the one who came in another's place."""

    session: Session
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Pair(Effect):
    """Connect this attempt's media with that of the end numbered `beside`, which keeps what it agreed to; tell Paired
    or PairFailed.
    """

    attempt: int
    callee: Session
    beside: int


@dataclass(frozen=True, slots=True)
class Adopt(Effect):
    """Get media for a newcomer who offers `session`, connect it with the end numbered `beside`, build his answer; tell
    Adopted or PairFailed.
    """

    attempt: int
    session: Session
    beside: int


@dataclass(frozen=True, slots=True)
class Play(Effect):
    """Let the end with this number hear a prompt ("ringback", "warning"), until None."""

    attempt: int
    prompt: str | None


@dataclass(frozen=True, slots=True)
class TellTransfer(Effect):
    """Tell the end with this number how the transfer that it asked for goes (LegControl.transferred)."""

    attempt: int
    cause: Cause | None


@dataclass(frozen=True, slots=True)
class HangUp(Effect):
    """End one leg with this cause; an attempt that lost the race is hung up with ELSEWHERE."""

    leg: Leg
    cause: Cause
    attempt: int = 0
    text: str = ""
    q850: int | None = None  # as the other end's network said it


@dataclass(frozen=True, slots=True)
class ReleaseAttempt(Effect):
    """This attempt's media (0: the caller's) is no longer needed, the call goes on."""

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
