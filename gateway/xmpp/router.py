"""What each incoming stanza is for: presence, disco, a leg of a call, or nothing.

    stanza ──┬─ from or to what is none of ours ──────────────> ignored
             ├─ too many from one user ───────────────────────> ignored; an IQ gets resource-constraint
             ├─ presence ──> presence.py ; unavailable also ──> the legs of that device
             ├─ message ───> what belongs to calls: calls.py; other text is refused
             └─ IQ ────────> a reply: the leg, or the lookup, that asked
                             jingle: calls.py; anything else: services.py

Rules
    1. Nothing here knows a socket: stanzas go out by `send`, reports by `tell`, both in the order they are due.
    2. Errors are never answered (RFC 6120 §8.3.1). One bad stanza changes nothing but itself.
    3. What is ignored is counted, by a reason of a few words that is ours.
    4. `from` is what the server vouches for. A leg hears nobody but the device, or the devices, that it is about.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from gateway.call.events import Report
from gateway.call.leg import LegControl, Sink
from gateway.call.trace import Tracer
from gateway.xmpp import stanzas
from gateway.xmpp.calls import RINGING_AFTER, Calls, IncomingCall, OnCall
from gateway.xmpp.disco import SETS, Sets
from gateway.xmpp.presence import Bounded, Presences
from gateway.xmpp.services import Services
from gateway.xmpp.stanzas import bare, domain, local
from gateway.xmpp.subscriptions import MOST_PER_USER, Changed

__all__ = ["IncomingCall", "OnCall", "Router"]

log = structlog.get_logger()

BURST = 500.0  # stanzas of one stranger at once, …
# … of a user of ours: of a device that logs in his server tells every contact, and asks it whether it is there, …
BURST_OF_USERS = 2.0 * MOST_PER_USER + BURST
RATE = 50.0  # … and per second, all the time
RATED_USERS = 5_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    empty: bool = False  # it was said in the log


class Router:
    """Its edges: `send` takes a stanza, `tell` a report (not to be delivered at once, see LegControl), `rearm` looks at
    `deadline` again, `clock` gives seconds.
    """

    def __init__(
        self,
        domain: str,
        users: tuple[str, ...],
        *,
        mappable: Callable[[str], bool],
        on_call: OnCall,
        send: Callable[[ET.Element], None],
        tell: Callable[[Sink, Report], None],
        trace: Tracer,
        clock: Callable[[], float],
        rearm: Callable[[], None],
        new_sid: Callable[[], str],
        grace: float,
        ringing_after: float | None = RINGING_AFTER,
        chat_dtmf: bool = False,
        version: str = "",
        may_call: Callable[[str, str], bool] = lambda user, local: True,
        may_dial: Callable[[str], bool] = lambda user: True,
        has_video: Callable[[str, str], bool] = lambda user, local: False,
        on_ignored: Callable[[str], None] = lambda reason: None,
        on_subscription: Changed = lambda user, contact, ties: None,
        unix_now: Callable[[], float] = lambda: 0.0,
        sets: Sets = SETS,
    ) -> None:
        self.clock = clock
        self.connected = False
        self.presences = Presences(
            domain,
            users,
            mappable,
            sets=sets,
            may_call=may_call,
            may_dial=may_dial,
            has_video=has_video,
            on_ignored=on_ignored,
            on_subscription=on_subscription,
        )
        self._services = Services(self.presences, mappable=mappable, version=version, unix_now=unix_now)
        self._domain = domain
        self._mappable = mappable
        self._send = send
        self._rearm = rearm
        self._ignored = on_ignored
        self._calls = Calls(
            self.presences,
            on_call=on_call,
            send=send,
            tell=tell,
            trace=trace,
            clock=clock,
            rearm=rearm,
            new_sid=new_sid,
            grace=grace,
            on_ignored=on_ignored,
            ringing_after=ringing_after,
            chat_dtmf=chat_dtmf,
        )
        self.presences.on_device = self._calls.seen
        self._buckets: Bounded[str, _Bucket] = Bounded(RATED_USERS)

    @property
    def calls(self) -> int:
        return len(self._calls)

    # --- the link

    def link_up(self) -> None:
        """The handshake is done: say what waited, and ask every session whether it is still there."""
        now = self.clock()
        self.connected = True
        self._calls.link_up()
        self.presences.link_up(now)
        self._rearm()

    def farewell(self) -> list[ET.Element]:
        """What to say before we go: whoever sees a contact is told that it is away."""
        return self.presences.farewell() if self.connected else []

    def link_down(self) -> None:
        """Calls go on for the grace that was set; nobody's presence is known any more."""
        if self.connected:
            self.connected = False
            self._calls.link_down()
            self.presences.link_lost()
            self._rearm()

    # --- the clock

    @property
    def deadline(self) -> float | None:
        times = (self._calls.deadline, self.presences.deadline if self.connected else None)
        return min((at for at in times if at is not None), default=None)

    def tick(self) -> None:
        self._calls.tick()
        if self.connected:
            self._send_all(self.presences.tick(self.clock()))

    # --- calls of ours

    def callee(
        self, call: str, attempt: int, user: str, contact: str, sink: Sink, *, ask_presence: bool = True
    ) -> LegControl:
        """A leg that calls a user (bare JID) from a contact (bare JID)."""
        return self._calls.callee(call, attempt, user, contact, sink, ask_presence=ask_presence)

    # --- stanzas

    def receive(self, stanza: ET.Element) -> None:
        """A stanza of the server's."""
        user, asked = stanza.get("from", ""), stanza.get("to", "")
        if domain(asked) != self._domain or not user or domain(user) == self._domain:
            log.debug("stanza dropped", user=user[:100], asked=asked[:100], reason="neither to us nor from somebody")
            self._ignored("not for us")
            return
        now = self.clock()
        reply = stanza.get("type") in ("error", "result") and stanza.tag == stanzas.IQ
        if not reply and not self._allowed(bare(user), now):
            self._ignored("too many")
            if stanza.tag == stanzas.IQ:
                self._send(stanzas.error(stanza, "resource-constraint", type="wait"))
            return
        if stanza.tag == stanzas.PRESENCE:
            self._presence(stanza, now)
        elif stanza.tag == stanzas.MESSAGE:
            self._message(stanza, now)
        elif stanza.tag == stanzas.IQ:
            if reply:
                self._reply(stanza, now)
            elif stanza.get("type") in ("get", "set"):
                self._request(stanza)
            else:
                self._ignored("request type")
        else:
            self._ignored("unknown stanza")

    def _allowed(self, user: str, now: float) -> bool:
        """A token bucket for each user; those of users who were quiet for longest are forgotten first."""
        burst = BURST_OF_USERS if self.presences.ours(user) else BURST
        bucket = self._buckets.get(user) or _Bucket(burst, now)
        bucket.left = min(burst, bucket.left + (now - bucket.at) * RATE)
        bucket.at = now
        self._buckets[user] = bucket
        if bucket.left < 1:
            if not bucket.empty:
                log.warning("too many stanzas, the rest is dropped", user=user[:100])
            bucket.empty = True
            return False
        bucket.empty = False
        bucket.left -= 1
        return True

    def _presence(self, stanza: ET.Element, now: float) -> None:
        user, asked = stanza.get("from", ""), stanza.get("to", "")
        self._send_all(self.presences.receive(stanza, now))
        self._rearm()
        if stanza.get("type") == "unavailable":
            self._calls.departed(user, asked, now)

    # --- messages

    def _message(self, stanza: ET.Element, now: float) -> None:
        type_ = stanza.get("type", "normal")
        if type_ == "error":
            self._calls.bounced(stanza)
            return
        spoken = stanzas.jmi_of(stanza)
        acknowledged = stanzas.receipt_of(stanza)
        if spoken is not None:
            if spoken.kind == "propose":
                self._met(stanza)
            self._calls.jmi(stanza, spoken, now)
        elif acknowledged:
            self._calls.receipt(stanza, acknowledged)
        elif type_ in ("chat", "normal") and stanza.find(f"{{{stanzas.STREAM}}}body") is not None:
            if self._calls.digits(stanza):
                return
            self._send(stanzas.error(stanza, "service-unavailable", "Only calls are possible here, text is not."))
            self._met(stanza)
        else:
            self._ignored("message without text")

    # --- requests and replies

    def _reply(self, stanza: ET.Element, now: float) -> None:
        if not self._calls.reply(stanza, now) and not self.presences.answered(stanza):
            self._ignored("reply to nothing")

    def _met(self, stanza: ET.Element) -> None:
        """The first word of a device to a contact: it is shown whom it speaks to (most clients never ask)."""
        if self._mappable(local(stanza.get("to", ""))):
            self._send_all(self.presences.met(stanza.get("from", ""), stanza.get("to", "")))

    def _request(self, stanza: ET.Element) -> None:
        asked = stanza.get("to", "")
        child = stanzas.payload(stanza)
        if child is None or not stanza.get("id"):
            self._send(stanzas.error(stanza, "bad-request", type="modify"))
            return
        if stanzas.split(child) == (stanzas.JINGLE, "jingle") and local(asked) and stanza.get("type") == "set":
            self._calls.jingle(stanza, child)
            return
        self._send_all(self._services.answer(stanza, child))
        self._met(stanza)
        self._rearm()

    def _send_all(self, sent: Iterable[ET.Element]) -> None:
        if self.connected:  # presence is not worth keeping
            for stanza in sent:
                self._send(stanza)
