"""Calls as Conversations and its forks make and take them; the rules are those of tests/clients/conversations.py."""

from __future__ import annotations

import pytest

from tests.clients.cheogram import Cheogram
from tests.clients.conversations import LOST, UNREACHABLE, Conversations, Conversations2190
from tests.clients.home import Home, bare, resource
from tests.scenarios.clock import passes
from tests.scenarios.scene import CONTACT, DOMAIN, NUMBER, OUR_NUMBER
from tests.scenarios.telephones import hung_up_content, talking
from tests.support import phone_session

EVERY_VERSION = pytest.mark.parametrize("client", [Conversations, Conversations2190, Cheogram])


# What is seen of a contact


@EVERY_VERSION
async def test_a_number_in_the_roster_is_seen_as_a_telephone_that_can_be_called(
    home: Home, client: type[Conversations]
) -> None:
    juliet = client(home)
    home.adds(CONTACT)
    await passes(1)
    assert home.mutual(CONTACT)
    (seen,) = [jid for jid in juliet.presences if bare(jid) == CONTACT]
    assert resource(seen) == "sip"
    assert juliet.capability(seen) == "audio"
    assert ("client", "phone") in [identity[:2] for identity in juliet.infos[seen].identities]
    assert juliet.complaints == []


async def test_what_the_caps_stand_for_is_asked_once_for_all_numbers(home: Home) -> None:
    juliet = Conversations(home)
    for number in (NUMBER, "+12025550124", "+12025550125"):
        home.adds(f"{number}@{DOMAIN}")
    await passes(1)
    juliet.heard.clear()
    home.adds(f"+12025550126@{DOMAIN}")
    await passes(1)
    assert set(juliet.heard) == {"presence"}
    assert len(juliet.infos) == 4


@EVERY_VERSION
async def test_no_presence_makes_it_crash_or_call_without_asking_first(home: Home, client: type[Conversations]) -> None:
    juliet = client(home)
    home.adds(CONTACT)
    home.adds(DOMAIN)
    await passes(1)
    juliet.call(CONTACT)
    await home.scene.phone.hears("INVITE")
    assert juliet.sees[:1] == ["Discovering devices"]
    juliet.hang_up()
    await home.scene.over()


async def test_cheogram_has_no_button_for_video_where_there_is_no_video(home: Home) -> None:
    juliet = Cheogram(home)
    home.adds(CONTACT)
    await passes(1)
    juliet.call(CONTACT, video=True)
    assert juliet.sees == ["no button for video"]


async def test_the_gateway_is_a_phone_account_of_cheogram_s_dialler(home: Home) -> None:
    juliet, phone = Cheogram(home), home.scene.phone
    home.adds(DOMAIN)
    await passes(1)
    juliet.dials(NUMBER)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 200, phone_session())
    await juliet.until("Connected")
    juliet.presses("1")
    await hung_up_content(home, juliet)


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        (NUMBER, CONTACT),
        ("(202) 555-0123", CONTACT),
        ("romeo@shakespeare.example", f"romeo%shakespeare.example@{DOMAIN}"),
    ],
)
async def test_cheogram_finds_the_address_of_what_its_user_types(home: Home, typed: str, seen: str) -> None:
    juliet = Cheogram(home)
    home.adds(DOMAIN)
    await passes(1)
    juliet.adds_contact(typed)
    await juliet.until(seen)


async def test_cheogram_shows_why_there_is_no_such_contact(home: Home) -> None:
    juliet = Cheogram(home)
    home.adds(DOMAIN)
    await passes(1)
    juliet.adds_contact("laertes")
    await passes(1)
    assert juliet.sees[-1] not in ("", "nothing")
    assert DOMAIN not in juliet.sees[-1]


# Outgoing


async def test_a_proposal_that_is_sent_once_more_rings_once(home: Home) -> None:
    juliet, phone = Conversations(home), home.scene.phone
    juliet.call(CONTACT)
    invite = await phone.hears("INVITE")
    juliet.resumes_its_stream()
    await passes(3)
    phone.answers(invite, 200, phone_session())
    await juliet.until("Connected")
    await hung_up_content(home, juliet)
    assert phone.heard.count("INVITE") == 1


@EVERY_VERSION
async def test_a_known_number_may_take_its_time_to_ring(home: Home, client: type[Conversations]) -> None:
    juliet, phone = client(home), home.scene.phone
    home.adds(CONTACT)
    await passes(1)
    juliet.call(CONTACT)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 100)
    await passes(20)
    assert juliet.sees == ["Discovering devices", "Ringing"]
    phone.answers(invite, 180)
    await passes(20)
    phone.answers(invite, 200, phone_session())
    await juliet.until("Connected")
    await hung_up_content(home, juliet)


async def test_a_stranger_s_number_never_seems_to_ring_when_it_does_not(home: Home) -> None:
    juliet, phone = Conversations(home), home.scene.phone
    juliet.call(CONTACT)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 100)
    await passes(30)
    assert juliet.sees == ["Discovering devices"]
    phone.answers(invite, 200, phone_session())
    await juliet.until("Connected")
    await hung_up_content(home, juliet)


