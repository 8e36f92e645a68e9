"""Where a call for help goes: before every rule, and above limits, budgets and wishes for privacy."""

from __future__ import annotations

import dataclasses

from gateway.dialplan.callers import identity
from gateway.dialplan.compiled import Plan
from gateway.dialplan.location import pidf_lo
from gateway.dialplan.numbers import Kind, Reading, Region
from gateway.dialplan.outcomes import Refusal, Route
from gateway.dialplan.rules import CallerSettings


def for_help(
    plan: Plan, caller: str, settings: CallerSettings, reading: Reading, region: Region, steps: list[str]
) -> Route | Refusal:
    """A bare JID's call to an emergency number: nothing but [emergency] and the caller's domain has a say.

    Nobody is placed in a country where he is said not to be: a wrong address is worse than none.
    """
    policy = plan.emergency

    def refuse(reason: str) -> Refusal:
        steps.append(f"refused: {reason}")
        return Refusal(Kind.EMERGENCY, None, "emergency" if policy else None, reason, tuple(steps))

    if not plan.ours(caller):
        return refuse("emergency calls are for users of this gateway")
    if policy is None or policy.action == "refuse":
        return refuse("emergency calls cannot be made here: use a telephone")
    if reading.foreign and policy.foreign == "refuse":
        return refuse(f"{reading.dial} is an emergency number of another country: use a telephone")
    steps.append(f"[emergency]: via {', '.join(policy.via)}, before every rule")
    targets = tuple(str(plan.trunks[via].asked(reading.dial)) for via in policy.via)
    steps.append(f"calls {targets[0]}")
    # Whoever takes the call rings back the user himself where he has a number.
    reachable = dataclasses.replace(settings, caller_id=settings.caller_id or policy.callback)
    identities = tuple(identity(plan, None, via, reachable, withheld=False) for via in policy.via)
    callback = reachable.caller_id or next(filter(None, (plan.trunks[via].own_number for via in policy.via)), None)
    steps.append(f"is called back at {callback}" if callback else "cannot be called back: no number of his is known")
    location, country = policy.location, dict(policy.location).get("country")
    if location and region.said and region.code != country:
        steps.append(f"without the address in {country}, since he is in {region.code}")
        location = ()
    elif location:
        steps.append("with the address of [emergency.location]")
    return Route(
        Kind.EMERGENCY, None, targets[0], policy.via, targets, "emergency", tuple(steps), identities, emergency=True,
        geolocation=pidf_lo(location, caller) if location else None, callback=callback,
    )  # fmt: skip
