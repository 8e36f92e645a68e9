"""rtpengine as the tests run it: in user space, on loopback, on free ports, ended with the test."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.interop.peers.process import free_port
from tests.patience import PATIENCE

HOST = "127.0.0.1"


@dataclass(slots=True)
class Daemon:
    """A running rtpengine."""

    port: int  # of ng
    events: int  # where it sends its DTMF log
    process: asyncio.subprocess.Process

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


def program() -> str:
    """Never skipped silently."""
    found = shutil.which("rtpengine") or shutil.which("rtpengine", path="/usr/bin:/usr/sbin")
    if found is None:
        raise RuntimeError("rtpengine is not installed: `deploy/install-packages.sh --tests` does it")
    return found


async def start(port: int | None = None, *more: str) -> Daemon:
    """`more` are options of the command. Raises RuntimeError when it does not come up."""
    port, events = port or free_port(), free_port()
    low = random.randrange(20_000, 32_000, 200)
    command = [
        *(program(), "--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=5"),
        *(f"--interface={HOST}", f"--listen-ng={HOST}:{port}", f"--dtmf-log-dest={HOST}:{events}"),
        *(f"--port-min={low}", f"--port-max={low + 199}", "--num-threads=1", "--delete-delay=0"),
        *("--endpoint-learning=immediate", *more),
    ]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    daemon = Daemon(port, events, process)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        probe.connect((HOST, port))
        give_up_at = time.monotonic() + PATIENCE
        while process.returncode is None and time.monotonic() < give_up_at:
            with contextlib.suppress(OSError):  # nobody listens yet, or (TimeoutError) nobody answers
                probe.send(b"1 d7:command4:pinge")
                async with asyncio.timeout(0.2):
                    await asyncio.get_running_loop().sock_recv(probe, 200)
                    return daemon
            await asyncio.sleep(0.05)
    await daemon.kill()
    raise RuntimeError("rtpengine does not start")


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Daemon]:
    daemon = await start()
    try:
        yield daemon
    finally:
        await daemon.kill()
