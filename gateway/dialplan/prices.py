"""Price tables: CSV files of up to 200,000 prefixes, and what a number costs by them.

    prefix,connect,per_minute,first,step,destination
    1,0.005,0.012,,,North America             a number costs what its longest prefix says
    1900,0.10,1.99,60,60,premium              the first minute whole, then every minute that has begun
    44,0,0.011,,,United Kingdom               an empty field is what the table says for all of its lines

A prefix is kept as a number with a 1 before it, so that each has its length; all of them stand sorted in one array, and
a look-up is one search for each length that there is. Lines of one price share it. So 200,000 lines take 2.4 MB, and
what different prices there are.
"""

from __future__ import annotations

import csv
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.dialplan.booking import Tariff
from gateway.dialplan.money import millionths

MAX_ROWS = 200_000
MAX_FAULTS = 20  # told of one file
LONGEST = 15  # digits of a number (E.164 §6.2.1)
MAX_SECONDS = 3600  # that are charged whole

_REQUIRED = ("prefix", "connect", "per_minute")
_KNOWN = (*_REQUIRED, "first", "step", "destination")

LineFault = tuple[int, str]  # a line, and what is wrong there
_Shelf = tuple[int, str]  # how long a prefix is, and how it begins: shelves in their order have prefixes in theirs
_Price = tuple[int, int, int, int]  # connect, per_minute, first, step


@dataclass(frozen=True, slots=True)
class PriceTable:
    """What calls cost. `free`: what has no line costs nothing; without, nobody says what it would."""

    name: str
    currency: str
    free: bool = False
    _keys: Sequence[int] = field(default=(), repr=False)
    _which: Sequence[int] = field(default=(), repr=False)
    _prices: tuple[_Price, ...] = field(default=(), repr=False)
    _lengths: tuple[int, ...] = field(default=(), repr=False)  # of prefixes, the longest first

    def __len__(self) -> int:
        return len(self._keys)

    def tariff(self, number: str | None) -> Tariff | None:
        """The price of a number in E.164; None for what has none."""
        digits = number.removeprefix("+") if number else ""
        for length in self._lengths:
            if length > len(digits):
                continue
            key = int("1" + digits[:length])
            place = bisect_left(self._keys, key)
            if place < len(self._keys) and self._keys[place] == key:
                connect, per_minute, first, step = self._prices[self._which[place]]
                return Tariff(self.currency, connect, per_minute, first, step, digits[:length], self.name)
        return Tariff(self.currency, table=self.name) if self.free else None


def read(
    text: str, *, name: str, currency: str, first: int = 1, step: int = 1, free: bool = False
) -> tuple[PriceTable, list[LineFault]]:
    """A table out of the text of its file, and what is wrong about lines of it: the first faults, and how many more."""
    reader = _Reader(first, step)
    reader.read(text)
    keys, which = reader.sorted()
    lengths = sorted({length for length, _ in reader.rows}, reverse=True)
    table = PriceTable(name, currency, free, keys, which, tuple(reader.prices), tuple(lengths))
    faults = reader.faults[:MAX_FAULTS]
    if more := reader.count - len(faults):
        faults.append((faults[-1][0], f"and {more} more faults in this file"))
    return table, faults


@dataclass(slots=True)
class _Reader:
    first: int
    step: int
    rows: dict[_Shelf, dict[int, int]] = field(default_factory=dict)  # a prefix behind a 1 -> which of the prices
    prices: dict[_Price, int] = field(default_factory=dict)
    faults: list[LineFault] = field(default_factory=list)
    count: int = 0
    _places: dict[str, int] = field(default_factory=dict)  # of columns
    _width: int = 0

    def read(self, text: str) -> None:
        lines = csv.reader(_lines(text.removeprefix("\ufeff")), strict=True)
        try:
            self._header(next(lines))
            for number, row in enumerate(self._rows(lines)):
                if number == MAX_ROWS:
                    self._fault(lines.line_num, f"more than {MAX_ROWS:,} prices")
                    break
                self._row(lines.line_num, row)
        except csv.Error as error:
            self._fault(lines.line_num, f"no CSV: {error}")
        if not self.rows and not self.count:
            self._fault(lines.line_num, "there is no price in it")

    def sorted(self) -> tuple[array[int], array[int]]:
        """All prefixes in their order, and the price of each. Shelf by shelf: nothing that is read beside calls may
        take long in one piece.
        """
        keys, which = array("Q"), array("I")
        for shelf in sorted(self.rows):
            rows = self.rows[shelf]
            for key in sorted(rows):
                keys.append(key)
                which.append(rows[key])
        return keys, which

    def _rows(self, lines: Iterator[list[str]]) -> Iterator[list[str]]:
        return (row for row in lines if row) if self._places else iter(())

    def _fault(self, line: int, message: str) -> None:
        self.count += 1
        if self.count <= MAX_FAULTS:
            self.faults.append((line, message))

    def _header(self, row: Sequence[str]) -> None:
        names = [name.strip().lower() for name in row]
        missing = [name for name in _REQUIRED if name not in names]
        unknown = [name for name in names if name not in _KNOWN]
        if missing:
            self._fault(1, f"the first line names the columns, and {' and '.join(missing)} is not among them")
        elif unknown:
            self._fault(1, f"{unknown[0]!r} is no column: {', '.join(_KNOWN)}")
        elif len(set(names)) < len(names):
            self._fault(1, "a column stands there twice")
        else:
            self._places = {name: place for place, name in enumerate(names)}
            self._width = len(names)

    def _row(self, line: int, row: list[str]) -> None:
        if len(row) != self._width:
            self._fault(line, f"{len(row)} fields, and there are {self._width} columns")
            return
        price = self._price(line, row)
        prefix = row[self._places["prefix"]].strip().removeprefix("+")
        if not (prefix.isascii() and prefix.isdigit() and len(prefix) <= LONGEST and prefix[0] != "0"):
            self._fault(line, f"prefix: {prefix[:32]!r} is no beginning of a number in E.164")
            return
        shelf = self.rows.setdefault((len(prefix), prefix[:2]), {})
        if (key := int("1" + prefix)) in shelf:
            self._fault(line, f"prefix: {prefix} stands there already")
        elif price:
            shelf[key] = self.prices.setdefault(price, len(self.prices))

    def _price(self, line: int, row: list[str]) -> _Price | None:
        amounts: list[int] = []
        for name in ("connect", "per_minute"):
            text = row[self._places[name]].strip()
            if (amount := millionths(text)) is None:
                self._fault(line, f"{name}: {text[:32]!r} is no price, as 0.012 is one")
            else:
                amounts.append(amount)
        seconds: list[int] = []
        for name, least, usual in (("first", 0, self.first), ("step", 1, self.step)):
            place = self._places.get(name)
            text = row[place].strip() if place is not None else ""
            if not text:
                seconds.append(usual)
            elif text.isascii() and text.isdigit() and len(text) <= 4 and least <= int(text) <= MAX_SECONDS:
                seconds.append(int(text))
            else:
                self._fault(line, f"{name}: {text[:32]!r} is no number of seconds from {least} to {MAX_SECONDS}")
        return (amounts[0], amounts[1], seconds[0], seconds[1]) if len(amounts) == len(seconds) == 2 else None


def _lines(text: str) -> Iterator[str]:
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end].removesuffix("\r")
        start = end + 1
    yield text[start:]
