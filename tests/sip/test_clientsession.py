"""gateway.sip.clientsession: calls that we place, message by message, on a clock set by hand."""

from __future__ import annotations

import pytest

from gateway.sip import session
from gateway.sip.clientsession import MAX_ANSWERS, ClientSession
from gateway.sip.message import Headers, Request, Response
from gateway.sip.targets import Course, Penalties, Target
from gateway.sip.usage import Exchange
from tests.sip.bench import CONTACT, TCP, UDP, Bench, established, peer, statuses, theirs
from tests.sip.wire import SDP, answer, field, fields, method, tag

ROUTES = "Record-Route: <sip:p2@192.0.2.20;lr>\nRecord-Route: <sip:p1@192.0.2.10;lr>\n" + CONTACT


def test_a_call_rings_is_answered_acknowledged_and_hung_up() -> None:
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 100, to_tag=""))
    bench.take(answer(invite, 180))
    sent = bench.take(answer(invite, 200, extra=CONTACT, content=SDP))
    assert [m.label for m in bench.heard] == ["100 Whatever", "180 Whatever", "200 Whatever"]
    assert [method(m) for m in sent] == ["ACK"]
    sent = bench.close(session)
    assert [method(m) for m in sent] == ["BYE"]
    assert bench.ended == [session]
    bench.take(answer(sent[0], 200))
    assert bench.agent.busy[1] == 0


def test_the_ack_to_a_200_has_its_own_branch_the_contact_and_the_route_set() -> None:
    bench = Bench()
    _, invite = established(bench, ROUTES)
    ack = bench.sent[0]
    assert ack.startswith("ACK sip:juliet@192.0.2.9:5062 SIP/2.0")
    assert fields(ack, "Route") == ["<sip:p1@192.0.2.10;lr>", "<sip:p2@192.0.2.20;lr>"]
    assert field(ack, "CSeq") == "1 ACK"
    assert field(ack, "Via") != field(invite, "Via")
    assert tag(field(ack, "To")) == "peer"


def test_a_second_fork_that_answers_is_acknowledged_and_hung_up() -> None:
    bench = Bench()
    session, invite = established(bench)
    other = answer(invite, 200, to_tag="other", extra="Contact: <sip:nurse@192.0.2.9:5070>", content=SDP)
    sent = bench.take(other)
    assert [method(m) for m in sent] == ["ACK", "BYE"]
    assert all(m.split(" ")[1] == "sip:nurse@192.0.2.9:5070" for m in sent)
    assert [method(m) for m in bench.take(other)] == ["ACK"]
    bench.take(answer(sent[1], 200))
    assert not bench.ended
    assert [method(m) for m in bench.close(session)] == ["BYE"]
    assert tag(field(bench.sent[0], "To")) == "peer"


def test_a_cancel_waits_for_the_first_provisional_response() -> None:
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    assert bench.close(session) == []
    sent = bench.take(answer(invite, 100, to_tag=""))
    assert [method(m) for m in sent] == ["CANCEL"]
    assert field(sent[0], "Via") == field(invite, "Via")
    assert field(sent[0], "CSeq") == "1 CANCEL"
    assert tag(field(sent[0], "To")) == ""
    assert bench.take(answer(sent[0], 200)) == []
    sent = bench.take(answer(invite, 487))
    assert [method(m) for m in sent] == ["ACK"]
    assert bench.ended == [session]


def test_a_provisional_response_that_cannot_be_read_lets_the_cancel_go_all_the_same() -> None:
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    bench.close(session)
    (cancel,) = bench.take(answer(invite, 183, extra="Contact: <open"))
    assert method(cancel) == "CANCEL"


def test_an_answer_that_crosses_a_cancel_is_hung_up() -> None:
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 180))
    assert [method(m) for m in bench.close(session)] == ["CANCEL"]
    sent = bench.take(answer(invite, 200, extra=CONTACT, content=SDP))
    assert [method(m) for m in sent] == ["ACK", "BYE"]
    assert bench.heard[-1].label.startswith("487")
    assert bench.ended == [session]


