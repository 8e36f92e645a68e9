"""Orders of one batch: what has to be loaded for them, and what comes of each."""

from __future__ import annotations

from dataclasses import replace

from gateway.storage.book import Ask, Book, Exhausted, Frozen, Granted, burst_id
from gateway.storage.orders import Concerned, Extend, Freeze, Reserve, Settle, carried_out, concerned
from gateway.storage.windows import Calendar
from tests.storage.bank import BURST, JULIET, SPEND, TALK, TARIFF, ask

ROMEO = "romeo@montague.lit"


def test_a_batch_concerns_what_any_of_its_orders_does() -> None:
    batch = (
        Reserve(ask("a", TALK, bursts=(BURST,)), 300, known=False),
        Extend(ask("b", SPEND), 60, TARIFF, True, 300),
        Settle("c", 1, 2, True),
        Freeze(ROMEO, "stolen password"),
    )
    assert concerned(batch, again=False) == Concerned(
        ["b", "c"], [JULIET, JULIET, ROMEO], {burst_id(BURST): JULIET}, [TALK, SPEND]
    )


def test_a_call_that_reserves_for_the_first_time_has_nothing_to_be_looked_for() -> None:
    first = Reserve(ask("a", TALK), 300, known=False)
    assert concerned([first], again=False).calls == []
    assert concerned([first], again=True).calls == ["a"]
    assert concerned([replace(first, known=True)], again=False).calls == ["a"]


def test_orders_are_carried_out_one_after_the_other() -> None:
    book = Book(1_795_348_800.0, Calendar(1_795_348_800.0))
    short = replace(TALK, most=100)
    one: Ask = ask("a", short)
    assert carried_out(book, Reserve(one, 300, known=False)) == Granted(60)
    assert carried_out(book, Extend(one, 200, TARIFF, True, 300)) == Granted(100)
    assert carried_out(book, Reserve(ask("b", short), 300, known=False)) == Exhausted(short, left=0)
    assert carried_out(book, Settle("a", 30, 0, True)) is None
    assert carried_out(book, Reserve(ask("c", short), 300, known=False)) == Granted(60)
    assert carried_out(book, Freeze(JULIET, "unpaid")) is None
    assert isinstance(carried_out(book, Reserve(ask("d", short), 300, known=False)), Frozen)
