"""gateway.sip.datagrams: sockets that no packet can take away."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from gateway.sip import datagrams as module
from gateway.sip.datagrams import Datagrams, sendable
from gateway.sip.layer import Address
from tests.patience import PATIENCE
from tests.sip.wire import Datagrams as Peer


class Ends:
    def __init__(self, host: str = "127.0.0.1") -> None:
        self.got: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue()
        self.failed: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue()
        self.socket = Datagrams(
            host,
            0,
            lambda data, _, remote: self.got.put_nowait((data, remote)),
            lambda quoted, remote: self.failed.put_nowait((quoted, remote)),
        )


def test_what_may_be_given_to_a_socket() -> None:
    assert sendable(("192.0.2.1", 5060))
    assert sendable(("2001:db8::1", 1))
    for wrong in (("192.0.2.1", 0), ("192.0.2.1", 65_536), ("192.0.2.1", 99_999), ("localhost", 5060), ("", 5060)):
        assert not sendable(wrong)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_datagram_goes_there_and_back(host: str) -> None:
    one, two = Ends(host), Ends(host)
    assert one.socket.send(b"there", two.socket.local)
    data, remote = await two.got.get()
    assert (data, remote) == (b"there", one.socket.local)
    assert two.socket.send(b"back", remote)
    assert (await one.got.get())[0] == b"back"
    one.socket.close()
    two.socket.close()


async def test_no_address_costs_the_socket() -> None:
    ends = Ends()
    for remote in (("127.0.0.1", 99_999), ("::1", 5060)):
        assert not ends.socket.send(b"x", remote)
    assert not ends.socket.send(b"x" * 70_000, ("127.0.0.1", 9))
    async with Peer(ends.socket.local[1]) as peer:
        peer.send(b"still there")
        assert (await ends.got.get())[0] == b"still there"
    ends.socket.close()


async def test_a_flood_leaves_others_their_turn_and_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    ends = Ends()
    async with Peer(ends.socket.local[1]) as peer:
        first = time.time()
        for _ in range(100):
            peer.send(b"x")
        later = time.time() + 3.0
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: later))
        worst = 0
        for _ in range(100):
            await ends.got.get()
            worst = max(worst, ends.socket.backlog)
        assert 2990 <= worst <= (later - first) * 1000 + 10, "that long they had waited, in ms"
        peer.send(b"the last")
        assert (await ends.got.get())[0] == b"the last"
        assert ends.socket.backlog == 0
    ends.socket.close()


async def test_a_taken_port_is_an_oserror() -> None:
    ends = Ends()
    with pytest.raises(OSError, match="in use"):
        Datagrams(*ends.socket.local, lambda *_: None)
    ends.socket.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_what_nobody_takes_comes_back_and_all_others_get_theirs(host: str) -> None:
    one, two, gone = Ends(host), Ends(host), Ends(host)
    nobody = gone.socket.local
    gone.socket.close()
    async with asyncio.timeout(PATIENCE):
        for number in range(20):
            said = f"OPTIONS {number}".encode()
            assert one.socket.send(said, nobody)
            assert one.socket.send(b"hello", two.socket.local), "an error is of one address, and of no other"
            assert await one.failed.get() == (said, nobody)
            assert (await two.got.get())[0] == b"hello"
            assert two.socket.send(b"and back", one.socket.local)
            assert (await one.got.get())[0] == b"and back"
    assert two.failed.empty()
    one.socket.close()
    two.socket.close()


async def test_what_this_machine_does_not_let_out_is_not_waited_for() -> None:
    ends, everybody = Ends(), ("255.255.255.255", 5060)
    assert not ends.socket.send(b"x", everybody)
    assert ends.failed.get_nowait() == (b"x", everybody)
    ends.socket.close()
