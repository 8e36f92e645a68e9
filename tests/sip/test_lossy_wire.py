"""Two agents and a bad wire between them: a tenth of all packets is lost, some come twice, many out of order.

200 calls each way, of every kind, on a clock set by hand: each reaches the end that it should have on both sides, and a
minute later nobody remembers anything.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gateway.sip.agent import Agent
from gateway.sip.clientsession import ClientSession
from gateway.sip.headers import NameAddr
from gateway.sip.layer import Flow, Transmit
from gateway.sip.message import Headers, Message, Request, Response
from gateway.sip.usage import Dispatch, Ended, Exchange, Finished, Heard, Incoming, Usage
from tests.sip.wire import SDP

KINDS = (
    "caller hangs up",
    "callee hangs up",
    "both hang up",
    "busy",
    "cancelled",
    "cancelled as it is answered",
    "holds",
    "holds that cross",
    "reliable ringing",
    "early media",
    "session timer",
)
TALKING = set(KINDS) - {"busy", "cancelled", "cancelled as it is answered"}
OFFER = SDP.encode()


class Net:
    def __init__(self, seed: int, loss: float) -> None:
        self.now = 0.0
        self.chance = random.Random(seed)
        self._loss = loss
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self.lost = self.carried = 0

    def at(self, delay: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._count), act))

    def carry(self, to: Node, data: bytes) -> None:
        for _ in range(2 if self.chance.random() < 0.02 else 1):
            if self.chance.random() < self._loss:
                self.lost += 1
                continue
            self.carried += 1
            self.at(self.chance.uniform(0.005, 0.15), lambda: to.receive(data))

    def run(self, until: float, *nodes: Node) -> None:
        while True:
            times = [node.agent.deadline for node in nodes if node.agent.deadline is not None]
            times += [self._events[0][0]] if self._events else []
            if not times or min(times) > until:
                self.now = until
                return
            self.now = max(self.now, min(times))
            if self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            for node in nodes:
                if node.agent.deadline is not None and node.agent.deadline <= self.now:
                    node.agent.fire(self.now)
                    node.pump()


@dataclass
class Seen:
    """What one side saw of one call."""

    kind: str
    heard: list[str] = field(default_factory=list)
    offers: list[int] = field(default_factory=list)
    ended: int = 0


class Node:
    def __init__(self, net: Net, name: str) -> None:
        tokens = itertools.count(1)
        self.net, self.name = net, name
        self.agent = Agent(lambda: f"{name}{next(tokens)}")
        self.flow = Flow("UDP", (name, 5060), ("192.0.2.9", 5060), (f"{name}.example", 5060))
        self.other: Node = self
        self.placed: dict[str, Seen] = {}
        self.taken: dict[str, Seen] = {}
        self._usages: dict[int, Usage] = {}
        self._offered: dict[int, Seen] = {}

    # The wire

    def receive(self, data: bytes) -> None:
        self.agent.receive(data, self.flow, self.net.now)
        self.pump()

    def pump(self) -> None:
        while outputs := self.agent.take():
            for output in outputs:
                match output:
                    case Transmit(_, message):
                        self.net.carry(self.other, bytes(message))
                    case Dispatch(exchange):
                        self.agent.launch(exchange, self.flow, self.net.now)
                    case Incoming(usage, request, _):
                        self.rung(usage, request)
                    case Heard(usage, message):
                        self.heard(usage, message)
                    case Finished(exchange, response):
                        self._offered.pop(id(exchange)).offers.append(response.status)
                    case Ended(usage):
                        self.seen(usage).ended += 1

    def seen(self, usage: Usage) -> Seen:
        side = self.placed if isinstance(usage, ClientSession) else self.taken
        return side[usage.call_id]

    # What people do

    def later(self, delay: float, act: Callable[[], object]) -> None:
        def now() -> None:
            act()
            self.pump()

        self.net.at(delay, now)

    def place(self, kind: str) -> None:
        session = self.agent.client()
        self.placed[session.call_id] = Seen(kind)
        headers = Headers(
            [
                ("Max-Forwards", "70"),
                ("From", str(NameAddr(f"sip:a@{self.name}.example").with_tag(session.tag))),
                ("To", f"<sip:b@{self.other.name}.example>"),
                ("Call-ID", session.call_id),
                ("Content-Type", "application/sdp"),
                ("Allow", "UPDATE"),
                ("Subject", kind),
            ]
        )
        if kind in ("reliable ringing", "early media"):
            headers.add("Require", "100rel")
        if kind == "session timer":
            headers.add("Session-Expires", "90;refresher=uac")
        uri = f"sip:b@{self.other.name}.example"
        session.invite(Request("INVITE", uri, headers, OFFER), uri)
        if kind == "cancelled":
            self.later(3.0, lambda: self.hang_up(session))
        if kind == "cancelled as it is answered":
            self.later(2.0 + self.net.chance.uniform(-0.2, 0.2), lambda: self.hang_up(session))

    def rung(self, usage: Usage, invite: Request) -> None:
        if invite.method != "INVITE":
            return
        kind = invite.headers["Subject"]
        self.taken[usage.call_id] = Seen(kind)

        def reply(status: int, body: bytes = b"") -> None:
            fields = Headers([("Content-Type", "application/sdp")] if body else [])
            usage.reply(invite, status, fields, self.net.now, body=body)

        self.later(0.3, lambda: reply(183, OFFER) if kind == "early media" else reply(180))
        if kind == "busy":
            self.later(1.0, lambda: reply(486))
        elif kind != "cancelled":
            self.later(2.0, lambda: reply(200, OFFER))

    def heard(self, usage: Usage, message: Message) -> None:
        seen = self.seen(usage)
        seen.heard.append(message.label.split()[0])
        if isinstance(message, Request):
            if message.method in ("INVITE", "UPDATE"):
                body = OFFER if message.body else b""
                usage.reply(message, 200, Headers([("Content-Type", "application/sdp")]), self.net.now, body=body)
            if message.method == "ACK" and seen.heard.count("ACK") == 1 and not isinstance(usage, ClientSession):
                self.talk(usage, seen.kind, caller=False)
        elif isinstance(message, Response) and message.status == 200 and seen.heard.count("200") == 1:
            self.talk(usage, seen.kind, caller=True)

    def talk(self, usage: Usage, kind: str, *, caller: bool) -> None:
        if kind == "holds":
            self.later(3.0 if caller else 6.0, lambda: self.hold(usage))
        elif kind == "holds that cross":
            self.later(3.0, lambda: self.hold(usage))
        if kind == "session timer":
            self.later(200.0, lambda: self.hang_up(usage) if caller else None)
        elif kind == "both hang up" or (kind == "callee hangs up") != caller:
            self.later(30.0, lambda: self.hang_up(usage))

    def hold(self, usage: Usage) -> None:
        exchange = usage.ask("INVITE", Headers([("Content-Type", "application/sdp")]), OFFER, self.net.now)
        assert isinstance(exchange, Exchange)
        self._offered[id(exchange)] = self.seen(usage)

    def hang_up(self, usage: Usage) -> None:
        usage.close(480, Headers(), self.net.now)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_every_call_reaches_its_right_end_and_is_forgotten(seed: int) -> None:
    net = Net(seed, 0.10)
    left, right = Node(net, "left"), Node(net, "right")
    left.other, right.other = right, left
    for number in range(200):
        for node in (left, right):
            kind = KINDS[number % len(KINDS)]
            node.later(number * 0.05, lambda node=node, kind=kind: node.place(kind))  # type: ignore[misc]
    net.run(300.0, left, right)
    assert net.lost > net.carried / 15
    for caller, callee in ((left, right), (right, left)):
        assert len(caller.placed) == 200
        for key, placed in caller.placed.items():
            taken = callee.taken.get(key)
            assert placed.ended == 1, (placed, taken)
            if taken is None:  # nothing of it got through before it was given up
                assert placed.kind.startswith("cancelled")
                continue
            assert taken.ended == 1, (placed, taken)
            agree(placed, taken)
    net.run(net.now + 60.0, left, right)
    for node in (left, right):
        assert node.agent.busy == (0, 0)
        assert node.agent.deadline is None
        assert not node.agent._keys
        assert not node.agent._usages
        assert not node.agent._invited
        assert not node.agent._early
        assert not node._offered


def agree(placed: Seen, taken: Seen) -> None:
    """Both sides saw the same call, and it is the one that was to be."""
    both = (placed, taken)
    kind = placed.kind
    assert "408" not in placed.heard + taken.heard, both
    if kind in TALKING:
        assert placed.heard.count("200") == 1, both
        assert taken.heard.count("ACK") >= 1, both
    if kind == "busy":
        assert placed.heard[-1] == "486", both
    if kind.startswith("cancelled"):
        assert placed.heard[-1] == "487" or (kind != "cancelled" and "200" in placed.heard), both
        assert taken.heard[-1] in ("CANCEL", "BYE"), both
    if kind == "cancelled":
        assert taken.heard[-1] == "CANCEL", both
    if kind == "caller hangs up":
        assert taken.heard[-1] == "BYE", both
    if kind == "callee hangs up":
        assert placed.heard[-1] == "BYE", both
    if kind.startswith("holds"):
        assert placed.offers == [200], both
        assert taken.offers == [200], both
    if kind == "early media":
        assert "183" in placed.heard, both
    if kind == "session timer":
        assert taken.heard.count("UPDATE") >= 3, both
