from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialplan.money import MOST, Money, decimal, is_currency, millionths, parse


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("0.019", 19_000),
        ("12", 12_000_000),
        ("12.5", 12_500_000),
        ("0.000001", 1),
        ("999999999", MOST),
    ],
)
def test_a_decimal_is_kept_exactly(text: str, amount: int) -> None:
    assert millionths(text) == amount


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", "1,5", "1.", ".5", "NaN", "inf", "1e3", "0x1", " 1", "1 ", "1_0", "٣", "1.0000001", "1000000000"],
)
def test_what_is_no_amount_that_can_be_kept_is_none(text: str) -> None:
    assert millionths(text) is None


@settings(deadline=None)
@given(st.integers(0, MOST))
def test_what_is_written_reads_as_what_it_was(amount: int) -> None:
    assert millionths(decimal(amount)) == amount
    assert Decimal(decimal(amount)) == Decimal(amount) / 1_000_000


def test_people_see_at_least_two_digits_behind_the_point() -> None:
    assert [decimal(amount) for amount in (0, 12_500_000, 19_000, 1)] == ["0.00", "12.50", "0.019", "0.000001"]


def test_an_amount_has_its_currency() -> None:
    assert parse("12.50 EUR") == Money(12_500_000, "EUR")
    assert str(Money(12_500_000, "EUR")) == "12.50 EUR"


@pytest.mark.parametrize("text", ["12.50", "EUR", "12.50EUR", "12.50 eur", "12.50 EURO", "12.50  EUR", "EUR 12.50"])
def test_an_amount_without_its_currency_is_none(text: str) -> None:
    assert parse(text) is None


def test_a_currency_is_three_letters() -> None:
    assert is_currency("EUR")
    assert not any(map(is_currency, ("eur", "EU", "EUR\n", "€")))
