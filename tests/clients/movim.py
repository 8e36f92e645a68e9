"""Movim, as of 2026-08 (bf78626, 0.34.1 and 18 commits), scripted: a browser, and PHP that turns its SDP into Jingle.

Paths: Payload and Carbons are below src/Moxl/Xec/Payload, Stanza is src/Moxl/Stanza/Jingle.php, Visio.php and the .tpl
are below app/Widgets, CurrentCall.php is src/Movim/Daemon/Linker, SDPtoJingle.php is src/Movim/Librairies, and jingles
is public/scripts/movim_jingles.js.
"""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET

from tests.clients.home import Home, bare
from tests.clients.user_agent import (
    CAPS2,
    DTLS,
    ICE_UDP,
    JINGLE,
    JMI,
    RECEIPTS,
    RTP,
    RTP_AUDIO,
    RTP_INFO,
    RTP_VIDEO,
    WEBRTC_AUDIO,
    WEBRTC_VIDEO,
    Info,
    UserAgent,
    bundle,
    candidate,
    children,
    content,
    description,
    first,
    libwebrtc_refuses,
    local,
    make,
    media_of,
    reason,
    space,
    transport,
)

ANSWERED, CALLING, RINGING, OVER = "answered", "calling", "ringing", "over"


class Movim(UserAgent):
    CLIENT = "Movim 2026-08 (bf78626)"
    NODE = "https://movim.eu/"
    INFO = Info(  # src/Moxl/Utils.php:124-138
        frozenset({("client", "web", "", "Movim")}),
        frozenset({JINGLE, JMI, RTP, RTP_AUDIO, RTP_VIDEO, DTLS, ICE_UDP, RECEIPTS, "urn:ietf:rfc:3264"}),
    )

    def __init__(self, home: Home, resource: str = "movim") -> None:
        self.state = OVER  # its CurrentCall; RINGING is only the lobby, where there is no call yet
        self.sid = ""
        self.peer = ""  # the full JID that currentCall was started with, or that proposed
        self.session = ""  # the full JID of MovimJingles' session; there is one for each bare JID
        self.offer: list[ET.Element] = []
        self.remote: ET.Element | None = None
        self.video = False
        self.mid = "0"  # of the audio
        self.can_dial = False  # RTCDTMFSender.canInsertDTMF
        self.lines: list[str] = []  # of the chat: app/Widgets/Chat/locales.ini:32-36
        self._nodes: dict[str, str] = {}  # of each presence
        self._capabilities: dict[str, frozenset[str]] = {}  # by node
        self._task: asyncio.Task[None] | None = None
        super().__init__(home, resource)

    # --- the user

    def buttons(self, contact: str) -> list[str]:
        """Chat/_chat_header.tpl:288-303, app/Info.php:309-319: of contacts in the roster, by what a resource can."""
        if contact not in self.home.roster:
            return []
        shown = [self._features(jid) for jid in self.presences if bare(jid) == contact]
        lit = {"audio": {RTP_AUDIO, JMI}, "video": {RTP_VIDEO, JMI}}
        return [name for name, needed in lit.items() if any(needed <= features for features in shown)]

    async def lights(self, contact: str) -> None:
        """Until a button is there."""
        await self._wait(lambda: bool(self.buttons(contact)), f"a button for {contact}")

    @property
    def busy(self) -> bool:
        return self.state is not OVER

    @property
    def rings(self) -> bool:
        return self.state is RINGING

    def forget_calls(self) -> None:
        self.state, self.session = OVER, ""

    def call(self, contact: str, *, video: bool = False) -> None:
        """From the lobby: Visio.php:304-324, Stanza:11-34. The message has no id and no hint; video comes first."""
        able = [j for j in self.presences if bare(j) == contact and {RTP_AUDIO, JMI} <= self._features(j)]
        if not able:
            raise AssertionError("Movim shows no button")
        self.state, self.peer, self.session, self.video = CALLING, able[0], able[0], video
        self.sid = f"movim-{next(self._ids)}"
        self.screen("calling")
        medias = ("video", "audio") if video else ("audio",)
        proposed = make(JMI, "propose", *(make(RTP, "description", media=media) for media in medias), id=self.sid)
        self.message(contact, proposed)

    def answer(self) -> None:
        """Visio.php:336-347."""
        self.state, self.session = ANSWERED, self.peer
        self.message(self.peer, make(JMI, "proceed", id=self.sid))

    def decline(self) -> None:
        """Visio/visio_utils.js:358-364, Stanza:123-138: no reason, and nothing to the user's other devices."""
        self.message(self.peer, make(JMI, "reject", id=self.sid))
        self._close("ended")

    def hang_up(self, why: str = "success") -> None:
        """Visio.php:723-753, jingles:756-763: a Jingle message, and session-terminate whether or not there is one."""
        if self.state is ANSWERED:
            self.message(self.peer, make(JMI, "finish", reason(why, "Success"), id=self.sid))
        else:
            self.message(self.peer, make(JMI, "retract", reason("cancel", "Retracted"), id=self.sid))
        self.jingle(self.session, "session-terminate", self.sid, reason(why))
        self._close("ended")

    def mute(self) -> None:
        """Stanza:156-173: the name without "mid"."""
        self.jingle(self.session, "session-info", self.sid, make(RTP_INFO, "mute", name=self.mid))

    def turns_camera_on(self) -> None:
        """jingles:152-169, 369-381: content-add, and it waits for a session-accept (Payload/Jingle.php:24-73 has no
        content-accept and no content-reject)."""
        self._say("content-add", bundle(["0", "1"]), self._content("1", "video"))

    # --- presence

    def on_presence(self, presence: ET.Element) -> None:
        """app/Presence.php:160-164: the first `<c/>` counts, be it of XEP-0115 or of XEP-0390."""
        super().on_presence(presence)
        jid, caps = presence.get("from", ""), next((child for child in presence if local(child) == "c"), None)
        if presence.get("type") is not None or caps is None:
            return
        if space(caps) == CAPS2:
            node = f"{CAPS2}#{caps[0].get('algo')}.{caps[0].text}"
        else:
            node = f"{caps.get('node')}#{caps.get('ver')}"
        self._nodes[jid] = node
        if node not in self._capabilities:
            self._task = asyncio.ensure_future(self._learn(jid, node))

    async def _learn(self, jid: str, node: str) -> None:
        """PresenceBuffer.php:142-148, Disco/Request.php:20-51, Info.php:345: kept by node, if a full JID said it."""
        info = await self.disco(jid, node)
        if info is None or "/" not in jid:
            self.complain(f"{jid} says nothing of {node}")
        elif node.startswith(CAPS2) and node != f"{CAPS2}#sha-256.{info.caps2}":
            self.complain(f"wrong hash for {node}")
        else:
            self._capabilities[node] = info.features
        self._news.set()

    def _features(self, jid: str) -> frozenset[str]:
        return self._capabilities.get(self._nodes.get(jid, ""), frozenset())

    # --- Jingle messages: src/Moxl/Xec/Handler.php:174-179 knows all but ringing

    def on_jmi(self, action: str, element: ET.Element, message: ET.Element) -> None:
        sid, from_ = element.get("id", ""), message.get("from", "")
        if first(message, RECEIPTS, "request") is not None:  # Payload/ReceiptRequest.php:18: to the bare JID
            self.message(bare(from_), make(RECEIPTS, "received", id=message.get("id", "")))
        if action == "retract":  # Payload/JingleRetract.php:15-27: of whatever call
            self.lines.append("Missed call")
        match action:
            case "propose" if self.state in (CALLING, ANSWERED):  # Payload/JinglePropose.php:12-18
                self.message(from_, make(JMI, "reject", id=sid))
            case "propose":  # Visio.php:153-172
                self.state, self.sid, self.peer, self.session = RINGING, sid, from_, ""
                self.message(from_, make(JMI, "ringing", id=sid))
                self.screen("incoming")
            case "proceed" if self.state is CALLING and bare(self.session) == bare(from_):
                self.state, self.session = ANSWERED, from_  # Visio.php:174-179: whatever its id
                self._initiate()
            case "finish" if self.state is RINGING or sid != self.sid:  # Payload/JingleFinish.php:12
                pass
            case "finish" | "retract" | "reject" if self.state is not OVER:
                self._ended(action, sid, from_)

    def on_carbon(self, action: str, element: ET.Element, message: ET.Element, *, sent: bool) -> None:
        """Carbons.php:40-47: only what is addressed to the user himself. Another device's proceed is not."""
        if bare(message.get("to", "")) == bare(self.jid):
            self.on_jmi(action, element, message)

    def _ended(self, action: str, sid: str, from_: str) -> None:
        """Visio.php:206-218, jingles:735-754: closes dialog and session of this contact, whichever call was meant."""
        if self.state is RINGING or bare(from_) == bare(self.peer):  # the lobby closes for anybody's
            self._close({"reject": "ended: declined", "retract": "ended: missed"}.get(action, "ended"))

    # --- Jingle

    def on_jingle(self, action: str, element: ET.Element, iq: ET.Element) -> None:
        """Payload/Jingle.php:24-73: a result to everything, of any session."""
        self.acknowledge(iq)
        ours = bare(iq.get("from", "")) == bare(self.session) and self.state is ANSWERED  # jingles:663-687
        match action:
            case "session-terminate" if self.state is not OVER:
                self._ended(action, element.get("sid", ""), iq.get("from", ""))
            case "session-initiate" if ours:
                self.sid = element.get("sid", "")  # jingles:669
                self._take_offer(element)
            case "session-accept" if ours:
                self._take_answer(element)
            case "transport-info" if ours:
                if len(list(element.iter(f"{{{ICE_UDP}}}candidate"))) > 1:
                    self.complain("several candidates in one transport-info are lost")  # jingles:287-293
            case "content-add" | "content-modify" | "content-remove" if ours:  # jingles:305-309
                self._say("session-accept", bundle(["0"]), self._content("0", "audio", setup="active"))

    def _initiate(self) -> None:
        """jingles:354-367, Visio.php:572-590."""
        names, self.mid = ("0", "1") if self.video else ("0",), "0"
        self.offer = [bundle(names), *(self._content(n, m) for n, m in zip(names, ("audio", "video"), strict=False))]
        self._say("session-initiate", *self.offer)
        self._trickle()

    def _take_answer(self, element: ET.Element) -> None:
        """jingles:395-405."""
        flaw = libwebrtc_refuses(self.offer, element) or _without_mux(element)
        if flaw:
            self.complain(flaw)
            self.hang_up("incompatible-parameters")
            return
        self.can_dial = any(p.get("name") == "telephone-event" for p in element.iter(f"{{{RTP}}}payload-type"))
        self.remote = element
        self.meet(element)

    def _take_offer(self, element: ET.Element) -> None:
        """jingles:407-420: what is wrong with it is only written to the log."""
        flaw = _without_mux(element)
        if flaw or media_of(element)[0][1] != "audio":
            self.complain(flaw or "no audio")
            return
        names = [name for name, _ in media_of(element)]
        self.mid = names[0]
        grouped = [bundle(names)] if first(element, "urn:xmpp:jingle:apps:grouping:0", "group") is not None else []
        self._say("session-accept", *grouped, *(self._content(n, m, setup="active") for n, m in media_of(element)))
        self._trickle()
        self.remote = element
        self.meet(element)

    def _trickle(self) -> None:
        """Visio.php:674-693, SDPtoJingle.php:421-490: one in a request, with ufrag and pwd, without id and network."""
        for number in (1, 2):
            found = candidate(number)
            for missing in ("id", "network"):
                del found.attrib[missing]
            found.set("network-id", "1")
            self._say("transport-info", content(self.mid, transport(self.ice, "", [found])))

    # --- media

    def on_media(self) -> None:
        if self.state is ANSWERED:
            self.screen("connected")

    # --- small things

    def _say(self, action: str, *inside: ET.Element) -> None:
        """SDPtoJingle.php:93, Visio.php:572-693: the initiator is always itself, bare; the other always responds."""
        self.jingle(self.session, action, self.sid, *inside, initiator=bare(self.jid), responder=self.session)

    def _content(self, name: str, media: str, *, setup: str = "actpass") -> ET.Element:
        described = description(media, WEBRTC_AUDIO if media == "audio" else WEBRTC_VIDEO)
        return content(name, described, transport(self.ice, setup), senders="both")

    def _close(self, text: str) -> None:
        self.stop_all()
        self.state, self.session = OVER, ""
        self.screen(text)


def _without_mux(element: ET.Element) -> str:
    """A browser's rtcpMuxPolicy is "require" (W3C WebRTC §4.2.5): without rtcp-mux a description is refused."""
    for each in children(element, JINGLE, "content"):
        described = first(each, RTP, "description")
        if described is None or first(described, RTP, "rtcp-mux") is None:
            return f"{each.get('name')}: no rtcp-mux"
    return ""
