"""TLS for SIP: our certificate for those who connect, and whose certificate we accept where we connect (RFC 5922).

    TlsSettings ──> Tls.server()         own certificate; with `ca` it asks who connects for theirs
                └─> Tls.client(domain)   verified against the peer's own CA or the system's, then by name

TLS 1.2 at least. Names are checked by certificate.py after the handshake, for OpenSSL knows nothing of SIP domains.
All files are read anew when `follow` is told so, as certificates are renewed; what cannot be used leaves what was.
Why a handshake failed is said in OpenSSL's words, and as one of a few labels for counting.
"""

from __future__ import annotations

import ssl
from asyncio import sslproto
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from gateway.errors import SipError
from gateway.sip.certificate import names_in, speaks_for

log = structlog.get_logger()

# asyncio keeps a read buffer of 256 KiB for each TLS connection, touched at once: 2,000 connections would take 0.5 GB.
# A record has 16 KiB (RFC 8446 §5.1), and a message of SIP is smaller. The attribute is the only way to say so.
sslproto.SSLProtocol.max_size = 16 * 1024

MAX_SESSIONS = 256  # far ends whose last TLS session is kept for a quick return


class UntrustedError(ConnectionError):
    """A far end that we connected to is not who it should be, does not take us for who we are, or speaks no TLS."""


@dataclass(frozen=True, slots=True)
class TlsPeer:
    """What a far end has to prove: files in PEM, and the name in its certificate where that is not its host; and where
    its WebSocket is.
    """

    ca: Path | None = None
    server_name: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    ws_path: str = "/"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files in PEM. `ca` says whose certificates name those who connect to us; without it nobody is asked for one.

    `peers` maps a SIP domain, the host of a trunk's proxy, to what is special there.
    """

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    peers: Mapping[str, TlsPeer] = field(default_factory=dict)


class _Resuming(ssl.SSLContext):
    """A client's context that offers the last session of a name again: half a handshake (RFC 8446 §2.2).

    asyncio has no argument for a session, so it is handed in where asyncio makes its TLS object.
    """

    sessions: OrderedDict[str, ssl.SSLSession]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        known = session or self.sessions.get(str(server_hostname))
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, known)


class Tls:
    """The contexts of one endpoint, made once. Raises SipError for files that cannot be used."""

    def __init__(self, settings: TlsSettings | None = None) -> None:
        self.settings = settings or TlsSettings()
        self._server: ssl.SSLContext | None = None
        self._clients: dict[TlsPeer, _Resuming] = {}
        self._before: dict[TlsPeer, _Resuming] = {}  # what the files held when they were read last

    def follow(self, settings: TlsSettings) -> None:
        """These settings from now on, their files read anew; connections that are up stay up. Files that cannot be used
        leave what was read of them before, which is logged.
        """
        self.settings = settings
        self._before |= self._clients
        known = {self.peer(domain) for domain in ("", *settings.peers)}
        self._before = {peer: context for peer, context in self._before.items() if peer in known}
        self._clients.clear()
        if self._server is None:
            return
        try:
            self._server = _server(settings)
        except SipError as fault:
            log.error("tls files not reloaded", reason=str(fault))
        else:
            log.info("tls files reloaded", certificate=str(settings.certificate))

    def server(self) -> ssl.SSLContext:
        """For those who connect to us."""
        if self._server is None:
            self._server = _server(self.settings)
        return self._server

    def peer(self, domain: str) -> TlsPeer:
        """What is special about this domain; our own certificate is shown to whoever asks for one."""
        peer = self.settings.peers.get(domain.lower(), TlsPeer())
        if peer.certificate is None and self.settings.certificate is not None:
            return replace(peer, certificate=self.settings.certificate, key=self.settings.key)
        return peer

    def name(self, domain: str) -> str:
        """The name that the certificate of this domain has to bear: its own (RFC 5922 §7.3), or the configured one."""
        return self.peer(domain).server_name or domain

    def client(self, domain: str) -> ssl.SSLContext:
        """For a connection of ours to this domain. It verifies the chain; `proven` the name."""
        peer = self.peer(domain)
        if peer not in self._clients:
            try:
                self._clients[peer] = _client(peer, self.settings.ca)
            except SipError as fault:
                if peer not in self._before:
                    raise
                log.error("tls files of a far end not reloaded", domain=domain, reason=str(fault))
                self._clients[peer] = self._before[peer]
        return self._clients[peer]

    def proven(self, domain: str, names: tuple[str, ...]) -> bool:
        """Whether a certificate with these names is the one that this domain has to show."""
        return speaks_for(names, self.name(domain), wildcards=True)

    def remember(self, tls: Any) -> None:
        """A connection of ours worked: its session is offered when we come back."""
        context, session = tls.context, tls.session
        if not isinstance(context, _Resuming) or session is None or not tls.server_hostname:
            return
        context.sessions[tls.server_hostname] = session
        context.sessions.move_to_end(tls.server_hostname)
        while len(context.sessions) > MAX_SESSIONS:
            context.sessions.popitem(last=False)


def names_of(tls: Any) -> tuple[str, ...]:
    """Whom the far end of a TLS object has proven to be; nobody when it showed no certificate, or on no TLS."""
    return names_in(tls.getpeercert() or {}) if tls is not None else ()


def said_of(fault: BaseException) -> tuple[str, str]:
    """Why a handshake failed: a label out of a few, and a text for people."""
    if isinstance(fault, ssl.SSLError):
        reason = (fault.reason or str(fault)).replace("_", " ").lower()
        if isinstance(fault, ssl.SSLCertVerificationError):
            reason = f"{reason}: {fault.verify_message}"
        about = ("certificate", "unknown ca", "bad cert")
        return "certificate" if any(word in reason for word in about) else "no tls", reason
    if isinstance(fault, TimeoutError | ConnectionAbortedError):  # asyncio's word for its ssl_handshake_timeout
        return "late", "the handshake took too long"
    return "left", str(fault) or "closed in the handshake"


def _server(settings: TlsSettings) -> ssl.SSLContext:
    if settings.certificate is None:
        raise SipError("TLS needs a certificate of ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, settings.certificate, settings.key)
    if settings.ca is not None:
        _trust(context, settings.ca)
        # Who has none is welcome as a stranger; a wrong one is refused by the handshake.
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _client(peer: TlsPeer, ca: Path | None) -> _Resuming:
    """`ca` is whom everybody believes beside the system's authorities, where the peer has none of its own."""
    context = _Resuming(ssl.PROTOCOL_TLS_CLIENT)
    context.sessions = OrderedDict()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # RFC 5922 §7.2 has other rules; see `Tls.proven`
    if peer.ca is not None:
        _trust(context, peer.ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if ca is not None:
            _trust(context, ca)
    if peer.certificate is not None:
        _load(context, peer.certificate, peer.key)
    return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as fault:
        raise SipError(f"certificate {certificate}: {_why(fault)}") from fault


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as fault:
        raise SipError(f"certificate authority {ca}: {_why(fault)}") from fault


def _why(fault: Exception) -> str:
    return fault.strerror or str(fault) if isinstance(fault, OSError) else str(fault)
