"""One line of a call's ladder: who said what to whom. Rooms tell it, ops keeps and draws it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

Peer = Literal["xmpp", "sip", "media"]


class Traced(NamedTuple):  # there is one for every message, and a frozen dataclass takes three times as long to make
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
