"""A call that comes in (RFC 3261 §13.3): 100 at once, reliable 18x where they are demanded, a final response. Pure.

ringing ── 2xx ──> answered ── ACK ──> established ── BYE, either way ──> ended
   ├── 3xx-6xx, CANCEL, BYE ──> ended      └── no ACK in 64*T1 ──> BYE
   └── no PRACK in 64*T1 ──> 504
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from gateway.errors import SipError
from gateway.sip.dialog import Dialog
from gateway.sip.headers import NameAddr
from gateway.sip.layer import ServerTransaction, earliest
from gateway.sip.message import Headers, Request, Response, respond
from gateway.sip.reliable import Reliable
from gateway.sip.session import Session
from gateway.sip.targets import seconds_of
from gateway.sip.usage import Core, Exchange, Heard, Incoming, local

SHORTEST = 1.0  # seconds that an invitation lasts
REMINDER = 60.0  # seconds between two provisional responses that say the same


@dataclass(frozen=True, slots=True)
class _Final:
    """A 2xx that may not leave before a PRACK (RFC 3262 §3)."""

    status: int
    headers: Headers
    reason: str
    body: bytes


class ServerSession(Session):
    """A call that comes in."""

    __slots__ = ("_agreed", "_expires_at", "_final", "_held", "_reliable", "_remind_at", "transaction")

    def __init__(self, core: Core, call_id: str, tag: str) -> None:
        super().__init__(core, call_id, tag, owner=False)
        self.transaction: ServerTransaction | None = None
        self._final = False
        self._reliable: Reliable | None = None  # they demand it
        self._held: _Final | None = None
        self._agreed = False  # our answer was in a reliable provisional response, and they have it
        self._expires_at: float | None = None  # when the caller would rather have heard no (RFC 3261 §13.3.1)
        self._remind_at: float | None = None  # when the caller and the proxies hear again that it rings

    @property
    def deadline(self) -> float | None:
        own = super().deadline
        if self._final or self.ended:
            return own
        reliable = self._reliable.deadline if self._reliable is not None else None
        return earliest(own, self._remind_at, self._expires_at, reliable)

    def fire(self, now: float) -> None:
        if self._reliable is not None and not self._final and self.transaction is not None:
            if self._reliable.over(now):
                # RFC 3262 §3: nobody takes what must be taken.
                self.core.tell(Heard(self, local(self.transaction.request, 408, "no PRACK")))
                self._refuse_initial(504, now)
            elif (again := self._reliable.again(now)) is not None:
                self.core.transmit(again[1], again[0])
        if self._expires_at is not None and now >= self._expires_at and self.transaction is not None:
            self._expires_at = None
            if not self._final:
                self.core.tell(Heard(self, local(self.transaction.request, 408, "the invitation expired")))
                self._refuse_initial(487, now)
        if self._remind_at is not None and now >= self._remind_at and not self._final:
            self._remind(now)
        super().fire(now)

    def _remind(self, now: float) -> None:
        """The last provisional response once more, before a proxy loses its patience (RFC 3261 §13.3.1.1)."""
        self._remind_at = None
        if self.transaction is not None and not self.ended and self.transaction.machine.response is not None:
            super().transmit_reply(self.transaction, self.transaction.machine.response, now)
            self._remind_at = now + REMINDER

    def take(self, transaction: ServerTransaction, now: float) -> None:
        """Raises SipError when the INVITE can make no dialog, or wants a session timer that is too brief."""
        request = transaction.request
        if self.timer.too_brief(request):
            raise SipError("sessions here last longer between two refreshes", 422)
        self.dialog = Dialog.of_request(request, self.tag)
        self.flow = transaction.flow
        self.contact_user = request_user(request)
        self.transaction = transaction
        self._open[id(request)] = transaction
        self._learn(request)
        if "100rel" in request.headers.tokens("Require"):
            self._reliable = Reliable(request, zlib.crc32(self.core.token().encode()), self.core.timers)
        if (lasts := seconds_of(request.headers.get("Expires"))) is not None:
            self._expires_at = now + max(lasts, SHORTEST)
            self.core.arm(self)
        self.core.know(self.dialog.key, self)
        self.core.respond(transaction, respond(request, 100), now)
        self.core.tell(Incoming(self, request, transaction.flow))

    def reply(
        self, request: Request, status: int, headers: Headers, now: float, *, reason: str = "", body: bytes = b""
    ) -> Response | None:
        initial = self.transaction is not None and request is self.transaction.request
        if not initial or self._final:
            return super().reply(request, status, headers, now, reason=reason, body=body)
        if self._reliable is not None:
            if 200 <= status < 300 and self._reliable.describes:
                self._held = self._held or _Final(status, headers, reason, body)
                return None
            if status >= 200:
                self._reliable.stop()
        if status >= 200:
            self._final = True
        response = super().reply(request, status, headers, now, reason=reason, body=body)
        if status >= 300:
            self.end()
            self.core.forget(self)
        return response

    def transmit_reply(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        if transaction is self.transaction and 100 < response.status < 200:
            if self._reliable is None:
                self._remind_at = now + REMINDER
            elif self._reliable.send(response, transaction.flow, now) is None:
                self.core.arm(self)
                return
            self.core.arm(self)
        super().transmit_reply(transaction, response, now)

    def _acknowledged_early(self, transaction: ServerTransaction, now: float) -> None:
        """A PRACK (RFC 3262 §3). One with a body is for the user, who answers it."""
        request = transaction.request
        reliable = self._reliable
        had_answer = reliable is not None and reliable.describes
        if reliable is None or not reliable.acknowledge(request):
            self.refuse(transaction, 481, now)
            return
        self._agreed = self._agreed or had_answer
        if request.body:
            self._open[id(request)] = transaction
            self.core.tell(Heard(self, request))
        else:
            self.refuse(transaction, 200, now)
        if self._final or self.transaction is None:
            return
        if (more := reliable.more(now)) is not None:
            super().transmit_reply(self.transaction, more[0], now)
        if (held := self._held) is not None and not reliable.describes:
            self._held = None
            self.reply(self.transaction.request, held.status, held.headers, now, reason=held.reason, body=held.body)
        self.core.arm(self)

    def _is_agreed(self, waiting: ServerTransaction) -> bool:
        return self._agreed and waiting is self.transaction

    def _early_dialog(self) -> Dialog | None:
        return self.dialog if self._agreed and self._takes_update and not self._final else None

    def acknowledged(self, request: Request, now: float) -> None:
        super().acknowledged(request, now)
        if self.established:  # nothing of how it began matters any more
            self.transaction = self._reliable = None

    def cancelled(self, cancel: Request, now: float) -> None:
        """RFC 3261 §9.2; the CANCEL itself has its 200 already."""
        if not self._final and self.transaction is not None:
            self.core.tell(Heard(self, cancel))
            self._refuse_initial(487, now)

    def _refuse_initial(self, status: int, now: float) -> None:
        if self.transaction is None:
            return
        self._final = True
        self._open.pop(id(self.transaction.request), None)
        self.core.respond(self.transaction, respond(self.transaction.request, status, tag=self.tag), now)
        self._refuse_open(now)
        self.end()
        self.core.forget(self)

    def requested(self, dialog: Dialog | None, transaction: ServerTransaction, now: float) -> None:
        if transaction.request.method == "PRACK" and not self.ended:
            if dialog is not None and (status := dialog.receive(transaction.request)):
                self.refuse(transaction, status, now)
            else:
                self._acknowledged_early(transaction, now)
            return
        if transaction.request.method == "BYE":
            self._final = True
        super().requested(dialog, transaction, now)

    def ask(self, method: str, headers: Headers, body: bytes, now: float) -> Exchange | None:
        if method == "BYE" and not self._final:  # RFC 3261 §15: a callee refuses what it has not answered
            self.close(480, headers, now)
            return None
        return super().ask(method, headers, body, now)

    def close(self, status: int, headers: Headers, now: float) -> None:
        """Hang up: the final response before the answer, BYE after it."""
        if self.ended:
            return
        self._held = None
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
