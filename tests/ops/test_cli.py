"""The command as operators and scripts see it: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from gateway import config
from gateway.addresses import SipUri
from gateway.media import process
from gateway.ops import cli
from gateway.sip.resolver import Resolver
from gateway.storage.records import Records
from tests.storage.test_records import CALL

GOOD = '[xmpp]\ndomain = "sip.example.com"\nsecret = "s3cret"\nusers = ["shakespeare.lit"]\n'
RULES = """\
[numbers]
region = "US"
[emergency]
action = "route"
via = "carrier"
[[trunk]]
name = "carrier"
proxy = "sip:sbc.carrier.example;transport=tcp"
from = "+12025550100"
[[route]]
name = "premium"
match = { kind = "number", type = "premium_rate" }
refuse = "premium numbers are not allowed here"
[[route]]
name = "all numbers"
match = { kind = "number" }
via = "carrier"
[[route]]
name = "test line"
match = { kind = "name", name = "echo" }
via = "echo"
[[route]]
name = "direct"
match = { kind = "uri" }
via = "direct"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dialplan").mkdir()
    (tmp_path / "dialplan" / "a.toml").write_text(RULES)
    (tmp_path / "gateway.toml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gateway(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Runs the command and returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["gateway", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code if isinstance(end.value.code, int) else 0


JULIET = ("--from", "juliet@shakespeare.lit")


def test_check_says_ok_and_exits_with_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert gateway(monkeypatch, "check", "--config", "gateway.toml") == 0
    assert capsys.readouterr().out == "ok: 1 trunk, 4 routes\n"


def test_check_tells_every_fault_and_exits_with_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "dialplan" / "b.toml").write_text("x = 1\ny = 2\n")
    assert gateway(monkeypatch, "check") == 1
    assert capsys.readouterr().out == (
        "dialplan/b.toml:1: unknown key 'x'\ndialplan/b.toml:2: unknown key 'y'\n2 faults\n"
    )


