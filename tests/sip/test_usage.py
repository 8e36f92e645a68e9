"""gateway.sip.usage: requests outside of INVITE: credentials, sequences, subscriptions."""

from __future__ import annotations

import pytest

from gateway.sip.digest import Authenticator, Credentials
from gateway.sip.headers import NameAddr
from gateway.sip.layer import Flow
from gateway.sip.message import Headers, Request, Response
from gateway.sip.usage import MAX_OPEN, contact, is_secure, local, user_of
from tests.sip.bench import TCP, UDP, Bench, peer, statuses, theirs
from tests.sip.wire import SDP, answer, field, method, tag


def started(bench: Bench, name: str = "REGISTER", password: str | None = "secret") -> object:
    usage = bench.agent.usage()
    usage.contact_user = "romeo"
    if password is not None:
        usage.authenticator = Authenticator(Credentials("romeo", password), lambda: "cnonce")
    fields = [("From", f"<sip:romeo@gw>;tag={usage.tag}"), ("To", "<sip:romeo@gw>"), ("Call-ID", usage.call_id)]
    exchange = usage.start(Request(name, "sip:gw", Headers(fields)), "sip:gw")
    bench.step()
    return exchange


CHALLENGE = 'WWW-Authenticate: Digest realm="r", nonce="{}"'


def test_a_challenge_is_answered_with_the_next_number_and_a_new_branch() -> None:
    bench = Bench()
    exchange = started(bench)
    first = bench.sent[0]
    (second,) = bench.take(answer(first, 401, extra=CHALLENGE.format(1)))
    assert (field(first, "CSeq"), field(second, "CSeq")) == ("1 REGISTER", "2 REGISTER")
    assert field(second, "Authorization").startswith('Digest username="romeo", realm="r"')
    assert field(first, "Via") != field(second, "Via")
    assert field(second, "Contact") == "<sip:romeo@192.0.2.1:5060>"
    bench.take(answer(second, 200))
    assert [(e, r.status) for e, r in bench.finished if isinstance(r, Response)] == [(exchange, 200)]


def test_a_second_refusal_is_final_unless_the_nonce_was_stale() -> None:
    bench = Bench()
    started(bench)
    (second,) = bench.take(answer(bench.sent[0], 401, extra=CHALLENGE.format(1)))
    (third,) = bench.take(answer(second, 401, extra=CHALLENGE.format(2) + ", stale=true"))
    assert bench.take(answer(third, 401, extra=CHALLENGE.format(3))) == []
    assert [r.label for _, r in bench.finished] == ["401 Whatever"]


def test_challenges_without_end_are_given_up() -> None:
    bench = Bench()
    started(bench)
    sent = bench.sent
    for number in range(10):
        sent = bench.take(answer(sent[0], 401, extra=CHALLENGE.format(number) + ", stale=true"))
        if not sent:
            break
    assert number == 3
    assert len(bench.finished) == 1


def test_without_a_password_a_challenge_is_the_outcome() -> None:
    bench = Bench()
    started(bench, password=None)
    bench.take(answer(bench.sent[0], 401, extra=CHALLENGE.format(1)))
    assert [r.label for _, r in bench.finished] == ["401 Whatever"]


def test_silence_and_a_missing_way_are_outcomes() -> None:
    bench = Bench()
    started(bench)
    bench.wait(40)
    assert isinstance(bench.finished[0][1], Response)
    assert (bench.finished[0][1].status, bench.finished[0][1].local) == (408, True)
    bench = Bench(launch=False)
    started(bench)
    bench.agent.unreachable(bench.dispatched[0], 0.0)
    bench.step()
    assert [r.label for _, r in bench.finished] == ["503 Service Unavailable"]


def test_a_subscription_gets_its_notifications_and_ends() -> None:
    bench = Bench()
    started(bench, "SUBSCRIBE")
    subscribe = bench.sent[0]
    bench.take(answer(subscribe, 202, extra="Contact: <sip:x@192.0.2.9>"))
    notifier = peer()
    notifier.call_id, notifier.from_ = field(subscribe, "Call-ID"), f"{field(subscribe, 'To')};tag=peer"
    notifier.to = field(subscribe, "From")
    bench.take(notifier.request("NOTIFY", extra="Event: presence"))
    notify = bench.heard[0]
    assert isinstance(notify, Request)
    usage = bench.finished[0][0].usage
    assert statuses(bench.reply(usage, notify, 200)) == [200]
    assert bench.reply(usage, notify, 200) == []
    assert usage.ask("SUBSCRIBE", Headers([("Expires", "0")]), b"", bench.now)
    assert field(bench.step()[0], "CSeq") == "2 SUBSCRIBE"
    bench.close(usage)
    assert bench.ended == [usage]


