"""The script of Conversations fails where Conversations does."""

from __future__ import annotations

import pytest

from tests.clients import user_agent as ua
from tests.clients.alone import CALLABLE, CONTACT, VOICE, WITHOUT_JMI, Alone, Change, with_, without
from tests.clients.conversations import UNREACHABLE, Conversations, Conversations2190
from tests.scenarios.clock import passes

LONG_NAME = "a-name-that-is-too-long"


def initiating(world: Alone) -> tuple[Conversations, str]:
    """A client that has sent its session-initiate, and the sid."""
    juliet = Conversations(world.home)
    juliet.call(CONTACT)
    assert juliet.proposal is not None
    return juliet, juliet.proposal.sid


async def offered(world: Alone) -> tuple[Conversations, str]:
    juliet, sid = initiating(world)
    world.jmi("proceed", sid, juliet.jid)
    await passes(1)
    return juliet, sid


async def test_caps_are_believed_when_their_hash_and_node_are_right(world: Alone) -> None:
    juliet = Conversations(world.home)
    world.shows(CALLABLE)
    await world.tells(CALLABLE)
    assert juliet.capability(VOICE) == "audio"
    assert juliet.complaints == []


async def test_an_answer_for_another_node_is_thrown_away(world: Alone) -> None:
    juliet = Conversations(world.home)
    world.shows(CALLABLE)
    await world.tells(CALLABLE, node="urn:gate#other")
    assert juliet.capability(VOICE) == ""
    assert "node in response did not match" in juliet.complaints[0]


async def test_a_hash_that_does_not_match_is_noticed_and_not_remembered(world: Alone) -> None:
    juliet = Conversations(world.home)
    world.shows(CALLABLE, ver="AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    await world.tells(CALLABLE)
    assert "mismatch" in juliet.complaints[0]
    assert juliet.cache == {}


async def test_both_hashes_are_those_of_the_specifications(world: Alone) -> None:
    """The examples of XEP-0115 §5.2 and XEP-0390 §4.2.1."""
    protocol, client = "http://jabber.org/protocol/", "Exodus 0.9.1"
    exodus = {f"{protocol}{name}" for name in ("caps", "disco#info", "disco#items", "muc")}
    assert ua.Info(frozenset({("client", "pc", "", client)}), frozenset(exodus)).ver == "QgayPKawpkPSDYmwT/WM94uAlu0="
    said = "si bytestreams chatstates disco#info disco#items rosterx ibb si/profile/file-transfer"
    bombus = {f"{protocol}{name}" for name in said.split()}
    bombus |= {f"jabber:iq:{name}" for name in ("time", "privacy", "version", "roster", "last")}
    bombus |= {"urn:xmpp:ping", "urn:xmpp:time", "urn:xmpp:receipts", "jabber:x:oob"}
    mobile = ua.Info(frozenset({("client", "mobile", "", "BombusMod")}), frozenset(bombus))
    assert mobile.caps2 == "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8="


@pytest.mark.parametrize(("client", "seconds"), [(Conversations, 12), (Conversations2190, 6)])
async def test_a_friend_who_shows_no_sign_is_given_up(
    world: Alone, client: type[Conversations], seconds: float
) -> None:
    juliet = client(world.home)
    world.home.knows(CONTACT)
    juliet.call(CONTACT)
    await passes(seconds - 0.5)
    assert juliet.sees == ["Discovering devices"]
    await passes(1)
    assert juliet.sees[-1] == UNREACHABLE
    assert world.labels()[-1] == "message retract"


async def test_a_stranger_may_take_his_time(world: Alone) -> None:
    juliet = Conversations(world.home)
    juliet.call(CONTACT)
    await passes(60)
    assert juliet.sees == ["Discovering devices"]


@pytest.mark.parametrize("action", ["ringing", "proceed", "reject"])
async def test_what_is_said_to_the_bare_address_does_not_count(world: Alone, action: str) -> None:
    juliet, sid = initiating(world)
    world.jmi(action, sid, world.home.account)
    await passes(1)
    assert juliet.sees == ["Discovering devices"]


async def test_without_jmi_it_calls_a_resource_directly(world: Alone) -> None:
    juliet = Conversations(world.home)
    world.shows(WITHOUT_JMI)
    await world.tells(WITHOUT_JMI)
    juliet.call(CONTACT)
    await passes(1)
    assert world.last("iq session-initiate").get("to") == VOICE


async def test_a_bare_address_without_jmi_crashes_it_up_to_2_19_0(world: Alone) -> None:
    old, new = Conversations2190(world.home, "old"), Conversations(world.home, "new")
    world.shows(WITHOUT_JMI, from_=CONTACT)
    await passes(1)
    for asked in [s for s in world.said if ua.label(s) == "iq get"]:
        world.answers(asked, WITHOUT_JMI.element(asked[0].get("node")))
    old.call(CONTACT)
    new.call(CONTACT)
    assert old.sees == ["Conversations keeps stopping"]
    assert new.sees == ["Discovering devices"]


async def test_a_good_accept_connects(world: Alone) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active"))
    await passes(0.1)
    assert juliet.sees[-1] == "Connecting"


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (with_("fingerprint", setup="actpass"), "App failure"),
        (without("fingerprint", "setup"), "Verification problem"),
        (without("fingerprint", "hash"), "Verification problem"),
        (with_("description", media="video"), "Verification problem"),
        (with_("content", name=LONG_NAME), "App failure"),
        (with_("content", name="1"), "App failure"),
        (with_("payload-type", id="opus"), "App failure"),
        (with_("payload-type", id="120"), "App failure"),
        (without("payload-type", "name"), "App failure"),
        (without("parameter", "value"), "App failure"),
        (without("parameter", "name"), "App failure"),
        (without("transport", "pwd"), "App failure"),
        (with_("transport", ufrag="a b"), "App failure"),
    ],
)
async def test_an_accept_with_a_flaw_ends_the_call(world: Alone, change: Change, seen: str) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active", change))
    await passes(1)
    assert juliet.sees[-1] == seen
    assert world.labels()[-2:] == ["iq session-terminate", "message finish"]


