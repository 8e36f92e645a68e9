"""What every XMPP server is to a test: users, a component and ports of its own."""

from __future__ import annotations

import abc
import contextlib
import tempfile
from pathlib import Path
from typing import Self

from .process import HOST, Child, free_port


class Server(abc.ABC):
    """An XMPP server with one component and some users.

    `users` are local parts with their passwords (no spaces in either); `domain` is theirs, `component` the gateway's.
    """

    name: str  # the program

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

    def account(self, user: str) -> tuple[str, str, int]:
        """What a client wants of a user: JID, password and port."""
        return self.jid(user), self.users[user], self.client_port

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{self.name}-")))
            (self._directory / "data").mkdir()
            stack.push_async_callback(self.stop)
            await self.start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._stack.aclose()

    async def start(self) -> None:
        """Starts the server, or starts it again with everything that it stored before."""
        self._child = self._program()
        await self._child.__aenter__()
        for port in (self.client_port, self.component_port, self.http_port):
            await self._child.listens(port)

    async def stop(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            await child.__aexit__()

    @abc.abstractmethod
    def _program(self) -> Child:
        """The program with its configuration, not yet started."""
