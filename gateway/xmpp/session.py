"""One Jingle session with one device (XEP-0166), in either role: what it may do next, and what is said.

    we answer:   the device's session-initiate          we ask:   our session-initiate
                        │                                               │
                        ▼                                               ▼
                     PENDING ── accept() ──┐                         PENDING ── session-accept ──┐
                        │                  ▼                            │                        ▼
                        │                ACTIVE                         │                      ACTIVE
                        ▼                  │                            ▼                        │
                      ENDED <──────────────┴── either side's session-terminate, an error to what we asked,
                                               unavailable presence while PENDING, a ping that finds nobody

Rules
    1. A request inside the session is answered with a result, whatever it asks, if it can be read: an error ends the
       call in Conversations (JingleRtpConnection.handleIqErrorResponse). What is not wanted is refused in a request of
       our own (XEP-0166 §7.2: content-reject, transport-reject). So a session-info that nobody here knows gets no
       unsupported-info either, which XEP-0166 §6.8 demands.
    2. Only the device itself is heard; the caller of `receive` has matched its full JID.
    3. Pure: stanzas and `now` in, Outputs out. The legs (caller.py, callee.py) decide what a session is for.
"""

from __future__ import annotations

import enum
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace

from gateway.call.causes import Cause, from_jingle
from gateway.call.events import Dialled, Event, Held, Leg, Notice, Trickled
from gateway.errors import JingleError
from gateway.session import jingle as spelling
from gateway.session.model import Session
from gateway.xmpp import stanzas
from gateway.xmpp.stanzas import JINGLE

MOST_CANDIDATES = 300  # of a device, until it restarts ICE
MOST_REQUESTS_OPEN = 64  # of ours that the device has not answered; some never do
MOST_DOUBLES = 8
DEPARTED_PING = 5.0  # seconds after unavailable presence until the device is asked whether it is still there
DEPARTED_PATIENCE = 30.0  # seconds for it to come back
PING_AGAIN = 15.0  # seconds, when the server says that the device is not there (yet)

# We never add contents nor replace transports, and advice about codecs and keys is not taken (XEP-0167 §9).
_ACKNOWLEDGED = (
    "content-accept",
    "content-reject",
    "description-info",
    "security-info",
    "transport-accept",
    "transport-reject",
)
_HOLDS = {"hold": True, "unhold": False, "active": False}  # XEP-0167 §8.1, §8.2: either word ends it
_WITHOUT_EFFECT = frozenset({"mute", "unmute"})  # who is muted sends silence, and hears as before (§8.3)


@dataclass(frozen=True, slots=True)
class Send:
    """A stanza to send; `note` goes with it into the call's ladder."""

    stanza: ET.Element
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ignored:
    """What the device sent has no effect here; `reason` is the name that it is counted under."""

    reason: str


class Introduce:
    """Show the caller the contact's capabilities by directed presence, before what follows (XEP-0353 v0.8)."""


class RequestPresence:
    """Send the contact's presence with a request for the user's (XEP-0276), before what follows."""


LegOutput = Send | Ignored | Event | Notice | Introduce | RequestPresence


@dataclass(frozen=True, slots=True)
class Accepted:
    """The device accepted our offer."""

    session: Session


@dataclass(frozen=True, slots=True)
class Rings:
    """The device rings (XEP-0167 §8.4)."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over, and not by us."""

    cause: Cause
    text: str = ""


Output = Send | Ignored | Notice | Accepted | Rings | Ended


class State(enum.Enum):
    PENDING = enum.auto()
    ACTIVE = enum.auto()
    ENDED = enum.auto()


