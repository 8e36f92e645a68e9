"""Prosody, run with the configuration that is shipped in deploy/, on loopback and with users of its own."""

from __future__ import annotations

from pathlib import Path

from .process import Child, program
from .server import Server

SCRIPT = Path(__file__).parents[3] / "deploy" / "prosody.sh"


class Prosody(Server):
    name = "prosody"

    def _program(self) -> Child:
        program("prosody", package="prosody")
        environment = {
            "XMPP_USERS": " ".join(f"{user}:{password}" for user, password in self.users.items()),
            "XMPP_DOMAIN": self.domain,
            "XMPP_COMPONENT": self.component,
            "XMPP_COMPONENT_SECRET": self.secret,
            "XMPP_CLIENT_PORT": str(self.client_port),
            "XMPP_COMPONENT_PORT": str(self.component_port),
            "XMPP_HTTP_PORT": str(self.http_port),
            "XMPP_DATA": str(self._directory / "data"),
        }
        return Child("prosody", [SCRIPT], environment=environment)
