"""What each incoming stanza is for: presence, disco, a leg of a call, or nothing.

    stanza ──┬─ from or to what is none of ours ──────────────> ignored
             ├─ too many from one user ───────────────────────> ignored; an IQ gets resource-constraint
             ├─ presence ──> presence.py ; unavailable also ──> the legs of that device
             ├─ message ───> JMI: the leg of (user, contact, sid), or a new caller's leg for a propose
             └─ IQ ────────> a reply: the leg, or the lookup, that asked
                             jingle: the leg of (user, contact, sid), or a new caller's leg for a session-initiate
                             anything else: services.py

Rules
    1. Nothing here knows a socket: stanzas go out by `send`, reports by `tell`, both in the order they are due.
    2. Errors are never answered (RFC 6120 §8.3.1). One bad stanza changes nothing but itself.
    3. What is ignored is counted, by a reason of a few words that is ours.
    4. `from` is what the server vouches for. A leg hears nobody but the device, or the devices, that it is about.
"""

from __future__ import annotations

import heapq
import itertools
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from gateway.call.causes import Cause
from gateway.call.events import HungUp, Leg, Report
from gateway.call.leg import Admitted, LegControl, Sink
from gateway.call.trace import Traced, Tracer
from gateway.errors import JingleError
from gateway.session.jingle import Reason
from gateway.session.model import Session
from gateway.xmpp import stanzas
from gateway.xmpp.callee import CalleeLeg
from gateway.xmpp.callee import State as CalleeState
from gateway.xmpp.caller import CallerLeg
from gateway.xmpp.caller import State as CallerState
from gateway.xmpp.disco import SETS, Sets
from gateway.xmpp.presence import Bounded, Device, Presences
from gateway.xmpp.services import Services
from gateway.xmpp.session import Introduce, LegOutput, RequestPresence, Send
from gateway.xmpp.stanzas import bare, domain, local
from gateway.xmpp.subscriptions import Changed

log = structlog.get_logger()

MOST_LEGS = 5_000
# Each way: calls that ring at a user must not keep him from calling for help. More than the switchboard grants him,
# which knows that an emergency call goes above every limit; this one is for memory.
MOST_LEGS_PER_USER = 30
BURST = 500.0  # stanzas of one user at once …
RATE = 50.0  # … and per second, all the time
RATED_USERS = 5_000
LONGEST_SID = 200
MOST_KEPT = 2_000  # stanzas of calls that wait for the link to come back

