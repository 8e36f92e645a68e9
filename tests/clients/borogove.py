"""A client on the borogove SDK (also called snikket-sdk), as of 2026-08 (fb3172a), scripted.

Session, Description, Client and Chat are borogove/calls/Session.hx, SessionDescription.hx, and Client.hx and Chat.hx
above them.

    propose comes ── rings, says nothing ── accept(): presence, proceed ── session-initiate ──> session-accept
    session-initiate without one ── rings, says nothing ── accept() ──────────────────────────> session-accept
    hang up while it rings ── nothing is said at all: the other side may wait (Session:100-111)
"""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET

from tests.clients.home import Home, bare
from tests.clients.user_agent import (
    CAPS,
    DTLS,
    GROUPING,
    HINTS,
    ICE_UDP,
    JINGLE,
    JMI,
    RECEIPTS,
    RTP,
    RTP_AUDIO,
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
    make,
    media_of,
    reason,
    transport,
)

BATCH = "urn:ietf:rfc:3264"
GATHERS_FOR = 3.0  # s, Session:650


class Borogove(UserAgent):
    CLIENT = "borogove 2026-08 (fb3172a)"
    NODE = "https://sdk.borogove.dev"
    TALKS = "ongoing"
    INFO = Info(  # Client:88-108
        frozenset({("client", "pc", "", "borogove")}),
        frozenset({JINGLE, JMI, RTP, RTP_AUDIO, RTP_VIDEO, ICE_UDP, DTLS, RECEIPTS}),
    )

    def __init__(self, home: Home, resource: str = "borogove") -> None:
        self.state = ""  # outgoing, incoming, accepted, connecting, ongoing, ended
        self.chat = ""  # bare JID
        self.peer = ""  # full JID, bare until a proceed
        self.sid = ""
        self.video = False
        self.initiator = False
        self.offer: list[ET.Element] = []
        self.remote: ET.Element | None = None
        self.mid = "0"
        self.infos: dict[str, Info] = {}  # by what is hashed of them
        self.domains: dict[str, Info] = {}
        self._pending: set[str] = set()
        super().__init__(home, resource)

    # --- the user

    def can_call(self, contact: str) -> bool:
        """Chat:754-769: somebody there has audio, or the domain is a telephone gateway that is in the roster itself."""
        if any(RTP_AUDIO in self._caps(jid).features for jid in self.presences if bare(jid) == contact):
            return True
        domain = self.domains.get(contact.partition("@")[2])
        return domain is not None and any(i[:2] == ("gateway", "pstn") for i in domain.identities)

    async def adds_gateway(self, domain: str) -> None:
        """The user starts a chat with a domain, and the client learns what it is."""
        info = await self.disco(domain)
        if info is not None:
            self.domains[domain] = info

    def on_presence(self, presence: ET.Element) -> None:
        """Client:359-405: asked by node and ver, and found again by what its answer hashes to."""
        super().on_presence(presence)
        caps = first(presence, CAPS, "c")
        if caps is not None and caps.get("ver") not in self.infos and caps.get("ver") not in self._pending:
            self._pending.add(caps.get("ver", ""))
            asked = self.disco(presence.get("from", ""), f"{caps.get('node')}#{caps.get('ver')}")
            asked.add_done_callback(self._learned)

    def _learned(self, said: asyncio.Future[Info | None]) -> None:
        info = said.result()
        if info is not None:
            self.infos[info.ver] = info
        self._news.set()

    def _caps(self, jid: str) -> Info:
        """Chat:1110-1113; nobody's are empty ones."""
        shown = self.presences.get(jid)
        caps = None if shown is None else first(shown, CAPS, "c")
        return self.infos.get("" if caps is None else caps.get("ver", ""), Info(frozenset(), frozenset()))

    @property
    def busy(self) -> bool:
        return self.state not in ("", "ended")

    @property
    def rings(self) -> bool:
        return self.state == "incoming"

    def forget_calls(self) -> None:
        self.state, self.remote = "", None

    def call(self, contact: str, *, video: bool = False) -> None:
        """Session:213-232: "ringing" is said at once, whatever happens."""
        self.state, self.chat, self.peer, self.video, self.initiator = "outgoing", contact, contact, video, True
        self.sid = f"borogove-{next(self._ids)}"
        medias = ("audio", "video") if video else ("audio",)
        self._tell(contact, "propose", *(make(RTP, "description", media=media) for media in medias))
        self.screen("ringing")

    def answer(self) -> None:
        """Session:135-149 after a proposal, 391-397 without one."""
        if self.remote is not None:
            self._accept()
            return
        self.state = "accepted"
        self._show_presence(self.peer)
        self._tell(self.peer, "proceed")

    def hang_up(self) -> None:
        """Session:100-111, 234-247, 400-408."""
        if self.state == "outgoing":
            self._tell(self.chat, "retract")
        elif self.remote is not None or self.state == "connecting":
            self.jingle(self.peer, "session-terminate", self.sid, reason("success"))
            self._finish()
        self._over()

    decline = hang_up

    def turns_camera_on(self) -> None:
        """Session:514-525: content-add; content-accept is understood, content-reject is not (Client:264-279)."""
        self._say("content-add", bundle([self.mid, "1"]), self._content("1", "video"))

    # --- Jingle messages: Client:582-635. An error message is dropped (579); finish and ringing are not known.

    def on_jmi(self, action: str, element: ET.Element, message: ET.Element) -> None:
        sid, from_ = element.get("id", ""), message.get("from", "")
        mine = sid == self.sid and bare(from_) == self.chat and self.state not in ("", "ended")
        match action:
            case "propose" if sid and not mine and bare(from_) != bare(self.jid):
                self.state, self.chat, self.peer, self.sid = "incoming", bare(from_), from_, sid
                self.remote, self.initiator = None, False
                self.screen("incoming")
            case "retract" | "reject" if mine and self.state in ("incoming", "accepted", "outgoing"):
                self._over()
            case "proceed" if mine and self.state == "outgoing":
                self._proceeded(from_)

    def on_carbon(self, action: str, element: ET.Element, message: ET.Element, *, sent: bool) -> None:
        """Client:604-612: another of the user's devices took the call."""
        if action == "proceed" and sent and element.get("id") == self.sid and self.state in ("incoming", "accepted"):
            self._over()

    def _proceeded(self, from_: str) -> None:
        """Session:282-291, 645-686."""
        self._show_presence(self.chat)
        self.peer, self.state = from_, "connecting"
        batched = BATCH in self._caps(from_).features
        self.later(GATHERS_FOR if batched else 0.0, lambda: self._offer(batched=batched), "gathering")

    def _offer(self, *, batched: bool) -> None:
        names = ("0", "1") if self.video else ("0",)
        contents = [self._content(n, m, batched=batched) for n, m in zip(names, ("audio", "video"), strict=False)]
        self.offer = [bundle(names), *contents]
        self._say("session-initiate", *self.offer)
        if not batched:
            self._trickle()

    # --- Jingle: Client:234-283; everything is acknowledged

    def on_jingle(self, action: str, element: ET.Element, iq: ET.Element) -> None:
        sid, from_ = element.get("sid", ""), iq.get("from", "")
        mine = sid == self.sid and bare(from_) == self.chat and self.state not in ("", "ended")
        match action:
            case "session-initiate" if mine and self.state != "accepted":
                self.complain("trying to initiate unaccepted session")  # Session:156, Client:245
                self._over()
            case "session-initiate":
                self._initiated(sid, from_, element, known=mine)
            case "session-accept" if mine and self.state == "connecting":
                self._taken(element)
            case "session-terminate" if mine:
                if self.state in ("connecting", "ongoing") or self.remote is not None:
                    self._finish()  # Session:417-441
                self._over()
        self.acknowledge(iq)

    def _initiated(self, sid: str, from_: str, element: ET.Element, *, known: bool) -> None:
        flaw = _unreadable(element)
        if flaw:
            self.complain(flaw)
            return
        self.state, self.chat, self.peer, self.sid, self.remote = "incoming", bare(from_), from_, sid, element
        self.mid, self.initiator = media_of(element)[0][0], False
        if known:
            self._accept()
        else:
            self.screen("incoming")  # Client:249-252

    def _accept(self) -> None:
        """Session:688-700."""
        assert self.remote is not None
        grouped = first(self.remote, GROUPING, "group") is not None
        group = [bundle([name for name, _ in media_of(self.remote)])] if grouped else []
        self.state = "ongoing"
        self._say("session-accept", *group, *(self._content(n, m, setup="active") for n, m in media_of(self.remote)))
        self._trickle()
        self.meet(self.remote)

    def _taken(self, element: ET.Element) -> None:
        """Session:712-717: what cannot be read or set is not told to anybody."""
        flaw = _unreadable(element) or libwebrtc_refuses(self.offer, element)
        if flaw:
            self.complain(flaw)
            return
        self.remote, self.state = element, "ongoing"
        self.meet(element)

    # --- media

    def on_media(self) -> None:
        if self.state == "ongoing":
            self.screen("ongoing")

    def on_media_failed(self) -> None:
        """Session:629-640."""
        self.jingle(self.peer, "session-terminate", self.sid, reason("connectivity-error"))
        self._finish()
        self._over()

    # --- small things

    def _tell(self, to: str, kind: str, *inside: ET.Element) -> None:
        self.message(to, make(JMI, kind, *inside, id=self.sid), make(HINTS, "store"), id=f"{kind}-{self.sid}")

    def _finish(self) -> None:
        """Session:430-439: a finish without a reason, after the session's end."""
        self._tell(self.peer, "finish")

    def _show_presence(self, to: str) -> None:
        shown = self.announcement()
        shown.set("to", to)
        self.send(shown)

    def _say(self, action: str, *inside: ET.Element) -> None:
        """Description:184-196: neither initiator nor responder."""
        self.jingle(self.peer, action, self.sid, *inside)

    def _content(self, name: str, media: str, *, setup: str = "actpass", batched: bool = False) -> ET.Element:
        """Description:367-477: what SDP writes without a name has none here; senders only if it is not both."""
        described = description(media, WEBRTC_AUDIO if media == "audio" else WEBRTC_VIDEO)
        if media == "audio":
            red = make(RTP, "payload-type", id="63", name="red", clockrate="48000", channels="2")
            red.append(make(RTP, "parameter", value="111/111"))
            described.insert(1, red)
        return content(name, described, transport(self.ice, setup, self._candidates() if batched else ()))

    def _trickle(self) -> None:
        """Session:562-594."""
        for found in self._candidates():
            self._say("transport-info", content(self.mid, transport(self.ice, "", [found])))

    def _candidates(self) -> list[ET.Element]:
        """Description:577-593: no id, no network."""
        found = [candidate(1), candidate(2)]
        for each in found:
            del each.attrib["id"], each.attrib["network"]
        return found

    def _over(self) -> None:
        self.stop_all()
        self.state = "ended"
        self.screen("ended")


def _unreadable(element: ET.Element) -> str:
    """Description:236-273, 145-157."""
    for each in children(element, JINGLE, "content"):
        wire, described = first(each, ICE_UDP, "transport"), first(each, RTP, "description")
        if wire is None or described is None:
            return "ice-udp transport is missing"
        if not wire.get("ufrag") or not wire.get("pwd"):
            return "transport is missing ufrag or pwd"
        mark = first(wire, DTLS, "fingerprint")
        if mark is None or not mark.get("setup"):
            return "no setup found"
        if any(p.get("id") is None for p in children(described, RTP, "payload-type")):
            return "payload-type missing or invalid id"
        if first(described, RTP, "rtcp-mux") is None and first(element, GROUPING, "group") is None:
            return "no rtcp-mux"
    return ""