def test_a_cancel_that_nobody_answers_ends_the_call_all_the_same() -> None:
    bench = Bench()
    session = bench.invite()
    bench.take(answer(bench.sent[0], 180))
    bench.close(session)
    bench.wait(33)
    assert bench.ended == [session]
    assert bench.agent.busy == (0, 0)


def test_a_call_may_ring_for_minutes() -> None:
    bench = Bench()
    bench.invite()
    bench.take(answer(bench.sent[0], 180))
    bench.wait(300)
    assert not bench.ended


def test_silence_becomes_a_local_408() -> None:
    bench = Bench()
    session = bench.invite()
    sent = bench.wait(40)
    assert [method(m) for m in sent] == ["INVITE"] * 6  # 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s
    assert isinstance(bench.heard[-1], Response)
    assert (bench.heard[-1].status, bench.heard[-1].local) == (408, True)
    assert bench.ended == [session]


def given_up(bench: Bench, after: float = 5.0) -> tuple[ClientSession, str]:
    """A call that may have no answer for so long, and has none: the session, and its INVITE."""
    bench.launch = False
    session = bench.invite()
    (exchange,) = bench.dispatched
    exchange.patience = after
    bench.launch = True
    bench.agent.launch(exchange, bench.flow, bench.now)
    (invite,) = bench.step()
    assert [method(m) for m in bench.wait(after)] == ["INVITE"] * 3  # 0.5, 1.5, 3.5 s
    return session, invite


def test_an_invite_may_be_given_up_sooner_where_somebody_else_can_be_asked() -> None:
    bench = Bench()
    session, _ = given_up(bench)
    assert [m.status for m in bench.heard if isinstance(m, Response)] == [408]
    assert bench.ended == [session]
    assert bench.wait(60) == []
    assert bench.agent.busy == (0, 0)


def test_who_begins_to_ring_when_he_was_given_up_is_cancelled() -> None:
    bench = Bench()
    _, invite = given_up(bench)
    (cancel,) = bench.take(answer(invite, 180, extra=CONTACT))
    assert (method(cancel), field(cancel, "Via")) == ("CANCEL", field(invite, "Via"))
    assert bench.take(answer(invite, 180, extra=CONTACT)) == []
    bench.take(answer(cancel, 200))
    assert [method(m) for m in bench.take(answer(invite, 487))] == ["ACK"]
    assert len(bench.heard) == 1, "nobody wants to know"
    bench.wait(60)
    assert bench.agent.busy == (0, 0)


def test_who_answers_when_he_was_given_up_is_acknowledged_and_hung_up() -> None:
    bench = Bench()
    _, invite = given_up(bench)
    late = answer(invite, 200, extra=CONTACT, content=SDP)
    ack, bye = bench.take(late)
    assert [ack.split(" ")[:2], bye.split(" ")[:2]] == [[m, "sip:juliet@192.0.2.9:5062"] for m in ("ACK", "BYE")]
    assert bench.take(late) == [ack]
    bench.take(answer(bye, 200))
    assert len(bench.heard) == 1
    bench.wait(60)
    assert bench.agent.busy == (0, 0)


def rings_elsewhere(bench: Bench) -> tuple[ClientSession, str, str]:
    """One server said nothing, the next one rings: the session, and the two INVITEs."""
    bench.launch = False
    session = bench.invite()
    (exchange,) = bench.dispatched
    exchange.course = Course([Target("UDP", "192.0.2.9", 5060), Target("UDP", "192.0.2.8", 5060)], Penalties(), 0.0)
    exchange.course.advance()
    bench.launch = True
    bench.agent.launch(exchange, bench.flow, bench.now)
    (first,) = bench.step()
    second = next(m for m in bench.wait(5.0) if field(m, "Via") != field(first, "Via"))
    bench.take(answer(second, 180, extra=CONTACT, to_tag="second"))
    return session, first, second


def test_who_rings_for_long_may_answer_although_another_one_was_hung_up_who_answered_late() -> None:
    bench = Bench()
    _, first, second = rings_elsewhere(bench)
    _, bye = bench.take(answer(first, 200, extra=CONTACT, content=SDP))
    bench.take(answer(bye, 200))
    bench.wait(40)  # longer than anything of the first one is remembered
    assert [method(m) for m in bench.take(answer(second, 200, extra=CONTACT, to_tag="second", content=SDP))] == ["ACK"]
    assert [m.status for m in bench.heard if isinstance(m, Response)] == [180, 200]


