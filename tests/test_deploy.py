"""What is shipped for running is what is tested."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]


def pins(lock: Path) -> set[str]:
    return {line.split(";")[0].strip(" \\") for line in lock.read_text().splitlines() if "==" in line.split("#")[0]}


def test_what_runs_in_the_image_is_pinned_as_in_the_tests() -> None:
    running, tested = pins(ROOT / "deploy" / "requirements.lock"), pins(ROOT / "requirements.lock")
    assert running
    assert running <= tested
    assert not any(pin.startswith(("pytest", "mypy", "av", "numpy")) for pin in running)
