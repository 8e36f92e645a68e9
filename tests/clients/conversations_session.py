"""A Jingle session as Conversations has it: one at a time, strict, and over at the first thing that it does not expect.

Read in Conversations 2.19.5, commit c88ac40ef. Paths are those under src/main/java/eu/siacs/conversations/; JRC is
xmpp/jingle/JingleRtpConnection.java, JCM xmpp/jingle/JingleConnectionManager.java, AJC
xmpp/jingle/AbstractJingleConnection.java.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from tests.clients import user_agent as ua
from tests.clients.conversations_caps import Discovering
from tests.clients.conversations_sdp import FlawError, credentials, in_common, media_of, read_contents, stub, to_sdp
from tests.clients.home import Home
from tests.clients.user_agent import (
    GROUPING,
    HINTS,
    ICE_UDP,
    JINGLE,
    JMI,
    RECEIPTS,
    IceCredentials,
    Info,
    children,
    first,
    local,
    make,
    reason_of,
)

SDP_OFFER_ANSWER = "urn:ietf:rfc:3264"
PROPOSE, PROCEED = "jm-propose-", "jm-proceed-"  # AJC:28

# AJC:418; what its user then reads is JRC:2049 with res/values/strings.xml:924-943.
FATES = {
    "success": "ended",
    "decline": "Busy",
    "busy": "Busy",
    "cancel": "ended",
    "timeout": "ended",
    "security-error": "Verification problem",
    "failed-application": "App failure",
    "unsupported-transports": "App failure",
    "unsupported-applications": "App failure",
}
UNREACHABLE = "Could not connect call"
LOST = "Connection lost"  # the same after the call was connected, JRC:2066

# AJC:297
NOT_THERE = ("service-unavailable", "recipient-unavailable", "remote-server-not-found", "remote-server-timeout")


@dataclass
class Session:
    """A JingleRtpConnection; `state` has the names of AJC:430 without their common words."""

    with_: str  # full
    sid: str
    initiator: bool
    state: str
    media: frozenset[str]
    local: list[ET.Element] = field(default_factory=list)
    remote: ET.Element | None = None  # their `<jingle/>`
    remote_ice: IceCredentials | None = None
    connected_once: bool = False
    restarting: IceCredentials | None = None  # ICE restart offered, not answered yet
    adding: ET.Element | None = None  # our content-add, not answered yet


class Calling(Discovering):
    """The part of the client that has a session."""

    RINGS, TALKS = "Incoming call", "Connected"
    RINGS_FOR = 30.0  # s, JRC:81

    def __init__(self, home: Home, resource: str) -> None:
        self.session: Session | None = None
        self.missed: list[str] = []  # "missed call" in the chat, by sid
        self.over: set[tuple[str, str]] = set()  # JCM:69, sessions that were terminated
        super().__init__(home, resource)

    @property
    def busy(self) -> bool:
        return self.session is not None

    # --- the user

    def answer(self) -> None:
        """JRC:2212."""
        session = self._current("PROPOSED", "INITIALIZED")
        self.stop("ringing")
        if session.state == "PROPOSED":
            session.state = "PROCEED"
            self.screen("Accepting call")
            # JRC:2348. The proceed has no `<device/>` unless the chat is encrypted (JRC:2411).
            self._jmi("accept", self.home.account, session.sid)
            self._jmi("proceed", session.with_, session.sid, id=PROCEED + session.sid)
        else:
            self._send_accept(session)

    def decline(self) -> None:
        """JRC:2238."""
        session = self._current("PROPOSED", "INITIALIZED")
        if session.state == "PROPOSED":  # JRC:2356
            self._jmi("reject", session.with_, session.sid)
            self._finish("ended")
        else:  # JRC:2369
            self._terminate("decline", "ended")

    def hang_up(self) -> None:
        """JRC:2272."""
        session = self._current("PROPOSED", "PROCEED", "INITIALIZED", "PRE_APPROVED", "ACCEPTED")
        if session.state == "PROPOSED":
            self.decline()
        elif session.state == "PROCEED":  # JRC:2321, JRC:2364
            self._jmi("retract" if session.initiator else "reject", session.with_, session.sid)
            self._finish("ended")
        elif session.initiator and session.state != "ACCEPTED":
            self._terminate("cancel", "ended")
        elif session.state == "INITIALIZED":
            self._terminate("decline", "ended")
        else:
            self._terminate("success", "ended")

    def changes_network(self) -> None:
        """The old path is dead: JRC:2496, then libwebrtc wants a renegotiation (JRC:2506)."""
        session = self._current("ACCEPTED")
        self.screen("Reconnecting")
        session.restarting = self.ice = self.new_credentials()
        # JRC:2562: the credentials, no fingerprint, no candidates.
        contents = [ua.content(c.get("name", ""), ua.transport(self.ice)) for c in _contents(session.local)]

        def then(reply: ET.Element) -> None:
            if reply.get("type") == "error" and ua.jingle_condition(reply) != "tie-break":
                self._iq_error(reply)
            elif reply.get("type") == "result":
                self._trickle(session)

        self.jingle(session.with_, "transport-info", session.sid, *contents, then=then)

    def adds_video(self) -> None:
        """JRC:2202, then JRC:2595. The button needs rtp:video in the contact's caps (JRC:2938)."""
        session = self._current("ACCEPTED")
        if "video" not in self.capability(session.with_):
            self.screen("no button to switch to video")
            return
        self.force_video()

    def force_video(self) -> None:
        """As a contact whose caps are out of date makes it do."""
        session = self._current("ACCEPTED")
        names = [c.get("name", "") for c in _contents(session.local)]
        added = self._content(f"{len(names)}", "video", "actpass")
        session.adding = added

        def then(reply: ET.Element) -> None:
            if reply.get("type") == "error" and ua.jingle_condition(reply) == "tie-break":
                session.adding = None
            elif reply.get("type") == "error":
                self._iq_error(reply)

        group = ua.bundle([*names, added.get("name", "")])
        self.jingle(session.with_, "content-add", session.sid, added, group, then=then)

    def loses_its_session(self) -> None:
        """It comes back with a new stream, and its call was of the old one: JRC:166."""
        self.comes_back()
        if self.session is not None and self.session.state in ("INITIALIZED", "PRE_APPROVED", "ACCEPTED"):
            self._terminate("connectivity-error", self._unreachable)
        elif self.session is not None:
            self._finish(self._unreachable)

    def _current(self, *states: str) -> Session:
        if self.session is None or self.session.state not in states:
            raise AssertionError(f"{self.CLIENT} cannot do this now: {self.session}; saw {self.sees}")
        return self.session

    # --- what it says

    def _send_initiate(self, session: Session, media: tuple[str, ...], state: str) -> None:
        """JRC:1836 and :1935; no initiator attribute. libwebrtc numbers them, video first (WebRTCWrapper:273)."""
        if self.session is not session:
            return
        session.state = state
        contents = [self._content(str(number), each, "actpass") for number, each in enumerate(media)]
        session.local = [*contents, ua.bundle(c.get("name", "") for c in contents)]
        inline = SDP_OFFER_ANSWER in self.infos.get(session.with_, Info(frozenset(), frozenset())).features
        if inline:  # JRC:1848
            for each in contents:
                next(each.iter(f"{{{ICE_UDP}}}transport")).extend(ua.candidate(n) for n in (1, 2))
        self.jingle(session.with_, "session-initiate", session.sid, *session.local)
        if not inline:
            self._trickle(session)

    def _trickle(self, session: Session) -> None:
        """JRC:2438 and :2000: one candidate at a time, as soon as they are found."""
        for each in _contents(session.local):
            for number in (1, 2):
                inside = ua.transport(self.ice, candidates=[ua.candidate(number)])
                self.jingle(session.with_, "transport-info", session.sid, ua.content(each.get("name", ""), inside))

    def _content(self, name: str, media: str, setup: str, payloads: tuple[ua.Payload, ...] = ()) -> ET.Element:
        all_of_them = ua.WEBRTC_AUDIO if media == "audio" else ua.WEBRTC_VIDEO
        wire = ua.transport(self.ice, setup)
        return ua.content(name, ua.description(media, payloads or all_of_them), wire)

    def _ring(self) -> None:
        self.screen("Incoming call")

        def nobody_answers() -> None:
            """JRC:1705."""
            if self.session is not None and self.session.state in ("PROPOSED", "INITIALIZED"):
                self.missed.append(self.session.sid)
                self.decline()

        self.later(self.RINGS_FOR, nobody_answers, "ringing")

    # --- what it is told

    def on_jingle(self, action: str, element: ET.Element, iq: ET.Element) -> None:
        """JCM:82 and JRC:142."""
        sid, from_ = element.get("sid", ""), iq.get("from", "")
        session = self.session
        if session is None or (session.with_, session.sid) != (from_, sid):
            if action != "session-initiate":
                self.refuse(iq, "item-not-found", "unknown-session")
                return
            if self.busy or (from_, sid) in self.over:  # JCM:111
                self.acknowledge(iq)
                self.jingle(from_, "session-terminate", sid, ua.reason("busy"))
                return
            self.session = session = Session(from_, sid, False, "NULL", frozenset())
        match action:
            case "session-initiate" if not session.initiator:
                self._initiated(session, element, iq)
            case "session-accept" if session.initiator:
                self._accepted(session, element, iq)
            case "session-initiate" | "session-accept":
                self._out_of_order(action, iq)
            case "session-terminate":
                self.acknowledge(iq)
                self._terminated(session, reason_of(element))
            case "transport-info":
                self._transport_info(session, element, iq)
            case "content-reject" | "content-accept":
                self._content_answered(session, action, element, iq)
            case "content-add":
                self._content_added(session, element, iq)
            case "content-modify" if session.state == "ACCEPTED":
                # JRC:479 and RtpContentMap.java:317: from both to the sender's own role and back is all it can bear.
                self.acknowledge(iq)
                self._terminate("failed-application", "App failure", "Unsupported senders modification")
            case "content-modify":
                self._out_of_order(action, iq)
            case "content-remove":
                self.acknowledge(iq)
                self._terminate("failed-application", "App failure", "content-remove")  # JRC:665
            case _:
                self.acknowledge(iq)  # JRC:154; session-info has no effect

    def _initiated(self, session: Session, element: ET.Element, iq: ET.Element) -> None:
        """JRC:1133 and :1156."""
        try:
            media = read_contents(element, offered=True)
        except FlawError as flaw:
            self.acknowledge(iq)
            self._flawed(flaw)
            return
        if session.state == "PROCEED" and media != session.media:
            self._terminate("security-error", "Verification problem", f"proposed {session.media}, initiated {media}")
            return
        if session.state not in ("PROCEED", "NULL"):
            self._out_of_order("session-initiate", iq)
            return
        proceeded = session.state == "PROCEED"
        session.state = "PRE_APPROVED" if proceeded else "INITIALIZED"
        session.remote, session.remote_ice, session.media = element, credentials(element), media
        self.acknowledge(iq)
        if proceeded:
            self._send_accept(session)
        else:
            self._ring()

    def _send_accept(self, session: Session) -> None:
        """JRC:1323; what the offer says is made SDP first, and libwebrtc says active."""
        offer = session.remote
        if offer is None:
            raise AssertionError("no offer")
        try:
            to_sdp(offer)
        except FlawError as flaw:
            self._flawed(flaw)
            return

        def ice_servers_are_known() -> None:
            if self.session is not session:
                return
            answers = []
            for each in children(offer, JINGLE, "content"):
                name, media = each.get("name", ""), media_of(each)
                common = in_common(each, ua.WEBRTC_AUDIO if media == "audio" else ua.WEBRTC_VIDEO)
                if not common:
                    self._terminate("failed-application", "App failure", f"no codec in common for {name}")
                    return
                answers.append(self._content(name, media, "active", common))
            groups = children(offer, GROUPING, "group")
            session.local = [*answers, *([ua.bundle(c.get("name", "") for c in answers)] if groups else [])]
            session.state = "ACCEPTED"
            self.screen("Connecting")
            self.jingle(session.with_, "session-accept", session.sid, *session.local)
            self._trickle(session)
            self.meet(offer)

        self.later(0.1, ice_servers_are_known, "ice servers")

    def _accepted(self, session: Session, element: ET.Element, iq: ET.Element) -> None:
        """JRC:1217, :1247 and :1288."""
        try:
            media = read_contents(element, offered=False)
        except FlawError as flaw:
            self.acknowledge(iq)
            self._flawed(flaw)
            return
        if media != session.media:
            self._terminate("security-error", "Verification problem", f"offered {session.media}, accepted {media}")
            return
        self.acknowledge(iq)
        if session.state not in ("INITIALIZED", "PRE_APPROVED"):
            return
        session.state = "ACCEPTED"
        session.remote, session.remote_ice = element, credentials(element)
        self.screen("Connecting")
        try:
            to_sdp(element)
        except FlawError as flaw:
            self._flawed(flaw)
            return
        why = ua.libwebrtc_refuses(session.local, element)
        if why:  # JRC:1309
            self._terminate("failed-application", "App failure", why)
        else:
            self.meet(element)

    def _transport_info(self, session: Session, element: ET.Element, iq: ET.Element) -> None:
        """JRC:222."""
        if session.state not in ("NULL", "PROCEED", "INITIALIZED", "PRE_APPROVED", "ACCEPTED"):
            self._out_of_order("transport-info", iq)
            return
        if session.state == "ACCEPTED" and self._restarted(session, element, iq):
            return
        self.acknowledge(iq)

    def _restarted(self, session: Session, element: ET.Element, iq: ET.Element) -> bool:
        """JRC:911: new credentials with candidates answer our restart, without candidates they ask for one."""
        new = credentials(element)
        if new is None or new == session.remote_ice:
            return False
        asks = not any(True for _ in element.iter(f"{{{ICE_UDP}}}candidate"))
        if asks and session.restarting is not None and session.initiator:  # JRC:1000
            self.refuse(iq, "conflict", "tie-break")
            return True
        session.remote_ice = new
        if asks:
            self.acknowledge(iq)
            self.ice = self.new_credentials()
            self._trickle(session)
        session.restarting = None
        self.meet_again()
        return asks

    def meet_again(self) -> None:
        """After an ICE restart: DTLS goes on, so that only the new path is looked for."""

        def look() -> None:
            if self._known_to_the_gateway("actpass"):
                self.on_media()
            else:
                self.on_media_failed()

        self.later(ua.ICE_TAKES, look, "ice")

    def _content_added(self, session: Session, element: ET.Element, iq: ET.Element) -> None:
        """JRC:289."""
        if session.state != "ACCEPTED":
            self._out_of_order("content-add", iq)
            return
        self.acknowledge(iq)
        added = {media_of(each) for each in children(element, JINGLE, "content")}
        if added == {"video"} and session.media == {"audio"}:
            self.screen("Switch to video call?")
        else:
            stubs = (stub(each) for each in children(element, JINGLE, "content"))
            self.jingle(session.with_, "content-reject", session.sid, *stubs)

    def _content_answered(self, session: Session, action: str, element: ET.Element, iq: ET.Element) -> None:
        """JRC:390 and :589: an answer to nothing, or to something else, ends the call."""
        for each in children(element, JINGLE, "content"):
            if first(each, ICE_UDP, "transport") is None:  # RtpContentMap.java:449
                self.acknowledge(iq)
                self._terminate("unsupported-transports", "App failure", "Content does not contain ICE-UDP transport")
                return
        ours = session.adding
        answered = {(c.get("name"), media_of(c), c.get("senders")) for c in children(element, JINGLE, "content")}
        if ours is None or answered != {(ours.get("name"), media_of(ours), ours.get("senders"))}:
            self._out_of_order(action, iq)
            return
        session.adding = None
        self.acknowledge(iq)
        if action == "content-accept":
            session.media |= {"video"}
            self.screen("Video call")

    def on_reply(self, request: ET.Element, reply: ET.Element) -> None:
        """AJC:268: an error to anything inside a session ends it."""
        element = first(request, JINGLE, "jingle")
        sid = None if self.session is None else self.session.sid
        if reply.get("type") == "error" and element is not None and element.get("sid") == sid:
            self._iq_error(reply)

    def _iq_error(self, reply: ET.Element) -> None:
        """AJC:278."""
        name = ua.condition(reply)
        self.complain(f"received IQ-error in RTP session: {name}")
        if self.session is not None:
            self._finish(self._unreachable if name in NOT_THERE else "App failure")

    # --- media

    def on_media(self) -> None:
        """JRC:2460."""
        if self.session is not None and self.session.state == "ACCEPTED":
            self.session.connected_once = True
            self.screen("Connected")

    def on_media_failed(self) -> None:
        """JRC:2476."""
        if self.session is not None:
            self._terminate("connectivity-error", self._unreachable)

    @property
    def _unreachable(self) -> str:
        return LOST if self.session is not None and self.session.connected_once else UNREACHABLE

    # --- endings

    def _terminated(self, session: Session, reason: str) -> None:
        """JRC:187."""
        if session.state in ("PROPOSED", "INITIALIZED") and not session.initiator:
            self.missed.append(session.sid)
        text = FATES.get(reason, self._unreachable)
        self._finish("ended" if text == "Busy" and not session.initiator else text)

    def _terminate(self, reason: str, text: str, why: str = "") -> None:
        """AJC:224 and JRC:1995: session-terminate, and a finish beside it."""
        session = self.session
        if session is None:
            return
        if why:
            self.complain(why)
        self._finish(text)
        self.jingle(session.with_, "session-terminate", session.sid, ua.reason(reason, why))
        self._jmi("finish", session.with_, session.sid, ua.reason(reason))

    def _flawed(self, flaw: FlawError) -> None:
        reason, why = flaw.args
        self._terminate(reason, FATES[reason], why)

    def _out_of_order(self, action: str, iq: ET.Element) -> None:
        """AJC:183 and :202."""
        self.complain(f"received {action} even though we are in state {self.session.state if self.session else None}")
        self.refuse(iq, "unexpected-request", "out-of-order")
        self._finish("App failure")

    def _finish(self, text: str) -> None:
        """JRC:2867. A call that ends as it should closes its screen."""
        if self.session is not None:
            self.over.add((self.session.with_, self.session.sid))
        self.session = None
        for name in ("ringing", "ice", "ice servers"):
            self.stop(name)
        self.screen(text)

    def _jmi(self, action: str, to: str, sid: str, *inside: ET.Element, id: str = "", receipt: bool = False) -> None:
        """JRC:2379 and generator/MessageGenerator.java:177-239: a chat message with a store hint."""
        asked = (make(RECEIPTS, "request"),) if receipt else ()
        self.message(to, make(JMI, action, *inside, id=sid), *asked, make(HINTS, "store"), id=id)


def _contents(elements: list[ET.Element]) -> list[ET.Element]:
    return [each for each in elements if local(each) == "content"]
