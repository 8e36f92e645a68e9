"""`gateway calls`: which calls are asked for, and how they look in a terminal.

    2026-11-22 13:05:01  ──>  juliet@shakespeare.lit  +12025550123  carrier  normal  1:04  4.2  5f2c1a90b1c2

Times are those of the operator's zone, in tables and in what he asks with; exports are in UTC (export.py). Nothing of a
peer's text that could move a cursor is printed.
"""

from __future__ import annotations

import enum
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.call.causes import Cause
from gateway.dialplan.money import Money
from gateway.ops import export
from gateway.ops.terminal import local, plain_console
from gateway.ops.trace import plain
from gateway.storage.history import MOST, History, Question
from gateway.storage.records import AttemptRecord, CallRecord

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_ARROWS = {"outbound": "-->", "inbound": "<--"}
_FAULTY = {"network": "red", "gateway": "bold red", "callee": "yellow", "caller": "yellow"}


class Form(enum.Enum):
    TABLE = enum.auto()
    JSON = enum.auto()
    CSV = enum.auto()

    @classmethod
    def of(cls, as_json: bool, as_csv: bool) -> Form:
        """Raises ValueError when it is to be both."""
        if as_json and as_csv:
            raise ValueError("--json or --csv, not both")
        return cls.JSON if as_json else cls.CSV if as_csv else cls.TABLE

    @property
    def limit(self) -> int:
        return 50 if self is Form.TABLE else MOST


# What is asked -------------------------------------------------------------------------------------------------------


def question(
    since: str | None,
    until: str | None,
    user: str | None,
    number: str | None,
    cause: str | None,
    trunk: str | None,
    failed: bool,
    limit: int,
    now: datetime | None = None,
) -> Question:
    """The options as they were typed, as a question. Raises ValueError, in words for whoever typed them."""
    present = now or datetime.now(UTC)
    if cause is not None and cause not in {known.label for known in Cause}:
        raise ValueError(f"--cause: {cause!r} is none of {', '.join(sorted(known.label for known in Cause))}")
    digits = re.sub(r"[\s().\-/]", "", number or "")
    if number is not None and not re.fullmatch(r"\+?[0-9*#]+", digits):
        raise ValueError(f"--number: {number!r} is no number")
    return Question(
        since=_time("--since", since, present),
        until=_time("--until", until, present, end=True),
        user=(user or "").partition("/")[0].lower(),
        number=digits,
        cause=cause or "",
        trunk=trunk or "",
        failed=failed,
        limit=limit,
    )


def _time(option: str, text: str | None, now: datetime, *, end: bool = False) -> datetime | None:
    """A moment, or an age as 90m. Without a zone it is in that of the machine; a date is its beginning, or its end."""
    if text is None:
        return None
    try:
        if age := re.fullmatch(r"([0-9]{1,9})([smhdw])", text):
            return now - timedelta(seconds=int(age[1]) * _UNITS[age[2]])
        when = datetime.fromisoformat(text)
        if end and re.fullmatch(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}", text):
            when += timedelta(days=1)
        return when.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{option}: {text!r} is no time: 1h, 7d, 2026-11-22 or 2026-11-22T13:05") from None


# What is answered; each returns the command's exit code --------------------------------------------------------------


def find(url: str, call: str) -> CallRecord | None:
    """One call with its ladder. Raises GatewayError."""
    with _history(url) as history:
        return history.call(call)


def show(url: str, call: str, console: Console | None = None) -> int:
    """Print one call, its attempts and its media. Raises GatewayError."""
    record = find(url, call)
    if record is None:
        sys.stderr.write(f"no such call: {plain(call)}\n")
        return 1
    out = console or plain_console()
    for part in _whole(record):
        out.print(part)
    return 0


def list_calls(url: str, asked: Question, form: Form, call: str | None = None, console: Console | None = None) -> int:
    """Print calls, or in an export one call. Raises GatewayError."""
    with _history(url) as history:
        if call is not None:
            record = history.call(call)
            if record is None:
                sys.stderr.write(f"no such call: {plain(call)}\n")
                return 1
            found: Iterable[CallRecord] = (record,)
            there = 1
        else:
            found, there = history.calls(asked), history.count(asked)
        if form is Form.JSON:
            export.write_json(found, sys.stdout)
        elif form is Form.CSV:
            export.write_csv(found, sys.stdout)
        elif there:
            (console or plain_console()).print(_table(found))
    shown = min(asked.limit, MOST)
    if call is None and there > shown:
        sys.stderr.write(f"the latest {shown:,} of {there:,} calls; --limit asks for more, up to {MOST:,}\n")
    if form is Form.TABLE and not there:
        sys.stderr.write("no such calls\n")
    return 0


@contextmanager
def _history(url: str) -> Iterator[History]:
    history = History(url)
    try:
        yield history
    finally:
        history.close()


# How it looks ---------------------------------------------------------------------------------------------------------


