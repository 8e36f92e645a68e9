"""What signalling costs: `make bench-signalling`. Not a test; nothing here passes or fails by a clock.

    scripted XMPP server ──XEP-0114── gateway (its own process, null media engine, SQLite) ──UDP── SIPp
                         └─XEP-0114── a bare slixmpp component that answers pings: the yardstick

The gateway runs as `gateway run` would, with the shipped community dialplan, call records, metrics and logs as they
are by default. Each call is a direct session-initiate of another user to another SIP address; SIPp rings and answers.
Delays are differences of the machine's clock, as SIPp's message log and the scripted server saw it, at 50 calls/s
beside 50 pings/s; they are told as multiples of a ping. CPU is the gateway process's own.
"""

# ruff: noqa: T201 -- a bench prints
from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.media.engine import Connected, LegKind, LegStatistics, MediaEvent
from gateway.session.model import Candidate, Fingerprint, Ice, Setup, Stream, Transport
from tests.interop.peers.process import is_bound

ROOT = Path(__file__).resolve().parents[2]
GATEWAY, YARDSTICK, PHONES = "sip.example.com", "ping.example.com", "127.0.0.3"
SECRET = "bench"
RATE, SECONDS = 50, 10
SCENARIO = """<?xml version="1.0" encoding="us-ascii"?>
<!DOCTYPE scenario SYSTEM "sipp.dtd">
<scenario name="answers">
  <recv request="INVITE" crlf="true"/>
  <send><![CDATA[
SIP/2.0 180 Ringing
[last_Via:]
[last_From:]
[last_To:];tag=[pid]S[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port]>
Content-Length: 0

]]></send>
  <pause milliseconds="{ringing}"/>
  <send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]S[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 6000 RTP/AVP 8 101
a=rtpmap:101 telephone-event/8000
]]></send>
  <recv request="ACK" crlf="true"/>
  <recv request="BYE"/>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
"""
INITIATE = """<iq xmlns='jabber:component:accept' type='set' id='i{n}' to='{contact}' \
from='u{n}@shakespeare.lit/phone'>\
<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='s{n}' initiator='u{n}@shakespeare.lit/phone'>\
<group xmlns='urn:xmpp:jingle:apps:grouping:0' semantics='BUNDLE'><content name='audio'/></group>\
<content creator='initiator' name='audio' senders='both'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>\
<payload-type id='111' name='opus' clockrate='48000' channels='2'><parameter name='minptime' value='10'/>\
<parameter name='useinbandfec' value='1'/></payload-type><payload-type id='0' name='PCMU' clockrate='8000'/>\
<payload-type id='8' name='PCMA' clockrate='8000'/><payload-type id='110' name='telephone-event' clockrate='48000'/>\
<rtcp-mux/></description><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='u{n}x' \
pwd='pwdpwdpwdpwdpwdpwdpwdpwd'><fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256' setup='actpass'>\
{print}</fingerprint><candidate component='1' foundation='1' generation='0' id='c{n}' ip='198.51.100.7' network='0' \
port='40000' priority='2130706431' protocol='udp' type='host'/></transport></content></jingle></iq>"""
TERMINATE = """<iq xmlns='jabber:component:accept' type='set' id='t{n}' to='{contact}' \
from='u{n}@shakespeare.lit/phone'>\
<jingle xmlns='urn:xmpp:jingle:1' action='session-terminate' sid='s{n}'><reason><success/></reason></jingle></iq>"""
PING = """<iq xmlns='jabber:component:accept' type='get' id='p{n}' from='u{n}@shakespeare.lit/phone' \
to='ping.example.com'><ping xmlns='urn:xmpp:ping'/></iq>"""
FINGERPRINT = ":".join(["AB"] * 32)


# The gateway's process ------------------------------------------------------------------------------------------------


class NullEngine:
    """A media engine that has nothing to do: each leg gets a transport of its own, and its media flows at once."""

    processes = ()
    video = False

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
        raise NotImplementedError

    async def ask_picture(self, call: str, leg: str) -> None: ...

    def __init__(self, settings: object) -> None:
        self.on_event: Callable[[MediaEvent], None] = lambda event: None
        self._port = 20_000

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

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
        self._port = 20_000 + (self._port + 2) % 40_000
        if kind is LegKind.RTP:
            return Transport("203.0.113.7", self._port, self._port + 1)
        candidate = Candidate("1", 1, "udp", 2130706431, "203.0.113.7", self._port, "host", id="c")
        print_ = Fingerprint("sha-256", FINGERPRINT, setup)
        found = (candidate,) if rtcp_mux else (candidate, replace(candidate, component=2, port=self._port + 1, id="d"))
        ice = Ice("gate", "g" * 22, found, complete=True)
        return Transport("203.0.113.7", self._port, rtcp_mux=rtcp_mux, ice=ice, fingerprint=print_)

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
        asyncio.get_running_loop().call_soon(self.on_event, Connected(call, leg))

    async def release(self, call: str, leg: str | None = None) -> dict[str, LegStatistics]:
        return {}

    def __getattr__(self, name: str) -> Any:  # candidates, play, … are of no cost here
        async def nothing(*_: object, **__: object) -> None: ...

        return nothing


