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
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from tests.clients import user_agent as ua
from tests.clients.conversations_session import LOST, PROCEED, PROPOSE, UNREACHABLE, Calling, Session
from tests.clients.home import Home, bare, bounce, resource
from tests.clients.user_agent import HINTS, JMI, RECEIPTS, RTP, children, first, make

__all__ = ["LOST", "UNREACHABLE", "Conversations", "Conversations2190"]


@dataclass
class Proposal:
    """JCM:1186."""

    with_: str  # bare
    sid: str
    media: tuple[str, ...]
    discovered: bool = False


class Conversations(Calling):
    CLIENT = "Conversations 2.19.5 (c88ac40ef)"
    DISCOVERY = 12.0  # s, Config.java:132
    CRASHES_ON_A_BARE_JID = False

    def __init__(self, home: Home, resource: str = "Conversations.Fwc1") -> None:
        self.proposal: Proposal | None = None
        super().__init__(home, resource)

    @property
    def busy(self) -> bool:
        return self.session is not None or self.proposal is not None

    def forget_calls(self) -> None:
        self.proposal = self.session = None

    def call(self, contact: str, *, video: bool = False) -> None:
        """ui/ConversationFragment.java:1679; the menu shows both buttons whatever the contact can (:568-603)."""
        if self.busy:
            self.screen("Only one call at a time")
            return
        contact, media = bare(contact), ("video", "audio") if video else ("audio",)
        capable = self.capable(contact)
        if all(JMI in self.infos[jid].features for jid in capable):  # RtpCapability.java:96
            self._propose(contact, media)
            return
        # ui/util/PresenceSelector.java:66
        capable = [jid for jid in capable if not video or self.capability(jid) == "video"]
        if not capable:
            self.screen("Contact is not available")
        elif resource(capable[0]):
            self._initiate_directly(capable[0], media)
        elif self.CRASHES_ON_A_BARE_JID and len(capable) == 1:  # of several the user is asked to choose
            # a23788059 PresenceSelector.java:69: withResource(""), which Jid.java:167 answers with an exception.
            self.complain("java.lang.IllegalArgumentException in PresenceSelector")
            self.screen("Conversations keeps stopping")
        else:
            self._propose(contact, media)  # services/CallIntegrationConnectionService.java:112

    def hang_up(self) -> None:
        """ui/RtpSessionActivity.java:283."""
        if self.proposal is None:
            super().hang_up()
        else:
            self._retract(self.proposal)
            self.screen("ended")

    # --- a proposal of its own

    def _propose(self, contact: str, media: tuple[str, ...]) -> None:
        """JCM:755 and generator/MessageGenerator.java:191."""
        self.proposal = proposal = Proposal(contact, self._new_sid(), media)
        self.screen("Discovering devices")
        self._send_proposal(proposal)

        def discovery_is_over() -> None:
            # JCM:810: only of those who are expected to show that they are there; :834.
            if self.proposal is proposal and not proposal.discovered and self.home.mutual(contact):
                self._retract(proposal)
                self.screen(UNREACHABLE)

        self.later(self.DISCOVERY, discovery_is_over, "discovery")

    def resumes_its_stream(self) -> None:
        """JCM:956 and :992: a proposal that was not answered is sent once more."""
        proposal = self.proposal
        if proposal is not None and not proposal.discovered:
            self._send_proposal(proposal)

    def _send_proposal(self, proposal: Proposal) -> None:
        descriptions = (make(RTP, "description", media=each) for each in proposal.media)
        self._jmi("propose", proposal.with_, proposal.sid, *descriptions, id=PROPOSE + proposal.sid, receipt=True)

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
        """parser/MessageParser.java:387: what is inside is read as if it had come itself."""
        self.on_jmi(action, element, message)

    def _from_myself(self, action: str, sid: str, to: str) -> None:
        """What another device of the user's says: JCM:300, JRC:1531, :1592, :1768."""
        session = self.session
        if session is None or session.sid != sid or session.state != "PROPOSED":
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

    def _new_sid(self) -> str:
        """JCM:76: 16 octets in base64url."""
        number = next(self._names)
        return base64.urlsafe_b64encode(number.to_bytes(16, "big")).decode().rstrip("=")


class Conversations2190(Conversations):
    CLIENT = "Conversations 2.19.0-beta (a23788059)"
    DISCOVERY = 6.0  # Config.java, since 465c99fb7 of 2024-09
    CRASHES_ON_A_BARE_JID = True
