"""Rule 4: trunks call in, and anybody where a rule says so; only trunks' callers are numbers; a stranger learns nothing
of who is there, and what is inside a call is said by its two ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway import routing
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.dialplan.plan import InboundMatch, InboundRule, Plan
from gateway.routing import RING_SECONDS, Limits
from gateway.session import sdp
from gateway.session.model import Setup
from gateway.sip.message import Request, Response
from gateway.xmpp import stanzas
from tests.board import DOMAIN as BOARD_DOMAIN
from tests.board import NURSE, PLAN, Scene
from tests.safety.stage import Stage
from tests.scenarios.scene import DOMAIN, JULIET, Phone
from tests.support import PCMU, FakeLeg, phone_session, webrtc_session

STRANGE = "198.51.100.66"

FORGED = (
    "sip:+12025550199@carrier.example",
    "sip:+12025550199@sip.example.com",
    "sip:+12025550199@127.0.0.1",
    "sip:+12025550199@sip.example.com;user=phone",
    "tel:+12025550199",
    "sip:juliet%40shakespeare.lit@sip.example.com",
    "sip:911@sip.example.com",
    "sip:%2B12025550199%25carrier.example@x",
    "sip:+12025550199%25@x",
    "sip:@x",
    "sip:x",
    "sip:anonymous@anonymous.invalid",
    "sip:echo@sip.example.com",
    "sip:%C2%AD@x",
)


# Who somebody appears to be


@pytest.mark.parametrize("claim", FORGED)
async def test_a_stranger_is_never_a_number_nor_a_name_of_ours_whatever_he_says_of_himself(claim: str) -> None:
    async with Stage() as stage:
        juliet = stage.device()
        invite = stage.stranger.request("INVITE", None, "forged")
        invite.uri = f"sip:juliet%40shakespeare.lit@{DOMAIN}"
        if claim != "sip:@x":
            invite.headers.set("From", f"Juliet <{claim}>;tag=x")
        for name in ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID"):
            invite.headers.add(name, "<sip:+12025550199@carrier.example>")
        with_offer(stage.stranger, invite)
        propose = await juliet.hears("JMI propose")
        local = propose.get("from", "").partition("@")[0]
        assert "%" in local
        assert not local.startswith("%")
        stage.stranger.cancels(invite)
        await stage.over()


async def test_a_trunk_may_say_who_calls_and_what_it_asserts_counts_for_more() -> None:
    async with Stage() as stage:
        juliet = stage.device()
        invite = stage.phone.request("INVITE", None, "asserted")
        invite.headers.set("From", "<sip:+19005550123@evil.example>;tag=x")
        invite.headers.add("P-Asserted-Identity", "<sip:+12025550199@carrier.example>, <tel:+12025550188>")
        with_offer(stage.phone, invite)
        assert (await juliet.hears("JMI propose")).get("from", "").startswith(f"+12025550199@{DOMAIN}/")
        stage.phone.cancels(invite)
        await stage.over()


@pytest.mark.parametrize(
    "claim", ["sip:juliet%40shakespeare.lit@sip.example.com", "sip:echo@sip.example.com", "sip:desk@carrier.example"]
)
async def test_a_trunks_caller_is_a_number_or_somebody_at_his_host_and_never_a_user_of_ours(claim: str) -> None:
    async with Stage() as stage:
        juliet = stage.device()
        invite = stage.phone.calls(f"sip:+12025550100@{DOMAIN}", caller=claim)
        assert "%" in (await juliet.hears("JMI propose")).get("from", "")
        stage.phone.cancels(invite)
        await stage.over()


# Who is there


def rules(*more: InboundRule) -> Plan:
    """Strangers may call nurse, and anybody at shakespeare.lit by JID."""
    anybody = InboundRule(
        "by JID", InboundMatch(any_source=True, user=("*%shakespeare.lit",)), ("{user}@shakespeare.lit",)
    )
    return replace(PLAN, inbound=(*PLAN.inbound, anybody, *more))


def bounces(cause: Cause, text: str) -> Callable[[Scene, int], None]:
    def act(scene: Scene, number: int) -> None:
        scene.callees[number].sink(ev.HungUp(Leg.CALLEE, cause, scene.callees[number].attempt, text))

    return act


def silent(_scene: Scene, _number: int) -> None: ...


def fails(scene: Scene, _number: int) -> None:
    scene.engine.fails = {"allocate"}


# Whom he asks for, and what becomes of it: of all of these nobody's telephone rings.
UNANSWERED = {
    "no rule for this name": ("nobody", silent),
    "no rule for this number": ("+12025550199", silent),
    "for trunks only": ("desk", silent),
    "premium": ("+19005550123", silent),
    "no name at all": ("a%b%c", silent),
    "offline, and the server keeps what is said to him": ("nurse", silent),
    "offline, and the server says so": ("nurse", bounces(Cause.UNAVAILABLE, "service-unavailable")),
    "no such account": ("juliet%shakespeare.lit", bounces(Cause.NOT_FOUND, "item-not-found")),
    "his server is away": ("juliet%40shakespeare.lit", bounces(Cause.UNAVAILABLE, "remote-server-not-found")),
    "he blocks the caller": ("nurse", bounces(Cause.FORBIDDEN, "not-acceptable")),
    "he has calls enough": ("nurse", bounces(Cause.CONGESTION, "too many")),
    "the link is down": ("nurse", bounces(Cause.LINK_LOST, "")),
    "no media for him": ("nurse", fails),
}


@pytest.mark.parametrize("case", UNANSWERED)
async def test_whoever_does_not_ring_is_one_answer_after_one_time(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(plan=rules())
    whom, then = UNANSWERED[case]
    if then is fails:
        fails(scene, 0)
    clock = Clock(monkeypatch)
    caller, admitted = scene.from_sip(f"sip:{whom}@{BOARD_DOMAIN}", STRANGE, "sip:x@evil.example")
    await scene.settled()
    if scene.callees:
        then(scene, 0)
    await scene.settled()
    assert scene.board._lines[admitted.call].machine.deadline == clock.now + RING_SECONDS
    clock.pass_(RING_SECONDS - 0.1)
    await scene.settled()
    assert caller.told == []
    clock.pass_(0.2)
    await scene.ended()
    assert caller.told == [("hang_up", Cause.UNAVAILABLE, "")]
    assert all(not leg.ask_presence for leg in scene.callees)


class Clock:
    """The loop's, which passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = asyncio.get_running_loop().time()
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("ring", ["parallel", "sequence"])
async def test_who_rings_is_rung_and_what_was_kept_back_counts_then(ring: str) -> None:
    both = InboundRule("both", InboundMatch(any_source=True, user=("ward",)), (JULIET, NURSE), ring)  # type: ignore[arg-type]
    scene = Scene(plan=rules(both))
    caller, _ = scene.from_sip(f"sip:ward@{BOARD_DOMAIN}", STRANGE)
    first = await scene.dialled()
    first.sink(ev.HungUp(Leg.CALLEE, Cause.NOT_FOUND, 1, "item-not-found"))
    if ring == "parallel":
        second = await scene.dialled(2)
        second.sink(ev.Ringing(2))
        second.sink(ev.HungUp(Leg.CALLEE, Cause.DECLINED, 2))
        await scene.ended()
        assert caller.told[0] == ("alert",)
        assert caller.told[1][:2] == ("hang_up", Cause.DECLINED)
    else:
        await scene.settled()
        assert len(scene.callees) == 1, "the next one rings when his time has come, whether or not the first exists"
        await scene.board.drain()


