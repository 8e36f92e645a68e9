"""The script of Monal fails where Monal does."""

from __future__ import annotations

import pytest

from tests.clients import user_agent as ua
from tests.clients.alone import CONTACT, OURS, VOICE, Alone, Change, with_, without
from tests.clients.monal import CONNECTED, CONNECTING, DISCOVERING, ENDED, RINGING, Monal
from tests.scenarios.clock import passes


async def offered(world: Alone) -> tuple[Monal, str]:
    """A client that has sent its session-initiate, and the sid."""
    juliet = Monal(world.home)
    juliet.call(CONTACT)
    sid = juliet.current.jmiid
    world.jmi("proceed", sid, juliet.jid)
    await passes(1)
    return juliet, sid


async def test_it_waits_thirty_seconds_for_ringing_and_forty_five_for_an_answer(world: Alone) -> None:
    juliet = Monal(world.home)
    juliet.call(CONTACT)
    sid = juliet.current.jmiid
    await passes(29)
    assert juliet.sees[-1] == DISCOVERING
    world.jmi("ringing", sid, juliet.jid)
    await passes(44)
    assert juliet.sees[-1] == RINGING
    await passes(2)
    assert juliet.sees[-1] == ENDED["retracted"]
    assert world.labels()[-1] == "message retract"


async def test_nobody_who_rings_for_thirty_seconds_is_nobody(world: Alone) -> None:
    juliet = Monal(world.home)
    juliet.call(CONTACT)
    await passes(31)
    assert juliet.sees[-1] == ENDED["retracted"]


async def test_fifteen_seconds_after_proceed_without_media_it_ends_the_call(world: Alone) -> None:
    juliet, _ = await offered(world)
    await passes(15)
    assert juliet.sees[-1] == ENDED["connectivity"]
    assert world.labels()[-2:] == ["iq session-terminate", "message finish"]


@pytest.mark.parametrize(
    "change",
    [
        with_("content", senders="none"),
        without("content", "creator"),
        with_("payload-type", id="opus"),
        without("parameter", "name"),
        without("parameter", "value"),
        without("fingerprint", "setup"),
        with_("fingerprint", setup="actpass"),
        with_("content", name="1"),
    ],
)
async def test_an_accept_that_it_cannot_read_ends_the_call(world: Alone, change: Change) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active", change))
    assert juliet.sees[-1] == ENDED["error"]


@pytest.mark.parametrize("missing", ["generation", "foundation", "priority", "type", "ip"])
async def test_a_candidate_without_what_it_needs_is_lost_and_with_it_the_call(world: Alone, missing: str) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active", without("candidate", missing)))
    await passes(16)
    assert CONNECTED not in juliet.sees
    assert juliet.sees[-1] == ENDED["connectivity"]


async def test_of_two_candidates_in_one_request_the_second_is_lost(world: Alone) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active"))
    both = ua.transport(OURS, candidates=[ua.candidate(1), ua.candidate(2)])
    world.jingle("transport-info", sid, juliet.jid, ua.content("0", both))
    assert juliet.complaints == ["1 candidates of one transport-info are lost"]


async def test_candidates_of_other_credentials_are_refused(world: Alone) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active"))
    other = ua.transport(ua.IceCredentials("news", "n" * 22), candidates=[ua.candidate(1)])
    world.jingle("transport-info", sid, juliet.jid, ua.content("0", other))
    await passes(1)
    assert world.labels()[-1] == "iq error not-authorized"


async def test_what_it_does_not_know_gets_no_answer(world: Alone) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active"))
    await passes(0.4)
    before = len(world.said)
    world.jingle("session-info", sid, juliet.jid, ua.make(ua.RTP_INFO, "hold"))
    world.jingle("content-add", sid, juliet.jid, *world.description("actpass", media="video", name="1"))
    await passes(0.4)
    assert len(world.said) == before


@pytest.mark.parametrize(
    ("action", "reason", "seen"),
    [
        ("reject", "", ENDED["rejected"]),
        ("finish", "connectivity-error", ENDED["connectivity"]),
        ("finish", "gone", ENDED["elsewhere"]),
    ],
)
async def test_what_ends_a_proposal(world: Alone, action: str, reason: str, seen: str) -> None:
    juliet = Monal(world.home)
    juliet.call(CONTACT)
    inside = [ua.reason(reason)] if reason else []
    world.jmi(action, juliet.current.jmiid, juliet.jid, *inside)
    assert juliet.sees[-1] == seen


async def test_a_second_call_of_the_same_contact_takes_the_place_of_the_first(world: Alone) -> None:
    juliet = Monal(world.home)
    world.jmi("propose", "s1", world.home.account, ua.make(ua.RTP, "description", media="audio"))
    juliet.answer()
    world.jmi("propose", "s2", world.home.account, ua.make(ua.RTP, "description", media="audio"), from_=VOICE)
    await passes(1)
    assert juliet.current.jmiid == "s2"
    assert juliet.sees[-2:] == ["Reconnecting...", CONNECTING]
    assert world.labels()[-3:] == ["message finish", "message ringing", "message proceed"]


async def test_a_ringing_that_comes_after_the_connection_ends_the_call(world: Alone) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active"))
    juliet.on_media()
    world.jmi("ringing", sid, juliet.jid)
    await passes(46)
    assert juliet.sees[-1] == ENDED["normal"]
