"""The two INVITE usages (RFC 3261 §13 to §15): the client's with forks and CANCEL, the server's with its 200. Pure.

    ClientSession   calling ── 2xx ──> established ── BYE, either way ──> ended
                       └── CANCEL (after the first 1xx) ──> 487, or a crossing 2xx: ACK and BYE
    ServerSession   ringing ── 2xx ──> answered ── ACK ──> established ── BYE, either way ──> ended
                       └── 3xx-6xx, CANCEL, BYE ──> ended        └── no ACK in 64*T1 ──> BYE

1. Every 2xx gets its ACK, each repeat the same ACK again. Only the first 2xx is the call's, the others get a BYE.
2. A 2xx of ours is repeated until its ACK, over streams too: beyond the next hop there may be datagrams (§13.3.1.4).
3. We send no BYE between our 2xx and its ACK (§15): the callee's BYE waits.
4. One offer at a time: a second one gets 500, one that crosses ours 491 (§14.2, RFC 3311 §5.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import SipError
from gateway.sip.dialog import Dialog, Key
from gateway.sip.headers import NameAddr, parameters
from gateway.sip.layer import Flow, ServerTransaction
from gateway.sip.message import Headers, Request, Response, respond
from gateway.sip.usage import Core, Dispatch, Exchange, Finished, Heard, Incoming, Usage, local

MAX_FORKS = 32  # early dialogs of one INVITE


@dataclass(slots=True)
class Repeat:
    """A 2xx of ours that has no ACK yet."""

    response: Response
    flow: Flow
    initial: bool
    interval: float
    next: float
    end: float


class Session(Usage):
    """What both sides of an established call do alike."""

    def __init__(self, core: Core, call_id: str, tag: str) -> None:
        super().__init__(core, call_id, tag)
        self.established = False
        self._repeats: dict[int, Repeat] = {}  # CSeq -> the 2xx that waits for its ACK
        self._acks: dict[tuple[Key, int], tuple[Flow, Request] | None] = {}  # (dialog, CSeq) -> the ACK that was sent
        self._offering = 0  # offers of ours that are under way
        self._leaving: Headers | None = None  # we want to end it as soon as that is legal, with these headers
        self._said_bye = False
        self._expires: float | None = None

    # Time

    @property
    def deadline(self) -> float | None:
        times = [time for repeat in self._repeats.values() for time in (repeat.next, repeat.end)]
        if self._expires is not None:
            times.append(self._expires)
        return min(times) if times else None

    def fire(self, now: float) -> None:
        for number, repeat in list(self._repeats.items()):
            if now >= repeat.end:
                del self._repeats[number]
                self._lost(now, "no ACK to our 200")
            elif now >= repeat.next:
                repeat.interval = min(repeat.interval * 2, self.core.timers.t2)
                repeat.next = now + repeat.interval
                self.core.transmit(repeat.flow, repeat.response)
        if self._expires is not None and now >= self._expires:
            self._expires = None
            self._lost(now, "the session timer ran out")
        self.core.arm(self)

    def _lost(self, now: float, reason: str) -> None:
        """The far side is gone: no ACK, no refresh. The user hears a local 408, the far side gets a BYE."""
        if self.ended or self.dialog is None:
            return
        self.core.tell(Heard(self, local(self.dialog.request("BYE", self.dialog.local_sequence), 408, reason)))
        self._repeats.clear()
        self._bye(Headers(), now)

    # ACK for their 2xx

    def _acknowledge(self, dialog: Dialog, exchange: Exchange) -> None:
        """ACK a 2xx, or send the same ACK again."""
        number = exchange.request.cseq.number
        key = (dialog.key, number)
        if key in self._acks:
            sent = self._acks[key]
            if sent is not None:
                self.core.transmit(*sent)
            return
        request = dialog.request("ACK", number)
        for name in ("Authorization", "Proxy-Authorization"):  # RFC 3261 §22.1: the ACK carries the INVITE's
            for value in exchange.request.headers.all(name):
                request.headers.add(name, value)
        while len(self._acks) >= MAX_FORKS:
            del self._acks[next(iter(self._acks))]
        self._acks[key] = None
        ack = Exchange(self, request, dialog.next_hop, hint=exchange.flow, reported=False)
        ack.dialog = dialog
        self.core.tell(Dispatch(ack))

    def launched(self, exchange: Exchange, now: float) -> None:
        if exchange.request.method == "ACK" and exchange.dialog is not None and exchange.flow is not None:
            self._acks[exchange.dialog.key, exchange.request.cseq.number] = (exchange.flow, exchange.request)
        else:
            super().launched(exchange, now)

    # Requests of ours inside the dialog

    def ask(self, method: str, headers: Headers, body: bytes, now: float) -> Exchange | None:
        if self.dialog is None or self._said_bye or self.ended:
            return None
        if method == "BYE":
            self._leaving = headers
            self._leave(now)
            return None
        if method in ("INVITE", "UPDATE"):
            self._offering += 1
            if self.flow is not None:
                headers.set("Contact", self.contact(self.flow))
        return self._inside(self.dialog, method, headers, body, reported=True)

    def outcome(self, exchange: Exchange, response: Response, now: float) -> None:
        """A response to a request inside the dialog."""
        method, dialog = exchange.request.method, exchange.dialog
        if dialog is None or response.status < 200:
            return
        again, exchange.over = exchange.over, True
        if method in ("INVITE", "UPDATE") and response.status < 300 and not again:
            dialog.refresh(response)
        if method == "INVITE" and response.status < 300:
            self._acknowledge(dialog, exchange)
        if again:
            return
        if method == "BYE":
            if dialog is self.dialog or self.ended:
                self.core.forget(self)
            return
        if method in ("INVITE", "UPDATE"):
            self._offering -= 1
        if response.status in (408, 481) and not self.ended:
            # RFC 3261 §12.2.1.2: the far side knows nothing of this dialog any more.
            self._lost(now, "the far side does not know this call any more")
        if exchange.reported:
            self.core.tell(Finished(exchange, response))

    # Requests of theirs inside the dialog

    def requested(self, dialog: Dialog | None, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        if request.method == "BYE":
            self._their_bye(transaction, now)
            return
        if self.ended or self._said_bye:
            self.refuse(transaction, 481, now)
            return
        if request.method in ("INVITE", "UPDATE") and (status := self._glare(request)):
            if dialog is not None:
                dialog.receive(request)
            extra = {"Retry_After": "2"} if status == 500 else {}
            self.refuse(transaction, status, now, **extra)
            return
        super().requested(dialog, transaction, now)
        if request.method == "INVITE" and id(request) in self._open:
            self.core.respond(transaction, respond(request, 100), now)  # the answer may take its time

    def _glare(self, request: Request) -> int:
        """RFC 3261 §14.2 and RFC 3311 §5.2: 500 while theirs is unanswered, 491 while ours is; 0: go on."""
        if request.method == "UPDATE" and not request.body:
            return 0  # no offer: a refresh of the session timer or of the target
        if any(open_.request.method in ("INVITE", "UPDATE") for open_ in self._open.values()):
            return 500
        return 491 if self._offering else 0

    def _their_bye(self, transaction: ServerTransaction, now: float) -> None:
        self.refuse(transaction, 200, now)
        self._refuse_open(now)
        self._repeats.clear()
        self._expires = None
        if not self.ended:
            self.core.tell(Heard(self, transaction.request))
            self.end()
        if not self._said_bye:
            self.core.forget(self)

    def _refuse_open(self, now: float) -> None:
        """RFC 3261 §15.1.2: what is pending when a dialog ends gets 487."""
        for waiting in list(self._open.values()):
            self.core.respond(waiting, respond(waiting.request, 487, tag=self.tag), now)
        self._open.clear()

    def reply(
        self, request: Request, status: int, headers: Headers, now: float, *, reason: str = "", body: bytes = b""
    ) -> Response | None:
        transaction = self._open.get(id(request))
        if transaction is not None and 200 <= status < 300 and request.method in ("INVITE", "UPDATE"):
            self._accept_timer(request, headers, now)
        response = super().reply(request, status, headers, now, reason=reason, body=body)
        if response is None or transaction is None or request.method != "INVITE" or not 200 <= status < 300:
            return response
        t1 = self.core.timers.t1
        self._repeats[request.cseq.number] = Repeat(
            response, transaction.flow, request.to.tag is None, t1, now + t1, now + self.core.timers.patience
        )
        self.core.arm(self)
        return response

    def _accept_timer(self, request: Request, headers: Headers, now: float) -> None:
        """RFC 4028 §9 as a server that lets the other side refresh; a request that makes us refresh goes without."""
        interval = session_interval(request)
        if interval is None or "timer" not in request.headers.tokens("Supported"):
            return
        seconds, refresher = interval
        if refresher == "uas":
            return
        headers.set("Session-Expires", f"{seconds};refresher=uac")
        headers.set("Require", "timer")
        self._expires = now + seconds
        self.core.arm(self)

    def acknowledged(self, request: Request, now: float) -> None:
        repeat = self._repeats.pop(request.cseq.number, None)
        if repeat is None:
            return
        self.established = True
        if self.dialog is not None:
            self.dialog.early = False
        if not self.ended:
            self.core.tell(Heard(self, request))
        self._leave(now)

    # The end

    def _leave(self, now: float) -> None:
        """Send the BYE that we want to send, when it may be sent."""
        if self._leaving is not None and not any(repeat.initial for repeat in self._repeats.values()):
            self._bye(self._leaving, now)

    def _bye(self, headers: Headers, now: float) -> None:
        if self._said_bye or self.dialog is None:
            return
        self._said_bye = True
        self._expires = None
        self._refuse_open(now)
        self._inside(self.dialog, "BYE", headers, b"", reported=False)
        self.end()


class ClientSession(Session):
    """A call that we place."""

    def __init__(self, core: Core, call_id: str, tag: str) -> None:
        super().__init__(core, call_id, tag)
        self._invite: Exchange | None = None
        self._early: dict[str, Dialog] = {}  # their tag -> dialog
        self._provisional = False
        self._final = False
        self._cancel: Headers | None = None
        self._cancelled_until: float | None = None

    @property
    def deadline(self) -> float | None:
        times = [time for time in (super().deadline, self._cancelled_until) if time is not None]
        return min(times) if times else None

    def fire(self, now: float) -> None:
        if self._cancelled_until is not None and now >= self._cancelled_until:
            # RFC 3261 §9.1: no final response in 64*T1 after the CANCEL is as good as a 487.
            self._cancelled_until = None
            if self._invite is not None and self._invite.transaction is not None and not self._final:
                self.core.give_up(self._invite.transaction)
                self._concluded(local(self._invite.request, 487))
        super().fire(now)

    def invite(self, request: Request, next_hop: str, *, hint: Flow | None = None) -> Exchange:
        self.core.know((self.call_id, self.tag, ""), self)
        self._invite = self.start(request, next_hop, hint=hint)
        self._invite.reported = False
        return self._invite

    def has_dialog(self, local: str, remote: str) -> bool:
        return local == self.tag and remote in self._early

    def dialog_of(self, tag: str) -> Dialog | None:
        """The dialog with that tag of theirs, early, established or left."""
        return self._early.get(tag)

    def launched(self, exchange: Exchange, now: float) -> None:
        super().launched(exchange, now)
        if exchange is self._invite:
            self._provisional = False

    def answered(self, exchange: Exchange, response: Response, now: float) -> None:
        if exchange is not self._invite:
            super().answered(exchange, response, now)
        elif response.status < 200:
            self._progress(exchange, response, now)
        elif response.status < 300:
            self._accepted(exchange, response, now)
        elif self._final:
            return
        elif (
            response.status not in (401, 407)
            or self._cancel is not None
            or not self._try_again(exchange, response, now)
        ):
            exchange.over = True
            self._concluded(response)

    def may_move(self, exchange: Exchange) -> bool:
        if exchange is self._invite:  # what rang once does not begin again elsewhere
            return self._cancel is None and not self._final and not self._early
        return super().may_move(exchange)

    def _progress(self, exchange: Exchange, response: Response, now: float) -> None:
        if self._final:
            return
        tag = response.to.tag
        if response.status > 100 and tag is not None and tag not in self._early and len(self._early) < MAX_FORKS:
            dialog = self._early[tag] = Dialog.of_response(exchange.request, response)
            self.core.know(dialog.key, self)
        first, self._provisional = not self._provisional, True
        if self._cancel is not None:
            if first:
                self._send_cancel(now)
        else:
            self.core.tell(Heard(self, response))

    def _accepted(self, exchange: Exchange, response: Response, now: float) -> None:
        tag = response.to.tag or ""
        dialog = self._early.get(tag)
        if self.dialog is not None and self.dialog.remote.tag == response.to.tag:
            self._acknowledge(self.dialog, exchange)  # a repeat
            return
        if dialog is None:
            dialog = self._early[tag] = Dialog.of_response(exchange.request, response)
            self.core.know(dialog.key, self)
        elif not dialog.early:
            self._acknowledge(dialog, exchange)  # a repeat of a fork's that we have hung up
            return
        dialog.confirm(response)
        exchange.over = True
        self._acknowledge(dialog, exchange)
        if self._final or self._cancel is not None:
            # Another fork's, or it crossed our CANCEL: nobody wants this call.
            headers = self._cancel.copy() if self._cancel is not None else Headers()
            self._inside(dialog, "BYE", headers, b"", reported=False)
            if not self._final:
                self._concluded(local(exchange.request, 487))
            return
        self._final = self.established = True
        self.dialog = dialog
        interval = session_interval(response)
        if interval is not None and interval[1] == "uas":
            self._expires = now + interval[0]  # they refresh; if they stop, they are gone
            self.core.arm(self)
        self.core.tell(Heard(self, response))

    def _concluded(self, response: Response) -> None:
        """The INVITE has its final response and there is no call."""
        self._final = True
        self._cancelled_until = None
        self.core.tell(Heard(self, response))
        self.end()
        self.core.forget(self)

    def requested(self, dialog: Dialog | None, transaction: ServerTransaction, now: float) -> None:
        if transaction.request.method == "BYE" and dialog is not self.dialog:
            self.refuse(transaction, 200, now)  # a fork that we left, or an early one that leaves
            return
        super().requested(dialog, transaction, now)

    def close(self, status: int, headers: Headers, now: float) -> None:
        """Hang up: CANCEL before the answer, BYE after it."""
        if self.ended:
            return
        if self._final:
            self._leaving = headers
            self._leave(now)
        elif self._cancel is None:
            self._cancel = headers
            if self._invite is not None and self._invite.transaction is None:
                self._invite.over = True  # it is not on its way yet
                self._concluded(local(self._invite.request, 487))
            elif self._provisional:
                self._send_cancel(now)

    def _send_cancel(self, now: float) -> None:
        """RFC 3261 §9.1: the INVITE's own Via, Route and number; only after a 1xx, or it might overtake the INVITE."""
        exchange = self._invite
        if exchange is None or exchange.transaction is None or exchange.flow is None:
            return
        invite, headers = exchange.transaction.machine.request, Headers()
        headers.add("Via", invite.headers.get("Via") or "")
        for route in invite.headers.all("Route"):
            headers.add("Route", route)
        headers.add("Max-Forwards", "70")
        for name in ("From", "To", "Call-ID"):
            headers.add(name, invite.headers.get(name) or "")
        headers.add("CSeq", f"{invite.cseq.number} CANCEL")
        for name, value in self._cancel or ():
            headers.add(name, value)
        self._cancelled_until = now + self.core.timers.patience
        self.core.arm(self)
        self.core.follow_up(Request("CANCEL", invite.uri, headers), exchange.flow, now)


