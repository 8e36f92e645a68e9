"""Calls both ways in every state, while mangled messages of every kind come in: nothing breaks, and nothing stays.

The reply to "how deep does that go" is in `reached`: most of what is mangled still gets as far as a dialog.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gateway.sip.message import Headers, Request
from gateway.sip.usage import Usage
from tests.sip.bench import Bench, peer, theirs
from tests.sip.wire import SDP, answer, method, status

CONTACT = "Contact: <sip:x@192.0.2.9>"
INSIDE = (
    ("UPDATE", "Session-Expires: 90;refresher=uas\nSupported: timer", SDP),
    ("UPDATE", "P-Asserted-Identity: <sip:x@y>", ""),
    ("INVITE", "", SDP),
    ("INVITE", "", ""),
    ("PRACK", "RAck: 1 1 INVITE", ""),
    ("INFO", "", ""),
    ("REFER", "Refer-To: <sip:x@y?Replaces=1%3Bto-tag%3D2%3Bfrom-tag%3D3>", ""),
    ("NOTIFY", "Event: refer", ""),
    ("BYE", "Reason: Q.850;cause=16", ""),
)
DEMANDS = ("", "Require: 100rel", "Supported: timer\nSession-Expires: 90")
FINALS = (200, 422, 481, 491, 500, 603)
ANSWER = f"{CONTACT}\nSession-Expires: 90;refresher=uac\nMin-SE: 200\nRetry-After: 3"


class Pair:
    """One call in, one call out, and somebody who drives both at random."""

    def __init__(self, chance: random.Random, reached: Counter[str]) -> None:
        self.chance, self.reached = chance, reached
        self.bench, caller = Bench(), peer()
        self.taken, self.invite = self.bench.called(caller, extra=chance.choice(DEMANDS))
        self.placed = self.bench.invite()
        sent = self.bench.sent[0]
        reliable = f"{CONTACT}\nRequire: 100rel\nRSeq: 1\nAllow: UPDATE"
        self.texts = [
            caller.request("CANCEL", sequence=1),
            answer(sent, 183),
            answer(sent, 180, extra=reliable, content=SDP),
            answer(sent, 200, extra=CONTACT, content=SDP),
            answer(sent, 200, to_tag="other", extra=CONTACT, content=SDP),
            answer(sent, 422, extra="Min-SE: 100"),
            answer(sent, 486),
        ]
        caller.to = f"{caller.to};tag={self.taken.tag}"
        self.texts += [
            side.request(name, extra=extra, content=content)
            for side in (caller, theirs(sent))
            for name, extra, content in INSIDE
        ]
        self.texts.append(caller.request("ACK", sequence=1, content=SDP))

    def step(self) -> None:
        act = self.chance.choices(
            (self.hear, self.reply, self.ask, self.close, self.wait, self.answer_all), (55, 10, 10, 5, 10, 10)
        )[0]
        act()

    def hear(self) -> None:
        data = self.chance.choice(self.texts).encode()
        if self.chance.random() < 0.6:
            start = self.chance.randrange(len(data))
            data = (
                data[:start]
                + self.chance.randbytes(self.chance.randrange(8))
                + data[start + self.chance.randrange(30) :]
            )
        told = len(self.bench.heard) + len(self.bench.incoming)
        sent = self.bench.take(data)
        if len(self.bench.heard) + len(self.bench.incoming) > told:
            self.reached["user"] += 1
        else:
            self.reached["core" if sent else "nobody"] += 1

    def reply(self) -> None:
        self.bench.reply(self.taken, self.invite, self.chance.choice((180, 183, 200, 486)), SDP)

    def ask(self) -> None:
        body = self.chance.choice((b"", SDP.encode()))
        name = self.chance.choice(("INVITE", "UPDATE", "INFO", "BYE"))
        self.side().ask(name, Headers([("Content-Type", "application/sdp")]), body, self.bench.now)
        self.bench.step()

    def close(self) -> None:
        self.bench.close(self.side())

    def wait(self) -> None:
        self.bench.wait(self.chance.choice((0.6, 5, 40, 1000)))

    def answer_all(self) -> None:
        """What waits for an answer on either side of the wire gets one."""
        for message in self.bench.heard[-3:]:
            if isinstance(message, Request):
                self.bench.reply(self.taken, message, self.chance.choice((200, 488)), SDP)
                self.bench.reply(self.placed, message, 200)
        for text in self.bench.sent:
            if not status(text) and method(text) != "ACK":
                self.bench.take(answer(text, self.chance.choice((100, *FINALS)), extra=ANSWER, content=SDP))

    def side(self) -> Usage:
        return self.chance.choice((self.taken, self.placed))

    def end(self) -> None:
        for _ in range(2):  # an answer to what was open may be the last that an end waits for
            for message in self.bench.heard:
                if isinstance(message, Request):
                    self.bench.reply(self.taken, message, 200)
                    self.bench.reply(self.placed, message, 200)
            for usage in (self.taken, self.placed, *(usage for usage, _ in self.bench.incoming)):
                self.bench.close(usage)
        self.bench.wait(400)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nothing_breaks_and_nothing_stays(seed: int) -> None:
    chance, reached = random.Random(seed), Counter[str]()
    for number in range(600):
        pair = Pair(chance, reached)
        for _ in range(chance.randint(3, 14)):
            pair.step()
        pair.end()
        assert (pair.bench.agent.busy, pair.bench.agent.deadline) == ((0, 0), None), number
    assert reached["user"] > sum(reached.values()) / 10
    assert reached["core"] > sum(reached.values()) / 5
