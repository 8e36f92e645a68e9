"""Dino, as of 2026-06 (45723ac, 0.5.1 and 106 commits), scripted.

Paths are below libdino/src/service (calls, call_state, call_peer_state, entity_info) and xmpp-vala/src/module/xep
(session, jingle_module, content, content_node, jingle_rtp_module, content_parameters, session_info_type, 0353,
ice_udp for 0176_jingle_ice_udp/transport_parameters); plugins and main are Dino's own.
"""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from tests.clients.dino_jingle import AUDIO, VIDEO, IqError, both, check_candidates, pick, read
from tests.clients.home import STREAM, Home, bare
from tests.clients.user_agent import (
    CAPS,
    DTLS,
    ICE_UDP,
    JINGLE,
    JMI,
    RECEIPTS,
    RTP,
    RTP_AUDIO,
    RTP_INFO,
    RTP_VIDEO,
    IceCredentials,
    Info,
    Payload,
    UserAgent,
    candidate,
    children,
    content,
    description,
    first,
    local,
    make,
    reason,
    reason_of,
    space,
    transport,
)

_INFOS = ("active", "hold", "unhold", "mute", "unmute", "ringing")


@dataclass
class _Session:
    sid: str
    peer: str
    ours: bool  # we initiated it
    contents: dict[str, str]  # name: media
    senders: dict[str, str]
    active: bool = False
    payload: Payload | None = None  # that we answer with
    theirs: ET.Element | None = None  # their offer
    ice: dict[str, IceCredentials] = field(default_factory=dict)  # of each content


