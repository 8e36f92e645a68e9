"""Amounts of money: written as decimals, kept as whole millionths of the currency's unit, so that sums are exact."""

from __future__ import annotations

import re
from dataclasses import dataclass

MILLION = 1_000_000
MOST = 999_999_999 * MILLION  # what may be written; a hundred thousand calls of it are still a 64-bit integer's

_DECIMAL = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,6}))?")
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` millionths of the unit of `currency` (ISO 4217)."""

    amount: int
    currency: str

    def __str__(self) -> str:
        return f"{decimal(self.amount)} {self.currency}"


def millionths(text: str) -> int | None:
    """The amount that a decimal says; None for what is none, is negative, or is finer or larger than can be kept."""
    found = _DECIMAL.fullmatch(text)
    return None if found is None else int(found[1]) * MILLION + int((found[2] or "").ljust(6, "0"))


def decimal(amount: int) -> str:
    """As people write it, with at least two digits behind the point."""
    whole, rest = divmod(amount, MILLION)
    return f"{whole}.{f'{rest:06}'.rstrip('0').ljust(2, '0')}"


def is_currency(text: str) -> bool:
    """Whether it has the form of a code of ISO 4217; which of them exist changes from year to year."""
    return bool(_CURRENCY.fullmatch(text))


def parse(text: str) -> Money | None:
    """`"12.50 EUR"`; None for what is none."""
    number, _, currency = text.partition(" ")
    amount = millionths(number)
    return None if amount is None or not is_currency(currency) else Money(amount, currency)
