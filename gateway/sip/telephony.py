"""The door of the SIP room: calls that come in and go out, registrations, the ladder of each call.

    INVITE in ──> Telephony ── on_call ──> switchboard         callee(…) ──> CalleeLeg ── dial ──> INVITE out

A call that came in is read here (calls.IncomingCall) and then is a CallerLeg's; what cannot be read is refused before
anybody is asked anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from gateway.addresses import SipUri
from gateway.call.events import Leg
from gateway.call.leg import LegControl, Sink
from gateway.call.trace import Traced, Tracer
from gateway.errors import AddressError, SipError
from gateway.sip.agent import safe_text
from gateway.sip.application import Application, BaseDialplan, Dialog, Handler, IncomingRequest
from gateway.sip.body import session_of, takes_sdp
from gateway.sip.calleeleg import CalleeLeg
from gateway.sip.callerleg import CallerLeg
from gateway.sip.calls import IncomingCall, OnCall, OutgoingCall
from gateway.sip.digest import Credentials
from gateway.sip.headers import NameAddr, host_port
from gateway.sip.identity import asserted, diverted, is_hidden
from gateway.sip.layer import Address, Flow
from gateway.sip.leg import CAPABILITIES, SipLeg, known_party, refusal_of
from gateway.sip.locate import PORTS
from gateway.sip.message import Message, Request
from gateway.sip.reasons import objection
from gateway.sip.registration import Account, Registration
from gateway.sip.transfer import Replaced, replaced
from gateway.sip.transport import ip_of, is_ours

log = structlog.get_logger()

MAX_EARLY = 512  # Call-IDs whose messages are kept until their call is known
MAX_TOLD = 16  # messages of one of them
GOODBYE = 1.0  # seconds that a registrar has for hearing that we go
AFTERMATH = 80  # T1 in which messages of an ended call are still told under its id: 64 for repeats, and the way

__all__ = ["Account", "Credentials", "IncomingCall", "OutgoingCall", "SipSettings", "Telephony"]


@dataclass(frozen=True, slots=True)
class SipSettings:
    """`domain` is our host in From; `listen` holds "udp:0.0.0.0:5060", "tcp:[::]:5060"; `advertise` is for NAT."""

    domain: str
    listen: tuple[str, ...]
    advertise: str | None = None


@dataclass(slots=True)
class _Kept:
    """A registration, the connection by which it went last (0: none), and whether it is due sooner than it was."""

    registration: Registration
    connection: int = 0
    sooner: asyncio.Event = field(default_factory=asyncio.Event)


class Telephony(BaseDialplan):
    """All SIP calls of the gateway. `permit` and `advertise` are the Application's."""

    def __init__(self, app: Application, settings: SipSettings, on_call: OnCall, trace: Tracer) -> None:
        super().__init__()
        self.app = app
        self._settings = settings
        self._on_call = on_call
        self._tracer = trace
        self._calls: dict[str, str] = {}  # Call-ID -> the gateway's id of the call
        self._legs: dict[str, SipLeg] = {}  # Call-ID -> its leg, while there is one
        self._early: OrderedDict[str, list[tuple[bool, str, str]]] = OrderedDict()  # Call-ID -> sent, label, text
        self._ended: deque[tuple[float, str, str | None]] = deque()  # until when, Call-ID, call: whose aftermath it is
        self._aftermath = AFTERMATH * app.agent.timers.t1  # s
        self._hosts = {settings.domain.lower()} | ({settings.advertise.lower()} if settings.advertise else set())
        self._registering: dict[str, asyncio.Task[None]] = {}
        self._kept: dict[str, _Kept] = {}
        self.on_registration: Callable[[str, bool], None] = lambda name, registered: None
        self._leaving: set[asyncio.Task[None]] = set()
        app.dialplan = self
        app.advertise = settings.advertise
        app.trace = self._saw
        app.on_lost = self._lost

    async def start(self) -> None:
        """Listen on every address of the settings. Raises OSError, or SipError for one that cannot be read."""
        for text in self._settings.listen:
            protocol, address = listening(text)
            try:
                await self.app.run(protocol=protocol, local_addr=address)
            except OSError as error:
                raise OSError(f"[sip] listen {text}: {error.strerror or error}") from error
            self._hosts.add(address[0])

    async def stop(self) -> None:
        """Hang up whatever is left and close the sockets."""
        for name in tuple(self._registering):
            self.unregister(name)
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self.app.close()

    def register(self, account: Account) -> Registration:
        """Register this account from now on; what is given back says how that goes."""
        registration = Registration(account, self.app.now())
        self.unregister(account.name)
        kept = self._kept[account.name] = _Kept(registration)
        self._registering[account.name] = self.app.loop.create_task(self._keep_registered(kept))
        return registration

    def unregister(self, name: str) -> None:
        """Say good-bye to the registrar of the account with this name, if there is one."""
        self._kept.pop(name, None)
        if (task := self._registering.pop(name, None)) is not None:
            task.cancel()
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def register_again(self, name: str) -> None:
        """The registrar of this account was away and may have forgotten us; nothing for one that is not registered."""
        if (kept := self._kept.get(name)) is not None:
            kept.registration.again(self.app.now())
            kept.sooner.set()

    def _lost(self, connection: int) -> None:
        """A stream is gone, and with it perhaps the way by which a registrar reaches us (RFC 5626 §4.5)."""
        for name in [name for name, kept in self._kept.items() if kept.connection == connection]:
            self.register_again(name)

    async def _keep_registered(self, kept: _Kept) -> None:
        registration = kept.registration
        dialog: Dialog | None = None
        user = registration.account.address.user or ""
        try:
            while True:
                while registration.deadline is not None and (left := registration.deadline - self.app.now()) > 0:
                    kept.sooner.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(left):
                            await kept.sooner.wait()
                registration.asked()
                dialog = await self._register(registration.account, registration.expires, dialog)
                if dialog.last is not None:
                    registration.answered(dialog.last, user, self.app.now())
                kept.connection = dialog.usage.flow.connection if dialog.usage.flow is not None else 0
                self.on_registration(registration.account.name, registration.registered)
                if registration.registered:
                    log.info("sip registration", trunk=registration.account.name, registered=True)
                elif (again := (registration.deadline or 0.0) - self.app.now()) > 0:  # else 423, and it asks anew
                    log.warning(
                        "sip registration",
                        trunk=registration.account.name,
                        registered=False,
                        problem=registration.problem,
                        again_in=round(again),
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
        return {"INVITE": self._on_invite, "OPTIONS": self._on_options}.get(method, self._on_other)

    async def _on_options(self, request: IncomingRequest, message: Request) -> None:
        await request.prepare(200, headers=CAPABILITIES)

    async def _on_other(self, request: IncomingRequest, message: Request) -> None:
        # A REFER outside of a call would have us call on a stranger's word (safety rule 5).
        status, headers = (403, None) if message.method == "REFER" else refusal_of(message)
        await request.prepare(status, headers=headers)

    async def _on_invite(self, request: IncomingRequest, message: Request) -> None:
        try:
            incoming = self._incoming(message, request.flow)
        except (SipError, AddressError) as fault:
            status = fault.status if isinstance(fault, SipError) else 400
            log.info("sip call refused", source=request.flow.remote[0], key=message.call_id, error=str(fault))
            request.dialog.respond(message, status, headers=objection(status, str(fault)))
            return
        leg = CallerLeg(self, request.dialog, message)
        leg.knows(known_party(incoming.asserted or incoming.from_uri, incoming.from_name), incoming.session)
        admitted = self._on_call(incoming, leg)
        key = message.call_id
        self.claim(key, admitted.call, leg)
        del request, message, incoming  # the call may last for hours, and what began it need not
        try:
            await leg.run(admitted.sink)
        finally:
            self.release(key)

    def _incoming(self, message: Request, flow: Flow) -> IncomingCall:
        """Raises SipError or AddressError, with nobody having been asked anything."""
        uri = SipUri.parse(message.uri)
        if not self.is_our_host(uri, flow):
            raise SipError("that host is not served here", 404)
        if not takes_sdp(message):
            raise SipError("an answer with an SDP would not be accepted", 406)
        from_ = message.from_
        from_uri = SipUri.parse(from_.uri)
        return IncomingCall(
            uri=uri,
            from_uri=from_uri,
            from_name=from_.display,
            to_uri=SipUri.parse(message.to.uri),
            asserted=asserted(message),
            source=flow.remote,
            protocol=flow.transport,
            max_forwards=message.max_forwards,
            session=session_of(message),
            anonymous=is_hidden(message, from_uri),
            key=message.call_id,
            names=flow.names,
            account=message.account,
            diverted=diverted(message),
            replaces=self._replaced(message),
        )

    def _replaced(self, message: Request) -> tuple[str, Leg, int] | None:
        """The call whose place an INVITE wants to take (RFC 3891 §3). Raises SipError."""
        named = replaced(message)
        if named is None:
            return None
        leg = self._legs.get(named.call_id)
        if leg is None or not leg.is_dialog(named.local, named.remote):
            raise SipError("that dialog is not known here", 481)
        if leg.up and named.early_only:
            raise SipError("that call is answered", 486)
        if not leg.up and leg.side is Leg.CALLER:
            raise SipError("a call that came in and rings cannot be replaced", 481)
        return leg.call, leg.side, leg.attempt

    def whose(self, replaces: str) -> SipLeg | None:
        """The leg of ours whose dialog a Replaces value names, if its call is up; None when it is another's."""
        try:
            named = Replaced.parse(replaces)
        except SipError:
            return None
        leg = self._legs.get(named.call_id)
        return leg if leg is not None and leg.up and leg.is_dialog(named.local, named.remote) else None

    def is_us(self, uri: SipUri, flow: Flow | None) -> bool:
        """Whether a request to this URI would come to us: of one address others may have other ports."""
        if flow is None or uri.scheme == "tel" or not self.is_our_host(uri, flow):
            return False
        return uri.port is None or uri.port in {address[1] for _, address in self.app.transports.listening}

    def is_our_host(self, uri: SipUri, flow: Flow) -> bool:
        """Our domain, what we advertise, an address that we listen on."""
        if uri.scheme == "tel" or uri.host in self._hosts or uri.host in (flow.sent_by[0], flow.local[0]):
            return True
        return ip_of(flow.local[0]) in (ip_of("0.0.0.0"), ip_of("::")) and is_ours(uri.host)  # noqa: S104

    # The ladder

    def claim(self, key: str, call: str, leg: SipLeg) -> None:
        """Messages of this Call-ID belong to that call, those that came before too."""
        self._calls[key] = leg.call = call
        self._legs[key] = leg
        for sent, label, text in self._early.pop(key, ()):
            self._tracer(Traced(call, "sip", sent, label, key, text))

    def release(self, key: str) -> None:
        """The call is over; its last repeats may still be told."""
        self._legs.pop(key, None)
        self._ended.append((self.app.now() + self._aftermath, key, self._calls.get(key)))
        if len(self._ended) == 1:
            self.app.loop.call_later(self._aftermath, self._disown)

    def _disown(self) -> None:
        """One timer for all: a busy gateway would have thirty thousand of them waiting, each compared in Python."""
        now = self.app.now()
        while self._ended and self._ended[0][0] <= now:
            _, key, call = self._ended.popleft()
            if self._calls.get(key) == call:  # a caller may try again with the same Call-ID, and that is another call
                self._calls.pop(key, None)
        if self._ended:
            self.app.loop.call_at(self._ended[0][0], self._disown)

    def _saw(self, sent: bool, message: Message, flow: Flow) -> None:
        key = message.headers.first.get("call-id", "")
        text = f"{flow.transport} {'to' if sent else 'from'} {flow.remote[0]}:{flow.remote[1]}; {safe_text(message)}"
        call = self._calls.get(key)
        if call is not None:
            self._tracer(Traced(call, "sip", sent, message.label, key, text))
            return
        told = self._early.setdefault(key, [])
        if len(told) < MAX_TOLD:
            told.append((sent, message.label, text))
        if len(self._early) > MAX_EARLY:
            self._early.popitem(last=False)


def listening(text: str) -> tuple[str, Address]:
    """ "udp:0.0.0.0:5060" as protocol and address. Raises SipError."""
    protocol, _, rest = text.partition(":")
    host, port = host_port(rest)
    if protocol.upper() not in PORTS or ip_of(host) is None or (port is None and not rest.endswith(":0")):
        raise SipError(f"not an address to listen on: {text!r}")
    return protocol.upper(), (host, port or 0)
