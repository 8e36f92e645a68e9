"""gateway.sip.agent: what becomes of whatever a wire may bring."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sip import agent
from gateway.sip.agent import MAX_REFUSED, safe_text, way_back
from gateway.sip.layer import Flow, Limits, Transmit
from gateway.sip.message import Request, Response
from gateway.sip.overload import Standing
from gateway.sip.parser import parse
from tests.sip.bench import UDP, Bench, established, peer, statuses, theirs
from tests.sip.torture import everything, octets
from tests.sip.wire import SDP, answer, field, fields, method, tag


@pytest.mark.parametrize(
    "noise", [b"", b"\r\n\r\n", b"\0" * 20, b"\xff\xfe", b"GET / HTTP/1.1\r\n\r\n", b"SIP/2.0 200"]
)
def test_noise_is_answered_by_nothing(noise: bytes) -> None:
    assert Bench().take(noise) == []


def test_a_request_that_cannot_be_read_is_refused_without_memory_of_it() -> None:
    bench, caller = Bench(), peer()
    text = caller.request("INVITE", content=SDP).replace("Max-Forwards: 70", "Content-Length: 9999")
    (refusal,) = bench.take(text)
    assert statuses([refusal]) == [400]
    assert field(refusal, "Warning").startswith('399 gateway "')
    assert bench.agent.busy == (0, 0)
    assert bench.take(caller.request("ACK").replace("CSeq: 2", "CSeq: x")) == []


@pytest.mark.parametrize(
    ("name", "find", "replace", "code"),
    [
        ("INVITE", "SIP/2.0\r\nVia", "SIP/7.0\r\nVia", 505),
        ("INVITE", "Max-Forwards: 70", "Max-Forwards: 0", 483),
        ("INVITE", "Max-Forwards: 70", "Max-Forwards: many", 400),
        ("INVITE", "CSeq: 1 INVITE", "CSeq: 1 OPTIONS", 400),
        ("INVITE", "Contact:", "X-Contact:", 400),
        ("INVITE", "Call-ID: ", f"Call-ID: {'x' * 2000}", 400),
        ("INVITE", "<sip:juliet@192.0.2.1>\r\nCall", "<sip:juliet@192.0.2.1>;tag=unknown\r\nCall", 481),
        ("INVITE", "INVITE sip:", "INVITE http:", 416),
        ("INVITE", "Max-Forwards", "Require: 100rel, path\r\nMax-Forwards", 420),
        ("BYE", "", "", 481),
        ("CANCEL", "", "", 481),
        ("PRACK", "", "", 481),
        ("DANCE", "", "", 501),
    ],
)
def test_refusals(name: str, find: str, replace: str, code: int) -> None:
    bench = Bench()
    text = peer().request(name, content=SDP if name == "INVITE" else "")
    sent = bench.take(text.replace(find, replace, 1))
    assert statuses(sent) == [code]
    assert tag(field(sent[0], "To"))
    assert not bench.incoming
    if code == 420:
        assert field(sent[0], "Unsupported") == "path"


def test_options_with_no_hops_left_are_answered() -> None:
    bench = Bench()
    bench.take(peer().request("OPTIONS").replace("Max-Forwards: 70", "Max-Forwards: 0"))
    assert len(bench.incoming) == 1


def test_a_via_with_an_impossible_port_is_ordinary() -> None:
    bench = Bench()
    text = peer().request("OPTIONS").replace("192.0.2.9:5060", "192.0.2.9:99999")
    bench.take(text)
    assert len(bench.incoming) == 1


def test_where_it_came_from_is_written_into_the_topmost_via_alone() -> None:
    bench = Bench()
    flow = Flow("UDP", UDP.local, ("198.51.100.7", 40000), UDP.sent_by)
    text = (
        peer()
        .request("INVITE", content=SDP)
        .replace(
            ";rport\r\n", ";rport=1;received=192.0.2.99, SIP/2.0/UDP next;branch=z9hG4bKn\r\nVia: SIP/2.0/TCP  last\r\n"
        )
    )
    (trying,) = bench.take(text, flow)
    top, last = fields(trying, "Via")
    assert "received=198.51.100.7;rport=40000, SIP/2.0/UDP next;branch=z9hG4bKn" in top
    assert "192.0.2.99" not in top
    assert last == "SIP/2.0/TCP  last"


@pytest.mark.parametrize(
    ("via", "port"),
    [
        ("SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1;rport", 40000),
        ("SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK1", 5070),
        ("SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1", 5060),
        ("SIP/2.0/UDP 192.0.2.9:5070;received=192.0.2.66;branch=z9hG4bK1, SIP/2.0/UDP p", 5070),
        ("SIP/2.0/UDP 10.0.0.9:5070;branch=z9hG4bK1", 40000),
        ("SIP/2.0/UDP phone.example;branch=z9hG4bK1", 40000),
        ("SIP/2.0/UDP", 40000),
    ],
)
def test_a_datagram_is_answered_at_the_port_of_its_via_unless_its_sender_wants_it_otherwise(
    via: str, port: int
) -> None:
    bench, flow = Bench(), dataclasses.replace(UDP, remote=("192.0.2.9", 40000))
    text = peer().request("INVITE", content=SDP)
    bench.agent.receive(text.replace(field(text, "Via"), via).encode(), flow, 0.0)
    sent = bench.agent.take()[0]  # 100, or 400
    assert isinstance(sent, Transmit)
    assert isinstance(sent.message, Response)
    assert way_back(sent.message, sent.flow) == dataclasses.replace(flow, remote=("192.0.2.9", port))


def test_the_same_invite_by_two_ways_is_a_loop() -> None:
    bench, caller = Bench(), peer()
    bench.take(caller.request("INVITE", content=SDP, branch="z9hG4bK1"))
    assert statuses(bench.take(caller.request("INVITE", content=SDP, sequence=1, branch="z9hG4bK2"))) == [482]
    assert len(bench.incoming) == 1


def test_our_own_invite_come_home_is_a_loop() -> None:
    bench = Bench()
    bench.invite()
    came_home = bench.sent[0].replace("branch=z9hG4bK", "branch=z9hG4bKproxied")
    assert statuses(bench.take(came_home)) == [482]


def test_a_full_house_refuses_new_calls() -> None:
    bench = Bench(limits=Limits(usages=1))
    bench.called(peer())
    sent = bench.take(peer().request("INVITE", content=SDP))
    assert statuses(sent) == [503]
    assert field(sent[0], "Retry-After")


def test_the_repeat_of_an_invite_that_was_refused_for_too_much_to_do_is_refused_when_there_is_less() -> None:
    bench = Bench()
    bench.agent.backlog = lambda: 10_000
    caller = peer()
    invite = caller.request("INVITE", content=SDP, branch="z9hG4bKonce")
    assert statuses(bench.take(invite)) == [503]
    bench.agent.backlog = lambda: 0
    assert statuses(bench.take(invite)) == [503]
    assert not bench.incoming
    assert bench.agent.gate.counts["overloaded"] == 1
    bench.take(caller.request("INVITE", content=SDP, sequence=2, branch="z9hG4bKagain"))
    assert len(bench.incoming) == 1


def test_who_came_when_the_table_was_full_hears_the_same_when_it_is_not() -> None:
    bench = Bench(limits=Limits(transactions=1))
    bench.take(peer().request("OPTIONS"))
    late = peer().request("INVITE", content=SDP)
    (refusal,) = bench.take(late)
    assert (statuses([refusal]), field(refusal, "Retry-After")) == ([503], "10")
    bench.wait(70)
    assert bench.agent.busy == (0, 0)
    assert statuses(bench.take(late)) == [503], "its caller was told already that there is no call"
    assert bench.agent.gate.counts["overloaded"] == 1
    assert statuses(bench.take(peer().request("INVITE", content=SDP))) == [100]


def test_refusals_without_end_leave_memory_flat() -> None:
    bench = Bench()
    bench.agent.backlog = lambda: 10_000
    for number in range(MAX_REFUSED + 10):
        bench.take(peer().request("INVITE", content=SDP, branch=f"z9hG4bK{number}"))
    assert len(bench.agent._refused) == MAX_REFUSED


def test_a_stray_ack_and_a_stray_response_are_dropped() -> None:
    bench = Bench()
    assert bench.take(peer().request("ACK")) == []
    bench.invite()
    invite = bench.sent[0]
    assert bench.take(answer(invite, 180).replace("branch=z9hG4bK", "branch=z9hG4bKother")) == []
    assert not bench.heard


@pytest.mark.parametrize("below", ["\r\nVia: {}", ", {}"])
def test_a_response_that_was_for_somebody_before_us_is_dropped(below: str) -> None:
    bench = Bench()
    bench.invite()
    invite = bench.sent[0]
    via = field(invite, "Via")
    assert bench.take(answer(invite, 200).replace(via, via + below.format("SIP/2.0/UDP 192.0.2.7"))) == []
    assert not bench.heard
    bench.take(answer(invite, 180).replace(via, f'{via};received="192.0.2.1,"'))
    assert [m.label for m in bench.heard] == ["180 Whatever"]


def test_reordered_messages_of_a_call_do_no_harm() -> None:
    bench = Bench()
    bench.invite()
    invite = bench.sent[0]
    contact = "Contact: <sip:juliet@192.0.2.9>"
    assert [method(m) for m in bench.take(answer(invite, 200, extra=contact, content=SDP))] == ["ACK"]
    assert bench.take(answer(invite, 180)) == []
    assert bench.take(answer(invite, 100, to_tag="")) == []
    assert [m.label.split()[0] for m in bench.heard] == ["200"]


@pytest.mark.parametrize("routes", ["Record-Route: nonsense", "Record-Route: <sip:p;lr>\nContact: <nonsense>"])
def test_an_answer_that_can_make_no_dialog_leaves_nobody_waiting(routes: str) -> None:
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    assert bench.take(answer(invite, 183, extra=routes)) == []
    bench.take(answer(invite, 200, extra=routes, content=SDP))
    assert bench.heard[-1].label == "400 Bad Request"
    assert bench.ended == [session]


def test_a_register_with_the_same_call_id_belongs_to_the_first() -> None:
    bench, caller = Bench(), peer()
    bench.take(caller.request("REGISTER"))
    usage, register = bench.incoming[0]
    bench.reply(usage, register, 200)
    bench.take(caller.request("REGISTER"))
    assert len(bench.incoming) == 1
    assert len(bench.heard) == 1
    bench.close(usage)
    assert bench.agent.busy[1] == 0


def test_everything_is_forgotten_in_the_end() -> None:
    bench = Bench()
    for _ in range(200):
        caller = peer()
        usage, invite = bench.called(caller)
        caller.took(bench.reply(usage, invite, 200, SDP)[0])
        bench.take(caller.request("ACK", sequence=1, branch=f"{caller.branch}ack"))
        bench.take(caller.request("BYE"))
        session = bench.invite()
        bench.take(answer(bench.sent[0], 486))
        assert session in bench.ended
    bench.wait(100)
    assert bench.agent.busy == (0, 0)
    assert bench.agent.deadline is None
    assert len(bench.agent._keys) == len(bench.agent._usages) == len(bench.agent._invited) == 0


@pytest.mark.parametrize("path", everything(), ids=lambda path: path.stem)
def test_vectors_raise_nothing(path: Path) -> None:
    bench = Bench()
    bench.take(octets(path))
    bench.take(peer().request("OPTIONS"))
    assert bench.incoming[-1][1].method == "OPTIONS"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutated_messages_at_every_state_of_a_call_leave_the_next_one_working(data: st.DataObject) -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    texts = [caller.request("CANCEL", sequence=1), caller.request("UPDATE", content=SDP), caller.request("INFO")]
    session = bench.invite()
    texts += [answer(bench.sent[0], 183), answer(bench.sent[0], 200, extra="Contact: <sip:x@y>", content=SDP)]
    texts += [answer(bench.sent[0], 180, extra="Contact: <sip:x@y>\nRequire: 100rel\nRSeq: 1\nAllow: UPDATE")]
    texts += [answer(bench.sent[0], 422, extra="Min-SE: 100"), theirs(bench.sent[0]).request("UPDATE", content=SDP)]
    caller.to = f"{caller.to};tag={usage.tag}"
    texts += [
        caller.request("PRACK", extra="RAck: 1 1 INVITE"),
        caller.request("INVITE", content=SDP, extra="Session-Expires: 90;refresher=uas\nSupported: timer"),
        caller.request("REFER", extra="Refer-To: <sip:x@y?Replaces=1%3Bto-tag%3D2%3Bfrom-tag%3D3>"),
        caller.request("ACK", sequence=1, content=SDP),
        caller.request("BYE"),
    ]
    for _ in range(data.draw(st.integers(0, 2))):  # at some state
        bench.reply(usage, invite, data.draw(st.sampled_from((180, 183, 200))), SDP)
    for _ in range(data.draw(st.integers(1, 6))):
        text = data.draw(st.sampled_from(texts)).encode()
        # What is drawn does not depend on the length of the text: peers are numbered through the whole run.
        start = data.draw(st.integers(0, 2000)) % (len(text) + 1)
        end = start + data.draw(st.integers(0, 40))
        bench.take(text[:start] + data.draw(st.binary(max_size=12)) + text[end:])
    bench.close(usage)
    bench.close(session)
    other = peer()
    usage, invite = bench.called(other)
    other.took(bench.reply(usage, invite, 200, SDP)[0])
    bench.take(other.request("ACK", sequence=1, branch=f"{other.branch}ack"))
    assert statuses(bench.take(other.request("BYE"))) == [200]


def test_lost_packets_are_healed_by_repetition() -> None:
    """Two agents, a third of all packets lost: every call ends on both sides."""
    chance = random.Random(4)
    for _ in range(20):
        left, right = Bench(), Bench()
        session = left.invite()
        flying = [(right, text) for text in left.sent]
        hung_up = False
        for _ in range(4000):
            for there, text in flying:
                if chance.random() > 0.33:
                    there.take(text)
                    back = left if there is right else right
                    flying = [*flying[1:], *((back, out) for out in there.sent)]
                else:
                    flying = flying[1:]
                break
            else:
                for here, there in ((left, right), (right, left)):
                    flying += [(there, text) for text in here.wait(0.1)]
            if right.incoming and not right.ended and right.agent.busy[1] and not right.heard:
                usage, invite = right.incoming[0]
                flying += [(left, text) for text in right.reply(usage, invite, 200, SDP)]
            if session.established and not hung_up:
                hung_up = True
                flying += [(right, text) for text in left.close(session)]
            if left.now > 200:
                break
        assert left.agent.busy == (0, 0)
        assert right.agent.busy == (0, 0)
        assert left.ended


def test_a_ladder_shows_no_secrets() -> None:
    caller = peer()
    message = parse(
        caller.request("INVITE", extra='Authorization: Digest username="u", response="secret"', content=SDP).encode()
    )
    text = safe_text(message)
    assert "secret" not in text
    assert "Authorization: Digest …" in text
    assert "CSeq 1 INVITE" in text
    assert f"application/sdp {len(SDP)} octets" in text
    assert isinstance(message, Request)


def test_one_address_may_not_ring_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "MAX_RINGING", 2)
    bench = Bench()
    calls = [bench.called(peer()) for _ in range(2)]
    refused = bench.take(peer().request("INVITE", content=SDP))
    assert (statuses(refused), field(refused[0], "Retry-After")) == ([503], "10")
    elsewhere = Flow("UDP", UDP.local, ("198.51.100.7", 5060), UDP.sent_by)
    assert statuses(bench.take(peer().request("INVITE", content=SDP), elsewhere)) == [100]
    bench.reply(*calls[0], 486)
    assert statuses(bench.take(peer().request("INVITE", content=SDP))) == [100]


@pytest.mark.parametrize("spoilt", ["CSeq: x", "Via: nonsense", "To: nonsense", "From: <", "Call-ID:"])
def test_a_response_that_cannot_be_read_changes_nothing(spoilt: str) -> None:
    bench = Bench()
    bench.invite()
    invite = bench.sent[0]
    name = spoilt.partition(":")[0]
    lines = answer(invite, 200, extra="Contact: <sip:x@192.0.2.9>", content=SDP).split("\r\n")
    assert bench.take("\r\n".join(spoilt if line.startswith(f"{name}:") else line for line in lines)) == []
    assert not bench.heard
    assert [method(m) for m in bench.take(answer(invite, 486))] == ["ACK"]


def test_a_while_after_the_last_call_every_table_is_empty() -> None:
    bench = Bench()
    for _ in range(10):
        _, invite = established(bench)
        assert statuses(bench.take(theirs(invite).request("BYE"))) == [200]
    bench.wait(64.0)
    assert bench.agent.busy == (0, 0)
    assert not bench.agent._exchanges


def test_a_stranger_is_neither_answered_nor_remembered_and_counted() -> None:
    bench, caller = Bench(), peer()
    bench.agent.standing = lambda source: Standing.STRANGER
    for name in ("INVITE", "OPTIONS", "CANCEL", "BYE", "ACK", "DANCE"):
        assert bench.take(caller.request(name)) == []
    assert bench.take(caller.request("INVITE").replace("Max-Forwards: 70", "Content-Length: 9999")) == []
    assert bench.take(caller.request("INVITE").replace("CSeq: ", "CSeq: x")) == []
    assert bench.agent.busy == (0, 0)
    assert bench.agent.gate.counts == {"ignored": 5}


def test_a_stranger_inside_a_dialog_is_heard() -> None:
    bench = Bench()
    session, invite = established(bench)
    bench.agent.standing = lambda source: Standing.STRANGER
    assert statuses(bench.take(theirs(invite).request("BYE"))) == [200]
    assert session.ended
