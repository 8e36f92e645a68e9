"""gateway.sip.reliable: provisional responses that must arrive, both ways, in whole calls on a clock set by hand."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import SipError
from gateway.sip.message import Headers, Request, Response
from gateway.sip.reliable import RAck, is_reliable, rseq
from tests.sip.bench import CONTACT, Bench, peer, statuses
from tests.sip.wire import SDP, Caller, answer, body, field, method, status, tag

OTHER = SDP.replace("40000", "40002")
RELIABLE = CONTACT + "\nRequire: 100rel\nRSeq: {}"


def test_numbers_that_are_none() -> None:
    for text in ("", "x", "4294967296", "1" * 11):
        with pytest.raises(SipError):
            rseq(Response(180, "", Headers([("RSeq", text)])))
    assert rseq(Response(180, "", Headers([("RSeq", "4294967295")]))) == 2**32 - 1
    with pytest.raises(SipError):
        RAck.parse(Request("PRACK", "sip:a", Headers([("RAck", "1 INVITE")])))
    assert str(RAck(7, 1, "INVITE")) == "7 1 INVITE"
    assert not is_reliable(Response(200, "", Headers([("Require", "100rel")])))


# --- calls that we place ----------------------------------------------------------------------------------------------


def test_every_reliable_response_gets_its_prack_in_its_own_early_dialog() -> None:
    bench = Bench()
    bench.invite()
    invite = bench.sent[0]
    assert "100rel" in field(invite, "Supported")
    (prack,) = bench.take(answer(invite, 183, to_tag="one", extra=RELIABLE.format(700), content=SDP))
    assert prack.startswith("PRACK sip:juliet@192.0.2.9:5062 ")
    assert (field(prack, "RAck"), field(prack, "CSeq")) == ("700 1 INVITE", "2 PRACK")
    assert field(prack, "To").endswith(";tag=one")
    (other,) = bench.take(answer(invite, 180, to_tag="two", extra=RELIABLE.format(1)))
    assert (field(other, "RAck"), field(other, "CSeq")) == ("1 1 INVITE", "2 PRACK")
    (third,) = bench.take(answer(invite, 180, to_tag="one", extra=RELIABLE.format(701)))
    assert (field(third, "RAck"), field(third, "CSeq")) == ("701 1 INVITE", "3 PRACK")
    assert [m.label.split()[0] for m in bench.heard] == ["183", "180", "180"]


def test_one_that_is_repeated_or_out_of_order_is_as_if_it_had_not_come() -> None:
    bench = Bench()
    bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 183, extra=RELIABLE.format(5)))
    assert bench.take(answer(invite, 183, extra=RELIABLE.format(5))) == []
    assert bench.take(answer(invite, 180, extra=RELIABLE.format(7))) == []
    assert len(bench.heard) == 1
    assert [method(m) for m in bench.take(answer(invite, 180, extra=RELIABLE.format(6)))] == ["PRACK"]
    assert bench.take(answer(invite, 180, extra=RELIABLE.format("x"))) == []


def test_a_prack_that_is_not_answered_is_repeated_and_then_let_be() -> None:
    bench = Bench()
    bench.invite()
    invite = bench.sent[0]
    (prack,) = bench.take(answer(invite, 183, extra=RELIABLE.format(1)))
    assert bench.wait(1.6) == [prack, prack]
    bench.wait(40)
    assert not bench.ended
    assert [method(m) for m in bench.take(answer(invite, 200, extra=CONTACT, content=SDP))] == ["ACK"]
    bench.take(answer(prack, 481))
    assert not bench.ended


def test_an_offer_that_must_arrive_is_answered_in_its_prack() -> None:
    bench = Bench()
    session = bench.invite(content="")
    invite = bench.sent[0]
    early = answer(invite, 183, extra=RELIABLE.format(5) + "\nAllow: UPDATE", content=SDP)
    assert bench.take(early) == bench.take(early) == []
    assert [m.label for m in bench.heard] == ["183 Whatever"]
    assert session.ask("UPDATE", Headers(), SDP.encode(), bench.now)
    assert bench.step() == []  # their offer comes first
    session.acknowledge(OTHER.encode(), bench.now)
    (prack,) = bench.step()
    assert (method(prack), field(prack, "RAck"), body(prack)) == ("PRACK", "5 1 INVITE", OTHER)
    assert field(prack, "Content-Type") == "application/sdp"
    (update,) = bench.take(answer(prack, 200))
    assert (method(update), body(update)) == ("UPDATE", SDP)
    bench.take(answer(update, 200, extra=CONTACT, content=SDP))
    ok = answer(invite, 200, extra=CONTACT, content=SDP)  # many say their description once more
    (ack,) = bench.take(ok)
    assert (method(ack), body(ack)) == ("ACK", "")
    assert bench.take(ok) == [ack]


def test_each_fork_that_makes_an_offer_gets_an_answer() -> None:
    bench = Bench()
    session = bench.invite(content="")
    invite = bench.sent[0]
    for name in ("one", "two"):
        bench.take(answer(invite, 183, to_tag=name, extra=RELIABLE.format(1), content=SDP))
    pracks = []
    for content in (SDP, OTHER):
        session.acknowledge(content.encode(), bench.now)
        pracks += bench.step()
    assert [(tag(field(m, "To")), body(m)) for m in pracks] == [("one", SDP), ("two", OTHER)]


def test_an_offer_that_nobody_answers_before_the_end_gets_no_prack_behind_it() -> None:
    for code in (486, 200):
        bench = Bench()
        session = bench.invite(content="")
        invite = bench.sent[0]
        bench.take(answer(invite, 183, extra=RELIABLE.format(1), content=SDP))
        bench.take(answer(invite, code, extra=CONTACT, content=SDP if code == 200 else ""))
        session.acknowledge(OTHER.encode(), bench.now)
        assert [(method(m), body(m)) for m in bench.step()] == ([("ACK", OTHER)] if code == 200 else [])


def test_an_offer_behind_our_cancel_gets_its_prack_and_no_answer() -> None:
    bench = Bench()
    session = bench.invite(content="")
    invite = bench.sent[0]
    bench.take(answer(invite, 180, extra=CONTACT))
    bench.close(session)
    (prack,) = bench.take(answer(invite, 183, extra=RELIABLE.format(1), content=SDP))
    assert (method(prack), body(prack)) == ("PRACK", "")


# --- calls that come in -----------------------------------------------------------------------------------------------


def ringing(bench: Bench, caller: Caller, content: str = "", code: int = 180) -> str:
    usage, invite = bench.called(caller, extra="Require: 100rel")
    (rings,) = bench.reply(usage, invite, code, content)
    caller.took(rings)
    return rings


def prack(caller: Caller, rings: str, **others: Any) -> str:
    return caller.request("PRACK", extra=f"RAck: {field(rings, 'RSeq')} 1 INVITE", **others)


def test_ringing_is_reliable_only_where_that_is_demanded() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller, extra="Supported: 100rel")
    (rings,) = bench.reply(usage, invite, 180)
    assert field(rings, "RSeq") == field(rings, "Require") == ""
    assert bench.wait(5) == []


def test_ringing_is_repeated_until_its_prack() -> None:
    bench, caller = Bench(), peer()
    rings = ringing(bench, caller)
    assert field(rings, "Require") == "100rel"
    assert bench.wait(3.6) == [rings] * 3  # 0.5, 1.5, 3.5 s
    assert statuses(bench.take(prack(caller, rings))) == [200]
    assert bench.wait(20) == []
    assert statuses(bench.take(prack(caller, rings))) == [481]


def test_a_prack_for_something_else_changes_nothing() -> None:
    bench, caller = Bench(), peer()
    rings = ringing(bench, caller)
    number = int(field(rings, "RSeq"))
    for wrong in (f"{number + 1} 1 INVITE", f"{number} 2 INVITE", f"{number} 1 UPDATE"):
        assert statuses(bench.take(caller.request("PRACK", extra=f"RAck: {wrong}"))) == [481]
    assert statuses(bench.take(caller.request("PRACK", extra="RAck: x"))) == [400]
    assert bench.wait(0.5) == [rings]


def test_ringing_that_nobody_acknowledges_ends_with_504() -> None:
    bench, caller = Bench(), peer()
    ringing(bench, caller)
    sent = bench.wait(32)
    assert statuses(sent)[-1] == 504
    assert bench.heard[-1].label == "408 no PRACK"
    assert len(bench.ended) == 1
    bench.take(caller.request("ACK", sequence=1, branch=f"{caller.branch}.INVITE.1"))
    bench.wait(60)
    assert bench.agent.busy == (0, 0)


def test_the_next_one_waits_for_the_prack_of_the_one_before() -> None:
    bench, caller = Bench(), peer()
    rings = ringing(bench, caller)
    usage, invite = bench.incoming[-1]
    for _ in range(10):  # more than may wait
        assert bench.reply(usage, invite, 183) == []
    sent = bench.take(prack(caller, rings))
    assert statuses(sent) == [200, 183]
    assert int(field(sent[1], "RSeq")) == int(field(rings, "RSeq")) + 1


def test_the_answer_does_not_wait_for_the_prack_of_mere_ringing() -> None:
    bench, caller = Bench(), peer()
    rings = ringing(bench, caller)
    usage, invite = bench.incoming[-1]
    assert statuses(bench.reply(usage, invite, 200, SDP)) == [200]
    assert statuses(bench.take(prack(caller, rings))) == [200]  # it crossed the answer
    bench.take(caller.request("ACK", sequence=1, branch=f"{caller.branch}ack"))
    assert bench.wait(100) == []


def test_the_answer_waits_for_the_prack_of_a_description() -> None:
    bench, caller = Bench(), peer()
    early = ringing(bench, caller, SDP, 183)
    usage, invite = bench.incoming[-1]
    assert bench.reply(usage, invite, 200, SDP) == []
    sent = bench.take(prack(caller, early))
    assert statuses(sent) == [200, 200]
    assert [field(m, "CSeq") for m in sent] == ["2 PRACK", "1 INVITE"]
    assert body(sent[1]) == SDP


def test_an_offer_in_a_prack_is_for_the_user() -> None:
    bench, caller = Bench(), peer()
    early = ringing(bench, caller, SDP, 183)
    usage, _ = bench.incoming[-1]
    assert bench.take(prack(caller, early, content=SDP)) == []
    asked = bench.heard[-1]
    assert isinstance(asked, Request)
    assert [status(m) for m in bench.reply(usage, asked, 200, SDP)] == [200]


def test_an_update_before_the_answer_is_taken_once_the_first_round_is_over() -> None:
    bench, caller = Bench(), peer()
    early = ringing(bench, caller, SDP, 183)
    refused = bench.take(caller.request("UPDATE", content=SDP))
    assert (statuses(refused), field(refused[0], "Retry-After")) == ([500], "2")
    bench.take(prack(caller, early))
    assert bench.take(caller.request("UPDATE", content=SDP)) == []
    assert bench.heard[-1].label == "UPDATE"


def test_a_cancelled_call_repeats_its_ringing_no_more() -> None:
    bench, caller = Bench(), peer()
    ringing(bench, caller)
    bench.take(
        caller.request("CANCEL", sequence=1, branch=f"{caller.branch}.INVITE.1").replace(
            f"To: {caller.to}", "To: <sip:juliet@192.0.2.1>"
        )
    )
    bench.take(caller.request("ACK", sequence=1, branch=f"{caller.branch}.INVITE.1"))
    assert bench.wait(60) == []
    assert bench.agent.busy == (0, 0)


def test_a_prack_with_a_number_that_was_used_is_refused() -> None:
    bench, caller = Bench(), peer()
    rings = ringing(bench, caller)
    for number in (0, 1):
        assert statuses(bench.take(prack(caller, rings, sequence=number))) == [500]
    assert bench.wait(0.5) == [rings]
    assert statuses(bench.take(prack(caller, rings, sequence=7))) == [200]


def test_an_offer_of_ours_that_must_arrive_is_answered_in_the_prack() -> None:
    bench, caller = Bench(), peer()
    bench.take(caller.request("INVITE", extra="Require: 100rel"))
    usage, invite = bench.incoming[-1]
    (early,) = bench.reply(usage, invite, 183, SDP)
    caller.took(early)
    assert bench.reply(usage, invite, 200) == [], "not before the offer is answered"
    assert statuses(bench.take(prack(caller, early, content=OTHER)))[-1] == 200
    answered = bench.heard[-1]
    assert isinstance(answered, Request)
    assert (answered.method, answered.body.decode()) == ("PRACK", OTHER)
    assert [field(m, "CSeq") for m in bench.reply(usage, answered, 200)] == ["2 PRACK"]
