"""The shape of gateway.toml: what each section takes, and that README tells it as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.settings import SECTIONS, MediaSection, StorageSection, XmppSection

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def test_only_what_nobody_can_guess_is_required() -> None:
    required = {
        f"[{name}] {key}"
        for name, model in SECTIONS.items()
        for key, field in model.model_fields.items()
        if field.is_required()
    }
    assert required == {"[xmpp] domain", "[xmpp] users"}


@pytest.mark.parametrize("name", SECTIONS)
def test_an_unknown_key_is_a_fault_in_every_section(name: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        SECTIONS[name].model_validate({"domain": "sip.example.com", "users": ["example.com"], "nonsense": 1})


def test_no_secret_is_shown() -> None:
    xmpp = XmppSection(domain="sip.example.com", users=("example.com",), secret="s3cret")
    assert "s3cret" not in repr((xmpp, StorageSection(url="postgresql://gateway:s3cret@db.example/gateway")))


def test_one_word_stands_for_a_list_and_no_value_is_bent() -> None:
    assert MediaSection.model_validate({"allow": "10.0.0.0/8"}).allow == ("10.0.0.0/8",)
    with pytest.raises(ValidationError):
        MediaSection.model_validate({"workers": "2"})


def told() -> list[tuple[str, str, str]]:
    """Section, key and default of each line of README's table, as they stand there."""
    rows = re.findall(r"^\| `\[(\w+)\] (\w+)`((?:, `\w+`)*) \| ([^|]*) \|", README, re.MULTILINE)
    assert rows
    found = []
    for section, first, more, default in rows:
        keys = [first, *re.findall(r"\w+", more)]
        values = re.findall(r"`([^`]+)`", default)
        found += [(section, key, values[i] if i < len(values) else "") for i, key in enumerate(keys)]
    return found


@pytest.mark.parametrize(("section", "key", "default"), told())
def test_a_key_of_the_readme_is_there_with_the_default_that_it_says(section: str, key: str, default: str) -> None:
    field = SECTIONS[section].model_fields[key]
    if default:
        assert tomllib.loads(f"value = {default}")["value"] == field.default
