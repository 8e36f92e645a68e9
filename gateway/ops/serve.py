"""`gateway run`: everything started in order, watched, and ended in order.

    records, media workers, SIP sockets, web page ── listening ──> XMPP link ──> calls
    SIGHUP: the dialplan and the files of TLS are read anew (reload.py)
    SIGTERM, SIGINT: no new work, every call ended with its cause, records written, workers stopped

Exit code 0 after a signal, 1 when something cannot be used at all: a wrong secret, a taken port, an unusable database.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import structlog

from gateway.accounts import Accounts
from gateway.addresses import SipUri
from gateway.call.causes import Cause
from gateway.call.words import Say
from gateway.config import Config
from gateway.dialplan.plan import Plan
from gateway.errors import GatewayError
from gateway.media.embedded import EmbeddedEngine
from gateway.media.rtpengine import RtpengineEngine
from gateway.ops import log as logs
from gateway.ops.metrics import Direction, Metrics
from gateway.ops.reload import Reloader
from gateway.ops.trace import Recorder
from gateway.ops.web import Health, Web
from gateway.outgoing import account_of
from gateway.reach import Reach
from gateway.routing import DIRECT, Limits
from gateway.sip.application import Application
from gateway.sip.digestserver import DigestServer
from gateway.sip.pings import Pings
from gateway.sip.resolver import Resolver
from gateway.sip.telephony import Account, Telephony
from gateway.storage.bookings import Bookings, BookingsAway
from gateway.storage.records import CallRecord, Records
from gateway.storage.retention import Retention
from gateway.storage.subscriptions import Subscriptions
from gateway.switchboard import Switchboard
from gateway.xmpp.component import Component

log = structlog.get_logger()

Step = Callable[[], Awaitable[None]]

OBSERVING = 5.0  # s between looks at what is alive, for metrics
DRAINING = 10.0  # s that hanging everything up may take


def serve(config: Config) -> int:
    """Run until a signal comes; the process's exit code."""
    logs.configure(config.log_level, config.log_format)
    for warning in config.warnings:
        log.warning("configuration", fault=str(warning))
    return asyncio.run(Gateway(config).run())


