"""What has to work with every client, whatever its own ways are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.dialplan.plan import Plan
from gateway.sip.message import Request
from tests.clients.home import Home
from tests.clients.user_agent import UserAgent
from tests.scenarios.clock import jumping, passes
from tests.scenarios.scene import CALLING, CONTACT, OUR_NUMBER, Phone, Scene
from tests.scenarios.telephones import (
    EVERY_ONE,
    POCKET,
    at,
    hung_up,
    hung_up_content,
    talking,
)
from tests.support import phone_session

EVERY_TELEPHONE = pytest.mark.parametrize("client", POCKET)


class EarlyScene(Scene):
    """A route whose announcements are heard before the answer."""

    def plan(self) -> Plan:
        plan = super().plan()
        return replace(plan, routes=tuple(replace(rule, early_media=True) for rule in plan.routes))


@pytest.fixture
async def early() -> AsyncIterator[Home]:
    with jumping():
        async with EarlyScene() as scene:
            yield Home(scene)


async def announced(early: Home, juliet: UserAgent) -> Request:
    """Juliet called, and an announcement begins; the INVITE that the phone got."""
    juliet.call(CONTACT)
    invite = await early.scene.phone.hears("INVITE")
    early.scene.phone.answers(invite, 183, phone_session())
    return invite


@EVERY_ONE
async def test_a_call_outlives_the_link_to_the_server(home: Home, client: type[UserAgent]) -> None:
    juliet = await at(home, client)
    await talking(home, juliet)
    home.scene.link_breaks()
    await passes(20)
    home.scene.link_is_back()
    await passes(120)
    assert (await hung_up(home, juliet)).by == "caller"


@EVERY_ONE
async def test_a_phone_that_hung_up_while_the_link_was_down_is_heard_when_it_is_back(
    home: Home, client: type[UserAgent]
) -> None:
    juliet = await at(home, client)
    invite = await talking(home, juliet)
    home.scene.link_breaks()
    home.scene.phone.hangs_up(invite)
    await home.scene.over()
    await passes(20)
    assert juliet.sees[-1] == juliet.TALKS
    home.scene.link_is_back()
    await passes(5)
    assert juliet.sees[-1] != juliet.TALKS


@EVERY_ONE
async def test_an_answer_that_crosses_the_phone_s_giving_up_leaves_nobody_waiting(
    home: Home, client: type[UserAgent]
) -> None:
    juliet, phone = await at(home, client), home.scene.phone
    invite = phone.calls(OUR_NUMBER)
    await juliet.until(juliet.RINGS)
    await passes(5)
    phone.cancels(invite)
    juliet.answer()
    await phone.hears_back("487 Request Terminated")
    await home.scene.over()
    await passes(5)
    ended = juliet.sees[-1]
    assert ended not in (juliet.RINGS, juliet.TALKS)
    await passes(60)
    assert juliet.sees[-1] == ended, "it had not ended"


@EVERY_ONE
async def test_giving_up_that_crosses_the_phone_s_answer_leaves_nobody_waiting(
    home: Home, client: type[UserAgent]
) -> None:
    juliet, phone = await at(home, client), home.scene.phone
    juliet.call(CONTACT)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 180)
    await passes(5)
    phone.answers(invite, 200, phone_session())
    juliet.hang_up()
    await phone.hears("ACK")
    await phone.hears("BYE")
    await home.scene.over()
    ended = juliet.sees[-1]
    await passes(60)
    assert juliet.sees[-1] == ended
    assert juliet.TALKS not in juliet.sees


@EVERY_ONE
async def test_a_device_that_goes_away_while_it_rings_leaves_the_call_to_the_others(
    home: Home, client: type[UserAgent]
) -> None:
    first, second, phone = client(home, "first"), client(home, "second"), home.scene.phone
    home.adds(CALLING)
    await passes(1)
    phone.calls(OUR_NUMBER)
    await first.until(first.RINGS)
    await second.until(second.RINGS)
    first.goes_offline()
    await passes(5)
    second.answer()
    phone.confirms(await phone.hears_back("200 OK"))
    await second.until(second.TALKS)
    await hung_up(home, second)


@EVERY_ONE
async def test_two_who_call_each_other_do_not_both_ring(home: Home, client: type[UserAgent]) -> None:
    juliet, phone = await at(home, client), home.scene.phone
    juliet.call(CALLING)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 180)
    await passes(2)
    phone.calls(OUR_NUMBER)
    await phone.hears_back("486 Busy Here")
    await home.scene.over()
    phone.answers(invite, 200, phone_session())
    await juliet.until(juliet.TALKS)
    await hung_up(home, juliet)
    assert juliet.RINGS not in juliet.sees


@EVERY_ONE
async def test_what_is_said_before_the_answer_is_heard(early: Home, client: type[UserAgent]) -> None:
    juliet, phone = await at(early, client), early.scene.phone
    invite = await announced(early, juliet)
    await juliet.until(juliet.TALKS)
    await passes(60)
    phone.answers(invite, 200, phone_session())
    await phone.hears("ACK")
    await passes(60)
    await hung_up_content(early, juliet)


@pytest.mark.parametrize("rings_after", [0.1, 5], ids=["no session yet", "connected"])
@EVERY_ONE
async def test_a_phone_that_rings_after_an_announcement_may_be_talked_with_for_long(
    early: Home, client: type[UserAgent], rings_after: float
) -> None:
    """Monal ends a call 45 s after it was told by a Jingle message that it rings, unless media connect meanwhile."""
    juliet, phone = await at(early, client), early.scene.phone
    invite = await announced(early, juliet)
    await passes(rings_after)
    phone.answers(invite, 180)
    await juliet.until(juliet.TALKS)
    await passes(10)
    phone.answers(invite, 200, phone_session())
    await phone.hears("ACK")
    await passes(120)
    await hung_up_content(early, juliet)


@EVERY_ONE
async def test_a_call_that_is_refused_after_an_announcement_ends(early: Home, client: type[UserAgent]) -> None:
    juliet, phone = await at(early, client), early.scene.phone
    invite = await announced(early, juliet)
    await juliet.until(juliet.TALKS)
    await passes(10)
    phone.answers(invite, 404)
    await early.scene.over()
    await passes(1)
    assert juliet.sees[-1] != juliet.TALKS
    assert juliet.complaints == []


@pytest.mark.parametrize("later", [0.0, 0.03, 0.08])
@EVERY_ONE
async def test_a_refusal_that_crosses_the_session_after_an_announcement_ends_the_call(
    early: Home, client: type[UserAgent], later: float
) -> None:
    """What Conversations brings after the proceed has to be ended by Jingle: it does not read `finish`."""
    juliet, phone = await at(early, client), early.scene.phone
    invite = await announced(early, juliet)
    await passes(later)
    phone.answers(invite, 404)
    await early.scene.over()
    await passes(60)  # so long the gateway waits for a session that is still to be ended
    assert not juliet.busy
    assert juliet.complaints == []


@pytest.mark.parametrize("talks", [False, True])
@EVERY_TELEPHONE
async def test_a_caller_whose_telephone_dies_is_gone(home: Home, client: type[UserAgent], talks: bool) -> None:
    """Its server says so for it, to a contact that he has."""
    home.knows(CONTACT)
    juliet, phone = await at(home, client), home.scene.phone
    if talks:
        await talking(home, juliet)
    else:
        juliet.call(CONTACT)
        phone.answers(await phone.hears("INVITE"), 180)
        await passes(2)
    juliet.dies()
    await passes(120)  # in a call it might come back
    await phone.hears("BYE" if talks else "CANCEL")
    await home.scene.over()


async def called_asleep(home: Home, client: type[UserAgent]) -> tuple[UserAgent, Phone]:
    """Its server keeps what comes for it while it is away, and then it is called."""
    juliet, phone = client(home), home.scene.phone
    home.adds(CALLING)
    await passes(1)
    home.stores = True
    juliet.goes_offline()
    await passes(60)
    phone.calls(OUR_NUMBER)
    return juliet, phone


@EVERY_TELEPHONE
async def test_a_telephone_that_a_push_does_not_wake_is_unavailable(home: Home, client: type[UserAgent]) -> None:
    juliet, phone = await called_asleep(home, client)
    await passes(60)
    await phone.hears_back("480 Temporarily Unavailable")
    await home.scene.over()
    assert "180 Ringing" not in phone.heard
    await passes(120)
    juliet.comes_back()
    await passes(60)
    assert juliet.sees[-1:] != [juliet.RINGS], "it does not go on ringing for a call that is over"


@EVERY_TELEPHONE
async def test_a_telephone_that_is_woken_by_the_call_rings_once(home: Home, client: type[UserAgent]) -> None:
    """Its server keeps the propose and sends a push; it comes back some seconds later, with a new session. To
    Conversations, which reads the propose in the archive, that is no call (parser/MessageParser.java:987), another
    propose is.
    """
    juliet, phone = await called_asleep(home, client)
    await passes(4)
    assert "180 Ringing" not in phone.heard
    juliet.comes_back()
    await juliet.until(juliet.RINGS)
    await phone.hears_back("180 Ringing")
    await passes(3)
    juliet.answer()
    phone.confirms(await phone.hears_back("200 OK"))
    await juliet.until(juliet.TALKS)
    assert juliet.sees.count(juliet.RINGS) == 1
    await hung_up_content(home, juliet)
