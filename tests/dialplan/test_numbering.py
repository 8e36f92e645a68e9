"""What people dial in some sixty countries is read as the published numbering plans say.

numbering/README.md tells how the files are written. A row that is read otherwise is listed in its file with the reason,
and fails here as soon as it is read as published.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway import contacts
from gateway.addresses import SipUri
from gateway.contacts import Dialled
from gateway.dialplan import numbers
from gateway.dialplan.numbers import Kind, Reading
from gateway.errors import AddressError

FILES = sorted((Path(__file__).parent / "numbering").glob("*.toml"))


@dataclass(frozen=True, slots=True)
class Row:
    region: str | None
    dialled: str
    expected: str
    deviation: str | None
    compared: bool


def rows() -> Iterator[Row]:
    for file in FILES:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        deviations = table.get("deviations", {})
        assert table["source"]
        compared = {dialled for text, listed in table.get("compared", {}).items() for dialled in listed if text}
        assert set(deviations) | compared <= set(table["read"]), file
        for dialled, expected in table["read"].items():
            yield Row(table.get("region"), dialled, expected, deviations.get(dialled), dialled in compared)


ROWS = list(rows())


def reading_of(row: Row) -> Reading:
    try:
        if row.dialled.startswith("tel:"):
            found = contacts.dialled_in(SipUri.parse(row.dialled))
        else:
            found = contacts.dialled(row.dialled)
    except AddressError as error:
        return Reading(Kind.NUMBER, row.dialled, problem=str(error))
    assert isinstance(found, Dialled)
    return numbers.read(found, row.region)


def difference(reading: Reading, expected: str) -> str | None:
    """What a reading is instead of what was published; None when it is that."""
    what, _, rest = expected.partition(" ")
    match what:
        case "emergency":
            dial, _, foreign = rest.partition(" ")
            same = (reading.kind, reading.dial, reading.foreign) == (Kind.EMERGENCY, dial, foreign == "foreign")
        case "short":
            same = reading.kind is Kind.SHORT and reading.problem is None
        case "refused":
            same = reading.number is None and rest in (reading.problem or "")
        case number if rest == "unassigned":
            same = reading.number == number and not reading.assigned
        case number:
            types, _, country = rest.partition(" ")
            published = set(types.split("/"))
            # The metadata may know a mobile or fixed number only as one of the two.
            either = published & {"mobile", "fixed_line"} and set(reading.types) == {"mobile", "fixed_line"}
            same = (
                (reading.number, reading.assigned, reading.problem) == (number, True, None)
                and (set(reading.types) == published or bool(either))
                and country in ("*", reading.country or "-")
            )
    return None if same else f"published as {expected}, read as {reading}"


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            row,
            id=f"{row.region} {row.dialled}",
            marks=[pytest.mark.xfail(reason=row.deviation, raises=AssertionError, strict=True)]
            if row.deviation
            else [],
        )
        for row in ROWS
    ],
)
def test_a_dialled_string_is_read_as_published(row: Row) -> None:
    assert difference(reading_of(row), row.expected) is None


def test_there_are_300_strings_of_40_countries_and_few_are_read_otherwise() -> None:
    assert len(ROWS) >= 300
    assert len({row.region for row in ROWS if row.region}) >= 40
    assert sum(row.deviation is not None for row in ROWS) <= 10


def test_300_strings_of_40_countries_were_compared_with_a_text() -> None:
    compared = [row for row in ROWS if row.compared]
    assert len(compared) >= 300
    assert len({row.region for row in compared if row.region}) >= 40


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.expected[0] == "+" and not row.deviation], ids=lambda row: f"{row.dialled}"
)
def test_a_published_number_reads_the_same_in_every_region(row: Row) -> None:
    number = row.expected.split()[0]
    readings = {numbers.read(Dialled(number), region) for region in (None, "US", "GB", "DE", "IT", "RU", "BR", "JP")}
    assert len(readings) == 1
    assert readings.pop().number == number


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.expected[0] == "+" and not row.deviation], ids=lambda row: f"{row.dialled}"
)
def test_what_a_telephone_dials_for_a_published_number_leads_there(row: Row) -> None:
    number = row.expected.split()[0]
    for region in {row.region or "DE", "US", "DE", "RU"}:
        digits = numbers.digits_from(number, region)
        assert numbers.read(Dialled(digits), region).number == number, (digits, region)
