"""The four transaction machines of RFC 3261 §17, with the accepted states of RFC 6026. Pure: the clock is an argument.

    INVITE client      calling ── 1xx ──> proceeding ── 2xx ──> accepted ─ M ─> terminated
                          ├──────────────────┴── 3xx-6xx ──> completed ─ D ─> terminated
                          └─ silence ─> abandoned ── 1xx ──> cancelled: a final response as above, or terminated
    INVITE server      proceeding ── 2xx ──> accepted ─ L ─> terminated
                          └── 3xx-6xx ──> completed ── ACK ──> confirmed ─ I ─> terminated
    other client       trying ── 1xx ──> proceeding ── final ──> completed ─ K ─> terminated
    other server       trying ── 1xx ──> proceeding ── final ──> completed ─ J ─> terminated

Every input returns what is to be done, in order. `deadline` is when `fire` wants to be called next; None: never.
`abandoned` is none of the RFC's states: somebody else is asked by then, and who answers after all is not left ringing.
On a reliable transport nothing is retransmitted and the waiting states that absorb repeats last no time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.sip.message import Headers, Message, Request, Response


@dataclass(frozen=True, slots=True)
class Timers:
    """RFC 3261 §17.1.1.1, in seconds."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0

    @property
    def patience(self) -> float:
        """64*T1: timers B, F, H, J, L, M."""
        return 64 * self.t1


class State(enum.Enum):
    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


@dataclass(slots=True)
class Send:
    """Put this on the wire, on the transaction's flow."""

    message: Message


@dataclass(slots=True)
class Deliver:
    """A response for the transaction's user."""

    response: Response


@dataclass(frozen=True, slots=True)
class Expired:
    """Nothing came: a client's request was not answered, or a server's final response was not acknowledged."""


Action = Send | Deliver | Expired


class Machine:
    """What the four share: a repeat that backs off, and an end. `deadline` is the earlier of the two, None: neither."""

    __slots__ = ("_end", "_interval", "_repeat", "deadline", "reliable", "state", "timers")

    def __init__(self, timers: Timers, reliable: bool) -> None:
        self.timers = timers
        self.reliable = reliable
        self.state = State.TERMINATED
        self.deadline: float | None = None  # kept, for it is asked for thirty times as often as it changes
        self._interval = timers.t1
        self._repeat: float | None = None
        self._end: float | None = None

    @property
    def terminated(self) -> bool:
        return self.state is State.TERMINATED

    @property
    def unheard(self) -> bool:
        """A request of ours to which nobody has said anything yet."""
        return self.state in (State.CALLING, State.TRYING)

    def _become(self, state: State, now: float, *, lasts: float | None = None, repeats: bool = False) -> None:
        """Enter a state that ends after `lasts` seconds; 0 ends the machine at once."""
        self.state = State.TERMINATED if lasts == 0 else state
        self._interval = self.timers.t1
        self._repeat = now + self._interval if repeats and not self.reliable else None
        self._ends(None if lasts is None or lasts == 0 else now + lasts)

    def _ends(self, end: float | None) -> None:
        self._end = end
        self.deadline = self._repeat if end is None or (self._repeat is not None and self._repeat < end) else end

    def _due(self, now: float) -> bool:
        return self._repeat is not None and now >= self._repeat

    def _over(self, now: float) -> bool:
        return self._end is not None and now >= self._end

    def _back_off(self, now: float, cap: float | None) -> None:
        self._interval = self._interval * 2 if cap is None else min(self._interval * 2, cap)
        self._repeat = now + self._interval
        self._ends(self._end)

    def _terminate(self) -> None:
        self.state, self._repeat = State.TERMINATED, None
        self._ends(None)


def acknowledge(request: Request, response: Response) -> Request:
    """The ACK to a final response of 300 or more: the INVITE's own branch and route (RFC 3261 §17.1.1.3)."""
    headers = Headers()
    via = request.headers.get("Via")
    headers.add("Via", via or "")
    for value in request.headers.all("Route"):
        headers.add("Route", value)
    headers.add("Max-Forwards", "70")
    headers.add("From", request.headers.get("From") or "")
    headers.add("To", response.headers.get("To") or "")
    headers.add("Call-ID", request.call_id)
    headers.add("CSeq", f"{request.cseq.number} ACK")
    return Request("ACK", request.uri, headers)


