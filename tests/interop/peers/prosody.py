"""Prosody, run with the configuration that is shipped in deploy/, on loopback and with users of its own."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Self

from .process import HOST, Child, free_port, program

SCRIPT = Path(__file__).parents[3] / "deploy" / "prosody.sh"


class Prosody:
    """An XMPP server with one component and some users.

    `users` are local parts with their passwords (no spaces in either); `domain` is theirs, `component` the gateway's.
    """

    def __init__(
        self,
        users: dict[str, str] | None = None,
        *,
        domain: str = "shakespeare.lit",
        component: str = "sip.shakespeare.lit",
        secret: str = "a secret between two processes",
    ) -> None:
        self.users = users or {"juliet": "wherefore", "romeo": "wherefore-art-thou"}
        self.domain = domain
        self.component = component
        self.secret = secret
        self.client_port = free_port()
        self.component_port = free_port()
        self.http_port = free_port()
        self._stack = contextlib.AsyncExitStack()
        self._child: Child | None = None

    @property
    def websocket(self) -> str:
        return f"ws://{HOST}:{self.http_port}/xmpp-websocket"

    def jid(self, user: str) -> str:
        return f"{user}@{self.domain}"

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prosody-")))
            (self._directory / "data").mkdir()
            stack.push_async_callback(self.stop)
            await self.start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._stack.aclose()

    async def start(self) -> None:
        """Starts the server, or starts it again with everything that it stored before."""
        program("prosody", package="prosody")
        self._child = Child("prosody", [SCRIPT], environment=self._environment)
        await self._child.__aenter__()
        for port in (self.client_port, self.component_port, self.http_port):
            await self._child.listens(port)

    async def stop(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            await child.__aexit__()

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "XMPP_USERS": " ".join(f"{user}:{password}" for user, password in self.users.items()),
            "XMPP_DOMAIN": self.domain,
            "XMPP_COMPONENT": self.component,
            "XMPP_COMPONENT_SECRET": self.secret,
            "XMPP_CLIENT_PORT": str(self.client_port),
            "XMPP_COMPONENT_PORT": str(self.component_port),
            "XMPP_HTTP_PORT": str(self.http_port),
            "XMPP_DATA": str(self._directory / "data"),
        }
