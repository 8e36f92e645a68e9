"""The caller's leg: a user calls a contact, with Jingle Message Initiation (XEP-0353) or without.

        propose                                              session-initiate
           │                                                         │
           ▼        ask(): proceed               session-initiate    ▼
        PROPOSED ─────────────────> PROCEEDED ────────────────────> JOINED ── answer(): session-accept ──> TALKING
           │ hang_up(): reject          │ hang_up(): finish          │ hang_up(): session-terminate           │
           │                            ▼                            │ (and finish, if it was proposed)       │
           │                         LEAVING: a session-initiate     │                                        │
           │                            │ that crossed is terminated │                                        │
           └────────────────────────────┴───────────> ENDED <────────┴────────────────────────────────────────┘
                                     the user's retract, session-terminate or going away

The user is not kept waiting for media before the far side answers ("late" mode): a propose needs no session, since what
is offered to the far side is our own. A direct session-initiate brings it at once.
"""

from __future__ import annotations

import enum
import xml.etree.ElementTree as ET

from gateway.call.causes import Cause
from gateway.call.events import CallerJoined, HungUp, Leg, Notice
from gateway.errors import JingleError
from gateway.session import jingle as spelling
from gateway.session.model import Session
from gateway.xmpp import session as machine
from gateway.xmpp import stanzas
from gateway.xmpp.session import Ended, Ignored, Introduce, JingleSession, LegOutput, Send

JOIN_WITHIN = 20.0  # seconds from proceed to session-initiate
LEAVING_LASTS = 20.0  # seconds in which a crossing session-initiate is still understood

# What a reject says well enough.
_SAID_BY_REJECT = (Cause.BUSY, Cause.DECLINED, Cause.NORMAL, Cause.CANCELLED, Cause.ELSEWHERE)

# A caller who says this before the answer has given up. COMPAT: Siskin (7.4) ends it with success, or declines it.
_GIVING_UP = (Cause.NORMAL, Cause.DECLINED, Cause.BUSY, Cause.ELSEWHERE, Cause.NO_ANSWER, Cause.UNAVAILABLE)

_CONDITIONS = {
    Cause.NOT_FOUND: "item-not-found",
    Cause.FORBIDDEN: "forbidden",
    Cause.UNAVAILABLE: "recipient-unavailable",
    Cause.NO_ANSWER: "recipient-unavailable",
    Cause.NO_COMMON_CODEC: "not-acceptable",
}


class State(enum.Enum):
    PROPOSED = enum.auto()
    PROCEEDED = enum.auto()
    JOINED = enum.auto()
    TALKING = enum.auto()
    LEAVING = enum.auto()
    ENDED = enum.auto()