def test_who_rings_for_long_can_be_cancelled_although_another_one_was_hung_up_who_answered_late() -> None:
    bench = Bench()
    session, first, second = rings_elsewhere(bench)
    _, bye = bench.take(answer(first, 200, extra=CONTACT, content=SDP))
    bench.take(answer(bye, 200))
    bench.wait(40)
    (cancel,) = bench.close(session)
    assert (method(cancel), field(cancel, "Via")) == ("CANCEL", field(second, "Via"))
    bench.take(answer(cancel, 200))
    bench.take(answer(second, 487, to_tag="second"))
    assert bench.ended == [session]
    bench.wait(60)
    assert bench.agent.busy == (0, 0)


def test_a_late_answer_that_cannot_be_read_changes_nothing() -> None:
    bench = Bench()
    _, invite = given_up(bench)
    assert bench.take(answer(invite, 200, extra="Contact: <<", content=SDP)) == []


def reinvites(bench: Bench) -> Exchange:
    """A re-INVITE of ours in a call that is up, which has not left yet."""
    session, _ = established(bench)
    bench.launch = False
    session.ask("INVITE", Headers([("Content-Type", "application/sdp")]), SDP.encode(), bench.now)
    bench.step()
    bench.launch = True
    return bench.dispatched[-1]


def test_a_reinvite_that_was_given_up_takes_the_answer_that_comes_late() -> None:
    bench = Bench()
    exchange = reinvites(bench)
    exchange.patience = 5.0
    bench.agent.launch(exchange, bench.flow, bench.now)
    (invite,) = bench.step()
    bench.wait(4.0)
    exchange.transaction = None  # it was sent to another server of theirs
    assert bench.take(answer(invite, 180)) == []
    assert [method(m) for m in bench.take(answer(invite, 200, extra=CONTACT, content=SDP))] == ["ACK"]
    assert [(e, m.label) for e, m in bench.finished] == [(exchange, "200 Whatever")]


def test_a_late_answer_to_a_reinvite_that_was_sent_anew_gets_the_ack_of_its_own_number() -> None:
    bench = Bench()
    exchange = reinvites(bench)
    exchange.course = Course([Target("UDP", "192.0.2.9", 5060), Target("UDP", "192.0.2.8", 5060)], Penalties(), 0.0)
    exchange.course.advance()
    bench.agent.launch(exchange, bench.flow, bench.now)
    (first,) = bench.step()
    second = next(m for m in bench.wait(5.0) if field(m, "Via") != field(first, "Via"))
    bench.take(answer(second, 491))
    again = next(m for m in bench.wait(4.1) if method(m) == "INVITE")
    assert [field(m, "CSeq") for m in (first, second, again)] == ["2 INVITE", "2 INVITE", "3 INVITE"]
    for invite, number in ((first, "2 ACK"), (again, "3 ACK")):
        acks = bench.take(answer(invite, 200, extra=CONTACT, content=SDP))
        assert [field(m, "CSeq") for m in acks] == [number]
    assert [m.label for _, m in bench.finished] == ["200 Whatever"]


def test_a_dead_connection_becomes_a_local_503() -> None:
    bench = Bench(TCP)
    session = bench.invite()
    bench.agent.broken(TCP.connection, bench.now)
    bench.step()
    assert isinstance(bench.heard[-1], Response)
    assert (bench.heard[-1].status, bench.heard[-1].local) == (503, True)
    assert bench.ended == [session]


def test_a_datagram_that_comes_back_becomes_a_local_503() -> None:
    """RFC 3261 §18.4: the network says that nobody is there, and quotes what it was asked to deliver."""
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0].encode()
    bench.agent.undeliverable(invite.replace(b"branch=z9hG4bK", b"branch=z9hG4bKguess"), UDP.remote, bench.now)
    bench.agent.undeliverable(invite, ("192.0.2.66", 5060), bench.now)
    bench.agent.undeliverable(invite[:40], UDP.remote, bench.now)
    assert bench.step() == []
    assert not bench.heard, "who does not quote the branch, or not of where it went, has not seen it"
    bench.agent.undeliverable(invite[:400], UDP.remote, bench.now)
    bench.step()
    assert isinstance(bench.heard[-1], Response)
    assert (bench.heard[-1].status, bench.heard[-1].local) == (503, True)
    assert bench.ended == [session]
    assert bench.agent.busy == (0, 0)
    bench.agent.undeliverable(invite, UDP.remote, bench.now)
    assert bench.step() == []


