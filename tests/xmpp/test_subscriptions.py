"""The book of subscriptions: what it tells to be kept, what it takes back, and its bounds."""

from __future__ import annotations

import pytest

from gateway.xmpp.subscriptions import Subscriptions, Tie

JULIET = "juliet@shakespeare.lit"
ROMEO = "romeo%shakespeare.lit@sip.example.com"
ECHO = "echo@sip.example.com"


class Book(Subscriptions):
    def __init__(self, most: int = 10, per_user: int = 5, *, forgetful: bool = False) -> None:
        self.told: list[tuple[str, str, str]] = []
        super().__init__(most, per_user, lambda *change: self.told.append(change), forgetful=forgetful)


@pytest.mark.parametrize("ties", [Tie.SEES, Tie.SEES | Tie.SEEN | Tie.ASKED, Tie.REGISTERED, Tie.NONE])
def test_ties_are_kept_as_words(ties: Tie) -> None:
    assert Tie.parse(str(ties)) == ties
    assert Tie.parse(f"{ties} somethingnew") == ties


def test_each_change_is_told_once() -> None:
    book = Book()
    assert book.add(f"{JULIET}/balcony", f"{ROMEO}/sip", Tie.SEES)
    assert book.add(JULIET, ROMEO, Tie.SEES)
    assert book.add(JULIET, ROMEO, Tie.ASKED | Tie.SEEN)
    assert book.told == [(JULIET, ROMEO, "sees"), (JULIET, ROMEO, "sees seen asked")]
    assert book.between(f"{JULIET}/x", ROMEO) == Tie.SEES | Tie.SEEN | Tie.ASKED


def test_what_is_over_is_told_as_nothing() -> None:
    book = Book()
    book.add(JULIET, ROMEO, Tie.SEES | Tie.SEEN | Tie.ASKED)
    book.remove(JULIET, ROMEO, Tie.SEES)
    assert book.told[-1] == (JULIET, ROMEO, "seen asked")
    book.remove(JULIET, ROMEO, Tie.SEEN)
    assert book.told[-1] == (JULIET, ROMEO, "")
    book.remove(JULIET, ROMEO, Tie.SEEN)
    assert len(book.told) == 3
    assert (len(book), list(book)) == (0, [])


def test_a_book_goes_on_where_it_was() -> None:
    first, second = Book(), Book()
    first.add(JULIET, ROMEO, Tie.SEES)
    first.add(JULIET, ECHO, Tie.REGISTERED)
    second.load(first.told)
    assert list(second) == list(first)
    assert second.told == []
    second.load([(JULIET, "x@sip.example.com", "nothing known")])
    assert len(second) == 2


def test_a_user_and_the_whole_have_their_bounds() -> None:
    book = Book(most=3, per_user=2)
    assert book.add(JULIET, ROMEO, Tie.SEES)
    assert book.add(JULIET, ECHO, Tie.SEES)
    assert not book.add(JULIET, "x@sip.example.com", Tie.SEES)
    assert book.add(JULIET, ECHO, Tie.SEEN), "what is there may grow"
    assert book.add("nurse@shakespeare.lit", ECHO, Tie.SEES)
    assert not book.add("friar@shakespeare.lit", ECHO, Tie.SEES)
    other = Book(most=3, per_user=2)
    other.load(
        [(JULIET, f"{n}@sip.example.com", "sees") for n in range(9)] + [(f"u{n}@x.lit", ECHO, "sees") for n in "abc"]
    )
    assert len(other) == 3


def test_strangers_oldest_are_forgotten() -> None:
    book = Book(most=2, forgetful=True)
    for name in ("a", "b", "c"):
        assert book.add(f"{name}@verona.lit", ROMEO, Tie.SEES)
    assert [user for user, _, _ in book] == ["b@verona.lit", "c@verona.lit"]