async def test_any_error_inside_a_session_ends_it(world: Alone) -> None:
    juliet, _ = await offered(world)
    world.answers(world.last("iq transport-info"), error="bad-request")
    assert juliet.sees[-1] == "App failure"


@pytest.mark.parametrize("action", ["content-reject", "content-accept", "content-remove", "content-modify"])
async def test_a_content_action_that_answers_nothing_ends_the_call(world: Alone, action: str) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active"))
    world.jingle(action, sid, juliet.jid, *world.description("active"))
    await passes(1)
    assert juliet.sees[-1] == "App failure"


async def test_a_finish_is_nothing_to_it(world: Alone) -> None:
    juliet, sid = await offered(world)
    world.jmi("finish", sid, juliet.jid, ua.reason("success"))
    await passes(1)
    assert juliet.session is not None


async def test_a_restart_without_an_answer_leaves_it_reconnecting_and_one_without_candidates_is_a_tie(
    world: Alone,
) -> None:
    juliet, sid = await offered(world)
    world.jingle("session-accept", sid, juliet.jid, *world.description("active"))
    juliet.changes_network()
    await passes(5)
    world.answers(world.last("iq transport-info"))
    new = ua.content("0", ua.transport(ua.IceCredentials("news", "n" * 22)))
    world.jingle("transport-info", sid, juliet.jid, new)
    await passes(5)
    assert juliet.sees[-1] == "Reconnecting"
    assert world.labels()[-1] == "iq error conflict"


async def test_a_session_must_come_from_whoever_proposed_it(world: Alone) -> None:
    juliet = Conversations(world.home)
    world.jmi("propose", "s1", world.home.account, ua.make(ua.RTP, "description", media="audio"))
    juliet.answer()
    await passes(1)
    world.jingle("session-initiate", "s1", juliet.jid, *world.description("actpass"), from_=f"{CONTACT}/other")
    await passes(1)
    assert juliet.sees[-1] == "Accepting call"
    world.jingle("session-initiate", "s1", juliet.jid, *world.description("actpass", media="video"))
    await passes(1)
    assert juliet.sees[-1] == "Verification problem"


async def test_an_offer_has_to_be_actpass(world: Alone) -> None:
    juliet = Conversations(world.home)
    world.jingle("session-initiate", "s1", juliet.jid, *world.description("active"))
    await passes(1)
    assert juliet.sees[-1] == "Verification problem"


async def test_it_declines_for_all_devices_at_thirty_seconds(world: Alone) -> None:
    juliet = Conversations(world.home)
    world.jmi("propose", "s1", world.home.account, ua.make(ua.RTP, "description", media="audio"))
    await passes(29)
    assert "message reject" not in world.labels()
    await passes(2)
    assert world.last("message reject").get("to") == VOICE
    assert juliet.missed == ["s1"]
