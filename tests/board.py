"""A switchboard between two fake rooms and a fake engine: what scenes of whole calls are played on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from gateway.accounts import Accounts
from gateway.addresses import SipUri
from gateway.call import events as ev
from gateway.call.events import Leg
from gateway.call.leg import Admitted, LegControl, Sink
from gateway.call.trace import Traced
from gateway.call.words import Say
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import (
    InboundMatch,
    InboundRule,
    Match,
    Plan,
    Rule,
    Trunk,
)
from gateway.session.model import Direction, Session
from gateway.sip.telephony import IncomingCall as SipCall
from gateway.storage.records import CallRecord
from gateway.switchboard import Limits, Switchboard
from gateway.xmpp.component import IncomingCall as XmppCall
from tests.patience import PATIENCE
from tests.support import OPUS, PCMU, FakeEngine, FakeLeg, phone_session, webrtc_session
from tests.till import Till

JULIET = "juliet@shakespeare.lit"
NURSE = "nurse@shakespeare.lit"
DOMAIN = "sip.example.com"

PLAN = Plan(
    users=("shakespeare.lit",),
    own=frozenset({DOMAIN}),
    region="US",
    trunks={
        "carrier": Trunk(
            "carrier",
            SipUri.parse("sip:192.0.2.5"),
            username="romeo",
            password="secret",
            from_="+12025550100",
            codecs=("PCMU",),
        ),
        "backup": Trunk("backup", SipUri.parse("sip:sbc.backup.example")),
    },
    routes=(
        Rule("friends", Match(kind=(Kind.URI,), host=("*.lit",)), ("direct",)),
        Rule("numbers", Match(kind=(Kind.NUMBER,)), ("carrier", "backup")),
        Rule("test line", Match(name=("echo",)), ("echo",)),
    ),
    inbound=(
        InboundRule("both", InboundMatch(number=("+12025550100",)), (JULIET, NURSE)),
        InboundRule("in turn", InboundMatch(trunk=("carrier",), user=("desk",)), (JULIET, NURSE), "sequence"),
        InboundRule("anybody", InboundMatch(any_source=True, user=("nurse",)), (NURSE,)),
    ),
)


@dataclass
class Asked(FakeLeg):
    """A callee's leg, with what it was made for and where it reports to."""

    made_for: Any = None
    sink: Sink = lambda report: None
    attempt: int = 0
    ask_presence: bool = True


@dataclass
class Scene:
    """A switchboard between two fake rooms."""

    limits: Limits | None = None
    plan: Plan = PLAN
    engine: FakeEngine = field(default_factory=FakeEngine)
    records: list[CallRecord] = field(default_factory=list)
    traced: list[Traced] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    callees: list[Asked] = field(default_factory=list)
    lines: list[tuple[str, str, str]] = field(default_factory=list)  # user, contact, the first body
    say_what: Say = Say.FAILURES
    names: dict[str, frozenset[str]] = field(default_factory=dict)
    till: Till = field(default_factory=Till)
    accounts: Accounts | None = None
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.accounts = self.accounts or Accounts(self.till)
        self.board = Switchboard(
            self.plan,
            self.engine,
            domain=DOMAIN,
            sip_domain=DOMAIN,
            trace=self.traced.append,
            on_begin=self.begun.append,
            on_end=lambda record, cause: self.records.append(record),
            limits=self.limits,
            say=self.say_what,
            look_up=self.look_up,
            unix_now=lambda: 1_000_000.0,
            accounts=self.accounts,
        )
        self.board.attach(cast(Any, self), cast(Any, self))

    async def look_up(self, uri: SipUri) -> frozenset[str]:
        return self.names.get(uri.host, frozenset())

    def callee(self, call: str, attempt: int, *made_for: Any, ask_presence: bool = True) -> LegControl:
        """Both rooms' way to a callee: (call, attempt, OutgoingCall, sink) or (call, attempt, user, contact, sink)."""
        leg = Asked(made_for=made_for[:-1], sink=made_for[-1], attempt=attempt, ask_presence=ask_presence)
        self.callees.append(leg)
        return leg

    def say(self, user: str, contact: str, id: str, bodies: Sequence[tuple[str, str]]) -> None:
        self.lines.append((user, contact, bodies[0][1]))

    async def until(self, true: Callable[..., bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():  # noqa: ASYNC110 - everything is in this loop's hands, so a turn of it is the event
                await asyncio.sleep(0)

    async def settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    def from_xmpp(
        self, local: str, session: Session | None = None, user: str = f"{JULIET}/phone"
    ) -> tuple[FakeLeg, Admitted]:
        leg = FakeLeg()
        return leg, self.board.on_xmpp_call(XmppCall(user, f"{local}@{DOMAIN}", local, session, "sid1"), leg)

    def from_sip(
        self,
        to: str,
        source: str = "192.0.2.5",
        from_: str = "sip:+12025550177@192.0.2.5",
        asserted: str | None = None,
        anonymous: bool = False,
        session: Session | None = None,
    ) -> tuple[FakeLeg, Admitted]:
        leg = FakeLeg()
        incoming = SipCall(
            uri=SipUri.parse(to),
            from_uri=SipUri.parse(from_),
            from_name="",
            to_uri=SipUri.parse(to),
            asserted=SipUri.parse(asserted) if asserted else None,
            source=(source, 5060),
            protocol="UDP",
            max_forwards=70,
            session=session or phone_session(PCMU),
            anonymous=anonymous,
            key="abc@192.0.2.5",
        )
        return leg, self.board.on_sip_call(incoming, leg)

    @property
    def call(self) -> str:
        """The id of the only call."""
        (call,) = self.board._lines
        return call

    async def dialled(self, count: int = 1) -> Asked:
        await self.until(lambda: len(self.callees) >= count and self.callees[count - 1].told != [])
        return self.callees[count - 1]

    async def ended(self) -> CallRecord:
        await self.until(lambda: bool(self.records))
        return self.records[-1]


async def talk(plan: Plan = PLAN) -> tuple[Scene, FakeLeg, Admitted, Asked]:
    """Juliet called a number and talks with it."""
    scene = Scene(plan=plan)
    caller, admitted = scene.from_xmpp("+12025550123", webrtc_session(OPUS, PCMU))
    callee = await scene.dialled()
    callee.sink(ev.Answered(1, phone_session(PCMU)))
    await scene.until(lambda: "answer" in caller.names())
    return scene, caller, admitted, callee


def directed(direction: Direction) -> Session:
    session = phone_session(PCMU)
    return replace(session, media=(replace(session.media[0], direction=direction),))


def replacing(call: str, number: int, source: str = "192.0.2.5", session: Session | None = None) -> SipCall:
    uri = SipUri.parse("sip:juliet@sip.example.com")
    return SipCall(
        uri=uri,
        from_uri=SipUri.parse("sip:+12025550188@192.0.2.5"),
        from_name="",
        to_uri=uri,
        asserted=None,
        source=(source, 5060),
        protocol="UDP",
        max_forwards=70,
        session=session,
        anonymous=False,
        key="new@192.0.2.5",
        replaces=(call, Leg.CALLEE, number),
    )
