"""Dialplan files -> Plan: every fault at once, with its file and line, or a plan that cannot surprise.

Each table is checked for its shape by a pydantic model of its own, then all tables together for what they say about one
another, so that one mistyped key hides no other fault. Warnings are for what works and is seldom meant.
"""

from __future__ import annotations

import difflib
import functools
import ipaddress
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from gateway import addresses
from gateway.addresses import SipUri
from gateway.dialplan import coverage, emergencies, numbers, plan, toml
from gateway.dialplan.hours import Hours, HoursError, zone_of
from gateway.dialplan.location import ELEMENTS
from gateway.dialplan.numbers import Kind
from gateway.dialplan.patterns import head_of
from gateway.dialplan.regex import Regex, RegexError
from gateway.dialplan.rules import is_e164
from gateway.dialplan.schema import (
    NAMED,
    REPEATED,
    SINGLE,
    EmergencySection,
    ExampleSection,
    FormatSection,
    InboundSection,
    LimitSection,
    LocationSection,
    MatchSection,
    NumbersSection,
    PolicySection,
    RouteSection,
    TrunkSection,
    UserSection,
)
from gateway.dialplan.toml import Document, Place, Section
from gateway.errors import AddressError, ConfigurationError, Fault

CODECS = ("PCMA", "PCMU", "G722", "opus")
RESERVED = frozenset({"direct", "echo", "xmpp"})  # what a via can be beside a trunk


