"""SIP calls as legs of a bridged call: a thin translation between a dialog and call events.

    INVITE in ──> Telephony ── on_call ──> switchboard         callee(…) ──> CalleeLeg ── dial ──> INVITE out
    dialog's messages ──> _Leg.run ──> Sink                     LegControl ──> dialog.respond | hang_up

What happens is told from the leg's own task, never from within a LegControl method. Nothing here knows a transaction,
a timer or a header that the stack owns; whatever a leg does, any program could do with Application, Peer and Dialog.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType

import structlog

from gateway.addresses import SipUri
from gateway.call.causes import Cause, from_sip
from gateway.call.events import Answered, Dialled, HungUp, Leg, Reoffered, Report, Ringing
from gateway.call.leg import Admitted, LegControl, Sink
from gateway.call.trace import Traced, Tracer
from gateway.errors import AddressError, SdpError, SipError
from gateway.session import sdp
from gateway.session.model import Session
from gateway.sip.agent import safe_text
from gateway.sip.application import Application, BaseDialplan, Dialog, Handler, IncomingRequest
from gateway.sip.body import dtmf_of, sdp_of, with_place
from gateway.sip.digest import Credentials
from gateway.sip.headers import NameAddr, Reason, host_port
from gateway.sip.layer import Address, Flow
from gateway.sip.message import Message, Request, Response
from gateway.sip.registration import Account, Registration
from gateway.sip.transport import ip_of, is_ours
from gateway.sip.usage import ALLOW, METHODS, SUPPORTED

log = structlog.get_logger()

MAX_EARLY = 512  # traced messages kept until their call is known
GOODBYE = 1.0  # seconds that a registrar has for hearing that we go
AFTERMATH = 40.0  # seconds in which messages of an ended call are still told under its id

__all__ = ["Account", "Credentials", "IncomingCall", "OutgoingCall", "SipSettings", "Telephony"]


@dataclass(frozen=True, slots=True)
class SipSettings:
    """`domain` is our host in From; `listen` holds "udp:0.0.0.0:5060", "tcp:[::]:5060"; `advertise` is for NAT."""

    domain: str
    listen: tuple[str, ...]
    advertise: str | None = None


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """An INVITE that came in. What it says of its caller is a claim; `source` is where the packet came from."""

    uri: SipUri
    from_uri: SipUri
    from_name: str
    to_uri: SipUri
    asserted: SipUri | None  # P-Asserted-Identity, to be believed from trusted trunks alone
    source: Address
    protocol: str  # "UDP", "TCP"
    max_forwards: int
    session: Session | None
    anonymous: bool  # the caller asks for privacy (RFC 3323), or hides already
    key: str  # Call-ID


@dataclass(frozen=True, slots=True)
class OutgoingCall:
    """An INVITE to be sent: to `proxy` if there is one, else to where `target` leads.

    `asserted` becomes P-Asserted-Identity, which is for trunks alone (RFC 3325 §5). With `anonymous` neither From nor
    Contact tells who calls. `place` is a PIDF-LO document that goes along (RFC 6442).
    """

    target: SipUri
    from_uri: SipUri
    from_name: str
    max_forwards: int = 70
    credentials: Credentials | None = None
    proxy: SipUri | None = None
    headers: tuple[tuple[str, str], ...] = ()
    asserted: SipUri | None = None
    anonymous: bool = False
    place: str | None = None


OnCall = Callable[[IncomingCall, LegControl], Admitted]


class Telephony(BaseDialplan):
    """All SIP calls of the gateway. `permit` and `advertise` are the Application's."""

    def __init__(self, app: Application, settings: SipSettings, on_call: OnCall, trace: Tracer) -> None:
        super().__init__()
        self.app = app
        self._settings = settings
        self._on_call = on_call
        self._tracer = trace
        self._calls: dict[str, str] = {}  # Call-ID -> the gateway's id of the call
        self._early: deque[tuple[str, bool, str, str]] = deque(maxlen=MAX_EARLY)
        self._hosts = {settings.domain.lower()} | ({settings.advertise.lower()} if settings.advertise else set())
        self._registering: list[asyncio.Task[None]] = []
        app.dialplan = self
        app.advertise = settings.advertise
        app.trace = self._saw

    async def start(self) -> None:
        """Listen on every address of the settings. Raises OSError, or SipError for one that cannot be read."""
        for text in self._settings.listen:
            protocol, address = listening(text)
            await self.app.run(protocol=protocol, local_addr=address)
            self._hosts.add(address[0])

    async def stop(self) -> None:
        """Hang up whatever is left and close the sockets."""
        for task in self._registering:
            task.cancel()
        await asyncio.gather(*self._registering, return_exceptions=True)
        await self.app.close()

    def register(self, account: Account) -> Registration:
        """Register this account from now on; what is given back says how that goes."""
        registration = Registration(account, self.app.now())
        self._registering.append(self.app.loop.create_task(self._keep_registered(registration)))
        return registration

    async def _keep_registered(self, registration: Registration) -> None:
        dialog: Dialog | None = None
        user = registration.account.address.user or ""
        try:
            while True:
                if registration.deadline is not None:
                    await asyncio.sleep(registration.deadline - self.app.now())
                registration.asked()
                dialog = await self._register(registration.account, registration.expires, dialog)
                if dialog.last is not None:
                    registration.answered(dialog.last, user, self.app.now())
                log.info(
                    "sip registration",
                    trunk=registration.account.name,
                    registered=registration.registered,
                    problem=registration.problem,
                )
        finally:
            if registration.registered:  # say good-bye, or calls go on coming here until it expires
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GOODBYE):
                        await self._register(registration.account, 0, dialog)

    async def _register(self, account: Account, expires: int, dialog: Dialog | None) -> Dialog:
        own, credentials = NameAddr(str(account.address)), account.credentials
        peer = await self.app.connect(account.registrar, trusted=True)
        return await peer.register(
            from_details=own,
            to_details=own,
            expires=expires,
            username=credentials.username if credentials is not None else None,
            password=credentials.password if credentials is not None else None,
            dialog=dialog,
        )

    def callee(self, call: str, attempt: int, outgoing: OutgoingCall, sink: Sink) -> LegControl:
        """A leg to a callee; nothing is sent before dial()."""
        return CalleeLeg(self, call, attempt, outgoing, sink)

    # The dialplan of the stack

    async def resolve(
        self, *, method: str, message: Request, protocol: str, local_addr: Address, remote_addr: Address
    ) -> Handler | None:
        return {"INVITE": self._on_invite, "OPTIONS": self._on_options}.get(method)

    async def _on_options(self, request: IncomingRequest, message: Request) -> None:
        await request.prepare(200, headers=CAPABILITIES)

    async def _on_invite(self, request: IncomingRequest, message: Request) -> None:
        try:
            incoming = self._incoming(message, request.flow)
        except (SipError, AddressError, SdpError) as fault:
            status = fault.status if isinstance(fault, SipError) else 488 if isinstance(fault, SdpError) else 400
            log.info("sip call refused", source=request.flow.remote[0], key=message.call_id, error=str(fault))
            request.dialog.respond(message, status, headers={"Warning": warning(str(fault))})
            return
        leg = CallerLeg(self, request.dialog, message)
        admitted = self._on_call(incoming, leg)
        self.claim(message.call_id, admitted.call)
        try:
            await leg.run(admitted.sink)
        finally:
            self.release(message.call_id)

    def _incoming(self, message: Request, flow: Flow) -> IncomingCall:
        """Raises SipError, AddressError or SdpError, with nobody having been asked anything."""
        uri = SipUri.parse(message.uri)
        if not self.is_our_host(uri, flow):
            raise SipError("that host is not served here", 404)
        text = sdp_of(message)
        if text is None:
            raise SipError("an INVITE without an offer is not taken", 488)
        from_ = message.from_
        from_uri = SipUri.parse(from_.uri)
        privacy = message.headers.tokens("Privacy")
        hidden = from_uri.host == "anonymous.invalid" or (from_uri.user or "").lower() == "anonymous"
        return IncomingCall(
            uri=uri,
            from_uri=from_uri,
            from_name=from_.display,
            to_uri=SipUri.parse(message.to.uri),
            asserted=_asserted(message),
            source=flow.remote,
            protocol=flow.transport,
            max_forwards=message.max_forwards,
            session=sdp.parse(text),
            anonymous=hidden or bool(privacy & {"id", "user", "header"}),
            key=message.call_id,
        )

    def is_our_host(self, uri: SipUri, flow: Flow) -> bool:
        """Our domain, what we advertise, an address that we listen on."""
        if uri.scheme == "tel" or uri.host in self._hosts or uri.host in (flow.sent_by[0], flow.local[0]):
            return True
        return ip_of(flow.local[0]) in (ip_of("0.0.0.0"), ip_of("::")) and is_ours(uri.host)  # noqa: S104

    # The ladder

    def claim(self, key: str, call: str) -> None:
        """Messages of this Call-ID belong to that call, those that came before too."""
        self._calls[key] = call
        waiting = [early for early in self._early if early[0] == key]
        for early in waiting:
            self._early.remove(early)
            self._tracer(Traced(call, "sip", early[1], early[2], key, early[3]))

    def release(self, key: str) -> None:
        """The call is over; its last repeats may still be told."""
        self.app.loop.call_later(AFTERMATH, self._disown, key, self._calls.get(key))

    def _disown(self, key: str, call: str | None) -> None:
        if self._calls.get(key) == call:  # a caller may try again with the same Call-ID, and that is another call
            self._calls.pop(key, None)

    def _saw(self, sent: bool, message: Message, flow: Flow) -> None:
        key = message.headers.get("Call-ID") or ""
        text = f"{flow.transport} {'to' if sent else 'from'} {flow.remote[0]}:{flow.remote[1]}; {safe_text(message)}"
        call = self._calls.get(key)
        if call is None:
            self._early.append((key, sent, message.label, text))
        else:
            self._tracer(Traced(call, "sip", sent, message.label, key, text))


