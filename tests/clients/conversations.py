"""Conversations, and the clients made of it: Snikket, monocles, Cheogram.

Read in Conversations 2.19.5, commit c88ac40ef (which Snikket 2.19.5, 4b329a260, has inside); what differs before it in
2.19.0-beta, commit a23788059, and in Cheogram 2.19.0-6, commit 32da4731c. Paths below are those under
src/main/java/eu/siacs/conversations/ of the first; JRC is xmpp/jingle/JingleRtpConnection.java, JCM
xmpp/jingle/JingleConnectionManager.java, AJC xmpp/jingle/AbstractJingleConnection.java.

    call():  no capable presence without jingle-message:0 ── propose to the bare JID
             otherwise ───────────────────────────────────── session-initiate to the full JID

    SEARCHING ── ringing, receipt ──> DISCOVERED ── proceed ──> PROCEED ──> PRE_APPROVED ── session-accept ──> ACCEPTED
        │ 12 s, mutually subscribed       │ reject: "Busy"          an IQ error, a flaw in what is said: it is over
        ▼ bounce: "Could not connect call"
"""

from __future__ import annotations

import base64
import binascii
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from tests.clients import user_agent as ua
from tests.clients.home import Home, bare, bounce, resource
from tests.clients.user_agent import (
    CAPS,
    CAPS2,
    DISCO_INFO,
    DTLS,
    GROUPING,
    HASHES,
    HINTS,
    ICE_UDP,
    JINGLE,
    JMI,
    RECEIPTS,
    RTP,
    RTP_AUDIO,
    RTP_VIDEO,
    IceCredentials,
    Info,
    children,
    first,
    local,
    make,
    reason_of,
    space,
)

SDP_OFFER_ANSWER = "urn:ietf:rfc:3264"
PROPOSE, PROCEED = "jm-propose-", "jm-proceed-"  # AJC:28

# xmpp/jingle/RtpCapability.java:21
BASIC_RTP = {JINGLE, ICE_UDP, RTP, DTLS}

# xmpp/manager/DiscoManager.java:52 and :82
FEATURES = frozenset(
    {
        JINGLE,
        "urn:xmpp:jingle:apps:file-transfer:5",
        "urn:xmpp:jingle:transports:s5b:1",
        "urn:xmpp:jingle:transports:ibb:1",
        CAPS,
        CAPS2,
        DISCO_INFO,
        ua.PING,
        "jabber:iq:version",
        "http://jabber.org/protocol/chatstates",
        "urn:xmpp:chat-markers:0",
        RECEIPTS,
        ICE_UDP,
        RTP_AUDIO,
        RTP_VIDEO,
        RTP,
        DTLS,
        JMI,
    }
)

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
class Proposal:
    """JCM:1186."""

    with_: str  # bare
    sid: str
    media: tuple[str, ...]
    discovered: bool = False


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


class FlawError(Exception):
    """What it got cannot be used: the reason that it terminates with, and why."""


