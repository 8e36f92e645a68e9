"""The verdict on a configuration, as people read it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.media import g722
from gateway.ops.check import check

GOOD = '[xmpp]\ndomain = "sip.example.com"\nsecret = "s3cret"\nusers = ["shakespeare.lit"]\n'
RULES = """\
[[route]]
name = "test line"
match = { kind = "name", name = "echo" }
via = "echo"
[[example]]
from = "juliet@shakespeare.lit"
to = "echo"
expect = { outcome = "route" }
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    (tmp_path / "dialplan").mkdir()
    (tmp_path / "dialplan" / "a.toml").write_text(RULES)
    path = tmp_path / "gateway.toml"
    path.write_text(GOOD)
    return path


def test_a_good_configuration_is_summed_up(configuration: Path) -> None:
    verdict = check(configuration, {})
    assert verdict.ok
    assert list(verdict.lines()) == ["ok: 1 route, 1 proved example"]


def test_the_contracts_samples_pass(tmp_path: Path) -> None:
    contract = Path(__file__).parents[1] / "dialplan" / "contract"
    shutil.copy(contract / "gateway.toml", tmp_path)
    (tmp_path / "dialplan").mkdir()
    shutil.copy(contract / "dialplan.toml", tmp_path / "dialplan")
    for name in ("dialplan/carrier.password", "gateway.key"):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text("s3cret\n")
    verdict = check(tmp_path / "gateway.toml", {})
    assert list(verdict.lines()) == [
        "ok: 2 trunks, 4 routes, 3 inbound rules, 4 proved examples",
    ]


@pytest.mark.parametrize(("engine", "warned"), [("embedded", True), ("rtpengine", False)])
def test_a_codec_whose_library_is_missing_is_warned_of(
    configuration: Path, monkeypatch: pytest.MonkeyPatch, engine: str, warned: bool
) -> None:
    monkeypatch.setattr(g722, "_library", lambda: None)
    more = "" if engine == "embedded" else '[media]\nengine = "rtpengine"\nrtpengine = ["udp:127.0.0.1:2223"]\n'
    configuration.write_text(GOOD + more)
    said = "gateway.toml: warning: G722 cannot be transcoded without the package libspandsp2"
    assert (said in check(configuration, {}).lines()) is warned


def test_warnings_are_told_and_forgiven(configuration: Path) -> None:
    configuration.write_text(GOOD + '[http]\nlisten = "0.0.0.0:80"\n')
    verdict = check(configuration, {})
    assert verdict.ok
    assert list(verdict.lines()) == [
        "gateway.toml:6: warning: 0.0.0.0 can be reached from elsewhere, and there is no password",
        "ok: 1 route, 1 proved example, 1 warning",
    ]


def test_faults_are_told_and_counted(configuration: Path) -> None:
    configuration.write_text(GOOD + 'x = 1\n[http]\nlisten = "0.0.0.0:80"\n[sipp]\n')
    verdict = check(configuration, {})
    assert not verdict.ok
    assert [line.split(": ")[0] for line in verdict.lines()][:-1] == [
        "gateway.toml:5",
        "gateway.toml:7",
        "gateway.toml:8",
    ]
    assert list(verdict.lines())[-1] == "2 faults, 1 warning"


def test_one_fault_is_no_plural(configuration: Path) -> None:
    assert list(check(configuration, {"GATEWAY_X": "1"}).lines())[-1] == "1 fault"
