"""Regular expressions: Python's own as the oracle, hostile ones, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialplan.regex import MAX_POSITIONS, Regex, RegexError

PATTERN = st.recursive(
    st.sampled_from(
        ["a", "b", "1", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", "[ab]", "[^a]", "[a-c1]", ".", r"\.", ""]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "{0}", "*?"])).map(
            lambda two: f"({two[0]}){two[1]}"
        ),
    ),
    max_leaves=6,
)


@given(PATTERN, st.lists(st.text("abc1. ", max_size=6), min_size=1, max_size=8))
def test_it_matches_what_pythons_own_matches_as_a_whole(pattern: str, texts: list[str]) -> None:
    ours, theirs = Regex(pattern), re.compile(pattern, re.ASCII)
    for text in texts:
        assert ours.match(text) is bool(theirs.fullmatch(text))


@given(PATTERN, st.text("abc1. ", max_size=6))
def test_what_matches_begins_with_one_of_the_heads(pattern: str, text: str) -> None:
    regex = Regex(pattern)
    if regex.match(text):
        assert any(text.startswith(head) for head in regex.heads())


@given(PATTERN, st.text("abc1. ", max_size=6))
def test_what_matches_ends_with_one_of_the_tails(pattern: str, text: str) -> None:
    regex = Regex(pattern)
    if regex.match(text):
        assert any(text[::-1].startswith(tail) for tail in regex.tails())


def test_what_may_begin_with_anything_is_known_by_its_end() -> None:
    assert Regex(r".*@(montague|capulet)\.example").tails() == ("elpmaxe.eugatnom@", "elpmaxe.telupac@")
    assert Regex(".*5.*").tails() == ("",)


@pytest.mark.parametrize(
    ("pattern", "heads"),
    [
        (r"^\+49(30|40)\d*$", ("+4930", "+4940")),
        (r"\+1[2-4]00.*", ("+1200", "+1300", "+1400")),
        (r"\+1\d{9}", tuple(f"+1{digit}" for digit in range(10))),
        (".*@montague.example", ("",)),
        ("a?b", ("ab", "b")),
        ("(a|ab)c?", ("a",)),
        ("", ("",)),
    ],
)
def test_the_heads_are_as_long_as_is_worth_it(pattern: str, heads: tuple[str, ...]) -> None:
    found = Regex(pattern).heads()
    assert found == heads or set(heads) == {head[:3] for head in found}


class Counting(Regex):
    """Counts the steps that were not remembered; each looks at every position at most once."""

    __slots__ = ("count",)

    def __init__(self, pattern: str) -> None:
        self.count = 0
        super().__init__(pattern)

    def _step(self, state: int, character: str) -> int:
        self.count += 1
        return super()._step(state, character)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a*)*b",
        "(a|a)*b",
        "(a|aa)+b",
        "(.*)*x",
        "(a*)*" * 60 + "b",
        "((a?){10}){10}b",
        "(.*a){20}b",
        "([ab]*a){12}[ab]*c",
    ],
)
def test_a_hostile_expression_costs_a_step_per_character(pattern: str) -> None:
    regex = Counting(pattern)
    text = "ab" * 5_000
    assert not regex.match(text + "!")
    assert regex.count <= len(text) + 1


def test_what_is_remembered_has_a_bound() -> None:
    regex = Regex(".*")
    assert regex.match("".join(map(chr, range(0x4E00, 0x4E00 + 10_000))))
    assert len(regex._steps) <= 4096


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"(a)\1", "back references"),
        (r"(?=a)", "looking around"),
        (r"(?P<n>a)", "names"),
        (r"(?i)a", "flags"),
        (r"\bword", r"\\b is not supported"),
        ("(a", r"a \( without"),
        ("a)", r"an unmatched \)"),
        ("[a", "ends within a class"),
        ("a\\", "ends within an escape"),
        ("*a", "nothing that"),
        ("a**", "repetition of a repetition"),
        ("a{2,1}", "from much to little"),
        ("a{,2}", "write"),
        ("a{x}", "write"),
        ("a^b", "the whole text is matched"),
        ("a$b", "the whole text is matched"),
        ("[b-a]", "a range that is none"),
        (r"[\D]", "opposite"),
        ("(" * 40 + ")" * 40, "groups within groups"),
        (f"a{{{MAX_POSITIONS + 1}}}", "written out"),
        ("((a{30}){30}){30}", "written out"),
        ("a" * 1001, "1000 characters"),
    ],
)
def test_what_is_none_or_could_hang_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(RegexError, match=why):
        Regex(pattern)


def test_case_makes_no_difference_and_equals_are_equal() -> None:
    assert Regex("ROMEO[A-Z]").match("romeox")
    assert Regex("a") == Regex("a") != Regex("b")
    assert len({Regex("a"), Regex("a")}) == 1
    assert repr(Regex("a")) == "Regex('a')"
