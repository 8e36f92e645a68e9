"""What both legs of a SIP call do alike once there is a dialog: offers anew both ways, digits, transfers, the end.

    dialog's messages ──> SipLeg.inside ──> Sink              LegControl ──> dialog.respond | request | hang_up

What happens is told from the leg's own tasks, never from within a LegControl method. Nothing here knows a transaction,
a timer or a header that the stack owns; whatever a leg does, any program could do with Application, Peer and Dialog.
When an offer of ours may leave, and what becomes of one that crosses theirs, is the session's (sip/session.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol

import structlog

from gateway.addresses import SipUri
from gateway.call.causes import Cause
from gateway.call.events import (
    Consulted,
    Dialled,
    HungUp,
    Leg,
    PartyChanged,
    PictureAsked,
    Reanswered,
    Reoffered,
    Report,
    TransferAsked,
)
from gateway.call.leg import LegControl, Sink
from gateway.errors import SipError
from gateway.session.model import Session
from gateway.sip.application import Application, Dialog
from gateway.sip.body import PICTURE, PICTURE_TYPE, Description, asks_picture, digit_body, dtmf_of, session_of
from gateway.sip.identity import party
from gateway.sip.layer import Flow
from gateway.sip.message import Message, Request, Response
from gateway.sip.reasons import objection, warning, why
from gateway.sip.transfer import EXPIRES, Transfer, progress, refer
from gateway.sip.usage import ALLOW, METHODS, SUPPORTED

log = structlog.get_logger()

MEDIA_CONTROL = MappingProxyType({"Content-Type": PICTURE_TYPE})
DIGIT = MappingProxyType({"Content-Type": "application/dtmf-relay"})
MAX_DIGITS = 64  # that wait for their turn
MAX_OFFERS = 8  # of ours that wait for their turn
LAST_WORD = 2.0  # seconds that a NOTIFY has before the BYE behind it

CAPABILITIES = MappingProxyType({"Allow": ALLOW, "Accept": "application/sdp", "Supported": SUPPORTED})


class Room(Protocol):
    """What a leg needs of the room that it is in."""

    app: Application

    def claim(self, key: str, call: str, leg: SipLeg) -> None: ...
    def release(self, key: str) -> None: ...
    def whose(self, replaces: str) -> SipLeg | None: ...
    def is_us(self, uri: SipUri, flow: Flow | None) -> bool: ...


class SipLeg(LegControl):
    """A leg and its dialog. `call` is the gateway's id of the call."""

    side: Leg
    attempt = 0

    def __init__(self, room: Room) -> None:
        self.room = room
        self.call = ""
        self.dialog: Dialog | None = None
        self.up = False  # the call is answered
        self.believed = True  # what its network says of who is there is told
        self._sink: Sink | None = None
        self._over = False
        self._description = Description(str(int(room.app.agent.token(), 16) >> 2))  # 62 bits
        self._reoffer: Request | None = None  # theirs, that waits for our answer
        self._reoffered_session: Session | None = None
        self._awaited: int | None = None  # CSeq of the ACK that has their answer to our offer in a 200
        self._offers: list[Session] = []  # ours, that wait for their turn
        self._digits: list[tuple[str, int]] = []  # and ms, that wait for their turn: few, and mostly none
        self._theirs = 0  # hash of the session that the far side last described
        self._party: tuple[str, str] | None = None  # user part and name at the far end, as last known
        self._transfer: Transfer | None = None
        self._event = ""  # what NOTIFYs of it say that they are about
        self._turn = asyncio.Lock()  # NOTIFYs leave one after the other
        self._untold = 0  # of which so many have no answer yet
        self._tasks: set[asyncio.Task[None]] = set()

    def knows(self, party: tuple[str, str], session: Session | None) -> None:
        """Who is at the far end, by `known_party`, and what it offers, as far as is known before the call."""
        self._party, self._theirs = party, hash(session)

    def is_dialog(self, local: str, remote: str) -> bool:
        """Whether the leg's dialog, early or not, has these tags."""
        return self.dialog is not None and not self._over and self.dialog.usage.has_dialog(local, remote)

    def _tell(self, report: Report) -> None:
        if self._sink is not None and not self._over:
            self._sink(report)

    def _hung_up(self, cause: Cause, text: str = "", q850: int | None = None) -> None:
        """Tell it, once, and never after our own hang_up."""
        if not self._over:
            self._tell(HungUp(self.side, cause, self.attempt, text, q850))
            self._over = True

    def _part(self) -> None:
        """Nothing more is told. Who is told may keep us, and a ring of the two would wait for a collection of garbage,
        with all that the call had: of what lived so long as a call, one comes every thirty thousand calls.
        """
        self._sink = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.room.app.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What the far side sends

    def inside(self, dialog: Dialog, message: Request) -> None:
        """A request inside the dialog."""
        match message.method:
            case "BYE":
                reason = why(message, Cause.NORMAL)
                self._hung_up(reason.cause, reason.text, reason.q850)
            case "CANCEL":
                reason = why(message, Cause.CANCELLED)
                elsewhere = reason.cause is Cause.ELSEWHERE
                self._hung_up(Cause.ELSEWHERE if elsewhere else Cause.CANCELLED, reason.text, reason.q850)
            case "INVITE" | "UPDATE":
                self._reoffered(dialog, message)
            case "ACK":
                self._acknowledged(dialog, message)
            case "INFO":
                self._info(dialog, message)
            case "OPTIONS":
                dialog.respond(message, 200, headers=CAPABILITIES)
            case "REFER":
                self._referred(dialog, message)
            case "SUBSCRIBE":
                self._subscribed(dialog, message)
            case "PRACK":  # one with a body; the others never come here
                dialog.respond(message, 488, headers={"Warning": warning("no offer was awaited here")})
            case _:
                status, headers = refusal_of(message)
                dialog.respond(message, status, headers=headers)

    def _reoffered(self, dialog: Dialog, message: Request) -> None:
        self._heard_of_party(message)
        try:
            session = session_of(message)
        except SipError as fault:
            dialog.respond(message, fault.status, headers=objection(fault.status, str(fault)))
            return
        if session is None and message.method == "UPDATE":
            dialog.respond(message, 200)  # a refresh (RFC 4028 §7.4, RFC 3311): nothing to agree on
            return
        self._reoffer, self._reoffered_session = message, session
        self._tell(Reoffered(self.side, self.attempt, session))

    def _acknowledged(self, dialog: Dialog, ack: Request) -> None:
        """The ACK to a 200; in one that had our offer there is their answer (RFC 3261 §13.3.1.4)."""
        if self._awaited != ack.cseq.number:
            return
        self._awaited = None
        try:
            session = session_of(ack)
            problem = "an ACK without an answer" if session is None else ""
        except SipError as fault:
            session, problem = None, str(fault)
        if problem:
            log.info("sip answer not readable", call=self.call, attempt=self.attempt, error=problem)
        self._answered_offer(dialog, session, problem)

    def _answered_offer(self, dialog: Dialog, session: Session | None, problem: str) -> None:
        """Their answer to the offer in a 200 of ours to a re-INVITE; without one the session stays as it was."""
        self._theirs = hash(session) if session is not None else self._theirs
        self._tell(Reanswered(self.side, self.attempt, session))

    def _refreshed(self, response: Response) -> None:
        """The stack proved with a re-INVITE that the far side is alive; it may describe itself anew in its 200."""
        try:
            session = session_of(response)
        except SipError as fault:
            log.info("sip answer not readable", call=self.call, attempt=self.attempt, error=str(fault))
            return
        self._heard_of_party(response)
        if session is not None and hash(session) != self._theirs:
            self._theirs = hash(session)
            self._tell(Reanswered(self.side, self.attempt, session))

    def _info(self, dialog: Dialog, message: Request) -> None:
        if asks_picture(message):
            dialog.respond(message, 200)
            self._tell(PictureAsked(self.side, self.attempt))
            return
        pressed = dtmf_of(message)
        if pressed is None and message.body:
            dialog.respond(message, 415, headers={"Accept": "application/dtmf-relay, application/dtmf"})
            return
        dialog.respond(message, 200)
        if pressed is not None and pressed[0]:
            self._tell(Dialled(self.side, self.attempt, *pressed))

    def _heard_of_party(self, message: Message) -> None:
        """Who is there now, as the far side's network says (RFC 4916, RFC 3325 §7)."""
        said = party(message) if self.believed else None
        if said is None:
            return
        uri, name = said
        known = (uri.user or str(uri), name)
        if self._party is not None and (known == self._party or (known[0] == self._party[0] and not name)):
            return
        self._party = known
        self._tell(PartyChanged(self.side, self.attempt, str(uri), name))

    # Transfers that the far side asks for

    def _referred(self, dialog: Dialog, message: Request) -> None:
        try:
            if not self.up:
                raise SipError("there is nobody to be transferred yet", 403)
            if self._transfer is not None:
                raise SipError("one transfer at a time", 491)
            asked = refer(message)
        except SipError as fault:
            dialog.respond(message, fault.status, headers=objection(fault.status, str(fault)))
            return
        self._transfer = asked
        # RFC 3515 §2.4.6: from the second REFER in a dialog on, NOTIFYs say which one they are about.
        self._event = f"refer;id={message.cseq.number}" if self._event else "refer"
        dialog.respond(message, 202, headers=None if asked.notify else {"Refer-Sub": "false"})
        self._notify(None)  # RFC 3515 §2.4.4: one NOTIFY at once
        # Whoever asks may have consulted through us too (RFC 5589 §7): then both calls are ours.
        other = self.room.whose(asked.replaces) if asked.replaces else None
        if asked.replaces and other is None and self.room.is_us(asked.target, dialog.usage.flow):
            log.info("transfer refused", call=self.call, reason="the call that is to be replaced is not there")
            self._notify(Cause.NOT_FOUND, gone=True)
            self._transfer = None
            return
        consulted = None if other is None else other.consulted(self)
        self._tell(
            TransferAsked(
                self.side, self.attempt, str(asked.target), asked.replaces, asked.referred_by, consulted=consulted
            )
        )

    def consulted(self, by: SipLeg) -> Consulted:
        """This leg, as its far side speaks of it in another call."""
        address = self._far_address()
        return Consulted(self.call, self.attempt, address is not None and address == by._far_address())

    def _far_address(self) -> str | None:
        flow = self.dialog.usage.flow if self.dialog is not None else None
        return flow.remote[0] if flow is not None else None

    def _notify(self, cause: Cause | None, *, unsubscribed: bool = False, gone: bool = False) -> None:
        if self._transfer is None or not self._transfer.notify:
            return
        body, headers = progress(cause, self._event, unsubscribed=unsubscribed, gone=gone)

        async def notify(dialog: Dialog) -> None:
            async with self._turn:
                try:
                    await dialog.request("NOTIFY", headers=headers, payload=body)
                except SipError:  # the dialog is over, and the subscription with it
                    log.debug("nobody to be notified of a transfer", call=self.call)
            self._untold -= 1

        if self.dialog is not None and not self._over:
            self._untold += 1
            self._spawn(notify(self.dialog))

    def _subscribed(self, dialog: Dialog, message: Request) -> None:
        """Whoever asked for a transfer hears of it for longer, or no more (RFC 3515 §2.4.4, RFC 6665 §4.1.2)."""
        about_transfer = _event_of(message) == "refer"
        if not about_transfer or self._transfer is None or not self._transfer.notify:
            status, headers = (481, None) if about_transfer else refusal_of(message)
            dialog.respond(message, status, headers=headers)
            return
        on = (message.headers.get("Expires") or "").strip() != "0"
        dialog.respond(message, 200, headers={"Expires": EXPIRES if on else 0})
        self._notify(None, unsubscribed=not on)
        if not on:
            self._transfer = replace(self._transfer, notify=False)

    def _bye(self, dialog: Dialog, headers: Mapping[str, object]) -> None:
        """End the call, but let whoever asked for a transfer hear first what came of it."""

        async def when_told() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORD), self._turn:
                    pass
            dialog.hang_up(headers=headers)

        if self._untold:
            self._spawn(when_told())
        else:
            dialog.hang_up(headers=headers)

    # LegControl

    def reanswer(self, session: Session | None) -> None:
        request, offered = self._reoffer, self._reoffered_session
        self._reoffer = self._reoffered_session = None
        if request is None or self.dialog is None or self._over:
            return
        if session is None:
            self.dialog.respond(request, 488)
            return
        if offered is None:
            self._awaited = request.cseq.number
        else:
            self._theirs = hash(offered)
        self.dialog.respond(request, 200, payload=self._description.write(session))

    def hold(self, held: bool, offer: Session) -> None:
        """The direction in the offer says it; an offer that may not leave yet waits for its turn."""
        if self._over or self.dialog is None or len(self._offers) >= MAX_OFFERS:
            self.room.app.loop.call_soon(self._tell, Reanswered(self.side, self.attempt, None))
            return
        self._offers.append(offer)
        if len(self._offers) == 1:
            self._spawn(self._offer_anew(self.dialog))

    async def _offer_anew(self, dialog: Dialog) -> None:
        while self._offers and not self._over:
            session = await self._renegotiate(dialog, self._offers[0])
            self._offers.pop(0)
            self._tell(Reanswered(self.side, self.attempt, session))

    async def _renegotiate(self, dialog: Dialog, offer: Session) -> Session | None:
        """Their answer; None when they would not, and all stays as it was (RFC 3261 §14.1)."""
        try:
            response = await dialog.request("INVITE", payload=self._description.write(offer))
            if response.status >= 300:
                log.info("sip offer refused", call=self.call, attempt=self.attempt, answer=response.label)
                return None
            self._heard_of_party(response)
            session = session_of(response)
            self._theirs = hash(session)
            return session
        except SipError as fault:
            log.info("sip offer not answered", call=self.call, attempt=self.attempt, error=str(fault))
            return None

    def restart(self, session: Session) -> None:
        """There is no ICE at this end."""

    def dial_digits(self, digits: str, duration: int) -> None:
        """As INFO, one after the other; what is too much at once is left out."""
        if self.dialog is None or self._over or len(self._digits) + len(digits) > MAX_DIGITS:
            return
        idle = not self._digits
        self._digits.extend((digit, duration) for digit in digits)
        if idle:
            self._spawn(self._press(self.dialog))

    def ask_picture(self) -> None:
        if self.dialog is not None and not self._over:
            self._spawn(self._ask_picture(self.dialog))

    async def _ask_picture(self, dialog: Dialog) -> None:
        try:
            await dialog.request("INFO", headers=MEDIA_CONTROL, payload=PICTURE)
        except SipError as fault:
            log.info("sip picture not asked for", call=self.call, attempt=self.attempt, error=str(fault))

    async def _press(self, dialog: Dialog) -> None:
        while self._digits and not self._over:
            digit, duration = self._digits[0]
            try:
                response = await dialog.request("INFO", headers=DIGIT, payload=digit_body(digit, duration))
                if response.status >= 300:
                    log.info("sip digit refused", call=self.call, attempt=self.attempt, answer=response.label)
            except SipError as fault:
                log.info("sip digit not sent", call=self.call, attempt=self.attempt, error=str(fault))
            self._digits.pop(0)

    def transferred(self, cause: Cause | None) -> None:
        self._notify(cause)
        if cause is not None:
            self._transfer = None

    # What only one of the two does

    def dial(self, offer: Session) -> None:
        """Who called is not dialled."""

    def alert(self) -> None:
        """A callee is not told that it rings."""

    def progress(self) -> None:
        """Nor that something is done."""

    def ask(self, offer: Session | None = None) -> None:
        """A callee was asked when it was dialled."""

    def answer(self, session: Session) -> None:
        """A callee answers us."""

    @abstractmethod
    def hang_up(self, cause: Cause, text: str = "", q850: int | None = None) -> None:
        """Refuse, cancel or end it; `reason_headers` say why."""


def refusal_of(message: Request) -> tuple[int, dict[str, str] | None]:
    """Status and headers for a request that the gateway has no use for, inside of calls and outside."""
    match message.method:
        case "NOTIFY" if _event_of(message) == "refer":
            return 481, None  # RFC 6665 §4.1.3: we have no such subscription
        case "NOTIFY" | "SUBSCRIBE":
            return 489, {"Allow-Events": "refer"}  # RFC 6665 §4.2.1.1, §8.2.2
        case method if method in METHODS:
            return 405, {"Allow": ALLOW}
    return 501, None


def _event_of(message: Request) -> str:
    """The event package, without its parameters (RFC 6665 §8.2.1)."""
    return (message.headers.get("Event") or "").partition(";")[0].strip().lower()


def known_party(uri: SipUri, name: str) -> tuple[str, str]:
    """A party as SipLeg remembers it."""
    return uri.user or str(uri), name
