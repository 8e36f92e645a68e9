"""gateway.sip.session: what both sides of a call do alike, message by message, on a clock set by hand."""

from __future__ import annotations

from gateway.sip.body import with_place
from gateway.sip.digest import Authenticator, Credentials
from gateway.sip.message import Headers, Request, Response
from gateway.sip.session import described
from tests.sip.bench import CONTACT, TCP, Bench, established, peer, statuses, theirs, up
from tests.sip.wire import SDP, answer, field, fields, method, status

ROUTES = "Record-Route: <sip:p2@192.0.2.20;lr>\nRecord-Route: <sip:p1@192.0.2.10;lr>\n" + CONTACT


def test_a_repeated_200_gets_the_same_ack_again() -> None:
    bench = Bench()
    _, invite = established(bench)
    first = bench.sent
    assert bench.take(answer(invite, 200, extra=CONTACT, content=SDP)) == first
    assert len(bench.heard) == 1


def test_our_own_reinvite_is_acknowledged_and_reported() -> None:
    bench = Bench()
    session, _ = established(bench)
    exchange = session.ask("INVITE", Headers(), SDP.encode(), bench.now)
    sent = bench.step()
    assert field(sent[0], "CSeq") == "2 INVITE"
    ok = answer(sent[0], 200, extra="Contact: <sip:juliet@192.0.2.9:5099>", content=SDP)
    assert [m.split(" ")[:2] for m in bench.take(ok)] == [["ACK", "sip:juliet@192.0.2.9:5099"]]
    assert [method(m) for m in bench.take(ok)] == ["ACK"]
    assert [e for e, _ in bench.finished] == [exchange]


def test_an_offer_that_crosses_ours_is_glare() -> None:
    bench = Bench()
    session, invite = established(bench)
    session.ask("INVITE", Headers(), SDP.encode(), bench.now)
    bench.step()
    caller = peer()
    caller.call_id, caller.from_, caller.to = (
        field(invite, "Call-ID"),
        f"{field(invite, 'To')};tag=peer",
        field(invite, "From"),
    )
    assert statuses(bench.take(caller.request("INVITE", content=SDP))) == [491]


def test_a_far_side_that_knows_nothing_of_the_dialog_is_gone() -> None:
    bench = Bench()
    session, _ = established(bench)
    session.ask("INFO", Headers(), b"", bench.now)
    sent = bench.take(answer(bench.step()[0], 481))
    assert [method(m) for m in sent] == ["BYE"]
    assert bench.ended == [session]


def test_a_repeated_200_is_quiet_while_the_way_for_its_ack_is_looked_for() -> None:
    bench = Bench()
    bench.invite()
    invite, bench.launch = bench.sent[0], False
    ok = answer(invite, 200, extra=CONTACT, content=SDP)
    assert bench.take(ok) == []
    assert bench.take(ok) == []
    assert len(bench.dispatched) == 2
    bench.agent.launch(bench.dispatched[1], bench.flow, bench.now)
    assert [method(m) for m in bench.step()] == ["ACK"]
    assert [method(m) for m in bench.take(ok)] == ["ACK"]


def known_by_password() -> tuple[Bench, str]:
    """A call that we place with credentials at hand, and its first INVITE."""
    bench = Bench(launch=False)
    session = bench.invite()
    session.authenticator = Authenticator(Credentials("u", "p"), lambda: "c")
    bench.launch = True
    bench.agent.launch(bench.dispatched[0], bench.flow, bench.now)
    return bench, bench.step()[0]


def test_the_ack_carries_the_credentials_of_its_invite() -> None:
    bench, invite = known_by_password()
    sent = bench.take(answer(invite, 401, extra='WWW-Authenticate: Digest realm="r", nonce="n"'))
    assert [method(m) for m in sent] == ["ACK", "INVITE"]
    (ack,) = bench.take(answer(sent[1], 200, extra=CONTACT, content=SDP))
    assert field(ack, "Authorization") == field(sent[1], "Authorization")
    assert field(ack, "CSeq") == "2 ACK"


def test_a_bye_may_be_asked_for_like_any_request() -> None:
    bench = Bench()
    session = bench.invite()
    assert session.ask("BYE", Headers(), b"", bench.now) is None
    bench.take(answer(bench.sent[0], 200, extra=CONTACT, content=SDP))
    assert session.ask("BYE", Headers(), b"", bench.now) is None
    assert [method(m) for m in bench.step()] == ["BYE"]
    assert session.ask("INFO", Headers(), b"", bench.now) is None
    assert bench.close(session) == []


def test_requests_that_come_after_our_bye_are_too_late() -> None:
    bench = Bench()
    session, invite = established(bench)
    bench.close(session)
    assert statuses(bench.take(theirs(invite).request("INFO"))) == [481]