class InviteClient(Machine):
    """RFC 3261 §17.1.1 as amended by RFC 6026 §8.4."""

    __slots__ = ("_ack", "_whole", "request")

    def __init__(
        self, request: Request, reliable: bool, now: float, timers: Timers, patience: float | None = None
    ) -> None:
        super().__init__(timers, reliable)
        self.request = request
        self._ack: Request | None = None
        self._whole = now + timers.patience
        # Timers B and A; B is shorter where there is somebody else to ask (targets.SILENCE).
        self._become(State.CALLING, now, lasts=patience or timers.patience, repeats=True)

    def start(self) -> list[Action]:
        return [Send(self.request)]

    def receive(self, response: Response, now: float) -> list[Action]:
        match self.state:
            case State.CALLING | State.PROCEEDING if response.status < 200:
                # Timer B guards only the first response; a phone may ring for minutes.
                self._become(State.PROCEEDING, now)
                return [Deliver(response)]
            case State.ABANDONED if response.status < 200:
                # Now it may be cancelled, and has 64*T1 for its final response (RFC 3261 §9.1).
                self._become(State.CANCELLED, now, lasts=self.timers.patience)
                return [Deliver(response)]
            case State.CANCELLED if response.status < 200:
                return []
            case State.CALLING | State.PROCEEDING | State.ABANDONED | State.CANCELLED if response.status < 300:
                self._become(State.ACCEPTED, now, lasts=self.timers.patience)  # timer M
                return [Deliver(response)]
            case State.CALLING | State.PROCEEDING | State.ABANDONED | State.CANCELLED:
                self._ack = acknowledge(self.request, response)
                self._become(State.COMPLETED, now, lasts=0 if self.reliable else self.timers.patience)  # timer D
                return [Send(self._ack), Deliver(response)]
            case State.COMPLETED if response.status >= 300 and self._ack is not None:
                return [Send(self._ack)]
            case State.ACCEPTED if 200 <= response.status < 300:
                return [Deliver(response)]  # another fork's, or a repeat: the user of the transaction ACKs each
        return []

    def fire(self, now: float) -> list[Action]:
        if self._over(now):
            expired: list[Action] = [Expired()] if self.state is State.CALLING else []
            if expired and now < self._whole:
                self._become(State.ABANDONED, now, lasts=self._whole - now)
            else:
                self._terminate()
            return expired
        if self._due(now):
            self._back_off(now, None)  # timer A doubles without a cap
            return [Send(self.request)]
        return []


class OtherClient(Machine):
    """RFC 3261 §17.1.2."""

    __slots__ = ("_whole", "request")

    def __init__(
        self, request: Request, reliable: bool, now: float, timers: Timers, patience: float | None = None
    ) -> None:
        super().__init__(timers, reliable)
        self.request = request
        self._whole = now + timers.patience
        self._become(State.TRYING, now, lasts=patience or timers.patience, repeats=True)  # timers F and E

    def start(self) -> list[Action]:
        return [Send(self.request)]

    def receive(self, response: Response, now: float) -> list[Action]:
        if self.state not in (State.TRYING, State.PROCEEDING):
            return []
        if response.status < 200:
            self.state = State.PROCEEDING  # timers E and F run on, E at T2 from its next shot
            self._ends(self._whole)  # who says something has all of timer F
            return [Deliver(response)]
        self._become(State.COMPLETED, now, lasts=0 if self.reliable else self.timers.t4)  # timer K
        return [Deliver(response)]

    def fire(self, now: float) -> list[Action]:
        if self._over(now):
            expired: list[Action] = [Expired()] if self.state is not State.COMPLETED else []
            self._terminate()
            return expired
        if self._due(now):
            if self.state is State.PROCEEDING:
                self._interval = self.timers.t2
            self._back_off(now, self.timers.t2)
            return [Send(self.request)]
        return []


class InviteServer(Machine):
    """RFC 3261 §17.2.1 as amended by RFC 6026 §8.5. Its user repeats a 2xx; here repeated INVITEs are absorbed.

    `response` is what they get again, None where they get nothing.
    """

    __slots__ = ("response",)

    def __init__(self, reliable: bool, now: float, timers: Timers) -> None:
        super().__init__(timers, reliable)
        self.response: Response | None = None
        self._become(State.PROCEEDING, now)

    def receive(self, request: Request, now: float) -> list[Action]:
        """A repeat of the INVITE, or the ACK to a response of 300 or more."""
        if request.method == "ACK":
            if self.state is State.COMPLETED:
                self.response = None
                self._become(State.CONFIRMED, now, lasts=0 if self.reliable else self.timers.t4)  # timer I
            return []
        return [Send(self.response)] if self.response is not None and not self.terminated else []

    def respond(self, response: Response, now: float) -> list[Action]:
        if self.state is State.ACCEPTED and 200 <= response.status < 300:
            return [Send(response)]
        if self.state is not State.PROCEEDING:
            return []
        if 200 <= response.status < 300:
            self.response = None
            self._become(State.ACCEPTED, now, lasts=self.timers.patience)  # timer L
            return [Send(response)]
        self.response = response
        if response.status >= 300:
            self._become(State.COMPLETED, now, lasts=self.timers.patience, repeats=True)  # timers H and G
        return [Send(response)]

    def fire(self, now: float) -> list[Action]:
        if self._over(now):
            expired: list[Action] = [Expired()] if self.state is State.COMPLETED else []
            self._terminate()
            return expired
        if self._due(now) and self.response is not None:
            self._back_off(now, self.timers.t2)
            return [Send(self.response)]
        return []


class OtherServer(Machine):
    """RFC 3261 §17.2.2."""

    __slots__ = ("response",)

    def __init__(self, reliable: bool, now: float, timers: Timers) -> None:
        super().__init__(timers, reliable)
        self.response: Response | None = None
        # The RFC sets no limit for the user's answer; without one a forgotten request would stay for ever.
        self._become(State.TRYING, now, lasts=2 * timers.patience)

    def receive(self, request: Request, now: float) -> list[Action]:
        """A repeat of the request."""
        return [Send(self.response)] if self.response is not None and not self.terminated else []

    def respond(self, response: Response, now: float) -> list[Action]:
        if self.state not in (State.TRYING, State.PROCEEDING):
            return []
        self.response = response
        if response.status < 200:
            self.state = State.PROCEEDING
        else:
            self._become(State.COMPLETED, now, lasts=0 if self.reliable else self.timers.patience)  # timer J
        return [Send(response)]

    def fire(self, now: float) -> list[Action]:
        if self._over(now):
            self._terminate()
        return []


Client = InviteClient | OtherClient
Server = InviteServer | OtherServer
