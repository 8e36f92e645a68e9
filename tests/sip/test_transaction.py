"""gateway.sip.transaction: the four machines, timer by timer."""

from __future__ import annotations

import pytest

from gateway.sip.message import Headers, Request, Response
from gateway.sip.transaction import (
    Action,
    Deliver,
    Expired,
    InviteClient,
    InviteServer,
    Machine,
    OtherClient,
    OtherServer,
    Send,
    State,
    Timers,
    acknowledge,
)

TIMERS = Timers()


def request(method: str = "INVITE") -> Request:
    fields = [("Via", "SIP/2.0/UDP h;branch=z9hG4bKx"), ("Route", "<sip:p;lr>"), ("From", "<sip:a@b>;tag=1")]
    fields += [("To", "<sip:c@d>"), ("Call-ID", "x"), ("CSeq", f"7 {method}")]
    return Request(method, "sip:c@d", Headers(fields))


def reply(status: int) -> Response:
    return Response(status, "", Headers([("To", "<sip:c@d>;tag=2")]))


def run(machine: Machine, until: float) -> list[tuple[float, Action]]:
    """Everything that time alone brings about, and when."""
    out: list[tuple[float, Action]] = []
    while (deadline := machine.deadline) is not None and deadline <= until:
        out += [(deadline, action) for action in machine.fire(deadline)]  # type: ignore[attr-defined]
    return out


def sends(happened: list[tuple[float, Action]]) -> list[float]:
    return [time for time, action in happened if isinstance(action, Send)]


def test_an_invite_is_repeated_with_doubling_pauses_and_given_up_after_32_seconds() -> None:
    machine = InviteClient(request(), False, 0.0, TIMERS)
    assert [type(action) for action in machine.start()] == [Send]
    happened = run(machine, 100)
    assert sends(happened) == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert happened[-1] == (32.0, Expired())
    assert machine.terminated


def test_where_there_is_somebody_else_to_ask_silence_is_shorter() -> None:
    for machine in (
        InviteClient(request(), True, 0.0, TIMERS, 5.0),
        OtherClient(request("BYE"), True, 0.0, TIMERS, 5.0),
    ):
        assert machine.unheard
        assert run(machine, 100) == [(5.0, Expired())]
        assert not machine.unheard
    ringing, trying = (
        InviteClient(request(), False, 0.0, TIMERS, 5.0),
        OtherClient(request("BYE"), True, 0.0, TIMERS, 5.0),
    )
    ringing.receive(reply(180), 4.0)
    trying.receive(reply(100), 4.0)
    assert (ringing.unheard, trying.unheard) == (False, False)
    assert run(ringing, 100) == []
    assert run(trying, 100) == [(32.0, Expired())], "who says something has all of timer F"


@pytest.mark.parametrize("reliable", [False, True])
def test_an_invite_that_was_given_up_early_hears_late_answers_for_as_long_as_any_other(reliable: bool) -> None:
    machine = InviteClient(request(), reliable, 0.0, TIMERS, 5.0)
    assert run(machine, 31.9)[-1] == (5.0, Expired())
    assert (machine.state, machine.unheard) == (State.ABANDONED, False)
    assert run(machine, 100) == []
    assert machine.terminated
    answered, refused = (InviteClient(request(), reliable, 0.0, TIMERS, 5.0) for _ in range(2))
    for each in (answered, refused):
        run(each, 6.0)
    ok = reply(200)
    assert answered.receive(ok, 7.0) == answered.receive(ok, 8.0) == [Deliver(ok)]
    assert [type(action) for action in refused.receive(reply(404), 7.0)] == [Send, Deliver]


def test_who_begins_to_ring_when_he_was_given_up_is_heard_once_and_then_until_his_final_response() -> None:
    machine = InviteClient(request(), False, 0.0, TIMERS, 5.0)
    run(machine, 30.0)
    rings = reply(180)
    assert machine.receive(rings, 30.0) == [Deliver(rings)]
    assert machine.receive(rings, 31.0) == []
    assert run(machine, 61.0) == []
    assert [type(action) for action in machine.receive(reply(487), 61.0)] == [Send, Deliver]
    ringing = InviteClient(request(), False, 0.0, TIMERS, 5.0)
    run(ringing, 30.0)
    ringing.receive(reply(180), 30.0)
    assert run(ringing, 100) == []
    assert ringing.terminated


def test_over_a_stream_nothing_is_repeated() -> None:
    for machine in (InviteClient(request(), True, 0.0, TIMERS), OtherClient(request("BYE"), True, 0.0, TIMERS)):
        assert run(machine, 100) == [(32.0, Expired())]


def test_the_first_provisional_response_stops_timer_b() -> None:
    machine = InviteClient(request(), False, 0.0, TIMERS)
    ringing = reply(180)
    assert machine.receive(ringing, 1.0) == [Deliver(ringing)]
    assert machine.deadline is None