class Conversations(ua.UserAgent):
    CLIENT = "Conversations 2.19.5 (c88ac40ef)"
    NODE = "http://conversations.im"  # xmpp/manager/DiscoManager.java:51
    INFO = Info(frozenset({("client", "phone", "", "Conversations")}), FEATURES)
    DISCOVERY = 12.0  # s, Config.java:132
    RINGS_FOR = 30.0  # s, JRC:81
    CRASHES_ON_A_BARE_JID = False

    def __init__(self, home: Home, resource: str = "Conversations.Fwc1") -> None:
        self.infos: dict[str, Info] = {}  # DiscoManager.java:96, by JID
        self.cache: dict[str, Info] = {}  # its database's, by hash
        self.proposal: Proposal | None = None
        self.session: Session | None = None
        self.missed: list[str] = []  # "missed call" in the chat, by sid
        self.deaf_to_carbons = False  # a scene's way to have them late
        self.over: set[tuple[str, str]] = set()  # JCM:69, sessions that were terminated
        super().__init__(home, resource)

    # --- capabilities

    def announcement(self) -> ET.Element:
        """xmpp/manager/PresenceManager.java:278."""
        shown = super().announcement()
        hash_ = make(HASHES, "hash", algo="sha-256", text=self.INFO.caps2)
        shown.insert(0, make(CAPS2, "c", hash_))
        return shown

    def on_presence(self, presence: ET.Element) -> None:
        super().on_presence(presence)
        from_ = presence.get("from", "")
        if presence.get("type") == "unavailable":
            self.infos.pop(from_, None)  # PresenceManager.java:146
        elif presence.get("type") is None:
            self._look_up(from_, presence)

    def _look_up(self, from_: str, presence: ET.Element) -> None:
        """im/conversations/android/xmpp/model/capabilties/EntityCapabilities.java:11: XEP-0390 before XEP-0115."""
        new, old = first(presence, CAPS2, "c"), first(presence, CAPS, "c")
        if new is not None:
            hash_ = next((h.text or "" for h in new if h.get("algo") == "sha-256"), "")
            node, wanted = f"{CAPS2}#sha-256.{hash_}", "caps2"
        elif old is not None and old.get("hash") == "sha-1":  # LegacyCapabilities.java:30
            hash_ = old.get("ver", "")
            node, wanted = f"{old.get('node', '')}#{hash_}", "ver"
        else:
            return
        if not _is_base64(hash_):
            self.complain(f"{from_}: a caps hash that is not base64: {hash_!r}")
            return
        if hash_ in self.cache:  # DiscoManager.java:155
            self.infos[from_] = self.cache[hash_]
            return

        def then(reply: ET.Element) -> None:
            query = first(reply, DISCO_INFO, "query")
            if reply.get("type") != "result" or query is None:
                self.complain(f"{from_}: could not retrieve disco: {ua.condition(reply)}")
                return
            info = Info.read(query)
            if info.node != node:  # DiscoManager.java:192
                self.complain(f"node in response did not match node in request: {node} {info.node}")
                return
            self.infos[from_] = info  # before the hash is looked at: DiscoManager.java:201
            if getattr(info, wanted) != hash_:  # DiscoManager.java:234
                self.complain(f"{from_}: {wanted} mismatch. Expected {hash_} was {getattr(info, wanted)}")
                return
            self.cache |= {info.ver: info, info.caps2: info}

        self.request(from_, make(DISCO_INFO, "query", node=node), then, type="get")

    def capability(self, jid: str) -> str:
        """What it calls video, audio or nothing: xmpp/jingle/RtpCapability.java:30."""
        info = self.infos.get(jid)
        if info is None or not info.features >= BASIC_RTP or RTP_AUDIO not in info.features:
            return ""
        return "video" if RTP_VIDEO in info.features else "audio"

    def _capable(self, contact: str) -> list[str]:
        return [jid for jid in self.presences if bare(jid) == contact and self.capability(jid)]

    # --- the user

    @property
    def busy(self) -> bool:
        return self.session is not None or self.proposal is not None

    def call(self, contact: str, *, video: bool = False) -> None:
        """ui/ConversationFragment.java:1679; the menu shows both buttons whatever the contact can (:568-603)."""
        if self.busy:
            self.screen("Only one call at a time")
            return
        contact, media = bare(contact), ("video", "audio") if video else ("audio",)
        capable = self._capable(contact)
        if all(JMI in self.infos[jid].features for jid in capable):  # RtpCapability.java:96
            self._propose(contact, media)
            return
        # ui/util/PresenceSelector.java:66
        capable = [jid for jid in capable if not video or self.capability(jid) == "video"]
        if not capable:
            self.screen("Contact is not available")
        elif resource(capable[0]):
            self._initiate_directly(capable[0], media)
        elif self.CRASHES_ON_A_BARE_JID:
            # a23788059 PresenceSelector.java:69: withResource(""), which Jid.java:167 answers with an exception.
            self.complain("java.lang.IllegalArgumentException in PresenceSelector")
            self.screen("Conversations keeps stopping")
        else:
            self._propose(contact, media)  # services/CallIntegrationConnectionService.java:112

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
        """ui/RtpSessionActivity.java:283 and JRC:2272."""
        if self.proposal is not None:
            self._retract(self.proposal)
            self.screen("ended")
            return
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

    # --- outgoing

    def _propose(self, contact: str, media: tuple[str, ...]) -> None:
        """JCM:755 and generator/MessageGenerator.java:191."""
        self.proposal = proposal = Proposal(contact, self._new_sid(), media)
        self.screen("Discovering devices")
        descriptions = (make(RTP, "description", media=each) for each in media)
        self._jmi("propose", contact, proposal.sid, *descriptions, id=PROPOSE + proposal.sid, receipt=True)

        def discovery_is_over() -> None:
            # JCM:810: only of those who are expected to show that they are there; :834.
            if self.proposal is proposal and not proposal.discovered and self.home.mutual(contact):
                self._retract(proposal)
                self.screen(UNREACHABLE)

        self.later(self.DISCOVERY, discovery_is_over, "discovery")

    def _retract(self, proposal: Proposal) -> None:
        """MessageGenerator.java:211."""
        self.proposal = None
        self.over.add((proposal.with_, proposal.sid))
        self._jmi("retract", proposal.with_, proposal.sid, make(RTP, "description"))

    def _initiate_directly(self, jid: str, media: tuple[str, ...]) -> None:
        """JCM:743. The screen says that it rings from the beginning (JRC:2021)."""
        self.session = session = Session(jid, self._new_sid(), True, "NULL", frozenset(media))
        self.screen("Ringing")
        self.later(0.1, lambda: self._send_initiate(session, media, "INITIALIZED"), "ice servers")

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

    # --- Jingle messages

    def on_jmi(self, action: str, element: ET.Element, message: ET.Element) -> None:
        """JCM:288."""
        sid, from_, to = element.get("id", ""), message.get("from", ""), message.get("to", "")
        if bare(from_) == self.home.account:
            self._from_myself(action, sid, to)
            return
        directly = to == self.jid  # JCM:314
        session = self.session
        if ua.delayed(message) is not None:  # parser/MessageParser.java:964,987: of the archive, or kept by the server
            if action == "propose":
                self.missed.append(sid)
        elif session is not None and (session.with_, session.sid) == (from_, sid):
            self._of_session(action, session)
        elif action == "propose":
            self._proposed(element, message)
        elif directly and action == "proceed":
            self._proceed(sid, message)
        elif directly and action == "reject":
            if self._is_of_proposal(from_, sid):
                self._end_proposal("Busy")  # JCM:515
        elif directly and action == "ringing":
            self._discovered(from_, sid)  # the rest is "out of order" and only logged, JCM:544

    def on_carbon(self, action: str, element: ET.Element, message: ET.Element, *, sent: bool) -> None:
        if sent:
            self._from_myself(action, element.get("id", ""), message.get("to", ""))

    def _from_myself(self, action: str, sid: str, to: str) -> None:
        """What another device of the user's says: JCM:300, JRC:1531, :1592, :1768."""
        session = self.session
        if session is None or session.sid != sid or session.state != "PROPOSED" or self.deaf_to_carbons:
            return
        if action == "accept" or (to == session.with_ and action == "proceed"):
            self._finish("ended")  # answered elsewhere
        elif to == session.with_ and action == "reject":
            self.missed.append(sid)
            self._finish("ended")

    def _of_session(self, action: str, session: Session) -> None:
        """JRC:1493; everything else, finish too, is "unhandled"."""
        if action == "retract" and not session.initiator and session.state in ("PROPOSED", "PROCEED"):
            self.missed.append(session.sid)  # JRC:1787
            self._finish("ended" if session.state == "PROPOSED" else "Retracted call")
        elif action == "reject" and session.initiator and session.state in ("PROCEED", "PRE_APPROVED"):
            self._finish("Busy")  # JRC:1609

    def _proposed(self, element: ET.Element, message: ET.Element) -> None:
        """JCM:370."""
        sid, from_ = element.get("id", ""), message.get("from", "")
        media = tuple(d.get("media", "") for d in children(element, RTP, "description"))
        if not media or len(media) != len(element) or not set(media) <= {"audio", "video"}:
            self.complain(f"unable to react to proposed session with {media}")
            return
        ours = self.proposal
        if ours is not None and ours.with_ == bare(from_) and set(ours.media) == set(media):
            if (ours.sid, self.jid) <= (sid, from_):  # JCM:394: we won
                return
            self._retract(ours)
        elif self.busy:
            self.missed.append(sid)  # JCM:428
            if not any(other is not self for other in self.home.devices if other.there):
                self._jmi("reject", from_, sid, make(RTP, "description"))
            return
        self.session = Session(from_, sid, False, "PROPOSED", frozenset(media))
        self._ring()
        if bare(from_) in self.home.roster:  # JRC:1675: nobody else may know that the user is there
            self._jmi("ringing", from_, sid)
            if first(message, RECEIPTS, "request") is not None and message.get("id"):  # MessageParser.java:982
                self.message(from_, make(RECEIPTS, "received", id=message.get("id", "")), make(HINTS, "store"))

    def _ring(self) -> None:
        self.screen("Incoming call")

        def nobody_answers() -> None:
            """JRC:1705."""
            if self.session is not None and self.session.state in ("PROPOSED", "INITIALIZED"):
                self.missed.append(self.session.sid)
                self.decline()

        self.later(self.RINGS_FOR, nobody_answers, "ringing")

    def _proceed(self, sid: str, message: ET.Element) -> None:
        """JCM:477."""
        from_, proposal = message.get("from", ""), self.proposal
        if proposal is None or not self._is_of_proposal(from_, sid):
            if message.get("id"):
                error = bounce(message, "item-not-found")
                self.send(error)
            return
        self.stop("discovery")
        self.proposal = None
        self.session = session = Session(from_, sid, True, "PROCEED", frozenset(proposal.media))
        self.screen("Ringing")  # JRC:2028
        # It asks its server for STUN and TURN first: JRC:2838.
        self.later(0.1, lambda: self._send_initiate(session, proposal.media, "PRE_APPROVED"), "ice servers")

    def _is_of_proposal(self, from_: str, sid: str) -> bool:
        return self.proposal is not None and (self.proposal.with_, self.proposal.sid) == (bare(from_), sid)

    def _discovered(self, from_: str, sid: str) -> None:
        """JCM:1012."""
        if self.proposal is not None and self._is_of_proposal(from_, sid) and not self.proposal.discovered:
            self.proposal.discovered = True
            self.screen("Ringing")

    def on_receipt(self, of: str, message: ET.Element) -> None:
        """xmpp/manager/DeliveryReceiptManager.java:40: as good as ringing."""
        if of.startswith(PROPOSE):
            self._discovered(message.get("from", ""), of.removeprefix(PROPOSE))

    def on_bounce(self, message: ET.Element) -> None:
        """parser/MessageParser.java:205."""
        from_, id_ = message.get("from", ""), message.get("id", "")
        session = self.session
        if id_.startswith(PROPOSE) and self._is_of_proposal(from_, id_.removeprefix(PROPOSE)):
            self._end_proposal(UNREACHABLE)
        elif session is not None and (from_, id_) == (session.with_, PROCEED + session.sid):
            self._finish(UNREACHABLE)  # JRC:1515

    def _end_proposal(self, text: str) -> None:
        if self.proposal is not None:
            self.over.add((self.proposal.with_, self.proposal.sid))
        self.proposal = None
        self.stop("discovery")
        self.screen(text)

    # --- Jingle

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
                name, media = each.get("name", ""), _media(each)
                common = _in_common(each, ua.WEBRTC_AUDIO if media == "audio" else ua.WEBRTC_VIDEO)
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
        added = {_media(each) for each in children(element, JINGLE, "content")}
        if added == {"video"} and session.media == {"audio"}:
            self.screen("Switch to video call?")
        else:
            stubs = (_stub(each) for each in children(element, JINGLE, "content"))
            self.jingle(session.with_, "content-reject", session.sid, *stubs)

    def _content_answered(self, session: Session, action: str, element: ET.Element, iq: ET.Element) -> None:
        """JRC:390 and :589: an answer to nothing, or to something else, ends the call."""
        for each in children(element, JINGLE, "content"):
            if first(each, ICE_UDP, "transport") is None:  # RtpContentMap.java:449
                self.acknowledge(iq)
                self._terminate("unsupported-transports", "App failure", "Content does not contain ICE-UDP transport")
                return
        ours = session.adding
        answered = {(c.get("name"), _media(c), c.get("senders")) for c in children(element, JINGLE, "content")}
        if ours is None or answered != {(ours.get("name"), _media(ours), ours.get("senders"))}:
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

    # --- small things

    def _new_sid(self) -> str:
        """JCM:76: 16 octets in base64url."""
        number = next(self._names)
        return base64.urlsafe_b64encode(number.to_bytes(16, "big")).decode().rstrip("=")

    def _jmi(self, action: str, to: str, sid: str, *inside: ET.Element, id: str = "", receipt: bool = False) -> None:
        """JRC:2379 and generator/MessageGenerator.java:177-239: a chat message with a store hint."""
        asked = (make(RECEIPTS, "request"),) if receipt else ()
        self.message(to, make(JMI, action, *inside, id=sid), *asked, make(HINTS, "store"), id=id)


