"""A clock for scenes that last longer than anybody wants to wait: whenever nobody has anything to do, time jumps to the
next timer.

What is sent over loopback is readable when sendto() returns, so that an empty selector means that nothing is under way.
That does not hold for threads and processes: scenes with those need the real clock. Nor does real time count, or on a
machine that is busy with others a timer would be due before what happened earlier was seen to.

    with jumping():
        await passes(3600)      at once for who looks on, an hour for who is on stage
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.patience import PATIENCE

_LOOK = 1e-6  # s that each look at the clock takes: what comes later is due later
_SANITY = 0.05  # s; with no timer at all there is nothing to jump to: somebody outside may still wake us
_ON_STAGE = 5.0  # s; nothing on stage takes that long, it is what a broken scene costs

_jumping: set[asyncio.AbstractEventLoop] = set()


@contextmanager
def jumping() -> Iterator[None]:
    """The running loop's time goes by as it is looked at, and jumps, until the end of the block."""
    loop: Any = asyncio.get_running_loop()
    selector: selectors.BaseSelector = loop._selector
    real_select = selector.select
    now: float = loop.time()

    def select(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        nonlocal now
        found = real_select(0)
        if found or timeout == 0:
            return found
        if timeout is None:
            return real_select(_SANITY)
        now += max(timeout, 0.0)
        return found

    def time() -> float:
        nonlocal now
        now += _LOOK
        return now

    loop.time = time
    loop._selector.select = select
    _jumping.add(loop)
    try:
        yield
    finally:
        _jumping.discard(loop)
        del loop.time, loop._selector.select


async def passes(seconds: float) -> None:
    """So much time goes by on stage. RuntimeError where time does not jump: there it would be waiting."""
    if asyncio.get_running_loop() not in _jumping:
        raise RuntimeError("time passes only where it jumps")
    await asyncio.sleep(seconds)


def patience() -> float:
    """How long somebody waits for what is sure to come."""
    return _ON_STAGE if asyncio.get_running_loop() in _jumping else PATIENCE
