"""One line of a call's ladder: who said what to whom. Rooms tell it, ops keeps and draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Peer = Literal["xmpp", "sip", "media"]


@dataclass(frozen=True, slots=True)
class Traced:
    """A message that crossed the gateway's edge for this call.

    `label` is what a ladder prints ("INVITE", "180 Ringing", "session-initiate"); `key` is the SIP Call-ID or the
    Jingle sid; `text` is detail without secrets.
    """

    call: str
    peer: Peer
    sent: bool
    label: str
    key: str
    text: str = ""


Tracer = Callable[[Traced], None]
