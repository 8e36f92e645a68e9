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
from gateway.xmpp.caller import CallerLeg
from gateway.xmpp.lines import Line, Lines
from gateway.xmpp.outbox import Outbox
from gateway.xmpp.presence import Device, Presences
from gateway.xmpp.session import Ignored, Introduce, LegOutput, RequestPresence, Send
from gateway.xmpp.stanzas import bare, local

log = structlog.get_logger()

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
    video: bool = False  # he said that his session will have it


OnCall = Callable[[IncomingCall, LegControl], Admitted]


class _Control:
    """LegControl of one line."""

    def __init__(self, calls: Calls, line: Line) -> None:
        self._calls = calls
        self._line = line

    def dial(self, offer: Session) -> None:
        self._calls.dial(self._line, offer)

    def alert(self) -> None:
        if isinstance(self._line.leg, CallerLeg):
            self._calls.carry_out(self._line, self._line.leg.alert())

    def progress(self) -> None:
        """Nothing here says so: what does not ring shows as calling."""

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

    def dial_digits(self, digits: str, duration: int) -> None:
        """Nothing to do: digits go with the media."""

    def ask_picture(self) -> None:
        """Nothing to do: every client takes RTCP feedback."""

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
        self._lines = Lines()

    def __len__(self) -> int:
        return len(self._lines)

    # --- the link

    def link_up(self) -> None:
        """Say what waited, and ask every session whether it is still there."""
        now = self.clock()
        lost, self._lost_at = self._lost_at, None
        self._outbox.link_up(now)
        if lost is not None:
            for line in self._lines:
                self.carry_out(line, line.leg.ping(now, self._grace))

    def link_down(self) -> None:
        self._lost_at = self.clock()
        self._outbox.link_down(self._lost_at)

    # --- the clock

    @property
    def deadline(self) -> float | None:
        times = [self._lines.deadline, self._outbox.deadline]
        if self._lost_at is not None:
            times.append(self._lost_at + self._grace)
        return min((at for at in times if at is not None), default=None)

    def tick(self) -> None:
        now = self.clock()
        if self._lost_at is not None and self._lost_at + self._grace <= now:
            self._give_up()
        for line in self._lines.due(now):
            self.carry_out(line, line.leg.tick(now))
        self._outbox.tick(now)

    def _give_up(self) -> None:
        """The grace is over: every call ends, and its user is told so when the server is back."""
        self._lost_at = None
        for line in self._lines:
            leg, text = line.leg, Cause.LINK_LOST.text
            ended = leg.hang_up(Cause.LINK_LOST, text, self.clock())
            self.carry_out(line, [*ended, HungUp(line.side, Cause.LINK_LOST, line.attempt, text)])
        self._outbox.drop_all_but_endings()

    # --- calls of ours

    def callee(
        self, call: str, attempt: int, user: str, contact: str, sink: Sink, *, ask_presence: bool = True
    ) -> LegControl:
        """A leg that calls a user (bare JID) from a contact (bare JID)."""
        tag = self._lines.new_tag()
        voice, subscribed = f"{contact}/{stanzas.RESOURCE}", self._presences.subscribed(user, contact)
        leg = CalleeLeg(user, voice, self._new_sid(), f"{tag}-", attempt, ask_presence, subscribed)
        line = Line(leg, tag, call, sink)
        return _Control(self, line)

    def dial(self, line: Line, offer: Session) -> None:
        leg = line.leg
        if not isinstance(leg, CalleeLeg) or line.ended or line.began:
            return
        refusal = None
        if not self._outbox.connected:
            refusal = Cause.LINK_LOST
        elif self._lines.full(leg.user, Leg.CALLEE):
            refusal = Cause.CONGESTION
        elif self._lines.busy(leg.user, leg.contact):
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
        for line in self._lines.of(device.jid):
            if isinstance(line.leg, CalleeLeg):
                self.carry_out(line, line.leg.seen(device, self.clock()))

    def departed(self, user: str, asked: str, now: float) -> None:
        """A device (`user`, a full JID) said that it is unavailable to this JID of ours."""
        for line in self._lines.of(user):
            if line.leg.contact == bare(asked):
                self.carry_out(line, line.leg.departed(user, now))
            elif isinstance(line.leg, CalleeLeg):
                line.leg.unseen(user)

    # --- messages

    def bounced(self, stanza: ET.Element) -> None:
        """An error for a message of ours. If a server bounces it, the JID that we wrote to is still in `from`."""
        id_ = stanza.get("id", "")
        kind, _, sid = id_.removeprefix("jm-").partition("-")
        line = self._lines.find(stanza.get("from", ""), stanza.get("to", ""), sid) if id_.startswith("jm-") else None
        if line is None:
            self._ignored("message error")
            return
        self._note(line, stanza)
        self.carry_out(line, line.leg.bounced(kind, stanza))

    def receipt(self, stanza: ET.Element, acknowledged: str) -> None:
        """A message of ours arrived at a device: `acknowledged` is its id (XEP-0184)."""
        sid = acknowledged.removeprefix("jm-propose-")
        line = self._lines.find(stanza.get("from", ""), stanza.get("to", ""), sid)
        if line is None or not isinstance(line.leg, CalleeLeg):
            self._ignored("receipt of nothing")
            return
        self._note(line, stanza)
        self.carry_out(line, line.leg.receipt(acknowledged, stanza.get("from", ""), stanza.get("to", "")))

    def digits(self, stanza: ET.Element) -> bool:
        """`#123` in a chat with a call's contact is dialled, if that is wanted: for clients without a keypad (Dino).

        False when the text is text.
        """
        body = stanza.findtext(f"{{{stanzas.STREAM}}}body") or ""
        written = _CHAT_DIGITS.fullmatch(body.strip())
        if not self._chat_dtmf or written is None or stanza.get("type", "normal") not in ("chat", "normal"):
            return False
        line = self._lines.talking(stanza.get("from", ""), stanza.get("to", ""))
        if line is None:
            return False
        self._note(line, stanza)
        self._report(line, Dialled(line.side, line.attempt, written[1].upper()))
        return True

    def jmi(self, stanza: ET.Element, spoken: stanzas.JmiMessage, now: float) -> None:
        """A Jingle message to one of our JIDs."""
        user, asked = stanza.get("from", ""), stanza.get("to", "")
        if not local(asked) or not 0 < len(spoken.sid) <= LONGEST_SID:
            log.warning("jingle message without address or id", user=user[:100], kind=spoken.kind)
            self._send(stanzas.error(stanza, "bad-request", type="modify"))
            return
        line = self._lines.find(user, asked, spoken.sid)
        if line is not None:
            self._note(line, stanza)
            self.carry_out(line, line.leg.jmi(spoken, user, now))
        elif spoken.kind == "propose":
            self._proposed(stanza, spoken, now)
        elif spoken.kind == "proceed":
            # Of a call that is over: this device would wait for it. Why both: CalleeLeg._too_late.
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
        elif self._lines.full(user, Leg.CALLER):
            refusal = "busy"
        if refusal:
            log.warning("propose refused", user=user[:100], contact=bare(asked), key=spoken.sid, reason=refusal)
            self._send(stanzas.jmi("reject", spoken.sid, user, voice, reason=Reason(refusal)))
            return
        crossed = self._lines.crossed(user, asked)
        if crossed is not None and crossed.leg.sid < spoken.sid:
            # XEP-0353 §4.1: the lower sid wins. His device rings for ours.
            reject = stanzas.jmi("reject", spoken.sid, user, voice, reason=Reason("expired", "Tie-Break"), tie=True)
            self._note(crossed, stanza)
            self._send_for(crossed, reject)
            return
        self._overrule(crossed)
        tag = self._lines.new_tag()
        waits = self._ringing_after is not None and self._presences.subscribed(user, asked)
        ring_by = now + self._ringing_after if waits and self._ringing_after is not None else None
        self._admit(Line(CallerLeg.proposed(stanza, voice, f"{tag}-", ring_by), tag), None, stanza)

    def _admit(self, line: Line, session: Session | None, stanza: ET.Element) -> None:
        leg = line.leg
        self._begin(line)
        spoken = stanzas.jmi_of(stanza)
        video = spoken is not None and "video" in spoken.media
        incoming = IncomingCall(leg.user, leg.contact, local(leg.contact), session, leg.sid, video)
        try:
            admitted = self._on_call(incoming, _Control(self, line))
        except Exception:
            log.exception("a call could not be admitted", user=leg.user, contact=leg.contact, key=leg.sid)
            self.carry_out(line, leg.hang_up(Cause.INTERNAL, "", self.clock()))
            return
        line.call, line.sink = admitted.call, admitted.sink
        self._note(line, stanza)

    # --- requests and replies

    def reply(self, stanza: ET.Element, now: float) -> bool:
        """The reply to a request of a leg; False when it is none."""
        id_ = stanza.get("id", "")
        line = self._lines.asked(id_)
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
        line = self._lines.find(user, asked, sid)
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
        if self._lines.full(user, Leg.CALLER):
            raise JingleError("too many calls", "resource-constraint")
        crossed = self._lines.crossed(user, asked)
        if crossed is not None and crossed.leg.sid < element.get("sid", ""):
            raise JingleError("the contact calls already", "conflict", "tie-break")  # XEP-0166 §7.2.16
        tag = self._lines.new_tag()
        leg, session = CallerLeg.initiated(stanza, element, f"{tag}-")
        self._overrule(crossed)
        # XEP-0166 §6.3: at once, and before anything else that the call may want to say.
        self._send(stanzas.result(stanza))
        self._admit(Line(leg, tag), session, stanza)

    # --- what a leg puts out

    def _begin(self, line: Line) -> None:
        self._lines.begin(line)
        self._presences.call_began(line.leg.user, line.leg.contact)
        self._rearm()

    def _overrule(self, crossed: Line | None) -> None:
        """A call of the contact's, which crossed one of the user's, lost (XEP-0353 §4.1)."""
        if crossed is not None and isinstance(crossed.leg, CalleeLeg):
            self.carry_out(crossed, crossed.leg.overruled())

    def carry_out(self, line: Line, outputs: Sequence[LegOutput]) -> None:
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
        if line.ended:
            self._lines.forget(line)
            self._show(self._presences.call_ended(leg.user, leg.contact))
        else:
            self._lines.index(line)
        self._rearm()

    def _report(self, line: Line, report: Report) -> None:
        if line.sink is not None:
            self._tell(line.sink, report)

    def _send_for(self, line: Line | None, stanza: ET.Element, note: str = "") -> None:
        if line is not None:
            self._note(line, stanza, sent=True, note=note)
        self._outbox.say(stanza, self.clock())

    def _show(self, presences: list[ET.Element]) -> None:
        if self._outbox.connected:  # presence is not worth keeping
            for stanza in presences:
                self._send(stanza)

    def _note(self, line: Line, stanza: ET.Element, *, sent: bool = False, note: str = "") -> None:
        """One line of the call's ladder."""
        label, text = stanzas.describe(stanza)
        if line.call and label != "result":
            label = f"{label} ({note})" if note else label
            self._trace(Traced(line.call, "xmpp", sent, label, line.leg.sid, text))
