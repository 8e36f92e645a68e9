"""gateway.sip.offers: our offers inside a call, one at a time, whatever crosses them; on a clock set by hand."""

from __future__ import annotations

from gateway.sip.clientsession import ClientSession
from gateway.sip.message import Headers, Request, Response
from gateway.sip.offers import Offers
from gateway.sip.usage import Exchange, Usage
from tests.sip.bench import CONTACT, Bench, established, peer, statuses, theirs, up
from tests.sip.wire import SDP, answer, body, field, method, tag

OTHER = SDP.replace("40000", "40002")


def offer(bench: Bench, session: Usage, content: str = SDP, name: str = "INVITE") -> tuple[Exchange | None, list[str]]:
    exchange = session.ask(name, Headers([("Content-Type", "application/sdp")]), content.encode(), bench.now)
    return exchange, bench.step()


def outcomes(bench: Bench, exchange: Exchange | None) -> list[int]:
    return [r.status for e, r in bench.finished if e is exchange and isinstance(r, Response)]


def test_the_pause_after_a_crossing_is_longer_for_whose_call_id_it_is() -> None:
    for owner, least, most in ((True, 2.1, 4.0), (False, 0.0, 2.0)):
        pauses = set()
        for lot in range(1000):
            offers = Offers(owner=owner)
            offers.crossed(lot, 10.0)
            pauses.add(round(offers._not_before - 10.0, 3) if offers._not_before is not None else None)
        assert (min(pauses), max(pauses)) == (least, most)  # type: ignore[type-var]


def test_an_offer_that_crossed_theirs_is_made_again() -> None:
    bench = Bench()
    session, invite = established(bench)
    exchange, sent = offer(bench, session)
    caller = theirs(invite)
    assert statuses(bench.take(caller.request("INVITE", content=SDP))) == [491]
    bench.take(caller.request("ACK", sequence=1, branch=f"{caller.branch}.INVITE.1"))
    assert [method(m) for m in bench.take(answer(sent[0], 491))] == ["ACK"]
    assert outcomes(bench, exchange) == []
    assert bench.wait(2.0) == []
    again, *_ = bench.wait(2.0)
    assert (method(again), field(again, "CSeq"), body(again)) == ("INVITE", "3 INVITE", SDP)
    bench.take(answer(again, 200, extra=CONTACT, content=SDP))
    assert outcomes(bench, exchange) == [200]


def test_crossings_without_end_are_given_up() -> None:
    bench, caller = Bench(), peer()
    usage = up(bench, caller)
    exchange, sent = offer(bench, usage)
    tries = 0
    while not outcomes(bench, exchange) and tries < 10:
        tries += 1
        bench.take(answer(sent[0], 491))
        sent = bench.wait(2.0)
    assert tries == 5
    assert outcomes(bench, exchange) == [491]
    assert not bench.ended


def test_an_offer_waits_for_the_one_before_and_for_theirs() -> None:
    bench, caller = Bench(), peer()
    usage = up(bench, caller)
    bench.take(caller.request("INVITE", content=SDP))
    reinvite = bench.heard[-1]
    assert isinstance(reinvite, Request)
    hold, sent = offer(bench, usage)
    resume, more = offer(bench, usage, OTHER)
    assert sent == more == []
    bench.reply(usage, reinvite, 200, SDP)  # and for the ACK to our 200
    (first,) = bench.take(caller.request("ACK", sequence=2, branch="z9hG4bKack2"))
    assert (method(first), body(first)) == ("INVITE", SDP)
    ack, second = bench.take(answer(first, 200, extra=CONTACT, content=SDP))
    assert (method(ack), method(second), body(second)) == ("ACK", "INVITE", OTHER)
    bench.take(answer(second, 488))
    assert (outcomes(bench, hold), outcomes(bench, resume)) == ([200], [488])
    assert not bench.ended


