"""Users, phones and the network doing what they like, at any moment: whatever the order was, nothing is left half done.

Each seed is one story: two of the user's devices (any of the clients), a phone that calls and is
called, and a link that breaks. What a person could do at a moment is taken at random; then everybody hangs up, and what
has to be true of every story is looked at. A seed that fails is a scene to be written down in words.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from gateway.call.trace import Traced
from gateway.sip.message import Message, Request, Response
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
from tests.scenarios.clock import jumping, passes
from tests.scenarios.scene import DOMAIN, NUMBER, OUR_NUMBER, Phone, Scene
from tests.support import phone_session

CLIENTS = (Conversations, Cheogram, Monal, Siskin, Borogove, Dino, Kaidan, Movim, StanzaJs)
NUMBERS = (f"{NUMBER}@{DOMAIN}", f"+12025550124@{DOMAIN}")
STEPS = 12
SEEDS = 100


class Caller(Phone):
    """The stage's phone with a memory of its calls; it confirms every answer, and acts on one of them when asked to."""

    def __init__(self, gateway: Callable[[], tuple[str, int]]) -> None:
        super().__init__(gateway)
        self.confirming = True
        self.rings: dict[str, Request] = {}  # INVITEs that it has not answered for good, by Call-ID
        self.asks: dict[str, Request] = {}  # its own, likewise
        self.talks: dict[str, Message] = {}  # what it can hang up: the INVITE that it got, or the 200 to its own
        self.finals: Counter[str] = Counter()  # final answers to its INVITEs
        self._known: set[str] = set()

    def _take(self, label: str, what: object) -> None:
        super()._take(label, what)
        match what:
            case Request(method="INVITE") as invite if invite.call_id not in self._known:
                self._known.add(invite.call_id)
                self.rings[invite.call_id] = invite
            case Request(method="CANCEL") as cancel:
                invited = self.rings.pop(cancel.call_id, None)
                if invited is not None:
                    self.answers(invited, 487)
            case Request(method="BYE") as bye:
                self.talks.pop(bye.call_id, None)
            case Response() as said if said.call_id in self.asks and said.status_code >= 200:
                if said.cseq.method == "INVITE":
                    del self.asks[said.call_id]
                    self.finals[said.call_id] += 1
                    if said.status_code == 200:
                        self.talks[said.call_id] = said
            case _:
                pass

    def acts(self, chance: random.Random) -> None:
        """Something that can be done about a call now."""
        ringing, talking = list(self.rings.values()), list(self.talks)
        if ringing and chance.random() < 0.7:
            invite = chance.choice(ringing)
            status = chance.choice((180, 180, 183, 200, 200, 200, 404, 486, 503, 603))
            if status >= 200:
                del self.rings[invite.call_id]
            if status == 200:
                self.talks[invite.call_id] = invite
            self.answers(invite, status, phone_session() if status == 200 else None)
        elif talking and chance.random() < 0.5:
            self.hangs_up(self.talks.pop(chance.choice(talking)))
        elif self.asks and chance.random() < 0.5:
            self.cancels(chance.choice(list(self.asks.values())))
        elif len(self.asks) < 2:
            invite = self.calls(OUR_NUMBER)
            self.asks[invite.call_id] = invite

    def gives_up(self) -> None:
        """Everything."""
        for call_id in tuple(self.talks):
            self.hangs_up(self.talks.pop(call_id))
        for invite in self.asks.values():
            self.cancels(invite)
        for invite in self.rings.values():
            self.answers(invite, 486)
        self.rings.clear()


class Crowded(Scene):
    """The stage with such a phone on it."""

    def __init__(self) -> None:
        super().__init__()
        self.phone = self.caller = Caller(lambda: self._sip)


def acts(agent: UserAgent, chance: random.Random) -> None:
    """What its user could do now. Where a screen does not offer it, nothing happens."""
    what = chance.choice(("call", "answer", "answer", "answer", "decline", "hang up", "hang up", "die"))
    if not agent.there:
        agent.comes_back()
    elif what == "die" and chance.random() < 0.4:
        agent.dies()
    elif not agent.busy and what == "call":
        number = chance.choice(NUMBERS)
        if not isinstance(agent, Movim) or agent.buttons(number):
            agent.call(number)
    elif agent.rings and what in ("answer", "decline"):
        agent.answer() if what == "answer" else agent.decline()
    elif agent.busy and what == "hang up":
        agent.hang_up()


async def play(seed: int) -> None:
    chance = random.Random(seed)
    async with Crowded() as scene:
        home = Home(scene, stores=chance.random() < 0.5)
        agents: list[UserAgent] = [chance.choice(CLIENTS)(home, f"device{number}") for number in (1, 2)]
        if chance.random() < 0.5:
            home.adds(NUMBERS[0])
            await passes(1)
        for _ in range(STEPS):
            match chance.randrange(10):
                case 0:
                    scene.link_breaks()
                    await passes(chance.choice((0.0, 3.0, 20.0)))
                    scene.link_is_back()
                case 1 | 2 | 3 | 4:
                    scene.caller.acts(chance)
                case _:
                    acts(chance.choice(agents), chance)
            await passes(chance.choice((0.0, 0.0, 0.06, 0.3, 2.5, 16.0)))
        await everybody_hangs_up(scene, home, agents)


async def everybody_hangs_up(scene: Crowded, home: Home, agents: list[UserAgent]) -> None:
    """And the rules of every story."""
    scene.caller.gives_up()
    await passes(1)
    scene.caller.gives_up()  # what was answered in the last moment, too
    for agent in agents:
        if not agent.there:
            agent.comes_back()
        if isinstance(agent, Dino) and agent.sees[-1:] == ["calling"]:
            agent.hang_up()  # it sends nothing where it knows nobody who can, and waits as long as its user does
    await passes(200)
    for agent in agents:
        if isinstance(agent, Siskin) and agent.rings and any(isinstance(other, Movim) for other in agents):
            agent.decline()  # what would stop it reads as a missed call in Movim: CalleeLeg._close
    story = "\n".join(home.log[-60:])
    assert not scene.caller.talks, f"the phone is in a call with nobody\n{story}"
    assert not scene.caller.asks, f"an INVITE was never answered\n{story}"
    assert set(scene.caller.finals.values()) <= {1}, f"one INVITE, two answers\n{story}"
    for agent in agents:
        assert not agent.busy, f"{agent.CLIENT} still has a call: {agent.sees}\n{story}"
    calls = {rung.what.call for rung in scene.traced if isinstance(rung.what, Traced)}
    ended = [what for what, leg, *_ in scene.engine.asked if (what, leg) == ("release", None)]
    assert len(ended) == len(calls), f"media is left\n{story}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_the_order_was_nothing_is_left(seed: int) -> None:
    with jumping():
        await play(seed)
