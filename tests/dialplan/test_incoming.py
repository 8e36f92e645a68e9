"""[[inbound]] tables become rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dialplan import load
from gateway.dialplan.hours import Hours, zone_of
from gateway.dialplan.incoming import caller_named
from gateway.dialplan.plan import InboundMatch, InboundRule, Plan
from gateway.dialplan.tables import Table, Tables
from gateway.dialplan.toml import Document, Section
from gateway.errors import ConfigurationError

HEAD = '[numbers]\nzone = "Europe/London"\n[[trunk]]\nname = "a"\nproxy = "sip:a.example"\n'


def loaded(folder: Path, text: str) -> Plan:
    (folder / "a.toml").write_text(HEAD + text)
    return load.load([folder / "a.toml"], users=["shakespeare.lit"], base=folder)[0]


def test_a_rule_says_who_calls_and_when_and_how_long_it_rings(tmp_path: Path) -> None:
    text = """
[[inbound]]
match = { trunk = "a", caller = ["+44*", "Romeo@*.Montague.example", "anonymous"], hours = "Mon-Fri" }
to = "juliet@shakespeare.lit"
ring_seconds = 30
longest = 600
transcode = "never"
[[inbound]]
name = "no"
match = { trunk = "a" }
refuse = "nobody is here"
"""
    rules = loaded(tmp_path, text).inbound
    hours = Hours.parse(["Mon-Fri"], zone_of("Europe/London"))
    callers = ("+44*", "romeo@*.montague.example", "anonymous")
    assert rules[0] == InboundRule(
        "inbound 1",
        InboundMatch(trunk=("a",), caller=callers, hours=hours),
        ("juliet@shakespeare.lit",),
        ring_seconds=30,
        longest=600,
        transcode="never",
    )
    assert rules[1] == InboundRule("no", InboundMatch(trunk=("a",)), refuse="nobody is here")


def test_a_rule_that_no_trunk_or_user_fits_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        loaded(tmp_path, '[[inbound]]\nmatch = { trunk = "b" }\nto = "juliet@elsewhere.example"\n')
    assert [str(fault).split(": ")[1] for fault in error.value.faults] == [
        "'b' is no trunk",
        "elsewhere.example is none of [xmpp] users",
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("+44*", "+44*"),
        ("+*18", "+*18"),
        ("*", "*"),
        ("anonymous", "anonymous"),
        ("Romeo@München.example", "romeo@xn--mnchen-3ya.example"),
        ("*@*", "*@*"),
        ("44*", None),
        ("*18", None),
        ("a@b@c.example", None),
        ("romeo@0x7f000001", None),
        ("romeo@", None),
    ],
)
def test_a_caller_is_a_number_somebody_at_a_host_or_anonymous(text: str, meant: str | None) -> None:
    tables, table = Tables(), Table(Document("a.toml", {}, {}), ("inbound", 0), Section(), sound=True)
    assert caller_named(tables, table, ("match", "caller", 0), text) == meant
    assert len(tables.faults) == (meant is None)


def test_a_rule_that_lets_strangers_in_by_their_own_word_is_warned_of(tmp_path: Path) -> None:
    rule = '[[inbound]]\nmatch = {{ source = "any", caller = "romeo@montague.example" }}\n{}\n'
    for what, lines in (('to = "juliet@shakespeare.lit"', [7]), ('refuse = "no"', [])):
        (tmp_path / "a.toml").write_text(HEAD + rule.format(what))
        _, warnings = load.load([tmp_path / "a.toml"], users=["shakespeare.lit"], base=tmp_path)
        assert [fault.line for fault in warnings if "say themselves" in fault.message] == lines
