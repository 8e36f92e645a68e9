"""JSON Schemas of dialplan files and gateway.toml, for editors: from the models that check the files.

python -m gateway.ops.schema    writes dialplan/schema.json and deploy/gateway.schema.json anew, in a checkout

They tell the shape of tables. What tables say about one another is for `gateway check`. Draft 7, which is what editors
of TOML know (taplo: Even Better TOML).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic.json_schema import models_json_schema

from gateway.dialplan.schema import NAMED, REPEATED, SINGLE
from gateway.dialplan.toml import Section
from gateway.settings import SECTIONS

FILES = ("dialplan/schema.json", "deploy/gateway.schema.json")
_DRAFT = "http://json-schema.org/draft-07/schema#"
_WORDS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def dialplan() -> dict[str, object]:
    """Of one dialplan file."""
    refs, definitions = _definitions({**SINGLE, **NAMED, **REPEATED})
    tables: dict[str, object] = {
        "include": _WORDS | {"description": "Files that are read before this one's tables; names may have a `*`."},
        "groups": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
            "description": "Names for lists of JIDs, with `*` for any text; rules write `@office`.",
        },
    }
    tables |= {key: refs[key] for key in SINGLE}
    tables |= {key: {"type": "object", "additionalProperties": refs[key]} for key in NAMED}
    tables |= {key: {"type": "array", "items": refs[key]} for key in REPEATED}
    return _file("A dialplan of the gateway", tables, definitions)


def configuration() -> dict[str, object]:
    """Of gateway.toml. Nothing is required: the environment may say it."""
    refs, definitions = _definitions(SECTIONS)
    for definition in definitions.values():
        definition.pop("required", None)
    return _file("gateway.toml", dict(refs), definitions)


def texts() -> dict[str, str]:
    """What the files hold, by their names in a checkout."""
    schemas = (dialplan(), configuration())
    return {
        name: json.dumps(each, indent=2, ensure_ascii=False) + "\n" for name, each in zip(FILES, schemas, strict=True)
    }


def main(arguments: list[str]) -> int:
    """Writes the files below a folder, by default the one that we are in."""
    for name, text in texts().items():
        (Path(arguments[0] if arguments else ".") / name).write_text(text)
    return 0


def _file(title: str, tables: dict[str, object], definitions: Mapping[str, object]) -> dict[str, object]:
    return {
        "$schema": _DRAFT,
        "title": title,
        "type": "object",
        "additionalProperties": False,
        "properties": tables,
        "definitions": dict(sorted(definitions.items())),
    }


def _definitions(
    models: Mapping[str, type[Section]],
) -> tuple[dict[str, dict[str, object]], dict[str, dict[str, object]]]:
    """A reference for each key, and what they refer to."""
    found, whole = models_json_schema(
        [(model, "validation") for model in models.values()], ref_template="#/definitions/{model}"
    )
    refs = {key: {"$ref": found[model, "validation"]["$ref"]} for key, model in models.items()}
    return refs, {name: _table(each) for name, each in whole["$defs"].items()}


def _table(definition: dict[str, object]) -> dict[str, object]:
    """A model's schema as people read it in an editor."""
    properties = definition.get("properties")
    kept = {key: value for key, value in definition.items() if key not in ("title", "description", "properties")}
    if isinstance(description := definition.get("description"), str):
        kept = {"description": " ".join(description.split()), **kept}
    if isinstance(properties, dict):
        kept["properties"] = {key: _value(value) for key, value in properties.items()}
    return kept


def _value(schema: dict[str, object]) -> dict[str, object]:
    """One key's, without what TOML has not: null. A date may stand there without its zone, and is no `date-time`."""
    rest = {key: value for key, value in schema.items() if key not in ("title", "default", "format")}
    if isinstance(description := rest.pop("description", None), str):
        rest = {"description": " ".join(description.split()), **rest}
    choices = rest.get("anyOf")
    if isinstance(choices, list):
        choices = [_value(each) for each in choices if each != {"type": "null"}]
        if len(choices) == 1:
            rest.pop("anyOf")
            rest |= choices[0]
        else:
            inner = [each["anyOf"] if list(each) == ["anyOf"] else [each] for each in choices]
            rest["anyOf"] = [each for several in inner if isinstance(several, list) for each in several]
    if "prefixItems" in rest:  # of later drafts
        rest["items"] = rest.pop("prefixItems")
    if "$ref" in rest and len(rest) > 1:  # what stands beside a reference does not count
        rest["allOf"] = [{"$ref": rest.pop("$ref")}]
    default = schema.get("default")
    return rest if default in (None, [], "", {}) else rest | {"default": default}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