def test_a_datagram_that_comes_back_after_an_answer_changes_nothing() -> None:
    bench = Bench()
    bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 180))
    bench.agent.undeliverable(invite.encode(), UDP.remote, bench.now)
    bench.step()
    assert [message.label.split()[0] for message in bench.heard] == ["180"]
    assert not bench.ended


def test_a_refusal_is_acknowledged_by_the_transaction() -> None:
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    sent = bench.take(answer(invite, 486))
    assert [method(m) for m in sent] == ["ACK"]
    assert field(sent[0], "Via") == field(invite, "Via")
    assert [method(m) for m in bench.take(answer(invite, 486))] == ["ACK"]
    assert bench.ended == [session]
    assert len(bench.heard) == 1


def test_a_call_hung_up_before_a_way_was_found_is_never_sent() -> None:
    bench = Bench(launch=False)
    session = bench.invite()
    assert bench.close(session) == []
    assert bench.ended == [session]
    bench.agent.launch(bench.dispatched[0], bench.flow, bench.now)
    assert bench.step() == []


def test_a_forked_call_answers_requests_of_each_early_dialog() -> None:
    bench = Bench()
    bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 180, to_tag="one"))
    bench.take(answer(invite, 180, to_tag="two"))
    caller = peer()
    caller.call_id, caller.from_, caller.to = (
        field(invite, "Call-ID"),
        f"{field(invite, 'To')};tag=two",
        field(invite, "From"),
    )
    bench.take(caller.request("UPDATE"))
    assert isinstance(bench.heard[-1], Request)
    caller.from_ = f"{field(invite, 'To')};tag=three"
    assert statuses(bench.take(caller.request("UPDATE"))) == [481]


def test_a_fork_that_answers_after_the_call_was_cancelled_is_hung_up_and_forgotten() -> None:
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 180))
    bench.close(session)
    bench.take(answer(invite, 200, to_tag="one", extra=CONTACT, content=SDP))
    assert bench.ended == [session]
    sent = bench.take(answer(invite, 200, to_tag="two", extra=CONTACT, content=SDP))
    assert [method(m) for m in sent] == ["ACK", "BYE"]
    bench.take(answer(sent[1], 200))
    bench.wait(100)
    assert bench.agent.busy == (0, 0)
    assert len(bench.ended) == 1


@pytest.mark.parametrize("name", ["BYE", "INFO", "UPDATE", "INVITE", "NOTIFY"])
def test_who_names_our_call_and_no_dialog_of_it_changes_nothing(name: str) -> None:
    """A From without a tag is the key under which our own INVITE would be known if it came home."""
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    nobody = theirs(invite)
    nobody.from_ = field(invite, "To")
    assert statuses(bench.take(nobody.request(name, content=SDP if name == "INVITE" else ""))) == [481]
    assert not bench.heard
    bench.take(answer(invite, 200, extra=CONTACT, content=SDP))
    assert not bench.ended
    (bye,) = bench.close(session)
    bench.take(answer(bye, 200))
    bench.take(nobody.request("ACK", sequence=1))
    bench.wait(60)
    assert bench.agent.busy == (0, 0)


def test_a_call_with_somebody_who_has_no_tag_is_a_call() -> None:
    """RFC 2543, see RFC 3261 §12.1.2."""
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    assert [method(m) for m in bench.take(answer(invite, 200, to_tag="", extra=CONTACT, content=SDP))] == ["ACK"]
    old = theirs(invite)
    old.from_ = field(invite, "To")
    assert statuses(bench.take(old.request("BYE"))) == [200]
    assert bench.ended == [session]


