"""gateway.sip.targets: the next one when one fails."""

from __future__ import annotations

import pytest

from gateway.sip.targets import LONGEST, MAX_PENALTIES, PENALTY, Course, Penalties, Target, seconds_of, widened

ONE, TWO, THREE = (Target("UDP", f"192.0.2.{number}", 5060) for number in (1, 2, 3))


def test_targets_are_tried_one_after_the_other_each_once() -> None:
    course = Course([ONE, TWO, ONE], Penalties(), 0.0)
    assert (course.advance(), course.more) == (ONE, True)
    assert (course.advance(), course.more) == (TWO, False)
    assert (course.advance(), course.current) == (None, None)


def test_one_that_failed_is_tried_last_for_a_while() -> None:
    penalties = Penalties()
    course = Course([ONE, TWO], penalties, 0.0)
    course.advance()
    course.fail(100.0)
    assert penalties.rank([ONE, TWO], 100.0 + PENALTY - 1) == [TWO, ONE]
    assert penalties.rank([ONE, TWO], 100.0 + PENALTY) == [ONE, TWO]


def test_when_all_failed_the_oldest_failure_is_tried_first() -> None:
    penalties = Penalties()
    for at, target in ((1.0, THREE), (2.0, ONE), (3.0, TWO)):
        penalties.add(target, at)
    assert penalties.rank([ONE, TWO, THREE], 4.0) == [THREE, ONE, TWO]


def test_an_answer_ends_a_penalty() -> None:
    penalties = Penalties()
    penalties.add(ONE, 0.0)
    course = Course([ONE], penalties, 1.0)
    course.advance()
    course.answer()
    assert len(penalties) == 0


@pytest.mark.parametrize(("asked", "served"), [(5.0, 5.0), (100_000.0, LONGEST), (0.0, 1.0), (None, PENALTY)])
def test_a_server_may_say_itself_when_to_come_back(asked: float | None, served: float) -> None:
    penalties = Penalties()
    penalties.add(ONE, 0.0, asked)
    assert penalties.rank([ONE, TWO], served - 0.1) == [TWO, ONE]
    assert penalties.rank([ONE, TWO], served) == [ONE, TWO]


def test_penalties_are_counted() -> None:
    penalties = Penalties()
    for number in range(MAX_PENALTIES + 10):
        penalties.add(Target("UDP", "192.0.2.1", number), float(number) / 1000)
    assert len(penalties) == MAX_PENALTIES
    penalties.add(ONE, 1000.0)
    assert len(penalties) == 1


def test_a_course_without_a_target_fails_nobody() -> None:
    penalties = Penalties()
    course = Course([], penalties, 0.0)
    course.fail(0.0)
    course.answer()
    assert len(penalties) == 0


def test_a_large_request_tries_tcp_first_at_each_server() -> None:
    by_tcp = Target("TCP", ONE.host, ONE.port)
    tls = Target("TLS", TWO.host, 5061)
    assert widened([ONE, tls], large=True) == [by_tcp, ONE, tls]
    assert widened([ONE, tls], large=False) == [ONE, tls]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("18000;duration=3600", 18_000.0), ("120 (I'm in a meeting)", 120.0), ("", None), (None, None), ("soon", None)],
)
def test_retry_after_is_read(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


def test_who_has_the_dialog_is_asked_first_whatever_it_failed_at() -> None:
    penalties = Penalties()
    owner, other = Target("UDP", "192.0.2.9", 5060), Target("UDP", "192.0.2.8", 5060)
    penalties.add(owner, 0.0)
    assert Course([owner, other], penalties, 1.0).advance() == other
    course = Course([other, owner], penalties, 1.0, owner)
    assert [course.advance(), course.advance(), course.advance()] == [owner, other, None]
    large = Course(widened([other, owner], large=True), penalties, 1.0, owner)
    assert large.advance() == Target("TCP", "192.0.2.9", 5060)
