"""Vias that are drawn by weight."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialplan.weights import drawn, shares

VIAS = ("carrier", "backup", "other")
DRAWS = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("weights", "draw", "order"),
    [
        ((70, 20, 10), 0.0, ("carrier", "backup", "other")),
        ((70, 20, 10), 0.69, ("carrier", "other", "backup")),
        ((70, 20, 10), 0.7, ("backup", "carrier", "other")),
        ((70, 20, 10), 0.899, ("backup", "other", "carrier")),
        ((70, 20, 10), 0.999, ("other", "backup", "carrier")),
        ((0, 1, 0), 0.999, ("backup", "carrier", "other")),
        ((0, 1, 3), 0.2, ("backup", "other", "carrier")),
    ],
)
def test_one_number_says_the_whole_order(weights: tuple[int, ...], draw: float, order: tuple[str, ...]) -> None:
    assert drawn(VIAS, weights, draw) == order


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=9), DRAWS)
def test_every_via_is_asked_once_and_those_without_weight_last(weights: list[int], draw: float) -> None:
    vias = tuple(map(str, range(len(weights))))
    order = drawn(vias, weights, draw)
    assert sorted(order) == sorted(vias)
    idle = [via for via, weight in zip(vias, weights, strict=True) if not weight]
    assert list(order[len(order) - len(idle) :]) == idle


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=3, max_size=3).filter(any), st.integers())
def test_calls_are_spread_as_the_weights_say(weights: list[int], seed: int) -> None:
    chance = random.Random(seed)
    calls = 2000
    firsts = Counter(drawn(VIAS, weights, chance.random())[0] for _ in range(calls))
    for via, weight in zip(VIAS, weights, strict=True):
        share = weight / sum(weights)
        # Six standard deviations of a binomial distribution.
        assert abs(firsts[via] - calls * share) <= 6 * (calls * share * (1 - share)) ** 0.5


def test_who_is_second_is_drawn_among_those_that_are_left() -> None:
    chance = random.Random(7)
    orders = Counter(drawn(VIAS, (50, 30, 20), chance.random()) for _ in range(20_000))
    backup_first = sum(count for order, count in orders.items() if order[0] == "backup")
    assert orders["backup", "carrier", "other"] / backup_first == pytest.approx(50 / 70, abs=0.03)


def test_shares_are_told_in_percent() -> None:
    assert shares(VIAS, (2, 1, 0)) == "66.7 % carrier, 33.3 % backup, 0 % other"
