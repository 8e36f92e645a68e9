"""gateway.sip.telephony: what becomes of requests outside of calls, and of calls that cannot be read."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.call.leg import Admitted, LegControl
from gateway.errors import SipError
from gateway.sip import telephony
from gateway.sip.leg import SipLeg
from gateway.sip.telephony import IncomingCall, listening
from tests.sip.house import OFFER, House, up
from tests.sip.wire import SDP, Datagrams, answer, field, status, tag


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
        ("sip:juliet@gw.example", "Content-Encoding: gzip", SDP, 415),
        ("sip:juliet@gw.example", "Accept: text/nobodyKnowsThis", SDP, 406),
        ("sip:juliet@gw.example", "Require: 100rel, gruu", SDP, 420),
    ],
)
async def test_calls_that_are_refused_before_anybody_is_asked(
    house: House, peer: Datagrams, target: str, extra: str, content: str, code: int
) -> None:
    caller = peer.caller()
    caller.target = target
    peer.send(caller.request("INVITE", extra=extra, content=content))
    refusal = await peer.receive(code)
    assert house.calls.empty()
    said = field(refusal, "Accept"), field(refusal, "Accept-Encoding")
    assert said == (("application/sdp", "identity") if code == 415 else ("", "")), "RFC 3261 §8.2.3"


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


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_an_address_that_cannot_be_had_is_named(protocol: str) -> None:
    kind = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}[protocol]
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        taken = f"{protocol}:127.0.0.1:{other.getsockname()[1]}"
        house = House(listen=(taken,))
        with pytest.raises(OSError, match=rf"^\[sip\] listen {taken}: .*[Aa]ddress already in use"):
            await house.telephony.start()
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
    monkeypatch.setattr(house.telephony, "_aftermath", 0.0)
    caller = peer.caller()
    for code in (1, 2):
        peer.send(caller.request("INVITE", content=SDP))
        _, leg = await house.called()
        leg.hang_up(Cause.BUSY)
        refused = await peer.receive(486)
        assert field(refused, "CSeq") == f"{code} INVITE"
    assert isinstance(leg, SipLeg)
    house.telephony.claim("key", "one", leg)
    house.telephony.release("key")
    house.telephony.claim("key", "two", leg)
    house.telephony.release("other")
    await asyncio.sleep(0.01)  # timers fire in order, and both releases' are before this one
    assert house.telephony._calls["key"] == "two"


async def test_messages_that_never_become_a_call_leave_memory_flat(
    house: House, peer: Datagrams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telephony, "MAX_EARLY", 3)
    strangers = [peer.caller() for _ in range(5)]
    for stranger in strangers:
        peer.send(stranger.request("OPTIONS"))
        await peer.receive(200)
    for _ in range(telephony.MAX_TOLD):
        peer.send(stranger.request("OPTIONS"))
        await peer.receive(200)
    early = house.telephony._early
    assert list(early) == [stranger.call_id for stranger in strangers[-3:]]
    assert len(early[stranger.call_id]) == telephony.MAX_TOLD


async def test_whom_a_call_was_for_first_is_told(house: House, peer: Datagrams) -> None:
    diversion = "Diversion: <sip:second@c>;reason=no-answer, <sip:first@c>;reason=unconditional"
    peer.send(peer.caller().request("INVITE", content=SDP, extra=diversion))
    incoming, _ = await house.called()
    assert str(incoming.diverted) == "sip:first@c"
    assert incoming.replaces is None


async def test_a_call_may_come_in_anothers_place(house: House, peer: Datagrams) -> None:
    caller, _ = await up(house, peer)
    place = f"{caller.call_id};to-tag={tag(caller.to)};from-tag={tag(caller.from_)}"
    peer.send(peer.caller().request("INVITE", content=SDP, extra=f"Require: replaces\nReplaces: {place}"))
    incoming, _ = await house.called()
    assert incoming.replaces == ("call-in", Leg.CALLER, 0)
    whose = house.telephony.whose(place)
    assert whose is not None
    assert (whose.call, whose.side, whose.attempt) == incoming.replaces
    assert house.telephony.whose("nonsense") is house.telephony.whose(f"x{place}") is None
    for wrong, code in (
        (f"{place};early-only", 486),
        (f"{place}x", 481),
        (caller.call_id, 400),
        (f"x{place}", 481),
        (f"{place}\nReplaces: {place}", 400),
    ):
        peer.send(peer.caller().request("INVITE", content=SDP, extra=f"Replaces: {wrong}"))
        assert status(await peer.receive(code)) == code
    assert house.calls.empty()
    peer.send(caller.request("BYE"))
    await peer.receive(200)
    await house.told()
    peer.send(peer.caller().request("INVITE", content=SDP, extra=f"Replaces: {place}"))
    assert status(await peer.receive(481)) == 481


async def test_of_calls_that_ring_only_one_that_we_placed_can_be_picked_up(house: House, peer: Datagrams) -> None:
    house.dial(peer.port)
    invite = await peer.receive("INVITE")
    peer.send(answer(invite, 180, extra=f"Contact: <sip:juliet@127.0.0.1:{peer.port}>"))
    await house.told()
    place = f"{field(invite, 'Call-ID')};to-tag={tag(field(invite, 'From'))};from-tag=peer;early-only"
    peer.send(peer.caller().request("INVITE", content=SDP, extra=f"Replaces: {place}"))
    incoming, _ = await house.called()
    assert incoming.replaces == ("call-out", Leg.CALLEE, 1)
    caller = peer.caller()
    peer.send(caller.request("INVITE", content=SDP))
    _, leg = await house.called()
    leg.alert()
    to = tag(field(await peer.receive(180), "To"))
    place = f"{caller.call_id};to-tag={to};from-tag={tag(caller.from_)}"
    peer.send(peer.caller().request("INVITE", content=SDP, extra=f"Replaces: {place}"))
    assert status(await peer.receive(481)) == 481


async def test_no_stranger_has_us_call_or_subscribes(house: House, peer: Datagrams) -> None:
    for name, extra, code in (
        ("REFER", "Refer-To: <sip:x@y>", 403),
        ("SUBSCRIBE", "Event: presence", 489),
        ("NOTIFY", "Event: message-summary", 489),
        ("NOTIFY", "Event: refer", 481),
        ("PUBLISH", "Event: presence", 405),
        ("INFO", "", 481),
        ("UPDATE", "", 481),
        ("BYE", "", 481),
    ):
        peer.send(peer.caller().request(name, extra=extra))
        assert status(await peer.receive(code)) == code, name
