from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.clients.alone import Alone, alone


@pytest.fixture
async def world() -> AsyncIterator[Alone]:
    """Juliet's server without a gateway, on a clock that jumps."""
    async with alone() as made:
        yield made
