"""The leg of a call that came in: INVITE with an offer, or without one, when ours is in the 200 and the ACK answers."""

from __future__ import annotations

from gateway.call.causes import Cause
from gateway.call.events import CallerJoined, Leg
from gateway.call.leg import Sink
from gateway.session.model import Session
from gateway.sip.application import Dialog
from gateway.sip.leg import Room, SipLeg
from gateway.sip.message import Request, Response
from gateway.sip.reasons import reason_headers


class CallerLeg(SipLeg):
    """A call that came in."""

    side = Leg.CALLER

    def __init__(self, room: Room, dialog: Dialog, invite: Request) -> None:
        super().__init__(room)
        self.dialog: Dialog = dialog
        self._invite: Request | None = invite  # until it is answered
        self._alerted = False
        self._asked = False  # the 200 had our offer

    async def run(self, sink: Sink) -> None:
        """Until the dialog is over."""
        self._sink = sink
        async for message in self.dialog:
            if isinstance(message, Request):
                self.inside(self.dialog, message)
            elif isinstance(message, Response) and message.local:
                self._hung_up(Cause.TIMEOUT, message.reason)
            elif isinstance(message, Response):
                self._refreshed(message)
            del message  # the next one may be hours away
        self._hung_up(Cause.SHUTDOWN)
        self._part()

    def _answered_offer(self, dialog: Dialog, session: Session | None, problem: str) -> None:
        if not self._asked:
            super()._answered_offer(dialog, session, problem)
            return
        self._asked = False
        if session is not None:
            self._theirs = hash(session)
            self._tell(CallerJoined(session))
            return
        dialog.hang_up(headers=reason_headers(Cause.PROTOCOL, problem))
        self._hung_up(Cause.PROTOCOL, problem)

    # LegControl

    def alert(self) -> None:
        if not self._alerted and self._invite is not None and not self._over:
            self._alerted = True
            self.dialog.respond(self._invite, 180)

    def progress(self) -> None:
        if not (self._alerted or self._invite is None or self._over):
            self.dialog.respond(self._invite, 183)

    def ask(self, offer: Session | None = None) -> None:
        """His session came with the INVITE, or comes with the ACK to a 200 that has our offer."""
        invite = self._invite
        if offer is not None and invite is not None and not invite.body and not self._over:
            self._asked, self._awaited = True, invite.cseq.number
            self._accept(invite, offer)

    def answer(self, session: Session) -> None:
        if self._invite is not None and not self._over:  # who was asked has his 200 already
            self._accept(self._invite, session)

    def _accept(self, invite: Request, session: Session) -> None:
        self.up, self._invite = True, None
        self.dialog.respond(invite, 200, payload=self._description.write(session))

    def hang_up(self, cause: Cause, text: str = "", q850: int | None = None) -> None:
        if self._over:
            return
        self._over = True
        headers = reason_headers(cause, text, q850)
        if self._invite is None:
            self._bye(self.dialog, headers)
        else:
            # A cause that is no failure cannot refuse a call: 480 says that nobody took it.
            status, phrase = (cause.sip, cause.phrase) if cause.sip >= 300 else (480, "")
            self.dialog.respond(self._invite, status, phrase, headers=headers)
