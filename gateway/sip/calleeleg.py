"""The leg of a call that we place: the INVITE, its forks, early media, redirection, the answer."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import structlog

from gateway.addresses import SipUri
from gateway.call.causes import Cause
from gateway.call.events import Answered, Leg, Progressed, Redirected, Ringing
from gateway.call.leg import Sink
from gateway.errors import AddressError, SipError
from gateway.session.model import Session
from gateway.sip.application import Dialog
from gateway.sip.body import session_of, with_place
from gateway.sip.calls import OutgoingCall
from gateway.sip.headers import NameAddr
from gateway.sip.identity import ANONYMOUS, identity_headers
from gateway.sip.leg import Room, SipLeg, known_party
from gateway.sip.message import Request, Response
from gateway.sip.reasons import reason_headers, why_refused
from gateway.sip.usage import UNTRUSTED

log = structlog.get_logger()

MAX_EARLY = 16  # early dialogs whose answer is remembered
MAX_TARGETS = 8  # of one redirection


class CalleeLeg(SipLeg):
    """A call that we place."""

    side = Leg.CALLEE

    def __init__(self, room: Room, call: str, attempt: int, outgoing: OutgoingCall, sink: Sink) -> None:
        super().__init__(room)
        self.call = call
        self.attempt = attempt
        self._outgoing = outgoing
        self._sink = sink
        self._task: asyncio.Task[None] | None = None
        self._key = room.app.agent.token() + room.app.agent.token()
        self._rang = False
        self._early: dict[str, Session] = {}  # their tag -> what a provisional response described
        self._party = known_party(outgoing.target, "")
        self.believed = outgoing.proxy is not None  # RFC 3325 §5: nobody but a trunk asserts anything
        self._hang_up_headers: dict[str, str] | None = None

    def dial(self, offer: Session) -> None:
        if self._task is None and not self._over:
            self._task = self.room.app.loop.create_task(self._run(offer))

    async def _run(self, offer: Session) -> None:
        self.room.claim(self._key, self.call, self)
        try:
            if self._over:
                return  # hung up before anything was sent
            dialog = await self._invite(offer)
            async for message in dialog:
                if isinstance(message, Response):
                    self._response(dialog, message)
                elif isinstance(message, Request):
                    self.inside(dialog, message)
            self._hung_up(Cause.SHUTDOWN)
        except (OSError, SipError, ValueError) as fault:
            log.info("sip call not placed", call=self.call, attempt=self.attempt, error=str(fault))
            self._hung_up(Cause.CONGESTION, str(fault))
        finally:
            self._part()
            self.room.release(self._key)

    async def _invite(self, offer: Session) -> Dialog:
        outgoing = self._outgoing
        target = outgoing.target
        if target.headers:
            target = replace(target, headers=())
        uri = str(target)
        address = str(replace(target, parameters=())) if target.parameters else uri
        headers = dict(outgoing.headers)
        next_hop = uri
        if outgoing.proxy is not None:
            hop = outgoing.proxy
            if (hop.host, hop.port) != (target.host, target.port):
                loose = (
                    hop if hop.parameter("lr") is not None else replace(hop, parameters=(*hop.parameters, ("lr", None)))
                )
                headers = {"Route": f"<{loose}>", **headers}
            next_hop = str(hop)
        peer = await self.room.app.connect(next_hop, trusted=outgoing.proxy is not None)
        credentials = outgoing.credentials
        from_ = ANONYMOUS if outgoing.anonymous else NameAddr(str(outgoing.from_uri), outgoing.from_name)
        headers.update(identity_headers(outgoing))
        payload: str | bytes = self._description.write(offer)
        if outgoing.place is not None:
            content_id = f"{secrets.token_hex(8)}@{outgoing.from_uri.host}"
            kind, payload = with_place(str(payload), outgoing.place, content_id, secrets.token_hex(12))
            # RFC 6442 §4.1, §4.2: proxies may look at it to find the way.
            headers.update({"Content-Type": kind, "Geolocation": f"<cid:{content_id}>", "Geolocation-Routing": "yes"})
        dialog = await peer.invite(
            from_details=from_,
            to_details=NameAddr(address),
            uri=uri,
            headers=headers,
            payload=payload,
            username=credentials.username if credentials is not None else None,
            password=credentials.password if credentials is not None else None,
            max_forwards=outgoing.max_forwards,
            call_id=self._key,
            patience=outgoing.patience,
        )
        self.dialog = dialog
        if self._hang_up_headers is not None:  # hung up while we looked for the way
            dialog.hang_up(headers=self._hang_up_headers)
        return dialog

    # Responses

    def _response(self, dialog: Dialog, response: Response) -> None:
        status = response.status
        if self.up and response.local:
            self._hung_up(Cause.TIMEOUT, response.reason)
        elif self.up:
            self._refreshed(response)
        elif response.local and status == 408:
            self._hung_up(Cause.TIMEOUT, "no answer to our request")
        elif response.local and status == UNTRUSTED:
            log.warning("sip call not trusted", call=self.call, attempt=self.attempt, error=response.reason)
            self._hung_up(Cause.CERTIFICATE, response.reason)
        elif response.local and status == 503:
            # Of a trunk it is said why. Whom a user names himself he learns no more of: that would be a port scanner.
            why = f": {response.told}" if self._outgoing.proxy is not None else ""
            self._hung_up(Cause.CONGESTION, f"the far side cannot be reached{why}")
        elif status < 200:
            self._progress(response)
        elif status < 300:
            self._answered(dialog, response)
        elif status < 400:
            if targets := _targets(response):
                self._tell(Redirected(self.attempt, targets))
            self._hung_up(Cause.FORBIDDEN, f"{response.label}; redirection is not followed")
        else:
            reason = why_refused(response)
            self._hung_up(reason.cause, reason.text, reason.q850)

    def _progress(self, response: Response) -> None:
        tag = response.to.tag
        try:
            session = session_of(response)
        except SipError as fault:  # the final response may still be good
            log.info("sip early media not readable", call=self.call, attempt=self.attempt, error=str(fault))
            session = None
        # 100 is of no dialog, whatever is in it (RFC 3261 §12.1).
        if session is not None and tag is not None and response.status > 100:
            # Of a forked call only the first that speaks is heard: there is one ear (RFC 3960 §3.1).
            first = next(iter(self._early), tag) == tag
            changed = self._early.get(tag) != session
            if tag in self._early or len(self._early) < MAX_EARLY:
                self._early[tag] = session
            if first and changed:
                self._tell(Progressed(self.attempt, session))
        # 100 says only that somebody is looking, and 181 that somebody else is being asked.
        if response.status in (180, 182, 183) and not self._rang:
            self._rang = True
            self._tell(Ringing(self.attempt))

    def _answered(self, dialog: Dialog, response: Response) -> None:
        try:
            session = session_of(response)
            if session is None:
                # An answer that came in a reliable provisional response need not come again (RFC 3261 §13.2.1).
                # COMPAT: carriers for whom an unreliable 183 counts.
                session = self._early.get(response.to.tag or "")
            if session is None:
                raise SipError("a 200 without an answer")
        except SipError as fault:
            log.info("sip answer not readable", call=self.call, attempt=self.attempt, error=str(fault))
            dialog.hang_up(headers=reason_headers(Cause.PROTOCOL, ""))
            self._hung_up(Cause.PROTOCOL, str(fault))
            return
        self.up = True
        self._early.clear()
        self._theirs = hash(session)
        self._tell(Answered(self.attempt, session))
        self._heard_of_party(response)

    # LegControl

    def reanswer(self, session: Session | None) -> None:
        request, offered = self._reoffer, self._reoffered_session
        super().reanswer(session)
        if request is not None and offered is not None and session is not None and not self.up:
            self._early[request.from_.tag or ""] = offered  # it moved before it answered (RFC 3311)

    def hang_up(self, cause: Cause, text: str = "", q850: int | None = None) -> None:
        if self._over:
            return
        self._over = True
        self._hang_up_headers = reason_headers(cause, text, q850)
        if self.dialog is not None:
            self._bye(self.dialog, self._hang_up_headers)
        elif self._task is None:
            self.room.release(self._key)


def _targets(response: Response) -> tuple[str, ...]:
    """Where a 3xx points, by q, what has none first (RFC 3261 §8.1.3.4, §20.10)."""
    found: list[tuple[float, str]] = []
    for text in response.headers.listed("Contact")[:MAX_TARGETS]:
        try:
            value = NameAddr.parse(text)
            uri = SipUri.parse(value.uri)
        except (SipError, AddressError):
            continue
        found.append((_weight(value.parameter("q")), str(replace(uri, headers=()))))
    return tuple(target for _, target in sorted(found, key=lambda each: -each[0]))


def _weight(text: str | None) -> float:
    digits = (text or "1").replace(".", "", 1)
    return min(float(text or "1"), 1.0) if digits.isascii() and digits.isdigit() and len(digits) <= 4 else 0.0
