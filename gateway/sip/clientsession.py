"""A call that we place (RFC 3261 §13.2): forks with several early dialogs, PRACK, CANCEL, the first of the 2xx. Pure.

    calling ── 1xx ──> early dialogs, by their tag ── 2xx ──> established ── BYE, either way ──> ended
       │                                └── another 2xx: ACK and BYE
       └── CANCEL (after the first 1xx) ──> 487, or a crossing 2xx: ACK and BYE

An INVITE without a description has theirs in the 2xx, and our answer in the ACK, which then waits for `acknowledge`; or
in a provisional response that must arrive, and our answer in the PRACK, which waits likewise (RFC 3262 §5).
"""

from __future__ import annotations

from gateway.sip.dialog import Dialog
from gateway.sip.layer import ClientTransaction, Flow, ServerTransaction, earliest
from gateway.sip.message import Headers, Request, Response
from gateway.sip.reliable import Ordered, is_reliable, rseq
from gateway.sip.session import MAX_FORKS, Session, cancel_of, described
from gateway.sip.usage import SUPPORTED, Core, Exchange, Heard, local

MAX_ANSWERS = 2 * MAX_FORKS  # dialogs of one INVITE: who answers in ever new names is neither acknowledged nor hung up


class ClientSession(Session):
    """A call that we place."""

    __slots__ = (
        "_agreed",
        "_cancel",
        "_cancelled_until",
        "_early",
        "_final",
        "_invite",
        "_offered",
        "_ordered",
        "_provisional",
    )

    def __init__(self, core: Core, call_id: str, tag: str) -> None:
        super().__init__(core, call_id, tag, owner=True)
        self._invite: Exchange | None = None
        self._early: dict[str, Dialog] = {}  # their tag -> dialog
        self._ordered: dict[str, Ordered] = {}  # their tag -> reliable provisional responses
        self._agreed: list[str] = []  # tags whose dialogs have their answer already
        self._offered: list[tuple[Dialog, str]] = []  # early dialogs with an offer of theirs, and the RAck to it
        self._provisional = False
        self._final = False
        self._cancel: Headers | None = None
        self._cancelled_until: float | None = None

    @property
    def deadline(self) -> float | None:
        own = super().deadline
        return own if self._cancelled_until is None else earliest(own, self._cancelled_until)

    def fire(self, now: float) -> None:
        if self._cancelled_until is not None and now >= self._cancelled_until:
            # RFC 3261 §9.1: no final response in 64*T1 after the CANCEL is as good as a 487.
            self._cancelled_until = None
            if self._invite is not None and self._invite.transaction is not None and not self._final:
                self.core.give_up(self._invite.transaction)
                self._concluded(local(self._invite.request, 487))
        super().fire(now)

    def _tidy(self) -> None:
        super()._tidy()
        if not self._final:
            return  # what had its ACK was a target's that was given up, and the call itself has no answer yet
        self._invite = None
        self._early = {tag: dialog for tag, dialog in self._early.items() if dialog is self.dialog}
        self._ordered.clear()

    def invite(self, request: Request, next_hop: str, *, hint: Flow | None = None) -> Exchange:
        self.core.know((self.call_id, self.tag, ""), self)
        if "Supported" not in request.headers:
            request.headers.add("Supported", SUPPORTED)
        if "Session-Expires" not in request.headers:
            self.timer.ask(request.headers)
        self._described = described(request)
        self._invite = self.start(request, next_hop, hint=hint)
        self._invite.reported = False
        return self._invite

    def has_dialog(self, local: str, remote: str) -> bool:
        return local == self.tag and remote in self._early

    def may_move(self, exchange: Exchange) -> bool:
        if exchange is self._invite:  # what rang once does not begin again elsewhere
            return self._cancel is None and not self._final and not self._early
        return super().may_move(exchange)

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
        elif self._cancel is not None or not self._try_otherwise(exchange, response, now):
            exchange.over = True
            self._concluded(response)

    def _try_otherwise(self, exchange: Exchange, response: Response, now: float) -> bool:
        if response.status in (401, 407):
            return self._try_again(exchange, response, now)
        if response.status == 422 and self.timer.learn(response):
            self.timer.ask(exchange.request.headers)
            return self._repeat(exchange)
        return False

    def late(self, exchange: Exchange, transaction: ClientTransaction, response: Response, now: float) -> None:
        """Somebody else is asked by now, or nobody: who begins to ring is cancelled, who answers is hung up."""
        if exchange.dialog is not None:
            super().late(exchange, transaction, response, now)
            return
        invite = transaction.machine.request
        if response.status < 200:
            self.core.follow_up(cancel_of(invite), transaction.flow, now)
        elif response.status < 300:
            dialog = Dialog.of_response(invite, response)
            asked = Exchange(self, invite, dialog.next_hop, hint=transaction.flow, reported=False)
            asked.flow = transaction.flow
            repeat = (dialog.key, invite.cseq.number) in self._acks
            if not repeat and len(self._acks) >= MAX_FORKS:
                return
            self._acknowledge(dialog, asked)
            if not repeat:
                bye = Exchange(self, dialog.request("BYE"), dialog.next_hop, hint=transaction.flow, reported=False)
                bye.dialog = dialog
                self._ask(bye)

    # Before the answer

    def _progress(self, exchange: Exchange, response: Response, now: float) -> None:
        if self._final:
            return
        first, self._provisional = not self._provisional, True
        if first and self._cancel is not None:
            self._send_cancel(now)  # before anything in it turns out to be illegible
        tag = response.to.tag
        if response.status > 100 and tag is not None and tag not in self._early and len(self._early) < MAX_FORKS:
            dialog = self._early[tag] = Dialog.of_response(exchange.request, response)
            self.core.know(dialog.key, self)
        if is_reliable(response) and not self._taken(exchange, response, tag):
            return
        self._learn(response)
        if self._cancel is None:
            self.core.tell(Heard(self, response))
            self._proceed(now)

    def _taken(self, exchange: Exchange, response: Response, tag: str | None) -> bool:
        """PRACK a reliable provisional response; False for one that is repeated or out of order (RFC 3262 §4)."""
        dialog = self._early.get(tag or "")
        if dialog is None or not self._ordered.setdefault(dialog.remote.tag or "", Ordered()).take(response):
            return False
        rack = f"{rseq(response)} {exchange.request.cseq.number} INVITE"
        if described(response) and not exchange.request.body and self._cancel is None and not self._knows(dialog):
            self._offered.append((dialog, rack))
            return True
        if exchange.request.body and described(response):
            self._agreed.append(dialog.remote.tag or "")
        self._prack(dialog, rack, b"")
        return True

    def _knows(self, dialog: Dialog) -> bool:
        """Whether what they offer in this early dialog is answered, or will be."""
        return dialog.remote.tag in self._agreed or any(offered is dialog for offered, _ in self._offered)

    def _prack(self, dialog: Dialog, rack: str, body: bytes) -> None:
        headers = Headers([("RAck", rack)])
        if body:
            headers.add("Content-Type", "application/sdp")
            self._agreed.append(dialog.remote.tag or "")
            self._described = body
        self._inside(dialog, "PRACK", headers, body, reported=False)

    def acknowledge(self, body: bytes, now: float) -> None:
        if self._offered:
            self._prack(*self._offered.pop(0), body)
        else:
            super().acknowledge(body, now)

    def _early_dialog(self) -> Dialog | None:
        """RFC 3311 §5.1: the first exchange is over, and they take an UPDATE."""
        if self._final or self._cancel is not None or not self._agreed or not self._takes_update:
            return None
        return self._early.get(self._agreed[0])

    def _offered_first(self, dialog: Dialog | None) -> bool:
        return not self._final and dialog is not None and dialog.remote.tag not in self._agreed

    # The answer

    def _accepted(self, exchange: Exchange, response: Response, now: float) -> None:
        tag = response.to.tag or ""
        dialog = self._early.get(tag)
        if self.dialog is not None and self.dialog.remote.tag == response.to.tag:
            self._confirm(self.dialog, exchange, response, now)  # a repeat
            return
        if dialog is None:
            if self._final and len(self._early) >= MAX_ANSWERS:
                return
            dialog = self._early[tag] = Dialog.of_response(exchange.request, response)
            self.core.know(dialog.key, self)
        elif not dialog.early:
            self._acknowledge(dialog, exchange)  # a repeat of a fork's that we have hung up
            return
        dialog.confirm(response)
        exchange.over = True
        if self._final or self._cancel is not None:
            # Another fork's, or it crossed our CANCEL: nobody wants this call.
            self._acknowledge(dialog, exchange)
            headers = self._cancel.copy() if self._cancel is not None else Headers()
            self._inside(dialog, "BYE", headers, b"", reported=False)
            if not self._final:
                self._concluded(local(exchange.request, 487))
            return
        self._final = self.established = True
        self._offered.clear()
        self.dialog = dialog
        self._confirm(dialog, exchange, response, now)
        self._learn(response)
        self.timer.answered(response, now)
        self.core.arm(self)
        self.core.tell(Heard(self, response))
        self._proceed(now)

    def _confirm(self, dialog: Dialog, exchange: Exchange, response: Response, now: float) -> None:
        if dialog.remote.tag in self._agreed:  # whatever the 2xx describes is no offer any more
            self._acknowledge(dialog, exchange)
        else:
            self._acknowledge_or_wait(dialog, exchange, response, now)

    def _concluded(self, response: Response) -> None:
        """The INVITE has its final response and there is no call."""
        self._final = True
        self._offered.clear()
        self._cancelled_until = None
        self.core.tell(Heard(self, response))
        self.end()
        self.core.forget(self)

    def requested(self, dialog: Dialog | None, transaction: ServerTransaction, now: float) -> None:
        if transaction.request.method == "BYE" and dialog is not self.dialog:
            self.refuse(transaction, 200, now)  # a fork that we left, or an early one that leaves
            return
        super().requested(dialog, transaction, now)

    # The end

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
        """RFC 3261 §9.1: only after a 1xx, or it might overtake the INVITE."""
        exchange = self._invite
        if exchange is None or exchange.transaction is None or exchange.flow is None:
            return
        self._cancelled_until = now + self.core.timers.patience
        self.core.arm(self)
        self.core.follow_up(cancel_of(exchange.transaction.machine.request, self._cancel), exchange.flow, now)
