"""The script of Siskin fails where Siskin does."""

from __future__ import annotations

import pytest

from tests.clients import user_agent as ua
from tests.clients.alone import CALLABLE, CONTACT, VOICE, WITHOUT_JMI, Alone, with_, without
from tests.clients.siskin import CONNECTING, ENDED, RINGING, Siskin
from tests.scenarios.clock import passes


async def offered(world: Alone) -> tuple[Siskin, str]:
    """A client that has sent its session-initiate, and the sid."""
    juliet = Siskin(world.home)
    juliet.call(CONTACT)
    await passes(1)
    sid = juliet.talk.sid if juliet.talk else ""
    world.jmi("proceed", sid, juliet.jid)
    await passes(1)
    return juliet, sid


@pytest.mark.parametrize("info", [CALLABLE, None])
async def test_it_proposes_to_whoever_has_jmi_and_to_strangers(world: Alone, info: ua.Info | None) -> None:
    juliet = Siskin(world.home)
    if info is not None:
        world.shows(info)
        await world.tells(info)
    juliet.call(CONTACT)
    await passes(1)
    assert world.last("message propose").get("to") == CONTACT
    assert world.last("message propose").get("id") is None


async def test_one_resource_without_jmi_makes_it_call_all_of_them_with_one_sid(world: Alone) -> None:
    juliet = Siskin(world.home)
    for info, jid in ((CALLABLE, VOICE), (WITHOUT_JMI, f"{CONTACT}/old")):
        world.shows(info, from_=jid)
        await world.tells(info)
    juliet.call(CONTACT)
    await passes(1)
    asked = [s for s in world.said if ua.label(s) == "iq session-initiate"]
    assert [s.get("to") for s in asked] == [VOICE, f"{CONTACT}/old"]
    assert len({s[0].get("sid") for s in asked}) == 1
    assert "message propose" not in world.labels()


@pytest.mark.parametrize("answer", ["error", "silence"])
async def test_a_session_initiate_without_a_result_is_over_within_thirty_seconds(world: Alone, answer: str) -> None:
    juliet, _ = await offered(world)
    if answer == "error":
        world.answers(world.last("iq session-initiate"), error="service-unavailable")
    await passes(31)
    assert juliet.sees == [RINGING, CONNECTING, ENDED]
    assert world.labels()[-1] == "iq session-terminate"


@pytest.mark.parametrize("attribute", ["name", "clockrate"])
async def test_a_payload_without_name_or_clock_rate_crashes_it(world: Alone, attribute: str) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active", without("payload-type", attribute)))
    assert juliet.sees[-1] == "the app is gone"


async def test_a_foundation_that_is_no_number_loses_the_candidate(world: Alone) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active", with_("candidate", foundation="a1")))
    assert "a candidate is dropped" in juliet.complaints[0]


async def test_an_accept_with_other_contents_ends_the_call(world: Alone) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active", with_("content", name="9")))
    assert juliet.sees[-1] == ENDED


async def test_content_that_is_added_ends_a_call_that_it_made(world: Alone) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active"))
    world.jingle("content-add", sid, juliet.jid, *world.description("actpass", media="video", name="1"))
    assert juliet.sees[-1] == ENDED


@pytest.mark.parametrize(("action", "ends"), [("retract", True), ("reject", True), ("finish", False)])
async def test_a_finish_is_unknown_to_it(world: Alone, action: str, ends: bool) -> None:
    juliet = Siskin(world.home)
    world.jmi("propose", "s1", world.home.account, ua.make(ua.RTP, "description", media="audio"))
    world.jmi(action, "s1", juliet.jid)
    assert (juliet.sees[-1] == ENDED) is ends


async def test_who_gives_up_says_reject_to_himself_and_to_the_contact(world: Alone) -> None:
    juliet = Siskin(world.home)
    juliet.call(CONTACT)
    await passes(1)
    juliet.hang_up()
    await passes(1)
    assert [(ua.label(s), s.get("to")) for s in world.said][-1] == ("message reject", CONTACT)
    assert juliet.heard[-1] == "message reject"


async def test_it_rings_only_with_push(world: Alone) -> None:
    juliet = Siskin(world.home)
    juliet.push = False
    world.jmi("propose", "s1", world.home.account, ua.make(ua.RTP, "description", media="audio"))
    assert juliet.sees == []
