"""gateway.sip.leg: what both legs do inside a call, on real sockets, seen as call events."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace
from functools import partial
from typing import cast

import pytest

from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.session import sdp
from gateway.session.model import Direction
from gateway.sip import leg as leg_module
from gateway.sip.leg import SipLeg, refusal_of
from gateway.sip.message import Headers, Request
from tests.sip.house import OFFER, House, up
from tests.sip.wire import SDP, Caller, Datagrams, answer, body, field, method, status, tag

HELD = OFFER.with_media(replace(OFFER.media[0], direction=Direction.SENDONLY))


async def test_a_reoffer_is_answered_or_refused(house: House, peer: Datagrams) -> None:
    caller, leg = await up(house, peer)
    leg.reanswer(OFFER)  # nobody asked: nothing happens
    peer.send(caller.request("INVITE", content=SDP))
    assert await house.told() == ev.Reoffered(Leg.CALLER, 0, OFFER)
    leg.reanswer(OFFER)
    assert sdp.parse(body(await peer.receive(200))).media == OFFER.media
    peer.send(caller.request("ACK", sequence=2, branch="z9hG4bKack2"))
    peer.send(caller.request("UPDATE", content=SDP))
    assert await house.told() == ev.Reoffered(Leg.CALLER, 0, OFFER)
    leg.reanswer(None)
    assert status(await peer.receive(488)) == 488
    peer.send(caller.request("INVITE"))
    assert await house.told() == ev.Reoffered(Leg.CALLER, 0, None)
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


@pytest.mark.parametrize("side", ["caller", "callee"])
async def test_a_leg_whose_call_is_over_leaves_memory_at_once_and_not_with_a_collection_of_garbage(
    house: House, peer: Datagrams, side: str
) -> None:
    if side == "caller":
        _, leg = await up(house, peer)
    else:
        leg = house.dial(peer.port)
        invite = await peer.receive("INVITE")
        peer.send(answer(invite, 200, extra=f"Contact: <sip:juliet@127.0.0.1:{peer.port}>", content=SDP))
        await peer.receive("ACK")
    cast(SipLeg, leg)._sink = partial(lambda _, report: house.reports.put_nowait(report), leg)  # as a line keeps it
    gone = asyncio.Event()
    weakref.finalize(leg, gone.set)
    gc.disable()
    try:
        leg.hang_up(Cause.NORMAL)
        peer.send(answer(await peer.receive("BYE"), 200))
        del leg
        async with asyncio.timeout(20):
            await gone.wait()
    finally:
        gc.enable()


async def test_digits_in_info(house: House, peer: Datagrams) -> None:
    caller, _ = await up(house, peer)
    relay = "Content-Type: application/dtmf-relay"
    peer.send(caller.request("INFO", extra=relay, content="Signal=5\r\nDuration=160\r\n"))
    assert status(await peer.receive(200)) == 200
    assert await house.told() == ev.Dialled(Leg.CALLER, 0, "5", 160)
    peer.send(caller.request("INFO", extra="Content-Type: text/plain", content="5"))
    assert status(await peer.receive(415)) == 415
    peer.send(caller.request("INFO"))
    assert status(await peer.receive(200)) == 200
    assert house.reports.empty()


async def test_a_whole_picture_is_asked_for_in_info_both_ways(house: House, peer: Datagrams) -> None:
    caller, leg = await up(house, peer)
    leg.ask_picture()
    asked = await peer.receive("INFO")
    assert field(asked, "Content-Type") == "application/media_control+xml"
    peer.send(answer(asked, 415))  # who does not know it talks on
    kind = "Content-Type: application/media_control+xml"
    peer.send(caller.request("INFO", extra=kind, content=body(asked)))
    assert status(await peer.receive(200)) == 200
    assert await house.told() == ev.PictureAsked(Leg.CALLER, 0)


async def test_digits_go_out_as_info_one_after_the_other(house: House, peer: Datagrams) -> None:
    caller, leg = await up(house, peer)
    leg.dial_digits("5#", 160)
    leg.dial_digits("9" * leg_module.MAX_DIGITS, 160)  # more than anyone needs
    first = await peer.receive("INFO")
    assert field(first, "Content-Type") == "application/dtmf-relay"
    assert body(first) == "Signal=5\r\nDuration=160\r\n"
    leg.dial_digits("1", 100)
    peer.send(answer(first, 415))  # what is refused does not hold up the next
    second = await peer.receive("INFO")
    assert body(second) == "Signal=#\r\nDuration=160\r\n"
    peer.send(answer(second, 200))
    third = await peer.receive("INFO")
    assert body(third) == "Signal=1\r\nDuration=100\r\n"
    peer.send(answer(third, 200))
    peer.send(caller.request("BYE"))
    await peer.receive(200)


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


def sent_back(message: str) -> str:
    """The description in a message of ours, without what differs from call to call."""
    return body(message).partition("s=-")[2]


async def test_hold_is_offered_and_its_answer_told(house: House, peer: Datagrams) -> None:
    caller, leg = await up(house, peer)
    leg.hold(True, HELD)
    leg.hold(False, OFFER)
    reinvite = await peer.receive("INVITE")
    assert "a=sendonly" in body(reinvite)
    assert (field(reinvite, "CSeq"), field(reinvite, "Contact")) == ("1 INVITE", f"<sip:juliet@127.0.0.1:{house.port}>")
    peer.send(answer(reinvite, 200, extra=f"Contact: {caller.contact}", content=SDP.replace("40000", "40002")))
    told = await house.told()
    assert isinstance(told, ev.Reanswered)
    assert told.session is not None
    assert told.session.media[0].transport.port == 40002
    second = await peer.receive("INVITE")
    assert "a=sendonly" not in body(second)
    assert int(body(second).split()[3]) == int(body(reinvite).split()[3]) + 1, "the version counts changes"
    peer.send(answer(second, 488))
    assert await house.told() == ev.Reanswered(Leg.CALLER, 0, None)
    peer.send(caller.request("OPTIONS"))
    assert status(await peer.receive(200)) == 200


async def test_holding_a_call_that_is_over_or_too_often_is_no_success(house: House, peer: Datagrams) -> None:
    _, leg = await up(house, peer)
    for _ in range(10):
        leg.hold(True, HELD)
    assert [await house.told() for _ in range(2)] == [ev.Reanswered(Leg.CALLER, 0, None)] * 2
    reinvite = await peer.receive("INVITE")
    peer.send(answer(reinvite, 200, content="nonsense"))
    assert await house.told() == ev.Reanswered(Leg.CALLER, 0, None)
    leg.restart(OFFER)
    leg.hang_up(Cause.NORMAL)
    leg.hold(True, HELD)
    assert method(await peer.receive("BYE")) == "BYE"


async def test_a_far_side_that_forgot_the_call_ends_it(house: House, peer: Datagrams) -> None:
    _, leg = await up(house, peer)
    leg.hold(True, HELD)
    peer.send(answer(await peer.receive("INVITE"), 481))
    told = await house.told()
    assert isinstance(told, ev.HungUp)
    assert (told.cause, told.text) == (Cause.TIMEOUT, "the far side does not know this call any more")


async def test_our_offer_in_a_200_is_answered_in_the_ack(house: House, peer: Datagrams) -> None:
    caller, leg = await up(house, peer)
    peer.send(caller.request("INVITE"))
    assert await house.told() == ev.Reoffered(Leg.CALLER, 0, None)
    leg.reanswer(OFFER)
    assert sent_back(await peer.receive(200))
    peer.send(caller.request("ACK", sequence=2, branch="z9hG4bKack2", content=SDP))
    assert await house.told() == ev.Reanswered(Leg.CALLER, 0, OFFER)
    for number, content in ((3, ""), (4, "nonsense")):
        peer.send(caller.request("INVITE"))
        await house.told()
        leg.reanswer(OFFER)
        await peer.receive(200)
        peer.send(caller.request("ACK", sequence=number, branch=f"z9hG4bKack{number}", content=content))
        assert await house.told() == ev.Reanswered(Leg.CALLER, 0, None)


async def test_who_is_there_now_is_told_once(house: House, peer: Datagrams) -> None:
    caller, leg = await up(house, peer)
    for _ in range(2):
        peer.send(caller.request("UPDATE", extra='P-Asserted-Identity: "Nurse" <sip:nurse@c.example>'))
        assert status(await peer.receive(200)) == 200
    peer.send(caller.request("UPDATE", extra="P-Asserted-Identity: <sip:nurse@c.example>"))
    assert status(await peer.receive(200)) == 200
    assert await house.told() == ev.PartyChanged(Leg.CALLER, 0, "sip:nurse@c.example", "Nurse")
    assert house.reports.empty()
    leg.hold(True, HELD)
    reinvite = await peer.receive("INVITE")
    peer.send(answer(reinvite, 200, extra='Remote-Party-ID: "Friar" <sip:friar@c.example>;party=called', content=SDP))
    assert await house.told() == ev.PartyChanged(Leg.CALLER, 0, "sip:friar@c.example", "Friar")


async def test_a_transfer_is_asked_for_and_heard_of_to_its_end(house: House, peer: Datagrams) -> None:
    caller, leg = await up(house, peer)
    target = "Refer-To: <sip:nurse@pbx.example?Replaces=1%40h%3Bto-tag%3D2%3Bfrom-tag%3D3>\nReferred-By: <sip:romeo@x>"
    peer.send(caller.request("REFER", extra=target))
    accepted = await peer.receive(202)
    assert field(accepted, "Contact")
    assert await house.told() == ev.TransferAsked(
        Leg.CALLER, 0, "sip:nurse@pbx.example", "1@h;to-tag=2;from-tag=3", "<sip:romeo@x>"
    )
    first = await peer.receive("NOTIFY")
    assert (body(first), field(first, "Event")) == ("SIP/2.0 100 Trying\r\n", "refer")
    assert field(first, "Content-Type") == "message/sipfrag;version=2.0"
    assert field(first, "Subscription-State").startswith("active;expires=")
    peer.send(caller.request("REFER", extra=target))
    assert status(await peer.receive(491)) == 491
    leg.transferred(None)
    leg.transferred(Cause.BUSY)
    peer.send(answer(first, 200))
    second = await peer.receive("NOTIFY")
    peer.send(answer(second, 200))
    last = await peer.receive("NOTIFY")
    assert body(last) == "SIP/2.0 486 Busy Here\r\n"
    assert field(last, "Subscription-State") == "terminated;reason=noresource"
    assert [int(field(m, "CSeq").split()[0]) for m in (first, second, last)] == [1, 2, 3]
    peer.send(answer(last, 200))
    leg.transferred(Cause.NORMAL)  # nobody asked
    peer.send(caller.request("REFER", extra=target))
    assert status(await peer.receive(202)) == 202
    assert isinstance(await house.told(), ev.TransferAsked)
    leg.transferred(Cause.BUSY)
    for _ in range(2):
        notify = await peer.receive("NOTIFY")
        assert field(notify, "Event") == "refer;id=4", "the second REFER in this dialog that was taken"
        peer.send(answer(notify, 200))
    peer.send(caller.request("REFER", extra="Refer-To: <tel:+12025550100>\nRefer-Sub: false"))
    assert field(await peer.receive(202), "Refer-Sub") == "false"
    assert await house.told() == ev.TransferAsked(Leg.CALLER, 0, "tel:+12025550100")
    leg.transferred(Cause.NORMAL)
    leg.hang_up(Cause.NORMAL)
    assert method(await peer.receive()) == "BYE"


async def test_who_asked_for_a_transfer_hears_of_its_success_before_the_bye(house: House, peer: Datagrams) -> None:
    caller, leg = await up(house, peer)
    peer.send(caller.request("REFER", extra="Refer-To: <sip:nurse@gw.example>"))
    await house.told()
    leg.transferred(Cause.NORMAL)
    leg.hang_up(Cause.NORMAL)
    for expected in ("SIP/2.0 100 Trying\r\n", "SIP/2.0 200 OK\r\n"):
        notify = await peer.receive("NOTIFY", "BYE")
        assert body(notify) == expected
        peer.send(answer(notify, 200))
    assert method(await peer.receive("NOTIFY", "BYE")) == "BYE"


async def test_who_does_not_take_a_last_word_is_hung_up_all_the_same(
    house: House, peer: Datagrams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leg_module, "LAST_WORD", 0.05)
    caller, leg = await up(house, peer)
    peer.send(caller.request("REFER", extra="Refer-To: <sip:nurse@gw.example>"))
    await house.told()
    leg.transferred(Cause.NORMAL)
    leg.hang_up(Cause.NORMAL)
    assert method(await peer.receive("BYE")) == "BYE"


async def test_who_asked_for_a_transfer_may_stop_hearing_of_it(house: House, peer: Datagrams) -> None:
    caller, leg = await up(house, peer)
    peer.send(caller.request("SUBSCRIBE", extra="Event: refer"))
    assert status(await peer.receive(481)) == 481
    peer.send(caller.request("SUBSCRIBE", extra="Event: presence"))
    assert status(await peer.receive(489)) == 489
    peer.send(caller.request("REFER", extra="Refer-To: <sip:nurse@gw.example>"))
    peer.send(answer(await peer.receive("NOTIFY"), 200))
    for expires, state in (("60", "active"), ("0", "terminated")):
        peer.send(caller.request("SUBSCRIBE", extra=f"Event: refer\nExpires: {expires}"))
        assert field(await peer.receive(200), "Expires") == ("180" if expires == "60" else "0")
        notify = await peer.receive("NOTIFY")
        assert field(notify, "Subscription-State").startswith(state)
        assert body(notify) == "SIP/2.0 100 Trying\r\n"
        peer.send(answer(notify, 200))
    leg.transferred(Cause.BUSY)
    assert await peer.silent()


async def test_transfers_that_cannot_be(house: House, peer: Datagrams) -> None:
    caller = peer.caller()
    peer.send(caller.request("INVITE", content=SDP))
    _, leg = await house.called()
    leg.alert()
    caller.took(await peer.receive(180))
    peer.send(caller.request("REFER", extra="Refer-To: <sip:nurse@gw.example>"))
    assert status(await peer.receive(403)) == 403
    leg.answer(OFFER)
    await peer.receive(200)
    peer.send(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
    peer.send(caller.request("REFER", extra="Refer-To: nonsense"))
    assert status(await peer.receive(400)) == 400
    peer.send(caller.request("REFER", extra="Refer-To: <mailto:nurse@gw.example>"))
    assert status(await peer.receive(416)) == 416
    assert house.reports.empty()


async def test_who_asked_for_a_transfer_and_left_is_not_notified(house: House, peer: Datagrams) -> None:
    caller, leg = await up(house, peer)
    peer.send(caller.request("REFER", extra="Refer-To: <sip:nurse@gw.example>"))
    peer.send(answer(await peer.receive("NOTIFY"), 200))
    peer.send(caller.request("BYE"))
    assert status(await peer.receive(200)) == 200
    assert isinstance(await house.told(), ev.TransferAsked)
    assert isinstance(await house.told(), ev.HungUp)
    leg.transferred(Cause.NORMAL)
    assert await peer.silent()


def test_what_the_gateway_has_no_use_for() -> None:
    def of(name: str, event: str = "") -> int:
        return refusal_of(Request(name, "sip:a@b", Headers([("Event", event)])))[0]

    assert [of("NOTIFY", "refer;id=1"), of("NOTIFY", "message-summary"), of("SUBSCRIBE", "presence")] == [481, 489, 489]
    assert [of("MESSAGE"), of("PUBLISH"), of("REGISTER"), of("DANCE")] == [405, 405, 405, 501]


def place(caller: Caller) -> str:
    """The caller's dialog, as somebody else says whose place to take; escaped for a URI."""
    value = f"{caller.call_id};to-tag={tag(caller.to)};from-tag={tag(caller.from_)}"
    return value.replace("@", "%40").replace(";", "%3B").replace("=", "%3D")


