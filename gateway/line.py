"""A line of the switchboard: everything that belongs to one live call, and the test line that may answer it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gateway.bridge import Bridge
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.journal import Journal
from gateway.call.leg import LegControl, Sink
from gateway.call.machine import Call, State
from gateway.call.meter import Meter
from gateway.dialplan import plan as dialplan
from gateway.dialplan.booking import Tariff
from gateway.dialplan.plan import Identity, Limit, Plan
from gateway.session.model import Session

Direction = Literal["outbound", "inbound", "test"]  # XMPP to SIP, SIP to XMPP, a test line

# Whom a stranger's call asks for when nobody here is called so.
NOBODY = Destination("nobody", "")

# A user's own word, which a stranger may hear: he got through to somebody.
SPOKEN = frozenset({Cause.BUSY, Cause.DECLINED})


@dataclass(slots=True)
class Facts:
    """What a line's record will say, beside what its machine knows."""

    direction: Direction
    caller: str
    callee: str
    rule: str = ""
    key: str = ""


@dataclass(slots=True)
class Fare:
    """What is booked for a call, or for a leg that it is sent to; `ways` are (via, target) with what each costs."""

    key: str
    meter: Meter
    ways: Mapping[tuple[str, str], Tariff | None]
    attempt: int = 0  # that was answered
    timer: asyncio.TimerHandle | None = None
    unheard: bool = False  # the call will end, and its ends could not hear that yet


@dataclass(slots=True)
class Line:
    """One live call: its machine, its legs, its media."""

    id: str
    machine: Call
    caller: LegControl
    bridge: Bridge
    facts: Facts
    plan: Plan  # that it began with
    journal: Journal = field(default_factory=Journal)
    payer: str = ""  # the user whose call it is, bare JID: what it costs is his
    contact: str = ""  # the local part under which a caller from SIP appears
    trunk: str | None = None  # that a caller from SIP came through
    video: bool = False  # the caller, whose session comes later, wants it
    ip: int | None = None  # the version that a caller from SIP comes by
    wants_offer: bool = False  # the caller brought no session, and waits for ours
    callees: dict[int, LegControl] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    reports: deque[ev.Report] = field(default_factory=deque)
    busy: bool = False
    media: asyncio.Lock = field(default_factory=asyncio.Lock)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    destinations: dict[int, Destination] = field(default_factory=dict)
    identities: dict[str, Identity] = field(default_factory=dict)  # by via
    limits: dict[str, Limit] = field(default_factory=dict)  # of trunks, by key: for the attempts through them
    transfers: set[str] = field(default_factory=set)  # vias whose ends may send the other one elsewhere
    transcode: str | None = None  # the rule's word, in place of the trunk's
    headers: dict[Destination, tuple[tuple[str, str], ...]] = field(default_factory=dict)  # that an INVITE there has
    redirecting: dict[int, ev.HungUp | None] = field(default_factory=dict)  # attempts whose new targets are looked up
    hops: int = 0  # how often it was sent elsewhere
    emergency: dialplan.Route | None = None
    record: Literal["no", "yes", "notice"] = "no"  # whether the conversation is recorded, and its ends are told
    fares: list[Fare] = field(default_factory=list)
    booked: int = 0  # how often something was
    paid: dict[int, Fare | None] = field(default_factory=dict)  # which of them an attempt is under
    quiet: bool = False  # a stranger's: he does not learn who is there
    kept: list[ev.Event] = field(default_factory=list)  # from him

    def control(self, number: int) -> LegControl | None:
        """The leg of the end with this number."""
        return self.callees.get(number) if number else self.caller

    def via(self, number: int) -> str:
        """What the end with this number came through: a trunk's name, "direct", "xmpp"."""
        if number:
            return self.destinations[number].via if number in self.destinations else ""
        return self.trunk or "direct" if self.facts.direction == "inbound" else "xmpp"


def spawn(keep: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    """Have it done; it is kept until it is, for the loop alone would let go of it."""
    task = asyncio.get_running_loop().create_task(work)
    keep.add(task)
    task.add_done_callback(keep.discard)


class EchoLine:
    """The callee behind `echo`: it answers at once, in the person of the media engine."""

    def __init__(self, attempt: int, sink: Sink) -> None:
        self._attempt, self._sink = attempt, sink

    def dial(self, offer: Session) -> None:
        answered = ev.Answered(self._attempt, Session(()))
        asyncio.get_running_loop().call_soon(self._sink, answered)

    def alert(self) -> None: ...

    def progress(self) -> None: ...

    def ask(self, offer: Session | None = None) -> None: ...

    def answer(self, session: Session) -> None: ...

    def reanswer(self, session: Session | None) -> None: ...

    def hold(self, held: bool, offer: Session) -> None: ...

    def restart(self, session: Session) -> None: ...

    def dial_digits(self, digits: str, duration: int) -> None: ...

    def ask_picture(self) -> None: ...

    def transferred(self, cause: Cause | None) -> None: ...

    def hang_up(self, cause: Cause, text: str = "", q850: int | None = None) -> None: ...


def audible(line: Line, report: ev.Event) -> tuple[ev.Event, ...]:
    """What the machine hears now. While nobody rings or speaks, a stranger's call waits for its deadline, whatever is
    known by then: an unknown user, one who is offline and one who does not exist look alike (safety rule 4).
    """
    if not line.quiet or line.machine.state is not State.SEEKING:
        return (report,)
    match report:
        case ev.Waking():  # only of somebody who exists
            return ()
        case ev.HungUp(Leg.CALLEE, cause) | ev.OfferFailed(_, cause) if cause not in SPOKEN:
            line.kept.append(report)
            return ()
        case ev.Ringing() | ev.Answered() | ev.HungUp(Leg.CALLEE):
            kept, line.kept = line.kept, []
            return (report, *kept)
    return (report,)


def as_attempt(report: ev.Report, attempt: int) -> ev.Report:
    """What a leg that called says, as said by the attempt that it stands for in another's call."""
    match report:
        case ev.HungUp() | ev.Trickled() | ev.Dialled() | ev.Reoffered() | ev.Reanswered():
            return replace(report, leg=Leg.CALLEE, attempt=attempt)
        case ev.Held() | ev.PictureAsked() | ev.PartyChanged() | ev.TransferAsked():
            return replace(report, leg=Leg.CALLEE, attempt=attempt)
    return report
