"""The terms of an agreement: which side an end is on, and what an operator lets the SIP side use."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.session.model import Dtmf
from gateway.session.protection import Srtp


class Towards(enum.StrEnum):
    """What an end speaks: ICE with DTLS-SRTP, or plain RTP."""

    XMPP = "xmpp"
    SIP = "sip"


class Transcode(enum.StrEnum):
    """Whether voices may be turned into one another: a gain in reach and in loss, a cost in CPU and quality."""

    NEVER = "never"
    FALLBACK = "fallback"  # relay what both ends have, transcode only if there is nothing
    PREFER_OPUS = "prefer-opus"  # opus on the XMPP side whenever it has it


@dataclass(frozen=True, slots=True)
class Policy:
    """What the SIP side may use: encoding names in order of preference, whether media is protected there, how digits
    go, and whether calls may have video. Without telephone-event where digits do not go so: an end that hears of it
    sends nothing else.
    """

    codecs: tuple[str, ...] = ("PCMA", "PCMU")
    transcode: Transcode = Transcode.FALLBACK
    srtp: Srtp = Srtp.OFF
    dtmf: Dtmf = Dtmf.RFC4733
    video: bool = False
