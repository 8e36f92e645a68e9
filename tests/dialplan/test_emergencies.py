"""What is a call for help, in which spellings, and what only looks like one."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import contacts
from gateway.contacts import Dialled
from gateway.dialplan import numbers
from gateway.dialplan.emergencies import Emergency, calling_code, international, is_emergency, recognise, regions
from gateway.dialplan.numbers import Kind, read

# Every region's emergency numbers, found by asking for all that could be one: two to five digits.
KNOWN = {
    region: found
    for region in sorted(numbers.REGIONS)
    if (
        found := [
            text
            for text in (
                *(f"{n:02}" for n in range(100)),
                *(f"{n:03}" for n in range(1000)),
                *(f"{n:04}" for n in range(1000, 2000)),
                "10111",
                "10177",
            )
            if is_emergency(text, region)
        ]
    )
}


def test_nearly_every_region_has_emergency_numbers() -> None:
    assert numbers.REGIONS - set(KNOWN) <= {"GN", "GQ", "IO", "TA", "TK"}  # the metadata knows none there


@pytest.mark.parametrize(
    ("text", "region", "found"),
    [
        ("911", "US", Emergency("911")),
        ("+1911", "US", Emergency("911")),
        ("+1911", "CA", Emergency("911")),  # one calling code, one number
        ("0111911", "US", Emergency("911")),
        ("+1911", "GB", Emergency("+1911", foreign=True)),
        ("001911", "GB", Emergency("+1911", foreign=True)),
        ("+44999", "JE", Emergency("999")),
        ("+3531999", "IE", None),
        ("+353999", "GB", Emergency("+353999", foreign=True)),
        ("000", "AU", Emergency("000")),
        ("08", "GB", None),
        ("9111", "US", None),
        ("1911", "US", None),
        ("911#", "US", Emergency("911")),  # complete, says the telephone
        ("*67911", "US", Emergency("911")),
        ("*67+1911#", "US", Emergency("911")),
        ("*82911", "GB", None),
        ("*31#112", "DE", Emergency("112")),
        ("#31#110", "DE", Emergency("110")),
        ("*911", "US", None),
        ("*679111", "US", None),
        ("91", "IN", None),
        ("911", None, None),
        ("+911", None, None),
        ("+", "US", None),
        ("118", "JP", Emergency("118")),  # published, and unknown to the metadata
        ("115", "FR", Emergency("115")),
        ("192", "RS", Emergency("192")),
    ],
)
def test_an_emergency_is_an_exact_number_of_a_region(text: str, region: str | None, found: Emergency | None) -> None:
    assert recognise(Dialled(text), region) == found


@pytest.mark.parametrize(
    ("text", "context", "region", "found"),
    [
        ("911", "+1", "US", Emergency("911")),
        ("911", "+1", "GB", Emergency("+1911", foreign=True)),
        ("999", "+4420", "US", Emergency("+44999", foreign=True)),
        ("999", "+44", "GB", Emergency("999")),
        ("112", "+44", "GB", Emergency("112")),
        ("911", "example.com", "US", Emergency("911")),
        ("911", "+44", "US", Emergency("911")),  # the caller's own region comes first
        ("100", "+1", "US", None),
        ("911", "+999", None, None),
    ],
)
def test_a_phone_context_can_name_the_country(
    text: str, context: str, region: str | None, found: Emergency | None
) -> None:
    assert recognise(Dialled(text, context=context), region) == found


@pytest.mark.parametrize(
    ("urn", "region", "found"),
    [
        ("urn:service:sos", "US", Emergency("911")),
        ("urn:service:sos.police", "CA", Emergency("911")),
        ("urn:service:sos", "AU", Emergency("000")),
        ("urn:service:sos", "GB", Emergency("112")),
        ("urn:service:sos.fire", "DE", Emergency("112")),
        ("urn:service:sos", "NZ", Emergency("111")),
        ("urn:service:sos", "KE", Emergency("112")),
        ("urn:service:sos", "JP", Emergency("112", foreign=True)),  # police and fire have numbers of their own
        ("urn:service:sos", None, Emergency("112", foreign=True)),
    ],
)
def test_the_urn_for_help_is_the_number_of_the_region(urn: str, region: str | None, found: Emergency) -> None:
    assert recognise(Dialled(urn), region) == found
    assert read(Dialled(urn), region).kind is Kind.EMERGENCY


def test_what_the_operator_lists_is_an_emergency() -> None:
    assert recognise(Dialled("5555"), "US", {"5555"}) == Emergency("5555")
    assert recognise(Dialled("55555"), "US", {"5555"}) is None


def test_digits_name_their_country_behind_a_plus_or_an_exit_code() -> None:
    assert international("+44999", None) == "44999"
    assert international("01144999", "US") == "44999"
    assert international("0044999", "US") == ""
    assert international("0044999", None) == ""
    assert calling_code("44999") == "44"
    assert calling_code("0999") == ""
    assert regions("44")[0] == "GB"
    assert regions("881") == regions("") == ()


SPELLED = st.sampled_from([(region, text) for region, found in KNOWN.items() for text in found])
BETWEEN = st.text(st.sampled_from(" -.()/\u00a0\u2011\u202a\u202c"), max_size=2)


@given(SPELLED, st.booleans(), st.data())
def test_no_emergency_number_is_an_ordinary_one_in_its_region(
    known: tuple[str, str], wide: bool, data: st.DataObject
) -> None:
    region, text = known
    digits = text.translate({ord("0") + n: 0xFF10 + n for n in range(10)}) if wide else text
    written = "".join(data.draw(BETWEEN) + digit for digit in digits) + data.draw(BETWEEN)
    for spelling in (written, f"tel:{written}", f"tel\\3a{written};ext=5;phone-context=example.com"):
        contact = contacts.contact(spelling)
        assert isinstance(contact, Dialled)
        reading = read(contact, region)
        assert (reading.kind, reading.dial, reading.foreign) == (Kind.EMERGENCY, text, False)


@given(SPELLED)
def test_nor_with_its_calling_code_in_front(known: tuple[str, str]) -> None:
    region, text = known
    code = phonenumbers.country_code_for_region(region)
    assert recognise(Dialled(f"+{code}{text}"), region) == Emergency(text)
    assert recognise(Dialled(f"+{code}{text}"), None) == Emergency(f"+{code}{text}", foreign=True)
    assert recognise(Dialled(text, context=f"+{code}"), None) == Emergency(f"+{code}{text}", foreign=True)


@given(SPELLED, st.text("0123456789", min_size=1, max_size=8))
def test_what_an_emergency_number_begins_is_none_of_it(known: tuple[str, str], more: str) -> None:
    region, text = known
    if text + more not in KNOWN[region] and not international(text + more, region):
        assert recognise(Dialled(text + more), region) is None


@pytest.mark.parametrize("code", ["*911", "#911", "*911#", "*21*911#", "**21*911*11#", "*55911", "*123911", "*1*911"])
def test_no_service_code_carries_a_call_for_help(code: str) -> None:
    reading = read(Dialled(code), "US")
    assert reading.kind is Kind.SHORT
    assert reading.problem == f"{code} is a service code with an emergency number inside: call 911 alone"


@pytest.mark.parametrize("code", ["*43#", "*69", "*100#", "*2800", "**1", "#", "*9111", "*9119"])
def test_other_service_codes_stay(code: str) -> None:
    assert read(Dialled(code), "US").problem is None


@pytest.mark.parametrize("text", ["112#", "*31#112", "911#"])
def test_what_every_telephone_knows_is_recognised_in_the_same_spellings(text: str) -> None:
    reading = read(Dialled(text), None)
    assert (reading.kind, reading.dial, reading.foreign) == (Kind.EMERGENCY, text.strip("#").removeprefix("*31#"), True)
