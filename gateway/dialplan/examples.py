"""Example rows: what [[example]] says of a plan, proved; and an outcome as a row that people and programs read."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.dialplan import plan
from gateway.errors import Fault


def prove(built: plan.Plan) -> tuple[Fault, ...]:
    """A fault for every example whose outcome is not the expected one."""
    faults = []
    for example in built.examples:
        outcome = _outcome(built, example)
        for key, expected in example.expect.items():
            found = outcome.get(key)
            if found != expected:
                message = f"the example's {key} is {_plain(found)}, expected {_plain(expected)}"
                steps = outcome["steps"]
                why = f" ({steps[-1]})" if key == "outcome" and isinstance(steps, tuple) else ""
                faults.append(Fault(example.file, example.line, message + why))
    return tuple(faults)


def _outcome(built: plan.Plan, example: plan.Example) -> Mapping[str, object]:
    if example.inbound is not None:
        call = plan.Inbound(example.inbound, example.trunk, example.region, _local(example.calling), example.at)
        return as_row(plan.inbound(built, call))
    request = plan.Request(example.caller or "", example.to or "", example.region, example.at)
    found = plan.route(built, request)
    row = as_row(found)
    if isinstance(found, plan.Route):
        row["caller"] = tuple("anonymous" if who.anonymous else who.from_user or "" for who in found.identities)
    return row


def _local(calling: str | None) -> str | None:
    """The local part under which who is written as rules write him appears."""
    return (
        None
        if calling is None
        else "anonymous%anonymous.invalid"
        if calling == "anonymous"
        else calling.replace("@", "%")
    )


def _plain(value: object) -> str:
    return "nothing" if value is None else str(list(value) if isinstance(value, tuple) else value)


def as_row(outcome: plan.Route | plan.InboundRoute | plan.Refusal) -> dict[str, object]:
    """An outcome as `gateway route --json` prints it and as [[example]] expects it."""
    match outcome:
        case plan.Route():
            row: dict[str, object] = {
                "outcome": "route", "kind": outcome.kind.value, "number": outcome.number, "target": outcome.target,
                "via": outcome.via, "rule": outcome.rule, "reason": None,
            }  # fmt: skip
        case plan.InboundRoute():
            row = {
                "outcome": "route", "number": outcome.number, "to": outcome.to, "ring": outcome.ring,
                "rule": outcome.rule, "reason": None,
            }  # fmt: skip
        case plan.Refusal():
            row = {
                "outcome": "refuse", "kind": outcome.kind.value if outcome.kind else None, "number": outcome.number,
                "target": None, "via": (), "rule": outcome.rule, "reason": outcome.reason,
            }  # fmt: skip
    return row | {"steps": outcome.steps}
