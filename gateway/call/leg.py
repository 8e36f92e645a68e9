"""How the switchboard drives a leg, whichever protocol it speaks: the one interface that both rooms implement.

The way back is a callable, Sink: the room tells it Events and Notices (gateway.call.events) as they happen, never from
within a call of LegControl that is still running.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.call.causes import Cause
from gateway.call.events import Report
from gateway.session.model import Session

Sink = Callable[[Report], None]


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a room gets back for a call that came in: the gateway's id of it, and where to tell what happens.

    A call that the dialplan refuses is admitted too: it is hung up through its LegControl a moment later.
    """

    call: str
    sink: Sink


class LegControl(Protocol):
    """One leg of a call. Every method returns at once; none raises for what the far side did."""

    def dial(self, offer: Session) -> None:
        """Callee's leg: ask the callee with this offer."""

    def alert(self) -> None:
        """Caller's leg: the far side rings (180; JMI ringing; session-info ringing). Repeats are harmless."""

    def progress(self) -> None:
        """Caller's leg: something is done, and nothing rings yet (183 without a session). Repeats are harmless."""

    def ask(self, offer: Session | None = None) -> None:
        """Caller's leg, when Offered carried no session: have him bring it, in CallerJoined.

        A leg whose caller wants to be offered one gets ours (a SIP INVITE without SDP: 200 with it, the ACK answers);
        others need none (JMI proceed).
        """

    def answer(self, session: Session) -> None:
        """Caller's leg: the call is answered, with this answer to his offer."""

    def reanswer(self, session: Session | None) -> None:
        """Either leg: our answer to Reoffered, or our offer if it carried none; None refuses it (488)."""

    def hold(self, held: bool, offer: Session) -> None:
        """Either leg: the other end put this one on hold, or took it off. Said by a word where there is one (XEP-0167),
        else by offering anew (re-INVITE), which Reanswered follows.
        """

    def restart(self, session: Session) -> None:
        """Either leg: its end restarted ICE in Trickled, and these are our credentials and candidates now."""

    def dial_digits(self, digits: str, duration: int) -> None:
        """Either leg, where digits do not go with the media: those that the other end pressed, `duration` ms each."""

    def ask_picture(self) -> None:
        """Either leg: the other end needs a whole picture of this one's video, and media has no word for it here."""

    def transferred(self, cause: Cause | None) -> None:
        """Either leg: how the transfer that it asked for goes. None: under way; NORMAL: done, and it is hung up next;
        else why not, and the call goes on as it was.
        """

    def hang_up(self, cause: Cause, text: str = "", q850: int | None = None) -> None:
        """Either leg, in any state: refuse, cancel or end it, whichever is due. Repeats are harmless.

        `q850` is the telephone network's own code, where the other end's network gave one (RFC 3326).
        """
