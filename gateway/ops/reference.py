"""The reference in dialplan/README.md, written from the models that check the files, so that it cannot say otherwise.

python -m gateway.ops.reference dialplan/README.md    writes it anew, between its two marks
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from gateway.dialplan.money import Money
from gateway.dialplan.schema import NAMED, REPEATED, SINGLE
from gateway.dialplan.toml import Section

BEGIN = "<!-- written by python -m gateway.ops.reference dialplan/README.md -->"
END = "<!-- end of the reference -->"
_WORDS = {
    str: "text", int: "a whole number", float: "a number", bool: "`true` or `false`", datetime: "a date and time",
    Money: 'money, as `"12.50 EUR"`',
}  # fmt: skip


def reference() -> str:
    """All tables in Markdown."""
    headings = [(f"[{name}]", name, model) for name, model in SINGLE.items()]
    headings += [(f'[{name}."…"]', name, model) for name, model in NAMED.items()]
    headings += [(f"[[{name}]]", name, model) for name, model in REPEATED.items()]
    parts = ["\n".join(_table(*heading)) for heading in headings]
    parts.insert(2, "### `[groups]`\n\nNames for lists of JIDs, with `*` for any text; rules write `@office`.\n")
    return "\n".join(parts)


def written(text: str) -> str:
    """The text of a README with the reference that is right."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the marks of the reference are missing")
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Writes the reference into the files that are named."""
    for name in arguments:
        path = Path(name)
        path.write_text(written(path.read_text()))
    return 0


def _table(heading: str, path: str, model: type[Section]) -> Iterator[str]:
    yield f"### `{heading}`\n"
    yield _flat(inspect.getdoc(model) or "") + "\n"
    yield "| key | value | meaning |\n|---|---|---|"
    inner: dict[str, type[Section]] = {}
    for name, field in model.model_fields.items():
        key = field.alias or name
        inner.update((f"{path}.{key}", each) for each in _models(field.annotation))
        yield f"| `{key}` | {_value(field)} | {_flat(field.description or '')} |"
    yield ""
    seen: set[type[Section]] = set()
    for place, each in inner.items():
        if each not in seen:  # the formats of a policy are one model
            seen.add(each)
            yield from _table(place, place, each)


def _value(field: FieldInfo) -> str:
    """What may stand there, and what does when it is left out."""
    text = _type(field.annotation)
    if field.is_required():
        return f"{text}; required"
    default = field.default
    if default is None or default == () or field.default_factory is not None:
        return text
    shown = ", ".join(map(_toml, default)) if isinstance(default, tuple) else _toml(default)
    return f"{text}; `{shown}`"


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def _type(annotation: object) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return ", ".join(f"`{_toml(value)}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(each) for each in inner if each is not type(None))
    if origin is tuple:
        return "a word or a list"
    if origin is dict or _models(annotation):
        return "a table"
    return _WORDS[annotation] if isinstance(annotation, type) else str(annotation)


def _models(annotation: object) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
