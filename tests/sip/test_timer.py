"""gateway.sip.timer: the session timer, as a table of RFC 4028 and in whole calls on a clock set by hand."""

from __future__ import annotations

import pytest

from gateway.sip.message import Headers, Request, Response
from gateway.sip.timer import MAX_RAISES, Interval, SessionTimer, interval, minimum
from tests.sip.bench import CONTACT, Bench, established, peer, statuses, theirs, up
from tests.sip.wire import SDP, answer, body, field, method


def asks(**fields: str) -> Request:
    return Request("INVITE", "sip:a@b", Headers((name.replace("_", "-"), value) for name, value in fields.items()))


def says(status: int = 200, **fields: str) -> Response:
    return Response(status, "", Headers((name.replace("_", "-"), value) for name, value in fields.items()))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1800", Interval(1800)),
        (" 90 ;refresher=UAC", Interval(90, "uac")),
        ("soon", None),
        ("", None),
        ("1" * 10, None),
    ],
)
def test_intervals(value: str, expected: Interval | None) -> None:
    assert interval(says(x=value)) == expected


def test_the_shortest_interval_is_ninety_seconds_or_what_is_said() -> None:
    assert minimum(says()) == minimum(says(Min_SE="10")) == minimum(says(Min_SE="x")) == 90
    assert minimum(says(Min_SE="3600;x=y")) == 3600
    assert minimum(says(Min_SE="999999999")) == 86_400


@pytest.mark.parametrize(
    ("supported", "asked", "expected", "ours"),
    [  # RFC 4028 §9, table 2
        ("", None, "", False),
        ("", "600", "600;refresher=uas", True),
        ("timer", None, "1800;refresher=uas", True),
        ("timer", "600", "600;refresher=uac", False),
        ("timer", "600;refresher=who", "600;refresher=uas", True),
        ("timer", "600;refresher=uac", "600;refresher=uac", False),
        ("timer", "600;refresher=uas", "600;refresher=uas", True),
        ("timer", "7200", "1800;refresher=uac", False),
    ],
)
def test_who_refreshes_when_they_call(supported: str, asked: str | None, expected: str, ours: bool) -> None:
    timer, headers = SessionTimer(), Headers()
    timer.accept(asks(Supported=supported, **({"Session_Expires": asked} if asked else {})), headers, 0.0)
    assert (headers.get("Session-Expires") or "") == expected
    assert (headers.get("Require") == "timer") == (expected.endswith("uac"))
    assert timer.ours is ours
    assert (timer.deadline is None) == (not expected)


def test_nobody_gets_less_than_those_on_the_way_want() -> None:
    timer, headers = SessionTimer(), Headers()
    timer.accept(asks(Supported="timer", Session_Expires="1800", Min_SE="3600"), headers, 0.0)
    assert headers["Session-Expires"] == "3600;refresher=uac"


def test_the_end_comes_a_little_early() -> None:
    timer = SessionTimer()
    timer.answered(says(Session_Expires="90;refresher=uas"), 0.0)
    assert timer.deadline == 60
    timer.answered(says(Session_Expires="1800;refresher=uas"), 0.0)
    assert timer.deadline == 1768
    timer.answered(says(Session_Expires="1800"), 0.0)
    assert timer.deadline == 900
    timer.answered(says(), 0.0)
    assert timer.deadline is None


def test_a_callee_that_refreshes_is_missed_when_it_stops() -> None:
    bench = Bench()
    session, invite = established(bench, f"{CONTACT}\nSession-Expires: 90;refresher=uas")
    assert field(invite, "Session-Expires") == "1800"
    assert "timer" in field(invite, "Supported")
    bench.wait(59)
    assert not bench.ended
    (bye,) = bench.wait(0.5 + 0.5)
    assert method(bye) == "BYE"
    assert field(bye, "Reason") == 'SIP;cause=408;text="the session timer ran out"'
    assert bench.heard[-1].label == "408 the session timer ran out"
    assert bench.ended == [session]


