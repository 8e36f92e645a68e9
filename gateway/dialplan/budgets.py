"""[[budget]], [[burst]] and a user's own budget -> rules, checked against groups, numbers and each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.dialplan.booking import Period, Unit
from gateway.dialplan.conditions import Conditions
from gateway.dialplan.rules import Allowance, BudgetRule, BurstRule, Match
from gateway.dialplan.schema import MatchSection
from gateway.dialplan.schema_money import AllowanceSection, BudgetSection, BurstSection, SubjectSection
from gateway.dialplan.tables import Table

_KINDS = ("number", "short")


@dataclass(frozen=True, slots=True)
class Budgets:
    """Builds the rules of what may be used up."""

    conditions: Conditions

    def budgets(self) -> Iterator[BudgetRule]:
        for table, section in self.conditions.tables.sections("budget", BudgetSection):
            match, user = self._subject(table, section)
            allowed = tuple(allowances(section))
            if table.sound and not allowed:
                self._fault(table, "a budget says how much: calls, minutes or money in an hour, a day or a month")
            yield BudgetRule(section.name, allowed, match, user, section.group, section.freeze)

    def bursts(self) -> Iterator[BurstRule]:
        for table, section in self.conditions.tables.sections("burst", BurstSection):
            match, user = self._subject(table, section)
            if section.name in self.conditions.tables.names["budget"]:
                self._fault(table, f"there is a budget {section.name!r} already", "name")
            yield BurstRule(section.name, section.calls, section.within, match, user, section.group)

    def _subject(self, table: Table, section: SubjectSection) -> tuple[Match, tuple[str, ...]]:
        if table.sound and bool(section.user) == (section.group is not None):
            self._fault(table, f"a {table.place[0]} has one of user and group")
        self.conditions.tables.named(table, "group", section.group)
        user = tuple(self.conditions.callers(table, section.user, ("user",), paying=False))
        counted = section.match
        if not counted.model_fields_set:
            return Match(), user
        asked = counted.model_dump(exclude_unset=True) | {"kind": _KINDS}
        return self.conditions.match(table, MatchSection.model_validate(asked)), user

    def _fault(self, table: Table, message: str, *keys: str) -> None:
        self.conditions.tables.fault(table, keys, message)


def allowances(section: AllowanceSection) -> Iterator[Allowance]:
    """What a table says may be used up."""
    for unit, key, each in ((Unit.CALLS, "calls", 1), (Unit.SECONDS, "minutes", 60)):
        for period in (Period.HOUR, Period.DAY):
            most: int | None = getattr(section, f"{key}_per_{period}")
            if most is not None:
                yield Allowance(unit, period, most * each)
    for period in Period:
        if (money := getattr(section, f"spend_per_{period}")) is not None:
            yield Allowance(Unit.MONEY, period, money.amount, money.currency)
