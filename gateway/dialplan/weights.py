"""The order of several vias by their weights: one number that was drawn by whoever asks decides all of it.

As SRV records of one priority (RFC 2782): the first is drawn among all, the next among those that are left, and those
of weight 0 come last, in their own order.
"""

from __future__ import annotations

from collections.abc import Sequence


def drawn(vias: Sequence[str], weights: Sequence[int], draw: float) -> tuple[str, ...]:
    """All vias in the order of this draw, a number in [0, 1)."""
    left = [(via, weight) for via, weight in zip(vias, weights, strict=True) if weight]
    order: list[str] = []
    while left:
        total = sum(weight for _, weight in left)
        point, number = draw * total, 0
        while number < len(left) - 1 and point >= left[number][1]:
            point -= left[number][1]
            number += 1
        via, weight = left.pop(number)
        order.append(via)
        # Where it fell within what it fell on is a number in [0, 1) again, and says nothing about what it fell on.
        draw = min(max(point / weight, 0.0), 1.0)
    return (*order, *(via for via, weight in zip(vias, weights, strict=True) if not weight))


def shares(vias: Sequence[str], weights: Sequence[int]) -> str:
    """How many of a hundred calls ask each first, as `70 % carrier, 30 % backup`."""
    total = sum(weights) or 1
    return ", ".join(f"{100 * weight / total:.3g} % {via}" for via, weight in zip(vias, weights, strict=True))
