"""What rules ask of a call: `match` tables checked, contradictions and conditions that nothing can meet told.

Warnings are for what works and is seldom meant.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo

from gateway import addresses, contacts
from gateway.dialplan import emergencies, numbers
from gateway.dialplan.hours import Hours, HoursError, zone_of
from gateway.dialplan.numbers import Kind
from gateway.dialplan.patterns import head_of
from gateway.dialplan.regex import Regex, RegexError
from gateway.dialplan.rules import Match
from gateway.dialplan.schema import InboundMatchSection, MatchSection
from gateway.dialplan.tables import Table, Tables, is_caller, near
from gateway.dialplan.toml import Place
from gateway.errors import AddressError


@dataclass(frozen=True, slots=True)
class Conditions:
    """`users` are the domains of our users; `zone` is whose hours are meant where a rule does not say."""

    tables: Tables
    users: tuple[str, ...]
    zone: tzinfo | None = None

    def match(self, table: Table, section: MatchSection) -> Match:
        kinds: list[Kind] = []
        for number, kind in enumerate(section.kind):
            if kind == Kind.EMERGENCY:
                self.tables.fault(table, ("match", "kind", number), "emergency calls follow [emergency], never a rule")
            elif kind not in set(Kind):
                self.tables.fault(table, ("match", "kind", number), f"{kind!r} is no kind{near(kind, list(Kind))}")
            else:
                kinds.append(Kind(kind))
        self._impossible(table, section, kinds)
        for number, country in enumerate(section.country):
            code = country[1:] if country.startswith("+") else ""
            if country not in numbers.REGIONS and not (code.isdigit() and int(code) in numbers.CALLING_CODES):
                close = near(country.upper(), numbers.REGIONS)
                self.tables.fault(
                    table, ("match", "country", number), f"{country!r} is no region or calling code{close}"
                )
        for number, name in enumerate(section.type):
            if name not in numbers.TYPES:
                close = near(name, numbers.TYPES)
                self.tables.fault(table, ("match", "type", number), f"{name!r} is no type of numbers{close}")
        for number, pattern in enumerate(section.number):
            if pattern.strip("+0123456789*#"):
                self.tables.fault(table, ("match", "number", number), f"{pattern!r} is no number, nor one with a *")
            elif not pattern.startswith(("+", "*")) and (
                kinds == [Kind.NUMBER] or len(pattern.rstrip("*")) > numbers.LONGEST_SHORT
            ):
                message = f"never matches: numbers are compared as +E.164, and {pattern!r} is none"
                self.tables.fault(table, ("match", "number", number), message)
            elif kinds == [Kind.SHORT] and pattern.startswith("+"):
                self.tables.fault(table, ("match", "number", number), f"never matches: {pattern!r} is no short code")
            elif not kinds and pattern[:1].isdigit() and pattern.endswith("*"):
                message = f"{pattern!r} is for short codes alone: numbers are compared as +E.164"
                self.tables.fault(table, ("match", "number", number), message, warning=True)
        self._contradiction(table, section)
        return Match(
            tuple(kinds), section.country, section.type, section.number,
            tuple(self._hosts(table, section.host)), tuple(map(contacts.folded, section.user)),
            tuple(map(contacts.folded, section.name)),
            tuple(self.callers(table, section.from_, ("match", "from"), paying=True)),
            tuple(self._regexes(table, section.regex)), self.hours(table, section),
        )  # fmt: skip

    def _regexes(self, table: Table, patterns: Sequence[str]) -> Iterator[Regex]:
        for number, pattern in enumerate(patterns):
            try:
                yield Regex(pattern)
            except RegexError as error:
                self.tables.fault(table, ("match", "regex", number), f"regex '{pattern}': {error}")

    def hours(self, table: Table, section: MatchSection | InboundMatchSection) -> Hours | None:
        """When a rule holds; None is always."""
        if not section.hours:
            if section.zone is not None:
                self.tables.fault(table, ("match", "zone"), "a zone is for hours, and there are none")
            return None
        zone = zone_named(self.tables, table, ("match", "zone"), section.zone)
        if section.zone is None and self.zone is None:
            self.tables.fault(table, ("match", "hours"), "hours need a zone, here or in [numbers]")
        zone = zone or self.zone or UTC
        for number, text in enumerate(section.hours):
            try:
                Hours.parse([text], zone)
            except HoursError as error:
                self.tables.fault(table, ("match", "hours", number), f"hours: {error}")
                return None
        return Hours.parse(section.hours, zone)

    def _contradiction(self, table: Table, section: MatchSection) -> None:
        """Numbers that are of none of the rule's countries."""
        if not section.country or not (section.number or section.type):
            return
        countries = {code for country in section.country for code in _codes(country)}
        codes = [_calling_code(head_of(pattern)) for pattern in section.number]
        if codes and all(code and code not in countries for code in codes):
            where = "/".join(section.country)
            self.tables.fault(table, ("match", "number"), f"never matches: none of these numbers is of {where}")
        if section.type == ("satellite",) and not any(country.startswith("+") for country in section.country):
            self.tables.fault(table, ("match", "type"), "never matches: satellite networks are of no country")

    def _impossible(self, table: Table, section: MatchSection, kinds: Collection[Kind]) -> None:
        """Conditions that no call of the rule's kinds can meet."""
        if not kinds:
            return
        dialled, named = {Kind.NUMBER, Kind.SHORT}, {Kind.NAME}
        for key, values, needs in (
            ("country", section.country, {Kind.NUMBER}),
            ("type", section.type, dialled),
            ("number", section.number, dialled),
            ("host", section.host, dialled | {Kind.URI}),
            ("user", section.user, dialled | {Kind.URI}),
            ("name", section.name, named),
        ):
            if values and not needs & set(kinds):
                self.tables.fault(
                    table, ("match", key), f"never matches: a call of kind {'/'.join(kinds)} has no {key}"
                )
        if section.type and set(kinds) & dialled == {Kind.SHORT} and not numbers.SHORT_TYPES & set(section.type):
            types = " or ".join(sorted(numbers.SHORT_TYPES))
            self.tables.fault(
                table, ("match", "type"), f"never matches: short codes are {types}, where anything is known"
            )

    def _hosts(self, table: Table, patterns: Sequence[str]) -> Iterator[str]:
        for number, pattern in enumerate(patterns):
            star = "*." if pattern.startswith("*.") else ""
            try:
                yield "*" if pattern == "*" else star + addresses.host_of(pattern[len(star) :])
            except AddressError as error:
                self.tables.fault(table, ("match", "host", number), f"host: {error}")

    def callers(self, table: Table, patterns: Sequence[str], keys: Place, *, paying: bool) -> Iterator[str]:
        """Patterns of callers, prepared; `paying` warns of those who are not our users."""
        for number, pattern in enumerate(patterns):
            place: Place = (*keys, number)
            if pattern.startswith("@"):
                if pattern[1:] not in self.tables.groups:
                    self.tables.fault(
                        table, place, f"there is no group {pattern[1:]!r}{near(pattern[1:], self.tables.groups)}"
                    )
                    continue
                patterns_meant: tuple[str, ...] = self.tables.groups[pattern[1:]]
            elif not is_caller(pattern):
                self.tables.fault(table, place, f"{pattern!r} is no JID, no JID with a *, and no @group")
                continue
            else:
                patterns_meant = (contacts.folded(pattern),)
            yield pattern if pattern.startswith("@") else patterns_meant[0]
            for meant in patterns_meant:
                if paying and self.users and meant.rpartition("@")[2] not in self.users:
                    message = f"{meant} lets others than users of [xmpp] users call out, at your expense"
                    self.tables.fault(table, place, message, warning=True)


def zone_named(tables: Tables, table: Table, keys: Place, name: str | None) -> tzinfo | None:
    try:
        return zone_of(name) if name is not None else None
    except HoursError as error:
        tables.fault(table, keys, str(error))
        return None


@functools.cache
def _codes(country: str) -> Collection[str]:
    """The calling code of a region, or the one that is written."""
    if country.startswith("+"):
        return (country[1:],)
    return {str(code) for code in numbers.CALLING_CODES if country in emergencies.regions(str(code))}


def _calling_code(head: str) -> str:
    """The calling code that a number in E.164 begins with, "" when it does not tell."""
    codes = (head[1 : 1 + length] for length in (1, 2, 3) if head.startswith("+"))
    return next((code for code in codes if code.isdigit() and int(code) in numbers.CALLING_CODES), "")
