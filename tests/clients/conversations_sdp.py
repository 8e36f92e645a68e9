"""What Conversations can read of a session: where it would throw, a FlawError with the reason that it terminates with.

Read in Conversations 2.19.5, commit c88ac40ef; paths are those under src/main/java/eu/siacs/conversations/. Short
names are those of xmpp/jingle/.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from tests.clients import user_agent as ua
from tests.clients.user_agent import (
    DTLS,
    GROUPING,
    ICE_UDP,
    JINGLE,
    RTP,
    IceCredentials,
    children,
    first,
    local,
    make,
    space,
)


class FlawError(Exception):
    """What it got cannot be used: the reason that it terminates with, and why."""


def read_contents(jingle: ET.Element, *, offered: bool) -> frozenset[str]:
    """xmpp/jingle/RtpContentMap.java:98 and AbstractContentMap.java:73: the media, or a FlawError."""
    contents = children(jingle, JINGLE, "content")
    if not contents:
        raise FlawError("failed-application", "No contents available")
    setups = set()
    for each in contents:
        name = each.get("name", "")
        wire = first(each, ICE_UDP, "transport")
        if wire is None:
            raise FlawError("unsupported-transports", "Content does not contain ICE-UDP transport")
        if first(each, RTP, "description") is None:
            raise FlawError("failed-application", f"{name} is lacking content description")
        mark = first(wire, DTLS, "fingerprint")
        if mark is None or not mark.text or not mark.get("hash") or not mark.get("setup"):
            raise FlawError("security-error", f"Use of DTLS-SRTP (XEP-0320) is required for content {name}")
        if offered and mark.get("setup") != "actpass":
            raise FlawError("security-error", "Initiator needs to offer ACTPASS as setup for DTLS-SRTP (XEP-0320)")
        setups.add(mark.get("setup"))
    if not offered and (len(setups) != 1 or setups == {"actpass"}):  # RtpContentMap.java:221, JRC:982
        raise FlawError("failed-application", f"invalid peer dtls setup {setups}")
    return frozenset(media_of(each) for each in contents)


def to_sdp(jingle: ET.Element) -> None:
    """xmpp/jingle/SessionDescription.java:182: a FlawError where it throws."""

    def check(value: str | None, what: str) -> None:
        if not value or re.search(r"\s", value):
            raise FlawError("failed-application", f"{what} is missing or contains whitespace: {value!r}")

    for group in children(jingle, GROUPING, "group"):
        check(group.get("semantics"), "group semantics")
        for member in group:
            check(member.get("name"), "group content name")
    for each in children(jingle, JINGLE, "content"):
        name = each.get("name", "")
        check(name, "content name")
        if len(name) > 16:
            raise FlawError("failed-application", "mid should not be longer than 16 chars")
        wire, described = first(each, ICE_UDP, "transport"), first(each, RTP, "description")
        if wire is None or described is None:
            continue
        check(wire.get("ufrag"), "ufrag")
        check(wire.get("pwd"), "pwd")
        mark = first(wire, DTLS, "fingerprint")
        if mark is not None:
            check(mark.get("hash"), "hash function")
            check(mark.text, "hash")
        for payload in children(described, RTP, "payload-type"):
            check(payload.get("id"), "payload id")
            if not payload.get("id", "").isdigit():
                raise FlawError("failed-application", "Payload id is not numeric")
            check(payload.get("name"), "payload-type name")
            parameters = [c for c in payload if local(c) == "parameter"]
            for parameter in parameters:  # stanzas/RtpDescription.java:392 and :419: one alone needs no name
                check(parameter.get("value"), "parameter value")
                if len(parameters) > 1:
                    check(parameter.get("name"), "parameter name")
        for feedback in described.iter():
            if local(feedback) == "rtcp-fb":
                check(feedback.get("type"), "feedback type")
            elif local(feedback) == "rtp-hdrext":
                check(feedback.get("id"), "header extension id")
                check(feedback.get("uri"), "header extension uri")
            elif local(feedback) == "source" and space(feedback).endswith("ssma:0"):
                for parameter in feedback:
                    check(feedback.get("ssrc"), "ssrc")
                    check(parameter.get("name"), "source parameter name")
                    if not parameter.get("value"):
                        raise FlawError("failed-application", "A source specific media attribute is missing its value")
        for candidate in children(wire, ICE_UDP, "candidate"):
            # stanzas/IceUdpTransportInfo.java:316; JRC:1045 only leaves such a candidate out.
            for attribute in ("foundation", "component", "protocol", "priority", "ip", "port"):
                check(candidate.get(attribute), f"candidate {attribute}")


def credentials(jingle: ET.Element) -> IceCredentials | None:
    """RtpContentMap.java:180: those of all contents, if they are the same and complete."""
    found = {(t.get("ufrag"), t.get("pwd")) for t in jingle.iter(f"{{{ICE_UDP}}}transport")}
    if len(found) != 1:
        return None
    ufrag, pwd = found.pop()
    return IceCredentials(ufrag, pwd) if ufrag and pwd else None


def media_of(content: ET.Element) -> str:
    described = first(content, RTP, "description")
    return "" if described is None else described.get("media", "")


def stub(content: ET.Element) -> ET.Element:
    """RtpContentMap.java:349."""
    described = make(RTP, "description", media=media_of(content))
    return ua.content(content.get("name", ""), described, make(ICE_UDP, "transport"))


def in_common(offered: ET.Element, known: tuple[ua.Payload, ...]) -> tuple[ua.Payload, ...]:
    """libwebrtc answers with the offer's numbers and order, and only with what it knows."""
    found = []
    for payload in offered.iter(f"{{{RTP}}}payload-type"):
        for mine in known:
            said = (payload.get("name", "").lower(), payload.get("clockrate"), payload.get("channels", "1"))
            if said == (mine.name.lower(), str(mine.clock), str(mine.channels)):
                found.append(ua.Payload(int(payload.get("id", "0")), mine.name, mine.clock, mine.channels))
                break
    return tuple(found)
