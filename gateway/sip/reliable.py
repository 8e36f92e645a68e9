"""Provisional responses that must arrive (RFC 3262), seen from both ends. Pure.

UAC   1xx with RSeq ── Ordered.take ──> new: PRACK it     repeated or out of order: as if it had not come
UAS   reply(18x) ── Reliable.send ──> now, or when the one before has its PRACK; repeated at T1, 2*T1, …
      PRACK ── Reliable.acknowledge ──> the next one that may leave              64*T1 ──> 504
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from gateway.errors import SipError
from gateway.sip.layer import Flow
from gateway.sip.message import Message, Request, Response
from gateway.sip.transaction import Timers

MAX_WAITING = 4  # of ours, behind the one that has no PRACK yet
MAX_RSEQ = 2**32 - 1
FIRST_RSEQ = 2**31 - 1  # §3: the first number is one below that


def is_reliable(response: Response) -> bool:
    return 100 < response.status < 200 and "100rel" in response.headers.tokens("Require")


def rseq(response: Response) -> int:
    """Raises SipError."""
    return _number(response.headers.get("RSeq") or "")


@dataclass(frozen=True, slots=True)
class RAck:
    """What a PRACK acknowledges (§7.2)."""

    rseq: int
    cseq: int
    method: str

    @classmethod
    def parse(cls, message: Message) -> RAck:
        """Raises SipError."""
        words = (message.headers.get("RAck") or "").split()
        if len(words) != 3:
            raise SipError("a RAck that is none")
        return cls(_number(words[0]), _number(words[1]), words[2])

    def __str__(self) -> str:
        return f"{self.rseq} {self.cseq} {self.method}"


def _number(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_RSEQ):
        raise SipError("a sequence number that is none")
    return int(text)


class Ordered:
    """Which reliable provisional responses of one early dialog were taken."""

    def __init__(self) -> None:
        self._last: int | None = None

    def take(self, response: Response) -> bool:
        """Whether it is the next one (§4). Raises SipError."""
        number = rseq(response)
        if self._last is not None and number != self._last + 1:
            return False
        self._last = number
        return True


@dataclass(slots=True)
class _Pending:
    response: Response
    flow: Flow
    number: int
    interval: float
    next: float
    end: float


class Reliable:
    """Ours, for one INVITE that demands it."""

    def __init__(self, invite: Request, first: int, timers: Timers) -> None:
        self._cseq = invite.cseq.number
        self._next = 1 + first % FIRST_RSEQ
        self._timers = timers
        self._pending: _Pending | None = None
        self._waiting: deque[tuple[Response, Flow]] = deque()
        self._stopped = False

    @property
    def deadline(self) -> float | None:
        return min(self._pending.next, self._pending.end) if self._pending and not self._stopped else None

    @property
    def describes(self) -> bool:
        """Whether one without a PRACK has a body: then no 2xx may leave (§3)."""
        return self._pending is not None and bool(self._pending.response.body)

    def send(self, response: Response, flow: Flow, now: float) -> Response | None:
        """The response with its number, if it may leave now; else it waits, or is dropped where too many do."""
        if self._pending is not None:
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append((response, flow))
            return None
        response.headers.add("Require", "100rel")
        response.headers.add("RSeq", str(self._next))
        t1 = self._timers.t1
        self._pending = _Pending(response, flow, self._next, t1, now + t1, now + self._timers.patience)
        self._next += 1
        return response

    def acknowledge(self, prack: Request) -> bool:
        """Whether this PRACK is for the one that waits for it (§3). Raises SipError."""
        if self._pending is None or RAck.parse(prack) != RAck(self._pending.number, self._cseq, "INVITE"):
            return False
        self._pending = None
        return True

    def more(self, now: float) -> tuple[Response, Flow] | None:
        """The next one that may leave."""
        if self._pending is not None or not self._waiting:
            return None
        response, flow = self._waiting.popleft()
        numbered = self.send(response, flow, now)
        return (numbered, flow) if numbered is not None else None

    def stop(self) -> None:
        """There is a final response. A PRACK may still come, for the last one (§3)."""
        self._waiting.clear()
        self._stopped = True

    def again(self, now: float) -> tuple[Response, Flow] | None:
        """Time has passed: what to repeat, if it is time."""
        pending = self._pending
        if pending is None or self._stopped or now < pending.next:
            return None
        pending.interval *= 2  # without a cap
        pending.next = now + pending.interval
        return pending.response, pending.flow

    def over(self, now: float) -> bool:
        return self._pending is not None and not self._stopped and now >= self._pending.end