class Conversations2190(Conversations):
    CLIENT = "Conversations 2.19.0-beta (a23788059)"
    DISCOVERY = 6.0  # Config.java, since 465c99fb7 of 2024-09
    CRASHES_ON_A_BARE_JID = True


class Cheogram(Conversations2190):
    """Its dialler calls what the telephone's own dialler was given, at the gateway in the roster, always by a propose.

    Paths are those of Cheogram; CS is src/cheogram/java/com/cheogram/android/ConnectionService.java.
    """

    CLIENT = "Cheogram 2.19.0-6 (32da4731c)"
    INFO = Info(frozenset({("client", "phone", "", "Cheogram")}), FEATURES)

    def gateway(self) -> str:
        """The roster's gateway for telephone numbers: entities there with identity gateway/pstn; empty without one.

        services/CallIntegrationConnectionService.java:415, xmpp/manager/DiscoManager.java:460.
        """
        for jid, info in self.infos.items():
            if bare(jid) in self.home.roster and any(i[:2] == ("gateway", "pstn") for i in info.identities):
                return bare(jid)
        return ""

    def dials(self, number: str) -> None:
        """CS:98: the number as E.164, whatever presence its JID has."""
        gateway = self.gateway()
        if not gateway:
            self.screen("no phone account")
        else:
            self._propose(f"{number}@{gateway}", ("audio",))

    def presses(self, digit: str) -> None:
        """CS:403, xmpp/jingle/WebRTCWrapper.java:727: as RTP, if telephone-event was negotiated."""
        session = self._current("ACCEPTED")
        remote = session.remote
        names = set() if remote is None else {p.get("name") for p in remote.iter(f"{{{RTP}}}payload-type")}
        if "telephone-event" not in names:
            self.complain(f"digit {digit} is not sent: telephone-event was not negotiated")


