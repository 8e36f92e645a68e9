"""Two calls of ours that become one conversation: a telephone had both, and connects their far ends with each other.

    before   A ── call 1 ── telephone        telephone ── call 2 ── B
    after    A ── call 1 ── Half ════════════════ Half ── call 2 ── B

To call 1 its Half is a callee that answers; to call 2 the other Half is a newcomer in the telephone's place, as after
an INVITE with Replaces (RFC 3891). Neither far end is asked anything, each call keeps its payer, its limits and its
record, and whoever hangs up ends both. What one Half is told is what the other one reports, and media goes by two legs
of plain RTP within this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.call.leg import Sink
from gateway.session.model import Session

JOINED = "joined"  # the via of both ends of a junction; the target is the other call's id and the number of its end

ComeIn = Callable[["Half", Session], bool]  # bring the other half into its call; False: that call is over


def target_of(call: str, number: int) -> str:
    """The destination's target that stands for an end of a call of ours."""
    return f"{call}/{number}"


def end_of(target: str) -> tuple[str, int]:
    """The same, read."""
    call, _, number = target.partition("/")
    return call, int(number)


class Half:
    """One end of a junction, a LegControl; `other` is there from the first offer on."""

    def __init__(self, attempt: int, sink: Sink, come_in: ComeIn | None = None) -> None:
        self.attempt = attempt
        self._sink = sink
        self._come_in = come_in
        self._over = False
        self.other: Half | None = None

    def meet(self, attempt: int, sink: Sink) -> Half:
        """The other half, for the other call."""
        self.other = Half(attempt, sink)
        self.other.other = self
        return self.other

    def _tell(self, report: ev.Report) -> None:
        """Later: a leg never reports from within what it is told."""
        if not self._over:
            asyncio.get_running_loop().call_soon(self._sink, report)

    def dial(self, offer: Session) -> None:
        if self._come_in is not None and not self._over and not self._come_in(self, offer):
            self._end(Cause.NOT_FOUND, "that call is over", None)

    def answer(self, session: Session) -> None:
        if self.other is not None:
            self.other._tell(ev.Answered(self.other.attempt, session))

    def hold(self, held: bool, offer: Session) -> None:
        if self.other is not None:
            self.other._tell(ev.Reoffered(Leg.CALLEE, self.other.attempt, offer))

    def reanswer(self, session: Session | None) -> None:
        if self.other is not None:
            self.other._tell(ev.Reanswered(Leg.CALLEE, self.other.attempt, session))

    def dial_digits(self, digits: str, duration: int) -> None:
        if self.other is not None:
            self.other._tell(ev.Dialled(Leg.CALLEE, self.other.attempt, digits, duration))

    def ask_picture(self) -> None:
        if self.other is not None:
            self.other._tell(ev.PictureAsked(Leg.CALLEE, self.other.attempt))

    def hang_up(self, cause: Cause, text: str = "", q850: int | None = None) -> None:
        if self._over:
            return
        self._over = True
        if self.other is not None:
            self.other._end(cause, text, q850)

    def _end(self, cause: Cause, text: str, q850: int | None) -> None:
        self._tell(ev.HungUp(Leg.CALLEE, cause, self.attempt, text, q850))
        self._over = True

    # What only callers and clients are told

    def alert(self) -> None: ...

    def progress(self) -> None: ...

    def ask(self, offer: Session | None = None) -> None: ...

    def restart(self, session: Session) -> None: ...

    def transferred(self, cause: Cause | None) -> None: ...
