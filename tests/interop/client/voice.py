"""What a client says and hears: ICE, DTLS-SRTP and codecs of aiortc, with RTP packets in our own hands.

aiortc's RTCPeerConnection would hide the packets, and it knows no RFC 4733; so its transports and codecs are used below
it. No jitter buffer: packets are decoded as they come, and everything decoded is kept as the recording.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
import time
from collections import deque
from fractions import Fraction
from typing import Any

import aioice.ice
import numpy as np
from aiortc import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceCandidate,
    RTCIceGatherer,
    RTCIceParameters,
    RTCIceTransport,
)
from aiortc.codecs import get_decoder, get_encoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtpPacket
from av import AudioFrame

from ..peers import tones
from ..peers.process import HOST, PATIENCE
from .jingle import Candidate, Codec, Content

FRAME = 0.02  # s
KEYS = "0123456789*#ABCD"
SOUND = 0.1  # RMS of a packet that holds a tone of ours

# The tests are on loopback, which aioice leaves out of its host candidates.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [HOST]


class Voice:
    """One call's audio at the client: a tone out, a recording and a list of pressed keys in.

    `role` is the ICE role, "controlling" for whoever offered.
    """

    def __init__(self, tone: float, *, controlling: bool) -> None:
        self.tone = tone
        self.connected = asyncio.Event()
        self.failure = ""  # why ICE or DTLS failed
        self.digits = ""  # keys heard by RFC 4733
        self.durations: list[float] = []  # of these keys, in seconds
        self.sources: set[int] = set()  # SSRCs heard
        self.packets = 0
        self.sounds: list[float] = []  # by time.monotonic(), when each packet came that is no silence and no noise
        self._gatherer = RTCIceGatherer(iceServers=[])
        self._ice = RTCIceTransport(self._gatherer)
        self._ice._connection.ice_controlling = controlling  # as RTCPeerConnection does; there is no public way
        self._dtls = RTCDtlsTransport(self._ice, [RTCCertificate.generateCertificate()])
        self._tasks: list[asyncio.Task[None]] = []
        self._heard: list[tones.Samples] = []
        self._rate = 48000
        self._codecs: dict[int, Codec] = {}
        self._decoders: dict[int, Any] = {}
        self._keys: deque[str] = deque()
        self._last_event: int | None = None

    async def gather(self) -> tuple[Candidate, ...]:
        await self._gatherer.gather()
        return tuple(
            Candidate(c.foundation, c.component, c.protocol, c.priority, c.ip, c.port, c.type)
            for c in self._gatherer.getLocalCandidates()
        )

    def content(
        self,
        name: str,
        codecs: tuple[Codec, ...],
        setup: str,
        candidates: tuple[Candidate, ...],
        *,
        bundled: bool = True,
    ) -> Content:
        """What this end says of itself."""
        parameters = self._gatherer.getLocalParameters()
        prints = self._dtls.getLocalParameters().fingerprints
        sha256 = next(f for f in prints if f.algorithm == "sha-256")
        ufrag, pwd = parameters.usernameFragment or "", parameters.password or ""
        return Content(name, codecs, ufrag, pwd, sha256.value, setup, candidates, bundled)

    def connect(self, remote: Content, setup: str, codecs: tuple[Codec, ...]) -> None:
        """Both ends are known: `setup` is ours, `codecs` what was agreed on, the first one to be sent."""
        self._codecs = {codec.number: codec for codec in codecs}
        self._dtls._set_role("client" if setup == "active" else "server")
        self._dtls._rtp_router.register_receiver(self, [], list(self._codecs))
        self._tasks.append(asyncio.create_task(self._connect(remote)))

    async def add(self, candidates: tuple[Candidate, ...]) -> None:
        for c in candidates:
            # A browser on this machine that hides its address behind an mDNS name (RFC 8828).
            ip = HOST if c.ip.endswith(".local") else c.ip
            if c.protocol == "udp" and c.component == 1:
                await self._ice.addRemoteCandidate(
                    RTCIceCandidate(c.component, c.foundation, ip, c.port, c.priority, c.protocol, c.type)
                )

    def mute(self) -> None:
        self.tone = 0.0

    def press(self, keys: str) -> None:
        """Sends these keys by RFC 4733, 100 ms each."""
        self._keys.extend(keys)

    async def hears(self, frequency: float, seconds: float = 1.0, timeout: float = PATIENCE) -> None:
        """Waits until this tone was heard for so long."""
        try:
            async with asyncio.timeout(timeout):
                while tones.seconds_of(frequency, *self.recording()) < seconds:
                    if self.failure:
                        raise AssertionError(self.failure)
                    await asyncio.sleep(0.1)  # the recording grows packet by packet
        except TimeoutError:
            state = f"{self.packets} packets, ICE {self._ice.state}, DTLS {self._dtls.state}"
            raise AssertionError(
                f"the client was to hear {frequency:.0f} Hz: {tones.describe(*self.recording())}; {state}"
            ) from None

    async def pressed(self, keys: str, timeout: float = PATIENCE) -> None:
        """Waits until the far side has pressed these keys."""
        try:
            async with asyncio.timeout(timeout):
                while not self.digits.endswith(keys):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"keys {keys!r} were to be heard, {self.digits!r} were") from None

    def recording(self) -> tuple[tones.Samples, int]:
        return (np.concatenate(self._heard), self._rate) if self._heard else tones.silence()

    def forget(self) -> None:
        """Begins a new recording."""
        self._heard.clear()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._dtls.stop()
        await self._ice.stop()

    # --- connecting and sending

    async def _connect(self, remote: Content) -> None:
        await self.add(remote.candidates)
        while not self._ice.getRemoteCandidates():
            await asyncio.sleep(FRAME)  # aioice gives up at once when it has nobody to check
        await self._ice.start(RTCIceParameters(usernameFragment=remote.ufrag, password=remote.pwd))
        if self._ice.state != "completed":
            self.failure = f"ICE {self._ice.state}"
            return
        fingerprint = RTCDtlsFingerprint(algorithm="sha-256", value=remote.fingerprint)
        await self._dtls.start(RTCDtlsParameters(fingerprints=[fingerprint]))
        if self._dtls.state != "connected":
            self.failure = f"DTLS {self._dtls.state}"
            return
        self.connected.set()
        with contextlib.suppress(ConnectionError):  # the far side closed first
            await self._send()

    async def _send(self) -> None:
        voice = next(codec for codec in self._codecs.values() if codec.name != "telephone-event")
        events = next((c for c in self._codecs.values() if c.name == "telephone-event" and c.rate == voice.rate), None)
        encoder = get_encoder(_parameters(voice))
        rate = _sample_rate(voice)
        ssrc, sequence, timestamp = random.getrandbits(32), random.getrandbits(15), random.getrandbits(31)
        step = round(FRAME * voice.rate)
        position = frames = 0
        started = time.monotonic()
        key: Key | None = None
        while True:
            packets: list[tuple[int, int, int, bytes]] = []  # payload type, marker, timestamp, payload
            if self._keys and key is None and events is not None:
                key = Key(self._keys.popleft(), timestamp, step)
            if key is not None and events is not None:
                packets = [(events.number, first, key.timestamp, payload) for first, payload in key.packets()]
                key = None if key.over else key
            else:
                samples = tones.sine(self.tone, FRAME, rate, start=position)
                packets = [(voice.number, 0, timestamp, p) for p in _encode(encoder, samples, rate, position)]
            for number, marker, at, payload in packets:
                sequence = (sequence + 1) & 0xFFFF
                packet = RtpPacket(number, marker, sequence, at & 0xFFFFFFFF, ssrc, payload)
                await self._dtls._send_rtp(packet.serialize())
            position += round(FRAME * rate)
            timestamp += step
            frames += 1
            await asyncio.sleep(max(0.0, started + frames * FRAME - time.monotonic()))

    # --- what aiortc's router wants of a receiver

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        self.packets += 1
        self.sources.add(packet.ssrc)
        codec = self._codecs[packet.payload_type]
        if codec.name == "telephone-event":
            self._hear_key(packet, codec)
            return
        decoder = self._decoders.setdefault(codec.number, get_decoder(_parameters(codec)))
        for frame in decoder.decode(JitterFrame(data=packet.payload, timestamp=packet.timestamp)):
            samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels)).mean(axis=1) / 32768
            if frame.sample_rate != self._rate:
                self._heard.clear()
                self._rate = frame.sample_rate
            self._heard.append(samples)
            if samples.size and float(np.sqrt(np.mean(samples**2))) >= SOUND:
                self.sounds.append(time.monotonic())

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        pass

    def _handle_disconnect(self) -> None:
        self.connected.clear()

    def _hear_key(self, packet: RtpPacket, codec: Codec) -> None:
        """RFC 4733 §2.3: the timestamp tells one event from the next, its end is sent three times."""
        event, _, duration = struct.unpack_from("!BBH", packet.payload)
        if event >= len(KEYS):
            return
        if packet.timestamp != self._last_event:
            self._last_event = packet.timestamp
            self.digits += KEYS[event]
            self.durations.append(0.0)
        self.durations[-1] = max(self.durations[-1], duration / codec.rate)


class Key:
    """One pressed key as its RFC 4733 packets: 100 ms, then the end three times."""

    LENGTH = 5  # frames

    def __init__(self, key: str, timestamp: int, step: int) -> None:
        self.timestamp = timestamp
        self._event = KEYS.index(key)
        self._step = step
        self._sent = 0

    @property
    def over(self) -> bool:
        return self._sent > self.LENGTH + 4  # a pause behind it, so that the next is another press

    def packets(self) -> list[tuple[int, bytes]]:
        """What is due in this frame: marker bit and payload of each packet."""
        self._sent += 1
        if self._sent < self.LENGTH:
            return [(int(self._sent == 1), self._payload(self._sent, end=False))]
        if self._sent == self.LENGTH:
            return [(0, self._payload(self._sent, end=True))] * 3
        return []

    def _payload(self, frames: int, *, end: bool) -> bytes:
        return struct.pack("!BBH", self._event, (0x80 if end else 0) | 10, frames * self._step)


def _parameters(codec: Codec) -> RTCRtpCodecParameters:
    return RTCRtpCodecParameters(f"audio/{codec.name}", codec.rate, codec.channels, codec.number)


def _sample_rate(codec: Codec) -> int:
    return 16000 if codec.name == "G722" else codec.rate  # RFC 3551 §4.5.2: G722's clock is not its sampling rate


def _encode(encoder: Any, samples: tones.Samples, rate: int, position: int) -> list[bytes]:
    frame = AudioFrame.from_ndarray((samples * 32767).astype(np.int16).reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = rate
    frame.pts = position
    frame.time_base = Fraction(1, rate)
    payloads: list[bytes] = encoder.encode(frame)[0]
    return payloads
