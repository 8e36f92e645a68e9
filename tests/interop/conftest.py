"""Real peers for each test: everything is started for it and ends with it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest

from gateway.sip.transaction import Timers

# The peers are a namespace package below the root, whichever way pytest was started.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.interop.client.client import Client
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.process import last_words, witnesses
from tests.interop.peers.prosody import Prosody
from tests.interop.peers.server import Server
from tests.sip.house import House


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what every peer had to say: those who still run, and those who left with the failure."""
    report = yield
    if report.failed:
        report.sections += [*last_words, *((witness.name, witness.tail()) for witness in witnesses)]
    last_words.clear()
    return report


@pytest.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """Prosody, or each of the servers where a test is marked with ON_EVERY_SERVER."""
    async with getattr(request, "param", Prosody)() as started:
        yield started


@pytest.fixture
async def gateway(server: Server) -> AsyncIterator[Gateway]:
    async with Gateway(server) as process:
        yield await process.ready()


@pytest.fixture
async def juliet(server: Server, gateway: Gateway) -> AsyncIterator[Client]:
    """A user with a client that knows Jingle Message Initiation, and a tone of his own."""
    async with Client(*server.account("juliet")) as client:
        yield client


@pytest.fixture
async def phone(juliet: Client) -> AsyncIterator[Baresip]:
    """A telephone that answers by itself, with another tone than Juliet's."""
    async with Baresip(tone=tones.draw(juliet.tone)) as baresip:
        yield baresip


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """The SIP room by itself, with the timers of the RFC: by timer B alone, silence lasts 32 s."""
    made = House(timers=Timers())
    await made.telephony.start()
    yield made
    await made.telephony.stop()