async def test_a_person_who_declines_is_heard_at_once() -> None:
    scene = Scene(plan=rules())
    for number, cause in enumerate((Cause.BUSY, Cause.DECLINED)):
        caller, _ = scene.from_sip(f"sip:nurse@{BOARD_DOMAIN}", STRANGE)
        leg = await scene.dialled(number + 1)
        leg.sink(ev.HungUp(Leg.CALLEE, cause, 1))
        await scene.until(lambda caller=caller: caller.told != [])
        assert caller.told[0][:2] == ("hang_up", cause)


async def test_a_stranger_who_gets_through_talks() -> None:
    scene = Scene(plan=rules())
    caller, _ = scene.from_sip(f"sip:nurse@{BOARD_DOMAIN}", STRANGE)
    leg = await scene.dialled()
    leg.sink(ev.Answered(1, webrtc_session(PCMU, setup=Setup.ACTIVE, name="audio")))
    await scene.until(lambda: "answer" in caller.names())
    leg.sink(ev.HungUp(Leg.CALLEE, Cause.NORMAL, 1))
    assert (await scene.ended()).cause == "normal"


@pytest.mark.slow
async def test_on_the_wire_an_unknown_user_and_one_who_is_offline_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "RING_SECONDS", 0.3)
    heard: dict[str, list[str]] = {}
    for whom in (
        "nobody",
        "romeo%40shakespeare.lit",
        "juliet%40shakespeare.lit",
        "ghost%shakespeare.lit",
        "echo",
        "911",
    ):
        async with Stage() as stage:
            if whom.startswith("juliet"):
                juliet = stage.device()
            stage.stranger.calls(f"sip:{whom}@{DOMAIN}")
            if whom.startswith("juliet"):
                propose = await juliet.hears("JMI propose")
                juliet.sends(stanzas.error(propose, "item-not-found"))
            if whom.startswith("ghost"):
                await stage.until_sent("message")
                bounce = stanzas.error(next(s for s in stage.sent if s.tag == stanzas.MESSAGE), "service-unavailable")
                stage.component._received(bounce)
            answer = await stage.stranger.hears_back("480 Temporarily Unavailable")
            heard[whom] = [*stage.stranger.heard, *shape(answer)]
            await stage.over()
            assert not any(stanza.tag == stanzas.PRESENCE for stanza in stage.sent), "and no presence was asked for"
    assert len({tuple(lines) for lines in heard.values()}) == 1, heard


