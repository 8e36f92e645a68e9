"""gateway.sip.pings: trunks made of sockets, one that answers and one that does not."""

from __future__ import annotations

import asyncio

import pytest

from gateway.addresses import SipUri
from gateway.sip import pings as module
from gateway.sip.application import Application
from gateway.sip.pings import Pings
from gateway.sip.probe import State
from tests.patience import PATIENCE
from tests.sip.programs import calling
from tests.sip.wire import Datagrams, answer, field


def at(peer: Datagrams) -> SipUri:
    return SipUri.parse(f"sip:127.0.0.1:{peer.port}")


async def says_yes(trunk: Datagrams) -> None:
    while True:
        trunk.send(answer(await trunk.receive("OPTIONS"), 200))


async def test_who_answers_is_up_and_who_does_not_is_down() -> None:
    changes: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    async with calling() as app, Datagrams() as alive, Datagrams() as dead:
        pings = Pings(app, "gw.example", lambda name, up: changes.put_nowait((name, up)))
        pings.start({"alive": at(alive), "dead": at(dead)}, interval=0.02)
        assert pings.states == {"alive": State.UNKNOWN, "dead": State.UNKNOWN}
        assert not pings.is_down("dead")  # nobody knows yet
        request = await alive.receive("OPTIONS")
        assert field(request, "From").startswith("<sip:gw.example>;tag=")
        alive.send(answer(request, 405))
        async with asyncio.timeout(PATIENCE):
            assert await changes.get() == ("alive", True)
            answering = asyncio.create_task(says_yes(alive))
            for _ in range(2):
                dead.send(answer(await dead.receive("OPTIONS"), 503))
            assert await changes.get() == ("dead", False)
        assert pings.is_down("dead")
        assert not pings.is_down("alive")
        assert not pings.is_down("unheard of")
        answering.cancel()
        await pings.stop()
        assert app.dialogs == []


async def test_a_trunk_that_is_not_there_or_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the timers of the RFC, which this application has, an OPTIONS takes 32 s."""
    monkeypatch.setattr(module, "SILENCE", 0.05)
    changes: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    app = Application()
    await app.run(local_addr=("127.0.0.1", 0))
    async with Datagrams() as gone, Datagrams() as silent:
        gone.socket.close()
        pings = Pings(app, "gw.example", lambda name, up: changes.put_nowait((name, up)))
        pings.start({"gone": at(gone), "silent": at(silent)}, interval=0.01)
        async with asyncio.timeout(PATIENCE):
            assert [await changes.get(), await changes.get()] == [("gone", False), ("silent", False)]
        await pings.stop()
    await app.close()


async def test_a_trunk_that_comes_back_is_up_again() -> None:
    changes: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    async with calling() as app, Datagrams() as trunk:
        pings = Pings(app, "gw.example", lambda name, up: changes.put_nowait((name, up)))
        pings.start({"carrier": at(trunk)}, interval=0.01)
        async with asyncio.timeout(PATIENCE):
            for status, expected in ((200, True), (503, None), (503, False), (200, True)):
                trunk.send(answer(await trunk.receive("OPTIONS"), status))
                if expected is not None:
                    assert await changes.get() == ("carrier", expected)
        await pings.stop()
