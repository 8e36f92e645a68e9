"""gateway.sip.telephony: what becomes of requests outside of calls, and of calls that cannot be read."""

from __future__ import annotations

import asyncio

import pytest

from gateway.call.causes import Cause
from gateway.call.leg import Admitted, LegControl
from gateway.errors import SipError
from gateway.sip import telephony
from gateway.sip.leg import SipLeg
from gateway.sip.telephony import IncomingCall, listening
from tests.sip.house import OFFER, House
from tests.sip.wire import SDP, Datagrams, field, status


async def test_requests_outside_of_calls(house: House, peer: Datagrams) -> None:
    peer.send(peer.caller().request("OPTIONS"))
    ok = await peer.receive(200)
    assert field(ok, "Accept") == "application/sdp"
    assert "INVITE" in field(ok, "Allow")
    peer.send(peer.caller().request("MESSAGE"))
    assert status(await peer.receive(405)) == 405
    peer.send(peer.caller().request("DANCE"))
    assert status(await peer.receive(501)) == 501


@pytest.mark.parametrize(
    ("target", "extra", "content", "code"),
    [
        ("sip:juliet@elsewhere.example", "", SDP, 404),
        ("sip:juliet@192.0.2.200", "", SDP, 404),
        ("http://gw.example", "", SDP, 416),
        ("sip:jul iet@gw.example", "", SDP, 400),
        ("sip:juliet@gw.example", "", "v=nonsense", 488),
        ("sip:juliet@gw.example", "Content-Type: text/plain", "hello", 415),
        ("sip:juliet@gw.example", "Require: 100rel, gruu", SDP, 420),
    ],
)
async def test_calls_that_are_refused_before_anybody_is_asked(
    house: House, peer: Datagrams, target: str, extra: str, content: str, code: int
) -> None:
    caller = peer.caller()
    caller.target = target
    peer.send(caller.request("INVITE", extra=extra, content=content))
    assert status(await peer.receive(code)) == code
    assert house.calls.empty()


@pytest.mark.parametrize("target", ["sip:juliet@gw.example", "tel:+12025550100", "sip:juliet@203.0.113.7"])
async def test_our_hosts(target: str) -> None:
    house = House(advertise="203.0.113.7", listen=("udp:0.0.0.0:0",))
    await house.telephony.start()
    async with Datagrams(house.port) as peer:
        caller = peer.caller()
        caller.target = target
        peer.send(caller.request("INVITE", content=SDP, extra="Privacy: id"))
        incoming, leg = await house.called()
        assert incoming.anonymous
        leg.answer(OFFER)
        assert f"@203.0.113.7:{house.port}>" in field(await peer.receive(200), "Contact") or target.startswith("tel")
    await house.telephony.stop()


async def test_bound_to_any_address_we_name_the_one_the_far_side_sees() -> None:
    house = House(listen=("udp:0.0.0.0:0",))
    await house.telephony.start()
    async with Datagrams(house.port) as peer:
        peer.send(peer.caller().request("INVITE", content=SDP))
        _, leg = await house.called()
        leg.answer(OFFER)
        assert field(await peer.receive(200), "Contact") == f"<sip:juliet@127.0.0.1:{house.port}>"
    await house.telephony.stop()


async def test_a_switchboard_that_fails_is_a_500(house: House, peer: Datagrams) -> None:
    def broken(incoming: IncomingCall, leg: LegControl) -> Admitted:
        raise RuntimeError("a bug")

    house.telephony._on_call = broken
    peer.send(peer.caller().request("INVITE", content=SDP))
    assert status(await peer.receive(500)) == 500


def test_addresses_to_listen_on() -> None:
    assert listening("udp:0.0.0.0:5060") == ("UDP", ("0.0.0.0", 5060))
    assert listening("tcp:[::1]:0") == ("TCP", ("::1", 0))
    for wrong in ("udp:example.com:5060", "sctp:127.0.0.1:5060", "udp:127.0.0.1", "127.0.0.1:5060"):
        with pytest.raises(SipError):
            listening(wrong)


async def test_a_second_try_with_the_same_call_id_is_a_call_of_its_own(
    house: House, peer: Datagrams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telephony, "AFTERMATH", 0.0)
    caller = peer.caller()
    for code in (1, 2):
        peer.send(caller.request("INVITE", content=SDP))
        _, leg = await house.called()
        leg.hang_up(Cause.BUSY)
        refused = await peer.receive(486)
        assert field(refused, "CSeq") == f"{code} INVITE"
    held = SipLeg(house.telephony)
    house.telephony.claim("key", "one", held)
    house.telephony.release("key")
    house.telephony.claim("key", "two", held)
    house.telephony.release("other")
    await asyncio.sleep(0.01)
    assert house.telephony._calls["key"] == "two"