def shape(answer: Response) -> list[str]:
    """What an answer tells, but for what is each call's own."""
    own = {"via", "from", "to", "call-id", "cseq"}
    return [f"{name}: {value}" for name, value in answer.headers if name.lower() not in own]


@pytest.mark.parametrize("method", ["OPTIONS", "SUBSCRIBE", "MESSAGE", "REGISTER", "PUBLISH", "NOTIFY", "REFER"])
async def test_no_other_question_tells_who_is_there(method: str) -> None:
    async with Stage() as stage:
        juliet = stage.device()
        answers = set()
        for number, whom in enumerate(
            ("juliet%40shakespeare.lit", "ghost%40shakespeare.lit", "nobody", "+12025550100")
        ):
            request = stage.stranger.request(method, None, f"ask-{number}")
            request.uri = f"sip:{whom}@{DOMAIN}"
            request.headers.set("To", f"<{request.uri}>")
            for name, value in (("Event", "presence"), ("Refer-To", f"<sip:x@{DOMAIN}>"), ("Expires", "60")):
                request.headers.add(name, value)
            stage.stranger.sends(bytes(request))
            answer = await stage.stranger.answer_to(request)
            answers.add((answer.label, tuple(shape(answer))))
        assert len(answers) == 1
        assert (stage.sent, juliet.heard) == ([], [])


