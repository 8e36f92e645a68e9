from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.storage.bookings import Bookings
from tests.storage.bank import gateway
from tests.storage.postgres import Server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gateway.db'}"
    server: Server = request.getfixturevalue("postgres")
    return server.database()


@pytest.fixture
async def bank(url: str) -> AsyncIterator[Bookings]:
    async with gateway(url) as bookings:
        yield bookings
