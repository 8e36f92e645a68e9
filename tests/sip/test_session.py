"""gateway.sip.session: the two INVITE usages, message by message, on a clock set by hand."""

from __future__ import annotations

from gateway.sip.digest import Authenticator, Credentials
from gateway.sip.message import Headers, Request, Response
from gateway.sip.session import ClientSession, request_user, session_interval
from tests.sip.bench import TCP, Bench, peer, statuses
from tests.sip.wire import SDP, Caller, answer, field, fields, method, status, tag, uri

CONTACT = "Contact: <sip:juliet@192.0.2.9:5062>"
ROUTES = "Record-Route: <sip:p2@192.0.2.20;lr>\nRecord-Route: <sip:p1@192.0.2.10;lr>\n" + CONTACT


def established(bench: Bench, extra: str = CONTACT) -> tuple[ClientSession, str]:
    session = bench.invite()
    invite = bench.sent[0]
    bench.take(answer(invite, 200, extra=extra, content=SDP))
    return session, invite


# --- calls that we place ----------------------------------------------------------------------------------------------


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


def test_a_repeated_200_gets_the_same_ack_again() -> None:
    bench = Bench()
    _, invite = established(bench)
    first = bench.sent
    assert bench.take(answer(invite, 200, extra=CONTACT, content=SDP)) == first
    assert len(bench.heard) == 1


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


def test_a_dead_connection_becomes_a_local_503() -> None:
    bench = Bench(TCP)
    session = bench.invite()
    bench.agent.broken(TCP.connection, bench.now)
    bench.step()
    assert isinstance(bench.heard[-1], Response)
    assert (bench.heard[-1].status, bench.heard[-1].local) == (503, True)
    assert bench.ended == [session]


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


def theirs(invite: str) -> Caller:
    """The far side of a call that we placed, writing requests of its own."""
    caller = peer()
    caller.call_id, caller.to = field(invite, "Call-ID"), field(invite, "From")
    caller.from_ = f"{field(invite, 'To')};tag=peer"
    return caller


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


def test_the_ack_carries_the_credentials_of_its_invite() -> None:
    bench = Bench(launch=False)
    session = bench.invite()
    session.authenticator = Authenticator(Credentials("u", "p"), lambda: "c")
    bench.launch = True
    bench.agent.launch(bench.dispatched[0], bench.flow, bench.now)
    invite = bench.step()[0]
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


def test_a_callee_that_refreshes_the_session_is_missed_when_it_stops() -> None:
    bench = Bench()
    session, _ = established(bench, f"{CONTACT}\nSession-Expires: 90;refresher=uas")
    bench.wait(89)
    assert not bench.ended
    assert method(bench.wait(2)[0]) == "BYE"
    assert bench.ended == [session]


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


# --- calls that come in -----------------------------------------------------------------------------------------------


def test_a_call_in_is_tried_rung_answered_and_ended_by_the_caller() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    assert statuses(bench.sent) == [100]
    assert tag(field(bench.sent[0], "To")) == ""
    ringing = bench.reply(usage, invite, 180)
    assert tag(field(ringing[0], "To"))
    ok = bench.reply(usage, invite, 200, SDP)
    assert uri(field(ok[0], "Contact")) == "sip:juliet@192.0.2.1:5060"
    caller.took(ok[0])
    assert bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKnew")) == []
    bye = caller.request("BYE")
    assert statuses(bench.take(bye)) == [200]
    assert bench.ended == [usage]
    assert statuses(bench.take(bye)) == [200]  # its repeat
    assert bench.agent.busy[1] == 0


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


def test_a_repeated_invite_is_absorbed_before_and_after_the_200() -> None:
    bench, caller = Bench(), peer()
    text = caller.request("INVITE", content=SDP)
    bench.take(text)
    usage, invite = bench.incoming[0]
    assert statuses(bench.take(text)) == [100]
    bench.reply(usage, invite, 180)
    assert statuses(bench.take(text)) == [180]
    bench.reply(usage, invite, 200, SDP)
    assert bench.take(text) == []
    assert len(bench.incoming) == 1


