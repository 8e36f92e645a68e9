import pytest

from gateway.dialplan.booking import Tariff

PENCE = Tariff("GBP", connect=50_000, per_minute=120_000, first=60, step=1)


@pytest.mark.parametrize(
    ("seconds", "price"), [(0, 170_000), (59.9, 170_000), (60, 170_000), (60.2, 172_000), (61, 172_000), (120, 290_000)]
)
def test_the_first_minute_is_charged_whole_and_then_every_second_that_has_begun(seconds: float, price: int) -> None:
    assert PENCE.cost(seconds) == price


def test_a_price_that_comes_out_uneven_is_rounded_up() -> None:
    assert Tariff("EUR", per_minute=1).cost(1) == 1
    assert Tariff("EUR", per_minute=100, first=7, step=7).cost(8) == 24


def test_what_costs_nothing_is_free() -> None:
    assert Tariff("EUR").free
    assert not Tariff("EUR", connect=1).free
    assert not PENCE.free
