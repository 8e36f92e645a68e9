"""Example rows: what [[example]] says of a plan, proved; and an outcome as a row that people and programs read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.dialplan import plan
from gateway.dialplan.booking import Booking
from gateway.dialplan.costs import in_words
from gateway.dialplan.naptr import Listed, Listing
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
        rung = plan.inbound(built, call)
        return as_row(rung) | {"record": getattr(rung, "record", None)}
    request = plan.Request(example.caller or "", example.to or "", example.region, example.at)
    found = plan.route(built, request)
    if found.ask and example.enum is not None:
        listing = Listing(tuple(map(Listed, example.enum)))
        found = plan.route(built, replace(request, enum={found.ask: listing}))
    row = as_row(found) | {"record": getattr(found, "record", None)}
    if isinstance(found, plan.Route):
        booked = found.booking
        row["tariff"] = in_words(booked.tariffs[0] if booked else None)
        row["budgets"] = tuple(dict.fromkeys(claim.budget for claim in booked.claims)) if booked else ()
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
    row["steps"] = outcome.steps
    if isinstance(outcome, plan.Route) and outcome.booking:
        row["booking"] = _booking(outcome.booking)
    if not isinstance(outcome, plan.Refusal) and outcome.record != "no":
        row["record"] = outcome.record
    if isinstance(outcome, plan.Route | plan.Refusal) and outcome.ask:
        row["ask"] = outcome.ask  # ENUM was not asked for it
    return row


def _booking(booked: Booking) -> dict[str, object]:
    """What is booked, for programs: money in millionths of the currency's unit, as booking.py has it."""
    return {
        "account": booked.account,
        "budgets": [
            {
                "budget": claim.budget, "key": claim.key, "unit": claim.unit, "period": claim.period,
                "most": claim.most, "currency": claim.currency or None, "freeze": claim.freeze,
            }
            for claim in booked.claims
        ],
        "bursts": [
            {"burst": burst.name, "key": burst.key, "calls": burst.calls, "within": burst.within}
            for burst in booked.bursts
        ],
        "tariffs": [
            tariff
            and {
                "prices": tariff.table, "prefix": tariff.prefix or None, "currency": tariff.currency,
                "connect": tariff.connect, "per_minute": tariff.per_minute, "first": tariff.first, "step": tariff.step,
            }
            for tariff in booked.tariffs
        ],
    }  # fmt: skip
