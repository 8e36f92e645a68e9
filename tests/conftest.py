"""What tests of several rooms use. Logs are plain: rich takes a third of a second to draw a traceback nobody reads."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

PLAIN = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)

# Hypothesis' own profile for machines that are shared: the same examples each time, however long one takes. New ones
# are tried with --hypothesis-profile=default.
os.environ.setdefault("CI", "true")

if "PYTEST_XDIST_WORKER" in os.environ:  # this process is measured; the gateways and peers that it starts are not
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.fixture(autouse=True)
def _plain_log() -> None:
    structlog.reset_defaults()
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], PLAIN])


@pytest.fixture
def reached(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Where the mutants ended, printed when all are through."""
    counts: Counter[str] = Counter()
    yield counts
    plugins = request.config.pluginmanager
    reporter: Any = plugins.get_plugin("terminalreporter")
    capture: Any = plugins.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        reporter.write_line(f"\n{request.node.name}: " + ", ".join(f"{n} {where}" for where, n in counts.most_common()))
