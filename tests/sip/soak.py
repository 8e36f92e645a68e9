"""50,000 calls in one pair of processes: `make soak`. Not a test; it says whether memory grows, and what is left over.

    this process: callers, made of the same stack ──UDP── the SIP room, in a process of its own

Every call has one of six ends: hung up by the caller or by the callee, refused, cancelled while it rings, held and
taken back before it ends, or asked something (INFO) before that. Timers are a tenth of the RFC's, so that what a
transaction remembers for half a minute is forgotten within the run. Memory is the room's own, resident, when a fifth
of the calls are over and when all are: the target is 2 % more at most. Then its descriptors and tables are looked at.
"""

# ruff: noqa: T201 -- it prints
from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from gateway.call.causes import Cause
from gateway.call.events import HungUp, Leg, Reoffered, Report
from gateway.call.leg import Admitted, LegControl
from gateway.errors import SipError
from gateway.sip.application import Application, Contact, Dialog
from gateway.sip.message import Request, Response
from gateway.sip.telephony import AFTERMATH, IncomingCall
from gateway.sip.transaction import Timers
from tests.sip.speed import ROOT, SESSION, US, House

ENDS = ("caller", "callee", "refused", "cancelled", "held", "asked")
TIMERS = Timers(t1=0.05, t2=0.4, t4=0.5)
PORT = 15_075
TOGETHER = 16  # few enough that nobody is told to come back later
RATE = 200  # calls a second, at most: at both looks as much is remembered for a while
HOLD = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=sendonly\r\n"
)
OFFER = HOLD.replace("a=sendonly\r\n", "").replace(" 2 IN", " 1 IN")


class Soaked(House):
    """The room: what it does with a call is the user part of its address."""

    def on_call(self, incoming: IncomingCall, leg: LegControl) -> Admitted:
        call, end, loop = self._begins("inbound"), incoming.uri.user, self.app.loop

        def begin() -> None:
            leg.alert()
            if end == "refused":
                leg.hang_up(Cause.BUSY)
                self._ended(call, "inbound", Cause.BUSY)
            elif end != "cancelled":
                leg.answer(SESSION)
            if end == "callee":
                loop.call_later(0.02, hang_up)

        def hang_up() -> None:
            leg.hang_up(Cause.NORMAL)
            self._ended(call, "inbound", Cause.NORMAL)

        def told(report: Report) -> None:
            if isinstance(report, Reoffered) and report.leg is Leg.CALLER:
                loop.call_soon(leg.reanswer, SESSION)
            elif isinstance(report, HungUp) and call in self.began:
                self._ended(call, "inbound", report.cause)

        loop.call_soon(begin)
        return Admitted(call, told)


def left(house: House) -> dict[str, int]:
    transactions, dialogs = house.app.agent.busy
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "resident": pages * resource.getpagesize(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "transactions": transactions,
        "dialogs": dialogs,
        "usages": len(house.app.dialogs),
        "calls": len(house.began),
        "legs": len(house.telephony._legs),
        "over": house.over,
    }


async def room(folder: Path) -> None:
    stop, asked = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, asked.set)
    async with Soaked(folder, TIMERS, PORT).open() as house:
        print("ready", flush=True)
        ending = asyncio.create_task(stop.wait())
        while not ending.done():
            asking = asyncio.create_task(asked.wait())
            await asyncio.wait({ending, asking}, return_when=asyncio.FIRST_COMPLETED)
            asking.cancel()
            if asked.is_set():
                asked.clear()
                print(json.dumps(left(house)), flush=True)


class Callers:
    """Those who call; `seen` counts how their calls ended."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self.seen: Counter[str] = Counter()

    async def call(self, end: str) -> None:
        peer = await self._app.connect((US, PORT))
        romeo, target = Contact.from_header("sip:romeo@127.0.0.1"), Contact.from_header(f"sip:{end}@{US}:{PORT}")
        dialog = await peer.invite(from_details=romeo, to_details=target, payload=OFFER)
        async with asyncio.timeout(30):
            async for message in dialog:
                await self._next(dialog, message, end)
        self.seen[f"{end} {dialog.status_code}"] += 1

    async def _next(self, dialog: Dialog, message: Request | Response | object, end: str) -> None:
        if isinstance(message, Request):
            return  # the callee's BYE, which is answered already
        if not isinstance(message, Response):
            return
        if message.status == 180 and end == "cancelled":
            await dialog.close()
        elif message.status == 200 and message.method == "INVITE":
            if end == "held":
                for payload in (HOLD, OFFER):
                    response = await dialog.request("INVITE", payload=payload)
                    self.seen[f"re-INVITE {response.status}"] += 1
            if end in ("caller", "held"):
                await dialog.close()
            elif end == "asked":
                await dialog.request("INFO")
                await dialog.close()


async def soak(total: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.sip.soak", "--room", folder, stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        assert child.stdout is not None
        await child.stdout.readline()
        app = Application(timers=TIMERS)
        await app.run(local_addr=(US, 0))
        callers, number, began = Callers(app), 0, time.monotonic()
        next_at = began

        async def look() -> dict[str, int]:
            # Every timer of the RFC has run, and the trace has forgotten the ended calls.
            await asyncio.sleep((64 + AFTERMATH) * TIMERS.t1 + 2)
            child.send_signal(signal.SIGUSR1)
            assert child.stdout is not None
            found: dict[str, int] = json.loads(await child.stdout.readline())
            return found

        async def one_after_the_other(until: int) -> None:
            nonlocal number, next_at
            while number < until:
                number += 1
                end = ENDS[number % len(ENDS)]
                if number % 5000 == 0:
                    print(f"{number} calls after {time.monotonic() - began:.0f} s", file=sys.stderr)
                now = time.monotonic()
                next_at = max(now, next_at + 1 / RATE)
                await asyncio.sleep(next_at - now)
                try:
                    await callers.call(end)
                except TimeoutError:
                    callers.seen["stuck"] += 1
                except SipError as fault:
                    callers.seen[f"{end} broken off: {fault}"] += 1

        async def up_to(until: int) -> dict[str, int]:
            await asyncio.gather(*(one_after_the_other(until) for _ in range(TOGETHER)))
            return await look()

        before = await look()
        fifth = await up_to(total // 5)
        end = await up_to(total)
        await app.close()
        child.terminate()
        await child.wait()
    grown = end["resident"] / fifth["resident"] - 1
    print(
        f"{number} calls in {time.monotonic() - began:.0f} s; " + ", ".join(f"{n} {k}" for k, n in callers.seen.items())
    )
    early, late = (found["resident"] / 1e6 for found in (fifth, end))
    print(f"memory at 20 %: {early:.1f} MB, at the end: {late:.1f} MB: {grown:+.1%} (target: at most 2 %)")
    print(f"descriptors: {before['descriptors']} before, {end['descriptors']} at the end")
    tables = ("transactions", "dialogs", "usages", "calls", "legs")
    print("left over: " + ", ".join(f"{end[name]} {name}" for name in tables))
    empty = not any(end[name] for name in tables) and end["descriptors"] <= before["descriptors"]
    broken = sum(count for how, count in callers.seen.items() if how == "stuck" or "broken off" in how)
    return 0 if grown <= 0.02 and empty and not broken else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--room", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.room is not None:
        asyncio.run(room(given.room))
    else:
        with contextlib.suppress(KeyboardInterrupt):
            sys.exit(asyncio.run(soak(given.calls)))
