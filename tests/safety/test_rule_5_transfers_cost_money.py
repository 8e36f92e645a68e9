"""Rule 5: nobody sends a call elsewhere. REFER, 3xx and Replaces are refused from everybody, and nothing that a message
says about other ways is followed; so no one pays for what he did not dial.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from gateway.sip.message import Request
from gateway.xmpp import stanzas
from tests.safety.stage import PREMIUM, Stage
from tests.scenarios.scene import DOMAIN, JULIET, NUMBER, Device, Phone
from tests.support import phone_session

ELSEWHERE = (
    f"sip:{PREMIUM}@{DOMAIN}",
    f"sip:{PREMIUM}@127.0.0.1",
    f"tel:{PREMIUM}",
    "sip:eve@127.0.0.2",
    f"sip:{NUMBER}@{DOMAIN}",
)


async def talking(stage: Stage) -> tuple[Device, Request]:
    """Juliet talks to a number through the carrier; her device and the INVITE that it heard."""
    juliet = stage.device()
    juliet.initiates(f"{NUMBER}@{DOMAIN}", "s1")
    invite = await stage.phone.hears("INVITE")
    stage.phone.answers(invite, 200, phone_session())
    await juliet.hears("session-accept")
    await stage.phone.hears("ACK")
    return juliet, invite


async def goes_on(stage: Stage, juliet: Device) -> None:
    """The call is as it was, and nobody else was called."""
    await stage.phone.is_heard()
    await stage.stranger.is_heard()
    assert stage.switchboard.live == 1
    assert stage.said.count("INVITE") == 1
    assert "session-terminate" not in juliet.heard
    juliet.terminates(f"{NUMBER}@{DOMAIN}", "s1")
    assert (await stage.over()).cause == "normal"


@pytest.mark.parametrize("target", ELSEWHERE)
async def test_a_refer_inside_a_call_is_refused_from_the_trunk_too(target: str) -> None:
    async with Stage() as stage:
        juliet, invite = await talking(stage)
        refer = stage.phone.request("REFER", invite, "refer")
        refer.headers.add("Refer-To", f"<{target}>")
        refer.headers.add("Referred-By", f"<sip:juliet%40shakespeare.lit@{DOMAIN}>")
        stage.phone.sends(bytes(refer))
        assert (await stage.phone.answer_to(refer)).status_code == 405
        await goes_on(stage, juliet)


@pytest.mark.parametrize("who", ["phone", "stranger"])
@pytest.mark.parametrize("target", ELSEWHERE)
async def test_a_refer_out_of_the_blue_is_refused(who: str, target: str) -> None:
    async with Stage() as stage:
        phone: Phone = getattr(stage, who)
        refer = phone.request("REFER", None, "refer")
        refer.headers.add("Refer-To", f"<{target}>")
        phone.sends(bytes(refer))
        assert (await phone.answer_to(refer)).status_code == 405
        assert (stage.switchboard.live, stage.sent, stage.said) == (0, [], [])


@pytest.mark.parametrize("status", [300, 301, 302, 305, 380])
async def test_a_redirection_is_not_followed_wherever_it_leads(status: int) -> None:
    for target in ELSEWHERE:
        async with Stage() as stage:
            juliet = stage.device()
            juliet.initiates(f"{NUMBER}@{DOMAIN}", "s1")
            invite = await stage.phone.hears("INVITE")
            stage.phone.answers(invite, status, contact=f"<{target}>, <sip:{PREMIUM}@127.0.0.2>")
            assert (await stage.over()).cause == "forbidden"
            await stage.phone.hears("ACK")
            await stage.stranger.is_heard()
            assert stage.said.count("INVITE") == 1
            assert "INVITE" not in stage.stranger.heard


async def test_a_direct_callee_redirects_no_more_than_a_trunk_does() -> None:
    async with Stage() as stage:
        juliet = stage.device()
        address, port = stage.stranger.address
        juliet.initiates(rf"romeo%{address}\3a{port}@{DOMAIN}", "s1")
        invite = await stage.stranger.hears("INVITE")
        stage.stranger.answers(invite, 302, contact=f"<sip:{PREMIUM}@127.0.0.1:{stage.phone.address[1]}>")
        assert (await stage.over()).cause == "forbidden"
        await stage.phone.is_heard()
        assert "INVITE" not in stage.phone.heard


@pytest.mark.parametrize("who", ["phone", "stranger"])
@pytest.mark.parametrize("header", ["Replaces", "Join", "Target-Dialog"])
async def test_a_call_takes_no_other_calls_place(who: str, header: str) -> None:
    async with Stage() as stage:
        juliet, invite = await talking(stage)
        phone: Phone = getattr(stage, who)
        tags = invite.headers["From"].partition("tag=")[2]
        named = f"{invite.call_id};to-tag={tags};from-tag=phone"
        for number, (name, value) in enumerate((("Require", header.lower()), ("Supported", header.lower()))):
            second = phone.request("INVITE", None, f"takes{number}")
            second.uri = f"sip:nobody%40elsewhere.lit@{DOMAIN}"
            second.headers.add(header, named)
            second.headers.add(name, value)
            phone.sends(bytes(second))
            answer = await phone.answer_to(second)
            assert answer.status_code == (420 if name == "Require" else 488), "unknown, or an INVITE like any other"
        await goes_on(stage, juliet)


@pytest.mark.parametrize(
    "action", ["transport-replace", "content-add", "content-modify", "description-info", "session-info"]
)
async def test_no_jingle_action_moves_a_call_to_another_number(action: str) -> None:
    """XEP-0251 would be a session-info with a transfer in it."""
    async with Stage() as stage:
        juliet, _ = await talking(stage)
        element = stanzas.jingle(action, "s1", initiator=juliet.jid)
        ET.SubElement(element, "{urn:xmpp:jingle:transfer:0}transfer", {"to": f"{PREMIUM}@{DOMAIN}", "from": JULIET})
        request = stanzas.iq(f"{NUMBER}@{DOMAIN}", juliet.jid, id="t1")
        request.append(element)
        juliet.sends(request)
        await goes_on(stage, juliet)


async def test_what_a_caller_says_about_other_ways_changes_nothing() -> None:
    async with Stage() as stage:
        juliet = stage.device()
        invite = stage.phone.calls(
            f"sip:+12025550100@{DOMAIN}",
            headers={
                "Diversion": f"<sip:{PREMIUM}@{DOMAIN}>",
                "History-Info": f"<sip:{PREMIUM}@{DOMAIN}>;index=1",
                "Route": f"<sip:{DOMAIN};lr>, <sip:127.0.0.2;lr>",
                "Referred-By": f"<sip:{PREMIUM}@{DOMAIN}>",
                "P-Called-Party-ID": f"<sip:{PREMIUM}@{DOMAIN}>",
            },
        )
        propose = await juliet.hears("JMI propose")
        assert PREMIUM not in ET.tostring(propose, encoding="unicode")
        stage.phone.cancels(invite)
        await stage.over()
        await stage.stranger.is_heard()
        assert not stage.invited


async def test_a_re_invite_and_an_update_keep_the_call_where_it_is() -> None:
    async with Stage() as stage:
        juliet, invite = await talking(stage)
        for method in ("INVITE", "UPDATE"):
            again = stage.phone.request(method, invite, "again")
            again.uri = f"sip:{PREMIUM}@{again.uri.partition('@')[2]}"
            again.headers.set("Contact", f"<sip:{PREMIUM}@127.0.0.1:{stage.phone.address[1]}>")
            stage.phone.sends(bytes(again))
            await stage.phone.answer_to(again)
        juliet.terminates(f"{NUMBER}@{DOMAIN}", "s1")
        assert (await stage.over()).callee.startswith(f"sip:{NUMBER}@")
        assert stage.said.count("INVITE") == 1
