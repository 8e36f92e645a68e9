"""What a test logs is written plainly: rich takes a third of a second to draw a traceback that nobody reads."""

from __future__ import annotations

import pytest
import structlog

PLAIN = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)


@pytest.fixture(autouse=True)
def _plain_log() -> None:
    structlog.reset_defaults()
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], PLAIN])