# ------------------------------------------------------------------------------------------------- what it can read


def read_contents(jingle: ET.Element, *, offered: bool) -> frozenset[str]:
    """xmpp/jingle/RtpContentMap.java:98 and AbstractContentMap.java:73: the media, or a FlawError."""
    contents = children(jingle, JINGLE, "content")
    if not contents:
        raise FlawError("failed-application", "No contents available")
    setups = set()
    for each in contents:
        name = each.get("name", "")
        wire = first(each, ICE_UDP, "transport")
        if wire is None:
            raise FlawError("unsupported-transports", "Content does not contain ICE-UDP transport")
        if first(each, RTP, "description") is None:
            raise FlawError("failed-application", f"{name} is lacking content description")
        mark = first(wire, DTLS, "fingerprint")
        if mark is None or not mark.text or not mark.get("hash") or not mark.get("setup"):
            raise FlawError("security-error", f"Use of DTLS-SRTP (XEP-0320) is required for content {name}")
        if offered and mark.get("setup") != "actpass":
            raise FlawError("security-error", "Initiator needs to offer ACTPASS as setup for DTLS-SRTP (XEP-0320)")
        setups.add(mark.get("setup"))
    if not offered and (len(setups) != 1 or setups == {"actpass"}):  # RtpContentMap.java:221, JRC:982
        raise FlawError("failed-application", f"invalid peer dtls setup {setups}")
    return frozenset(_media(each) for each in contents)


