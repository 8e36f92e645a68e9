"""Files that include others: their order, what is read once, and every fault where it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialplan import load
from gateway.dialplan.files import MAX_DEPTH, Reader, matching
from gateway.errors import ConfigurationError


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def rule(name: str) -> str:
    return f'[[route]]\nname = "{name}"\nmatch = {{ kind = "name", name = "{name}" }}\nvia = "echo"\n'


def rules_of(folder: Path, *files: str) -> list[str]:
    built, _ = load.load([folder / file for file in files], users=["shakespeare.lit"], base=folder)
    return [each.name for each in built.routes]


def faults_of(folder: Path, *files: str) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        rules_of(folder, *files)
    return [str(fault) for fault in error.value.faults]


def test_what_is_included_stands_where_it_is_included_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path, a='include = ["z.toml", "more/*.toml"]\n' + rule("a"), z=rule("z"))
    write(tmp_path, more__2=rule("two"), more__1='include = "deep/3.toml"\n' + rule("one"))
    (tmp_path / "more" / "deep").mkdir()
    (tmp_path / "more" / "deep" / "3.toml").write_text(rule("three"))
    assert rules_of(tmp_path, "a.toml") == ["z", "three", "one", "two", "a"]


def test_a_file_that_two_include_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, a='include = "c.toml"\n' + rule("a"), b='include = ["c.toml", "./c.toml"]\n' + rule("b"))
    write(tmp_path, c=rule("c"))
    assert rules_of(tmp_path, "a.toml", "b.toml") == ["c", "a", "b"]
    assert rules_of(tmp_path, "a.toml", "a.toml", "c.toml") == ["c", "a"]


@pytest.mark.parametrize("pattern", ["", ".", "./", "/", "//"])
def test_a_folder_by_itself_is_no_pattern(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names no file"):
        matching(tmp_path, pattern)
    write(tmp_path, a=f'include = "{pattern}"\n')
    assert faults_of(tmp_path, "a.toml") == [f"a.toml:1: include: {pattern!r} is no pattern of file names"]


def test_a_circle_is_a_fault_where_it_closes(tmp_path: Path) -> None:
    write(tmp_path, a='include = "b.toml"\n' + rule("a"), b='\ninclude = "c.toml"\n', c='\n\ninclude = ["a.toml"]\n')
    assert faults_of(tmp_path, "a.toml") == [
        "c.toml:3: include: it leads back to itself: a.toml > b.toml > c.toml > a.toml"
    ]


def test_files_include_one_another_eight_deep_and_no_deeper(tmp_path: Path) -> None:
    chain = {f"f{number}": f'include = "f{number + 1}.toml"\n' + rule(f"f{number}") for number in range(MAX_DEPTH)}
    write(tmp_path, **chain, **{f"f{MAX_DEPTH}": rule("last")})
    assert len(rules_of(tmp_path, "f0.toml")) == MAX_DEPTH + 1
    write(tmp_path, **{f"f{MAX_DEPTH}": '\ninclude = "end.toml"\n'}, end=rule("end"))
    assert faults_of(tmp_path, "f0.toml") == [f"f{MAX_DEPTH}.toml:2: include: deeper than {MAX_DEPTH} files"]


def test_there_are_not_more_files_than_anybody_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.dialplan.files.MAX_FILES", 2)
    write(tmp_path, a='include = ["b.toml", "c.toml"]\n', b=rule("b"), c=rule("c"))
    assert faults_of(tmp_path, "a.toml") == ["a.toml:1: include: more than 2 files"]


def test_every_fault_has_the_file_and_line_where_it_is(tmp_path: Path) -> None:
    write(tmp_path, a='include = ["more/*.toml", "none.toml"]\nx = 1\n', more__1="\ny = 1\n", more__2="z = \n")
    (tmp_path / "more" / "folder.toml").mkdir()
    assert sorted(faults_of(tmp_path, "a.toml")) == [
        "a.toml:1: include: 'none.toml' finds no file",
        "a.toml:2: unknown key 'x'",
        "more/1.toml:2: unknown key 'y'",
        "more/2.toml:1: Invalid value",
    ]


def test_files_beside_an_included_one_are_its_own(tmp_path: Path) -> None:
    trunk = '[[trunk]]\nname = "a"\nproxy = "sip:a.example"\nusername = "a"\npassword_file = "secret"\n'
    write(tmp_path, a='include = "more/trunk.toml"\n', more__trunk=trunk)
    (tmp_path / "more" / "secret").touch(mode=0o600)
    (tmp_path / "more" / "secret").write_text("s3cret\n")
    built, _ = load.load([tmp_path / "a.toml"], users=["shakespeare.lit"], base=tmp_path)
    assert built.trunks["a"].password == "s3cret"
    assert [matching(Path(folder), name) for folder, name in built.includes] == [[tmp_path / "more" / "trunk.toml"]]


def test_a_whole_path_is_one_from_anywhere(tmp_path: Path) -> None:
    write(tmp_path, a=f'include = "{tmp_path}/b.toml"\n', b=rule("b"))
    assert rules_of(tmp_path, "a.toml") == ["b"]


@st.composite
def trees(draw: st.DrawFn) -> list[list[int]]:
    """Which files each of six includes: later ones alone, so there is no circle."""
    count = 6
    return [
        draw(st.lists(st.integers(number + 1, count - 1), max_size=3)) if number < count - 1 else []
        for number in range(count)
    ]


@given(trees())
def test_the_order_is_that_of_the_text(tmp_path_factory: pytest.TempPathFactory, tree: list[list[int]]) -> None:
    folder = tmp_path_factory.mktemp("tree")
    for number, named in enumerate(tree):
        listed = ", ".join(f'"{each}.toml"' for each in named)
        (folder / f"{number}.toml").write_text(f"include = [{listed}]\n" + rule(f"r{number}"))

    def text(number: int, seen: list[str]) -> list[str]:
        for each in tree[number]:
            if f"r{each}" not in seen:
                text(each, seen)
        seen.append(f"r{number}")
        return seen

    reader = Reader(folder)
    reader.read(folder / "0.toml")
    assert rules_of(folder, "0.toml") == text(0, [])
    assert not reader.faults
