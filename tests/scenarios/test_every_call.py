"""The calls of every day, each with every client: who begins, who ends, and what everybody is told of it."""

from __future__ import annotations

import pytest

from gateway.session.model import Direction
from tests.clients.borogove import Borogove
from tests.clients.cheogram import Cheogram
from tests.clients.conversations import UNREACHABLE, Conversations
from tests.clients.dino import Dino
from tests.clients.home import Home
from tests.clients.kaidan import Kaidan
from tests.clients.monal import ENDED as MONAL
from tests.clients.monal import Monal
from tests.clients.movim import Movim
from tests.clients.siskin import ENDED, Siskin
from tests.clients.stanzajs import StanzaJs
from tests.clients.user_agent import UserAgent
from tests.scenarios.clock import passes
from tests.scenarios.scene import CONTACT, OUR_NUMBER
from tests.scenarios.telephones import (
    EVERY_ONE,
    SCREENS,
    at,
    hung_up,
    hung_up_content,
    known_or_not,
    talking,
    there,
)
from tests.support import phone_session

BUSY, DECLINED = "486 Busy Here", "603 Decline"

# What six refusals of a phone look like.
STATUSES = (486, 600, 603, 404, 480, 503)
REFUSALS: dict[type[UserAgent], tuple[str, ...]] = {
    Conversations: (*["Busy"] * 3, *[UNREACHABLE] * 3),
    Cheogram: (*["Busy"] * 3, *[UNREACHABLE] * 3),
    Monal: (*[MONAL["rejected"]] * 3, *[MONAL["connectivity"]] * 3),
    Siskin: (ENDED,) * 6,
    Borogove: ("ended",) * 6,
    Dino: ("ended: declined",) * 6,
    Kaidan: ("ended",) * 6,
    Movim: (*["ended: declined"] * 3, *["ended"] * 3),  # what is nobody's refusal is not shown as one
    StanzaJs: tuple(f"ended: {why}" for why in ("busy", "busy", "decline", "gone", "timeout", "connectivity-error")),
}


# Calling


@EVERY_ONE
async def test_a_phone_that_rings_for_long_is_talked_with_for_as_long_as_she_likes(
    home: Home, client: type[UserAgent]
) -> None:
    """It is told to proceed only when the phone was answered: from then on Monal waits fifteen seconds for media."""
    juliet, phone, screen = await at(home, client), home.scene.phone, SCREENS[client]
    juliet.call(CONTACT)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 180)
    await passes(40)
    assert juliet.sees == [*screen.dials, *screen.rung]
    phone.answers(invite, 200, phone_session())
    await juliet.until(juliet.TALKS)
    await phone.hears("ACK")
    await passes(60)
    record = await hung_up(home, juliet)
    await passes(5)
    assert (record.by, record.cause) == ("caller", "normal")
    assert juliet.sees == [*screen.dials, *screen.rung, *screen.joins, juliet.TALKS, screen.hung_up]
    assert juliet.complaints == []


@pytest.mark.parametrize("rings_for", [0, 40])
@pytest.mark.parametrize("client", [client for client in SCREENS if client is not Kaidan])  # it asks for video or ends
async def test_a_video_call_to_a_telephone_is_a_call_with_sound(
    home: Home, client: type[UserAgent], rings_for: float
) -> None:
    """A browser refuses an answer with fewer sections than its offer: what it offers is taken in, and not sent."""
    juliet = await at(home, client)
    await talking(home, juliet, video=True, rings_for=rings_for)
    await passes(60)
    assert (await hung_up_content(home, juliet)).by == "caller"


@pytest.mark.parametrize(("nth", "status"), list(enumerate(STATUSES)), ids=list(map(str, STATUSES)))
@EVERY_ONE
async def test_a_phone_that_does_not_answer_ends_the_call(
    home: Home, client: type[UserAgent], nth: int, status: int
) -> None:
    juliet, seen = await at(home, client), REFUSALS[client][nth]
    juliet.call(CONTACT)
    home.scene.phone.answers(await home.scene.phone.hears("INVITE"), status)
    await home.scene.over()
    await passes(1)
    assert juliet.sees == [*SCREENS[client].dials, seen]
    await passes(60)
    assert juliet.sees[-1] == seen
    assert juliet.complaints == []


