"""The gateway as its operators run it: `gateway run` in a process of its own, with files of its own."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

from .process import HOST, PATIENCE, Child, PeerError, free_port
from .prosody import Prosody

PLAN = """
[numbers]
region = "US"

[emergency]
action = "refuse"

[[route]]
name = "test line"
match = { kind = "name", name = "echo" }
via = "echo"

[[route]]
name = "telephones on this machine"
match = { kind = "uri", host = ["127.0.0.2"] }
via = "direct"

[[inbound]]
match = { source = "any", user = "juliet" }
to = "juliet@shakespeare.lit"
"""


class Gateway:
    """A running gateway beside this Prosody; `plan` is its dialplan file, `secret` what it tells Prosody.

    Ready when the component is connected and SIP is listened for. Its log is JSON, one event a line.
    """

    def __init__(self, prosody: Prosody, plan: str = PLAN, *, secret: str | None = None) -> None:
        self.prosody = prosody
        self.sip_port = free_port()
        self.sip_host = f"{HOST}:{self.sip_port}"
        self._plan = plan
        self._secret = prosody.secret if secret is None else secret
        self._media_port = free_port(100)
        self._http_port = free_port()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-")))
            self.configuration = self.directory / "gateway.toml"
            self.configuration.write_text(self._settings())
            (self.directory / "dialplan.toml").write_text(self._plan)
            command = [gateway_command(), "run", "--config", self.configuration]
            self.child = await stack.enter_async_context(Child("gateway", command, directory=self.directory))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *problem: Any) -> None:
        await self._stack.__aexit__(*problem)

    async def ready(self) -> Self:
        await self.child.line(r'"event": ?"ready"')
        return self

    def contact(self, local: str) -> str:
        """The bare JID under which the gateway shows this local part."""
        return f"{local}@{self.prosody.component}"

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

    def _settings(self) -> str:
        return f"""
[xmpp]
domain = "{self.prosody.component}"
server = "{HOST}:{self.prosody.component_port}"
secret = "{self._secret}"
users = ["{self.prosody.domain}"]

[sip]
domain = "{self.prosody.component}"
listen = ["udp:{self.sip_host}", "tcp:{self.sip_host}"]

[media]
address = "{HOST}"
ports = [{self._media_port}, {self._media_port + 99}]
workers = 1
allow = ["127.0.0.0/8"]

[dialplan]
files = ["dialplan.toml"]

[storage]
url = "sqlite:///{self.directory}/gateway.db"

[http]
listen = "{HOST}:{self._http_port}"

[log]
level = "info"
format = "json"
"""


def gateway_command() -> Path:
    """The console script that was installed beside the Python that runs the tests."""
    command = Path(sys.executable).with_name("gateway")
    if not command.exists():
        raise PeerError(f"{command} is missing: `make venv` installs it")
    return command
