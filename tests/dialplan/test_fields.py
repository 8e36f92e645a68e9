from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.dialplan.fields import Amount, Currency, Text, Weights, Words
from gateway.dialplan.money import Money
from gateway.dialplan.toml import Section


class Row(Section):
    words: Words = ()
    text: Text = "x"
    weights: Weights = ()
    amount: Amount | None = None
    currency: Currency = "EUR"


def test_a_word_is_a_list_of_one() -> None:
    assert Row.model_validate({"words": "one"}).words == ("one",)
    assert Row.model_validate({"words": ["one", "two"], "weights": [1, 2]}).words == ("one", "two")


def test_money_is_kept_with_its_currency() -> None:
    assert Row.model_validate({"amount": "12.50 EUR"}).amount == Money(12_500_000, "EUR")


@pytest.mark.parametrize(
    "amount", ["12.50", 12, 12.5, "-1 EUR", "nan EUR", "1.0000001 EUR", "1e9 EUR", "9999999999 EUR"]
)
def test_money_that_is_not_exact_is_a_fault(amount: object) -> None:
    with pytest.raises(ValidationError, match="money is written as"):
        Row.model_validate({"amount": amount})


@pytest.mark.parametrize(
    "row",
    [{"currency": "euro"}, {"text": "a\nb"}, {"text": " "}, {"words": [1]}, {"weights": [-1]}, {"weights": [70.5]}],
)
def test_what_no_key_may_hold_is_a_fault(row: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Row.model_validate(row)