class CallerLeg:
    """Made by `proposed` or `initiated`. `user` is the caller's full JID, `contact` the JID he called, `voice` ours."""

    def __init__(
        self, user: str, contact: str, voice: str, sid: str, prefix: str, ring_by: float | None = None
    ) -> None:
        self.user = user
        self.contact = stanzas.bare(contact)
        self.sid = sid
        self.state = State.PROPOSED
        self.session: JingleSession | None = None
        self._voice = voice
        self._prefix = prefix
        self._propose: ET.Element | None = None
        self._offer: Session | None = None
        self._asked = False
        self._rang = False
        self._rings_unsaid = False  # it rings, and the session that is to say so is not there yet
        self._introduced = False
        self._until: float | None = None
        self._ring_by = ring_by
        self._farewell = (Cause.CANCELLED, "")

    @classmethod
    def proposed(cls, stanza: ET.Element, voice: str, prefix: str, ring_by: float | None = None) -> CallerLeg:
        """A call by JMI; `ring_by` is when he is told that it rings whether it does or not, see `tick`."""
        spoken = stanzas.jmi_of(stanza)
        sid = "" if spoken is None else spoken.sid
        leg = cls(stanza.get("from", ""), stanza.get("to", ""), voice, sid, prefix, ring_by)
        leg._propose = stanza
        return leg

    @classmethod
    def initiated(cls, request: ET.Element, element: ET.Element, prefix: str) -> tuple[CallerLeg, Session]:
        """A call without JMI, and what it offers. Raises JingleError. The session speaks as the JID that was called."""
        leg = cls(request.get("from", ""), request.get("to", ""), request.get("to", ""), element.get("sid", ""), prefix)
        return leg, leg._join(request, element)

    @property
    def by_jmi(self) -> bool:
        return self._propose is not None

    @property
    def deadline(self) -> float | None:
        theirs = self.session.deadline if self.session else None
        waits = self._ring_by if self.state is State.PROPOSED and not self._rang else None
        return min((at for at in (self._until, theirs, waits) if at is not None), default=None)

    @property
    def busy(self) -> bool:
        """Whether the contact's own call to this user would be taken for this one."""
        return self.state not in (State.LEAVING, State.ENDED)

    def talks_with(self, device: str) -> bool:
        """Whether the call is up, with this device."""
        return self.state is State.TALKING and device == self.user

    # --- what the call does (LegControl)

    def alert(self) -> list[LegOutput]:
        """After proceed (early media) the session says it, once it is there.

        COMPAT: Monal ends the call 45 seconds after each JMI ringing, whatever it does by then, unless media connect
        meanwhile (MLCall.reportRinging, startCallDuartionTimer). Session-info it ignores, and Dino shows.
        """
        if self._rang or self.state not in (State.PROPOSED, State.PROCEEDED, State.JOINED):
            return []
        self._rang = True
        if self.state is State.PROCEEDED:
            self._rings_unsaid = True
            return []
        if self.state is State.JOINED and self.session is not None:
            return self._translated(self.session.ring())
        sent: list[LegOutput] = [*self._introduce(), self._jmi("ringing")]
        spoken = None if self._propose is None else stanzas.jmi_of(self._propose)
        if self._propose is not None and spoken is not None and spoken.receipt and self._propose.get("id"):
            sent.append(Send(stanzas.receipt(self.user, self._voice, self._propose.get("id", ""))))
        return sent

    def ask(self, now: float) -> list[LegOutput]:
        if self._asked or self.state not in (State.PROPOSED, State.JOINED):
            return []
        self._asked = True
        if self._offer is not None:  # he did not wait for proceed
            return [CallerJoined(self._offer)]
        self.state = State.PROCEEDED
        self._until = now + JOIN_WITHIN
        return [*self._introduce(), self._jmi("proceed")]

    def answer(self, session: Session) -> list[LegOutput]:
        if self.state is not State.JOINED or self.session is None:
            return []
        self.state = State.TALKING
        return self._translated(self.session.accept(session))

    def hold(self, held: bool) -> list[LegOutput]:
        return [] if self.session is None else self._translated(self.session.hold(held))

    def restart(self, ours: Session) -> list[LegOutput]:
        return [] if self.session is None else self._translated(self.session.restart(ours))

    def hang_up(self, cause: Cause, text: str, now: float) -> list[LegOutput]:
        if self.state in (State.LEAVING, State.ENDED):
            return []
        state, self.state, self._until = self.state, State.ENDED, None
        text = machine.said(cause, text)
        reason = spelling.Reason(cause.jingle, text)
        if state is State.PROPOSED:
            return [*self._complaints(cause, text), self._jmi("reject", reason)]
        if state is State.PROCEEDED:
            self.state, self._until, self._farewell = State.LEAVING, now + LEAVING_LASTS, (cause, text)
            return [self._jmi("finish", reason)]
        sent = [] if self.session is None else self._translated(self.session.terminate(cause.jingle, text))
        return [*sent, *([self._jmi("finish", reason)] if self.by_jmi else [])]

    # --- what the user does

    def jmi(self, spoken: stanzas.JmiMessage, device: str, now: float) -> list[LegOutput]:
        """A Jingle message of the caller; a repeated propose changes nothing."""
        if spoken.kind in ("retract", "finish", "reject") and self.state in (State.PROPOSED, State.PROCEEDED):
            return self._over(Cause.CANCELLED, "" if spoken.reason is None else spoken.reason.text)
        return [Ignored(f"JMI {spoken.kind} out of order")]

    def bounced(self, kind: str, error: ET.Element) -> list[LegOutput]:
        """A Jingle message of ours came back. Of a proceed it means that nobody is there to bring a session.

        COMPAT: Conversations says so of a proceed that it waits for no longer (JingleConnectionManager.deliverMessage).
        """
        if kind != "proceed" or self.state is not State.PROCEEDED:
            return [Ignored("JMI error")]
        return self._over(Cause.CANCELLED, stanzas.condition(error).text or "the caller's device is gone")

    def receive(self, request: ET.Element, element: ET.Element) -> list[LegOutput]:
        """A Jingle request of the caller. Raises JingleError."""
        if self.session is None:
            return self._joining(request, element)
        return self._translated(self.session.receive(request, element))

    def _joining(self, request: ET.Element, element: ET.Element) -> list[LegOutput]:
        if element.get("action") != "session-initiate":
            raise JingleError("no such session yet", "item-not-found", "unknown-session")
        offer = self._join(request, element)
        acknowledged: list[LegOutput] = [Send(stanzas.result(request))]
        if self.state is State.LEAVING and self.session is not None:
            self.state, self._until = State.ENDED, None
            cause, text = self._farewell
            return acknowledged + self._translated(self.session.terminate(cause.jingle, text))
        self._until = None
        self.state = State.JOINED
        joined = [*acknowledged, CallerJoined(offer)] if self._asked else acknowledged
        if not self._rings_unsaid or self.session is None:
            return joined
        self._rings_unsaid = False
        return [*joined, *self._translated(self.session.ring())]

    def _join(self, request: ET.Element, element: ET.Element) -> Session:
        offer = spelling.parse_session(element)
        self.session = JingleSession(self.sid, request.get("to", ""), self.user, prefix=self._prefix, leg=Leg.CALLER)
        self.session.offered(offer)
        self._offer = offer
        if not self.by_jmi:
            self.state = State.JOINED
        return offer

    def answered(self, reply: ET.Element, now: float) -> list[LegOutput]:
        return [] if self.session is None else self._translated(self.session.answered(reply, now))

    def departed(self, device: str, now: float) -> list[LegOutput]:
        """The caller's device is unavailable."""
        if device != self.user or self.state in (State.LEAVING, State.ENDED):
            return []
        if self.session is not None and self.state is State.TALKING:
            return self._translated(self.session.departed(now))
        # Going away before the answer is giving up, whether or not the session was there already. It is told so in case
        # that it is back at once under the same JID.
        reason = spelling.Reason("gone", "went away")
        sent: list[LegOutput] = []
        if self.session is not None:
            sent += self._translated(self.session.terminate(reason.condition, reason.text))
        else:
            sent.append(Send(stanzas.jmi("reject", self.sid, self.user, self._voice, reason=reason, private=True)))
        return [*sent, *self._over(Cause.CANCELLED, "the device went away")]

    def ping(self, now: float, patience: float) -> list[LegOutput]:
        return [] if self.session is None else self._translated(self.session.ping(now, patience))

    def tick(self, now: float) -> list[LegOutput]:
        if self._until is not None and now >= self._until:
            self._until = None
            if self.state is State.LEAVING:
                self.state = State.ENDED
                return []
            reason = spelling.Reason("timeout")
            return [self._jmi("finish", reason), *self._over(Cause.TIMEOUT, "the caller brought no session")]
        if self._ring_by is not None and now >= self._ring_by:
            self._ring_by = None
            return self._said_to_ring()
        return [] if self.session is None else self._translated(self.session.tick(now))

    def _said_to_ring(self) -> list[LegOutput]:
        """The one exception to "nothing rings that is not ringing".

        COMPAT: Conversations and its forks give a call up 6 s after the propose if a contact whose presence they see
        did not ring by then (JingleConnectionManager.proposeJingleRtpSession: DEVICE_DISCOVERY_TIMEOUT), and a
        telephone network may need longer. When it does ring, that is said all the same.
        """
        if self._rang or self.state is not State.PROPOSED:
            return []
        return [*self._introduce(), Send(self._jmi("ringing").stanza, "synthetic")]

    # --- small things

    def _over(self, cause: Cause, text: str) -> list[LegOutput]:
        self.state, self._until = State.ENDED, None
        return [HungUp(Leg.CALLER, cause, 0, text)]

    def _introduce(self) -> list[LegOutput]:
        if self._introduced:
            return []
        self._introduced = True
        return [Introduce()]

    def _jmi(self, kind: str, reason: spelling.Reason | None = None) -> Send:
        """Replies count only when they go to the full JID (Conversations, Dino)."""
        return Send(stanzas.jmi(kind, self.sid, self.user, self._voice, reason=reason))

    def _complaints(self, cause: Cause, text: str) -> list[LegOutput]:
        """Why it failed, before the reject that many show as "busy" whatever it says.

        COMPAT: Conversations up to 2.19 shows an error as "connectivity error" and cares for nothing after it
        (MessageParser: JINGLE_MESSAGE_PROPOSE_ID_PREFIX). Monal ignores errors, and shows a finish with this
        reason as "connection failed" (MLVoIPProcessor); any other it takes for an answer elsewhere.
        """
        if self._propose is None or cause in _SAID_BY_REJECT:
            return []
        condition = _CONDITIONS.get(cause, "service-unavailable")
        error = Send(stanzas.error(self._propose, condition, text))
        return [error, self._jmi("finish", spelling.Reason("connectivity-error", text))]

    def _translated(self, outputs: list[machine.Output]) -> list[LegOutput]:
        """What happened to the session, in the call's words."""
        told: list[LegOutput] = []
        for output in outputs:
            match output:
                case Ended(cause, text):
                    gave_up = self.state is not State.TALKING and cause in _GIVING_UP
                    told += self._over(Cause.CANCELLED if gave_up else cause, text)
                case Send() | Ignored() | Notice():
                    told.append(output)
                case _:
                    told.append(Ignored("ringing of a caller"))  # who neither rings nor accepts
        return told
