"""What a call is booked under: every budget and burst that is for its caller and for what he calls.

    caller, number, vias ──> the budgets and bursts that count it ──> Booking | None

1. What no trunk is asked for is free, and nothing counts it. Emergency calls never come here.
   What is known to be free, and is under no budget, is not booked either.
2. Every budget that is for a call counts. What [users] says of its caller stands in place of what budgets of each user
   for all calls say of the same, and without such a budget it is one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.dialplan.booking import Booking, Burst, Claim, Period, Tariff, Unit
from gateway.dialplan.compiled import Plan
from gateway.dialplan.index import Facts
from gateway.dialplan.money import Money
from gateway.dialplan.rules import Allowance, BudgetRule, BurstRule, Match

OWN = "own budget"  # what [users] says, where no [[budget]] has it


def booking(plan: Plan, facts: Facts, vias: Sequence[str], tariffs: Sequence[Tariff | None]) -> Booking | None:
    """What is booked for a call from XMPP before any of these vias is asked; None for nothing."""
    asked = [tariff for via, tariff in zip(vias, tariffs, strict=True) if via in plan.trunks]
    if not asked:
        return None
    caller = facts.caller or ""
    booked = Booking(caller, tuple(_claims(plan, facts, caller)), tuple(_bursts(plan, facts, caller)), tuple(tariffs))
    free = all(tariff and tariff.free for tariff in asked)
    return None if free and booked.empty else booked


def _claims(plan: Plan, facts: Facts, caller: str) -> Iterator[Claim]:
    own = {(each.unit, each.period): each for each in plan.allowances(caller)}
    used = set()
    for rule in plan.budgets:
        if not _counts(plan, rule, facts, caller):
            continue
        for allowance in rule.allowances:
            kind = (allowance.unit, allowance.period)
            if rule.group is None and rule.match == _EVERYTHING and kind in own:
                used.add(kind)
                yield _claim(rule.name, _key(rule, caller), own[kind], freeze=rule.freeze)
            else:
                yield _claim(rule.name, _key(rule, caller), allowance, freeze=rule.freeze)
    for kind, allowance in own.items():
        if kind not in used:
            yield _claim(OWN, f"{OWN} user {caller}", allowance)


def _bursts(plan: Plan, facts: Facts, caller: str) -> Iterator[Burst]:
    for rule in plan.bursts:
        if _counts(plan, rule, facts, caller):
            yield Burst(_key(rule, caller), rule.name, rule.calls, rule.within)


def _key(rule: BudgetRule | BurstRule, caller: str) -> str:
    return f"{rule.name} group {rule.group}" if rule.group else f"{rule.name} user {caller}"


def _claim(name: str, key: str, of: Allowance, *, freeze: bool = False) -> Claim:
    # What was spent in one currency is nothing in another.
    key = f"{key} {of.currency}" if of.currency else key
    return Claim(key, name, of.unit, of.period, of.most, freeze, of.currency)


_EVERYTHING = Match()


def _counts(plan: Plan, rule: BudgetRule | BurstRule, facts: Facts, caller: str) -> bool:
    match = rule.match
    if match.kind and facts.kind not in match.kind:
        return False
    if match.number and not (facts.number is not None and match.numbers.match(facts.number)):
        return False
    if match.country and not any(country in match.country for country in facts.countries):
        return False
    if match.type and not any(type_ in match.type for type_ in facts.types):
        return False
    return plan.counted[rule.name].match(caller)


def in_words(booked: Booking) -> Iterator[str]:
    """What an explanation says of it."""
    for claim in booked.claims:
        frozen = "; who uses it up is frozen" if claim.freeze else ""
        yield f"books {claim.budget}: {amount(claim)} {each(claim.period)}{frozen}"
    for burst in booked.bursts:
        yield f"books {burst.name}: more than {burst.calls} calls within {burst.within} s freeze {booked.account}"
    if booked.empty:
        yield f"nothing is booked, unless {booked.account} is frozen: then it is refused"


def each(period: Period) -> str:
    return "an hour" if period is Period.HOUR else f"a {period}"


def amount(claim: Claim) -> str:
    """How much a budget has, for people."""
    match claim.unit:
        case Unit.CALLS:
            return f"{claim.most} call{'' if claim.most == 1 else 's'}"
        case Unit.SECONDS:
            return f"{claim.most // 60} minute{'' if claim.most == 60 else 's'}"
        case Unit.MONEY:
            return str(Money(claim.most, claim.currency))
