"""NSD, an authoritative name server, with zones of the test's own."""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from .process import HOST, Child, free_port, program

BROKEN = "broken.example"  # a zone that it is to serve and has no file of: SERVFAIL

_SERVER = """\
server:
    ip-address: {host}@{port}
    server-count: 1
    username: ""
    chroot: ""
    database: ""
    pidfile: ""
    zonesdir: "{folder}"
    zonelistfile: "{folder}/zone.list"
    xfrdfile: "{folder}/xfrd.state"
    xfrdir: "{folder}"
remote-control:
    control-enable: no
"""
_ZONE = """\
zone:
    name: "{name}"
    zonefile: "{name}"
"""
_START = """\
$TTL 60
@ SOA ns host 1 3600 600 86400 60
@ NS ns
ns A {host}
"""


class Nsd:
    """`zones` are records in the words of a zone file, by the zone's name; `address` is what a gateway is told.

    What is in no zone is NXDOMAIN, what is below none of them REFUSED, and BROKEN is there and fails.
    """

    def __init__(self, zones: Mapping[str, str]) -> None:
        self._zones = zones
        self._port = free_port()
        self.address = f"{HOST}:{self._port}"
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nsd-")))
            for name, records in self._zones.items():
                (folder / name).write_text(_START.format(host=HOST) + records)
            text = _SERVER.format(host=HOST, port=self._port, folder=folder)
            text += "".join(_ZONE.format(name=name) for name in (*self._zones, BROKEN))
            (folder / "nsd.conf").write_text(text)
            command = (program("nsd", package="nsd"), "-d", "-c", folder / "nsd.conf")
            self.child = await stack.enter_async_context(Child("nsd", command, directory=folder))
            await self.child.line("nsd started")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._stack.aclose()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """While this lasts it is there and answers nothing."""
        self.child.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.child.send(signal.SIGCONT)
