from __future__ import annotations

import pytest

from gateway.session import text
from gateway.session.model import Fingerprint, Setup


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("0", 0),
        ("65535", 65535),
        ("65536", None),
        ("-1", None),
        ("+1", None),
        ("1 ", None),
        ("", None),
        (None, None),
        ("٣", None),  # a digit to str.isdigit(), none to anybody else
        ("9" * 5000, None),
        ("0x10", None),
    ],
)
def test_only_plain_decimals_in_bounds_are_numbers(said: str | None, read: int | None) -> None:
    assert text.whole(said, 65535) == read


def test_a_number_below_the_least_is_none() -> None:
    assert text.whole("0", 10, 1) is None
    assert text.whole("1", 10, 1) == 1


@pytest.mark.parametrize("bad", ["", "a b", "a\r\nm=audio", "ä", "a;b", "x" * 5000, None])
def test_no_token_carries_a_blank_or_a_line_end(bad: str | None) -> None:
    assert not text.is_token(bad)
    assert not text.is_ice(bad)


@pytest.mark.parametrize("bad", ["", "a b", "192.0.2.1\r\na=x", "a/127", "x" * 256, None, "[::1]"])
def test_no_address_carries_anything_else(bad: str | None) -> None:
    assert not text.is_address(bad)


@pytest.mark.parametrize("good", ["192.0.2.1", "2001:db8::1", "pbx_1.example", "0d3c.local"])
def test_addresses_and_names_are_addresses(good: str) -> None:
    assert text.is_address(good)


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b", "a\x7fb", "a\u2028b", "a\ud800b", "a\ufffeb", "x" * 5000])
def test_what_is_shown_is_on_one_line_and_legal_in_xml(bad: str) -> None:
    assert not text.is_visible(bad)
    cleaned = text.visible(bad)
    assert text.is_visible(cleaned)
    assert cleaned


def test_fingerprints_are_upper_case_pairs() -> None:
    assert text.is_fingerprint(":".join(["AB"] * 32))
    for bad in (
        "",
        "AB",
        ":".join(["ab"] * 32),
        ":".join(["ABC"] * 32),
        ":".join(["AG"] * 32),
        "AB:" * 40,
        "AB:" * 5000,
    ):
        assert not text.is_fingerprint(bad)


def test_sha_256_is_preferred_since_everybody_can_check_it() -> None:
    def one(algorithm: str, length: int) -> Fingerprint:
        return Fingerprint(algorithm, ":".join(["AB"] * length), Setup.ACTPASS)

    weak, usual, strong = one("sha-1", 20), one("sha-256", 32), one("sha-512", 64)
    assert text.preferred([strong, usual, weak]) == usual
    assert text.preferred([weak, strong]) == strong
    assert text.preferred([]) is None
