"""DTLS-SRTP (RFC 5763, 5764) without sockets and timers: datagrams in, datagrams out, a deadline, and keys at the end.

    receive(datagram) ─┐                       ┌─> take(): datagrams to send now
    start()            ├──> Handshake ─────────┼─> deadline: seconds until expired() is due
    expired()         ─┘                       └─> keys | failure | closed

The certificate that the far end shows must be the one whose fingerprint came by signalling (RFC 8122 §6.2); any other
is a failure, and no key is derived. Our own certificate is made when the worker starts and serves all its calls.
"""

from __future__ import annotations

import contextlib
import datetime
import hmac
import secrets
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from gateway.media.srtp import PROFILES, Keys
from gateway.session.model import Fingerprint

_DTLS_1_2 = 0xFEFD
_MTU = 1_200  # RFC 8831 §5 reckons with 1200; one flight may be several datagrams
_RECORD_HEADER = 13
_EXPORTER = b"EXTRACTOR-dtls_srtp"  # RFC 5764 §4.2
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    # RFC 8122 §5: MD5 and MD2 MUST NOT be used
    "sha-1": hashes.SHA1,
    "sha-224": hashes.SHA224,
    "sha-256": hashes.SHA256,
    "sha-384": hashes.SHA384,
    "sha-512": hashes.SHA512,
}
_CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
    )
)


class _Fingerprinted(Protocol):
    def fingerprint(self, algorithm: hashes.HashAlgorithm) -> bytes: ...


def fingerprint(certificate: _Fingerprinted, algorithm: str) -> str | None:
    """`AB:CD:…`; None for a hash that is unknown or forbidden."""
    kind = _HASHES.get(algorithm.lower())
    return certificate.fingerprint(kind()).hex(":").upper() if kind else None


class Certificate:
    """A self-signed certificate with an anonymous name, and the one TLS context that all handshakes share."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(8))])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=3650))  # nobody checks it; the worker lives shorter
            .sign(key, hashes.SHA256())
        )
        self.fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
        self.context = SSL.Context(SSL.DTLS_METHOD)
        self.context.set_min_proto_version(_DTLS_1_2)
        self.context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU)
        # The chain says nothing; the fingerprint is compared after the handshake.
        self.context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        self.context.use_certificate(certificate)
        self.context.use_privatekey(key)
        self.context.set_cipher_list(_CIPHERS.encode())
        self.context.set_tlsext_use_srtp(b":".join(profile.name for profile in PROFILES))


class Handshake:
    """One association. `keys` or `failure` says when the handshake is over, `closed` when the far end closed it."""

    def __init__(self, certificate: Certificate, remote: Fingerprint, *, client: bool) -> None:
        self.keys: Keys | None = None
        self.failure: str | None = None
        self.insecure = False  # the failure is a wrong certificate, not a handshake that went wrong
        self.closed = False
        self._remote = remote
        self._client = client
        self._ssl = SSL.Connection(certificate.context)
        self._ssl.set_ciphertext_mtu(_MTU)
        if client:
            self._ssl.set_connect_state()
        else:
            self._ssl.set_accept_state()

    @property
    def done(self) -> bool:
        return self.keys is not None or self.failure is not None

    @property
    def deadline(self) -> float | None:
        """Seconds until `expired` is due, while a flight waits for its answer (RFC 6347 §4.2.4)."""
        return None if self.done else self._ssl.DTLSv1_get_timeout()

    def start(self) -> None:
        self._step()

    def receive(self, datagram: bytes) -> None:
        if self.failure is not None:
            return
        try:
            self._ssl.bio_write(datagram)
        except SSL.Error:
            return
        if self.keys is None:
            self._step()
            return
        try:
            self._ssl.recv(_MTU)  # also answers a repeated last flight: the far end may have missed ours
        except SSL.WantReadError:
            return
        except SSL.Error:
            self.closed = True

    def expired(self) -> None:
        """Repeat the last flight."""
        if not self.done:
            try:
                self._ssl.DTLSv1_handle_timeout()
            except SSL.Error as error:
                self.failure = f"DTLS: {_reason(error)}"

    def close(self) -> None:
        """Say good-bye; take() has it."""
        if self.keys is not None and not self.closed:
            self.closed = True
            with contextlib.suppress(SSL.Error):  # the far end was quicker
                self._ssl.shutdown()

    def take(self) -> list[bytes]:
        """Datagrams that are due. OpenSSL writes a flight as one run of records: cut it between them, not within."""
        stream = b""
        with contextlib.suppress(SSL.Error):  # WantReadError: there is no more
            while True:
                stream += self._ssl.bio_read(65_536)
        datagrams: list[bytes] = []
        at = start = 0
        while at < len(stream):
            end = at + _RECORD_HEADER + int.from_bytes(stream[at + 11 : at + 13], "big")
            if end - start > _MTU and at > start:
                datagrams.append(stream[start:at])
                start = at
            at = end
        if start < len(stream):
            datagrams.append(stream[start:])
        return datagrams

    def _step(self) -> None:
        try:
            self._ssl.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            self.failure = f"DTLS: {_reason(error)}"
            return
        certificate = self._ssl.get_peer_certificate(as_cryptography=True)
        shown = fingerprint(certificate, self._remote.algorithm) if certificate else None
        if shown is None or not hmac.compare_digest(shown, self._remote.value.upper()):
            self.insecure = True
            self.failure = "the certificate is not the one that signalling announced"
            return
        selected = self._ssl.get_selected_srtp_profile()
        profile = next((profile for profile in PROFILES if profile.name == selected), None)
        if profile is None:
            self.insecure = True
            self.failure = "no SRTP protection profile in common"
            return
        key, salt = profile.key, profile.salt
        material = self._ssl.export_keying_material(_EXPORTER, 2 * (key + salt))
        client = material[:key] + material[2 * key : 2 * key + salt]
        server = material[key : 2 * key] + material[2 * key + salt :]
        sending, receiving = (client, server) if self._client else (server, client)
        self.keys = Keys(profile, sending, receiving)


def _reason(error: SSL.Error) -> str:
    details = error.args[0] if error.args else None
    if isinstance(details, list) and details:
        return str(details[-1][-1])
    return type(error).__name__
