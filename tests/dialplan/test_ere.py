"""POSIX extended regular expressions, beside those of the C library."""

from __future__ import annotations

import ctypes
import ctypes.util

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialplan.ere import MAX_PATTERN, MAX_TEXT, Ere, EreError

LIBC = ctypes.CDLL(ctypes.util.find_library("c"))


class Span(ctypes.Structure):
    _fields_ = (("start", ctypes.c_int), ("end", ctypes.c_int))  # regmatch_t of Linux


def regexec(pattern: str, text: str, groups: int) -> tuple[str, ...] | None:
    """What the C library says: the match and its groups."""
    compiled = ctypes.create_string_buffer(256)
    assert LIBC.regcomp(compiled, pattern.encode(), 1) == 0  # REG_EXTENDED
    spans = (Span * (groups + 1))()
    found = LIBC.regexec(compiled, text.encode(), groups + 1, spans, 0)
    LIBC.regfree(compiled)
    return None if found else tuple("" if span.start < 0 else text[span.start : span.end] for span in spans)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^.*$", "+442079460018", ("+442079460018",)),
        (r"^\+44(.*)$", "+442079460018", ("+442079460018", "2079460018")),
        (r"^(\+44)(20)?([0-9]+)$", "+442079460018", ("+442079460018", "+44", "20", "79460018")),
        (r"^(\+44)(21)?([0-9]+)$", "+442079460018", ("+442079460018", "+44", "", "2079460018")),
        ("([[:digit:]]{3})[[:digit:]]*$", "+442079460018", ("442079460018", "442")),
        ("[^+]{2}(1|18)8?$", "+442079460018", ("0018", "18")),
        ("4(6|60)(018|0018)", "+442079460018", ("460018", "60", "018")),
        ("(a|ab)(c|bcd)", "xabcd", ("abcd", "a", "bcd")),
        ("(a*)(a*)", "aaa", ("aaa", "aaa", "")),
        ("((a)|b)*", "ab", ("ab", "b", "a")),
        ("x", "+44", None),
        ("^+44(.*)$", "+442079", ("+442079", "2079")),
        ("[]a]", "]", ("]",)),
        ("[^]a]", "]b", ("b",)),
        ("[a-]", "-", ("-",)),
        ("[+-9]+", "+5", ("+5",)),
        ("a{2}", "aaa", ("aa",)),
        ("a{2,}", "aaa", ("aaa",)),
        ("(^|a){3}", "aa", ("aa", "a")),
        ("(a?){2}", "", ("", "")),
        ("(^1)+", "11", ("1", "1")),
        ("^(a|aa){2}$", "aaa", ("aaa", "a")),
        ("a|", "b", ("",)),
        (r"\.\*\\", r".*\ ", (".*\\",)),
        ("b$|^a", "a", ("a",)),
    ],
)
def test_a_match_and_its_groups(pattern: str, text: str, found: tuple[str, ...] | None) -> None:
    assert Ere(pattern).search(text) == found


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "a ( without its )"),
        ("a)", "an unmatched )"),
        ("*a", "nothing that * could repeat"),
        ("a|+", "nothing that + could repeat"),
        ("a**", "a repetition of a repetition"),
        (r"\d", r"\d is not defined"),
        (r"(a)\1", r"\1 is not defined"),
        ("a\\", "it ends within an escape"),
        ("[a", "it ends within a bracket"),
        ("[a-", "it ends within a bracket"),
        ("[b-a]", "a range that is none"),
        ("[[:nope:]]", "a class of characters"),
        ("[[.a.]]", "a class of characters"),
        ("[[:digit", "a class of characters"),
        ("a{", "{ is {m}"),
        ("a{,2}", "{ is {m}"),
        ("a{2,1}", "{2,1} is no number of times"),
        ("a{256}", "{256} is no number of times"),
        ("(" * 21, "more than 20 groups"),
        ("a" * (MAX_PATTERN + 1), "more than 255 characters"),
    ],
)
def test_what_is_no_expression_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(EreError) as error:
        Ere(pattern)
    assert str(error.value).startswith(why)


def test_case_makes_no_difference_where_none_is_wanted() -> None:
    assert Ere("^B(.)$", ignore_case=True).search("bA") == ("bA", "A")
    assert Ere("^[^b]$", ignore_case=True).search("B") is None
    assert Ere("^B(.)$").search("bA") is None


def test_a_text_is_short() -> None:
    with pytest.raises(EreError):
        Ere("a").search("a" * (MAX_TEXT + 1))


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "((a{200}){200}){200}", "(a?){255}b", "((((a*)*)*)*)*b"])
def test_no_expression_takes_long(pattern: str) -> None:
    assert Ere(pattern).search("a" * MAX_TEXT) is None


ATOMS = st.sampled_from(["1", "2", ".", "[12]", "[^1]", "[[:digit:]]", "^", "$"])


def has_no_edge(pattern: str) -> bool:
    """glibc finds all of 11 for (^1)+, although the second 1 begins nothing: what is repeated has no edges here."""
    return not {"^", "$"} & set(pattern.replace("[^1]", ""))


PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner.filter(has_no_edge), st.sampled_from(["*", "+", "?", "{2}", "{1,2}"])).map(
            lambda each: f"({each[0]}){each[1]}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(PATTERNS, st.text("123", max_size=6))
def test_the_c_library_finds_the_same(pattern: str, text: str) -> None:
    found, theirs = Ere(pattern).search(text), regexec(pattern, text, 0)
    assert (found and found[:1]) == theirs


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["1", "2", "[12]*", "(1*)", "(.)", "([12]+)", "(.*)", "3?"]), max_size=5),
    st.text("123", max_size=6),
)
def test_the_c_library_finds_the_same_groups(parts: list[str], text: str) -> None:
    ere = Ere("^" + "".join(parts) + "$")
    assert ere.search(text) == regexec("^" + "".join(parts) + "$", text, ere.groups)
