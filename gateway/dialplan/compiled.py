"""The plan: everything that dialplan files say, with what makes it quick to ask."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from gateway import contacts
from gateway.addresses import SipUri
from gateway.dialplan.index import Index, expanded
from gateway.dialplan.numbers import Kind
from gateway.dialplan.patterns import Globs
from gateway.dialplan.prices import PriceTable
from gateway.dialplan.rules import (
    Allowance,
    BudgetRule,
    BurstRule,
    CallerSettings,
    Emergency,
    Example,
    InboundRule,
    LimitRule,
    Match,
    Policy,
    Rule,
    Trunk,
)

_UNSET = CallerSettings()
_SETTINGS = tuple(each.name for each in fields(CallerSettings))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides where calls go. `users` are the domains of our users; `own` our names, whatever the port;
    `endpoints` the addresses and ports that we listen on, where another port may well be somebody else's; `callers`
    what [users] sets, by JID or "@group"; `anonymous_prefix` what is dialled before a number to call without a name.
    `includes` says which files it has beside those that it was read from: folders, and patterns of names there.
    """

    users: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()
    endpoints: frozenset[tuple[str, int]] = frozenset()
    region: str | None = None
    route_unassigned: bool = False
    emergency: Emergency | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    trunks: Mapping[str, Trunk] = field(default_factory=dict)
    routes: tuple[Rule, ...] = ()
    inbound: tuple[InboundRule, ...] = ()
    examples: tuple[Example, ...] = ()
    policies: Mapping[str, Policy] = field(default_factory=dict)
    callers: Mapping[str, CallerSettings] = field(default_factory=dict)
    limits: tuple[LimitRule, ...] = ()
    budgets: tuple[BudgetRule, ...] = ()
    bursts: tuple[BurstRule, ...] = ()
    prices: Mapping[str, PriceTable] = field(default_factory=dict)
    anonymous_prefix: str | None = None
    enum_suffixes: tuple[str, ...] = ("e164.arpa",)
    includes: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    index: Index = field(init=False, repr=False, compare=False)
    inbound_index: Index = field(init=False, repr=False, compare=False)
    members: Mapping[str, Globs] = field(init=False, repr=False, compare=False)
    names: tuple[Rule, ...] = field(init=False, repr=False, compare=False)
    group_settings: tuple[tuple[str, CallerSettings], ...] = field(init=False, repr=False, compare=False)
    limited: tuple[Globs, ...] = field(init=False, repr=False, compare=False)  # whom each of `limits` is for
    counted: Mapping[str, Globs] = field(init=False, repr=False, compare=False)  # the same of budgets and bursts
    counts: bool = field(init=False, repr=False, compare=False)  # whether money is spoken of at all

    def __post_init__(self) -> None:
        dialled = [Match(number=rule.match.number, user=rule.match.user) for rule in self.inbound]
        named = (rule for rule in self.routes if rule.match.name or Kind.NAME in rule.match.kind)
        counting: tuple[BudgetRule | BurstRule, ...] = (*self.budgets, *self.bursts)
        derived = {
            "index": Index([rule.match for rule in self.routes], self.groups),
            "inbound_index": Index(dialled, {}),
            "members": {name: Globs(members) for name, members in self.groups.items()},
            "names": tuple(rule for rule in named if rule.refuse is None),
            "group_settings": tuple((name[1:], each) for name, each in self.callers.items() if name.startswith("@")),
            "limited": tuple(self._whom(rule) for rule in self.limits),
            "counted": {rule.name: self._whom(rule) for rule in counting},
            "counts": bool(counting or self.prices or any(each.allowances for each in self.callers.values())),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def _whom(self, rule: LimitRule | BudgetRule | BurstRule) -> Globs:
        return Globs(expanded((f"@{rule.group}",) if rule.group else rule.user, self.groups))

    def trunk_of(self, source: str, resolved: Mapping[str, Collection[str]] = MappingProxyType({})) -> Trunk | None:
        """The trunk that an IP address belongs to: by `allow`, by the address in `proxy`, or by what the proxy's name
        resolves to (`resolved`: trunk name to addresses). The first trunk of the files wins.
        """
        address = address_of(source)
        if address is None:
            return None
        for trunk in self.trunks.values():
            if any(address.version == network.version and address in network for network in trunk.allow):
                return trunk
            known = (trunk.proxy.host, *resolved.get(trunk.name, ()))
            if any(address_of(host) == address for host in known):
                return trunk
        return None

    def named(self, name: str) -> bool:
        """Whether a rule leads somewhere for a local part of kind `name`."""
        return any(not rule.match.name or rule.match.names.match(name) for rule in self.names)

    def withheld(self, text: str) -> str | None:
        """What is dialled behind the prefix of anonymous calls; None when it does not begin with it.

        Text may be escaped as a local part is.
        """
        prefix = self.anonymous_prefix
        if not prefix or not text.startswith(prefix) or len(text) > contacts.MAX_LOCAL:
            return None
        rest = contacts.unescape(text.removeprefix(prefix))
        return rest if contacts.is_dialled(rest) else None

    def settings(self, caller: str) -> CallerSettings:
        """What is set for a bare JID: his own, and where that is silent his groups', in the order of the files."""
        if not self.callers:
            return _UNSET
        layers = self._layers(caller)

        def first(name: str) -> Any:
            return next((value for layer in layers if (value := getattr(layer, name)) is not None), None)

        return CallerSettings(*map(first, _SETTINGS))

    def allowances(self, caller: str) -> list[Allowance]:
        """What [users] lets a bare JID use up: of each kind his own, and where that is silent his groups'."""
        found: dict[object, Allowance] = {}
        for layer in self._layers(caller) if self.callers else ():
            for allowance in layer.allowances or ():
                found.setdefault((allowance.unit, allowance.period), allowance)
        return list(found.values())

    def _layers(self, caller: str) -> list[CallerSettings]:
        own = self.callers.get(caller)
        layers = [own] if own else []
        layers.extend(settings for group, settings in self.group_settings if self._in(group, caller))
        return layers

    def regions_of(self, caller: str) -> Iterator[tuple[str, str | None]]:
        """The groups of a bare JID that something is set for, and their regions."""
        return ((name, each.region) for name, each in self.group_settings if self._in(name, caller))

    def _in(self, group: str, caller: str) -> bool:
        members = self.members.get(group)
        return members is not None and members.match(caller)

    def may(self, match: Match, caller: str) -> bool:
        """Whether a rule is for this caller (rule 1)."""
        if not match.from_:
            return self.ours(caller)
        return match.callers.match(caller) or any(
            self._in(text[1:], caller) for text in match.from_ if text.startswith("@")
        )

    def is_own(self, uri: SipUri, resolved: Collection[str] = ()) -> bool:
        """Whether a URI leads back to this gateway, itself or by what its host resolves to."""
        port = uri.port or (5061 if uri.scheme == "sips" or uri.parameter("transport") == "tls" else 5060)
        ours = [host for host, our_port in self.endpoints if our_port == port]
        return any(same(host, self.own) or same(host, ours) for host in (uri.host, *resolved))

    def ours(self, jid: str) -> bool:
        """Whether a bare JID belongs to one of our users' domains."""
        local, _, domain = jid.rpartition("@")
        return bool(local) and domain in self.users


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def same(host: str, others: Collection[str]) -> bool:
    """Whether a host is one of these, an IPv4 address in IPv6's clothes included."""
    address = address_of(host)
    return host in others or (address is not None and any(address_of(other) == address for other in others))
