"""What can happen to a call, told by its edges in the past tense.

Two families. An Event is for the call's machine, but for Redirected, of which the dialplan has to make a Detour first.
A Notice is seen to by the switchboard, and the machine never hears of it: trickled candidates, digits, a re-offer, who
is at an end now or wants it connected elsewhere.

`attempt` numbers the callees that one call tries, from 1. Work that was asked for an attempt comes back with its
number, so that a late completion cannot be taken for another's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.call.causes import Cause
from gateway.session.model import Candidate, Ice, Session


class Leg(enum.StrEnum):
    """The two ends of a bridged call. Neither is "the XMPP one"."""

    CALLER = "caller"
    CALLEE = "callee"

    @property
    def other(self) -> Leg:
        return Leg.CALLEE if self is Leg.CALLER else Leg.CALLER


@dataclass(frozen=True, slots=True)
class Destination:
    """One callee to try: `via` is a trunk's name, "direct", "echo" or "xmpp"; `target` a SIP URI or a bare JID.

    `talk` is how many seconds a conversation with it may last, None: as long as any. `early`: what it sends before it
    answers is let through to the caller (announcements, a network's own ringing).
    """

    via: str
    target: str
    talk: float | None = None
    early: bool = False


class Event:
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Offered(Event):
    """The caller asks, and the dialplan has said where to.

    `stages` are tried one after the other, the destinations of a stage together. A cause in `advance_on` goes on to
    the next stage, any other ends the call. `session` is None when the caller brings his session only after he has been
    told that the callee answered ("late", XEP-0353) or never made an offer (a SIP INVITE without SDP). `await_media`:
    the caller is told of the answer when the callee's media flows, for he will speak at once, into nothing.
    """

    stages: tuple[tuple[Destination, ...], ...]
    session: Session | None
    advance_on: frozenset[Cause] = frozenset()
    await_media: bool = False


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """The dialplan has no way there, or will not go it."""

    cause: Cause
    text: str = ""


@dataclass(frozen=True, slots=True)
class OfferReady(Event):
    """The media engine has a transport for this attempt, and here is what we offer its callee."""

    attempt: int
    session: Session


@dataclass(frozen=True, slots=True)
class OfferFailed(Event):
    """No offer could be made for this attempt."""

    attempt: int
    cause: Cause
    text: str = ""


@dataclass(frozen=True, slots=True)
class Ringing(Event):
    attempt: int


@dataclass(frozen=True, slots=True)
class Waking(Event):
    """Nobody is known to be there who could ring; a push may be waking a device."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Progressed(Event):
    """A callee that has not answered sends media already, and here is where from (a 183 with SDP)."""

    attempt: int
    session: Session


@dataclass(frozen=True, slots=True)
class Redirected(Event):
    """A callee pointed elsewhere (3xx): SIP URIs, the one that it prefers first. HungUp of the same attempt follows."""

    attempt: int
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """A callee took the call, and this is its answer to our offer."""

    attempt: int
    session: Session


@dataclass(frozen=True, slots=True)
class CallerJoined(Event):
    """The caller's session arrived after AskCaller."""

    session: Session


@dataclass(frozen=True, slots=True)
class AnswerReady(Event):
    """The caller's media is connected with this attempt's, and here is what we answer him."""

    attempt: int
    session: Session


@dataclass(frozen=True, slots=True)
class MediaUp(Event):
    """Media can flow between us and this attempt's callee."""

    attempt: int


@dataclass(frozen=True, slots=True)
class AnswerFailed(Event):
    """The caller and this attempt could not be brought together."""

    attempt: int
    cause: Cause
    text: str = ""


@dataclass(frozen=True, slots=True)
class Paired(Event):
    """This attempt's media is connected with that of the end that stays, which was not asked again."""

    attempt: int


@dataclass(frozen=True, slots=True)
class PairFailed(Event):
    attempt: int
    cause: Cause
    text: str = ""


@dataclass(frozen=True, slots=True)
class Adopted(Event):
    """The newcomer's media is connected with that of the end that stays, and here is what we answer him."""

    attempt: int
    session: Session


@dataclass(frozen=True, slots=True)
class Detour(Event):
    """This attempt pointed elsewhere (3xx), and the dialplan goes along: these are tried in its place."""

    attempt: int
    stages: tuple[tuple[Destination, ...], ...]


@dataclass(frozen=True, slots=True)
class Transfer(Event):
    """The end with the number `by` asked that the other one be connected elsewhere, and the dialplan goes along."""

    by: int
    stages: tuple[tuple[Destination, ...], ...]
    advance_on: frozenset[Cause] = frozenset()


@dataclass(frozen=True, slots=True)
class TakeOver(Event):
    """A newcomer, numbered `attempt`, calls in place of the end with the number `old` (Replaces), and he may."""

    old: int
    attempt: int
    session: Session


@dataclass(frozen=True, slots=True)
class HungUp(Event):
    """A leg refused, cancelled or ended; the state says which it was. `attempt` is 0 for the caller."""

    leg: Leg
    cause: Cause
    attempt: int = 0
    text: str = ""  # what the far side gave as its reason, for people
    q850: int | None = None  # the telephone network's own code for it, which passes through as it came


@dataclass(frozen=True, slots=True)
class MediaLost(Event):
    """The engine gave up on the media of a leg of this call."""

    cause: Cause
    text: str = ""


@dataclass(frozen=True, slots=True)
class Stopped(Event):
    """The gateway itself ends the call: shutdown, lost link, an operator."""

    cause: Cause
    text: str = ""


@dataclass(frozen=True, slots=True)
class TimedOut(Event):
    """The machine's deadline has passed."""


class Notice:
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Trickled(Notice):
    """The end of this leg named more ICE candidates, or new credentials (ICE restart)."""

    leg: Leg
    attempt: int
    candidates: tuple[Candidate, ...]
    ice: Ice | None = None  # set when ufrag and pwd came along
    complete: bool = False
    video: bool = False  # of the video's own path, at an end that bundles nothing


@dataclass(frozen=True, slots=True)
class Dialled(Notice):
    """Digits pressed at this leg's end that came by signalling (XEP-0181, SIP INFO); media relays all others."""

    leg: Leg
    attempt: int
    digits: str  # of 0123456789*#ABCD
    duration: int = 100  # ms


@dataclass(frozen=True, slots=True)
class PictureAsked(Notice):
    """The end of this leg needs a whole picture of the other's video, and says so in signalling (INFO, RFC 5168)."""

    leg: Leg
    attempt: int


@dataclass(frozen=True, slots=True)
class Reoffered(Notice):
    """The end of this leg offers the session anew (re-INVITE); it wants LegControl.reanswer."""

    leg: Leg
    attempt: int
    session: Session | None  # None: it wants our offer


@dataclass(frozen=True, slots=True)
class Reanswered(Notice):
    """The end of this leg answered what LegControl.hold or its like offered anew; None: it would not."""

    leg: Leg
    attempt: int
    session: Session | None


@dataclass(frozen=True, slots=True)
class Held(Notice):
    """The end of this leg put the other one on hold, or took it off, by a word alone (XEP-0167 §8.2).

    An end that says it by the direction of a new offer tells Reoffered.
    """

    leg: Leg
    attempt: int
    held: bool


@dataclass(frozen=True, slots=True)
class PartyChanged(Notice):
    """Somebody else is at this leg's end now, as its own network says (P-Asserted-Identity inside a dialog)."""

    leg: Leg
    attempt: int
    uri: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Consulted:
    """The end with this number of another call of ours, and whether it is at the address of whoever speaks of it."""

    call: str
    number: int
    same_address: bool


@dataclass(frozen=True, slots=True)
class TransferAsked(Notice):
    """The end of this leg wants the other one connected with `target`, a SIP URI, in its own place (REFER, RFC 3515).

    `replaces` is the dialog there that the new call is to replace (RFC 3891), as `call-id;to-tag=…;from-tag=…`; where
    that is a dialog with us, `consulted` says which. It wants to hear LegControl.transferred.
    """

    leg: Leg
    attempt: int
    target: str
    replaces: str = ""
    referred_by: str = ""  # a Referred-By header's value (RFC 3892), for the new call
    consulted: Consulted | None = None


Report = Event | Notice
