"""The link to the XMPP server (XEP-0114), and the only place that knows slixmpp.

slixmpp does the stream, the handshake and the serialising. Its handlers, roster and plugins are out of play: one filter
takes every stanza's element to the router before a handler could see it. Of the roster this matters most: it would keep
1.5 kB of each stranger who sends presence.

    run():  connect ── handshake ──> connected ── lost ──> wait (back-off) ──> connect
               │ refused by name or secret                    │ stop()
               ▼                                              ▼
            LinkRefusedError                                    returns
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import socket
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import structlog
from slixmpp import JID, InvalidJID
from slixmpp.componentxmpp import ComponentXMPP
from slixmpp.xmlstream.stanzabase import StanzaBase
from slixmpp.xmlstream.tostring import tostring

from gateway.call.causes import Cause
from gateway.call.events import HungUp, Leg, Report
from gateway.call.leg import LegControl, Sink
from gateway.call.trace import Tracer
from gateway.errors import GatewayError
from gateway.session.model import Session
from gateway.xmpp import chat, disco, stanzas
from gateway.xmpp.calls import RINGING_AFTER
from gateway.xmpp.router import IncomingCall, OnCall, Router
from gateway.xmpp.subscriptions import Changed

__all__ = ["Component", "IncomingCall", "LinkRefusedError", "XmppSettings"]

log = structlog.get_logger()

FIRST_WAIT = 1.0  # seconds before the second attempt
LONGEST_WAIT = 60.0
HANDSHAKE_WITHIN = 15.0  # seconds, connection included
UNACKNOWLEDGED = 30  # seconds of silence on TCP's level after which the link is lost
AT_ONCE = 200  # farewells that are written before others have their turn
MOST_UNSENT = 32 * 1024 * 1024  # octets that the server may leave unread before the link counts as lost

_STREAMS = "{http://etherx.jabber.org/streams}"
_STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
_HANDSHAKE = f"{{{stanzas.STREAM}}}handshake"

# What no amount of waiting repairs: RFC 6120 §4.9.3, as Prosody and ejabberd use them for components.
_HOPELESS = {
    "not-authorized": "the secret is wrong",
    "host-unknown": "the server has no such component",
}


class Backoff:
    """Waiting times: doubling from FIRST_WAIT to LONGEST_WAIT, each cut by up to a half.

    The cut keeps the components of a restarted server from coming in step.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._next = FIRST_WAIT

    def wait(self) -> float:
        """Seconds until the next attempt."""
        wait, self._next = self._next, min(LONGEST_WAIT, self._next * 2)
        return wait * (0.5 + self._jitter() / 2)

    def reset(self) -> None:
        """An attempt succeeded."""
        self._next = FIRST_WAIT


class LinkRefusedError(GatewayError):
    """The XMPP server refuses this component, and will go on doing so until somebody changes the configuration."""


@dataclass(frozen=True, slots=True)
class XmppSettings:
    """The room's settings: where the server is, who we are, and whose users are ours."""

    domain: str  # of the component
    host: str
    port: int
    secret: str = field(repr=False)
    users: tuple[str, ...]  # domains whose users may call out and be called
    grace: float = 60.0  # seconds for which calls outlive the link
    ringing_after: float | None = RINGING_AFTER  # seconds until a subscribed caller is told that it rings; None: never
    chat_dtmf: bool = False  # whether `#123` in a chat during a call is dialled
    inline_candidates: bool = False  # ask clients for all ICE candidates at once


