"""Cheogram, the fork of Conversations that is the telephone's own dialler.

Read in Cheogram 2.19.0-6, commit 32da4731c. CS is src/cheogram/java/com/cheogram/android/ConnectionService.java, other
paths are those under src/main/java/eu/siacs/conversations/. What calls look like is Conversations 2.19.0's.
"""

from __future__ import annotations

from tests.clients.conversations import Conversations2190
from tests.clients.conversations_caps import FEATURES
from tests.clients.home import bare
from tests.clients.user_agent import RTP, Info


class Cheogram(Conversations2190):
    """Its dialler calls what the telephone's own dialler was given, at the gateway in the roster, always by a propose.

    Paths are those of Cheogram; CS is src/cheogram/java/com/cheogram/android/ConnectionService.java.
    """

    CLIENT = "Cheogram 2.19.0-6 (32da4731c)"
    INFO = Info(frozenset({("client", "phone", "", "Cheogram")}), FEATURES)

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

    def presses(self, digit: str) -> None:
        """CS:403, xmpp/jingle/WebRTCWrapper.java:727: as RTP, if telephone-event was negotiated."""
        session = self._current("ACCEPTED")
        remote = session.remote
        names = set() if remote is None else {p.get("name") for p in remote.iter(f"{{{RTP}}}payload-type")}
        if "telephone-event" not in names:
            self.complain(f"digit {digit} is not sent: telephone-event was not negotiated")