def test_our_reinvite_may_be_refused_or_never_answered() -> None:
    bench = Bench()
    session, _ = established(bench)
    session.ask("INVITE", Headers(), SDP.encode(), bench.now)
    sent = bench.step()
    assert [method(m) for m in bench.take(answer(sent[0], 180))] == []
    assert [method(m) for m in bench.take(answer(sent[0], 491))] == ["ACK"]
    assert not bench.ended
    session.ask("UPDATE", Headers(), b"", bench.now)
    bench.step()
    assert method(bench.wait(40)[-1]) == "BYE"
    assert bench.ended == [session]


def test_a_200_is_repeated_until_its_ack_over_streams_too() -> None:
    for flow in (None, TCP):
        bench, caller = Bench(flow) if flow else Bench(), peer()
        usage, invite = bench.called(caller)
        ok = bench.reply(usage, invite, 200, SDP)
        again = bench.wait(4)
        assert again == ok * 3  # 0.5, 1.5, 3.5 s
        caller.took(ok[0])
        bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKnew"))
        assert bench.wait(60) == []


def test_a_200_without_an_ack_ends_in_a_bye_and_a_local_408() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    bench.reply(usage, invite, 200, SDP)
    sent = bench.wait(32)
    assert method(sent[-1]) == "BYE"
    assert isinstance(bench.heard[-1], Response)
    assert bench.heard[-1].local
    assert bench.ended == [usage]


