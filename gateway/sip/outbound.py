"""The way to a next hop: a flow that is there already, a datagram at once, or what the resolver and a connection give.

Dispatch(exchange) ──> the dialog's own flow | a literal address | resolve ──> connect ──> arrive(exchange, flow)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from gateway.addresses import SipUri
from gateway.errors import AddressError
from gateway.sip.layer import Flow
from gateway.sip.resolver import Permit, Target, anyone, literal, resolve, transport_of
from gateway.sip.transport import Transports
from gateway.sip.usage import Exchange

log = structlog.get_logger()

LARGE = 1300  # octets: larger requests go over TCP where the target lets them (RFC 3261 §18.1.1)
VIA = 120  # octets that our Via will add to a request

Arrive = Callable[[Exchange, Flow | None], None]


class Outbound:
    """`permit` judges every address that a peer or a user names; `arrive` is told of every exchange, once."""

    def __init__(self, transports: Transports, permit: Permit, arrive: Arrive) -> None:
        self._transports = transports
        self._judge = permit
        self._arrive = arrive
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def dispatch(self, exchange: Exchange) -> None:
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
        if target is not None and target.transport == "UDP" and not large:
            self._arrive(exchange, self._transports.udp((target.host, target.port)) or hint)
            return
        self._spawn(self._find(exchange, uri, large))

    def _leads_to(self, flow: Flow, uri: SipUri) -> bool:
        """Whether a flow that is there already is a way to this URI.

        A stream serves for whatever port its far end names: behind NAT it is the only way, and elsewhere as good as
        one of our own (RFC 5923).
        """
        if flow.transport == "UDP":
            return (uri.host, uri.port or 5060) == flow.remote
        return uri.host == flow.remote[0] and self._transports.is_open(flow.connection)

    def _permit(self, exchange: Exchange) -> Permit:
        """Whom a far side names is judged, except itself."""
        if exchange.usage.trusted:
            return anyone
        known = exchange.hint.remote[0] if exchange.hint is not None else None
        return lambda address: address == known or self._judge(address)

    async def _find(self, exchange: Exchange, uri: SipUri, large: bool) -> None:
        flow: Flow | None = None
        for target in await resolve(uri, self._permit(exchange)):
            flow = await self._reach(target, large)
            if flow is not None:
                break
        self._arrive(exchange, flow or exchange.hint)

    async def _reach(self, target: Target, large: bool) -> Flow | None:
        remote = (target.host, target.port)
        if target.transport == "TCP" or large:
            try:
                return await self._transports.tcp(remote)
            except OSError as fault:
                log.info("sip connection failed", remote=f"{target.host}:{target.port}", error=str(fault))
                if target.transport == "TCP":
                    return None
        return self._transports.udp(remote)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