class _Leg:
    """What both legs do alike once there is a dialog."""

    side: Leg
    attempt = 0

    def __init__(self, telephony: Telephony) -> None:
        self.telephony = telephony
        self.dialog: Dialog | None = None
        self._sink: Sink | None = None
        self._over = False
        self._reoffer: Request | None = None
        self._session_id = str(secrets.randbits(62))  # one per dialog, whatever is negotiated in it (RFC 8866 §5.2)

    def _described(self, session: Session) -> str:
        return sdp.render(replace(session, id=self._session_id))

    def _tell(self, report: Report) -> None:
        if self._sink is not None and not self._over:
            self._sink(report)

    def _hung_up(self, cause: Cause, text: str = "") -> None:
        """Tell it, once, and never after our own hang_up."""
        self._tell(HungUp(self.side, cause, self.attempt, text))
        self._over = True

    def _inside(self, dialog: Dialog, message: Request) -> None:
        """A request inside the dialog."""
        match message.method:
            case "BYE":
                self._hung_up(*reason_of(message, Cause.NORMAL))
            case "CANCEL":
                cause, text = reason_of(message, Cause.CANCELLED)
                self._hung_up(cause if cause is Cause.ELSEWHERE else Cause.CANCELLED, text)
            case "INVITE" | "UPDATE":
                self._reoffered(dialog, message)
            case "INFO":
                self._info(dialog, message)
            case "OPTIONS":
                dialog.respond(message, 200, headers=CAPABILITIES)
            case "ACK":
                pass
            case _:
                known = message.method in METHODS
                dialog.respond(message, 405 if known else 501, headers={"Allow": ALLOW} if known else None)

    def _reoffered(self, dialog: Dialog, message: Request) -> None:
        try:
            text = sdp_of(message)
            session = sdp.parse(text) if text is not None else None
        except (SipError, SdpError) as fault:
            status = fault.status if isinstance(fault, SipError) else 488
            dialog.respond(message, status, headers={"Warning": warning(str(fault))})
            return
        if session is None and message.method == "UPDATE":
            dialog.respond(message, 200)  # a refresh (RFC 4028 §7.4, RFC 3311): nothing to agree on
            return
        self._reoffer = message
        self._tell(Reoffered(self.side, self.attempt, session))

    def _info(self, dialog: Dialog, message: Request) -> None:
        pressed = dtmf_of(message)
        if pressed is None and message.body:
            dialog.respond(message, 415, headers={"Accept": "application/dtmf-relay, application/dtmf"})
            return
        dialog.respond(message, 200)
        if pressed is not None and pressed[0]:
            self._tell(Dialled(self.side, self.attempt, *pressed))

    # LegControl

    def reanswer(self, session: Session | None) -> None:
        request, self._reoffer = self._reoffer, None
        if request is None or self.dialog is None:
            return
        if session is None:
            self.dialog.respond(request, 488)
        else:
            self.dialog.respond(request, 200, payload=self._described(session))

    def dial(self, offer: Session) -> None:
        raise NotImplementedError

    def alert(self) -> None:
        raise NotImplementedError

    def ask(self) -> None:
        raise NotImplementedError

    def answer(self, session: Session) -> None:
        raise NotImplementedError


