"""Rule 6: two gateways that know each other stop talking, a stanza too many costs nothing, and a flood leaves
everything that is held as it was.

That a hundred thousand strangers' presences leave memory flat: tests/xmpp/test_component.py. That SIP transactions,
dialogs and connections have their bounds, of one source too: tests/sip/test_layer.py, test_agent.py, test_transport.py.
"""

from __future__ import annotations

import asyncio
import itertools
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Iterator

import pytest

from gateway.call.causes import Cause
from gateway.call.leg import Admitted, LegControl
from gateway.session import jingle
from gateway.xmpp import disco, stanzas
from gateway.xmpp.component import Component, XmppSettings
from gateway.xmpp.router import BURST, RATE, IncomingCall
from gateway.xmpp.subscriptions import MOST_OF_STRANGERS, MOST_PER_USER
from tests.safety.stage import Stage
from tests.scenarios.scene import DOMAIN, NUMBER
from tests.support import webrtc_session

ONE, OTHER = "one.example", "other.example"
MOST = 20  # stanzas that follow from one, capabilities asked for included


class Wire:
    """One gateway's link: what it writes is queued for whoever it is for."""

    unsent = 0

    def __init__(self, queue: deque[ET.Element]) -> None:
        self._queue = queue

    def is_connected(self) -> bool:
        return True

    def write(self, stanza: ET.Element) -> None:
        self._queue.append(ET.fromstring(ET.tostring(stanza)))

    def abort(self) -> None: ...

    def close(self) -> None: ...


class World:
    """Two gateways, each of which takes the other's contacts for its own users, and the server between them."""

    def __init__(self) -> None:
        self.queue: deque[ET.Element] = deque()
        self.gateways = {ours: self._gateway(ours, theirs) for ours, theirs in ((ONE, OTHER), (OTHER, ONE))}
        self.calls = 0
        self.outside: list[ET.Element] = []

    def _gateway(self, ours: str, theirs: str) -> Component:
        settings = XmppSettings(ours, "127.0.0.1", 1, "secret", (theirs, "shakespeare.lit"))
        component = Component(settings, lambda local: local != "nobody", self._on_call, lambda traced: None)
        component._link = Wire(self.queue)  # type: ignore[assignment]  # all of a Link that is used
        component._router.link_up()
        return component

    def _on_call(self, _incoming: IncomingCall, leg: LegControl) -> Admitted:
        self.calls += 1
        asyncio.get_running_loop().call_soon(leg.hang_up, Cause.FORBIDDEN)
        return Admitted(f"call{self.calls}", lambda report: None)

    async def runs(self, *stanzas_: ET.Element, most: int = MOST) -> int:
        """Deliver until nobody says anything more; how many stanzas that were."""
        self.queue.extend(stanzas_)
        count = 0
        while self.queue:
            stanza = self.queue.popleft()
            gateway = self.gateways.get(stanzas.domain(stanza.get("to", "")))
            if gateway is None:
                self.outside.append(stanza)
            else:
                gateway._received(stanza)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            count += 1
            assert count <= most, f"still talking: {ET.tostring(stanza, encoding='unicode')}"
        return count

    def close(self) -> None:
        for gateway in self.gateways.values():
            gateway._router.link_down()
            if gateway._timer is not None:
                gateway._timer.cancel()


PRESENCE = ("", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "unavailable", "error", "nonsense")
LOCALS = ("+12025550123", "romeo%montague.lit", "nobody", "")


def ends() -> Iterator[tuple[str, str]]:
    """Who on one gateway speaks to whom on the other."""
    for mine, theirs, resource in itertools.product(LOCALS, LOCALS, ("", "/voice")):
        yield (f"{mine}@{ONE}" if mine else ONE) + resource, (f"{theirs}@{OTHER}" if theirs else OTHER) + resource


@pytest.mark.parametrize("kind", PRESENCE)
@pytest.mark.parametrize("asking", [False, True])
@pytest.mark.parametrize("caps", ["", "ours", "unknown"])
async def test_presence_between_two_gateways_dies_down(kind: str, asking: bool, caps: str) -> None:
    for from_, to in ends():
        world = World()
        stanza = stanzas.presence(to, from_, type=kind)
        if asking:
            ET.SubElement(stanza, f"{{{stanzas.TEMPPRES[0]}}}temppres", {"reason": "media"})
        if caps:
            stanza.append(disco.SETS.contact.caps()[0])
            if caps == "unknown":
                stanza[-1].set("ver", "somebodyelses")
        first = await world.runs(stanza)
        again = await world.runs(stanza)
        assert again <= first + 1
        world.close()


