from __future__ import annotations

import random

import pytest

from gateway.media.reception import Reception


def take(reception: Reception, numbers: list[int], *, ssrc: int = 7, jitter: float = 0.0) -> None:
    source = random.Random(1)
    for number in numbers:
        now = number * 0.02 + source.uniform(0, jitter)
        reception.arrived(number & 0xFFFF, number * 160 & 0xFFFFFFFF, ssrc, now)


@pytest.mark.parametrize("begin", [0, 65_500, 2**32 // 160 - 20], ids=["plain", "sequence wraps", "timestamp wraps"])
def test_what_never_came_is_lost(begin: int) -> None:
    reception = Reception()
    take(reception, [begin + number for number in range(100) if number not in (3, 40, 41)])
    assert (reception.expected, reception.received, reception.lost) == (100, 97, 3)
    assert reception.jitter == 0
    assert reception.highest == (begin & 0xFFFF) + 99


def test_what_comes_late_is_not_lost_and_what_comes_twice_does_not_count_against_it() -> None:
    reception = Reception()
    take(reception, [0, 1, 3, 2, 4, 4])
    assert reception.lost == 0
    assert reception.highest == 4


def test_the_share_that_was_lost_is_of_the_time_since_the_last_report() -> None:
    reception = Reception()
    assert reception.fraction() == 0.0
    take(reception, [number for number in range(100) if number % 4])
    assert reception.fraction() == pytest.approx(0.25, abs=0.01)
    take(reception, list(range(100, 200)))
    assert reception.fraction() == 0.0
    assert reception.fraction() == 0.0


def test_jitter_is_what_arrivals_differ_by() -> None:
    reception = Reception()
    take(reception, list(range(500)), jitter=0.015)
    assert 2 < reception.jitter_ms < 10
    assert reception.jitter == round(reception.jitter_ms * 8)


def test_events_repeat_their_timestamp_and_say_nothing_about_jitter() -> None:
    reception = Reception()
    for number in range(50):
        reception.arrived(number, 160 * number if number % 2 else 0, 7, number * 0.02, voice=number % 2 == 1)
    assert reception.jitter == 0
    assert reception.lost == 0


def test_another_source_begins_anew_and_the_loss_before_it_stays() -> None:
    reception = Reception()
    take(reception, [0, 2, 3])
    take(reception, [9_000, 9_002], ssrc=8)
    take(reception, [20_000], ssrc=8)  # a jump that no network makes
    assert reception.lost == 2
    assert (reception.ssrc, reception.expected) == (8, 1)
    assert reception.fraction() == 0.0


def test_nothing_came_is_nothing_lost() -> None:
    reception = Reception()
    assert (reception.lost, reception.expected, reception.jitter_ms) == (0, 0, 0.0)