def test_we_refresh_by_update_where_it_is_taken_and_for_as_long_as_it_is_answered() -> None:
    bench = Bench()
    established(bench, f"{CONTACT}\nAllow: INVITE, UPDATE\nSession-Expires: 100;refresher=uac")
    for _ in range(3):
        (update,) = bench.wait(50)
        assert (method(update), body(update)) == ("UPDATE", "")
        assert field(update, "Session-Expires") == "100;refresher=uac"
        assert field(update, "Contact")
        bench.take(answer(update, 200, extra=f"{CONTACT}\nSession-Expires: 100;refresher=uac"))
    assert not bench.ended
    assert [method(m) for m in bench.wait(68)][-1] == "BYE"


def test_we_refresh_by_reinvite_with_the_same_description_where_update_is_not_taken() -> None:
    bench, caller = Bench(), peer()
    up(bench, caller, extra="Supported: timer\nSession-Expires: 100;refresher=uas")
    (reinvite,) = bench.wait(50)
    assert (method(reinvite), body(reinvite)) == ("INVITE", SDP)
    assert field(reinvite, "Session-Expires") == "100;refresher=uac"
    sent = bench.take(answer(reinvite, 200, extra=f"{CONTACT}\nSession-Expires: 100;refresher=uac", content=SDP))
    assert [method(m) for m in sent] == ["ACK"]
    assert bench.heard[-1].label == "200 Whatever"
    (again,) = bench.wait(50)
    assert body(again) == SDP


@pytest.mark.parametrize("code", [405, 501])
def test_a_refresh_by_update_that_is_not_taken_after_all_is_made_by_reinvite(code: int) -> None:
    bench = Bench()
    established(bench, f"{CONTACT}\nAllow: UPDATE\nSession-Expires: 100;refresher=uac")
    (update,) = bench.wait(50)
    (reinvite,) = bench.take(answer(update, code))
    assert (method(reinvite), body(reinvite)) == ("INVITE", SDP)
    bench.take(answer(reinvite, 200, extra=f"{CONTACT}\nSession-Expires: 100;refresher=uac", content=SDP))
    assert [method(m) for m in bench.wait(50)] == ["INVITE"]
    assert not bench.ended


def test_an_interval_that_is_too_small_for_somebody_is_raised() -> None:
    bench = Bench()
    session = bench.invite()
    invite = bench.sent[0]
    ack, second = bench.take(answer(invite, 422, extra="Min-SE: 3600"))
    assert method(ack) == "ACK"
    assert (field(second, "Session-Expires"), field(second, "Min-SE")) == ("3600", "3600")
    assert field(second, "CSeq") == "2 INVITE"
    bench.take(answer(second, 422, extra="Min-SE: 3600"))
    assert bench.ended == [session]  # it does not help to ask again


def test_somebody_who_always_wants_a_little_longer_is_not_asked_for_ever() -> None:
    bench = Bench()
    session = bench.invite()
    invites = bench.sent
    for tries in range(100):
        sent = bench.take(answer(invites[-1], 422, extra=f"Min-SE: {100 + tries}"))
        invites = [m for m in sent if method(m) == "INVITE"]
        if not invites:
            break
    assert tries == MAX_RAISES
    assert bench.ended == [session]
    bench = Bench()
    established(bench, f"{CONTACT}\nAllow: UPDATE\nSession-Expires: 100;refresher=uac")
    updates = bench.wait(50)
    for tries in range(100):
        updates = bench.take(answer(updates[0], 422, extra=f"Min-SE: {101 + tries}"))
        if not updates:
            break
    assert tries == MAX_RAISES
    (update,) = bench.wait(10)  # a refresh that was refused
    assert field(update, "Session-Expires") == f"{101 + MAX_RAISES};refresher=uac"


def test_a_refresh_that_is_too_brief_is_made_longer() -> None:
    bench = Bench()
    established(bench, f"{CONTACT}\nAllow: UPDATE\nSession-Expires: 100;refresher=uac")
    (update,) = bench.wait(50)
    (longer,) = bench.take(answer(update, 422, extra="Min-SE: 300"))
    assert field(longer, "Session-Expires") == "300;refresher=uac"