_ENDINGS = ("session-terminate", "JMI reject", "JMI retract", "JMI finish")


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A user calls a contact; `session` is None when he brings it only after he was asked (XEP-0353)."""

    user: str  # full JID
    contact: str  # bare JID
    local: str  # the contact's local part, as the server prepared it
    session: Session | None
    key: str  # the Jingle sid


# The user's JID (a caller's is full, a callee's bare), the contact's bare JID, the sid.
_Key = tuple[str, str, str]

OnCall = Callable[[IncomingCall, LegControl], Admitted]


@dataclass(slots=True)
class _Line:
    """A leg with what the room needs to know of it."""

    leg: CallerLeg | CalleeLeg
    tag: str  # the ids of its requests begin with it
    call: str = ""
    sink: Sink | None = None
    began: bool = False  # counted as a call of this user and contact
    deadline: float | None = None
    keys: tuple[_Key, ...] = ()

    @property
    def ended(self) -> bool:
        return self.leg.state in (CallerState.ENDED, CalleeState.ENDED)


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    empty: bool = False  # it was said in the log


class _Control:
    """LegControl of one line."""

    def __init__(self, router: Router, line: _Line) -> None:
        self._router = router
        self._line = line

    def dial(self, offer: Session) -> None:
        self._router.dial(self._line, offer)

    def alert(self) -> None:
        if isinstance(self._line.leg, CallerLeg):
            self._router.carry_out(self._line, self._line.leg.alert())

    def ask(self, offer: Session | None = None) -> None:
        """Nobody here wants to be offered anything: proceed says all (XEP-0353)."""
        if isinstance(self._line.leg, CallerLeg):
            self._router.carry_out(self._line, self._line.leg.ask(self._router.clock()))

    def answer(self, session: Session) -> None:
        if isinstance(self._line.leg, CallerLeg):
            self._router.carry_out(self._line, self._line.leg.answer(session))

    def reanswer(self, session: Session | None) -> None:
        """Nothing to do: re-offers are refused in the session itself, and none is told as Reoffered."""

    def hold(self, held: bool, offer: Session) -> None:
        """By a word alone: what we send changes in the media engine."""
        self._router.carry_out(self._line, self._line.leg.hold(held))

    def restart(self, session: Session) -> None:
        self._router.carry_out(self._line, self._line.leg.restart(session))

    def transferred(self, cause: Cause | None) -> None:
        """Nothing to do: no client asks for a transfer (XEP-0251), and none is told as TransferAsked."""

    def hang_up(self, cause: Cause, text: str = "") -> None:
        self._router.carry_out(self._line, self._line.leg.hang_up(cause, text, self._router.clock()))


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
        version: str = "",
        may_call: Callable[[str, str], bool] = lambda user, local: True,
        may_dial: Callable[[str], bool] = lambda user: True,
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
            on_ignored=on_ignored,
            on_subscription=on_subscription,
        )
        self._services = Services(self.presences, mappable=mappable, version=version, unix_now=unix_now)
        self.presences.on_device = self._device_seen
        self._domain = domain
        self._mappable = mappable
        self._on_call = on_call
        self._send = send
        self._tell = tell
        self._trace = trace
        self._rearm = rearm
        self._new_sid = new_sid
        self._grace = grace
        self._ignored = on_ignored
        self._lost_at: float | None = None
        self._kept: list[ET.Element] = []
        self._lines: dict[str, _Line] = {}  # by tag
        self._keys: dict[_Key, _Line] = {}
        self._by_user: dict[str, list[_Line]] = {}  # by bare JID
        self._tags = itertools.count(1)
        self._timers: list[tuple[float, int, str]] = []  # may hold outdated entries
        self._timer_number = itertools.count()
        self._buckets: Bounded[str, _Bucket] = Bounded(RATED_USERS)

    @property
    def calls(self) -> int:
        return len(self._lines)

    # --- the link

    def link_up(self) -> None:
        """The handshake is done: say what waited, and ask every session whether it is still there."""
        now = self.clock()
        self.connected = True
        lost, self._lost_at = self._lost_at, None
        kept, self._kept = self._kept, []
        for stanza in kept:
            self._send(stanza)
        if lost is not None:
            for line in tuple(self._lines.values()):
                self.carry_out(line, line.leg.ping(now, self._grace))
        self.presences.link_up(now)
        self._rearm()

    def farewell(self) -> None:
        """We are about to go: whoever sees a contact is told that it is away."""
        self._send_all(self.presences.farewell())

    def link_down(self) -> None:
        """Calls go on for the grace that was set; nobody's presence is known any more."""
        if self.connected:
            self.connected = False
            self._lost_at = self.clock()
            self.presences.link_lost()
            self._rearm()

    # --- the clock

    @property
    def deadline(self) -> float | None:
        while self._timers:
            due, _, tag = self._timers[0]
            line = self._lines.get(tag)
            if line is not None and line.deadline == due:
                break
            heapq.heappop(self._timers)
        times = [self._timers[0][0] if self._timers else None, self.presences.deadline if self.connected else None]
        if self._lost_at is not None:
            times.append(self._lost_at + self._grace)
        return min((at for at in times if at is not None), default=None)

    def tick(self) -> None:
        now = self.clock()
        if self._lost_at is not None and self._lost_at + self._grace <= now:
            self._give_up()
        due = []
        while self._timers and self._timers[0][0] <= now:
            due.append(heapq.heappop(self._timers)[2])
        for tag in due:
            line = self._lines.get(tag)
            if line is not None and line.deadline is not None and line.deadline <= now:
                line.deadline = None
                self.carry_out(line, line.leg.tick(now))
        if self.connected:
            self._send_all(self.presences.tick(now))

    def _give_up(self) -> None:
        """The grace is over: every call ends, and its user is told so when the server is back."""
        self._lost_at = None
        for line in tuple(self._lines.values()):
            leg, text = line.leg, Cause.LINK_LOST.text
            ended = leg.hang_up(Cause.LINK_LOST, text, self.clock())
            side, attempt = (Leg.CALLER, 0) if isinstance(leg, CallerLeg) else (Leg.CALLEE, leg.attempt)
            self.carry_out(line, [*ended, HungUp(side, Cause.LINK_LOST, attempt, text)])
        self._kept = [stanza for stanza in self._kept if stanzas.describe(stanza)[0] in _ENDINGS]

    # --- calls of ours

    def callee(
        self, call: str, attempt: int, user: str, contact: str, sink: Sink, *, ask_presence: bool = True
    ) -> LegControl:
        """A leg that calls a user (bare JID) from a contact (bare JID)."""
        tag = f"{next(self._tags):x}"
        leg = CalleeLeg(user, f"{contact}/{stanzas.RESOURCE}", self._new_sid(), f"{tag}-", attempt, ask_presence)
        line = _Line(leg, tag, call, sink)
        return _Control(self, line)

    def dial(self, line: _Line, offer: Session) -> None:
        leg = line.leg
        if not isinstance(leg, CalleeLeg) or line.ended or line.began:
            return
        refusal = None
        if not self.connected:
            refusal = Cause.LINK_LOST
        elif len(self._lines) >= MOST_LEGS or self._busy(leg.user, CalleeLeg):
            refusal = Cause.CONGESTION
        if refusal is not None:
            self._report(line, HungUp(Leg.CALLEE, refusal, leg.attempt, refusal.text))
            return
        self._begin(line)
        self.carry_out(line, leg.dial(offer, self.presences.devices(leg.user), self.clock()))

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
                self._request(stanza, now)
            else:
                self._ignored("request type")
        else:
            self._ignored("unknown stanza")

    def _allowed(self, user: str, now: float) -> bool:
        """A token bucket for each user; those of users who were quiet for longest are forgotten first."""
        bucket = self._buckets.get(user) or _Bucket(BURST, now)
        bucket.left = min(BURST, bucket.left + (now - bucket.at) * RATE)
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
            for line in tuple(self._by_user.get(bare(user), ())):
                if line.leg.contact == bare(asked):
                    self.carry_out(line, line.leg.departed(user, now))

    def _device_seen(self, device: Device) -> None:
        for line in tuple(self._by_user.get(bare(device.jid), ())):
            if isinstance(line.leg, CalleeLeg):
                self.carry_out(line, line.leg.seen(device))

    # --- messages

    def _message(self, stanza: ET.Element, now: float) -> None:
        user, contact = stanza.get("from", ""), bare(stanza.get("to", ""))
        type_ = stanza.get("type", "normal")
        if type_ == "error":
            self._bounced(stanza)
            return
        spoken = stanzas.jmi_of(stanza)
        acknowledged = stanzas.receipt_of(stanza)
        if spoken is not None:
            self._jmi(stanza, spoken, now)
        elif acknowledged:
            line = self._keys.get((bare(user), contact, acknowledged.removeprefix("jm-propose-")))
            if line is not None and isinstance(line.leg, CalleeLeg):
                self._note(line, stanza)
                self.carry_out(line, line.leg.receipt(acknowledged))
            else:
                self._ignored("receipt of nothing")
        elif type_ in ("chat", "normal") and stanza.find(f"{{{stanzas.STREAM}}}body") is not None:
            self._send(stanzas.error(stanza, "service-unavailable", "Only calls are possible here, text is not."))
            self._met(stanza)
        else:
            self._ignored("message without text")

    def _bounced(self, stanza: ET.Element) -> None:
        sid = stanza.get("id", "").removeprefix("jm-propose-")
        line = self._keys.get((bare(stanza.get("from", "")), bare(stanza.get("to", "")), sid))
        # A server bounces for a domain: the JID that we wrote to is in `from` all the same.
        if line is None or not isinstance(line.leg, CalleeLeg) or stanza.get("id", "") != f"jm-propose-{sid}":
            self._ignored("message error")
            return
        self._note(line, stanza)
        self.carry_out(line, line.leg.bounced(stanza))

    def _jmi(self, stanza: ET.Element, spoken: stanzas.JmiMessage, now: float) -> None:
        user, asked = stanza.get("from", ""), stanza.get("to", "")
        if not local(asked) or not 0 < len(spoken.sid) <= LONGEST_SID:
            log.warning("jingle message without address or id", user=user[:100], kind=spoken.kind)
            self._send(stanzas.error(stanza, "bad-request", type="modify"))
            return
        line = self._find(user, asked, spoken.sid)
        if line is not None:
            self._note(line, stanza)
            self.carry_out(line, line.leg.jmi(spoken, user, now))
        elif spoken.kind == "propose":
            self._met(stanza)
            self._proposed(stanza, spoken)
        elif spoken.kind == "proceed":
            # Of a call that is over, or was answered by another device: this one would wait for it.
            self._send(stanzas.jmi("finish", spoken.sid, user, self.presences.voice(asked), reason=Reason("gone")))
        else:
            self._ignored("jingle message of no call")

    def _proposed(self, stanza: ET.Element, spoken: stanzas.JmiMessage) -> None:
        user, asked = stanza.get("from", ""), stanza.get("to", "")
        voice = self.presences.voice(asked)
        refusal = ""
        if spoken.media and "audio" not in spoken.media:
            refusal = "unsupported-applications"
        elif len(self._lines) >= MOST_LEGS or self._busy(user, CallerLeg):
            refusal = "busy"
        if refusal:
            log.warning("propose refused", user=user[:100], contact=bare(asked), key=spoken.sid, reason=refusal)
            self._send(stanzas.jmi("reject", spoken.sid, user, voice, reason=Reason(refusal)))
            return
        tag = f"{next(self._tags):x}"
        self._admit(_Line(CallerLeg.proposed(stanza, voice, f"{tag}-"), tag), None, stanza)

    def _admit(self, line: _Line, session: Session | None, stanza: ET.Element) -> None:
        leg = line.leg
        self._begin(line)
        incoming = IncomingCall(leg.user, leg.contact, local(leg.contact), session, leg.sid)
        try:
            admitted = self._on_call(incoming, _Control(self, line))
        except Exception:
            log.exception("a call could not be admitted", user=leg.user, contact=leg.contact, key=leg.sid)
            self.carry_out(line, leg.hang_up(Cause.INTERNAL, "", self.clock()))
            return
        line.call, line.sink = admitted.call, admitted.sink
        self._note(line, stanza)

    # --- requests and replies

    def _reply(self, stanza: ET.Element, now: float) -> None:
        id_ = stanza.get("id", "")
        line = self._lines.get(id_.partition("-")[0])
        if line is None:
            if not self.presences.answered(stanza):
                self._ignored("reply to nothing")
        elif stanza.get("from", "") != "" and bare(stanza.get("from", "")) == bare(line.leg.user):
            if stanza.get("type") == "error":
                self._note(line, stanza)
            self.carry_out(line, line.leg.answered(stanza, now))
        else:
            self._ignored("reply to nothing")

    def _met(self, stanza: ET.Element) -> None:
        """The first word of a device to a contact: it is shown whom it speaks to (most clients never ask)."""
        if self._mappable(local(stanza.get("to", ""))):
            self._send_all(self.presences.met(stanza.get("from", ""), stanza.get("to", "")))

    def _request(self, stanza: ET.Element, now: float) -> None:
        asked = stanza.get("to", "")
        child = stanzas.payload(stanza)
        if child is None or not stanza.get("id"):
            self._send(stanzas.error(stanza, "bad-request", type="modify"))
            return
        if stanzas.split(child) == (stanzas.JINGLE, "jingle") and local(asked) and stanza.get("type") == "set":
            self._jingle(stanza, child)
            return
        self._send_all(self._services.answer(stanza, child))
        self._met(stanza)
        self._rearm()

    def _jingle(self, stanza: ET.Element, element: ET.Element) -> None:
        user, asked, sid = stanza.get("from", ""), stanza.get("to", ""), element.get("sid", "")
        line = self._find(user, asked, sid)
        try:
            if not 0 < len(sid) <= LONGEST_SID:
                raise JingleError("no sid that can be used")
            if line is not None:
                self._note(line, stanza)
                self.carry_out(line, line.leg.receive(stanza, element))
            elif element.get("action") == "session-initiate":
                self._initiated(stanza, element)
            else:
                raise JingleError("no such session", "item-not-found", "unknown-session")
        except JingleError as error:
            call = line.call if line is not None else ""
            log.warning("jingle refused", call=call, user=user[:100], key=sid[:LONGEST_SID], reason=str(error)[:300])
            type_ = "modify" if error.condition == "bad-request" else "cancel"
            self._send_for(line, stanzas.error(stanza, error.condition, str(error), type=type_, jingle=error.jingle))

    def _initiated(self, stanza: ET.Element, element: ET.Element) -> None:
        """A call without JMI. Raises JingleError."""
        if len(self._lines) >= MOST_LEGS or self._busy(stanza.get("from", ""), CallerLeg):
            raise JingleError("too many calls", "resource-constraint")
        tag = f"{next(self._tags):x}"
        leg, session = CallerLeg.initiated(stanza, element, f"{tag}-")
        # XEP-0166 §6.3: at once, and before anything else that the call may want to say.
        self._send(stanzas.result(stanza))
        self._admit(_Line(leg, tag), session, stanza)

    # --- lines

    def _find(self, user: str, contact: str, sid: str) -> _Line | None:
        """A caller's leg is his device's, a callee's leg all of the user's devices'."""
        return self._keys.get((user, bare(contact), sid)) or self._keys.get((bare(user), bare(contact), sid))

    def _busy(self, user: str, side: type[CallerLeg] | type[CalleeLeg]) -> bool:
        return sum(isinstance(line.leg, side) for line in self._by_user.get(bare(user), ())) >= MOST_LEGS_PER_USER

    def _begin(self, line: _Line) -> None:
        line.began = True
        self._lines[line.tag] = line
        self._by_user.setdefault(bare(line.leg.user), []).append(line)
        self.presences.call_began(line.leg.user, line.leg.contact)
        self._index(line)

    def _index(self, line: _Line) -> None:
        """Enter every sid that the leg answers to now; drop those that it no longer does."""
        leg = line.leg
        sids = leg.sids if isinstance(leg, CalleeLeg) else (leg.sid,)
        keys = () if line.ended else tuple((leg.user, leg.contact, sid) for sid in sids)
        if keys != line.keys:
            for key in line.keys:
                self._keys.pop(key, None)
            line.keys = keys
            for key in keys:
                self._keys[key] = line

    def carry_out(self, line: _Line, outputs: Sequence[LegOutput]) -> None:
        """Send and tell what a leg puts out, in its order, and keep the books."""
        leg = line.leg
        for output in outputs:
            match output:
                case Send(stanza):
                    self._send_for(line, stanza)
                case Introduce():
                    self._send_all(self.presences.introduce(leg.user, leg.contact))
                case RequestPresence():
                    self._send_all(self.presences.request(leg.user, leg.contact, self.clock()))
                case _:
                    self._report(line, output)
        if not line.began:
            return
        self._index(line)
        if line.ended:
            self._forget(line)
            self._send_all(self.presences.call_ended(leg.user, leg.contact))
        elif leg.deadline != line.deadline:
            line.deadline = leg.deadline
            if line.deadline is not None:
                heapq.heappush(self._timers, (line.deadline, next(self._timer_number), line.tag))
        self._rearm()

    def _forget(self, line: _Line) -> None:
        line.began = False
        del self._lines[line.tag]
        mine = self._by_user[bare(line.leg.user)]
        mine.remove(line)
        if not mine:
            del self._by_user[bare(line.leg.user)]

    def _report(self, line: _Line, report: Report) -> None:
        if line.sink is not None:
            self._tell(line.sink, report)

    def _send_for(self, line: _Line | None, stanza: ET.Element) -> None:
        if line is not None:
            self._note(line, stanza, sent=True)
        if self.connected:
            self._send(stanza)
        elif len(self._kept) < MOST_KEPT:
            self._kept.append(stanza)

    def _send_all(self, sent: Iterable[ET.Element]) -> None:
        if self.connected:  # presence is not worth keeping
            for stanza in sent:
                self._send(stanza)

    def _note(self, line: _Line, stanza: ET.Element, *, sent: bool = False) -> None:
        """One line of the call's ladder."""
        label, text = stanzas.describe(stanza)
        if line.call and label != "result":
            self._trace(Traced(line.call, "xmpp", sent, label, line.leg.sid, text))