class CallerLeg(_Leg):
    """A call that came in."""

    side = Leg.CALLER

    def __init__(self, telephony: Telephony, dialog: Dialog, invite: Request) -> None:
        super().__init__(telephony)
        self.dialog: Dialog = dialog
        self._invite = invite
        self._alerted = False
        self._answered = False

    async def run(self, sink: Sink) -> None:
        """Until the dialog is over."""
        self._sink = sink
        async for message in self.dialog:
            if isinstance(message, Request):
                self._inside(self.dialog, message)
            elif isinstance(message, Response):
                self._hung_up(Cause.TIMEOUT, "no ACK to our 200" if not self._answered else "the far side is gone")
        self._hung_up(Cause.SHUTDOWN)

    def alert(self) -> None:
        if not self._alerted and not self._answered and not self._over:
            self._alerted = True
            self.dialog.respond(self._invite, 180)

    def ask(self) -> None:
        """His session came with the INVITE; one without is refused before it becomes a call."""

    def answer(self, session: Session) -> None:
        if not self._answered and not self._over:
            self._answered = True
            self.dialog.respond(self._invite, 200, payload=self._described(session))

    def hang_up(self, cause: Cause, text: str = "") -> None:
        if self._over:
            return
        self._over = True
        if self._answered:
            self.dialog.hang_up(headers=reasons(cause, text))
        else:
            # A cause that is no failure cannot refuse a call: 480 says that nobody took it.
            status, phrase = (cause.sip, cause.phrase) if cause.sip >= 300 else (480, "")
            self.dialog.respond(self._invite, status, phrase, headers=reasons(cause, text))


