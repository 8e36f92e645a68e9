"""Rules that are never reached: an earlier one is certain to match all that they do.

Certain cases alone. A star of the later rule is taken as a character that only a star of the earlier one stands for,
regular expressions cover their equals, and what several earlier rules cover together is not looked for. Which earlier
rules come into question is asked of an index, so that ten thousand rules are compared with a few each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from gateway.dialplan.compiled import Plan
from gateway.dialplan.index import Facts, expanded
from gateway.dialplan.patterns import Globs
from gateway.dialplan.regex import Regex
from gateway.dialplan.rules import InboundMatch, Match, sip_caller

Groups = Mapping[str, Collection[str]]


def unreached(plan: Plan) -> Iterator[tuple[int, int]]:
    """The numbers of rules that are never reached, each with the first before it that matches all that it does."""
    ours = tuple(f"*@{domain}" for domain in plan.users)
    for later, rule in enumerate(plan.routes):
        match = rule.match
        callers = tuple(expanded(match.from_, plan.groups)) or ours
        for earlier in plan.index.find(_probe(match, callers, ends=plan.index.has_ends)):
            if earlier >= later:
                break
            if plan.routes[earlier].decides and _covers(plan.routes[earlier].match, match, plan.groups, ours):
                yield later, earlier
                break


def unreached_inbound(plan: Plan) -> Iterator[tuple[int, int]]:
    """The same for calls from SIP."""
    for later, rule in enumerate(plan.inbound):
        match = _plain(rule.match)
        for earlier in plan.inbound_index.find(_probe(match, ())):
            if earlier >= later:
                break
            first = plan.inbound[earlier].match
            sources = (first.any_source or not rule.match.any_source) and _among(first.trunk, rule.match.trunk)
            if sources and _covers(_plain(first), match, {}, ()):
                yield later, earlier
                break


def _plain(match: InboundMatch) -> Match:
    """What it asks of numbers, users, callers (in the place of names, which calls from SIP have none of) and hours."""
    callers = tuple(map(sip_caller, match.caller))
    return Match(number=match.number, user=match.user, name=callers, hours=match.hours)


def _text(regex: Regex, *, ends: bool) -> str:
    """What begins and ends as texts do that the expression matches; ends are worth their work where they are asked."""
    return regex.heads()[0] + (regex.tails()[0][::-1] if ends else "")


def _probe(match: Match, callers: Sequence[str], *, ends: bool = False) -> Facts:
    """One thing that the rule matches of each condition, its stars and all: whoever covers it is found by that."""

    def first(patterns: Sequence[str]) -> str | None:
        return patterns[0] if patterns else None

    return Facts(
        kind=first(match.kind),
        number=first(match.number),
        text=_text(match.regex[0], ends=ends) if match.regex else None,
        user=first(match.user),
        host=first(match.host),
        name=first(match.name),
        caller=first(callers),
        types=match.type[:1],
        countries=match.country[:1],
    )


def _covers(first: Match, second: Match, groups: Groups, ours: Sequence[str]) -> bool:
    """Whether everything that `second` matches is certain to be matched by `first`."""
    if first.hours and not (second.hours and first.hours.cover(second.hours)):
        return False
    return (
        _among(first.kind, second.kind)
        and _among(first.country, second.country)
        and _among(first.type, second.type)
        and _among(first.regex, second.regex)
        and all(
            not ours_ or (bool(theirs) and globs.cover(theirs))
            for ours_, globs, theirs in (
                (first.number, first.numbers, second.number),
                (first.host, first.hosts, second.host),
                (first.user, first.users, second.user),
                (first.name, first.names, second.name),
            )
        )
        and _callers_cover(first, second, groups, ours)
    )


def _among(ours: Collection[object], theirs: Collection[object]) -> bool:
    return not ours or (bool(theirs) and all(each in ours for each in theirs))


def _callers_cover(first: Match, second: Match, groups: Groups, ours: Sequence[str]) -> bool:
    if first.from_ == second.from_:
        return True
    wide = Globs(tuple(expanded(first.from_, groups)) if first.from_ else ours)
    narrow = tuple(expanded(second.from_, groups)) if second.from_ else tuple(ours)
    return bool(narrow) and wide.cover(narrow)