@pytest.mark.parametrize(
    ("address", "more", "code", "row"),
    [
        (
            "+12025550123@sip.example.com",
            [],
            0,
            {
                "outcome": "route",
                "kind": "number",
                "number": "+12025550123",
                "target": "sip:+12025550123@sbc.carrier.example;transport=tcp",
                "via": ["carrier"],
                "rule": "all numbers",
                "reason": None,
            },
        ),
        ("romeo%montague.example@sip.example.com", [], 0, {"kind": "uri", "target": "sip:romeo@montague.example"}),
        ("sip:romeo@montague.example", [], 0, {"kind": "uri", "target": "sip:romeo@montague.example"}),
        ("tel:+1-202-555-0123", [], 0, {"kind": "number", "number": "+12025550123"}),
        ("911@SIP.example.com/phone", [], 0, {"kind": "emergency", "number": None, "rule": "emergency"}),
        ("echo", ["--at", "2026-01-01T12:00:00"], 0, {"kind": "name", "target": None, "via": ["echo"]}),
        ("02079460018", ["--region", "GB"], 0, {"number": "+442079460018"}),
        (
            "+19005550123@sip.example.com",
            [],
            1,
            {"outcome": "refuse", "rule": "premium", "reason": "premium numbers are not allowed here", "via": []},
        ),
        ("a%%b@sip.example.com", [], 1, {"outcome": "refuse", "kind": None}),
    ],
)
def test_route_prints_its_outcome_for_programs(
    address: str,
    more: list[str],
    code: int,
    row: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert gateway(monkeypatch, "route", *JULIET, address, "--json", *more) == code
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == ["outcome", "kind", "number", "target", "via", "rule", "reason", "steps"]
    assert {key: printed[key] for key in row} == row
    assert printed["steps"]


def test_route_explains_itself_to_people(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert gateway(monkeypatch, "route", *JULIET, "[bold]%montague.example") == 0
    printed = capsys.readouterr().out
    assert "  1. [bold]%montague.example is the SIP URI sip:%5Bbold%5D@montague.example" in printed
    assert "rule premium: no, it is for kind number" in printed
    assert printed.endswith("via direct: sip:%5Bbold%5D@montague.example\n")


def test_route_tells_people_who_is_said_to_call_and_what_is_limited(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = '[[limit]]\nuser = "*@shakespeare.lit"\nconcurrent = 2\nlongest = 3600\n'
    (folder / "dialplan" / "b.toml").write_text(more)
    assert gateway(monkeypatch, "route", *JULIET, "+12025550123") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "via carrier: sip:+12025550123@sbc.carrier.example;transport=tcp as +12025550100",
        "limit of user juliet@shakespeare.lit: 2 at a time, 3600 seconds long",
    ]


INBOUND = """
[[inbound]]
name = "office"
match = { number = "+12025550100", caller = ["+1*", "anonymous"] }
to = "juliet@shakespeare.lit"
"""


@pytest.mark.parametrize(
    ("arguments", "code", "row"),
    [
        (["--trunk", "carrier", "--caller", "2025550177"], 0, {"to": ["juliet@shakespeare.lit"]}),
        (["--trunk", "carrier", "--caller", "anonymous"], 0, {"rule": "office", "ring": "parallel"}),
        (["--trunk", "carrier", "--caller", "+442079460018"], 1, {"outcome": "refuse"}),
        (["--stranger", "--caller", "romeo@montague.example"], 1, {"outcome": "refuse"}),
    ],
)
def test_route_tells_what_becomes_of_a_call_from_sip(
    arguments: list[str],
    code: int,
    row: dict[str, object],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "dialplan" / "b.toml").write_text(INBOUND)
    assert gateway(monkeypatch, "route", *arguments, "sip:+12025550100@sip.example.com", "--json") == code
    printed = json.loads(capsys.readouterr().out)
    assert {key: printed[key] for key in row} == row
    assert gateway(monkeypatch, "route", *arguments, "+12025550100") == code
    assert "user +12025550100, number +12025550100" in capsys.readouterr().out


def test_route_asks_dns_when_it_is_told_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def enum(_: Resolver, number: str, suffixes: Sequence[str]) -> tuple[SipUri, ...] | str:
        return (SipUri.parse("sip:a@9.9.9.9"),)

    monkeypatch.setattr(Resolver, "enum", enum)
    rules = '[[route]]\nname = "listed"\nmatch = { kind = "number" }\nvia = "enum"\n'
    (folder / "dialplan" / "a.toml").write_text(
        RULES.replace('[[route]]\nname = "premium"', rules + '[[route]]\nname = "premium"')
    )
    assert gateway(monkeypatch, "route", *JULIET, "+12025550123", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["rule"], printed["ask"]) == ("all numbers", "+12025550123")
    assert gateway(monkeypatch, "route", *JULIET, "+12025550123", "--json", "--dns") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["rule"], printed["target"]) == ("listed", "sip:a@9.9.9.9")
    assert "ask" not in printed


def test_route_tells_people_why_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert gateway(monkeypatch, "route", "--from", "eve@elsewhere.example/x", "echo") == 1
    assert capsys.readouterr().out.endswith("refused: no rule allows this call\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*JULIET, "echo@elsewhere.example"], "elsewhere.example is not this gateway: sip.example.com is"),
        ([*JULIET, "sip:montague.example"], "without a user"),
        (["--from", "juliet", "echo"], "'juliet' is no JID"),
        (["--from", "a b@-", "echo"], "is no JID"),
        ([*JULIET, "echo", "--region", "UK"], "'UK' is no region"),
        ([*JULIET, "echo", "--at", "noon"], "Usage"),
        ([*JULIET, "echo", "--config", "missing.toml"], "missing.toml: cannot be read"),
        (["echo"], "--from"),
        ([*JULIET, "--trunk", "carrier", "echo"], "one of --from, --trunk and --stranger"),
        ([*JULIET, "--caller", "anonymous", "echo"], "--caller: for calls from SIP"),
        (["--trunk", "carier", "echo"], "'carier' is no trunk, did you mean 'carrier'?"),
        (["--stranger", "--caller", "+12025550177", "echo"], "is no caller"),
        (["--stranger", "sip:"], "not a host name"),
    ],
)
def test_route_exits_with_2_on_a_fault(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gateway(monkeypatch, "route", *arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_run_serves_until_it_is_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[config.Config] = []

    def serve(settings: config.Config) -> int:
        served.append(settings)
        return 3

    module = ModuleType("gateway.ops.serve")
    module.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gateway.ops.serve", module)
    assert gateway(monkeypatch, "run", "--config", "gateway.toml") == 3
    assert served[0].xmpp_domain == "sip.example.com"


def test_run_does_not_start_with_a_fault(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "gateway.toml").write_text(GOOD + "x = 1\n")
    assert gateway(monkeypatch, "run") == 1
    assert capsys.readouterr().err == "gateway.toml:5: unknown key 'x'\n"


def test_a_warning_is_told_and_does_not_stop_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "gateway.toml").write_text(GOOD + '[http]\nlisten = "0.0.0.0:80"\n')
    assert gateway(monkeypatch, "route", *JULIET, "echo") == 0
    assert "warning" in capsys.readouterr().err


def test_a_media_worker_is_told_where_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []

    def main(arguments: list[str]) -> int:
        told.append(arguments)
        return 0

    monkeypatch.setattr(process, "main", main)
    assert gateway(monkeypatch, "media-worker", "--ng", "udp:127.0.0.1:2223") == 0
    assert told == [["--ng", "udp:127.0.0.1:2223"]]


LOG = (
    '{"event": "message", "call": "c1", "peer": "sip", "sent": true, "label": "INVITE", "key": "k1", "text": "", '
    '"timestamp": "2026-11-22T13:00:00Z"}\n'
    '{"event": "call", "call": "c1", "direction": "xmpp-to-sip", "timestamp": "2026-11-22T13:00:01Z"}\n'
    "not JSON\n"
)


def test_trace_prints_the_ladders_of_a_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "gateway.log").write_text(LOG)
    assert gateway(monkeypatch, "trace", "gateway.log") == 0
    assert "c1" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.app(["--version"])
    assert end.value.code == 0
    assert re.fullmatch(r"gateway \d+\.\d+\S*, Python 3\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_trace_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(LOG))
    assert gateway(monkeypatch, "trace", "-", "--call", "c1") == 0
    assert "c1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gateway.log", "--call", "c2"], 1, "no such call in gateway.log"),
        (["empty.log"], 1, 'no calls in empty.log: only a log with format = "json" has them'),
        (["missing.log"], 2, "missing.log: there is no such file, and no such call in the call records"),
    ],
)
def test_trace_says_what_it_did_not_find(
    arguments: list[str],
    code: int,
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "gateway.log").write_text(LOG)
    (folder / "empty.log").touch()
    assert gateway(monkeypatch, "trace", *arguments) == code
    assert capsys.readouterr().err == f"{message}\n"