def to_sdp(jingle: ET.Element) -> None:
    """xmpp/jingle/SessionDescription.java:182: a FlawError where it throws."""

    def check(value: str | None, what: str) -> None:
        if not value or re.search(r"\s", value):
            raise FlawError("failed-application", f"{what} is missing or contains whitespace: {value!r}")

    for group in children(jingle, GROUPING, "group"):
        check(group.get("semantics"), "group semantics")
        for member in group:
            check(member.get("name"), "group content name")
    for each in children(jingle, JINGLE, "content"):
        name = each.get("name", "")
        check(name, "content name")
        if len(name) > 16:
            raise FlawError("failed-application", "mid should not be longer than 16 chars")
        wire, described = first(each, ICE_UDP, "transport"), first(each, RTP, "description")
        if wire is None or described is None:
            continue
        check(wire.get("ufrag"), "ufrag")
        check(wire.get("pwd"), "pwd")
        mark = first(wire, DTLS, "fingerprint")
        if mark is not None:
            check(mark.get("hash"), "hash function")
            check(mark.text, "hash")
        for payload in children(described, RTP, "payload-type"):
            check(payload.get("id"), "payload id")
            if not payload.get("id", "").isdigit():
                raise FlawError("failed-application", "Payload id is not numeric")
            check(payload.get("name"), "payload-type name")
            parameters = [c for c in payload if local(c) == "parameter"]
            for parameter in parameters:  # stanzas/RtpDescription.java:392 and :419: one alone needs no name
                check(parameter.get("value"), "parameter value")
                if len(parameters) > 1:
                    check(parameter.get("name"), "parameter name")
        for feedback in described.iter():
            if local(feedback) == "rtcp-fb":
                check(feedback.get("type"), "feedback type")
            elif local(feedback) == "rtp-hdrext":
                check(feedback.get("id"), "header extension id")
                check(feedback.get("uri"), "header extension uri")
            elif local(feedback) == "source" and space(feedback).endswith("ssma:0"):
                for parameter in feedback:
                    check(feedback.get("ssrc"), "ssrc")
                    check(parameter.get("name"), "source parameter name")
                    if not parameter.get("value"):
                        raise FlawError("failed-application", "A source specific media attribute is missing its value")
        for candidate in children(wire, ICE_UDP, "candidate"):
            # stanzas/IceUdpTransportInfo.java:316; JRC:1045 only leaves such a candidate out.
            for attribute in ("foundation", "component", "protocol", "priority", "ip", "port"):
                check(candidate.get(attribute), f"candidate {attribute}")


