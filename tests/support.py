"""Fakes that scenes share: a media engine that remembers, and legs that do what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gateway.call.causes import Cause
from gateway.errors import MediaError
from gateway.media.engine import Connected, LegKind, LegStatistics, MediaEvent, Recorded
from gateway.session.model import (
    Candidate,
    Codec,
    Crypto,
    Fingerprint,
    Ice,
    Media,
    Profile,
    Session,
    Setup,
    Stream,
    Transport,
)

OPUS = Codec(111, "opus", 48000, 2)
PCMA, PCMU = Codec(8, "PCMA", 8000), Codec(0, "PCMU", 8000)
SUITES = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")
EVENTS = Codec(101, "telephone-event", 8000, parameters=(("", "0-15"),))


def fingerprint(setup: Setup) -> Fingerprint:
    return Fingerprint("sha-256", ":".join(["AB"] * 32), setup)


def candidate(port: int = 50000, ip: str = "198.51.100.9") -> Candidate:
    return Candidate("1", 1, "udp", 2130706431, ip, port, "host", id="c1")


def webrtc_session(
    *codecs: Codec, setup: Setup = Setup.ACTPASS, candidates: tuple[Candidate, ...] = (), name: str = "0"
) -> Session:
    """What a WebRTC client offers or answers."""
    transport = Transport(rtcp_mux=True, ice=Ice("uuuu", "p" * 22, candidates), fingerprint=fingerprint(setup))
    return Session((Media(name, "audio", codecs or (OPUS, PCMU), transport, Profile.DTLS),), bundle=(name,))


def phone_session(*codecs: Codec, ip: str = "192.0.2.10", port: int = 40000) -> Session:
    """What a SIP phone offers or answers."""
    media = Media("0", "audio", codecs or (PCMA, PCMU, EVENTS), Transport(ip, port, port + 1))
    return Session((media,))


@dataclass
class FakeEngine:
    """A MediaEngine that allocates addresses out of thin air and remembers what it was asked, as (name, leg, …)."""

    asked: list[tuple[object, ...]] = field(default_factory=list)
    fails: set[str] = field(default_factory=set)
    ports: int = 20000
    muxed: dict[str, bool] = field(default_factory=dict)  # leg: whether it has one component
    near: set[str] = field(default_factory=set)  # legs that have another of ours for a far end
    versions: dict[str, int | None] = field(default_factory=dict)  # of IP, that each leg was asked for
    tape: Recorded | None = None  # what became of a recording
    given: dict[str, Transport] = field(default_factory=dict)  # by leg
    video: bool = True
    flows: bool = True  # a leg that is connected has its media at once

    def __post_init__(self) -> None:
        self.on_event: Callable[[MediaEvent], None] = lambda event: None

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def _note(self, what: str, *facts: object) -> None:
        if what in self.fails:
            raise MediaError(f"{what} failed")
        self.asked.append((what, *facts))

    async def allocate(
        self,
        call: str,
        leg: str,
        kind: LegKind,
        *,
        controlling: bool = False,
        setup: Setup = Setup.ACTPASS,
        sdes: bool = False,
        rtcp_mux: bool = True,
        ip: int | None = None,
        near: bool = False,
    ) -> Transport:
        self.versions[leg] = ip
        self.near |= {leg} if near else set()
        self._note("allocate", leg, kind, controlling, setup)
        self.ports += 2
        self.muxed[leg] = rtcp_mux
        if kind is LegKind.RTP:
            keys = tuple(Crypto(tag, suite, f"inline:ours{tag}") for tag, suite in enumerate(SUITES, 1))
            return Transport("203.0.113.7", self.ports, self.ports + 1, crypto=keys if sdes else ())
        ice = Ice("gate", "g" * 22, self._candidates(leg), complete=True)
        self.given[leg] = Transport(
            "203.0.113.7", self.ports, rtcp_mux=rtcp_mux, ice=ice, fingerprint=fingerprint(setup)
        )
        return self.given[leg]

    def _candidates(self, leg: str) -> tuple[Candidate, ...]:
        rtp = candidate(self.ports, "203.0.113.7")
        return (rtp,) if self.muxed[leg] else (rtp, replace(rtp, component=2, port=self.ports + 1, id="c2"))

    async def allocate_video(
        self,
        call: str,
        leg: str,
        kind: LegKind,
        *,
        bundled: bool = False,
        controlling: bool = False,
        setup: Setup = Setup.ACTPASS,
        sdes: bool = False,
        rtcp_mux: bool = True,
    ) -> Transport:
        self._note("allocate_video", leg, kind, bundled)
        if bundled:
            transport = self.given[leg.removesuffix(".video")]
        else:
            transport = await self.allocate(
                call, leg, kind, controlling=controlling, setup=setup, sdes=sdes, rtcp_mux=rtcp_mux
            )
            if transport.ice is not None:
                transport = replace(transport, ice=replace(transport.ice, ufrag="gatevid"))
        return transport

    async def ask_picture(self, call: str, leg: str) -> None:
        self._note("ask_picture", leg)

    async def connect(
        self,
        call: str,
        leg: str,
        remote: Transport,
        stream: Stream,
        *,
        peer: str | None = None,
        setup: Setup = Setup.ACTIVE,
    ) -> None:
        self._note("connect", leg, remote, stream, peer, setup)
        self.muxed[leg] = self.muxed.get(leg, True) or stream.rtcp_mux
        if self.flows:
            asyncio.get_running_loop().call_soon(self.on_event, Connected(call, leg))

    async def candidates(
        self, call: str, leg: str, candidates: tuple[Candidate, ...], *, ice: Ice | None = None, complete: bool = False
    ) -> None:
        self._note("candidates", leg, candidates, complete)

    async def restart(self, call: str, leg: str, ice: Ice) -> Transport:
        self._note("restart", leg, ice)
        ours = Ice("anew", "n" * 22, self._candidates(leg), complete=True)
        return Transport(
            "203.0.113.7", self.ports, rtcp_mux=self.muxed[leg], ice=ours, fingerprint=fingerprint(Setup.ACTIVE)
        )

    async def stop_playing(self, call: str, leg: str) -> None:
        self._note("stop_playing", leg)

    async def play(self, call: str, leg: str, prompt: str) -> None:
        self._note("play", leg, prompt)

    async def loop(self, call: str, leg: str) -> None:
        self._note("loop", leg)

    async def dtmf(self, call: str, leg: str, digits: str, duration: int = 100) -> None:
        self._note("dtmf", leg, digits, duration)

    async def record(self, call: str, name: str) -> None:
        self._note("record", name)

    async def recorded(self, call: str) -> Recorded | None:
        self._note("recorded", call)
        return self.tape

    async def release(self, call: str, leg: str | None = None) -> dict[str, LegStatistics]:
        self._note("release", leg)
        return {"caller": LegStatistics(received_packets=1)} if leg is None else {}

    async def statistics(self, call: str) -> dict[str, LegStatistics]:
        return {}

    def names(self) -> list[tuple[object, object]]:
        """What was asked of which leg, in order."""
        return [(what, leg) for what, leg, *_ in self.asked]

    def connected(self, leg: str) -> tuple[Transport, Stream, str | None, Setup]:
        """The last connect of this leg: remote, stream, peer, setup."""
        found = [facts for facts in self.asked if facts[:2] == ("connect", leg)]
        _, _, remote, stream, peer, setup = found[-1]
        assert isinstance(remote, Transport)
        assert isinstance(stream, Stream)
        assert isinstance(setup, Setup)
        assert isinstance(peer, str | None)
        return remote, stream, peer, setup


@dataclass
class FakeLeg:
    """A LegControl that remembers what it was told."""

    told: list[tuple[object, ...]] = field(default_factory=list)
    on_told: Callable[[], None] = lambda: None

    def _note(self, *what: object) -> None:
        self.told.append(what)
        self.on_told()

    def dial(self, offer: Session) -> None:
        self._note("dial", offer)

    def alert(self) -> None:
        self._note("alert")

    def progress(self) -> None:
        self._note("progress")

    def ask(self, offer: Session | None = None) -> None:
        self._note("ask", *(() if offer is None else (offer,)))

    def answer(self, session: Session) -> None:
        self._note("answer", session)

    def reanswer(self, session: Session | None) -> None:
        self._note("reanswer", session)

    def hold(self, held: bool, offer: Session) -> None:
        self._note("hold", held, offer)

    def restart(self, session: Session) -> None:
        self._note("restart", session)

    def dial_digits(self, digits: str, duration: int) -> None:
        self._note("dial_digits", digits, duration)

    def ask_picture(self) -> None:
        self._note("ask_picture")

    def transferred(self, cause: Cause | None) -> None:
        self._note("transferred", cause)

    def hang_up(self, cause: Cause, text: str = "", q850: int | None = None) -> None:
        self._note("hang_up", cause, text, *(() if q850 is None else (q850,)))

    def names(self) -> list[object]:
        return [what[0] for what in self.told]
