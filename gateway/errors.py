"""Every error that one room may raise and another may catch.

    GatewayError
    ├── AddressError         an address that cannot be mapped (addresses.py)
    ├── WireError            a peer sent what its protocol does not allow
    │   ├── SdpError         (session/sdp.py)
    │   ├── JingleError      (session/jingle.py, xmpp/): carries the stanza error to answer with
    │   ├── SipError         (sip/): carries the status to answer with
    │   └── NgError          (media/ng.py)
    ├── NegotiationError     two ends have nothing in common (session/negotiate.py)
    ├── MediaError           the media engine could not do what it was asked
    └── ConfigurationError   configuration or dialplan: a list of faults, each with file and line

A WireError is ordinary: it is answered in the peer's own protocol and logged with the call's id.
"""

from __future__ import annotations

from dataclasses import dataclass


class GatewayError(Exception):
    """Root of all errors that this package raises on purpose."""


class AddressError(GatewayError):
    """The text is no address that the gateway can map."""


class WireError(GatewayError):
    """A peer sent something that its protocol does not allow."""


class SdpError(WireError):
    """A session description that cannot be read (RFC 8866); `line` counts from 1, 0 when no line is to blame."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.line = line


class JingleError(WireError):
    """A Jingle element that cannot be taken; its answer has `condition` (RFC 6120 §8.3.3), `jingle` (XEP-0166 §12)."""

    def __init__(self, message: str, condition: str = "bad-request", jingle: str | None = None) -> None:
        super().__init__(message)
        self.condition = condition
        self.jingle = jingle


class SipError(WireError):
    """A SIP message that cannot be taken; `status` is what to answer a request with."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class NgError(WireError):
    """An ng message that cannot be read, or an answer that says `result: error`."""


class NegotiationError(GatewayError):
    """Two ends have no codec, medium or profile in common."""


class MediaError(GatewayError):
    """The media engine could not do what it was asked."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the configuration, where it is, and what would be right."""

    file: str
    line: int
    message: str
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file  # the environment has no lines
        return f"{place}: {'warning: ' if self.warning else ''}{self.message}"


class ConfigurationError(GatewayError):
    """The configuration cannot be used; `faults` holds every one found, in the order of the files."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults
