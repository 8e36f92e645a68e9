"""A dialplan that changes under a running gateway."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway import configfile
from gateway.config import Config
from gateway.ops import reload
from gateway.ops.reload import Reloader, stamp, unexchanged
from tests.dialplan.verona import CHARGED
from tests.patience import PATIENCE
from tests.sip.authority import Authority

GOOD = '[xmpp]\ndomain = "sip.example.com"\nsecret = "s3cret"\nusers = ["shakespeare.lit"]\n'
PLAN = '[[route]]\nname = "{name}"\nmatch = {{ kind = "uri" }}\nvia = "direct"\n'
OTHER = '[[route]]\nname = "new file"\nmatch = { name = "x" }\nvia = "echo"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dialplan").mkdir()
    (tmp_path / "dialplan" / "a.toml").write_text(PLAN.format(name="first"))
    (tmp_path / "gateway.toml").write_text(GOOD)
    return tmp_path


class Running:
    """What a gateway would make of it."""

    def __init__(self, folder: Path) -> None:
        self.adopted: list[Config] = []
        self.told: list[bool] = []
        self.changed = asyncio.Event()
        self.reloader = Reloader(configfile.read(folder / "gateway.toml", {}), self.adopt, self.told.append)

    def adopt(self, found: Config) -> None:
        self.adopted.append(found)
        self.changed.set()

    @property
    def rules(self) -> list[str]:
        return [rule.name for rule in self.adopted[-1].plan.routes]


async def test_a_plan_without_faults_takes_the_place_of_the_old_one(folder: Path) -> None:
    running = Running(folder)
    (folder / "dialplan" / "a.toml").write_text(PLAN.format(name="second"))
    assert await running.reloader.reload()
    assert (running.rules, running.told) == (["second"], [True])


async def test_a_fault_is_named_by_file_and_line_and_nothing_is_exchanged(folder: Path) -> None:
    running = Running(folder)
    (folder / "dialplan" / "a.toml").write_text(PLAN.format(name="second"))
    (folder / "dialplan" / "b.toml").write_text('[[route]]\nname = "broken"\nvia = "nowhere"\n')
    with capture_logs() as said:
        assert not await running.reloader.reload()
    assert any("b.toml:3" in line.get("fault", "") for line in said)
    assert (running.adopted, running.told) == ([], [False])
    (folder / "dialplan" / "b.toml").unlink()
    assert await running.reloader.reload()


PRICED = f"""
{CHARGED.replace("a.csv", "../prices/a.csv")}
[[route]]
name = "numbers"
match = {{ kind = "number" }}
via = "carrier"
"""


def price(folder: Path, price: str) -> None:
    (folder / "prices").mkdir(exist_ok=True)
    (folder / "prices" / "a.csv").write_text(f"prefix,connect,per_minute\n1,0,{price}\n")


async def test_a_price_that_changes_is_a_change_of_the_dialplan(folder: Path) -> None:
    (folder / "dialplan" / "a.toml").write_text(PRICED)
    price(folder, "0.01")
    running = Running(folder)
    before = stamp(running.reloader.config)
    price(folder, "0.0250")
    assert stamp(running.reloader.config) != before
    assert await running.reloader.reload()
    tariff = running.adopted[-1].plan.prices["a"].tariff("+12025550123")
    assert tariff
    assert tariff.per_minute == 25_000


async def test_a_broken_price_is_named_and_the_old_prices_and_rules_stay(folder: Path) -> None:
    (folder / "dialplan" / "a.toml").write_text(PRICED)
    price(folder, "0.01")
    running = Running(folder)
    (folder / "dialplan" / "b.toml").write_text(OTHER)
    price(folder, "0,02")
    with capture_logs() as said:
        assert not await running.reloader.reload()
    assert [line["fault"].partition(": ")[0] for line in said] == ["dialplan/../prices/a.csv:2"]
    assert (running.adopted, running.told) == ([], [False])


async def test_calls_go_on_while_files_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(folder)
    loop, reading, meanwhile = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def slow(path: Path) -> Config:
        loop.call_soon_threadsafe(reading.set)
        assert meanwhile.wait(PATIENCE)
        return configfile.read(path, {})

    monkeypatch.setattr(reload, "read", slow)
    answering = asyncio.create_task(running.reloader.answer())
    try:
        async with asyncio.timeout(PATIENCE):
            running.reloader.ask()
            await reading.wait()
            assert running.adopted == []  # and here we are, between two events of the loop
            running.reloader.ask()  # while one is read
            meanwhile.set()
            await running.changed.wait()
            running.changed.clear()
            await running.changed.wait()
    finally:
        answering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answering
    assert running.told == [True, True]


def certified(folder: Path) -> Authority:
    """The configuration names our certificate, a trunk's authority and what we show to it."""
    authority = Authority(folder)
    for name in ("sip", "trunk"):
        certificate, key = authority.issue("sip.example.com")
        certificate.rename(folder / f"{name}.crt")
        key.rename(folder / f"{name}.key")
    (folder / "gateway.toml").write_text(f'{GOOD}[sip]\ncertificate = "sip.crt"\nkey = "sip.key"\nca = "ca.pem"\n')
    (folder / "dialplan" / "a.toml").write_text(
        '[[trunk]]\nname = "carrier"\nproxy = "sip:carrier.example;transport=tls"\n'
        'ca = "../ca.pem"\ncertificate = "../trunk.crt"\nkey = "../trunk.key"\n' + PLAN.format(name="first")
    )
    return authority


def test_certificates_are_watched_as_the_dialplan_is(folder: Path) -> None:
    authority = certified(folder)
    found = configfile.read(folder / "gateway.toml", {})
    for name in ("sip", "trunk"):
        before = stamp(found)
        for new, suffix in zip(authority.issue("sip.example.com"), ("crt", "key"), strict=True):
            new.replace(folder / f"{name}.{suffix}")
            assert stamp(found) != before
            before = stamp(found)


def test_a_certificate_that_is_linked_anew_is_a_change(folder: Path) -> None:
    """As certbot renews: live/…/fullchain.pem is a link to the newest of archive/…"""
    authority = certified(folder)
    for name in ("sip", "trunk"):
        file = folder / f"{name}.crt"
        file.rename(folder / f"{name}1.crt")
        file.symlink_to(f"{name}1.crt")
        found = configfile.read(folder / "gateway.toml", {})
        before = stamp(found)
        certificate, key = authority.issue("sip.example.com")
        key.replace(folder / f"{name}.key")
        file.unlink()
        file.symlink_to(certificate.name)
        assert {path for path, about in stamp(found).items() if before[path] != about} == {
            file,
            folder / f"{name}.key",
        }


async def test_a_certificate_that_does_not_fit_its_key_is_named_and_nothing_is_exchanged(folder: Path) -> None:
    authority = certified(folder)
    running = Running(folder)
    certificate, key = authority.issue("sip.example.com")
    certificate.replace(folder / "sip.crt")
    with capture_logs() as said:
        assert not await running.reloader.reload()
    assert [line["fault"].partition(": [")[0] for line in said] == ["gateway.toml:6: sip.crt cannot be used"]
    key.replace(folder / "sip.key")
    assert await running.reloader.reload()


async def test_other_files_for_tls_need_no_restart(folder: Path) -> None:
    authority = certified(folder)
    running = Running(folder)
    certificate, key = authority.issue("sip.example.com")
    text = (folder / "gateway.toml").read_text()
    text = text.replace('"sip.crt"', f'"{certificate.name}"').replace('"sip.key"', f'"{key.name}"')
    (folder / "gateway.toml").write_text(text)
    with capture_logs() as said:
        assert await running.reloader.reload()
    assert not [line for line in said if "settings" in line]
    assert running.adopted[-1].tls.certificate == certificate


async def test_what_needs_a_restart_is_named(folder: Path) -> None:
    running = Running(folder)
    (folder / "gateway.toml").write_text(GOOD + '[log]\nlevel = "debug"\n')
    with capture_logs() as said:
        assert await running.reloader.reload()
    assert [line["settings"] for line in said if "settings" in line] == [["log_level"]]


async def test_files_that_change_are_read_again_once_they_rest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "LOOK_EVERY", 0.01)
    running = Running(folder)
    watching = asyncio.create_task(running.reloader.watch())
    try:
        await asyncio.sleep(0)  # it has seen what is there
        (folder / "dialplan" / "a.toml").write_text(PLAN.format(name="a longer name"))
        async with asyncio.timeout(PATIENCE):
            await running.changed.wait()
        assert running.rules == ["a longer name"]
        running.changed.clear()
        (folder / "dialplan" / "b.toml").write_text(OTHER)
        async with asyncio.timeout(PATIENCE):
            await running.changed.wait()
        assert running.rules == ["a longer name", "new file"]
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


def test_a_file_that_vanished_is_a_change_and_no_error(folder: Path) -> None:
    found = configfile.read(folder / "gateway.toml", {})
    before = stamp(found)
    (folder / "dialplan" / "a.toml").unlink()
    assert stamp(found) != before


def test_nothing_that_differs_needs_no_restart(folder: Path) -> None:
    path = folder / "gateway.toml"
    assert unexchanged(configfile.read(path, {}), configfile.read(path, {})) == []


async def test_a_file_that_another_one_includes_is_watched_and_so_is_one_that_comes(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "1.toml").write_text(OTHER)
    (folder / "dialplan" / "a.toml").write_text('include = "../more/*.toml"\n' + PLAN.format(name="first"))
    found = configfile.read(folder / "gateway.toml", {})
    before = stamp(found)
    assert (folder / "more" / "1.toml").resolve() in {path.resolve() for path in before}
    (folder / "more" / "2.toml").write_text("")
    assert len(stamp(found)) == len(before) + 1
