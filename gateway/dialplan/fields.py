"""What the keys of dialplan files hold: words, texts, counts, money."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gateway.dialplan import money
from gateway.dialplan.money import Money


def one_or_more(value: object) -> object:
    """A single word stands for a list of one; TOML's lists become tuples."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Words = Annotated[tuple[str, ...], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])]


def printable(text: str) -> str:
    """Texts go into headers, stanzas and XML, where a line break or a NUL would begin something else."""
    if text and (not text.isprintable() or not text.strip()):
        raise PydanticCustomError("printable", "a text without line breaks and control characters")
    return text


Text = Annotated[str, Field(min_length=1), AfterValidator(printable)]
Count = Annotated[int, Field(ge=1)]
RingSeconds = Annotated[int, Field(ge=5, le=600)]
Transcoding = Literal["fallback", "never", "prefer-opus"]
Record = Literal["no", "yes", "notice"]
Failure = Literal[
    "busy", "certificate", "congestion", "declined", "forbidden", "internal", "media-failed", "no-answer",
    "no-common-codec", "not-found", "protocol", "security", "timeout", "unavailable",
]  # fmt: skip
Failures = Annotated[tuple[Failure, ...], BeforeValidator(one_or_more, json_schema_input_type=Failure | list[Failure])]


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Weight = Annotated[int, Field(ge=0, le=10_000)]
Weights = Annotated[tuple[Weight, ...], BeforeValidator(_listed, json_schema_input_type=list[Weight])]
Spelling = Literal["e164", "international", "national"]


def amount(value: object) -> object:
    """An amount with its currency, so that no number is taken for another country's money."""
    found = money.parse(value) if isinstance(value, str) else value
    if not isinstance(found, Money):
        raise PydanticCustomError("money", 'money is written as "12.50 EUR", with six digits behind the point at most')
    return found


def currency(text: str) -> str:
    if not money.is_currency(text):
        raise PydanticCustomError("currency", 'a currency is three letters of ISO 4217, as "EUR"')
    return text


Amount = Annotated[Money, BeforeValidator(amount, json_schema_input_type=str)]
Currency = Annotated[str, AfterValidator(currency)]
