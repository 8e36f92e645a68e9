"""The far ends of media tests: a telephone of plain UDP sockets, and a WebRTC end of aiortc."""

from __future__ import annotations

import abc
import asyncio
import random
import socket
import struct
from collections.abc import Callable
from typing import Any, TypeVar

import aioice
import av
import numpy as np
from aiortc import RTCCertificate, RTCDtlsTransport, RTCIceGatherer, RTCIceTransport
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters
from aiortc.rtcicetransport import RTCIceCandidate, RTCIceParameters

from gateway.media.engine import MediaEvent
from gateway.media.lane import Lane
from gateway.media.leg import Leg
from gateway.media.rtp import HEADER
from gateway.session.model import Candidate, Codec, Fingerprint, Ice, Setup, Stream, Transport
from tests.patience import PATIENCE

T = TypeVar("T")

OPUS = Codec(111, "opus", 48_000, 2)
PCMA = Codec(8, "PCMA", 8_000)
PCMU = Codec(0, "PCMU", 8_000)
G722 = Codec(9, "G722", 8_000)
EVENT_8 = Codec(101, "telephone-event", 8_000)
EVENT_48 = Codec(110, "telephone-event", 48_000)
SAFETY = PATIENCE  # s: a test that waits this long has failed


def stream(codec: Codec, event: Codec | None = None, **more: Any) -> Stream:
    return Stream(codec, (codec,), event, (event,) if event else (), **more)


def packet(pt: int, seq: int, timestamp: int, ssrc: int, payload: bytes, *, marker: bool = False) -> bytes:
    first = struct.pack("!BBHII", 0x80, pt | marker << 7, seq & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    return first + payload


def sine(frequency: float, samples: int, start: int = 0, rate: int = 8_000) -> np.ndarray:
    return (np.sin(2 * np.pi * frequency * (np.arange(samples) + start) / rate) * 9_000).astype(np.int16)


def loudest(pcm: np.ndarray, rate: int = 8_000) -> float:
    """The frequency with the most energy."""
    spectrum = np.abs(np.fft.rfft(pcm.astype(float) * np.hanning(len(pcm))))
    return float(np.argmax(spectrum) * rate / len(pcm))


def alaw(pcm: np.ndarray) -> bytes:
    return _pcm_codec("pcm_alaw", pcm)


def ulaw(pcm: np.ndarray) -> bytes:
    return _pcm_codec("pcm_mulaw", pcm)


def wide(pcm: np.ndarray) -> bytes:
    """G.722 of samples at 16 kHz."""
    return _pcm_codec("g722", pcm, 16_000)


def _pcm_codec(name: str, pcm: np.ndarray, rate: int = 8_000) -> bytes:
    """By FFmpeg, so that our own is not proved by itself."""
    codec: Any = av.CodecContext.create(name, "w")
    codec.sample_rate, codec.layout, codec.format = rate, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = rate
    return b"".join(bytes(piece) for piece in codec.encode(frame))


class Decoding:
    """RTP payloads to samples, by FFmpeg."""

    def __init__(self, codec: Codec) -> None:
        name = {"opus": "libopus", "PCMA": "pcm_alaw", "PCMU": "pcm_mulaw", "G722": "g722"}[codec.name]
        self.rate = 16_000 if codec.name == "G722" else codec.clock_rate  # RFC 3551 §4.5.2
        reader: Any = av.CodecContext.create(name, "r")
        reader.sample_rate, reader.layout = self.rate, "mono"
        self._codec = reader

    def __call__(self, payload: bytes) -> np.ndarray:
        frames = self._codec.decode(av.Packet(payload))
        return np.concatenate([frame.to_ndarray()[0] for frame in frames] or [np.zeros(0, np.int16)])


class Opus:
    """Tones in Opus at 48 kHz, by FFmpeg's libopus."""

    def __init__(self) -> None:
        self._codec = av.CodecContext.create("libopus", "w")
        self._codec.sample_rate, self._codec.layout, self._codec.format = 48_000, "mono", "s16"
        self._codec.options = {"application": "voip"}

    def __call__(self, pcm: np.ndarray) -> list[bytes]:
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = 48_000
        return [bytes(piece) for piece in self._codec.encode(frame)]


class ListLeg(Leg):
    """A leg whose transport is a list: (PT, sequence, timestamp, payload)."""

    def __init__(self, *arguments: Any) -> None:
        self.got: list[tuple[int, int, int, bytes]] = []
        super().__init__(*arguments)

    def send(self) -> None:
        _, second, seq, timestamp, _ = HEADER.unpack_from(self.packet.data)
        self.got.append((second & 0x7F, seq, timestamp, bytes(self.packet)[12:]))
        self.sent(self.packet.length)

    def send_control(self) -> None: ...

    def read_by(self, lane: Lane | None) -> None: ...


class End(abc.ABC):
    """What both far ends do: keep what they hear, and speak."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.ssrc = random.getrandbits(32)
        self.seq = random.getrandbits(15)
        self.timestamp = random.getrandbits(31)

    @abc.abstractmethod
    def send(self, data: bytes) -> None: ...

    def say(self, codec: Codec, payload: bytes, step: int, *, marker: bool = False) -> None:
        self.send(packet(codec.pt, self.seq, self.timestamp, self.ssrc, payload, marker=marker))
        self.seq += 1
        self.timestamp += step

    async def hear(self) -> bytes:
        return await asyncio.wait_for(self.heard.get(), SAFETY)


class Phone(End):
    """A SIP phone's media: one UDP socket."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind((address, 0))
        self.address: tuple[str, int] = self.sock.getsockname()
        self.far: tuple[str, int] | None = None
        asyncio.get_running_loop().add_reader(self.sock.fileno(), self._readable)

    @property
    def transport(self) -> Transport:
        return Transport(self.address[0], self.address[1])

    def send(self, data: bytes) -> None:
        assert self.far is not None
        self.sock.sendto(data, self.far)

    def _readable(self) -> None:
        self.heard.put_nowait(self.sock.recv(2_048))

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.sock.fileno())
        self.sock.close()


