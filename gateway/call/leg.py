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

    def ask(self) -> None:
        """Caller's leg, when Offered carried no session: have him bring it (JMI proceed)."""

    def answer(self, session: Session) -> None:
        """Caller's leg: the call is answered, with this answer to his offer."""

    def reanswer(self, session: Session | None) -> None:
        """Either leg: our answer to Reoffered, or our offer if it carried none; None refuses it (488)."""

    def hang_up(self, cause: Cause, text: str = "") -> None:
        """Either leg, in any state: refuse, cancel or end it, whichever is due. Repeats are harmless."""
