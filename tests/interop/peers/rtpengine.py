"""rtpengine as Debian packages it, in user space: what a gateway with engine = "rtpengine" asks for media."""

from __future__ import annotations

import contextlib
from typing import Any, Self

from .process import HOST, Child, free_port, program

PORTS = 60


class Rtpengine:
    """A running daemon on loopback; `settings` are what a gateway is told to use it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.events = f"{HOST}:{free_port()}"
        self._first = free_port(PORTS)
        self._stack = contextlib.AsyncExitStack()

    @property
    def settings(self) -> dict[str, str]:
        return {
            "media__engine": "rtpengine",
            "media__rtpengine": f"udp:{HOST}:{self.port}",
            "media__rtpengine_events": self.events,
        }

    async def __aenter__(self) -> Self:
        command = [
            *(program("rtpengine", package="rtpengine-daemon"), "--config-file=none", "--table=-1", "--foreground"),
            *("--log-stderr", "--log-level=6", f"--interface={HOST}", f"--listen-ng={HOST}:{self.port}"),
            *(f"--port-min={self._first}", f"--port-max={self._first + PORTS - 1}", "--num-threads=2"),
            *(f"--dtmf-log-dest={self.events}", "--endpoint-learning=immediate", "--delete-delay=0"),
        ]
        async with contextlib.AsyncExitStack() as stack:
            self.child = await stack.enter_async_context(Child("rtpengine", command))
            await self.child.line("Startup complete")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *problem: Any) -> None:
        await self._stack.__aexit__(*problem)
