"""The legs of all calls at users' devices: which leg a stanza is for, and what is done with what a leg puts out.

    message ──> JMI: the leg of (user, contact, sid), or a new caller's leg for a propose
                receipt, bounce: the leg whose message it was
                `#123`: digits for the call that its sender has with this contact, if that is wanted
    jingle ───> the leg of (user, contact, sid), or a new caller's leg for a session-initiate
    reply ────> the leg that asked, by the tag that its ids begin with

Rules
    1. Nothing here knows a socket: stanzas go out by `send`, reports by `tell`, both in the order they are due.
    2. A leg hears nobody but the device, or the devices, that it is about: `from` is what the server vouches for.
    3. A call outlives the link for the grace that was set. What is said meanwhile waits (outbox.py).
    4. Everything that comes for a call and has no effect is counted, by a name of its own.
"""

from __future__ import annotations

import heapq
import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from gateway.call.causes import Cause
from gateway.call.events import Dialled, HungUp, Leg, Report
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
from gateway.xmpp.outbox import Outbox
from gateway.xmpp.presence import Device, Presences
from gateway.xmpp.session import Ignored, Introduce, LegOutput, RequestPresence, Send
from gateway.xmpp.stanzas import bare, local

log = structlog.get_logger()

MOST_LEGS = 5_000
# Each way: calls that ring at a user must not keep him from calling for help. More than the switchboard grants him,
# which knows that an emergency call goes above every limit; this one is for memory.
MOST_LEGS_PER_USER = 30
LONGEST_SID = 200
RINGING_AFTER = 4.0  # seconds, see CallerLeg

_CHAT_DIGITS = re.compile(r"#([0-9A-Da-d*#]{1,16})")


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


class _Control:
    """LegControl of one line."""

    def __init__(self, calls: Calls, line: _Line) -> None:
        self._calls = calls
        self._line = line

    def dial(self, offer: Session) -> None:
        self._calls.dial(self._line, offer)

    def alert(self) -> None:
        if isinstance(self._line.leg, CallerLeg):
            self._calls.carry_out(self._line, self._line.leg.alert())

    def ask(self, offer: Session | None = None) -> None:
        """Nobody here wants to be offered anything: proceed says all (XEP-0353)."""
        if isinstance(self._line.leg, CallerLeg):
            self._calls.carry_out(self._line, self._line.leg.ask(self._calls.clock()))

    def answer(self, session: Session) -> None:
        if isinstance(self._line.leg, CallerLeg):
            self._calls.carry_out(self._line, self._line.leg.answer(session))

    def reanswer(self, session: Session | None) -> None:
        """Nothing to do: re-offers are refused in the session itself, and none is told as Reoffered."""

    def hold(self, held: bool, offer: Session) -> None:
        """By a word alone: what we send changes in the media engine."""
        self._calls.carry_out(self._line, self._line.leg.hold(held))

    def restart(self, session: Session) -> None:
        self._calls.carry_out(self._line, self._line.leg.restart(session))

    def transferred(self, cause: Cause | None) -> None:
        """Nothing to do: no client asks for a transfer (XEP-0251), and none is told as TransferAsked."""

    def hang_up(self, cause: Cause, text: str = "", q850: int | None = None) -> None:
        self._calls.carry_out(self._line, self._line.leg.hang_up(cause, text, self._calls.clock()))


