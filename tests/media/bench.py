"""What a packet costs: `make bench-media`. Not a test; nothing here passes or fails by a clock.

Calls of an ICE and DTLS-SRTP client and a plain RTP telephone, one packet per 20 ms each way, through engines that
speak ng: the embedded worker, rtpengine in user space (`--table=-1`), and aiortc where something is transcoded. Each
engine is a process of its own; its CPU is what the kernel counted for it while packets flowed, rounds of the engines
interleaved, medians of the rounds. All engines rewrite, answer RTCP and count; Opus complexity stays 5. The machine's
noise is in all columns alike: read the ratios.

    µs/packet      CPU of the engine by packets that came out of it
    calls/core     computed from that: 100 packets per second and call
    delay          one way, from the client's send to the telephone's receive and back, load generator included; of
                   transcoded calls between the begin of a tone that one end sends and the other hears, in two of the
                   calls while all talk: the encoders' look-ahead is part of it
    idle MB        the engine's process before the first call
    growth         of µs/packet, from the smallest number of calls to the largest
"""

# ruff: noqa: T201 -- a bench prints
from __future__ import annotations

import argparse
import array
import asyncio
import contextlib
import gc
import json
import math
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import MediaError
from gateway.media import g711, opus
from gateway.media.dtls import Certificate
from gateway.media.leg import Patience
from gateway.media.ng import NgClient
from gateway.media.ports import Bind, Ports
from gateway.media.rtp import Packet
from gateway.media.webrtcleg import WebRtcLeg
from gateway.reach import Reach
from gateway.session import sdp
from gateway.session.audio import remote_transport
from gateway.session.model import Codec, Fingerprint, Media, Profile, Session, Setup, Stream, Transport

LOOPBACK = "127.0.0.1"
OPUS = Codec(111, "opus", 48_000, 2, (("useinbandfec", "1"),))
PCMA = Codec(8, "PCMA", 8_000)
WARM = 1.5  # s before the meter runs
BATCH = 8  # calls that are set up at a time
_STAMP = struct.Struct("!d")
RATE = 8_000
_SECOND = 50  # packets
_LOUD = 2_500  # of 32,768: a tone began
_LOW = 31_000  # ports of the load generator; the engines' are above


@dataclass(slots=True)
class Figures:
    """One round of one engine."""

    cost: float  # µs of CPU per packet that came out
    memory: float  # KB per call
    setup: float  # ms of CPU per call
    delay: float  # ms, median
    idle: float  # MB
    arrived: float  # share of what was sent


class Pulse:
    """A tone of one frame each second in silence, and how long it is on its way."""

    def __init__(self, decode: Callable[[bytes], bytes]) -> None:
        self.delays: list[float] = []
        self._decode = decode
        self._sent: float | None = None

    def said(self, number: int) -> None:
        if number % _SECOND == 0:
            self._sent = time.perf_counter()

    def heard(self, payload: bytes) -> None:
        now, pcm = time.perf_counter(), array.array("h", self._decode(payload))
        onset = next((place for place, sample in enumerate(pcm) if abs(sample) > _LOUD), None)
        if onset is not None and self._sent is not None:
            self.delays.append(now + onset / RATE - self._sent)
            self._sent = None


class Client(WebRtcLeg):
    """An ICE and DTLS-SRTP end that counts what it hears."""

    count = 0
    delays: list[float] | None = None
    pulse: Pulse | None = None  # what is heard here

    def heard(self, now: float) -> None:
        self.count += 1
        if self.pulse is not None:
            self.pulse.heard(bytes(self.packet)[12:])
        elif self.delays is not None:
            sent = _STAMP.unpack_from(self.packet.data, self.packet.length - _STAMP.size)[0]
            self.delays.append(time.perf_counter() - sent)


