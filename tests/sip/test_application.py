"""gateway.sip.application: programs in the shape of aiosip's published examples, and what no packet can break."""

from __future__ import annotations

import asyncio

import pytest

from gateway.sip.application import TCP, UDP, Application, BaseDialplan, Contact, IncomingRequest
from gateway.sip.message import Request, Response
from gateway.sip.overload import Door, Rate, Standing
from tests.patience import PATIENCE
from tests.sip.programs import QUICK, ROMEO, Dialplan, calling, invited, serving, to
from tests.sip.wire import SDP, Caller, Datagrams, answer, field, method, status

# --- the shape of examples/call, examples/subscribe and examples/back_to_back/registrar -------------------------------


@pytest.mark.parametrize("protocol", [UDP, TCP])
async def test_a_call_as_in_the_published_example(protocol: str) -> None:
    seen: list[str] = []
    over = asyncio.Event()

    async def on_invite(request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(status_code=100)
        await dialog.reply(message, status_code=180)
        await dialog.reply(message, status_code=200)
        async for said in dialog:
            seen.append(said.label)
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
        async with asyncio.timeout(PATIENCE):
            await over.wait()
        assert seen == ["ACK", "BYE"]
        await app.close()


async def test_a_subscription_as_in_the_published_example() -> None:
    async def on_subscribe(request: IncomingRequest, message: Request) -> None:
        expires = int(message.headers["Expires"])
        dialog = await request.prepare(status_code=200, headers={"Expires": expires})
        for number in (1, 2):
            assert (await dialog.notify(payload=str(number), headers={"Content-Type": "text/plain"})).status == 200
        async for later in dialog:
            if isinstance(later, Request):
                expires = int(later.headers["Expires"])
                await dialog.reply(later, 200, headers={"Expires": expires})
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
        async for later in dialog:
            if isinstance(later, Request):
                await dialog.reply(later, 200)
                if not int(later.headers["Expires"]):
                    break
        del locations[contact.user]
        gone.set()

    async with serving(REGISTER=on_register) as (_, address), calling() as app:
        peer = await app.connect(address)
        registration = await peer.register(from_details=ROMEO, to_details=ROMEO, contact_details=ROMEO, expires=600)
        assert registration.status_code == 200
        assert locations == {"romeo": "127.0.0.1"}
        await peer.register(from_details=ROMEO, to_details=ROMEO, contact_details=ROMEO, expires=0, dialog=registration)
        async with asyncio.timeout(PATIENCE):
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


async def test_an_effect_that_fails_does_not_swallow_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with calling() as app, Datagrams() as peer:
        with monkeypatch.context() as patch:
            patch.setattr(app.transports, "send", lambda *_: 1 / 0)
            far = await app.connect(("127.0.0.1", peer.port))
            dialog = await far.invite(from_details=ROMEO, to_details=ROMEO)
        assert method(await peer.receive("INVITE")) == "INVITE"  # the next try of the transaction
        await dialog.close()


async def test_everything_that_crosses_the_edge_is_shown_to_the_trace() -> None:
    seen: list[tuple[bool, str]] = []
    async with calling(trace=lambda sent, message, _: seen.append((sent, message.label))) as app, Datagrams() as peer:
        dialog, invite = await invited(app, peer)
        peer.send(answer(invite, 486, "Busy Here"))
        assert isinstance(await anext(dialog), Response)
        await peer.receive("ACK")
    assert sorted(seen) == [(False, "486 Busy Here"), (True, "ACK"), (True, "INVITE")]


# --- who is heard -----------------------------------------------------------------------------------------------------


async def on_options(request: IncomingRequest, message: Request) -> None:
    await request.prepare(200)


async def test_a_stranger_hears_nothing_at_all() -> None:
    """Not a 100, not a 400 for nonsense, not a 481: nothing that says that somebody lives here."""
    async with serving(OPTIONS=on_options) as (app, address), Datagrams(address[1]) as peer:
        app.standing = lambda source: Standing.STRANGER
        caller = peer.caller()
        for name in ("INVITE", "OPTIONS", "REGISTER", "CANCEL", "NONSENSE"):
            peer.send(caller.request(name))
        caller.to += ";tag=made-up"
        peer.send(caller.request("BYE"))
        peer.send("INVITE sip:juliet@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n\r\n")
        assert await peer.silent()
        assert app.dialogs == []
        assert app.agent.busy == (0, 0)  # nor does he cost anything
        assert app.turned_away["ignored"] == 6


async def test_a_stranger_may_be_refused_instead_without_being_remembered() -> None:
    app = Application(dialplan=Dialplan(), timers=QUICK, door=Door(strangers="refuse"))
    app.standing = lambda source: Standing.STRANGER
    address = await app.run(local_addr=("127.0.0.1", 0))
    async with Datagrams(address[1]) as peer:
        invite = peer.caller().request("INVITE", content=SDP)
        for _ in range(2):
            peer.send(invite)
            assert status(await peer.receive(again=True)) == 403
        assert app.agent.busy == (0, 0)
    await app.close()


async def test_who_is_in_a_dialog_is_heard_whatever_he_is() -> None:
    async def on_invite(request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(200, payload=SDP)
        async for _ in dialog:
            pass

    async with serving(INVITE=on_invite) as (app, address), Datagrams(address[1]) as peer:
        caller = peer.caller()
        invite = caller.request("INVITE", content=SDP)
        peer.send(invite)
        caller.took(await peer.receive(200))
        app.standing = lambda source: Standing.STRANGER
        peer.send(invite)
        assert status(await peer.receive(200, again=True)) == 200  # a repeat is still answered
        peer.send(caller.request("ACK", sequence=1, branch="z9hG4bKack"))
        peer.send(caller.request("BYE"))
        assert field(await peer.receive(200), "CSeq").endswith("BYE")


async def test_a_cancel_is_heard_with_its_invite() -> None:
    async def on_invite(request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(180)
        async for _ in dialog:
            pass

    async with serving(INVITE=on_invite) as (app, address), Datagrams(address[1]) as peer:
        caller = peer.caller()
        peer.send(caller.request("INVITE", branch="z9hG4bKone", content=SDP))
        await peer.receive(180)
        app.standing = lambda source: Standing.STRANGER
        peer.send(caller.request("CANCEL", branch="z9hG4bKone", sequence=1))
        assert field(await peer.receive(200), "CSeq").endswith("CANCEL")
        assert status(await peer.receive(487)) == 487


async def test_guests_above_the_rate_are_sent_to_the_stream_where_they_get_through() -> None:
    app = Application(dialplan=Dialplan(), timers=QUICK, door=Door(datagrams=Rate(0.0, 0.0)))
    app.standing = lambda source: Standing.GUEST
    address = await app.run(local_addr=("127.0.0.1", 0))
    async with Datagrams(address[1]) as peer:
        peer.send(peer.caller().request("INVITE", content=SDP))
        assert status(await peer.receive()) == 503  # there is no stream yet
        _, port = await app.run(protocol=TCP, local_addr=("127.0.0.1", 0))
        peer.send(peer.caller().request("INVITE", content=SDP))
        moved = await peer.receive()
        assert status(moved) == 302
        assert field(moved, "Contact") == f"<sip:juliet@127.0.0.1:{port};transport=tcp>"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(peer.caller().request("INVITE", content=SDP).encode())
        async with asyncio.timeout(PATIENCE):
            assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
            assert b" 405 " in await reader.readuntil(b"\r\n\r\n")
        writer.close()
    await app.close()


async def test_who_has_too_much_to_do_says_when_to_come_back() -> None:
    app = Application(dialplan=Dialplan(OPTIONS=on_options), timers=QUICK, door=Door(calls=0, retry_after=7))
    address = await app.run(local_addr=("127.0.0.1", 0))
    async with Datagrams(address[1]) as peer:
        peer.send(peer.caller().request("INVITE", content=SDP))
        refusal = await peer.receive()
        assert (status(refusal), field(refusal, "Retry-After")) == (503, "7")
        peer.send(peer.caller().request("OPTIONS"))
        assert status(await peer.receive()) == 200
    await app.close()


# --- a response whose connection is gone ------------------------------------------------------------------------------


async def test_who_sends_from_one_port_and_listens_at_another_is_answered_there() -> None:
    """RFC 3261 §18.2.2: gateways of the telephone network send each datagram from a port of its own."""
    async with serving() as (_, address), Datagrams(address[1]) as source, Datagrams() as listening:
        caller = listening.caller()
        caller.target = f"sip:juliet@127.0.0.1:{address[1]}"
        source.send(caller.request("OPTIONS").replace(";rport", ""))
        assert field(await listening.receive(405), "CSeq") == "1 OPTIONS"
        source.send(caller.request("OPTIONS"))
        assert field(await source.receive(405), "CSeq") == "2 OPTIONS"


async def test_a_response_goes_to_where_the_via_says_when_its_connection_is_gone() -> None:
    gone = asyncio.Event()
    got: asyncio.Queue[str] = asyncio.Queue()

    async def on_invite(request: IncomingRequest, message: Request) -> None:
        await gone.wait()
        await request.prepare(486)

    async def listening(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.put_nowait((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.close()

    server = await asyncio.start_server(listening, "127.0.0.1", 0)
    async with serving(TCP, INVITE=on_invite) as (app, address):
        closed = asyncio.Event()
        app.transports.streams._on_closed = lambda number, distrust: closed.set()
        caller = Caller("127.0.0.1", server.sockets[0].getsockname()[1], "sip:juliet@127.0.0.1", transport="TCP")
        reader, writer = await asyncio.open_connection(*address)
        writer.write(caller.request("INVITE", content=SDP).encode())
        async with asyncio.timeout(PATIENCE):
            assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await closed.wait()
            gone.set()
            assert status(await got.get()) == 486
    server.close()
    await server.wait_closed()
