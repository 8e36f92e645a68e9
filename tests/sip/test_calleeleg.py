"""gateway.sip.calleeleg: calls that we place, on real sockets, seen as call events."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import structlog

from gateway.addresses import SipUri
from gateway.call.causes import Cause
from gateway.call.events import Answered, HungUp, Leg, PartyChanged, Progressed, Redirected, Reoffered, Ringing
from gateway.sip import calleeleg
from gateway.sip.calls import OutgoingCall
from gateway.sip.digest import Credentials
from gateway.sip.message import Headers, Response
from tests.sip.authority import Authority
from tests.sip.house import IMPATIENT, OFFER, House
from tests.sip.wire import SDP, Caller, Datagrams, answer, body, field, fields, method, status, tag


async def test_a_callee_rings_answers_and_hangs_up(house: House, peer: Datagrams) -> None:
    house.dial(peer.port)
    invite = await peer.receive("INVITE")
    assert invite.startswith(f"INVITE sip:juliet@127.0.0.1:{peer.port} SIP/2.0")
    assert field(invite, "From").startswith('"Romeo" <sip:romeo%40home@gw.example>;tag=')
    assert field(invite, "Contact") == f"<sip:romeo%40home@127.0.0.1:{house.port}>"
    assert "m=audio 40000" in body(invite)
    contact = f"Contact: <sip:juliet@127.0.0.1:{peer.port}>"
    peer.send(answer(invite, 100, to_tag=""))
    peer.send(answer(invite, 180))
    peer.send(answer(invite, 180))
    assert await house.told() == Ringing(1)
    peer.send(answer(invite, 200, extra=contact, content=SDP))
    answered = await house.told()
    assert isinstance(answered, Answered)
    assert answered.session == OFFER
    ack = await peer.receive("ACK")
    caller = Caller("127.0.0.1", peer.port, f"sip:romeo@127.0.0.1:{house.port}")
    caller.call_id = field(ack, "Call-ID")
    caller.from_, caller.to = field(ack, "To"), field(ack, "From")
    peer.send(caller.request("BYE", extra='Reason: Q.850;cause=17;text="busy, \\"really\\""'))
    assert status(await peer.receive(200)) == 200
    assert await house.told() == HungUp(Leg.CALLEE, Cause.BUSY, 1, 'busy, "really"', 17)


@pytest.mark.parametrize(("tag", "content"), [("", ""), ("hasty", SDP)])
async def test_nothing_rings_and_nothing_is_heard_on_100(house: House, peer: Datagrams, tag: str, content: str) -> None:
    house.dial(peer.port)
    invite = await peer.receive("INVITE")
    peer.send(answer(invite, 100, to_tag=tag, content=content))
    peer.send(answer(invite, 486, "Busy Here"))
    assert await house.told() == HungUp(Leg.CALLEE, Cause.BUSY, 1, "486 Busy Here")


async def test_we_hang_up_with_the_reason(house: House, peer: Datagrams) -> None:
    leg = house.dial(peer.port)
    invite = await peer.receive("INVITE")
    peer.send(answer(invite, 200, extra=f"Contact: <sip:juliet@127.0.0.1:{peer.port}>", content=SDP))
    await house.told()
    leg.hang_up(Cause.MEDIA_LOST, "no packets\r\nX: y")
    bye = await peer.receive("BYE")
    assert field(bye, "Reason") == 'Q.850;cause=41;text="no packets  X: y"'
    leg.hang_up(Cause.NORMAL)
    peer.send(answer(bye, 200))
    assert await peer.silent()
    assert house.reports.empty()


async def test_we_cancel_with_the_reason(house: House, peer: Datagrams) -> None:
    leg = house.dial(peer.port)
    invite = await peer.receive("INVITE")
    peer.send(answer(invite, 180))
    assert await house.told() == Ringing(1)
    leg.hang_up(Cause.ELSEWHERE)
    cancel = await peer.receive("CANCEL")
    assert field(cancel, "Reason").startswith('SIP;cause=200;text="Call completed elsewhere", Q.850;cause=26')
    peer.send(answer(cancel, 200))
    peer.send(answer(invite, 487))
    assert method(await peer.receive("ACK")) == "ACK"
    assert house.reports.empty()


async def test_a_leg_hung_up_before_it_dialled_or_sent_stays_silent(house: House, peer: Datagrams) -> None:
    leg = house.dial(peer.port)
    leg.hang_up(Cause.CANCELLED)
    assert await peer.silent()
    outgoing = OutgoingCall(SipUri.parse(f"sip:juliet@127.0.0.1:{peer.port}"), SipUri.parse("sip:r@gw.example"), "")
    leg = house.telephony.callee("call-out", 2, outgoing, house.reports.put_nowait)
    leg.hang_up(Cause.CANCELLED)
    leg.dial(OFFER)
    assert await peer.silent()
    assert house.reports.empty()


@pytest.mark.parametrize(
    ("code", "cause"),
    [(302, Cause.FORBIDDEN), (404, Cause.NOT_FOUND), (488, Cause.NO_COMMON_CODEC), (503, Cause.CONGESTION)],
)
async def test_refusals(house: House, peer: Datagrams, code: int, cause: Cause) -> None:
    house.dial(peer.port)
    peer.send(answer(await peer.receive("INVITE"), code, "Because"))
    told = await house.told()
    assert isinstance(told, HungUp)
    assert (told.cause, told.text.split(";")[0]) == (cause, f"{code} Because")


@pytest.mark.parametrize("house", [IMPATIENT], indirect=True, ids=["impatient"])
async def test_silence_is_a_timeout(house: House, peer: Datagrams) -> None:
    house.dial(peer.port)
    told = await house.told()
    assert isinstance(told, HungUp)
    assert told.cause is Cause.TIMEOUT


async def test_who_says_nothing_is_given_up_sooner_and_hung_up_if_he_answers_after_all(
    house: House, peer: Datagrams
) -> None:
    house.dial(peer.port, patience=0.1)
    told = await house.told()
    assert isinstance(told, HungUp)
    assert told.cause is Cause.TIMEOUT
    invite = await peer.receive("INVITE")
    peer.send(answer(invite, 180))
    cancel = await peer.receive("CANCEL")
    peer.send(answer(invite, 200, extra=f"Contact: <sip:juliet@127.0.0.1:{peer.port}>", content=SDP))
    peer.send(answer(cancel, 200))
    await peer.receive("ACK")
    peer.send(answer(await peer.receive("BYE"), 200))
    assert house.reports.empty()


async def test_a_refused_connection_and_an_unknown_transport_are_congestion(house: House, peer: Datagrams) -> None:
    for transport in ("tcp", "tls"):
        house.dial(peer.port, target=SipUri.parse(f"sip:juliet@127.0.0.1:{peer.port};transport={transport}"))
        told = await house.told()
        assert isinstance(told, HungUp)
        assert told.cause is Cause.CONGESTION
        assert told.text == "the far side cannot be reached"  # a user who tries ports learns no more


async def test_of_a_trunk_it_is_said_why_it_was_not_reached(house: House, peer: Datagrams) -> None:
    trunk = SipUri.parse(f"sip:127.0.0.1:{peer.port};transport=tcp")
    house.dial(peer.port, proxy=trunk)
    told = await house.told()
    assert isinstance(told, HungUp)
    assert told.text == f"the far side cannot be reached: no connection to 127.0.0.1:{peer.port}: Connection refused"


async def test_a_far_side_that_cannot_prove_who_it_is_is_no_line_out_of_order(house: House, tmp_path: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*Authority(tmp_path).issue("127.0.0.1"))  # signed by nobody whom we know
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    with structlog.testing.capture_logs() as events:
        house.dial(port, target=SipUri.parse(f"sip:juliet@127.0.0.1:{port};transport=tls"))
        told = await house.told()
    assert isinstance(told, HungUp)
    assert told.cause is Cause.CERTIFICATE
    assert told.text == "no TLS with 127.0.0.1: certificate verify failed: unable to get local issuer certificate"
    logged = [event for event in events if event["event"] == "sip call not trusted"]
    assert [(event["call"], event["attempt"], event["error"]) for event in logged] == [("call-out", 1, told.text)]
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("content", ["", "nonsense"])
async def test_an_answer_that_cannot_be_read_is_acknowledged_and_hung_up(
    house: House, peer: Datagrams, content: str
) -> None:
    house.dial(peer.port)
    invite = await peer.receive("INVITE")
    peer.send(answer(invite, 200, extra=f"Contact: <sip:juliet@127.0.0.1:{peer.port}>", content=content))
    assert method(await peer.receive("ACK", "BYE")) == "ACK"
    assert method(await peer.receive("BYE")) == "BYE"
    told = await house.told()
    assert isinstance(told, HungUp)
    assert told.cause is Cause.PROTOCOL


async def test_a_challenge_is_answered_once(house: House, peer: Datagrams) -> None:
    house.dial(peer.port, credentials=Credentials("juliet", "secret"))
    invite = await peer.receive("INVITE")
    challenge = 'Proxy-Authenticate: Digest realm="a, \\"b\\"", nonce="n1", algorithm=SHA-256, qop="auth"'
    peer.send(answer(invite, 407, extra=challenge))
    assert field(await peer.receive("ACK"), "CSeq") == "1 ACK"
    second = await peer.receive("INVITE")
    assert field(second, "CSeq") == "2 INVITE"
    given = field(second, "Proxy-Authorization")
    assert given.startswith('Digest username="juliet", realm="a, \\"b\\"", nonce="n1", uri="sip:juliet@127.0.0.1:')
    assert "nc=00000001" in given
    assert field(second, "Call-ID") == field(invite, "Call-ID")
    assert tag(field(second, "To")) == ""
    peer.send(answer(second, 407, extra=challenge.replace("n1", "n2")))
    told = await house.told()
    assert isinstance(told, HungUp)
    assert told.cause is Cause.FORBIDDEN
    assert "secret" not in repr(house.traced)
    assert not any("response=" in line.text or "n1" in line.text for line in house.traced)


async def test_a_proxy_gets_the_call_with_a_route_when_the_target_is_elsewhere(house: House, peer: Datagrams) -> None:
    proxy = SipUri.parse(f"sip:127.0.0.1:{peer.port}")
    house.dial(peer.port, target=SipUri.parse("sip:+12025550123@carrier.example?Subject=x"), proxy=proxy)
    invite = await peer.receive("INVITE")
    assert invite.startswith("INVITE sip:+12025550123@carrier.example SIP/2.0")
    assert field(invite, "Route") == f"<sip:127.0.0.1:{peer.port};lr>"


async def test_a_caller_who_wants_privacy_is_in_no_header_that_he_did_not_allow(house: House, peer: Datagrams) -> None:
    house.dial(peer.port, asserted=SipUri.parse("sip:+12025550100@gw.example"), anonymous=True)
    invite = await peer.receive("INVITE")
    assert field(invite, "From").startswith('"Anonymous" <sip:anonymous@anonymous.invalid>;tag=')
    assert field(invite, "Privacy") == "id"
    assert field(invite, "P-Asserted-Identity") == "<sip:+12025550100@gw.example>"
    assert "romeo" not in invite.lower()
    house.dial(peer.port)
    invite = await peer.receive("INVITE")
    assert fields(invite, "Privacy") == fields(invite, "P-Asserted-Identity") == []


async def test_the_place_of_a_call_goes_along_with_its_description(house: House, peer: Datagrams) -> None:
    house.dial(peer.port, target=SipUri.parse(f"sip:112@127.0.0.1:{peer.port};transport=udp"), place="<presence/>")
    invite = await peer.receive("INVITE")
    content_id = field(invite, "Geolocation").removeprefix("<cid:").removesuffix(">")
    assert field(invite, "Geolocation-Routing") == "yes"
    assert fields(invite, "Content-Type")[0].startswith("multipart/mixed;boundary=")
    assert f"Content-ID: <{content_id}>" in body(invite)
    assert "<presence/>" in body(invite)
    assert "m=audio 40000" in body(invite)


CONTACT = "Contact: <sip:juliet@127.0.0.1:9>"
OTHER = SDP.replace("40000", "40002")


async def test_early_media_is_told_of_the_first_early_dialog_alone(house: House, peer: Datagrams) -> None:
    house.dial(peer.port)
    invite = await peer.receive("INVITE")
    reliable = f"Contact: <sip:juliet@127.0.0.1:{peer.port}>\nRequire: 100rel\nRSeq: 1"
    peer.send(answer(invite, 183, to_tag="one", extra=reliable, content=SDP))
    assert await house.told() == Progressed(1, OFFER)
    assert await house.told() == Ringing(1)
    prack = await peer.receive("PRACK")
    assert (field(prack, "RAck"), tag(field(prack, "To"))) == ("1 1 INVITE", "one")
    peer.send(answer(prack, 200))
    peer.send(answer(invite, 183, to_tag="two", extra=reliable, content=OTHER))
    peer.send(answer(await peer.receive("PRACK"), 200))
    peer.send(answer(invite, 183, to_tag="one", content="nonsense"))
    peer.send(answer(invite, 183, to_tag="one", content=SDP))
    peer.send(answer(invite, 200, to_tag="two", extra=CONTACT))  # the answer came in its reliable 183
    told = await house.told()
    assert isinstance(told, Answered)
    assert told.session.media[0].transport.port == 40002


async def test_who_moves_before_the_answer_is_where_it_moved_to(house: House, peer: Datagrams) -> None:
    leg = house.dial(peer.port)
    invite = await peer.receive("INVITE")
    reliable = f"Contact: <sip:juliet@127.0.0.1:{peer.port}>\nRequire: 100rel\nRSeq: 1"
    peer.send(answer(invite, 183, extra=reliable, content=SDP))
    peer.send(answer(await peer.receive("PRACK"), 200))
    assert await house.told() == Progressed(1, OFFER)
    await house.told()
    caller = Caller("127.0.0.1", peer.port, f"sip:romeo@127.0.0.1:{house.port}")
    caller.call_id, caller.to = field(invite, "Call-ID"), field(invite, "From")
    caller.from_ = f"{field(invite, 'To')};tag=peer"
    peer.send(caller.request("UPDATE", content=OTHER))
    assert isinstance(await house.told(), Reoffered)
    leg.reanswer(OFFER)
    assert field(await peer.receive(200), "CSeq") == "1 UPDATE"
    peer.send(answer(invite, 200, extra=reliable.partition("\n")[0]))
    told = await house.told()
    assert isinstance(told, Answered)
    assert told.session.media[0].transport.port == 40002


async def test_of_two_that_answer_the_first_has_the_call(house: House, peer: Datagrams) -> None:
    leg = house.dial(peer.port)
    invite = await peer.receive("INVITE")
    contact = f"Contact: <sip:juliet@127.0.0.1:{peer.port}>"
    for name in ("one", "two"):
        peer.send(answer(invite, 200, to_tag=name, extra=contact, content=SDP))
    assert isinstance(await house.told(), Answered)
    bye = await peer.receive("BYE")
    assert tag(field(bye, "To")) == "two"
    peer.send(answer(bye, 200))
    leg.hang_up(Cause.NORMAL)
    assert tag(field(await peer.receive("BYE"), "To")) == "one"
    assert house.reports.empty()


async def test_a_redirection_tells_where_to(house: House, peer: Datagrams) -> None:
    house.dial(peer.port)
    contacts = "<sip:second@c?Subject=x>;q=0.5, <tel:+1202>;q=0.7, nonsense, <mailto:a@b>, <sip:first@c>, <sip:x@c>;q=x"
    peer.send(answer(await peer.receive("INVITE"), 302, "Moved", extra=f"Contact: {contacts}"))
    assert await house.told() == Redirected(1, ("sip:first@c", "tel:+1202", "sip:second@c", "sip:x@c"))
    told = await house.told()
    assert isinstance(told, HungUp)
    assert told.cause is Cause.FORBIDDEN


async def test_the_telephone_networks_own_code_passes(house: House, peer: Datagrams) -> None:
    house.dial(peer.port)
    invite = await peer.receive("INVITE")
    peer.send(answer(invite, 500, "Failure", extra='Reason: Q.850;cause=22;text="number changed"'))
    assert await house.told() == HungUp(Leg.CALLEE, Cause.NOT_FOUND, 1, "500 Failure", 22)
    leg = house.dial(peer.port)
    invite = await peer.receive("INVITE")
    peer.send(answer(invite, 180))
    await house.told()
    leg.hang_up(Cause.NORMAL, "Normal", 31)
    assert field(await peer.receive("CANCEL"), "Reason") == 'Q.850;cause=31;text="Normal"'


@pytest.mark.parametrize("trunk", [True, False])
async def test_who_took_the_call_is_told_when_it_is_somebody_else_and_a_trunk_says_so(
    house: House, peer: Datagrams, trunk: bool
) -> None:
    leg = house.dial(peer.port, proxy=SipUri.parse(f"sip:127.0.0.1:{peer.port}") if trunk else None)
    invite = await peer.receive("INVITE")
    extra = f'Contact: <sip:a@127.0.0.1:{peer.port}>\nP-Asserted-Identity: "Nurse" <sip:nurse@c.example>'
    peer.send(answer(invite, 200, extra=extra, content=SDP))
    assert isinstance(await house.told(), Answered)
    if trunk:
        assert await house.told() == PartyChanged(Leg.CALLEE, 1, "sip:nurse@c.example", "Nurse")
    leg.hang_up(Cause.NORMAL)
    assert method(await peer.receive("BYE")) == "BYE"
    assert house.reports.empty()


async def test_headers_go_along_as_they_are(house: House, peer: Datagrams) -> None:
    house.dial(peer.port, headers=(("Diversion", "<sip:romeo@x>;reason=unconditional"), ("Referred-By", "<sip:r@x>")))
    invite = await peer.receive("INVITE")
    assert field(invite, "Diversion") == "<sip:romeo@x>;reason=unconditional"
    assert field(invite, "Referred-By") == "<sip:r@x>"
    assert field(invite, "Supported") == "100rel, timer, replaces, norefersub"
    assert field(invite, "Session-Expires") == "1800"


@pytest.mark.parametrize(("port", "told"), [("40000", 0), ("40002", 1)])
async def test_a_far_side_that_moves_when_it_is_refreshed_is_followed(
    house: House, peer: Datagrams, port: str, told: int
) -> None:
    leg = house.dial(peer.port)
    invite = await peer.receive("INVITE")
    peer.send(answer(invite, 200, extra=f"Contact: <sip:juliet@127.0.0.1:{peer.port}>", content=SDP))
    assert isinstance(await house.told(), Answered)
    # As the stack tells it after a refresh of its own (test_timer.py has those on the wire).
    refreshed = Response(200, "OK", Headers([("Content-Type", "application/sdp")]), SDP.replace("40000", port).encode())
    assert isinstance(leg, calleeleg.CalleeLeg)
    assert leg.dialog is not None
    leg._response(leg.dialog, refreshed)
    assert house.reports.qsize() == told
    leg._response(leg.dialog, Response(200, "OK", Headers([("Content-Type", "text/plain")]), b"hello"))
    assert house.reports.qsize() == told
