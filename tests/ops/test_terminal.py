"""What tables look like where there is no terminal."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from gateway.ops.terminal import WIDTH, local, plain_console


def test_a_page_without_a_terminal_is_as_wide_as_a_table_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert plain_console().width == WIDTH


def test_times_are_those_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    assert local(datetime(2026, 11, 22, 12, 0, 5, tzinfo=UTC)) == "2026-11-22 21:00:05"
    monkeypatch.undo()
    time.tzset()
