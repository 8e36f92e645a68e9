"""ejabberd, run with the configuration that is shipped in deploy/, on loopback and with users of its own.

Erlang is started without distribution: no epmd, no cookie, no node name, nothing that outlives the test. So ejabberdctl
does not reach it, and users are made by its HTTP interface.
"""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from pathlib import Path

from .process import HOST, PATIENCE, Child, PeerError, program
from .server import Server

CONFIGURATION = Path(__file__).parents[3] / "deploy" / "ejabberd.yml"


class Ejabberd(Server):
    name = "ejabberd"

    async def start(self) -> None:
        again = (self._directory / "data" / "schema.DAT").exists()
        await super().start()
        for user, password in {} if again else self.users.items():
            await asyncio.to_thread(self._register, user, password)

    def _program(self) -> Child:
        configuration = CONFIGURATION.read_text().replace('"sip.shakespeare.lit"', json.dumps(self.component))
        for macro, value in {
            "DOMAIN": self.domain,
            "SECRET": self.secret,
            "CLIENT_PORT": self.client_port,
            "COMPONENT_PORT": self.component_port,
            "HTTP_PORT": self.http_port,
        }.items():
            # JSON is YAML.
            configuration = re.sub(rf"(?m)^(  {macro}:) .*$", rf"\1 {json.dumps(value)}", configuration, count=1)
        file = self._directory / "ejabberd.yml"
        file.write_text(configuration)
        environment = {
            "EJABBERD_CONFIG_PATH": str(file),
            "EJABBERD_LOG_PATH": str(self._directory / "ejabberd.log"),
            "ERL_CRASH_DUMP": str(self._directory / "crash"),
            "ERL_LIBS": str(_libraries()),
        }
        data = f'"{self._directory / "data"}"'  # an Erlang string
        command = [program("erl", package="ejabberd"), "-noinput", "-mnesia", "dir", data, "-s", "ejabberd"]
        return Child("ejabberd", command, environment=environment, directory=self._directory)

    def _register(self, user: str, password: str) -> None:
        body = json.dumps({"user": user, "host": self.domain, "password": password}).encode()
        url = f"http://{HOST}:{self.http_port}/api/register"
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=PATIENCE) as answer:
            answer.read()


def _libraries() -> Path:
    """Where the distribution keeps ejabberd, for Erlang to find it."""
    found = sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin/ejabberd.app"))
    if not found:
        raise PeerError("ejabberd is not installed: `deploy/install-packages.sh --tests` installs it")
    return found[0].parents[2]
