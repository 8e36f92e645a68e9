"""Every client that makes calls, and what a scene does with any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from gateway.sip.message import Request
from gateway.storage.records import CallRecord
from tests.clients import monal, siskin
from tests.clients.borogove import Borogove
from tests.clients.cheogram import Cheogram
from tests.clients.conversations import Conversations
from tests.clients.dino import Dino
from tests.clients.home import Home
from tests.clients.kaidan import Kaidan
from tests.clients.monal import Monal
from tests.clients.movim import Movim
from tests.clients.siskin import Siskin
from tests.clients.stanzajs import StanzaJs
from tests.clients.user_agent import UserAgent
from tests.scenarios.clock import passes
from tests.scenarios.scene import CALLING, CONTACT
from tests.support import phone_session

POCKET = (Conversations, Cheogram, Monal, Siskin)  # what a push wakes
OTHERS = (Borogove, Dino, Kaidan, Movim, StanzaJs)
EVERY_ONE = pytest.mark.parametrize("client", [*POCKET, *OTHERS])


@dataclass(frozen=True)
class Screen:
    """What the user of a client reads, in order; what RINGS and TALKS say stands between."""

    dials: tuple[str, ...]  # she called
    rung: tuple[str, ...] = ()  # the phone rings
    joins: tuple[str, ...] = ()  # it was answered
    answers: tuple[str, ...] = ()  # she answered
    hung_up: str = "ended"  # she ended it
    left: str = "ended"  # the phone ended it
    gave_up: str = "ended"  # she ended it while it rang
    declines: str = "ended"  # she did not want it
    missed: str = "ended"  # the phone did not wait for her any longer, or the gateway did not
    elsewhere: str = "ended"  # another of her devices has it
    late: str = "ended"  # another has had it for a moment when she answers
    refused: str = "ended"  # another of her devices declined


_CONVERSATIONS = Screen(
    dials=("Discovering devices",),
    rung=("Ringing",),
    joins=("Ringing", "Connecting"),
    answers=("Accepting call", "Connecting"),
    late="Retracted call",
)
_OVER, _BUSY = monal.ENDED["normal"], monal.ENDED["rejected"]

SCREENS: Mapping[type[UserAgent], Screen] = {
    Conversations: _CONVERSATIONS,
    Cheogram: _CONVERSATIONS,
    Monal: Screen(
        dials=(monal.NO_SUPPORT, monal.DISCOVERING),
        rung=(monal.RINGING,),
        joins=(monal.CONNECTING,),
        answers=(monal.CONNECTING,),
        hung_up=_OVER,
        left=_OVER,
        gave_up=monal.ENDED["retracted"],
        declines=monal.ENDED["declined"],
        missed=monal.ENDED["unanswered"],
        elsewhere=monal.ENDED["elsewhere"],
        refused=_BUSY,
    ),
    Siskin: Screen(
        dials=(siskin.RINGING,),
        joins=(siskin.CONNECTING,),
        answers=(siskin.CONNECTING,),
        hung_up=siskin.ENDED,
        left=siskin.ENDED,
        gave_up=siskin.ENDED,
        declines=siskin.ENDED,
        missed=siskin.ENDED,
        elsewhere=siskin.ENDED,
        refused=siskin.ENDED,
    ),
    Borogove: Screen(dials=("ringing",)),
    Dino: Screen(
        dials=("calling",),
        left="ended: by the other side",
        missed="ended: missed",
        elsewhere="answered elsewhere",
        refused="ended: declined",
    ),
    Kaidan: Screen(dials=("calling",)),
    Movim: Screen(
        dials=("calling",),
        missed="ended: missed",
        elsewhere="ended: missed",
        late="ended: missed",
        refused="ended: missed",
    ),
    StanzaJs: Screen(
        dials=("calling",),
        rung=("ringing",),
        joins=("accepted",),
        left="ended: success",
        missed="ended: cancel",
        elsewhere="ended: cancel",
        late="ended: cancel",
        refused="ended: cancel",
    ),
}

POCKET = (Conversations, Cheogram, Monal, Siskin)  # what a push wakes
EVERY_ONE = pytest.mark.parametrize("client", SCREENS)


def known_or_not(*without: type[UserAgent]) -> pytest.MarkDecorator:
    """Every client but these, for a user who has the caller in her roster, or another number, or none: `contact`.

    A web client made with stanza.js is rung by nobody to whom it does not say that it is there.
    """
    rows = [
        pytest.param(client, contact, id=f"{client.__name__}-{known}")
        for client in SCREENS
        for contact, known in ((CALLING, "caller"), (CONTACT, "number"), ("", "stranger"))
        if client not in without and (contact or client is not StanzaJs)
    ]
    return pytest.mark.parametrize(("client", "contact"), rows)


async def at(home: Home, client: type[UserAgent]) -> UserAgent:
    """A client in which a number can be called, and that a number can ring."""
    if client in (Dino, Movim, StanzaJs):
        home.knows(CONTACT)
        home.knows(CALLING)
    juliet = client(home)
    await passes(1)
    return juliet


async def there(home: Home, contact: str) -> None:
    """Her devices are there, and the gateway knows it of all who have a number in their roster."""
    if contact:
        home.adds(contact)
    await passes(1)


async def talking(home: Home, juliet: UserAgent, *, video: bool = False, rings_for: float = 0) -> Request:
    """Juliet called, and the phone was answered, at once or after so many seconds; the INVITE that it got."""
    phone = home.scene.phone
    juliet.call(CONTACT, video=video)
    invite = await phone.hears("INVITE")
    if rings_for:
        phone.answers(invite, 180)
        await passes(rings_for)
    phone.answers(invite, 200, phone_session())
    await juliet.until(juliet.TALKS)
    await phone.hears("ACK")
    return invite


async def hung_up(home: Home, juliet: UserAgent) -> CallRecord:
    """Juliet ends the call, in which she still was; what is written of it."""
    assert juliet.sees[-1] == juliet.TALKS
    juliet.hang_up()
    await home.scene.phone.hears("BYE")
    return await home.scene.over()


async def hung_up_content(home: Home, juliet: UserAgent) -> CallRecord:
    """Juliet ends the call, which worked to the end."""
    record = await hung_up(home, juliet)
    assert record.cause == "normal"
    assert juliet.complaints == []
    return record
