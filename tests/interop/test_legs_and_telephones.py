"""The SIP room alone and a real telephone: hold, resume and transfer, asked for by either side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.addresses import SipUri
from gateway.call.causes import Cause
from gateway.call.events import (
    Answered,
    CallerJoined,
    HungUp,
    Leg,
    Progressed,
    Reanswered,
    Reoffered,
    Report,
    TransferAsked,
)
from gateway.call.leg import LegControl
from gateway.session.model import Direction, Session
from gateway.sip.telephony import OutgoingCall
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.process import PATIENCE
from tests.interop.peers.sipp import Sipp
from tests.sip.house import OFFER, House


@pytest.fixture
async def telephone() -> AsyncIterator[Baresip]:
    async with Baresip() as baresip:
        yield baresip


def turned(session: Session, direction: Direction) -> Session:
    return session.with_media(replace(session.media[0], direction=direction))


async def told(house: House, kind: type[Report]) -> Report:
    async with asyncio.timeout(PATIENCE):
        while True:
            report = await house.reports.get()
            if isinstance(report, kind):
                return report


async def talking(house: House, telephone: Baresip) -> LegControl:
    outgoing = OutgoingCall(SipUri.parse(telephone.uri), SipUri.parse("sip:juliet@gw.example"), "Juliet")
    leg = house.telephony.callee("call", 1, outgoing, house.reports.put_nowait)
    leg.dial(OFFER)
    answered = await told(house, Answered)
    assert isinstance(answered, Answered)
    await telephone.event("CALL_ESTABLISHED")
    return leg


async def test_we_hold_a_telephone_and_take_it_off(house: House, telephone: Baresip) -> None:
    leg = await talking(house, telephone)
    for direction, answer in ((Direction.SENDONLY, Direction.RECVONLY), (Direction.SENDRECV, Direction.SENDRECV)):
        leg.hold(direction is Direction.SENDONLY, turned(OFFER, direction))
        reanswered = await told(house, Reanswered)
        assert isinstance(reanswered, Reanswered)
        assert reanswered.session is not None
        assert reanswered.session.media[0].direction is answer
    leg.hang_up(Cause.NORMAL)
    await telephone.event("CALL_CLOSED")


async def test_a_telephone_holds_us_and_takes_us_off(house: House, telephone: Baresip) -> None:
    leg = await talking(house, telephone)
    for command, answer in (("hold", Direction.RECVONLY), ("resume", Direction.SENDRECV)):
        await telephone.command(command)
        reoffered = await told(house, Reoffered)
        assert isinstance(reoffered, Reoffered)
        assert reoffered.session is not None
        assert (reoffered.session.media[0].direction is Direction.SENDRECV) == (command == "resume")
        leg.reanswer(turned(OFFER, answer))
    await telephone.hang_up()
    ended = await told(house, HungUp)
    assert isinstance(ended, HungUp)
    assert ended.cause is Cause.NORMAL


@pytest.mark.parametrize(("cause", "events"), [(Cause.BUSY, ["TRANSFER_FAILED"]), (Cause.NORMAL, [])])
async def test_a_telephone_transfers_us_and_hears_how_it_goes(
    house: House, telephone: Baresip, cause: Cause, events: list[str]
) -> None:
    leg = await talking(house, telephone)
    await telephone.command("transfer", "sip:nurse@gw.example")
    asked = await told(house, TransferAsked)
    assert isinstance(asked, TransferAsked)
    assert asked.target == "sip:nurse@gw.example"
    leg.transferred(None)
    leg.transferred(cause)
    for event in events:
        await telephone.event(event)
    ended = await told(house, HungUp)  # it leaves either way
    assert isinstance(ended, HungUp)
    assert ended.cause is Cause.NORMAL


async def test_a_carrier_answers_in_a_response_that_must_arrive_and_moves_before_it_answers(house: House) -> None:
    async with Sipp("answer_reliably") as carrier:
        outgoing = OutgoingCall(SipUri.parse(f"sip:romeo@{carrier.host}"), SipUri.parse("sip:juliet@gw.example"), "")
        leg = house.telephony.callee("call", 1, outgoing, house.reports.put_nowait)
        leg.dial(OFFER)
        progressed = await told(house, Progressed)
        assert isinstance(progressed, Progressed)
        reoffered = await told(house, Reoffered)
        assert isinstance(reoffered, Reoffered)
        assert reoffered.session is not None
        assert reoffered.session.media[0].transport.port == 5004
        leg.reanswer(OFFER)
        answered = await told(house, Answered)
        assert isinstance(answered, Answered)
        assert answered.session == reoffered.session
        leg.hang_up(Cause.NORMAL)
        await carrier.done()


async def test_a_switch_lets_us_make_the_offer(house: House) -> None:
    async with Sipp("call_without_offer", target=f"127.0.0.1:{house.port}") as switch:
        incoming, leg = await house.called()
        assert incoming.session is None
        leg.alert()
        await asyncio.sleep(0.3)  # somebody has to take it
        leg.ask(OFFER)
        joined = await told(house, CallerJoined)
        assert isinstance(joined, CallerJoined)
        assert joined.session.media[0].codecs[0].name == "PCMU"
        assert await told(house, HungUp) == HungUp(Leg.CALLER, Cause.NORMAL, 0, "Normal", 16)
        await switch.done()
