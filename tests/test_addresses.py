"""URIs and hosts by worked examples, then by a property."""

from __future__ import annotations

import pytest
from hypothesis import given

from gateway.addresses import MAX_URI, SipUri, host_of, server
from gateway.contacts import local_of
from gateway.errors import AddressError
from tests.strategies import URI

URIS = [
    ("sip:shakespeare.lit", SipUri("sip", None, "shakespeare.lit")),
    ("SIP:Romeo@Shakespeare.LIT.", SipUri("sip", "Romeo", "shakespeare.lit")),
    (" sip:romeo@shakespeare.lit ", SipUri("sip", "romeo", "shakespeare.lit")),
    ("sips:r@[2001:DB8:0::1]:5061", SipUri("sips", "r", "2001:db8::1", 5061)),
    ("sip:münchen.example", SipUri("sip", None, "xn--mnchen-3ya.example")),
    ("sip:r@h;lr;Maddr=192.0.2.1", SipUri("sip", "r", "h", None, (("lr", None), ("maddr", "192.0.2.1")))),
    ("sip:r@h;;lr;", SipUri("sip", "r", "h", None, (("lr", None),))),
    ("sip:r@h?Subject=a%20b&Priority=x", SipUri("sip", "r", "h", headers=(("Subject", "a b"), ("Priority", "x")))),
    ("sip:r@h;lr?To=a", SipUri("sip", "r", "h", None, (("lr", None),), (("To", "a"),))),
    ("sip:alice;day=tuesday@h", SipUri("sip", "alice;day=tuesday", "h")),  # RFC 3261 §19.1.3
    ("sip:+1-212;phone-context=x?y@h", SipUri("sip", "+1-212;phone-context=x?y", "h")),
    ("sip:alice:secret@h", SipUri("sip", "alice", "h", password="secret")),
    ("sip:juliet%shakespeare.lit@h", SipUri("sip", "juliet%shakespeare.lit", "h")),
    ("sip:juliet%cafe.lit@h", SipUri("sip", "juliet%cafe.lit", "h")),  # %ca alone is no UTF-8
    ("sip:a%00b@h", SipUri("sip", "a%00b", "h")),
    ("sip:%61@h", SipUri("sip", "a", "h")),
    ("tel:+1-202-555-0123;ext=5", SipUri("tel", "+1-202-555-0123", "", None, (("ext", "5"),))),
]


@pytest.mark.parametrize(("text", "uri"), URIS)
def test_a_uri_is_read_and_written_back_to_the_same(text: str, uri: SipUri) -> None:
    assert SipUri.parse(text) == uri
    assert SipUri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "sip:",
        "http://shakespeare.lit",
        "sip:@shakespeare.lit",
        "sip:a@b@c",
        "sip:a b@c",
        "sip:a@b\r\nVia: x",
        "sip:a@b\x7f",
        "sip:a@[::1",
        "sip:a@[::1]x",
        "sip:a@b:",
        "sip:a@b:99999",
        "sip:a@b:123456",
        "sip:a@b;ä",
        "sip:a@b;=c",
        "sip:" + "a" * MAX_URI,
        "tel:",
    ],
)
def test_what_is_no_uri_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        SipUri.parse(text)


def test_an_error_never_repeats_more_than_a_line_of_foreign_text() -> None:
    with pytest.raises(AddressError) as error:
        SipUri.parse("sip:a@" + "b!" * 1000)
    assert len(str(error.value)) < 120


def test_parameters_are_found_by_name_with_or_without_a_value() -> None:
    uri = SipUri.parse("sip:r@h;lr;transport=TCP;transport=udp")
    assert uri.parameter("lr") == ""
    assert uri.parameter("transport") == "TCP"
    assert uri.parameter("maddr") is None


def test_a_password_is_carried_but_not_shown() -> None:
    uri = SipUri.parse("sip:alice:s%20cret@h")
    assert str(uri) == "sip:alice:s%20cret@h"
    assert "cret" not in repr(uri)
    assert local_of(uri) == "alice%h"


def test_our_own_errors_name_no_address_of_a_single_link() -> None:
    with pytest.raises(AddressError, match="one link"):
        host_of("fe80::1%eth0")


@pytest.mark.parametrize("text", ["127.1", "0x7f000001", "0x7f.1", "017700000001", "2130706433", "192.0.2.256"])
def test_what_resolvers_read_as_an_address_that_nobody_checked_is_no_host(text: str) -> None:
    with pytest.raises(AddressError, match="nor an IPv4 address"):
        host_of(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [("[::1]", "::1"), ("::1", "::1"), ("::ffff:192.0.2.1", "::ffff:c000:201"), ("A_b.example.", "a_b.example")],
)
def test_a_host_has_one_spelling(text: str, host: str) -> None:
    assert host_of(text) in {host, "::ffff:192.0.2.1"}
    assert host_of(host_of(text)) == host_of(text)


@given(URI)
def test_any_uri_is_read_back_as_it_was_written(uri: SipUri) -> None:
    assert SipUri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.53", ("192.0.2.53", None)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
        ("2001:DB8::53", ("2001:db8::53", None)),
        ("2001:db8:0:0:0:0:0:53", ("2001:db8::53", None)),
        ("2001:db8::1:a53", ("2001:db8::1:a53", None)),
        ("::1", ("::1", None)),
    ],
)
def test_a_server_of_ipv6_needs_brackets_for_its_port_alone(text: str, expected: tuple[str, int | None]) -> None:
    assert server(text) == expected


@pytest.mark.parametrize(
    "text", ["2001:db8::1:53", "2001:db8::1:53535", "2001:db8:0:0:0:0:0:1:53", "::1::53", "fe80::1%eth0"]
)
def test_a_server_that_can_be_read_in_two_ways_or_in_none_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        server(text)
