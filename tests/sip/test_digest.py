"""gateway.sip.digest: the examples of RFC 2617, RFC 7616 and RFC 8760, and what servers do besides."""

from __future__ import annotations

import hashlib

import pytest

from gateway.sip.digest import Authenticator, Challenge, Credentials, Session, challenges, response
from gateway.sip.headers import AuthField
from gateway.sip.message import Headers, Response

NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
MUFASA = Credentials("Mufasa", "Circle of Life")


def challenge(
    algorithm: str = "", qop: str = "auth", nonce: str = NONCE, realm: str = "http-auth@example.org"
) -> Challenge:
    return Challenge(realm, nonce, algorithm, qop, None, False, False)


def digest(given: Challenge, credentials: Credentials = MUFASA) -> str:
    return response(given, credentials, "GET", "/dir/index.html", body=b"", cnonce=CNONCE, count="00000001")


def test_rfc_7616_section_3_9_1() -> None:
    assert digest(challenge("MD5")) == "8ca523f5e9506fed4657c9700eebdbec"
    assert digest(challenge("SHA-256")) == "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"


def test_rfc_2617_section_3_5() -> None:
    given = challenge("", "auth", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "testrealm@host.com")
    credentials = Credentials("Mufasa", "Circle Of Life")
    made = response(given, credentials, "GET", "/dir/index.html", body=b"", cnonce="0a4f113b", count="00000001")
    assert made == "6629fae49393a05397450978507c4ef1"


def test_without_qop_the_old_formula_holds() -> None:
    given = challenge("MD5", "", "1535646722/5d9e709c8f2ccd74601946bfbd77b032", "asterisk")
    made = response(
        given, Credentials("5000", "sangoma"), "REGISTER", "sip:5000@10.10.26.12", body=b"", cnonce="", count=""
    )
    assert made == "05d233c1f0c0ef3d2fa203512363ce64"


def test_sess_and_auth_int_change_the_digest() -> None:
    plain = digest(challenge("MD5"))
    assert digest(challenge("MD5-sess")) != plain
    assert digest(challenge("MD5", "auth-int")) != plain


def refusal(*fields: str, proxy: bool = False) -> Response:
    name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
    return Response(407 if proxy else 401, "", Headers((name, field) for field in fields))


def test_nobody_on_the_way_talks_us_down_to_md5() -> None:
    found = challenges(
        refusal(
            'Digest realm="r", nonce="1", algorithm=MD5',
            'Digest realm="r", nonce="2", algorithm=SHA-256',
            'Digest realm="r", nonce="3", algorithm=SHA-256',
        )
    )
    assert [(each.nonce, each.algorithm) for each in found] == [("2", "SHA-256")]


def test_a_server_that_would_rather_not_read_a_name_gets_its_hash() -> None:
    # RFC 7616 section 3.9.2, with SHA-256 in place of SHA-512-256, which no SIP server has
    (given,) = challenges(refusal('Digest realm="api@example.org", nonce="n", algorithm=SHA-256, userhash=true'))
    read = AuthField.parse(Session(given, Credentials("Jäsøn Doe", "x")).authorize("GET", "/", b"", "c"))
    expected = hashlib.sha256("Jäsøn Doe:api@example.org".encode()).hexdigest()
    assert (read.parameter("username"), read.parameter("userhash")) == (expected, "true")


def test_the_first_challenge_that_can_be_answered_is_taken() -> None:
    found = challenges(
        refusal(
            'Digest realm="r", nonce="1", algorithm=SHA-9000',
            'Negotiate nonce="x"',
            'Digest realm="r", nonce="2", qop="token"',
            'Digest realm="r"',
            'Digest realm="r", nonce="3", algorithm=sha-256, qop="auth-int, auth", opaque="o", stale=TRUE',
            'Digest realm="r", nonce="4", algorithm=MD5',
        )
    )
    assert found == [Challenge("r", "3", "sha-256", "auth", "o", True, False)]


def test_several_proxies_are_each_answered() -> None:
    found = challenges(refusal('Digest realm="p1", nonce="1"', 'Digest realm="p2", nonce="2"', proxy=True))
    assert [c.realm for c in found] == ["p1", "p2"]
    assert all(c.proxy for c in found)


