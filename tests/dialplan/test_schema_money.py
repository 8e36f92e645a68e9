from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.dialplan.schema_money import BudgetSection, BurstSection, PricesSection


def test_what_has_no_price_is_not_called_unless_told_otherwise() -> None:
    section = PricesSection.model_validate({"name": "a", "file": "a.csv", "currency": "EUR"})
    assert (section.unpriced, section.first, section.step) == ("refuse", 1, 1)


def test_a_budget_freezes_nobody_unless_told_otherwise() -> None:
    assert not BudgetSection.model_validate({"name": "a", "user": "*", "calls_per_day": 1}).freeze


@pytest.mark.parametrize("key", ["step", "first"])
def test_seconds_that_are_charged_are_no_more_than_an_hour(key: str) -> None:
    with pytest.raises(ValidationError):
        PricesSection.model_validate({"name": "a", "file": "a.csv", "currency": "EUR", key: 3601})


@pytest.mark.parametrize("row", [{"calls": 0}, {"within": 0}, {"within": 86_401}, {"calls": 1.5}])
def test_a_burst_counts_in_whole_calls_and_seconds(row: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BurstSection.model_validate({"name": "a", "user": "*", "calls": 5, "within": 60} | row)
