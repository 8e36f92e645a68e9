"""The SIP user agent without a wire: octets in, effects out. Pure; `now` and random tokens are given to it.

    datagram ──> parse ──> layer (transactions) ──> agent ──> usage, by dialog ──> Heard | Finished | Incoming | Ended
                   └ 400      └ repeats absorbed       └ 481, 482, 483, 420, 416, 501
    user ──> usage ──> Dispatch ──(a flow is found)──> launch ──> layer ──> Transmit

1. `take()` gives what is to be done since the last time, in order; `deadline` is when `fire` wants to be called.
2. ACK, CANCEL, BYE's 200, retransmission and authentication are decided here and nowhere else.
3. Nothing that a peer sends raises out of `receive`.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace

from gateway.errors import SipError
from gateway.sip.clientsession import ClientSession
from gateway.sip.dialog import Dialog, Key
from gateway.sip.digestserver import DigestServer
from gateway.sip.headers import AuthField, NameAddr, bracketed, split
from gateway.sip.icmp import quoted
from gateway.sip.layer import (
    COOKIE,
    FORGOTTEN,
    Acknowledged,
    Address,
    Alarm,
    Answered,
    ClientTransaction,
    Flow,
    Happened,
    Layer,
    Limits,
    Requested,
    ServerTransaction,
    Transmit,
    Unanswered,
    server_key,
)
from gateway.sip.message import Message, Request, Response, respond
from gateway.sip.overload import Gate, Load, Source, Standing, StandingOf, Verdict
from gateway.sip.parser import MalformedError, parse
from gateway.sip.serversession import ServerSession, request_user
from gateway.sip.session import Session
from gateway.sip.targets import SILENCE, seconds_of
from gateway.sip.timer import SHORTEST
from gateway.sip.transaction import State, Timers
from gateway.sip.usage import EXTENSIONS, METHODS, UNTRUSTED, Dispatch, Exchange, Report, Usage, is_secure, local

NEW = frozenset({"INVITE", "REGISTER", "SUBSCRIBE", "MESSAGE", "OPTIONS", "REFER", "PUBLISH", "NOTIFY"})

MAX_RINGING = 4000  # calls of one address, which may be a carrier's, that have no final response yet

MAX_REFUSED = 4096  # INVITEs that were not let in, whose repeats may yet come

CONTACTING = frozenset({"INVITE", "REGISTER", "SUBSCRIBE", "NOTIFY", "UPDATE"})  # requests that say where we are

Output = Transmit | Report


class Agent:
    def __init__(self, token: Callable[[], str], timers: Timers | None = None, limits: Limits | None = None) -> None:
        self.timers = timers or Timers()
        self.limits = limits or Limits()
        self.token = token
        self._alarm = Alarm()
        self._layer = Layer(self.timers, self.limits, self._alarm)
        self._usages: dict[Key, Usage] = {}
        self._keys: dict[int, tuple[Key, ...]] = {}  # id(usage) -> its keys: mostly one
        self._exchanges: dict[ClientTransaction, Exchange] = {}
        self._invited: dict[int, ServerSession] = {}  # id(transaction) -> an INVITE that is not answered
        self._early: Counter[str] = Counter()  # how many of those there are, by source
        self._refused: OrderedDict[tuple[str, ...], Verdict] = OrderedDict()  # INVITEs, the latest
        self._out: list[Output] = []
        self.gate = Gate()
        self.standing: StandingOf | None = None  # without a policy everybody is heard
        self.digest: DigestServer | None = None  # who may prove to be a trunk by a password
        self.backlog: Callable[[], int] = int  # see overload.Door

    def take(self) -> list[Output]:
        """What is to be done, in order; each is given once."""
        out, self._out = self._out, []
        return out

    @property
    def deadline(self) -> float | None:
        return self._alarm.deadline

    def due_before(self, time: float) -> bool:
        """Whether a deadline may come before that; asked after each message, where looking at them all costs more."""
        return self._alarm.due_before(time)

    @property
    def busy(self) -> tuple[int, int]:
        """How many transactions and dialogs there are."""
        return len(self._layer), len(self._keys)

    # The wire

    def receive(self, data: bytes, flow: Flow, now: float, *, framed: bool = False) -> Message | None:
        """One message came; it is given back for the trace. None when there was none, or nothing legible."""
        if not data.strip(b"\r\n\0 \t"):
            return None  # keepalives (RFC 5626 §4.4.1)
        try:
            message = parse(data, framed=framed)
        except MalformedError as fault:
            if fault.request is not None:
                self._complain(fault.request, flow, fault.status, str(fault))
            return None
        if isinstance(message, Request):
            _mark(message, flow)
        elif _is_anothers(message):
            return None
        try:
            self._check(message)
            key = None
            if isinstance(message, Request):
                key = server_key(message, flow)
                if self._turned_away(message, flow, key, now):
                    return None
            self._happened(self._layer.receive(message, flow, now, key), now)
        except SipError as fault:
            if isinstance(message, Request):
                self._complain(message, flow, fault.status, str(fault))
            return None
        return message

    def _standing(self, flow: Flow) -> Standing:
        return Standing.TRUNK if self.standing is None else self.standing(_source(flow))

    def _turned_away(self, request: Request, flow: Flow, key: tuple[str, ...], now: float) -> bool:
        """What is new is judged before it costs anything; what belongs to a dialog or came before is not."""
        if request.method == "ACK" or _key(request) in self._usages:
            return False
        if self._layer.knows(key) or (
            request.method == "CANCEL" and self._layer.find_invite(request, flow) is not None
        ):
            return False
        source = _source(flow)
        load = Load(len(self._keys), self.backlog(), self._layer.is_full(source.address))
        standing, stale = self._proven(request, self._standing(flow), source, now)
        verdict = self._refused.get(key) or self.gate.judge(request.method, source, standing, load, now)
        if verdict is not None and request.method == "INVITE" and verdict.status not in (0, 401):
            # Its repeats are on the way already. RFC 3261 §8.2.7: they are answered alike, or one would find us with
            # less to do and ring at a call whose caller has heard that there is none.
            self._refused[key] = verdict
            if len(self._refused) > MAX_REFUSED:
                self._refused.popitem(last=False)
        if verdict is not None and verdict.status:
            refusal = respond(request, verdict.status, tag="door")
            if verdict.status == 401 and self.digest is not None:
                for challenge in self.digest.challenges(source.address, now, stale=stale):
                    refusal.headers.add("WWW-Authenticate", challenge)
            if verdict.retry_after is not None:
                refusal.headers.add("Retry-After", str(verdict.retry_after))
            if verdict.stream is not None:
                user, host = request_user(request), bracketed(flow.sent_by[0])
                refusal.headers.add(
                    "Contact", f"<sip:{f'{user}@' if user else ''}{host}:{verdict.stream};transport=tcp>"
                )
            self._out.append(Transmit(flow, refusal))
        return verdict is not None

    def _proven(self, request: Request, standing: Standing, source: Source, now: float) -> tuple[Standing, bool]:
        """What a password makes of the standing of a source, and whether the nonce that it was given with is stale.

        Only calls are challenged, for scanners ask for OPTIONS; and where anybody may call, only who says to be ours.
        """
        if standing is Standing.TRUNK or self.digest is None or not self.digest.active:
            return standing, False
        found = self.digest.judge(request, source.address, now)
        if found.account is not None:
            request.account = found.account
            return Standing.TRUNK, False
        if request.method == "INVITE" and (standing is Standing.STRANGER or self.digest.claims_us(request)):
            return Standing.UNPROVEN, found.stale
        return standing, False

    def _complain(self, request: Request, flow: Flow, status: int, text: str) -> None:
        """A response without a transaction, to a request that cannot have one."""
        if request.method == "ACK" or "Via" not in request.headers:
            return
        if self.gate.door.strangers == "silent" and self._standing(flow) is Standing.STRANGER:
            return
        response = respond(request, status, tag="fault")
        response.headers.add("Warning", f'399 gateway "{text}"'.replace("\r", " ").replace("\n", " "))
        self._out.append(Transmit(flow, response))

    @staticmethod
    def _check(message: Message) -> None:
        """What every message has, in a form that can be read (RFC 3261 §8.1.1, §16.3). Raises SipError."""
        for header in (message.via, message.from_, message.to, message.cseq, message.call_id):
            if not header:
                raise SipError("an empty header")
        if len(message.call_id) > 1024:
            raise SipError("a Call-ID of more than 1 KiB")

    def fire(self, now: float) -> None:
        """Everything whose time has come."""
        while (timed := self._alarm.due(now)) is not None:
            if isinstance(timed, Usage):
                timed.fire(now)
            elif (happened := self._layer.fire(timed, now)) is not None:
                self._happened(happened, now)

    def broken(self, connection: int, now: float, distrust: str = "") -> None:
        """A stream is gone: what waits for an answer on it gets 503 (RFC 3261 §8.1.3.1), or is told of `distrust`."""
        for transaction in self._layer.on(connection):
            self._layer.drop(transaction)
            exchange = self._exchanges.get(transaction)
            if exchange is not None and distrust:
                exchange.distrust = distrust
            self._silent(transaction, 503, now)

    def undeliverable(self, octets: bytes, remote: Address, now: float) -> None:
        """The network gave a datagram to `remote` back, which began so: as good as a 503 (RFC 3261 §8.1.3.1, §18.4).

        A request that somebody has answered in the meantime goes on.
        """
        found = quoted(octets)
        transaction = self._layer.unheard(*found, remote) if found is not None else None
        if transaction is not None:
            self._layer.drop(transaction)
            exchange = self._exchanges.get(transaction)
            if exchange is not None:
                exchange.obstacle = f"nothing listens at {bracketed(remote[0])}:{remote[1]}"
            self._silent(transaction, 503, now)

    def _happened(self, happened: list[Happened], now: float) -> None:
        for item in happened:
            match item:
                case Transmit():
                    self._out.append(item)
                case Answered(transaction, response):
                    exchange = self._exchanges.get(transaction)
                    if exchange is not None and exchange.transaction is transaction:
                        self._answered(exchange, response, now)
                        if response.status >= 200:
                            self._concluded(transaction)
                    elif exchange is not None:
                        self._late(exchange, transaction, response, now)
                case Unanswered(transaction) if isinstance(transaction, ClientTransaction):
                    self._silent(transaction, 408, now)
                case Unanswered():
                    pass  # a refusal without its ACK: there is no call to hang up
                case Requested(transaction, merged):
                    try:
                        self._requested(transaction, merged, now)
                    finally:
                        self._alarm.arm(transaction)
                case Acknowledged(request, flow):
                    usage = self._usages.get(_key(request))
                    if usage is not None:
                        usage.flow = flow
                        usage.acknowledged(request, now)
        if self._exchanges:
            self._sweep()

    def _answered(self, exchange: Exchange, response: Response, now: float) -> None:
        if self._moves_on(exchange, response, now):
            return
        try:
            exchange.usage.answered(exchange, response, now)
        except SipError:
            # Its Contact or its routes cannot be read. An interim one is dropped; a final one must not leave anybody
            # waiting, and stands for a 400 of ours.
            if response.status >= 200:
                exchange.usage.answered(exchange, local(exchange.request, 400), now)

    def _concluded(self, transaction: ClientTransaction) -> None:
        """It has its final response: what is left of it waits for repeats, and other 2xx to an INVITE."""
        transaction.machine.request = FORGOTTEN
        if transaction.machine.state is not State.ACCEPTED:
            self._exchanges.pop(transaction, None)

    @staticmethod
    def _late(exchange: Exchange, transaction: ClientTransaction, response: Response, now: float) -> None:
        with contextlib.suppress(SipError):  # its Contact cannot be read: then nobody could be hung up there
            exchange.usage.late(exchange, transaction, response, now)

    def _silent(self, transaction: ClientTransaction, status: int, now: float) -> None:
        exchange = self._exchanges.get(transaction)
        if exchange is not None and exchange.transaction is transaction:
            exchange.transaction = None
            self._answered(exchange, _stand_in(exchange, status), now)

    def _moves_on(self, exchange: Exchange, response: Response, now: float) -> bool:
        """503, silence and a dead connection are a target's failure; the request goes to the next (RFC 3263 §4.3)."""
        course = exchange.course
        if course is None:
            return False
        if response.status != 503 and not response.local:
            course.answer()
            return False
        course.fail(now, seconds_of(response.headers.get("Retry-After")))
        if not course.more or not exchange.usage.may_move(exchange):
            return False
        exchange.transaction = exchange.hint = None
        self._out.append(Dispatch(exchange))
        return True

    def _sweep(self) -> None:
        """Forget the exchanges whose transactions are over."""
        transactions = len(self._layer)
        if not transactions or len(self._exchanges) > 2 * transactions + 64:
            self._exchanges = {
                transaction: exchange
                for transaction, exchange in self._exchanges.items()
                if not transaction.machine.terminated
            }

    # Requests

    def _requested(self, transaction: ServerTransaction, merged: bool, now: float) -> None:
        request = transaction.request
        if request.method == "CANCEL":
            self._cancelled(transaction, now)
            return
        try:
            tag = request.to.tag
            usage = self._usages.get(_key(request)) if tag is not None else self._sequence(request)
            if usage is None and request.method == "NOTIFY":
                usage = self._subscriber(request)
            dialog = usage_dialog(usage, request) if usage is not None else None
            unknown = request.headers.tokens("Require") - EXTENSIONS
            if unknown:
                self._refuse(transaction, 420, now, Unsupported=", ".join(sorted(unknown)))
            elif usage is not None and (dialog is not None or tag is None):
                usage.requested(dialog, transaction, now)
            elif tag is not None:
                self._refuse(transaction, 481, now)
            else:
                self._new(transaction, merged, now)
        except SipError as fault:
            extra = {"Min_SE": str(SHORTEST)} if fault.status == 422 else {}
            self._refuse(transaction, fault.status, now, **extra)

    def _new(self, transaction: ServerTransaction, merged: bool, now: float) -> None:
        """A request outside of any dialog (RFC 3261 §8.2)."""
        request = transaction.request
        if request.method not in METHODS:
            self._refuse(transaction, 501, now)
        elif request.method not in NEW:
            self._refuse(transaction, 481, now)
        elif request.uri.partition(":")[0].lower() not in ("sip", "sips", "tel"):
            self._refuse(transaction, 416, now)
        elif request.max_forwards == 0 and request.method != "OPTIONS":
            self._refuse(transaction, 483, now)  # whatever we do with it would be another hop
        elif merged or (request.call_id, request.from_.tag or "", "") in self._usages:
            self._refuse(transaction, 482, now)  # RFC 3261 §8.2.2.2, or our own request come home
        elif len(self._keys) >= self.limits.usages or self._early[transaction.flow.remote[0]] >= MAX_RINGING:
            self._refuse(transaction, 503, now, Retry_After="10")
        else:
            make = ServerSession if request.method == "INVITE" else Usage
            usage = make(self, request.call_id, self.token())
            usage.take(transaction, now)
            if isinstance(usage, ServerSession):
                self._invited[id(transaction)] = usage
                self._early[transaction.flow.remote[0]] += 1
            if request.method == "REGISTER":
                self.know((request.call_id, "", request.from_.tag or ""), usage)

    def _sequence(self, request: Request) -> Usage | None:
        """The usage that an earlier REGISTER of the same Call-ID made."""
        if request.method != "REGISTER":
            return None
        return self._usages.get((request.call_id, "", request.from_.tag or ""))

    def _subscriber(self, request: Request) -> Usage | None:
        """The usage whose SUBSCRIBE this NOTIFY answers, before its 2xx."""
        usage = self._usages.get((request.call_id, request.to.tag or "", ""))
        return usage if usage is not None and usage.notified(request) else None

    def _cancelled(self, transaction: ServerTransaction, now: float) -> None:
        cancel = transaction.request
        invite = self._layer.find_invite(cancel, transaction.flow)
        if invite is None:
            self._refuse(transaction, 481, now)
            return
        usage = self._invited.get(id(invite))
        tag = NameAddr.parse(invite.to).tag if invite.to else None
        if usage is not None:
            tag = usage.tag
        self.respond(transaction, respond(cancel, 200, tag=tag or self.token()), now)
        if usage is not None:
            usage.cancelled(cancel, now)
        elif not invite.to and isinstance(inside := self._usages.get(_key(invite.request)), Session):
            inside.withdrawn(invite, now)

    def _refuse(self, transaction: ServerTransaction, status: int, now: float, **headers: str) -> None:
        response = respond(transaction.request, status, tag=self.token())
        for name, value in headers.items():
            response.headers.add(name.replace("_", "-"), value)
        self.respond(transaction, response, now)

    # What usages ask (usage.Core)

    def tell(self, report: Report) -> None:
        self._out.append(report)

    def transmit(self, flow: Flow, message: Message) -> None:
        self._out.append(Transmit(flow, message))

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        if response.status >= 200 and self._invited.pop(id(transaction), None) is not None:
            source = transaction.flow.remote[0]
            self._early[source] -= 1
            if self._early[source] <= 0:
                del self._early[source]
        for item in self._layer.respond(transaction, response, now):
            if isinstance(item, Transmit):
                self._out.append(item)

    def follow_up(self, request: Request, flow: Flow, now: float) -> None:
        """A CANCEL: a transaction of its own on the INVITE's branch, of whose outcome nobody wants to know."""
        _, happened = self._layer.request(request, flow, now)
        self._happened(happened, now)

    def give_up(self, transaction: ClientTransaction) -> None:
        self._layer.drop(transaction)
        self._exchanges.pop(transaction, None)

    def know(self, key: Key, usage: Usage) -> None:
        self._usages[key] = usage
        keys = self._keys.get(id(usage), ())
        if key not in keys:
            self._keys[id(usage)] = (*keys, key)

    def forget(self, usage: Usage) -> None:
        for key in self._keys.pop(id(usage), ()):
            if self._usages.get(key) is usage:
                del self._usages[key]

    def arm(self, usage: Usage) -> None:
        self._alarm.arm(usage)

    # What users ask

    def usage(self, call_id: str = "") -> Usage:
        """For requests of ours outside of dialogs."""
        return Usage(self, call_id or self.token(), self.token())

    def client(self, call_id: str = "") -> ClientSession:
        """For a call that we place."""
        return ClientSession(self, call_id or self.token(), self.token())

    def launch(self, exchange: Exchange, flow: Flow, now: float) -> None:
        """A flow to the next hop was found: send."""
        if exchange.over:
            return
        exchange.flow = flow
        # An ACK leaves once; all else may leave again, with other credentials or elsewhere.
        request = exchange.request if exchange.request.method == "ACK" else exchange.request.copy()
        host, port = flow.sent_by
        alias = ";alias" if flow.transport == "TLS" else ""  # requests may come back this way (RFC 5923 §5)
        branch = f"{COOKIE}{self.token()}"
        via = f"SIP/2.0/{flow.transport} {bracketed(host)}:{port};branch={branch};rport{alias}"
        request.headers.prepend("Via", via)
        if request.method in CONTACTING and "Contact" not in request.headers:
            request.headers.add("Contact", exchange.usage.contact(flow, secure=is_secure(request.uri)))
        if request.method == "ACK":
            exchange.over = True
            exchange.usage.launched(exchange, now)
            self._out.append(Transmit(flow, request))
            return
        patience = exchange.patience
        if patience is None and exchange.course is not None and exchange.course.more:
            patience = SILENCE
        transaction, happened = self._layer.request(request, flow, now, patience, branch=branch)
        if transaction is None:
            self.unreachable(exchange, now)
            return
        exchange.transaction = transaction
        self._exchanges[transaction] = exchange
        exchange.usage.launched(exchange, now)
        self._happened(happened, now)

    def unreachable(self, exchange: Exchange, now: float) -> None:
        """There is no way to the next hop."""
        if not exchange.over and exchange.request.method != "ACK":
            exchange.usage.answered(exchange, _stand_in(exchange, 503), now)


