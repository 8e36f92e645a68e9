"""Dialplan files -> Plan: every fault at once, with its file and line, or a plan that cannot surprise.

tables.py checks each table for its shape, conditions.py what rules ask of a call; here is what tables say about one
another. Warnings are for what works and is seldom meant.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from gateway import addresses, contacts
from gateway.addresses import SipUri
from gateway.dialplan import coverage, numbers, plan
from gateway.dialplan.budgets import Budgets, allowances
from gateway.dialplan.conditions import Conditions, zone_named
from gateway.dialplan.files import Include, Reader
from gateway.dialplan.incoming import Incoming, caller_named
from gateway.dialplan.location import ELEMENTS
from gateway.dialplan.outgoing import Outgoing
from gateway.dialplan.pricing import Pricing
from gateway.dialplan.rules import is_e164
from gateway.dialplan.schema import (
    EmergencySection,
    ExampleSection,
    FormatSection,
    LimitSection,
    LocationSection,
    NumbersSection,
    PolicySection,
    TrunkSection,
    UserSection,
)
from gateway.dialplan.tables import Table, Tables, is_caller, near
from gateway.dialplan.toml import Place
from gateway.dialplan.trunks import Trunks, read_secret
from gateway.errors import AddressError, ConfigurationError, Fault

__all__ = ["in_order", "load", "near", "read_secret"]

Found = TypeVar("Found")

_SUFFIXES = 5  # each may take its time before the next one is asked


@dataclass(slots=True)
class _Loader:
    """Builds the plan out of the tables of all files, and tells what is wrong about them."""

    users: tuple[str, ...]
    own: plan.Plan
    tables: Tables = field(default_factory=Tables)
    folders: dict[str, Path] = field(default_factory=dict)
    region: str | None = None
    includes: tuple[Include, ...] = ()
    base: Path | None = None

    def build(self) -> plan.Plan:
        route_unassigned, prefix, zone = False, None, None
        suffixes: tuple[str, ...] = plan.Plan().enum_suffixes
        for table, section in self.tables.sections("numbers", NumbersSection):
            route_unassigned = section.unassigned == "route"
            prefix = self._anonymous_prefix(table, section.anonymous_prefix)
            self.region = self._region(table, ("region",), section.region)
            zone = zone_named(self.tables, table, ("zone",), section.zone)
            suffixes = tuple(self._each(table, "enum_suffix", section.enum_suffix, addresses.host_of))
            if not 0 < len(section.enum_suffix) <= _SUFFIXES:
                self.tables.fault(table, ("enum_suffix",), f"enum_suffix: one to {_SUFFIXES} domains")
        conditions = Conditions(self.tables, self.users, zone)
        policies = [self._policy(table, section) for table, section in self.tables.sections("policy", PolicySection)]
        trunks = Trunks(self.tables, self.own, self.folders).read()
        emergency = next(
            (self._emergency(table, section) for table, section in self.tables.sections("emergency", EmergencySection)),
            None,
        )
        spending = Budgets(conditions)
        pricing = Pricing(self.tables, self.folders, self.base)
        tables_of_prices = pricing.read()
        callers = self._callers_set()
        limits = tuple(self._limits(conditions))
        routes, sound = Outgoing(conditions).rules()
        inbound, sound_inbound = Incoming(conditions, self.region).rules()
        examples = [self._example(table, section) for table, section in self.tables.sections("example", ExampleSection)]
        built = plan.Plan(
            users=self.users,
            own=self.own.own,
            endpoints=self.own.endpoints,
            region=self.region,
            route_unassigned=route_unassigned,
            emergency=emergency,
            groups=MappingProxyType(self.tables.groups),
            trunks=MappingProxyType(trunks),
            routes=tuple(routes),
            inbound=tuple(inbound),
            examples=tuple(example for example in examples if example),
            policies=MappingProxyType({policy.name: policy for policy in policies}),
            callers=MappingProxyType(callers),
            limits=limits,
            budgets=tuple(spending.budgets()),
            bursts=tuple(spending.bursts()),
            anonymous_prefix=prefix,
            enum_suffixes=suffixes,
            prices=MappingProxyType(tables_of_prices),
            includes=(*self.includes, *pricing.includes),
        )
        # A rule with a fault does not say what it means.
        self._unreached(coverage.unreached(built), built.routes, sound)
        self._unreached(coverage.unreached_inbound(built), built.inbound, sound_inbound)
        if any(not fault.warning for fault in self.tables.faults):
            raise ConfigurationError(in_order(self.tables.faults))
        return built

    def _region(self, table: Table, keys: Place, region: str | None) -> str | None:
        if region is None or region in numbers.REGIONS:
            return region
        self.tables.fault(table, keys, f"{region!r} is no region{near(region.upper(), numbers.REGIONS)}")
        return None

    def _anonymous_prefix(self, table: Table, prefix: str | None) -> str | None:
        # Digits alone would swallow numbers, and emergency numbers among them.
        if prefix is not None and (prefix[0] not in "*#" or prefix.strip("*#0123456789") or not prefix.strip("*#")):
            self.tables.fault(
                table, ("anonymous_prefix",), f"{prefix!r} is no prefix, as *67 is one: * or #, then digits"
            )
        return prefix

    def _each(self, table: Table, key: str, texts: Sequence[str], read: Callable[[str], Found]) -> Iterator[Found]:
        """What a list of hosts or of addresses holds."""
        for number, text in enumerate(texts):
            try:
                yield read(text)
            except AddressError as error:
                self.tables.fault(table, (key, number), f"{key}: {error}")

    def _number(self, table: Table, keys: Place, text: str | None) -> str | None:
        """A number that is written in E.164."""
        if text is None:
            return None
        try:
            number = numbers.read(contacts.dialled(text), None).number
        except AddressError:
            number = None
        if number is None:
            self.tables.fault(table, keys, f"{text!r} is no number in E.164, as +12025550100 is one")
        return number

    def _policy(self, table: Table, section: PolicySection) -> plan.Policy:
        formats = (("to", section.to), ("from", section.from_), ("asserted", section.asserted))
        built = [self._format(table, key, format_) for key, format_ in formats if format_]
        region = self._region(table, ("region",), section.region)
        national = [key for key, each in formats if each and "national" in (each.format, *each.exceptions.values())]
        if national and not (section.region or self.region):
            self.tables.fault(table, (national[0],), "national numbers need a region, here or in [numbers]")
        place = region or self.region
        if place and "to" in national and not numbers.one_exit_code(place):
            message = (
                f"carriers in {place} have exit codes of their own: national numbers of other countries are refused"
            )
            self.tables.fault(table, ("to",), message, warning=True)
        return plan.Policy(section.name, region, built[0], built[1], built[2] if section.asserted else None)

    def _format(self, table: Table, key: str, section: FormatSection) -> plan.Format:
        if section.prefix.strip("+*#0123456789"):
            self.tables.fault(table, (key, "prefix"), f"{section.prefix!r} can stand before no number")
        for pattern in section.exceptions:
            if not pattern.startswith(("+", "*")) or pattern.strip("+*0123456789"):
                message = f"{pattern!r} is no number in E.164, nor one with a *"
                self.tables.fault(table, (key, "exceptions", pattern), message)
        return plan.Format(section.format, section.prefix, tuple(section.exceptions.items()))

    def _callers_set(self) -> dict[str, plan.CallerSettings]:
        """[users]."""
        found: dict[str, plan.CallerSettings] = {}
        for table, section in self.tables.sections("users", UserSection):
            name = str(table.place[1])
            key = name if name.startswith("@") else contacts.folded(name)
            if key in found:
                self.tables.fault(table, (), f"{name!r} is set already")
            if name.startswith("@"):
                if name[1:] not in self.tables.groups:
                    self.tables.fault(table, (), f"there is no group {name[1:]!r}{near(name[1:], self.tables.groups)}")
            elif "*" in name or not is_caller(name):
                self.tables.fault(table, (), f"{name!r} is no JID, and no @group")
            elif self.users and key.rpartition("@")[2] not in self.users:
                self.tables.fault(table, (), f"{key.rpartition('@')[2]} is none of [xmpp] users")
            found[key] = plan.CallerSettings(
                self._number(table, ("caller_id",), section.caller_id),
                section.display,
                self._region(table, ("region",), section.region),
                section.anonymous,
                section.ring_seconds,
                section.longest,
                section.transcode,
                tuple(allowances(section.budget)) if section.budget else None,
            )
        return found

    def _limits(self, conditions: Conditions) -> Iterator[plan.LimitRule]:
        wholes: dict[str, Table] = {}
        users: list[str] = []
        for table, section in self.tables.sections("limit", LimitSection):
            subjects = [bool(section.user), section.group is not None, section.trunk is not None]
            if table.sound and sum(subjects) != 1:
                self.tables.fault(table, (), "a limit has one of user, group and trunk")
            if table.sound and section.concurrent is section.per_minute is section.longest is None:
                self.tables.fault(table, (), "a limit has concurrent, per_minute or longest")
            self.tables.named(table, "group", section.group)
            self.tables.named(table, "trunk", section.trunk)
            for key, name in (("group", section.group), ("trunk", section.trunk)):
                if name is not None and f"{key} {name}" in wholes:
                    first = wholes[f"{key} {name}"]
                    where = f"{first.document.file}:{first.line_of()}"
                    self.tables.fault(table, (key,), f"the limit of {key} {name!r} stands in {where} already")
                elif name is not None:
                    wholes[f"{key} {name}"] = table
            patterns = tuple(conditions.callers(table, section.user, ("user",), paying=False))
            for number, pattern in enumerate(patterns):
                if any(plan.stands_for(earlier, pattern) is not None for earlier in users):
                    message = f"{pattern} has a limit already: the first that is for a user counts"
                    self.tables.fault(table, ("user", number), message)
            users.extend(patterns)
            yield plan.LimitRule(
                patterns, section.group, section.trunk, section.concurrent, section.per_minute, section.longest
            )

    def _emergency(self, table: Table, section: EmergencySection) -> plan.Emergency:
        if section.action == "route" and not section.via:
            self.tables.fault(table, ("via",), 'action = "route" needs a via')
        self.tables.twice(table, ("via",), section.via)
        if section.action == "refuse" and section.via:
            self.tables.fault(table, ("via",), 'action = "refuse" goes nowhere: no via')
        for number, via in enumerate(section.via):
            if via not in self.tables.names["trunk"]:
                self.tables.fault(table, ("via", number), f"{via!r} is no trunk{near(via, self.tables.names['trunk'])}")
        for number, text in enumerate(section.numbers):
            if not (text.isascii() and text.isdigit() and 2 <= len(text) <= 6):
                self.tables.fault(table, ("numbers", number), f"{text!r} is no emergency number: 2 to 6 digits")
        callback = self._number(table, ("callback",), section.callback)
        by = [trunk for via in section.via if (trunk := self._trunk_section(via))]
        if section.action == "route" and section.foreign == "refuse" and not self.region:
            message = 'foreign = "refuse" needs [numbers] region: without one, every number is another country\'s'
            self.tables.fault(table, ("foreign",), message)
        if section.action == "route" and by and not section.callback and not any(is_e164(each.from_) for each in by):
            message = (
                "no callback, and no trunk of it has a number in from:"
                " whoever takes the call may not be able to ring back"
            )
            self.tables.fault(table, (), message, warning=True)
        location = _civic(section.location) if section.location else ()
        if section.location:
            self._region(table, ("location", "country"), section.location.country)
            if self.region and section.location.country != self.region:
                message = f"people dial from {self.region} ([numbers] region), and are placed in another country"
                self.tables.fault(table, ("location", "country"), message, warning=True)
        return plan.Emergency(
            section.action, section.via, section.foreign, frozenset(section.numbers), callback, location
        )

    def _trunk_section(self, name: str) -> TrunkSection | None:
        return next(
            (section for _, section in self.tables.sections("trunk", TrunkSection) if section.name == name), None
        )

    def _unreached(
        self,
        pairs: Iterator[tuple[int, int]],
        rules: Sequence[plan.Rule | plan.InboundRule],
        sound: Mapping[int, Table],
    ) -> None:
        for later, earlier in pairs:
            if later in sound and earlier in sound:
                name, first = rules[later].name, rules[earlier].name
                message = f"rule {name!r} is never reached: {first!r} before it matches all that it does"
                self.tables.fault(sound[later], (), message)

    def _example(self, table: Table, section: ExampleSection) -> plan.Example | None:
        outgoing = section.to is not None and section.inbound is None and section.caller is None
        incoming = section.inbound is not None and section.from_ is None and section.to is None
        if not (outgoing or incoming):
            self.tables.fault(table, (), "an example has to (and from), or inbound")
            return None
        self.tables.named(table, "trunk", section.trunk)
        if section.region is not None and section.region not in numbers.REGIONS:
            self.tables.fault(table, ("region",), f"{section.region!r} is no region")
        calling = caller_named(self.tables, table, ("caller",), section.caller) if section.caller else None
        uri = None
        if section.inbound is not None:
            try:
                uri = SipUri.parse(section.inbound)
            except AddressError as error:
                self.tables.fault(table, ("inbound",), f"inbound: {error}")
                return None
        enum = None if section.enum is None else tuple(self._each(table, "enum", section.enum, SipUri.parse))
        # Files that are shared between installations speak of "some user of ours" and leave `from` out.
        caller = section.from_ or (f"user@{self.users[0]}" if outgoing and self.users else None)
        return plan.Example(
            table.document.file, table.line_of("expect"), caller, section.to, uri, section.trunk, section.region,
            section.at, section.expect.model_dump(exclude_unset=True), calling, enum,
        )  # fmt: skip


def _civic(section: LocationSection) -> tuple[tuple[str, str], ...]:
    values: Mapping[str, str] = section.model_dump(exclude_none=True)
    return tuple((element, values[key]) for key, element in ELEMENTS.items() if key in values)


# Loading --------------------------------------------------------------------------------------------------------------


def load(
    files: Sequence[Path],
    *,
    users: Sequence[str],
    own: Collection[str] = (),
    endpoints: Collection[tuple[str, int]] = (),
    base: Path | None = None,
) -> tuple[plan.Plan, tuple[Fault, ...]]:
    """Reads dialplan files in their order, and what they include: the plan and its warnings. Raises ConfigurationError
    with all faults.

    `users`, `own` and `endpoints` are the plan's; nothing is checked against `users` while they are unknown (empty).
    File names are shown relative to `base`.
    """
    loader = _Loader(tuple(users), plan.Plan(own=frozenset(own), endpoints=frozenset(endpoints)), base=base)
    reader = Reader(base)
    for path in files:
        reader.read(path)
    loader.tables.faults += reader.faults
    loader.folders, loader.includes = reader.folders, tuple(reader.includes)
    for document in reader.documents:
        loader.tables.add(document)
    built = loader.build()
    return built, in_order(loader.tables.faults)


def in_order(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """Faults as they stand in the files, files in the order in which they were first met, each fault once."""
    files = list(dict.fromkeys(fault.file for fault in faults))
    return tuple(sorted(dict.fromkeys(faults), key=lambda fault: (files.index(fault.file), fault.line)))
