from __future__ import annotations

import pytest

from gateway.media.reorder import Window


def orders(window: Window[int], numbers: list[int]) -> list[list[int]]:
    return [window.push(number & 0xFFFF, number) for number in numbers]


@pytest.mark.parametrize("first", [7, 65_534])
def test_in_order_nothing_waits(first: int) -> None:
    assert orders(Window(first), [first + n for n in range(4)]) == [[first + n] for n in range(4)]


@pytest.mark.parametrize("first", [7, 65_534])
def test_one_that_was_overtaken_is_put_back_in_its_place(first: int) -> None:
    got = orders(Window(first), [first + n for n in (1, 0, 2, 5, 4, 3, 6)])
    assert got == [[], [first, first + 1], [first + 2], [], [], [first + 3, first + 4, first + 5], [first + 6]]


def test_one_that_never_comes_holds_up_two_and_no_more() -> None:
    assert orders(Window(7), [7, 10, 11, 12, 13]) == [[7], [], [], [10, 11, 12], [13]]
    assert orders(Window(7), [8, 10, 12, 9]) == [[], [], [8], [9, 10]]


def test_one_that_comes_too_late_goes_on_to_be_counted() -> None:
    assert orders(Window(7), [7, 6, 5, 8]) == [[7], [6], [5], [8]]


def test_a_source_that_begins_anew_does_not_wait() -> None:
    assert orders(Window(7), [7, 9, 30_000, 30_001]) == [[7], [], [9, 30_000], [30_001]]


def test_what_waits_can_be_had_at_once() -> None:
    window = Window[int](65_535)
    orders(window, [65_537, 65_536])
    assert window.flush() == [65_536, 65_537]
    assert window.flush() == []
    assert window.push(2, 2) == [2]
