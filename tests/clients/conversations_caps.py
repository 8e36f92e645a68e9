"""What Conversations believes about others: entity capabilities, asked once for each hash and verified.

Read in Conversations 2.19.5, commit c88ac40ef; paths are those under src/main/java/eu/siacs/conversations/.
"""

from __future__ import annotations

import base64
import binascii
import xml.etree.ElementTree as ET

from tests.clients import user_agent as ua
from tests.clients.home import Home, bare
from tests.clients.user_agent import (
    CAPS,
    CAPS2,
    DISCO_INFO,
    DTLS,
    HASHES,
    ICE_UDP,
    JINGLE,
    JMI,
    RECEIPTS,
    RTP,
    RTP_AUDIO,
    RTP_VIDEO,
    Info,
    first,
    make,
)

# xmpp/jingle/RtpCapability.java:21
BASIC_RTP = {JINGLE, ICE_UDP, RTP, DTLS}

# xmpp/manager/DiscoManager.java:52 and :82
FEATURES = frozenset(
    {
        JINGLE,
        "urn:xmpp:jingle:apps:file-transfer:5",
        "urn:xmpp:jingle:transports:s5b:1",
        "urn:xmpp:jingle:transports:ibb:1",
        CAPS,
        CAPS2,
        DISCO_INFO,
        ua.PING,
        "jabber:iq:version",
        "http://jabber.org/protocol/chatstates",
        "urn:xmpp:chat-markers:0",
        RECEIPTS,
        ICE_UDP,
        RTP_AUDIO,
        RTP_VIDEO,
        RTP,
        DTLS,
        JMI,
    }
)


class Discovering(ua.UserAgent):
    """The part of the client that knows what its contacts can."""

    NODE = "http://conversations.im"  # xmpp/manager/DiscoManager.java:51
    INFO = Info(frozenset({("client", "phone", "", "Conversations")}), FEATURES)

    def __init__(self, home: Home, resource: str) -> None:
        self.infos: dict[str, Info] = {}  # DiscoManager.java:96, by JID
        self.cache: dict[str, Info] = {}  # its database's, by hash
        super().__init__(home, resource)

    def announcement(self) -> ET.Element:
        """xmpp/manager/PresenceManager.java:278."""
        shown = super().announcement()
        hash_ = make(HASHES, "hash", algo="sha-256", text=self.INFO.caps2)
        shown.insert(0, make(CAPS2, "c", hash_))
        return shown

    def on_presence(self, presence: ET.Element) -> None:
        super().on_presence(presence)
        from_ = presence.get("from", "")
        if presence.get("type") == "unavailable":
            self.infos.pop(from_, None)  # PresenceManager.java:146
        elif presence.get("type") is None:
            self._look_up(from_, presence)

    def _look_up(self, from_: str, presence: ET.Element) -> None:
        """im/conversations/android/xmpp/model/capabilties/EntityCapabilities.java:11: XEP-0390 before XEP-0115."""
        new, old = first(presence, CAPS2, "c"), first(presence, CAPS, "c")
        if new is not None:
            hash_ = next((h.text or "" for h in new if h.get("algo") == "sha-256"), "")
            node, wanted = f"{CAPS2}#sha-256.{hash_}", "caps2"
        elif old is not None and old.get("hash") == "sha-1":  # LegacyCapabilities.java:30
            hash_ = old.get("ver", "")
            node, wanted = f"{old.get('node', '')}#{hash_}", "ver"
        else:
            return
        if not _is_base64(hash_):
            self.complain(f"{from_}: a caps hash that is not base64: {hash_!r}")
            return
        if hash_ in self.cache:  # DiscoManager.java:155
            self.infos[from_] = self.cache[hash_]
            return

        def then(reply: ET.Element) -> None:
            query = first(reply, DISCO_INFO, "query")
            if reply.get("type") != "result" or query is None:
                self.complain(f"{from_}: could not retrieve disco: {ua.condition(reply)}")
                return
            info = Info.read(query)
            if info.node != node:  # DiscoManager.java:192
                self.complain(f"node in response did not match node in request: {node} {info.node}")
                return
            self.infos[from_] = info  # before the hash is looked at: DiscoManager.java:201
            if getattr(info, wanted) != hash_:  # DiscoManager.java:234
                self.complain(f"{from_}: {wanted} mismatch. Expected {hash_} was {getattr(info, wanted)}")
                return
            self.cache |= {info.ver: info, info.caps2: info}

        self.request(from_, make(DISCO_INFO, "query", node=node), then, type="get")

    def capability(self, jid: str) -> str:
        """What it calls video, audio or nothing: xmpp/jingle/RtpCapability.java:30."""
        info = self.infos.get(jid)
        if info is None or not info.features >= BASIC_RTP or RTP_AUDIO not in info.features:
            return ""
        return "video" if RTP_VIDEO in info.features else "audio"

    def capable(self, contact: str) -> list[str]:
        """The presences of a contact that can be called."""
        return [jid for jid in self.presences if bare(jid) == contact and self.capability(jid)]


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False
