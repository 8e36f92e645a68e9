"""Cheogram, the fork of Conversations that is the telephone's own dialler.

Read in Cheogram 2.19.0-6, commit 32da4731c. CS is src/cheogram/java/com/cheogram/android/ConnectionService.java, other
paths are those under src/main/java/eu/siacs/conversations/. What calls look like is Conversations 2.19.0's.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from tests.clients.conversations import Conversations2190
from tests.clients.conversations_caps import FEATURES
from tests.clients.home import ERRORS, STREAM, bare
from tests.clients.user_agent import RTP, Info, first, make

GATEWAY = "jabber:iq:gateway"


class Cheogram(Conversations2190):
    """Its dialler calls what the telephone's own dialler was given, at the gateway in the roster, always by a propose.

    Paths are those of Cheogram; CS is src/cheogram/java/com/cheogram/android/ConnectionService.java.
    """

    CLIENT = "Cheogram 2.19.0-6 (32da4731c)"
    INFO = Info(frozenset({("client", "phone", "", "Cheogram")}), FEATURES)

    def call(self, contact: str, *, video: bool = False) -> None:
        """ui/ConversationFragment.java:1531: no button for video where only sound is known to be possible."""
        if video and {self.capability(jid) for jid in self.capable(contact)} == {"audio"}:
            self.screen("no button for video")
        else:
            super().call(contact, video=video)

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

    def adds_contact(self, typed: str) -> None:
        """ui/EnterJidDialog.java:308-330: a gateway that prompts is asked for the JID; one that does not, or an error
        with its text, is all that the user gets. services/XmppConnectionService.java:5024.
        """
        gateway = self.gateway()
        digits = re.sub(r"[^0-9+]", "", typed)
        if re.fullmatch(r"[-0-9+() ]+", typed) and len(digits) >= 10:  # PhoneNumberUtilWrapper, where the user lives
            typed = digits if digits.startswith("+") else f"+1{digits}"

        def then(reply: ET.Element, wanted: str) -> None:
            query, error = first(reply, GATEWAY), reply.find(f"{{{STREAM}}}error")
            found = None if query is None else first(query, GATEWAY, wanted)
            if reply.get("type") != "result" or found is None or not found.text:
                text = None if error is None else first(error, ERRORS, "text")
                self.screen((text.text if text is not None else None) or "nothing")
            elif wanted == "prompt":
                question = make(GATEWAY, "query", make(GATEWAY, "prompt", text=typed))
                self.request(gateway, question, lambda answer: then(answer, "jid"))
            else:
                self.screen(found.text)

        self.request(gateway, make(GATEWAY, "query"), lambda answer: then(answer, "prompt"), type="get")

    def presses(self, digit: str) -> None:
        """CS:403, xmpp/jingle/WebRTCWrapper.java:727: as RTP, if telephone-event was negotiated."""
        session = self._current("ACCEPTED")
        remote = session.remote
        names = set() if remote is None else {p.get("name") for p in remote.iter(f"{{{RTP}}}payload-type")}
        if "telephone-event" not in names:
            self.complain(f"digit {digit} is not sent: telephone-event was not negotiated")
