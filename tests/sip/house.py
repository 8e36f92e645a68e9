"""A gateway's SIP room on real sockets, with a switchboard that writes down what it is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.addresses import SipUri
from gateway.call.events import Report
from gateway.call.leg import Admitted, LegControl
from gateway.call.trace import Traced
from gateway.session import sdp
from gateway.sip.application import Application
from gateway.sip.telephony import IncomingCall, OutgoingCall, SipSettings, Telephony
from gateway.sip.transaction import Timers
from tests.patience import PATIENCE
from tests.sip.wire import SDP, Caller, Datagrams

OFFER = sdp.parse(SDP)
QUICK = Timers(t1=0.02, t2=0.08, t4=0.05)
IMPATIENT = Timers(t1=0.005, t2=0.02, t4=0.01)


class House:
    """`reports` is what both legs tell, `calls` what came in."""

    def __init__(self, *, timers: Timers = QUICK, **settings: object) -> None:
        self.reports: asyncio.Queue[Report] = asyncio.Queue()
        self.calls: asyncio.Queue[tuple[IncomingCall, LegControl]] = asyncio.Queue()
        self.traced: list[Traced] = []
        self.app = Application(timers=timers)
        values = {"domain": "gw.example", "listen": ("udp:127.0.0.1:0", "tcp:127.0.0.1:0"), **settings}
        self.telephony = Telephony(self.app, SipSettings(**values), self.on_call, self.traced.append)  # type: ignore[arg-type]

    def on_call(self, incoming: IncomingCall, leg: LegControl) -> Admitted:
        self.calls.put_nowait((incoming, leg))
        return Admitted("call-in", self.reports.put_nowait)

    @property
    def port(self) -> int:
        return next(address[1] for protocol, address in self.app.transports.listening if protocol == "UDP")

    async def told(self) -> Report:
        async with asyncio.timeout(PATIENCE):
            return await self.reports.get()

    async def called(self) -> tuple[IncomingCall, LegControl]:
        async with asyncio.timeout(PATIENCE):
            return await self.calls.get()

    def dial(self, port: int, **others: object) -> LegControl:
        outgoing = OutgoingCall(
            SipUri.parse(f"sip:juliet@127.0.0.1:{port}"), SipUri.parse("sip:romeo%40home@gw.example"), "Romeo"
        )
        leg = self.telephony.callee("call-out", 1, replace(outgoing, **others), self.reports.put_nowait)  # type: ignore[arg-type]
        leg.dial(OFFER)
        return leg


async def up(house: House, peer: Datagrams) -> tuple[Caller, LegControl]:
    caller = peer.caller()
    peer.send(caller.request("INVITE", content=SDP))
    _, leg = await house.called()
    leg.answer(OFFER)
    caller.took(await peer.receive(200))
    peer.send(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
    return caller, leg
