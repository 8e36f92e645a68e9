"""gateway.sip.leg: what both legs do inside a call, on real sockets, seen as call events."""

from __future__ import annotations

from gateway.call.events import Dialled, Leg, Reoffered
from gateway.session import sdp
from tests.sip.house import OFFER, House, up
from tests.sip.wire import SDP, Datagrams, body, field, status


async def test_a_reoffer_is_answered_or_refused(house: House, peer: Datagrams) -> None:
    caller, leg = await up(house, peer)
    leg.reanswer(OFFER)  # nobody asked: nothing happens
    peer.send(caller.request("INVITE", content=SDP))
    assert await house.told() == Reoffered(Leg.CALLER, 0, OFFER)
    leg.reanswer(OFFER)
    assert sdp.parse(body(await peer.receive(200))).media == OFFER.media
    peer.send(caller.request("ACK", sequence=2, branch="z9hG4bKack2"))
    peer.send(caller.request("UPDATE", content=SDP))
    assert await house.told() == Reoffered(Leg.CALLER, 0, OFFER)
    leg.reanswer(None)
    assert status(await peer.receive(488)) == 488
    peer.send(caller.request("INVITE"))
    assert await house.told() == Reoffered(Leg.CALLER, 0, None)
    leg.reanswer(OFFER)
    ok = await peer.receive(200)
    assert body(ok)
    peer.send(caller.request("ACK", sequence=4, branch="z9hG4bKack4"))
    peer.send(caller.request("UPDATE"))
    assert body(await peer.receive(200)) == ""
    peer.send(caller.request("INVITE", content="nonsense"))
    assert status(await peer.receive(488)) == 488
    peer.send(caller.request("INVITE", extra="Content-Type: text/plain", content="hello"))
    assert status(await peer.receive(415)) == 415


async def test_digits_in_info(house: House, peer: Datagrams) -> None:
    caller, _ = await up(house, peer)
    relay = "Content-Type: application/dtmf-relay"
    peer.send(caller.request("INFO", extra=relay, content="Signal=5\r\nDuration=160\r\n"))
    assert status(await peer.receive(200)) == 200
    assert await house.told() == Dialled(Leg.CALLER, 0, "5", 160)
    peer.send(caller.request("INFO", extra="Content-Type: text/plain", content="5"))
    assert status(await peer.receive(415)) == 415
    peer.send(caller.request("INFO"))
    assert status(await peer.receive(200)) == 200
    assert house.reports.empty()


async def test_other_requests_inside_a_call(house: House, peer: Datagrams) -> None:
    caller, _ = await up(house, peer)
    peer.send(caller.request("OPTIONS"))
    assert "INVITE" in field(await peer.receive(200), "Allow")
    peer.send(caller.request("MESSAGE"))
    assert "MESSAGE" not in field(await peer.receive(405), "Allow")
    peer.send(caller.request("NOTIFY", extra="Event: refer;id=3"))
    assert status(await peer.receive(481)) == 481
    peer.send(caller.request("NOTIFY", extra="Event: keep-alive"))
    assert field(await peer.receive(489), "Allow-Events") == "refer"
    peer.send(caller.request("DANCE"))
    assert status(await peer.receive(501)) == 501
