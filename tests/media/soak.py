"""10,000 set-ups and tear-downs of calls in one worker: `make soak-media`. Not a test; it says what is left over.

    this process: far ends ── ng over a unix socket, UDP ──> one media worker, in a process of its own

Three ways to end in turn: a call between two telephones that talk (one of them recorded), a call from a browser whose
ICE finds nobody (both of its components are opened, checked and closed), an offer that is given back unanswered. Every
hundredth call is a browser that gets through and talks. Memory is the worker's own, resident, when a fifth of the calls
are over and when all are: the target is 2 % more at most. Then its descriptors and ports are looked at.
"""

# ruff: noqa: T201 -- it prints
from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import aioice.ice

from gateway.media.embedded import EmbeddedEngine, MediaSettings
from gateway.media.engine import Connected, LegKind
from gateway.session.model import Candidate, Fingerprint, Ice, Setup, Transport
from tests.media.ends import OPUS, PCMA, PCMU, Browser, Events, Opus, Phone, sine, stream
from tests.media.fuzz import resident

TOGETHER = 4
PORTS = (61_000, 64_999)  # above the ephemeral ones, where the far ends are
DRAINED = 40.0  # s, more than a port is kept after its call
GROWTH = 1.02
SOMEBODY = Transport(
    ice=Ice("u" * 8, "p" * 24, (Candidate("1", 1, "udp", 2_130_706_431, "127.0.0.9", 9, "host"),)),
    fingerprint=Fingerprint("sha-256", ":".join(["AB"] * 32), Setup.ACTIVE),
)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def telephones(engine: EmbeddedEngine, call: str, recorded: bool) -> None:
    one, two = Phone(), Phone()
    try:
        for leg, phone in (("caller", one), ("callee1", two)):
            ours = await engine.allocate(call, leg, LegKind.RTP)
            phone.far = (str(ours.address), ours.port)
        await engine.connect(call, "callee1", two.transport, stream(PCMU), peer="caller")
        await engine.connect(call, "caller", one.transport, stream(PCMA), peer="callee1")
        if recorded:
            await engine.record(call, call)
        for _ in range(5):
            one.say(PCMA, b"\x55" * 160, 160)
            two.say(PCMU, b"\x55" * 160, 160)
        await two.hear()
        await one.hear()
        if recorded:
            await engine.recorded(call)
        await engine.release(call)
    finally:
        await one.close()
        await two.close()


async def nobody(engine: EmbeddedEngine, call: str) -> None:
    await engine.allocate(call, "caller", LegKind.WEBRTC, setup=Setup.PASSIVE, rtcp_mux=False)
    await engine.allocate(call, "callee1", LegKind.RTP, sdes=True)
    await engine.connect(call, "caller", SOMEBODY, stream(OPUS, rtcp_mux=False), peer="callee1", setup=Setup.PASSIVE)
    await engine.play(call, "caller", "ringback")
    await asyncio.sleep(0.02)
    await engine.release(call)


async def unanswered(engine: EmbeddedEngine, call: str) -> None:
    for number in (1, 2, 3):
        await engine.allocate(call, f"callee{number}", LegKind.WEBRTC, controlling=True)
    await engine.release(call, "callee2")
    await engine.release(call)


async def browser(engine: EmbeddedEngine, call: str, told: Events) -> None:
    end, phone = Browser(), Phone()
    try:
        remote = await end.open(Setup.ACTIVE)
        ours = await engine.allocate(call, "caller", LegKind.WEBRTC, setup=Setup.PASSIVE)
        theirs = await engine.allocate(call, "callee1", LegKind.RTP)
        phone.far = (str(theirs.address), theirs.port)
        await engine.connect(call, "callee1", phone.transport, stream(PCMA), peer="caller")
        await engine.connect(call, "caller", remote, stream(OPUS), peer="callee1", setup=Setup.PASSIVE)
        await end.connect(ours, Setup.ACTIVE)
        await told.until(lambda: any(isinstance(one, Connected) and one.call == call for one in told.all))
        (coded,) = Opus()(sine(500, 960, rate=48_000))
        end.say(OPUS, coded, 960)
        await phone.hear()
        await engine.release(call)
    finally:
        await end.close()
        await phone.close()


async def soak(calls: int) -> int:
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    with tempfile.TemporaryDirectory() as folder:
        settings = MediaSettings("127.0.0.1", None, PORTS, 1, ("127.0.0.0/8",), recordings=folder)
        engine, told = EmbeddedEngine(settings), Events()
        engine.on_event = told
        await engine.start()
        (pid,) = engine.processes
        before, began, done = descriptors(pid), time.monotonic(), 0
        at_a_fifth, failed = 0, 0

        async def worker(numbers: list[int]) -> None:
            nonlocal done, at_a_fifth, failed
            for number in numbers:
                call = f"call{number}"
                try:
                    if number % 100 == 0:
                        await browser(engine, call, told)
                    elif number % 3 == 0:
                        await telephones(engine, call, number % 6 == 0)
                    elif number % 3 == 1:
                        await nobody(engine, call)
                    else:
                        await unanswered(engine, call)
                except TimeoutError:
                    failed += 1
                    await engine.release(call)
                done += 1
                del told.all[:-100]  # what others wait for is among the last ones
                for file in Path(folder).glob("*.wav") if done % 100 == 0 else ():  # noqa: ASYNC240 -- our own few
                    file.unlink()
                if done == calls // 5:
                    at_a_fifth = resident(pid)
                    print(f"{done:,} calls: {at_a_fifth:,} KB, {descriptors(pid)} descriptors", file=sys.stderr)

        await asyncio.gather(*(worker(list(range(first, calls, TOGETHER))) for first in range(TOGETHER)))
        at_the_end, seconds = resident(pid), time.monotonic() - began
        during = descriptors(pid)
        await asyncio.sleep(DRAINED)
        after, idle = descriptors(pid), resident(pid)
        there = engine.processes == (pid,)
        await engine.stop()
    grown = at_the_end / at_a_fifth
    print(f"{calls:,} calls in {seconds:.0f} s, {failed} of them failed; the same worker: {there}")
    print(
        f"resident: {at_a_fifth:,} KB after {calls // 5:,} calls, {at_the_end:,} KB after all ({grown - 1:+.2%});",
        end="",
    )
    print(f" {idle:,} KB {DRAINED:g} s later")
    print(f"descriptors: {before} before, {during} at the end (ports are kept a while), {after} {DRAINED:g} s later")
    return 0 if grown <= GROWTH and after == before and there and not failed else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    return asyncio.run(soak(parser.parse_args().calls))


if __name__ == "__main__":
    sys.exit(main())
