"""Which of many rules a call could match, without looking at each.

    rule ──> its rarest condition ──> one table per condition: beginnings, ends, or values
    call ──> what it has of each ──> the few rules found there, in their order ──> each is tried in full

A rule stands in one table only, under the condition that it shares with the fewest others; one without a condition is
found for every call. The index narrows, it never decides: what it finds is matched as if there were no index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from gateway.dialplan.patterns import Heads, head_of
from gateway.dialplan.rules import Match

_TELLING = 4  # characters of a beginning that is not shared by too many: +1 and a digit are

Groups = Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a call has of each condition, None or empty where it has none."""

    kind: str | None = None
    number: str | None = None
    text: str | None = None  # what a regex is compared with
    user: str | None = None
    host: str | None = None
    name: str | None = None
    caller: str | None = None
    types: Collection[str] = ()
    countries: Collection[str] = ()


class Index:
    """Finds rules by their numbers in the sequence that it was made of."""

    def __init__(self, matches: Sequence[Match], groups: Groups) -> None:
        offers = [list(_conditions(match, groups)) for match in matches]
        common: dict[str, Counter[Hashable]] = {}
        for offer in offers:
            for table, keys in offer:
                common.setdefault(table, Counter()).update(keys)
        self._heads: dict[str, Heads] = {}
        self._values: dict[Hashable, list[int]] = {}
        self._all: list[int] = []
        for number, offer in enumerate(offers):
            if not offer:
                self._all.append(number)
                continue
            table, keys = (
                min(offer, key=lambda each: max(map(common[each[0]].__getitem__, each[1]))) if offer[1:] else offer[0]
            )
            if table == "values":
                for key in keys:
                    self._values.setdefault(key, []).append(number)
            else:
                self._heads.setdefault(table, Heads()).add(cast(Collection[str], keys), number)

    @property
    def has_ends(self) -> bool:
        """Whether expressions are looked up by what texts end with."""
        return "text<" in self._heads

    def find(self, facts: Facts) -> list[int]:
        """The rules that this could match, in their order."""
        found = set(self._all)
        for table, heads in self._heads.items():
            name, turned = table.removesuffix("<"), table.endswith("<")
            text: str | None = getattr(facts, name)
            if text is not None:
                heads.find(text[::-1] if turned else text, found)
        if self._values:
            for key in _values(facts.types, facts.countries, (facts.kind,) if facts.kind else ()):
                if key in self._values:
                    found.update(self._values[key])
        return sorted(found)


def _conditions(match: Match, groups: Groups) -> Iterator[tuple[str, Collection[Hashable]]]:
    """Tables that a rule could stand in, each with its keys there: it matches nothing that has none of them."""
    for table, patterns in (
        ("number", match.number),
        ("user", match.user),
        ("host", match.host),
        ("name", match.name),
        ("caller", tuple(expanded(match.from_, groups))),
    ):
        if patterns:
            heads = {head_of(pattern) for pattern in patterns}
            if "" not in heads:
                yield table, heads
                continue
            ends = {head_of(pattern[::-1]) for pattern in patterns}
            if "" not in ends:
                yield f"{table}<", ends
    if match.regex:
        heads = {head for regex in match.regex for head in regex.heads()}
        if "" not in heads:
            yield "text", heads
        if min(map(len, heads)) < _TELLING:
            ends = {tail for regex in match.regex for tail in regex.tails()}
            if "" not in ends:
                yield "text<", ends
    if match.type or match.country:
        yield "values", list(_pairs(match.type, match.country))
    if match.kind:
        yield "values", [("kind", kind) for kind in match.kind]


def _pairs(types: Iterable[str], countries: Collection[str]) -> Iterator[Hashable]:
    for type_ in tuple(types) or (None,):
        yield from ((type_, country) for country in tuple(countries) or (None,))


def _values(types: Collection[str], countries: Collection[str], kinds: Iterable[str]) -> Iterator[Hashable]:
    """The keys of a call: each of its types and countries, together and alone."""
    yield from (("kind", kind) for kind in kinds)
    for type_ in (*types, None):
        yield from ((type_, country) for country in (*countries, None))


def expanded(callers: Iterable[str], groups: Groups) -> Iterator[str]:
    """Patterns of callers with the members of groups in their groups' places."""
    for pattern in callers:
        if pattern.startswith("@"):
            yield from groups.get(pattern[1:], ())
        else:
            yield pattern
