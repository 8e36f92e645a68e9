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
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

import structlog

from gateway.addresses import SipUri
from gateway.sip.agent import Agent, way_back
from gateway.sip.dialogs import Dialog, IncomingRequest
from gateway.sip.digestserver import DigestServer
from gateway.sip.headers import NameAddr, bracketed
from gateway.sip.layer import Address, Flow, Limits, Transmit
from gateway.sip.locate import PORTS
from gateway.sip.message import Message, Request, Response
from gateway.sip.outbound import Outbound
from gateway.sip.overload import Door, Gate, Source, Standing, StandingOf
from gateway.sip.peer import Peer
from gateway.sip.resolver import Permit, Resolve, anyone, resolve
from gateway.sip.transaction import Timers
from gateway.sip.transport import Pace, Room, TlsSettings, Transports
from gateway.sip.usage import ALLOW, METHODS, Dispatch, Ended, Exchange, Finished, Heard, Incoming, Usage

log = structlog.get_logger()

UDP = "UDP"
TCP = "TCP"
TLS = "TLS"
WS = "WS"
WSS = "WSS"

Contact = NameAddr  # aiosip's name
Handler = Callable[[IncomingRequest, Request], Awaitable[None]]
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


def _tokens() -> Iterator[str]:
    """Random words that nobody guesses (RFC 3261 §19.3), for which the system is asked once in a while."""
    while True:
        pool = secrets.token_hex(8 * 512)
        for start in range(0, len(pool), 16):
            yield pool[start : start + 16]