def _stand_in(exchange: Exchange, status: int) -> Response:
    """What stands for a response that never came: that nobody was trusted enough to be asked says most."""
    if exchange.distrust:
        return local(exchange.request, UNTRUSTED, exchange.distrust)
    return local(exchange.request, status, exchange.obstacle if status == 503 else "")


def usage_dialog(usage: Usage, request: Request) -> Dialog | None:
    """The dialog of this usage that a request names; of a forked call that is one of several."""
    if isinstance(usage, ClientSession):
        return usage.dialog_of(request.from_.tag or "")
    return usage.dialog


def _source(flow: Flow) -> Source:
    return Source(*flow.remote, flow.transport, flow.names)


def _key(request: Request) -> Key:
    return request.call_id, request.to.tag or "", request.from_.tag or ""


def _is_anothers(response: Response) -> bool:
    """Whether there is a Via below the topmost: then we are not who asked (RFC 3261 §8.1.3.3)."""
    headers = response.headers
    if len(headers) == len(headers.first) and "," not in headers.first.get("via", ""):
        return False  # as nearly all are: each field is there once
    return len(headers.listed("Via")) > 1


_ONE_HOP = re.compile(r'[^,"<]*[^,"<; ]')
_SAID = re.compile("received|rport", re.IGNORECASE)