@dataclass(slots=True)
class Call:
    id: str
    client: Client
    phone: socket.socket
    near: Codec
    far: Codec
    count: int = 0
    numbers: list[int] = field(default_factory=lambda: [random.getrandbits(15), random.getrandbits(15)])
    delays: list[float] | None = None
    pulse: Pulse | None = None

    def readable(self) -> None:
        with contextlib.suppress(OSError):
            data = self.phone.recv(2_048)
            self.count += 1
            if self.pulse is not None:
                self.pulse.heard(data[12:])
            elif self.delays is not None:
                self.delays.append(time.perf_counter() - _STAMP.unpack_from(data, len(data) - _STAMP.size)[0])


class Generator:
    """Sets calls up through an engine's ng port, and has them talk."""

    def __init__(self, port: int, mode: str) -> None:
        self.near, self.far = (OPUS, PCMA) if mode == "transcode" else (PCMA, PCMA)
        self.calls: list[Call] = []
        self.packet, self.pool = Packet(), Ports(_LOW, _LOW + 1_999)
        self.certificate = Certificate()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((LOOPBACK, port))
        self.ng = NgClient(sock)
        self.stamped = mode == "relay"
        self._voice, self._tone = _speech(), _tone()

    async def up(self, count: int) -> None:
        for begin in range(0, count, BATCH):
            self.calls += await asyncio.gather(*map(self._call, range(begin, min(begin + BATCH, count))))

    async def _call(self, number: int) -> Call:
        client = Client(
            "bench",
            str(number),
            self.packet,
            lambda event: None,
            ports=self.pool,
            binds=(Bind(LOOPBACK, LOOPBACK),),
            reach=Reach(("127.0.0.0/8",)),
            patience=Patience(),
            certificate=self.certificate,
            controlling=True,
            setup=Setup.ACTPASS,
        )
        phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        phone.bind((LOOPBACK, 0))
        phone.setblocking(False)
        name = f"{os.getpid()}-{number}-{random.getrandbits(32):x}"
        offer = Session((Media("0", "audio", (self.near,), client.transport, Profile.DTLS),))
        common: dict[str, Any] = {"call-id": name, "from-tag": "a", "flags": ["trust-address"]}
        codecs = {"codec": {"mask": ["opus"], "transcode": ["PCMA"]}} if self.near is not self.far else {}
        plain = {"transport-protocol": "RTP/AVP", "ICE": "remove", "rtcp-mux": ["demux"]}
        offered = await self.ng.request("offer", {**common, **plain, **codecs, "sdp": sdp.render(offer)}, patience=20)
        towards_phone = sdp.parse(str(offered["sdp"])).media[0].transport
        here = Transport(LOOPBACK, phone.getsockname()[1])
        answer = Session((Media("0", "audio", (self.far,), here),))
        secure = {"transport-protocol": "UDP/TLS/RTP/SAVPF", "ICE": "force", "rtcp-mux": ["require"], "SDES": ["off"]}
        answered = await self.ng.request(
            "answer", {**common, **secure, "to-tag": "b", "sdp": sdp.render(answer)}, patience=20
        )
        remote = remote_transport(sdp.parse(str(answered["sdp"])))
        theirs = remote.fingerprint or Fingerprint("sha-256", "", Setup.PASSIVE)
        ours = Setup.PASSIVE if theirs.setup is Setup.ACTIVE else Setup.ACTIVE
        await client.connect(remote, Stream(self.near, (self.near,)), ours)
        async with asyncio.timeout(20):
            await client.connected.wait()
        phone.connect((LOOPBACK, towards_phone.port))
        call = Call(name, client, phone, self.near, self.far)
        asyncio.get_running_loop().add_reader(phone.fileno(), call.readable)
        return call

    async def talk(self, seconds: float) -> int:
        """Every call a packet each way per 20 ms, spread over them; how many were sent."""
        sent, slots = 0, min(20, len(self.calls))
        begin = time.perf_counter()
        for beat in range(int(seconds * 50 * slots)):
            wait = begin + beat * 0.02 / slots - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            elif beat % 8 == 0:
                await asyncio.sleep(0)
            for call in self.calls[beat % slots :: slots]:
                self._speak(call)
                sent += 2
        return sent

    def _speak(self, call: Call) -> None:
        call.numbers[0] += 1
        call.numbers[1] += 1
        for number, codec, pieces in ((0, call.near, self._voice[0]), (1, call.far, self._voice[1])):
            at, pulse = call.numbers[number], (call.pulse, call.client.pulse)[number]
            if pulse is not None:
                pulse.said(at)
            voice = pieces if pulse is None else self._tone[number]
            body = voice[at % len(voice)] if not self.stamped else bytes(152) + _STAMP.pack(time.perf_counter())
            step = codec.clock_rate // 50
            self.packet.write(codec.pt, at & 0xFFFF, at * step & 0xFFFFFFFF, 7 + number, body)
            if number == 0:
                call.client.send()
            else:
                with contextlib.suppress(OSError):
                    call.phone.send(self.packet.view[: self.packet.length])

    def listen(self) -> None:
        """From now on delays are measured."""
        if self.stamped:
            for call in self.calls:
                call.delays = call.client.delays = []
        else:
            for call in self.calls[:2]:
                call.pulse, call.client.pulse = Pulse(g711.decode_alaw), Pulse(opus.Decoder().decode)

    @property
    def delays(self) -> list[float]:
        found = [delay for call in self.calls for delay in call.delays or ()]
        return found + [
            delay for call in self.calls for pulse in (call.pulse, call.client.pulse) if pulse for delay in pulse.delays
        ]

    async def quiet(self) -> None:
        """Until nothing arrives any more: an engine that fell behind has to do its work all the same.

        Where it transcodes it may fill the silence with comfort noise, without end.
        """
        before = -1
        while self.heard > before:
            before = self.heard if self.stamped else sys.maxsize
            await asyncio.sleep(0.1)

    @property
    def heard(self) -> int:
        return sum(call.count + call.client.count for call in self.calls)

    async def down(self) -> None:
        for call in self.calls:
            with contextlib.suppress(MediaError):
                await self.ng.request("delete", {"call-id": call.id, "from-tag": "a"})
            asyncio.get_running_loop().remove_reader(call.phone.fileno())
            call.phone.close()
            await call.client.close()
        self.ng.close()
        self.pool.close()


