"""Siskin IM, on an iPhone, and its XMPP library Martin.

Read in siskin-im 7.4.0-b1, commit d77818f, and Martin, commit 95b99af of 2025-01-04. CM is
SiskinIM/voip/CallManager.swift, JM SiskinIM/voip/JingleManager.swift; MJ is Sources/Martin/modules/jingle/ of Martin.

    call():  every presence that can has jingle-message:0, or nobody is there ── propose to the bare JID
             otherwise ───────────── session-initiate to each of them, all with one sid; the first accept is kept

It rings without a word: no ringing, no receipt, no timer. A user who gives up says reject, never retract. What it was
told of a failure is not shown; the call's screen just closes.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from tests.clients import user_agent as ua
from tests.clients.home import Home, bare, resource
from tests.clients.user_agent import (
    CAPS,
    DISCO_INFO,
    DTLS,
    GROUPING,
    ICE_UDP,
    JINGLE,
    JMI,
    RTP,
    RTP_AUDIO,
    RTP_INFO,
    RTP_VIDEO,
    Info,
    children,
    first,
    local,
    make,
    space,
)

# SiskinIM/service/XmppService.swift:481
FEATURES = frozenset(
    {CAPS, DISCO_INFO, ua.PING, ua.RECEIPTS, JINGLE, JMI, ICE_UDP, DTLS, RTP, RTP_AUDIO, RTP_VIDEO, "jabber:iq:version"}
)

# SiskinIM/voip/VideoCallController.swift:350
RINGING, CONNECTING, CONNECTED, ENDED = "Ringing…", "Connecting…", "connected", "Call ended"

ACTIONS = {  # MJ/Jingle.swift:129
    "content-accept",
    "content-add",
    "content-modify",
    "content-remove",
    "content-reject",
    "description-info",
    "security-info",
    "session-accept",
    "session-info",
    "session-initiate",
    "session-terminate",
    "transport-accept",
    "transport-info",
    "transport-reject",
    "transport-replace",
}


@dataclass
class Session:
    """MJ/JingleSession.swift:25."""

    jid: str
    sid: str
    outgoing: bool
    by_message: bool
    state: str = "created"  # initiating, accepted, terminated
    offer: ET.Element | None = None  # theirs


@dataclass
class Call:
    """CM:413."""

    contact: str  # bare
    sid: str
    outgoing: bool
    media: tuple[str, ...]
    state: str = "ringing"  # connecting, connected, ended
    session: Session | None = None  # the one that counts
    establishing: list[Session] = field(default_factory=list)
    local: list[ET.Element] = field(default_factory=list)
    remote: ET.Element | None = None


class CrashError(Exception):
    """A forced unwrap of what is not there."""


class Siskin(ua.UserAgent):
    CLIENT = "Siskin 7.4.0-b1 (d77818f)"
    NODE = "https://siskin.im/"
    INFO = Info(frozenset({("client", "phone", "", "SiskinIM")}), FEATURES)
    RINGS, TALKS = "Incoming call", CONNECTED

    def __init__(self, home: Home, resource: str = "siskin-1") -> None:
        self.talk: Call | None = None  # CM:85: one
        self.sessions: list[Session] = []
        self.capable: dict[str, frozenset[str]] = {}  # features by node#ver
        # JM:140: a propose to a client that is connected rings only if push is on, at a server that is not Tigase's.
        self.push = True
        super().__init__(home, resource)

    @property
    def busy(self) -> bool:
        return self.talk is not None

    def forget_calls(self) -> None:
        self.talk = None
        self.sessions.clear()

    # --- capabilities

    def on_presence(self, presence: ET.Element) -> None:
        """Martin, modules/caps/CapabilitiesModule.swift:131: the answer is believed."""
        super().on_presence(presence)
        node = _caps_node(presence)
        if presence.get("type") or not node or node in self.capable:
            return

        def then(reply: ET.Element) -> None:
            query = first(reply, DISCO_INFO, "query")
            if reply.get("type") == "result" and query is not None:
                self.capable[node] = Info.read(query).features

        self.request(presence.get("from", ""), make(DISCO_INFO, "query", node=node), then, type="get")

    # --- the user

    def call(self, contact: str, *, video: bool = False) -> None:
        """SiskinIM/chat/ChatViewController.swift:73: the buttons are always there; CM:613."""
        contact = bare(contact)
        with_jingle = []
        with_jmi = []
        for jid, presence in self.presences.items():
            features = self.capable.get(_caps_node(presence), frozenset())
            if bare(jid) == contact and {JINGLE, ICE_UDP, RTP_AUDIO} <= features:
                with_jingle.append(jid)
                with_jmi += [jid] if JMI in features else []
        media = ("audio", "video") if video else ("audio",)
        self.talk = call = Call(contact, f"5157-{next(self._names):08X}", True, media)
        self.screen(RINGING)

        def ice_servers_are_known() -> None:
            if self.talk is not call:
                return
            if len(with_jmi) == len(with_jingle):
                call.session = self._open(contact, call.sid, outgoing=True, by_message=True)
                # MJ/Message_JingleInitiation.swift:35 and JingleModule.swift:206: no id, no hint, no receipt.
                self._jmi("propose", contact, call.sid, *(make(RTP, "description", media=each) for each in media))
                return
            self._describe(call)
            for jid in with_jingle:
                session = self._open(jid, call.sid, outgoing=True, by_message=False)
                call.establishing.append(session)
                self._initiate(call, session)

        self.later(0.2, ice_servers_are_known, "ice servers")

    def answer(self) -> None:
        """CM:821, MJ/JingleSession.swift:116."""
        call = self._call
        call.state = "connecting"
        self.screen(CONNECTING)

        def ice_servers_are_known() -> None:
            session = call.session
            if self.talk is not call or session is None:
                return
            session.state = "accepted"
            if session.by_message:
                self._jmi("proceed", session.jid, session.sid)
            elif session.offer is not None:
                self._accept(call, session, session.offer)

        self.later(0.2, ice_servers_are_known, "ice servers")

    def decline(self) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        """CM:525: before the answer it is a refusal, whoever called."""
        call = self._call
        if call.state == "ringing" and call.session is not None:
            self._terminate(call.session, "decline")
        self._reset(call)

    def mutes(self, *, unmute: bool = False) -> None:
        """CM:533."""
        call = self._call
        if call.session is not None:
            names = [c.get("name", "") for c in call.local if local(c) == "content"]
            infos = (make(RTP_INFO, "unmute" if unmute else "mute", creator="initiator", name=name) for name in names)
            self.jingle(call.session.jid, "session-info", call.sid, *infos)

    @property
    def _call(self) -> Call:
        if self.talk is None:
            raise AssertionError(f"{self.CLIENT} has no call; saw {self.sees}")
        return self.talk

    # --- Jingle messages; those in carbons never come here (Martin, modules/MessageCarbonsModule.swift:132)

    def on_jmi(self, action: str, element: ET.Element, message: ET.Element) -> None:
        """MJ/JingleModule.swift:182 and JM:138; it knows neither ringing nor finish (MJ/Message….swift:64)."""
        sid, from_ = element.get("id", ""), message.get("from", "")
        match action:
            case "propose":
                self._proposed(sid, from_, element)
            case "retract":
                self._terminated(from_, sid)
            case "accept" if from_ != self.jid:
                self._terminated_anywhere(sid)
            case "reject":
                self._terminated_anywhere(sid)
            case "proceed":
                session = self._session(from_, sid)
                if session is not None:  # JM:173
                    session.state, session.jid = "accepted", from_
                    self._proceeded(session)

    def _proposed(self, sid: str, from_: str, element: ET.Element) -> None:
        described = [(space(d), d.get("media", "")) for d in element if d.get("media")]
        if not any(namespace == RTP for namespace, _ in described):
            self._jmi("reject", from_, sid)
            return
        if bare(from_) == self.home.account or not self.push or self._session(from_, sid) is not None:
            return
        session = self._open(from_, sid, outgoing=False, by_message=True)
        self._ring(Call(bare(from_), sid, False, tuple(media for _, media in described), session=session))

    def _ring(self, call: Call) -> None:
        """CM:110: CallKit takes one call; JM:164: another is declined."""
        if self.talk is not None and call.session is not None:
            self._terminate(call.session, "decline")
            return
        self.talk = call
        self.screen("Incoming call")

    def _proceeded(self, session: Session) -> None:
        """CM:703."""
        call = self.talk
        if call is None or call.session is not session or not session.by_message or call.state != "ringing":
            return
        call.state = "connecting"
        self.screen(CONNECTING)
        self._describe(call)
        self._initiate(call, session)
        self._trickle(call)

    # --- Jingle

    def _describe(self, call: Call) -> None:
        """MJ/SDP.swift:203: senders is always there."""
        contents = [self._content(str(number), each, "actpass") for number, each in enumerate(call.media)]
        call.local = [*contents, ua.bundle(c.get("name", "") for c in contents)]

    def _content(self, name: str, media: str, setup: str, payloads: tuple[ua.Payload, ...] = ()) -> ET.Element:
        all_of_them = ua.WEBRTC_AUDIO if media == "audio" else ua.WEBRTC_VIDEO
        described = ua.description(media, payloads or all_of_them)
        return ua.content(name, described, ua.transport(self.ice, setup), senders="both")

    def _initiate(self, call: Call, session: Session) -> None:
        """MJ/JingleModule.swift:227. An error, or 30 s of silence (Martin, PacketWriter.swift:40), ends it."""

        def then(reply: ET.Element | None = None) -> None:
            self.stop(timer)
            if reply is None or reply.get("type") == "error":
                self._terminate(session)
                self._session_is_over(session)

        timer = self.later(30, then)
        self.jingle(session.jid, "session-initiate", session.sid, *call.local, then=then, initiator=self.jid)

    def _trickle(self, call: Call) -> None:
        """CM:1156: once the session is the only one; every attribute but the related address, and no type if none."""
        if call.session is None:
            return
        for each in call.local:
            for number in (1, 2) if local(each) == "content" else ():
                wire = ua.transport(self.ice, candidates=[ua.candidate(number)])
                content = ua.content(each.get("name", ""), wire)
                self.jingle(call.session.jid, "transport-info", call.sid, content)

    def on_jingle(self, action: str, element: ET.Element, iq: ET.Element) -> None:
        """MJ/JingleModule.swift:113."""
        from_, sid = iq.get("from", ""), element.get("sid", "")
        session = self._session(from_, sid)
        if action not in ACTIONS or not sid:
            self.refuse(iq, "bad-request")
            return
        try:
            match action:
                case "session-initiate":
                    self._initiated(session, element, from_)
                case "session-terminate":
                    self._terminated(from_, sid)
                case _ if action not in ("session-accept", "transport-info", "session-info", *_MODIFYING):
                    self.refuse(iq, "feature-not-implemented")
                    return
                case _ if session is None:
                    self.refuse(iq, "item-not-found")
                    return
                case "session-accept":
                    self._accepted(session, element)
                case "transport-info":
                    for candidate in element.iter(f"{{{ICE_UDP}}}candidate"):
                        self._reads_candidate(candidate)
                case _ if action in _MODIFYING:
                    self._modified(session, action)
        except CrashError as error:
            self.complain(f"crashes: {error}")
            self.screen("the app is gone")
            self.talk = None
            self.goes_offline()
            return
        self.acknowledge(iq)

    def _initiated(self, session: Session | None, element: ET.Element, from_: str) -> None:
        """JM:181: a first content without RTP is acknowledged and forgotten."""
        contents = children(element, JINGLE, "content")
        if not contents or first(contents[0], RTP, "description") is None:
            return
        if session is None:
            session = self._open(from_, element.get("sid", ""), outgoing=False, by_message=False)
            session.offer = element
            media = tuple(media for _, media in ua.media_of(element))
            self._ring(Call(bare(from_), session.sid, False, media, session=session))
            return
        session.offer = element
        to_sdp(element)
        call = self.talk
        if call is not None and call.session is session and session.state == "accepted":
            self.later(0.1, lambda: self._accept(call, session, element), "answer")  # CM:863, after the result

    def _accept(self, call: Call, session: Session, offer: ET.Element) -> None:
        """CM:857-906 and MJ/JingleModule.swift:261."""
        to_sdp(offer)
        for candidate in offer.iter(f"{{{ICE_UDP}}}candidate"):
            self._reads_candidate(candidate)
        contents = []
        for each in children(offer, JINGLE, "content"):
            name = each.get("name", "")
            media = dict(ua.media_of(offer))[name]
            known = {(p.name.lower(), p.clock): p for p in (*ua.WEBRTC_AUDIO, *ua.WEBRTC_VIDEO)}
            common = []
            for payload in each.iter(f"{{{RTP}}}payload-type"):
                mine = known.get((payload.get("name", "").lower(), int(payload.get("clockrate", "0"))))
                if mine is not None:
                    common.append(ua.Payload(int(payload.get("id", "0")), mine.name, mine.clock, mine.channels))
            contents.append(self._content(name, media, "active", tuple(common)))
        groups = children(offer, GROUPING, "group")
        call.local = [*contents, *([ua.bundle(c.get("name", "") for c in contents)] if groups else [])]

        def then(reply: ET.Element) -> None:
            if reply.get("type") == "error":
                self._terminate(session)
                self._session_is_over(session)

        self.jingle(session.jid, "session-accept", session.sid, *call.local, then=then, responder=self.jid)
        self.later(0.1, lambda: self._trickle(call), "candidates")
        self.meet(offer)

    def _accepted(self, session: Session, element: ET.Element) -> None:
        """JM:213; CM:662: of several sessions the first keeps the call, the others are ended with success."""
        call = self.talk
        if call is None or call.state == "ended":
            return
        session.state = "accepted"
        if not session.by_message:
            if call.session is not None:
                self._terminate(session)
                return
            others, call.establishing = [s for s in call.establishing if s is not session], []
            for other in others:
                self._terminate(other)
            call.session, call.state = session, "connecting"
            self.screen(CONNECTING)
        to_sdp(element)
        for candidate in element.iter(f"{{{ICE_UDP}}}candidate"):
            self._reads_candidate(candidate)
        why = ua.libwebrtc_refuses(call.local, element)
        if why:  # CM:884
            self.complain(f"error setting remote description: {why}")
            self._reset(call)
            return
        call.remote = element
        if not session.by_message:
            self._trickle(call)
        self.meet(element)

    def _reads_candidate(self, candidate: ET.Element) -> None:
        """MJ/Jingle.swift:358: foundation and all other numbers are numbers, or the candidate is not there."""
        numbers = [candidate.get(name, "") for name in ("foundation", "component", "port")]
        if (
            not all(n.isdigit() for n in numbers)
            or not candidate.get("ip")
            or candidate.get("protocol") not in _PROTOCOLS
        ):
            self.complain(f"a candidate is dropped: {candidate.attrib}")

    def _modified(self, session: Session, action: str) -> None:
        """CM:873 and :930: applied as an answer by who called, which libwebrtc refuses."""
        call = self.talk
        if call is not None and call.session is session:
            self.complain(f"{action} in a session that is up")
            if call.outgoing:
                self._reset(call)

    # --- media

    def on_media(self) -> None:
        """CM:1122; a path that breaks later is only looked at (:1124), there is no ICE restart."""
        if self.talk is not None:
            self.talk.state = "connected"
            self.screen(CONNECTED)

    # --- endings

    def _terminated(self, from_: str, sid: str) -> None:
        session = self._session(from_, sid)
        if session is not None:
            session.state = "terminated"
            self._session_is_over(session)

    def _terminated_anywhere(self, sid: str) -> None:
        """JM:225: whoever said it."""
        for session in [s for s in self.sessions if s.sid == sid]:
            session.state = "terminated"
            self._session_is_over(session)

    def _terminate(self, session: Session, reason: str = "success") -> None:
        """MJ/JingleSession.swift:194: before it was accepted a proposed session is rejected, by the caller too."""
        if session.state == "terminated":
            return
        accepted, session.state = session.state == "accepted", "terminated"
        if not session.by_message or accepted:
            self.jingle(session.jid, "session-terminate", session.sid, ua.reason(reason))
        else:
            self._jmi("reject", session.jid, session.sid)
        self._forget(session)

    def _session_is_over(self, session: Session) -> None:
        """CM:446 and :679."""
        self._forget(session)
        call = self.talk
        if call is None:
            return
        if session in call.establishing:
            call.establishing.remove(session)
        if call.session is session or (call.session is None and not call.establishing):
            self._reset(call)

    def _reset(self, call: Call) -> None:
        """CM:550."""
        self.talk = None
        call.state = "ended"
        for session in (*([call.session] if call.session else []), *call.establishing):
            self._terminate(session)
        self.stop_all()
        self.screen(ENDED)

    # --- small things

    def _open(self, jid: str, sid: str, *, outgoing: bool, by_message: bool) -> Session:
        session = Session(jid, sid, outgoing, by_message)
        self.sessions.append(session)
        return session

    def _session(self, jid: str, sid: str) -> Session | None:
        """JM:49."""
        for session in self.sessions:
            if session.sid == sid and (session.jid == jid or (not resource(session.jid) and session.jid == bare(jid))):
                return session
        return None

    def _forget(self, session: Session) -> None:
        if session in self.sessions:
            self.sessions.remove(session)

    def _jmi(self, action: str, to: str, sid: str, *inside: ET.Element) -> None:
        """MJ/JingleModule.swift:206: the user's other devices are told of an answer and of a refusal."""
        told = {"proceed": "accept", "reject": "reject"}.get(action)
        if told:
            self.message(self.home.account, make(JMI, told, id=sid))
        self.message(to, make(JMI, action, *inside, id=sid))


_MODIFYING = ("content-add", "content-modify", "content-remove")  # MJ/JingleModule.swift:149
_PROTOCOLS = ("udp", "tcp")


def _caps_node(presence: ET.Element) -> str:
    caps = first(presence, CAPS, "c")
    return "" if caps is None else f"{caps.get('node', '')}#{caps.get('ver', '')}"


def to_sdp(jingle: ET.Element) -> None:
    """MJ/SDP.swift:305; a payload without name or clockrate is unwrapped by force (:366)."""
    for each in children(jingle, JINGLE, "content"):
        if not each.get("name") or each.get("creator") not in ("initiator", "responder"):  # MJ/Jingle.swift:37
            raise CrashError("a content that is left out, and a description without it")
        for payload in each.iter(f"{{{RTP}}}payload-type"):
            if not payload.get("name") or not payload.get("clockrate", "").isdigit():
                raise CrashError(f"payload {payload.get('id')} without name or clockrate")