def test_a_refusal_is_acknowledged_and_its_repeats_too() -> None:
    machine = InviteClient(request(), False, 0.0, TIMERS)
    refused = reply(486)
    send, deliver = machine.receive(refused, 1.0)
    assert isinstance(send, Send)
    assert deliver == Deliver(refused)
    assert machine.receive(reply(486), 2.0) == [send]
    assert machine.receive(reply(180), 2.0) == []
    assert machine.receive(reply(200), 2.0) == []
    run(machine, 100)
    assert machine.terminated
    assert machine.receive(reply(486), 100.0) == []


def test_over_a_stream_a_refusal_ends_it_at_once() -> None:
    machine = InviteClient(request(), True, 0.0, TIMERS)
    assert len(machine.receive(reply(486), 1.0)) == 2
    assert machine.terminated


def test_every_2xx_is_delivered_for_as_long_as_forks_may_answer() -> None:
    machine = InviteClient(request(), False, 0.0, TIMERS)
    assert len(machine.receive(reply(200), 1.0)) == 1
    assert len(machine.receive(reply(200), 2.0)) == 1
    assert machine.receive(reply(486), 2.0) == []
    assert machine.state is State.ACCEPTED
    assert run(machine, 100) == []
    assert machine.terminated


def test_the_ack_to_a_refusal_is_the_invites() -> None:
    ack = acknowledge(request(), reply(486))
    assert ack.method == "ACK"
    assert ack.uri == "sip:c@d"
    assert str(ack.cseq) == "7 ACK"
    assert ack.via.branch == "z9hG4bKx"
    assert ack.headers.all("Route") == ["<sip:p;lr>"]
    assert ack.to.tag == "2"


def test_other_requests_are_repeated_up_to_t2() -> None:
    machine = OtherClient(request("BYE"), False, 0.0, TIMERS)
    machine.start()
    happened = run(machine, 100)
    assert sends(happened)[:6] == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5]
    assert happened[-1] == (32.0, Expired())


def test_a_provisional_response_slows_other_requests_down_and_keeps_them_going() -> None:
    machine = OtherClient(request("BYE"), False, 0.0, TIMERS)
    assert len(machine.receive(reply(100), 0.1)) == 1
    happened = run(machine, 100)
    assert sends(happened)[:3] == [0.5, 4.5, 8.5]
    assert happened[-1] == (32.0, Expired())


def test_a_final_response_to_another_request_is_delivered_once() -> None:
    machine = OtherClient(request("BYE"), False, 0.0, TIMERS)
    assert len(machine.receive(reply(200), 0.1)) == 1
    assert machine.receive(reply(200), 0.2) == []
    assert run(machine, 100) == []
    assert machine.terminated


def test_a_repeated_invite_gets_the_last_response_again() -> None:
    machine = InviteServer(False, 0.0, TIMERS)
    assert machine.receive(request(), 0.1) == []
    ringing = machine.respond(reply(180), 0.2)
    assert machine.receive(request(), 0.3) == ringing
    assert run(machine, 1000) == []


def test_a_refusal_of_ours_is_repeated_until_its_ack() -> None:
    machine = InviteServer(False, 0.0, TIMERS)
    refused = machine.respond(reply(486), 0.0)
    assert machine.respond(reply(487), 0.0) == []
    assert sends(run(machine, 8)) == [0.5, 1.5, 3.5, 7.5]
    assert machine.receive(request(), 8.0) == refused
    assert machine.receive(request("ACK"), 9.0) == []
    assert machine.state is State.CONFIRMED
    assert machine.receive(request(), 9.1) == []
    assert run(machine, 100) == []
    assert machine.terminated


def test_a_refusal_without_an_ack_is_given_up() -> None:
    machine = InviteServer(True, 0.0, TIMERS)
    machine.respond(reply(486), 0.0)
    assert run(machine, 100) == [(32.0, Expired())]


def test_over_a_stream_an_ack_ends_it_at_once() -> None:
    machine = InviteServer(True, 0.0, TIMERS)
    machine.respond(reply(486), 0.0)
    machine.receive(request("ACK"), 0.1)
    assert machine.terminated


def test_after_a_2xx_repeated_invites_are_absorbed() -> None:
    machine = InviteServer(False, 0.0, TIMERS)
    accepted = machine.respond(reply(200), 0.0)
    assert machine.receive(request(), 0.1) == []
    assert machine.receive(request("ACK"), 0.1) == []
    assert machine.respond(reply(200), 0.5)[0] != accepted  # its user repeats it
    assert run(machine, 100) == []
    assert machine.terminated


@pytest.mark.parametrize("reliable", [False, True])
def test_other_requests_are_answered_and_their_repeats_too(reliable: bool) -> None:
    machine = OtherServer(reliable, 0.0, TIMERS)
    assert machine.receive(request("BYE"), 0.1) == []
    trying = machine.respond(reply(100), 0.1)
    assert machine.receive(request("BYE"), 0.2) == trying
    answered = machine.respond(reply(200), 0.3)
    assert machine.respond(reply(500), 0.3) == []
    assert machine.receive(request("BYE"), 0.4) == ([] if reliable else answered)
    assert run(machine, 100) == []
    assert machine.terminated


def test_a_request_that_its_user_forgets_does_not_stay_for_ever() -> None:
    machine = OtherServer(False, 0.0, TIMERS)
    assert machine.fire(1.0) == []
    run(machine, 100)
    assert machine.terminated