@pytest.fixture
def recorded(folder: Path) -> None:
    """Calls that the gateway has behind it."""

    async def fill() -> None:
        records = Records(f"sqlite:///{folder / 'gateway.db'}")
        await records.start()
        records.put(replace(CALL, id="0123456789ab"))
        records.put(replace(CALL, id="0123456789ac", key="k2", cause="busy", answered=None, via="other", trunk="other"))
        await records.stop()

    asyncio.run(fill())


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], ["0123456789ab", "0123456789ac"]),
        (["--failed"], ["0123456789ac"]),
        (["--cause", "busy", "--user", "juliet@shakespeare.lit", "--number", "202 555"], ["0123456789ac"]),
        (["--trunk", "other"], ["0123456789ac"]),
        (["--limit", "1"], ["0123456789ac"]),
        (["--until", "2026-11-01"], []),
        (["--since", "2026-11-01T00:00Z"], ["0123456789ab", "0123456789ac"]),
        (["0123456789ab"], ["0123456789ab"]),
    ],
)
def test_calls_are_listed_and_filtered(
    recorded: None,
    options: list[str],
    ids: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert gateway(monkeypatch, "calls", *options) == 0
    shown = capsys.readouterr().out
    assert [call for call in ("0123456789ab", "0123456789ac") if call in shown] == ids
    assert gateway(monkeypatch, "calls", *options, "--json") == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ids


def test_an_account_is_frozen_listed_and_thawed(
    recorded: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gateway(monkeypatch, "freeze", "Juliet@Shakespeare.lit/phone", "--reason", "unpaid") == 0
    assert gateway(monkeypatch, "accounts") == 0
    assert "unpaid" in capsys.readouterr().out
    assert gateway(monkeypatch, "accounts", "--json") == 0
    (frozen,) = json.loads(capsys.readouterr().out)["frozen"]
    assert frozen["account"] == "juliet@shakespeare.lit"
    assert gateway(monkeypatch, "thaw", "juliet@shakespeare.lit") == 0
    assert gateway(monkeypatch, "thaw", "juliet@shakespeare.lit") == 1
    assert "not frozen" in capsys.readouterr().err


def test_calls_are_found_although_the_dialplan_is_broken(
    recorded: None, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "dialplan" / "a.toml").write_text("x = 1")
    assert gateway(monkeypatch, "calls", "--csv") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["calls"], 1, "gateway.db is not there"),
        (["calls", "--since", "noon"], 2, "--since: 'noon' is no time"),
        (["calls", "--csv", "--json"], 2, "not both"),
        (["calls", "--config", "none.toml"], 1, "none.toml"),
        (["trace", "0123456789ab"], 1, "gateway.db is not there"),
        (["accounts"], 1, "gateway.db is not there"),
        (["freeze", "juliet@shakespeare.lit", "--reason", "unpaid"], 1, "gateway.db is not there"),
        (["freeze", "juliet", "--reason", "unpaid"], 2, "ACCOUNT: 'juliet' is no JID"),
        (["thaw", "juliet@shakespeare.lit", "--config", "none.toml"], 1, "none.toml"),
    ],
)
def test_calls_says_what_it_cannot_do(
    arguments: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert gateway(monkeypatch, *arguments) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("call", "code"), [("0123456789ab", 0), ("k2", 0), ("ffffffffffff", 1), ("nobody's", 2)])
def test_trace_draws_a_call_from_its_record(
    recorded: None, call: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gateway(monkeypatch, "trace", call) == code
    assert ("INVITE" in capsys.readouterr().out) is (code == 0)


def test_without_a_command_the_help_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gateway(monkeypatch) == 2
    printed = capsys.readouterr()
    assert "media-worker" in printed.out + printed.err


def test_route_refuses_an_address_that_a_call_would_be_refused_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    asked = ("route", "--config", "gateway.toml", "--from", "juliet@shakespeare.lit", "romeo%192.168.1.1")
    assert gateway(monkeypatch, *asked) == 1
    assert "192.168.1.1 is no public address" in capsys.readouterr().out
    (folder / "gateway.toml").write_text(GOOD + '[media]\nallow = ["192.168.1.0/24"]\n')
    assert gateway(monkeypatch, *asked) == 0


def test_a_region_in_small_letters_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gateway(monkeypatch, "numbers", "020 7946 0018", "--region", "gb") == 2
    assert "GB is" in capsys.readouterr().err