class ServerSession(Session):
    """A call that comes in."""

    def __init__(self, core: Core, call_id: str, tag: str) -> None:
        super().__init__(core, call_id, tag)
        self.transaction: ServerTransaction | None = None
        self._final = False

    def take(self, transaction: ServerTransaction, now: float) -> None:
        """Raises SipError when the INVITE can make no dialog."""
        request = transaction.request
        self.dialog = Dialog.of_request(request, self.tag)
        self.flow = transaction.flow
        self.contact_user = request_user(request)
        self.transaction = transaction
        self._open[id(request)] = transaction
        self.core.know(self.dialog.key, self)
        self.core.respond(transaction, respond(request, 100), now)
        self.core.tell(Incoming(self, request, transaction.flow))

    def reply(
        self, request: Request, status: int, headers: Headers, now: float, *, reason: str = "", body: bytes = b""
    ) -> Response | None:
        initial = self.transaction is not None and request is self.transaction.request
        response = super().reply(request, status, headers, now, reason=reason, body=body)
        if response is not None and initial and status >= 200:
            self._final = True
            if status >= 300:
                self.end()
                self.core.forget(self)
        return response

    def cancelled(self, cancel: Request, now: float) -> None:
        """RFC 3261 §9.2; the CANCEL itself has its 200 already."""
        if self._final or self.transaction is None:
            return
        self._final = True
        self._open.pop(id(self.transaction.request), None)
        self.core.respond(self.transaction, respond(self.transaction.request, 487, tag=self.tag), now)
        self.core.tell(Heard(self, cancel))
        self.end()
        self.core.forget(self)

    def requested(self, dialog: Dialog | None, transaction: ServerTransaction, now: float) -> None:
        if transaction.request.method == "BYE":
            self._final = True
        super().requested(dialog, transaction, now)

    def close(self, status: int, headers: Headers, now: float) -> None:
        """Hang up: the final response before the answer, BYE after it."""
        if self.ended:
            return
        if not self._final and self.transaction is not None:
            self.reply(self.transaction.request, max(status, 300), headers, now)
            return
        self._leaving = headers
        self._leave(now)


def request_user(request: Request) -> str:
    """The user part of a Request-URI, as it is written; "" without one or when the URI is none."""
    try:
        return NameAddr.parse(f"<{request.uri}>").user or ""
    except SipError:
        return ""


def session_interval(message: Request | Response) -> tuple[int, str | None] | None:
    """Session-Expires: seconds and refresher (RFC 4028 §4); None when absent or unreadable."""
    value = message.headers.get("Session-Expires")
    if value is None:
        return None
    seconds, _, rest = value.partition(";")
    seconds = seconds.strip()
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 9 and int(seconds) >= 90):
        return None
    refresher = next((v for name, v in parameters(rest) if name == "refresher"), None)
    return int(seconds), (refresher or "").lower() or None