def _tone() -> tuple[list[bytes], list[bytes]]:
    """A second of silence that begins with 20 ms of 1 kHz, in Opus and in A-law."""
    tone = struct.pack("160h", *(int(12_000 * math.sin(place * math.pi / 4)) for place in range(160)))
    frames = [tone, *(bytes(320) for _ in range(_SECOND - 1))]
    encoder = opus.Encoder(complexity=9, bitrate=32_000)
    return [encoder.encode(frame) for frame in frames * 2][_SECOND:], [g711.encode_alaw(frame) for frame in frames]


def _speech() -> tuple[list[bytes], list[bytes]]:
    """A second of something like speech, in Opus and in A-law: noise that swells and fades, filtered a little."""
    chance, pcm, low = random.Random(1), [], 0.0
    for number in range(8_000):
        low += 0.2 * (chance.gauss(0, 1) - low)
        pcm.append(int(9_000 * low * abs((number % 2_000) / 1_000 - 1)))
    samples = struct.pack("8000h", *(max(-32_768, min(32_767, sample)) for sample in pcm))
    frames = [samples[at : at + 320] for at in range(0, 16_000, 320)]
    encoder = opus.Encoder(complexity=9, bitrate=32_000)
    return [encoder.encode(frame) for frame in frames], [g711.encode_alaw(frame) for frame in frames]


# ------------------------------------------------------------------------------------------------------------ engines


def command(engine: str, port: int, low: int) -> list[str]:
    if engine == "embedded":
        settings = {"address": LOOPBACK, "low": low, "high": low + 3_999, "allow": ["127.0.0.0/8"], "adapts": 0}
        listen = ["--settings", json.dumps(settings), "--ng", f"udp:{LOOPBACK}:{port}"]
        return [sys.executable, "-m", "gateway.media.process", *listen]
    if engine == "aiortc":
        return [sys.executable, "-m", "tests.media.aiortc_engine", str(port)]
    program = shutil.which("rtpengine") or "/usr/sbin/rtpengine"
    ports = [f"--port-min={low}", f"--port-max={low + 3_999}"]
    where = [f"--interface={LOOPBACK}", f"--listen-ng={LOOPBACK}:{port}", "--config-file=none", "--table=-1"]
    more = ["--foreground", "--log-stderr", "--log-level=2", "--num-threads=2", "--delete-delay=0"]
    return [program, *where, *ports, *more]


