"""`gateway run`: what it says and how it ends. The XMPP server is a few lines that shake hands, or do not."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from gateway.addresses import SipUri
from gateway.configfile import read
from gateway.dialplan.booking import Period, Unit
from gateway.dialplan.plan import Plan, Trunk
from gateway.dialplan.rules import Allowance, BudgetRule
from gateway.ops import serve
from gateway.ops.serve import Gateway
from gateway.storage.bookings import BookingsAway
from tests.interop.peers.process import free_port
from tests.patience import PATIENCE

HEADER = (
    "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' "
    "id='s1' from='sip.example.com'>"
)
REFUSAL = "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"


@asynccontextmanager
async def xmpp_server(answer: str) -> AsyncIterator[int]:
    """A server that takes a component's header and answers its handshake; gives its port."""

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"streams")
        writer.write(HEADER.encode())
        await reader.readuntil(b"</handshake>")
        writer.write(answer.encode())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def gateway(folder: Path, xmpp_port: int, sip_port: int | None = None) -> Gateway:
    (folder / "plan.toml").write_text(
        '[[route]]\nname = "test line"\nmatch = { kind = "name", name = "echo" }\nvia = "echo"\n'
    )
    configuration = folder / "gateway.toml"
    configuration.write_text(
        f"""
[xmpp]
domain = "sip.example.com"
server = "127.0.0.1:{xmpp_port}"
secret = "open sesame"
users = ["example.com"]
[sip]
listen = ["udp:127.0.0.1:{sip_port or free_port()}"]
[media]
address = "127.0.0.1"
ports = [45000, 45063]
workers = 1
[dialplan]
files = ["plan.toml"]
[http]
listen = "127.0.0.1:{free_port()}"
"""
    )
    return Gateway(read(configuration, {}))


async def said(events: list[structlog.typing.EventDict], what: str) -> structlog.typing.EventDict:
    async with asyncio.timeout(PATIENCE):
        while True:
            for event in events:
                if event["event"] == what:
                    return event
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_gateway_gets_ready_and_ends_cleanly_when_it_is_told_to(tmp_path: Path) -> None:
    async with xmpp_server("<handshake/>") as port:
        with structlog.testing.capture_logs() as events:
            running = asyncio.create_task(gateway(tmp_path, port).run())
            await said(events, "ready")
            os.kill(os.getpid(), signal.SIGTERM)
            assert await running == 0
    assert [event["event"] for event in events if event["log_level"] in ("warning", "error")] == []
    assert (tmp_path / "gateway.db").exists()


@pytest.mark.slow
async def test_a_changed_dialplan_is_taken_up_on_sighup_and_a_broken_one_is_not(tmp_path: Path) -> None:
    async with xmpp_server("<handshake/>") as port:
        with structlog.testing.capture_logs() as events:
            made = gateway(tmp_path, port)
            running = asyncio.create_task(made.run())
            await said(events, "ready")
            rule = '[[route]]\nname = "new"\nmatch = { name = "x" }\nvia = "echo"\n'
            rule += '[[trunk]]\nname = "carrier"\nproxy = "sip:192.0.2.5;transport=tls"\nserver_name = "sbc.example"\n'
            (tmp_path / "plan.toml").write_text(rule)
            os.kill(os.getpid(), signal.SIGHUP)
            await said(events, "dialplan reloaded")
            assert [route.name for route in made._board.routing.plan.routes] == ["new"]
            assert made._telephony.app.transports.streams.tls.name("192.0.2.5") == "sbc.example"
            (tmp_path / "plan.toml").write_text(rule + "via = 1\n")
            os.kill(os.getpid(), signal.SIGHUP)
            await said(events, "dialplan not reloaded")
            assert [route.name for route in made._board.routing.plan.routes] == ["new"]
            os.kill(os.getpid(), signal.SIGTERM)
            assert await running == 0


@pytest.mark.slow
async def test_a_wrong_secret_is_one_clear_line_and_exit_code_one(tmp_path: Path) -> None:
    async with xmpp_server(REFUSAL) as port:
        with structlog.testing.capture_logs() as events:
            assert await gateway(tmp_path, port).run() == 1
    (error,) = [event for event in events if event["log_level"] == "error"]
    assert "secret" in error["reason"]
    assert "open sesame" not in str(events)


@pytest.mark.slow
async def test_a_taken_port_is_one_clear_line_and_leaves_nothing_running(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken, structlog.testing.capture_logs() as events:
        taken.bind(("127.0.0.1", 0))
        assert await gateway(tmp_path, 1, taken.getsockname()[1]).run() == 1
    (error,) = [event for event in events if event["log_level"] == "error"]
    assert error["event"] == "the gateway cannot run"


@pytest.mark.slow
async def test_a_server_that_is_down_is_waited_for(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as events:
        running = asyncio.create_task(gateway(tmp_path, 1).run())
        await said(events, "no link to the XMPP server")
        assert not running.done()
        os.kill(os.getpid(), signal.SIGINT)
        assert await running == 0


def test_where_a_trunk_was_away_it_is_registered_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, again = gateway(tmp_path, 1), list[str]()
    monkeypatch.setattr(made._telephony, "register_again", again.append)
    made._on_trunk("carrier", up=True)
    made._on_trunk("carrier", up=False)
    assert again == []
    made._on_trunk("carrier", up=True)
    made._on_trunk("backup", up=True)
    assert again == ["carrier"]
    assert b'gateway_trunk_up{trunk="carrier"} 1.0' in made._metrics.render()[0]


def test_what_somebody_names_passes_the_policy_and_is_no_trunk(tmp_path: Path) -> None:
    made = gateway(tmp_path, 1)
    trunk = Trunk("carrier", SipUri.parse("sip:203.0.113.5"), allow=(ipaddress.ip_network("8.8.4.0/24"),))
    made._board.routing.plan = replace(made._board.routing.plan, trunks={"carrier": trunk})
    permit = made._telephony.app.permit
    assert permit("8.8.8.8")
    for address in (
        "8.8.4.4",
        "::ffff:8.8.4.4",
        "10.0.0.1",
        "127.0.0.1",
        "::ffff:10.0.0.1",
        "169.254.169.254",
        "phone",
    ):
        assert not permit(address)


def test_what_is_there_when_calls_may_come_is_collected_no_more() -> None:
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        gc.set_threshold(700, 10, 10)  # whoever ran before may have spared collections too
        gc.unfreeze()
        serve.spare_collections()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > 700
    finally:
        if not frozen:
            gc.unfreeze()
        gc.set_threshold(*thresholds)


async def test_a_database_that_books_nothing_shows_in_health_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = gateway(tmp_path, 1)
    counting = Plan(budgets=(BudgetRule("b", (Allowance(Unit.CALLS, Period.DAY, 1),), user=("*",)),))

    async def away() -> int:
        raise BookingsAway("the disk is full")

    async def there() -> int:
        return 0

    monkeypatch.setattr(made._bookings, "sweep", away)
    with structlog.testing.capture_logs() as events:
        await made._look_at_bookings()
        assert made._health().bookings  # the dialplan knows of nothing that costs
        made._config = replace(made._config, plan=counting)
        for _ in range(2):
            await made._look_at_bookings()
            assert not made._health().bookings
    assert [(event["event"], event["reason"]) for event in events] == [
        ("calls that cost are refused", "the disk is full")
    ]
    monkeypatch.setattr(made._bookings, "sweep", there)
    await made._look_at_bookings()
    assert made._health().bookings
