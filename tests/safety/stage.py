"""The stage of the scenarios with more to break: a carrier with names, a direct peer, strangers, what XMPP was sent.

127.0.0.1   the carrier (scene.phone), also sbc.carrier.example, and whatever `names` says
127.0.0.2   a stranger, or somebody who is called directly (scene.stranger)
    127.0.0.3   we ourselves
"""

from __future__ import annotations

import asyncio
import ipaddress
import xml.etree.ElementTree as ET
from collections.abc import Mapping

from gateway.addresses import SipUri
from gateway.call.trace import Traced
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import Emergency, InboundMatch, InboundRule, Match, Plan, Rule, Trunk
from gateway.reach import Reach
from gateway.storage.records import CallRecord
from gateway.xmpp import stanzas
from tests.scenarios.clock import patience
from tests.scenarios.scene import DOMAIN, JULIET, Device, Scene

PREMIUM = "+19005550123"
CARRIER = "sbc.carrier.example"


class Stage(Scene):
    """`names` is what DNS says when a call is routed, `dialled` (the same by default) when it is placed."""

    def __init__(self, names: Mapping[str, str] | None = None, allow: tuple[str, ...] = ("127.0.0.0/8",)) -> None:
        super().__init__()
        self.names = {CARRIER: "127.0.0.1", **(names or {})}
        self.asked: list[str] = []  # hosts that were looked up
        self.sent: list[ET.Element] = []  # to the XMPP server
        self._reach = Reach(allow)
        self._delivered = asyncio.Event()

    def plan(self) -> Plan:
        host, port = self.phone.address
        return Plan(
            users=("shakespeare.lit",),
            own=frozenset({DOMAIN}),
            endpoints=frozenset({("127.0.0.3", 5060)}),
            region="US",
            emergency=Emergency("route", ("carrier",)),
            trunks={
                "carrier": Trunk(
                    "carrier", SipUri("sip", None, host, port), allow=(ipaddress.ip_network(f"{host}/32"),)
                ),
                "names": Trunk("names", SipUri("sip", None, CARRIER, port)),
            },
            routes=(
                Rule("premium", Match(kind=(Kind.NUMBER,), type=("premium_rate",)), refuse="no premium numbers"),
                Rule("test line", Match(kind=(Kind.NAME,), name=("echo",)), via=("echo",)),
                Rule("open line", Match(kind=(Kind.NAME,), name=("open",), from_=("*",)), via=("echo",)),
                Rule("desk", Match(kind=(Kind.NAME,), name=("desk",)), via=("carrier",)),
                Rule("friends", Match(kind=(Kind.URI,)), via=("direct",)),
                Rule("numbers", Match(kind=(Kind.NUMBER,)), via=("carrier",)),
            ),
            inbound=(
                InboundRule("number", InboundMatch(number=("+12025550100",)), (JULIET,)),
                InboundRule(
                    "anybody", InboundMatch(any_source=True, user=("*%shakespeare.lit",)), ("{user}@shakespeare.lit",)
                ),
            ),
        )

    async def look_up(self, uri: SipUri) -> frozenset[str]:
        self.asked.append(uri.host)
        if uri.host in self.names:
            return frozenset({self.names[uri.host]})
        return await super().look_up(uri)

    def permit(self, address: str) -> bool:
        return self._reach.permits(address) and not self.switchboard.routing.is_trunk(address)

    async def until_sent(self, name: str) -> None:
        """Until a stanza of this name was sent to the XMPP server."""
        async with asyncio.timeout(patience()):
            while not any(stanza.tag == f"{{{stanzas.STREAM}}}{name}" for stanza in self.sent):
                self._delivered.clear()
                await self._delivered.wait()

    async def calls(self, local: str, caller: str = f"{JULIET}/balcony") -> CallRecord:
        """The record of a call that is over by itself, because it was refused."""
        device = self.device(caller)
        device.initiates(f"{local}@{DOMAIN}", "s1")
        record = await self.over()
        await self.phone.is_heard()
        await self.stranger.is_heard()
        return record

    @property
    def invited(self) -> bool:
        """Whether anybody on the SIP side was called."""
        return "INVITE" in self.phone.heard + self.stranger.heard or "INVITE" in self.said

    @property
    def said(self) -> list[str]:
        """Labels of all SIP messages of calls that went out."""
        return [what.label for what in self.wire if what.sent]

    @property
    def wire(self) -> list[Traced]:
        """All SIP messages of calls."""
        return [rung.what for rung in self.traced if isinstance(rung.what, Traced) and rung.what.peer == "sip"]

    def _deliver(self, stanza: ET.Element) -> None:
        self.sent.append(stanza)
        self._delivered.set()
        super()._deliver(stanza)

    def told(self, device: Device) -> list[ET.Element]:
        """Everything that was sent to a device or its user."""
        return [stanza for stanza in self.sent if stanza.get("to", "").startswith(device.jid.partition("/")[0])]
