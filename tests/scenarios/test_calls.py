"""Whole calls, one scene each."""

from __future__ import annotations

import gc

import pytest

from gateway.call.causes import Cause
from gateway.call.trace import Traced
from gateway.media.engine import Lost
from gateway.session.model import Codec
from gateway.sip.message import Request
from tests.scenarios.clock import jumping, passes
from tests.scenarios.scene import CALLING, CONTACT, DOMAIN, NUMBER, OUR_NUMBER, Device, Scene
from tests.support import phone_session, webrtc_session

# From a user to a phone


async def test_a_user_calls_a_phone_talks_and_hangs_up(scene: Scene) -> None:
    juliet = scene.device()
    juliet.initiates(CONTACT, "s1")
    invite = await scene.phone.hears("INVITE")
    assert invite.uri.startswith(f"sip:{NUMBER}@127.0.0.1")
    scene.phone.answers(invite, 180)
    await juliet.hears("session-info")
    scene.phone.answers(invite, 200, phone_session())
    await juliet.hears("session-accept")
    await scene.phone.hears("ACK")
    juliet.terminates(CONTACT, "s1")
    await scene.phone.hears("BYE")
    record = await scene.over()
    assert (record.cause, record.by, record.direction, record.rule) == ("normal", "caller", "outbound", "numbers")
    assert juliet.heard == ["session-info", "session-accept"]
    assert scene.phone.heard == ["INVITE", "ACK", "BYE"]


async def test_a_call_that_is_over_leaves_nothing_of_ours_to_the_collector_of_garbage() -> None:
    with jumping():
        async with Scene() as scene:
            gc.collect()
            gc.disable()
            try:
                juliet, _ = await talking(scene)
                juliet.terminates(CONTACT, "s1")
                await scene.phone.hears("BYE")
                await scene.over()
                await passes(60)  # every timer of the call has run
                gc.set_debug(gc.DEBUG_SAVEALL)
                gc.collect()
                assert [found for found in gc.garbage if type(found).__module__.startswith("gateway.")] == []
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()


async def test_a_proposed_call_brings_its_session_only_when_the_phone_was_answered(scene: Scene) -> None:
    juliet = scene.device()
    juliet.proposes(CONTACT, "s1")
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 180)
    await juliet.hears("JMI ringing")
    scene.phone.answers(invite, 200, phone_session())
    await juliet.hears("JMI proceed")
    juliet.initiates(CONTACT, "s1")
    await juliet.hears("session-accept")
    await scene.phone.hears("ACK")
    scene.phone.hangs_up(invite)
    assert await juliet.hears_reason("session-terminate") == "success"
    record = await scene.over()
    assert (record.cause, record.by) == ("normal", "callee")


@pytest.mark.parametrize(
    ("status", "reason", "cause"),
    [
        (486, "busy", "busy"),
        (603, "decline", "declined"),
        (404, "gone", "not-found"),
        (480, "timeout", "unavailable"),
        (503, "connectivity-error", "congestion"),
    ],
)
async def test_what_the_phone_says_instead_of_answering_reaches_the_user(
    scene: Scene, status: int, reason: str, cause: str
) -> None:
    juliet = scene.device()
    juliet.initiates(CONTACT, "s1")
    scene.phone.answers(await scene.phone.hears("INVITE"), status)
    assert await juliet.hears_reason("session-terminate") == reason
    record = await scene.over()
    assert (record.cause, record.by, record.answered) == (cause, "callee", None)


async def test_a_refusal_after_a_proposal_is_a_reject_and_nobody_was_asked_for_a_session(scene: Scene) -> None:
    juliet = scene.device()
    juliet.proposes(CONTACT, "s1")
    scene.phone.answers(await scene.phone.hears("INVITE"), 486)
    assert await juliet.hears_reason("JMI reject") == "busy"
    await scene.over()
    assert "JMI proceed" not in juliet.heard
    assert "JMI ringing" not in juliet.heard


