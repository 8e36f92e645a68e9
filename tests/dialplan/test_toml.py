"""TOML with lines: the index is held against the values that tomllib finds, and faults against the lines of a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from gateway.dialplan import toml
from gateway.dialplan.toml import Document, Section, parse, read, validate
from gateway.errors import Fault

TEXT = '''\
# a comment = 1
a = 1  # b = 2
"quoted key" = "x = 1 # not a comment"
'single \\' = 'y'
dotted.key."with dot.s" = true

[table] # [no.table]
list = [ # one
  1,
  [2, 3],

  { inner = "}", other = [4] },  # ]
]
multi = """
[not a table]
\\"""" # after
literal = \'\'\'
x = 2
\'\'\'\'\'
after = 1979-05-27 07:32:00
[table.deep . er]
k = -1.5e3
[[array]]
k = 1
[array.sub]
k = 2
[[array.inner]]
k = 3
[[array.inner]]
k = 4
[[array]]
inner = [
]
'''

LINES = {
    ("a",): 2,
    ("quoted key",): 3,
    ("single \\",): 4,
    ("dotted",): 5,
    ("dotted", "key", "with dot.s"): 5,
    ("table",): 7,
    ("table", "list"): 8,
    ("table", "list", 0): 9,
    ("table", "list", 1, 1): 10,
    ("table", "list", 2): 12,
    ("table", "list", 2, "other", 0): 12,
    ("table", "multi"): 14,
    ("table", "literal"): 17,
    ("table", "after"): 20,
    ("table", "deep", "er"): 21,
    ("table", "deep", "er", "k"): 22,
    ("array",): 23,
    ("array", 0, "k"): 24,
    ("array", 0, "sub", "k"): 26,
    ("array", 0, "inner", 0, "k"): 28,
    ("array", 0, "inner", 1): 29,
    ("array", 1): 31,
    ("array", 1, "inner"): 32,
}


def document(text: str) -> Document:
    found = parse(text, "a.toml")
    assert isinstance(found, Document), found
    return found


def places(value: object, place: toml.Place = ()) -> set[toml.Place]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {place} | {found for key, part in inner for found in places(part, (*place, key))}


@pytest.mark.parametrize(("place", "line"), LINES.items(), ids=str)
def test_every_construct_has_its_line(place: toml.Place, line: int) -> None:
    assert document(TEXT).lines[place] == line


def test_the_index_knows_all_that_tomllib_finds_and_nothing_else() -> None:
    found = document(TEXT)
    assert places(found.values) - {()} == set(found.lines) | {("table", "deep")}  # which a longer header implies


SCALAR = st.one_of(
    st.integers(-5, 5).map(str),
    st.sampled_from(['"a # ] } = b"', "'[x]'", '"""\n[y]\n"""', "'''\n'''", "true", "1979-05-27", '"\\""']),
)
SPACE = st.sampled_from(["", " ", "\n", " # c ] }\n"])
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.one_of(
        st.tuples(st.lists(inner, max_size=3), SPACE).map(lambda x: f"[{x[1]}{(',' + x[1]).join(x[0])}{x[1]}]"),
        st.lists(inner, max_size=3).map(
            lambda values: "{" + ", ".join(f"k{number} = {value}" for number, value in enumerate(values)) + "}"
        ),
    ),
    max_leaves=6,
)


@given(st.lists(VALUE, max_size=4))
def test_the_index_never_loses_its_way(values: list[str]) -> None:
    text = "".join(f"[t{number}]\nk = {value}\n" for number, value in enumerate(values))
    found = document(text)
    assert set(found.lines) <= places(found.values)
    for place in places(found.values) - {()} - set(found.lines):  # elements of a plain array, which is on one line
        assert isinstance(place[-1], int)
        assert found.line(place) == found.lines[place[:-1]]
    lines = text.splitlines()
    assert all(lines[found.lines[(f"t{number}",)] - 1] == f"[t{number}]" for number in range(len(values)))


def test_a_place_that_is_not_in_the_file_has_the_line_of_what_is_around_it() -> None:
    found = document("\n[table]\nk = 1\n")
    assert found.line(("table", "missing", 3)) == 2
    assert found.line(("missing",)) == 1


def test_a_value_of_the_environment_is_told_by_its_variable() -> None:
    found = Document("a.toml", {}, {("x", "y"): 7}, {("x", "y"): "GATEWAY_X__Y"})
    assert str(found.fault(("x", "y", 0), "bad")) == "environment: GATEWAY_X__Y: bad"
    assert str(found.fault(("x",), "bad", warning=True)) == "a.toml:1: warning: bad"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a = 1\nb = \n", "a.toml:2: Invalid value"),
        ("a = 1\n[b\n", "a.toml:2: Expected ']' at the end of a table declaration"),
        ('a = 1\nb = """x\n', "a.toml:2: Unterminated string"),
        ("a = " + "[" * 5000, None),
    ],
)
def test_what_is_no_toml_is_a_fault_with_its_line(text: str, fault: str | None) -> None:
    found = parse(text, "a.toml")
    assert isinstance(found, Fault)
    assert fault is None or str(found) == fault


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    assert str(read(tmp_path / "none.toml", "none.toml")) == "none.toml: cannot be read: No such file or directory"
    (tmp_path / "latin.toml").write_bytes(b'a = 1\nb = "\xfc"\n')
    assert str(read(tmp_path / "latin.toml", "latin.toml")) == "latin.toml:2: not UTF-8"
    with (tmp_path / "large.toml").open("wb") as file:
        os.truncate(file.fileno(), toml.MAX_FILE + 1)
    assert str(read(tmp_path / "large.toml", "large.toml")).startswith("large.toml:1: larger than")


class Inner(Section):
    colour: str = "red"
    sizes: tuple[int, ...] = Field(default=(), strict=False)


class Outer(Section):
    name: str
    inner: Inner = Inner()
    many: dict[str, int] = Field(default_factory=dict)


def test_a_model_is_made_of_values() -> None:
    model, faults = validate(document('name = "x"\n'), Outer, {"name": "x", "inner": {"sizes": [1]}})
    assert (model, faults) == (Outer(name="x", inner=Inner(sizes=(1,))), [])


def test_what_is_left_without_the_faulty_keys_can_still_be_checked() -> None:
    text = 'name = "x"\n[inner]\ncolor = 1\nsizes = [1, "x", 3]\n[many]\na = "b"\n'
    found = document(text)
    model, faults = validate(found, Outer, found.values)
    assert model == Outer(name="x")
    assert sorted(map(str, faults)) == [
        "a.toml:3: unknown key 'color', did you mean 'colour'?",
        "a.toml:4: inner.sizes: input should be a valid integer",
        "a.toml:6: many.a: input should be a valid integer",
    ]


def test_without_what_must_be_there_nothing_is_left() -> None:
    found = document("\n[inner]\n")
    assert validate(found, Outer, found.values) == (None, [Fault("a.toml", 1, "'name' is missing")])
    assert validate(found, Outer, 5) == (None, [Fault("a.toml", 1, "not a table")])


def test_a_key_in_a_place_without_a_model_has_no_likely_name() -> None:
    class Deep(Section):
        outer: tuple[Outer, ...] = Field(default=(), strict=False)

    found = document('[[outer]]\nname = "x"\nnme = 1\n')
    _, faults = validate(found, Deep, found.values)
    assert list(map(str, faults)) == ["a.toml:3: unknown key 'nme', did you mean 'name'?"]