AnySection = TypeVar("AnySection", bound=Section)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table, and where it stands. When it is not `sound`, keys of a wrong shape are missing from it."""

    document: Document
    place: Place
    section: Section
    sound: bool

    def line_of(self, *keys: str | int) -> int:
        return self.document.line((*self.place, *keys))


@dataclass(slots=True)
class _Loader:
    """Collects tables and faults of all files, then builds the plan."""

    users: tuple[str, ...]
    own: plan.Plan
    faults: list[Fault] = field(default_factory=list)
    tables: dict[str, list[_Table]] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    names: dict[str, set[str]] = field(default_factory=lambda: {"trunk": set(), "route": set(), "policy": set()})
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    region: str | None = None
    zone: tzinfo | None = None

    # Reading the shapes

    def add(self, document: Document, folder: Path) -> None:
        self.folders[document.file] = folder
        self.present.update(document.values)
        for key, value in document.values.items():
            if key == "groups":
                self._add_groups(document, value)
            elif key in SINGLE:
                self._add_table(document, (key,), SINGLE[key], value)
            elif key in REPEATED:
                if not isinstance(value, list):
                    self.faults.append(document.fault((key,), f"[[{key}]] has double brackets, there may be several"))
                    continue
                for number, table in enumerate(value):
                    self._add_table(document, (key, number), REPEATED[key], table)
            elif key in NAMED:
                if not isinstance(value, dict):
                    self.faults.append(document.fault((key,), f"[{key}] is a table of tables"))
                    continue
                for name, table in value.items():
                    self._add_table(document, (key, name), NAMED[key], table)
            else:
                known = (*SINGLE, *REPEATED, *NAMED, "groups")
                self.faults.append(document.fault((key,), f"unknown key {key!r}{near(key, known)}"))

    def _add_table(self, document: Document, place: Place, model: type[Section], value: object) -> None:
        key = str(place[0])
        if isinstance(value, dict) and key in self.names and isinstance(value.get("name"), str):
            name = value["name"]
            if name in self.names[key]:
                self.faults.append(document.fault((*place, "name"), f"there is a {key} {name!r} already"))
            self.names[key].add(name)
        section, faults = toml.validate(document, model, value, place)
        self.faults.extend(faults)
        if section is None:
            return
        tables = self.tables.setdefault(key, [])
        if key in SINGLE and tables:
            first = tables[0]
            message = f"[{key}] stands in {first.document.file}:{first.line_of()} already"
            self.faults.append(document.fault(place, message))
            return
        tables.append(_Table(document, place, section, sound=not faults))

    def _add_groups(self, document: Document, value: object) -> None:
        if not isinstance(value, dict):
            self.faults.append(document.fault(("groups",), "[groups] is a table of lists"))
            return
        for name, members in value.items():
            place: Place = ("groups", name)
            if name in self.groups:
                self.faults.append(document.fault(place, f"there is a group {name!r} already"))
            self.groups[name] = ()
            if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
                self.faults.append(document.fault(place, f"groups.{name}: a list of JIDs"))
                continue
            self.groups[name] = tuple(addresses.folded(member) for member in members)
            for number, member in enumerate(members):
                if not _is_caller(member) or member == "*":
                    self.faults.append(document.fault((*place, number), f"{member!r} is no JID, nor one with a *"))

    # Checking what the tables say about one another

    def sections(self, key: str, model: type[AnySection]) -> Iterator[tuple[_Table, AnySection]]:
        for table in self.tables.get(key, []):
            if isinstance(table.section, model):
                yield table, table.section

    def fault(self, table: _Table, keys: Place, message: str, *, warning: bool = False) -> None:
        self.faults.append(table.document.fault((*table.place, *keys), message, warning=warning))

    def build(self) -> plan.Plan:
        route_unassigned, prefix = False, None
        for table, section in self.sections("numbers", NumbersSection):
            route_unassigned = section.unassigned == "route"
            prefix = self._anonymous_prefix(table, section.anonymous_prefix)
            self.region = self._region(table, ("region",), section.region)
            self.zone = self._zone(table, ("zone",), section.zone)
        policies = [self._policy(table, section) for table, section in self.sections("policy", PolicySection)]
        trunks = {section.name: self._trunk(table, section) for table, section in self.sections("trunk", TrunkSection)}
        emergency = next(
            (self._emergency(table, section) for table, section in self.sections("emergency", EmergencySection)), None
        )
        callers = self._callers_set()
        limits = tuple(self._limits())
        routes, sound = self._routes()
        if "emergency" not in self.present:
            self._emergency_missing([(table, routes[number]) for number, table in sound.items()])
        inbound, sound_inbound = self._inbounds()
        examples = [self._example(table, section) for table, section in self.sections("example", ExampleSection)]
        built = plan.Plan(
            users=self.users,
            own=self.own.own,
            endpoints=self.own.endpoints,
            region=self.region,
            route_unassigned=route_unassigned,
            emergency=emergency,
            groups=MappingProxyType(self.groups),
            trunks=MappingProxyType({name: trunk for name, trunk in trunks.items() if trunk}),
            routes=tuple(routes),
            inbound=tuple(inbound),
            examples=tuple(example for example in examples if example),
            policies=MappingProxyType({policy.name: policy for policy in policies}),
            callers=MappingProxyType(callers),
            limits=limits,
            anonymous_prefix=prefix,
        )
        # A rule with a fault does not say what it means.
        self._unreached(coverage.unreached(built), built.routes, sound)
        self._unreached(coverage.unreached_inbound(built), built.inbound, sound_inbound)
        if any(not fault.warning for fault in self.faults):
            raise ConfigurationError(in_order(self.faults))
        return built

    def _region(self, table: _Table, keys: Place, region: str | None) -> str | None:
        if region is None or region in numbers.REGIONS:
            return region
        self.fault(table, keys, f"{region!r} is no region{near(region.upper(), numbers.REGIONS)}")
        return None

    def _zone(self, table: _Table, keys: Place, name: str | None) -> tzinfo | None:
        try:
            return zone_of(name) if name is not None else None
        except HoursError as error:
            self.fault(table, keys, str(error))
            return None

    def _anonymous_prefix(self, table: _Table, prefix: str | None) -> str | None:
        # Digits alone would swallow numbers, and emergency numbers among them.
        if prefix is not None and (prefix[0] not in "*#" or prefix.strip("*#0123456789") or not prefix.strip("*#")):
            self.fault(table, ("anonymous_prefix",), f"{prefix!r} is no prefix, as *67 is one: * or #, then digits")
        return prefix

    def _number(self, table: _Table, keys: Place, text: str | None) -> str | None:
        """A number that is written in E.164."""
        if text is None:
            return None
        try:
            number = numbers.read(addresses.dialled(text), None).number
        except AddressError:
            number = None
        if number is None:
            self.fault(table, keys, f"{text!r} is no number in E.164, as +12025550100 is one")
        return number

    def _named(self, table: _Table, key: str, name: str | None) -> None:
        """A key that names a policy, a trunk, a group."""
        known: Collection[str] = self.groups if key == "group" else self.names[key]
        if name is not None and name not in known:
            self.fault(table, (key,), f"{name!r} is no {key}{near(name, known)}")

    def _policy(self, table: _Table, section: PolicySection) -> plan.Policy:
        formats = (("to", section.to), ("from", section.from_), ("asserted", section.asserted))
        built = [self._format(table, key, format_) for key, format_ in formats if format_]
        region = self._region(table, ("region",), section.region)
        national = [key for key, each in formats if each and "national" in (each.format, *each.exceptions.values())]
        if national and not (section.region or self.region):
            self.fault(table, (national[0],), "national numbers need a region, here or in [numbers]")
        place = region or self.region
        if place and "to" in national and not numbers.one_exit_code(place):
            message = (
                f"carriers in {place} have exit codes of their own: national numbers of other countries are refused"
            )
            self.fault(table, ("to",), message, warning=True)
        return plan.Policy(section.name, region, built[0], built[1], built[2] if section.asserted else None)

    def _format(self, table: _Table, key: str, section: FormatSection) -> plan.Format:
        if section.prefix.strip("+*#0123456789"):
            self.fault(table, (key, "prefix"), f"{section.prefix!r} can stand before no number")
        for pattern in section.exceptions:
            if not pattern.startswith(("+", "*")) or pattern.strip("+*0123456789"):
                message = f"{pattern!r} is no number in E.164, nor one with a *"
                self.fault(table, (key, "exceptions", pattern), message)
        return plan.Format(section.format, section.prefix, tuple(section.exceptions.items()))

    def _callers_set(self) -> dict[str, plan.CallerSettings]:
        """[users]."""
        found: dict[str, plan.CallerSettings] = {}
        for table, section in self.sections("users", UserSection):
            name = str(table.place[1])
            key = name if name.startswith("@") else addresses.folded(name)
            if key in found:
                self.fault(table, (), f"{name!r} is set already")
            if name.startswith("@"):
                if name[1:] not in self.groups:
                    self.fault(table, (), f"there is no group {name[1:]!r}{near(name[1:], self.groups)}")
            elif "*" in name or not _is_caller(name):
                self.fault(table, (), f"{name!r} is no JID, and no @group")
            elif self.users and key.rpartition("@")[2] not in self.users:
                self.fault(table, (), f"{key.rpartition('@')[2]} is none of [xmpp] users")
            found[key] = plan.CallerSettings(
                self._number(table, ("caller_id",), section.caller_id),
                section.display,
                self._region(table, ("region",), section.region),
                section.anonymous,
            )
        return found

    def _limits(self) -> Iterator[plan.LimitRule]:
        wholes: dict[str, _Table] = {}
        users: list[str] = []
        for table, section in self.sections("limit", LimitSection):
            subjects = [bool(section.user), section.group is not None, section.trunk is not None]
            if table.sound and sum(subjects) != 1:
                self.fault(table, (), "a limit has one of user, group and trunk")
            if table.sound and section.concurrent is section.per_minute is section.longest is None:
                self.fault(table, (), "a limit has concurrent, per_minute or longest")
            self._named(table, "group", section.group)
            self._named(table, "trunk", section.trunk)
            for key, name in (("group", section.group), ("trunk", section.trunk)):
                if name is not None and f"{key} {name}" in wholes:
                    first = wholes[f"{key} {name}"]
                    where = f"{first.document.file}:{first.line_of()}"
                    self.fault(table, (key,), f"the limit of {key} {name!r} stands in {where} already")
                elif name is not None:
                    wholes[f"{key} {name}"] = table
            patterns = tuple(self._callers(table, section.user, ("user",), paying=False))
            for number, pattern in enumerate(patterns):
                if any(plan.stands_for(earlier, pattern) is not None for earlier in users):
                    message = f"{pattern} has a limit already: the first that is for a user counts"
                    self.fault(table, ("user", number), message)
            users.extend(patterns)
            yield plan.LimitRule(
                patterns, section.group, section.trunk, section.concurrent, section.per_minute, section.longest
            )

    def _routes(self) -> tuple[list[plan.Rule], dict[int, _Table]]:
        """All rules, and the tables of those without a fault by their numbers."""
        rules: list[plan.Rule] = []
        sound: dict[int, _Table] = {}
        for number, (table, section) in enumerate(self.sections("route", RouteSection)):
            before = len(self.faults)
            rules.append(self._route(table, section))
            if table.sound and all(fault.warning for fault in self.faults[before:]):
                sound[number] = table
        return rules, sound

    def _emergency(self, table: _Table, section: EmergencySection) -> plan.Emergency:
        if section.action == "route" and not section.via:
            self.fault(table, ("via",), 'action = "route" needs a via')
        self._twice(table, ("via",), section.via)
        if section.action == "refuse" and section.via:
            self.fault(table, ("via",), 'action = "refuse" goes nowhere: no via')
        for number, via in enumerate(section.via):
            if via not in self.names["trunk"]:
                self.fault(table, ("via", number), f"{via!r} is no trunk{near(via, self.names['trunk'])}")
        for number, text in enumerate(section.numbers):
            if not (text.isascii() and text.isdigit() and 2 <= len(text) <= 6):
                self.fault(table, ("numbers", number), f"{text!r} is no emergency number: 2 to 6 digits")
        callback = self._number(table, ("callback",), section.callback)
        by = [trunk for via in section.via if (trunk := self._trunk_section(via))]
        if section.action == "route" and section.foreign == "refuse" and not self.region:
            message = 'foreign = "refuse" needs [numbers] region: without one, every number is another country\'s'
            self.fault(table, ("foreign",), message)
        if section.action == "route" and by and not section.callback and not any(is_e164(each.from_) for each in by):
            message = (
                "no callback, and no trunk of it has a number in from:"
                " whoever takes the call may not be able to ring back"
            )
            self.fault(table, (), message, warning=True)
        location = _civic(section.location) if section.location else ()
        if section.location:
            self._region(table, ("location", "country"), section.location.country)
            if self.region and section.location.country != self.region:
                message = f"people dial from {self.region} ([numbers] region), and are placed in another country"
                self.fault(table, ("location", "country"), message, warning=True)
        return plan.Emergency(
            section.action, section.via, section.foreign, frozenset(section.numbers), callback, location
        )

    def _trunk_section(self, name: str) -> TrunkSection | None:
        return next((section for _, section in self.sections("trunk", TrunkSection) if section.name == name), None)

    def _emergency_missing(self, routes: Sequence[tuple[_Table, plan.Rule]]) -> None:
        for table, rule in routes:
            kinds = set(rule.match.kind) or ({Kind.URI} if rule.match.host or rule.match.user else set(Kind))
            if rule.refuse is None and not rule.match.name and kinds & {Kind.NUMBER, Kind.SHORT}:
                message = f"rule {rule.name!r} leads to numbers: say in [emergency] what becomes of emergency calls"
                self.fault(table, (), message)
                return

    def _trunk(self, table: _Table, section: TrunkSection) -> plan.Trunk | None:
        if section.name in RESERVED or section.name.startswith("@"):
            self.fault(table, ("name",), f"{section.name!r} is a reserved name")
        try:
            proxy = SipUri.parse(section.proxy)
        except AddressError as error:
            self.fault(table, ("proxy",), f"proxy: {error}")
            proxy = None
        if proxy and (proxy.scheme == "tel" or proxy.user is not None):
            self.fault(table, ("proxy",), "proxy: sip:HOST, with port and transport where needed")
        if proxy and self.own.is_own(proxy):
            self.fault(table, ("proxy",), f"proxy: {proxy.host} is this gateway itself")
        if section.register_ and section.username is None:
            self.fault(table, ("register",), "to register, a trunk needs its username")
        if (section.username is None) != (section.password_file is None):
            self.fault(table, ("username",), "username and password_file go together")
        for number, codec in enumerate(section.codecs):
            if codec not in CODECS:
                self.fault(table, ("codecs", number), f"{codec!r} is no codec{near(codec.upper(), CODECS)}")
        if proxy and (proxy.scheme == "sips" or (proxy.parameter("transport") or "udp").lower() not in {"udp", "tcp"}):
            self.fault(table, ("proxy",), "this version speaks UDP and TCP: calls through it will fail", warning=True)
        if section.srtp == "required":
            message = "media towards SIP is not encrypted by this version: calls through it will fail"
            self.fault(table, ("srtp",), message, warning=True)
        if section.dtmf != "rfc4733":
            self.fault(table, ("dtmf",), "this version sends digits as rfc4733 only", warning=True)
        allow = []
        for number, network in enumerate(section.allow):
            try:
                allow.append(ipaddress.ip_network(network))
            except ValueError as error:
                self.fault(table, ("allow", number), f"allow: {error}")
        self._named(table, "policy", section.policy)
        password = self._password(table, section.password_file) if section.password_file else None
        if proxy is None:
            return None
        return plan.Trunk(
            section.name, proxy, section.username, password, section.register_, section.from_, section.codecs,
            section.dtmf, section.srtp, section.transcode, section.max_calls, tuple(allow),
            section.policy, section.transfers,
        )  # fmt: skip

    def _password(self, table: _Table, name: str) -> str | None:
        password, problem, warning = read_secret(self.folders[table.document.file] / name)
        for text, is_warning in ((problem, False), (warning, True)):
            if text:
                self.fault(table, ("password_file",), f"password_file: {name} {text}", warning=is_warning)
        return password

    def _route(self, table: _Table, section: RouteSection) -> plan.Rule:
        match = self._match(table, section.match)
        if table.sound and bool(section.via) == (section.refuse is not None):
            self.fault(table, (), f"rule {section.name!r} needs one of via and refuse")
        for number, via in enumerate(section.via):
            known = self.names["trunk"] | {"direct", "echo"}
            if via not in known:
                self.fault(table, ("via", number), f"{via!r} is no trunk{near(via, known)}")
        self._twice(table, ("via",), section.via)
        if section.name == "emergency":
            self.fault(table, ("name",), "'emergency' is what explanations call [emergency]")
        if "echo" in section.via and len(section.via) > 1:
            self.fault(table, ("via",), "echo always answers: nothing can come before or after it")
        if "direct" in section.via and not (match.host or match.user or Kind.URI in match.kind or not match.kind):
            self.fault(table, ("via",), 'direct needs a host to go to: match kind = "uri" or a host')
        self._named(table, "policy", section.policy)
        return plan.Rule(
            section.name, match, section.via, section.refuse, section.policy, section.anonymous,
            section.early_media, section.transcode, section.transfers,
        )  # fmt: skip

    def _twice(self, table: _Table, keys: Place, words: Sequence[str]) -> None:
        for number, word in enumerate(words):
            if word in words[:number]:
                self.fault(table, (*keys, number), f"{word!r} stands there already")

    def _match(self, table: _Table, section: MatchSection) -> plan.Match:
        kinds: list[Kind] = []
        for number, kind in enumerate(section.kind):
            if kind == Kind.EMERGENCY:
                self.fault(table, ("match", "kind", number), "emergency calls follow [emergency], never a rule")
            elif kind not in set(Kind):
                self.fault(table, ("match", "kind", number), f"{kind!r} is no kind{near(kind, list(Kind))}")
            else:
                kinds.append(Kind(kind))
        self._impossible(table, section, kinds)
        for number, country in enumerate(section.country):
            code = country[1:] if country.startswith("+") else ""
            if country not in numbers.REGIONS and not (code.isdigit() and int(code) in numbers.CALLING_CODES):
                close = near(country.upper(), numbers.REGIONS)
                self.fault(table, ("match", "country", number), f"{country!r} is no region or calling code{close}")
        for number, name in enumerate(section.type):
            if name not in numbers.TYPES:
                close = near(name, numbers.TYPES)
                self.fault(table, ("match", "type", number), f"{name!r} is no type of numbers{close}")
        for number, pattern in enumerate(section.number):
            if pattern.strip("+0123456789*#"):
                self.fault(table, ("match", "number", number), f"{pattern!r} is no number, nor one with a *")
            elif not pattern.startswith(("+", "*")) and (
                kinds == [Kind.NUMBER] or len(pattern.rstrip("*")) > numbers.LONGEST_SHORT
            ):
                message = f"never matches: numbers are compared as +E.164, and {pattern!r} is none"
                self.fault(table, ("match", "number", number), message)
            elif kinds == [Kind.SHORT] and pattern.startswith("+"):
                self.fault(table, ("match", "number", number), f"never matches: {pattern!r} is no short code")
            elif not kinds and pattern[:1].isdigit() and pattern.endswith("*"):
                message = f"{pattern!r} is for short codes alone: numbers are compared as +E.164"
                self.fault(table, ("match", "number", number), message, warning=True)
        self._contradiction(table, section)
        return plan.Match(
            tuple(kinds), section.country, section.type, section.number,
            tuple(self._hosts(table, section.host)), tuple(map(addresses.folded, section.user)),
            tuple(map(addresses.folded, section.name)),
            tuple(self._callers(table, section.from_, ("match", "from"), paying=True)),
            tuple(self._regexes(table, section.regex)), self._hours(table, section),
        )  # fmt: skip

    def _regexes(self, table: _Table, patterns: Sequence[str]) -> Iterator[Regex]:
        for number, pattern in enumerate(patterns):
            try:
                yield Regex(pattern)
            except RegexError as error:
                self.fault(table, ("match", "regex", number), f"regex '{pattern}': {error}")

    def _hours(self, table: _Table, section: MatchSection) -> Hours | None:
        if not section.hours:
            if section.zone is not None:
                self.fault(table, ("match", "zone"), "a zone is for hours, and there are none")
            return None
        zone = self._zone(table, ("match", "zone"), section.zone)
        if section.zone is None and self.zone is None:
            self.fault(table, ("match", "hours"), "hours need a zone, here or in [numbers]")
        zone = zone or self.zone or UTC
        for number, text in enumerate(section.hours):
            try:
                Hours.parse([text], zone)
            except HoursError as error:
                self.fault(table, ("match", "hours", number), f"hours: {error}")
                return None
        return Hours.parse(section.hours, zone)

    def _contradiction(self, table: _Table, section: MatchSection) -> None:
        """Numbers that are of none of the rule's countries."""
        if not section.country or not (section.number or section.type):
            return
        countries = {code for country in section.country for code in _codes(country)}
        codes = [_calling_code(head_of(pattern)) for pattern in section.number]
        if codes and all(code and code not in countries for code in codes):
            where = "/".join(section.country)
            self.fault(table, ("match", "number"), f"never matches: none of these numbers is of {where}")
        if section.type == ("satellite",) and not any(country.startswith("+") for country in section.country):
            self.fault(table, ("match", "type"), "never matches: satellite networks are of no country")

    def _impossible(self, table: _Table, section: MatchSection, kinds: Collection[Kind]) -> None:
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
                self.fault(table, ("match", key), f"never matches: a call of kind {'/'.join(kinds)} has no {key}")
        if section.type and set(kinds) & dialled == {Kind.SHORT} and not numbers.SHORT_TYPES & set(section.type):
            types = " or ".join(sorted(numbers.SHORT_TYPES))
            self.fault(table, ("match", "type"), f"never matches: short codes are {types}, where anything is known")

    def _hosts(self, table: _Table, patterns: Sequence[str]) -> Iterator[str]:
        for number, pattern in enumerate(patterns):
            star = "*." if pattern.startswith("*.") else ""
            try:
                yield "*" if pattern == "*" else star + addresses.host_of(pattern[len(star) :])
            except AddressError as error:
                self.fault(table, ("match", "host", number), f"host: {error}")

    def _callers(self, table: _Table, patterns: Sequence[str], keys: Place, *, paying: bool) -> Iterator[str]:
        """Patterns of callers, prepared; `paying` warns of those who are not our users."""
        for number, pattern in enumerate(patterns):
            place: Place = (*keys, number)
            if pattern.startswith("@"):
                if pattern[1:] not in self.groups:
                    self.fault(table, place, f"there is no group {pattern[1:]!r}{near(pattern[1:], self.groups)}")
                    continue
                patterns_meant: tuple[str, ...] = self.groups[pattern[1:]]
            elif not _is_caller(pattern):
                self.fault(table, place, f"{pattern!r} is no JID, no JID with a *, and no @group")
                continue
            else:
                patterns_meant = (addresses.folded(pattern),)
            yield pattern if pattern.startswith("@") else patterns_meant[0]
            for meant in patterns_meant:
                if paying and self.users and meant.rpartition("@")[2] not in self.users:
                    message = f"{meant} lets others than users of [xmpp] users call out, at your expense"
                    self.fault(table, place, message, warning=True)

    def _unreached(
        self,
        pairs: Iterator[tuple[int, int]],
        rules: Sequence[plan.Rule | plan.InboundRule],
        sound: Mapping[int, _Table],
    ) -> None:
        for later, earlier in pairs:
            if later in sound and earlier in sound:
                name, first = rules[later].name, rules[earlier].name
                message = f"rule {name!r} is never reached: {first!r} before it matches all that it does"
                self.fault(sound[later], (), message)

    def _inbounds(self) -> tuple[list[plan.InboundRule], dict[int, _Table]]:
        rules: list[plan.InboundRule] = []
        sound: dict[int, _Table] = {}
        for number, (table, section) in enumerate(self.sections("inbound", InboundSection)):
            before = len(self.faults)
            rules.append(self._inbound(table, section, number + 1, self.region))
            if table.sound and len(self.faults) == before:
                sound[number] = table
        return rules, sound

    def _inbound(self, table: _Table, section: InboundSection, number: int, region: str | None) -> plan.InboundRule:
        match = section.match
        for index, trunk in enumerate(match.trunk):
            if trunk not in self.names["trunk"]:
                close = near(trunk, self.names["trunk"])
                self.fault(table, ("match", "trunk", index), f"{trunk!r} is no trunk{close}")
        if match.source and match.trunk:
            self.fault(table, ("match", "source"), 'source = "any" and trunk contradict each other')
        dialled = []
        for index, text in enumerate(match.number):
            try:
                dialled.append(_e164_pattern(text, region))
            except AddressError as error:
                self.fault(table, ("match", "number", index), f"number: {error}")
        for index, target in enumerate(section.to):
            local, _, domain = target.rpartition("@")
            if not local or "/" in domain:
                self.fault(table, ("to", index), f"{target!r} is no bare JID")
            elif self.users and addresses.folded(domain) not in self.users:
                self.fault(table, ("to", index), f"{domain} is none of [xmpp] users")
        to = tuple(target if "{user}" in target else addresses.folded(target) for target in section.to)
        self._twice(table, ("to",), to)
        rule = plan.InboundMatch(
            match.source == "any", match.trunk, tuple(dialled), tuple(map(addresses.folded, match.user))
        )
        return plan.InboundRule(section.name or f"inbound {number}", rule, to, section.ring)

    def _example(self, table: _Table, section: ExampleSection) -> plan.Example | None:
        outgoing = section.to is not None and section.inbound is None
        incoming = section.inbound is not None and section.from_ is None and section.to is None
        if not (outgoing or incoming):
            self.fault(table, (), "an example has to (and from), or inbound")
            return None
        if section.trunk is not None and section.trunk not in self.names["trunk"]:
            close = near(section.trunk, self.names["trunk"])
            self.fault(table, ("trunk",), f"{section.trunk!r} is no trunk{close}")
        if section.region is not None and section.region not in numbers.REGIONS:
            self.fault(table, ("region",), f"{section.region!r} is no region")
        uri = None
        if section.inbound is not None:
            try:
                uri = SipUri.parse(section.inbound)
            except AddressError as error:
                self.fault(table, ("inbound",), f"inbound: {error}")
                return None
        # Files that are shared between installations speak of "some user of ours" and leave `from` out.
        caller = section.from_ or (f"user@{self.users[0]}" if outgoing and self.users else None)
        return plan.Example(
            table.document.file, table.line_of("expect"), caller, section.to, uri, section.trunk, section.region,
            section.at, section.expect.model_dump(exclude_unset=True),
        )  # fmt: skip


