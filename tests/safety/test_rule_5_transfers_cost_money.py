"""Rule 5: whoever sends a call elsewhere sends it through the dialplan, as the call of the user who pays, and only
where a trunk or a rule is trusted with it. REFER, 3xx and Replaces from others change nothing, nor does anything else
that a message says about other ways; so no one pays for what he could not have dialled.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from gateway.dialplan.booking import Period, Unit
from gateway.dialplan.rules import Allowance, BudgetRule
from gateway.sip.message import Request
from gateway.xmpp import stanzas
from tests.safety.stage import PREMIUM, Stage
from tests.scenarios.scene import DOMAIN, JULIET, NUMBER, Device, Phone
from tests.support import phone_session

ELSEWHERE = (
    f"sip:{PREMIUM}@{DOMAIN}",
    f"sip:{PREMIUM}@127.0.0.1",
    f"tel:{PREMIUM}",
    f"sip:{NUMBER}@{DOMAIN}",
    "sip:eve@127.0.0.2;maddr=127.0.0.1",
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


@pytest.mark.parametrize("calls", [1, 2])
async def test_a_transfer_is_a_call_of_the_users_budget_or_is_none(calls: int) -> None:
    async with Stage() as stage:
        routing = stage.switchboard.routing
        budget = BudgetRule("calls", (Allowance(Unit.CALLS, Period.DAY, calls),), user=("*",))
        trunks = {**routing.plan.trunks, "carrier": replace(routing.plan.trunks["carrier"], transfers=True)}
        routing.plan = replace(routing.plan, budgets=(budget,), trunks=trunks)
        juliet, invite = await talking(stage)
        refer = stage.phone.request("REFER", invite, "refer")
        refer.headers.add("Refer-To", "<sip:+12025550177@127.0.0.1>")
        stage.phone.sends(bytes(refer))
        if calls == 1:
            assert (await stage.phone.notified()).startswith(b"SIP/2.0 403")
            await goes_on(stage, juliet)
        else:
            second = await stage.phone.hears("INVITE")
            stage.phone.answers(second, 200, phone_session())
            assert (await stage.phone.notified()).startswith(b"SIP/2.0 200")
            juliet.terminates(f"{NUMBER}@{DOMAIN}", "s1")
            await stage.over()
        assert (stage.till.used(), stage.till.open) == ((calls, 0), {})
        assert stage.till.said.count("reserve 60") == 2


@pytest.mark.parametrize("target", ELSEWHERE)
async def test_a_refer_from_the_trunk_leads_nowhere_that_the_user_could_not_have_called(target: str) -> None:
    async with Stage() as stage:
        juliet, invite = await talking(stage)
        refer = stage.phone.request("REFER", invite, "refer")
        refer.headers.add("Refer-To", f"<{target}>")
        refer.headers.add("Referred-By", f"<sip:juliet%40shakespeare.lit@{DOMAIN}>")
        stage.phone.sends(bytes(refer))
        assert (await stage.phone.answer_to(refer)).status_code == 202
        assert (await stage.phone.notified()).startswith(b"SIP/2.0 403")
        await goes_on(stage, juliet)


@pytest.mark.parametrize("who", ["phone", "stranger"])
@pytest.mark.parametrize("target", ELSEWHERE)
async def test_a_refer_out_of_the_blue_is_refused(who: str, target: str) -> None:
    async with Stage() as stage:
        phone: Phone = getattr(stage, who)
        refer = phone.request("REFER", None, "refer")
        refer.headers.add("Refer-To", f"<{target}>")
        phone.sends(bytes(refer))
        assert (await phone.answer_to(refer)).status_code == 403
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


def taking(phone: Phone, talk: Request, header: str, *, required: bool) -> Request:
    """An INVITE that wants the place of the phone that this talk is with."""
    gateways = talk.headers["From"].partition("tag=")[2]
    invite = phone.request("INVITE", None, f"takes{header}{required}")
    invite.uri = f"sip:nobody%40elsewhere.lit@{DOMAIN}"
    invite.headers.add(header, f"{talk.call_id};to-tag={gateways};from-tag=phone")
    invite.headers.add("Require" if required else "Supported", header.lower())
    return invite


@pytest.mark.parametrize("required", [True, False])
async def test_a_stranger_takes_nobodys_place(required: bool) -> None:
    async with Stage() as stage:
        juliet, talk = await talking(stage)
        invite = taking(stage.stranger, talk, "Replaces", required=required)
        stage.stranger.sends(bytes(invite))
        assert (await stage.stranger.answer_to(invite)).status_code in (403, 481)
        await goes_on(stage, juliet)


async def test_a_trunk_takes_the_place_of_no_talk_but_its_own() -> None:
    async with Stage() as stage:
        juliet, talk = await talking(stage)
        invite = taking(stage.phone, talk, "Replaces", required=True)
        invite.headers.set("Replaces", "another@127.0.0.1;to-tag=a;from-tag=b")
        stage.phone.sends(bytes(invite))
        assert (await stage.phone.answer_to(invite)).status_code == 481
        await goes_on(stage, juliet)


@pytest.mark.parametrize("who", ["phone", "stranger"])
@pytest.mark.parametrize("header", ["Join", "Target-Dialog"])
async def test_a_call_joins_no_other_call(who: str, header: str) -> None:
    async with Stage() as stage:
        juliet, talk = await talking(stage)
        phone: Phone = getattr(stage, who)
        invite = taking(phone, talk, header, required=True)
        phone.sends(bytes(invite))
        assert (await phone.answer_to(invite)).status_code == 420
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
