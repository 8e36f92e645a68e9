"""Call records for programs: JSON lines with everything, CSV with one line for each call.

Times are ISO 8601 in UTC. Prices are decimal, in the currency's unit. A CSV cell that a spreadsheet would take for a
formula gets an apostrophe before it, for peers choose what is in there; a number in E.164 (+12025550123) stays as it
is. Nothing that a terminal would obey is written.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TextIO

from gateway.ops.trace import plain
from gateway.storage.records import CallRecord, Quality

_QUALITY = tuple(item.name for item in fields(Quality))
_APART = ("media", "quality", "attempts", "ladder")
COLUMNS = (*(item.name for item in fields(CallRecord) if item.name not in _APART), *_QUALITY, "attempts")


def write_json(records: Iterable[CallRecord], out: TextIO) -> None:
    """One object on each line; times, quality and attempts within it."""
    for record in records:
        row = {name: value for name, value in asdict(record).items() if name != "ladder"}
        row["price"] = _price(record)
        out.write(json.dumps(row, default=_spelled) + "\n")


def write_csv(records: Iterable[CallRecord], out: TextIO) -> None:
    """A line of names, and one for each call; `attempts` is how many there were."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        row: dict[str, Any] = {name: getattr(record, name) for name in COLUMNS if hasattr(record, name)}
        row |= {name: getattr(record.quality, name) for name in _QUALITY}
        row |= {"attempts": len(record.attempts), "price": _price(record)}
        writer.writerow([_cell(row[name]) for name in COLUMNS])


def _spelled(value: object) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)


def _price(record: CallRecord) -> str | None:
    """Exact, as text: 0.1 is no binary fraction."""
    return None if record.price is None else f"{Decimal(record.price).scaleb(-6):f}"


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime):
        return _spelled(value)
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "·") and not re.fullmatch(r"\+\d+", text) else text
