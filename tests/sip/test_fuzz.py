"""Every vector there is, whole and mutated, as a stranger's and as if it belonged to the dialog, in every state of one.

Nothing raises, no transaction stays, and the next call works. The run says how many reached which layer, because a
mutant that nobody reads proves nothing about what is behind: `parser` refused it, `transactions` absorbed or dropped
it, `core` answered it, `user` was told.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from gateway.sip.message import Headers, Request
from gateway.sip.parser import MalformedError, parse
from tests.scenarios.test_bad_input import mutated_text
from tests.sip.bench import CONTACT, Bench, established, peer, statuses, theirs, up
from tests.sip.torture import everything, octets
from tests.sip.wire import SDP, answer

EACH = 400  # mutants of each state
METHODS = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "UPDATE", "PRACK", "REFER", "NOTIFY", "SUBSCRIBE", "X")
CODES = (100, 180, 183, 200, 202, 302, 401, 407, 408, 422, 481, 486, 491, 500, 503, 600)


class State:
    """A bench at some moment; `texts` are messages of the far side that belong there."""

    def __init__(self, bench: Bench, *texts: str) -> None:
        self.bench = bench
        self.texts = texts


def idle() -> State:
    return State(Bench(), peer().request("INVITE", content=SDP))


def ringing_in() -> State:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller, extra="Supported: 100rel\nContact: <sip:romeo@192.0.2.9>")
    bench.reply(usage, invite, 180)
    cancel = caller.request("CANCEL", sequence=1, branch=f"{caller.branch}.INVITE.1")
    caller.to += f";tag={usage.tag}"
    return State(bench, cancel, *(caller.request(name, content=SDP) for name in ("UPDATE", "PRACK", "BYE")))


def talking_in() -> State:
    bench, caller = Bench(), peer()
    up(bench, caller)
    return State(bench, *(caller.request(name, content=SDP) for name in METHODS))


def ringing_out() -> State:
    bench = Bench()
    bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 180, extra=CONTACT))
    return State(bench, *(answer(invite, code, extra=CONTACT, content=SDP) for code in CODES))


def talking_out() -> State:
    bench = Bench()
    _, invite = established(bench)
    far = theirs(invite)
    return State(bench, answer(invite, 200, to_tag="fork", extra=CONTACT), *(far.request(name) for name in METHODS))


def asking() -> State:
    """A re-INVITE of ours is on its way."""
    bench = Bench()
    session, invite = established(bench)
    session.ask("INVITE", Headers(), SDP.encode(), bench.now)
    (again,) = bench.step()
    far = theirs(invite)
    return State(
        bench, *(answer(again, code, extra=CONTACT, content=SDP) for code in CODES), far.request("INVITE", content=SDP)
    )


def leaving() -> State:
    """Our BYE is on its way."""
    bench = Bench()
    session, invite = established(bench)
    (bye,) = bench.close(session)
    return State(bench, *(answer(bye, code) for code in CODES), *(theirs(invite).request(name) for name in METHODS))


def subscribed() -> State:
    bench, caller = Bench(), peer()
    bench.take(caller.request("SUBSCRIBE", extra="Event: presence\nExpires: 60"))
    usage, request = bench.incoming[-1]
    caller.took(bench.reply(usage, request, 200)[0])
    return State(bench, *(caller.request(name, extra="Expires: 0") for name in METHODS))


STATES: tuple[Callable[[], State], ...] = (
    idle, ringing_in, talking_in, ringing_out, talking_out, asking, leaving, subscribed
)  # fmt: skip


def grafted(vector: bytes, text: str) -> bytes:
    """The vector as if it belonged to the same dialog as the text; as it is when it cannot be read."""
    try:
        message, own = parse(vector), parse(text.encode())
    except MalformedError:
        return vector
    for name in ("Via", "From", "To", "Call-ID", "CSeq"):
        message.headers.remove(name)
        for value in own.headers.all(name):
            message.headers.add(name, value)
    if isinstance(message, Request) and isinstance(own, Request):
        message.method = own.method
    return bytes(message)


def layer_of(bench: Bench, data: bytes) -> str:
    told = len(bench.heard) + len(bench.incoming) + len(bench.ended) + len(bench.finished)
    sent = bench.take(data)
    if len(bench.heard) + len(bench.incoming) + len(bench.ended) + len(bench.finished) > told:
        return "user"
    try:
        parse(data)
    except MalformedError:
        return "parser"
    return "core" if any(statuses(sent)) else "transactions"


def leave(bench: Bench) -> None:
    """Everybody has had enough, and nobody answers any more."""
    for _ in range(2):
        for usage in {
            id(usage): usage for usage in (*(u for u, _ in bench.incoming), *bench.agent._usages.values())
        }.values():
            bench.close(usage)
        bench.wait(400)


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_no_vector_and_no_mutant_breaks_anything_in_any_state(
    state: Callable[[], State], reached: Counter[str]
) -> None:
    chance, vectors = random.Random(state.__name__), [octets(path) for path in everything()]
    for number in range(EACH):
        at = state()
        for _ in range(chance.randint(1, 6)):
            text = chance.choice(at.texts)
            match chance.randrange(4):
                case 0:
                    data = chance.choice(vectors)
                case 1:
                    data = text.encode()
                case _:
                    data = grafted(chance.choice(vectors), text)
            if chance.random() < 0.7:
                data = mutated_text(chance, data.decode("latin-1")).encode("latin-1", "replace")
            reached[layer_of(at.bench, data)] += 1
            if not chance.randrange(5):
                reached["later"] += bool(at.bench.wait(chance.choice((0.6, 5.0, 40.0))))
        leave(at.bench)
        assert (at.bench.agent.busy, at.bench.agent.deadline) == ((0, 0), None), number
        fresh = peer()
        usage, invite = at.bench.called(fresh)
        assert invite.call_id == fresh.call_id
        assert statuses(at.bench.reply(usage, invite, 200, SDP)) == [200]
    every = sum(reached.values())
    assert reached["user"] + reached["core"] > every / 4, "most of them are read no further than the parser"
