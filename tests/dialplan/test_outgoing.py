"""[[route]] tables: where their vias lead, and what is said of several."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dialplan import outgoing
from tests.dialplan.test_load import faults_of, loaded

HEAD = '[emergency]\naction = "refuse"\n[[trunk]]\nname = "carrier"\nproxy = "sip:192.0.2.1"\n'


def rule(*lines: str, kind: str = "number") -> str:
    return "\n".join(("[[route]]", 'name = "it"', f'match = {{ kind = "{kind}" }}', *lines, ""))


def test_a_rule_is_kept_with_all_that_it_says(tmp_path: Path) -> None:
    text = rule('via = ["enum", "carrier"]', 'failover = "not-found"', 'record = "notice"', 'enum_failure = "refuse"')
    (found,) = loaded(tmp_path, a=HEAD + text)[0].routes
    assert (found.via, found.failover, found.record) == (("enum", "carrier"), ("not-found",), "notice")
    assert (found.enum_failure, found.cheapest, found.prices, found.decides) == ("refuse", False, None, True)


def test_a_rule_whose_only_way_is_enum_may_not_decide(tmp_path: Path) -> None:
    (found,) = loaded(tmp_path, a=HEAD + rule('via = "enum"'))[0].routes
    assert not found.decides


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (['via = "carier"'], "9: 'carier' is no trunk, did you mean 'carrier'?"),
        (['via = ["carrier", "carrier"]'], "9: 'carrier' stands there already"),
        (['via = "carrier"', 'refuse = "no"'], "6: rule 'it' needs one of via and refuse"),
        (['via = "direct"'], "9: direct needs a host to go to"),
        (['via = "carrier"', "weights = [1]"], "10: weights is for several vias, and there is one"),
        (['via = "enum"', "weights = [1]"], "10: weights is for several vias, and there is one"),
        (['via = ["enum", "carrier"]', "weights = [0, 0]"], "10: weights: all are 0"),
        (['refuse = "no"', 'record = "yes"'], "10: record is for calls that ring, and this rule refuses"),
    ],
)
def test_what_a_rule_cannot_say_is_a_fault(tmp_path: Path, lines: list[str], fault: str) -> None:
    (found,) = faults_of(tmp_path, a=HEAD + rule(*lines))
    assert found.startswith(f"a.toml:{fault}")


def test_a_rule_that_leads_to_numbers_asks_for_a_word_about_calls_for_help(tmp_path: Path) -> None:
    without = HEAD.partition("[[trunk]]")[2]
    (found,) = faults_of(tmp_path, a="[[trunk]]" + without + rule('via = "enum"'))
    assert found.endswith("say in [emergency] what becomes of emergency calls")
    assert outgoing.Outgoing.__doc__
