"""Patterns: what they match, and that many of them cost as few."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialplan.patterns import NONE, Globs, Heads, head_of, stands_for

PATTERN = st.text("ab*", max_size=6)
TEXT = st.text("ab*", max_size=8)


@given(PATTERN, TEXT)
def test_a_star_stands_for_any_text(pattern: str, text: str) -> None:
    means = ".*".join(map(re.escape, pattern.split("*")))
    assert (stands_for(pattern, text) is not None) is bool(re.fullmatch(means, text))


@pytest.mark.parametrize(
    ("pattern", "text", "star"),
    [
        ("*%a.example", "romeo%a.example", "romeo"),
        ("a", "a", "a"),
        ("a*c*", "abcd", "b"),
        ("a*", "a", ""),
        ("*", "", ""),
    ],
)
def test_the_first_star_is_told(pattern: str, text: str, star: str) -> None:
    assert stands_for(pattern, text) == star


@given(st.lists(PATTERN, max_size=5), TEXT)
def test_many_patterns_match_what_one_of_them_does(patterns: list[str], text: str) -> None:
    assert Globs(patterns).match(text) is any(stands_for(pattern, text) is not None for pattern in patterns)


@given(st.lists(PATTERN, max_size=3), st.lists(PATTERN, max_size=3), TEXT)
def test_what_is_covered_is_matched(wide: list[str], narrow: list[str], text: str) -> None:
    if Globs(wide).cover(narrow) and Globs(narrow).match(text):
        assert Globs(wide).match(text)


@given(st.lists(st.text("ab", max_size=4), max_size=6), TEXT)
def test_beginnings_find_those_who_want_them(heads: list[str], text: str) -> None:
    table = Heads()
    for number, head in enumerate(heads):
        table.add([head], number)
    found: set[int] = set()
    table.find(text, found)
    assert found == {number for number, head in enumerate(heads) if text.startswith(head)}


@given(PATTERN, TEXT)
def test_what_matches_begins_with_the_head(pattern: str, text: str) -> None:
    if stands_for(pattern, text) is not None:
        assert text.startswith(head_of(pattern))


def test_no_patterns_match_nothing() -> None:
    assert not NONE.match("")
    assert NONE.cover([])
