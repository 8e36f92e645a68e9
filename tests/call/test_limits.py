"""What counting calls must never get wrong: too many, too fast, and what is given back."""

from __future__ import annotations

from gateway.call.limits import MINUTE, Book
from gateway.dialplan.plan import Limit

JULIET = Limit("juliet", concurrent=2, per_minute=3)
TRUNK = Limit("trunk carrier", concurrent=1)


def test_calls_at_a_time_are_counted_and_given_back() -> None:
    book = Book()
    assert book.take("a", [JULIET], 0.0) is None
    assert book.take("b", [JULIET], 0.0) is None
    assert book.take("c", [JULIET], 0.0) == "juliet: no more than 2 calls at a time"
    book.give_back("a")
    book.give_back("a")
    book.give_back("nobody")
    assert book.in_use("juliet") == 1
    assert book.take("c", [JULIET], 0.0) is None


def test_a_call_is_counted_for_all_of_its_keys_or_for_none() -> None:
    book = Book()
    assert book.take("a", [TRUNK], 0.0) is None
    assert book.take("b", [JULIET, TRUNK], 0.0) == "trunk carrier: no more than 1 calls at a time"
    assert (book.in_use("juliet"), len(book)) == (0, 1)


def test_an_attempt_that_failed_gives_its_trunk_back_and_keeps_the_users_line() -> None:
    book = Book()
    book.take("a", [JULIET, TRUNK], 0.0)
    book.give_back("a", "trunk carrier")
    book.give_back("a", "trunk carrier")
    assert (book.in_use("juliet"), book.in_use("trunk carrier")) == (1, 0)
    book.give_back("a")
    assert len(book) == 0


def test_the_minute_slides() -> None:
    book = Book()
    often = Limit("juliet", per_minute=2)
    assert book.take("a", [often], 0.0) is None
    assert book.take("b", [often], 50.0) is None
    assert book.take("c", [often], 59.9) == "juliet: no more than 2 calls a minute"
    assert book.take("c", [often], MINUTE) is None
    assert book.take("d", [often], 100.0) is not None, "those of 50.0 and 60.0 still count"
    assert book.take("d", [often], 110.0) is None


def test_calls_that_were_refused_do_not_count() -> None:
    book = Book()
    often = Limit("juliet", per_minute=1)
    book.take("a", [often], 0.0)
    for n in range(100):
        assert book.take(f"{n}", [often], 30.0 + n * 0.1) is not None
    assert book.take("b", [often], 60.0) is None


def test_a_limit_of_none_is_none_and_a_limit_of_nothing_lets_nothing_through() -> None:
    book = Book()
    for n in range(1000):
        assert book.take(f"{n}", [Limit("juliet")], 0.0) is None
    assert book.take("x", [Limit("romeo", per_minute=0)], 0.0) is not None
    assert book.take("x", [Limit("romeo", concurrent=0)], 0.0) is not None


def test_what_is_counted_without_asking_takes_its_line_all_the_same() -> None:
    book = Book()
    book.take("a", [TRUNK], 0.0)
    book.count("emergency", [TRUNK], 0.0)
    assert book.in_use("trunk carrier") == 2
    book.give_back("a")
    assert book.take("b", [TRUNK], 0.0) is not None
    book.give_back("emergency")
    assert book.take("b", [TRUNK], 0.0) is None


def test_two_limits_of_one_key_count_a_call_once() -> None:
    book = Book()
    twice = [Limit("group staff", concurrent=9, per_minute=2), Limit("group staff", concurrent=2, per_minute=5)]
    assert book.take("a", twice, 0.0) is None
    assert book.take("b", twice, 0.0) is None
    assert book.take("c", twice, 0.0) == "group staff: no more than 2 calls a minute"
    assert book.take("c", twice, MINUTE) == "group staff: no more than 2 calls at a time"
    book.give_back("a")
    assert book.in_use("group staff") == 1


def test_memory_stays_bounded_whoever_calls() -> None:
    book = Book(remembered=100)
    for n in range(10_000):
        book.take(f"{n}", [Limit(f"user{n}", per_minute=5)], n * 0.001)
        book.give_back(f"{n}")
    assert len(book._set_up) == 100
    assert len(book._in_use) == len(book) == 0
    for n in range(60):
        book.take("x", [Limit("juliet", per_minute=5)], 1000.0 + n * 60)
        book.give_back("x")
    assert list(book._set_up) == ["juliet"], "whose minute is over is forgotten"
    assert len(book._set_up["juliet"]) <= 5
