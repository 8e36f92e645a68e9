"""The media work of a call, as its machine orders it and its legs ask for it, one thing at a time.

    effect, notice ──> Mediation ──do──> bridge, in turn ──> what came of it: an event for the machine, or a leg is told

Nothing here decides what a call does next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from gateway.bridge import cause_of, leg_name
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.leg import LegControl
from gateway.call.machine import State
from gateway.errors import MediaError, NegotiationError
from gateway.junction import JOINED
from gateway.line import NOBODY, Line, spawn
from gateway.routing import Routing
from gateway.session.model import Session
from gateway.session.policy import Towards

log = structlog.get_logger()

_Found = TypeVar("_Found")


class Mediation:
    """`tell` takes an event for a call, `control` does something to the leg of an end with this number, if it is there,
    and `saw` draws a rung: call, leg, what.
    """

    def __init__(
        self,
        routing: Routing,
        tell: Callable[[str, ev.Report], None],
        control: Callable[[Line, int, Callable[[LegControl], None]], None],
        saw: Callable[[str, str, str], None],
        unix_now: Callable[[], float],
    ) -> None:
        self._routing, self._tell, self._control, self._saw, self._unix_now = routing, tell, control, saw, unix_now

    def do(self, line: Line, act: Callable[[], Awaitable[None]]) -> None:
        """Media work of one call is done in order, one at a time, beside the signalling."""

        async def in_turn() -> None:
            async with line.media:
                try:
                    await act()
                except (MediaError, NegotiationError) as error:
                    log.warning("media", call=line.id, error=str(error))
                except Exception:
                    log.exception("media", call=line.id)
                    self._tell(line.id, ev.Stopped(Cause.INTERNAL))

        spawn(line.tasks, in_turn())

    async def prepare_offer(
        self, line: Line, attempt: int, to: Destination, caller: Session | None, beside: int | None
    ) -> None:
        if to.via == "echo":
            self._tell(line.id, ev.OfferReady(attempt, Session(())))
            return
        if to == NOBODY or line.machine.state is State.ENDED:
            return
        if refused := self._routing.attempt_refused(line, attempt, to):
            self._tell(line.id, refused)
            return
        policy = self._routing.policy(line, to)
        ip = await self._routing.ip_of(line, to)
        work = line.bridge.offer(attempt, _towards(to), policy, caller, beside, line.video, ip, to.via == JOINED)
        await self._outcome(line, attempt, work, ev.OfferReady, ev.OfferFailed)

    async def prepare_answer(self, line: Line, attempt: int, callee: Session, caller: Session) -> None:
        to = line.destinations[attempt]
        policy = self._routing.policy(line, to)
        if line.machine.state is State.ENDED:
            return
        bridge = line.bridge
        work = bridge.test_line(policy, caller) if to.via == "echo" else bridge.answer(attempt, policy, callee, caller)
        await self._outcome(line, attempt, work, ev.AnswerReady, ev.AnswerFailed)

    async def record(self, line: Line) -> None:
        """If a rule says so, from the answer on or from when the call is sent to somebody whose rule does. The name is
        ours alone: nothing of it is a peer's word.
        """
        if line.record == "no" or line.machine.state is State.ENDED:
            return
        began = datetime.fromtimestamp(self._unix_now(), UTC)
        await line.bridge.record(f"{began:%Y%m%dT%H%M%SZ}-{line.id}", notice=line.record == "notice")

    async def offer_caller(self, line: Line) -> None:
        try:
            offer = await line.bridge.offer_caller(self._routing.policy(line, NOBODY), line.ip)
        except (MediaError, NegotiationError) as error:
            self._tell(line.id, ev.MediaLost(Cause.INTERNAL, str(error)))
        else:
            self._control(line, 0, lambda caller: caller.ask(offer))

    async def pair(self, line: Line, attempt: int, callee: Session, beside: int) -> None:
        await self._off_hold(line, beside)
        work = line.bridge.pair(attempt, callee, beside)
        await self._outcome(line, attempt, work, lambda number, _: ev.Paired(number), ev.PairFailed)
        await self.record(line)

    async def adopt(self, line: Line, attempt: int, offer: Session, beside: int) -> None:
        to = line.destinations[attempt]
        await self._off_hold(line, beside)
        policy = self._routing.policy(line, to)
        work = line.bridge.adopt(attempt, _towards(to), policy, offer, beside, to.via == JOINED)
        await self._outcome(line, attempt, work, ev.Adopted, ev.PairFailed)

    async def _outcome(
        self,
        line: Line,
        attempt: int,
        work: Awaitable[_Found],
        done: Callable[[int, _Found], ev.Event],
        failed: Callable[[int, Cause, str], ev.Event],
    ) -> None:
        """Do what the machine asked for, and tell it what came of it."""
        try:
            found = await work
        except (MediaError, NegotiationError) as error:
            self._tell(line.id, failed(attempt, cause_of(error), str(error)))
        else:
            self._tell(line.id, done(attempt, found))

    async def trickled(self, line: Line, notice: ev.Trickled) -> None:
        ours = await line.bridge.trickle(notice)
        if ours is not None:
            leg = leg_name(notice.leg, notice.attempt)
            self._saw(line.id, leg, "restarts ICE")
            self._control(line, notice.attempt, lambda control: control.restart(ours))

    async def reoffered(self, line: Line, notice: ev.Reoffered) -> None:
        try:
            answer = await line.bridge.reoffer(notice)
        except (MediaError, NegotiationError) as error:
            log.warning("re-offer refused", call=line.id, leg=notice.leg.value, error=str(error))
            self._control(line, notice.attempt, lambda control: control.reanswer(None))
            return
        self._control(line, notice.attempt, lambda control: control.reanswer(answer.answer))
        if answer.held is not None:
            await self.held(line, notice.leg, notice.attempt, answer.held)

    async def held(self, line: Line, leg: Leg, attempt: int, held: bool) -> None:
        """One end holds the other: that one is told, and hears music if this one has none for it."""
        offer = await line.bridge.hold(leg, attempt, held)
        if offer is not None:
            self._saw(line.id, leg_name(leg, attempt), "holds" if held else "takes off hold")
            other = line.bridge.peer_of(leg, attempt)
            self._control(line, other, lambda control: control.hold(held, offer))

    async def _off_hold(self, line: Line, kept: int) -> None:
        """Whoever had put this end on hold is not its peer any more."""
        peer = line.bridge.peer_of(Leg.CALLEE, kept) if kept else line.bridge.peer_of(Leg.CALLER, 0)
        await self.held(line, Leg.CALLEE if peer else Leg.CALLER, peer, False)


def _towards(to: Destination) -> Towards:
    return Towards.XMPP if to.via == "xmpp" else Towards.SIP