@pytest.mark.parametrize(
    "how",
    [
        "retracts",
        "terminates",
        "goes away",
    ],
)
async def test_a_user_who_gives_up_while_it_rings_cancels_the_phone(scene: Scene, how: str) -> None:
    juliet = scene.device()
    if how == "retracts":
        juliet.proposes(CONTACT, "s1")
    else:
        juliet.initiates(CONTACT, "s1")
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 180)
    await juliet.hears("JMI ringing" if how == "retracts" else "session-info")
    if how == "retracts":
        juliet.says("retract", CONTACT, "s1", "cancel")
    elif how == "terminates":
        juliet.terminates(CONTACT, "s1", "cancel")
    else:
        juliet.leaves(CONTACT)
    await scene.phone.hears("CANCEL")
    scene.phone.answers(invite, 487)
    await scene.phone.hears("ACK")
    record = await scene.over()
    assert (record.cause, record.by, record.blame) == ("cancelled", "caller", "caller")


async def test_an_answer_that_crosses_the_user_s_cancel_is_acknowledged_and_hung_up(scene: Scene) -> None:
    juliet = scene.device()
    juliet.initiates(CONTACT, "s1")
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 180)
    await juliet.hears("session-info")
    juliet.terminates(CONTACT, "s1", "cancel")
    await scene.phone.hears("CANCEL")
    scene.phone.answers(invite, 200, phone_session())
    await scene.phone.hears("ACK")
    await scene.phone.hears("BYE")
    assert (await scene.over()).cause == "cancelled"
    assert "session-accept" not in juliet.heard


async def test_two_ends_without_a_codec_in_common_are_told_so(scene: Scene) -> None:
    juliet = scene.device()
    juliet.initiates(CONTACT, "s1")
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 200, phone_session(Codec(18, "G729", 8000)))
    await scene.phone.hears("ACK")
    await scene.phone.hears("BYE")
    assert await juliet.hears_reason("session-terminate") == "incompatible-parameters"
    assert (await scene.over()).cause == "no-common-codec"


async def test_a_number_that_the_dialplan_refuses_is_never_dialled(scene: Scene) -> None:
    juliet = scene.device()
    juliet.initiates(f"+19005550123@{DOMAIN}", "s1")
    await juliet.hears("session-terminate")
    record = await scene.over()
    assert (record.cause, record.rule, record.text) == ("forbidden", "premium", "premium numbers are not allowed")
    assert scene.phone.heard == []


async def test_the_test_line_answers_by_itself(scene: Scene) -> None:
    juliet = scene.device()
    echo = f"echo@{DOMAIN}"
    juliet.initiates(echo, "s1")
    await juliet.hears("session-accept")
    assert [what for what, _ in scene.engine.names()] == ["allocate", "connect", "play", "loop"]
    juliet.terminates(echo, "s1")
    record = await scene.over()
    assert (record.cause, record.direction, record.via) == ("normal", "test", "echo")


async def test_two_calls_at_a_time_do_not_hear_of_each_other(scene: Scene) -> None:
    juliet, nurse = scene.device(), scene.device("nurse@shakespeare.lit/phone")
    juliet.initiates(CONTACT, "s1")
    first = await scene.phone.hears("INVITE")
    nurse.initiates(CONTACT, "s1")
    second = await scene.phone.hears("INVITE")
    scene.phone.answers(second, 200, phone_session())
    await nurse.hears("session-accept")
    scene.phone.answers(first, 486)
    assert await juliet.hears_reason("session-terminate") == "busy"
    nurse.terminates(CONTACT, "s1")
    await scene.phone.hears("BYE")
    assert sorted([(await scene.over()).cause, (await scene.over()).cause]) == ["busy", "normal"]


# From a phone to a user


