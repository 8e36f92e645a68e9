"""A line of the switchboard: everything that belongs to one live call, and the test line that may answer it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from gateway.bridge import Bridge
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.leg import LegControl, Sink
from gateway.call.machine import Call, State
from gateway.dialplan import plan as dialplan
from gateway.dialplan.plan import Identity, Limit
from gateway.session.model import Session
from gateway.session.negotiate import Policy, Towards

Direction = Literal["outbound", "inbound", "test"]  # XMPP to SIP, SIP to XMPP, a test line

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
class Line:
    """One live call: its machine, its legs, its media."""

    id: str
    machine: Call
    caller: LegControl
    bridge: Bridge
    facts: Facts
    make_callee: Callable[[int, Destination, Sink], LegControl]
    policy_of: Callable[[Destination], Policy]
    towards_callee: Towards
    callees: dict[int, LegControl] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    reports: deque[ev.Report] = field(default_factory=deque)
    busy: bool = False
    media: asyncio.Lock = field(default_factory=asyncio.Lock)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    destinations: dict[int, Destination] = field(default_factory=dict)
    identities: dict[str, Identity] = field(default_factory=dict)  # by via
    limits: dict[str, Limit] = field(default_factory=dict)  # of trunks, by key: for the attempts through them
    using: dict[int, str] = field(default_factory=dict)  # attempt -> the key of the trunk that it has a line of
    emergency: dialplan.Route | None = None
    quiet: bool = False  # a stranger's: he does not learn who is there
    kept: list[ev.Event] = field(default_factory=list)  # from him


class EchoLine:
    """The callee behind `echo`: it answers at once, in the person of the media engine."""

    def __init__(self, attempt: int, sink: Sink) -> None:
        self._attempt, self._sink = attempt, sink

    def dial(self, offer: Session) -> None:
        answered = ev.Answered(self._attempt, Session(()))
        asyncio.get_running_loop().call_soon(self._sink, answered)

    def alert(self) -> None: ...

    def ask(self, offer: Session | None = None) -> None: ...

    def answer(self, session: Session) -> None: ...

    def reanswer(self, session: Session | None) -> None: ...

    def hold(self, held: bool, offer: Session) -> None: ...

    def restart(self, session: Session) -> None: ...

    def transferred(self, cause: Cause | None) -> None: ...

    def hang_up(self, cause: Cause, text: str = "") -> None: ...


def audible(line: Line, report: ev.Event) -> tuple[ev.Event, ...]:
    """What the machine hears now. While nobody rings or speaks, a stranger's call waits for its deadline, whatever is
    known by then: an unknown user, one who is offline and one who does not exist look alike (safety rule 4).
    """
    if not line.quiet or line.machine.state is not State.SEEKING:
        return (report,)
    match report:
        case ev.HungUp(Leg.CALLEE, cause) | ev.OfferFailed(_, cause) if cause not in SPOKEN:
            line.kept.append(report)
            return ()
        case ev.Ringing() | ev.Answered() | ev.HungUp(Leg.CALLEE):
            kept, line.kept = line.kept, []
            return (report, *kept)
    return (report,)
