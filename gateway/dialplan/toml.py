"""TOML files with line numbers: tomllib gives values, and this gives the place of each.

An index maps the path of a value, such as ("route", 1, "match", "kind"), to its line. It is made in one pass over text
that tomllib has already accepted, so it need not judge, only follow (TOML 1.0.0).
"""

from __future__ import annotations

import copy
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from gateway.errors import Fault

Key = str | int
Place = tuple[Key, ...]

ENVIRONMENT = "environment"  # what stands in a fault's place of a file
MAX_FILE = 16 * 1024 * 1024  # bytes

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN_KEY = re.compile(r"([A-Za-z0-9_-]++)[ \t]*+=[ \t]*+")  # what most pairs begin with
_PLAIN_LINE = re.compile(r'\[(?:[ \t]*+"[^"\\\n]*+"[ \t]*+,?+)*+[ \t]*+\]')  # an array of plain strings on one line
_PLAIN = re.compile(r'([ \t\r\n]*+)"[^"\\\n]++"[ \t]*+,?+')  # an element, the empty string left out: it may begin \"""
_SCALAR = re.compile(r"[^,\]}#\n\r]+")
_STRINGS = {
    '"""': re.compile(r'"""(?:[^"\\]|\\[\s\S]|"(?!""))*"{3,5}'),
    "'''": re.compile(r"'''(?:[^']|'(?!''))*'{3,5}"),
    '"': re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    "'": re.compile(r"'[^'\n]*'"),
}


