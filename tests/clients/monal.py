"""Monal, on an iPhone.

Read at commit 133bfd394 of 2024-10-23. VP is Monal/Classes/MLVoIPProcessor.m, MC Monal/Classes/MLCall.m, other paths
are those under Monal/Classes/ or rust/sdp-to-jingle/src/.

    call():  DISCOVERING ── ringing ──> RINGING ── proceed ──> CONNECTING ── ICE ──> CONNECTED
               │ 30 s                     │ 45 s                 │ 15 s
               └─────── retract ──────────┴──────────────────────┴ session-terminate and finish: connectivity-error

It sends its candidates after the accept, answers no IQ but those with descriptions and candidates, knows every refusal
as "remote busy", and takes a further call of somebody it is talking with for the same call, moved to another device.
"""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from tests.clients import user_agent as ua
from tests.clients.home import Home, bare, resource
from tests.clients.user_agent import (
    CAPS,
    DISCO_INFO,
    DTLS,
    GROUPING,
    HINTS,
    ICE_UDP,
    JINGLE,
    JMI,
    RTP,
    RTP_AUDIO,
    RTP_VIDEO,
    Info,
    children,
    first,
    local,
    make,
    reason_of,
)

# HelperTools.m:2266
FEATURES = frozenset(
    {
        CAPS,
        DISCO_INFO,
        ua.PING,
        ua.RECEIPTS,
        "urn:xmpp:chat-markers:0",
        "http://jabber.org/protocol/chatstates",
        JMI,
        JINGLE,
        RTP,
        RTP_AUDIO,
        RTP_VIDEO,
        ICE_UDP,
        "urn:ietf:rfc:5888",
        DTLS,
        "urn:ietf:rfc:5576",
        "urn:xmpp:jingle:apps:rtp:rtp-hdrext:0",
        "urn:xmpp:jingle:apps:rtp:rtcp-fb:0",
    }
)

# AVCallUI.swift:312-390
DISCOVERING, RINGING, CONNECTING, CONNECTED = "Discovering devices...", "Ringing...", "Connecting...", "Connected"
NO_SUPPORT = "Missing Call Support"
ENDED = {
    "normal": "Call ended",
    "connectivity": "Call ended: connection failed",
    "security": "Call ended: couldn't establish encryption",
    "unanswered": "Call was not answered",
    "elsewhere": "Call ended: answered with other device",
    "retracted": "Call ended: remote busy",
    "rejected": "Call ended: remote busy",
    "declined": "Call ended: declined",
    "error": "Call ended: application error",
}

# MC:653-673: what it says when a call ends after a proceed.
REASONS = {
    "normal": "success",
    "connectivity": "connectivity-error",
    "security": "security-error",
    "error": "application-error",
}


@dataclass
class Call:
    """An MLCall."""

    jmiid: str
    contact: str  # bare
    outgoing: bool
    video: bool
    remote: str = ""  # full; of whoever proposed, or proceeded
    proceeded: bool = False  # by either side
    connected: bool = False
    local_sdp: list[ET.Element] = field(default_factory=list)
    remote_sdp: ET.Element | None = None
    queued: list[ET.Element] = field(default_factory=list)  # their candidates, until both descriptions are known
    candidates: int = 0  # of theirs that libwebrtc was given


class UnreadableError(Exception):
    """quick_xml or the conversion to SDP gave up."""


