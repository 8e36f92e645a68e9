"""Child processes and ports, for every peer alike.

A peer is an async context manager around one or more Children. A Child keeps what its process prints, line by line, so
that a test waits for a line instead of sleeping, and shows the end of it when it gives up. Nothing outlives its
context: each child leads a process group of its own, which is killed as a whole, and the kernel ends it if we die.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self, TypeVar

HOST = "127.0.0.1"
# Telephones live at addresses of their own: the gateway never dials its own address, and knows a trunk by its address.
PHONE_HOST = "127.0.0.2"
TRUNK_HOST = "127.0.0.3"
PATIENCE = 60.0  # seconds that a peer may take for any one thing; on a busy machine imports alone take twenty

# Below the range that systems draw ephemeral ports from, so that nobody takes one between our look and the peer's bind.
_PORTS = range(12000, 19900, 4)
_drawn: deque[list[int]] = deque()  # claims, so that no other run of these tests draws the same
_KEPT = 50  # more than one test uses

T = TypeVar("T")


class Witness(Protocol):
    """Somebody who can say what happened when a test failed."""

    name: str

    def tail(self) -> str: ...


witnesses: list[Witness] = []  # everybody who is running
last_words: list[tuple[str, str]] = []  # of those who left because something went wrong, by name


def leaves(witness: Witness, *problem: object) -> None:
    """To be said by a witness who ends, with what __aexit__ was told."""
    witnesses.remove(witness)
    if any(problem):
        last_words.append((witness.name, witness.tail()))


class PeerError(Exception):
    """A peer did not start, ended early, or did not do what was waited for."""


def free_port(count: int = 2) -> int:
    """The first of `count` adjoining ports that are free for TCP and UDP everywhere and were not drawn lately."""
    for _ in range(2000):
        first = random.choice(_PORTS)
        ports = range(first, first + count)
        claims = _claim(ports)
        if claims and all(map(_is_free, ports)):
            _drawn.append(claims)
            while len(_drawn) > _KEPT:
                _give_up(_drawn.popleft())
            return first
        _give_up(claims)
    raise PeerError(f"no {count} adjoining free ports")


def _claim(ports: range) -> list[int]:
    """A socket with a name for each slot of these ports, which the kernel gives to one process alone; or none.

    Descriptors, as nobody closes them at the end but the kernel.
    """
    claims: list[int] = []
    for slot in range(ports.start, ports.stop, _PORTS.step):
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0interop tests, port {slot}")
            except OSError:
                _give_up(claims)
                return []
            claims.append(claim.detach())
    return claims


def _give_up(claims: list[int]) -> None:
    for claim in claims:
        os.close(claim)


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                return False
    return True


def is_bound(port: int) -> bool:
    """Whether somebody in this network namespace has a UDP or TCP port.

    Read, not tried: a trial bind would now and then be in the way of the very program that is waited for.
    """
    for table in ("udp", "udp6", "tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), Path("/proc/net", table).open() as lines:  # no IPv6, no table
            next(lines)
            if any(int(line.split()[1].rpartition(":")[2], 16) == port for line in lines):
                return True
    return False


def program(*names: str, package: str) -> str:
    """The path of the first of these programs that exists; it is never skipped silently."""
    for name in names:
        if path := shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"):
            return path
    raise PeerError(f"{names[0]} is not installed: `deploy/install-packages.sh` installs it (package {package})")


class Child:
    """A process whose output is read as it comes.

    `name` is for error messages; `environment` is added to ours. With `commanded` it reads what `command` writes.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[object],
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        pass_fds: tuple[int, ...] = (),
        commanded: bool = False,
    ) -> None:
        self.name = name
        self.lines: list[str] = []
        self.ended = False  # its output is at its end
        self._command = [str(word) for word in command]
        self._environment = {**os.environ, **(environment or {})}
        self._directory = directory
        self._pass_fds = pass_fds
        self._commanded = commanded
        self._changed = asyncio.Condition()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        # setpriv: the child gets SIGTERM when this process dies, however it dies.
        self._process = await asyncio.create_subprocess_exec(
            program("setpriv", package="util-linux"),
            "--pdeathsig=TERM",
            "--",
            *self._command,
            stdin=asyncio.subprocess.PIPE if self._commanded else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            cwd=self._directory,
            start_new_session=True,
            pass_fds=self._pass_fds,
            limit=1 << 20,
        )
        self._reader = asyncio.create_task(self._read(self._process))
        witnesses.append(self)
        return self

    async def __aexit__(self, *problem: object) -> None:
        leaves(self, *problem)
        await self.stop()

    def command(self, line: str) -> None:
        """Writes a line to its standard input."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def send(self, number: int) -> None:
        """Sends a signal to the process and its children."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def tell(self, number: int) -> None:
        """Sends a signal to the process alone, as service managers do."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self, signal_: int = signal.SIGTERM, grace: float = 10.0) -> int:
        """Ends the process, with patience first and without later; its exit code (negative: the signal)."""
        assert self._process is not None
        assert self._reader is not None
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                self._process.send_signal(signal_)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), grace)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = await self._process.wait()
        await self._reader
        return code

    async def wait(self, timeout: float = PATIENCE) -> int:
        """Waits for the process to end by itself; its exit code."""
        assert self._process is not None
        assert self._reader is not None
        try:
            code = await asyncio.wait_for(self._process.wait(), timeout)
        except TimeoutError:
            raise PeerError(f"{self.name} still runs after {timeout} s\n{self.tail()}") from None
        await self._reader
        return code

    async def line(self, pattern: str, *, after: int = 0, timeout: float = PATIENCE) -> re.Match[str]:
        """The first printed line, from line number `after` on, in which the pattern is found."""

        def found() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in self.lines[after:])), None)

        match = await self.until(found, f"no line like {pattern!r}", timeout)
        assert match is not None
        return match

    async def until(self, found: Callable[[], T], complaint: str, timeout: float = PATIENCE) -> T:
        """Waits for `found()` to be true, looked at after every line printed."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                while not (result := found()):
                    if self.ended:
                        raise PeerError(f"{self.name} ended: {complaint}\n{self.tail()}")
                    await self._changed.wait()
                return result
        except TimeoutError:
            raise PeerError(f"{self.name}: {complaint} within {timeout} s\n{self.tail()}") from None

    async def listens(self, port: int, timeout: float = PATIENCE) -> None:
        """Waits until a TCP connection to this port succeeds; for programs that do not say that they are ready."""
        async with asyncio.timeout(timeout):
            while True:
                try:
                    _, writer = await asyncio.open_connection(HOST, port)
                except OSError:
                    if self.ended:
                        raise PeerError(f"{self.name} ended before it listened on {port}\n{self.tail()}") from None
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    async def binds(self, port: int, timeout: float = PATIENCE) -> None:
        """Waits until a port is taken; for programs that print nothing while they run."""
        async with asyncio.timeout(timeout):
            while not is_bound(port):
                if self.ended:
                    raise PeerError(f"{self.name} ended before it took port {port}\n{self.tail()}")
                await asyncio.sleep(0.02)

    def tail(self, count: int = 60) -> str:
        """The last lines that it printed."""
        return "\n".join([f"--- {self.name}", *self.lines[-count:]])

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            async with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip())
                self._changed.notify_all()
        async with self._changed:
            self.ended = True
            self._changed.notify_all()