def test_a_bye_of_ours_waits_for_the_ack() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    ok = bench.reply(usage, invite, 200, SDP)
    assert bench.close(usage) == []
    caller.took(ok[0])
    assert [method(m) for m in bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKnew"))] == ["BYE"]


def test_byes_that_cross_are_both_answered() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    caller.took(bench.reply(usage, invite, 200, SDP)[0])
    bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKnew"))
    ours = bench.close(usage)[0]
    assert statuses(bench.take(caller.request("BYE"))) == [200]
    bench.take(answer(ours, 200))
    assert bench.agent.busy[1] == 0


def test_a_second_offer_while_one_is_pending_is_told_to_come_back() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    caller.took(bench.reply(usage, invite, 200, SDP)[0])
    bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKnew"))
    bench.take(caller.request("INVITE", content=SDP))
    reinvite = bench.heard[-1]
    assert isinstance(reinvite, Request)
    sent = bench.take(caller.request("UPDATE", content=SDP))
    assert statuses(sent) == [500]
    assert field(sent[0], "Retry-After")
    ok = bench.reply(usage, reinvite, 200, SDP)
    assert statuses(ok) == [200]
    assert bench.wait(1) == ok  # repeated until its ACK, like the first
    bench.take(caller.request("ACK", sequence=2, branch="z9hG4bKnewer"))
    assert bench.wait(60) == []


def test_the_target_follows_a_reinvite() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    caller.took(bench.reply(usage, invite, 200, SDP)[0])
    bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKnew"))
    caller.contact = "<sip:romeo@192.0.2.77:5077>"
    bench.take(caller.request("INVITE", content=SDP))
    reinvite = bench.heard[-1]
    assert isinstance(reinvite, Request)
    bench.reply(usage, reinvite, 200, SDP)
    bench.take(caller.request("ACK", sequence=2, branch="z9hG4bKnewer"))
    assert bench.close(usage)[0].startswith("BYE sip:romeo@192.0.2.77:5077 ")


def test_an_offer_that_is_still_open_when_we_hang_up_gets_487() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    caller.took(bench.reply(usage, invite, 200, SDP)[0])
    bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
    assert statuses(bench.take(caller.request("INVITE", content=SDP))) == [100]
    assert [status(m) or method(m) for m in bench.close(usage)] == [487, "BYE"]


def test_what_of_a_message_is_the_description() -> None:
    kind, content = with_place(SDP, "<presence/>", "1@h", "boundary")
    assert described(Request("INVITE", "sip:a", Headers([("Content-Type", kind)]), content)).startswith(b"v=0")
    assert described(Request("INVITE", "sip:a", Headers([("Content-Type", "text/plain")]), b"hello")) == b""
    assert described(Request("INVITE", "sip:a")) == b""


def test_a_target_that_moves_by_update_is_followed_both_ways() -> None:
    bench, caller = Bench(), peer()
    usage = up(bench, caller)
    caller.contact = "<sip:romeo@192.0.2.77:5077>"
    bench.take(caller.request("UPDATE"))
    update = bench.heard[-1]
    assert isinstance(update, Request)
    assert field(bench.reply(usage, update, 200)[0], "Contact") == "<sip:juliet@192.0.2.1:5060>"
    usage.ask("INFO", Headers(), b"", bench.now)
    assert bench.step()[0].startswith("INFO sip:romeo@192.0.2.77:5077 ")


def test_a_strict_router_gets_what_it_wants() -> None:
    bench = Bench()
    session, _ = established(bench, f"{CONTACT}\nRecord-Route: <sip:strict@192.0.2.20>")
    ack = bench.sent[0]
    (bye,) = bench.close(session)
    for request in (ack, bye):
        assert request.split(" ")[1] == "sip:strict@192.0.2.20"
        assert fields(request, "Route") == ["<sip:juliet@192.0.2.9:5062>"]
    assert bench.dispatched[-1].next_hop == "sip:strict@192.0.2.20"


def test_a_target_that_moves_in_the_answer_to_our_update_is_followed() -> None:
    bench = Bench()
    session, _ = established(bench)
    session.ask("UPDATE", Headers(), b"", bench.now)
    (update,) = bench.step()
    bench.take(answer(update, 200, extra="Contact: <sip:juliet@192.0.2.77:5077>"))
    assert bench.close(session)[0].startswith("BYE sip:juliet@192.0.2.77:5077 ")


def test_a_notify_moves_the_target_and_an_info_does_not() -> None:
    """RFC 6665 §4.4.1, RFC 3261 §12.2."""
    bench, caller = Bench(), peer()
    usage = up(bench, caller)
    for name, port in (("NOTIFY", 5077), ("INFO", 5088)):
        caller.contact = f"<sip:romeo@192.0.2.77:{port}>"
        bench.take(caller.request(name))
        request = bench.heard[-1]
        assert isinstance(request, Request)
        bench.reply(usage, request, 200)
    assert bench.close(usage)[0].startswith("BYE sip:romeo@192.0.2.77:5077 ")


def test_a_request_that_was_refused_has_used_its_number() -> None:
    """RFC 3261 §12.2.2: glare and a timer that is too brief are answers like any other."""
    bench = Bench()
    session, invite = established(bench)
    far = theirs(invite)
    session.ask("INVITE", Headers(), SDP.encode(), bench.now)
    bench.step()
    assert statuses(bench.take(far.request("UPDATE", sequence=5, content=SDP))) == [491]
    assert statuses(bench.take(far.request("INFO", sequence=5, branch="z9hG4bKother"))) == [500]
    brief = "Supported: timer\nSession-Expires: 30"
    assert statuses(bench.take(far.request("UPDATE", sequence=6, extra=brief))) == [422]
    assert statuses(bench.take(far.request("INFO", sequence=4))) == [500]
    assert statuses(bench.take(far.request("INFO", sequence=6, branch="z9hG4bKanother"))) == [500]


def test_a_2xx_that_a_bye_overtook_is_repeated_no_more() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    caller.took(bench.reply(usage, invite, 200, SDP)[0])
    assert statuses(bench.take(caller.request("BYE"))) == [200]  # the ACK before it was lost
    assert bench.wait(60) == []
    assert bench.agent.busy == (0, 0)


def test_a_reinvite_says_what_we_support_and_take() -> None:
    bench = Bench()
    session, _ = established(bench)
    session.ask("INVITE", Headers([("Content-Type", "application/sdp")]), SDP.encode(), bench.now)
    (reinvite,) = bench.step()
    assert {"100rel", "timer", "replaces"} <= set(field(reinvite, "Supported").split(", "))
    assert {"UPDATE", "PRACK", "INFO", "REFER"} <= set(field(reinvite, "Allow").split(", "))
    assert field(reinvite, "Contact") == "<sip:gateway@192.0.2.1:5060>"


def test_the_ack_carries_the_credentials_for_each_proxy() -> None:
    bench, invite = known_by_password()
    asked = 'Proxy-Authenticate: Digest realm="one", nonce="1"\nProxy-Authenticate: Digest realm="two", nonce="2"'
    _, again = bench.take(answer(invite, 407, extra=asked))
    _, third = bench.take(answer(again, 401, extra='WWW-Authenticate: Digest realm="three", nonce="3"'))
    (ack,) = bench.take(answer(third, 200, extra=CONTACT, content=SDP))
    for name, number in (("Proxy-Authorization", 2), ("Authorization", 1)):
        assert len(fields(ack, name)) == number
        assert fields(ack, name) == fields(third, name)


def test_a_reinvite_that_we_cancelled_is_not_made_again() -> None:
    bench = Bench()
    session, _ = established(bench)
    session.ask("INVITE", Headers(), SDP.encode(), bench.now)
    (reinvite,) = bench.step()
    bench.take(answer(reinvite, 180))
    cancel = bench.wait(65)[0]
    bench.take(answer(cancel, 200))
    bench.take(answer(reinvite, 491))
    assert bench.wait(10) == []
    assert [m.label for _, m in bench.finished] == ["491 Whatever"]