async def test_strangers_fill_neither_the_house_nor_one_users_telephone() -> None:
    scene = Scene(plan=rules(), limits=Limits(calls=10, strangers=4, per_user=3, per_name=2))

    async def calls(whom: str, source: str) -> FakeLeg:
        leg, _ = scene.from_sip(f"sip:{whom}@{BOARD_DOMAIN}", source)
        await scene.settled()
        return leg

    names = ["juliet%shakespeare.lit", "juliet%40shakespeare.lit", "Juliet%40Shakespeare.LIT"]
    one_name = [await calls(name, f"198.51.100.{n}") for n, name in enumerate(names)]
    assert [bool(leg.told) for leg in one_name] == [False, False, True], "however the name is written"
    unknown = [await calls("ghost", f"198.51.101.{n}") for n in range(3)]
    assert [bool(leg.told) for leg in unknown] == [False, False, True], "whether or not there is such a user"
    assert (await calls("nurse", "203.0.113.1")).told[0][1] is Cause.CONGESTION, "strangers have what strangers have"
    _, admitted = scene.from_sip("sip:+12025550100@sip.example.com")
    before = len(scene.callees)
    await scene.dialled(before + 2)
    scene.from_xmpp("+12025550123", webrtc_session())
    await scene.dialled(before + 3)
    assert admitted.call in scene.board._lines


@pytest.mark.parametrize("whom", ["nurse", "ghost"])
async def test_a_stranger_who_rings_and_runs_does_not_ring_all_day(whom: str) -> None:
    scene = Scene(plan=rules(), limits=Limits(per_minute=3))
    told = []
    for n in range(5):
        leg, admitted = scene.from_sip(f"sip:{whom}@{BOARD_DOMAIN}", f"198.51.100.{n}")
        await scene.settled()
        admitted.sink(ev.HungUp(Leg.CALLER, Cause.CANCELLED))
        await scene.settled()
        told.append(leg.names())
    assert told == [[], [], [], ["hang_up"], ["hang_up"]]


async def test_a_network_of_ipv6_is_one_stranger() -> None:
    scene = Scene(plan=rules(), limits=Limits(per_user=2))
    legs = []
    for n in range(4):
        legs.append(scene.from_sip(f"sip:u{n}%shakespeare.lit@{BOARD_DOMAIN}", f"2001:db8:1:2:{n}::1")[0])
    legs.append(scene.from_sip(f"sip:u9%shakespeare.lit@{BOARD_DOMAIN}", "2001:db8:1:3::1")[0])
    await scene.settled()
    assert [bool(leg.told) for leg in legs] == [False, False, True, True, False]


# Inside a call


@pytest.mark.parametrize("method", ["BYE", "INVITE", "UPDATE", "INFO", "REFER", "NOTIFY"])
async def test_who_does_not_know_the_dialog_says_nothing_in_it(method: str) -> None:
    async with Stage() as stage:
        juliet = stage.device()
        stage.phone.calls(f"sip:+12025550100@{DOMAIN}")
        propose = await juliet.hears("JMI propose")
        contact, sid = propose.get("from", ""), propose[0].get("id", "")
        juliet.says("proceed", contact, sid)
        await juliet.hears("session-initiate")
        juliet.accepts(contact, sid)
        ok = await stage.phone.hears_back("200 OK")
        stage.phone.confirms(ok)
        from_, to = ok.headers["From"], ok.headers["To"]
        for number, (one, other) in enumerate(
            [
                (f"{from_}x", to),
                (from_, f"{to}x"),
                (to, from_),
                (from_.partition(";")[0], to),
            ]
        ):
            forged = stage.stranger.request(method, ok, ok.call_id)
            forged.headers.set("From", one)
            forged.headers.set("To", other)
            forged.headers.set("Via", f"SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK-forged{number};rport")
            stage.stranger.sends(bytes(forged))
            answer = await stage.stranger.answer_to(forged)
            assert answer.status_code in (481, 400), answer.label
        assert stage.switchboard.live == 1
        assert "session-terminate" not in juliet.heard
        stage.phone.hangs_up(ok)
        assert (await stage.over()).cause == "normal"


def with_offer(phone: Phone, invite: Request) -> None:
    """Send an INVITE with a phone's offer."""
    invite.headers.set("Content-Type", "application/sdp")
    invite.body = sdp.render(phone_session()).encode()
    phone.sends(bytes(invite))
