"""ENUM's records, and what they make of a number."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.addresses import SipUri
from gateway.dialplan.naptr import MAX_URIS, Record, domain, rewritten, uris

NUMBER = "+442079460018"


def record(regexp: str, service: str = "E2U+sip", flags: str = "u", order: int = 100, preference: int = 10) -> Record:
    return Record(order, preference, flags, service, regexp)


def found(*records: Record) -> list[str]:
    return list(map(str, uris(NUMBER, records)))


def test_a_number_is_asked_for_by_its_digits_from_the_last() -> None:
    assert domain(NUMBER, "e164.arpa") == "8.1.0.0.6.4.9.7.0.2.4.4.e164.arpa"


@pytest.mark.parametrize(
    ("regexp", "text"),
    [
        ("!^.*$!sip:info@example.com!", "sip:info@example.com"),
        (r"!^\+44(.*)$!sip:\1@example.com!", "sip:2079460018@example.com"),
        (r"!^(\+44)(20)(.+)$!sip:\3\2\1@example.com!", "sip:7946001820+44@example.com"),
        (r"/^\+(.*)$/sip:\1@a\/b/", "sip:442079460018@a/b"),
        ("!^.*$!SIP:X@example.com!i", "SIP:X@example.com"),
        (r"!7946!sip:\\@example.com!", "sip:\\@example.com"),
        (r"!^(\+1)?.*$!sip:a\1@example.com!", "sip:a@example.com"),
        (r"!^.*$!sip:a\!b@example.com!", "sip:a!b@example.com"),
    ],
)
def test_a_substitution_makes_a_text(regexp: str, text: str) -> None:
    assert rewritten(regexp, NUMBER) == text


@pytest.mark.parametrize(
    "regexp",
    ["", "!", "!a!b", "!^.*$!x!y", "!^.*$!x!!", r"!^(.*)$!\2!", r"!^(.*)$!\0!", "1^.*$1x1", "i^.*$ixi",
     "!^\\+1.*$!x!", "!(!x!", "!^.*$\\!x!", "\\^.*$\\x\\"],
)  # fmt: skip
def test_what_is_no_substitution_makes_nothing(regexp: str) -> None:
    assert rewritten(regexp, NUMBER) is None


def test_records_of_the_lowest_order_that_says_something_count_by_preference() -> None:
    assert found(
        record("!^.*$!mailto:d@example.com!", order=99),
        record("!^.*$!sip:c@example.com!", order=101, preference=1),
        record("!^.*$!sip:b@example.com!", preference=20),
        record("!^.*$!sip:a@example.com!", preference=10),
    ) == ["sip:a@example.com", "sip:b@example.com"]


@pytest.mark.parametrize(
    "service", ["E2U+sip", "e2u+SIP", "E2U+pstn:sip", "E2U+email:mailto+sip", "E2U+pstn:tel+pstn:sip"]
)
def test_services_that_say_sip_count(service: str) -> None:
    assert found(record("!^.*$!sips:a@example.com!", service)) == ["sips:a@example.com"]


@pytest.mark.parametrize(
    "other",
    [
        record("!^.*$!sip:a@example.com!", "E2U+email:mailto"),
        record("!^.*$!sip:a@example.com!", "sip+E2U"),
        record("!^.*$!sip:a@example.com!", "E2U"),
        record("!^.*$!sip:a@example.com!", flags=""),
        record("!^.*$!sip:a@example.com!", flags="s"),
        record("!^.*$!tel:+442079460018!"),
        record("!^.*$!mailto:a@example.com!"),
        record("!^.*$!sip:example.com!"),
        record("!^.*$!sip:a@example.com?Replaces=x!"),
        record("!^.*$!sip:a:b@example.com!"),
        record("!^.*$!sip:a@127.1!"),
        record("!^.*$!sip:a b@example.com!"),
        record("!^.*$!!"),
    ],
)
def test_what_makes_no_sip_address_is_passed_over(other: Record) -> None:
    assert found(other, record("!^.*$!sip:b@example.com!", preference=99)) == ["sip:b@example.com"]


def test_a_number_with_many_addresses_has_the_best() -> None:
    many = [record(f"!^.*$!sip:a{n}@example.com!", preference=n) for n in range(MAX_URIS + 3)]
    assert found(*many, *many) == [f"sip:a{n}@example.com" for n in range(MAX_URIS)]


@settings(deadline=None)
@given(st.text(max_size=60), st.text("!\\1^$.*()+", max_size=40))
def test_nothing_in_dns_surprises(regexp: str, odd: str) -> None:
    for text in (regexp, odd, f"!{odd}!sip:a@b.example!"):
        assert all(isinstance(uri, SipUri) for uri in uris(NUMBER, [record(text)]))
