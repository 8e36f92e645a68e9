"""What both sides of a call do alike, from the first dialog to the BYE (RFC 3261 §12 to §15). Pure.

    Session            offers both ways, 2xx until its ACK, ACK for their 2xx, session timer, BYE
    ├── ClientSession  we sent the INVITE          (clientsession.py)
    └── ServerSession  we got the INVITE           (serversession.py)

1. Every 2xx gets its ACK, each repeat the same ACK again. Only the first 2xx is the call's, the others get a BYE.
2. A 2xx of ours is repeated until its ACK, over streams too (accepted.py).
3. We send no BYE between our 2xx and its ACK (§15): the callee's BYE waits.
4. One offer at a time: ours wait for their turn (offers.py), a second one of theirs gets 500, one that crosses ours 491
   (§14.2, RFC 3311 §5.2). An UPDATE without a body is no offer.
5. The session timer (timer.py) is refreshed by UPDATE where the far side takes it, else by the description it knows.
"""

from __future__ import annotations

import zlib

from gateway.errors import SipError
from gateway.sip.accepted import Accepted
from gateway.sip.body import description_of
from gateway.sip.dialog import Dialog, Key
from gateway.sip.layer import ClientTransaction, Flow, ServerTransaction, earliest
from gateway.sip.message import Headers, Message, Request, Response, respond
from gateway.sip.offers import LONGEST_WAIT, MAX_TRIES, Offer, Offers
from gateway.sip.timer import SessionTimer
from gateway.sip.usage import ALLOW, SUPPORTED, Core, Dispatch, Exchange, Finished, Heard, Usage, is_secure, local

MAX_FORKS = 32  # early dialogs of one INVITE
MAX_OFFERS = 16  # of ours that wait

OFFERING = ("INVITE", "UPDATE")


