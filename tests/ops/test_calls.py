"""`gateway calls` as an operator sees it."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from gateway.errors import GatewayError
from gateway.ops.calls import Form, find, list_calls, question, show
from gateway.storage.history import MOST, Question
from gateway.storage.records import Quality, Records
from tests.storage.test_records import CALL, NOON

MEDIA = {
    "caller": {
        "received_packets": 3000,
        "sent_packets": 2990,
        "codec": "opus",
        "lost": 3,
        "far_lost": 9,
        "jitter": 4.25,
        "far_jitter": 12.0,
        "round_trip": 80.0,
        "mos": 4.3,
        "far_mos": None,
        "dropped": [["stranger", 4]],
    },
    "callee2": {"received_packets": 1, "codec": "PCMA"},  # as an earlier gateway counted
    "broken": 7,
}


@pytest.fixture
async def url(tmp_path: Path) -> str:
    records = Records(f"sqlite:///{tmp_path / 'gateway.db'}")
    await records.start()
    records.put(replace(CALL, media=MEDIA, emergency=False))
    records.put(
        replace(
            CALL,
            id="c2",
            direction="inbound",
            offered=NOON + timedelta(hours=1),
            caller="sip:+442079460123@other.example",
            callee="juliet@shakespeare.lit",
            cause="busy",
            blame="callee",
            text="\x1b[2Jbusy",
            answered=None,
            price=None,
            quality=Quality(),
            attempts=(),
            ladder=(),
        )
    )
    await records.stop()
    return f"sqlite:///{tmp_path / 'gateway.db'}"


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The operator's zone."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Screen:
    """A terminal that keeps what it shows."""

    def __init__(self) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, width=160, highlight=False)

    @property
    def lines(self) -> list[str]:
        return [" ".join(line.split()) for line in self.file.getvalue().splitlines()]


def asked(**options: str) -> Question:
    known = dict.fromkeys(("since", "until", "user", "number", "cause", "trunk"))
    return question(**(known | options), failed=False, limit=50, now=NOON)


def test_calls_are_listed_in_the_operators_time_the_newest_last(url: str, tokyo: None) -> None:
    screen = Screen()
    assert list_calls(url, Question(), Form.TABLE, console=screen.console) == 0
    assert screen.lines == [
        "time (JST) from to trunk ended talk price MOS call",
        "2026-11-22 21:00:00 --> juliet@shakespeare.lit +12025550123 carrier normal 1:00 12.345678 EUR 3.9 c1",
        "2026-11-22 22:00:00 <-- sip:+442079460123@other.example juliet@shakespeare.lit carrier emergency busy c2",
        "1:00 12.345678 EUR",
    ]


def test_one_call_is_shown_with_its_stages_attempts_and_media(url: str, tokyo: None) -> None:
    screen = Screen()
    assert show(url, "c1", screen.console) == 0
    text = screen.lines
    assert text[0] == "call c1 · 2026-11-22 21:00:00 · outbound"
    for line in (
        "from juliet@shakespeare.lit",
        "to sip:+12025550123@sbc.carrier.example",
        "ended normal",
        "price 12.345678 EUR",
        "asked 0.009",
        "answered 4.000",
        "1 reserve sip:+12025550123@reserve.example route 0.000 0.009 0.200 congestion (34) network out of lines",
        "caller opus 3000 2990 3 / 9 4.2 / 12.0 80.0 4.3 / - stranger 4",
        "callee2 PCMA 1 - / - - / - - / -",
    ):
        assert line in text


def test_nothing_that_a_terminal_would_obey_is_shown(url: str) -> None:
    screen = Screen()
    show(url, "c2", screen.console)
    assert "\x1b" not in screen.file.getvalue()
    assert "ended busy: ·[2Jbusy" in screen.lines


def test_a_call_that_is_not_there_is_said(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(url, "no\x1bne") == 1
    assert list_calls(url, Question(), Form.JSON, "none") == 1
    assert capsys.readouterr().err == "no such call: no·ne\nno such call: none\n"
    assert find(url, "none") is None


def test_a_list_that_is_cut_says_so_and_exports_are_cut_late(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert list_calls(url, Question(limit=1), Form.CSV) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2
    assert told.err == "the latest 1 of 2 calls; --limit asks for more, up to 100,000\n"
    assert (Form.TABLE.limit, Form.CSV.limit, Form.JSON.limit) == (50, MOST, MOST)


def test_a_call_can_be_exported(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert list_calls(url, Question(), Form.JSON, "c2") == 0
    told = capsys.readouterr()
    assert '"id": "c2"' in told.out
    assert told.err == ""


def test_no_calls_are_no_fault(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert list_calls(url, Question(trunk="none"), Form.TABLE) == 0
    assert capsys.readouterr().err == "no such calls\n"


def test_a_database_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="is not there"):
        show(f"sqlite:///{tmp_path / 'none.db'}", "c1")


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("90s", NOON - timedelta(seconds=90)),
        ("30m", NOON - timedelta(minutes=30)),
        ("1h", NOON - timedelta(hours=1)),
        ("7d", NOON - timedelta(days=7)),
        ("2w", NOON - timedelta(weeks=2)),
        ("2026-11-22", datetime(2026, 11, 21, 15, tzinfo=UTC)),
        ("2026-11-22T13:05", datetime(2026, 11, 22, 4, 5, tzinfo=UTC)),
        ("2026-11-22T13:05:00+01:00", datetime(2026, 11, 22, 12, 5, tzinfo=UTC)),
    ],
)
def test_a_time_is_an_age_or_in_the_operators_zone(text: str, when: datetime, tokyo: None) -> None:
    assert asked(since=text).since == when


def test_until_a_date_is_the_whole_day(tokyo: None) -> None:
    assert asked(until="2026-11-22").until == datetime(2026, 11, 22, 15, tzinfo=UTC)
    assert asked(until="2026-11-22T00:00").until == datetime(2026, 11, 21, 15, tzinfo=UTC)


def test_numbers_and_addresses_are_taken_as_people_write_them() -> None:
    assert asked(number="+1 (202) 555-0123").number == "+12025550123"
    assert asked(user="Juliet@Shakespeare.lit/balcony").user == "juliet@shakespeare.lit"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"since": "yesterday"}, "--since: 'yesterday' is no time"),
        ({"until": "2026-02-30"}, "--until: '2026-02-30' is no time"),
        ({"since": "999999999w"}, "--since: '999999999w' is no time"),
        ({"since": "0001-01-01"}, "--since: '0001-01-01' is no time"),
        ({"cause": "bsy"}, "--cause: 'bsy' is none of answered-elsewhere, busy"),
        ({"number": "juliet"}, "--number: 'juliet' is no number"),
        ({"number": ""}, "--number: '' is no number"),
    ],
)
def test_what_cannot_be_asked_is_said(options: dict[str, str], said: str, tokyo: None) -> None:
    with pytest.raises(ValueError, match=said):
        asked(**options)


def test_a_form_is_one_of_them() -> None:
    assert Form.of(False, True) is Form.CSV
    with pytest.raises(ValueError, match="not both"):
        Form.of(True, True)
