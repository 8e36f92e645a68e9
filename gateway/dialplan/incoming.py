"""[[inbound]] tables -> rules: whom calls from SIP ring, checked against the trunks, the users and the hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway import addresses, contacts
from gateway.dialplan import numbers, plan
from gateway.dialplan.conditions import Conditions
from gateway.dialplan.rules import is_e164
from gateway.dialplan.schema import InboundMatchSection, InboundSection
from gateway.dialplan.tables import Table, Tables, near
from gateway.dialplan.toml import Place, Section
from gateway.errors import AddressError

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Incoming:
    """Builds the rules for calls from SIP; numbers without a + are of `region`."""

    conditions: Conditions
    region: str | None

    @property
    def _tables(self) -> Tables:
        return self.conditions.tables

    def rules(self) -> tuple[list[plan.InboundRule], dict[int, Table]]:
        """All rules, and the tables of those without a fault by their numbers."""
        rules: list[plan.InboundRule] = []
        sound: dict[int, Table] = {}
        for number, (table, section) in enumerate(self._tables.sections("inbound", InboundSection)):
            before = len(self._tables.faults)
            rules.append(self._rule(table, section, number + 1))
            if table.sound and all(fault.warning for fault in self._tables.faults[before:]):
                sound[number] = table
        return rules, sound

    def _rule(self, table: Table, section: InboundSection, number: int) -> plan.InboundRule:
        name = section.name or f"inbound {number}"
        match = self._match(table, section.match)
        if table.sound and (section.to is None) == (section.refuse is None):
            self._tables.fault(table, (), f"rule {name!r} needs one of to and refuse")
        if match.any_source and match.caller and section.to:
            message = "callers who are no trunk say themselves who they are, and this lets them in by it"
            self._tables.fault(table, ("match", "caller"), message, warning=True)
        to = self._to(table, section.to or ())
        if section.refuse is not None:
            refuses(self._tables, table, section, ("ring", "ring_seconds", "longest", "transcode", "record"))
        return plan.InboundRule(
            name, match, to, section.ring, section.refuse, section.ring_seconds, section.longest, section.transcode,
            section.record,
        )  # fmt: skip

    def _match(self, table: Table, match: InboundMatchSection) -> plan.InboundMatch:
        for index, trunk in enumerate(match.trunk):
            if trunk not in self._tables.names["trunk"]:
                close = near(trunk, self._tables.names["trunk"])
                self._tables.fault(table, ("match", "trunk", index), f"{trunk!r} is no trunk{close}")
        if match.source and match.trunk:
            self._tables.fault(table, ("match", "source"), 'source = "any" and trunk contradict each other')
        dialled = []
        for index, text in enumerate(match.number):
            try:
                dialled.append(_e164_pattern(text, self.region))
            except AddressError as error:
                self._tables.fault(table, ("match", "number", index), f"number: {error}")
        callers = [
            caller_named(self._tables, table, ("match", "caller", index), text)
            for index, text in enumerate(match.caller)
        ]
        return plan.InboundMatch(
            match.source == "any", match.trunk, tuple(dialled), tuple(map(contacts.folded, match.user)),
            tuple(each for each in callers if each), self.conditions.hours(table, match),
        )  # fmt: skip

    def _to(self, table: Table, targets: Sequence[str]) -> tuple[str, ...]:
        users = self.conditions.users
        for index, target in enumerate(targets):
            local, _, domain = target.rpartition("@")
            if not local or "/" in domain:
                self._tables.fault(table, ("to", index), f"{target!r} is no bare JID")
            elif users and contacts.folded(domain) not in users:
                self._tables.fault(table, ("to", index), f"{domain} is none of [xmpp] users")
        to = tuple(target if "{user}" in target else contacts.folded(target) for target in targets)
        self._tables.twice(table, ("to",), to)
        return to


def caller_named(tables: Tables, table: Table, keys: Place, text: str) -> str | None:
    """Who calls from SIP, or a pattern of such: +E.164, user@host, "anonymous"; None and a fault for anything else."""
    if text in ("*", ANONYMOUS) or is_e164(text.replace("*", "0")):
        return text
    user, at, host = text.rpartition("@")
    star = "*." if host.startswith("*.") else ""
    try:
        if at and user and "@" not in user:
            return f"{contacts.folded(user)}@{host if host == '*' else star + addresses.host_of(host[len(star) :])}"
    except AddressError:
        pass
    message = f"{text!r} is no caller: a number as +44*, user@host, or anonymous"
    tables.fault(table, keys, message)
    return None


def refuses(tables: Tables, table: Table, section: Section, keys: Sequence[str]) -> None:
    """A rule that refuses says nothing of calls that ring."""
    for key in keys:
        if key in section.model_fields_set:
            tables.fault(table, (key,), f"{key} is for calls that ring, and this rule refuses")


def _e164_pattern(text: str, region: str | None) -> str:
    if text.endswith("*") and not text[:-1].strip("+0123456789"):
        return text
    number = numbers.read(contacts.dialled(text), region).number
    if number is None:
        raise AddressError(f"{text!r} is no number{'' if region else ' without a region'}")
    return number