class Section(BaseModel):
    """A table of a file: unknown keys are faults, values are never bent into another type."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_default=True, use_attribute_docstrings=True
    )


Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """One file that was read: its name for people, its values, the line of each.

    `variables` names the environment variables that values came from instead.
    """

    file: str
    values: dict[str, object]
    lines: Mapping[Place, int]
    variables: Mapping[Place, str] = field(default_factory=dict)

    def line(self, place: Iterable[Key]) -> int:
        """The line of a value, or of the nearest table around it that stands in the file."""
        known = tuple(place)
        while known and known not in self.lines:
            known = known[:-1]
        return self.lines.get(known, 1)

    def fault(self, place: Iterable[Key], message: str, *, warning: bool = False) -> Fault:
        known = tuple(place)
        for length in range(len(known), 0, -1):
            if variable := self.variables.get(known[:length]):
                return Fault(ENVIRONMENT, 0, f"{variable}: {message}", warning)
        return Fault(self.file, self.line(known), message, warning)


def read(path: Path, shown: str) -> Document | Fault:
    """Reads a file; a fault tells why it cannot be."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
        if len(raw) > MAX_FILE:
            return Fault(shown, 1, f"larger than {MAX_FILE} bytes")
        return parse(raw.decode(), shown)
    except OSError as error:
        return Fault(shown, 0, f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        return Fault(shown, raw[: error.start].count(b"\n") + 1, "not UTF-8")


def parse(text: str, shown: str) -> Document | Fault:
    """Parses the text of a file; a fault tells where it is no TOML."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        where = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
        line = int(where[1]) if where and where[1] else max(1, len(text.rstrip("\n").splitlines()))
        return Fault(shown, line, message[: where.start()] if where else message)
    except RecursionError:
        return Fault(shown, 1, "nested too deeply")
    return Document(shown, values, _Index(text).lines)


def validate(
    document: Document, model: type[Model], values: object, place: Place = ()
) -> tuple[Model | None, list[Fault]]:
    """Values as a model, and every fault of their shape; `place` is where in the document they stand.

    With faults the model holds what is left without the faulty keys, so that the rest can be checked for what it says;
    it is None when too much is missing.
    """
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    faults = [_fault(document, model, place, detail) for detail in details]
    rest = copy.deepcopy(values)
    for detail in details:
        _remove(rest, detail["loc"])
    try:
        return model.model_validate(rest), faults
    except ValidationError:
        return None, faults


def _remove(values: object, place: Place) -> None:
    """Takes out a key, a whole list for an element of it: the others would move."""
    if place and isinstance(values, dict):
        key, *rest = place
        inner = values.get(key)
        if rest and isinstance(inner, dict):
            _remove(inner, tuple(rest))
        else:
            values.pop(key, None)


def _fault(document: Document, model: type[BaseModel], place: Place, detail: ErrorDetails) -> Fault:
    where = place + tuple(detail["loc"])
    name = ".".join(str(key) for key in detail["loc"] if isinstance(key, str)) or "this"
    match detail["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(str(where[-1]), _keys(model, detail["loc"][:-1]), 1)
            message = f"unknown key {where[-1]!r}" + (f", did you mean {near[0]!r}?" if near else "")
        case "missing":
            table = f" in [{where[0]}]" if len(where) == 2 and where[0] not in document.values else ""
            message = f"{name}: too few values" if isinstance(where[-1], int) else f"{where[-1]!r} is missing{table}"
        case "too_short" | "string_too_short":
            message = f"{name}: may not be empty"
        case "model_type":
            message = f"{where[-1]!r} must be a table" if where else "not a table"
        case "tuple_type":
            message = f"{name}: a word or a list of words"
        case _:
            message = f"{name}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
    return document.fault(where, message)


def _keys(model: type[BaseModel], place: Iterable[Key]) -> list[str]:
    """The keys that are known at a place of a model."""
    for key in place:
        if isinstance(key, int):
            continue
        field = next((f for name, f in model.model_fields.items() if key in (name, f.alias)), None)
        inner = _models(field.annotation) if field else []
        if not inner:
            return []
        model = inner[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models(inner)]


class _Index:
    """Follows the text of a document and notes on which line each key, table and element begins."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counts: dict[Place, int] = {}  # how many tables an array of tables has so far
        self._document()

    def _move(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _skip(self, pattern: re.Pattern[str] = _SPACE) -> None:
        found = pattern.match(self._text, self._at)
        self._move(found.end() if found else self._at + 1)

    def _next(self) -> str:
        character = self._text[self._at : self._at + 1]
        if character not in " \t\r\n#":
            return character
        self._skip()
        return self._text[self._at : self._at + 1]

    def _document(self) -> None:
        table: Place = ()
        while character := self._next():
            if character != "[":
                self._pair(table)
                continue
            line, array = self._line, self._text.startswith("[[", self._at)
            self._move(self._at + (2 if array else 1))
            names = self._key()
            table = self._resolve(names[:-1])
            if array:
                place = (*table, names[-1])
                number = self._counts.get(place, 0)
                self._counts[place] = number + 1
                self.lines.setdefault(place, line)
                table = (*place, number)
            else:
                table = self._resolve(names)
            self.lines.setdefault(table, line)
            self._next()
            self._move(self._at + (2 if array else 1))

    def _resolve(self, names: tuple[str, ...]) -> Place:
        """A header's names with the latest element of each array of tables on the way."""
        place: Place = ()
        for name in names:
            place = (*place, name)
            if place in self._counts:
                place = (*place, self._counts[place] - 1)
        return place

    def _pair(self, table: Place) -> None:
        if plain := _PLAIN_KEY.match(self._text, self._at):
            self._at = plain.end()
            self._value((*table, plain[1]))
            return
        line = self._line
        names = self._key()
        for length in range(1, len(names) + 1):
            self.lines.setdefault((*table, *names[:length]), line)
        self._next()
        self._move(self._at + 1)  # =
        self._value((*table, *names))

    def _key(self) -> tuple[str, ...]:
        names = []
        while True:
            start = self._next()
            begin = self._at
            self._skip(_STRINGS.get(start, _BARE))
            spelled = self._text[begin : self._at]
            names.append(str(tomllib.loads(f"k = {spelled}")["k"]) if start in _STRINGS else spelled)
            if self._next() != ".":
                return tuple(names)
            self._move(self._at + 1)

    def _value(self, place: Place) -> None:
        start = self._next()
        self.lines.setdefault(place, self._line)
        if start in ("[", "{"):
            # Lists of prefixes have thousands of elements: on one line they need no entries (line() finds the array's),
            # and plain ones are followed at the speed of one expression.
            if start == "[" and (line := _PLAIN_LINE.match(self._text, self._at)):
                self._at = line.end()
                return
            self._move(self._at + 1)
            number = 0
            while start == "[" and (plain := _PLAIN.match(self._text, self._at)):
                self._line += plain[1].count("\n")
                self._at = plain.end()
                self.lines[(*place, number)] = self._line
                number += 1
            while self._next() not in ("]", "}", ""):
                if start == "[":
                    self._value((*place, number))
                else:
                    self._pair(place)
                number += 1
                if self._next() == ",":
                    self._move(self._at + 1)
            self._move(self._at + 1)
        elif start in _STRINGS:
            triple = start * 3
            self._skip(_STRINGS[triple if self._text.startswith(triple, self._at) else start])
        else:
            self._skip(_SCALAR)
