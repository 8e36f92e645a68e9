r"""POSIX extended regular expressions with what their groups matched, for short texts: what ENUM rewrites numbers by.

    ^\+44(20)?([0-9]+)$ ──parse──> tree ──> where each part may end, for each place where it may begin ──> the groups

Rules
 1. The leftmost match counts, the longest of those, and of its parts each from the left takes what it can (POSIX
    1003.1 §9.1).
 2. Each part is asked once for each place of the text: the work is bounded by pattern times text squared, whatever they
    are, and both are short.
 3. What POSIX leaves undefined is refused, and so are collating symbols, which no number has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.dialplan.scanner import Scanner

MAX_PATTERN = 255  # characters; a string of DNS has no more
MAX_TEXT = 64
MAX_DEPTH = 20  # groups within groups
_MOST = 255  # in {m,n} (POSIX, RE_DUP_MAX)

_CLASSES = {
    "digit": "0123456789",
    "xdigit": "0123456789abcdefABCDEF",
    "upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "lower": "abcdefghijklmnopqrstuvwxyz",
    "space": " \t\r\n\f\v",
    "blank": " \t",
    "punct": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
}
_CLASSES["alpha"] = _CLASSES["upper"] + _CLASSES["lower"]
_CLASSES["alnum"] = _CLASSES["alpha"] + _CLASSES["digit"]


class EreError(ValueError):
    """The pattern is none, or not one that can be matched here."""


@dataclass(frozen=True, slots=True, eq=False)
class _Character:
    of: frozenset[str]
    negated: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Edge:
    """The beginning of the text, or its end."""

    end: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Sequence:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    number: int
    part: _Node


@dataclass(frozen=True, slots=True, eq=False)
class _Repeat:
    part: _Node
    least: int
    most: int | None  # None: any number


_Node = _Character | _Edge | _Sequence | _Choice | _Group | _Repeat
_Span = tuple[int, int]


class _Parser(Scanner):
    fault = EreError

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
        self._depth = 0
        self.groups = 0

    def parse(self) -> _Node:
        node = self._choice()
        if not self._ended():
            raise EreError("an unmatched )")
        return node

    def _choice(self) -> _Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _Choice(tuple(parts))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            node = self._atom()
            # COMPAT: zones written after RFC 2916, whose own example says ^+46 and means the character.
            if isinstance(node, _Edge) and self._take("+"):
                parts += (node, _Character(frozenset("+")))
                continue
            if counts := self._counts():
                node = _Repeat(node, *counts)
                if self._counts():
                    raise EreError("a repetition of a repetition: put it into a group")
            parts.append(node)
        return _Sequence(tuple(parts))

    def _atom(self) -> _Node:
        match character := self._next("it"):
            case "(":
                return self._group()
            case "[":
                return self._bracket()
            case ".":
                return _Character(frozenset(), negated=True)
            case "^" | "$":
                return _Edge(character == "$")
            case "*" | "+" | "?" | "{":
                raise EreError(f"nothing that {character} could repeat")
            case "\\":
                character = self._next("an escape")
                if character.isalnum():
                    raise EreError(f"\\{character} is not defined")
        return _Character(frozenset(character))

    def _group(self) -> _Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise EreError(f"more than {MAX_DEPTH} groups within groups")
        self.groups += 1
        number = self.groups
        node = self._choice()
        if not self._take(")"):
            raise EreError("a ( without its )")
        self._depth -= 1
        return _Group(number, node)

    def _bracket(self) -> _Node:
        negated = self._take("^")
        found: set[str] = set()
        first = True
        while first or self._peek() != "]":
            first = False
            low = self._next("a bracket")
            if low == "[" and self._peek() in (":", ".", "="):
                found.update(self._class())
            elif self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._next("a range")
                if high < low or ord(high) > 0x7F:
                    raise EreError("a range that is none")
                found.update(map(chr, range(ord(low), ord(high) + 1)))
            else:
                found.add(low)
        self._at += 1
        return _Character(frozenset(found), negated)

    def _class(self) -> str:
        end = self._text.find(":]", self._at + 1)
        name = self._text[self._at + 1 : end] if self._peek() == ":" and end > 0 else ""
        if name not in _CLASSES:
            raise EreError("a class of characters that nobody knows")
        self._at = end + 2
        return _CLASSES[name]

    def _counts(self) -> tuple[int, int | None] | None:
        for character, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(character):
                return counts
        if not self._take("{"):
            return None
        end = self._text.find("}", self._at)
        low, comma, high = self._text[self._at : max(end, self._at)].partition(",")
        numbers = [text for text in (low, high) if text]
        if end < 0 or not low or not all(text.isascii() and text.isdigit() and len(text) <= 3 for text in numbers):
            raise EreError("{ is {m}, {m,} or {m,n}")
        self._at = end + 1
        least, most = int(low), int(high) if high else None if comma else int(low)
        if max(least, most or 0) > _MOST or (most is not None and most < least):
            raise EreError(f"{{{low}{comma}{high}}} is no number of times")
        return least, most


class Ere:
    """A compiled pattern. Raises EreError."""

    def __init__(self, pattern: str, *, ignore_case: bool = False) -> None:
        if len(pattern) > MAX_PATTERN:
            raise EreError(f"more than {MAX_PATTERN} characters")
        parser = _Parser(pattern)
        self._tree = parser.parse()
        self._ignore_case = ignore_case
        self.groups = parser.groups

    def search(self, text: str) -> tuple[str, ...] | None:
        """What was matched, and what each group was, "" where it took no part; None where nothing matches."""
        if len(text) > MAX_TEXT:
            raise EreError(f"a text of more than {MAX_TEXT} characters")
        run = _Run(text, self._ignore_case)
        for start in range(len(text) + 1):
            if ends := run.ends(self._tree, start):
                span = (start, ends.bit_length() - 1)
                spans = {0: span}
                run.capture(self._tree, span, spans)
                found = (spans.get(number, (0, 0)) for number in range(self.groups + 1))
                return tuple(text[begin:end] for begin, end in found)
        return None


class _Run:
    """One search. Sets of places are integers, one bit for each."""

    def __init__(self, text: str, ignore_case: bool) -> None:
        self._text = text
        self._ignore_case = ignore_case
        self._known: dict[tuple[object, ...], int] = {}

    def ends(self, node: _Node, start: int) -> int:
        """Where a part that begins at `start` may end."""
        key = (node, start)
        if (known := self._known.get(key)) is None:
            known = self._known[key] = self._ends(node, start)
        return known

    def _ends(self, node: _Node, start: int) -> int:
        match node:
            case _Character():
                return 1 << start + 1 if start < len(self._text) and self._takes(node, self._text[start]) else 0
            case _Edge(end):
                return 1 << start if start == (len(self._text) if end else 0) else 0
            case _Sequence(parts):
                reached = 1 << start
                for part in parts:
                    reached = self._after(part, reached)
                return reached
            case _Choice(parts):
                reached = 0
                for part in parts:
                    reached |= self.ends(part, start)
                return reached
            case _Group(_, part):
                return self.ends(part, start)
            case _Repeat(part, least, most):
                return self._times(part, start, least, most)

    def _takes(self, node: _Character, character: str) -> bool:
        if self._ignore_case:
            return (not node.of.isdisjoint((character.lower(), character.upper()))) != node.negated
        return (character in node.of) != node.negated

    def _after(self, part: _Node, places: int) -> int:
        reached = 0
        for place in _places(places):
            reached |= self.ends(part, place)
        return reached

    def _times(self, part: _Node, start: int, least: int, most: int | None) -> int:
        """Where so many of a part may end."""
        key = (part, start, least, most)
        if (known := self._known.get(key)) is not None:
            return known
        # One that takes nothing may stand there as often as anybody likes, and one that takes something no more often
        # than there are characters.
        length = len(self._text) + 1
        reached = 1 << start
        for _ in range(least):
            reached = self._after(part, reached)
        found = reached
        for _ in range(length if most is None else min(most - least, length)):
            reached = self._after(part, reached) & ~found
            if not reached:
                break
            found |= reached
        self._known[key] = found
        return found

    def capture(self, node: _Node, span: _Span, into: dict[int, _Span]) -> None:
        """What the groups of a part took that begins and ends there."""
        start, end = span
        match node:
            case _Sequence(parts):
                for part, each in zip(parts, self._shares(parts, start, end), strict=True):
                    self.capture(part, each, into)
            case _Choice(parts):
                self.capture(next(part for part in parts if self.ends(part, start) >> end & 1), span, into)
            case _Group(number, part):
                into[number] = span
                self.capture(part, span, into)
            case _Repeat(part, least, most):
                for each in self._rounds(part, span, least, most):
                    self.capture(part, each, into)

    def _shares(self, parts: tuple[_Node, ...], start: int, end: int) -> list[_Span]:
        """How the parts of a sequence share the text: each from the left as much as the others leave it."""
        reached = [1 << start]
        for part in parts:
            reached.append(self._after(part, reached[-1]))
        leads = [1 << end]  # places from which the rest of the parts can reach the end
        for part, before in zip(reversed(parts), reversed(reached[:-1]), strict=True):
            leads.append(sum(1 << place for place in _places(before) if self.ends(part, place) & leads[-1]))
        leads.reverse()
        spans = []
        for part, lead in zip(parts, leads[1:], strict=True):
            until = (self.ends(part, start) & lead).bit_length() - 1
            spans.append((start, until))
            start = until
        return spans

    def _rounds(self, part: _Node, span: _Span, least: int, most: int | None) -> Iterator[_Span]:
        """The same for the times that a part is repeated, those at the end that take nothing left out."""
        place, end = span
        while place < end or (least > 0 and place == span[0]):
            least, most = max(least - 1, 0), None if most is None else most - 1
            ends = self.ends(part, place)
            until = next(each for each in _places(ends, down=True) if self._times(part, each, least, most) >> end & 1)
            yield place, until
            place = until


def _places(of: int, *, down: bool = False) -> Iterator[int]:
    found = [place for place in range(of.bit_length()) if of >> place & 1]
    return iter(found[::-1] if down else found)
