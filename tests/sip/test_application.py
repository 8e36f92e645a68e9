"""gateway.sip.application: programs in the shape of aiosip's published examples, and the ways to a next hop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from gateway.errors import SipError
from gateway.sip.application import TCP, UDP, Application, BaseDialplan, Contact, Dialog, Handler, IncomingRequest
from gateway.sip.message import Request, Response
from gateway.sip.transaction import Timers
from tests.sip.wire import SDP, Datagrams, answer, field, method, status

QUICK = Timers(t1=0.02, t2=0.08, t4=0.05)
ROMEO = Contact.from_header("sip:romeo@127.0.0.1:5060")


class Dialplan(BaseDialplan):
    def __init__(self, **handlers: Handler) -> None:
        super().__init__()
        self.handlers = handlers

    async def resolve(self, *args: object, **kwargs: object) -> Handler | None:  # type: ignore[override]
        await super().resolve(*args, **kwargs)  # type: ignore[arg-type]
        return self.handlers.get(str(kwargs["method"]))


@contextlib.asynccontextmanager
async def serving(protocol: str = UDP, **handlers: Handler) -> AsyncIterator[tuple[Application, tuple[str, int]]]:
    app = Application(dialplan=Dialplan(**handlers), timers=QUICK)
    address = await app.run(protocol=protocol, local_addr=("127.0.0.1", 0))
    yield app, address
    await app.close()


@contextlib.asynccontextmanager
async def calling(**others: object) -> AsyncIterator[Application]:
    app = Application(timers=QUICK, **others)  # type: ignore[arg-type]
    await app.run(local_addr=("127.0.0.1", 0))
    yield app
    await app.close()


def to(address: tuple[str, int], user: str = "666") -> Contact:
    return Contact.from_header(f"sip:{user}@{address[0]}:{address[1]}")


# --- the shape of examples/call, examples/subscribe and examples/back_to_back/registrar -------------------------------


@pytest.mark.parametrize("protocol", [UDP, TCP])
async def test_a_call_as_in_the_published_example(protocol: str) -> None:
    seen: list[str] = []
    over = asyncio.Event()

    async def on_invite(request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(status_code=100)
        await dialog.reply(message, status_code=180)
        await dialog.reply(message, status_code=200)
        async for message in dialog:  # noqa: PLR1704 - as the example has it
            seen.append(message.label)
            await dialog.reply(message, 200)
            if message.label == "BYE":
                break
        over.set()

    async with serving(protocol, INVITE=on_invite) as (_, address):
        app = Application()
        peer = await app.connect(address, protocol=protocol, local_addr=("127.0.0.1", 0))
        call = await peer.invite(from_details=ROMEO, to_details=to(address), password="hunter2")
        statuses: list[int] = []
        async with call:
            async for msg in call.wait_for_terminate():
                statuses.append(msg.status_code)
            assert (await call.ready()).status == 200
        assert statuses == [100, 180, 200]
        async with asyncio.timeout(5):
            await over.wait()
        assert seen == ["ACK", "BYE"]
        await app.close()


async def test_a_subscription_as_in_the_published_example() -> None:
    async def on_subscribe(request: IncomingRequest, message: Request) -> None:
        expires = int(message.headers["Expires"])
        dialog = await request.prepare(status_code=200, headers={"Expires": expires})
        for number in (1, 2):
            assert (await dialog.notify(payload=str(number), headers={"Content-Type": "text/plain"})).status == 200
        async for message in dialog:  # noqa: PLR1704
            if isinstance(message, Request):
                expires = int(message.headers["Expires"])
                await dialog.reply(message, 200, headers={"Expires": expires})
                if expires == 0:
                    break

    async with serving(SUBSCRIBE=on_subscribe) as (_, address), calling() as app:
        peer = await app.connect(address)
        subscription = await peer.subscribe(from_details=ROMEO, to_details=to(address), password="x")
        assert subscription.status_code == 200
        payloads: list[str] = []
        async for request in subscription:
            payloads.append(request.payload)
            await subscription.reply(request, status_code=200)
            if len(payloads) == 2:
                break
        assert payloads == ["1", "2"]
        assert (await subscription.request("SUBSCRIBE", headers={"Expires": 0})).status == 200
        await subscription.close()


async def test_a_registrar_as_in_the_published_example() -> None:
    locations: dict[str | None, str] = {}
    gone = asyncio.Event()

    async def on_register(request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(status_code=200)
        contact = message.contact_details
        assert contact is not None
        locations[contact.user] = contact.host
        async for message in dialog:  # noqa: PLR1704
            if isinstance(message, Request):
                await dialog.reply(message, 200)
                if not int(message.headers["Expires"]):
                    break
        del locations[contact.user]
        gone.set()

    async with serving(REGISTER=on_register) as (_, address), calling() as app:
        peer = await app.connect(address)
        registration = await peer.register(from_details=ROMEO, to_details=ROMEO, contact_details=ROMEO, expires=600)
        assert registration.status_code == 200
        assert locations == {"romeo": "127.0.0.1"}
        await peer.register(from_details=ROMEO, to_details=ROMEO, contact_details=ROMEO, expires=0, dialog=registration)
        async with asyncio.timeout(5):
            await gone.wait()
        assert locations == {}


async def test_users_of_a_plain_dialplan() -> None:
    async def option(request: IncomingRequest, message: Request) -> None:
        await request.prepare(200)

    async with serving() as (app, address), calling() as client:
        app.dialplan = BaseDialplan()
        app.dialplan.add_user("romeo", option)
        peer = await client.connect(address)
        for user, code in (("romeo", 200), ("tybalt", 405)):
            who = Contact.from_header(f"sip:{user}@127.0.0.1")
            assert (await peer.request("OPTIONS", from_details=who, to_details=to(address))).status_code == code


def test_an_application_keeps_things() -> None:
    app = Application()
    app["db"] = 1
    assert (app["db"], list(app), len(app), app == Application(), app == {"db": 1}) == (1, ["db"], 1, False, False)
    del app["db"]
    assert "db" not in app
    assert hash(app)


# --- dialogs ----------------------------------------------------------------------------------------------------------


async def invited(app: Application, peer: Datagrams, **others: object) -> tuple[Dialog, str]:
    far = await app.connect(("127.0.0.1", peer.port))
    dialog = await far.invite(from_details=ROMEO, to_details=to(("127.0.0.1", peer.port)), payload=SDP, **others)  # type: ignore[arg-type]
    return dialog, await peer.receive("INVITE")


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


async def test_a_flood_that_nobody_reads_is_refused() -> None:
    hold = asyncio.Event()

    async def on_invite(request: IncomingRequest, message: Request) -> None:
        await request.prepare(200, payload=SDP)
        await hold.wait()

    async with serving(INVITE=on_invite) as (_, address), Datagrams(address[1]) as peer:
        caller = peer.caller()
        peer.send(caller.request("INVITE", content=SDP))
        caller.took(await peer.receive(200))
        peer.send(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
        for _ in range(20):
            peer.send(caller.request("INFO"))
        assert status(await peer.receive(503)) == 503
        peer.send(caller.request("BYE"))
        assert field(await peer.receive(200), "CSeq").endswith("BYE")
        hold.set()


# --- robustness -------------------------------------------------------------------------------------------------------


async def test_no_packet_costs_the_socket() -> None:
    async def on_options(request: IncomingRequest, message: Request) -> None:
        await request.prepare(200)

    async with serving(OPTIONS=on_options) as (_, address), Datagrams(address[1]) as peer:
        caller = peer.caller()
        for via in ("127.0.0.1:99999", "no.such.host.example:5060", "256.1.1.1", "[::1]:0", "127.0.0.1:-1"):
            text = caller.request("OPTIONS").replace(f"127.0.0.1:{peer.port}", via, 1)
            peer.send(text)
            assert status(await peer.receive()) == 200
        for noise in (b"", b"\0", b"\xff" * 1000, b"\r\n\r\n", b"INVITE", b"SIP/2.0 200 OK\r\n\r\n"):
            peer.send(noise)
        peer.send(caller.request("OPTIONS"))
        assert status(await peer.receive()) == 200


async def test_a_bug_in_the_agent_does_not_cost_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as (app, address), Datagrams(address[1]) as peer:

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr(app.agent, "receive", broken)
            peer.send(peer.caller().request("OPTIONS"))
            assert await peer.silent()
        peer.send(peer.caller().request("OPTIONS"))
        assert status(await peer.receive()) == 405


async def test_a_header_that_would_break_the_framing_is_not_sent() -> None:
    async with calling() as app, Datagrams() as peer:
        far = await app.connect(("127.0.0.1", peer.port))
        for headers in ({"Subject": "a\r\nX: y"}, {"Sub\nject": "a"}):
            with pytest.raises(ValueError, match="line break"):
                await far.invite(from_details=ROMEO, to_details=ROMEO, headers=headers)
        with pytest.raises(ValueError, match="line break"):
            await far.invite(from_details=ROMEO, to_details=ROMEO, uri="sip:a\r\nX: y")
        assert await peer.silent()
        assert app.dialogs == []


async def test_an_effect_that_fails_does_not_swallow_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with calling() as app, Datagrams() as peer:
        with monkeypatch.context() as patch:
            patch.setattr(app.transports, "send", lambda *_: 1 / 0)
            far = await app.connect(("127.0.0.1", peer.port))
            dialog = await far.invite(from_details=ROMEO, to_details=ROMEO)
        assert method(await peer.receive("INVITE")) == "INVITE"  # the next try of the transaction
        await dialog.close()


# --- ways -------------------------------------------------------------------------------------------------------------


async def test_a_large_request_goes_over_a_stream_where_the_target_lets_it() -> None:
    async with calling() as app, Datagrams() as peer:
        accepted: asyncio.Queue[bytes] = asyncio.Queue()

        async def on_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.put_nowait(await reader.readuntil(b"\r\n\r\n"))
            writer.close()

        server = await asyncio.start_server(on_stream, "127.0.0.1", peer.port)
        far = await app.connect(("127.0.0.1", peer.port))
        await far.invite(from_details=ROMEO, to_details=to(("127.0.0.1", peer.port)), payload=SDP * 12)
        async with asyncio.timeout(5):
            assert b"Via: SIP/2.0/TCP" in await accepted.get()
        server.close()
        await server.wait_closed()
        named = await app.connect(("127.0.0.1", peer.port), UDP)
        await named.invite(from_details=ROMEO, to_details=to(("127.0.0.1", peer.port)), payload=SDP * 12)
        assert method(await peer.receive("INVITE")) == "INVITE"
        await far.invite(from_details=ROMEO, to_details=to(("127.0.0.1", peer.port)), payload=SDP * 12)
        assert method(await peer.receive("INVITE")) == "INVITE"  # nobody listens there any more


async def test_an_address_without_a_permit_is_asked_nothing() -> None:
    async with calling(permit=lambda address: address != "127.0.0.1") as app, Datagrams() as peer:
        far = await app.connect(("127.0.0.1", peer.port))
        dialog = await far.invite(from_details=ROMEO, to_details=ROMEO)
        response = await dialog.ready()
        assert (response.status, response.local) == (503, True)
        trusted = await app.connect(("127.0.0.1", peer.port), trusted=True)
        await trusted.invite(from_details=ROMEO, to_details=ROMEO)
        assert method(await peer.receive("INVITE")) == "INVITE"


@pytest.mark.parametrize("target", ["sip:x@10.9.9.9", "sip:x@[nonsense", "mailto:x@y"])
async def test_a_contact_that_leads_nowhere_falls_back_to_where_the_call_came_from(target: str) -> None:
    async def on_invite(request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(200, payload=SDP)
        assert (await anext(dialog)).label == "ACK"
        await dialog.close()

    async with serving(INVITE=on_invite) as (app, address), Datagrams(address[1]) as peer:
        app.permit = lambda found: found != "10.9.9.9"
        caller = peer.caller()
        caller.contact = f"<{target}>"
        peer.send(caller.request("INVITE", content=SDP))
        caller.took(await peer.receive(200))
        peer.send(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
        assert (await peer.receive("BYE")).startswith(f"BYE {target} ")


async def test_everything_that_crosses_the_edge_is_shown_to_the_trace() -> None:
    seen: list[tuple[bool, str]] = []
    async with calling(trace=lambda sent, message, _: seen.append((sent, message.label))) as app, Datagrams() as peer:
        dialog, invite = await invited(app, peer)
        peer.send(answer(invite, 486, "Busy Here"))
        assert isinstance(await anext(dialog), Response)
        await peer.receive("ACK")
    assert sorted(seen) == [(False, "486 Busy Here"), (True, "ACK"), (True, "INVITE")]