@pytest.mark.parametrize("after", [0, 3], ids=["at once", "ringing"])
@EVERY_ONE
async def test_a_user_who_gives_up_while_it_rings_stops_the_phone(
    home: Home, client: type[UserAgent], after: float
) -> None:
    juliet, phone, screen = await at(home, client), home.scene.phone, SCREENS[client]
    juliet.call(CONTACT)
    invite = await phone.hears("INVITE")
    phone.answers(invite, 180)
    if after:
        await juliet.hears("iq session-info" if client is StanzaJs else "message ringing")
        await passes(after)
    juliet.hang_up()
    await phone.hears("CANCEL")
    phone.answers(invite, 487)
    record = await home.scene.over()
    await passes(60)
    assert (record.by, record.cause) == ("caller", "cancelled")
    assert juliet.sees == [*screen.dials, *(screen.rung if after else ()), screen.gave_up]
    forgot_it = not after and client is StanzaJs  # when it was told that it rings
    assert len(juliet.complaints) == forgot_it
    # It terminates a session beside the retract, though there is none.
    assert juliet.heard.count("iq error item-not-found") == (client is Movim)


@pytest.mark.parametrize("client", [client for client, screen in SCREENS.items() if screen.joins])
async def test_a_user_who_gives_up_while_it_connects_leaves_nobody_behind(home: Home, client: type[UserAgent]) -> None:
    juliet, phone, screen = await at(home, client), home.scene.phone, SCREENS[client]
    juliet.call(CONTACT)
    phone.answers(await phone.hears("INVITE"), 200, phone_session())
    await juliet.until(screen.joins[-1])
    assert juliet.TALKS not in juliet.sees
    juliet.hang_up()
    await phone.hears("BYE")
    await home.scene.over()
    await passes(60)
    assert not juliet.busy


@EVERY_ONE
async def test_a_phone_that_hangs_up_ends_the_call(home: Home, client: type[UserAgent]) -> None:
    juliet, phone, screen = await at(home, client), home.scene.phone, SCREENS[client]
    invite = await talking(home, juliet, rings_for=3)
    phone.hangs_up(invite)
    record = await home.scene.over()
    assert (record.by, record.cause) == ("callee", "normal")
    await passes(1)
    assert juliet.sees[-2:] == [juliet.TALKS, screen.left]
    await passes(60)
    assert juliet.sees[-2:] == [juliet.TALKS, screen.left]
    assert juliet.heard.count("iq session-terminate") == 1
    assert juliet.heard.count("message finish") == (client is not StanzaJs)  # both come to an end, each said once
    assert juliet.complaints == []


@pytest.mark.parametrize("client", [Conversations, Cheogram, Monal, Siskin, Movim])  # others ring a second time
async def test_a_second_caller_is_told_that_the_user_is_busy(home: Home, client: type[UserAgent]) -> None:
    juliet, phone = await at(home, client), home.scene.phone
    await talking(home, juliet)
    phone.calls(OUR_NUMBER)
    await phone.hears_back(BUSY)
    assert (await home.scene.over()).cause == "busy"
    await hung_up_content(home, juliet)


# In a call


@EVERY_ONE
async def test_a_phone_that_holds_her_and_comes_back_is_talked_with_again(home: Home, client: type[UserAgent]) -> None:
    """Whether its client understands what it is told then or not; Monal does not even answer."""
    juliet, phone = await at(home, client), home.scene.phone
    invite = await talking(home, juliet, rings_for=3)
    juliet.heard.clear()
    for told, direction in enumerate((Direction.SENDONLY, Direction.SENDRECV), 1):
        await phone.reoffers(invite, direction)
        await passes(120)
        assert juliet.heard.count("iq session-info") == told
    if client is StanzaJs:
        assert juliet.sees.pop() == "resumed"
        assert juliet.sees.pop() == "on hold"
    assert (await hung_up_content(home, juliet)).by == "caller"