async def test_a_whole_acquaintance_between_two_gateways_dies_down() -> None:
    """Everything at once, over and over: nothing but answers, each as long as its question."""
    world = World()
    said = [
        stanzas.presence(f"romeo%montague.lit@{OTHER}", f"+12025550123@{ONE}/voice", type=kind) for kind in PRESENCE
    ]
    first = await world.runs(*said, most=100)
    for _ in range(5):
        assert await world.runs(*said, most=100) <= first
    world.close()


async def test_what_two_gateways_say_beside_presence_dies_down() -> None:
    for from_, to in ends():
        world = World()
        chat = stanzas.message(to, from_, id="1")
        chat.set("type", "chat")
        ET.SubElement(chat, f"{{{stanzas.STREAM}}}body").text = "Hello"
        unknown = stanzas.iq(to, from_, id="2", type="get")
        ET.SubElement(unknown, "{urn:x}x")
        initiate = stanzas.iq(to, from_, id="3")
        initiate.append(stanzas.jingle("session-initiate", "s1", initiator=from_))
        initiate[0].extend(jingle.contents(webrtc_session(), initiator=True))
        said = [chat, unknown, initiate, stanzas.result(initiate), stanzas.error(initiate, "bad-request")]
        for kind in ("propose", "ringing", "proceed", "reject", "retract", "finish"):
            said.append(stanzas.message(to, from_, id=f"jm-{kind}-s2"))
            spoken = ET.SubElement(said[-1], f"{{{stanzas.JMI}}}{kind}", {"id": "s2"})
            ET.SubElement(spoken, f"{{{stanzas.RTP}}}description", {"media": "audio"})
        for stanza in said:
            await world.runs(stanza)
        world.close()


async def test_our_own_addresses_do_not_talk_to_each_other() -> None:
    async with Stage() as stage:
        for kind in PRESENCE:
            stage.component._received(stanzas.presence(f"{NUMBER}@{DOMAIN}", f"romeo%x.lit@{DOMAIN}/voice", type=kind))
            stage.component._received(stanzas.presence(DOMAIN, DOMAIN, type=kind))
        await stage.phone.is_heard()
        assert stage.sent == []


async def test_one_user_who_floods_is_not_heard_and_the_next_one_is() -> None:
    async with Stage() as stage:
        eve, juliet = stage.device("eve@evil.example/x"), stage.device()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(3_000):
            eve.sends(stanzas.presence(f"+1202555{number:04}@{DOMAIN}", f"eve@evil.example/{number}", type="probe"))
        await stage.phone.is_heard()
        # No more than is due to a stranger in the time that this took.
        assert len(stage.told(eve)) <= BURST + RATE * (loop.time() - began) + 1
        juliet.initiates(f"{NUMBER}@{DOMAIN}", "s1")
        stage.phone.answers(await stage.phone.hears("INVITE"), 486)
        assert (await stage.over()).cause == "busy"


async def test_calls_that_are_refused_leave_nothing_behind() -> None:
    async with Stage() as stage:
        eve = stage.device("eve@evil.example/x")
        for number in range(300):
            eve.initiates(f"{NUMBER}@{DOMAIN}", f"s{number}")
            await stage.over()
        await stage.phone.is_heard()
        board, router = stage.switchboard, stage.component._router
        assert (board.live, len(board.routing.book), router.calls) == (0, 0, 0)
        assert (router._calls._lines._keys, router._calls._lines._by_user, board._ending) == ({}, {}, set())


async def test_a_contact_is_shown_to_a_device_once_however_often_it_speaks() -> None:
    async with Stage() as stage:
        juliet = stage.device()
        for number in range(200):
            juliet.sends(stanzas.presence(f"{NUMBER}@{DOMAIN}", juliet.jid))
            ask = stanzas.iq(f"{NUMBER}@{DOMAIN}", juliet.jid, id=f"v{number}", type="get")
            ET.SubElement(ask, "{vcard-temp}vCard")
            juliet.sends(ask)
        await stage.phone.is_heard()
        shown = [sent for sent in stage.told(juliet) if sent.tag == stanzas.PRESENCE]
        assert [(sent.get("from"), sent.get("type")) for sent in shown] == [(f"{NUMBER}@{DOMAIN}/sip", None)]


async def test_subscriptions_of_strangers_and_of_one_user_have_their_bounds() -> None:
    world = World()
    presences = world.gateways[ONE]._router.presences
    for number in range(3_000):
        presences.receive(stanzas.presence(f"+1202555{number:04}@{ONE}", "juliet@shakespeare.lit", type="subscribe"), 0)
        presences.receive(stanzas.presence(f"+12025550123@{ONE}", f"eve{number}@evil.example", type="subscribe"), 0)
    assert (len(presences._ours.ties), len(presences._strangers.ties)) == (MOST_PER_USER, MOST_OF_STRANGERS)
    world.close()
