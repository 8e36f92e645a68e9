"""The tables of dialplan files: each checked for its shape by a model of its own, so that one mistyped key hides no
other fault, and all kept with the lines where they stand.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gateway import contacts
from gateway.dialplan import toml
from gateway.dialplan.schema import NAMED, REPEATED, SINGLE
from gateway.dialplan.toml import Document, Place, Section
from gateway.errors import Fault

AnySection = TypeVar("AnySection", bound=Section)
_NAMING = ("trunk", "route", "policy", "prices", "budget", "burst")  # no two of a kind have the same name


@dataclass(frozen=True, slots=True)
class Table:
    """A table, and where it stands. When it is not `sound`, keys of a wrong shape are missing from it."""

    document: Document
    place: Place
    section: Section
    sound: bool

    def line_of(self, *keys: str | int) -> int:
        return self.document.line((*self.place, *keys))


@dataclass(slots=True)
class Tables:
    """Collects the tables of all files, what they name, and the faults."""

    faults: list[Fault] = field(default_factory=list)
    tables: dict[str, list[Table]] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    names: dict[str, set[str]] = field(default_factory=lambda: {key: set() for key in _NAMING})
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, document: Document) -> None:
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
                known = (*SINGLE, *REPEATED, *NAMED, "groups", "include")
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
        tables.append(Table(document, place, section, sound=not faults))

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
            self.groups[name] = tuple(contacts.folded(member) for member in members)
            for number, member in enumerate(members):
                if not is_caller(member) or member == "*":
                    self.faults.append(document.fault((*place, number), f"{member!r} is no JID, nor one with a *"))

    def sections(self, key: str, model: type[AnySection]) -> Iterator[tuple[Table, AnySection]]:
        for table in self.tables.get(key, []):
            if isinstance(table.section, model):
                yield table, table.section

    def fault(self, table: Table, keys: Place, message: str, *, warning: bool = False) -> None:
        self.faults.append(table.document.fault((*table.place, *keys), message, warning=warning))

    def named(self, table: Table, key: str, name: str | None) -> None:
        """A key that names a policy, a trunk, a group."""
        known: Collection[str] = self.groups if key == "group" else self.names[key]
        if name is not None and name not in known:
            self.fault(table, (key,), f"{name!r} is no {key}{near(name, known)}")

    def twice(self, table: Table, keys: Place, words: Sequence[str]) -> None:
        for number, word in enumerate(words):
            if word in words[:number]:
                self.fault(table, (*keys, number), f"{word!r} stands there already")


def near(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, sorted(map(str, known)), 1, 0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def is_caller(pattern: str) -> bool:
    local, at, domain = pattern.rpartition("@")
    return pattern == "*" or bool(at and local and domain and "/" not in domain and " " not in pattern)
