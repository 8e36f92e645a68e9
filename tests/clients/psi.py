"""Psi, as of 2026-08 (7c51cfd, 1.5 and 2165 commits), scripted: sessions at once, ICE without DTLS, no mux.

Rtp and Tasks are src/avcall/jinglertp.cpp and jinglertptasks.cpp, Dialog is src/avcall/calldlg.cpp.

It reads a description as a list of payload types and a transport as a list of candidates: a `<rtcp-mux/>` or a
`<fingerprint/>` in them is an error 400 without a condition (Tasks:408-417, 426-438).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from tests.clients.home import STREAM, Home
from tests.clients.user_agent import (
    ICE_UDP,
    JINGLE,
    PCMA,
    PCMU,
    RECEIPTS,
    RTP,
    RTP_AUDIO,
    RTP_VIDEO,
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
    transport,
)

AUDIO = (Payload(97, "opus", 48000, 2), Payload(98, "speex", 16000), PCMU, PCMA)


class Psi(UserAgent):
    CLIENT = "Psi 2026-08 (7c51cfd)"
    NODE = "https://psi-im.org"
    INFO = Info(  # src/psiaccount.cpp:1599-1604: no DTLS among them
        frozenset({("client", "pc", "", "Psi")}),
        frozenset({JINGLE, RTP, RTP_AUDIO, RTP_VIDEO, ICE_UDP, "urn:xmpp:jingle:transports:ice:0", RECEIPTS}),
    )

    def __init__(self, home: Home, resource: str = "Psi") -> None:
        self.state = ""  # calling, ringing, active, ended
        self.peer = ""
        self.sid = ""
        super().__init__(home, resource)

    # --- the user

    def call(self, contact: str, *, video: bool = False) -> None:
        """Dialog:135-166, Rtp:927-987: to whatever JID stands in the window; here with sound alone."""
        self.state, self.peer, self.sid = "calling", contact, f"psi-{next(self._ids)}"
        self.screen("calling")
        found = [candidate(1), candidate(2)]
        found[1].set("component", "2")  # Rtp:827
        wire = transport(self.ice, "", found)
        wire.set("ice2", "true")  # Tasks:286
        offer = content("A", description("audio", AUDIO, mux=False), wire, senders="both")
        self.jingle(contact, "session-initiate", self.sid, offer, then=self._replied, initiator=self.jid)

    def hang_up(self) -> None:
        """Rtp:405-437: it is "gone" at any time, before the answer and after."""
        self.jingle(self.peer, "session-terminate", self.sid, reason("gone"))
        self._over("ended")

    decline = hang_up

    # --- Jingle: Rtp:450-627, Tasks:341-472

    def _replied(self, reply: ET.Element) -> None:
        """Rtp:976-984."""
        if reply.get("type") == "error":
            self._over("ended: rejected or terminated")

    def on_jingle(self, action: str, element: ET.Element, iq: ET.Element) -> None:
        known = self.state in ("calling", "ringing", "active") and element.get("sid") == self.sid
        if action == "session-terminate":
            if not reason_of(element) or not known or iq.get("from") != self.peer:
                self._refuse_by_number(iq)
                return
            self.acknowledge(iq)
            self._over("ended: rejected or terminated")
        elif self._unreadable(element):
            self.complain(f"{action}: {self._unreadable(element)}")
            self._refuse_by_number(iq)
        elif action == "session-initiate" and not known:
            self.state, self.peer, self.sid = "ringing", iq.get("from", ""), element.get("sid", "")
            self.acknowledge(iq)
            self.screen("incoming")
        elif known and action in ("session-accept", "transport-info"):
            self.acknowledge(iq)
        else:  # Rtp:621-624: session-info and all others
            self._refuse_by_number(iq)

    def _unreadable(self, element: ET.Element) -> str:
        for each in children(element, JINGLE, "content"):
            described, wire = first(each, RTP, "description"), first(each, ICE_UDP, "transport")
            for child in () if described is None else described:
                if local(child) != "payload-type" or not child.get("id", "").isdigit() or not child.get("clockrate"):
                    return f"{local(child)} in a description"
            for child in () if wire is None else wire:
                if local(child) != "candidate" or not child.get("type"):
                    return f"{local(child)} in a transport"
        return ""

    def _refuse_by_number(self, iq: ET.Element) -> None:
        """Tasks:332-339: `<error code='400'/>`, no type and no condition."""
        answer = make(STREAM, "iq", make(STREAM, "error", code="400"), to=iq.get("from", ""), type="error")
        answer.set("id", iq.get("id", ""))
        self.send(answer)

    # --- Jingle messages: none, but it acknowledges any message that asks for it (src/psiaccount.cpp:3044-3066)

    def on_jmi(self, action: str, element: ET.Element, message: ET.Element) -> None:
        from_ = message.get("from", "")
        if first(message, RECEIPTS, "request") is not None and self.home.mutual(from_):
            self.message(from_, make(RECEIPTS, "received", id=message.get("id", "")))

    def _over(self, text: str) -> None:
        if self.state != "ended":
            self.state = "ended"
            self.screen(text)