async def test_a_phone_calls_a_user_talks_and_hangs_up(scene: Scene) -> None:
    juliet = scene.device()
    scene.phone.calls(OUR_NUMBER)
    propose = await juliet.hears("JMI propose")
    contact, sid = propose.get("from", ""), propose[0].get("id", "")
    assert contact.startswith(CALLING)
    juliet.says("ringing", contact, sid)
    await scene.phone.hears_back("180 Ringing")
    juliet.says("proceed", contact, sid)
    await juliet.hears("session-initiate")
    juliet.accepts(contact, sid)
    ok = await scene.phone.hears_back("200 OK")
    scene.phone.confirms(ok)
    scene.phone.hangs_up(ok)
    assert await juliet.hears_reason("session-terminate") == "success"
    record = await scene.over()
    assert (record.cause, record.by, record.direction, record.rule) == ("normal", "caller", "inbound", "main")
    assert record.answered is not None


async def test_a_user_who_was_called_hangs_up(scene: Scene) -> None:
    juliet = scene.device()
    scene.phone.calls(OUR_NUMBER)
    propose = await juliet.hears("JMI propose")
    contact, sid = propose.get("from", ""), propose[0].get("id", "")
    juliet.says("proceed", contact, sid)
    await juliet.hears("session-initiate")
    juliet.accepts(contact, sid, webrtc_session())
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    juliet.terminates(contact, sid)
    await scene.phone.hears("BYE")
    assert (await scene.over()).by == "callee"


@pytest.mark.parametrize(("reason", "answer"), [("busy", "486 Busy Here"), ("decline", "603 Decline")])
async def test_a_user_who_does_not_want_the_call_is_heard_at_the_phone(scene: Scene, reason: str, answer: str) -> None:
    juliet = scene.device()
    scene.phone.calls(OUR_NUMBER)
    propose = await juliet.hears("JMI propose")
    juliet.says("reject", propose.get("from", ""), propose[0].get("id", ""), reason)
    await scene.phone.hears_back(answer)
    assert (await scene.over()).blame == "callee"


async def test_a_phone_that_gives_up_takes_the_proposal_back(scene: Scene) -> None:
    juliet = scene.device()
    invite = scene.phone.calls(OUR_NUMBER)
    propose = await juliet.hears("JMI propose")
    juliet.says("ringing", propose.get("from", ""), propose[0].get("id", ""))
    await scene.phone.hears_back("180 Ringing")
    scene.phone.cancels(invite)
    await juliet.hears("JMI retract")
    await scene.phone.hears_back("487 Request Terminated")
    assert (await scene.over()).cause == "cancelled"


async def test_the_first_device_to_take_the_call_has_it_and_the_others_stop(scene: Scene) -> None:
    balcony, chamber = scene.device(), scene.device("juliet@shakespeare.lit/chamber")
    scene.phone.calls(OUR_NUMBER)
    propose = await balcony.hears("JMI propose")
    await chamber.hears("JMI propose")
    contact, sid = propose.get("from", ""), propose[0].get("id", "")
    balcony.says("ringing", contact, sid)
    chamber.says("ringing", contact, sid)
    chamber.says("proceed", contact, sid)
    balcony.says("proceed", contact, sid)
    await chamber.hears("session-initiate")
    await balcony.hears("JMI finish")
    chamber.accepts(contact, sid)
    ok = await scene.phone.hears_back("200 OK")
    scene.phone.confirms(ok)
    scene.phone.hangs_up(ok)
    await scene.over()
    assert "session-initiate" not in balcony.heard


async def test_a_number_of_nobody_s_is_not_found(scene: Scene) -> None:
    scene.device()
    scene.phone.calls(f"sip:+12025550111@{DOMAIN}")
    await scene.phone.hears_back("404 Not Found")
    assert (await scene.over()).cause == "not-found"
    assert scene.devices[0].heard == []


