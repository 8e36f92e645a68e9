"""What rules ask of a call, as they are written and as they are kept."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.dialplan import toml
from gateway.dialplan.conditions import Conditions
from gateway.dialplan.numbers import Kind
from gateway.dialplan.rules import Match
from gateway.dialplan.schema import RouteSection
from gateway.dialplan.tables import Tables


def read(folder: Path, match: str, zone: tzinfo | None = None) -> tuple[Match, list[str]]:
    path = folder / "a.toml"
    path.write_text(
        f'[groups]\noffice = ["nurse@verona.example"]\n[[route]]\nname = "it"\nvia = "echo"\nmatch = {match}\n'
    )
    document = toml.read(path, "a.toml")
    assert isinstance(document, toml.Document)
    tables = Tables()
    tables.add(document)
    ((table, section),) = tables.sections("route", RouteSection)
    built = Conditions(tables, ("shakespeare.lit",), zone).match(table, section.match)
    return built, [str(fault).removeprefix("a.toml:6: ") for fault in tables.faults]


def test_conditions_are_kept_as_they_are_compared(tmp_path: Path) -> None:
    match, faults = read(
        tmp_path,
        '{ kind = ["number", "uri"], host = "*.BÜCHER.example", user = "R*", from = "Juliet@Shakespeare.LIT" }',
    )
    assert faults == []
    assert match.kind == (Kind.NUMBER, Kind.URI)
    assert (match.host, match.user, match.from_) == (
        ("*.xn--bcher-kva.example",),
        ("r*",),
        ("juliet@shakespeare.lit",),
    )


@pytest.mark.parametrize(
    ("match", "fault"),
    [
        ('{ kind = "short", type = "premium_rate" }', None),
        ('{ kind = "short", type = "mobile" }', "never matches: short codes are premium_rate or toll_free"),
        ('{ kind = ["short", "name"], type = "mobile" }', "never matches: short codes are premium_rate or toll_free"),
        ('{ kind = ["short", "number"], type = "mobile" }', None),
        ('{ type = "mobile" }', None),
        ('{ kind = "uri", type = "mobile" }', "never matches: a call of kind uri has no type"),
        ('{ kind = "short", number = "411" }', None),
        ('{ kind = "short", number = "41*" }', None),
        ('{ number = "411" }', None),
        ('{ number = "*" }', None),
        ('{ kind = "short", number = "+41*" }', "never matches: '+41*' is no short code"),
        ('{ number = "0900*" }', "warning: '0900*' is for short codes alone: numbers are compared as +E.164"),
        ('{ number = "0900123456" }', "never matches: numbers are compared as +E.164, and '0900123456' is none"),
        ('{ country = "GB", number = "+49*" }', "never matches: none of these numbers is of GB"),
        ('{ country = "+881", type = "satellite" }', None),
        ('{ from = "@office" }', "warning: nurse@verona.example lets others than users of [xmpp] users call out"),
        ('{ from = "*@shakespeare.lit" }', None),
        ('{ hours = "Mon" }', "hours need a zone, here or in [numbers]"),
        ('{ hours = "Mon", zone = "Mars" }', "'Mars' is no time zone"),
        ('{ zone = "UTC" }', "a zone is for hours, and there are none"),
    ],
)
def test_what_can_never_be_met_is_told(tmp_path: Path, match: str, fault: str | None) -> None:
    _, faults = read(tmp_path, match)
    assert len(faults) == (fault is not None), faults
    assert fault is None or faults[0].startswith(fault)


def test_hours_are_of_the_rules_zone_else_of_everybodys(tmp_path: Path) -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday: 21:00 in Tokyo
    for zone, text, fits in (
        (ZoneInfo("Asia/Tokyo"), "{ hours = '20:00-22:00' }", True),
        (ZoneInfo("Asia/Tokyo"), "{ hours = '20:00-22:00', zone = 'UTC' }", False),
    ):
        match, faults = read(tmp_path, text, zone)
        assert faults == []
        assert match.hours is not None
        assert match.hours.contain(noon) is fits
