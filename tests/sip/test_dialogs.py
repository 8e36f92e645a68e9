"""gateway.sip.dialogs: what a program is told of a dialog, and what becomes of one that nobody reads."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import SipError
from gateway.sip import dialogs
from gateway.sip.application import Application, IncomingRequest
from gateway.sip.message import Request
from tests.sip.programs import QUICK, ROMEO, calling, invited, serving, to
from tests.sip.wire import SDP, Datagrams, answer, body, field, status


async def test_a_cancelled_call_is_not_ready_and_says_so() -> None:
    async with calling() as app, Datagrams() as peer:
        dialog, invite = await invited(app, peer)
        peer.send(answer(invite, 180))
        assert (await anext(dialog)).label == "180 Whatever"
        await dialog.close()
        cancel = await peer.receive("CANCEL")
        peer.send(answer(cancel, 200))
        peer.send(answer(invite, 487))
        assert (await dialog.ready()).status == 487
        assert [message.label async for message in dialog] == ["487 Whatever"]
        with pytest.raises(SipError):
            await dialog.request("INFO")


async def test_a_dialog_that_ends_without_an_answer_is_not_waited_for() -> None:
    app = Application(timers=QUICK)
    async with Datagrams() as peer:
        dialog, _ = await invited(app, peer)
        waiting = asyncio.ensure_future(dialog.ready())
        await asyncio.sleep(0)
        await app.close()
        with pytest.raises(SipError):
            await waiting
        assert dialog.ended


async def test_requests_inside_a_call() -> None:
    async with calling() as app, Datagrams() as peer:
        dialog, invite = await invited(app, peer)
        peer.send(answer(invite, 200, extra=f"Contact: <sip:juliet@127.0.0.1:{peer.port}>", content=SDP))
        await peer.receive("ACK")
        asking = asyncio.ensure_future(dialog.request("INFO", headers={"Content-Type": "text/plain"}, payload="hi"))
        info = await peer.receive("INFO")
        assert field(info, "Content-Type") == "text/plain"
        peer.send(answer(info, 200))
        assert (await asking).status == 200


async def test_a_callee_may_make_the_offer() -> None:
    async with calling() as app, Datagrams() as peer:
        far = await app.connect(("127.0.0.1", peer.port))
        dialog = await far.invite(from_details=ROMEO, to_details=to(("127.0.0.1", peer.port)))
        invite = await peer.receive("INVITE")
        assert body(invite) == ""
        peer.send(answer(invite, 200, extra=f"Contact: <sip:juliet@127.0.0.1:{peer.port}>", content=SDP))
        assert (await anext(dialog)).body == SDP.encode()
        dialog.acknowledge(SDP)
        assert body(await peer.receive("ACK")) == SDP


async def test_a_handler_that_returns_or_fails_leaves_nobody_waiting() -> None:
    async def nothing(request: IncomingRequest, message: Request) -> None:
        return

    async def broken(request: IncomingRequest, message: Request) -> None:
        raise RuntimeError("a bug")

    async with serving(INVITE=nothing, OPTIONS=broken) as (app, address), Datagrams(address[1]) as peer:
        peer.send(peer.caller().request("INVITE", content=SDP))
        assert status(await peer.receive(480)) == 480
        peer.send(peer.caller().request("OPTIONS"))
        assert status(await peer.receive(500)) == 500
        assert app.dialogs == []


async def test_a_flood_that_nobody_reads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogs, "MAX_QUEUED", 8)
    hold = asyncio.Event()

    async def on_invite(request: IncomingRequest, message: Request) -> None:
        await request.prepare(200, payload=SDP)
        await hold.wait()

    async with serving(INVITE=on_invite) as (_, address), Datagrams(address[1]) as peer:
        caller = peer.caller()
        peer.send(caller.request("INVITE", content=SDP))
        caller.took(await peer.receive(200))
        peer.send(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
        for _ in range(10):
            peer.send(caller.request("INFO"))
        assert status(await peer.receive(503)) == 503
        peer.send(caller.request("BYE"))
        assert field(await peer.receive(200), "CSeq").endswith("BYE")
        hold.set()