def run_gateway(configuration: Path) -> int:
    """In the gateway's process."""
    from gateway import configfile  # noqa: PLC0415 -- the parent needs none of it
    from gateway.ops import serve  # noqa: PLC0415

    setattr(serve, "EmbeddedEngine", NullEngine)  # noqa: B010 -- in this process it is the only engine
    return serve.serve(configfile.read(configuration))


def run_yardstick(port: int) -> None:
    """In the yardstick's process: slixmpp as it comes, with its ping plugin."""
    from slixmpp import ComponentXMPP  # noqa: PLC0415

    link: Any = ComponentXMPP(YARDSTICK, SECRET, "127.0.0.1", port)  # type: ignore[no-untyped-call]
    link.register_plugin("xep_0199")
    link.connect()
    link.loop.run_forever()


# The scripted server --------------------------------------------------------------------------------------------------


class Server:
    """As much of an XMPP server as a component needs; what comes is told to `heard` as (component, element, when)."""

    def __init__(self) -> None:
        self.links: dict[str, asyncio.StreamWriter] = {}
        self.arrived = asyncio.Event()
        self.heard: Callable[[str, ET.Element, float], None] = lambda domain, element, when: None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser: Any = ET.XMLPullParser(("start", "end"))  # its events are typed as anything it may be asked for
        depth, domain = 0, ""
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(65_536):
                now = time.time()
                parser.feed(data)
                for event, element in parser.read_events():
                    depth += 1 if event == "start" else -1
                    if event == "start" and depth == 1:
                        root, domain = element, element.get("to", "")
                        writer.write(
                            b"<stream:stream xmlns='jabber:component:accept' xmlns:stream="
                            b"'http://etherx.jabber.org/streams' id='1' from='%s'>" % domain.encode()
                        )
                    elif event == "end" and depth == 1:
                        if element.tag.endswith("handshake"):
                            writer.write(b"<handshake/>")
                            self.links[domain] = writer
                            self.arrived.set()
                        else:
                            self.heard(domain, element, now)
                        root.clear()

    def say(self, domain: str, text: str) -> float:
        self.links[domain].write(text.encode())
        return time.time()

    async def until(self, *domains: str) -> None:
        while not all(domain in self.links for domain in domains):
            self.arrived.clear()
            await self.arrived.wait()


class Users:
    """Users who call, each once. A call is over when the gateway acknowledged its end; `hold` keeps it up."""

    def __init__(self, server: Server, phone: str) -> None:
        self._server = server
        server.heard = self._heard
        self._phone = phone
        self.begun: dict[int, float] = {}
        self.rang: dict[int, float] = {}
        self.pinged: dict[int, float] = {}
        self.pongs: list[float] = []
        self.failed: list[str] = []
        self._up: dict[int, asyncio.Future[None]] = {}
        self._over: dict[int, asyncio.Future[None]] = {}

    def contact(self, n: int) -> str:
        return f"n{n}%{self._phone}@{GATEWAY}/sip"

    async def calls(self, n: int) -> None:
        """Until the call is answered."""
        up = self._up[n] = asyncio.get_running_loop().create_future()
        self.begun[n] = self._server.say(GATEWAY, INITIATE.format(n=n, contact=self.contact(n), print=FINGERPRINT))
        await asyncio.wait_for(up, 30)

    async def hangs_up(self, n: int) -> None:
        over = self._over[n] = asyncio.get_running_loop().create_future()
        self._server.say(GATEWAY, TERMINATE.format(n=n, contact=self.contact(n)))
        await asyncio.wait_for(over, 30)

    async def whole_call(self, n: int) -> None:
        try:
            await self.calls(n)
            await self.hangs_up(n)
        except TimeoutError:
            self.failed.append(f"call {n}: no answer")

    def pings(self, n: int) -> None:
        self.pinged[n] = self._server.say(YARDSTICK, PING.format(n=n))

    def _heard(self, domain: str, element: ET.Element, now: float) -> None:
        kind = element.get("type")
        if domain == YARDSTICK:
            if kind == "result":
                self.pongs.append(now - self.pinged.pop(int(element.get("id", "p0")[1:])))
            return
        if not element.tag.endswith("iq"):
            return
        if kind == "set":
            self._server.say(
                GATEWAY,
                f"<iq xmlns='jabber:component:accept' type='result' id='{element.get('id')}' "
                f"from='{element.get('to')}' to='{element.get('from')}'/>",
            )
            jingle = element[0]
            n = int(jingle.get("sid", "s0")[1:])
            match jingle.get("action"):
                case "session-info" if len(jingle) and jingle[0].tag.endswith("ringing"):
                    self.rang[n] = now
                case "session-accept" if n in self._up and not self._up[n].done():
                    self._up.pop(n).set_result(None)
                case "session-terminate":
                    self.failed.append(ET.tostring(jingle, encoding="unicode"))
        elif kind == "result" and element.get("id", "").startswith("t"):
            n = int(element.get("id", "")[1:])
            if n in self._over:
                self._over.pop(n).set_result(None)
        elif kind == "error":
            self.failed.append(ET.tostring(element, encoding="unicode"))