def test_a_refusal_is_repeated_until_its_ack() -> None:
    bench, caller = Bench(), peer()
    text = caller.request("INVITE", content=SDP)
    bench.take(text)
    usage, invite = bench.incoming[0]
    busy = bench.reply(usage, invite, 486)
    assert bench.wait(2) == busy * 2
    assert bench.take(text) == busy
    caller.took(busy[0])
    branch = field(text, "Via").partition("branch=")[2].partition(";")[0]
    bench.take(caller.request("ACK", sequence=1, branch=branch))
    assert bench.wait(60) == []
    assert bench.agent.busy == (0, 0)


def test_a_cancel_ends_a_ringing_call_with_487() -> None:
    bench, caller = Bench(), peer()
    text = caller.request("INVITE", content=SDP)
    bench.take(text)
    usage, invite = bench.incoming[0]
    bench.reply(usage, invite, 180)
    branch = field(text, "Via").partition("branch=")[2].partition(";")[0]
    sent = bench.take(caller.request("CANCEL", sequence=1, branch=branch))
    assert statuses(sent) == [200, 487]
    assert [field(m, "CSeq") for m in sent] == ["1 CANCEL", "1 INVITE"]
    assert isinstance(bench.heard[-1], Request)
    assert bench.heard[-1].method == "CANCEL"
    assert bench.ended == [usage]


def test_a_cancel_after_the_answer_changes_nothing() -> None:
    bench, caller = Bench(), peer()
    text = caller.request("INVITE", content=SDP)
    bench.take(text)
    usage, invite = bench.incoming[0]
    bench.reply(usage, invite, 200, SDP)
    branch = field(text, "Via").partition("branch=")[2].partition(";")[0]
    assert statuses(bench.take(caller.request("CANCEL", sequence=1, branch=branch))) == [200]
    assert not bench.ended


def test_a_bye_before_the_answer_ends_the_call_and_the_invite() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    ringing = bench.reply(usage, invite, 180)
    caller.took(ringing[0])
    assert statuses(bench.take(caller.request("BYE"))) == [200, 487]
    assert bench.ended == [usage]


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


def test_the_far_side_refreshes_the_session_and_is_missed_when_it_stops() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller, extra="Supported: timer\nSession-Expires: 120")
    ok = bench.reply(usage, invite, 200, SDP)
    assert field(ok[0], "Session-Expires") == "120;refresher=uac"
    assert field(ok[0], "Require") == "timer"
    caller.took(ok[0])
    bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKnew"))
    bench.wait(100)
    bench.take(caller.request("UPDATE", extra="Supported: timer\nSession-Expires: 120;refresher=uac"))
    update = bench.heard[-1]
    assert isinstance(update, Request)
    assert field(bench.reply(usage, update, 200)[0], "Session-Expires") == "120;refresher=uac"
    bench.wait(100)
    assert not bench.ended
    assert method(bench.wait(30)[0]) == "BYE"
    assert bench.ended == [usage]


def test_a_request_to_refresh_ourselves_goes_without_a_timer() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller, extra="Supported: timer\nSession-Expires: 120;refresher=uas")
    assert field(bench.reply(usage, invite, 200, SDP)[0], "Session-Expires") == ""


def test_session_intervals() -> None:
    def of(value: str) -> tuple[int, str | None] | None:
        return session_interval(Response(200, "", Headers([("x", value)])))

    assert of("1800") == (1800, None)
    assert of("1800;refresher=UAC") == (1800, "uac")
    assert of("30") is None
    assert of("soon") is None
    assert session_interval(Response(200)) is None


def test_whom_a_request_is_for() -> None:
    assert request_user(Request("INVITE", "sip:juliet%40x@gw")) == "juliet%40x"
    assert request_user(Request("INVITE", "sip:gw")) == ""
    assert request_user(Request("INVITE", "nonsense")) == ""


def test_a_stray_ack_and_a_refusal_of_a_closed_call_do_nothing() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    caller.took(bench.reply(usage, invite, 180)[0])
    assert bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKstray")) == []
    assert statuses(bench.close(usage)) == [480]
    assert bench.close(usage) == []
    assert bench.reply(usage, invite, 200) == []


def test_an_offer_that_is_still_open_when_we_hang_up_gets_487() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    caller.took(bench.reply(usage, invite, 200, SDP)[0])
    bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
    assert statuses(bench.take(caller.request("INVITE", content=SDP))) == [100]
    assert [status(m) or method(m) for m in bench.close(usage)] == [487, "BYE"]
