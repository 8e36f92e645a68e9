"""Who calls, as trunks and telephones are told it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from gateway.addresses import SipUri
from gateway.bridge import Bridge
from gateway.call.causes import Cause
from gateway.call.events import Destination, HungUp, Leg
from gateway.call.machine import Call
from gateway.dialplan.plan import CallerSettings, Emergency, Format, Identity, Policy
from gateway.line import Facts, Line
from gateway.outgoing import account_of, outgoing_call
from gateway.session.policy import Towards
from gateway.sip.targets import SILENCE
from tests.board import DOMAIN, JULIET, PLAN, Scene
from tests.support import FakeEngine, FakeLeg, webrtc_session

EMERGENCY = Emergency("route", ("carrier", "backup"), callback="+12025550111", location=(("A3", "Verona"),))


async def test_a_number_goes_to_its_trunk_with_the_trunks_identity_and_credentials() -> None:
    scene = Scene()
    scene.from_xmpp("+12025550123", webrtc_session())
    outgoing = (await scene.dialled()).made_for[0]
    assert str(outgoing.target).startswith("sip:+12025550123@192.0.2.5")
    assert outgoing.from_uri.user == "+12025550100"
    assert outgoing.credentials.username == "romeo"
    assert outgoing.proxy == SipUri.parse("sip:192.0.2.5")
    assert "secret" not in repr(outgoing)


async def test_a_trunk_that_wants_its_own_host_in_from_has_it() -> None:
    trunks = {"carrier": replace(PLAN.trunks["carrier"], from_host="carrier.example"), "backup": PLAN.trunks["backup"]}
    scene = Scene(plan=replace(PLAN, trunks=trunks))
    scene.from_xmpp("+12025550123", webrtc_session())
    assert str((await scene.dialled()).made_for[0].from_uri) == "sip:+12025550100@carrier.example"


def test_we_are_registered_in_the_trunks_domain_by_way_of_its_proxy() -> None:
    trunk = replace(PLAN.trunks["carrier"], from_host="carrier.example")
    assert account_of(trunk).address == SipUri.parse("sip:romeo@carrier.example")
    assert account_of(trunk).registrar == SipUri.parse("sip:192.0.2.5")
    assert account_of(replace(trunk, from_host=None)).address == SipUri.parse("sip:romeo@192.0.2.5")


async def test_a_trunk_that_says_nothing_is_given_up_soon_while_there_is_another_one() -> None:
    scene = Scene()
    scene.from_xmpp("+12025550123", webrtc_session())
    first = await scene.dialled()
    assert first.made_for[0].patience == SILENCE
    first.sink(HungUp(Leg.CALLEE, Cause.TIMEOUT, 1))
    assert (await scene.dialled(2)).made_for[0].patience is None


async def test_an_emergency_caller_is_never_anonymous() -> None:
    scene = Scene(plan=replace(PLAN, emergency=EMERGENCY, callers={JULIET: CallerSettings(anonymous=True)}))
    scene.from_xmpp("911", webrtc_session())
    outgoing = (await scene.dialled()).made_for[0]
    assert (outgoing.anonymous, outgoing.from_uri.user) == (False, "+12025550111")


async def test_who_calls_is_shown_as_the_dialplan_says_and_asserted_to_trunks_alone() -> None:
    policy = Policy("plus", asserted=Format())
    trunks = {**PLAN.trunks, "carrier": replace(PLAN.trunks["carrier"], policy="plus")}
    juliet = CallerSettings(caller_id="+12025550144", display="Juliet Capulet")
    scene = Scene(plan=replace(PLAN, trunks=trunks, policies={"plus": policy}, callers={JULIET: juliet}))
    scene.from_xmpp("+12025550123", webrtc_session())
    outgoing = (await scene.dialled()).made_for[0]
    assert (str(outgoing.from_uri), outgoing.from_name) == (f"sip:+12025550144@{DOMAIN}", "Juliet Capulet")
    assert str(outgoing.asserted) == f"sip:+12025550144@{DOMAIN}"
    assert not outgoing.anonymous
    scene.from_xmpp("romeo%montague.lit", webrtc_session())
    outgoing = (await scene.dialled(2)).made_for[0]
    assert (outgoing.asserted, outgoing.from_uri.user) == (None, JULIET)


async def test_who_wants_no_name_has_none_and_his_trunk_alone_knows_him() -> None:
    scene = Scene(plan=replace(PLAN, callers={JULIET: CallerSettings(anonymous=True, display="Juliet")}))
    scene.from_xmpp("+12025550123", webrtc_session())
    outgoing = (await scene.dialled()).made_for[0]
    assert (outgoing.anonymous, outgoing.from_name, outgoing.asserted.user) == (True, "", "+12025550100")
    scene.from_xmpp("romeo%montague.lit", webrtc_session())
    outgoing = (await scene.dialled(2)).made_for[0]
    assert (outgoing.anonymous, outgoing.asserted) == (True, None)


def test_an_identity_is_asserted_within_the_trust_that_a_trunk_stands_for_and_nowhere_else() -> None:
    bridge = Bridge(cast(Any, FakeEngine()), "c1", Towards.XMPP)
    line = Line("c1", Call(), FakeLeg(), bridge, Facts("outbound", JULIET, "911"), PLAN, payer=JULIET)
    line.identities = {via: Identity(asserted="+12025550144") for via in ("carrier", "direct")}
    asserted = {
        via: outgoing_call(line, Destination(via, "sip:+12025550123@192.0.2.5"), DOMAIN).asserted
        for via in line.identities
    }
    assert asserted == {"carrier": SipUri("sip", "+12025550144", DOMAIN), "direct": None}
