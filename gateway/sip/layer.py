"""The transaction layer (RFC 3261 §17): which transaction a message belongs to, and when each wants its turn. Pure.

    message ── receive ──> its transaction ──> Transmit | Answered | Expired
                   └────── none ──> Requested (a new one was made for it) | Acknowledged (ACK to a 2xx)

A response that belongs to nothing is dropped: it was not asked for. Everything here is counted: when the tables are
full, or one source fills them, a new request is answered 503 without any memory of it.

What is made for every message is a plain dataclass, here and in transaction.py and usage.py: a frozen one with slots is
made six times as slowly (0.8 µs to 0.13 with two fields), and some thirty are made in a call.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import SipError
from gateway.sip.headers import CSeq
from gateway.sip.message import Message, Request, Response, respond
from gateway.sip.transaction import (
    Action,
    Client,
    Deliver,
    Expired,
    InviteClient,
    InviteServer,
    OtherClient,
    OtherServer,
    Send,
    Server,
    State,
    Timers,
)

COOKIE = "z9hG4bK"  # RFC 3261 §8.1.1.7

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Flow:
    """A way to one far end: over which transport, from which of our addresses, over which connection.

    `sent_by` is what our Via and Contact say; `connection` numbers the streams, 0 for datagrams; `names` are the SIP
    domains and addresses that the far end's certificate proves (RFC 5922), `domain` is whom we wanted to reach by it.
    """

    transport: str  # "UDP", "TCP", "TLS", "WS", "WSS"
    local: Address
    remote: Address
    sent_by: Address
    connection: int = 0
    names: tuple[str, ...] = ()
    domain: str = ""

    @property
    def reliable(self) -> bool:
        return self.transport != "UDP"


@dataclass(frozen=True, slots=True)
class Limits:
    transactions: int = 60_000  # of each kind; a call leaves two behind for 32 s
    per_source: int = 30_000  # server transactions of one address, which may be a carrier's
    usages: int = 10_000


@dataclass(slots=True)
class Transmit:
    flow: Flow
    message: Message


FORGOTTEN = Request("", "")  # in place of one that has its final response: thousands of those wait for repeats


@dataclass(slots=True, eq=False)
class ClientTransaction:
    machine: Client
    flow: Flow
    key: tuple[str, str]  # branch and method
    armed: float | None = None

    @property
    def deadline(self) -> float | None:
        return self.machine.deadline


@dataclass(slots=True, eq=False)
class ServerTransaction:
    """`request` is there until its final response, `to` from then on: the To of that response."""

    machine: Server
    flow: Flow
    key: tuple[str, ...]
    merge: tuple[str, str, CSeq]
    request: Request
    to: str = ""
    armed: float | None = None

    @property
    def deadline(self) -> float | None:
        return self.machine.deadline


@dataclass(slots=True)
class Answered:
    """A response to a request of ours."""

    transaction: ClientTransaction
    response: Response


@dataclass(slots=True)
class Unanswered:
    """Our request, or our final response to an INVITE, was never answered."""

    transaction: ClientTransaction | ServerTransaction


@dataclass(slots=True)
class Requested:
    """A request that is new to us; `merged` when it came before by another way (RFC 3261 §8.2.2.2).

    Its deadline is not watched yet: most are answered at once, and then it is another one.
    """

    transaction: ServerTransaction
    merged: bool


@dataclass(slots=True)
class Acknowledged:
    """An ACK that belongs to no transaction, as that to a 2xx does not."""

    request: Request
    flow: Flow


Happened = Transmit | Answered | Unanswered | Requested | Acknowledged


SPARE = 256  # outdated entries that may wait with the others


class Timed(Protocol):
    """`armed` is the alarm's: the earliest time at which it looks at this one, None: it does not."""

    armed: float | None

    @property
    def deadline(self) -> float | None: ...


def earliest(*times: float | None) -> float | None:
    """The first of several deadlines; None when there is none."""
    first: float | None = None
    for time in times:
        if time is not None and (first is None or time < first):
            first = time
    return first


