"""What SIP costs, beside Sippy: `make bench-sip`. Not a test; nothing here passes or fails by a clock.

    SIPp ──UDP, loopback── this gateway's SIP room: Telephony, with trace, log, metrics and call records as by default
         └──────────────── Sippy, from the package registry, in a virtual environment that is thrown away

Both do INVITE-180-200-ACK-BYE with SIPp, in turns, each turn in a new process. Calls come in and are placed 40 at a
time, as fast as that goes: one core is never idle, and never has more to do than it can. Calls per CPU second are of
the same turns: what one core would do if nobody else used the machine.
"""

# ruff: noqa: T201 -- a bench prints
from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from gateway.addresses import SipUri
from gateway.call.causes import Cause
from gateway.call.events import Answered, HungUp, Report
from gateway.call.leg import Admitted, LegControl
from gateway.ops import log
from gateway.ops.metrics import Metrics
from gateway.ops.serve import spare_collections
from gateway.ops.trace import Recorder
from gateway.session import sdp
from gateway.sip.application import Application
from gateway.sip.parser import parse
from gateway.sip.telephony import IncomingCall, OutgoingCall, SipSettings, Telephony
from gateway.sip.transaction import Timers
from gateway.storage.records import CallRecord, Records
from tests.interop.peers.process import is_bound
from tests.scenarios.bench import SCENARIO

ROOT = Path(__file__).resolve().parents[2]
US, PHONES = "127.0.0.1", "127.0.0.3"
OURS, THEIRS = 15_070, 15_080  # ports; loopback's own addresses leave them free
TOGETHER = 40
FIRST, RATE = 200, 25  # calls that are held before others are counted; and how many a second begin
SIPPY = "sippy==2.5.0"

INVITE = """INVITE sip:+12025550123@gw.example;user=phone SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-524287-1---9f1c2a7be4d3;rport
Via: SIP/2.0/UDP 198.51.100.4:5060;branch=z9hG4bKdb8c.b1e3;received=198.51.100.4;rport=5060
Record-Route: <sip:192.0.2.10;lr;ftag=8a7f31>
Max-Forwards: 69
From: "Romeo Montague" <sip:+12025550100@carrier.example;user=phone>;tag=8a7f31
To: <sip:+12025550123@gw.example;user=phone>
Call-ID: 6b1f3d2e9a7c4f50b8d1@198.51.100.4
CSeq: 102 INVITE
Contact: <sip:+12025550100@198.51.100.4:5060;transport=udp>
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER
Supported: replaces, timer, 100rel
Session-Expires: 1800
Min-SE: 90
P-Asserted-Identity: "Romeo Montague" <sip:+12025550100@carrier.example>
User-Agent: SBC 7.4.1
Content-Type: application/sdp
Content-Length: 236

v=0
o=- 3916250331 1 IN IP4 198.51.100.4
s=-
c=IN IP4 198.51.100.4
t=0 0
m=audio 17482 RTP/AVP 8 0 18 101
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:18 G729/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
"""
SESSION = sdp.parse(
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)


# Our process ----------------------------------------------------------------------------------------------------------


class House:
    """The SIP room, and for a switchboard the least that answers and dials, with all that is noted of a call."""

    def __init__(self, folder: Path, timers: Timers | None = None, port: int = OURS) -> None:
        log.configure(stream=(folder / "log").open("w"))
        self.metrics, self.records = Metrics(), Records(f"sqlite:///{folder / 'calls.sqlite'}")
        self.app = Application(timers=timers)
        settings = SipSettings("gw.example", (f"udp:{US}:{port}",))
        self.recorder = Recorder()
        self.telephony = Telephony(self.app, settings, self.on_call, self.recorder)
        self.began: dict[str, datetime] = {}
        self.over = self.failed = 0
        self.left = 0  # calls still to be placed
        self.done = asyncio.Event()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[House]:
        await self.records.start()
        await self.telephony.start()
        spare_collections()
        yield self
        await self.telephony.stop()
        await self.records.stop()

    def on_call(self, incoming: IncomingCall, leg: LegControl) -> Admitted:
        call = self._begins("inbound")

        def answer() -> None:
            leg.alert()
            leg.answer(SESSION)

        def told(report: Report) -> None:
            if isinstance(report, HungUp):
                self._ended(call, "inbound", report.cause)

        self.app.loop.call_soon(answer)
        return Admitted(call, told)

    def dial(self) -> None:
        if self.left <= 0:
            return
        self.left -= 1
        call = self._begins("outbound")

        def told(report: Report) -> None:
            if isinstance(report, Answered):
                leg.hang_up(Cause.NORMAL)
                self._ended(call, "outbound", Cause.NORMAL)
            elif isinstance(report, HungUp):
                self._ended(call, "outbound", report.cause)
            else:
                return
            self.dial()

        target = SipUri.parse(f"sip:juliet@{PHONES}:{THEIRS}")
        outgoing = OutgoingCall(target, SipUri.parse("sip:romeo@gw.example"), "Romeo")
        leg = self.telephony.callee(call, 1, outgoing, told)
        leg.dial(SESSION)

    def _begins(self, direction: str) -> str:
        call = secrets.token_hex(6)
        self.began[call] = datetime.now(UTC)
        self.metrics.call_began(direction)  # type: ignore[arg-type]
        return call

    def _ended(self, call: str, direction: str, cause: Cause) -> None:
        began, now = self.began.pop(call), datetime.now(UTC)
        text = ("sip:romeo@gw.example", "sip:juliet@gw.example", "sip:juliet@gw.example", "bench", "direct")
        ladder = self.recorder.take(call)
        by = (cause.label, "", "", "caller")
        self.records.put(
            CallRecord(call, direction, *text, *by, began, now, answered=began, duration=0.1, ladder=ladder)
        )
        self.metrics.call_ended(direction, cause, setup=0.1, length=0.1)  # type: ignore[arg-type]
        self.over += 1
        self.failed += cause is not Cause.NORMAL
        if self.left <= 0 and not self.began:
            self.done.set()