class CalleeLeg(_Leg):
    """A call that we place."""

    side = Leg.CALLEE

    def __init__(self, telephony: Telephony, call: str, attempt: int, outgoing: OutgoingCall, sink: Sink) -> None:
        super().__init__(telephony)
        self.attempt = attempt
        self._call = call
        self._outgoing = outgoing
        self._sink = sink
        self._task: asyncio.Task[None] | None = None
        self._key = secrets.token_hex(16)
        self._rang = False
        self._hang_up_headers: dict[str, str] | None = None

    def dial(self, offer: Session) -> None:
        if self._task is None and not self._over:
            self._task = self.telephony.app.loop.create_task(self._run(offer))

    async def _run(self, offer: Session) -> None:
        self.telephony.claim(self._key, self._call)
        try:
            if self._over:
                return  # hung up before anything was sent
            dialog = await self._invite(offer)
            async for message in dialog:
                if isinstance(message, Response):
                    self._response(dialog, message)
                elif isinstance(message, Request):
                    self._inside(dialog, message)
            self._hung_up(Cause.SHUTDOWN)
        except (OSError, SipError, ValueError) as fault:
            log.info("sip call not placed", call=self._call, attempt=self.attempt, error=str(fault))
            self._hung_up(Cause.CONGESTION, str(fault))
        finally:
            self.telephony.release(self._key)

    async def _invite(self, offer: Session) -> Dialog:
        outgoing = self._outgoing
        target = replace(outgoing.target, headers=())
        headers = dict(outgoing.headers)
        hop = target
        if outgoing.proxy is not None:
            hop = outgoing.proxy
            if (hop.host, hop.port) != (target.host, target.port):
                loose = (
                    hop if hop.parameter("lr") is not None else replace(hop, parameters=(*hop.parameters, ("lr", None)))
                )
                headers = {"Route": f"<{loose}>", **headers}
        peer = await self.telephony.app.connect(hop, trusted=outgoing.proxy is not None)
        credentials = outgoing.credentials
        from_ = ANONYMOUS if outgoing.anonymous else NameAddr(str(outgoing.from_uri), outgoing.from_name)
        headers.update(identity_of(outgoing))
        payload: str | bytes = self._described(offer)
        if outgoing.place is not None:
            content_id = f"{secrets.token_hex(8)}@{outgoing.from_uri.host}"
            kind, payload = with_place(str(payload), outgoing.place, content_id, secrets.token_hex(12))
            # RFC 6442 §4.1, §4.2: proxies may look at it to find the way.
            headers.update({"Content-Type": kind, "Geolocation": f"<cid:{content_id}>", "Geolocation-Routing": "yes"})
        dialog = await peer.invite(
            from_details=from_,
            to_details=NameAddr(str(replace(target, parameters=()))),
            uri=str(target),
            headers=headers,
            payload=payload,
            username=credentials.username if credentials is not None else None,
            password=credentials.password if credentials is not None else None,
            max_forwards=outgoing.max_forwards,
            call_id=self._key,
        )
        self.dialog = dialog
        if self._hang_up_headers is not None:  # hung up while we looked for the way
            dialog.hang_up(headers=self._hang_up_headers)
        return dialog

    def _response(self, dialog: Dialog, response: Response) -> None:
        status = response.status
        if response.local and status == 408:
            self._hung_up(Cause.TIMEOUT, "no answer to our request")
        elif response.local and status == 503:
            self._hung_up(Cause.CONGESTION, "the far side cannot be reached")
        elif status < 200:
            # 100 says only that somebody is looking, and 181 that somebody else is being asked.
            if status in (180, 182, 183) and not self._rang:
                self._rang = True
                self._tell(Ringing(self.attempt))
        elif status < 300:
            self._answered(dialog, response)
        elif status < 400:
            self._hung_up(Cause.FORBIDDEN, f"{response.label}; redirection is not followed")
        else:
            self._hung_up(from_sip(status), response.label)

    def _answered(self, dialog: Dialog, response: Response) -> None:
        try:
            text = sdp_of(response)
            if text is None:
                raise SipError("a 200 without an answer")
            session = sdp.parse(text)
        except (SipError, SdpError) as fault:
            log.info("sip answer not readable", call=self._call, attempt=self.attempt, error=str(fault))
            dialog.hang_up(headers=reasons(Cause.PROTOCOL, ""))
            self._hung_up(Cause.PROTOCOL, str(fault))
            return
        self._tell(Answered(self.attempt, session))

    def hang_up(self, cause: Cause, text: str = "") -> None:
        if self._over:
            return
        self._over = True
        self._hang_up_headers = reasons(cause, text)
        if self.dialog is not None:
            self.dialog.hang_up(headers=self._hang_up_headers)
        elif self._task is None:
            self.telephony.release(self._key)


