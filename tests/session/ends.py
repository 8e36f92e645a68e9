"""A telephone and a client as the negotiation sees them, in our codecs and in stanzas and descriptions of real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

from gateway.session import jingle, negotiate, sdp
from gateway.session.model import (
    Candidate,
    Codec,
    Fingerprint,
    Ice,
    Media,
    Profile,
    Session,
    Setup,
    Transport,
)
from gateway.session.policy import Policy, Towards, Transcode

VECTORS = Path(__file__).parents[1] / "vectors"
XMPP, SIP = Towards.XMPP, Towards.SIP
FALLBACK, NEVER, PREFER = Policy(), Policy(transcode=Transcode.NEVER), Policy(transcode=Transcode.PREFER_OPUS)

WEB = Transport(
    rtcp_mux=True,
    ice=Ice("ours", "o" * 22, (Candidate("1", 1, "udp", 7, "203.0.113.7", 20_002, "host"),), complete=True),
    fingerprint=Fingerprint("sha-256", ":".join(["AB"] * 32), Setup.ACTPASS),
)
RTP = Transport("203.0.113.7", 20_000, 20_001)

OPUS, PCMA, PCMU, G722 = (
    Codec(111, "opus", 48_000, 2),
    Codec(8, "PCMA", 8000),
    Codec(0, "PCMU", 8000),
    Codec(9, "G722", 8000),
)
SPEEX = Codec(114, "speex", 8000)
EVENT8, EVENT48 = Codec(126, "telephone-event", 8000), Codec(110, "telephone-event", 48_000)
SIP_EVENT = Codec(101, "telephone-event", 8000, 1, (("", "0-15"),))


def phone(*codecs: Codec, **changes: object) -> Session:
    media = Media("audio", "audio", codecs, Transport("198.51.100.5", 4000), ptime=20)
    return Session((replace(media, **changes),))  # type: ignore[arg-type]


def client(*codecs: Codec, **changes: object) -> Session:
    transport = Transport(
        rtcp_mux=True,
        ice=Ice("them", "t" * 22),
        fingerprint=Fingerprint("sha-256", ":".join(["CD"] * 32), Setup.ACTPASS),
    )
    media = Media("0", "audio", codecs, transport, Profile.DTLS)
    return Session((replace(media, **changes),))  # type: ignore[arg-type]


def stanza(name: str) -> Session:
    root = ET.parse(VECTORS / "jingle" / f"{name}.xml").getroot()
    found = root if root.tag.endswith("}jingle") else root.find(f"{{{jingle.JINGLE}}}jingle")
    assert found is not None
    return jingle.parse_session(found)


def description(name: str) -> Session:
    return sdp.parse((VECTORS / "sdp" / f"{name}.sdp").read_bytes().decode())


def audio(session: Session) -> Media:
    assert session.audio is not None
    return session.audio


def names(session: Session) -> list[tuple[int, str, int]]:
    return [(c.pt, c.name, c.clock_rate) for c in audio(session).codecs]


def call(
    policy: Policy, caller: Session, callee: Session, *, late: bool = False, calling: Towards = XMPP
) -> negotiate.Agreement:
    """A whole call from one side to the other, the callee answering with what it has."""
    called = SIP if calling is XMPP else XMPP
    mine, theirs = (WEB, RTP) if calling is XMPP else (RTP, WEB)
    offer = negotiate.offer_callee(policy, called, None if late else caller, theirs)
    return negotiate.answer_caller(policy, calling, caller, offer, callee, mine)