async def take_calls(folder: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with House(folder).open():
        print("ready", flush=True)
        await stop.wait()


async def place_calls(folder: Path, total: int) -> None:
    async with House(folder).open() as house:
        print("ready", flush=True)
        house.left = total
        for _ in range(TOGETHER):
            house.dial()
        await house.done.wait()
        print("over", house.failed, flush=True)
        async with asyncio.timeout(40):
            while house.app.dialogs:  # noqa: ASYNC110 -- nobody tells when the last one is over
                await asyncio.sleep(0.05)


async def hold_calls(folder: Path, calls: int) -> None:
    """Octets that live calls have allocated, when all are there and their transactions over: FIRST ones, which make the
    caches, and then `calls` more.
    """
    async with House(folder, Timers(t1=0.1, t2=0.4, t4=0.5)).open() as house:
        print("ready", flush=True)
        for number in (FIRST, FIRST + calls):
            async with asyncio.timeout(number / RATE + 60):
                while len(house.app.dialogs) < number or house.app.agent.busy[0]:  # noqa: ASYNC110 -- likewise
                    await asyncio.sleep(0.1)
            gc.collect()
            if number == FIRST:
                tracemalloc.start()
            print(tracemalloc.get_traced_memory()[0], flush=True)
        tracemalloc.stop()


Turn = tuple[float, float, bool]

# What is measured -----------------------------------------------------------------------------------------------------


def parsing() -> float:
    """µs to read the INVITE, look at seven fields, and write it; the best of seven turns."""
    data, best = INVITE.replace("\n", "\r\n").encode(), float("inf")
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(500):
            message = parse(data)
            _ = message.via, message.from_, message.to, message.call_id, message.cseq, message.contact
            _ = message.headers["Max-Forwards"]
            bytes(message)
        best = min(best, (time.perf_counter() - began) / 500)
    return best * 1e6


def spent(pid: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pinned(core: int) -> list[str]:
    return ["taskset", "-c", str(core)] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []


def sipp(folder: Path, *arguments: object) -> subprocess.Popen[bytes]:
    where = ("-i", PHONES, "-p", THEIRS, "-mi", PHONES, "-nostdin", "-timer_resol", 1, "-buff_size", 4_000_000)
    with (folder / "sipp").open("wb") as out:
        return subprocess.Popen(
            [*pinned(1), "sipp", *map(str, (*where, *arguments))], stdout=out, stderr=out, cwd=folder
        )


def begun(command: list[str]) -> subprocess.Popen[str]:
    child = subprocess.Popen([*pinned(0), *command], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    if child.stdout.readline().strip() != "ready":
        raise SystemExit(f"{' '.join(command)}: did not start")
    return child


def went_well(child: subprocess.Popen[bytes]) -> bool:
    """Whether SIPp comes to an end, and says that every call was one."""
    try:
        return child.wait(60) == 0
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return False


def ended(child: subprocess.Popen[str]) -> None:
    child.terminate()
    child.wait(60)


def inbound(folder: Path, command: list[str], total: int) -> Turn:
    """Calls per CPU second, calls per second, and whether each succeeded."""
    child = begun(command)
    cpu, clock = spent(child.pid), time.monotonic()
    good = went_well(sipp(folder, "-sn", "uac", f"{US}:{OURS}", "-m", total, "-l", TOGETHER, "-r", 5000, "-d", 0))
    cpu, clock = spent(child.pid) - cpu, time.monotonic() - clock
    ended(child)
    return total / max(cpu, 0.01), total / clock, good


def outbound(folder: Path, command: list[str], total: int) -> Turn:
    """The same for calls that are placed."""
    scenario = folder / "answers.xml"  # the built-in one writes transport=UDP, which Sippy cannot read
    scenario.write_text(SCENARIO.replace("{ringing}", "0"))
    callee = sipp(folder, "-sf", scenario, "-m", total)
    while not is_bound(THEIRS) and callee.poll() is None:
        time.sleep(0.02)  # another program's port has no event
    child = subprocess.Popen([*pinned(0), *command], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    child.stdout.readline()  # ready
    cpu, clock = spent(child.pid), time.monotonic()
    line = child.stdout.readline().split()
    cpu, clock = spent(child.pid) - cpu, time.monotonic() - clock
    good = went_well(callee) and line == ["over", "0"]
    ended(child)
    return total / cpu, total / clock, good


def memory(folder: Path, calls: int) -> float:
    """kB that one more live dialog takes, all that a call has on our side with it."""
    hold = ["hold", "--folder", str(folder), "--calls", str(calls)]
    child = begun([sys.executable, "-m", "tests.sip.speed", *hold])
    assert child.stdout is not None
    found: list[str] = []
    try:
        for number in (FIRST, calls):
            caller = sipp(folder, "-sn", "uac", f"{US}:{OURS}", "-m", number, "-l", number, "-r", RATE, "-d", 10**7)
            found.append(child.stdout.readline())
            caller.kill()
            caller.wait()
    finally:
        child.kill()
        child.wait()
    if not all(found):
        raise SystemExit(f"not all of {calls} calls are held")
    return (int(found[1]) - int(found[0])) / calls / 1000


def rival_python(folder: Path, given: str | None) -> str | None:
    """An interpreter that has Sippy; None when it cannot be had."""
    if given is not None:
        return given
    try:
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, capture_output=True)
        python = str(folder / "venv" / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", SIPPY], check=True, capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as fault:
        print(f"{SIPPY} cannot be installed here: {fault}")
        return None
    return python


def row(what: str, ours: list[Turn], theirs: list[Turn], target: str) -> None:
    def of(turns: list[Turn]) -> str:
        if not turns:
            return f"{'-':>24}"
        failed = "" if all(good for _, _, good in turns) else " CALLS FAILED"
        return f"{median(t[0] for t in turns):8.0f} ({median(t[1] for t in turns):6.0f}/s){failed}".rjust(24)

    ratio = f"{median(t[0] for t in ours) / median(t[0] for t in theirs):9.1f}" if theirs else f"{'-':>9}"
    print(f"{what:44}{of(ours)}{of(theirs)}{ratio}   {target}")


def run(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = rival_python(folder, arguments.sippy)
        script = str(ROOT / "tests" / "sip" / "rival.py")
        us = [sys.executable, "-m", "tests.sip.speed"]
        where = ["--folder", name, "--calls", str(arguments.calls)]
        counts: dict[str, list[Turn]] = {"in": [], "out": [], "rival in": [], "rival out": []}
        micro: list[float] = []
        for _ in range(arguments.turns):
            counts["in"].append(inbound(folder, [*us, "in", *where], arguments.calls))
            if python is not None:
                counts["rival in"].append(inbound(folder, [python, script, "in", US, str(OURS)], arguments.calls))
            counts["out"].append(outbound(folder, [*us, "out", *where], arguments.calls))
            if python is not None:
                out = [python, script, "out", US, str(OURS), str(arguments.calls), str(TOGETHER)]
                counts["rival out"].append(outbound(folder, out, arguments.calls))
                told = subprocess.run(
                    [python, script, "parse"], input=INVITE, capture_output=True, text=True, check=True
                )
                micro.append(float(told.stdout))
        print(f"{'':44}{'this gateway':>24}{SIPPY:>24}{'ratio':>9}   target")
        ours = parsing()
        theirs = f"{min(micro):24.1f}{min(micro) / ours:9.1f}" if micro else f"{'-':>24}{'-':>9}"
        print(f"{f'parse, 7 fields, serialise; {len(INVITE)} octets, µs':44}{ours:24.1f}{theirs}")
        row("inbound calls per CPU second (calls/s)", counts["in"], counts["rival in"], "ratio 2")
        row("outbound calls per CPU second (calls/s)", counts["out"], counts["rival out"], "ratio 2")
        print(f"{'memory of one live dialog, kB':44}{memory(folder, 500):24.1f}{'':>33}   at most 10 kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="all", choices=["all", "in", "out", "hold"])
    parser.add_argument("--calls", type=int, default=4000, help="of one turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--sippy", help="an interpreter that has Sippy; by default one is made")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    match given.part:
        case "in":
            asyncio.run(take_calls(given.folder))
        case "out":
            asyncio.run(place_calls(given.folder, given.calls))
        case "hold":
            asyncio.run(hold_calls(given.folder, given.calls))
        case _:
            run(given)
