"""The pure agent on a bench: no sockets, a clock that is set by hand, and everything it does in lists."""

from __future__ import annotations

import itertools

from gateway.sip.agent import Agent
from gateway.sip.clientsession import ClientSession
from gateway.sip.headers import NameAddr
from gateway.sip.layer import Flow, Limits, Transmit
from gateway.sip.message import Headers, Message, Request
from gateway.sip.usage import Dispatch, Ended, Exchange, Finished, Heard, Incoming, Usage
from tests.sip.wire import SDP, Caller, answer, field, status

UDP = Flow("UDP", ("192.0.2.1", 5060), ("192.0.2.9", 5060), ("192.0.2.1", 5060))
TCP = Flow("TCP", ("192.0.2.1", 5060), ("192.0.2.9", 5060), ("192.0.2.1", 5060), 7)


class Bench:
    """`sent` are the messages of the last step as text; `heard`, `incoming`, `ended`, `finished` what was told."""

    def __init__(self, flow: Flow = UDP, *, limits: Limits | None = None, launch: bool = True) -> None:
        counter = itertools.count(1)
        self.agent = Agent(lambda: f"token{next(counter)}", limits=limits)
        self.flow = flow
        self.now = 0.0
        self.launch = launch
        self.sent: list[str] = []
        self.heard: list[Message] = []
        self.incoming: list[tuple[Usage, Request]] = []
        self.ended: list[Usage] = []
        self.finished: list[tuple[Exchange, Message]] = []
        self.dispatched: list[Exchange] = []

    def step(self) -> list[str]:
        """Carry out what the agent wants; the messages that left."""
        self.sent = []
        while outputs := self.agent.take():
            for output in outputs:
                match output:
                    case Transmit(_, message):
                        self.sent.append(bytes(message).decode("utf-8", "surrogateescape"))
                    case Dispatch(exchange):
                        self.dispatched.append(exchange)
                        if self.launch:
                            self.agent.launch(exchange, self.flow, self.now)
                    case Heard(_, message):
                        self.heard.append(message)
                    case Finished(exchange, response):
                        self.finished.append((exchange, response))
                    case Incoming(usage, request, _):
                        self.incoming.append((usage, request))
                    case Ended(usage):
                        self.ended.append(usage)
        return self.sent

    def take(self, message: str | bytes, flow: Flow | None = None) -> list[str]:
        """A message arrives; what leaves in turn."""
        data = message.encode("utf-8", "surrogateescape") if isinstance(message, str) else message
        self.agent.receive(data, flow or self.flow, self.now)
        return self.step()

    def wait(self, seconds: float) -> list[str]:
        """Time passes, from deadline to deadline; all that leaves."""
        end, out = self.now + seconds, list[str]()
        while (deadline := self.agent.deadline) is not None and deadline <= end:
            self.now = deadline
            self.agent.fire(self.now)
            out += self.step()
        self.now = end
        return out

    def invite(
        self, *, user: str = "gateway", next_hop: str = "sip:juliet@192.0.2.9", content: str = SDP
    ) -> ClientSession:
        """We call; the INVITE is in `sent`."""
        session = self.agent.client()
        session.contact_user = user
        headers = Headers(
            [
                ("Max-Forwards", "70"),
                ("From", str(NameAddr(f"sip:{user}@gw.example").with_tag(session.tag))),
                ("To", f"<{next_hop}>"),
                ("Call-ID", session.call_id),
                ("Content-Type", "application/sdp"),
            ]
        )
        session.invite(Request("INVITE", next_hop, headers, content.encode()), next_hop)
        self.step()
        return session

    def called(self, caller: Caller, *, extra: str = "") -> tuple[Usage, Request]:
        """They call; the usage and the INVITE as the user gets them."""
        self.take(caller.request("INVITE", extra=extra, content=SDP))
        return self.incoming[-1]

    def reply(self, usage: Usage, request: Request, code: int, content: str = "", **extra: str) -> list[str]:
        headers = Headers((name.replace("_", "-"), value) for name, value in extra.items())
        usage.reply(request, code, headers, self.now, body=content.encode())
        return self.step()

    def close(self, usage: Usage, code: int = 480) -> list[str]:
        usage.close(code, Headers(), self.now)
        return self.step()


def peer(**others: str) -> Caller:
    return Caller("192.0.2.9", 5060, "sip:juliet@192.0.2.1", **others)


def statuses(messages: list[str]) -> list[int]:
    return [status(message) for message in messages]


CONTACT = "Contact: <sip:juliet@192.0.2.9:5062>"


def established(bench: Bench, extra: str = CONTACT) -> tuple[ClientSession, str]:
    """A call that we placed and that is up: the session, and the INVITE; the ACK is in `sent`."""
    session = bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 200, extra=extra, content=SDP))
    return session, invite


def theirs(invite: str) -> Caller:
    """The far side of a call that we placed, writing requests of its own."""
    caller = peer()
    caller.call_id, caller.to = field(invite, "Call-ID"), field(invite, "From")
    caller.from_ = f"{field(invite, 'To')};tag=peer"
    return caller


def up(bench: Bench, caller: Caller, *, extra: str = "") -> Usage:
    """A call that came in and is up."""
    usage, invite = bench.called(caller, extra=extra)
    caller.took(bench.reply(usage, invite, 200, SDP)[0])
    bench.take(caller.request("ACK", sequence=1, branch=f"{caller.branch}ack"))
    return usage