def test_an_early_dialog_that_says_bye_does_not_end_the_call() -> None:
    bench = Bench()
    bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 183))
    assert statuses(bench.take(theirs(invite).request("BYE"))) == [200]
    assert not bench.ended
    bench.take(answer(invite, 183, to_tag="late"))
    bench.take(answer(invite, 486))
    assert bench.take(answer(invite, 183, to_tag="later")) == []
    assert len(bench.ended) == 1


def test_a_cancel_that_a_refusal_crosses_changes_nothing() -> None:
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 180))
    (cancel,) = bench.close(session)
    assert bench.close(session) == []
    bench.take(answer(invite, 486))
    bench.take(answer(cancel, 481))
    assert bench.heard[-1].label.startswith("486")
    assert bench.ended == [session]
    bench.wait(100)
    assert len(bench.ended) == 1
    assert bench.agent.busy == (0, 0)


def test_answers_to_one_invite_are_bounded() -> None:
    bench = Bench()
    session, invite = established(bench)
    sent = [method(m) for n in range(500) for m in bench.take(answer(invite, 200, to_tag=f"fork{n}", extra=CONTACT))]
    assert sent == ["ACK", "BYE"] * (MAX_ANSWERS - 1)
    assert [method(m) for m in bench.take(answer(invite, 200, extra=CONTACT, content=SDP))] == ["ACK"]  # ours, again
    assert [method(m) for m in bench.close(session)] == ["BYE"]
    bench.wait(60)
    assert bench.agent.busy == (0, 0)


def test_answers_to_an_invite_that_was_given_up_are_bounded() -> None:
    bench = Bench()
    _, invite = given_up(bench)
    sent = [method(m) for n in range(500) for m in bench.take(answer(invite, 200, to_tag=f"fork{n}", extra=CONTACT))]
    assert sent == ["ACK", "BYE"] * session.MAX_FORKS
    bench.wait(60)
    assert bench.agent.busy == (0, 0)


def test_early_dialogs_are_bounded() -> None:
    bench = Bench()
    bench.invite()
    invite = bench.sent[0]
    for number in range(session.MAX_FORKS + 8):
        bench.take(answer(invite, 183, to_tag=f"fork{number}", extra=CONTACT))
    assert bench.agent.busy[1] == 1
    assert len(bench.agent._usages) == session.MAX_FORKS + 1
    unknown = answer(invite, 183, to_tag="more", extra=f"{CONTACT}\nRequire: 100rel\nRSeq: 1")
    assert bench.take(unknown) == []


def test_a_200_whose_contact_cannot_be_read_is_acknowledged_where_the_dialog_went() -> None:
    bench = Bench()
    session, _ = established(bench)
    session.ask("INVITE", Headers(), b"x", bench.now)
    (reinvite,) = bench.step()
    (ack,) = bench.take(answer(reinvite, 200, extra="Contact: <nonsense>"))
    assert ack.startswith("ACK sip:juliet@192.0.2.9:5062 ")
    (bye,) = bench.close(session)
    assert bye.startswith("BYE sip:juliet@192.0.2.9:5062 ")


def test_a_cancel_goes_by_the_route_of_its_invite_and_says_why() -> None:
    bench = Bench(launch=False)
    session = bench.invite()
    (exchange,) = bench.dispatched
    exchange.request.headers.add("Route", "<sip:proxy.example;lr>")
    bench.launch = True
    bench.agent.launch(exchange, bench.flow, bench.now)
    (invite,) = bench.step()
    bench.take(answer(invite, 180, extra=CONTACT))
    session.close(480, Headers([("Reason", 'SIP;cause=200;text="Call completed elsewhere"')]), bench.now)
    (cancel,) = bench.step()
    assert cancel.split(" ")[1] == invite.split(" ")[1]
    assert fields(cancel, "Route") == ["<sip:proxy.example;lr>"]
    assert field(cancel, "Reason").startswith("SIP;cause=200")
    for name in ("From", "To", "Call-ID"):
        assert field(cancel, name) == field(invite, name)


def test_who_rings_behind_our_cancel_is_not_told_of() -> None:
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 100, to_tag=""))
    bench.close(session)
    bench.take(answer(invite, 180, extra=CONTACT))
    assert [m.label for m in bench.heard] == ["100 Whatever"]
