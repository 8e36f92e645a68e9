r"""Regular expressions that cannot hang: a subset of Python's, matched in one pass over the text.

    \+49(30|40)\d{3,8} ──parse──> tree ──> positions: which character each takes, which may follow ──> one set per step

Rules
 1. A pattern has to match the whole text. `^` at its beginning and `$` at its end may stand there and change nothing.
 2. There are characters, `.`, classes, `\d \w \s` and their opposites, groups, `|`, `*`, `+`, `?` and `{m,n}`. What
    would need to try again, back references and looking around, is refused; so is what grows beyond MAX_POSITIONS.
 3. A text costs one step per character, and a step at most the number of positions (Glushkov's construction: the states
    are sets of positions, and are remembered). There is no pattern and no text that costs more.
 4. Everything is compared in lower case, as addresses are.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.dialplan.scanner import Scanner

MAX_PATTERN = 1000  # characters
MAX_POSITIONS = 500  # characters after {m,n} has been written out
MAX_DEPTH = 30  # groups within groups
_MEMORY = 4096  # remembered steps of one pattern
_HEADS = 64  # beginnings that one pattern may have in an index

_DIGITS = frozenset("0123456789")
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_SPACE = frozenset(" \t\r\n\f\v")


class RegexError(ValueError):
    """The pattern is none, or not one of the kind that can be matched in one pass."""


@dataclass(frozen=True, slots=True)
class _Characters:
    """One character of these, or of all others."""

    of: frozenset[str]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class _Sequence:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    part: _Node
    least: int
    most: int | None  # None: any number


_Node = _Characters | _Sequence | _Choice | _Repeat
_ANY = _Characters(frozenset("\n"), negated=True)
_CLASSES = {
    "d": _Characters(_DIGITS), "D": _Characters(_DIGITS, negated=True),
    "w": _Characters(_WORD), "W": _Characters(_WORD, negated=True),
    "s": _Characters(_SPACE), "S": _Characters(_SPACE, negated=True),
}  # fmt: skip


class _Parser(Scanner):
    fault = RegexError

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
        self._depth = 0

    def parse(self) -> _Node:
        self._take("^")
        node = self._choice()
        if not self._ended():
            raise RegexError("an unmatched )")
        return node

    def _choice(self) -> _Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _Choice(tuple(parts))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while (character := self._peek()) and character not in "|)":
            if character == "$" and self._at == len(self._text) - 1:
                self._at += 1
                break
            parts.append(self._repeated(self._atom()))
        return _Sequence(tuple(parts))

    def _atom(self) -> _Node:
        match character := self._next("it"):
            case "(":
                return self._group()
            case "[":
                return self._class()
            case ".":
                return _ANY
            case "\\":
                return self._escape()
            case "*" | "+" | "?" | "{":
                raise RegexError(f"nothing that {character} could repeat")
            case "^" | "$":
                raise RegexError(f"{character} within: the whole text is matched anyway")
        return _Characters(frozenset(character.lower()))

    def _group(self) -> _Node:
        if self._take("?") and not self._take(":"):
            raise RegexError("only (…) and (?:…): looking around, names and flags are not supported")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RegexError(f"more than {MAX_DEPTH} groups within groups")
        node = self._choice()
        if not self._take(")"):
            raise RegexError("a ( without its )")
        self._depth -= 1
        return node

    def _escape(self) -> _Characters:
        character = self._next("an escape")
        if character in _CLASSES:
            return _CLASSES[character]
        if character.isdigit():
            raise RegexError(f"\\{character}: back references are not supported")
        if character.isalpha():
            raise RegexError(f"\\{character} is not supported")
        return _Characters(frozenset(character))

    def _class(self) -> _Characters:
        negated = self._take("^")
        found: set[str] = set()
        first = True
        while first or self._peek() != "]":
            first = False
            low = self._member(found)
            if low is not None and self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._member(found)
                if high is None or high < low or ord(high) - ord(low) > 0x200:
                    raise RegexError("a range that is none")
                found.update(chr(code).lower() for code in range(ord(low), ord(high) + 1))
            elif low is not None:
                found.add(low.lower())
        self._at += 1
        # lower() may give two characters, as for İ: no single one could match those.
        return _Characters(frozenset(character for character in found if len(character) == 1), negated)

    def _member(self, found: set[str]) -> str | None:
        """A character of a class; None for a class within it, whose characters are added."""
        character = self._next("a class")
        if character != "\\":
            return character
        inner = self._escape()
        if inner.negated:
            raise RegexError("the opposite of a class within a class")
        if len(inner.of) == 1:
            return next(iter(inner.of))
        found.update(inner.of)
        return None

    def _repeated(self, node: _Node) -> _Node:
        least: int
        most: int | None
        match self._peek():
            case "*":
                least, most = 0, None
            case "+":
                least, most = 1, None
            case "?":
                least, most = 0, 1
            case "{":
                least, most = self._counts()
            case _:
                return node
        self._at += 1
        self._take("?")  # asking for few or for many makes no difference to whether the whole matches
        if self._peek() and self._peek() in "*+?{":
            raise RegexError("a repetition of a repetition: put it into a group")
        return _Repeat(node, least, most)

    def _counts(self) -> tuple[int, int | None]:
        end = self._text.find("}", self._at)
        low, comma, high = self._text[self._at + 1 : max(end, 0)].partition(",")
        digits = [text for text in (low, high) if text]
        if end < 0 or not low or not all(text.isascii() and text.isdigit() and len(text) <= 4 for text in digits):
            raise RegexError("{ is {m}, {m,} or {m,n}; write \\{ for the character")
        self._at = end
        least = int(low)
        most = int(high) if high else None if comma else least
        if most is not None and most < least:
            raise RegexError(f"{{{low},{high}}} is from much to little")
        return least, most


def _size(node: _Node) -> int:
    match node:
        case _Characters():
            return 1
        case _Sequence(parts) | _Choice(parts):
            return sum(map(_size, parts))
        case _Repeat(part, least, most):
            return _size(part) * max(least if most is None else most, 1)


def _turned(node: _Node) -> _Node:
    """The same pattern read backwards."""
    match node:
        case _Characters():
            return node
        case _Sequence(parts):
            return _Sequence(tuple(_turned(part) for part in reversed(parts)))
        case _Choice(parts):
            return _Choice(tuple(map(_turned, parts)))
        case _Repeat(part, least, most):
            return _Repeat(_turned(part), least, most)


@dataclass(slots=True)
class _Part:
    """A part of the pattern in positions: where it may begin, where it may end, whether it may be empty."""

    first: int
    last: int
    empty: bool


class Regex:
    """A compiled pattern. Two of the same pattern are equal. Raises RegexError."""

    __slots__ = (
        "_explicit",
        "_first",
        "_follow",
        "_heads",
        "_last",
        "_nullable",
        "_others",
        "_sets",
        "_steps",
        "_tails",
        "_tree",
        "pattern",
    )

    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_PATTERN:
            raise RegexError(f"more than {MAX_PATTERN} characters")
        tree = _Parser(pattern).parse()
        if _size(tree) > MAX_POSITIONS:
            raise RegexError(f"more than {MAX_POSITIONS} characters when its repetitions are written out")
        self.pattern = pattern
        self._compile(tree)

    def _compile(self, tree: _Node) -> None:
        self._tree = tree
        self._sets: list[_Characters] = []
        self._follow: list[int] = []
        whole = self._build(tree)
        self._first, self._last, self._nullable = whole.first, whole.last, whole.empty
        # Which positions take a character: those that name it, and of the others those that name what they refuse.
        named = frozenset().union(*(characters.of for characters in self._sets)) if self._sets else frozenset()
        self._explicit = {character: self._taking(character) for character in named}
        self._others = sum(1 << number for number, characters in enumerate(self._sets) if characters.negated)
        self._steps: dict[tuple[int, str], int] = {}
        self._heads: tuple[str, ...] | None = None
        self._tails: tuple[str, ...] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regex) and other.pattern == self.pattern

    def __hash__(self) -> int:
        return hash(self.pattern)

    def __repr__(self) -> str:
        return f"Regex({self.pattern!r})"

    def match(self, text: str) -> bool:
        """Whether the whole text, which is in lower case, matches."""
        if not text:
            return self._nullable
        state = -1  # before the first character
        for character in text:
            following = self._steps.get((state, character))
            if following is None:
                following = self._step(state, character)
            if not following:
                return False
            state = following
        return bool(state & self._last)

    def heads(self) -> tuple[str, ...]:
        """Texts of which every match begins with one; ("",) when nothing better is known."""
        if self._heads is None:
            self._heads = self._find_heads()
        return self._heads

    def tails(self) -> tuple[str, ...]:
        """The same from the end, each text turned round: the heads of the pattern read backwards."""
        if self._tails is None:
            backwards = Regex("")
            backwards._compile(_turned(self._tree))
            self._tails = backwards.heads()
        return self._tails

    def _find_heads(self) -> tuple[str, ...]:
        open_ = [("", -1)]
        closed: list[str] = []
        while open_:
            grown: list[tuple[str, int]] = []
            for text, state in open_:
                reach = self._reach(state)
                ended = self._nullable if state == -1 else bool(state & self._last)
                taken = {c for c, takers in self._explicit.items() if takers & reach}
                if ended or reach & self._others or len(open_) * len(taken) + len(closed) > _HEADS:
                    closed.append(text)
                    continue
                grown += [(text + c, self._step(state, c)) for c in sorted(taken)]
            open_ = grown
        return tuple(sorted(set(closed)))

    def _taking(self, character: str) -> int:
        return sum(
            1 << n for n, characters in enumerate(self._sets) if (character in characters.of) != characters.negated
        )

    def _reach(self, state: int) -> int:
        """The positions that may come after these."""
        if state == -1:
            return self._first
        reach = 0
        while state:
            lowest = state & -state
            reach |= self._follow[lowest.bit_length() - 1]
            state ^= lowest
        return reach

    def _step(self, state: int, character: str) -> int:
        following = self._reach(state) & self._explicit.get(character, self._others)
        if len(self._steps) >= _MEMORY:
            self._steps.clear()
        self._steps[state, character] = following
        return following

    def _build(self, node: _Node) -> _Part:
        match node:
            case _Characters():
                self._sets.append(node)
                self._follow.append(0)
                bit = 1 << (len(self._sets) - 1)
                return _Part(bit, bit, empty=False)
            case _Sequence(parts):
                whole = _Part(0, 0, empty=True)
                for each in parts:
                    whole = self._join(whole, self._build(each))
                return whole
            case _Choice(parts):
                built = [self._build(each) for each in parts]
                whole = _Part(0, 0, empty=any(one.empty for one in built))
                for one in built:
                    whole.first |= one.first
                    whole.last |= one.last
                return whole
            case _Repeat(part, least, most):
                whole = _Part(0, 0, empty=True)
                for number in range(max(least, 1) if most is None else most):
                    once = self._build(part)
                    if most is None and number == max(least, 1) - 1:
                        self._connect(once.last, once.first)
                    once.empty = once.empty or number >= least
                    whole = self._join(whole, once)
                return whole

    def _join(self, left: _Part, right: _Part) -> _Part:
        self._connect(left.last, right.first)
        return _Part(
            left.first | (right.first if left.empty else 0),
            right.last | (left.last if right.empty else 0),
            left.empty and right.empty,
        )

    def _connect(self, lasts: int, firsts: int) -> None:
        while lasts:
            lowest = lasts & -lasts
            self._follow[lowest.bit_length() - 1] |= firsts
            lasts ^= lowest
