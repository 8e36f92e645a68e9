"""The JSON Schemas for editors say what the models say, and every file that is shipped keeps to them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.dialplan.schema import NAMED, REPEATED, SINGLE
from gateway.ops.schema import FILES, configuration, dialplan, main, texts
from gateway.settings import SECTIONS

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = [*sorted((ROOT / "dialplan").glob("*.toml")), *sorted((ROOT / "deploy").glob("*.toml"))]
KINDS: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def wrong(schema: dict[str, Any], whole: dict[str, Any], value: object, at: str = "") -> Iterator[str]:
    """What is wrong about a value, by as much of draft 7 as these schemas use; whatever else they used would raise."""
    for word, said in schema.items():
        match word:
            case "description" | "title" | "$schema" | "definitions" | "default":
                pass
            case "$ref":
                yield from wrong(whole["definitions"][said.removeprefix("#/definitions/")], whole, value, at)
            case "allOf":
                for each in said:
                    yield from wrong(each, whole, value, at)
            case "anyOf":
                if all(any(True for _ in wrong(each, whole, value, at)) for each in said):
                    yield f"{at}: none of {said}"
            case "type":
                if not isinstance(value, KINDS[said]) or (isinstance(value, bool) and said != "boolean"):
                    yield f"{at}: no {said}"
            case "enum" | "const":
                if value not in (said if word == "enum" else [said]):
                    yield f"{at}: none of {said}"
            case "minimum" | "maximum":
                assert isinstance(value, int | float)
                if (value < said) is (word == "minimum") and value != said:
                    yield f"{at}: {word} {said}"
            case "minLength" | "minItems" | "maxItems" | "pattern":
                pass
            case "required" if isinstance(value, dict):
                yield from (f"{at}.{key}: missing" for key in said if key not in value)
            case "properties" if isinstance(value, dict):
                for key, each in said.items():
                    if key in value:
                        yield from wrong(each, whole, value[key], f"{at}.{key}")
            case "additionalProperties" if isinstance(value, dict):
                for key in value.keys() - schema.get("properties", {}).keys():
                    if said is False:
                        yield f"{at}.{key}: unknown"
                    else:
                        yield from wrong(said, whole, value[key], f"{at}.{key}")
            case "items" if isinstance(value, list):
                for number, inner in enumerate(value):
                    which = said[number] if isinstance(said, list) else said
                    yield from wrong(which, whole, inner, f"{at}[{number}]")
            case "required" | "properties" | "additionalProperties" | "items":
                pass  # `type` says it
            case _:
                raise AssertionError(f"{word} is not checked here")


def faults(schema: dict[str, Any], text: str) -> list[str]:
    # Editors see dates as texts.
    values = json.loads(json.dumps(tomllib.loads(text), default=str))
    return list(wrong(schema, schema, values))


def test_the_schemas_are_those_of_today() -> None:
    for name, text in texts().items():
        assert (ROOT / name).read_text() == text, "stale: run python -m gateway.ops.schema"


def test_they_are_written_below_a_folder(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
    assert main([str(tmp_path)]) == 0
    assert {name: (tmp_path / name).read_text() for name in FILES} == texts()


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_what_is_shipped_keeps_to_its_schema_and_says_where_it_is(file: Path) -> None:
    text = file.read_text()
    first = text.splitlines()[0]
    assert first.startswith("#:schema ")
    named = (file.parent / first.removeprefix("#:schema ")).resolve()
    assert named in {ROOT / name for name in FILES}
    assert faults(json.loads(named.read_text()), text) == []


def test_every_table_is_there_and_no_null_which_toml_has_not() -> None:
    tables, sections = (set(json.loads(text)["properties"]) for text in texts().values())
    assert tables == {*SINGLE, *REPEATED, *NAMED, "groups", "include"}
    assert sections == set(SECTIONS)
    assert "null" not in "".join(texts().values())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[[route]]\nname = "a"\nvia = "b"\nring_secs = 1\n', ".route[0].ring_secs: unknown"),
        ('[[route]]\nvia = "b"\n', ".route[0].name: missing"),
        ('[[route]]\nname = "a"\nring_seconds = 1\n', ".route[0].ring_seconds: minimum 5"),
        ('[[route]]\nname = "a"\nring_seconds = 601\n', ".route[0].ring_seconds: maximum 600"),
        ('[[route]]\nname = "a"\nearly_media = 1\n', ".route[0].early_media: no boolean"),
        ("[[route]]\nname = 1\n", ".route[0].name: no string"),
        ('[users."a@b"]\nlongest = true\n', ".users.a@b.longest: no integer"),
        ('[groups]\na = "b"\n', ".groups.a: no array"),
        ('[[inbound]]\nmatch = { source = "all" }\n', ".inbound[0].match.source: none of any"),
        ("rout = 1\n", ".rout: unknown"),
    ],
)
def test_an_editor_marks_what_cannot_be(text: str, fault: str) -> None:
    assert faults(dialplan(), text) == [fault]


def test_an_editor_takes_a_word_for_a_list_and_a_cause_by_its_name() -> None:
    rule = '[[route]]\nname = "a"\nvia = {via}\nfailover = {failover}\n'
    assert faults(dialplan(), rule.format(via='["a", "b"]', failover='"busy"')) == []
    assert len(faults(dialplan(), rule.format(via="1", failover='["bussy"]'))) == 2
    assert faults(configuration(), '[sip]\ndomain = "sip.example.com"\n') == [], "the environment may say the rest"