def test_a_refresh_that_is_refused_is_tried_again_until_the_time_is_up() -> None:
    bench = Bench()
    established(bench, f"{CONTACT}\nAllow: UPDATE\nSession-Expires: 90;refresher=uac")
    (update,) = bench.wait(45)
    bench.take(answer(update, 500))
    (second,) = bench.wait(10)
    assert method(second) == "UPDATE"
    bench.take(answer(second, 500))
    assert method(bench.wait(6)[0]) == "BYE"


def test_a_far_side_that_does_not_answer_a_refresh_is_gone() -> None:
    bench = Bench()
    session, _ = established(bench, f"{CONTACT}\nAllow: UPDATE\nSession-Expires: 1800;refresher=uac")
    assert [method(m) for m in bench.wait(935)][-1] == "BYE"
    assert bench.ended == [session]
    bench.wait(60)
    assert bench.agent.busy == (0, 0)


def test_too_brief_an_interval_is_refused_with_the_least_we_take() -> None:
    bench, caller = Bench(), peer()
    (refusal,) = bench.take(caller.request("INVITE", extra="Supported: timer\nSession-Expires: 30", content=SDP))
    assert statuses([refusal]) == [422]
    assert field(refusal, "Min-SE") == "90"
    bench.take(caller.request("ACK", sequence=1, branch=f"{caller.branch}.INVITE.1"))
    up(bench, other := peer(), extra="Supported: timer")
    (refusal,) = bench.take(other.request("UPDATE", extra="Supported: timer\nSession-Expires: 30"))
    assert (statuses([refusal]), field(refusal, "Min-SE")) == ([422], "90")
    assert not bench.ended


def test_the_caller_refreshes_and_is_missed_when_he_stops() -> None:
    bench, caller = Bench(), peer()
    usage = up(bench, caller, extra="Supported: timer\nSession-Expires: 120")
    bench.wait(80)
    bench.take(caller.request("UPDATE", extra="Supported: timer\nSession-Expires: 120;refresher=uac"))
    update = bench.heard[-1]
    assert isinstance(update, Request)
    assert field(bench.reply(usage, update, 200)[0], "Session-Expires") == "120;refresher=uac"
    bench.wait(80)
    assert not bench.ended
    assert method(bench.wait(10)[0]) == "BYE"


def test_a_refresh_of_theirs_in_a_call_that_we_placed() -> None:
    bench = Bench()
    session, invite = established(bench, f"{CONTACT}\nSession-Expires: 100;refresher=uas")
    bench.wait(60)
    bench.take(theirs(invite).request("UPDATE", extra="Supported: timer\nSession-Expires: 100;refresher=uac"))
    update = bench.heard[-1]
    assert isinstance(update, Request)
    assert field(bench.reply(session, update, 200)[0], "Session-Expires") == "100;refresher=uac"
    bench.wait(60)
    assert not bench.ended


def test_whoever_refreshes_goes_on_with_it_whoever_asks() -> None:
    """RFC 4028 §7.4: a re-INVITE for something else leaves the refresher as it is, in both directions."""
    bench = Bench()
    session, invite = established(bench, f"{CONTACT}\nSession-Expires: 600;refresher=uas")
    session.ask("INVITE", Headers([("Content-Type", "application/sdp")]), SDP.encode(), bench.now)
    (reinvite,) = bench.step()
    assert field(reinvite, "Session-Expires") == "600;refresher=uas"
    bench.take(answer(reinvite, 200, extra=f"{CONTACT}\nSession-Expires: 600;refresher=uas", content=SDP))
    bench.take(theirs(invite).request("UPDATE", extra="Supported: timer\nSession-Expires: 600;refresher=uas"))
    update = bench.heard[-1]
    assert isinstance(update, Request)
    (ok,) = bench.reply(session, update, 200)
    assert field(ok, "Session-Expires") == "600;refresher=uas"
    (refresh,) = bench.wait(300)  # from now on it is ours
    assert field(refresh, "Session-Expires") == "600;refresher=uac"
