"""Calls for help, from a user's device to what a trunk's telephone hears."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from gateway.addresses import SipUri
from gateway.dialplan.plan import CallerSettings, Emergency, Format, Plan, Policy, Trunk
from gateway.session import sdp
from gateway.sip.body import sdp_of
from tests.scenarios.scene import DOMAIN, JULIET, NUMBER, Scene
from tests.support import phone_session

HELP = f"911@{DOMAIN}"


class Town(Scene):
    """The carrier first, a second trunk (scene.stranger) behind it; neither has a line to spare."""

    def plan(self) -> Plan:
        plan = super().plan()
        host, port = self.stranger.address
        second = Trunk(
            "second", SipUri("sip", None, host, port), allow=(ipaddress.ip_network(f"{host}/32"),), max_calls=0
        )
        first = replace(plan.trunks["carrier"], max_calls=0, policy="asserting")
        return replace(
            plan,
            trunks={"carrier": first, "second": second},
            policies={"asserting": Policy("asserting", asserted=Format())},
            emergency=Emergency(
                "route",
                ("carrier", "second"),
                callback="+12025550111",
                location=(("country", "US"), ("A3", "Washington & environs"), ("RD", "Pennsylvania Avenue")),
            ),
            callers={JULIET: CallerSettings(anonymous=True, display="Juliet")},
        )


async def test_a_call_for_help_says_where_it_comes_from_and_whom_to_ring_back() -> None:
    async with Town() as scene:
        juliet = scene.device()
        juliet.initiates(HELP, "s1")
        invite = await scene.phone.hears("INVITE", caller="+12025550111")
        assert invite.uri.startswith("sip:911@")
        assert "+12025550111" in invite.headers["P-Asserted-Identity"]
        assert "Privacy" not in invite.headers
        place = invite.headers["Geolocation"].removeprefix("<cid:").removesuffix(">")
        body = invite.body.decode()
        assert f"Content-ID: <{place}>" in body
        assert "Washington &amp; environs" in body
        assert sdp.parse(sdp_of(invite) or "").media[0].kind == "audio"
        scene.phone.answers(invite, 200, phone_session())
        await juliet.hears("session-accept")
        juliet.terminates(HELP, "s1")
        record = await scene.over()
        assert (record.cause, record.rule, record.via) == ("normal", "emergency", "carrier")


async def test_a_trunk_that_takes_no_calls_for_help_is_followed_by_the_next() -> None:
    async with Town() as scene:
        juliet = scene.device()
        juliet.initiates(HELP, "s1")
        scene.phone.answers(await scene.phone.hears("INVITE"), 403)
        invite = await scene.stranger.hears("INVITE")
        scene.stranger.answers(invite, 200, phone_session())
        await juliet.hears("session-accept")
        juliet.terminates(HELP, "s1")
        assert (await scene.over()).via == "second"


async def test_a_user_who_has_all_the_calls_he_may_have_still_gets_help() -> None:
    async with Scene() as scene:
        routing = scene.switchboard.routing
        routing.plan = replace(routing.plan, emergency=Emergency("route", ("carrier",)))
        juliet = scene.device()
        for number in range(20):
            juliet.initiates(f"{NUMBER}@{DOMAIN}", f"s{number}")
            await scene.phone.hears("INVITE")
        juliet.initiates(f"{NUMBER}@{DOMAIN}", "one too many")
        assert (await scene.over()).cause == "congestion"
        juliet.initiates(HELP, "help")
        invite = await scene.phone.hears("INVITE")
        assert invite.uri.startswith("sip:911@")
        scene.phone.answers(invite, 486)
        assert (await scene.over()).rule == "emergency"
        for number in range(20):
            juliet.terminates(f"{NUMBER}@{DOMAIN}", f"s{number}", "cancel")
            await scene.over()
