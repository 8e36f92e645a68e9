"""Who a call is said to come from, and what limits it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

from gateway.dialplan.compiled import Plan
from gateway.dialplan.outcomes import Identity, Limit
from gateway.dialplan.rules import CallerSettings, Format, InboundRule, Policy, Rule, Trunk, is_e164
from gateway.dialplan.spelling import spelled

_PLAIN = Policy("")


def policy_of(plan: Plan, of_rule: str | None, trunk: Trunk) -> Policy:
    return plan.policies.get(of_rule or trunk.policy or "", _PLAIN)


def identity(plan: Plan, of_rule: str | None, via: str, settings: CallerSettings, *, withheld: bool) -> Identity:
    """Who a via is told that calls. Numbers and P-Asserted-Identity are for trunks (RFC 3325 §5)."""
    trunk = plan.trunks.get(via)
    if trunk is None:
        return Identity(display="" if withheld else settings.display or "", anonymous=withheld)
    policy = policy_of(plan, of_rule, trunk)
    number = settings.caller_id or trunk.from_
    # A trunk has to know who calls when From does not say it (RFC 3325 §9.1).
    asserted = policy.asserted or (policy.from_ if withheld else None)
    return Identity(
        None if withheld else _spelled(plan, number, policy.from_, policy),
        "" if withheld else settings.display or "",
        _spelled(plan, number, asserted, policy) if asserted else None,
        withheld,
    )


def _spelled(plan: Plan, number: str | None, how: Format, policy: Policy) -> str | None:
    """A number in a policy's spelling, in E.164 where it has none; what is no number, as the name of an account in a
    trunk's `from`, as it is.
    """
    if not is_e164(number):
        return number
    return spelled(number, how, policy.region or plan.region) or number


def limits(
    plan: Plan, caller: str | None, ways: Collection[str], by: Rule | InboundRule | None = None
) -> tuple[Limit, ...]:
    """Whatever limits a call: its user's, the first [[limit]] that is for him and what [users] says, his groups', its
    trunks' and its rule's.
    """
    found: list[Limit] = []
    if by is not None and by.longest is not None:
        found.append(Limit(f"rule {by.name}", longest=by.longest))
    if caller is not None and plan.callers and (own := plan.settings(caller).longest) is not None:
        found.append(Limit(f"user {caller}", longest=own))
    seen_user = False
    for rule, whom in zip(plan.limits, plan.limited, strict=True):
        if caller is None or (rule.user and seen_user) or not whom.match(caller):
            continue
        seen_user = seen_user or bool(rule.user)
        key = f"group {rule.group}" if rule.group else f"user {caller}"
        found.append(Limit(key, rule.concurrent, rule.per_minute, rule.longest))
    for via in dict.fromkeys(ways):
        trunk = plan.trunks.get(via)
        rules = [rule for rule in plan.limits if rule.trunk == via]
        if trunk and (rules or trunk.max_calls is not None):
            found.append(
                Limit(
                    f"trunk {via}",
                    _least([trunk.max_calls, *(rule.concurrent for rule in rules)]),
                    _least([rule.per_minute for rule in rules]),
                    _least([rule.longest for rule in rules]),
                )
            )
    return tuple(found)


_Number = TypeVar("_Number", int, float)


def _least(several: Sequence[_Number | None]) -> _Number | None:
    return min((limit for limit in several if limit is not None), default=None)