def spare_collections() -> None:
    """What is there when calls may come will stay: no collection of garbage need look at it again. And what a call
    makes is mostly gone again by the time of a rarer one, without having been looked at.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


class Gateway:
    """All rooms of one process, wired."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stopping = asyncio.Event()
        self._metrics = Metrics()
        self._records = Records(config.storage_url, on_drop=lambda record: self._metrics.record_dropped())
        days = config.storage_keep_days
        self._retention = Retention(config.storage_url, days) if days else None
        self._subscriptions = Subscriptions(config.storage_url)
        self._bookings = Bookings(config.storage_url)
        self._booked = True  # the last look at it was answered
        self._engine: EmbeddedEngine | RtpengineEngine
        if config.media_engine == "rtpengine":
            self._engine, self._workers = RtpengineEngine(config.rtpengine), len(config.media_rtpengine)
        else:
            self._engine = EmbeddedEngine(config.media)
            self._workers = config.media_workers or len(os.sched_getaffinity(0))
        self._link: asyncio.Task[None] | None = None
        trace = Recorder()
        resolver = Resolver(config.sip_nameservers)
        self._board = Switchboard(
            config.plan,
            self._engine,
            domain=config.xmpp_domain,
            sip_domain=config.sip_domain,
            trace=trace,
            on_begin=self._metrics.call_began,
            on_end=self._ended,
            ladder=trace.take,
            limits=Limits(
                calls=config.calls.most,
                per_user=config.calls.per_user,
                strangers=config.calls.strangers,
                per_name=config.calls.strangers_per_name,
                per_minute=config.calls.strangers_per_minute,
            ),
            say=Say(config.chat_lines),
            language=config.language,
            look_up=resolver.hosts,
            unix_now=time.time,
            accounts=Accounts(self._bookings, on_answer=self._metrics.booked, on_frozen=self._metrics.account_frozen),
            direct=replace(DIRECT, video=config.media_video),
        )
        self._board.routing.ask_enum = resolver.enum
        reach = Reach(config.media_allow)
        # The plan was asked with one answer of DNS and the call is placed with another: a trunk is no direct target.
        app = Application(
            permit=lambda address: reach.permits(address) and not self._board.routing.is_trunk(address),
            resolve=resolver.resolve,
            tls=config.tls,
            door=config.door,
            standing=self._board.routing.standing,
            digest=DigestServer(config.sip_domain, self._board.routing.accounts, secrets.token_bytes(32)),
        )
        self._telephony = Telephony(app, config.sip, self._board.on_sip_call, trace)
        self._component = Component(
            config.xmpp,
            self._board.mappable,
            self._board.on_xmpp_call,
            trace,
            may_call=self._board.routing.may_call,
            has_video=lambda user, local: self._engine.video and self._board.routing.has_video(user, local),
            may_dial=self._board.routing.may_dial,
            on_ignored=self._metrics.stanza_ignored,
            on_subscription=self._subscriptions.put,
        )
        self._board.attach(self._component, self._telephony)
        self._telephony.on_registration = self._metrics.registered
        self._pings = Pings(app, config.sip_domain, self._on_trunk)
        self._down: set[str] = set()  # trunks
        self._board.routing.is_down = self._pings.is_down
        self._accounts: dict[str, Account] = {}
        self._pinged: dict[str, tuple[SipUri, int]] = {}
        self._reloader = Reloader(config, self._adopt, self._metrics.reloaded)
        self._web = Web(config.http_listen, self._metrics, self._health)

    async def run(self) -> int:
        """Start, run, stop. Never raises for what the world did; says it and returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        stops: list[Step] = []
        code = 0
        try:
            rooms: tuple[tuple[Step, Step], ...] = (
                (self._records.start, self._records.stop),
                (self._remember, self._subscriptions.stop),
                (self._bookings.start, self._bookings.stop),
                (self._engine.start, self._engine.stop),
                (self._telephony.start, self._telephony.stop),
                (self._web.start, self._web.stop),
            )
            for start, stop in rooms:
                stops.append(stop)  # a room that failed half-way has something to give back too
                await start()
            if self._retention is not None:
                stops.append(self._retention.stop)
                self._retention.start()
            stops.append(self._pings.stop)
            self._follow(self._config.plan)
            loop.add_signal_handler(signal.SIGHUP, self._reloader.ask)
            spare_collections()
            log.info("listening", sip=list(self._config.sip_listen), http=self._config.http_listen)
            stops.append(self._unlink)
            stops.append(self._drain)
            await self._work()
        except (GatewayError, OSError) as error:
            # One clear line; whoever reads it needs no traceback.
            log.error("the gateway cannot run", reason=str(error))
            code = 1
        for stop in reversed(stops):
            try:
                await stop()
            except (GatewayError, OSError) as error:
                log.warning("not stopped cleanly", reason=str(error))
        log.info("stopped", exit_code=code)
        return code

    def _adopt(self, config: Config) -> None:
        """A dialplan or certificates that have changed: for calls that begin now, for registrations and pings, for who
        sees what.
        """
        self._config = config
        self._board.routing.plan = config.plan
        self._telephony.app.prove(config.tls)
        self._follow(config.plan)
        self._component.refresh()

    def _follow(self, plan: Plan) -> None:
        """Be registered where this plan says so and nowhere else, and ask the trunks that it wants asked."""
        accounts = {trunk.name: account_of(trunk) for trunk in plan.trunks.values() if trunk.register}
        for name in self._accounts.keys() - accounts.keys():
            self._telephony.unregister(name)
            self._metrics.registration_forgotten(name)
        for name, account in accounts.items():
            if self._accounts.get(name) != account:
                self._telephony.register(account)
        self._accounts = accounts
        pinged = {trunk.name: (trunk.proxy, trunk.ping) for trunk in plan.trunks.values() if trunk.ping}
        for name in self._pinged.keys() - pinged.keys():
            self._pings.forget(name)
            self._metrics.trunk_forgotten(name)
            self._down.discard(name)
        for name, (proxy, interval) in pinged.items():
            if self._pinged.get(name) != (proxy, interval):
                self._pings.start({name: proxy}, interval)
        self._pinged = pinged

    def _on_trunk(self, name: str, up: bool) -> None:
        """One that comes back may have lost whom it knew: Kamailio has its registrations in memory as it is shipped."""
        self._metrics.trunk(name, up)
        if not up:
            self._down.add(name)
        elif name in self._down:
            self._down.discard(name)
            self._telephony.register_again(name)

    async def _work(self) -> None:
        """Until a signal, or until something gives up. Raises what it gave up with."""
        self._link = asyncio.create_task(self._component.run())
        beside = [
            asyncio.create_task(self._stopping.wait()),
            asyncio.create_task(self._board.watch_trunks()),
            asyncio.create_task(self._observe()),
            asyncio.create_task(self._reloader.answer()),
        ]
        if self._config.dialplan_watch:
            beside.append(asyncio.create_task(self._reloader.watch()))
        try:
            done, _ = await asyncio.wait((self._link, *beside), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # The link stays up a little longer: calls are hung up through it.
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _remember(self) -> None:
        """Who subscribed in earlier runs is told that we are there, as soon as the link is."""
        self._component.restore(await self._subscriptions.start())

    async def _unlink(self) -> None:
        await self._component.stop()
        if self._link is not None:
            await asyncio.gather(self._link, return_exceptions=True)

    async def _drain(self) -> None:
        log.info("stopping", calls=self._board.live)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAINING):
                await self._board.drain()

    async def _observe(self) -> None:
        await self._component.ready()
        log.info("ready", domain=self._config.xmpp_domain)
        while True:
            health = self._health()
            self._metrics.link(health.link)
            self._metrics.requests_turned_away(self._telephony.app.turned_away)
            self._metrics.connections_refused(self._telephony.app.refused)
            self._metrics.workers(health.workers, health.configured)
            await self._look_at_bookings()
            await asyncio.sleep(OBSERVING)

    async def _look_at_bookings(self) -> None:
        """Whether calls that cost could be made now, where the dialplan knows of any."""
        try:
            if self._config.plan.counts:
                await self._bookings.sweep()  # which writes: a database that can only be read books nothing
            away = False
        except BookingsAway as error:
            away = True
            if self._booked:
                log.warning("calls that cost are refused", reason=str(error))
        self._booked = not away
        self._metrics.bookings_away(away)

    def _health(self) -> Health:
        return Health(self._component.connected, len(self._engine.processes), self._workers, self._booked)

    def _ended(self, record: CallRecord, cause: Cause) -> None:
        self._records.put(record)
        for leg in record.media.values():
            for reason, count in leg.get("dropped", ()):
                self._metrics.packets_dropped(reason, count)
        answered = record.answered
        self._metrics.call_ended(
            cast(Direction, record.direction),
            cause,
            setup=(answered - record.offered).total_seconds() if answered else None,
            length=record.duration if answered else None,
        )
