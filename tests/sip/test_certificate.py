"""gateway.sip.certificate: whose certificate it is, by RFC 5922."""

from __future__ import annotations

import pytest

from gateway.sip.certificate import MAX_NAMES, names_in, speaks_for

SUBJECT = ((("countryName", "GB"),), (("commonName", "Common.example"),))


def certificate(*alternatives: tuple[str, str]) -> dict[str, object]:
    return {"subject": SUBJECT, "subjectAltName": alternatives}


@pytest.mark.parametrize(
    ("alternatives", "names"),
    [
        ((("URI", "sip:Example.com"), ("DNS", "host.example.com")), ("example.com",)),
        ((("URI", "SIP:example.com;x=y"), ("URI", "sip:example.net:5061")), ("example.com", "example.net")),
        ((("URI", "sip:juliet@example.com"), ("DNS", "host.example.com")), ()),  # a person's, not a domain's
        ((("URI", "sips:example.com"), ("DNS", "host.example.com.")), ("host.example.com",)),
        ((("URI", "https://example.com"), ("DNS", "a.example"), ("DNS", "b.example")), ("a.example", "b.example")),
        ((("DNS", "a.example"), ("IP Address", "192.0.2.1")), ("a.example", "192.0.2.1")),
        ((("IP Address", "2001:DB8:0:0:0:0:0:1"), ("IP Address", "none")), ("2001:db8::1",)),
        ((("URI", "sip:[2001:db8::1]:5061"),), ("2001:db8::1",)),
        ((), ("common.example",)),
    ],
)
def test_names_are_found_as_the_rfc_says(alternatives: tuple[tuple[str, str], ...], names: tuple[str, ...]) -> None:
    assert names_in(certificate(*alternatives)) == names


def test_a_certificate_that_was_not_verified_names_nobody() -> None:
    assert names_in({}) == ()
    assert names_in({"subject": None, "subjectAltName": None}) == ()
    assert names_in({"subjectAltName": (("DNS",), "x", ("DNS", 1))}) == ()


def test_names_are_counted() -> None:
    many = tuple(("DNS", f"{number}.example") for number in range(1000))
    assert len(names_in(certificate(*many))) == MAX_NAMES


@pytest.mark.parametrize(
    ("names", "domain", "strictly", "loosely"),
    [
        (("example.com",), "EXAMPLE.com.", True, True),
        (("example.com",), "sip.example.com", False, False),
        (("*.example.com",), "sip.example.com", False, True),
        (("*.example.com",), "a.sip.example.com", False, False),
        (("*.example.com",), "example.com", False, False),
        (("*.com",), "example.com", False, False),
        (("*",), "example", False, False),
        (("192.0.2.1",), "192.0.2.1", True, True),
        (("2001:db8::1",), "[2001:DB8::1]", True, True),
        (("*.0.2.1",), "192.0.2.1", False, False),
        (("",), "", False, False),
        ((), "example.com", False, False),
    ],
)
def test_a_name_is_compared_whole(names: tuple[str, ...], domain: str, strictly: bool, loosely: bool) -> None:
    assert speaks_for(names, domain) == strictly
    assert speaks_for(names, domain, wildcards=True) == loosely
