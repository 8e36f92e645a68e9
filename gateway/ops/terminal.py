"""What commands that print tables share: how wide they are, and the operator's own time."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console

WIDTH = 160  # columns where there is no terminal


def plain_console() -> Console:
    """The terminal, or where there is none a page of fixed width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def local(moment: datetime) -> str:
    """In the zone of the machine."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