async def test_a_refused_number_is_not_said_to_be_busy(home: Home) -> None:
    juliet = Conversations(home)
    juliet.call(f"+19005550123@{DOMAIN}")
    await juliet.until(UNREACHABLE)
    assert (await home.scene.over()).cause == "forbidden"


async def test_a_phone_that_nobody_answers_is_given_up_in_the_end(home: Home) -> None:
    juliet, phone = Conversations(home), home.scene.phone
    juliet.call(CONTACT)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 180)
    await juliet.until(UNREACHABLE)
    await phone.hears("CANCEL")
    phone.answers(invite, 487)
    assert (await home.scene.over()).cause == "no-answer"


@pytest.mark.parametrize("after", ["message proceed", "iq result"])
async def test_a_user_who_gives_up_while_it_is_being_answered_leaves_nobody_behind(home: Home, after: str) -> None:
    """Before his session-initiate is sent, and after it."""
    juliet, phone = Conversations(home), home.scene.phone
    juliet.call(CONTACT)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 200, phone_session())
    await juliet.hears(after)
    juliet.hang_up()
    await phone.hears("ACK")
    await phone.hears("BYE")
    await home.scene.over()
    await passes(60)
    assert juliet.sees[-1] == "ended"


async def test_a_second_call_is_possible_after_the_first(home: Home) -> None:
    juliet = Conversations(home)
    await talking(home, juliet, rings_for=3)
    await hung_up_content(home, juliet)
    juliet.sees.clear()
    await talking(home, juliet, rings_for=3)
    await hung_up_content(home, juliet)


# In a call


async def test_a_network_change_is_survived(home: Home) -> None:
    juliet = Conversations(home)
    await talking(home, juliet, rings_for=3)
    juliet.sees.clear()
    juliet.changes_network()
    await juliet.until("Connected")
    assert juliet.sees == ["Reconnecting", "Connected"]
    await hung_up_content(home, juliet)


async def test_a_network_change_of_who_was_called_is_survived(home: Home) -> None:
    juliet, phone = Conversations(home), home.scene.phone
    phone.confirming = True
    phone.calls(OUR_NUMBER)
    await juliet.until("Incoming call")
    juliet.answer()
    await juliet.until("Connected")
    juliet.sees.clear()
    juliet.changes_network()
    await juliet.until("Connected")
    await hung_up_content(home, juliet)


async def test_there_is_no_button_for_video_where_there_is_no_video(home: Home) -> None:
    juliet = Conversations(home)
    await talking(home, juliet, rings_for=3)
    juliet.adds_video()
    assert juliet.sees.pop() == "no button to switch to video"
    await hung_up_content(home, juliet)


async def test_video_that_is_added_all_the_same_is_refused_and_the_call_goes_on(home: Home) -> None:
    juliet = Conversations(home)
    await talking(home, juliet, rings_for=3)
    juliet.force_video()
    await juliet.hears("iq content-reject")
    assert juliet.session is not None
    assert juliet.session.adding is None
    await hung_up_content(home, juliet)


async def test_a_device_that_comes_back_with_a_new_session_has_lost_its_call_and_the_phone_hears_it(home: Home) -> None:
    juliet = Conversations(home)
    await talking(home, juliet, rings_for=3)
    juliet.goes_offline()
    await passes(4)
    juliet.loses_its_session()
    await home.scene.phone.hears("BYE")
    await home.scene.over()
    assert juliet.sees[-1] == LOST


# Incoming


async def test_a_call_that_nobody_takes_is_unanswered_not_busy(home: Home) -> None:
    juliet, phone = Conversations(home), home.scene.phone
    phone.calls(OUR_NUMBER)
    await juliet.until("Incoming call")
    await passes(31)
    await phone.hears_back("480 Temporarily Unavailable")
    assert (await home.scene.over()).cause == "no-answer"
    assert len(juliet.missed) == 1


async def test_a_second_call_rings_at_the_device_that_is_free(home: Home) -> None:
    """The one that talks keeps quiet as long as another may ring (JCM:444)."""
    phone, tablet, sip = Conversations(home), Conversations(home, "Conversations.TaB1"), home.scene.phone
    await talking(home, phone, rings_for=3)
    sip.confirming = True
    sip.calls(OUR_NUMBER)
    await tablet.until("Incoming call")
    tablet.answer()
    await tablet.until("Connected")
    assert phone.sees[-1] == "Connected"
    for each in (tablet, phone):
        each.hang_up()
        await sip.hears("BYE")
        await home.scene.over()


async def test_a_user_without_any_device_is_unavailable(home: Home) -> None:
    home.scene.phone.calls(OUR_NUMBER)
    await home.scene.phone.hears_back("480 Temporarily Unavailable")
    await home.scene.over()
