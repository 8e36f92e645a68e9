"""gateway.sip.serversession: calls that come in, message by message, on a clock set by hand."""

from __future__ import annotations

import pytest

from gateway.sip.message import Headers, Request, Response
from gateway.sip.serversession import request_user
from tests.sip.bench import CONTACT, Bench, peer, statuses
from tests.sip.wire import SDP, field, tag, uri

ROUTES = "Record-Route: <sip:p2@192.0.2.20;lr>\nRecord-Route: <sip:p1@192.0.2.10;lr>\n" + CONTACT


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


def test_an_invitation_that_expires_is_refused_and_told_of() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller, extra="Expires: 30")
    rings = bench.reply(usage, invite, 180)
    caller.took(rings[0])
    assert bench.wait(29) == []
    assert statuses(bench.wait(1)) == [487]
    last = bench.heard[-1]
    assert isinstance(last, Response)
    assert (last.label, last.local) == ("408 the invitation expired", True)
    assert bench.ended == [usage]
    bench.take(caller.request("ACK", sequence=1, branch=f"{caller.branch}.INVITE.1"))
    bench.wait(60)
    assert (bench.agent.busy, bench.agent.deadline) == ((0, 0), None)


@pytest.mark.parametrize("expires", ["30", "soon", "-1", "99999999999"])
def test_an_invitation_that_was_answered_expires_no_more(expires: str) -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller, extra=f"Expires: {expires}")
    caller.took(bench.reply(usage, invite, 200, SDP)[0])
    bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
    assert bench.wait(100) == []
    assert not bench.ended


def test_a_call_that_rings_for_long_says_so_every_minute() -> None:
    """RFC 3261 §13.3.1.1: or a proxy on the way gives it up."""
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    assert bench.wait(100) == []  # nothing was said yet but 100
    rings = bench.reply(usage, invite, 180)
    assert bench.wait(59) == []
    assert bench.wait(1) == rings
    progress = bench.reply(usage, invite, 183, SDP)
    assert bench.wait(59) == []
    assert bench.wait(61) == progress * 2
    caller.took(bench.reply(usage, invite, 200, SDP)[0])
    bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
    assert bench.wait(200) == []
    bench.called(other := peer())
    bench.reply(*bench.incoming[-1], 180)
    bench.take(other.request("CANCEL", sequence=1, branch=f"{other.branch}.INVITE.1"))
    bench.take(other.request("ACK", sequence=1, branch=f"{other.branch}.INVITE.1"))
    assert bench.wait(200) == []


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
    assert {tag(field(m, "To")) for m in sent} == {usage.tag}  # RFC 3261 §9.2
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


def test_a_callee_who_has_enough_before_the_answer_refuses_and_says_no_bye() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    bench.reply(usage, invite, 180)
    assert usage.ask("BYE", Headers([("Reason", "Q.850;cause=16")]), b"", bench.now) is None
    (refusal,) = bench.step()
    assert (statuses([refusal]), field(refusal, "Reason")) == ([480], "Q.850;cause=16")
    assert bench.ended == [usage]
    bench.take(caller.request("ACK", sequence=1, branch=f"{caller.branch}.INVITE.1"))
    assert bench.wait(100) == []
    assert (bench.agent.busy, bench.agent.deadline) == ((0, 0), None)


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


def test_a_call_that_is_sent_elsewhere_is_over() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    assert statuses(bench.reply(usage, invite, 302, Contact="<sip:nurse@192.0.2.7>")) == [302]
    assert bench.ended == [usage]
    bench.take(caller.request("ACK", sequence=1, branch=f"{caller.branch}.INVITE.1"))
    bench.wait(60)
    assert bench.agent.busy == (0, 0)


def test_an_answer_says_what_we_take_and_understand() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    for answered in (bench.reply(usage, invite, 180), bench.reply(usage, invite, 200, SDP)):
        assert {"INVITE", "ACK", "CANCEL", "BYE", "UPDATE", "PRACK"} <= set(field(answered[0], "Allow").split(", "))
        assert {"100rel", "timer"} <= set(field(answered[0], "Supported").split(", "))
