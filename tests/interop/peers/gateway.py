"""The gateway as its operators run it: `gateway run` in its own process, with the configuration shipped in deploy/.

Ports and names come by environment, as they do in a container.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from .process import HOST, PATIENCE, Child, PeerError, free_port
from .server import Server

CONFIGURATION = Path(__file__).parents[3] / "deploy" / "gateway.toml"


class Gateway:
    """A running gateway beside this XMPP server; `secret` is what it tells the server.

    `plan` stands for the shipped dialplan file; the `passwords` that it names are files beside it. Its log is JSON, one
    event a line. `settings` are more of its configuration, as xmpp__chat_dtmf="true".
    """

    def __init__(
        self,
        server: Server,
        plan: str | None = None,
        *,
        passwords: Mapping[str, str] | None = None,
        secret: str | None = None,
        **settings: str,
    ) -> None:
        self.server = server
        self.sip_port = free_port()
        self.sip_host = f"{HOST}:{self.sip_port}"
        self._plan = plan
        self._passwords = passwords or {}
        self._secret = server.secret if secret is None else secret
        self._more = {key.upper(): value for key, value in settings.items()}
        self._media_port = free_port(40)
        self._http_port = free_port()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-")))
            for name, text in {"dialplan.toml": self._plan or "", **self._passwords}.items():
                (self.directory / name).write_text(text)
                (self.directory / name).chmod(0o600)
            command = [gateway_command(), "run", "--config", CONFIGURATION]
            self.child = await stack.enter_async_context(Child("gateway", command, environment=self._settings()))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *problem: Any) -> None:
        await self._stack.__aexit__(*problem)

    async def ready(self) -> Self:
        """Waits until the component is connected and SIP is listened for."""
        await self.child.line(r'"event": ?"ready"')
        return self

    def contact(self, local: str) -> str:
        """The bare JID under which the gateway shows this local part."""
        return f"{local}@{self.server.component}"

    def contact_of(self, sip_uri: str) -> str:
        """The bare JID of a SIP URI, written by hand as a user would (XEP-0106 for the colon before a port)."""
        user, _, host = sip_uri.removeprefix("sip:").partition("@")
        return self.contact(f"{user}%{host.partition(';')[0]}".replace(":", "\\3a"))

    def sip_uri(self, user: str) -> str:
        return f"sip:{user}@{self.sip_host}"

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """What it logged so far, or the events of this name."""
        parsed = []
        for line in self.child.lines:
            with contextlib.suppress(ValueError):
                parsed.append(json.loads(line))
        return [event for event in parsed if isinstance(event, dict) and name in ("", event.get("event"))]

    async def logged(self, name: str, *, timeout: float = PATIENCE, **values: Any) -> dict[str, Any]:
        """Waits for an event of this name with these values."""

        def found() -> dict[str, Any] | None:
            return next((e for e in self.events(name) if values.items() <= e.items()), None)

        event = await self.child.until(found, f"no event {name} with {values}", timeout)
        if event is None:
            raise PeerError(f"no event {name}")
        return event

    async def counted(self, sample: str, *, timeout: float = PATIENCE) -> None:
        """Waits until the metrics have this line, as `gateway_trunk_up{trunk="carrier"} 1.0`."""
        async with asyncio.timeout(timeout):
            while sample not in await self.metrics():
                await asyncio.sleep(0.2)  # they are asked for, not told

    async def metrics(self) -> list[str]:
        reader, writer = await asyncio.open_connection(HOST, self._http_port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = await reader.read()
        writer.close()
        return text.decode().splitlines()

    def _settings(self) -> dict[str, str]:
        """What is different from the shipped configuration."""
        settings = {
            "XMPP__DOMAIN": self.server.component,
            "XMPP__SERVER": f"{HOST}:{self.server.component_port}",
            "XMPP__SECRET": self._secret,
            "XMPP__USERS": self.server.domain,
            "SIP__DOMAIN": self.server.component,
            "SIP__LISTEN": f"udp:{self.sip_host},tcp:{self.sip_host}",
            "MEDIA__PORTS": f"[{self._media_port}, {self._media_port + 39}]",
            "STORAGE__URL": f"sqlite:///{self.directory}/gateway.db",
            "HTTP__LISTEN": f"{HOST}:{self._http_port}",
        }
        if self._plan is not None:
            settings["DIALPLAN__FILES"] = str(self.directory / "dialplan.toml")
        return {f"GATEWAY_{key}": value for key, value in (settings | self._more).items()}


def gateway_command() -> Path:
    """The console script that was installed beside the Python that runs the tests."""
    command = Path(sys.executable).with_name("gateway")
    if not command.exists():
        raise PeerError(f"{command} is missing: `make venv` installs it")
    return command