def _table(records: Iterable[CallRecord]) -> Table:
    """A line for each call; where some have a price, what they come to together stands below."""
    listed = list(records)
    priced = any(record.price is not None for record in listed)
    table = Table(box=None, pad_edge=False, header_style="bold", footer_style="bold", show_footer=priced)
    zone = datetime.now().astimezone().tzname() or "local"
    table.add_column(f"time ({zone})", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in ("from", "to", "trunk"):
        table.add_column(name, overflow="fold")
    table.add_column("ended", overflow="fold")
    table.add_column(
        "talk", _length(sum(record.duration for record in listed if record.answered)), justify="right", no_wrap=True
    )
    if priced:
        table.add_column("price", _sum(listed), justify="right", no_wrap=True)
    table.add_column("MOS", justify="right", no_wrap=True)
    table.add_column("call", no_wrap=True)
    for record in listed:
        ended = Text(plain(record.cause), _FAULTY.get(record.blame, ""))
        table.add_row(
            local(record.offered),
            _ARROWS.get(record.direction, "   "),
            Text(plain(record.caller)),
            Text(plain(record.callee if record.direction == "inbound" else record.dialled)),
            Text(plain(record.trunk or record.via)),
            Text("emergency ", "bold red").append(ended) if record.emergency else ended,
            _length(record.duration) if record.answered else "",
            *((_price(record),) if priced else ()),
            _score(record.quality.mos),
            Text(plain(record.id)),
        )
    return table


def _sum(records: Iterable[CallRecord]) -> str:
    """What calls come to, in each currency on a line of its own."""
    sums: Counter[str] = Counter()
    for record in records:
        if record.price is not None:
            sums[record.currency] += record.price
    return "\n".join(str(Money(sums[currency], currency)) for currency in sorted(sums))


def _whole(record: CallRecord) -> Iterator[Text | Table]:
    yield Text(f"call {plain(record.id)} · {local(record.offered)} · {record.direction}", "bold")
    told = [
        ("from", record.caller),
        ("to", record.callee or "nobody"),
        ("dialled", record.dialled),
        ("rule", record.rule),
        ("trunk", record.trunk),
        ("ended", f"{record.cause}: {record.text}" if record.text else record.cause),
        ("by", record.by or "the gateway"),
        ("fault", "" if record.blame == "nobody" else record.blame),
        ("Q.850", str(record.q850) if record.q850 else ""),
        ("talk", _length(record.duration) if record.answered else ""),
        ("price", _price(record)),
        ("codecs", record.quality.codec),
        ("recording", " · ".join(filter(None, (record.recording, record.recording_fault)))),
        ("emergency", "yes" if record.emergency else ""),
        ("hops", str(record.hops or "")),
        ("SIP or sid", record.key),
    ]
    facts = _grid((name, Text(plain(value))) for name, value in told if value)
    yield facts
    yield Text("\nstages, seconds after the offer", "bold")
    stages = ("routed", "asked", "progress", "rang", "answered", "connected", "ended")
    yield _grid((name, Text(_after(record, getattr(record, name)))) for name in stages if getattr(record, name))
    if record.attempts:
        yield Text("\nattempts", "bold")
        yield _attempts(record)
    if record.media:
        yield Text("\nmedia, as heard here / as the far end reports", "bold")
        yield _media(record)


def _grid(rows: Iterable[tuple[str, Text]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid


def _attempts(record: CallRecord) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (
        "#",
        "via",
        "target",
        "how",
        "began",
        "dialled",
        "rang",
        "answered",
        "ended",
        "cause",
        "fault",
        "text",
    ):
        table.add_column(name, overflow="fold")
    moments: tuple[Callable[[AttemptRecord], datetime | None], ...] = (
        lambda a: a.began,
        lambda a: a.dialled,
        lambda a: a.rang,
        lambda a: a.answered,
        lambda a: a.ended,
    )
    for tried in record.attempts:
        table.add_row(
            str(tried.number),
            Text(plain(tried.via)),
            Text(plain(tried.target)),
            tried.origin,
            *(_after(record, moment(tried)) for moment in moments),
            Text(f"{tried.cause} ({tried.q850})" if tried.q850 else tried.cause, _FAULTY.get(tried.blame, "")),
            "" if tried.blame == "nobody" else tried.blame,
            Text(plain(tried.text)),
        )
    return table


def _media(record: CallRecord) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("leg", "codec", "in", "out", "lost", "jitter ms", "round trip ms", "MOS", "dropped"):
        table.add_column(name, overflow="fold")
    for leg, counted in record.media.items():
        if not isinstance(counted, dict):
            continue
        dropped = counted.get("dropped") or ()
        table.add_row(
            Text(plain(leg)),
            Text(plain(str(counted.get("codec", "")))),
            _shown(counted.get("received_packets")),
            _shown(counted.get("sent_packets")),
            _both(counted.get("lost"), counted.get("far_lost")),
            _both(counted.get("jitter"), counted.get("far_jitter")),
            _shown(counted.get("round_trip")),
            _both(counted.get("mos"), counted.get("far_mos")),
            Text(plain(", ".join(f"{why} {count}" for why, count in dropped))),
        )
    return table


def _both(ours: object, theirs: object) -> str:
    return f"{_shown(ours) or '-'} / {_shown(theirs) or '-'}"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return str(value) if isinstance(value, int) else ""


def _after(record: CallRecord, moment: datetime | None) -> str:
    return f"{(moment - record.offered).total_seconds():.3f}" if moment is not None else ""


def _length(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _score(mos: float | None) -> str:
    return "" if mos is None else f"{mos:.1f}"


def _price(record: CallRecord) -> str:
    return "" if record.price is None else str(Money(record.price, record.currency)).rstrip()