class Monal(ua.UserAgent):
    CLIENT = "Monal (133bfd394)"
    NODE = "http://monal-im.org/"
    INFO = Info(frozenset({("client", "phone", "", "Monal")}), FEATURES)
    RINGS, TALKS = "Incoming call", CONNECTED

    def __init__(self, home: Home, resource: str = "Monal-iOS.c0ffee11") -> None:
        self.calls: dict[str, Call] = {}  # VP:19, by sid; one at a time
        self.capable: dict[str, frozenset[str]] = {}  # features by caps hash
        super().__init__(home, resource)

    @property
    def busy(self) -> bool:
        return bool(self.calls)

    def forget_calls(self) -> None:
        self.calls.clear()

    @property
    def current(self) -> Call:
        if len(self.calls) != 1:
            raise AssertionError(f"{self.CLIENT} has {len(self.calls)} calls; saw {self.sees}")
        return next(iter(self.calls.values()))

    # --- capabilities

    def on_presence(self, presence: ET.Element) -> None:
        """xmpp.m:1966; the answer is filed under the hash that it really has (MLIQProcessor.m:639)."""
        super().on_presence(presence)
        caps, from_ = first(presence, CAPS, "c"), presence.get("from", "")
        if presence.get("type") or caps is None or not resource(from_) or caps.get("ver", "") in self.capable:
            return

        def then(reply: ET.Element) -> None:
            query = first(reply, DISCO_INFO, "query")
            if reply.get("type") == "result" and query is not None:
                info = Info.read(query)
                self.capable[info.ver] = info.features

        self.request(from_, make(DISCO_INFO, "query"), then, type="get")

    def _supports_calls(self, contact: str) -> bool:
        shown = (first(p, CAPS, "c") for jid, p in self.presences.items() if bare(jid) == contact)
        return any(JMI in self.capable.get(c.get("ver", ""), frozenset()) for c in shown if c is not None)

    # --- the user

    def call(self, contact: str, *, video: bool = False) -> None:
        """chatViewController.m:529, VP:166 and VP:660. He taps "Try nevertheless" where support seems to be missing."""
        contact = bare(contact)
        if not self._supports_calls(contact):
            self.screen(NO_SUPPORT)
        call = Call(f"3B0B9E8C-{next(self._names):012X}", contact, True, video)
        self.calls[call.jmiid] = call
        # MC:906: no receipt is asked for.
        media = ("audio", "video") if video else ("audio",)
        self._jmi("propose", contact, call, *(make(RTP, "description", media=each) for each in media))
        self.screen(DISCOVERING)
        self.later(30, lambda: self._end(call), "discovering")  # MC:798

    def answer(self) -> None:
        """MC:354 and MC:809."""
        call = self.current
        self._connecting(call)
        call.proceeded = True
        self._jmi("proceed", call.remote, call)

    def decline(self) -> None:
        self._end(self.current)

    def hang_up(self) -> None:
        self._end(self.current)

    def _end(self, call: Call) -> None:
        """VP:707: the end action of CallKit, from the user's finger, a timer, or a lost connection."""
        if call.jmiid not in self.calls:
            return
        if call.connected:
            self._over(call, "normal")
        elif call.proceeded:
            self._over(call, "connectivity")
        else:
            self._over(call, "retracted" if call.outgoing else "declined")

    # --- Jingle messages

    def on_jmi(self, action: str, element: ET.Element, message: ET.Element) -> None:
        """MLMessageProcessor.m:139-207; bounces never come here (:63), they are only noted beside the message."""
        from_me = bare(message.get("from", "")) == self.home.account
        if action == "propose":
            delay = ua.delayed(message)
            old = delay is not None and asyncio.get_running_loop().time() - delay > 60  # :167
            audio = any(d.get("media") == "audio" for d in children(element, RTP, "description"))
            if not from_me and audio and not old:
                self._proposed(element, message)
            return
        call = self.calls.get(element.get("id", ""))
        if call is not None:
            self._of_call(action, element, message, call, from_me)

    def on_carbon(self, action: str, element: ET.Element, message: ET.Element, *, sent: bool) -> None:
        """xmpp.m:2109: a carbon is processed as if it had come itself."""
        self.on_jmi(action, element, message)

    def _proposed(self, element: ET.Element, message: ET.Element) -> None:
        """VP:221 and VP:815."""
        jmiid, from_ = element.get("id", ""), message.get("from", "")
        if jmiid in self.calls:  # VP:824
            return
        video = any(d.get("media") == "video" for d in children(element, RTP, "description"))
        call = Call(jmiid, bare(from_), False, video, remote=from_)
        existing = next((c for c in self.calls.values() if c.contact == call.contact), None)
        if existing is None:
            if self.calls:  # VP:77: CallKit allows one, and refuses another (VP:320)
                self._reject(call)
                return
        elif existing.proceeded:  # VP:265
            self._migrates(existing, call)
            return
        elif existing.jmiid.encode() <= jmiid.encode():  # VP:249: the old one is kept
            self._reject(call, "expired")
            return
        else:
            self._end(existing)
        self.calls[jmiid] = call
        self.screen("Incoming call")
        self._jmi("ringing", from_, call)  # VP:336; to strangers too, as the settings are (MLXMPPManager.m:128)

    def _migrates(self, existing: Call, call: Call) -> None:
        """MC:495: what it talks with is left for the new call, which answers itself."""
        self.complain("the call was left for another one of the same contact")
        self._jmi("finish", existing.remote, existing, ua.reason("expired"))
        del self.calls[existing.jmiid]
        self.stop("connecting")
        self.calls[call.jmiid] = call
        self.screen("Reconnecting...")
        self._jmi("ringing", call.remote, call)
        self.answer()

    def _of_call(self, action: str, element: ET.Element, message: ET.Element, call: Call, from_me: bool) -> None:
        """VP:508."""
        match action:
            case "proceed" if not call.outgoing and from_me and not call.proceeded:
                self._over(call, "elsewhere")
            case "proceed" if call.outgoing and not from_me and not call.proceeded:
                call.remote, call.proceeded = message.get("from", ""), True
                self._connecting(call)
                self.later(0.2, lambda: self._offer(call), "offer")  # once its STUN and TURN servers are known, MC:343
            case "ringing" if call.outgoing and not from_me:
                # MC:489 and :784: each one begins the 45 seconds again.
                self.stop("discovering")
                self.screen(RINGING)
                self.later(45, lambda: self._end(call), "ringing")
            case "reject" if not call.proceeded and from_me is not call.outgoing:
                self._over(call, "rejected")
            case "retract" if not call.outgoing and not from_me and not call.proceeded:
                self._over(call, "unanswered")
            case "finish":
                self._finished(call, reason_of(element))

    def _finished(self, call: Call, reason: str) -> None:
        """VP:627; a session-terminate is taken for one too (MC:1573)."""
        if call.proceeded:
            self._end(call)
        else:
            self._over(call, "connectivity" if reason == "connectivity-error" else "elsewhere")

    def _connecting(self, call: Call) -> None:
        """MC:750."""
        self.stop("discovering")
        self.stop("ringing")
        self.screen(CONNECTING)
        self.later(15, lambda: self._end(call), "connecting")

    # --- Jingle

    def _offer(self, call: Call) -> None:
        """MC:867: nothing but action and sid; senders on every content (xep_0167.rs:37)."""
        if call.jmiid not in self.calls:
            return
        media = ("audio", "video") if call.video else ("audio",)
        contents = [self._content(str(n), each, "actpass") for n, each in enumerate(media)]
        call.local_sdp = [ua.bundle(c.get("name", "") for c in contents), *contents]
        # MC:898: an error is only written into its log.
        self.jingle(call.remote, "session-initiate", call.jmiid, *call.local_sdp)

    def _content(self, name: str, media: str, setup: str, payloads: tuple[ua.Payload, ...] = ()) -> ET.Element:
        wire = ua.transport(self.ice, setup)
        all_of_them = ua.WEBRTC_AUDIO if media == "audio" else ua.WEBRTC_VIDEO
        return ua.content(name, wire, ua.description(media, payloads or all_of_them), senders="both")

    def on_jingle(self, action: str, element: ET.Element, iq: ET.Element) -> None:
        """MLIQProcessor.m:90. What it does not know, and every session-info, gets no answer at all (MC:1586)."""
        call = self.calls.get(element.get("sid", ""))
        if call is None:
            return
        match action:
            case "transport-info":
                if call.remote_sdp is None or not call.local_sdp:  # MC:1302
                    call.queued.append(iq)
                else:
                    self._candidate(call, element, iq)
            case "session-accept" | "session-initiate" if call.remote_sdp is not None:  # MC:1440
                self.refuse(iq, "conflict")
            case "session-accept" if call.outgoing:
                self._described(call, element, iq)
            case "session-initiate" if not call.outgoing:
                self._described(call, element, iq)
            case "session-terminate":
                self._finished(call, reason_of(element))

    def _described(self, call: Call, element: ET.Element, iq: ET.Element) -> None:
        """MC:1419."""
        inline = []
        for each in children(element, JINGLE, "content"):  # MC:1468: candidates are taken out, one IQ for each
            wire = first(each, ICE_UDP, "transport")
            for candidate in [] if wire is None else children(wire, ICE_UDP, "candidate"):
                inside = make(ICE_UDP, "transport", candidate, **dict(wire.attrib if wire is not None else {}))
                inline.append(make(JINGLE, "jingle", ua.content(each.get("name", ""), inside)))
        if not call.video and any(media == "video" for _, media in ua.media_of(element)):  # MC:1546
            self.refuse(iq, "not-acceptable")
            self._over(call, "security")
            return
        try:
            reads(element)
        except UnreadableError as error:  # MC:1591
            self.complain(str(error))
            self.refuse(iq, "bad-request")
            self._over(call, "error")
            return
        call.remote_sdp = element
        if call.outgoing:
            why = ua.libwebrtc_refuses(call.local_sdp, element)
            if why:  # MC:1627
                self.complain(why)
                self.refuse(iq, "not-acceptable")
                self._over(call, "error")
                return
            self.acknowledge(iq)
        else:
            self.acknowledge(iq)
            self._accept(call, element)
        for each in inline:
            self._candidate(call, each, None)
        for queued in call.queued:
            self._candidate(call, queued[0], queued)
        self._trickle(call)
        if call.candidates:
            self.meet(element)

    def _accept(self, call: Call, offer: ET.Element) -> None:
        """MC:1645."""
        contents = []
        for each in children(offer, JINGLE, "content"):
            media = dict(ua.media_of(make(JINGLE, "jingle", each)))[each.get("name", "")]
            known = {(p.name.lower(), p.clock): p for p in (*ua.WEBRTC_AUDIO, *ua.WEBRTC_VIDEO)}
            common = []
            for payload in each.iter(f"{{{RTP}}}payload-type"):
                mine = known.get((payload.get("name", "").lower(), int(payload.get("clockrate", "0"))))
                if mine is not None:
                    common.append(ua.Payload(int(payload.get("id", "0")), mine.name, mine.clock, mine.channels))
            contents.append(self._content(each.get("name", ""), media, "active", tuple(common)))
        groups = children(offer, GROUPING, "group")
        call.local_sdp = [*([ua.bundle(c.get("name", "") for c in contents)] if groups else []), *contents]
        self.jingle(call.remote, "session-accept", call.jmiid, *call.local_sdp)

    def _trickle(self, call: Call) -> None:
        """MC:1119 and MC:1694: with ufrag and pwd, and `rel_port` for rel-port (xep_0176.rs:146)."""
        for each in call.local_sdp:
            for number in (1, 2) if local(each) == "content" else ():
                candidate = ua.candidate(number)
                if number == 2:
                    candidate.attrib |= {"type": "srflx", "rel-addr": "10.0.0.2", "rel_port": "50002"}
                    del candidate.attrib["network"]  # xep_0176.rs:171
                inside = ua.transport(self.ice, candidates=[candidate])
                content = ua.content(each.get("name", ""), inside, senders="both")
                self.jingle(call.remote, "transport-info", call.jmiid, content)

    def _candidate(self, call: Call, element: ET.Element, iq: ET.Element | None) -> None:
        """MC:1312: the first candidate of a transport-info is taken (HelperTools.m:2656), the others are lost."""
        contents = children(element, JINGLE, "content")
        wires = [w for c in contents for w in children(c, ICE_UDP, "transport")]
        found = [c for w in wires for c in children(w, ICE_UDP, "candidate")]
        remote = call.remote_sdp
        try:
            if not found or found[0].get("protocol") == "tcp":
                raise UnreadableError("no candidate")
            reads_candidate(found[0])
        except UnreadableError as error:
            self.complain(str(error))
            if iq is not None:
                self.refuse(iq, "bad-request")
            return
        if len(found) > 1:
            self.complain(f"{len(found) - 1} candidates of one transport-info are lost")
        same = list(remote.iter(f"{{{ICE_UDP}}}transport")) if remote is not None else []
        if not any((t.get("ufrag"), t.get("pwd")) == (wires[0].get("ufrag"), wires[0].get("pwd")) for t in same):
            self.complain("Jingle incoming candidate has wrong pwd or ufrag")  # MC:1380
            if iq is not None:
                self.refuse(iq, "not-authorized")
            return
        call.candidates += 1
        if iq is not None:
            self.acknowledge(iq)

    # --- media

    def on_media(self) -> None:
        """MC:1203; from now on no timer runs (MC:299), until a `ringing` that comes later begins one (MC:489)."""
        for call in self.calls.values():
            call.connected = True
            for name in ("discovering", "ringing", "connecting"):
                self.stop(name)
            self.screen(CONNECTED)

    def on_media_failed(self) -> None:
        """MC:1239."""
        for call in tuple(self.calls.values()):
            self._end(call)

    def loses_its_connection(self) -> None:
        """MC:1222: it knows no ICE restart, and ends the call two seconds after the path broke."""
        call = self.current

        def disconnected() -> None:
            call.connected = False
            self._end(call)

        self.later(2, disconnected, "disconnected")

    # --- endings

    def _over(self, call: Call, reason: str) -> None:
        """MC:581 and MC:616."""
        self.calls.pop(call.jmiid, None)
        self.stop_all()
        self.screen(ENDED[reason])
        if call.proceeded:
            if reason in REASONS:  # MC:989: both ways
                self.jingle(call.remote, "session-terminate", call.jmiid, ua.reason(REASONS[reason]))
                self._jmi("finish", call.remote, call, ua.reason(REASONS[reason]))
        elif reason == "declined":
            self._reject(call)
        elif reason == "retracted":
            self._jmi("retract", call.contact, call, ua.reason("cancel"))  # MC:1016

    def _reject(self, call: Call, reason: str = "busy") -> None:
        """MC:925 and :940: "busy" always."""
        self._jmi("reject", call.remote, call, ua.reason(reason))

    def _jmi(self, action: str, to: str, call: Call, *inside: ET.Element) -> None:
        id_ = f"monal-{next(self._names)}"
        self.message(to, make(JMI, action, *inside, id=call.jmiid), make(HINTS, "store"), id=id_)