# Processes ------------------------------------------------------------------------------------------------------------


def spent(pid: int) -> float:
    """CPU seconds of a process, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Octets of memory of a process's own."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def pinned(core: int) -> list[str]:
    return ["taskset", "-c", str(core)] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []


@contextlib.asynccontextmanager
async def process(*command: object, core: int, log: Path) -> AsyncIterator[int]:
    with log.open("wb") as out:
        child = await asyncio.create_subprocess_exec(
            *pinned(core), *map(str, command), stdout=out, stderr=out, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL
        )
        try:
            yield child.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            await child.wait()


def sipp(folder: Path, port: int, *, ringing: int, traced: bool) -> list[object]:
    """A SIPp that answers every call; `traced`, it writes each message down."""
    scenario = folder / f"answers{port}.xml"
    scenario.write_text(SCENARIO.replace("{ringing}", str(ringing)))
    trace: list[object] = ["-trace_msg", "-message_file", folder / "messages"] if traced else []
    where = ("-i", PHONES, "-p", port, "-mi", PHONES)
    return ["sipp", "-sf", scenario, *where, "-nostdin", "-timer_resol", "1", "-buff_size", "1000000", *trace]


async def bound(port: int) -> None:
    """Until SIPp has its port: it says nothing of being there."""
    while not is_bound(port):  # noqa: ASYNC110 -- another program's port has no event
        await asyncio.sleep(0.02)


def logged(messages: Path) -> tuple[dict[int, float], dict[int, float]]:
    """When SIPp got each INVITE and sent each 180, by the number of the call."""
    text = messages.read_text(errors="replace")
    invited: dict[int, float] = {}
    rang: dict[int, float] = {}
    pattern = re.compile(
        r"^-{10,} (\d{4}-\d\d-\d\d)[ \t](\d\d:\d\d:\d\d)\.(\d{6}).*?\n(.*?)(?=^-{10,} |\Z)", re.S | re.M
    )
    for date, clock, fraction, body in pattern.findall(text):
        when = time.mktime(time.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M:%S")) + int(fraction) / 1e6
        called = re.search(r"^To:.*?sip:n(\d+)%?[^@]*@", body, re.M | re.I)
        if called is None:
            continue
        n = int(called[1])
        if re.search(r"^INVITE ", body, re.M):
            invited.setdefault(n, when)
        elif "180 Ringing" in body:
            rang.setdefault(n, when)
    return invited, rang


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


# The runs -------------------------------------------------------------------------------------------------------------


async def delays(users: Users, messages: Path, first: int) -> None:
    """50 calls and 50 pings a second."""
    loop = asyncio.get_running_loop()
    began, tasks = loop.time(), []
    for step in range(RATE * SECONDS):
        await asyncio.sleep(max(0.0, began + step / RATE - loop.time()))
        tasks.append(asyncio.create_task(users.whole_call(first + step)))
        await asyncio.sleep(0.5 / RATE)
        users.pings(first + step)
    await asyncio.gather(*tasks)
    await asyncio.sleep(0.5)
    invited, rang = logged(messages)
    numbers = range(first, first + RATE * SECONDS)
    out = [invited[n] - users.begun[n] for n in numbers if n in invited]
    back = [users.rang[n] - rang[n] for n in numbers if n in rang and n in users.rang]
    ping = {share: quantile(users.pongs, share) for share in (0.5, 0.99)}
    print(f"ping of a bare slixmpp component   p50 {ping[0.5] * 1e3:7.2f} ms   p99 {ping[0.99] * 1e3:7.2f} ms")
    for what, found in (("session-initiate in to INVITE out", out), ("180 in to ringing out", back)):
        p50, p99 = quantile(found, 0.5), quantile(found, 0.99)
        print(
            f"{what:34} p50 {p50 * 1e3:7.2f} ms   p99 {p99 * 1e3:7.2f} ms   "
            f"{p50 / ping[0.5]:5.1f} and {p99 / ping[0.5]:5.1f} p50 pings (targets 10, 50)   of {len(found)} calls"
        )


async def throughput(users: Users, gateway: int, first: int, seconds: float = 10.0, together: int = 40) -> int:
    """As many calls as go, `together` at a time."""
    loop = asyncio.get_running_loop()
    number, done, cpu, began = first, 0, spent(gateway), loop.time()

    async def one_after_the_other() -> None:
        nonlocal number, done
        while loop.time() - began < seconds:
            number += 1
            await users.whole_call(number)
            done += 1

    await asyncio.gather(*(one_after_the_other() for _ in range(together)))
    wall, cpu = loop.time() - began, spent(gateway) - cpu
    print(
        f"whole calls                        {done / wall:6.0f} calls/s on one core, {cpu / wall:.0%} busy; "
        f"{cpu / done * 1e3:.2f} ms CPU per call = {done / cpu:.0f} calls per CPU second (target 150)"
    )
    return number


async def memory(users: Users, gateway: int, first: int) -> None:
    """Live calls: what one more costs in memory, and whether a set-up costs the same among many."""
    print("live calls      memory per call   CPU per set-up")
    base, number, live = resident(gateway), first, 0
    for target in (100, 500, 1000, 2000):
        cpu, begun = spent(gateway), target - live
        for _ in range(begun // 50):
            await asyncio.gather(*(users.calls(number + k + 1) for k in range(50)))
            number += 50
        live = target
        per_call = (resident(gateway) - base) / live / 1024
        print(f"{live:10}      {per_call:8.1f} KB       {(spent(gateway) - cpu) / begun * 1e3:8.2f} ms")
    for at in range(first, number, 50):
        await asyncio.gather(*(users.hangs_up(at + k + 1) for k in range(50)))


def configuration(folder: Path, port: int, sip: int) -> Path:
    plan = (ROOT / "dialplan" / "community-server.toml").read_text()
    (folder / "carrier.password").write_text("secret\n")
    (folder / "carrier.password").chmod(0o600)
    (folder / "dialplan.toml").write_text(plan.replace("register = true", "register = false"))
    path = folder / "gateway.toml"
    path.write_text(
        f'[xmpp]\ndomain = "{GATEWAY}"\nserver = "127.0.0.1:{port}"\nsecret = "{SECRET}"\nusers = ["shakespeare.lit"]\n'
        f'[sip]\ndomain = "{GATEWAY}"\nlisten = ["udp:127.0.0.1:{sip}"]\n'
        '[media]\nallow = ["127.0.0.0/8"]\n[dialplan]\nfiles = ["dialplan.toml"]\n[calls]\nmost = 10000\n'
        f'[http]\nlisten = "127.0.0.1:{sip + 1}"\n'
    )
    return path


async def bench(only: str) -> int:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = Server()
        port = await server.start()
        base = 31_000 + os.getpid() % 10_000
        settings = configuration(folder, port, base)
        me: list[object] = [sys.executable, "-m", "tests.scenarios.bench"]
        async with contextlib.AsyncExitStack() as stack:
            enter = stack.enter_async_context
            gateway = await enter(process(*me, "--gateway", settings, core=0, log=folder / "gateway.log"))
            await enter(process(*me, "--yardstick", port, core=0, log=folder / "yardstick.log"))
            try:
                await asyncio.wait_for(server.until(GATEWAY, YARDSTICK), 30)
            except TimeoutError:
                print(f"no link; {list(server.links)} came")
                print(*((folder / f"{who}.log").read_text()[-2000:] for who in ("gateway", "yardstick")))
                return 1
            number = 1
            for run, ringing, traced in (("delays", 20, True), ("throughput", 0, False), ("memory", 0, False)):
                if only and run != only:
                    continue
                base += 10
                users = Users(server, f"{PHONES}\\3a{base}")
                command = sipp(folder, base, ringing=ringing, traced=traced)
                async with process(*command, core=1, log=folder / "sipp.log"):
                    await asyncio.wait_for(bound(base), 30)
                    await users.whole_call(number)  # what is read on first use is none of a call's cost
                    number += 1
                    if run == "delays":
                        await delays(users, folder / "messages", number)
                        number += RATE * SECONDS
                    elif run == "throughput":
                        number = await throughput(users, gateway, number) + 1
                    else:
                        await memory(users, gateway, number)
                if users.failed:
                    print(f"FAILED in {run}: {len(users.failed)}, the first: {users.failed[0][:300]}")
                    print((folder / "gateway.log").read_text()[-2000:])
                    return 1
    return 0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--gateway", type=Path)
    arguments.add_argument("--yardstick", type=int)
    arguments.add_argument("--only", default="", choices=["", "delays", "throughput", "memory"])
    asked = arguments.parse_args()
    if asked.gateway:
        return run_gateway(asked.gateway)
    if asked.yardstick:
        run_yardstick(asked.yardstick)
        return 0
    return asyncio.run(bench(asked.only))


if __name__ == "__main__":
    sys.exit(main())
