"""gateway.sip.layer: which transaction a message belongs to, limits, one deadline."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.errors import SipError
from gateway.sip.layer import (
    SPARE,
    Acknowledged,
    Alarm,
    Answered,
    Flow,
    Layer,
    Limits,
    Requested,
    Transmit,
    Unanswered,
    earliest,
)
from gateway.sip.message import Request, respond
from gateway.sip.parser import parse
from gateway.sip.transaction import Timers

FLOW = Flow("UDP", ("192.0.2.1", 5060), ("192.0.2.9", 5060), ("192.0.2.1", 5060))
OTHER = Flow("UDP", ("192.0.2.1", 5060), ("192.0.2.66", 5060), ("192.0.2.1", 5060))


def layer(**limits: int) -> Layer:
    return Layer(Timers(), Limits(**limits), Alarm())


def message(
    method: str, *, branch: str = "z9hG4bKa", number: int = 1, to: str = "<sip:c@d>", named: str = ""
) -> Request:
    made = parse(
        f"{method} sip:c@d SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch={branch}\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: {to}\r\nCall-ID: x\r\nCSeq: {number} {named or method}\r\n\r\n".encode()
    )
    assert isinstance(made, Request)
    return made


def test_a_request_makes_a_transaction_and_its_repeat_finds_it() -> None:
    made = layer()
    (requested,) = made.receive(message("INVITE"), FLOW, 0.0)
    assert isinstance(requested, Requested)
    assert not requested.merged
    ringing = made.respond(requested.transaction, respond(requested.transaction.request, 180, tag="t"), 0.1)
    assert made.receive(message("INVITE"), FLOW, 0.2) == ringing
    assert len(made) == 1
    assert made.find_invite(message("CANCEL"), FLOW) is requested.transaction
    assert made.find_invite(message("CANCEL"), OTHER) is None


def test_a_request_that_nobody_answered_is_found_by_its_branch_and_whom_it_went_to() -> None:
    made = layer()
    asked, _ = made.request(message("OPTIONS"), FLOW, 0.0)
    assert made.unheard("OPTIONS", "z9hG4bKa", FLOW.remote) is asked
    assert made.unheard("OPTIONS", "z9hG4bKa", OTHER.remote) is None
    assert made.unheard("INVITE", "z9hG4bKa", FLOW.remote) is None
    assert made.unheard("OPTIONS", "z9hG4bKb", FLOW.remote) is None
    made.receive(respond(message("OPTIONS"), 100), FLOW, 0.1)
    assert made.unheard("OPTIONS", "z9hG4bKa", FLOW.remote) is None, "somebody is there"


def test_the_same_request_by_another_way_is_merged() -> None:
    made = layer()
    made.receive(message("INVITE"), FLOW, 0.0)
    (second,) = made.receive(message("INVITE", branch="z9hG4bKb"), FLOW, 0.0)
    assert isinstance(second, Requested)
    assert second.merged


def test_an_ack_to_a_2xx_belongs_to_nobody_and_that_to_a_refusal_to_its_transaction() -> None:
    made = layer()
    (requested,) = made.receive(message("INVITE"), FLOW, 0.0)
    assert isinstance(requested, Requested)
    made.respond(requested.transaction, respond(requested.transaction.request, 200, tag="t"), 0.0)
    ack = message("ACK", branch="z9hG4bKnew")
    assert made.receive(ack, FLOW, 0.1) == [Acknowledged(ack, FLOW)]
    sloppy = message("ACK")
    assert made.receive(sloppy, FLOW, 0.1) == [Acknowledged(sloppy, FLOW)]
    (refused,) = made.receive(message("INVITE", branch="z9hG4bKb", number=2), FLOW, 0.0)
    assert isinstance(refused, Requested)
    made.respond(refused.transaction, respond(refused.transaction.request, 486, tag="t"), 0.0)
    assert made.receive(message("ACK", branch="z9hG4bKb", number=2), FLOW, 0.1) == []


def test_peers_without_the_cookie_are_matched_by_everything_else() -> None:
    made = layer()
    assert isinstance(made.receive(message("INVITE", branch="1"), FLOW, 0.0)[0], Requested)
    assert made.receive(message("INVITE", branch="1"), FLOW, 0.0) == []
    assert isinstance(made.receive(message("INVITE", branch="1", number=2), FLOW, 0.0)[0], Requested)


def test_responses_find_the_request_by_branch_and_method() -> None:
    made = layer()
    transaction, (sent,) = made.request(message("OPTIONS"), FLOW, 0.0)
    assert isinstance(sent, Transmit)
    ok = respond(message("OPTIONS"), 200, tag="t")
    assert made.receive(respond(message("OPTIONS", branch="z9hG4bKz"), 200, tag="t"), FLOW, 0.1) == []
    assert made.receive(respond(message("INFO"), 200, tag="t"), FLOW, 0.1) == []
    (answered,) = made.receive(ok, FLOW, 0.1)
    assert isinstance(answered, Answered)
    assert answered.transaction is transaction


def test_silence_is_told_once() -> None:
    alarm = Alarm()
    made = Layer(Timers(), Limits(), alarm)
    transaction, _ = made.request(message("OPTIONS"), FLOW, 0.0)
    told = []
    while (deadline := alarm.deadline) is not None:
        timed = alarm.due(deadline)
        assert timed is not None
        told += [item for item in made.fire(timed, deadline) or [] if isinstance(item, Unanswered)]
    assert transaction is not None
    assert told == [Unanswered(transaction)]
    assert len(made) == 0
    assert made.fire(object(), 0.0) is None  # type: ignore[arg-type]


def test_a_full_house_answers_503_without_remembering() -> None:
    made = layer(transactions=1)
    made.receive(message("INVITE"), FLOW, 0.0)
    (refusal,) = made.receive(message("INVITE", branch="z9hG4bKb", number=2), FLOW, 0.0)
    assert isinstance(refusal, Transmit)
    assert refusal.message.headers["Retry-After"] == "10"
    assert len(made) == 1
    made.request(message("OPTIONS"), FLOW, 0.0)
    assert made.request(message("OPTIONS", branch="z9hG4bKc"), FLOW, 0.0) == (None, [])


def test_one_source_cannot_fill_the_house() -> None:
    made = layer(per_source=1)
    made.receive(message("INVITE"), FLOW, 0.0)
    assert isinstance(made.receive(message("INVITE", branch="z9hG4bKb", number=2), FLOW, 0.0)[0], Transmit)
    assert isinstance(made.receive(message("INVITE", branch="z9hG4bKb", number=2), OTHER, 0.0)[0], Requested)


def test_a_dead_connection_names_what_waits_on_it() -> None:
    made = layer()
    flow = Flow("TCP", FLOW.local, FLOW.remote, FLOW.sent_by, 5)
    transaction, _ = made.request(message("OPTIONS"), flow, 0.0)
    assert made.on(5) == [transaction]
    assert made.on(6) == []
    assert transaction is not None
    made.drop(transaction)
    made.drop(transaction)
    assert len(made) == 0


def test_a_cseq_of_another_method_is_refused() -> None:
    with pytest.raises(SipError):
        layer().receive(message("INVITE", named="OPTIONS"), FLOW, 0.0)


class Clock:
    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.armed: float | None = None


def test_an_alarm_keeps_the_earliest_deadline_however_it_moves() -> None:
    alarm, early, late = Alarm(), Clock(1.0), Clock(2.0)
    assert alarm.deadline is None
    assert alarm.due(9.0) is None
    for clock in (early, late, Clock(None)):
        alarm.arm(clock)
    early.deadline = 3.0
    assert alarm.deadline == 2.0
    assert alarm.due(1.5) is None
    assert alarm.due(2.0) is late
    late.deadline = None
    assert alarm.deadline == 3.0


def test_a_deadline_that_is_put_off_again_and_again_is_entered_once() -> None:
    alarm, clock = Alarm(), Clock(None)
    for later in range(1, 100):
        clock.deadline = float(later)
        alarm.arm(clock)
    assert len(alarm) == 1
    assert (alarm.due_before(1.0), alarm.due_before(1.5)) == (False, True)
    assert alarm.deadline == 99.0
    assert not alarm.due_before(99.0)
    clock.deadline = 50.0
    alarm.arm(clock)
    assert alarm.deadline == 50.0
    assert alarm.due(50.0) is clock
    clock.deadline = 60.0
    alarm.arm(clock)
    assert alarm.deadline == 60.0
    clock.deadline = None
    assert alarm.deadline is None
    assert not alarm.due_before(1000.0)


def test_the_first_of_several_deadlines_is_the_deadline() -> None:
    assert earliest(3.0, None, 2.0) == 2.0
    assert earliest(None, 0.0) == 0.0
    assert earliest(None) is None


@dataclass(eq=False)
class Waits:
    deadline: float | None
    armed: float | None = None


def test_what_waits_for_nothing_any_more_is_not_kept_until_its_time() -> None:
    alarm, stays = Alarm(), Waits(2000.0)
    alarm.arm(stays)
    for number in range(10 * SPARE):
        call = Waits(1800.0 + number)
        alarm.arm(call)
        call.deadline = None
    assert len(alarm) <= SPARE + 2
    stays.deadline = 3000.0  # put off without a word
    for number in range(2 * SPARE):
        alarm.arm(Waits(4000.0 + number))
    assert alarm.deadline == 3000.0
    assert alarm.due(3000.0) is stays


def test_two_behind_one_address_may_have_the_same_branch() -> None:
    """RFC 3261 §17.2.3: the sent-by takes part, for a client that makes bad branches has others beside it."""
    tested, one = layer(), message("OPTIONS")
    (first,) = tested.receive(one, FLOW, 0.0)
    text = bytes(one).replace(b"192.0.2.9;", b"192.0.2.9:5062;")
    (second,) = tested.receive(parse(text), FLOW, 0.0)
    assert isinstance(first, Requested)
    assert isinstance(second, Requested)
    assert first.transaction is not second.transaction
