"""The index finds every rule that could match, and few others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.dialplan.index import Facts, Index, expanded
from gateway.dialplan.numbers import Kind
from gateway.dialplan.regex import Regex
from gateway.dialplan.rules import Match

NUMBER = Facts(
    kind="number", number="+12025550123", text="+12025550123", caller="juliet@shakespeare.lit",
    types=("fixed_line", "mobile"), countries=("+1", "US"),
)  # fmt: skip
ADDRESS = Facts(kind="uri", text="romeo@montague.example", user="romeo", host="montague.example", caller="nurse@x")


def found(facts: Facts, *matches: Match) -> list[int]:
    return Index(matches, {"office": ("nurse@*",)}).find(facts)


def test_a_rule_without_conditions_is_found_for_every_call() -> None:
    assert found(NUMBER, Match(), Match()) == found(ADDRESS, Match(), Match()) == [0, 1]


def test_rules_are_found_in_their_order_by_any_condition() -> None:
    matches = [
        Match(number=("+1303*",)),
        Match(number=("+1202*", "+44*")),
        Match(regex=(Regex(r"\+1(202|212)\d+"),)),
        Match(type=("mobile",)),
        Match(type=("mobile",), country=("US",)),
        Match(country=("+44",)),
        Match(country=("+1",)),
        Match(kind=(Kind.NUMBER,)),
        Match(from_=("juliet@*",)),
        Match(from_=("@office",)),
        Match(user=("romeo",)),
    ]
    assert found(NUMBER, *matches) == [1, 2, 3, 4, 6, 7, 8]


def test_ends_of_hosts_and_users_are_looked_up_too() -> None:
    matches = [Match(host=("*.example",)), Match(host=("*.org",)), Match(user=("*meo",)), Match(user=("*liet", "r*"))]
    assert found(ADDRESS, *matches) == [0, 2, 3]


def test_ten_thousand_rules_leave_a_few() -> None:
    blocks = [Match(kind=(Kind.NUMBER,), number=(f"+1202{block:04}*",)) for block in range(10_000)]
    assert found(NUMBER, *blocks) == [5550]


def test_groups_stand_for_their_members() -> None:
    assert list(expanded(("@office", "a@b", "@none"), {"office": ("x@y", "*@z")})) == ["x@y", "*@z", "a@b"]


@given(st.lists(st.builds(Match, number=st.lists(st.text("+12*", min_size=1, max_size=3), max_size=2).map(tuple))))
def test_nothing_that_matches_is_lost(matches: list[Match]) -> None:
    facts = Facts(number="+121")
    lost = {n for n, match in enumerate(matches) if not match.number or match.numbers.match("+121")}
    assert lost <= set(Index(matches, {}).find(facts))