class Calls:
    """Its edges are the router's. `ringing_after`: for how many seconds the propose of a user who sees the contact's
    presence, and is seen, may go unanswered (None: for ever); `chat_dtmf`: whether `#123` in a chat is dialled.
    """

    def __init__(
        self,
        presences: Presences,
        *,
        on_call: OnCall,
        send: Callable[[ET.Element], None],
        tell: Callable[[Sink, Report], None],
        trace: Tracer,
        clock: Callable[[], float],
        rearm: Callable[[], None],
        new_sid: Callable[[], str],
        grace: float,
        on_ignored: Callable[[str], None],
        ringing_after: float | None,
        chat_dtmf: bool,
    ) -> None:
        self.clock = clock
        self._presences = presences
        self._on_call = on_call
        self._send = send
        self._tell = tell
        self._trace = trace
        self._rearm = rearm
        self._new_sid = new_sid
        self._grace = grace
        self._ignored = on_ignored
        self._ringing_after = ringing_after
        self._chat_dtmf = chat_dtmf
        self._outbox = Outbox(send)
        self._lost_at: float | None = None
        self._lines: dict[str, _Line] = {}  # by tag
        self._keys: dict[_Key, _Line] = {}
        self._by_user: dict[str, list[_Line]] = {}  # by bare JID
        self._tags = itertools.count(1)
        self._timers: list[tuple[float, int, str]] = []  # may hold outdated entries
        self._timer_number = itertools.count()

    def __len__(self) -> int:
        return len(self._lines)

    # --- the link

    def link_up(self) -> None:
        """Say what waited, and ask every session whether it is still there."""
        now = self.clock()
        lost, self._lost_at = self._lost_at, None
        self._outbox.link_up(now)
        if lost is not None:
            for line in tuple(self._lines.values()):
                self.carry_out(line, line.leg.ping(now, self._grace))

    def link_down(self) -> None:
        self._lost_at = self.clock()
        self._outbox.link_down(self._lost_at)

    # --- the clock

    @property
    def deadline(self) -> float | None:
        while self._timers:
            due, _, tag = self._timers[0]
            line = self._lines.get(tag)
            if line is not None and line.deadline == due:
                break
            heapq.heappop(self._timers)
        times = [self._timers[0][0] if self._timers else None, self._outbox.deadline]
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
        self._outbox.tick(now)

    def _give_up(self) -> None:
        """The grace is over: every call ends, and its user is told so when the server is back."""
        self._lost_at = None
        for line in tuple(self._lines.values()):
            leg, text = line.leg, Cause.LINK_LOST.text
            ended = leg.hang_up(Cause.LINK_LOST, text, self.clock())
            self.carry_out(line, [*ended, _hung_up(leg, Cause.LINK_LOST, text)])
        self._outbox.drop_all_but_endings()

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
        if not self._outbox.connected:
            refusal = Cause.LINK_LOST
        elif len(self._lines) >= MOST_LEGS or self._busy(leg.user, CalleeLeg):
            refusal = Cause.CONGESTION
        elif any(other.leg.contact == leg.contact and other.leg.busy for other in self._by_user.get(leg.user, ())):
            # XEP-0353 §4.2: a propose of somebody whom the device talks with is the same call, come from elsewhere.
            # COMPAT: Monal (MLCall: migrated) drops the one that it has for it.
            refusal = Cause.BUSY
        if refusal is not None:
            self._report(line, HungUp(Leg.CALLEE, refusal, leg.attempt, refusal.text))
            return
        self._begin(line)
        self.carry_out(line, leg.dial(offer, self._presences.devices(leg.user), self.clock()))

    # --- presence

    def seen(self, device: Device) -> None:
        """A device of a user's is there, or is known better."""
        for line in tuple(self._by_user.get(bare(device.jid), ())):
            if isinstance(line.leg, CalleeLeg):
                self.carry_out(line, line.leg.seen(device, self.clock()))

    def departed(self, user: str, asked: str, now: float) -> None:
        """A device (`user`, a full JID) said that it is unavailable to this JID of ours."""
        for line in tuple(self._by_user.get(bare(user), ())):
            if line.leg.contact == bare(asked):
                self.carry_out(line, line.leg.departed(user, now))

    # --- messages

    def bounced(self, stanza: ET.Element, now: float) -> None:
        """An error for a message of ours. If a server bounces it, the JID that we wrote to is still in `from`."""
        id_ = stanza.get("id", "")
        kind, _, sid = id_.removeprefix("jm-").partition("-")
        line = self._find(stanza.get("from", ""), stanza.get("to", ""), sid) if id_.startswith("jm-") else None
        if line is None:
            self._ignored("message error")
            return
        self._note(line, stanza)
        self.carry_out(line, line.leg.bounced(kind, stanza, now))

    def receipt(self, stanza: ET.Element, acknowledged: str) -> None:
        """A message of ours arrived at a device: `acknowledged` is its id (XEP-0184)."""
        sid = acknowledged.removeprefix("jm-propose-")
        line = self._keys.get((bare(stanza.get("from", "")), bare(stanza.get("to", "")), sid))
        if line is None or not isinstance(line.leg, CalleeLeg):
            self._ignored("receipt of nothing")
            return
        self._note(line, stanza)
        self.carry_out(line, line.leg.receipt(acknowledged, stanza.get("from", "")))

    def digits(self, stanza: ET.Element) -> bool:
        """`#123` in a chat with a call's contact is dialled, if that is wanted: for clients without a keypad (Dino).

        False when the text is text.
        """
        body = stanza.findtext(f"{{{stanzas.STREAM}}}body") or ""
        written = _CHAT_DIGITS.fullmatch(body.strip())
        if not self._chat_dtmf or written is None or stanza.get("type", "normal") not in ("chat", "normal"):
            return False
        user, contact = stanza.get("from", ""), bare(stanza.get("to", ""))
        for line in self._by_user.get(bare(user), ()):
            leg = line.leg
            if leg.contact == contact and leg.talks_with(user):
                self._note(line, stanza)
                side = Leg.CALLER if isinstance(leg, CallerLeg) else Leg.CALLEE
                self._report(line, Dialled(side, _attempt(leg), written[1].upper()))
                return True
        return False

    def jmi(self, stanza: ET.Element, spoken: stanzas.JmiMessage, now: float) -> None:
        """A Jingle message to one of our JIDs."""
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
            self._proposed(stanza, spoken, now)
        elif spoken.kind == "proceed":
            # Of a call that is over: this device would wait for it. Why both: CalleeLeg, too late.
            for kind in ("retract", "finish"):
                voice = self._presences.voice(asked)
                self._send(stanzas.jmi(kind, spoken.sid, user, voice, reason=Reason("gone"), private=True))
        else:
            self._ignored("jingle message of no call")

    def _proposed(self, stanza: ET.Element, spoken: stanzas.JmiMessage, now: float) -> None:
        user, asked = stanza.get("from", ""), stanza.get("to", "")
        voice = self._presences.voice(asked)
        refusal = ""
        if spoken.media and "audio" not in spoken.media:
            refusal = "unsupported-applications"
        elif len(self._lines) >= MOST_LEGS or self._busy(user, CallerLeg):
            refusal = "busy"
        if refusal:
            log.warning("propose refused", user=user[:100], contact=bare(asked), key=spoken.sid, reason=refusal)
            self._send(stanzas.jmi("reject", spoken.sid, user, voice, reason=Reason(refusal)))
            return
        crossed = self._crossed(user, asked)
        if crossed is not None and crossed.leg.sid < spoken.sid:
            # XEP-0353 §4.1: the lower sid wins. His device rings for ours.
            reject = stanzas.jmi("reject", spoken.sid, user, voice, reason=Reason("expired", "Tie-Break"), tie=True)
            self._note(crossed, stanza)
            self._send_for(crossed, reject)
            return
        if crossed is not None and isinstance(crossed.leg, CalleeLeg):
            self.carry_out(crossed, crossed.leg.overruled())
        tag = f"{next(self._tags):x}"
        waits = self._ringing_after is not None and self._presences.subscribed(user, asked)
        ring_by = now + self._ringing_after if waits and self._ringing_after is not None else None
        self._admit(_Line(CallerLeg.proposed(stanza, voice, f"{tag}-", ring_by), tag), None, stanza)

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
        self.carry_out(line, [])  # its deadline

    # --- requests and replies

    def reply(self, stanza: ET.Element, now: float) -> bool:
        """The reply to a request of a leg; False when it is none."""
        id_ = stanza.get("id", "")
        line = self._lines.get(id_.partition("-")[0])
        if self._outbox.answered(stanza, now):
            self._rearm()
            return True
        if line is None:
            return False
        if bare(stanza.get("from", "")) != bare(line.leg.user):
            self._ignored("reply to nothing")
            return True
        if stanza.get("type") == "error":
            self._note(line, stanza)
        self.carry_out(line, line.leg.answered(stanza, now))
        return True

    def jingle(self, stanza: ET.Element, element: ET.Element) -> None:
        """A Jingle request to one of our contacts."""
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
        user, asked = stanza.get("from", ""), stanza.get("to", "")
        if len(self._lines) >= MOST_LEGS or self._busy(user, CallerLeg):
            raise JingleError("too many calls", "resource-constraint")
        crossed = self._crossed(user, asked)
        if crossed is not None and crossed.leg.sid < element.get("sid", ""):
            raise JingleError("the contact calls already", "conflict", "tie-break")  # XEP-0166 §7.2.16
        tag = f"{next(self._tags):x}"
        leg, session = CallerLeg.initiated(stanza, element, f"{tag}-")
        if crossed is not None and isinstance(crossed.leg, CalleeLeg):
            self.carry_out(crossed, crossed.leg.overruled())
        # XEP-0166 §6.3: at once, and before anything else that the call may want to say.
        self._send(stanzas.result(stanza))
        self._admit(_Line(leg, tag), session, stanza)

    # --- lines

    def _find(self, user: str, contact: str, sid: str) -> _Line | None:
        """A caller's leg is his device's, a callee's leg all of the user's devices'."""
        return self._keys.get((user, bare(contact), sid)) or self._keys.get((bare(user), bare(contact), sid))

    def _crossed(self, user: str, contact: str) -> _Line | None:
        """The contact's own call to this user, while nobody has answered it: the two call one another."""
        for line in self._by_user.get(bare(user), ()):
            leg = line.leg
            if isinstance(leg, CalleeLeg) and leg.contact == bare(contact) and leg.state is CalleeState.ASKING:
                return line
        return None

    def _busy(self, user: str, side: type[CallerLeg] | type[CalleeLeg]) -> bool:
        return sum(isinstance(line.leg, side) for line in self._by_user.get(bare(user), ())) >= MOST_LEGS_PER_USER

    def _begin(self, line: _Line) -> None:
        line.began = True
        self._lines[line.tag] = line
        self._by_user.setdefault(bare(line.leg.user), []).append(line)
        self._presences.call_began(line.leg.user, line.leg.contact)
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
                case Send(stanza, note):
                    self._send_for(line, stanza, note)
                case Introduce():
                    self._show(self._presences.introduce(leg.user, leg.contact))
                case RequestPresence():
                    self._show(self._presences.request(leg.user, leg.contact, self.clock()))
                case Ignored(name):
                    self._ignored(name)
                case _:
                    self._report(line, output)
        if not line.began:
            return
        self._index(line)
        if line.ended:
            self._forget(line)
            self._show(self._presences.call_ended(leg.user, leg.contact))
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

    def _send_for(self, line: _Line | None, stanza: ET.Element, note: str = "") -> None:
        if line is not None:
            self._note(line, stanza, sent=True, note=note)
        self._outbox.say(stanza, self.clock())

    def _show(self, presences: list[ET.Element]) -> None:
        if self._outbox.connected:  # presence is not worth keeping
            for stanza in presences:
                self._send(stanza)

    def _note(self, line: _Line, stanza: ET.Element, *, sent: bool = False, note: str = "") -> None:
        """One line of the call's ladder."""
        label, text = stanzas.describe(stanza)
        if line.call and label != "result":
            label = f"{label} ({note})" if note else label
            self._trace(Traced(line.call, "xmpp", sent, label, line.leg.sid, text))


def _attempt(leg: CallerLeg | CalleeLeg) -> int:
    return leg.attempt if isinstance(leg, CalleeLeg) else 0


def _hung_up(leg: CallerLeg | CalleeLeg, cause: Cause, text: str) -> HungUp:
    return HungUp(Leg.CALLER if isinstance(leg, CallerLeg) else Leg.CALLEE, cause, _attempt(leg), text)
