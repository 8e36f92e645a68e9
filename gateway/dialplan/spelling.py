"""Numbers as trunks want them: +442079460018, 442079460018 or 02079460018, with what has to stand before."""

from __future__ import annotations

from gateway.dialplan.numbers import digits_from
from gateway.dialplan.patterns import stands_for
from gateway.dialplan.rules import Format, Spelling


def spelled(number: str, how: Format, region: str | None) -> str | None:
    """An E.164 number as a policy wants it; None where that cannot be said.

    `e164` is the number itself, `international` the same without its +. `national` is what people in `region` dial:
    their own numbers with the national prefix where there is one, others with the exit code (00, 011). Where each
    carrier has an exit code of its own, as in Brazil, nothing is guessed: None.
    """
    for pattern, spelling in how.exceptions:
        if stands_for(pattern, number) is not None:
            return _spelled(number, spelling, region)
    found = _spelled(number, how.spelling, region)
    return None if found is None else how.prefix + found


def _spelled(number: str, spelling: Spelling, region: str | None) -> str | None:
    match spelling:
        case "e164":
            return number
        case "international":
            return number.removeprefix("+")
    digits = digits_from(number, region) if region else number
    return None if digits.startswith("+") else digits
