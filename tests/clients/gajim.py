"""Gajim, scripted: 2.5.0 (6735034, 2026-08), which makes no calls at all, and those before 2.0.2, which did.

The code of calls is still there and nobody gets to it: gajim/common/app.py:202 never finds Farstream,
application.py:110 makes no CallManager, helpers.py:269 tells nobody of Jingle. Session and Manager are
gajim/common/jingle_session.py and call_manager.py.
"""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET

from tests.clients.home import Home, bare
from tests.clients.user_agent import (
    EVENTS_8000,
    G722,
    ICE_UDP,
    JINGLE,
    OPUS,
    PCMA,
    PCMU,
    RECEIPTS,
    RTP,
    RTP_AUDIO,
    RTP_VIDEO,
    Info,
    UserAgent,
    candidate,
    content,
    description,
    first,
    make,
    reason,
    reason_of,
    transport,
)


class Gajim(UserAgent):
    CLIENT = "Gajim 2.5.0 (6735034)"
    NODE = "https://gajim.org"
    INFO = Info(frozenset({("client", "pc", "", "Gajim")}), frozenset({RECEIPTS}))

    def can_call(self, contact: str) -> bool:
        """gajim/common/modules/contacts.py:400-410, gajim/common/app.py:202."""
        return False

    def on_jmi(self, action: str, element: ET.Element, message: ET.Element) -> None:
        """It knows no Jingle messages; gajim/common/modules/receipts.py:63-76, 106-120: whoever asks is told."""
        from_ = message.get("from", "")
        subscription = self.home.roster.get(bare(from_))
        if first(message, RECEIPTS, "request") is not None and subscription is not None and subscription.from_:
            self.message(from_, make(RECEIPTS, "received", id=message.get("id", "")))


class OldGajim(UserAgent):
    """With Farstream: sessions at once, to a resource that has RTP; ICE without DTLS."""

    CLIENT = "Gajim before 2.0.2"
    NODE = "https://gajim.org"
    INFO = Info(
        frozenset({("client", "pc", "", "Gajim")}),
        frozenset({JINGLE, RTP, RTP_AUDIO, RTP_VIDEO, ICE_UDP, RECEIPTS}),
    )

    def __init__(self, home: Home, resource: str = "gajim") -> None:
        self.state = ""
        self.peer = ""
        self.sid = ""
        self._task: asyncio.Task[None] | None = None
        super().__init__(home, resource)

    def call(self, contact: str, *, video: bool = False) -> None:
        """Here with sound alone."""
        self.screen("calling")
        self._task = asyncio.ensure_future(self._start(contact))

    async def _start(self, contact: str) -> None:
        """Manager:302-329, 408-413: the first resource whose capabilities have RTP, or nothing happens."""
        for jid in [jid for jid in self.presences if bare(jid) == contact]:
            info = await self.disco(jid)
            if info is not None and RTP in info.features:
                self.state, self.peer, self.sid = "pending", jid, f"gajim-{next(self._ids)}"
                found = [candidate(1), candidate(2)]
                found[1].set("component", "2")
                audio = description("audio", (OPUS, G722, PCMA, PCMU, EVENTS_8000), mux=False)
                offer = content("voice", audio, transport(self.ice, "", found), senders="both")
                self.jingle(jid, "session-initiate", self.sid, offer, initiator=self.jid)  # Session:939-946
                return

    def hang_up(self) -> None:
        """Session:242-251."""
        self.jingle(self.peer, "session-terminate", self.sid, reason("cancel"))
        self.state = "ended"

    def on_jingle(self, action: str, element: ET.Element, iq: ET.Element) -> None:
        """Session:392-447, 763-788: only these two reasons close its window, of others it keeps silent."""
        if self.state != "pending" or element.get("sid") != self.sid:
            self.refuse(iq, "item-not-found", "unknown-session")
            return
        self.acknowledge(iq)
        if action == "session-terminate":
            self.state = "ended"
            if reason_of(element) in ("decline", "success"):
                self.screen("ended")
            else:
                self.complain(reason_of(element))
