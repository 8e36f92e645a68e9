"""What one Call-ID of ours is used for: a request and what follows from it, inside a dialog or not. Pure.

    Usage                 any request: REGISTER, OPTIONS, SUBSCRIBE …; repeats it with credentials, numbers the next one
    └── Session           a call                                                            (session.py)
        ├── ClientSession that we placed: forks, PRACK, CANCEL, one ACK for every 2xx       (clientsession.py)
        └── ServerSession that came in: 100, reliable 18x, 200 until its ACK                (serversession.py)

A usage decides; it has no way to the wire but its Core, which matches messages, finds the way to a next hop and tells
the user what happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.sip.dialog import Dialog, Key
from gateway.sip.digest import Authenticator
from gateway.sip.headers import NameAddr, bracketed
from gateway.sip.layer import ClientTransaction, Flow, ServerTransaction
from gateway.sip.message import Headers, Message, Request, Response, respond
from gateway.sip.targets import Course
from gateway.sip.transaction import Timers

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY"
METHODS = frozenset({*ALLOW.split(", "), "REGISTER", "SUBSCRIBE", "MESSAGE", "PUBLISH"})
SUPPORTED = "100rel, timer, replaces, norefersub"
EXTENSIONS = frozenset(SUPPORTED.split(", "))  # what a Require may ask of us
SUBSCRIBING = ("SUBSCRIBE", "REFER")  # a 2xx to these makes a dialog
CONTACTED = ("INVITE", "SUBSCRIBE", "NOTIFY", "UPDATE", "REFER")  # a response to these says where we are
MAX_OPEN = 16  # unanswered requests inside one dialog
UNTRUSTED = 494  # of local responses: no security that both ends agree on (the phrase of RFC 3329 §2.4)
MAX_CHALLENGES = 3  # 401 and 407 to one request: a proxy, a server, and one stale nonce


class Exchange:
    """One request of ours until its final response: with a second try for credentials, a long ringing."""

    __slots__ = (
        "course",
        "dialog",
        "distrust",
        "flow",
        "hint",
        "next_hop",
        "obstacle",
        "over",
        "patience",
        "reported",
        "request",
        "transaction",
        "tries",
        "usage",
    )

    def __init__(self, usage: Usage, request: Request, next_hop: str, *, hint: Flow | None, reported: bool) -> None:
        self.usage = usage
        self.request = request  # without Via; authentication and CSeq change from try to try
        self.next_hop = next_hop  # a URI
        self.hint = hint  # the flow that this dialog used last
        self.reported = reported  # somebody waits for the outcome
        self.transaction: ClientTransaction | None = None
        self.flow: Flow | None = None
        self.course: Course | None = None  # the targets that its next hop stands for
        self.dialog: Dialog | None = None
        self.patience: float | None = None  # seconds that one target may be silent, where that is not 64*T1
        self.distrust = ""  # why one of its targets was not trusted, or did not trust us
        self.obstacle = ""  # why the last target was not reached, for people
        self.tries = 0
        self.over = False

    def __repr__(self) -> str:
        return f"<exchange {self.request!r}>"


@dataclass(slots=True)
class Heard:
    """For the user of this usage: a response to its first request, or a request inside its dialog."""

    usage: Usage
    message: Message


@dataclass(slots=True)
class Finished:
    """The final response to a request that the user made."""

    exchange: Exchange
    response: Response


@dataclass(slots=True)
class Dispatch:
    """Find a flow to exchange.next_hop, then Agent.launch or Agent.unreachable."""

    exchange: Exchange


@dataclass(slots=True)
class Incoming:
    """Somebody asks for something new."""

    usage: Usage
    request: Request
    flow: Flow


@dataclass(slots=True)
class Ended:
    """Nothing more will be heard of this usage."""

    usage: Usage


Report = Heard | Finished | Dispatch | Incoming | Ended


class Core(Protocol):
    """What a usage may ask of the agent."""

    timers: Timers

    def token(self) -> str: ...
    def tell(self, report: Report) -> None: ...
    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> None: ...
    def transmit(self, flow: Flow, message: Message) -> None: ...
    def follow_up(self, request: Request, flow: Flow, now: float) -> None: ...
    def give_up(self, transaction: ClientTransaction) -> None: ...
    def know(self, key: Key, usage: Usage) -> None: ...
    def forget(self, usage: Usage) -> None: ...
    def arm(self, usage: Usage) -> None: ...


class Usage:
    """One Call-ID. `call_id` and `tag` are ours to choose as a client; as a server only the tag is."""

    __slots__ = (
        "_open",
        "_subscribing",
        "armed",
        "authenticator",
        "call_id",
        "contact_user",
        "core",
        "dialog",
        "ended",
        "flow",
        "sequence",
        "tag",
        "trusted",
    )

    def __init__(self, core: Core, call_id: str, tag: str) -> None:
        self.core = core
        self.call_id = call_id
        self.tag = tag
        self.dialog: Dialog | None = None
        self.flow: Flow | None = None
        self.contact_user = ""
        self.authenticator: Authenticator | None = None
        self.sequence = 0
        self.trusted = False  # somebody configured this far end; what it names needs no permit
        self.ended = False
        self._subscribing = False  # our SUBSCRIBE has no dialog yet
        self.armed: float | None = None  # see layer.Timed
        self._open: dict[int, ServerTransaction] = {}  # id(request) -> transaction, until the final response

    @property
    def deadline(self) -> float | None:
        return None

    def fire(self, now: float) -> None:
        """The deadline has passed."""

    def has_dialog(self, local: str, remote: str) -> bool:
        """Whether one of its dialogs, early or not, has these tags."""
        return self.dialog is not None and self.dialog.key[1:] == (local, remote)

    # Asking

    def start(self, request: Request, next_hop: str, *, hint: Flow | None = None) -> Exchange:
        """The first request of a client's usage, or another in the same sequence outside of dialogs (REGISTER)."""
        self.sequence += 1
        request.headers.set("CSeq", f"{self.sequence} {request.method}")
        if request.method == "SUBSCRIBE" and self.dialog is None:
            self._subscribing = True
            self.core.know((self.call_id, self.tag, ""), self)
        return self._ask(Exchange(self, request, next_hop, hint=hint, reported=True))

    def ask(self, method: str, headers: Headers, body: bytes, now: float) -> Exchange | None:
        """A request inside the dialog; None when there is none."""
        if self.dialog is None:
            return None
        return self._inside(self.dialog, method, headers, body, reported=True)

    def _inside(self, dialog: Dialog, method: str, headers: Headers, body: bytes, *, reported: bool) -> Exchange:
        request = dialog.request(method, headers=headers, body=body)
        exchange = Exchange(self, request, dialog.next_hop, hint=self.flow, reported=reported)
        exchange.dialog = dialog
        return self._ask(exchange)

    def _ask(self, exchange: Exchange) -> Exchange:
        if self.authenticator is not None and exchange.request.method not in ("ACK", "CANCEL"):
            self._authorize(exchange.request)
        self.core.tell(Dispatch(exchange))
        return exchange

    def _authorize(self, request: Request) -> None:
        if self.authenticator is None:
            return
        for name in ("Authorization", "Proxy-Authorization"):
            request.headers.remove(name)
        for name, value in self.authenticator.headers(request.method, request.uri, request.body):
            request.headers.add(name, value)

    def launched(self, exchange: Exchange, now: float) -> None:
        """A flow was found and the request has left on it."""
        self.flow = exchange.flow

    def answered(self, exchange: Exchange, response: Response, now: float) -> None:
        """A response to a request of ours; local ones stand for time-outs and dead transports."""
        if response.status in (401, 407) and self._try_again(exchange, response, now):
            return
        self.outcome(exchange, response, now)

    def late(self, exchange: Exchange, transaction: ClientTransaction, response: Response, now: float) -> None:
        """A response to a request that was given up, by a target that had said nothing for too long."""

    def may_move(self, exchange: Exchange) -> bool:
        """Whether a request that one target failed may go to the next one (RFC 3263 §4.3)."""
        return not self.ended and not exchange.over

    def _try_again(self, exchange: Exchange, response: Response, now: float) -> bool:
        exchange.tries += 1
        if (
            self.authenticator is None
            or exchange.tries > MAX_CHALLENGES
            or not self.authenticator.learn(response, again=exchange.tries > 1)
        ):
            return False
        return self._repeat(exchange)

    def _repeat(self, exchange: Exchange) -> bool:
        """The same request once more, as a new one: with the next number, and with credentials if we know any."""
        request = exchange.request.copy()
        if exchange.dialog is not None:
            exchange.dialog.local_sequence += 1
            number = exchange.dialog.local_sequence
        else:
            self.sequence = number = request.cseq.number + 1
        request.headers.set("CSeq", f"{number} {request.method}")
        self._authorize(request)
        exchange.request = request
        exchange.hint = exchange.flow
        exchange.transaction = None
        self.core.tell(Dispatch(exchange))
        return True

    def outcome(self, exchange: Exchange, response: Response, now: float) -> None:
        if response.status < 200:
            return
        exchange.over = True
        if self._subscribing:
            self._subscribing = False
            if response.status >= 300:
                self.core.forget(self)
            elif self.dialog is None:
                self.dialog = Dialog.of_response(exchange.request, response)
                self.dialog.early = False
                self.core.know(self.dialog.key, self)
        if exchange.reported:
            self.core.tell(Finished(exchange, response))

    def notified(self, request: Request) -> bool:
        """Whether this NOTIFY makes the dialog of our SUBSCRIBE, whose 2xx it overtook (RFC 6665 §4.4.1). Raises
        SipError.
        """
        if not self._subscribing or self.dialog is not None:
            return False
        dialog = Dialog.of_request(request, self.tag)
        dialog.local_sequence, dialog.remote_sequence, dialog.early = self.sequence, None, False
        self.dialog = dialog
        self.core.know(dialog.key, self)
        return True

    def acknowledge(self, body: bytes, now: float) -> None:
        """Our answer to an offer in the 2xx to our INVITE."""

    # Being asked

    def take(self, transaction: ServerTransaction, now: float) -> None:
        """The request that made this usage. Raises SipError when it can make no dialog and should."""
        request = transaction.request
        if request.method in SUBSCRIBING:
            Dialog.of_request(request, self.tag)
        self.flow = transaction.flow
        self._open[id(request)] = transaction
        self.core.tell(Incoming(self, request, transaction.flow))

    def requested(self, dialog: Dialog | None, transaction: ServerTransaction, now: float) -> None:
        """A request inside the dialog, or the next one of the sequence."""
        request = transaction.request
        refusal = dialog.receive(request) if dialog is not None else None
        if refusal is None and len(self._open) >= MAX_OPEN:
            refusal = 503
        if refusal is not None:
            self.refuse(transaction, refusal, now)
            return
        self.flow = transaction.flow
        self._open[id(request)] = transaction
        self.core.tell(Heard(self, request))

    def acknowledged(self, request: Request, now: float) -> None:
        """An ACK to a 2xx of ours."""

    def refuse(self, transaction: ServerTransaction, status: int, now: float, **headers: str) -> None:
        response = respond(transaction.request, status, tag=self.tag)
        for name, value in headers.items():
            response.headers.add(name.replace("_", "-"), value)
        self.core.respond(transaction, response, now)

    def reply(
        self, request: Request, status: int, headers: Headers, now: float, *, reason: str = "", body: bytes = b""
    ) -> Response | None:
        """Answer a request; None when it has its final response already, or never wanted one."""
        transaction = self._open.get(id(request))
        if transaction is None:
            return None
        response = respond(request, status, reason, tag=self.tag)
        if 100 < status < 300:
            said: list[tuple[str, str]] = []
            if request.method in CONTACTED:
                said.append(("Contact", self.contact(transaction.flow, secure=is_secure(request.uri))))
            if request.to.tag is None:
                said += [("Record-Route", value) for value in request.headers.all("Record-Route")]
            if request.method in ("INVITE", "OPTIONS", "UPDATE"):
                said += [("Allow", ALLOW), ("Supported", SUPPORTED)]
            response.headers.extend(said)
        for name, value in headers:
            response.headers.set(name, value)
        response.body = body
        if status >= 200:
            del self._open[id(request)]
            if status < 300 and request.method in SUBSCRIBING and self.dialog is None and request.to.tag is None:
                self.dialog = Dialog.of_request(request, self.tag)
                self.dialog.early = False
                self.core.know(self.dialog.key, self)
        self.transmit_reply(transaction, response, now)
        return response

    def transmit_reply(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        """A response of the user's, complete."""
        self.core.respond(transaction, response, now)

    def contact(self, flow: Flow, *, secure: bool = False) -> str:
        return contact(self.contact_user, flow, secure=secure)

    # The end

    def close(self, status: int, headers: Headers, now: float) -> None:
        """Nobody is interested any more: what was not answered gets `status`."""
        for transaction in list(self._open.values()):
            response = respond(transaction.request, status, tag=self.tag)
            for name, value in headers:
                response.headers.add(name, value)
            self.core.respond(transaction, response, now)
        self._open.clear()
        self.end()
        self.core.forget(self)

    def end(self) -> None:
        """Tell the user that it is over, once."""
        if not self.ended:
            self.ended = True
            self.core.tell(Ended(self))


def contact(user: str, flow: Flow, *, secure: bool = False) -> str:
    """Our Contact on this flow: a sips URI where a sips URI was asked for (RFC 3261 §8.1.1.8, §12.1.1)."""
    host, port = flow.sent_by
    name = f"{user}@" if user else ""
    if secure and flow.transport in _SECURELY:
        return f"<sips:{name}{bracketed(host)}:{port}{_SECURELY[flow.transport]}>"
    return f"<sip:{name}{bracketed(host)}:{port}{_SPOKEN[flow.transport]}>"


_SPOKEN = {"UDP": "", "TCP": ";transport=tcp", "TLS": ";transport=tls", "WS": ";transport=ws", "WSS": ";transport=wss"}
_SECURELY = {"TLS": "", "WSS": ";transport=ws"}  # a sips URI says it by its scheme


def is_secure(uri: str) -> bool:
    return uri[:5].lower() == "sips:"


def local(request: Request, status: int, reason: str = "") -> Response:
    """A response that no wire brought: 408 for silence, 503 for a dead transport (RFC 3261 §8.1.3.1), UNTRUSTED where
    TLS found somebody else at the far end. `reason` is for people: what happened here, and not what anybody said."""
    headers = Headers()
    for name in ("From", "To", "Call-ID", "CSeq"):
        headers.add(name, request.headers.get(name) or "")
    return Response(status, reason, headers, local=True)


def user_of(address: NameAddr) -> str:
    """The user part of an address as it is written; "" without one."""
    return address.user or ""
