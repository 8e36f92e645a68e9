"""Numbers as trunks want them: +442079460018, 442079460018 or 02079460018, with what has to stand before."""

from __future__ import annotations

from gateway.dialplan.numbers import digits_from
from gateway.dialplan.patterns import stands_for
from gateway.dialplan.rules import Format, Spelling


def spelled(number: str, how: Format, region: str | None) -> str:
    """An E.164 number as a policy wants it.

    `e164` is the number itself, `international` the same without its +. `national` is what people in `region` dial:
    their own numbers with the national prefix where there is one, others with the exit code (00, 011).
    """
    for pattern, spelling in how.exceptions:
        if stands_for(pattern, number) is not None:
            return _spelled(number, spelling, region)
    return how.prefix + _spelled(number, how.spelling, region)


def _spelled(number: str, spelling: Spelling, region: str | None) -> str:
    match spelling:
        case "e164":
            return number
        case "international":
            return number.removeprefix("+")
    return digits_from(number, region) if region else number
