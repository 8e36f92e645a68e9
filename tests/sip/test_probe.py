"""gateway.sip.probe: up, doubtful, down."""

from __future__ import annotations

import pytest

from gateway.sip.probe import DOWN, OFTEN, Probe, State


def failed(probe: Probe, now: float) -> bool:
    return probe.answered(408, "408 Request Timeout", now, local=True)


@pytest.mark.parametrize("status", [200, 404, 405, 408, 483, 500])
def test_any_answer_is_a_sign_of_life(status: int) -> None:
    probe = Probe(0.0, 60.0)
    assert probe.deadline == 0.0
    probe.asked()
    assert probe.deadline is None
    assert probe.answered(status, "whatever", 1.0)
    assert (probe.state, probe.deadline, probe.since) == (State.UP, 61.0, 1.0)
    assert not probe.answered(status, "whatever", 61.0)
    assert probe.since == 1.0


def test_one_lost_answer_is_not_the_end_and_a_second_is() -> None:
    probe = Probe(0.0, 60.0)
    probe.answered(200, "200 OK", 0.0)
    assert not failed(probe, 60.0)
    assert (probe.state, probe.deadline) == (State.UP, 60.0 + OFTEN)
    assert failed(probe, 80.0)
    assert (probe.state, probe.problem, probe.deadline) == (State.DOWN, "408 Request Timeout", 80.0 + DOWN)
    assert not failed(probe, 120.0)
    assert probe.answered(200, "200 OK", 150.0)
    assert (probe.state, probe.problem, probe.deadline) == (State.UP, "", 210.0)


def test_a_server_that_says_503_is_going_away() -> None:
    probe = Probe(0.0)
    assert not probe.answered(503, "503 Service Unavailable", 0.0)
    assert probe.state is State.UNKNOWN  # nothing is said of one that was never heard of after a single failure
    assert probe.answered(503, "503 Service Unavailable", 10.0)
    assert probe.state is State.DOWN


def test_failures_have_to_follow_each_other() -> None:
    probe = Probe(0.0)
    for now in (0.0, 100.0, 200.0):
        failed(probe, now)
        probe.answered(200, "200 OK", now + 1)
    assert probe.state is State.UP


def test_nothing_is_asked_less_often_than_the_operator_wants() -> None:
    probe = Probe(0.0, 5.0)
    failed(probe, 0.0)
    assert probe.deadline == 5.0
    failed(probe, 5.0)
    assert probe.deadline == 10.0
