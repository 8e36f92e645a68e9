"""The way to a next hop: a flow that is there already, a datagram at once, or what the resolver and a connection give.

Dispatch(exchange) ──> the dialog's own flow | a literal address | resolve ─> Course ─> connect ──> arrive(flow)
                                                                                ^  failed │
                       Dispatch(exchange) after 503, silence, a dead connection ┴─────────┘
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from gateway.addresses import SipUri
from gateway.errors import AddressError
from gateway.sip.headers import bracketed
from gateway.sip.layer import Flow
from gateway.sip.locate import SECURE, Permit, anyone, literal, transport_of
from gateway.sip.resolver import Resolve
from gateway.sip.targets import Course, Penalties, Target, widened
from gateway.sip.tls import UntrustedError
from gateway.sip.transport import Transports
from gateway.sip.usage import Exchange

log = structlog.get_logger()

LARGE = 1300  # octets: larger requests go over TCP where the target lets them (RFC 3261 §18.1.1)
VIA = 120  # octets that our Via will add to a request

Arrive = Callable[[Exchange, Flow | None], None]


class Outbound:
    """`permit` judges every address that a peer or a user names; `arrive` is told of every exchange, once; `resolve`
    asks DNS.
    """

    def __init__(self, transports: Transports, permit: Permit, arrive: Arrive, resolve: Resolve) -> None:
        self._transports = transports
        self._resolve = resolve
        self._judge = permit
        self._arrive = arrive
        self._tasks: set[asyncio.Task[None]] = set()
        self.penalties = Penalties()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def dispatch(self, exchange: Exchange) -> None:
        hint = exchange.hint
        try:
            uri = SipUri.parse(exchange.next_hop)
        except AddressError:
            self._arrive(exchange, hint)
            return
        if exchange.course is not None:
            if hint is not None and hint is exchange.flow and self._usable(hint):
                self._arrive(exchange, hint)  # the same once more, with credentials: to who asked for them
            else:
                self._advance(exchange, uri)
            return
        if hint is not None and self._leads_to(hint, uri):
            self._arrive(exchange, hint)
            return
        large = transport_of(uri) is None and len(bytes(exchange.request)) + VIA > LARGE
        target = literal(uri, self._permit(exchange))
        if target is not None and target.transport == "UDP" and not large:
            self._arrive(exchange, self._datagrams(exchange, target) or hint)
            return
        self._spawn(self._find(exchange, uri, large))

    def _usable(self, flow: Flow) -> bool:
        return not flow.reliable or self._transports.is_open(flow.connection)

    def _leads_to(self, flow: Flow, uri: SipUri) -> bool:
        """Whether a flow that is there already is a way to this URI.

        A stream serves for whatever port its far end names: behind NAT it is the only way, and elsewhere as good as
        one of our own (RFC 5923).
        """
        wanted = transport_of(uri)
        if flow.transport == "UDP":
            return wanted in (None, "UDP") and (uri.host, uri.port or 5060) == flow.remote
        if not self._transports.is_open(flow.connection):
            return False
        if flow.transport in ("WS", "WSS"):
            # A browser cannot be connected to: its Contact is a name that nobody has (RFC 7118 §5.1 and appendix B.1).
            # COMPAT: JsSIP writes transport=ws on a secure connection too.
            return wanted in ("WS", "WSS") and (uri.host.endswith(".invalid") or self._is_host(flow, uri))
        if wanted != flow.transport and (wanted is not None or uri.scheme == "sips"):
            return False
        return self._is_host(flow, uri)

    @staticmethod
    def _is_host(flow: Flow, uri: SipUri) -> bool:
        return uri.host in (flow.remote[0], flow.domain, *flow.names)

    def _permit(self, exchange: Exchange) -> Permit:
        """Whom a far side names is judged, except itself."""
        if exchange.usage.trusted:
            return anyone
        known = exchange.hint.remote[0] if exchange.hint is not None else None
        return lambda address: address == known or self._judge(address)

    async def _find(self, exchange: Exchange, uri: SipUri, large: bool) -> None:
        targets = await self._resolve(uri, self._permit(exchange))
        hint = exchange.hint
        if hint is not None:
            # Of several servers the one that has the dialog (RFC 3263 §4: what follows goes where the first one went).
            targets.sort(key=lambda target: (target.transport, (target.host, target.port)) != _end_of(hint))
        # It has the dialog even while it wants no new ones (503) or was slow: its BYE means nothing to the others.
        owner = Target(hint.transport, *hint.remote) if hint is not None and exchange.dialog is not None else None
        if not targets:
            exchange.obstacle = f"no address that may be asked was found for {uri.host}"
        now = asyncio.get_running_loop().time()
        exchange.course = Course(widened(targets, large=large), self.penalties, now, owner)
        self._advance(exchange, uri)

    def _advance(self, exchange: Exchange, uri: SipUri) -> None:
        """The next target that can be reached at all; at the end of them whence the far side came last."""
        course = exchange.course
        while course is not None and (target := course.advance()) is not None:
            if target.transport != "UDP":
                self._spawn(self._connect(exchange, course, target, uri))
                return
            flow = self._datagrams(exchange, target)
            if flow is not None:
                self._arrive(exchange, flow)
                return
        hint = exchange.hint
        good = hint is not None and self._usable(hint) and (uri.scheme != "sips" or hint.transport in SECURE)
        self._arrive(exchange, hint if good else None)

    def _datagrams(self, exchange: Exchange, target: Target) -> Flow | None:
        """To a target by UDP; None without a socket of its family."""
        flow = self._transports.udp((target.host, target.port))
        if flow is None:
            exchange.obstacle = f"we listen at no UDP address from which {target.host} could be reached"
        return flow

    async def _connect(self, exchange: Exchange, course: Course, target: Target, uri: SipUri) -> None:
        hint, domain = exchange.hint, uri.host
        if hint is not None and hint.remote[0] == target.host:
            # A dialog goes on with whom it began: what he proved then he has to prove again.
            domain = hint.domain or next(iter(hint.names), domain)
        try:
            flow = await self._transports.connect(target.transport, (target.host, target.port), domain)
        except OSError as fault:
            why = os.strerror(fault.errno) if fault.errno else str(fault)  # asyncio's own text says the address again
            exchange.obstacle = f"no connection to {bracketed(target.host)}:{target.port}: {why}"
            if isinstance(fault, UntrustedError):
                exchange.distrust = str(fault)
            log.warning(
                "sip connection failed",
                remote=f"{bracketed(target.host)}:{target.port}",
                transport=target.transport,
                error=str(fault),
                call_id=exchange.usage.call_id,
            )
            course.fail(asyncio.get_running_loop().time())
            self._advance(exchange, uri)
        else:
            self._arrive(exchange, flow)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _end_of(flow: Flow) -> tuple[str, tuple[str, int]]:
    return flow.transport, flow.remote