@pytest.mark.parametrize("client", [Borogove, Dino, Movim])
async def test_a_camera_that_is_turned_on_in_the_call_is_refused_and_the_call_goes_on(
    home: Home, client: type[Borogove | Dino | Movim]
) -> None:
    """Dino answers content-reject with an error, which is no reason to end anything."""
    home.knows(CONTACT)
    juliet = client(home)
    await passes(1)
    await talking(home, juliet)
    juliet.turns_camera_on()
    await juliet.hears("iq content-reject")
    if isinstance(juliet, Dino):
        juliet.mute()
    await passes(60)
    assert "BYE" not in home.scene.phone.heard
    record = await hung_up(home, juliet)
    assert (record.by, record.cause) == ("caller", "normal")
    assert juliet.complaints == (["content-reject: feature-not-implemented"] if client is Dino else [])


# Being called


@pytest.mark.parametrize("who", ["callee", "caller"])
@known_or_not()
async def test_a_call_rings_is_answered_and_ends(home: Home, client: type[UserAgent], contact: str, who: str) -> None:
    """What says nothing when it rings, at least to strangers, is known to ring where it is known to be there."""
    juliet, phone, screen = client(home), home.scene.phone, SCREENS[client]
    await there(home, contact)
    phone.calls(OUR_NUMBER)
    await juliet.until(juliet.RINGS)
    rings = bool(contact) or client in (Monal, Kaidan, Movim)
    if rings:
        await phone.hears_back("180 Ringing")
    await passes(20)
    assert ("180 Ringing" in phone.heard) == rings
    juliet.answer()
    ok = await phone.hears_back("200 OK")
    phone.confirms(ok)
    await juliet.until(juliet.TALKS)
    await passes(60)
    assert juliet.sees == [juliet.RINGS, *screen.answers, juliet.TALKS]
    if who == "callee":
        record, seen = await hung_up(home, juliet), screen.hung_up
    else:
        phone.hangs_up(ok)
        record, seen = await home.scene.over(), screen.left
    await passes(5)
    assert (record.by, record.cause) == (who, "normal")
    assert juliet.sees[-2:] == [juliet.TALKS, seen]
    assert juliet.complaints == []


@pytest.mark.parametrize("after", [0, 3])
@known_or_not(Borogove)  # it declines without a word
async def test_a_call_that_is_declined_is_busy_at_the_phone(
    home: Home, client: type[UserAgent], contact: str, after: float
) -> None:
    juliet, phone = client(home), home.scene.phone
    await there(home, contact)
    phone.calls(OUR_NUMBER)
    await juliet.until(juliet.RINGS)
    await passes(after)
    juliet.decline()
    said, cause = (DECLINED, "declined") if client in (Kaidan, StanzaJs) else (BUSY, "busy")
    await phone.hears_back(said)
    record = await home.scene.over()
    assert (record.cause, record.blame) == (cause, "callee")
    assert juliet.sees == [juliet.RINGS, SCREENS[client].declines]


@known_or_not()
async def test_a_phone_that_gives_up_stops_the_ringing(home: Home, client: type[UserAgent], contact: str) -> None:
    juliet, phone = client(home), home.scene.phone
    await there(home, contact)
    invite = phone.calls(OUR_NUMBER)
    await juliet.until(juliet.RINGS)
    if contact:
        await phone.hears_back("180 Ringing")
    phone.cancels(invite)
    assert (await home.scene.over()).cause == "cancelled"
    await passes(1)
    assert juliet.sees == [juliet.RINGS, SCREENS[client].missed]
    await passes(60)
    assert juliet.sees == [juliet.RINGS, SCREENS[client].missed]
    assert juliet.complaints == []
    if isinstance(juliet, Conversations):
        assert len(juliet.missed) == 1


