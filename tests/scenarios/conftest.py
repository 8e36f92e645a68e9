"""The stage with scripted clients on it: a user's own server in front of the gateway, and time that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.clients.home import Home
from tests.scenarios.clock import jumping
from tests.scenarios.scene import Scene


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """The stage, with nobody on it yet."""
    async with Scene() as made:
        yield made


@pytest.fixture
async def home() -> AsyncIterator[Home]:
    """Juliet's server. The scene is `home.scene`; at its end no call may be left in any room."""
    with jumping():
        async with Scene() as scene:
            yield Home(scene)
