"""Rule 3: what somebody else names (a SIP target, an address in SDP, an ICE candidate) is sent to only where policy
permits it, judged after DNS and at the moment of sending.

That an ICE candidate is judged before it is tried, and that a source which sent an authenticated check is accepted:
tests/media/test_ice.py. That nothing is sent to an address of an SDP that policy refuses: tests/media/test_rtpleg.py.
Here are the spellings that somebody may try, on their whole way from the wire to the policy.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from gateway.addresses import SipUri
from gateway.errors import JingleError, SdpError
from gateway.reach import Reach
from gateway.session import jingle, sdp
from gateway.sip import resolver
from gateway.sip.locate import Answer, Question, Srv
from gateway.xmpp import stanzas
from tests.safety.stage import Stage
from tests.scenarios.scene import DOMAIN
from tests.support import candidate, phone_session, webrtc_session

PRIVATE = (
    "10.0.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "127.0.0.2",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.251",
    "192.0.0.8",
    "198.18.0.1",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "ff02::fb",
    "::ffff:10.0.0.1",
    "::ffff:a00:1",
    "::ffff:7f00:2",
    "0:0:0:0:0:ffff:127.0.0.2",
    "::127.0.0.2",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::a00:1",
    "2002:a00:1::",
    "2001:db8::1",
)
ODD = (
    "2130706434",
    "0x7f000002",
    "0x7f.0.0.2",
    "0177.0.0.2",
    "017700000002",
    "127.2",
    "127.0.2",
    "127.0.0.02",
    "127.0.0.2.",
    "１２７.0.0.2",
)
NAMES = (
    "localhost",
    "localhost.",
    "printer",
    "phone.local",
    "0x7f.example",
    "8.8.8.8.nip.io",
    "metadata.google.internal",
)


def in_jid(host: str) -> str:
    """A host as a local part writes it."""
    return r"[" + host.replace(":", r"\3a") + "]" if ":" in host else host


@pytest.mark.parametrize("host", [*PRIVATE, *ODD])
async def test_a_sip_target_in_private_ranges_is_not_dialled(host: str) -> None:
    async with Stage(allow=()) as stage:
        port = stage.stranger.address[1]
        for place in (in_jid(host), rf"{in_jid(host)}\3a{port}", f"{in_jid(host)};transport=tcp"):
            assert (await stage.calls(f"romeo%{place}")).cause in ("congestion", "forbidden")
        assert stage.said == []


@pytest.mark.parametrize("address", PRIVATE)
async def test_a_name_that_leads_to_private_ranges_is_not_dialled(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it led to when the call was routed (DNS rebinding), and by whichever records."""

    async def ask(_: object, question: Question) -> Answer:
        match question.kind, question.name:
            case "SRV", "_sip._udp.srv.example":
                return [Srv(1, 0, 5070, "inner.example"), Srv(2, 0, 5060, address)]
            case ("A", name):
                return [address] if name != "public.example" else ["8.8.8.8", address]
        return []

    monkeypatch.setattr(resolver.Resolver, "ask", ask)
    names = dict.fromkeys(("rebound.example", "srv.example"), "203.0.113.9")
    async with Stage(names, allow=()) as stage:
        for name in (*names, r"rebound.example\3a5080"):
            assert (await stage.calls(f"romeo%{name}")).cause == "congestion"
        assert stage.said == []
        uri = SipUri.parse("sip:romeo@public.example")
        assert [target.host for target in await resolver.resolve(uri, stage.permit)] == ["8.8.8.8"]


@pytest.mark.parametrize(
    "named", ["sip:x@10.0.0.1", "sip:x@[::ffff:10.0.0.1]", "sip:x@127.0.0.3:5099", "sip:x@printer"]
)
async def test_a_callee_cannot_send_what_follows_into_private_ranges(named: str) -> None:
    """His Contact and Record-Route are words too (RFC 3261 §12.1.2); he himself stays reachable."""
    async with Stage(allow=("127.0.0.2/32",)) as stage:
        juliet = stage.device()
        address, port = stage.stranger.address
        contact = rf"romeo%{address}\3a{port}@{DOMAIN}"
        juliet.initiates(contact, "s1")
        invite = await stage.stranger.hears("INVITE")
        stage.stranger.answers(invite, 200, phone_session(), contact=f"<{named}>", route=f"<{named};lr>")
        await stage.stranger.hears("ACK")
        juliet.terminates(contact, "s1")
        await stage.stranger.hears("BYE")
        await stage.over()
        reached = {what.text.split(";")[0] for what in stage.wire}
        assert reached == {f"UDP to {address}:{port}", f"UDP from {address}:{port}"}


@pytest.mark.parametrize("address", [*PRIVATE, *ODD, *NAMES])
def test_an_address_of_an_sdp_reaches_the_policy_as_it_was_written_and_is_refused(address: str) -> None:
    family = "IP6" if ":" in address else "IP4"
    text = sdp.render(phone_session()).replace("IN IP4 192.0.2.10", f"IN {family} {address}")
    assert address in text
    try:
        session = sdp.parse(text)
    except SdpError:
        return
    named = session.media[0].transport.address
    assert named is None or not Reach().permits(named, session.media[0].transport.port)


@pytest.mark.parametrize("address", [*PRIVATE, *ODD, *NAMES])
def test_an_ice_candidate_reaches_the_policy_as_it_was_written_and_is_refused(address: str) -> None:
    offer = webrtc_session(candidates=(candidate(ip=address),))
    element = stanzas.jingle("session-initiate", "s1")
    element.extend(jingle.contents(offer, initiator=True))
    assert address in ET.tostring(element, encoding="unicode")
    try:
        ice = jingle.parse_session(element).media[0].transport.ice
    except JingleError:
        return
    assert ice is None or not any(Reach().permits(named.ip, named.port) for named in ice.candidates)


@pytest.mark.parametrize("received", ["10.0.0.1", "127.0.0.3"])
async def test_an_answer_goes_to_where_the_question_came_from(received: str) -> None:
    """Whatever Via says of itself (RFC 3261 §18.2.1): otherwise we would knock at doors for others."""
    async with Stage(allow=()) as stage:
        options = stage.stranger.request("OPTIONS", None, "forged")
        host, port = stage.stranger.address
        via = f"SIP/2.0/UDP {received}:{port};branch=z9hG4bK-forged;received={received};maddr={received};rport=9"
        options.headers.set("Via", via)
        stage.stranger.sends(bytes(options))
        assert host != received
        await stage.stranger.hears_back("200 OK")


@pytest.mark.parametrize("caller", ["eve@evil.example/x", "shakespeare.lit", "juliet@shakespeare.lit.evil.example/x"])
async def test_a_stranger_has_us_ask_dns_for_nothing(caller: str) -> None:
    async with Stage() as stage:
        for local in ("romeo%secret.evil.example", "+12025550123%secret.evil.example", "911%secret.evil.example"):
            assert (await stage.calls(local, caller)).cause == "forbidden"
        assert stage.asked == []


async def test_who_calls_for_help_waits_for_no_name() -> None:
    async with Stage() as stage:
        juliet = stage.device()
        juliet.initiates(f"911%slow.example@{DOMAIN}", "s1")
        stage.phone.answers(await stage.phone.hears("INVITE"), 486)
        await stage.over()
        assert stage.asked == []
