"""Kaidan, as of 2026-08 (c20dc92, 0.16.0 and 104 commits), on QXmpp 1.16.3 (974b7e1), scripted.

Call.cpp and CallController.cpp are Kaidan's, JMI is QXmpp's src/client/QXmppJingleMessageInitiationManager.cpp, and
Manager, QCall and Stun are QXmppCallManager.cpp and QXmppCall.cpp there and src/base/QXmppStun.cpp.
"""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from tests.clients.home import Home, bare
from tests.clients.user_agent import (
    DTLS,
    HINTS,
    ICE_UDP,
    JINGLE,
    JMI,
    RECEIPTS,
    RTP,
    RTP_AUDIO,
    RTP_INFO,
    RTP_VIDEO,
    Info,
    Payload,
    UserAgent,
    candidate,
    children,
    content,
    description,
    first,
    make,
    media_of,
    reason,
    resource_of,
    transport,
)

# QXmppCall_p.h:106-117: no telephone-event. Names are compared with their case, channels too (QCall:194-254).
AUDIO = (
    Payload(111, "opus", 48000, 2),
    Payload(112, "opus", 48000),
    Payload(96, "speex", 48000),
    Payload(8, "PCMA", 8000),
    Payload(0, "PCMU", 8000),
)
VIDEO = (Payload(99, "VP8", 90000),)
NAMES = {"audio": "microphone", "video": "webcam"}

ICE_WITHIN = 30.0  # s for both components, Stun:2458-2460
FORCED_AFTER = 5.0  # s from session-terminate, QCall:634


@dataclass
class _Call:
    """A QXmppCall: connecting, active, disconnecting, finished."""

    jid: str
    sid: str
    outgoing: bool
    contents: dict[str, str] = field(default_factory=dict)  # name: media
    state: str = "connecting"
    remote: ET.Element | None = None


