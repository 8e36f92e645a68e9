"""[[route]] tables -> rules: where calls from XMPP go, checked against the trunks and what is said of several vias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.dialplan.conditions import Conditions
from gateway.dialplan.incoming import refuses
from gateway.dialplan.numbers import Kind
from gateway.dialplan.rules import Rule
from gateway.dialplan.schema import RouteSection
from gateway.dialplan.tables import Table, Tables, near

_RINGING = ("weights", "failover", "ring_seconds", "longest", "order", "prices", "record")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Builds the rules for calls from XMPP."""

    conditions: Conditions

    @property
    def _tables(self) -> Tables:
        return self.conditions.tables

    def rules(self) -> tuple[list[Rule], dict[int, Table]]:
        """All rules, and the tables of those without a fault by their numbers."""
        rules: list[Rule] = []
        sound: dict[int, Table] = {}
        for number, (table, section) in enumerate(self._tables.sections("route", RouteSection)):
            before = len(self._tables.faults)
            rules.append(self._route(table, section))
            if table.sound and all(fault.warning for fault in self._tables.faults[before:]):
                sound[number] = table
        if "emergency" not in self._tables.present:
            self._emergency_missing([(table, rules[number]) for number, table in sound.items()])
        return rules, sound

    def _emergency_missing(self, routes: Sequence[tuple[Table, Rule]]) -> None:
        for table, rule in routes:
            kinds = set(rule.match.kind) or ({Kind.URI} if rule.match.host or rule.match.user else set(Kind))
            if rule.refuse is None and not rule.match.name and kinds & {Kind.NUMBER, Kind.SHORT}:
                message = f"rule {rule.name!r} leads to numbers: say in [emergency] what becomes of emergency calls"
                self._tables.fault(table, (), message)
                return

    def _route(self, table: Table, section: RouteSection) -> Rule:
        match = self.conditions.match(table, section.match)
        if table.sound and bool(section.via) == (section.refuse is not None):
            self._tables.fault(table, (), f"rule {section.name!r} needs one of via and refuse")
        for number, via in enumerate(section.via):
            known = self._tables.names["trunk"] | {"direct", "echo", "enum"}
            if via not in known:
                self._tables.fault(table, ("via", number), f"{via!r} is no trunk{near(via, known)}")
        self._tables.twice(table, ("via",), section.via)
        if section.name == "emergency":
            self._tables.fault(table, ("name",), "'emergency' is what explanations call [emergency]")
        if "echo" in section.via and len(section.via) > 1:
            self._tables.fault(table, ("via",), "echo always answers: nothing can come before or after it")
        if "direct" in section.via and not (match.host or match.user or Kind.URI in match.kind or not match.kind):
            self._tables.fault(table, ("via",), 'direct needs a host to go to: match kind = "uri" or a host')
        if "enum" in section.via and match.kind and Kind.NUMBER not in match.kind:
            self._tables.fault(table, ("via",), 'enum has numbers: match kind = "number"')
        if "enum_failure" in section.model_fields_set and "enum" not in section.via:
            self._tables.fault(table, ("enum_failure",), "enum_failure is for enum, and it is not asked")
        self._tables.named(table, "policy", section.policy)
        self._several(table, section)
        if section.refuse is not None:
            refuses(self._tables, table, section, _RINGING)
        return Rule(
            section.name, match, section.via, section.refuse, section.policy, section.anonymous,
            section.early_media, section.transcode, section.transfers, section.weights, section.failover,
            section.ring_seconds, section.longest, section.order == "cheapest", section.prices, section.record,
            section.enum_failure,
        )  # fmt: skip

    def _several(self, table: Table, section: RouteSection) -> None:
        """What is said of several vias."""
        if section.via and section.weights and len(section.weights) != len(section.via):
            message = f"weights: {len(section.weights)} of them, and {len(section.via)} vias"
            self._tables.fault(table, ("weights",), message)
        elif section.weights and not any(section.weights):
            self._tables.fault(table, ("weights",), "weights: all are 0")
        if len(section.via) == 1:
            for key in ("weights",) if section.via == ("enum",) else ("weights", "failover"):
                if key in section.model_fields_set:
                    self._tables.fault(table, (key,), f"{key} is for several vias, and there is one")
        self._tables.twice(table, ("failover",), section.failover or ())
