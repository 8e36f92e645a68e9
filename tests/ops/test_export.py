"""What programs get of call records."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from gateway.ops.export import COLUMNS, write_csv, write_json
from gateway.storage.records import CallRecord, Quality
from tests.storage.test_records import CALL


def rows(*records: CallRecord) -> list[dict[str, str]]:
    out = io.StringIO()
    write_csv(records, out)
    return list(csv.DictReader(io.StringIO(out.getvalue())))


def test_json_has_a_call_on_each_line_with_its_attempts_and_media() -> None:
    out = io.StringIO()
    write_json((CALL, replace(CALL, id="c2")), out)
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert (first["id"], second["id"]) == ("c1", "c2")
    assert first["offered"] == "2026-11-22T12:00:00.250000+00:00"
    assert first["price"] == "12.345678"
    assert first["quality"]["mos"] == 3.9
    assert first["media"] == {"caller": {"received_packets": 3000, "codec": "opus"}}
    assert [attempt["cause"] for attempt in first["attempts"]] == ["congestion", "normal"]
    assert "ladder" not in first


def test_csv_has_a_line_for_each_call_under_their_names() -> None:
    (row,) = rows(CALL)
    assert tuple(row) == COLUMNS
    assert row["answered"] == "2026-11-22T12:00:04.250000+00:00"
    assert (row["dialled"], row["emergency"], row["attempts"], row["codec"]) == ("+12025550123", "1", "2", "opus PCMA")
    assert (row["price"], row["currency"], row["mos"]) == ("12.345678", "EUR", "3.9")


def test_what_is_not_known_is_empty() -> None:
    (row,) = rows(replace(CALL, answered=None, price=None, quality=Quality()))
    assert (row["answered"], row["price"], row["mos"], row["loss"]) == ("", "", "", "")


@pytest.mark.parametrize(("price", "text"), [(0, "0.000000"), (100_000, "0.100000"), (10**15, "1000000000.000000")])
def test_prices_are_exact(price: int, text: str) -> None:
    assert rows(replace(CALL, price=price))[0]["price"] == text


@pytest.mark.parametrize("formula", ["=1+1", "+1+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "\t=1", "\r=1", "·=1"])
def test_a_cell_is_no_formula_whatever_a_peer_writes(formula: str) -> None:
    assert rows(replace(CALL, text=formula))[0]["text"].startswith("'")


def test_nothing_that_a_terminal_would_obey_is_written() -> None:
    out = io.StringIO()
    nasty = replace(CALL, text="a\x1b[2Jb\x9bc\nd\u202ee")
    write_csv((nasty,), out)
    write_json((nasty,), out)
    assert all(character.isprintable() or character == "\n" for character in out.getvalue())
    assert rows(nasty)[0]["text"] == "a·[2Jb·c·d·e"
    assert len(out.getvalue().splitlines()) == 3