class Link(ComponentXMPP):
    """One slixmpp component that hands every element to `receive` and leaves reconnecting to us."""

    def __init__(self, settings: XmppSettings, receive: Callable[[ET.Element], None]) -> None:
        # Without fix_error_ns slixmpp reads each bounced stanza as feature-not-implemented. We read elements ourselves,
        # but what it says in our name has to be right too.
        super().__init__(  # type: ignore[no-untyped-call]  # slixmpp types most of itself, not this
            settings.domain, settings.secret, settings.host, settings.port, fix_error_ns=True
        )
        self.auto_authorize = None
        self._receive = receive
        self.add_filter("in", self._take)

    def _take(self, stanza: StanzaBase) -> StanzaBase | None:
        if stanza.xml.tag == _HANDSHAKE:
            return stanza
        self._receive(stanza.xml)
        return None

    def reschedule_connection_attempt(self) -> None:
        """Not here: the component waits its own time."""

    def write(self, stanza: ET.Element) -> None:
        """Serialise and send. Raises slixmpp's NotConnectedError, which the caller has made impossible."""
        self.send_raw(stanzas.legal(tostring(stanza, xmlns=self.default_ns, stream=self, top_level=True)))

    def notice_silence(self) -> None:
        """Let the kernel give up a server that acknowledges nothing: a machine that died looks like silence."""
        connection = self.transport.get_extra_info("socket") if self.transport else None
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, UNACKNOWLEDGED)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    @property
    def unsent(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport else 0

    def close(self) -> None:
        """Drop the connection and the task that slixmpp keeps for its send queue, which it would leave running."""
        self.cancel_connection_attempt()
        self.abort()
        if self._run_out_filters is not None:
            self._run_out_filters.cancel()


class Component:
    """The XMPP room: `mappable` says which local parts are contacts, `on_call` takes calls, `trace` their messages.

    `may_call` (user's bare JID, local part) and `may_dial` (user's bare JID) say what the dialplan lets a user call:
    this contact, any number; `has_video`, as may_call, whether with video. They are asked for each presence, so they
    have to be quick. `on_ignored` counts what was dropped, `on_subscription` keeps user, contact and their ties for
    `restore`.
    """

    def __init__(
        self,
        settings: XmppSettings,
        mappable: Callable[[str], bool],
        on_call: OnCall,
        trace: Tracer,
        *,
        may_call: Callable[[str, str], bool] = lambda user, local: True,
        may_dial: Callable[[str], bool] = lambda user: True,
        has_video: Callable[[str, str], bool] = lambda user, local: False,
        on_ignored: Callable[[str], None] = lambda reason: None,
        on_subscription: Changed = lambda user, contact, ties: None,
    ) -> None:
        self._settings = settings
        self._backoff = Backoff()
        self._link: Link | None = None
        self._stopping = asyncio.Event()
        self._lost = asyncio.Event()
        self._ready = asyncio.Event()
        self._refusal: tuple[str, str] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._router = Router(
            settings.domain,
            settings.users,
            mappable=mappable,
            on_call=on_call,
            send=self._send,
            tell=self._tell,
            trace=trace,
            clock=self._clock,
            rearm=self._arm,
            new_sid=lambda: secrets.token_hex(10),
            grace=settings.grace,
            ringing_after=settings.ringing_after,
            chat_dtmf=settings.chat_dtmf,
            version=_version(),
            may_call=may_call,
            may_dial=may_dial,
            has_video=has_video,
            on_ignored=on_ignored,
            on_subscription=on_subscription,
            unix_now=time.time,
            sets=disco.sets(inline_candidates=settings.inline_candidates),
        )

    @property
    def connected(self) -> bool:
        """Whether the server takes our stanzas now."""
        return self._router.connected

    async def ready(self) -> None:
        """Until the server takes our stanzas."""
        await self._ready.wait()

    def callee(
        self, call: str, attempt: int, user: str, contact: str, sink: Sink, *, ask_presence: bool = True
    ) -> LegControl:
        """A leg that calls `user` (bare JID) from `contact` (bare JID). What is no JID fails when it is dialled.

        `ask_presence`: whether his devices are asked for their presence, which a stranger's call must not cause.
        """
        try:
            prepared = _prepared(user), _prepared(contact)
        except InvalidJID as error:
            log.warning("no such address", call=call, user=user[:200], contact=contact[:200], reason=str(error))
            never = HungUp(Leg.CALLEE, Cause.NOT_FOUND, attempt, str(error)[:200])
            return _Unreachable(lambda: self._tell(sink, never))
        return self._router.callee(call, attempt, *prepared, sink, ask_presence=ask_presence)

    def say(self, user: str, contact: str, id: str, bodies: Sequence[tuple[str, str]]) -> None:
        """A line in the user's conversation with a contact (bare JIDs), in one language after the other."""
        self._send(chat.line(user, contact, id, bodies))

    def restore(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """The subscriptions of an earlier run, as `on_subscription` was told them. Before run()."""
        self._router.presences.restore(rows)

    def subscribed(self, user: str, contact: str) -> bool:
        """Whether user and contact (bare JIDs) see each other's presence."""
        return self._router.presences.subscribed(user, contact)

    def refresh(self) -> None:
        """The dialplan may allow other things now: subscribers are shown what changed for them."""
        self._router.presences.refresh(self._clock())
        self._arm()

    async def run(self) -> None:
        """Keep the link until stop(). Raises LinkRefusedError when the server will never take us."""
        try:
            while not self._stopping.is_set():
                if await self._connect():
                    self._backoff.reset()
                    log.info("connected to the XMPP server", domain=self._settings.domain)
                    self._router.link_up()
                    self._ready.set()
                    await self._first(self._lost.wait())
                self._disconnect()
                self._raise_if_hopeless()
                if not self._stopping.is_set():
                    pause = self._backoff.wait()
                    log.warning("no link to the XMPP server", server=self._server, again_in=round(pause, 1))
                    await self._first(asyncio.sleep(pause))
        finally:
            self._disconnect()
            if self._timer is not None:
                self._timer.cancel()

    async def stop(self) -> None:
        """Have run() return. What was sent before is flushed, as far as the server reads it within two seconds."""
        link = self._link
        if link is not None and self.connected:
            for number, stanza in enumerate(self._router.farewell()):
                self._send(stanza)
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await link.disconnect(wait=1.0)
        self._stopping.set()

    # --- the link

    async def _connect(self) -> bool:
        """One attempt: connection and handshake."""
        self._lost.clear()
        self._refusal = None
        link = self._link = Link(self._settings, self._received)
        ready = asyncio.Event()
        link.add_event_handler("session_start", lambda _: ready.set())
        link.add_event_handler("disconnected", lambda _: self._on_lost(link))
        link.add_event_handler("connection_failed", self._failed)
        link.connect(self._settings.host, self._settings.port)
        await self._first(ready.wait(), self._lost.wait(), asyncio.sleep(HANDSHAKE_WITHIN))
        link.notice_silence()
        return ready.is_set() and not self._lost.is_set()

    async def _first(self, *waits: Any) -> None:
        """Until one of these is over, or stop() was called."""
        tasks = [asyncio.ensure_future(wait) for wait in (*waits, self._stopping.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _failed(self, reason: object) -> None:
        log.warning("cannot connect to the XMPP server", server=self._server, reason=str(reason))
        self._lost.set()

    def _on_lost(self, link: Link | None = None) -> None:
        """At once, so that what is said from here on waits for the next link. An older link's end is no news."""
        if link is None or link is self._link:
            self._ready.clear()
            self._lost.set()
            self._router.link_down()

    def _disconnect(self) -> None:
        link, self._link = self._link, None
        self._on_lost()
        if link is not None:
            link.close()

    def _raise_if_hopeless(self) -> None:
        condition, text = self._refusal or ("", "")
        if condition in _HOPELESS:
            said = f" ({text})" if text else ""
            raise LinkRefusedError(
                f"{self._server} refuses the component {self._settings.domain}: {_HOPELESS[condition]}{said}"
            )

    @property
    def _server(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    # --- stanzas

    def _received(self, element: ET.Element) -> None:
        """From slixmpp, which must not see an exception."""
        if element.tag == f"{_STREAMS}error":
            self._refused(element)
            return
        try:
            self._router.receive(element)
        except Exception:
            log.exception("a stanza could not be handled", stanza=stanzas.describe(element)[0])
            if element.tag == stanzas.IQ and element.get("type") in ("get", "set"):
                self._send(stanzas.error(element, "internal-server-error"))

    def _refused(self, element: ET.Element) -> None:
        condition, text = "undefined-condition", ""
        for child in element:
            space, name = stanzas.split(child)
            if space == _STREAM_ERRORS and name == "text":
                text = (child.text or "")[:200]
            elif space == _STREAM_ERRORS:
                condition = name
        self._refusal = (condition, text)
        log.warning("the XMPP server ends the stream", condition=condition, text=text)
        self._on_lost()

    def _send(self, stanza: ET.Element) -> None:
        link = self._link
        if link is None or not link.is_connected():
            return  # lost a moment ago; run() is about to say so
        link.write(stanza)
        if link.unsent > MOST_UNSENT:
            log.error("the XMPP server does not read", unsent=link.unsent)
            link.abort()

    def _tell(self, sink: Sink, report: Report) -> None:
        """Later: never from within a call of LegControl."""
        asyncio.get_running_loop().call_soon(sink, report)

    # --- time

    def _clock(self) -> float:
        return asyncio.get_running_loop().time()

    def _arm(self) -> None:
        """One timer for the room. One that comes too early finds nothing to do, and is cheaper than being replaced."""
        deadline = self._router.deadline
        if self._timer is not None and deadline is not None and deadline < self._timer.when():
            self._timer.cancel()
            self._timer = None
        if self._timer is None and deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        try:
            self._router.tick()
        except Exception:
            log.exception("a deadline could not be handled")
        self._arm()


class _Unreachable:
    """LegControl of a call to what is no address."""

    def __init__(self, dialled: Callable[[], None]) -> None:
        self._dialled = dialled

    def dial(self, offer: Session) -> None:
        self._dialled()

    def alert(self) -> None:
        pass

    def progress(self) -> None:
        pass

    def ask(self, offer: Session | None = None) -> None:
        pass

    def answer(self, session: Session) -> None:
        pass

    def reanswer(self, session: Session | None) -> None:
        pass

    def hold(self, held: bool, offer: Session) -> None:
        pass

    def restart(self, session: Session) -> None:
        pass

    def dial_digits(self, digits: str, duration: int) -> None:
        pass

    def ask_picture(self) -> None:
        pass

    def transferred(self, cause: Cause | None) -> None:
        pass

    def hang_up(self, cause: Cause, text: str = "", q850: int | None = None) -> None:
        pass


def _prepared(jid: str) -> str:
    """The bare JID as servers write it. Raises InvalidJID, for one without a local part too."""
    prepared = JID(jid)
    if not prepared.local:
        raise InvalidJID("no local part")
    return prepared.bare


def _version() -> str:
    try:
        return metadata.version("xmpp-sip-gateway")
    except metadata.PackageNotFoundError:
        return ""