def near(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, sorted(map(str, known)), 1, 0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def _is_caller(pattern: str) -> bool:
    local, at, domain = pattern.rpartition("@")
    return pattern == "*" or bool(at and local and domain and "/" not in domain and " " not in pattern)


def _e164_pattern(text: str, region: str | None) -> str:
    if text.endswith("*") and not text[:-1].strip("+0123456789"):
        return text
    number = numbers.read(addresses.dialled(text), region).number
    if number is None:
        raise AddressError(f"{text!r} is no number{'' if region else ' without a region'}")
    return number


def _civic(section: LocationSection) -> tuple[tuple[str, str], ...]:
    values: Mapping[str, str] = section.model_dump(exclude_none=True)
    return tuple((element, values[key]) for key, element in ELEMENTS.items() if key in values)


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


def read_secret(path: Path) -> tuple[str | None, str | None, str | None]:
    """The first line of a file with a secret; what is wrong with it; what is doubtful. The secret is in no message."""
    try:
        with path.open(encoding="utf-8") as file:
            secret = file.readline(4096).strip()
            mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return None, f"cannot be read: {error.strerror or error}", None
    except UnicodeDecodeError:
        return None, "is not UTF-8", None
    if not secret:
        return None, "is empty", None
    return secret, None, "can be read by everybody on this machine" if mode & stat.S_IROTH else None


# Loading --------------------------------------------------------------------------------------------------------------


def load(
    files: Sequence[Path],
    *,
    users: Sequence[str],
    own: Collection[str] = (),
    endpoints: Collection[tuple[str, int]] = (),
    base: Path | None = None,
) -> tuple[plan.Plan, tuple[Fault, ...]]:
    """Reads dialplan files in their order: the plan and its warnings. Raises ConfigurationError with all faults.

    `users`, `own` and `endpoints` are the plan's; nothing is checked against `users` while they are unknown (empty).
    File names are shown relative to `base`.
    """
    loader = _Loader(tuple(users), plan.Plan(own=frozenset(own), endpoints=frozenset(endpoints)))
    for path in files:
        document = toml.read(path, _shown(path, base))
        if isinstance(document, Fault):
            loader.faults.append(document)
        else:
            loader.add(document, path.parent)
    built = loader.build()
    return built, in_order(loader.faults)


def in_order(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """Faults as they stand in the files, files in the order in which they were first met, each fault once."""
    files = list(dict.fromkeys(fault.file for fault in faults))
    return tuple(sorted(dict.fromkeys(faults), key=lambda fault: (files.index(fault.file), fault.line)))


def _shown(path: Path, base: Path | None) -> str:
    if base is not None and path.is_relative_to(base):
        return str(path.relative_to(base))
    return str(path)
