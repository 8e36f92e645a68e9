"""gateway.sip.leg: calls on real sockets, against a peer made of strings, seen as call events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.addresses import SipUri
from gateway.call.causes import Cause
from gateway.call.events import Answered, Dialled, HungUp, Leg, Reoffered, Report, Ringing
from gateway.call.leg import Admitted, LegControl
from gateway.call.trace import Traced
from gateway.errors import SipError
from gateway.session import sdp
from gateway.sip import leg as leg_module
from gateway.sip.application import Application
from gateway.sip.leg import (
    Credentials,
    IncomingCall,
    OutgoingCall,
    SipSettings,
    Telephony,
    listening,
    reason_of,
    reasons,
)
from gateway.sip.message import Headers, Request
from gateway.sip.transaction import Timers
from tests.sip.wire import SDP, Caller, Datagrams, answer, body, field, fields, method, status, tag

OFFER = sdp.parse(SDP)
QUICK = Timers(t1=0.02, t2=0.08, t4=0.05)
IMPATIENT = Timers(t1=0.005, t2=0.02, t4=0.01)


class House:
    """A gateway's SIP room with a switchboard that writes down what it is told."""

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
        async with asyncio.timeout(5):
            return await self.reports.get()

    async def called(self) -> tuple[IncomingCall, LegControl]:
        async with asyncio.timeout(5):
            return await self.calls.get()

    def dial(self, port: int, **others: object) -> LegControl:
        outgoing = OutgoingCall(
            SipUri.parse(f"sip:juliet@127.0.0.1:{port}"), SipUri.parse("sip:romeo%40home@gw.example"), "Romeo"
        )
        leg = self.telephony.callee("call-out", 1, replace(outgoing, **others), self.reports.put_nowait)  # type: ignore[arg-type]
        leg.dial(OFFER)
        return leg


@pytest.fixture
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    made = House(timers=getattr(request, "param", QUICK))
    await made.telephony.start()
    yield made
    await made.telephony.stop()


@pytest.fixture
async def peer(house: House) -> AsyncIterator[Datagrams]:
    async with Datagrams(house.port) as made:
        yield made


# --- callees ----------------------------------------------------------------------------------------------------------


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
    assert await house.told() == HungUp(Leg.CALLEE, Cause.BUSY, 1, 'busy, "really"')


async def test_nothing_rings_on_100(house: House, peer: Datagrams) -> None:
    house.dial(peer.port)
    invite = await peer.receive("INVITE")
    peer.send(answer(invite, 100, to_tag=""))
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


async def test_a_refused_connection_and_an_unknown_transport_are_congestion(house: House, peer: Datagrams) -> None:
    for transport in ("tcp", "tls"):
        house.dial(peer.port, target=SipUri.parse(f"sip:juliet@127.0.0.1:{peer.port};transport={transport}"))
        told = await house.told()
        assert isinstance(told, HungUp)
        assert told.cause is Cause.CONGESTION


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


# --- callers ----------------------------------------------------------------------------------------------------------


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


async def up(house: House, peer: Datagrams) -> tuple[Caller, LegControl]:
    caller = peer.caller()
    peer.send(caller.request("INVITE", content=SDP))
    _, leg = await house.called()
    leg.answer(OFFER)
    caller.took(await peer.receive(200))
    peer.send(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
    return caller, leg


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
    peer.send(caller.request("REFER", extra="Refer-To: <sip:x@y>"))
    assert "REFER" not in field(await peer.receive(405), "Allow")
    peer.send(caller.request("DANCE"))
    assert status(await peer.receive(501)) == 501


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
        ("sip:juliet@gw.example", "", "", 488),
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


def bye(reason: str, name: str = "BYE") -> Request:
    return Request(name, "sip:a@b", Headers([("Reason", reason)]))


def test_reasons_are_read_and_written() -> None:
    assert reason_of(bye("Q.850;cause=16"), Cause.INTERNAL) == (Cause.NORMAL, "")
    assert reason_of(bye("nonsense, Q.850;cause=19"), Cause.NORMAL) == (Cause.NO_ANSWER, "")
    assert reason_of(bye("SIP;cause=486"), Cause.NORMAL) == (Cause.BUSY, "")
    assert reason_of(bye("SIP;cause=200"), Cause.NORMAL) == (Cause.NORMAL, "")
    assert reason_of(bye("SIP;cause=200", "CANCEL"), Cause.CANCELLED) == (Cause.ELSEWHERE, "")
    assert reason_of(bye("FOO;cause=1"), Cause.NORMAL) == (Cause.NORMAL, "")
    assert reasons(Cause.BUSY, "") == {"Reason": 'Q.850;cause=17;text="busy"'}


def test_addresses_to_listen_on() -> None:
    assert listening("udp:0.0.0.0:5060") == ("UDP", ("0.0.0.0", 5060))
    assert listening("tcp:[::1]:0") == ("TCP", ("::1", 0))
    for wrong in ("udp:example.com:5060", "sctp:127.0.0.1:5060", "udp:127.0.0.1", "127.0.0.1:5060"):
        with pytest.raises(SipError):
            listening(wrong)


async def test_a_second_try_with_the_same_call_id_is_a_call_of_its_own(
    house: House, peer: Datagrams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leg_module, "AFTERMATH", 0.0)
    caller = peer.caller()
    for code in (1, 2):
        peer.send(caller.request("INVITE", content=SDP))
        _, leg = await house.called()
        leg.hang_up(Cause.BUSY)
        refused = await peer.receive(486)
        assert field(refused, "CSeq") == f"{code} INVITE"
    house.telephony.claim("key", "one")
    house.telephony.release("key")
    house.telephony.claim("key", "two")
    house.telephony.release("other")
    await asyncio.sleep(0.01)
    assert house.telephony._calls["key"] == "two"
