from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.storage.bookings import Bookings
from tests.storage.bank import gateway
from tests.storage.databases import postgres, url

__all__ = ["bank", "postgres", "url"]


@pytest.fixture
async def bank(url: str) -> AsyncIterator[Bookings]:
    async with gateway(url) as bookings:
        yield bookings
