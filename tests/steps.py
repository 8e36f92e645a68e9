"""What some work costs on any machine, however busy: counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(work: Callable[..., object], *arguments: object) -> int:
    """The lines and calls of Python that this takes."""
    count = 0

    def tracer(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += 1
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        work(*arguments)
    finally:
        sys.settrace(before)
    return count