@known_or_not()
async def test_a_call_that_nobody_takes_stops_ringing_in_the_end(
    home: Home, client: type[UserAgent], contact: str
) -> None:
    """Some have no timer of their own and would ring for ever."""
    juliet, phone = client(home), home.scene.phone
    await there(home, contact)
    phone.calls(OUR_NUMBER)
    await juliet.until(juliet.RINGS)
    await juliet.until(SCREENS[client].missed)
    await phone.hears_back("480 Temporarily Unavailable")
    silent = not contact and client in (Siskin, Borogove, Dino)
    assert (await home.scene.over()).cause == ("unavailable" if silent else "no-answer")
    await passes(60)
    assert juliet.sees == [juliet.RINGS, SCREENS[client].missed]


# Several devices


@pytest.mark.parametrize("alike", [True, False], ids=["its like", "a Dino"])
@known_or_not()
async def test_a_device_stops_ringing_when_another_answers(
    home: Home, client: type[UserAgent], contact: str, alike: bool
) -> None:
    one, other = client(home, "one"), (client if alike else Dino)(home, "other")
    phone = home.scene.phone
    await there(home, contact)
    phone.calls(OUR_NUMBER)
    await one.until(one.RINGS)
    await other.until(other.RINGS)
    other.answer()
    phone.confirms(await phone.hears_back("200 OK"))
    await other.until(other.TALKS)
    await passes(5)
    assert one.sees == [one.RINGS, SCREENS[client].elsewhere]
    await passes(40)
    assert one.sees == [one.RINGS, SCREENS[client].elsewhere]
    if isinstance(one, Conversations):
        assert one.missed == []
    record = await hung_up(home, other)
    await passes(5)
    assert (record.by, record.cause) == ("callee", "normal")
    assert one.sees == [one.RINGS, SCREENS[client].elsewhere]
    assert one.complaints == other.complaints == []


@known_or_not(Movim)  # which hears it of the Dino and of the gateway, and shows what comes first
async def test_a_device_stops_ringing_when_a_dino_declines(home: Home, client: type[UserAgent], contact: str) -> None:
    assert await _reads_when_another_declines(home, client, Dino, contact, BUSY) == SCREENS[client].refused


@known_or_not(Borogove)
async def test_a_device_stops_ringing_when_its_like_declines(home: Home, client: type[UserAgent], contact: str) -> None:
    said = DECLINED if client in (Kaidan, StanzaJs) else BUSY
    assert await _reads_when_another_declines(home, client, client, contact, said) == SCREENS[client].refused


async def _reads_when_another_declines(
    home: Home, client: type[UserAgent], another: type[UserAgent], contact: str, said: str
) -> str:
    """What the user reads on the device that rang beside another, which declined; `said` is what the phone is told."""
    one, other, phone = client(home, "one"), another(home, "other"), home.scene.phone
    await there(home, contact)
    phone.calls(OUR_NUMBER)
    await one.until(one.RINGS)
    await other.until(other.RINGS)
    other.decline()
    await phone.hears_back(said)
    await home.scene.over()
    await passes(5)
    rang, seen = one.sees
    assert rang == one.RINGS
    return seen


@known_or_not(Monal, Siskin, Borogove, Dino)  # two of these hear of each other, and both give up
async def test_a_device_that_answers_a_moment_too_late_is_told_so_and_the_call_goes_on(
    home: Home, client: type[UserAgent], contact: str
) -> None:
    """What one device is told must not reach the other as a carbon: it would take it for its own call's end."""
    quick, late, phone = client(home, "quick"), client(home, "late"), home.scene.phone
    screen = SCREENS[client]
    await there(home, contact)
    phone.calls(OUR_NUMBER)
    await quick.until(quick.RINGS)
    await late.until(late.RINGS)
    quick.answer()
    late.answer()
    phone.confirms(await phone.hears_back("200 OK"))
    await quick.until(quick.TALKS)
    await passes(30)
    assert not late.busy, f"still on the screen: {late.sees}"
    assert late.sees[-1] == screen.late
    await passes(30)
    assert quick.sees == [quick.RINGS, *screen.answers, quick.TALKS]
    await hung_up_content(home, quick)