class Kaidan(UserAgent):
    CLIENT = "Kaidan 2026-08 (c20dc92) on QXmpp 1.16.3"
    NODE = "https://kaidan.im"
    INFO = Info(  # Manager:288-301, JMI:313-316
        frozenset({("client", "pc", "", "Kaidan")}),
        frozenset({JINGLE, JMI, RTP, RTP_AUDIO, RTP_VIDEO, ICE_UDP, DTLS, RECEIPTS}),
    )

    def __init__(self, home: Home, resource: str = "Kaidan") -> None:
        self.jmi: tuple[str, str] | None = None  # id, the other's JID: bare when we proposed, full when he did
        self.qcall: _Call | None = None
        self.video = False
        self.accepted = False
        self._task: asyncio.Task[None] | None = None
        super().__init__(home, resource)

    # --- the user

    @property
    def can_call(self) -> bool:
        """qml/ChatPage.qml:116-137: always, while connected."""
        return self.jmi is None and self.qcall is None

    @property
    def busy(self) -> bool:
        return not self.can_call

    @property
    def rings(self) -> bool:
        ours = self.jmi is not None and not resource_of(self.jmi[1])
        return self.busy and not ours and not self.accepted and (self.qcall is None or not self.qcall.outgoing)

    def forget_calls(self) -> None:
        self.jmi = self.qcall = None

    def call(self, contact: str, *, video: bool = False) -> None:
        """Call.cpp:62-73, 164-186: always proposed, and to the bare JID."""
        self.video, self.accepted = video, False
        self.jmi = (f"kaidan-{next(self._ids)}", contact)
        self.screen("calling")
        medias = ("audio", "video") if video else ("audio",)
        self._say("propose", *(make(RTP, "description", media=media) for media in medias))

    def answer(self) -> None:
        """Call.cpp:121-132."""
        if self.jmi is not None:
            self.accepted = True
            self._say("proceed")
        elif self.qcall is not None:
            self._accept()

    def decline(self) -> None:
        """Call.cpp:134-147."""
        if self.qcall is not None:
            self._terminate("decline")
        else:
            self._say("reject", reason("decline"))
            self._close()

    def hang_up(self) -> None:
        """Call.cpp:149-162."""
        if self.qcall is not None:
            self._terminate("success")
        else:
            self._say("retract", reason("cancel"))
            self._close()

    def turns_camera_on(self) -> None:
        """QCall:796-825."""
        call = self._call()
        call.contents["webcam"] = "video"
        self._jingle("content-add", self._content("webcam", "video"))

    # --- Jingle messages: only those of type chat (JMI:356-368), by their id and the bare JID of the sender (JMI:417)

    def on_jmi(self, action: str, element: ET.Element, message: ET.Element) -> None:
        sid, from_ = element.get("id", ""), message.get("from", "")
        if first(message, RECEIPTS, "request") is not None:  # QXmppMessageReceiptManager.cpp:49
            self.message(from_, make(RECEIPTS, "received", id=message.get("id", "")), make(HINTS, "store"))
        if message.get("type") != "chat" or not sid:
            return
        if self.jmi is not None and sid == self.jmi[0] and bare(from_) == bare(self.jmi[1]):
            self._mine(action, from_)
        elif action == "propose" and bare(from_) != bare(self.jid):
            self._proposed(sid, from_)

    def on_carbon(self, action: str, element: ET.Element, message: ET.Element, *, sent: bool) -> None:
        """Taken like any message: what another device of ours says comes from nobody whom it waits for."""
        self.on_jmi(action, element, message)

    def _mine(self, action: str, from_: str) -> None:
        """JMI:439-477, Call.cpp:174-183, 327-342."""
        match action:
            case "proceed" if self.qcall is None and not self.accepted:
                assert self.jmi is not None
                self.qcall = _Call(f"{self.jmi[1]}/{resource_of(from_)}", self.jmi[0], True)
                self._task = asyncio.ensure_future(self._begin(self.qcall))
            case "reject" | "retract":
                self._close()
            case "finish":
                self._say("finish", reason("success"))
                self._close()

    def _proposed(self, sid: str, from_: str) -> None:
        """JMI:487-507, CallController.cpp:49-58, Call.cpp:75-85. A tie break (JMI:517) is none of these stories."""
        if self.jmi is not None and self.jmi[1] == from_:
            self.complain("a tie break")
            return
        self.jmi, self.accepted = (sid, from_), False
        self._say("ringing")
        self.screen("incoming")

    # --- calling

    async def _begin(self, call: _Call) -> None:
        """Manager:330-417: what the other cannot is found out after the proceed, and finishes the call."""
        info = await self.disco(call.jid)
        if self.qcall is not call:  # given up meanwhile
            return
        needed = {JINGLE, RTP, RTP_AUDIO, ICE_UDP} | ({RTP_VIDEO} if self.video else set())
        if info is None or not needed <= info.features:
            self.complain(f"{call.jid} does not support {sorted(needed - (info.features if info else frozenset()))}")
            self._finished()
            return
        if DTLS not in info.features:
            self.complain("not encrypted")
        for media in ("audio", "video") if self.video else ("audio",):
            call.contents[NAMES[media]] = media
        offered = [self._content(name, media) for name, media in call.contents.items()]
        self._jingle("session-initiate", *offered, initiator=self.jid)

    # --- Jingle: Manager:456-554, QCall:298-451

    def on_jingle(self, action: str, element: ET.Element, iq: ET.Element) -> None:
        sid, from_, call = element.get("sid", ""), iq.get("from", ""), self.qcall
        if action == "session-initiate":
            self._initiated(sid, from_, element, iq)
            return
        if call is None or call.sid != sid or call.jid != from_:
            self.refuse(iq, "item-not-found")
            return
        match action:
            case "session-accept" if not call.outgoing:
                self.refuse(iq, "bad-request")
            case "session-accept":
                self.acknowledge(iq)
                self._taken(call, element)
            case "session-info":
                self.acknowledge(iq)
            case "session-terminate":
                self.acknowledge(iq)
                self._finished()
            case "transport-info" | "content-accept" | "content-add":
                self.acknowledge(iq)
            case _:
                self.refuse(iq, "unexpected-request")

    def _initiated(self, sid: str, from_: str, element: ET.Element, iq: ET.Element) -> None:
        if not sid or (self.qcall is not None and self.qcall.sid == sid):
            self.refuse(iq, "conflict")
            return
        call = _Call(from_, sid, False, dict(media_of(element)), remote=element)
        self.acknowledge(iq)
        self.qcall = call
        for each in children(element, JINGLE, "content"):
            flaw = self._flaw(each, call.contents[each.get("name", "")])
            if flaw:
                self.complain(flaw)
                self._terminate("failed-application")
                return
        self._jingle("session-info", make(RTP_INFO, "ringing"))
        if self.accepted:  # CallController.cpp:60-73, Call.cpp:87-98
            self._accept()
        else:
            self.screen("incoming")

    def _accept(self) -> None:
        """QCall:665-681."""
        call = self._call()
        accepted = [self._content(name, media, setup="active") for name, media in call.contents.items()]
        self._jingle("session-accept", *accepted, responder=self.jid)
        self._active(call)

    def _taken(self, call: _Call, element: ET.Element) -> None:
        """QCall:306-335: what is in the answer must fit, and nothing of the offer may be missing."""
        flaw = ""
        for each in children(element, JINGLE, "content"):
            media = call.contents.get(each.get("name", ""))
            flaw = flaw or (f"{each.get('name')} was not offered" if media is None else self._flaw(each, media))
        if set(call.contents) - {each.get("name") for each in children(element, JINGLE, "content")}:
            flaw = flaw or "one or more contents are missing in session-accept"
        if flaw:
            self.complain(flaw)
            self._terminate("failed-application")
            return
        call.remote = element
        self._active(call)

    def _flaw(self, each: ET.Element, media: str) -> str:
        """QCall:194-296."""
        described, wire = first(each, RTP, "description"), first(each, ICE_UDP, "transport")
        if described is None or wire is None:
            return "no description or transport"
        ours = AUDIO if media == "audio" else VIDEO
        if not any(_same(p, codec) for p in children(described, RTP, "payload-type") for codec in ours):
            return "no known payloads"
        mark = first(wire, DTLS, "fingerprint")
        if mark is not None and mark.get("hash") != "sha-256":
            return "unsupported hashing algorithm"
        if mark is not None and mark.get("setup") not in ("actpass", "active", "passive"):
            return "no setup"
        return ""

    # --- media

    def _active(self, call: _Call) -> None:
        """Both components must be connected, RTP's and RTCP's: it knows no mux (QXmppCallStream.cpp:132, Stun:2563)."""
        call.state = "active"
        self.screen("connected")
        if call.remote is None:
            return
        components = {c.get("component") for c in call.remote.iter(f"{{{ICE_UDP}}}candidate")}
        wires = [*call.remote.iter(f"{{{ICE_UDP}}}transport")]
        if any(first(wire, DTLS, "fingerprint") is None for wire in wires):
            self.complain("DTLS never begins: silence")  # QCall:258
        if components < {"1", "2"} or not all(wire.get("ufrag") and wire.get("pwd") for wire in wires):
            self.later(ICE_WITHIN, self._timed_out, "ice")
        else:
            self.meet(call.remote)

    def _timed_out(self) -> None:
        """QCall:493-495, Stun:2790."""
        self.complain("ICE negotiation timed out")
        self._terminate("failed-transport")

    def on_media_failed(self) -> None:
        self._timed_out()

    # --- the end

    def on_presence(self, presence: ET.Element) -> None:
        """Manager:556-568: a contact that goes away takes its call along."""
        super().on_presence(presence)
        call = self.qcall
        if call is not None and presence.get("type") == "unavailable" and presence.get("from") == call.jid:
            self._terminate("gone")

    def _terminate(self, why: str) -> None:
        """QCall:603-635."""
        call = self._call()
        if call.state in ("disconnecting", "finished"):
            return
        call.state = "disconnecting"
        self.jingle(call.jid, "session-terminate", call.sid, reason(why), then=lambda _: self._finished())
        self.later(FORCED_AFTER, self._finished, "forced")

    def _finished(self) -> None:
        """Call.cpp:344-361: the Jingle message's end is said too, and then the window closes."""
        if self.qcall is None or self.qcall.state == "finished":
            return
        self.qcall.state = "finished"
        if self.jmi is not None:
            self._say("finish", reason("success"))
        self._close()

    def _close(self) -> None:
        self.stop_all()
        self.jmi = self.qcall = None
        self.screen("ended")  # for whatever reason

    # --- small things

    def _say(self, kind: str, *inside: ET.Element) -> None:
        """JMI:42-46, 375-383: to the JID that it has of the other, with a hint."""
        if self.jmi is not None:
            sid, to = self.jmi
            self.message(to, make(JMI, kind, *inside, id=sid), make(HINTS, "store"), id=f"{kind}-{sid}")

    def _jingle(self, action: str, *inside: ET.Element, initiator: str = "", responder: str = "") -> None:
        call = self._call()
        element = make(JINGLE, "jingle", *inside, action=action, sid=call.sid)
        for name, value in (("initiator", initiator), ("responder", responder)):
            if value:
                element.set(name, value)
        self.request(call.jid, element)

    def _content(self, name: str, media: str, *, setup: str = "actpass") -> ET.Element:
        """QCall:527-560: its candidates of both components, no rtcp-mux, no BUNDLE."""
        call = self._call()
        described = description(media, _known(call, name, AUDIO if media == "audio" else VIDEO), mux=False)
        ice = self.ice if media == "audio" else self.new_credentials()
        found = [candidate(1), candidate(2)]
        found[1].set("component", "2")
        return content(name, described, transport(ice, setup, found), senders="both")

    def _call(self) -> _Call:
        if self.qcall is None:
            raise AssertionError("Kaidan has no call")
        return self.qcall


def _same(offered: ET.Element, codec: Payload) -> bool:
    """QCall:208-235: a dynamic one by name, clock and channels, a static one by number, clock and channels."""
    number = int(offered.get("id", "-1"))
    clock, channels = int(offered.get("clockrate", "0")), int(offered.get("channels", "1"))
    named = offered.get("name") == codec.name if number >= 96 else number == codec.id
    return named and clock == codec.clock and channels == codec.channels


def _known(call: _Call, name: str, ours: tuple[Payload, ...]) -> tuple[Payload, ...]:
    """In an answer what was offered and is known, with the numbers of the offer (QCall:219-244)."""
    if call.outgoing or call.remote is None:
        return ours
    (each,) = (c for c in children(call.remote, JINGLE, "content") if c.get("name") == name)
    offered = each.findall(f"{{{RTP}}}description/{{{RTP}}}payload-type")
    return tuple(
        Payload(int(p.get("id", "0")), codec.name, codec.clock, codec.channels)
        for p in offered
        for codec in ours
        if _same(p, codec)
    )
