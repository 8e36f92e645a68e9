"""An engine with a worker of its own, and far ends that are closed when the test is over."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aioice.ice
import pytest

from gateway.media import embedded, ng
from gateway.media.commands import Commands
from gateway.media.embedded import EmbeddedEngine, MediaSettings
from gateway.media.leg import Patience
from gateway.media.worker import Worker, WorkerSettings
from tests.media.ends import Browser, Events, Phone
from tests.patience import PATIENCE

MakeEngine = Callable[..., Awaitable[EmbeddedEngine]]
Command = Callable[..., Awaitable[Any]]


@pytest.fixture
def ports() -> tuple[int, int]:
    """A range of this test's own, below the ephemeral ports and above those of real peers (tests/interop)."""
    low = random.randrange(20_000, 32_000, 200)
    return low, low + 199


@pytest.fixture
async def make_engine(ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeEngine]:
    engines: list[EmbeddedEngine] = []
    monkeypatch.setattr(embedded, "_WAIT", PATIENCE)  # a busy machine takes its time to start a worker anew

    async def make(*, allow: tuple[str, ...] = ("127.0.0.0/8",), workers: int = 1, **patience: float) -> EmbeddedEngine:
        engine = EmbeddedEngine(MediaSettings("127.0.0.1", None, ports, workers, allow, patience=Patience(**patience)))
        engines.append(engine)
        engine.on_event = Events()
        await engine.start()
        return engine

    yield make
    for engine in engines:
        await engine.stop()


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    phone = Phone()
    yield phone
    await phone.close()


@pytest.fixture
async def stranger() -> AsyncIterator[Phone]:
    """Somebody else's socket."""
    stranger = Phone("127.0.0.2")
    yield stranger
    await stranger.close()


@pytest.fixture
async def browser(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Browser]:
    # aioice leaves loopback out of an end's own addresses, and there is nothing but loopback here.
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    browser = Browser()
    yield browser
    await browser.close()


@pytest.fixture
async def reporter(browser: Browser) -> AsyncIterator[Browser]:
    """The browser's component for RTCP, where it does not mux."""
    reporter = Browser(beside=browser)
    yield reporter
    await reporter.close()


@pytest.fixture
async def worker(ports: tuple[int, int]) -> AsyncIterator[Worker]:
    worker = Worker(WorkerSettings("127.0.0.1", None, *ports, ("127.0.0.0/8",)), Events())
    yield worker
    await worker.close()


@pytest.fixture
def command(worker: Worker) -> Command:
    """A command as it comes over the wire."""

    async def run(name: str, **arguments: Any) -> Any:
        answer = await Commands(worker).handle(ng.message(ng.encode({"command": name, **arguments})))
        return ng.decode(ng.encode(answer))

    return run
