"""One engine after the other, behind the same seam."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gateway.media.embedded import EmbeddedEngine, MediaSettings
from gateway.media.leg import Patience
from gateway.media.rtpengine import RtpengineEngine, RtpengineSettings
from gateway.media.rtpengine_pool import Address, Pace
from tests.media import daemon
from tests.media.ends import Events

LOOPBACK = ("127.0.0.0/8",)


@dataclass
class Backend:
    """An engine, what it told, and what carries its media."""

    name: str
    engine: EmbeddedEngine | RtpengineEngine
    events: Events
    daemons: list[daemon.Daemon] = field(default_factory=list)

    def __str__(self) -> str:
        return self.name

    def kill(self) -> None:
        """Whatever carries the media dies."""
        if isinstance(self.engine, EmbeddedEngine):
            for pid in self.engine.processes:
                os.kill(pid, signal.SIGKILL)
        for one in self.daemons:
            one.process.kill()


MakeBackend = Callable[..., Awaitable[Backend]]


@pytest.fixture(params=["embedded", "rtpengine"])
def make_backend(request: pytest.FixtureRequest) -> MakeBackend:
    make: MakeBackend = request.getfixturevalue(f"make_{request.param}")
    return make


@pytest.fixture
async def make_embedded(ports: tuple[int, int], tmp_path: Path) -> AsyncIterator[MakeBackend]:
    made: list[Backend] = []

    async def make(*, allow: tuple[str, ...] = LOOPBACK, **patience: float) -> Backend:
        settings = MediaSettings("127.0.0.1", None, ports, 1, allow, patience=Patience(**patience))
        engine = EmbeddedEngine(replace(settings, recordings=str(tmp_path)))
        backend = Backend("embedded", engine, Events())
        made.append(backend)
        engine.on_event = backend.events
        await engine.start()
        return backend

    yield make
    for backend in made:
        await backend.engine.stop()


@pytest.fixture
async def make_rtpengine() -> AsyncIterator[MakeBackend]:
    made: list[Backend] = []

    async def make(*, allow: tuple[str, ...] = LOOPBACK, **patience: float) -> Backend:
        process = await daemon.start()
        settings = RtpengineSettings(
            (Address(daemon.HOST, process.port),),
            (daemon.HOST, process.events),
            allow,
            Patience(**patience),
            Pace(ping=0.1, answer=2.0, missed=2),
        )
        backend = Backend("rtpengine", RtpengineEngine(settings), Events(), [process])
        made.append(backend)
        backend.engine.on_event = backend.events
        await backend.engine.start()
        return backend

    yield make
    for backend in made:
        await backend.engine.stop()
        for one in backend.daemons:
            await one.kill()