class Session(Usage):
    """`established`: the 2xx has its ACK."""

    __slots__ = (
        "_acks",
        "_answer_by",
        "_described",
        "_leaving",
        "_said_bye",
        "_takes_update",
        "_tidy_at",
        "_unanswered",
        "accepted",
        "established",
        "offers",
        "timer",
    )

    def __init__(self, core: Core, call_id: str, tag: str, *, owner: bool) -> None:
        super().__init__(core, call_id, tag)
        self.established = False
        self.timer = SessionTimer()
        self.offers = Offers(owner=owner)
        self.accepted = Accepted(core.timers)
        self._acks: dict[tuple[Key, int], tuple[Flow, Request] | None] = {}  # (dialog, CSeq) -> the ACK that was sent
        self._unanswered: tuple[Dialog, Exchange] | None = None  # a 2xx that has their offer
        self._answer_by: float | None = None
        self._tidy_at: float | None = None  # when no 2xx can come again that one of those is for
        self._described = b""  # our side, as it was last agreed on
        self._takes_update = False
        self._leaving: Headers | None = None  # we want to end it as soon as that is legal, with these headers
        self._said_bye = False

    # Time

    @property
    def deadline(self) -> float | None:
        return earliest(
            self._tidy_at, self._answer_by, self.accepted.deadline, self.timer.deadline, self.offers.deadline
        )

    def fire(self, now: float) -> None:
        if self.accepted.lost(now):
            self._lost(now, "no ACK to our 200")
        for flow, response in self.accepted.again(now):
            self.core.transmit(flow, response)
        if self.timer.over(now):
            self.timer.stop()
            self._lost(now, "the session timer ran out")
        elif self.timer.refresh_due(now):
            self._refresh(now)
        if self._tidy_at is not None and now >= self._tidy_at:
            self._tidy()
        if self._answer_by is not None and now >= self._answer_by:
            self.acknowledge(b"", now)
            self._lost(now, "no answer to their offer")
        self.offers.tick(now)
        if self.offers.overdue(now):
            self._give_up_offer(now)
        self._proceed(now)
        self.core.arm(self)

    def _tidy(self) -> None:
        """The transactions of our INVITEs are over: nothing can ask for an ACK again (RFC 6026 §8.4)."""
        self._tidy_at = None
        self._acks.clear()

    def _lost(self, now: float, reason: str) -> None:
        """The far side is gone: no ACK, no refresh. The user hears a local 408, the far side gets a BYE."""
        if self.ended or self.dialog is None:
            return
        self.core.tell(Heard(self, local(self.dialog.request("BYE", self.dialog.local_sequence), 408, reason)))
        self.accepted.clear()
        self._bye(Headers([("Reason", f'SIP;cause=408;text="{reason}"')]), now)

    def _refresh(self, now: float) -> None:
        """RFC 4028 §7.4, §10: an UPDATE says nothing of the media; a re-INVITE says what was said before."""
        self.timer.refreshing()
        if self.dialog is None or self.offers:  # what is under way, or will be, is a refresh too
            return
        if self._takes_update or not self._described:
            headers = Headers()
            self._introduce("UPDATE", headers)
            self._inside(self.dialog, "UPDATE", headers, b"", reported=False)
        else:
            self._offer("INVITE", Headers([("Content-Type", "application/sdp")]), self._described, now, reported=False)

    # ACK for their 2xx

    def _acknowledge(self, dialog: Dialog, exchange: Exchange, body: bytes = b"") -> None:
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
        if body:
            request.headers.add("Content-Type", "application/sdp")
            request.body = self._described = body
        while len(self._acks) >= MAX_FORKS:
            del self._acks[next(iter(self._acks))]
        self._acks[key] = None
        ack = Exchange(self, request, dialog.next_hop, hint=exchange.flow, reported=False)
        ack.dialog = dialog
        self.core.tell(Dispatch(ack))

    def _acknowledge_or_wait(self, dialog: Dialog, exchange: Exchange, response: Response, now: float) -> None:
        """The 2xx to an INVITE without a description has theirs, and the ACK our answer (RFC 3261 §13.2.2.4)."""
        if self._unanswered == (dialog, exchange):
            return  # a repeat, and our answer is not known yet
        new = (dialog.key, exchange.request.cseq.number) not in self._acks
        if new and response.body and not exchange.request.body and not self.ended and not self._said_bye:
            self._unanswered, self._answer_by = (dialog, exchange), now + self.core.timers.patience
            self.core.arm(self)
        else:
            self._acknowledge(dialog, exchange)

    def acknowledge(self, body: bytes, now: float) -> None:
        if self._unanswered is not None:
            (dialog, exchange), self._unanswered, self._answer_by = self._unanswered, None, None
            self._acknowledge(dialog, exchange, body)

    def launched(self, exchange: Exchange, now: float) -> None:
        if exchange.request.method == "ACK" and exchange.dialog is not None and exchange.flow is not None:
            self._acks[exchange.dialog.key, exchange.request.cseq.number] = (exchange.flow, exchange.request)
            self._tidy_at = now + self.core.timers.patience + self.core.timers.t4
            self.core.arm(self)
        elif exchange.request.method != "BYE":  # what is hung up may be elsewhere than the call that goes on
            super().launched(exchange, now)

    # Requests of ours inside the dialog

    def ask(self, method: str, headers: Headers, body: bytes, now: float) -> Exchange | None:
        """A request inside the dialog. An offer waits for its turn, and one before the answer leaves as an UPDATE or
        waits for the answer; its exchange is given at once."""
        if self._said_bye or self.ended:
            return None
        if method == "INVITE" or (method in OFFERING and body):
            return self._offer(method, headers, body, now) if len(self.offers) < MAX_OFFERS else None
        if self.dialog is None:
            return None
        if method == "BYE":
            self._leaving = headers
            self._leave(now)
            return None
        if method == "UPDATE":
            self._introduce(method, headers)
        return self._inside(self.dialog, method, headers, body, reported=True)

    def _introduce(self, method: str, headers: Headers) -> None:
        """What every INVITE and UPDATE of ours says of us."""
        if self.flow is not None:
            secure = self.dialog is not None and is_secure(self.dialog.target)
            headers.set("Contact", self.contact(self.flow, secure=secure))
        if "Supported" not in headers:
            headers.add("Supported", SUPPORTED)
        if method == "INVITE" and "Allow" not in headers:
            headers.add("Allow", ALLOW)
        self.timer.ask(headers)

    def _offer(self, method: str, headers: Headers, body: bytes, now: float, *, reported: bool = True) -> Exchange:
        waiting = Request(method, "", Headers([("Call-ID", self.call_id), ("CSeq", f"0 {method}")]))
        exchange = Exchange(self, waiting, "", hint=None, reported=reported)
        self.offers.add(Offer(exchange, method, headers, body))
        self._proceed(now)
        return exchange

    def _proceed(self, now: float) -> None:
        """Let our next offer leave, if it may (RFC 3261 §14.1)."""
        if not self.offers or self.ended or self._said_bye or self._leaving is not None or self.accepted:
            return
        if any(_offers(waiting.request) and not self._is_agreed(waiting) for waiting in self._open.values()):
            return
        if self._unanswered is not None:
            return
        dialog = self.dialog if self.established else self._early_dialog()
        if dialog is None or (offer := self.offers.next(now)) is None:
            return
        method = offer.method if self.established else "UPDATE"
        headers = offer.headers.copy()
        self._introduce(method, headers)
        exchange = offer.exchange
        exchange.request = dialog.request(method, headers=headers, body=offer.body)
        exchange.next_hop, exchange.hint, exchange.dialog = dialog.next_hop, self.flow, dialog
        exchange.transaction, exchange.tries, exchange.over = None, 0, False
        self._ask(exchange)

    def _early_dialog(self) -> Dialog | None:
        """Where an UPDATE may offer something before the answer (RFC 3311 §5.1)."""
        return None

    def _give_up_offer(self, now: float) -> None:
        """The far side rings, or thinks, for ever about an offer of ours: CANCEL, and in the end without a word."""
        offer = self.offers.current
        if offer is None:
            return
        transaction = offer.exchange.transaction
        if not self.ended and not self.offers.cancelled and transaction is not None and offer.exchange.flow is not None:
            self.offers.cancel(now + self.core.timers.patience)
            self.core.follow_up(cancel_of(transaction.machine.request), offer.exchange.flow, now)
            return
        if transaction is not None:
            self.core.give_up(transaction)
        self.answered(offer.exchange, local(offer.exchange.request, 487 if self.ended else 408), now)

    def late(self, exchange: Exchange, transaction: ClientTransaction, response: Response, now: float) -> None:
        if not 200 <= response.status < 300:
            return
        request = transaction.machine.request
        if exchange.dialog is None or request.cseq == exchange.request.cseq:
            self.answered(exchange, response, now)  # to a re-INVITE: by whichever way it came, it is their answer
        else:  # they were asked once more since then, and what they say to that counts; this one wants its ACK alone
            asked = Exchange(self, request, exchange.next_hop, hint=transaction.flow, reported=False)
            asked.flow = transaction.flow
            self._acknowledge(exchange.dialog, asked)

    def outcome(self, exchange: Exchange, response: Response, now: float) -> None:
        """A response to a request inside the dialog."""
        method, dialog = exchange.request.method, exchange.dialog
        if dialog is None:
            return
        if response.status < 200:
            if method == "INVITE" and self.offers.current is not None and self.offers.current.exchange is exchange:
                self.offers.rings(now + 2 * self.core.timers.patience)
                self.core.arm(self)
            return
        again, exchange.over = exchange.over, True
        if method in OFFERING and response.status < 300 and not again:
            dialog.refresh(response)
        if method == "INVITE" and response.status < 300:
            self._acknowledge_or_wait(dialog, exchange, response, now)
        if again:
            return
        if method == "BYE":
            if dialog is self.dialog or self.ended:
                self.core.forget(self)
            return
        if method in OFFERING and self._goes_on(exchange, response, now):
            return
        if response.status in (408, 481) and method != "PRACK" and self.established and not self.ended:
            # RFC 3261 §12.2.1.2: the far side knows nothing of this dialog any more.
            text = "no answer inside the call" if response.local else "the far side does not know this call any more"
            self._lost(now, text)
        if exchange.reported:
            self.core.tell(Finished(exchange, response))
        elif method == "INVITE" and response.status < 300 and not self.ended:
            self.core.tell(Heard(self, response))  # a refresh of ours, and their description may be another one
        self._proceed(now)

    def _goes_on(self, exchange: Exchange, response: Response, now: float) -> bool:
        """What an answer to our INVITE or UPDATE means for timer and offers. True: it is sent once more."""
        offer = self.offers.current
        if offer is not None and offer.exchange is exchange:
            if not self.ended and not self._said_bye and self._send_again(offer, response, now):
                self.core.arm(self)
                self._proceed(now)
                return True
            self.offers.done()
            if response.status < 300 and exchange.request.content_type == "application/sdp":
                self._described = exchange.request.body
        elif response.status == 422 and self.timer.learn(response):
            self._refresh(now)
            return True
        elif response.status in (405, 501) and not exchange.reported and self._described and not self.ended:
            self._takes_update = False  # somebody on the way knows better than who said Allow
            self._refresh(now)
            return True
        if response.status < 300 and not self.ended:
            self.timer.answered(response, now)
        else:
            self.timer.refused(now)
        self.core.arm(self)
        return False

    def _send_again(self, offer: Offer, response: Response, now: float) -> bool:
        if offer.tries >= MAX_TRIES or self.offers.cancelled:
            return False
        wait = (response.headers.get("Retry-After") or "").partition(";")[0].partition("(")[0].strip()
        if response.status == 491:
            self.offers.crossed(zlib.crc32(self.core.token().encode()), now)
        elif response.status == 500 and wait.isascii() and wait.isdigit() and len(wait) < 3:
            self.offers.again(now + min(int(wait), LONGEST_WAIT))  # RFC 3261 §14.2: theirs is not answered yet
        elif response.status == 422 and self.timer.learn(response):
            self.offers.again(now)
        elif response.status in (405, 501) and offer.exchange.request.method == "UPDATE":
            self._takes_update, offer.method = False, "INVITE"
            self.offers.again(now)
        else:
            return False
        return True

    # Requests of theirs inside the dialog

    def requested(self, dialog: Dialog | None, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        if request.method == "BYE":
            self._their_bye(transaction, now)
            return
        if self.ended or self._said_bye:
            self.refuse(transaction, 481, now)
            return
        self._learn(request)
        if request.method in OFFERING:
            if status := self._glare(dialog, request):
                if dialog is not None:
                    dialog.receive(request)
                extra = {"Retry_After": "2"} if status == 500 else {}
                self.refuse(transaction, status, now, **extra)
                return
            if self.timer.too_brief(request):
                if dialog is not None:
                    dialog.receive(request)
                self.refuse(transaction, 422, now, Min_SE="90")
                return
        super().requested(dialog, transaction, now)
        if request.method == "INVITE" and id(request) in self._open:
            self.core.respond(transaction, respond(request, 100), now)  # the answer may take its time

    def _learn(self, message: Message) -> None:
        """What the far side takes."""
        if "Allow" in message.headers:
            self._takes_update = "update" in message.headers.tokens("Allow")

    def _glare(self, dialog: Dialog | None, request: Request) -> int:
        """RFC 3261 §14.2 and RFC 3311 §5.2: 500 while theirs is unanswered, 491 while ours is; 0: go on."""
        if not _offers(request):
            return 0
        if any(_offers(waiting.request) and not self._is_agreed(waiting) for waiting in self._open.values()):
            return 500
        ours = self.offers.current is not None or self.accepted.offering
        return 491 if ours or self._offered_first(dialog) else 0

    def _is_agreed(self, waiting: ServerTransaction) -> bool:
        """Whether an INVITE that has no final response has our answer all the same (RFC 3262 §5)."""
        return False

    def _offered_first(self, dialog: Dialog | None) -> bool:
        """Whether the offer in our INVITE is not answered yet."""
        return False

    def _their_bye(self, transaction: ServerTransaction, now: float) -> None:
        bye = transaction.request
        self.refuse(transaction, 200, now)
        self._refuse_open(now)
        self.accepted.clear()
        self._abandon(now)
        if not self.ended:
            self.core.tell(Heard(self, bye))
            self.end()
        if not self._said_bye:
            self.core.forget(self)

    def _refuse_open(self, now: float) -> None:
        """RFC 3261 §15.1.2: what is pending when a dialog ends gets 487."""
        for waiting in list(self._open.values()):
            self.core.respond(waiting, respond(waiting.request, 487, tag=self.tag), now)
        self._open.clear()

    def withdrawn(self, transaction: ServerTransaction, now: float) -> None:
        """They cancelled a re-INVITE, which has its 200 (RFC 3261 §9.2)."""
        if self._open.pop(id(transaction.request), None) is not None:
            self.core.respond(transaction, respond(transaction.request, 487, tag=self.tag), now)
            self._proceed(now)

    def reply(
        self, request: Request, status: int, headers: Headers, now: float, *, reason: str = "", body: bytes = b""
    ) -> Response | None:
        transaction = self._open.get(id(request))
        agreed = transaction is not None and 200 <= status < 300 and request.method in OFFERING
        if agreed:
            self.timer.accept(request, headers, now)
        response = super().reply(request, status, headers, now, reason=reason, body=body)
        if response is not None and agreed and body:
            self._described = body
        if response is not None and agreed and transaction is not None and request.method == "INVITE":
            self.accepted.add(
                request.cseq.number,
                response,
                transaction.flow,
                now,
                initial=request.to.tag is None,
                offering=bool(body) and not request.body,
            )
        if status >= 200:
            self._proceed(now)
            self.core.arm(self)
        return response

    def acknowledged(self, request: Request, now: float) -> None:
        if not self.accepted.acknowledged(request.cseq.number):
            return
        self.established = True
        if self.dialog is not None:
            self.dialog.early = False
        if not self.ended:
            self.core.tell(Heard(self, request))
        self._leave(now)
        self._proceed(now)

    # The end

    def _leave(self, now: float) -> None:
        """Send the BYE that we want to send, when it may be sent."""
        if self._leaving is not None and not self.accepted.initial:
            self._bye(self._leaving, now)

    def _bye(self, headers: Headers, now: float) -> None:
        if self._said_bye or self.dialog is None:
            return
        self.acknowledge(b"", now)  # a BYE may not overtake the ACK
        self._said_bye = True
        self._refuse_open(now)
        self._inside(self.dialog, "BYE", headers, b"", reported=False)
        self._abandon(now)
        self.end()

    def _abandon(self, now: float) -> None:
        """Whatever the call still had under way ends with it, in time."""
        self.acknowledge(b"", now)
        self.timer.stop()
        if self.offers:
            self.offers.leave(now + self.core.timers.patience)
            self.core.arm(self)

    def end(self) -> None:
        super().end()
        for offer in self.offers.clear():
            offer.exchange.over = True
            if offer.exchange.reported:
                self.core.tell(Finished(offer.exchange, local(offer.exchange.request, 487)))


def _offers(request: Request) -> bool:
    """Whether a request opens a round of offer and answer: an UPDATE without a body does not."""
    return request.method == "INVITE" or (request.method == "UPDATE" and bool(request.body))


def described(message: Message) -> bytes:
    """The description in a message of ours, without what else may go along with it."""
    try:
        return description_of(message) or b""
    except SipError:
        return b""


def cancel_of(invite: Request, extra: Headers | None = None) -> Request:
    """The CANCEL of a request as it was sent (RFC 3261 §9.1): the same Via, Route and number."""
    headers = Headers()
    headers.add("Via", invite.headers.get("Via") or "")
    for route in invite.headers.all("Route"):
        headers.add("Route", route)
    headers.add("Max-Forwards", "70")
    for name in ("From", "To", "Call-ID"):
        headers.add(name, invite.headers.get(name) or "")
    headers.add("CSeq", f"{invite.cseq.number} CANCEL")
    for name, value in extra or ():
        headers.add(name, value)
    return Request("CANCEL", invite.uri, headers)