def _mark(request: Request, flow: Flow) -> None:
    """Write where it really came from into the topmost Via (RFC 3261 §18.2.1, RFC 3581 §4).

    What the sender wrote there himself is dropped: a forged `received` would have us answer to a third party.
    The rest of the field stays as it was written.
    """
    via = request.headers.get("Via")
    if via is None:
        return
    host, port = flow.remote
    plain = via.removesuffix(";rport")
    if _ONE_HOP.fullmatch(plain) and not _SAID.search(plain):  # as nearly all are written
        told = f"{plain};received={host}"
        request.headers.replace_first("Via", f"{told};rport={port}" if plain != via else told)
        return
    elements = split(via, ",")
    if not elements:
        return
    pieces = split(elements[0], ";")
    names = [piece.partition("=")[0].strip().lower() for piece in pieces]
    kept = [piece for piece, name in zip(pieces, names, strict=True) if name not in ("received", "rport")]
    kept.append(f"received={host}")
    if "rport" in names:
        kept.append(f"rport={port}")
    elements[0] = ";".join(kept)
    request.headers.replace_first("Via", ", ".join(elements))


def way_back(response: Response, flow: Flow) -> Flow:
    """Where the answer to a datagram goes: to the port that it came from where the sender wants that, by `rport`
    (RFC 3581 §4), else to the one that his Via names (RFC 3261 §18.2.2).

    COMPAT: telephones behind NAT that know nothing of `rport`. Whose Via names another address is answered where he is.
    """
    if ";rport=" in response.headers.first.get("via", ""):
        return flow
    try:
        via = response.via
    except SipError:  # we could not read it, and say so
        return flow
    port = via.port or 5060
    return flow if via.host != flow.remote[0] or port == flow.remote[1] else replace(flow, remote=(via.host, port))


_SHOWN = tuple((name, name.lower()) for name in ("From", "To", "Contact", "Reason", "Warning"))
_PROVING = tuple(
    (name, name.lower()) for name in ("Authorization", "Proxy-Authorization", "WWW-Authenticate", "Proxy-Authenticate")
)


def safe_text(message: Message) -> str:
    """One line of detail for a ladder: who to whom, CSeq, Reason; never authentication, never a body."""
    first = message.headers.first
    shown = [message.uri] if isinstance(message, Request) else []
    shown.append(f"CSeq {first.get('cseq')}")
    shown += [f"{name}: {value}" for name, key in _SHOWN if (value := first.get(key))]
    shown += [f"{name}: {AuthField.parse(value).scheme} …" for name, key in _PROVING if (value := first.get(key))]
    if message.body:
        shown.append(f"{message.content_type or 'body'} {len(message.body)} octets")
    return "; ".join(shown)