class Application(MutableMapping[str, Any]):
    """One SIP endpoint. As a mapping it keeps whatever the program wants to keep with it.

    `advertise` is our address for Via and Contact behind NAT; `permit` judges every address that a peer or a user
    names; `resolve` asks DNS, by default this machine's name servers; `standing` says who those are that send us
    something new, `digest` who may prove it by a password, and `door` what is let in of that; `tls` has the
    certificates; `trace` sees every message.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        dialplan: BaseDialplan | None = None,
        advertise: str | None = None,
        permit: Permit = anyone,
        resolve: Resolve = resolve,
        trace: Trace | None = None,
        timers: Timers | None = None,
        limits: Limits | None = None,
        tls: TlsSettings | None = None,
        standing: StandingOf | None = None,
        digest: DigestServer | None = None,
        door: Door | None = None,
        pace: Pace | None = None,
        room: Room | None = None,
    ) -> None:
        self._loop = loop
        self.dialplan = dialplan or BaseDialplan()
        self.permit = permit
        self.trace = trace
        self.on_lost: Callable[[int], None] | None = None  # told of every stream that is gone, by its connection
        self.agent = Agent(_tokens().__next__, timers, limits)
        self.transports = Transports(
            self._received,
            self._closed,
            advertise,
            is_trunk=self._is_trunk,
            tls=tls,
            pace=pace,
            room=room,
            on_failure=self._undeliverable,
        )
        self.agent.standing = standing
        self.agent.digest = digest
        self.agent.gate = Gate(door)
        self.agent.backlog = lambda: self.transports.backlog
        self._outbound = Outbound(self.transports, self._permits, self._arrive, resolve)
        self._state: dict[str, Any] = {}
        self._dialogs: dict[Usage, Dialog] = {}
        self._waiting: dict[Exchange, asyncio.Future[Response]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False
        self._closing = False
        self._carry_out: dict[type[Any], Callable[[Any], None]] = {
            Transmit: self._transmit,
            Dispatch: self._dispatch,
            Heard: self._hear,
            Finished: self._finish,
            Incoming: self._take_in,
            Ended: self._end,
        }

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

    @property
    def standing(self) -> StandingOf | None:
        """Who those are that send us something new; without it everybody is heard."""
        return self.agent.standing

    @standing.setter
    def standing(self, standing: StandingOf | None) -> None:
        self.agent.standing = standing

    def prove(self, tls: TlsSettings) -> None:
        """What we show by TLS from now on and what far ends have to prove, from files as they are now. Connections that
        are up stay up; what they proved is no longer enough for new requests where something else is asked.
        """
        self.transports.streams.tls.follow(tls)

    @property
    def turned_away(self) -> Mapping[str, int]:
        """How many requests were not let in, by what became of them: "ignored", "refused", "overloaded" and others."""
        return self.agent.gate.counts

    @property
    def refused(self) -> Mapping[str, int]:
        """How many connections did not get in, by why: "no seat", "certificate", "no tls", "late", "left"."""
        return self.transports.streams.complaints.counts

    def _is_trunk(self, source: Source) -> bool:
        return self.agent.standing is not None and self.agent.standing(source) is Standing.TRUNK

    def now(self) -> float:
        return (self._loop or self.loop).time()

    @property
    def dialogs(self) -> list[Dialog]:
        return list(self._dialogs.values())

    async def run(self, *, protocol: str = UDP, local_addr: Address = ("0.0.0.0", 5060)) -> Address:  # noqa: S104
        """Listen; gives the address bound. Raises OSError."""
        self.loop  # noqa: B018 - from now on we belong to this loop
        bound = await self.transports.listen(protocol, *local_addr)
        if protocol == TCP:
            self.agent.gate.stream = bound[1]
        return bound

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
        if protocol in (None, UDP) and not self.transports.is_listening:
            await self.transports.listen(UDP, *(local_addr or ("0.0.0.0", 0)))  # noqa: S104
        hint = None
        if protocol not in (None, UDP) and not isinstance(remote_addr, (str, SipUri)):
            hint = await self.transports.connect(protocol, remote_addr)
        return Peer(self, next_hop, hint, trusted=trusted)

    async def close(self) -> None:
        """Hang everything up, say what can be said at once, and close the sockets."""
        self._closing = True
        for dialog in self.dialogs:
            dialog.hang_up(503)
        if self._timer is not None:
            self._timer.cancel()
        await self._outbound.close()
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

    def _received(self, data: bytes, flow: Flow, framed: bool) -> bool:
        try:
            message = self.agent.receive(data, flow, self.now(), framed=framed)
        except Exception:  # a bug of ours must not cost the socket; it is logged in full
            log.exception("sip message broke the agent", source=f"{flow.remote[0]}:{flow.remote[1]}")
            message = None
        if message is None:
            log.debug("sip message not taken", source=f"{flow.remote[0]}:{flow.remote[1]}", octets=len(data))
            self.pump()
            return False
        if isinstance(message, Request) and flow.names and message.via.parameter("alias") is not None:
            self.transports.streams.alias(flow.connection, message.via.port or PORTS[flow.transport])
        if self.trace is not None:
            self.trace(False, message, flow)
        self.pump()
        return True

    def _closed(self, connection: int, distrust: str) -> None:
        self.agent.broken(connection, self.now(), distrust)
        self.pump()
        if self.on_lost is not None:
            self.on_lost(connection)

    def _undeliverable(self, quoted: bytes, remote: Address) -> None:
        self.agent.undeliverable(quoted, remote, self.now())
        self.pump()

    def _fire(self) -> None:
        self._timer = None
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
                        self._carry_out[type(output)](output)
                    except Exception:  # a bug in one effect must not swallow the others
                        log.exception("sip effect failed", effect=type(output).__name__)
        finally:
            self._pumping = False
        if self._closing or (self._timer is not None and not self.agent.due_before(self._timer.when())):
            return  # it comes too early at worst, and then looks again; most deadlines are put off, not met
        deadline = self.agent.deadline
        if deadline is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(deadline, self._fire)

    def _dispatch(self, effect: Dispatch) -> None:
        self._outbound.dispatch(effect.exchange)

    def _hear(self, effect: Heard) -> None:
        if (dialog := self._dialogs.get(effect.usage)) is not None:
            dialog.put(effect.message)

    def _finish(self, effect: Finished) -> None:
        future = self._waiting.get(effect.exchange)
        if future is not None and not future.done():
            future.set_result(effect.response)

    def _take_in(self, effect: Incoming) -> None:
        # The dialog is there before its handler runs: a CANCEL may come right behind the INVITE.
        incoming = IncomingRequest(self, effect.usage, effect.request, effect.flow)
        self.adopt(incoming.dialog)
        self._spawn(self._handle(incoming))

    def _end(self, effect: Ended) -> None:
        if (dialog := self._dialogs.pop(effect.usage, None)) is not None:
            dialog.finish()

    def _transmit(self, effect: Transmit) -> None:
        flow, message = effect.flow, effect.message
        try:
            data = bytes(message)
        except ValueError:
            log.error("sip message not sent, it would break the framing", message=repr(message))
            return
        if isinstance(message, Response) and not flow.reliable:
            flow = way_back(message, flow)
        if self.transports.send(flow, data):
            if self.trace is not None:
                self.trace(True, message, flow)
        elif isinstance(message, Response) and flow.reliable:
            self._spawn(self._send_elsewhere(flow, message, data))

    async def _send_elsewhere(self, flow: Flow, response: Response, data: bytes) -> None:
        """The connection of a request is gone: its response goes to where its Via says, at the address that it really
        came from (RFC 3261 §18.2.2). Nobody can be connected to who came by a WebSocket (RFC 7118 §5.2).
        """
        if flow.transport not in ("TCP", "TLS"):
            return
        via = response.via
        domain = next(iter(flow.names), via.host)
        try:
            again = await self.transports.connect(
                flow.transport, (flow.remote[0], via.port or PORTS[flow.transport]), domain
            )
        except OSError as fault:
            log.info("sip response not delivered", call_id=response.call_id, status=response.status, error=str(fault))
            return
        if self.transports.send(again, data) and self.trace is not None:
            self.trace(True, response, again)

    def _spawn(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _permits(self, address: str) -> bool:
        return self.permit(address)

    def _arrive(self, exchange: Exchange, flow: Flow | None) -> None:
        """A way to the next hop was found, or there is none."""
        if flow is None:
            # What becomes of trunks that are asked and registered at has lines of its own, once for each change.
            tell = log.debug if exchange.request.method in ("OPTIONS", "REGISTER") else log.info
            tell(
                "sip next hop not reachable",
                next_hop=exchange.next_hop,
                call_id=exchange.usage.call_id,
                error=exchange.distrust or exchange.obstacle,
            )
            self.agent.unreachable(exchange, self.now())
        else:
            self.agent.launch(exchange, flow, self.now())
        self.pump()

    # Requests for the program

    async def _handle(self, request: IncomingRequest) -> None:
        dialog, message, flow = request.dialog, request.message, request.flow
        method = message.method
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
                dialog.respond(message, 405 if known else 501, headers={"Allow": ALLOW} if known else None)
            else:
                handled = handler(request, message)
                del request, message  # a call may last for hours, and what began it need not
                await handled
        except asyncio.CancelledError:
            raise
        except Exception:  # the handler's bug; its peer gets an answer all the same
            log.exception("sip handler failed", method=method, call_id=dialog.call_id)
            dialog.hang_up(500)
        if not dialog.ended:
            dialog.hang_up()  # a handler that returns has done with it


__all__ = [
    "TCP",
    "TLS",
    "UDP",
    "WS",
    "WSS",
    "Application",
    "BaseDialplan",
    "Contact",
    "Dialog",
    "IncomingRequest",
    "Peer",
]