async def test_whoever_consulted_through_us_is_known_by_his_other_call(house: House, peer: Datagrams) -> None:
    first, _ = await up(house, peer)
    second, _ = await up(house, peer)
    us = f"sip:nurse@127.0.0.1:{house.port}"
    peer.send(first.request("REFER", extra=f"Refer-To: <{us}?Replaces={place(second)}>"))
    await peer.receive(202)
    asked = await house.told()
    assert isinstance(asked, ev.TransferAsked)
    assert asked.consulted == ev.Consulted("call-in", 0, same_address=True)


async def test_whoever_names_a_call_that_has_ended_hears_that_it_is_not_there(house: House, peer: Datagrams) -> None:
    """RFC 3891 §3. The transfer fails, and the call in which it was asked for goes on."""
    first, leg = await up(house, peer)
    second, _ = await up(house, peer)
    peer.send(second.request("BYE"))
    await peer.receive(200)
    assert isinstance(await house.told(), ev.HungUp)
    us = f"sip:nurse@127.0.0.1:{house.port}"
    peer.send(first.request("REFER", extra=f"Refer-To: <{us}?Replaces={place(second)}>"))
    await peer.receive(202)
    trying = await peer.receive("NOTIFY")
    peer.send(answer(trying, 200))
    assert body(trying) == "SIP/2.0 100 Trying\r\n"
    failed = await peer.receive("NOTIFY")
    peer.send(answer(failed, 200))
    assert body(failed) == "SIP/2.0 481 Call/Transaction Does Not Exist\r\n"
    assert house.reports.empty(), "nobody else was asked"
    # Another port of our address is somebody else.
    peer.send(first.request("REFER", extra=f"Refer-To: <sip:nurse@127.0.0.1:9?Replaces={place(second)}>"))
    assert isinstance(await house.told(), ev.TransferAsked)
    leg.hang_up(Cause.NORMAL)
