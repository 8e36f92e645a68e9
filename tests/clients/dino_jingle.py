"""How Dino reads Jingle, and what it makes of it: the strict part of tests/clients/dino.py, whose words these are."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from tests.clients.user_agent import ICE_UDP, JINGLE, RTP, Payload, children, local

# plugins/rtp/src/module.vala:133-148; there is no telephone-event: a Dino user has no digits.
AUDIO = (
    Payload(111, "opus", 48000, 2, (("useinbandfec", "1"),)),
    Payload(112, "speex", 32000),
    Payload(113, "speex", 16000),
    Payload(114, "speex", 8000),
    Payload(9, "G722", 8000),
    Payload(0, "PCMU", 8000),
    Payload(8, "PCMA", 8000),
)
VIDEO = (Payload(98, "VP8", 90000),)


class IqError(Exception):
    """jingle_module.vala:227-247: what a request is refused with."""

    def __init__(self, condition: str, jingle: str = "") -> None:
        super().__init__(condition)
        self.condition, self.jingle = condition, jingle


def read(element: ET.Element, *, one: bool = False) -> list[ET.Element]:
    """content_node.vala:17-94."""
    contents = children(element, JINGLE, "content")
    if not contents:
        raise IqError("bad-request")
    if one and len(contents) > 1:
        raise IqError("feature-not-implemented")
    for each in contents:
        if each.get("creator", "initiator") not in ("initiator", "responder") or not each.get("name"):
            raise IqError("bad-request")
        if each.get("senders", "both") not in ("both", "initiator", "responder"):  # jingle_structs.vala:41-49
            raise IqError("bad-request")
        for name in ("description", "transport", "security"):
            if sum(local(child) == name for child in each) > 1:
                raise IqError("bad-request")
    return contents


def both(each: ET.Element) -> tuple[ET.Element, ET.Element]:
    described = next((c for c in each if local(c) == "description"), None)
    wire = next((c for c in each if local(c) == "transport"), None)
    if described is None or wire is None:
        raise IqError("bad-request")
    check_candidates(wire)
    return described, wire


def check_candidates(wire: ET.Element) -> None:
    """0176_jingle_ice_udp/candidate.vala:38-45."""
    for each in children(wire, ICE_UDP, "candidate"):
        if each.get("type") not in ("host", "srflx", "prflx", "relay"):
            raise IqError("bad-request")


def pick(described: ET.Element) -> Payload | None:
    """The first that GStreamer can do (plugins/rtp/src/module.vala:174-183)."""
    ours = {p.name.lower() for p in (*AUDIO, *VIDEO)}
    for each in children(described, RTP, "payload-type"):
        name, number, clock = each.get("name", ""), each.get("id", ""), each.get("clockrate", "0")
        if name.lower() in ours:
            return Payload(int(number), name, int(clock), int(each.get("channels", "1")))
    return None
