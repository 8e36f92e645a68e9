"""What each way costs, for the caller and for us: which vias are left out for want of a price, and which is cheapest.

    vias ──> prices of their trunks ──> those without a price are left out ──> cheapest first, where the rule wants it
                    └── the rule's own prices are what the caller is charged instead

Least cost is compared for a call of one minute, what it costs to be answered included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.dialplan.booking import Tariff
from gateway.dialplan.compiled import Plan
from gateway.dialplan.money import Money, decimal
from gateway.dialplan.rules import Rule

COMPARED = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Ways:
    """The vias that are left, in the order in which they are asked, and what the caller is charged by each."""

    vias: tuple[str, ...]
    tariffs: tuple[Tariff | None, ...] = ()


def ways(plan: Plan, rule: Rule, vias: Sequence[str], number: str | None, steps: list[str]) -> Ways | str:
    """Says so in `steps`. The text of a refusal where no via is left."""
    retail = plan.prices.get(rule.prices or "")
    charged = retail.tariff(number) if retail else None
    kept: list[tuple[str, Tariff | None, Tariff | None]] = []  # what the trunk wants, and what the caller pays
    reason = ""
    for via in vias:
        trunk = plan.trunks.get(via)
        table = plan.prices.get(trunk.prices or "") if trunk else None
        wanted = table.tariff(number) if table else None
        nobody = table if table and wanted is None else retail if trunk and retail and charged is None else None
        if nobody:
            reason = f"{nobody.name} has no price for {number or 'what is no number'}"
            steps.append(f"without {via}: {reason}")
            continue
        kept.append((via, wanted, charged if trunk and retail else wanted))
    if not kept:
        return reason
    if rule.cheapest:
        kept.sort(key=lambda way: _of_a_minute(way[1]))
        compared = ", ".join(f"{via} {_amount(wanted)}" for via, wanted, _ in kept)
        steps.append(f"the cheapest first, for a minute: {compared}")
    for via, _, paid in kept:
        if paid:
            steps.append(f"by {via} it costs {in_words(paid)} ({paid.table}{paid.prefix and f', {paid.prefix}'})")
    return Ways(tuple(via for via, _, _ in kept), tuple(paid for _, _, paid in kept))


def in_words(tariff: Tariff | None) -> str:
    """`0.05 EUR and 0.012 EUR a minute, 60/60`, or `nothing`."""
    if tariff is None or tariff.free:
        return "nothing"
    connect = f"{Money(tariff.connect, tariff.currency)}" if tariff.connect else ""
    minute = f"{Money(tariff.per_minute, tariff.currency)} a minute" if tariff.per_minute else ""
    charged = f", {tariff.first}/{tariff.step}" if minute and (tariff.first, tariff.step) != (1, 1) else ""
    return " and ".join(filter(None, (connect, minute))) + charged


def _of_a_minute(tariff: Tariff | None) -> int:
    return tariff.cost(COMPARED) if tariff else 0


def _amount(tariff: Tariff | None) -> str:
    return f"{decimal(_of_a_minute(tariff))} {tariff.currency}" if tariff else "nothing"
