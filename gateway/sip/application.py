"""The SIP stack for programs, in aiosip's vocabulary: Application, Peer, Dialog, a dialplan that resolves requests.

    app = Application(dialplan=Dialplan())                 async def on_invite(request, message):
    await app.run(local_addr=("0.0.0.0", 5060))                dialog = await request.prepare(status_code=180)
    peer = await app.connect(("192.0.2.1", 5060))              await dialog.reply(message, 200, payload=sdp)
    call = await peer.invite(from_details=…, …)                async for message in dialog: …   # ends on BYE

The stack owns ACK, CANCEL, retransmission, authentication and the 200 to BYE; a program that answers a BYE or a CANCEL
itself does no harm. Everything runs on one event loop, and everything that decides is in the pure Agent below.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

import structlog

from gateway.addresses import SipUri
from gateway.errors import AddressError, SipError
from gateway.sip.agent import Agent
from gateway.sip.digest import Authenticator, Credentials
from gateway.sip.headers import NameAddr, bracketed
from gateway.sip.layer import Address, Flow, Limits, Transmit
from gateway.sip.message import Headers, Message, Request, Response
from gateway.sip.resolver import Permit, Target, anyone, literal, resolve, transport_of
from gateway.sip.transaction import Timers
from gateway.sip.transport import Transports
from gateway.sip.usage import ALLOW, METHODS, Dispatch, Ended, Exchange, Finished, Heard, Incoming, Usage, user_of

log = structlog.get_logger()

UDP = "UDP"
TCP = "TCP"

LARGE = 1300  # octets: larger requests go over TCP where the target lets them (RFC 3261 §18.1.1)
VIA = 120  # octets that our Via will add to a request
MAX_QUEUED = 256  # messages that a program may leave unread in one dialog

Contact = NameAddr  # aiosip's name
Handler = Callable[["IncomingRequest", Request], Awaitable[None]]
Trace = Callable[[bool, Message, Flow], None]  # sent?, message, flow


class BaseDialplan:
    """Who answers which request. `resolve` gives a coroutine function, or None when there is none."""

    def __init__(self) -> None:
        self._users: dict[str, Handler] = {}

    def add_user(self, user: str, handler: Handler) -> None:
        """All requests from this user part go to `handler`."""
        self._users[user] = handler

    async def resolve(
        self, *, method: str, message: Request, protocol: str, local_addr: Address, remote_addr: Address
    ) -> Handler | None:
        return self._users.get(message.from_details.user or "")


class Dialog:
    """One call, subscription, registration or single request. Iterating gives what the far side sends, to the end.

    A call that we place gives each response to its INVITE, a time-out as a local 408 and a dead transport as a local
    503, then the requests inside the dialog. The first final response of 300 or more, BYE and CANCEL are the last.
    """

    def __init__(self, app: Application, usage: Usage) -> None:
        self.app = app
        self.usage = usage
        self.status_code: int | None = None
        self.last: Response | None = None  # the final response to our latest request of a sequence
        self.first: Request | None = None  # the request that began it, when it came in
        self._queue: deque[Message] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._final: Response | None = None
        self._settled = asyncio.Event()  # there is a final response, or there will be none

    @property
    def call_id(self) -> str:
        return self.usage.call_id

    @property
    def ended(self) -> bool:
        return self._ended

    async def ready(self) -> Response:
        """The final response to the request that we began with. Raises SipError when there will be none."""
        await self._settled.wait()
        if self._final is None:
            raise SipError("the dialog ended without a final response", 487)
        return self._final

    async def reply(
        self,
        request: Message,
        status_code: int,
        status_message: str = "",
        *,
        headers: Mapping[str, object] | None = None,
        payload: str | bytes = b"",
    ) -> None:
        """Answer a request. One that has its final response already, as every BYE has, is left alone."""
        self.respond(request, status_code, status_message, headers=headers, payload=payload)

    def respond(
        self,
        request: Message,
        status_code: int,
        status_message: str = "",
        *,
        headers: Mapping[str, object] | None = None,
        payload: str | bytes = b"",
    ) -> None:
        """What `reply` does, for callers that cannot wait."""
        if isinstance(request, Request):
            self.status_code = status_code
            fields, body = _content(headers, payload)
            self.usage.reply(request, status_code, fields, self.app.now(), reason=status_message, body=body)
            self.app.pump()

    async def request(
        self, method: str, *, headers: Mapping[str, object] | None = None, payload: str | bytes = b""
    ) -> Response:
        """Send a request inside the dialog and wait for its final response. Raises SipError when there is no dialog."""
        fields, body = _content(headers, payload)
        exchange = self.usage.ask(method, fields, body, self.app.now())
        if exchange is None:
            raise SipError("there is no dialog", 481)
        return await self.app.outcome(exchange)

    async def notify(self, *, payload: str | bytes = b"", headers: Mapping[str, object] | None = None) -> Response:
        """A NOTIFY of the subscription that this dialog is."""
        event = self.first.headers.get("Event") if self.first is not None else None
        fields: dict[str, object] = {"Event": event or "presence", "Subscription-State": "active", **(headers or {})}
        return await self.request("NOTIFY", headers=fields, payload=payload)

    async def close(self, status_code: int = 480, *, headers: Mapping[str, object] | None = None) -> None:
        """End it, whatever that takes: CANCEL, BYE, or a final response of `status_code`."""
        self.hang_up(status_code, headers=headers)

    def hang_up(self, status_code: int = 480, *, headers: Mapping[str, object] | None = None) -> None:
        """What `close` does, for callers that cannot wait."""
        fields, _ = _content(headers, b"")
        self.usage.close(status_code, fields, self.app.now())
        self.app.pump()

    async def wait_for_terminate(self) -> AsyncIterator[Response]:
        """The responses to our INVITE up to the final one, which ends this iteration but not the call."""
        async for message in self:
            if isinstance(message, Response):
                yield message
                if message.status >= 200:
                    return

    def __aiter__(self) -> Dialog:
        return self

    async def __anext__(self) -> Message:
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    async def __aenter__(self) -> Dialog:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # The application's side

    def put(self, message: Message) -> None:
        if isinstance(message, Response):
            self.status_code = message.status
            if message.status >= 200:
                self.settle(message)
        elif isinstance(message, Request) and len(self._queue) >= MAX_QUEUED and message.method != "BYE":
            self.respond(message, 503)
            return
        self._queue.append(message)
        self._wake.set()

    def settle(self, response: Response) -> None:
        self._final = self._final or response
        self._settled.set()

    def finish(self) -> None:
        self._ended = True
        self._settled.set()
        self._wake.set()


class IncomingRequest:
    """A request that the dialplan gave to a handler."""

    def __init__(self, app: Application, usage: Usage, message: Request, flow: Flow) -> None:
        self.app = app
        self.message = message
        self.flow = flow
        self.dialog = Dialog(app, usage)
        self.dialog.first = message

    async def prepare(
        self,
        status_code: int,
        *,
        headers: Mapping[str, object] | None = None,
        payload: str | bytes = b"",
    ) -> Dialog:
        """Answer for the first time, and get the dialog. The 100 of an INVITE has been sent already."""
        if status_code > 100:
            self.dialog.respond(self.message, status_code, headers=headers, payload=payload)
        return self.dialog


class Peer:
    """A far end: whom our requests go to, until a route set says otherwise."""

    def __init__(self, app: Application, next_hop: str, hint: Flow | None, *, trusted: bool) -> None:
        self.app = app
        self.next_hop = next_hop
        self._hint = hint
        self._trusted = trusted

    async def invite(
        self,
        *,
        from_details: NameAddr,
        to_details: NameAddr,
        headers: Mapping[str, object] | None = None,
        payload: str | bytes = b"",
        password: str | None = None,
        username: str | None = None,
        uri: str | None = None,
        max_forwards: int = 70,
        call_id: str = "",
    ) -> Dialog:
        """Place a call; the dialog is given at once, and its iteration tells how it goes.

        `uri` is the Request-URI when it is not that of `to_details`; `username` for digest is the From's by default.
        """
        session = self.app.agent.client(call_id)
        self._identify(session, from_details, username, password)
        request = _request("INVITE", session, from_details, to_details, uri=uri, max_forwards=max_forwards)
        request.headers.add("Allow", ALLOW)
        _fill(request, headers, payload)
        dialog = Dialog(self.app, session)
        self.app.adopt(dialog)
        session.invite(request, self.next_hop, hint=self._hint)
        self.app.pump()
        return dialog

    async def request(
        self,
        method: str,
        *,
        from_details: NameAddr,
        to_details: NameAddr,
        headers: Mapping[str, object] | None = None,
        payload: str | bytes = b"",
        password: str | None = None,
        username: str | None = None,
        uri: str | None = None,
        max_forwards: int = 70,
        dialog: Dialog | None = None,
    ) -> Dialog:
        """Send a request and wait for its final response, `dialog.status_code` then. With `dialog` it is the next one
        of that sequence, as REGISTER wants it (RFC 3261 §10.2)."""
        usage = dialog.usage if dialog is not None else self.app.agent.usage()
        self._identify(usage, from_details, username, password)
        request = _request(method, usage, from_details, to_details, uri=uri, max_forwards=max_forwards)
        _fill(request, headers, payload)
        dialog = dialog or Dialog(self.app, usage)
        self.app.adopt(dialog)
        response = await self.app.outcome(usage.start(request, self.next_hop, hint=self._hint))
        dialog.status_code = response.status
        dialog.last = response
        dialog.settle(response)
        return dialog

    async def register(
        self,
        *,
        from_details: NameAddr,
        to_details: NameAddr,
        contact_details: NameAddr | None = None,
        expires: int = 3600,
        headers: Mapping[str, object] | None = None,
        **others: Any,
    ) -> Dialog:
        fields: dict[str, object] = {"Expires": expires, **(headers or {})}
        if contact_details is not None:
            fields["Contact"] = contact_details
        uri = others.pop("uri", None) or f"sip:{bracketed(to_details.host)}"
        return await self.request(
            "REGISTER", from_details=from_details, to_details=to_details, headers=fields, uri=uri, **others
        )

    async def subscribe(
        self,
        *,
        from_details: NameAddr,
        to_details: NameAddr,
        expires: int = 3600,
        headers: Mapping[str, object] | None = None,
        **others: Any,
    ) -> Dialog:
        fields: dict[str, object] = {"Event": "presence", "Expires": expires, **(headers or {})}
        return await self.request(
            "SUBSCRIBE", from_details=from_details, to_details=to_details, headers=fields, **others
        )

    def _identify(self, usage: Usage, from_details: NameAddr, username: str | None, password: str | None) -> None:
        """Who we are in this usage, and with which credentials."""
        usage.contact_user = user_of(from_details)
        usage.trusted = self._trusted
        if password is not None and usage.authenticator is None:
            credentials = Credentials(username if username is not None else usage.contact_user, password)
            usage.authenticator = Authenticator(credentials, secrets.token_hex)


def _request(
    method: str, usage: Usage, from_details: NameAddr, to_details: NameAddr, *, uri: str | None, max_forwards: int
) -> Request:
    """The first request of a usage; it numbers it."""
    fields = Headers()
    fields.add("Max-Forwards", str(max_forwards))
    fields.add("From", str(from_details.with_tag(usage.tag)))
    fields.add("To", str(to_details))
    fields.add("Call-ID", usage.call_id)
    return Request(method, uri or to_details.uri, fields)


def _fill(request: Request, headers: Mapping[str, object] | None, payload: str | bytes) -> None:
    """Raises ValueError for a field with a line break: a local mistake, told to whoever made it."""
    extra, request.body = _content(headers, payload)
    for name, value in extra:
        request.headers.add(name, value)
    bytes(request)


class Application(MutableMapping[str, Any]):
    """One SIP endpoint. As a mapping it keeps whatever the program wants to keep with it.

    `advertise` is our address for Via and Contact behind NAT; `permit` judges every address that a peer or a user
    names; `trace` sees every message.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        dialplan: BaseDialplan | None = None,
        advertise: str | None = None,
        permit: Permit = anyone,
        trace: Trace | None = None,
        timers: Timers | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._loop = loop
        self.dialplan = dialplan or BaseDialplan()
        self.permit = permit
        self.trace = trace
        self.agent = Agent(lambda: secrets.token_hex(8), timers, limits)
        self.transports = Transports(self._received, self._closed, advertise)
        self._state: dict[str, Any] = {}
        self._dialogs: dict[Usage, Dialog] = {}
        self._waiting: dict[Exchange, asyncio.Future[Response]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False
        self._closing = False

    # What programs use

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    @property
    def advertise(self) -> str | None:
        """What Via and Contact say in place of our own address."""
        return self.transports.advertise

    @advertise.setter
    def advertise(self, address: str | None) -> None:
        self.transports.advertise = address

    def now(self) -> float:
        return self.loop.time()

    @property
    def dialogs(self) -> list[Dialog]:
        return list(self._dialogs.values())

    async def run(self, *, protocol: str = UDP, local_addr: Address = ("0.0.0.0", 5060)) -> Address:  # noqa: S104
        """Listen; gives the address bound. Raises OSError."""
        self.loop  # noqa: B018 - from now on we belong to this loop
        return await self.transports.listen(protocol, *local_addr)

    async def connect(
        self,
        remote_addr: Address | str | SipUri,
        protocol: str | None = None,
        *,
        local_addr: Address | None = None,
        trusted: bool = False,
    ) -> Peer:
        """A peer at an address or a URI. A stream is opened at once, and raises OSError when it cannot be.

        `trusted`: somebody configured this peer, so its addresses need no permit.
        """
        if isinstance(remote_addr, (str, SipUri)):
            next_hop = str(remote_addr)
        else:
            suffix = f";transport={protocol.lower()}" if protocol is not None else ""
            next_hop = f"sip:{bracketed(remote_addr[0])}:{remote_addr[1]}{suffix}"
        if protocol in (None, UDP) and not self.transports.listening:
            await self.transports.listen(UDP, *(local_addr or ("0.0.0.0", 0)))  # noqa: S104
        hint = None
        if protocol == TCP and not isinstance(remote_addr, (str, SipUri)):
            hint = await self.transports.tcp(remote_addr)
        return Peer(self, next_hop, hint, trusted=trusted)

    async def close(self) -> None:
        """Hang everything up, say what can be said at once, and close the sockets."""
        self._closing = True
        for dialog in self.dialogs:
            dialog.hang_up(503)
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for dialog in self.dialogs:
            dialog.finish()
        self._dialogs.clear()
        for future in self._waiting.values():
            future.cancel()
        await self.transports.close()

    def __getitem__(self, key: str) -> Any:
        return self._state[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._state[key] = value

    def __delitem__(self, key: str) -> None:
        del self._state[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    # What dialogs use

    def adopt(self, dialog: Dialog) -> None:
        self._dialogs.setdefault(dialog.usage, dialog)

    async def outcome(self, exchange: Exchange) -> Response:
        """The final response to a request."""
        future: asyncio.Future[Response] = self.loop.create_future()
        self._waiting[exchange] = future
        self.pump()
        try:
            return await future
        finally:
            self._waiting.pop(exchange, None)

    # The agent's effects

    def _received(self, data: bytes, flow: Flow, framed: bool) -> None:
        try:
            message = self.agent.receive(data, flow, self.now(), framed=framed)
        except Exception:  # a bug of ours must not cost the socket; it is logged in full
            log.exception("sip message broke the agent", source=f"{flow.remote[0]}:{flow.remote[1]}")
            message = None
        if message is None:
            log.debug("sip message not taken", source=f"{flow.remote[0]}:{flow.remote[1]}", octets=len(data))
        elif self.trace is not None:
            self.trace(False, message, flow)
        self.pump()

    def _closed(self, connection: int) -> None:
        self.agent.broken(connection, self.now())
        self.pump()

    def _fire(self) -> None:
        self.agent.fire(self.now())
        self.pump()

    def pump(self) -> None:
        """Carry out what the agent wants, and wake up when it wants to be woken."""
        if self._pumping:
            return  # an effect asked for another; the loop below takes it
        self._pumping = True
        try:
            while outputs := self.agent.take():
                for output in outputs:
                    try:
                        self._carry_out(output)
                    except Exception:  # a bug in one effect must not swallow the others
                        log.exception("sip effect failed", effect=type(output).__name__)
        finally:
            self._pumping = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.agent.deadline
        if deadline is not None and not self._closing:
            self._timer = self.loop.call_at(deadline, self._fire)

    def _carry_out(self, output: object) -> None:
        match output:
            case Transmit(flow, message):
                self._transmit(flow, message)
            case Dispatch(exchange):
                self._dispatch(exchange)
            case Heard(usage, message):
                if (dialog := self._dialogs.get(usage)) is not None:
                    dialog.put(message)
            case Finished(exchange, response):
                future = self._waiting.get(exchange)
                if future is not None and not future.done():
                    future.set_result(response)
            case Incoming(usage, message, flow):
                # The dialog is there before its handler runs: a CANCEL may come right behind the INVITE.
                incoming = IncomingRequest(self, usage, message, flow)
                self.adopt(incoming.dialog)
                self._spawn(self._handle(incoming))
            case Ended(usage):
                if (dialog := self._dialogs.pop(usage, None)) is not None:
                    dialog.finish()

    def _transmit(self, flow: Flow, message: Message) -> None:
        try:
            data = bytes(message)
        except ValueError:
            log.error("sip message not sent, it would break the framing", message=repr(message))
            return
        if self.transports.send(flow, data) and self.trace is not None:
            self.trace(True, message, flow)

    def _spawn(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Ways to a next hop

    def _dispatch(self, exchange: Exchange) -> None:
        try:
            uri = SipUri.parse(exchange.next_hop)
        except AddressError:
            self._arrive(exchange, exchange.hint)
            return
        hint = exchange.hint
        wanted = transport_of(uri)
        if hint is not None and wanted in (None, hint.transport) and self._leads_to(hint, uri):
            self._arrive(exchange, hint)
            return
        large = wanted is None and len(bytes(exchange.request)) + VIA > LARGE
        target = literal(uri, self._permit(exchange))
        if target is not None and target.transport == UDP and not large:
            self._arrive(exchange, self.transports.udp((target.host, target.port)) or hint)
            return
        self._spawn(self._find(exchange, uri, large))

    def _leads_to(self, flow: Flow, uri: SipUri) -> bool:
        """Whether a flow that is there already is a way to this URI.

        A stream serves for whatever port its far end names: behind NAT it is the only way, and elsewhere as good as
        one of our own (RFC 5923).
        """
        if flow.transport == UDP:
            return (uri.host, uri.port or 5060) == flow.remote
        return uri.host == flow.remote[0] and self.transports.is_open(flow.connection)

    def _permit(self, exchange: Exchange) -> Permit:
        """Whom a far side names is judged, except itself."""
        if exchange.usage.trusted:
            return anyone
        known = exchange.hint.remote[0] if exchange.hint is not None else None
        return lambda address: address == known or self.permit(address)

    async def _find(self, exchange: Exchange, uri: SipUri, large: bool) -> None:
        flow: Flow | None = None
        for target in await resolve(uri, self._permit(exchange)):
            flow = await self._reach(target, large)
            if flow is not None:
                break
        self._arrive(exchange, flow or exchange.hint)

    async def _reach(self, target: Target, large: bool) -> Flow | None:
        remote = (target.host, target.port)
        if target.transport == TCP or large:
            try:
                return await self.transports.tcp(remote)
            except OSError as fault:
                log.info("sip connection failed", remote=f"{target.host}:{target.port}", error=str(fault))
                if target.transport == TCP:
                    return None
        return self.transports.udp(remote)

    def _arrive(self, exchange: Exchange, flow: Flow | None) -> None:
        if flow is None:
            log.info("sip next hop not reachable", next_hop=exchange.next_hop, call_id=exchange.usage.call_id)
            self.agent.unreachable(exchange, self.now())
        else:
            self.agent.launch(exchange, flow, self.now())
        self.pump()

    # Requests for the program

    async def _handle(self, request: IncomingRequest) -> None:
        message, flow = request.message, request.flow
        try:
            handler = await self.dialplan.resolve(
                method=message.method,
                message=message,
                protocol=flow.transport,
                local_addr=flow.local,
                remote_addr=flow.remote,
            )
            if handler is None:
                known = message.method in METHODS
                request.dialog.respond(message, 405 if known else 501, headers={"Allow": ALLOW} if known else None)
            else:
                await handler(request, message)
        except asyncio.CancelledError:
            raise
        except Exception:  # the handler's bug; its peer gets an answer all the same
            log.exception("sip handler failed", method=message.method, call_id=request.dialog.call_id)
            request.dialog.respond(message, 500)
        if not request.dialog.ended:
            request.dialog.hang_up()  # a handler that returns has done with it


def _content(headers: Mapping[str, object] | None, payload: str | bytes) -> tuple[Headers, bytes]:
    """Headers and body of a message; SDP is what a body is when nobody says otherwise. Raises ValueError."""
    fields = Headers((name, str(value)) for name, value in (headers or {}).items())
    bytes(Request("OPTIONS", "sip:", fields))  # for its check
    body = payload.encode() if isinstance(payload, str) else payload
    if body and "Content-Type" not in fields:
        fields.add("Content-Type", "application/sdp")
    return fields, body


__all__ = ["TCP", "UDP", "Application", "BaseDialplan", "Contact", "Dialog", "IncomingRequest", "Peer"]