def test_an_offer_before_the_answer_waits_for_it() -> None:
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    exchange, sent = offer(bench, session)
    assert sent == bench.take(answer(invite, 183, extra=f"{CONTACT}\nAllow: UPDATE", content=SDP)) == []
    ack, reinvite = bench.take(answer(invite, 200, extra=CONTACT, content=SDP))
    assert (method(ack), method(reinvite)) == ("ACK", "INVITE")
    bench.take(answer(reinvite, 200, extra=CONTACT, content=SDP))
    assert outcomes(bench, exchange) == [200]


def test_an_offer_before_the_answer_is_an_update_where_the_first_round_is_over() -> None:
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    reliable = f"{CONTACT}\nAllow: UPDATE\nRequire: 100rel\nRSeq: 1"
    bench.take(answer(invite, 183, extra=reliable, content=SDP))
    _, (update,) = offer(bench, session)
    assert (method(update), body(update), tag(field(update, "To"))) == ("UPDATE", SDP, "peer")
    crossing = theirs(invite).request("UPDATE", content=SDP)
    assert statuses(bench.take(crossing)) == [491]
    bench.take(answer(update, 200, extra=CONTACT, content=SDP))
    assert bench.take(theirs(invite).request("UPDATE", sequence=2, content=SDP)) == []
    assert bench.heard[-1].label == "UPDATE"


def test_their_update_before_our_offer_is_answered_is_glare() -> None:
    bench = Bench()
    bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 180, extra=CONTACT))
    assert statuses(bench.take(theirs(invite).request("UPDATE", content=SDP))) == [491]


def test_an_update_that_is_not_taken_becomes_a_reinvite() -> None:
    bench = Bench()
    session, _ = established(bench)
    exchange, (update,) = offer(bench, session, name="UPDATE")
    (reinvite,) = bench.take(answer(update, 405))
    assert method(reinvite) == "INVITE"
    bench.take(answer(reinvite, 200, extra=CONTACT, content=SDP))
    assert outcomes(bench, exchange) == [200]


def test_an_offer_that_comes_too_early_for_them_is_made_again_when_they_say() -> None:
    bench = Bench()
    session, _ = established(bench)
    _, (first,) = offer(bench, session)
    bench.take(answer(first, 500, extra="Retry-After: 7"))
    assert bench.wait(6.9) == []
    assert [method(m) for m in bench.wait(0.2)] == ["INVITE"]


def test_a_timer_that_is_too_brief_for_them_is_made_longer() -> None:
    bench = Bench()
    session, _ = established(bench)
    _, (first,) = offer(bench, session)
    ack, second = bench.take(answer(first, 422, extra="Min-SE: 2000"))
    assert method(ack) == "ACK"
    assert field(second, "Session-Expires") == "2000"


def test_an_offer_that_rings_for_ever_is_cancelled() -> None:
    bench = Bench()
    session, _ = established(bench)
    exchange, (reinvite,) = offer(bench, session)
    bench.take(answer(reinvite, 180))
    assert bench.wait(63) == []
    (cancel,) = bench.wait(1)
    assert (method(cancel), field(cancel, "CSeq"), field(cancel, "Via")) == (
        "CANCEL",
        "2 CANCEL",
        field(reinvite, "Via"),
    )
    bench.take(answer(cancel, 200))
    assert [method(m) for m in bench.take(answer(reinvite, 487))] == ["ACK"]
    assert outcomes(bench, exchange) == [487]
    assert not bench.ended


def test_a_far_side_that_answers_neither_offer_nor_cancel_is_gone() -> None:
    bench = Bench()
    session, _ = established(bench)
    exchange, (reinvite,) = offer(bench, session)
    bench.take(answer(reinvite, 180))
    assert [method(m) for m in bench.wait(96)][-1] == "BYE"
    assert outcomes(bench, exchange) == [408]
    assert bench.ended == [session]
    bench.wait(60)
    assert bench.agent.busy == (0, 0)


def test_no_offer_outlives_its_call() -> None:
    bench = Bench()
    session, invite = established(bench)
    pending, (reinvite,) = offer(bench, session)
    bench.take(answer(reinvite, 180))
    waiting, _ = offer(bench, session, OTHER)
    bench.take(theirs(invite).request("BYE"))
    assert outcomes(bench, waiting) == [487]
    assert session.ask("INVITE", Headers(), b"x", bench.now) is None
    bench.wait(33)
    assert outcomes(bench, pending) == [487]
    bench.wait(60)
    assert bench.agent.busy == (0, 0)