def test_a_nonce_is_counted_and_the_field_quotes_what_it_must() -> None:
    session = Session(challenge("MD5", realm='a, "b"'), MUFASA)
    for count in ("00000001", "00000002"):
        read = AuthField.parse(session.authorize("INVITE", "sip:a@b", b"", CNONCE))
        assert read.parameter("nc") == count
        assert read.parameter("realm") == 'a, "b"'
        assert read.parameter("qop") == "auth"
        assert read.parameter("algorithm") == "MD5"
    old = AuthField.parse(Session(challenge("", ""), MUFASA).authorize("INVITE", "sip:a@b", b"", CNONCE))
    assert [old.parameter(name) for name in ("nc", "cnonce", "qop", "algorithm", "opaque")] == [None] * 5
    sess = Session(Challenge("r", "n", "MD5-sess", "", "o", False, False), MUFASA)
    assert AuthField.parse(sess.authorize("INVITE", "sip:a@b", b"", "c")).parameter("cnonce") == "c"


def test_a_wrong_password_is_tried_once_and_a_stale_nonce_again() -> None:
    authenticator = Authenticator(MUFASA, lambda: CNONCE)
    assert authenticator.headers("INVITE", "sip:a", b"") == []
    assert authenticator.learn(refusal('Digest realm="r", nonce="1"'), again=False)
    assert [name for name, _ in authenticator.headers("INVITE", "sip:a", b"")] == ["Authorization"]
    assert not authenticator.learn(refusal('Digest realm="r", nonce="2"'), again=True)
    assert not authenticator.learn(refusal('Digest realm="r", nonce="1", stale=true'), again=True)
    assert authenticator.learn(refusal('Digest realm="r", nonce="3", stale=true'), again=True)
    assert not authenticator.learn(refusal("Basic realm=x"), again=False)
    assert authenticator.learn(refusal('Digest realm="p", nonce="1"', proxy=True), again=True)
    names = [name for name, _ in authenticator.headers("INVITE", "sip:a", b"")]
    assert names == ["Authorization", "Proxy-Authorization"]


def test_a_password_is_not_shown() -> None:
    assert "Circle" not in repr(MUFASA)


def test_a_later_request_may_be_asked_for_a_new_nonce() -> None:
    authenticator = Authenticator(MUFASA, lambda: CNONCE)
    assert authenticator.learn(refusal('Digest realm="r", nonce="1"'), again=False)
    assert authenticator.learn(refusal('Digest realm="r", nonce="2"'), again=False)
    assert not authenticator.learn(refusal('Digest realm="r", nonce="2"'), again=False)


def expected(algorithm: str, qop: str, count: str, cnonce: str, body: bytes) -> str:
    """The request-digest as RFC 7616 §3.4.1 to §3.4.3 has it, written down once more."""
    hashed = hashlib.md5 if algorithm.upper().startswith("MD5") else hashlib.sha256

    def h(text: str) -> str:
        return hashed(text.encode()).hexdigest()

    a1 = "Mufasa:r:Circle of Life"
    if algorithm.lower().endswith("-sess"):
        a1 = f"{h(a1)}:n:{cnonce}"
    a2 = "INVITE:sip:a@b" + (f":{hashed(body).hexdigest()}" if qop == "auth-int" else "")
    return h(f"{h(a1)}:n:{count}:{cnonce}:{qop}:{h(a2)}" if qop else f"{h(a1)}:n:{h(a2)}")


@pytest.mark.parametrize("algorithm", ["", "MD5", "md5-sess", "MD5-sess", "SHA-256", "SHA-256-sess"])
@pytest.mark.parametrize(("offered", "taken"), [("auth", "auth"), ("auth-int", "auth-int"), ("auth-int,auth", "auth")])
def test_whatever_a_server_asks_for_its_own_arithmetic_agrees(algorithm: str, offered: str, taken: str) -> None:
    named = f", algorithm={algorithm}" if algorithm else ""
    asked = refusal(f'Digest realm="r", nonce="n", opaque="o\\"p", qop="{offered}"{named}')
    (given,) = challenges(asked)
    session, body = Session(given, MUFASA), b"v=0\r\n"
    for count in ("00000001", "00000002"):
        read = AuthField.parse(session.authorize("INVITE", "sip:a@b", body, "c"))
        assert (read.parameter("qop"), read.parameter("nc"), read.parameter("cnonce")) == (taken, count, "c")
        assert read.parameter("response") == expected(algorithm or "MD5", taken, count, "c", body)
        assert (read.parameter("algorithm") or "", read.parameter("opaque")) == (algorithm, 'o"p')
