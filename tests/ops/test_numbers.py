"""What `gateway numbers` prints, for people and for programs."""

from __future__ import annotations

import json
import sys

import pytest

from gateway.ops import cli
from gateway.ops.numbers import explain, lines


def test_a_number_is_explained_in_lines() -> None:
    assert list(lines(explain("(202) 555-0123;ext=55", "US"))) == [
        "(202) 555-0123;ext=55, read as dialled in US",
        "  kind               number",
        "  E.164              +12025550123",
        "  national           (202) 555-0123",
        "  international      +1 202-555-0123",
        "  extension          55",
        "  a trunk is sent    +12025550123;ext=55",
        "  types              fixed_line or mobile",
        "  country            US",
        "  calling code       1",
        "  assigned           yes",
    ]


def test_an_unassigned_number_says_who_decides() -> None:
    assert list(lines(explain("+44 1632 960960", None)))[-2:] == [
        "  assigned           no",
        "  the numbering plan has this number for nobody: [numbers] unassigned decides",
    ]


def test_an_emergency_of_another_country_says_so() -> None:
    assert list(lines(explain("9-1-1", "GB"))) == [
        "9-1-1, read as dialled in GB",
        "  kind               emergency",
        "  a trunk is sent    911",
        "  of another country yes",
    ]
    row = explain("112", "DE")
    assert (row["emergency"], row["foreign"], row["number"]) == (True, False, None)


@pytest.mark.parametrize(
    ("written", "region", "problem"),
    [
        ("2025550123", None, "2025550123 is a national number, and no region is set"),
        ("30123456", "DE", "30123456 could be a local number: write it with 0 and its area code, or with +49"),
        ("flowers123", "US", "nothing that is dialled: a name or a SIP address"),
        ("romeo%shakespeare.lit", "US", "nothing that is dialled: a name or a SIP address"),
        ("sip:romeo@shakespeare.lit", "US", "nothing that is dialled: a name or a SIP address"),
        ("+٣٤٥٦٧", "US", "not a number: '+٣٤٥٦٧', its digits are not 0 to 9"),
        ("1" * 40, "US", "a number of more than 32 digits"),
        ("a%%b", "US", "not a user: 'a%'"),
    ],
)
def test_what_is_refused_says_why(written: str, region: str | None, problem: str) -> None:
    row = explain(written, region)
    assert row["problem"] == problem
    assert row["dial"] is None
    assert list(lines(row))[-1] == f"  refused: {problem}"


@pytest.mark.parametrize(
    "written",
    [
        "+12025550123",
        "+12025550123@sip.example.com",
        "+12025550123@sip.example.com/phone",
        "tel:+1-202-555-0123",
        "tel:+1 202 555 0123",
        "sip:+12025550123@carrier.example;user=phone",
        "+12025550123%carrier.example@sip.example.com",
        r"+1\20202\20555\200123",
    ],
)
def test_one_number_in_every_spelling(written: str) -> None:
    assert explain(written, None)["number"] == "+12025550123"


def test_all_rows_have_the_same_keys() -> None:
    keys = [list(explain(text, "US")) for text in ("+12025550123", "911", "echo", "42", "+", "a%%b")]
    assert all(found == keys[0] for found in keys)


def gateway(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gateway", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code if isinstance(end.value.code, int) else 0


def test_the_command_needs_no_configuration_and_exits_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gateway(monkeypatch, "numbers", "020 7946 0018", "--region", "GB", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row == {
        "written": "020 7946 0018",
        "region": "GB",
        "kind": "number",
        "number": "+442079460018",
        "national": "020 7946 0018",
        "international": "+44 20 7946 0018",
        "extension": None,
        "dial": "+442079460018",
        "types": ["fixed_line"],
        "country": "GB",
        "calling_code": 44,
        "assigned": True,
        "foreign": False,
        "emergency": False,
        "problem": None,
    }


def test_the_command_exits_with_1_when_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gateway(monkeypatch, "numbers", "020 7946 0018") == 1
    assert "refused: 02079460018 is a national number, and no region is set" in capsys.readouterr().out


def test_the_command_exits_with_2_for_no_region(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gateway(monkeypatch, "numbers", "911", "--region", "UK") == 2
    assert capsys.readouterr().err == "--region: 'UK' is no region\n"