def test_offers_that_wait_are_bounded() -> None:
    bench = Bench()
    session, _ = established(bench)
    asked = [offer(bench, session)[0] for _ in range(20)]
    assert [exchange is None for exchange in asked] == [False] * 16 + [True] * 4


def test_a_reinvite_that_they_cancel_leaves_the_call_as_it_was() -> None:
    bench, caller = Bench(), peer()
    usage = up(bench, caller)
    bench.take(caller.request("INVITE", content=SDP, branch="z9hG4bKre"))
    reinvite = bench.heard[-1]
    sent = bench.take(caller.request("CANCEL", sequence=2, branch="z9hG4bKre"))
    assert [(s, field(m, "CSeq")) for s, m in zip(statuses(sent), sent, strict=True)] == [
        (200, "2 CANCEL"),
        (487, "2 INVITE"),
    ]
    bench.take(caller.request("ACK", sequence=2, branch="z9hG4bKre"))
    assert isinstance(reinvite, Request)
    assert bench.reply(usage, reinvite, 200, SDP) == []  # too late
    _, sent = offer(bench, usage)
    assert [method(m) for m in sent] == ["INVITE"]
    assert not bench.ended


def test_our_offer_in_a_200_is_open_until_the_ack() -> None:
    bench, caller = Bench(), peer()
    usage = up(bench, caller)
    bench.take(caller.request("INVITE"))
    reinvite = bench.heard[-1]
    assert isinstance(reinvite, Request)
    bench.reply(usage, reinvite, 200, SDP)
    assert statuses(bench.take(caller.request("UPDATE", content=SDP))) == [491]
    bench.take(caller.request("ACK", sequence=2, branch="z9hG4bKack2", content=SDP))
    assert bench.take(caller.request("UPDATE", content=SDP)) == []


def test_a_session_may_be_offered_by_the_callee() -> None:
    bench = Bench()
    session = bench.invite(content="")
    invite = bench.sent[0]
    ok = answer(invite, 200, extra=CONTACT, content=SDP)
    assert bench.take(ok) == bench.take(ok) == []
    assert isinstance(session, ClientSession)
    session.acknowledge(OTHER.encode(), bench.now)
    (ack,) = bench.step()
    assert (method(ack), body(ack)) == ("ACK", OTHER)
    assert bench.take(ok) == [ack]
    assert [method(m) for m in bench.close(session)] == ["BYE"]


def test_a_callees_offer_that_nobody_answers_ends_the_call() -> None:
    bench = Bench()
    session = bench.invite(content="")
    bench.take(answer(bench.sent[0], 200, extra=CONTACT, content=SDP))
    assert [method(m) for m in bench.wait(32)] == ["ACK", "BYE"]
    assert bench.ended == [session]
    other = bench.invite(content="")
    bench.take(answer(bench.sent[0], 200, extra=CONTACT, content=SDP))
    assert [method(m) for m in bench.close(other)] == ["ACK", "BYE"]


def test_theirs_may_be_asked_for_in_the_middle_of_a_call() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    exchange = usage.ask("INVITE", Headers(), b"", bench.now)
    assert bench.step() == []  # not before the answer
    caller.took(bench.reply(usage, invite, 200, SDP)[0])
    (reinvite,) = bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
    assert (method(reinvite), body(reinvite)) == ("INVITE", "")
    assert bench.take(answer(reinvite, 200, extra=CONTACT, content=SDP)) == []
    assert outcomes(bench, exchange) == [200]
    usage.acknowledge(OTHER.encode(), bench.now)
    assert [(method(m), body(m)) for m in bench.step()] == [("ACK", OTHER)]
    usage.ask("INVITE", Headers(), b"", bench.now)
    (reinvite,) = bench.step()
    bench.take(answer(reinvite, 200, extra=CONTACT, content=SDP))
    sent = bench.take(caller.request("BYE"))
    assert [(method(m), body(m)) for m in sent if method(m) == "ACK"] == [("ACK", "")]
