"""Whether a rule is for a call, and if not, why not."""

from __future__ import annotations

from datetime import datetime

from gateway.dialplan.compiled import Plan
from gateway.dialplan.index import Facts
from gateway.dialplan.rules import Match, Rule


def differing(plan: Plan, rule: Rule, facts: Facts, at: datetime | None) -> str | None:
    """The condition that keeps a rule from matching; None when it matches."""
    match = rule.match
    if match.kind and facts.kind not in match.kind:
        return "kind"
    if match.name and not (facts.name is not None and match.names.match(facts.name)):
        return "name"
    if match.host and not (facts.host is not None and match.hosts.match(facts.host)):
        return "host"
    if match.user and not (facts.user is not None and match.users.match(facts.user)):
        return "user"
    if match.number and not (facts.number is not None and match.numbers.match(facts.number)):
        return "number"
    if match.regex and not any(regex.match(facts.text or "") for regex in match.regex):
        return "regex"
    if match.country and not any(country in match.country for country in facts.countries):
        return "country"
    if match.type and not any(type_ in match.type for type_ in facts.types):
        return "type"
    # Without a clock what is closed at night stays closed: refusals hold, ways do not.
    if match.hours and not (match.hours.contain(at) if at else rule.refuse is not None):
        return "hours"
    return None if plan.may(match, facts.caller or "") else "from"


def why_not(differs: str, match: Match, caller: str) -> str:
    """The same for people."""
    match differs:
        case "kind":
            return f"it is for kind {' or '.join(match.kind)}"
        case "country":
            return f"the country is not {' or '.join(match.country)}"
        case "type":
            return f"the type is not {' or '.join(match.type)}"
        case "hours":
            return f"it is for {match.hours.text if match.hours else ''}"
        case "from":
            return f"{caller} is not among its callers"
        case "user":
            return "the user part differs"
        case "regex":
            return "the regular expression does not match"
    return f"the {differs} differs"
