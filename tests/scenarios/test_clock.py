"""The scenes' own clock."""

from __future__ import annotations

import asyncio

import pytest

from tests.scenarios.clock import jumping, passes


async def test_on_stage_an_hour_passes_at_once() -> None:
    loop = asyncio.get_running_loop()
    with jumping():
        before = loop.time()
        await passes(3600)
        assert loop.time() - before >= 3600


async def test_a_machine_that_is_busy_with_others_makes_nothing_due() -> None:
    loop = asyncio.get_running_loop()
    with jumping():
        before = loop.time()
        sum(range(1_000_000))  # milliseconds of it
        assert loop.time() - before < 0.001


async def test_what_is_to_come_later_comes_later() -> None:
    came: list[int] = []
    with jumping():
        for number in range(100):
            asyncio.get_running_loop().call_later(1.0, came.append, number)
        await passes(2)
    assert came == list(range(100))


@pytest.mark.parametrize("was_on_stage", [False, True])
async def test_elsewhere_nobody_waits_for_time_to_pass(was_on_stage: bool) -> None:
    if was_on_stage:
        with jumping():
            await passes(0)
    with pytest.raises(RuntimeError):
        await passes(0)
