"""A web client made with stanza.js 12.22.1 (cecb982), scripted: Jingle without Jingle messages, and a browser.

Manager, Session, ICE and Media are src/jingle/SessionManager.ts, Session.ts, ICESession.ts and MediaSession.ts.

    an action of the other side     answer
    session-info, transport-info    result
    content-add, transport-replace  result, and a reject (Session:344-354, 374-384)
    description-, security-info     unsupported-info (Session:326-334)
    other content- and transport-   bad-request (Session:356-370, 386-392)
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from tests.clients.home import Home
from tests.clients.user_agent import (
    DTLS,
    ICE_UDP,
    JINGLE,
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
    reason_of,
    space,
    transport,
)

DTMF = "urn:xmpp:jingle:dtmf:0"
RESTARTS_AFTER = 2.0  # s of a broken path, ICE:435-455


class StanzaJs(UserAgent):
    CLIENT = "stanza.js 12.22.1"
    NODE = "https://stanzajs.org"
    INFO = Info(  # src/plugins/jingle.ts:94-119
        frozenset({("client", "web", "", "a web client")}),
        frozenset({JINGLE, RTP, RTP_AUDIO, RTP_VIDEO, ICE_UDP, DTLS, "urn:ietf:rfc:5888", "urn:ietf:rfc:5576"}),
    )

    def __init__(self, home: Home, resource: str = "web") -> None:
        self.state = ""  # pending, active, ended
        self.peer = ""
        self.sid = ""
        self.initiator = False
        self.offer: list[ET.Element] = []
        self.remote: ET.Element | None = None
        self.mid = "0"
        self.restarting = False
        self.can_dial = False
        super().__init__(home, resource)

    # --- the user

    @property
    def busy(self) -> bool:
        return self.state in ("pending", "active")

    @property
    def rings(self) -> bool:
        return self.state == "pending" and not self.initiator

    def forget_calls(self) -> None:
        self.state, self.remote = "", None

    def call(self, contact: str, *, video: bool = False) -> None:
        """Media:96-133. Whatever JID the application gives, full or bare, is the session's from then on."""
        self.state, self.peer, self.sid, self.initiator = "pending", contact, f"stanza-{next(self._ids)}", True
        self.screen("calling")
        names = ("0", "1") if video else ("0",)
        self.offer = [bundle(names), *(self._content(n, m) for n, m in zip(names, ("audio", "video"), strict=False))]
        self._say("session-initiate", *self.offer)
        self._trickle()

    def answer(self) -> None:
        """Media:135-174."""
        assert self.remote is not None
        self.state = "active"
        grouped = [bundle([n for n, _ in media_of(self.remote)])] if _grouped(self.remote) else []
        accepted = [self._content(n, m, setup="active") for n, m in media_of(self.remote)]
        self._say("session-accept", *grouped, *accepted)
        self._trickle()
        self.meet(self.remote)

    def decline(self) -> None:
        self._end("decline")

    def hang_up(self) -> None:
        """Session:261-288: cancel() while it rings, end() later."""
        self._end("success" if self.state == "active" else "cancel")

    def hold(self) -> None:
        self._inform("hold")

    def resume(self) -> None:
        self._inform("active")

    def mute(self) -> None:
        self._inform("mute", creator="initiator", name=self.mid)

    def presses(self, digits: str) -> None:
        """XEP-0181, as an application may send it beside the library: each digit once, when it is let go."""
        for digit in digits:
            self._say("session-info", make(DTMF, "dtmf", action="button-up", code=digit, duration="120"))

    def changes_network(self) -> None:
        """The path breaks: the initiator restarts ICE, the responder waits for that (ICE:71-102, 435-455)."""
        if self.initiator:
            self.later(RESTARTS_AFTER, self._restart, "restart")

    def _restart(self) -> None:
        self.restarting, self.ice = True, self.new_credentials()
        wires = [content(n, transport(self.ice, "actpass")) for n, _ in media_of(make(JINGLE, "jingle", *self.offer))]
        self._say("transport-info", *wires)
        self._trickle()

    def reloads(self) -> None:
        """The page: all sessions are forgotten, and the same resource comes back."""
        self.goes_offline()
        self.stop_all()
        self.state = ""
        self.comes_back()

    # --- Jingle: Manager:220-395

    def on_jingle(self, action: str, element: ET.Element, iq: ET.Element) -> None:
        sid, from_ = element.get("sid", ""), iq.get("from", "")
        known = self.state in ("pending", "active") and sid == self.sid
        if action == "session-initiate":
            self._initiated(sid, from_, element, iq, known=known)
        elif not known and action == "session-terminate":
            self.acknowledge(iq)
        elif not known or from_ != self.peer:  # Manager:280: letter by letter
            self.complain(f"{action} of {from_}, not of {self.peer}")
            self.refuse(iq, "item-not-found", "unknown-session")
        else:
            self._in_session(action, element, iq)

    def _initiated(self, sid: str, from_: str, element: ET.Element, iq: ET.Element, *, known: bool) -> None:
        """Manager:305-377, Media:298-328."""
        if known and from_ != self.peer:
            self.refuse(iq, "service-unavailable")
        elif known:
            self.refuse(iq, "unexpected-request", "out-of-order")
        elif self.state == "pending" and from_ == self.peer and self.sid > sid:
            self.refuse(iq, "conflict", "tie-break")
        elif not children(element, JINGLE, "content"):
            self.refuse(iq, "bad-request")
        else:
            self.state, self.peer, self.sid, self.initiator, self.remote = "pending", from_, sid, False, element
            self.mid = media_of(element)[0][0]
            self.acknowledge(iq)
            self.screen("incoming")
            self._inform("ringing")  # the application calls ring(), Media:183-193

    def _in_session(self, action: str, element: ET.Element, iq: ET.Element) -> None:
        match action:
            case "session-accept" if self.state != "pending" or not self.initiator:
                self.refuse(iq, "unexpected-request", "out-of-order")
            case "session-accept":
                self._taken(element, iq)
            case "session-terminate":
                self.acknowledge(iq)
                self._over(f"ended: {reason_of(element)}")
            case "session-info":
                self.acknowledge(iq)
                for child in element:
                    self._informed(local(child) if space(child) == RTP_INFO else "")
            case "transport-info":
                self._trickled(element, iq)
            case "content-add":
                self.acknowledge(iq)
                self._say("content-reject", reason("failed-application"))
            case "transport-replace":
                self.acknowledge(iq)
                self._say("transport-reject", reason("failed-transport"))
            case "description-info" | "security-info":
                self.refuse(iq, "feature-not-implemented", "unsupported-info")
            case _:
                self.refuse(iq, "bad-request")

    def _taken(self, element: ET.Element, iq: ET.Element) -> None:
        """ICE:239-254: a session that cannot be set stays, silent."""
        self.state = "active"
        flaw = libwebrtc_refuses(self.offer, element) or _without_mux(element)
        if flaw:
            self.complain(flaw)
            self.refuse(iq, "undefined-condition")  # its general-error is none that stanzas know
            return
        self.acknowledge(iq)
        self.remote = element
        self.can_dial = any(p.get("name") == "telephone-event" for p in element.iter(f"{{{RTP}}}payload-type"))
        self.screen("accepted")
        self.meet(element)

    def _informed(self, what: str) -> None:
        """Media:337-366."""
        seen = {"ringing": "ringing", "hold": "on hold", "unhold": "resumed", "active": "resumed"}.get(what)
        if seen:
            self.screen(seen)

    def _trickled(self, element: ET.Element, iq: ET.Element) -> None:
        """ICE:142-237: another ufrag is the answer to a restart; a content that is not known is never answered."""
        assert self.remote is not None
        for each in children(element, JINGLE, "content"):
            if each.get("name") not in dict(media_of(self.remote)):
                self.complain(f"transport-info for {each.get('name')!r}")
                return
        self.acknowledge(iq)
        wire = next(element.iter(f"{{{ICE_UDP}}}transport"), None)
        before = next(self.remote.iter(f"{{{ICE_UDP}}}transport"))
        ufrag = None if wire is None else wire.get("ufrag")
        if wire is not None and ufrag and ufrag != before.get("ufrag"):
            before.set("ufrag", ufrag)
            before.set("pwd", wire.get("pwd", ""))
            self.restarting = False
            self.meet(self.remote)

    def on_presence(self, presence: ET.Element) -> None:
        """src/plugins/jingle.ts:182-184: a peer that goes away takes its sessions along, without a word."""
        super().on_presence(presence)
        if presence.get("type") == "unavailable" and presence.get("from") == self.peer and self.state != "ended":
            self._over("ended: gone")

    # --- media

    def on_media(self) -> None:
        if self.state == "active":
            self.screen("connected")

    # --- small things

    def _say(self, action: str, *inside: ET.Element) -> None:
        """Session:190-220: neither initiator nor responder."""
        self.jingle(self.peer, action, self.sid, *inside)

    def _inform(self, what: str, **attributes: str) -> None:
        self._say("session-info", make(RTP_INFO, what, **attributes))

    def _trickle(self) -> None:
        """ICE:267-308, src/jingle/sdp/Protocol.ts:111-137: ufrag without pwd; no id, no generation, no network."""
        for number in (1, 2):
            found = candidate(number)
            for missing in ("id", "generation", "network"):
                del found.attrib[missing]
            self._say("transport-info", content(self.mid, self._wire(found)))
        self._say("transport-info", content(self.mid, self._wire(make(ICE_UDP, "gathering-complete"))))

    def _wire(self, *inside: ET.Element) -> ET.Element:
        return make(ICE_UDP, "transport", *inside, ufrag=self.ice.ufrag)

    def _content(self, name: str, media: str, *, setup: str = "actpass") -> ET.Element:
        described = description(media, WEBRTC_AUDIO if media == "audio" else WEBRTC_VIDEO)
        return content(name, described, transport(self.ice, setup), senders="both")

    def _end(self, why: str) -> None:
        self._say("session-terminate", reason(why))
        self._over("ended")

    def _over(self, text: str) -> None:
        self.stop_all()
        self.state = "ended"
        self.screen(text)


def _grouped(element: ET.Element) -> bool:
    return first(element, "urn:xmpp:jingle:apps:grouping:0", "group") is not None


def _without_mux(element: ET.Element) -> str:
    """rtcpMuxPolicy "require" (src/plugins/jingle.ts:83)."""
    described = element.findall(f"{{{JINGLE}}}content/{{{RTP}}}description")
    return "" if all(first(d, RTP, "rtcp-mux") is not None for d in described) else "no rtcp-mux"
