"""Whose money a call costs: what is booked before anybody is asked, how it goes on while they talk, what it came to.

    Routing ── reserve ──> Accounts ──> bookings (a database)       granted: a Fare on the call's line
    Switchboard ── follow ──> Fare's meter ── extend ──> bookings   granted, or: a warning, and later the end
                └─ over ────> settled, once, however the call ended

1. A call that has no booking (free, for help, from SIP) asks nobody, so that it passes whatever the database does.
2. No answer is no money: then a call that costs, or counts, is refused (call/meter.py says what becomes of one that is
   up). Where nothing is booked and an account could only be frozen, it passes, unless the account was frozen when the
   database was last heard.
3. A leg to which a call is sent elsewhere (REFER, 3xx) is booked like a call of its own, by whoever pays (safety rule
   5); whoever is not asked any more is given back when somebody has answered.
4. Prices are the tariff's of the way that answered; until that is known it is the dearest that is reserved.
5. Who is frozen, or has used his budget up, reads it himself; the operator reads it in the log and counts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Protocol

import structlog

from gateway.call import events as ev
from gateway.call import meter
from gateway.call.causes import Cause
from gateway.call.machine import State
from gateway.dialplan.booking import Booking, Tariff
from gateway.dialplan.plan import Route
from gateway.line import Fare, Line
from gateway.notices import Notice, Notices
from gateway.storage.bookings import Ask, BookingsAway, Exhausted, Frozen, Granted

log = structlog.get_logger()

LIMIT = 3.0  # s that an answer may take, whatever the database promises

Answer = Granted | Exhausted | Frozen
OUTCOMES = ("granted", "exhausted", "frozen", "away")


class Till(Protocol):
    """What is asked of gateway.storage.bookings; its words are said there."""

    async def reserve(self, ask: Ask) -> Answer: ...

    async def extend(self, call: str, seconds: int, tariff: Tariff | None, *, answered: bool) -> Answer: ...

    def settle(self, call: str, seconds: int, cost: int, answered: bool) -> None: ...

    def remembered(self, account: str) -> Frozen | None: ...


class Shut:
    """Where nothing can be booked: closed by default."""

    async def reserve(self, ask: Ask) -> Answer:
        raise BookingsAway("nothing can be booked here")

    async def extend(self, call: str, seconds: int, tariff: Tariff | None, *, answered: bool) -> Answer:
        raise BookingsAway("nothing can be booked here")

    def settle(self, call: str, seconds: int, cost: int, answered: bool) -> None: ...

    def remembered(self, account: str) -> Frozen | None:
        return None


class Accounts:
    """The bookings of all live calls. `on_answer` is told what the database said, one of OUTCOMES, and after how many
    seconds; `on_frozen` that somebody's account is frozen from now on.
    """

    def __init__(
        self,
        till: Till,
        *,
        on_answer: Callable[[str, float], None] = lambda outcome, seconds: None,
        on_frozen: Callable[[], None] = lambda: None,
    ) -> None:
        self._till = till
        self._on_answer = on_answer
        self._on_frozen = on_frozen
        self._notices = Notices()
        self._away = False  # the last question was not answered
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(
        self,
        tell: Callable[[str, ev.Event], None],
        warn: Callable[[Line, int], None],
        write: Callable[[Iterable[Notice]], None],
        notices: Notices,
    ) -> None:
        """`tell` takes an event for a call, `warn` lets the end with this number hear that the call is about to end,
        `write` sends what users read.
        """
        self._tell, self._warn, self._write, self._notices = tell, warn, write, notices

    # --- before anybody is asked

    async def reserve(self, line: Line, route: Route) -> Fare | ev.Refused | None:
        """Book what a route wants booked, for the payer of this line; why the call may not be, for people. What is
        returned counts only once it is `taken`, or else has to be given back. None: there is nothing to book.
        """
        booking = route.booking
        if booking is None or route.emergency:
            return None
        tariffs = booking.tariffs or (None,) * len(route.via)
        key = f"{line.id}/{line.booked + 1}" if line.booked else line.id
        line.booked += 1
        ask = Ask(key, booking.account, booking.claims, booking.bursts, _dearest(tariffs), meter.SLICE)
        answer = await self._answer(line, key, self._till.reserve(ask))
        if booking.empty and answer is None:
            answer = self._till.remembered(booking.account)
        if booking.empty and (answer is None or isinstance(answer, Granted)):
            self._till.settle(key, 0, 0, answered=False)
            return None
        if isinstance(answer, Granted):
            ways = zip(route.via, (target or "" for target in route.targets), tariffs, strict=True)
            return Fare(
                key, meter.Meter(answer.seconds, _now()), {(via, target): tariff for via, target, tariff in ways}
            )
        self._till.settle(key, 0, 0, answered=False)
        cause, text = self._refusal(line, booking, answer)
        return ev.Refused(cause, text)

    def take(self, line: Line, fares: Iterable[Fare]) -> None:
        """From now on these are this call's; of one that has ended meanwhile they are given back."""
        for fare in fares:
            line.fares.append(fare)
            if line.machine.state is State.ENDED:
                self._do(line, fare, fare.meter.end(_now()))
            self._arm(line, fare)

    def give_back(self, fares: Iterable[Fare]) -> None:
        """Nobody was asked for these."""
        for fare in fares:
            for order in fare.meter.end(_now()):
                if isinstance(order, meter.Settle):
                    self._till.settle(fare.key, order.seconds, order.cost, order.answered)

    # --- while the call goes on

    def follow(self, line: Line) -> None:
        """Something happened to this call."""
        for fare in line.fares:
            if fare.meter.settled is None:
                self._do(line, fare, self._found(line, fare))
                self._sound(line, fare)
                self._arm(line, fare)

    def over(self, line: Line) -> None:
        """The call has ended."""
        for fare in line.fares:
            attempt = line.journal.attempts.get(fare.attempt)
            ended = attempt.ended if attempt is not None else None
            self._do(line, fare, fare.meter.end(_now() if ended is None else ended))
            self._arm(line, fare)

    def _found(self, line: Line, fare: Fare) -> Iterator[meter.Order]:
        for number, attempt in line.journal.attempts.items():
            way = attempt.destination.via, attempt.destination.target
            if way not in fare.ways or line.paid.setdefault(number, _newest(line, way)) is not fare:
                continue
            if attempt.answered is not None and not fare.meter.answered:
                fare.attempt = number
                yield from fare.meter.answer(fare.ways[way], attempt.answered)
            if attempt.ended is not None and fare.attempt == number:
                yield from fare.meter.end(attempt.ended)
        # Somebody has answered, and nobody is sought any more: what was booked for others is given back.
        if line.machine.state is State.TALKING and not line.machine.moving and not fare.meter.answered:
            yield from fare.meter.end(_now())

    def _sound(self, line: Line, fare: Fare) -> None:
        """The tone, once there is somebody who could hear it."""
        if fare.unheard and line.machine.state is State.TALKING:
            fare.unheard = False
            for number in _payers(line):
                self._warn(line, number)

    def _do(self, line: Line, fare: Fare, orders: Iterable[meter.Order]) -> None:
        for order in orders:
            match order:
                case meter.Extend():
                    self._spawn(self._extend(line, fare, order))
                case meter.Warn(cause, text, seconds):
                    log.info("the call will end", call=line.id, cause=cause.label, text=text, seconds=round(seconds))
                    fare.unheard = True
                    self._sound(line, fare)
                    self._write(self._notices.of_the_ending(line, cause, text, round(seconds)))
                case meter.Stop(cause, text):
                    self._tell(line.id, ev.Stopped(cause, text))
                case meter.Settle(seconds, cost, answered):
                    self._till.settle(fare.key, seconds, cost, answered)

    async def _extend(self, line: Line, fare: Fare, order: meter.Extend) -> None:
        asked = self._till.extend(fare.key, order.seconds, order.tariff, answered=order.answered)
        answer = await self._answer(line, fare.key, asked)
        match answer:
            case Granted(seconds):
                orders = fare.meter.grant(order.number, seconds, _now())
            case None:
                orders = fare.meter.away(order.number, _now())
            case _:
                orders = fare.meter.refuse(order.number, *self._refusal(line, None, answer), _now())
        self._do(line, fare, orders)
        self._arm(line, fare)

    def _arm(self, line: Line, fare: Fare) -> None:
        if fare.timer is not None:
            fare.timer.cancel()
            fare.timer = None
        if fare.meter.deadline is not None and fare.meter.settled is None:
            fare.timer = asyncio.get_running_loop().call_at(fare.meter.deadline, self._timed_out, line, fare)

    def _timed_out(self, line: Line, fare: Fare) -> None:
        self._do(line, fare, fare.meter.timed_out(_now()))
        self._arm(line, fare)

    # --- what the database says

    async def _answer(self, line: Line, key: str, asked: Coroutine[Any, Any, Answer]) -> Answer | None:
        """None: it says nothing."""
        began, answer = _now(), None
        try:
            async with asyncio.timeout(LIMIT):
                answer = await asked
        except (BookingsAway, TimeoutError) as error:
            if not self._away:  # once, and not for every call of a thousand
                log.warning("nothing can be booked", call=line.id, error=str(error) or "no answer in time")
            self._away = True
        except Exception:  # a bug of ours costs nobody's money
            log.exception("booking", call=line.id, booking=key)
        else:
            if self._away:
                log.info("bookings are answered again", call=line.id)
            self._away = False
        self._on_answer("away" if answer is None else type(answer).__name__.lower(), _now() - began)
        return answer

    def _refusal(self, line: Line, booking: Booking | None, answer: Exhausted | Frozen | None) -> tuple[Cause, str]:
        match answer:
            case Exhausted(claim):
                account = booking.account if booking else line.payer
                log.info("budget exhausted", call=line.id, account=account, budget=claim.budget, left=answer.left)
                if answer.frozen:
                    self._freeze(line, account, claim.budget)
                return Cause.EXHAUSTED, claim.budget
            case Frozen(account, reason):
                if answer.fresh:
                    self._freeze(line, account, reason)
                return Cause.FROZEN, reason
        return Cause.UNBOOKED, ""

    def _freeze(self, line: Line, account: str, reason: str) -> None:
        log.warning("account frozen", call=line.id, account=account, reason=reason)
        self._on_frozen()
        self._write(self._notices.of_a_freeze(line, reason))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _payers(line: Line) -> list[int]:
    """The ends at which somebody hears that the money is used up: the payer's own, or whoever is left of the call."""
    ends = [number for number in (0, *line.destinations) if line.machine.holds(number)]
    users = {0: line.facts.caller} | {number: to.target for number, to in line.destinations.items()}
    return [number for number in ends if users[number] == line.payer] or ends


def _dearest(tariffs: Iterable[Tariff | None]) -> Tariff | None:
    known = [tariff for tariff in tariffs if tariff is not None]
    return max(known, key=lambda tariff: tariff.cost(meter.SLICE), default=None)


def _newest(line: Line, way: tuple[str, str]) -> Fare | None:
    """Which booking an attempt is under that begins now: a later one takes the place of those before."""
    open_ = (fare for fare in reversed(line.fares) if fare.meter.settled is None)
    return next((fare for fare in open_ if way in fare.ways), None)


def _now() -> float:
    return asyncio.get_running_loop().time()
