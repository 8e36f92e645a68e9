"""Mutated datagrams at an open call's ports: `make fuzz-media`. Does the call go on, and where did each of them end?

    whole packets of a call that is set up and talks ── captured ── mutated ──> its ports
      STUN, DTLS, SRTP, SRTCP of a browser                                       from a stranger's socket, from the
      RTP, RTCP of one telephone, SRTP of another                                browser's own and from the telephones'

The worker is a process of its own, with as much bandwidth as it takes, so that nothing is dropped for being too much.
After every burst it is waited for until it has read all, so that the kernel drops nothing either. What the telephones'
own sockets send is theirs by address: a mutated packet that is good RTP is heard. A latched port is connected, and the
kernel keeps strangers from it, which no counter of ours sees.
"""

# ruff: noqa: T201 -- it prints
from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import aioice.ice

from gateway.media.embedded import EmbeddedEngine, MediaSettings
from gateway.media.engine import Connected, LegKind, Lost
from gateway.media.rtcp import Report, write
from gateway.media.rtp import Packet
from gateway.media.sdes import SUITES, master
from gateway.media.sdes import ours as keys
from gateway.media.srtp import Keys, Srtp
from gateway.session.model import Setup
from tests.media.ends import OPUS, PCMA, SAFETY, Browser, Events, Opus, Phone, packet, sine, stream

BURST = 48
BANDWIDTH = 10**12  # bit/s


@dataclass
class Outcome:
    """What a run came to."""

    sent: Counter[str] = field(default_factory=Counter)
    counters: dict[str, Counter[str]] = field(default_factory=dict)
    at: Counter[str] = field(default_factory=Counter)  # sent, by the port's owner
    overflowed: int = 0  # what the kernel dropped, because nobody read it
    talks: bool = False
    lost: list[str] = field(default_factory=list)
    same_worker: bool = False
    memory: tuple[int, int] = (0, 0)  # KB of the worker, before and after
    seconds: float = 0.0


def mutated(seeds: list[bytes], rng: random.Random) -> bytes:
    """One of the packets, changed in one to four ways."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        match rng.randrange(9):
            case 0 if data:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                del data[rng.randrange(len(data) + 1) :]
            case 3:
                data += rng.randbytes(rng.randrange(1, 64))
            case 4 if data:
                at = rng.randrange(len(data))
                del data[at : at + rng.randrange(1, 9)]
            case 5:
                at = rng.randrange(len(data) + 1)
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 6:
                other = rng.choice(seeds)
                cut = rng.randrange(min(len(data), len(other)) + 1)
                data[cut:] = other[cut:]
            case 7 if len(data) >= 4:
                at = rng.randrange(len(data) - 3)
                data[at : at + 4] = rng.choice((bytes(4), b"\xff" * 4, rng.randbytes(4)))
            case _ if data:
                data[0] = rng.randrange(256)
    return bytes(data[:1_500])


class Call:
    """Two browsers' worth of ports: a browser with a telephone, and a telephone with keys beside them."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self.engine = engine
        self.browser, self.phone, self.keyed, self.stranger = Browser(), Phone(), Phone(), Phone("127.0.0.2")
        self.captured: list[bytes] = []  # what the browser sent
        self._encode = Opus()

    async def open(self) -> None:
        engine, browser = self.engine, self.browser
        remote = await browser.open(Setup.ACTIVE)
        self._capture()
        ours = await engine.allocate("call", "caller", LegKind.WEBRTC, setup=Setup.PASSIVE)
        theirs = await engine.allocate("call", "callee1", LegKind.RTP, controlling=True)
        secret = await engine.allocate("beside", "caller", LegKind.RTP, sdes=True)
        (its,) = (one for one in secret.crypto if one.suite == next(iter(SUITES)))
        mine = next(replace(one, tag=its.tag) for one in keys(os.urandom) if one.suite == its.suite)
        self.box = Packet()
        self.srtp = Srtp(Keys(SUITES[its.suite], master(mine), master(its)), self.box)
        assert ours.ice is not None
        self.ports = {"browser": ours.ice.candidates[0].port, "telephone": theirs.port, "keyed telephone": secret.port}
        self.phone.far, self.keyed.far = ("127.0.0.1", theirs.port), ("127.0.0.1", secret.port)
        await engine.connect("call", "callee1", self.phone.transport, stream(PCMA), peer="caller")
        await engine.connect("call", "caller", remote, stream(OPUS), peer="callee1", setup=Setup.PASSIVE)
        await engine.connect("beside", "caller", replace(self.keyed.transport, crypto=(mine,)), stream(PCMA))
        await browser.connect(ours, Setup.ACTIVE)
        await events(engine).of(Connected, "caller")

    def _capture(self) -> None:
        for protocol in self.browser.ice._connection._protocols:
            transport: Any = protocol.transport
            send = self.send_raw = transport.sendto

            def kept(data: bytes, address: Any = None, send: Callable[..., None] = send) -> None:
                if len(self.captured) < 400:
                    self.captured.append(bytes(data))
                send(data, address)

            transport.sendto = kept

    async def talk(self) -> bool:
        """Whether both ends hear each other now."""
        mark = random.randbytes(160)
        tone = sine(500, 960, rate=48_000)
        try:
            async with asyncio.timeout(SAFETY * 2):
                heard: set[str] = set()
                while len(heard) < 2:
                    self.phone.say(PCMA, mark, 160)
                    for one in self._encode(tone):
                        self.browser.say(OPUS, one, 960)
                    await asyncio.sleep(0.02)
                    for name, end, pt in (("phone", self.phone, 8), ("browser", self.browser, 111)):
                        while not end.heard.empty():
                            if end.heard.get_nowait()[1] & 0x7F == pt:
                                heard.add(name)
        except TimeoutError:
            return False
        return True

    def seeds(self) -> dict[str, list[bytes]]:
        """Whole packets, by what they are."""
        found: dict[str, list[bytes]] = {}
        for data in self.captured:
            kind = "STUN" if data[0] < 4 else "DTLS" if data[0] < 64 else "SRTP"
            found.setdefault(kind, []).append(data)
        report = write(Report(7, None, ()), "name")
        self.box.fill(packet(8, 1, 160, 7, b"s" * 160))
        assert self.srtp.protect()
        keyed = bytes(self.box)
        self.keyed.send(keyed)
        self.box.fill(report)
        assert self.srtp.protect_rtcp()
        found["RTP"] = [packet(8, seq, seq * 160, 7, random.randbytes(160)) for seq in range(4)]
        found["RTCP"] = [report]
        found["SRTCP"] = [bytes(self.box)]
        found["SRTP"] += [keyed]
        return found

    async def close(self) -> None:
        await self.browser.close()
        for end in (self.phone, self.keyed, self.stranger):
            await end.close()


