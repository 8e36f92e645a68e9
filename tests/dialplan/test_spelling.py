"""Numbers as trunks want them."""

from __future__ import annotations

import pytest

from gateway.dialplan.rules import Format
from gateway.dialplan.spelling import spelled

LONDON, WASHINGTON = "+442079460018", "+12025550123"


@pytest.mark.parametrize(
    ("number", "how", "region", "expected"),
    [
        (LONDON, Format(), "GB", "+442079460018"),
        (LONDON, Format("international"), "GB", "442079460018"),
        (LONDON, Format("international", "00"), None, "00442079460018"),
        (LONDON, Format("national"), "GB", "02079460018"),
        (LONDON, Format("national"), "US", "011442079460018"),
        (LONDON, Format("national"), "DE", "00442079460018"),
        (LONDON, Format("national"), "BR", None),  # 00 and whose carrier?
        (LONDON, Format("national", "9"), "KR", None),
        (LONDON, Format("national", "0015", (("+44*", "international"),)), "BR", "442079460018"),
        (LONDON, Format("international", "0015"), "BR", "0015442079460018"),
        ("+5511912345678", Format("national", "015"), "BR", "01511912345678"),
        (LONDON, Format("national"), None, None),
        (WASHINGTON, Format("national", "9"), "US", "912025550123"),
        ("+18005550199", Format("national", "9", (("+1800*", "e164"),)), "US", "+18005550199"),
        (WASHINGTON, Format("e164", "77", (("+1800*", "national"),)), "US", "77+12025550123"),
    ],
)
def test_a_number_is_spelled_as_the_policy_says(
    number: str, how: Format, region: str | None, expected: str | None
) -> None:
    assert spelled(number, how, region) == expected
