"""Two devices of a user, two calls in both directions, a link that comes and goes: in any order.

Whatever happens: no session is left half open, nothing rings that does not ring, nothing is answered twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.call.causes import Cause
from gateway.call.events import Answered, CallerJoined, HungUp, Report, Ringing
from gateway.call.leg import LegControl
from gateway.session.model import Session
from gateway.xmpp import stanzas

USER = "juliet@shakespeare.lit"
DEVICES = (f"{USER}/balcony", f"{USER}/garden")
ROMEO = "romeo%shakespeare.lit@sip.example.com"
VOICE = f"{ROMEO}/sip"
RINGING = "<ringing xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"
HOLD = "<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"
AUDIO = "<content creator='initiator' name='voice'/>"
World = Any  # tests/xmpp/conftest.py

CALLERS_WORDS = ("propose", "initiate", "retract", "reject", "finish")
CALLEES_WORDS = ("ringing", "receipt", "proceed", "reject", "accept", "seen")
SESSIONS_WORDS = ("terminate", "hold", "trickle", "remove", "rings", "initiate", "gone", "back")
CONTROLS_WORDS = ("dial", "alert", "ask", "answer", "hold", "restart", "hang up")
STEPS = st.one_of(
    st.tuples(st.just("device"), st.sampled_from(CALLERS_WORDS), st.integers(0, 1), st.sampled_from(("s1", "s2"))),
    st.tuples(st.just("device"), st.sampled_from(CALLEES_WORDS), st.integers(0, 1), st.just("ours")),
    st.tuples(
        st.just("device"), st.sampled_from(SESSIONS_WORDS), st.integers(0, 1), st.sampled_from(("s1", "s2", "ours"))
    ),
    st.tuples(st.just("call"), st.sampled_from(CONTROLS_WORDS), st.integers(0, 2), st.just("")),
    st.tuples(st.just("time"), st.sampled_from(("1", "5", "30")), st.just(0), st.just("")),
    st.tuples(st.just("link"), st.sampled_from(("down", "up")), st.just(0), st.just("")),
)


class Play:
    """What the devices saw and the calls were told; every word of either side is one step."""

    def __init__(self, world: World, offer: Session, accept: str) -> None:
        self.world = world
        self.offer = offer
        self.accept = accept
        self.told: dict[str, list[Report]] = {}
        self.alerted: set[str] = set()
        self.ringing_said: set[str] = set()
        self.open: set[tuple[str, str]] = set()  # device and sid of the sessions that a device believes in
        self.left: set[str] = set()  # devices that said that they are unavailable: they believe in nothing any more
        self.initiated: Counter[tuple[str, str]] = Counter()  # by the device
        self.accepts: Counter[tuple[str, str]] = Counter()
        self.controls: list[tuple[str, LegControl]] = []
        self.callees = 0
        self.there = False  # a device is known to be there
        world.on_call = lambda incoming, leg: self.controls.append((incoming.key, leg))

    def step(self, kind: str, word: str, number: int, sid: str) -> None:
        match kind:
            case "device":
                self.device(word, DEVICES[number], self.theirs(sid))
            case "call":
                self.call(word, number)
            case "time":
                self.world.passes(float(word))
            case "link":
                (self.world.router.link_up if word == "up" else self.world.router.link_down)()
        self.look()

    def theirs(self, sid: str) -> str:
        return f"our{max(1, self.callees)}" if sid == "ours" else sid

    def device(self, word: str, device: str, sid: str) -> None:
        world = self.world
        if not world.router.connected:
            return  # what it says is lost with the link
        match word:
            case "propose":
                world.propose(sid, device, ROMEO)
            case "retract" | "reject" | "finish" | "proceed":
                world.jmi(word, sid, device, VOICE)
            case "ringing":
                self.ringing_said.add(sid)
                world.jmi(word, sid, device, VOICE)
            case "receipt":
                received = f"<received xmlns='urn:xmpp:receipts' id='jm-propose-{sid}'/>"
                world.says(f"<message from='{device}' to='{VOICE}'>{received}</message>")
            case "seen" | "back":
                self.there = True
                self.left.discard(device)
                world.presence(device, ROMEO)
            case "gone":
                self.left.add(device)
                self.open = {pair for pair in self.open if pair[0] != device}
                world.presence(device, ROMEO, kind="unavailable")
            case "initiate":
                self.asks(device, sid, "session-initiate", self.accept)
            case "accept":
                self.asks(device, sid, "session-accept", self.accept)
            case "terminate":
                self.asks(device, sid, "session-terminate", "<reason><success/></reason>")
            case "hold":
                self.asks(device, sid, "session-info", HOLD)
            case "rings":
                self.ringing_said.add(sid)
                self.asks(device, sid, "session-info", RINGING)
            case "trickle":
                self.asks(device, sid, "transport-info", self.accept)
            case "remove":
                self.asks(device, sid, "content-remove", AUDIO)

    def asks(self, device: str, sid: str, action: str, inner: str) -> None:
        before = len(self.world.sent)
        self.world.jingle(action, inner, sid, device, VOICE)
        replies = [s for s in self.world.sent[before:] if s.tag == stanzas.IQ and s.get("type") != "set"]
        assert len(replies) == 1, "every request gets one reply, at once"
        assert replies[0].get("id") == "q1"
        taken = replies[0].get("type") == "result"
        self.initiated[(device, sid)] += taken and action == "session-initiate"
        if action == "session-initiate" and taken and device not in self.left:
            self.open.add((device, sid))
        elif action == "session-terminate" or not taken:
            self.open.discard((device, sid))

    def call(self, word: str, number: int) -> None:
        if word == "dial" and self.callees < 3:
            self.callees += 1
            name = f"our{self.callees}"
            leg = self.world.router.callee(name, self.callees, USER, ROMEO, self.told.setdefault(name, []).append)
            self.controls.append((name, leg))
            leg.dial(self.offer)
        elif number < len(self.controls):
            name, leg = self.controls[-1 - number]
            if word == "alert":
                self.alerted.add(name)
            acts: dict[str, Callable[[], None]] = {
                "alert": leg.alert,
                "ask": leg.ask,
                "answer": lambda: leg.answer(self.offer),
                "hold": lambda: leg.hold(True, self.offer),
                "restart": lambda: leg.restart(self.offer),
                "hang up": lambda: leg.hang_up(Cause.NORMAL),
            }
            acts.get(word, lambda: None)()

    def look(self) -> None:
        """What was sent meanwhile, as the devices take it."""
        for stanza in self.world.take():
            label, detail = stanzas.describe(stanza)
            device = stanza.get("to", "")
            spoken, jingle = stanzas.jmi_of(stanza), stanzas.jingle_of(stanza)
            if spoken is not None and spoken.kind == "ringing":
                assert spoken.sid in self.alerted, "nothing rings that does not ring"
            if jingle is None or stanza.get("type") != "set":
                continue
            pair = (device, jingle.get("sid", ""))
            if label == "session-initiate" and device not in self.left:
                self.open.add(pair)
            elif label == "session-terminate":
                self.open.discard(pair)
            elif label == "session-accept":
                self.accepts[pair] += 1
                assert self.accepts[pair] <= self.initiated[pair], "nothing is answered twice, or unasked"
            elif label == "session-info" and detail == "ringing":
                assert pair[1] in self.alerted, "nothing rings that does not ring"
        for reports in self.told.values():
            for kind in (Answered, HungUp, Ringing):
                assert sum(isinstance(report, kind) for report in reports) <= 1
            ends = [n for n, report in enumerate(reports) if isinstance(report, HungUp)]
            assert not ends or ends == [len(reports) - 1], "after its end a leg says nothing"
        assert sum(isinstance(report, CallerJoined) for report in self.world.reports) <= len(self.world.calls)

    def end(self) -> None:
        """Everybody hangs up, the link is up, and time goes by."""
        self.world.router.link_up()
        for _, leg in self.controls:
            leg.hang_up(Cause.NORMAL)
            leg.hang_up(Cause.NORMAL)
        self.look()
        self.world.passes(400.0)
        self.look()
        assert self.world.router.calls == 0
        assert self.open == set(), "no session is left half open"
        assert self.world.router._calls._lines._keys == {}
        assert self.world.router._calls._lines._by_user == {}
        for name, reports in self.told.items():
            if any(isinstance(report, Ringing) for report in reports):
                assert name in self.ringing_said or self.there, "nothing rings that does not ring"


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=30))
def test_no_order_of_events_leaves_anything_open(new_world: Any, our_offer: Session, steps: list[Any]) -> None:
    world, content = new_world()
    play = Play(world, our_offer, content)
    for step in steps:
        play.step(*step)
    play.end()


def test_the_players_make_a_call_each_way(new_world: Any, our_offer: Session) -> None:
    """The play is a play: with the right words in the right order both calls come about."""
    world, content = new_world()
    play = Play(world, our_offer, content)
    for step in (
        ("call", "dial", 0, ""),
        ("device", "ringing", 0, "ours"),
        ("device", "proceed", 0, "ours"),
        ("device", "accept", 0, "ours"),
        ("device", "propose", 1, "s1"),
        ("call", "alert", 0, ""),
        ("call", "ask", 0, ""),
        ("device", "initiate", 1, "s1"),
        ("call", "answer", 0, ""),
    ):
        play.step(*step)
    assert [type(report) for report in play.told["our1"]] == [Ringing, Answered]
    assert [type(report) for report in world.reports] == [CallerJoined]
    assert play.open == {(DEVICES[0], "our1"), (DEVICES[1], "s1")}
    assert sum(play.accepts.values()) == 1
    play.end()
