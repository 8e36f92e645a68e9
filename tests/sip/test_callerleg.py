"""gateway.sip.callerleg: calls that come in, on real sockets, seen as call events."""

from __future__ import annotations

import pytest

from gateway.addresses import SipUri
from gateway.call.causes import Cause
from gateway.call.events import CallerJoined, HungUp, Leg, Reanswered
from gateway.session import sdp
from gateway.sip import callerleg
from gateway.sip.message import Headers, Response
from tests.sip.house import IMPATIENT, OFFER, House, up
from tests.sip.wire import SDP, Datagrams, body, field, fields, method, status, tag


async def test_a_caller_is_rung_answered_and_hangs_up(house: House, peer: Datagrams) -> None:
    caller = peer.caller()
    caller.from_ = f'"Romeo M." {caller.from_}'
    routes = "Record-Route: <sip:p2;lr>, <sip:p1;lr>\nP-Asserted-Identity: <sip:+12025550100@carrier.example>"
    peer.send(caller.request("INVITE", extra=routes, content=SDP))
    trying = await peer.receive(100)
    assert tag(field(trying, "To")) == ""
    incoming, leg = await house.called()
    assert (incoming.from_name, incoming.from_uri.user, incoming.uri.user) == ("Romeo M.", "romeo", "juliet")
    assert incoming.asserted == SipUri.parse("sip:+12025550100@carrier.example")
    assert incoming.source == ("127.0.0.1", peer.port)
    assert (incoming.protocol, incoming.max_forwards, incoming.session) == ("UDP", 70, OFFER)
    assert not incoming.anonymous
    leg.ask()
    leg.alert()
    leg.alert()
    assert tag(field(await peer.receive(180), "To"))
    leg.answer(OFFER)
    ok = await peer.receive(200)
    assert fields(ok, "Record-Route") == ["<sip:p2;lr>, <sip:p1;lr>"]
    assert field(ok, "Contact") == f"<sip:juliet@127.0.0.1:{house.port}>"
    answer = sdp.parse(body(ok))
    assert answer.media == OFFER.media
    assert answer.id not in ("0", OFFER.id), "each dialog's description has an id of its own"
    caller.took(ok)
    peer.send(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
    peer.send(caller.request("BYE"))
    assert status(await peer.receive(200)) == 200
    assert await house.told() == HungUp(Leg.CALLER, Cause.NORMAL)
    labels = [(line.sent, line.label) for line in house.traced]
    assert labels[:4] == [(False, "INVITE"), (True, "100 Trying"), (True, "180 Ringing"), (True, "200 OK")]
    assert {line.call for line in house.traced} == {"call-in"}


@pytest.mark.parametrize(
    ("cause", "code"), [(Cause.BUSY, 486), (Cause.DECLINED, 603), (Cause.NORMAL, 480), (Cause.SHUTDOWN, 503)]
)
async def test_a_caller_is_refused_with_the_cause(house: House, peer: Datagrams, cause: Cause, code: int) -> None:
    caller = peer.caller()
    peer.send(caller.request("INVITE", content=SDP))
    _, leg = await house.called()
    leg.hang_up(cause, "so there")
    leg.hang_up(cause)
    leg.alert()
    refused = await peer.receive(code)
    assert field(refused, "Reason") == f'Q.850;cause={cause.q850};text="so there"'
    assert house.reports.empty()


async def test_a_caller_who_cancels_gets_487(house: House, peer: Datagrams) -> None:
    caller = peer.caller()
    peer.send(caller.request("INVITE", content=SDP, branch="z9hG4bKsame"))
    # At once: the leg hears it although nobody had the time to look at the INVITE yet.
    peer.send(caller.request("CANCEL", sequence=1, branch="z9hG4bKsame"))
    assert field(await peer.receive(200), "CSeq") == "1 CANCEL"
    assert field(await peer.receive(487), "CSeq") == "1 INVITE"
    assert await house.told() == HungUp(Leg.CALLER, Cause.CANCELLED)


@pytest.mark.parametrize("house", [IMPATIENT], indirect=True, ids=["impatient"])
async def test_a_caller_who_never_acknowledges_is_hung_up(house: House, peer: Datagrams) -> None:
    caller = peer.caller()
    peer.send(caller.request("INVITE", content=SDP))
    _, leg = await house.called()
    leg.answer(OFFER)
    assert method(await peer.receive("BYE")) == "BYE"
    told = await house.told()
    assert isinstance(told, HungUp)
    assert told.cause is Cause.TIMEOUT


async def test_a_caller_without_an_offer_gets_ours_and_answers_in_the_ack(house: House, peer: Datagrams) -> None:
    caller = peer.caller()
    peer.send(caller.request("INVITE"))
    incoming, leg = await house.called()
    assert incoming.session is None
    leg.alert()
    await peer.receive(180)
    leg.ask(OFFER)
    leg.ask(OFFER)
    ok = await peer.receive(200)
    assert sdp.parse(body(ok)).media == OFFER.media
    caller.took(ok)
    peer.send(caller.request("ACK", sequence=1, branch="z9hG4bKack", content=SDP))
    assert await house.told() == CallerJoined(OFFER)
    leg.answer(OFFER)  # he has it
    peer.send(caller.request("BYE"))
    assert field(await peer.receive(200), "CSeq") == "2 BYE"
    assert await house.told() == HungUp(Leg.CALLER, Cause.NORMAL)


@pytest.mark.parametrize("content", ["", "nonsense"])
async def test_a_caller_who_does_not_answer_our_offer_is_hung_up(house: House, peer: Datagrams, content: str) -> None:
    caller = peer.caller()
    peer.send(caller.request("INVITE"))
    _, leg = await house.called()
    leg.ask(OFFER)
    caller.took(await peer.receive(200))
    peer.send(caller.request("ACK", sequence=1, branch="z9hG4bKack", content=content))
    assert field(await peer.receive("BYE"), "Reason").startswith("Q.850;cause=111;text=")
    told = await house.told()
    assert isinstance(told, HungUp)
    assert told.cause is Cause.PROTOCOL


async def test_a_caller_who_made_an_offer_is_asked_for_nothing(house: House, peer: Datagrams) -> None:
    peer.send(peer.caller().request("INVITE", content=SDP))
    await peer.receive(100)
    _, leg = await house.called()
    leg.ask(OFFER)
    leg.dial(OFFER)
    assert await peer.silent()


async def test_ringing_is_reliable_where_that_is_demanded(house: House, peer: Datagrams) -> None:
    caller = peer.caller()
    peer.send(caller.request("INVITE", extra="Require: 100rel", content=SDP))
    _, leg = await house.called()
    leg.alert()
    rings = await peer.receive(180)
    assert field(rings, "Require") == "100rel"
    caller.took(rings)
    peer.send(caller.request("PRACK", extra=f"RAck: {field(rings, 'RSeq')} 1 INVITE", content=SDP))
    assert field(await peer.receive(488), "CSeq") == "2 PRACK"
    leg.hang_up(Cause.BUSY)
    assert status(await peer.receive(486)) == 486


async def test_what_a_caller_describes_when_he_is_refreshed_is_told_if_it_is_new(house: House, peer: Datagrams) -> None:
    _, leg = await up(house, peer)
    assert isinstance(leg, callerleg.CallerLeg)
    leg.dialog.put(Response(200, "OK", Headers([("Content-Type", "application/sdp")]), SDP.encode()))
    moved = SDP.replace("40000", "40002").encode()
    leg.dialog.put(Response(200, "OK", Headers([("Content-Type", "application/sdp")]), moved))
    told = await house.told()
    assert isinstance(told, Reanswered)
    assert told.session is not None
    assert told.session.media[0].transport.port == 40002