# RFC 3323 §4.1.1.3
ANONYMOUS = NameAddr("sip:anonymous@anonymous.invalid", "Anonymous")

CAPABILITIES = MappingProxyType({"Allow": ALLOW, "Accept": "application/sdp", "Supported": SUPPORTED})

_FROM_Q850 = {
    1: Cause.NOT_FOUND,
    3: Cause.NOT_FOUND,
    16: Cause.NORMAL,
    17: Cause.BUSY,
    18: Cause.NO_ANSWER,
    19: Cause.NO_ANSWER,
    20: Cause.UNAVAILABLE,
    21: Cause.DECLINED,
    26: Cause.ELSEWHERE,
    27: Cause.CONGESTION,
    28: Cause.NOT_FOUND,
    31: Cause.NORMAL,  # "normal, unspecified": what most systems send
    34: Cause.CONGESTION,
    38: Cause.CONGESTION,
    41: Cause.CONGESTION,
    42: Cause.CONGESTION,
    65: Cause.NO_COMMON_CODEC,
    88: Cause.NO_COMMON_CODEC,
    102: Cause.TIMEOUT,
    111: Cause.PROTOCOL,
}  # 127, "interworking, unspecified", says nothing


def identity_of(outgoing: OutgoingCall) -> dict[str, str]:
    """The headers that say who calls beside From, and who may learn it (RFC 3325 §9)."""
    headers = {"P-Asserted-Identity": f"<{outgoing.asserted}>"} if outgoing.asserted is not None else {}
    # §9.3: "id" takes the asserted identity away where the trust ends.
    return {**headers, "Privacy": "id"} if outgoing.anonymous else headers