class Dino(UserAgent):
    CLIENT = "Dino 2026-06 (45723ac)"
    NODE = "https://dino.im"  # 0115_entity_capabilities.vala:68
    INFO = Info(
        frozenset({("client", "pc", "", "Dino")}),
        frozenset({JINGLE, JMI, RTP, RTP_AUDIO, RTP_VIDEO, ICE_UDP, DTLS, CAPS}),
    )

    def __init__(self, home: Home, resource: str = "dino") -> None:
        super().__init__(home, resource)
        self.state = ""  # of the call: calling, ringing, establishing, talking, ended
        self.accepted = False
        self.video = False
        self.peer = ""  # bare until a proceed tells more
        self.sid = ""
        self.session: _Session | None = None
        self._knew_jmi: set[str] = set()  # bare JIDs; its database remembers for 14 days (entity_info.vala:197)
        self._known: dict[str, frozenset[str]] = {}  # features by JID
        self._task: asyncio.Task[None] | None = None

    # --- the user

    @property
    def can_call(self) -> bool:
        """The button is there for everybody else (calls.vala:76-80), while no call is up (call_entry.vala:83)."""
        return self.state in ("", "ended")

    @property
    def busy(self) -> bool:
        return not self.can_call

    @property
    def rings(self) -> bool:
        return self.state == "ringing"

    def forget_calls(self) -> None:
        self.state, self.session = "", None

    def call(self, contact: str, *, video: bool = False) -> None:
        self.state, self.accepted, self.video, self.peer, self.session = "calling", True, video, contact, None
        self.sid = f"dino-{next(self._ids)}"
        self.screen("calling")
        self._task = asyncio.ensure_future(self._initiate(contact))

    def answer(self) -> None:
        self.accepted, self.state = True, "establishing"  # call_state.vala:97-99
        if self.session is not None:
            self._accept_session()
        else:  # call_peer_state.vala:148-149: to itself, and so to the other devices, and to the full JID that proposed
            self._say("accept", bare(self.jid))
            self._say("proceed", self.peer)

    def decline(self) -> None:
        if self.session is not None:  # call_peer_state.vala:154-157, session.vala:386-388
            self._terminate("decline")
        else:
            self._say("reject", self.peer)
            self._say("reject", bare(self.jid))
        self._end("ended")

    def hang_up(self) -> None:
        """call_state.vala:143-187; while there is no session, a call that was accepted just disappears (:171)."""
        if self.state in ("talking", "establishing"):
            if self.session is not None:
                self._terminate("success")
        elif self.session is not None:
            self._terminate("cancel")
        else:
            self._say("retract", self.peer)
        self._end("ended")

    def mute(self) -> None:
        """session_info_type.vala:50-62."""
        session = self._session()
        name = next(name for name, media in session.contents.items() if media == "audio")
        info = make(RTP_INFO, "mute", name=name, creator="initiator")
        self.jingle(session.peer, "session-info", session.sid, info, initiator=self._initiator(session))

    def writes(self, text: str) -> None:
        """Into the chat with who is called; 0184_message_delivery_receipts.vala:52-59: it asks for a receipt."""
        self.message(bare(self.peer), make(STREAM, "body", text=text), make(RECEIPTS, "request"), id="written")

    def turns_camera_on(self) -> None:
        """In the call: another content with an ICE session of its own (jingle_rtp_module.vala:102-119)."""
        session = self._session()
        session.contents["video"], session.senders["video"] = "video", "initiator" if session.ours else "responder"
        added = self._content("video", VIDEO, session.senders["video"])
        self.jingle(session.peer, "content-add", session.sid, added)  # session.vala:210-226

    # --- calling

    async def _initiate(self, contact: str) -> None:
        """call_peer_state.vala:71-103. Where nobody is known to be able, nothing is sent, and it waits for ever."""
        able = [jid for jid in self.presences if bare(jid) == contact and await self._can_rtp(jid)]
        if any([await self._has(jid, JMI) for jid in able]):
            self._propose(contact)
        elif able:
            await self._call_resource(able[0])
        elif contact in self._knew_jmi:
            self._propose(contact)

    def _propose(self, contact: str) -> None:
        medias = ("audio", "video") if self.video else ("audio",)
        proposed = make(JMI, "propose", *(make(RTP, "description", media=media) for media in medias), id=self.sid)
        self.message(contact, proposed, id=f"m-{self.sid}")  # 0353:14-23: neither hint nor receipt

    async def _call_resource(self, jid: str) -> None:
        """jingle_rtp_module.vala:32-85. Whoever proceeds without these features is waited for without a word."""
        if not (await self._has(jid, ICE_UDP) and await self._has(jid, JINGLE)):
            self.complain(f"{jid} proceeds without Jingle")
            return
        contents = {"audio": "audio", "video": "video"} if self.video else {"audio": "audio"}
        self.session = _Session(self.sid, jid, True, contents, dict.fromkeys(contents, "both"))
        offered = [self._content(name, AUDIO if name == "audio" else VIDEO, "both") for name in contents]
        self.jingle(jid, "session-initiate", self.sid, *offered, initiator=self.jid)  # jingle_module.vala:121-145
        self._trickle()

    async def _can_rtp(self, jid: str) -> bool:
        """jingle_rtp_module.vala:150-156."""
        return await self._has(jid, RTP) and await self._has(jid, JINGLE) and await self._has(jid, ICE_UDP)

    async def _has(self, jid: str, feature: str) -> bool:
        """entity_info.vala:132-142, 264-291: asked without a node; a hash that does not match is only complained of."""
        if jid not in self._known:
            info = await self.disco(jid)
            self._known[jid] = frozenset() if info is None else info.features
            shown = self.presences.get(jid)
            caps = None if shown is None else first(shown, CAPS, "c")
            if info is not None and caps is not None and caps.get("ver") != info.ver:
                self.complain(f"the caps hash of {jid} does not match")
            if JMI in self._known[jid]:
                self._knew_jmi.add(bare(jid))
        return feature in self._known[jid]

    # --- Jingle messages (0353:67-90 knows these five; ringing and finish are not among them)

    def on_jmi(self, action: str, element: ET.Element, message: ET.Element) -> None:
        from_, to, sid = message.get("from", ""), message.get("to", ""), element.get("id", "")
        if action == "propose":
            self._proposed(from_, sid, element)
            return
        ourselves = bare(from_) == bare(self.jid)
        if sid != self.sid or bare(to if ourselves else from_) not in (bare(self.peer), bare(self.jid)):
            return  # calls.vala:249-263
        match action:
            case "accept" | "proceed" if ourselves:
                if from_ != self.jid and self.state in ("ringing", "establishing"):  # calls.vala:361-369
                    self._end("answered elsewhere")
            case "accept" | "proceed" if self.state == "calling" and to == self.jid:  # calls.vala:373-378
                self.peer = from_
                self._task = asyncio.ensure_future(self._call_resource(from_))
            case "reject" if ourselves or self.state == "calling":  # calls.vala:380-395, whatever the reason
                if self.state in ("calling", "ringing"):
                    self._end("ended: declined")
            case "retract" if not ourselves and self.state != "calling":  # calls.vala:396-408, in whatever state
                self._end("ended: missed")

    def on_carbon(self, action: str, element: ET.Element, message: ET.Element, *, sent: bool) -> None:
        self.on_jmi(action, element, message)

    def _proposed(self, from_: str, sid: str, element: ET.Element) -> None:
        """calls.vala:335-355. It sends nothing back, and rings until somebody ends it."""
        media = {d.get("media") for d in children(element, RTP, "description")}
        if bare(from_) == bare(self.jid) or not media & {"audio", "video"}:
            return
        self.state, self.accepted, self.peer, self.sid, self.session = "ringing", False, from_, sid, None
        self.screen("incoming")

    # --- Jingle

    def on_jingle(self, action: str, element: ET.Element, iq: ET.Element) -> None:
        sid, from_ = element.get("sid", ""), iq.get("from", "")
        session = self.session if self.session is not None and self.session.sid == sid else None
        try:
            if action == "session-initiate" and session is not None:
                self.refuse(iq, "conflict")  # jingle_module.vala:209
            elif action == "session-initiate":
                self._initiated(sid, from_, element, iq)
            elif session is None:
                self.refuse(iq, "item-not-found", "unknown-session")
            else:
                self._in_session(session, action, element, iq)
        except IqError as error:
            self.complain(f"{action}: {error.condition} {error.jingle}".strip())
            self.refuse(iq, error.condition, error.jingle)

    def _initiated(self, sid: str, from_: str, element: ET.Element, iq: ET.Element) -> None:
        """jingle_module.vala:156-185, session.vala:156-208, calls.vala:142-199."""
        contents = read(element)
        session = _Session(sid, from_, False, {}, {}, theirs=element)
        for each in contents:
            described, _ = both(each)
            if space(described) != RTP:
                raise IqError("feature-not-implemented")
            media = described.get("media", "")
            payload = pick(described)
            session.contents[each.get("name", "")] = media
            session.senders[each.get("name", "")] = each.get("senders", "both")
            if payload is None:  # content_parameters.vala:71-74
                self.acknowledge(iq)
                self.jingle(from_, "session-terminate", sid, reason("decline"))
                self._end("ended")
                return
            if media == "audio":
                session.payload = payload
        self.acknowledge(iq)
        proposed = sid == self.sid and bare(from_) == bare(self.peer) and self.state != "ended"
        if proposed and not self.accepted:  # call_peer_state.vala:120; and it is no longer waited for (calls.vala:187)
            self.complain("a session that nobody accepted: the call cannot be answered any more")
            self.sid = ""
            return
        self.session = session
        if proposed:
            self._accept_session()
            return
        self.state, self.accepted, self.peer, self.sid = "ringing", False, from_, sid
        self.screen("incoming")
        self.jingle(from_, "session-info", sid, make(RTP_INFO, "ringing"), initiator=from_)  # calls.vala:198

    def _accept_session(self) -> None:
        """call_peer_state.vala:125-142, session.vala:328-354: one codec, and neither initiator nor responder."""
        session = self._session()
        accepted = []
        for name, media in session.contents.items():
            payloads = (session.payload,) if media == "audio" and session.payload is not None else VIDEO
            senders = session.senders[name]
            if media == "video" and not self.video and senders == "both":
                senders = "initiator"
                changed = content(name, senders=senders)
                self.jingle(session.peer, "content-modify", session.sid, changed, initiator=session.peer)
            accepted.append(self._content(name, payloads, senders, answer=True))
        self.jingle(session.peer, "session-accept", session.sid, *accepted)
        session.active = True
        self._trickle()
        if session.theirs is not None:
            self.meet(session.theirs)

    def _in_session(self, session: _Session, action: str, element: ET.Element, iq: ET.Element) -> None:
        """session.vala:52-148."""
        match action:
            case "session-accept":
                if session.active or not session.ours:
                    raise IqError("unexpected-request", "out-of-order")
                self._taken(session, element)
                self.acknowledge(iq)
                session.active = True
                if all(w.get("ufrag") and w.get("pwd") for w in element.iter(f"{{{ICE_UDP}}}transport")):
                    self.meet(element)  # plugins/ice/src/transport_parameters.vala:241
            case "session-info":
                self._informed(element, iq)
            case "session-terminate":
                self.acknowledge(iq)
                self._terminated(element)
            case "content-accept":
                self._taken(session, element)
                self.acknowledge(iq)
            case "content-modify":
                (each,) = read(element, one=True)
                if each.get("name") not in session.contents:
                    raise IqError("bad-request")
                self.acknowledge(iq)
            case "content-add":
                both(read(element, one=True)[0])
                self.acknowledge(iq)
            case "content-reject" | "content-remove" | "security-info":
                raise IqError("feature-not-implemented")
            case "transport-info" | "transport-replace" | "transport-accept" | "transport-reject":
                self._transported(session, action, element, iq)
            case "description-info":
                (each,) = read(element, one=True)
                if each.get("name") not in session.contents:
                    raise IqError("bad-request")
                self.acknowledge(iq)
            case _:
                raise IqError("bad-request")

    def _taken(self, session: _Session, element: ET.Element) -> None:
        """session.vala:228-239, content_parameters.vala:156-184: the first payload is the codec, offered or not."""
        for each in read(element):
            described, wire = both(each)
            if each.get("name") not in session.contents or space(wire) != ICE_UDP:
                raise IqError("bad-request")
            offered = AUDIO if session.contents[each.get("name", "")] == "audio" else VIDEO
            payloads = children(described, RTP, "payload-type")
            if not payloads:
                self.complain("no payload types: silence")
            elif all(payloads[0].get("id") != str(p.id) or payloads[0].get("name") != p.name for p in offered):
                self.complain(f"{payloads[0].get('name')} was not offered: silence")
            if first(wire, DTLS, "fingerprint") is None:  # plugins/ice/src/transport_parameters.vala:192-194
                self.complain("not encrypted")
            if first(described, RTP, "rtcp-mux") is None:  # content_parameters.vala:157: RTCP on component 2
                self.complain("RTCP has no component")

    def _informed(self, element: ET.Element, iq: ET.Element) -> None:
        """session.vala:311-326. The errors of this one function get lost: what it does not know it never answers."""
        if len(element) > 1 or (len(element) == 1 and space(element[0]) != RTP_INFO):
            return
        if len(element) == 1 and local(element[0]) in _INFOS and local(element[0]) == "ringing":
            self.screen("ringing")  # main/src/ui/call_window/call_window_controller.vala:199
        self.acknowledge(iq)

    def _transported(self, session: _Session, action: str, element: ET.Element, iq: ET.Element) -> None:
        (each,) = read(element, one=True)  # session.vala:99-106
        wire = next((c for c in each if local(c) == "transport"), None)
        if each.get("name") not in session.contents or wire is None:
            raise IqError("bad-request")
        check_candidates(wire)
        if action in ("transport-accept", "transport-reject"):  # content.vala:166-181: it never asked
            raise IqError("unexpected-request", "out-of-order")
        self.acknowledge(iq)
        if action == "transport-replace":  # content.vala:194-197
            refused = content(each.get("name", ""), wire)
            self.jingle(session.peer, "transport-reject", session.sid, refused, initiator=self._initiator(session))

    def _terminated(self, element: ET.Element) -> None:
        """session.vala:274-309, main/src/ui/call_window/call_window.vala:203-218."""
        said = reason_of(element)
        wrote = first(element, JINGLE, "reason")
        text = "" if wrote is None else next((c.text or "" for c in wrote if local(c) == "text"), "")
        match said:
            case "success":
                self._end("ended: by the other side")
            case "decline" | "busy":
                self._end("ended: declined")
            case _:
                self._end(f"ended: {text or 'the call has been terminated'} {said}".rstrip())

    # --- media

    def on_media(self) -> None:
        if self.state != "ended":  # call_peer_state.vala:403-405
            self.state = "talking"
            self.screen("connected")

    # --- small things

    def _say(self, kind: str, to: str) -> None:
        self.message(to, make(JMI, kind, id=self.sid), id=f"m-{next(self._ids)}")  # 0353:45-51

    def _terminate(self, why: str) -> None:
        session = self._session()
        self.jingle(session.peer, "session-terminate", session.sid, reason(why))

    def _session(self) -> _Session:
        if self.session is None:
            raise AssertionError("Dino has no session")
        return self.session

    def _initiator(self, session: _Session) -> str:
        return self.jid if session.ours else session.peer

    def _end(self, text: str) -> None:
        self.stop_all()
        if self.state != "ended":
            self.state, self.session = "ended", None
            self.screen(text)

    def _content(self, name: str, payloads: tuple[Payload, ...], senders: str, *, answer: bool = False) -> ET.Element:
        """One ICE session for each content, of two components (content_type.vala:8). SDES beside DTLS in an offer."""
        described = description("video" if payloads is VIDEO else "audio", payloads)
        if not answer:  # plugins/rtp/src/module.vala:216-220
            crypto = make(
                RTP, "crypto", crypto_suite="AES_CM_128_HMAC_SHA1_80", key_params="inline:" + "A" * 40, tag="1"
            )
            described.insert(len(payloads), make(RTP, "encryption", crypto))
        own = self.ice if payloads is not VIDEO else self.new_credentials()
        ice = self._session().ice.setdefault(name, own)
        return content(name, described, transport(ice, "active" if answer else "actpass"), senders=senders)

    def _trickle(self) -> None:
        """ice_udp.vala:69-95, 137-156: as they are found, each in a request of its own, without a fingerprint."""
        session = self._session()
        for name, ice in session.ice.items():
            for number in (1, 2):
                found = candidate(number)
                found.set("component", str(number))
                wire = transport(ice, "", [found])
                info = content(name, wire)
                self.jingle(session.peer, "transport-info", session.sid, info, initiator=self._initiator(session))