# ------------------------------------------------------------------------------------------------- what it can read


def reads(jingle: ET.Element) -> None:
    """The structures of rust/sdp-to-jingle: a field without Option or default has to be there (serde)."""
    for element in jingle.iter():
        match local(element):
            case "content" if element.tag == f"{{{JINGLE}}}content":  # xep_0167.rs:32
                need(element, "creator", "name")
                if element.get("senders", "both") not in ("initiator", "responder", "both"):  # :64, there is no none
                    raise UnreadableError(f"senders {element.get('senders')!r}")
                described = first(element, RTP, "description")
                if described is None or described.get("media") not in ("audio", "video", "application"):  # :839, :84
                    raise UnreadableError("No media found in jingle!")
            case "payload-type":  # :110
                number(element, "id", 255)
                for name in ("clockrate", "channels", "ptime", "maxptime"):
                    if element.get(name) is not None:
                        number(element, name, 2**32 - 1)
            case "parameter" if element.tag == f"{{{RTP}}}parameter":  # :430
                need(element, "name", "value")
            case "fingerprint":  # xep_0320.rs:9
                need(element, "hash", "setup")
                if not element.text or element.get("setup") not in ("active", "passive", "actpass"):
                    raise UnreadableError("fingerprint")
            case "rtcp-fb":  # xep_0293.rs:76
                if element.get("type") not in ("ack", "ccm", "nack", "trr-int", "goog-remb", "transport-cc"):
                    raise UnreadableError(f"rtcp-fb {element.get('type')!r}")
            case "rtp-hdrext":  # xep_0294.rs:11
                number(element, "id", 65535)
                need(element, "uri")
            case "source":  # xep_0339.rs:8
                number(element, "ssrc", 2**32 - 1)
            case "group":  # xep_0338.rs:6
                need(element, "semantics")


def reads_candidate(candidate: ET.Element) -> None:
    """xep_0176.rs:123: all but id, network and the related address."""
    need(candidate, "foundation", "ip", "protocol", "type")
    for name in ("component", "generation", "port", "priority"):
        number(candidate, name, 2**32 - 1)
    if candidate.get("type") not in ("host", "srflx", "prflx", "relay"):
        raise UnreadableError(f"candidate type {candidate.get('type')!r}")


def need(element: ET.Element, *attributes: str) -> None:
    for attribute in attributes:
        if element.get(attribute) is None:
            raise UnreadableError(f"missing field `@{attribute}` in {local(element)}")


def number(element: ET.Element, attribute: str, most: int) -> None:
    said = element.get(attribute, "")
    if not said.isdigit() or int(said) > most:
        raise UnreadableError(f"{local(element)} {attribute} {said!r}")
