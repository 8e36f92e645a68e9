"""Subscriptions that a later run finds as the last one left them."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.errors import GatewayError
from gateway.storage.subscriptions import Subscriptions

JULIET, NURSE = "juliet@shakespeare.lit", "nurse@shakespeare.lit"
ROMEO, NUMBER = "romeo%shakespeare.lit@sip.example.com", "+12025550123@sip.example.com"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'gateway.db'}"


async def run(url: str, *changes: tuple[str, str, str]) -> list[tuple[str, str, str]]:
    """A run of the gateway: what it finds, before these changes."""
    store = Subscriptions(url)
    found = await store.start()
    for change in changes:
        store.put(*change)
    await store.stop()
    return sorted(found)


async def test_a_later_run_finds_what_is_between_them(url: str) -> None:
    assert await run(url, (JULIET, ROMEO, "sees"), (NURSE, ROMEO, "sees"), (JULIET, NUMBER, "sees asked")) == []
    assert await run(url) == [(JULIET, NUMBER, "sees asked"), (JULIET, ROMEO, "sees"), (NURSE, ROMEO, "sees")]


async def test_the_last_word_counts_and_the_end_leaves_nothing(url: str) -> None:
    await run(url, (JULIET, ROMEO, "sees"), (NURSE, ROMEO, "sees"), (JULIET, ROMEO, "sees seen"))
    await run(url, (NURSE, ROMEO, ""), (JULIET, NUMBER, "sees"), (JULIET, NUMBER, ""))
    assert await run(url) == [(JULIET, ROMEO, "sees seen")]


async def test_more_than_one_batch_is_kept(url: str) -> None:
    await run(url, *((f"u{n}@shakespeare.lit", ROMEO, "sees") for n in range(450)))
    assert len(await run(url)) == 450


async def test_what_cannot_be_kept_is_said(url: str) -> None:
    store = Subscriptions(url, capacity=1)  # not started: nobody empties the queue
    with capture_logs() as log:
        store.put("x" * 1025, ROMEO, "sees")
        store.put(JULIET, ROMEO, "sees")
        store.put(NURSE, ROMEO, "sees")
    assert [(line["user"][:5], line["why"]) for line in log] == [
        ("xxxxx", "an address is too long"),
        ("nurse", "the queue is full"),
    ]
    await store.stop()


async def test_a_database_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    store = Subscriptions(f"sqlite:///{tmp_path}/nowhere/gateway.db")
    with pytest.raises(GatewayError, match=r"\[storage\] url"):
        await store.start()
    await store.stop()
