"""How dialled strings are read. Outcomes are those of the published numbering plans, named beside them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts import MAX_DIALLED, Dialled
from gateway.dialplan import numbers
from gateway.dialplan.numbers import (
    Kind,
    Region,
    country_of,
    digits_from,
    international,
    national,
    read,
    region_of,
)
from tests.steps import steps

# Dialled, region, E.164, country, types. Sources: NANPA; Ofcom's numbering plan and its numbers for drama; BNetzA;
# ARCEP; AGCOM; ITU-T E.164.1 for networks of no country.
NUMBERS = [
    ("+12025550123", None, "+12025550123", "US", {"fixed_line", "mobile"}),
    ("2025550123", "US", "+12025550123", "US", {"fixed_line", "mobile"}),
    ("12025550123", "US", "+12025550123", "US", {"fixed_line", "mobile"}),
    ("0012025550123", "GB", "+12025550123", "US", {"fixed_line", "mobile"}),
    ("01112025550123", "US", "+12025550123", "US", {"fixed_line", "mobile"}),
    ("+19005550123", None, "+19005550123", "US", {"premium_rate"}),
    ("+18005550199", None, "+18005550199", "US", {"toll_free"}),
    ("+16135550123", None, "+16135550123", "CA", {"fixed_line", "mobile"}),
    ("02079460018", "GB", "+442079460018", "GB", {"fixed_line"}),
    ("+447400123456", None, "+447400123456", "GB", {"mobile"}),
    ("09098790123", "GB", "+449098790123", "GB", {"premium_rate"}),
    ("01801234567", "DE", "+491801234567", "DE", {"shared_cost"}),
    ("030123456", "DE", "+4930123456", "DE", {"fixed_line"}),
    ("015123456789", "DE", "+4915123456789", "DE", {"mobile"}),
    ("0612345678", "FR", "+33612345678", "FR", {"mobile"}),
    ("0212345678", "IT", "+390212345678", "IT", {"fixed_line"}),  # Italy's zero is part of the number
    ("+881612345678", None, "+881612345678", None, {"satellite"}),
    ("+870773123456", None, "+870773123456", None, {"satellite"}),
    ("+88216123456", None, "+88216123456", None, {"satellite"}),
    ("+883510012345", None, "+883510012345", None, {"satellite"}),
    ("+979123456789", None, "+979123456789", None, {"satellite"}),
    ("+878101234567890", None, "+878101234567890", None, {"satellite"}),
    ("+88812345678901", None, "+88812345678901", None, {"satellite"}),
    ("+80012345678", None, "+80012345678", None, {"toll_free"}),
]


@pytest.mark.parametrize(("dialled", "region", "number", "country", "types"), NUMBERS)
def test_a_number_is_read_with_its_country_and_type(
    dialled: str, region: str | None, number: str, country: str | None, types: set[str]
) -> None:
    reading = read(Dialled(dialled), region)
    assert (reading.kind, reading.number, reading.dial) == (Kind.NUMBER, number, number)
    assert (reading.country, set(reading.types)) == (country, types)
    assert reading.problem is None
    assert reading.assigned


# Dialled, region, what a trunk is sent, of another country. Sources: ITU's list of national emergency numbers.
EMERGENCIES = [
    ("911", "US", "911", False),
    ("112", "US", "112", False),
    ("999", "GB", "999", False),
    ("112", "GB", "112", False),
    ("110", "DE", "110", False),
    ("15", "FR", "15", False),
    ("000", "AU", "000", False),
    ("+1911", "US", "911", False),
    ("0111911", "US", "911", False),
    ("+44999", "GB", "999", False),
    ("+1911", "GB", "+1911", True),
    ("0044999", "DE", "+44999", True),
    ("01144999", "US", "+44999", True),
    ("+39112", None, "+39112", True),
    ("911", "GB", "911", True),
    ("999", "US", "999", True),
    ("112", None, "112", True),
    ("118", "IT", "118", False),
]


@pytest.mark.parametrize(("dialled", "region", "dial", "foreign"), EMERGENCIES)
def test_an_emergency_is_recognised_in_every_spelling(
    dialled: str, region: str | None, dial: str, foreign: bool
) -> None:
    reading = read(Dialled(dialled), region)
    assert (reading.kind, reading.dial, reading.foreign) == (Kind.EMERGENCY, dial, foreign)
    assert reading.number is None


@pytest.mark.parametrize(
    ("dialled", "region"),
    [
        ("9111", "US"),
        ("9112025550", "US"),
        ("1911", "US"),
        ("09111234567", "DE"),
        ("0911", "DE"),
        ("+19112025550", None),
    ],
)
def test_what_only_begins_with_an_emergency_number_is_none(dialled: str, region: str | None) -> None:
    assert read(Dialled(dialled), region).kind is not Kind.EMERGENCY


def test_the_operators_own_emergency_numbers_count() -> None:
    assert read(Dialled("5555"), "US", {"5555"}).kind is Kind.EMERGENCY
    assert read(Dialled("5555"), "US").kind is Kind.SHORT


@pytest.mark.parametrize(
    ("dialled", "region"),
    [
        ("411", "US"),
        ("988", "US"),
        ("100", "US"),
        ("0", "US"),
        ("*43#", "US"),
        ("*97", None),
        ("#31#", "DE"),
        ("42", None),
    ],
)
def test_short_and_service_codes_are_dialled_as_they_are(dialled: str, region: str | None) -> None:
    reading = read(Dialled(dialled), region)
    assert (reading.kind, reading.dial, reading.number) == (Kind.SHORT, dialled, None)
    assert reading.problem is None


@pytest.mark.parametrize(
    ("dialled", "region", "problem"),
    [
        ("2025550123", None, "no region is set"),
        ("5550123", "US", "without its area code"),
        ("+1234", None, "too short"),
        ("+120255501234567", None, "too long"),
        ("+999123456", None, "of no country"),
        ("12345678901234567890", "US", "cannot be read"),
        ("+900", "US", "cannot be read"),
        ("0911", "DE", "not a number with the national prefix 0"),
        ("+490911", None, "not a number with the national prefix 0"),
        ("5550123", "GB", "could be a local number"),
        ("30123456", "DE", "could be a local number"),
        ("22833", "DE", "could be a local number"),
        ("49301234", "DE", "could be a local number"),
        ("5880112345", "AT", "could be a local number"),
        ("212345678", "KR", "write it with 0 and its area code, or with +82"),
        ("+0012025550123", "GB", "of no country"),
        ("+02079460018", "GB", "of no country"),
        ("+112025550123", None, "too long"),
        ("112025550123", "US", "too long"),
        ("1" * 33, "US", "more than 32 digits"),
        ("0112", "FR", "too short"),
        ("011911", "US", "cannot be read"),
        ("00911", "IN", "cannot be read"),
    ],
)
def test_what_cannot_be_decided_is_refused_with_its_reason(dialled: str, region: str | None, problem: str) -> None:
    reading = read(Dialled(dialled), region)
    assert reading.kind is Kind.NUMBER
    assert reading.number is None
    assert problem in (reading.problem or "")


@pytest.mark.parametrize(
    ("dialled", "region", "number"),
    [
        ("2079460018", "GB", "+442079460018"),  # longer than any local number
        ("442079460018", "GB", "+442079460018"),
        ("13812345678", "CN", "+8613812345678"),  # mobile numbers have no prefix there
        ("15881234", "KR", "+8215881234"),
        ("+4402079460018", None, "+442079460018"),  # +44 (0)20 7946 0018
        ("4641234", "AG", "+12684641234"),  # one area code, and seven digits are dialled
    ],
)
def test_digits_that_can_only_be_one_number_are_that_number(dialled: str, region: str | None, number: str) -> None:
    assert read(Dialled(dialled), region).number == number


def test_an_extension_goes_along_and_matches_no_rule() -> None:
    reading = read(Dialled("2025550123", "55"), "US")
    assert (reading.number, reading.dial, reading.user) == ("+12025550123", "+12025550123", "+12025550123;ext=55")
    assert read(Dialled("100", "55"), "US").problem == "100 is a short code, and those have no extensions"
    assert read(Dialled("*43#", "55"), None).problem == "*43# is a short code, and those have no extensions"
    assert "too short" in (read(Dialled("+1234", "55"), None).problem or "")
    emergency = read(Dialled("911", "55"), "US")
    assert (emergency.kind, emergency.user) == (Kind.EMERGENCY, "911")


def test_a_phone_context_says_whose_national_number_it_is() -> None:
    assert read(Dialled("02079460018", context="+44"), "US").number == "+442079460018"
    assert read(Dialled("02079460018", context="+4420"), None).number == "+442079460018"
    assert "without its area code" in (read(Dialled("5550123", context="+1202"), "GB").problem or "")
    assert "no region is set" in (read(Dialled("02079460018", context="+999"), "GB").problem or "")
    assert read(Dialled("411", context="+1"), "CA").problem is None
    assert read(Dialled("411", context="+1"), "GB").problem == "411 is a short code of another country, +1"
    private = read(Dialled("100", context="example.com"), "US")
    assert private.problem == "100 is of the numbering plan of example.com, which nobody here knows"


@pytest.mark.parametrize("dialled", ["*6719005550123", "*67+19005550123", "*21*19005550123#", "#31#+44", "**1234567"])
def test_no_number_is_dialled_inside_a_service_code(dialled: str) -> None:
    reading = read(Dialled(dialled), "US")
    assert (reading.kind, reading.number) == (Kind.SHORT, None)
    assert reading.problem == f"{dialled} is a service code with a number inside"


def test_a_short_code_has_a_type_where_its_price_is_known() -> None:
    assert read(Dialled("118218"), "FR").types == ("premium_rate",)  # ARCEP: 118 XYZ
    assert read(Dialled("116117"), "DE").types == ("toll_free",)  # BNetzA: 116 xxx is free
    assert read(Dialled("42"), "US").types == ()
    assert read(Dialled("42"), None).types == ()


def test_a_known_short_code_is_no_foreign_emergency() -> None:
    assert read(Dialled("118"), "CH").kind is Kind.EMERGENCY
    assert not read(Dialled("118"), "CH").foreign  # fire
    assert read(Dialled("110"), "US").foreign
    assert read(Dialled("110"), "US", at_a_host=True).kind is Kind.SHORT


# Regions


def test_the_region_is_the_nearest_that_somebody_named() -> None:
    groups = [("visitors", None), ("berlin", "DE"), ("paris", "FR")]
    assert region_of(asked="ES", user="GB", groups=groups) == Region("ES", "that was asked for", said=True)
    assert region_of(user="GB", groups=groups, number="+12025550123", file="IT") == Region(
        "GB", "of the user", said=True
    )
    assert region_of(groups=groups, number="+12025550123", file="IT") == Region("DE", "of group berlin", said=True)
    assert region_of(number="+12025550123", file="IT") == Region("US", "of +12025550123")
    assert region_of(number="+16135550123", file="IT").code == "CA"
    assert region_of(number="+881612345678", file="IT") == Region("IT", "of [numbers]")
    assert region_of(number="100", file="IT") == Region("IT", "of [numbers]")
    assert region_of() == Region(None, "that nobody set")


@pytest.mark.parametrize(("text", "region"), [("011", "US"), ("00", "DE"), ("00", "GB"), ("010", "JP"), ("8 10", "RU")])
def test_an_exit_code_alone_goes_nowhere(text: str, region: str) -> None:
    reading = read(Dialled(text.replace(" ", "")), region)
    assert reading.problem is not None
    assert "no number follows" in reading.problem


def test_another_countrys_number_without_its_plus_is_no_unassigned_number_of_this() -> None:
    reading = read(Dialled("12025550123"), "DE")
    assert reading.number is None
    assert "write it with 0 in front, or with + and its calling code" in (reading.problem or "")
    # North America writes numbers without its prefix.
    assert read(Dialled("2020550123"), "US").number == "+12020550123"


@pytest.mark.parametrize(("text", "region"), [("0", "US"), ("00", "US"), ("000", "AU"), ("100", "GB")])
def test_an_operator_is_no_exit_code(text: str, region: str) -> None:
    assert read(Dialled(text), region).problem is None


def test_the_country_of_an_unassigned_number_is_known_where_there_is_but_one() -> None:
    assert country_of("+490301") == "DE"
    assert country_of("+441632960960") is None


# Spellings


def test_a_number_is_written_as_people_there_write_it() -> None:
    assert national("+442079460018") == "020 7946 0018"
    assert international("+442079460018") == "+44 20 7946 0018"
    assert national("100") == "100"


@pytest.mark.parametrize(
    ("number", "region", "digits"),
    [
        ("+442079460018", "GB", "02079460018"),
        ("+442079460018", "US", "011442079460018"),
        ("+12025550123", "US", "12025550123"),
        ("+12025550123", "DE", "0012025550123"),
        ("+390212345678", "IT", "0212345678"),
        ("+12025550123", "BR", "+12025550123"),  # one exit code for each carrier
        ("+12025550123", "HK", "+12025550123"),  # 00 1202… would be 001 202…, Egypt
        ("100", "GB", "100"),
    ],
)
def test_a_number_is_dialled_as_telephones_of_a_region_dial_it(number: str, region: str, digits: str) -> None:
    assert digits_from(number, region) == digits


def test_what_a_telephone_dials_is_read_as_the_number_it_stands_for() -> None:
    for number in ("+442079460018", "+12025550123", "+4930123456", "+33612345678", "+390212345678", "+81312345678"):
        for region in ("GB", "US", "DE", "FR", "IT", "JP", "AU", "RU", "BR"):
            assert read(Dialled(digits_from(number, region)), region).number == number


def test_a_possible_number_that_nobody_has_is_unassigned() -> None:
    reading = read(Dialled("+441632960960"), None)  # Ofcom: 01632 960xxx is kept free for drama
    assert (reading.number, reading.assigned, reading.country) == ("+441632960960", False, None)
    assert reading.calling_code == 44


@given(st.from_regex(r"\+?[0-9*#]{1,31}", fullmatch=True), st.sampled_from(["US", "GB", "DE", "IT", "BR", None]))
def test_reading_is_idempotent(text: str, region: str | None) -> None:
    reading = read(Dialled(text), region)
    if reading.number:
        assert read(Dialled(reading.number), region) == reading
        assert read(Dialled(reading.number), None) == reading


@given(
    st.from_regex(r"\+[1-9][0-9]{2,14}", fullmatch=True),
    st.lists(st.sampled_from(sorted(numbers.REGIONS)), min_size=2, max_size=4),
)
def test_an_international_number_is_the_same_in_every_region(text: str, regions: list[str]) -> None:
    readings = [read(Dialled(text), region) for region in regions]
    if Kind.EMERGENCY in {reading.kind for reading in readings}:
        assert all(reading.kind is Kind.EMERGENCY for reading in readings)  # ours or of another country
    else:
        assert len(set(readings)) == 1


def test_a_published_type_goes_before_the_librarys() -> None:
    assert read(Dialled("+79541234567"), None).types == ("satellite",)
    assert read(Dialled("+79121234567"), None).types == ("mobile",)
    assert read(Dialled("+601300881234"), None).types == ("shared_cost",)
    assert read(Dialled("+601800881234"), None).types == ("toll_free",)


def test_a_long_string_costs_no_more_steps_than_a_bounded_one() -> None:
    def cost(text: str) -> int:
        return steps(read, Dialled(text), "DE")

    read(Dialled("0" * 33), "DE")
    for digits in ("1", "0", "49", "*", "110"):
        assert cost(digits * 10_240) <= cost(digits * MAX_DIALLED) <= 3_000


def test_the_names_of_types_and_regions_are_those_of_the_contract() -> None:
    assert {"mobile", "fixed_line", "premium_rate", "toll_free", "shared_cost", "voip", "satellite"} <= numbers.TYPES
    assert {"US", "GB", "DE"} <= numbers.REGIONS
    assert {1, 44, 49, 881} <= numbers.CALLING_CODES
