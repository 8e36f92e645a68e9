"""The tables of several files: what they name, and that none hides the faults of another."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dialplan import toml
from gateway.dialplan.schema import LimitSection, TrunkSection
from gateway.dialplan.tables import Tables, is_caller, near


def read(folder: Path, **texts: str) -> Tables:
    tables = Tables()
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
        document = toml.read(folder / f"{name}.toml", f"{name}.toml")
        assert isinstance(document, toml.Document)
        tables.add(document)
    return tables


def test_tables_of_several_files_stand_together(tmp_path: Path) -> None:
    trunk = '[[trunk]]\nname = "{}"\nproxy = "sip:{}.example"\n'
    tables = read(tmp_path, a=trunk.format("one", "one"), b="[groups]\noffice = ['a@b']\n" + trunk.format("two", "two"))
    assert tables.faults == []
    assert [section.name for _, section in tables.sections("trunk", TrunkSection)] == ["one", "two"]
    assert [table.line_of("proxy") for table, _ in tables.sections("trunk", TrunkSection)] == [3, 5]
    assert (tables.names["trunk"], tables.groups) == ({"one", "two"}, {"office": ("a@b",)})


def test_names_and_single_tables_are_told_when_they_come_twice(tmp_path: Path) -> None:
    text = '[numbers]\nregion = "US"\n[groups]\noffice = []\n[[route]]\nname = "all"\nvia = "echo"\n'
    tables = read(tmp_path, a=text, b=text)
    assert sorted(map(str, tables.faults)) == [
        "b.toml:1: [numbers] stands in a.toml:1 already",
        "b.toml:4: there is a group 'office' already",
        "b.toml:6: there is a route 'all' already",
    ]


def test_a_key_of_a_wrong_shape_leaves_the_rest_of_its_table(tmp_path: Path) -> None:
    tables = read(tmp_path, a='[[limit]]\nuser = "@office"\nconcurrent = "many"\nper_minute = 3\n')
    ((table, section),) = tables.sections("limit", LimitSection)
    assert (section.user, section.concurrent, section.per_minute, table.sound) == (("@office",), None, 3, False)
    assert len(tables.faults) == 1


def test_words_that_come_twice_are_told_at_the_second(tmp_path: Path) -> None:
    tables = read(tmp_path, a='[[limit]]\nuser = [\n"a@b",\n"c@d",\n"a@b",\n]\n')
    ((table, section),) = tables.sections("limit", LimitSection)
    tables.twice(table, ("user",), section.user)
    assert [str(fault) for fault in tables.faults] == ["a.toml:5: 'a@b' stands there already"]


def test_what_is_meant_is_guessed_where_it_is_close() -> None:
    assert near("carier", ["carrier", "backup"]) == ", did you mean 'carrier'?"
    assert near("x", ["carrier"]) == ""


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("*", True),
        ("juliet@shakespeare.lit", True),
        ("*@*.lit", True),
        ("juliet", False),
        ("@b", False),
        ("a@b/c", False),
    ],
)
def test_a_caller_is_a_bare_jid(pattern: str, fits: bool) -> None:
    assert is_caller(pattern) is fits
