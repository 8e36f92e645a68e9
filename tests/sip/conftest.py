"""A gateway's SIP room and a peer of it, for the tests of the legs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.sip.house import QUICK, House
from tests.sip.wire import Datagrams


@pytest.fixture
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    made = House(timers=getattr(request, "param", QUICK))
    await made.telephony.start()
    yield made
    await made.telephony.stop()


@pytest.fixture
async def peer(house: House) -> AsyncIterator[Datagrams]:
    async with Datagrams(house.port) as made:
        yield made
