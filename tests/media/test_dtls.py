from __future__ import annotations

import datetime
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from gateway.media import dtls
from gateway.media.dtls import Certificate, Handshake
from gateway.session.model import Fingerprint, Setup

OURS, THEIRS = Certificate(), Certificate()


def announced(certificate: Certificate, algorithm: str = "sha-256") -> Fingerprint:
    return Fingerprint(algorithm, certificate.fingerprint, Setup.ACTPASS)


def ends(client_expects: Fingerprint, server_expects: Fingerprint) -> tuple[Handshake, Handshake]:
    client = Handshake(OURS, client_expects, client=True)
    server = Handshake(THEIRS, server_expects, client=False)
    client.start()
    server.start()
    return client, server


def exchange(client: Handshake, server: Handshake) -> None:
    while moved := [(server, d) for d in client.take()] + [(client, d) for d in server.take()]:
        for end, datagram in moved:
            assert len(datagram) <= 1_200
            end.receive(datagram)


def test_both_ends_come_to_the_same_keys_crosswise() -> None:
    client, server = ends(announced(THEIRS), announced(OURS))
    exchange(client, server)
    assert client.keys is not None
    assert server.keys is not None
    assert (client.keys.sending, client.keys.receiving) == (server.keys.receiving, server.keys.sending)
    assert client.keys.profile.name == b"SRTP_AEAD_AES_128_GCM"
    assert client.deadline is None


def test_a_certificate_that_was_not_announced_is_a_failure_and_gives_no_keys() -> None:
    client, server = ends(announced(OURS), announced(OURS))
    exchange(client, server)
    assert client.keys is None
    assert client.insecure
    assert "not the one" in str(client.failure)


@pytest.mark.parametrize("algorithm", ["md5", "unheard-of"])
def test_a_hash_that_nobody_should_use_is_never_believed(algorithm: str) -> None:
    client, server = ends(announced(THEIRS, algorithm), announced(OURS))
    exchange(client, server)
    assert client.insecure


def test_fingerprints_are_compared_whatever_their_case_and_hash() -> None:
    shown = THEIRS.context  # only to keep the certificate in one place
    assert shown is THEIRS.context
    certificate = _certificate(THEIRS)
    value = dtls.fingerprint(certificate, "SHA-512")
    assert value is not None
    client, server = ends(Fingerprint("sha-512", value.lower(), Setup.PASSIVE), announced(OURS))
    exchange(client, server)
    assert client.keys is not None


def _certificate(of: Certificate) -> x509.Certificate:
    client = Handshake(OURS, announced(of), client=True)
    server = Handshake(of, announced(OURS), client=False)
    client.start()
    server.start()
    exchange(client, server)
    certificate = client._ssl.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return certificate


def test_a_lost_flight_is_due_again_after_a_second() -> None:
    client, server = ends(announced(THEIRS), announced(OURS))
    client.take()  # lost
    assert client.deadline is not None
    assert 0 < client.deadline <= 1
    client.expired()  # too early: nothing happens
    assert client.take() == []
    assert server.keys is None


def test_noise_on_the_way_is_ignored() -> None:
    client, server = ends(announced(THEIRS), announced(OURS))
    for end in (client, server):
        end.receive(b"\x16\xfe\xfd" + bytes(30))
        end.receive(b"\x17")
    exchange(client, server)
    assert client.keys is not None
    assert server.keys is not None


def test_a_closed_association_is_noticed_by_the_other_end() -> None:
    client, server = ends(announced(THEIRS), announced(OURS))
    exchange(client, server)
    client.close()
    exchange(client, server)
    assert server.closed
    server.close()
    assert server.take() == []


def test_after_a_failure_nothing_is_taken() -> None:
    client, server = ends(announced(OURS), announced(OURS))
    exchange(client, server)
    before = client.failure
    client.receive(b"\x16\xfe\xfd" + bytes(30))
    client.expired()
    assert client.failure == before
    assert client.done


class Foreign:
    """Another implementation's settings: no certificate, or none of the SRTP profiles."""

    def __init__(self, *, certificate: bool, srtp: bool) -> None:
        self.context = SSL.Context(SSL.DTLS_METHOD)
        self.context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        if srtp:
            self.context.set_tlsext_use_srtp(b"SRTP_AEAD_AES_128_GCM")
        if certificate:
            key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([])
            now = datetime.datetime.now(datetime.UTC)
            self.certificate = (
                x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + datetime.timedelta(days=1))
            ).sign(key, hashes.SHA256())
            self.context.use_certificate(self.certificate)
            self.context.use_privatekey(key)

    @property
    def announced(self) -> Fingerprint:
        return Fingerprint("sha-256", self.certificate.fingerprint(hashes.SHA256()).hex(":"), Setup.ACTIVE)


def test_an_end_without_a_certificate_comes_to_nothing() -> None:
    foreign = Foreign(certificate=False, srtp=True)
    client = Handshake(cast(Certificate, foreign), announced(THEIRS), client=True)
    server = Handshake(THEIRS, announced(OURS), client=False)
    client.start()
    server.start()
    exchange(client, server)
    assert server.keys is None
    assert str(server.failure).startswith("DTLS: ")
    assert not server.insecure


def test_an_end_without_srtp_is_not_spoken_to_in_clear() -> None:
    foreign = Foreign(certificate=True, srtp=False)
    client = Handshake(cast(Certificate, foreign), announced(THEIRS), client=True)
    server = Handshake(THEIRS, foreign.announced, client=False)
    client.start()
    server.start()
    exchange(client, server)
    assert server.keys is None
    assert server.insecure
    assert "SRTP" in str(server.failure)