class Browser(End):
    """A WebRTC end: aiortc's ICE and DTLS-SRTP, with packets of our own making.

    `beside` an end for RTP, this one is for its RTCP: another component of the same session, a handshake of its own.
    """

    def __init__(self, beside: Browser | None = None) -> None:
        super().__init__()
        self._component = 1 if beside is None else 2
        self.certificate: RTCCertificate = (
            RTCCertificate.generateCertificate() if beside is None else beside.certificate
        )
        self._gatherer = RTCIceGatherer(iceServers=[])
        self.ice = RTCIceTransport(self._gatherer)
        self.dtls = RTCDtlsTransport(self.ice, [self.certificate])
        if beside is not None:
            self.ice._connection._local_username = beside.ice._connection.local_username
            self.ice._connection._local_password = beside.ice._connection.local_password
        self._sending: set[asyncio.Task[None]] = set()
        self.reports: asyncio.Queue[bytes] = asyncio.Queue()
        self._again: aioice.Connection | None = None
        self._pump: asyncio.Task[None] | None = None

    async def open(self, setup: Setup, *, controlling: bool = True, candidates: bool = True) -> Transport:
        """What this end says of itself. Its ICE role must be known before the first check comes in."""
        self.ice._connection.ice_controlling = controlling
        await self._gatherer.gather()
        own = self._gatherer.getLocalParameters()
        named = tuple(
            Candidate(c.foundation, self._component, "udp", c.priority, c.ip, c.port, c.type)
            for c in self._gatherer.getLocalCandidates()
        )
        print_ = next(f for f in self.dtls.getLocalParameters().fingerprints if f.algorithm == "sha-256")
        ice = Ice(str(own.usernameFragment), str(own.password), named if candidates else ())
        return Transport(ice=ice, fingerprint=Fingerprint("sha-256", print_.value, setup))

    async def connect(self, remote: Transport, setup: Setup) -> None:
        """`setup` is this end's own."""
        assert remote.ice is not None
        assert remote.fingerprint is not None
        for c in remote.ice.candidates:
            if c.component != self._component:
                continue
            await self.ice.addRemoteCandidate(RTCIceCandidate(1, c.foundation, c.ip, c.port, c.priority, "udp", c.type))
        await self.ice.addRemoteCandidate(None)
        await asyncio.wait_for(self.ice.start(RTCIceParameters(remote.ice.ufrag, remote.ice.pwd)), SAFETY)
        self.dtls._set_role("client" if setup is Setup.ACTIVE else "server")
        self.dtls._handle_rtp_data = self._rtp  # type: ignore[method-assign]
        self.dtls._handle_rtcp_data = self._rtcp  # type: ignore[method-assign]
        fingerprints = [RTCDtlsFingerprint(remote.fingerprint.algorithm, remote.fingerprint.value)]
        await asyncio.wait_for(self.dtls.start(RTCDtlsParameters(fingerprints=fingerprints)), SAFETY)

    async def restart(self, *, controlling: bool = True) -> Ice:
        """Another ICE session under the same DTLS association, as after a change of network."""
        again = self._again = aioice.Connection(ice_controlling=controlling)
        await again.gather_candidates()
        return Ice(again.local_username, again.local_password)

    async def follow(self, remote: Transport) -> None:
        """Find a path to what the restart was answered with, and use no other from then on."""
        again = self._again
        assert remote.ice is not None
        assert again is not None
        again.remote_username, again.remote_password = remote.ice.ufrag, remote.ice.pwd
        for c in remote.ice.candidates:
            candidate = aioice.Candidate(c.foundation, c.component, "udp", c.priority, c.ip, c.port, c.type)
            await again.add_remote_candidate(candidate)
        await again.add_remote_candidate(None)
        await asyncio.wait_for(again.connect(), SAFETY)
        self.ice._send = again.send
        self._pump = asyncio.create_task(self._pumped(again))

    async def _pumped(self, again: aioice.Connection) -> None:
        while True:
            self.ice._connection._queue.put_nowait(await again.recvfrom())

    def vanish(self) -> None:
        """The path that was used first is gone: what is sent there is lost, and nothing comes from it."""
        for protocol in self.ice._connection._protocols:
            protocol.datagram_received = lambda data, addr: None  # type: ignore[method-assign]

    async def _rtp(self, data: bytes, arrival_time_ms: int) -> None:
        self.heard.put_nowait(data)

    async def _rtcp(self, data: bytes) -> None:
        self.reports.put_nowait(data)

    def send(self, data: bytes) -> None:
        task = asyncio.ensure_future(self.dtls._send_rtp(data))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self.dtls.stop()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        if self._again is not None:
            await self._again.close()
        await self.ice.stop()


class Events:
    """What an engine told, to be waited for."""

    def __init__(self) -> None:
        self.all: list[MediaEvent] = []
        self._changed = asyncio.Event()

    def __call__(self, event: MediaEvent) -> None:
        self.all.append(event)
        self._changed.set()

    async def until(self, condition: Callable[[], T | None]) -> T:
        """What the condition comes to, once it is true; asked again with every event."""
        async with asyncio.timeout(SAFETY):
            while not (found := condition()):
                self._changed.clear()
                await self._changed.wait()
            return found

    async def of(self, kind: type[MediaEvent], leg: str) -> Any:
        """The first event of this kind on this leg."""
        return await self.until(
            lambda: next((event for event in self.all if isinstance(event, kind) and event.leg == leg), None)
        )