def test_a_notification_that_overtakes_the_answer_to_its_subscription_is_taken() -> None:
    bench = Bench()
    started(bench, "SUBSCRIBE")
    subscribe = bench.sent[0]
    notifier = theirs(subscribe)
    notifier.contact = "<sip:x@192.0.2.77>"
    extra = "Event: presence\nRecord-Route: <sip:p;lr>"
    assert bench.take(notifier.request("NOTIFY", extra=extra)) == []
    notify = bench.heard[-1]
    assert isinstance(notify, Request)
    usage = next(iter({id(u): u for u in bench.agent._usages.values()}.values()))
    assert statuses(bench.reply(usage, notify, 200)) == [200]
    other = theirs(subscribe)
    other.from_ = other.from_.replace("peer", "fork")
    assert statuses(bench.take(other.request("NOTIFY", extra=extra))) == [481]
    bench.take(answer(subscribe, 200, extra="Contact: <sip:x@192.0.2.88>\nRecord-Route: <sip:p;lr>"))
    assert statuses(bench.take(other.request("NOTIFY", extra=extra))) == [481]
    assert bench.take(notifier.request("NOTIFY", extra=extra)) == []
    usage.ask("SUBSCRIBE", Headers([("Expires", "0")]), b"", bench.now)
    (last,) = bench.step()
    assert last.startswith("SUBSCRIBE sip:x@192.0.2.77 SIP/2.0")
    assert (field(last, "CSeq"), field(last, "Route")) == ("2 SUBSCRIBE", "<sip:p;lr>")
    bench.close(usage)
    bench.wait(70)
    assert bench.agent.busy == (0, 0)


def test_a_subscription_that_is_refused_is_forgotten() -> None:
    bench = Bench()
    started(bench, "SUBSCRIBE")
    subscribe = bench.sent[0]
    bench.take(answer(subscribe, 489))
    assert statuses(bench.take(theirs(subscribe).request("NOTIFY", extra="Event: presence"))) == [481]
    bench.wait(70)
    assert bench.agent.busy == (0, 0)


def test_a_subscriber_is_notified_inside_its_dialog() -> None:
    bench, caller = Bench(), peer()
    bench.take(caller.request("SUBSCRIBE", extra="Event: presence\nRecord-Route: <sip:p;lr>"))
    usage, subscribe = bench.incoming[0]
    assert usage.ask("NOTIFY", Headers(), b"", bench.now) is None
    (ok,) = bench.reply(usage, subscribe, 200, Expires="60")
    assert field(ok, "Record-Route") == "<sip:p;lr>"
    assert field(ok, "Expires") == "60"
    usage.ask("NOTIFY", Headers([("Event", "presence")]), b"", bench.now)
    (notify,) = bench.step()
    assert method(notify) == "NOTIFY"
    assert notify.split(" ")[1] == "sip:romeo@192.0.2.9:5060"
    assert tag(field(notify, "From")) == usage.tag


@pytest.mark.parametrize("contact", ["Contact: <open", "X-Contact: <sip:romeo@192.0.2.9>"])
def test_a_subscription_that_can_make_no_dialog_is_refused(contact: str) -> None:
    bench = Bench()
    text = peer().request("SUBSCRIBE", extra="Event: presence")
    lines = [contact if line.startswith("Contact:") else line for line in text.split("\r\n")]
    assert statuses(bench.take("\r\n".join(lines))) == [400]
    assert not bench.incoming


def test_a_flood_inside_a_dialog_is_bounded() -> None:
    bench, caller = Bench(), peer()
    usage, invite = bench.called(caller)
    caller.took(bench.reply(usage, invite, 200, SDP)[0])
    bench.take(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
    sent = [bench.take(caller.request("INFO")) for _ in range(MAX_OPEN + 3)]
    assert [statuses(s) for s in sent] == [[]] * MAX_OPEN + [[503]] * 3


def test_closing_answers_what_is_open() -> None:
    bench, caller = Bench(), peer()
    bench.take(caller.request("MESSAGE"))
    usage, _ = bench.incoming[0]
    assert statuses(bench.close(usage, 480)) == [480]
    assert bench.close(usage) == []
    assert bench.ended == [usage]


def test_contacts_and_stand_ins() -> None:
    assert contact("romeo", UDP) == "<sip:romeo@192.0.2.1:5060>"
    assert contact("", TCP) == "<sip:192.0.2.1:5060;transport=tcp>"
    assert user_of(NameAddr("sip:host")) == ""
    stand_in = local(Request("INVITE", "sip:a", Headers([("CSeq", "3 INVITE")])), 408)
    assert (stand_in.label, stand_in.local, stand_in.headers["CSeq"]) == ("408 Request Timeout", True, "3 INVITE")


@pytest.mark.parametrize(
    ("transport", "secure", "expected"),
    [
        ("UDP", True, "<sip:romeo@192.0.2.1:5061>"),
        ("TLS", False, "<sip:romeo@192.0.2.1:5061;transport=tls>"),
        ("TLS", True, "<sips:romeo@192.0.2.1:5061>"),
        ("WS", False, "<sip:romeo@192.0.2.1:5061;transport=ws>"),
        ("WSS", True, "<sips:romeo@192.0.2.1:5061;transport=ws>"),
    ],
)
def test_where_sips_is_asked_for_we_are_reached_by_sips(transport: str, secure: bool, expected: str) -> None:
    flow = Flow(transport, ("192.0.2.1", 5061), ("192.0.2.2", 5061), ("192.0.2.1", 5061), 1)
    assert contact("romeo", flow, secure=secure) == expected


def test_what_is_secure() -> None:
    assert is_secure("SIPS:juliet@carrier.example")
    assert not is_secure("sip:juliet@carrier.example")