@contextlib.contextmanager
def running(engine: str, low: int) -> Iterator[tuple[int, int]]:
    """The engine's process id and ng port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(command(engine, port, low), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(10)


def cpu(pid: int) -> float:
    """Seconds that the kernel counted for all threads of a process, in nanosecond steps."""
    spent = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/schedstat") as file:
            spent += int(file.read().split()[0])
    return spent / 1e9


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


async def measure(engine: str, mode: str, calls: int, seconds: float, low: int) -> Figures:
    with running(engine, low) as (pid, port):
        generator = Generator(port, mode)
        await generator.ng.request("ping", patience=20)
        await asyncio.sleep(0.3)
        idle, begun = resident(pid), cpu(pid)
        await generator.up(calls)
        setup = (cpu(pid) - begun) / calls * 1e3
        await generator.talk(WARM)
        generator.listen()
        before, spent = generator.heard, cpu(pid)
        sent = await generator.talk(seconds)
        await generator.quiet()
        spent, heard = cpu(pid) - spent, generator.heard - before
        delays = generator.delays
        memory = (resident(pid) - idle) / calls
        await generator.down()
    middle = statistics.median(delays) * 1e3 if delays else float("nan")
    return Figures(spent / max(heard, 1) * 1e6, memory, setup, middle, idle / 1024, heard / sent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", default="embedded,rtpengine,aiortc")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--relay", type=int, nargs="*", default=[10, 200], help="numbers of calls")
    parser.add_argument("--transcode", type=int, nargs="*", default=[20], help="numbers of calls")
    chosen = parser.parse_args()
    engines = chosen.engines.split(",")
    cases = [("relay", calls) for calls in chosen.relay] + [("transcode", calls) for calls in chosen.transcode]
    titles = (
        ("µs/packet", 10),
        ("calls/core", 11),
        ("KB/call", 9),
        ("set-up ms", 10),
        ("delay ms", 9),
        ("idle MB", 9),
        ("arrived", 9),
    )
    print(f"{'case':<16}{'engine':<12}" + "".join(f"{title:>{width}}" for title, width in titles))
    low = 34_000
    costs: dict[tuple[str, str], list[float]] = {}
    for mode, calls in cases:
        rounds: dict[str, list[Figures]] = {engine: [] for engine in engines}
        able = [engine for engine in engines if engine != "aiortc" or mode == "transcode"]  # aiortc relays nothing
        for _ in range(chosen.rounds):
            for engine in able:
                gc.collect()
                rounds[engine].append(asyncio.run(measure(engine, mode, calls, chosen.seconds, low)))
                low = 34_000 + (low - 30_000) % 20_000
        for engine in able:
            got = rounds[engine]
            costs.setdefault((mode, engine), []).append(statistics.median(one.cost for one in got))
            middle = {name: statistics.median(getattr(one, name) for one in got) for name in Figures.__slots__}
            print(
                f"{f'{mode} {calls}':<16}{engine:<12}{middle['cost']:>10.1f}{1e6 / middle['cost'] / 100:>11.0f}"
                f"{middle['memory']:>9.0f}{middle['setup']:>10.2f}{middle['delay']:>9.2f}{middle['idle']:>9.0f}{middle['arrived']:>9.1%}",
                flush=True,
            )
    for mode, numbers in (("relay", chosen.relay), ("transcode", chosen.transcode)):
        if len(numbers) > 1:
            grown = ", ".join(
                f"{engine} x{spent[-1] / spent[0]:.2f}" for (kind, engine), spent in costs.items() if kind == mode
            )
            print(f"growth, {mode} {numbers[0]} to {numbers[-1]}: {grown}")


if __name__ == "__main__":
    main()