async def test_a_stranger_gets_one_answer_whoever_he_asks_for_and_the_user_hears_nothing(scene: Scene) -> None:
    juliet = scene.device()
    for number in ("+12025550100", "+12025550111", "juliet%25shakespeare.lit"):
        scene.stranger.calls(f"sip:{number}@{DOMAIN}")
        await scene.stranger.hears_back("403 Forbidden")
        await scene.over()
    assert set(scene.stranger.heard) <= {"100 Trying", "403 Forbidden"}
    assert juliet.heard == []


# In the middle of a call


async def talking(scene: Scene) -> tuple[Device, Request]:
    """A call from juliet to the phone, answered; her device, and the INVITE that the phone got."""
    juliet = scene.device()
    juliet.initiates(CONTACT, "s1")
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 200, phone_session())
    await juliet.hears("session-accept")
    await scene.phone.hears("ACK")
    return juliet, invite


async def test_a_user_whose_device_goes_away_for_good_leaves_no_call_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.xmpp.session.DEPARTED_PING", 0.0)
    juliet, _ = await talking(scene)
    juliet.forgets = True
    juliet.leaves(CONTACT)
    await scene.phone.hears("BYE")
    assert (await scene.over()).by == "caller"


async def test_media_that_is_lost_ends_the_call_on_both_sides(scene: Scene) -> None:
    juliet, _ = await talking(scene)
    (call,) = {rung.what.call for rung in scene.traced if isinstance(rung.what, Traced)}
    scene.engine.on_event(Lost(call, "caller", Cause.MEDIA_LOST, "nothing came for 30 s"))
    await scene.phone.hears("BYE")
    assert await juliet.hears_reason("session-terminate") == "connectivity-error"
    record = await scene.over()
    assert (record.cause, record.by, record.text) == ("media-lost", "", "nothing came for 30 s")


async def test_a_gateway_that_stops_says_so_on_both_sides(scene: Scene) -> None:
    juliet, _ = await talking(scene)
    await scene.switchboard.drain()
    await scene.phone.hears("BYE")
    assert await juliet.hears_reason("session-terminate") == "gone"
    assert (await scene.over()).cause == "shutdown"


async def test_a_call_outlives_the_link_when_the_device_still_knows_it(scene: Scene) -> None:
    juliet, invite = await talking(scene)
    scene.link_breaks()
    scene.link_is_back()
    await juliet.hears("session-info")  # the ping, which every client acknowledges
    scene.phone.hangs_up(invite)
    assert await juliet.hears_reason("session-terminate") == "success"
    assert (await scene.over()).cause == "normal"


async def test_a_call_that_the_device_has_forgotten_ends_when_the_link_is_back(scene: Scene) -> None:
    juliet, _ = await talking(scene)
    scene.link_breaks()
    juliet.forgets = True
    scene.link_is_back()
    await scene.phone.hears("BYE")
    await scene.over()


async def test_a_phone_that_hangs_up_while_the_link_is_down_is_heard_when_it_is_back(scene: Scene) -> None:
    juliet, invite = await talking(scene)
    scene.link_breaks()
    scene.phone.hangs_up(invite)
    assert (await scene.over()).cause == "normal"
    assert "session-terminate" not in juliet.heard
    scene.link_is_back()
    await juliet.hears("session-terminate")


async def test_the_whole_call_is_on_its_ladder_in_order(scene: Scene) -> None:
    juliet, _ = await talking(scene)
    juliet.terminates(CONTACT, "s1")
    await scene.phone.hears("BYE")
    record = await scene.over()
    told = [rung.what for rung in scene.traced if isinstance(rung.what, Traced)]
    assert {traced.call for traced in told} == {record.id}
    signalled = [t for t in told if t.peer != "media" and t.label not in ("100 Trying", "200 OK")]
    assert [(t.peer, t.sent, t.label) for t in signalled][:6] == [
        ("xmpp", False, "session-initiate"),
        ("sip", True, "INVITE"),
        ("sip", True, "ACK"),
        ("xmpp", True, "session-accept"),
        ("xmpp", False, "session-terminate"),
        ("sip", True, "BYE"),
    ]