class JingleSession:
    """`ours` and `theirs` are the two JIDs as the session began; `prefix` makes the ids of our requests unique."""

    def __init__(self, sid: str, ours: str, theirs: str, *, prefix: str, leg: Leg, attempt: int = 0) -> None:
        self.sid = sid
        self.ours = ours
        self.theirs = theirs
        self.state = State.PENDING
        self.deadline: float | None = None
        self.acknowledged = False  # the device took our session-initiate
        self._prefix = prefix
        self._leg = leg
        self._attempt = attempt
        self._asked: dict[str, str] = {}  # ids of our requests, and their action
        self._number = 0
        self._initiated = False  # by us
        self._candidates = 0  # since its credentials are what they are
        self._ufrag = ""
        self._holds = False  # we said last that the device is on hold
        self._held = False  # it said last that we are
        self._audio = ""  # the name of the content that is the call
        self._doubles: list[str] = []  # other JIDs of ours that it asked with the same sid
        self._names: frozenset[str] | None = None  # the contents whose candidates are ours to take
        self._apart: frozenset[str] = frozenset()  # the video's, where it has a path of its own
        self._patience = 0.0  # until when pings may find nobody
        self._fate = Cause.LINK_LOST  # what it means when they do to the end

    # --- what we do

    def initiate(self, offer: Session) -> list[Output]:
        self._take_names(offer)
        self._initiated = True
        element = stanzas.jingle("session-initiate", self.sid, initiator=self.ours)
        element.extend(spelling.contents(offer, initiator=True))
        return [self._ask(element)]

    def offered(self, offer: Session) -> None:
        """The device's session-initiate brought this."""
        self._take_names(offer)

    def accept(self, answer: Session) -> list[Output]:
        if self.state is not State.PENDING:
            return []
        self.state = State.ACTIVE
        element = stanzas.jingle("session-accept", self.sid, responder=self.ours)
        element.extend(spelling.contents(answer, initiator=False))
        return [self._ask(element)]

    def ring(self) -> list[Output]:
        element = stanzas.jingle("session-info", self.sid)
        ET.SubElement(element, f"{{{stanzas.RTP_INFO}}}ringing")
        return [self._ask(element)]

    def hold(self, held: bool) -> list[Output]:
        """Say that the other end put this one on hold, or took it off (XEP-0167 §8.2); only when that is news.

        Never by content-modify: it ends the call in Conversations (JingleRtpConnection.receiveContentModify).
        """
        if self.state is not State.ACTIVE or held is self._holds:
            return []
        self._holds = held
        element = stanzas.jingle("session-info", self.sid)
        ET.SubElement(element, f"{{{stanzas.RTP_INFO}}}{'hold' if held else 'unhold'}")
        return [self._ask(element)]

    def restart(self, ours: Session) -> list[Output]:
        """The device restarted ICE, and these are our credentials and candidates now (XEP-0176 §5.9), in one request.

        COMPAT: Conversations takes it for the answer to its restart when it names a candidate
        (JingleRtpConnection.checkForIceRestart). stanza.js 12 reads all contents by their order and none of them if one
        says gathering-complete (ICESession.onTransportInfo); of those in one BUNDLE the first has the candidates.
        """
        element = stanzas.jingle("transport-info", self.sid)
        named: set[str] = set()
        for media in ours.media:
            ice = media.transport.ice
            if media.rejected or ice is None:
                continue
            candidates = () if ice.ufrag in named else ice.candidates
            named.add(ice.ufrag)
            element.append(spelling.transport_info(media, replace(ice, candidates=candidates, complete=False)))
        return [self._ask(element)] if len(element) and self.state is not State.ENDED else []

    def terminate(self, reason: str, text: str = "") -> list[Output]:
        if self.state is State.ENDED:
            return []
        self.state = State.ENDED
        self.deadline = None
        said = spelling.Reason(reason, text)
        return [self._ask(stanzas.terminate(self.sid, said), ours=ours) for ours in (self.ours, *self._doubles)]

    def ping(self, now: float, patience: float) -> list[Output]:
        """Is it still there? An empty session-info (XEP-0166 §6.8), repeated while the server does not know it."""
        if self.state is State.ENDED:
            return []
        self._patience, self._fate = now + patience, Cause.LINK_LOST
        return [self._ask(stanzas.jingle("session-info", self.sid), "ping")]

    def tick(self, now: float) -> list[Output]:
        if self.deadline is None or now < self.deadline:
            return []
        self.deadline = None
        return [self._ask(stanzas.jingle("session-info", self.sid), "ping")]

    def _ask(self, element: ET.Element, purpose: str = "", ours: str = "") -> Send:
        self._number += 1
        request = stanzas.iq(self.theirs, ours or self.ours, id=f"{self._prefix}{self._number}")
        request.append(element)
        self._asked[request.get("id", "")] = purpose or element.get("action", "")
        if len(self._asked) > MOST_REQUESTS_OPEN:
            del self._asked[next(iter(self._asked))]
        return Send(request)

    def _take_names(self, session: Session) -> None:
        """Without BUNDLE each content has its own ICE session: the candidates of another are not ours (XEP-0176)."""
        audio = session.audio
        if audio is not None:
            self._audio = audio.name
            self._names = frozenset(session.bundle if audio.name in session.bundle else (audio.name,))
            video = session.video
            self._apart = frozenset() if video is None or video.name in self._names else frozenset((video.name,))

    # --- what the device does

    def answered(self, reply: ET.Element, now: float) -> list[Output]:
        """The reply to one of our requests; any other is ignored."""
        action = self._asked.pop(reply.get("id", ""), None)
        if action is None or self.state is State.ENDED:
            return [Ignored("reply to nothing")]
        if reply.get("type") == "result":
            self.acknowledged = self.acknowledged or action == "session-initiate"
            return []
        said = stanzas.condition(reply)
        gone = said.name == "item-not-found" or said.jingle == "unknown-session"
        if action == "ping" and not gone:
            return self._unreachable(said, now)
        if action in ("session-initiate", "session-accept") or gone:
            cause = self._fate if action == "ping" else _CAUSES.get(said.name, Cause.PROTOCOL)
            return self._end(cause, said.text or said.jingle or said.name)
        return []

    def _unreachable(self, said: stanzas.Condition, now: float) -> list[Output]:
        """A ping met no session. The device may be on its way back too, after the server's restart."""
        if said.name not in ("service-unavailable", "recipient-unavailable", "gone", "remote-server-timeout"):
            return []  # it does not know empty session-infos, so it is there
        if now + PING_AGAIN > self._patience:
            return self._end(self._fate, "the device did not come back")
        self.deadline = now + PING_AGAIN
        return []

    def departed(self, now: float) -> list[Output]:
        """Unavailable presence of the device ends the session (XEP-0166 §6.7), once it was accepted after a question.

        A server that stops says it of every device, and so does one whose device changes networks; the media goes on.
        """
        if self.state is State.PENDING:
            # It may be back at once under the same JID, and what was under way then would ring for nobody.
            return [*self.terminate("cancel", "went away"), *self._end(Cause.UNAVAILABLE, "the device went away")]
        if self.state is State.ACTIVE:
            self._patience, self._fate = now + DEPARTED_PATIENCE, Cause.UNAVAILABLE
            self.deadline = now + DEPARTED_PING
        return []

    def receive(self, request: ET.Element, element: ET.Element) -> list[Output]:
        """A request of the device in this session. Raises JingleError if it cannot be read; nothing changed then."""
        action = element.get("action", "")
        if request.get("to") in self._doubles:
            return [Send(stanzas.result(request)), Ignored("jingle to a second resource")]
        match action:
            case "session-terminate":
                given = spelling.parse_reason(element) or spelling.Reason("success")
                return [Send(stanzas.result(request)), *self._end(from_jingle(given.condition), given.text)]
            case "session-accept":
                return self._accepted(request, element)
            case "transport-info":
                return self._trickled(request, element)
            case "session-info":
                return [Send(stanzas.result(request)), *self._informed(element)]
            case "content-add":
                return [Send(stanzas.result(request)), *self._refused("content-reject", element)]
            case "transport-replace":
                return [Send(stanzas.result(request)), *self._refused("transport-reject", element)]
            case "content-modify":
                return [Send(stanzas.result(request)), *self._modified(element)]
            case "content-remove":
                return [Send(stanzas.result(request)), *self._removed(element)]
            case "session-initiate":
                # COMPAT: Siskin asks every resource that it saw with one sid. All are one and the same here: the first
                # answers, all refuse, and what it tells the others (that they lost) is not meant for the call.
                if request.get("to") != self.ours and len(self._doubles) < MOST_DOUBLES:
                    self._doubles.append(request.get("to", ""))
                return [Send(stanzas.result(request)), Ignored("session-initiate again")]
            case _ if action in _ACKNOWLEDGED:
                return [Send(stanzas.result(request)), Ignored(action)]
        # XEP-0166 §7.2 lists the actions, and its schema knows no others: what this asks for cannot be told.
        raise JingleError(f"unknown action {action[:40]!r}", "bad-request")

    def _accepted(self, request: ET.Element, element: ET.Element) -> list[Output]:
        if self.state is not State.PENDING or self._leg is Leg.CALLER:
            return [Send(stanzas.result(request)), Ignored("session-accept again")]  # an ordinary thing
        session = spelling.parse_session(element)
        self.state = State.ACTIVE
        self._take_names(session)  # whoever knows no BUNDLE answers without
        return [Send(stanzas.result(request)), Accepted(session)]

    def _trickled(self, request: ET.Element, element: ET.Element) -> list[Output]:
        found = spelling.parse_transport_info(element, self._names)
        if found.ice is not None and found.ice.ufrag != self._ufrag:
            self._ufrag, self._candidates = found.ice.ufrag, 0
        room = max(0, MOST_CANDIDATES - self._candidates)
        candidates = found.candidates[:room]
        self._candidates += len(candidates)
        acknowledged: list[Output] = [Send(stanzas.result(request))]
        if len(candidates) < len(found.candidates):
            acknowledged.append(Ignored("too many candidates"))
        if candidates or found.ice or found.complete:
            acknowledged.append(Trickled(self._leg, self._attempt, candidates, found.ice, found.complete))
        return [*acknowledged, *self._trickled_apart(element)]

    def _trickled_apart(self, element: ET.Element) -> list[Output]:
        """Candidates of a video that is not bundled with the audio."""
        if not self._apart:
            return []
        found = spelling.parse_transport_info(element, self._apart)
        candidates = found.candidates[: max(0, MOST_CANDIDATES - self._candidates)]
        self._candidates += len(candidates)
        if not candidates:
            return []
        return [Trickled(self._leg, self._attempt, candidates, found.ice, found.complete, video=True)]

    def _informed(self, element: ET.Element) -> list[Output]:
        """Ringing, hold and digits; what else there is has no effect. An empty one is a ping (XEP-0166 §6.8)."""
        found: list[Output] = []
        for child in list(element)[:8]:
            space, name = stanzas.split(child)
            if (space, name) == (stanzas.RTP_INFO, "ringing"):
                found.append(Rings())
            elif space == stanzas.RTP_INFO and name in _HOLDS:
                found += self._hold_said(_HOLDS[name])
            elif (space, name) == (stanzas.DTMF, "dtmf"):
                found += self._dialled(child)
            else:
                known = space == stanzas.RTP_INFO and name in _WITHOUT_EFFECT
                found.append(Ignored(f"session-info {name}" if known else "session-info unknown"))
        return found

    def _hold_said(self, held: bool) -> list[Output]:
        """Told when it is news: `active` also ends a mute, and is said by some when the call begins."""
        if held is self._held or self.state is not State.ACTIVE:
            return [Ignored("session-info hold again")]
        self._held = held
        return [Held(self._leg, self._attempt, held)]

    def _modified(self, element: ET.Element) -> list[Output]:
        """Other senders (XEP-0166 §7.2.3): we are on hold when the device does not want to hear us any more.

        What the other end may send then is its device's own affair: as with `<hold/>`, ours goes on being there.
        """
        theirs = "responder" if self._initiated else "initiator"
        for content in element.findall(f"{{{JINGLE}}}content")[:8]:
            if content.get("name") == self._audio:
                return self._hold_said(content.get("senders", "both") in ("none", theirs))
        return [Ignored("content-modify")]

    def _removed(self, element: ET.Element) -> list[Output]:
        """Without its audio the call is over, as XEP-0166 §7.2.5 has it for a session without contents."""
        names = {content.get("name", "") for content in element.findall(f"{{{JINGLE}}}content")[:8]}
        if self._audio not in names:
            return [Ignored("content-remove")]
        return [*self.terminate("success"), *self._end(Cause.NORMAL, "the device removed the audio")]

    def _dialled(self, child: ET.Element) -> list[Output]:
        """A pair of button-down and button-up counts once, when it is over (XEP-0181 §3)."""
        if child.get("action") == "button-down":
            return []
        pressed = stanzas.dtmf_of(child)
        return [Ignored("session-info dtmf") if pressed is None else Dialled(self._leg, self._attempt, *pressed)]

    def _refused(self, action: str, element: ET.Element) -> list[Output]:
        """Refuse what a request is about in a request of our own (XEP-0166 §7.2.4, §7.2.14)."""
        refusal = stanzas.refusal(action, self.sid, element)
        return [self._ask(refusal)] if len(refusal) else []

    def _end(self, cause: Cause, text: str) -> list[Output]:
        self.state = State.ENDED
        self.deadline = None
        return [Ended(cause, text)]


# What an error that answers a request of ours means for the call.
_CAUSES = {
    "item-not-found": Cause.UNAVAILABLE,
    "service-unavailable": Cause.UNAVAILABLE,
    "recipient-unavailable": Cause.UNAVAILABLE,
    "gone": Cause.UNAVAILABLE,
    "remote-server-not-found": Cause.NOT_FOUND,
    "remote-server-timeout": Cause.UNAVAILABLE,
    "forbidden": Cause.DECLINED,
    "not-allowed": Cause.DECLINED,
    "not-authorized": Cause.DECLINED,
    "not-acceptable": Cause.NO_COMMON_CODEC,
    "feature-not-implemented": Cause.NO_COMMON_CODEC,
    "resource-constraint": Cause.BUSY,
}


def said(cause: Cause, text: str) -> str:
    """What a person is told of an end: the far side's words, or ours, or nothing where there is nothing to explain."""
    return text if cause is Cause.NORMAL else cause.worded(text)


def unreachable(said: stanzas.Condition) -> Cause:
    """What a bounced propose means.

    Servers bounce it for unknown and absent users alike; only a domain that cannot be reached is surely not there.
    """
    return Cause.NOT_FOUND if said.name == "remote-server-not-found" else Cause.UNAVAILABLE
