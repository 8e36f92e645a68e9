"""Kamailio as the registrar and record-routing proxy of voice.example, over UDP, TCP, TLS and WebSockets."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Self

from .process import HOST, Child, PeerError, free_port, program

CONFIGURATION = Path(__file__).parent / "kamailio.cfg"
DOMAIN = "voice.example"
PASSWORD = "secret"


class Kamailio:
    """`certificate`, `key` and `ca` are files in PEM; with `demands` it takes no TLS without a certificate."""

    def __init__(self, certificate: Path, key: Path, ca: Path, *, demands: bool = False) -> None:
        self.port = free_port()
        self.tls_port = self.port + 1
        self._words = {
            "host": HOST,
            "port": str(self.port),
            "tls_port": str(self.tls_port),
            "certificate": str(certificate),
            "key": str(key),
            "ca": str(ca),
            "demands": str(int(demands)),
            "modules": str(_modules()),
        }
        self._stack = contextlib.AsyncExitStack()

    def uri(self, transport: str) -> str:
        """Where it is reached by this transport."""
        if transport == "TLS":
            return f"sip:{HOST}:{self.tls_port};transport=tls"
        return f"sip:{HOST}:{self.port};transport={transport.lower()}"

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kamailio-")))
            text = CONFIGURATION.read_text()
            for word, value in self._words.items():
                text = text.replace(f"{{{word}}}", value)
            (folder / "kamailio.cfg").write_text(text)
            command = (program("kamailio", package="kamailio"), "-DD", "-E", "-m", "32", "-M", "8", "-Y", folder)
            self.process = await stack.enter_async_context(
                Child("kamailio", (*command, "-P", folder / "pid", "-f", folder / "kamailio.cfg"), directory=folder)
            )
            for port in (self.port, self.tls_port):
                await self.process.listens(port)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._stack.aclose()


def _modules() -> Path:
    """Where the modules are, with those that are packages of their own."""
    for found in Path("/usr/lib").glob("*/kamailio/modules"):
        if all((found / f"{name}.so").is_file() for name in ("tls", "websocket")):
            return found
    raise PeerError("`deploy/install-packages.sh --tests` installs them (kamailio-tls-modules, -websocket-modules)")