def reason_of(message: Request, otherwise: Cause) -> tuple[Cause, str]:
    """Why a BYE or a CANCEL was sent (RFC 3326), and what it says for people."""
    for value in message.headers.listed("Reason"):
        try:
            reason = Reason.parse(value)
        except SipError:
            continue
        if reason.protocol.upper() == "Q.850":
            return _FROM_Q850.get(reason.cause, otherwise), reason.text
        if reason.protocol.upper() == "SIP":
            if reason.cause == 200:  # "Call completed elsewhere"
                return Cause.ELSEWHERE if message.method == "CANCEL" else otherwise, reason.text
            return (from_sip(reason.cause) if reason.cause >= 300 else otherwise), reason.text
    return otherwise, ""


def reasons(cause: Cause, text: str) -> dict[str, str]:
    """The Reason header that says this cause."""
    q850 = str(Reason("Q.850", cause.q850, text or cause.text))
    if cause is Cause.ELSEWHERE:  # RFC 3326 §3.1: phones then show no missed call
        return {"Reason": f'SIP;cause=200;text="Call completed elsewhere", {q850}'}
    return {"Reason": q850}


def warning(text: str) -> str:
    """A Warning header (RFC 3261 §20.43)."""
    flat = "".join(" " if character in '"\\\r\n\0' else character for character in text)
    return f'399 gateway "{flat}"'


def listening(text: str) -> tuple[str, Address]:
    """ "udp:0.0.0.0:5060" as protocol and address. Raises SipError."""
    protocol, _, rest = text.partition(":")
    host, port = host_port(rest)
    if protocol.lower() not in ("udp", "tcp") or ip_of(host) is None or (port is None and not rest.endswith(":0")):
        raise SipError(f"not an address to listen on: {text!r}")
    return protocol.upper(), (host, port or 0)


def _asserted(message: Request) -> SipUri | None:
    """The first P-Asserted-Identity that can be read (RFC 3325)."""
    for value in message.headers.listed("P-Asserted-Identity"):
        try:
            return SipUri.parse(NameAddr.parse(value).uri)
        except (SipError, AddressError):
            continue
    return None
