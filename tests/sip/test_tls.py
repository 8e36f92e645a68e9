"""gateway.sip.tls: who proves what to whom. The other end is OpenSSL in memory, without our code."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import SipError
from gateway.sip.tls import Tls, TlsPeer, TlsSettings, names_of, said_of
from tests.sip.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def settings(authority: Authority, *names: str, **others: object) -> TlsSettings:
    certificate, key = authority.issue(*names)
    return TlsSettings(certificate, key, **others)  # type: ignore[arg-type]


def shake(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str = "sip.example.com"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A whole handshake in memory. Raises ssl.SSLError of whichever end breaks it off."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (here, there):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    there.write(b"x")
    assert here.read(1) == b"x"  # with TLS 1.3 the client's certificate is judged after its handshake
    return here, there


def test_the_chain_and_the_name_are_verified(authority: Authority) -> None:
    server = Tls(settings(authority, "sip:example.com"))
    client = Tls(TlsSettings(peers={"example.com": TlsPeer(ca=authority.ca)}))
    here, there = shake(client.client("example.com"), server.server())
    assert names_of(here) == ("example.com",)
    assert client.proven("example.com", names_of(here))
    assert not client.proven("other.example", names_of(here))
    assert names_of(there) == ()  # nobody asked the client for anything
    assert here.version() == "TLSv1.3"


def test_a_certificate_of_nobody_we_trust_is_refused(authority: Authority, tmp_path: Path) -> None:
    server = Tls(settings(authority, "example.com"))
    for client in (Tls(), Tls(TlsSettings(peers={"example.com": TlsPeer(ca=Authority(tmp_path, "other").ca)}))):
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(client.client("example.com"), server.server())


def test_what_a_far_end_has_to_prove_may_change_and_its_files_are_read_anew(
    authority: Authority, tmp_path: Path
) -> None:
    server = Tls(settings(authority, "example.com"))
    mine = TlsPeer(ca=tmp_path / "mine.pem")
    client = Tls()
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client.client("example.com"), server.server())
    (tmp_path / "mine.pem").write_bytes(authority.ca.read_bytes())
    client.follow(TlsSettings(peers={"example.com": mine}))
    shake(client.client("example.com"), server.server())
    (tmp_path / "mine.pem").write_bytes(Authority(tmp_path, "other").ca.read_bytes())
    client.follow(TlsSettings(peers={"example.com": mine}))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client.client("example.com"), server.server())


def renewed(found: tuple[Path, Path], shown: TlsSettings) -> None:
    """New files take the place of those that are shown."""
    assert shown.certificate
    assert shown.key
    for new, old in zip(found, (shown.certificate, shown.key), strict=True):
        new.replace(old)


def serial(client: Tls, server: Tls) -> object:
    here, _ = shake(client.client("example.com"), server.server())
    return (here.getpeercert() or {})["serialNumber"]


def test_our_renewed_certificate_is_shown_to_who_connects_from_now_on(authority: Authority) -> None:
    shown = settings(authority, "example.com")
    server, client = Tls(shown), Tls(TlsSettings(ca=authority.ca))
    before = serial(client, server)
    renewed(authority.issue("example.com"), shown)
    assert serial(client, server) == before, "nobody said that there is something new"
    with capture_logs() as said:
        server.follow(shown)
    assert serial(client, server) != before
    assert [line["event"] for line in said] == ["tls files reloaded"]


def test_a_renewed_certificate_without_its_key_leaves_the_old_one_until_both_are_there(authority: Authority) -> None:
    shown = settings(authority, "example.com")
    assert shown.key
    server, client = Tls(shown), Tls(TlsSettings(ca=authority.ca))
    before, old_key = serial(client, server), shown.key.read_bytes()
    renewed(authority.issue("example.com"), shown)
    new_key = shown.key.read_bytes()
    shown.key.write_bytes(old_key)
    with capture_logs() as said:
        server.follow(shown)
    assert serial(client, server) == before
    ((event, level, reason),) = ((line["event"], line["log_level"], line["reason"]) for line in said)
    assert (event, level) == ("tls files not reloaded", "error")
    assert "key values mismatch" in reason.lower()
    shown.key.write_bytes(new_key)
    server.follow(shown)
    assert serial(client, server) != before


def test_an_authority_that_cannot_be_read_leaves_the_one_that_was_read_before(
    authority: Authority, tmp_path: Path
) -> None:
    server = Tls(settings(authority, "example.com"))
    mine = TlsSettings(peers={"example.com": TlsPeer(ca=tmp_path / "mine.pem")})
    client = Tls(mine)
    (tmp_path / "mine.pem").write_bytes(authority.ca.read_bytes())
    shake(client.client("example.com"), server.server())
    (tmp_path / "mine.pem").write_text("half of it")
    for _ in range(2):
        client.follow(mine)
        with capture_logs() as said:
            shake(client.client("example.com"), server.server())
        assert [(line["event"], line["domain"]) for line in said] == [
            ("tls files of a far end not reloaded", "example.com")
        ]
    client.follow(TlsSettings())
    client.follow(mine)
    with pytest.raises(SipError):
        client.client("example.com")


def test_a_trunk_may_bear_another_name(authority: Authority) -> None:
    client = Tls(TlsSettings(peers={"sbc.example.com": TlsPeer(ca=authority.ca, server_name="carrier.example")}))
    assert client.name("SBC.example.com") == "carrier.example"
    assert client.proven("sbc.example.com", ("carrier.example",))
    assert not client.proven("sbc.example.com", ("sbc.example.com",))
    assert client.name("other.example") == "other.example"


def test_whoever_connects_may_prove_who_he_is(authority: Authority) -> None:
    server = Tls(settings(authority, "gw.example", ca=authority.ca))
    trunk = Tls(settings(authority, "carrier.example", ca=authority.ca))
    _, there = shake(trunk.client("gw.example"), server.server())
    assert names_of(there) == ("carrier.example",)
    stranger = Tls(TlsSettings(ca=authority.ca))
    _, there = shake(stranger.client("gw.example"), server.server())
    assert names_of(there) == ()


def test_a_wrong_certificate_of_whoever_connects_ends_the_handshake(authority: Authority, tmp_path: Path) -> None:
    server = Tls(settings(authority, "gw.example", ca=authority.ca))
    forger = Authority(tmp_path, "forger")
    client = Tls(settings(forger, "carrier.example", peers={"gw.example": TlsPeer(ca=authority.ca)}))
    with pytest.raises(ssl.SSLError):
        shake(client.client("gw.example"), server.server())


def test_a_trunk_may_want_a_certificate_of_its_own(authority: Authority) -> None:
    certificate, key = authority.issue("special.example")
    client = Tls(
        settings(
            authority,
            "usual.example",
            ca=authority.ca,
            peers={"gw.example": TlsPeer(certificate=certificate, key=key)},
        )
    )
    server = Tls(settings(authority, "gw.example", ca=authority.ca)).server()
    assert names_of(shake(client.client("gw.example"), server)[1]) == ("special.example",)
    assert names_of(shake(client.client("another.example"), server)[1]) == ("usual.example",)


def test_nothing_older_than_tls_1_2_is_spoken(authority: Authority) -> None:
    server = Tls(settings(authority, "example.com")).server()
    client = Tls(TlsSettings(ca=authority.ca)).client("example.com")
    assert server.minimum_version == client.minimum_version == ssl.TLSVersion.TLSv1_2


def test_who_comes_back_takes_up_the_session_again(authority: Authority) -> None:
    server = Tls(settings(authority, "example.com")).server()
    client = Tls(TlsSettings(ca=authority.ca))
    here, _ = shake(client.client("example.com"), server)
    assert not here.session_reused
    client.remember(here)
    here, _ = shake(client.client("example.com"), server)
    assert here.session_reused
    assert names_of(here) == ("example.com",)  # and is still who he was


@pytest.mark.parametrize("which", ["certificate", "key", "ca"])
def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path, which: str) -> None:
    good: dict[str, Any] = dict(zip(("certificate", "key"), authority.issue("example.com"), strict=True)) | {
        "ca": authority.ca
    }
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")
    for bad in (tmp_path / "missing.pem", nonsense):
        with pytest.raises(SipError, match=r"certificate|authority"):
            Tls(TlsSettings(**(good | {which: bad}))).server()
    with pytest.raises(SipError, match="needs a certificate"):
        Tls().server()


def failure(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLError:
    with pytest.raises(ssl.SSLError) as caught:
        shake(client, server)
    return caught.value


def test_why_a_handshake_failed_is_said_in_a_word_and_in_a_sentence(authority: Authority, tmp_path: Path) -> None:
    server = Tls(settings(authority, "example.com")).server()
    assert said_of(failure(Tls().client("example.com"), server)) == (
        "certificate",
        "certificate verify failed: unable to get local issuer certificate",
    )
    late = Tls(TlsSettings(*authority.issue("example.com", days=-1)))
    client = Tls(TlsSettings(ca=authority.ca)).client("example.com")
    assert said_of(failure(client, late.server())) == (
        "certificate",
        "certificate verify failed: certificate has expired",
    )
    demanding = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    demanding.load_cert_chain(*authority.issue("example.com"))
    demanding.verify_mode = ssl.CERT_REQUIRED
    demanding.maximum_version = ssl.TLSVersion.TLSv1_2
    assert said_of(failure(client, demanding)) == ("certificate", "peer did not return a certificate")
    deaf = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    deaf.load_cert_chain(*authority.issue("example.com"))
    deaf.minimum_version = ssl.TLSVersion.TLSv1_3
    old = ssl.create_default_context(cafile=authority.ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert said_of(failure(old, deaf)) == ("no tls", "unsupported protocol")
    assert said_of(ConnectionAbortedError("SSL handshake is taking longer than 10.0 seconds"))[0] == "late"
    assert said_of(ConnectionResetError()) == ("left", "closed in the handshake")
