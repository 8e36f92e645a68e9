"""A router between a recording server and a recording call: stanzas in as text, everything out as lists."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from gateway.call.events import Report
from gateway.call.leg import Admitted, LegControl
from gateway.call.trace import Traced
from gateway.session.model import Candidate, Codec, Fingerprint, Ice, Media, Profile, Session, Setup, Transport
from gateway.xmpp import stanzas
from gateway.xmpp.router import IncomingCall, Router

JULIET = "juliet@shakespeare.lit/balcony"
ROMEO = "romeo%shakespeare.lit@sip.example.com"
FINGERPRINT = ":".join(["AB"] * 32)

CONTENT = f"""<content xmlns='urn:xmpp:jingle:1' creator='initiator' name='voice'>
  <description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>
    <payload-type id='111' name='opus' clockrate='48000' channels='2'/><rtcp-mux/></description>
  <transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='8hhy' pwd='asd88fgpdd777uzjYhagZg'>
    <fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256' setup='actpass'>{FINGERPRINT}</fingerprint>
  </transport></content>"""

CANDIDATE = """<content xmlns='urn:xmpp:jingle:1' creator='initiator' name='voice'>
  <transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='8hhy' pwd='asd88fgpdd777uzjYhagZg'>
    <candidate component='1' foundation='1' generation='0' id='c1' ip='192.0.2.3' network='0' port='45664'
      priority='1694498815' protocol='udp' type='host'/></transport></content>"""


def parse(text: str) -> ET.Element:
    """A stanza as it comes off the component's stream."""
    return ET.fromstring(f"<stream xmlns='jabber:component:accept'>{text}</stream>")[0]


def offer() -> Session:
    ice = Ice("ours", "ours" * 6, (Candidate("1", 1, "udp", 2130706431, "203.0.113.7", 20000, "host", id="h"),))
    transport = Transport(rtcp_mux=True, ice=ice, fingerprint=Fingerprint("sha-256", FINGERPRINT, Setup.ACTPASS))
    return Session((Media("voice", "audio", (Codec(111, "opus", 48000, 2),), transport, Profile.DTLS),))


class World:
    """`sent` and `reports` grow; `take` and `told` empty them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sent: list[ET.Element] = []
        self.reports: list[Report] = []
        self.traces: list[Traced] = []
        self.calls: list[tuple[IncomingCall, LegControl]] = []
        self.on_call: Callable[[IncomingCall, LegControl], None] = lambda incoming, leg: None
        self.unmappable = {"a%%b", "+1", "nobody"}
        self.sids = 0
        self.armed: float | None = None  # the one timer, as the component has it
        self.ignored: list[str] = []  # what was counted as ignored
        self.router = Router(
            "sip.example.com",
            ("shakespeare.lit",),
            mappable=lambda local: local not in self.unmappable,
            on_call=self._admit,
            send=self.sent.append,
            tell=lambda sink, report: sink(report),
            trace=self.traces.append,
            clock=lambda: self.now,
            rearm=self._rearm,
            new_sid=self._sid,
            grace=60.0,
            version="1.0",
            on_ignored=self.ignored.append,
            ringing_after=4.0,
            chat_dtmf=True,
        )
        self.router.link_up()

    def _rearm(self) -> None:
        self.armed = self.router.deadline

    def _admit(self, incoming: IncomingCall, leg: LegControl) -> Admitted:
        self.calls.append((incoming, leg))
        self.on_call(incoming, leg)
        return Admitted(f"call-{len(self.calls)}", self.reports.append)

    def _sid(self) -> str:
        self.sids += 1
        return f"our{self.sids}"

    @property
    def leg(self) -> LegControl:
        return self.calls[-1][1]

    def says(self, text: str) -> list[ET.Element]:
        """The server sends this; what we sent for it."""
        before = len(self.sent)
        self.router.receive(parse(text))
        return self.sent[before:]

    def take(self) -> list[ET.Element]:
        sent, self.sent[:] = list(self.sent), []
        return sent

    def told(self) -> list[Report]:
        told, self.reports[:] = list(self.reports), []
        return told

    def passes(self, seconds: float) -> list[ET.Element]:
        """Time goes by, deadline by deadline; what we sent meanwhile."""
        before, end = len(self.sent), self.now + seconds
        while self.armed is not None and self.armed <= end:
            self.now = max(self.now, self.armed)
            self.router.tick()
            self._rearm()
        self.now = end
        return self.sent[before:]

    # scenes

    def presence(self, user: str = JULIET, to: str = ROMEO, inner: str = "", kind: str = "") -> list[ET.Element]:
        return self.says(f"<presence from='{user}' to='{to}'{f' type={kind!r}' if kind else ''}>{inner}</presence>")

    def jmi(self, kind: str, sid: str = "s1", user: str = JULIET, to: str = ROMEO, inner: str = "") -> list[ET.Element]:
        """What we sent for it, without the presence of a contact who is met."""
        sent = self.says(
            f"<message type='chat' from='{user}' to='{to}' id='jm-{kind}-{sid}'>"
            f"<{kind} xmlns='urn:xmpp:jingle-message:0' id='{sid}'>{inner}</{kind}></message>"
        )
        return [stanza for stanza in sent if stanza.tag != stanzas.PRESENCE]

    def propose(self, sid: str = "s1", user: str = JULIET, to: str = ROMEO) -> list[ET.Element]:
        media = "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>"
        return self.jmi("propose", sid, user, to, media)

    def jingle(
        self, action: str, inner: str = "", sid: str = "s1", user: str = JULIET, to: str = f"{ROMEO}/sip"
    ) -> list[ET.Element]:
        return self.says(
            f"<iq type='set' id='q1' from='{user}' to='{to}'>"
            f"<jingle xmlns='urn:xmpp:jingle:1' action='{action}' sid='{sid}'>{inner}</jingle></iq>"
        )

    def initiate(self, sid: str = "s1", user: str = JULIET, to: str = f"{ROMEO}/sip") -> list[ET.Element]:
        return self.jingle("session-initiate", CONTENT, sid, user, to)

    def replies(self, request: ET.Element, error: str = "", jingle: str = "") -> list[ET.Element]:
        """The addressee of one of our IQs answers it."""
        head = f"from='{request.get('to')}' to='{request.get('from')}' id='{request.get('id')}'"
        if not error:
            return self.says(f"<iq type='result' {head}/>")
        more = f"<{jingle} xmlns='urn:xmpp:jingle:errors:1'/>" if jingle else ""
        return self.says(
            f"<iq type='error' {head}><error type='cancel'>"
            f"<{error} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>{more}</error></iq>"
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def new_world() -> Callable[[], tuple[World, str]]:
    """Worlds for properties, each with the content that its devices offer and answer."""
    return lambda: (World(), CONTENT)


@pytest.fixture
def our_offer() -> Session:
    return offer()
