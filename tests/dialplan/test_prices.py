"""Price tables: what a number costs, and what is wrong about which line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialplan.booking import Tariff
from gateway.dialplan.prices import MAX_FAULTS, MAX_ROWS, PriceTable, read

SHEET = """\ufeffprefix,connect,per_minute,first,step,destination
1,0.005,0.012,,,North America
+1900,0.10,1.99,60,60,"premium, of all kinds"

44,0,0.011,,6,United Kingdom\r
447,0,0.05,30,,United Kingdom mobile
88,1,1,,,
"""


def table(text: str = SHEET, **more: Any) -> PriceTable:
    built, faults = read(text, name="carrier-a", currency="EUR", **more)
    assert faults == []
    return built


def faults(text: str) -> list[tuple[int, str]]:
    return read(text, name="a", currency="EUR")[1]


@pytest.mark.parametrize(
    ("number", "tariff"),
    [
        ("+12025550123", Tariff("EUR", 5_000, 12_000, 1, 1, "1", "carrier-a")),
        ("+19005550123", Tariff("EUR", 100_000, 1_990_000, 60, 60, "1900", "carrier-a")),
        ("+442079460018", Tariff("EUR", 0, 11_000, 1, 6, "44", "carrier-a")),
        ("+447700900123", Tariff("EUR", 0, 50_000, 30, 1, "447", "carrier-a")),
        ("+44", Tariff("EUR", 0, 11_000, 1, 6, "44", "carrier-a")),
        ("+4", None),
        ("+33142685300", None),
        ("+8", None),
        ("+881612345678", Tariff("EUR", 1_000_000, 1_000_000, 1, 1, "88", "carrier-a")),
        ("", None),
        (None, None),
    ],
)
def test_the_longest_prefix_of_a_number_says_what_it_costs(number: str | None, tariff: Tariff | None) -> None:
    assert table().tariff(number) == tariff


def test_what_a_line_does_not_say_is_said_of_the_table() -> None:
    found = table(first=60, step=30).tariff("+12025550123")
    assert found
    assert (found.first, found.step) == (60, 30)


def test_what_has_no_line_is_free_only_where_that_is_said() -> None:
    assert table(free=True).tariff("+33142685300") == Tariff("EUR", table="carrier-a")
    assert table(free=True).tariff(None) == Tariff("EUR", table="carrier-a")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("44,0", "2 fields, and there are 3 columns"),
        ("44,0,1,2", "4 fields, and there are 3 columns"),
        ("0044,0,1", "prefix: '0044' is no beginning of a number in E.164"),
        ("4a,0,1", "prefix: '4a' is no beginning of a number in E.164"),
        ("٤٤,0,1", "prefix: '٤٤' is no beginning of a number in E.164"),
        (",0,1", "prefix: '' is no beginning of a number in E.164"),
        ("1234567890123456,0,1", "prefix: '1234567890123456' is no beginning of a number in E.164"),
        ("1,0,1", "prefix: 1 stands there already"),
        ("+1,0,1", "prefix: 1 stands there already"),
        ("44,-1,1", "connect: '-1' is no price, as 0.012 is one"),
        ("44,0,NaN", "per_minute: 'NaN' is no price, as 0.012 is one"),
        ("44,0,1e400", "per_minute: '1e400' is no price, as 0.012 is one"),
        ("44,0,0.0000001", "per_minute: '0.0000001' is no price, as 0.012 is one"),
        ("44,0,99999999999", "per_minute: '99999999999' is no price, as 0.012 is one"),
        ('44,"0,1",1', "connect: '0,1' is no price, as 0.012 is one"),
        ("44,,1", "connect: '' is no price, as 0.012 is one"),
    ],
)
def test_a_broken_line_is_told_by_its_number(line: str, fault: str) -> None:
    assert faults(f"prefix,connect,per_minute\n1,0,1\n\n{line}\n49,0,1\n") == [(4, fault)]


def test_every_fault_of_a_line_is_told() -> None:
    assert faults("prefix,connect,per_minute,step,first\nx,y,z,0,3601\n") == [
        (2, "connect: 'y' is no price, as 0.012 is one"),
        (2, "per_minute: 'z' is no price, as 0.012 is one"),
        (2, "first: '3601' is no number of seconds from 0 to 3600"),
        (2, "step: '0' is no number of seconds from 1 to 3600"),
        (2, "prefix: 'x' is no beginning of a number in E.164"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("", 1, "the first line names the columns, and prefix and connect and per_minute is not among them"),
        ("prefix;connect;per_minute\n", 1, "the first line names the columns, and prefix and connect"),
        ("prefix,connect,per_minute,rate\n1,0,1,2\n", 1, "'rate' is no column"),
        ("prefix,connect,per_minute,Prefix\n1,0,1,2\n", 1, "a column stands there twice"),
        ("prefix,connect,per_minute\n", 2, "there is no price in it"),
        ('prefix,connect,per_minute\n1,0,"1\n2,0,1', 3, "no CSV: "),
        ("prefix,connect,per_minute\n1,0,1\x00\n", 2, "per_minute: '1\\x00' is no price"),
    ],
)
def test_a_file_that_is_no_table_says_why(text: str, line: int, fault: str) -> None:
    ((found, message),) = faults(text)
    assert (found, message.startswith(fault)) == (line, True), message


def test_a_file_that_is_all_wrong_tells_the_first_faults_and_how_many_more() -> None:
    found = faults("prefix,connect,per_minute\n" + "x,0,1\n" * 1000)
    assert len(found) == MAX_FAULTS + 1
    assert found[-1] == (MAX_FAULTS + 1, f"and {1000 - MAX_FAULTS} more faults in this file")


@pytest.mark.slow
def test_a_table_has_two_hundred_thousand_prices_and_no_more() -> None:
    lines = "prefix,connect,per_minute\n" + "\n".join(f"{prefix},0,0.01" for prefix in range(100_000, 300_000))
    assert len(table(lines)) == MAX_ROWS
    assert faults(lines + "\n9,0,1\n9,0,1\n") == [(MAX_ROWS + 2, "more than 200,000 prices")]


DIGITS = st.text("123", min_size=1, max_size=5)


@settings(deadline=None)
@given(st.sets(DIGITS, max_size=20), DIGITS)
def test_a_look_up_says_what_trying_all_prefixes_would(prefixes: set[str], number: str) -> None:
    text = "prefix,connect,per_minute\n9,0,0\n" + "\n".join(f"{prefix},0,0.{prefix}" for prefix in prefixes)
    found = table(text).tariff(f"+{number}")
    fitting = [prefix for prefix in prefixes if number.startswith(prefix)]
    assert (found.prefix if found else None) == max(fitting, key=len, default=None)
    assert found is None or found.per_minute == int(found.prefix.ljust(6, "0"))
