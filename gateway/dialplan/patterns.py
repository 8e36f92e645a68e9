"""Patterns with `*` for any text: one against a text, and many at once.

Rules
 1. Nothing is tried twice: a pattern costs its text's length, however many stars it has.
 2. Many patterns cost as few: whole texts and beginnings (`+1202*`) are looked up, only what has a star elsewhere is
    tried one by one. So 200,000 prefixes cost what 200 cost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

__all__ = ["NONE", "Globs", "Heads", "head_of", "stands_for"]


def stands_for(pattern: str, text: str) -> str | None:
    """What the first `*` of the pattern stands for, the whole text when it has none; None when they do not match.

    Linear: each piece between two stars is looked for once, from the left.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return text if text == pattern else None
    last = rest.pop()
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return None
    position, end = len(first), len(text) - len(last)
    star = end if not rest else -1
    for piece in rest:
        found = text.find(piece, position, end)
        if found < 0:
            return None
        star = found if star < 0 else star
        position = found + len(piece)
    return text[len(first) : star]


def head_of(pattern: str) -> str:
    """What every text that matches begins with."""
    return pattern.partition("*")[0]


class Heads:
    """Beginnings of texts, each with the numbers of those who want it."""

    __slots__ = ("_lengths", "_table")

    def __init__(self) -> None:
        self._table: dict[str, int | list[int]] = {}  # hardly a beginning has two, and 200,000 lists would be many
        self._lengths: set[int] = set()

    def add(self, heads: Iterable[str], number: int) -> None:
        """Someone wants texts that begin with one of these."""
        table = self._table
        for head in heads:
            known = table.setdefault(head, number)
            if known is number:
                self._lengths.add(len(head))
            elif isinstance(known, list):
                known.append(number)
            else:
                table[head] = [known, number]

    def find(self, text: str, into: set[int]) -> None:
        """Adds the numbers of those whose beginning the text has."""
        for length in self._lengths:
            found = self._table.get(text[:length])
            if isinstance(found, int):
                into.add(found)
            elif found:
                into.update(found)


class Globs:
    """Several patterns, of which one has to match."""

    __slots__ = ("_heads", "_lengths", "_others", "_whole")

    def __init__(self, patterns: Iterable[str]) -> None:
        whole: list[str] = []
        heads: list[str] = []
        others: list[str] = []
        for pattern in patterns:
            star = pattern.find("*")
            if star < 0:
                whole.append(pattern)
            elif star == len(pattern) - 1:
                heads.append(pattern[:-1])
            else:
                others.append(pattern)
        self._whole = frozenset(whole)
        self._heads = frozenset(heads)
        self._lengths = tuple({len(head) for head in heads})
        self._others = tuple(others)

    def match(self, text: str) -> bool:
        return (
            text in self._whole
            or any(text[:length] in self._heads for length in self._lengths if length <= len(text))
            or any(stands_for(pattern, text) is not None for pattern in self._others)
        )

    def cover(self, patterns: Collection[str]) -> bool:
        """Whether what these patterns match is certain to be matched: each, star and all, is matched as a text."""
        return all(map(self.match, patterns))


NONE = Globs(())
