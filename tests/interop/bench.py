"""From the answer to two-way audio: `make bench-media-time`. Not a test; nothing here passes or fails by a clock.

    aiortc client ──Prosody── gateway run ──UDP── a telephone of bare sockets

Client and telephone are in this process and share its clock. Both say a tone from the moment they can; a packet counts
as heard if it is loud, which neither silence nor comfort noise is. Told are, over CALLS calls one after the other,
    late    outbound, the user's session begins at the SIP 200 (JMI as Conversations does it): from the telephone's 200
            until both have heard each other
    early   outbound on a route with early_media, where the session begins at the 183: the same
    inbound from the client's session-accept to the SIP 200 at the telephone, which waits for the client's media, and
            from this 200 until both have heard each other
All is on loopback: a network adds its round trips, of which late mode has the most after the answer (proceed and
session-initiate, session-accept, ICE, DTLS).
"""

# ruff: noqa: T201 -- a bench prints
from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import random
import re
import struct
import time
from collections.abc import Callable
from typing import Any, Self

from tests.interop.client.client import Call, Client
from tests.interop.peers.gateway import CONFIGURATION, Gateway
from tests.interop.peers.process import PATIENCE, PHONE_HOST, free_port
from tests.interop.peers.prosody import Prosody

CALLS = 20
TARGET = 1.0  # s, for the half of all calls
RINGING = 0.3  # s before the telephone answers
PCMA = 8
TONE = bytes((level ^ 0x55) for level in ([0xE8] * 10 + [0x68] * 10) * 8)  # A-law: 20 ms of a loud 400 Hz
LOUD = 0x60  # the magnitude that A-law gives a quarter of full scale
SDP = "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"


class Telephone:
    """One line, on which it takes every call after RINGING, or calls. `answered` and `sounds` are of the newest call,
    by time.monotonic(): when its 200 was sent or came, and when each loud packet did.
    """

    def __init__(self, *, early: bool = False) -> None:
        self.port = free_port(4)
        self.answered = 0.0
        self.sounds: list[float] = []
        self._early = early
        self._peer: tuple[str, int] | None = None  # where the far side hears
        self._calls: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._up = asyncio.Event()
        self._tag = f"{random.getrandbits(32):08x}"

    @property
    def uri(self) -> str:
        return f"sip:romeo@{PHONE_HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        self._signalling = await _bound(self.port, self._on_message)
        self._media = await _bound(self.port + 2, self._on_packet)
        self._talk = asyncio.create_task(self._say())
        return self

    async def __aexit__(self, *problem: object) -> None:
        for task in (self._talk, *self._tasks):
            task.cancel()
        self._signalling.close()
        self._media.close()

    async def call(self, host: str, port: int) -> None:
        """Calls Juliet there, and waits for the answer."""
        self._forget()
        uri = f"sip:juliet@{host}:{port}"
        head = self._head("INVITE", uri, f"<{uri}>", f"{random.getrandbits(64):016x}", f"<{self.uri}>;tag={self._tag}")
        self._signalling.sendto(self._with_body(head).encode(), (host, port))
        await asyncio.wait_for(self._up.wait(), PATIENCE)

    def _forget(self) -> None:
        self.sounds, self.answered, self._peer = [], 0.0, None
        self._up.clear()

    # --- signalling

    def _head(self, method: str, uri: str, to: str, call: str, sender: str) -> str:
        via = f"SIP/2.0/UDP {PHONE_HOST}:{self.port};branch=z9hG4bK{random.getrandbits(64):016x};rport"
        return (
            f"{method} {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: {sender}\r\nTo: {to}\r\n"
            f"Call-ID: {call}\r\nCSeq: 1 {method}\r\nContact: <{self.uri}>\r\n"
        )

    def _with_body(self, head: str, body: bool = True) -> str:
        text = SDP.format(host=PHONE_HOST, port=self.port + 2) if body else ""
        kind = "Content-Type: application/sdp\r\n" if body else ""
        return f"{head}{kind}Content-Length: {len(text)}\r\n\r\n{text}"

    def _on_message(self, data: bytes, source: Any) -> None:
        text = data.decode(errors="replace")
        call = _field(text, "Call-ID")
        if text.startswith("INVITE ") and call not in self._calls:
            self._calls.add(call)
            self._forget()
            task = asyncio.create_task(self._take(text, source))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif text.startswith(("BYE ", "CANCEL ")):
            self._peer = None
            self._respond(text, source, "200 OK", body=False)
        elif text.startswith("SIP/2.0 200") and "INVITE" in _field(text, "CSeq"):
            self._on_answer(text, source, call)

    async def _take(self, invite: str, source: Any) -> None:
        self._respond(invite, source, "183 Session Progress" if self._early else "180 Ringing", body=self._early)
        if self._early:
            self._peer = _media_of(invite)
        await asyncio.sleep(RINGING)
        self._peer = _media_of(invite)
        self.answered = time.monotonic()
        self._respond(invite, source, "200 OK", body=True)

    def _on_answer(self, answer: str, source: Any, call: str) -> None:
        if not self._up.is_set():
            self.answered = time.monotonic()
            self._peer = _media_of(answer)
            self._up.set()
        contact = re.search(r"<([^>]+)>", _field(answer, "Contact"))
        head = self._head("ACK", contact[1] if contact else "", _field(answer, "To"), call, _field(answer, "From"))
        self._signalling.sendto(self._with_body(head, body=False).encode(), source)

    def _respond(self, request: str, source: Any, status: str, *, body: bool) -> None:
        to = _field(request, "To")
        tagged = to if "tag=" in to else f"{to};tag={self._tag}"
        vias = "".join(f"{line}\r\n" for line in request.split("\r\n") if line.lower().startswith("via:"))
        kept = "".join(f"{name}: {_field(request, name)}\r\n" for name in ("From", "Call-ID", "CSeq"))
        head = f"SIP/2.0 {status}\r\n{vias}{kept}To: {tagged}\r\nContact: <{self.uri}>\r\n"
        self._signalling.sendto(self._with_body(head, body).encode(), source)

    # --- media

    async def _say(self) -> None:
        started, frames = time.monotonic(), 0
        while True:
            if self._peer is not None:
                header = struct.pack("!BBHII", 0x80, PCMA, frames & 0xFFFF, frames * 160 & 0xFFFFFFFF, 0x5EED)
                self._media.sendto(header + TONE, self._peer)
            frames += 1
            await asyncio.sleep(max(0.0, started + frames * 0.02 - time.monotonic()))

    def _on_packet(self, data: bytes, source: Any) -> None:
        if data[1] & 0x7F == PCMA and max((octet ^ 0x55) & 0x7F for octet in data[12:]) >= LOUD:
            self.sounds.append(time.monotonic())


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes, Any], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._take(data, addr)


