"""The reference of dialplans says what the models say, and the README has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dialplan.schema import NAMED, REPEATED, SINGLE, FormatSection, LocationSection, MatchSection
from gateway.dialplan.toml import Section
from gateway.ops.reference import BEGIN, END, main, reference, written

README = Path(__file__).resolve().parents[2] / "dialplan" / "README.md"


def test_the_readme_has_the_reference_of_today() -> None:
    assert written(README.read_text()) == README.read_text(), (
        "stale: run python -m gateway.ops.reference dialplan/README.md"
    )


def test_every_key_of_every_table_is_explained() -> None:
    text = reference()
    tables: tuple[type[Section], ...] = (MatchSection, LocationSection, FormatSection)
    for model in (*SINGLE.values(), *NAMED.values(), *REPEATED.values(), *tables):
        for name, field in model.model_fields.items():
            assert f"| `{field.alias or name}` |" in text
            assert field.description, f"{model.__name__}.{name}"


def test_values_are_written_as_in_a_file() -> None:
    lines = reference().splitlines()
    assert (
        '| `action` | `"route"`, `"refuse"`; required | `"route"` by `via`, or `"refuse"` at once with a clear text. |'
        in lines
    )
    assert any(line.startswith("| `register` | `true` or `false`; `false` |") for line in lines)
    assert any(line.startswith('| `codecs` | a word or a list; `"PCMA", "PCMU"` |') for line in lines)
    assert any(line.startswith("| `max_calls` | a whole number |") for line in lines)
    assert "### `route.match`" in lines


def test_it_is_written_between_its_marks(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"before\n{BEGIN}\nof yesterday\n{END}\nafter\n")
    assert main([str(file)]) == 0
    text = file.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "yesterday" not in text
    with pytest.raises(ValueError, match="marks"):
        written("no marks")