def credentials(jingle: ET.Element) -> IceCredentials | None:
    """RtpContentMap.java:180: those of all contents, if they are the same and complete."""
    found = {(t.get("ufrag"), t.get("pwd")) for t in jingle.iter(f"{{{ICE_UDP}}}transport")}
    if len(found) != 1:
        return None
    ufrag, pwd = found.pop()
    return IceCredentials(ufrag, pwd) if ufrag and pwd else None


def _contents(elements: list[ET.Element]) -> list[ET.Element]:
    return [each for each in elements if local(each) == "content"]


def _media(content: ET.Element) -> str:
    described = first(content, RTP, "description")
    return "" if described is None else described.get("media", "")


def _stub(content: ET.Element) -> ET.Element:
    """RtpContentMap.java:349."""
    described = make(RTP, "description", media=_media(content))
    return ua.content(content.get("name", ""), described, make(ICE_UDP, "transport"))


def _in_common(offered: ET.Element, known: tuple[ua.Payload, ...]) -> tuple[ua.Payload, ...]:
    """libwebrtc answers with the offer's numbers and order, and only with what it knows."""
    found = []
    for payload in offered.iter(f"{{{RTP}}}payload-type"):
        for mine in known:
            said = (payload.get("name", "").lower(), payload.get("clockrate"), payload.get("channels", "1"))
            if said == (mine.name.lower(), str(mine.clock), str(mine.channels)):
                found.append(ua.Payload(int(payload.get("id", "0")), mine.name, mine.clock, mine.channels))
                break
    return tuple(found)


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False