async def _bound(port: int, take: Callable[[bytes, Any], None]) -> asyncio.DatagramTransport:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Socket(take), local_addr=(PHONE_HOST, port))
    return transport


def _field(text: str, name: str) -> str:
    found = re.search(rf"^{name}:\s*(.*?)\r?$", text, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def _media_of(text: str) -> tuple[str, int] | None:
    host, port = re.search(r"^c=IN IP4 (\S+)", text, re.MULTILINE), re.search(r"^m=audio (\d+)", text, re.MULTILINE)
    return (host[1], int(port[1])) if host and port else None


# The runs -------------------------------------------------------------------------------------------------------------


async def both_hear(call: Call, phone: Telephone) -> float:
    """When both have heard each other since the answer; seconds after it."""

    def first(sounds: list[float]) -> float | None:
        return next((at for at in sounds if phone.answered and at >= phone.answered), None)

    async with asyncio.timeout(PATIENCE):
        while (near := first(call.voice.sounds)) is None or (far := first(phone.sounds)) is None:
            await asyncio.sleep(0.005)
    return max(near, far) - phone.answered


async def outbound(client: Client, gateway: Gateway, phone: Telephone) -> float:
    call = await client.call(gateway.contact_of(phone.uri))
    await call.answered()
    seconds = await both_hear(call, phone)
    await call.hang_up()
    return seconds


async def inbound(client: Client, gateway: Gateway, phone: Telephone) -> tuple[float, float]:
    """From session-accept to 200, and from there to two-way audio."""
    host, _, port = gateway.sip_host.partition(":")
    answer = asyncio.create_task(phone.call(host, int(port)))
    call = await client.incoming()
    said = call.transcript = _Timed()
    await call.accept()
    await answer
    accepted = said.times["→ session-accept"]
    seconds = await both_hear(call, phone)
    await call.hang_up()
    return phone.answered - accepted, seconds


class _Timed(list[str]):
    """A transcript that knows when each line was first written."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[str, float] = {}

    def append(self, line: str) -> None:
        self.times.setdefault(line, time.monotonic())
        super().append(line)


def tell(what: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p50, p95 = (ordered[math.ceil(len(ordered) * share) - 1] for share in (0.5, 0.95))
    print(f"{what:44} p50 {p50 * 1e3:6.0f} ms   p95 {p95 * 1e3:6.0f} ms   worst {ordered[-1] * 1e3:6.0f} ms")


def early_plan() -> str:
    """The shipped dialplan, with what comes before the answer."""
    text = (CONFIGURATION.parent / "dialplan.toml").read_text()
    return text.replace('via = "direct"\n', 'via = "direct"\nearly_media = true\n')


async def main(calls: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(Prosody())
        juliet = await stack.enter_async_context(Client(*server.account("juliet")))
        print(
            f"{calls} calls each, one after the other; target: p50 of {TARGET:.0f} s from the answer to two-way audio"
        )
        for mode, plan in (("late", None), ("early", early_plan())):
            async with Gateway(server, plan) as gateway, Telephone(early=mode == "early") as phone:
                await gateway.ready()
                await outbound(juliet, gateway, phone)  # what is started on first use is not counted
                found = [await outbound(juliet, gateway, phone) for _ in range(calls)]
                tell(f"outbound, {mode}: 200 to two-way audio", found)
                if mode == "late":
                    pairs = [await inbound(juliet, gateway, phone) for _ in range(calls)]
                    tell("inbound: session-accept to 200", [before for before, _ in pairs])
                    tell("inbound: 200 to two-way audio", [after for _, after in pairs])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=CALLS)
    asyncio.run(main(parser.parse_args().calls))