class Alarm:
    """Many deadlines behind one: a heap in which an outdated entry is noticed when it comes up, or when most may be.
    A call that is over would stay until its session timer's time otherwise, a quarter of an hour later.

    Most deadlines are put off, not met: who is in the heap already is not entered again for a later time.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._count = itertools.count()
        self._tidy_above = SPARE

    def __len__(self) -> int:
        return len(self._heap)

    def arm(self, timed: Timed) -> None:
        """Its deadline may have become earlier, or come to be."""
        deadline = timed.deadline
        if deadline is not None and (timed.armed is None or deadline < timed.armed):
            timed.armed = deadline
            heapq.heappush(self._heap, (deadline, next(self._count), timed))
            if len(self._heap) > self._tidy_above:
                self._tidy()

    def _tidy(self) -> None:
        """One entry for each that still waits for something."""
        waiting: list[Timed] = []
        for due, _, timed in self._heap:
            if timed.armed == due:
                timed.armed = None
                waiting.append(timed)
        self._heap = []
        for timed in waiting:
            timed.armed = deadline = timed.deadline
            if deadline is not None:
                self._heap.append((deadline, next(self._count), timed))
        heapq.heapify(self._heap)
        self._tidy_above = 2 * len(self._heap) + SPARE

    def _pop(self) -> Timed:
        due, _, timed = heapq.heappop(self._heap)
        if timed.armed == due:
            timed.armed = None
        return timed

    def due_before(self, time: float) -> bool:
        """Whether anything may be due before that: what is outdated counts as well, until it is looked at."""
        return bool(self._heap) and self._heap[0][0] < time

    @property
    def deadline(self) -> float | None:
        """When the next one may be due; None when nothing waits."""
        while self._heap:
            due, _, timed = self._heap[0]
            deadline = timed.deadline
            if deadline == due:
                return due
            self._pop()
            if deadline is not None and deadline > due:
                self.arm(timed)
        return None

    def due(self, now: float) -> Timed | None:
        """One whose deadline has passed. Whoever fires it arms it again."""
        deadline = self.deadline
        if deadline is None or deadline > now:
            return None
        return self._pop()


class Layer:
    def __init__(self, timers: Timers, limits: Limits, alarm: Alarm) -> None:
        self._timers = timers
        self._limits = limits
        self._alarm = alarm
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        self._servers: dict[tuple[str, ...], ServerTransaction] = {}
        self._merges: dict[tuple[str, str, CSeq], ServerTransaction] = {}
        self._sources: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    # What we ask

    def request(
        self, request: Request, flow: Flow, now: float, patience: float | None = None, *, branch: str = ""
    ) -> tuple[ClientTransaction | None, list[Happened]]:
        """Start a client transaction; the request has our Via on top. None when the table is full.

        `patience` is how many seconds the far end may say nothing at all, where that is less than 64*T1. `branch` is
        that of the Via, from who has just written it.
        """
        if len(self._clients) >= self._limits.transactions:
            return None, []
        make = InviteClient if request.method == "INVITE" else OtherClient
        patience = min(patience or self._timers.patience, self._timers.patience)
        machine: Client = make(request, flow.reliable, now, self._timers, patience)
        transaction = ClientTransaction(machine, flow, (branch or request.via.branch, request.method))
        self._clients[transaction.key] = transaction
        return transaction, self._done(transaction, machine.start())

    # What we are asked

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> list[Happened]:
        happened = self._done(transaction, transaction.machine.respond(response, now))
        if response.status >= 200 and transaction.request is not FORGOTTEN:
            transaction.request, transaction.to = FORGOTTEN, response.headers.get("To") or ""
        return happened

    def find_invite(self, cancel: Request, flow: Flow) -> ServerTransaction | None:
        """The INVITE that a CANCEL means (RFC 3261 §9.2)."""
        return self._servers.get(server_key(cancel, flow, "INVITE"))

    def knows(self, key: tuple[str, ...]) -> bool:
        """Whether a request with this `server_key` came before."""
        return key in self._servers

    def is_full(self, source: str) -> bool:
        """Whether there is no room for a new request of this address."""
        return len(self._servers) >= self._limits.transactions or self._sources[source] >= self._limits.per_source

    # The wire

    def receive(self, message: Message, flow: Flow, now: float, key: tuple[str, ...] | None = None) -> list[Happened]:
        """`key` is a request's `server_key`, where it is known. Raises SipError when the message lacks what matching
        needs.
        """
        if isinstance(message, Response):
            found = self._clients.get((message.via.branch, message.cseq.method))
            if found is None:
                return []
            return self._done(found, found.machine.receive(message, now))
        if not isinstance(message, Request):
            return []
        if message.cseq.method != message.method:
            raise SipError("CSeq names another method")
        key = key or server_key(message, flow)
        known = self._servers.get(key)
        if known is not None:
            if message.method == "ACK" and known.machine.state not in (State.COMPLETED, State.CONFIRMED):
                return [Acknowledged(message, flow)]  # COMPAT: peers that ACK a 200 with the INVITE's branch
            return self._done(known, known.machine.receive(message, now))
        if message.method == "ACK":
            return [Acknowledged(message, flow)]
        return self._new(message, flow, key, now)

    def _new(self, request: Request, flow: Flow, key: tuple[str, ...], now: float) -> list[Happened]:
        source = flow.remote[0]
        if self.is_full(source):
            refusal = respond(request, 503, tag="busy")
            refusal.headers.add("Retry-After", "10")
            return [Transmit(flow, refusal)]
        make = InviteServer if request.method == "INVITE" else OtherServer
        machine: Server = make(flow.reliable, now, self._timers)
        merge = request.call_id, request.from_.tag or "", request.cseq
        merged = request.to.tag is None and merge in self._merges
        transaction = ServerTransaction(machine, flow, key, merge, request)
        self._servers[key] = transaction
        self._merges.setdefault(merge, transaction)
        self._sources[source] += 1
        return [Requested(transaction, merged)]

    # Time

    def fire(self, timed: Timed, now: float) -> list[Happened] | None:
        """The turn of one of our transactions; None when it is none."""
        if not isinstance(timed, ClientTransaction | ServerTransaction):
            return None
        return self._done(timed, timed.machine.fire(now))

    def drop(self, transaction: ClientTransaction) -> None:
        """Nobody wants its answer any more: the flow is dead."""
        transaction.machine._terminate()
        self._forget(transaction)

    def unheard(self, method: str, branch: str, remote: Address) -> ClientTransaction | None:
        """The request to that end with this branch, while no response to it has come."""
        found = self._clients.get((branch, method))
        return found if found is not None and found.flow.remote == remote and found.machine.unheard else None

    def on(self, connection: int) -> list[ClientTransaction]:
        """The client transactions that wait for an answer on this connection."""
        return [t for t in self._clients.values() if t.flow.connection == connection]

    def _done(self, transaction: ClientTransaction | ServerTransaction, actions: list[Action]) -> list[Happened]:
        out: list[Happened] = []
        for action in actions:
            match action:
                case Send(message):
                    out.append(Transmit(transaction.flow, message))
                case Deliver(response) if isinstance(transaction, ClientTransaction):
                    out.append(Answered(transaction, response))
                case Expired():
                    out.append(Unanswered(transaction))
        if transaction.machine.terminated:
            self._forget(transaction)
        else:
            self._alarm.arm(transaction)
        return out

    def _forget(self, transaction: ClientTransaction | ServerTransaction) -> None:
        if isinstance(transaction, ClientTransaction):
            self._clients.pop(transaction.key, None)
            return
        if self._servers.pop(transaction.key, None) is None:
            return
        if self._merges.get(transaction.merge) is transaction:
            del self._merges[transaction.merge]
        source = transaction.flow.remote[0]
        self._sources[source] -= 1
        if self._sources[source] <= 0:
            del self._sources[source]


def server_key(request: Request, flow: Flow, method: str = "") -> tuple[str, ...]:
    """RFC 3261 §17.2.3. The source takes part, so that nobody can reach into another's transaction.

    `method` is that of the transaction that is looked for, where a request belongs to another's than its own: an ACK
    always means the INVITE's.
    """
    method = method or ("INVITE" if request.method == "ACK" else request.method)
    via = request.via
    branch = via.branch
    if branch.startswith(COOKIE) and len(branch) > len(COOKIE):
        return branch, via.sent_by, method, flow.remote[0]
    # RFC 2543 peers: no cookie in the branch.
    tag = request.from_.tag or ""
    return request.uri, tag, request.call_id, str(request.cseq.number), str(via), method, flow.remote[0]