def events(engine: EmbeddedEngine) -> Events:
    assert isinstance(engine.on_event, Events)
    return engine.on_event


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def queued(ports: set[int]) -> tuple[int, int]:
    """Octets that wait at these ports to be read, and datagrams that the kernel dropped there (proc_net_udp(5))."""
    waiting = dropped = 0
    with open("/proc/net/udp") as table:
        for line in table:
            columns = line.split()
            address, _, port = columns[1].partition(":")
            if port and address == "0100007F" and int(port, 16) in ports:
                waiting += int(columns[4].partition(":")[2], 16)
                dropped += int(columns[-1])
    return waiting, dropped


async def run(count: int, seed: int, told: Callable[[int], None] = lambda sent: None) -> Outcome:
    rng, outcome = random.Random(seed), Outcome()
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    low = random.randrange(20_000, 32_000, 200)
    engine = EmbeddedEngine(
        MediaSettings("127.0.0.1", None, (low, low + 199), 1, ("127.0.0.0/8",), bandwidth=BANDWIDTH)
    )
    engine.on_event = Events()
    await engine.start()
    call = Call(engine)
    try:
        await call.open()
        assert await call.talk()
        seeds = call.seeds()
        (pid,) = engine.processes
        begun, before = time.monotonic(), resident(pid)
        kinds = list(seeds)
        ports = {port + beside for port in call.ports.values() for beside in (0, 1)}
        senders: dict[str, Callable[[bytes, tuple[str, int]], object]] = {
            "a stranger": call.stranger.sock.sendto,
            "the browser": call.send_raw,
            "the telephone": call.phone.sock.sendto,
            "the keyed telephone": call.keyed.sock.sendto,
        }
        own = {"browser": "the browser", "telephone": "the telephone", "keyed telephone": "the keyed telephone"}
        while (sent := outcome.sent.total()) < count:
            for _ in range(min(BURST, count - sent)):
                kind = rng.choice(kinds)
                port = rng.choice(list(call.ports))
                who = rng.choice(("a stranger", own[port], own[port]))
                beside = 1 if kind in ("RTCP", "SRTCP") and port != "browser" and rng.random() < 0.7 else 0
                data = mutated(seeds[kind], rng)
                try:
                    senders[who](data, ("127.0.0.1", call.ports[port] + beside))
                except (BlockingIOError, ConnectionError):
                    continue
                outcome.sent[f"{kind} from {who}"] += 1
                outcome.at[port] += 1
            while queued(ports)[0]:
                await engine.statistics("call")
            for end in (call.phone, call.keyed, call.browser, call.stranger):
                while not end.heard.empty():
                    end.heard.get_nowait()
            told(outcome.sent.total())
        outcome.seconds = time.monotonic() - begun
        outcome.overflowed = queued(ports)[1]
        outcome.memory = (before, resident(pid))
        outcome.talks = await call.talk()
        outcome.same_worker = engine.processes == (pid,)
        outcome.lost = [f"{one.leg}: {one.text}" for one in events(engine).all if isinstance(one, Lost)]
        for name, leg in (("call", "caller"), ("call", "callee1"), ("beside", "caller")):
            counted = (await engine.statistics(name))[leg]
            there = {"caller": "browser", "callee1": "telephone"}[leg] if name == "call" else "keyed telephone"
            outcome.counters[there] = Counter(dict(counted.dropped)) + Counter(received=counted.received_packets)
    finally:
        await call.close()
        await engine.stop()
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()

    def told(sent: int) -> None:
        if sent % (BURST * 1_000) == 0:
            print(f"{sent:,} sent", file=sys.stderr)

    outcome = asyncio.run(run(chosen.count, chosen.seed, told))
    print(f"{outcome.sent.total():,} mutated datagrams in {outcome.seconds:.0f} s (seed {chosen.seed})")
    for kind, number in sorted(outcome.sent.items()):
        print(f"  {number:9,}  {kind}")
    for where, counted in outcome.counters.items():
        told_of = ", ".join(f"{why} {number:,}" for why, number in counted.most_common())
        print(f"{outcome.at[where]:,} at the ports of the {where}: {told_of}")
    print(f"dropped by the kernel: {outcome.overflowed}")
    print(f"memory of the worker: {outcome.memory[0]:,} KB before, {outcome.memory[1]:,} KB after")
    print(f"both ends hear each other: {outcome.talks}; the same worker: {outcome.same_worker}; lost: {outcome.lost}")
    return 0 if outcome.talks and outcome.same_worker and not outcome.lost else 1


if __name__ == "__main__":
    sys.exit(main())
