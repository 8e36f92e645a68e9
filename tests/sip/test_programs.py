"""Programs as people write them with aiosip: two ends of a call, a registration, a subscription, and what is between.

Each is whole: it makes its Application, runs or connects it, and closes it; what it prints there it collects here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.sip.application import TCP, UDP, WS, Application, BaseDialplan, Contact, Dialog, IncomingRequest
from gateway.sip.digestserver import DigestServer
from gateway.sip.message import Request
from gateway.sip.peer import Peer
from tests.patience import PATIENCE
from tests.sip.programs import QUICK
from tests.sip.wire import SDP

Program = Callable[[IncomingRequest, Request], Coroutine[Any, Any, None]]
ANSWER = SDP.replace("40000", "40002")


class Dialplan(BaseDialplan):
    """What a program does with each method; nothing with others."""

    def __init__(self, **programs: Program) -> None:
        super().__init__()
        self.programs = programs

    async def resolve(self, *args: Any, **kwargs: Any) -> Program | None:
        await super().resolve(*args, **kwargs)
        return self.programs.get(kwargs["method"])


def user(name: str, address: tuple[str, int]) -> Contact:
    return Contact.from_header(f"sip:{name}@{address[0]}:{address[1]}")


ROMEO = Contact.from_header('"Romeo" <sip:romeo@127.0.0.1:5060>')


async def server(protocol: str = UDP, **programs: Program) -> tuple[Application, tuple[str, int]]:
    app = Application(loop=asyncio.get_running_loop(), dialplan=Dialplan(**programs), timers=QUICK)
    return app, await app.run(protocol=protocol, local_addr=("127.0.0.1", 0))


async def client(address: tuple[str, int], protocol: str = UDP) -> tuple[Application, Peer]:
    app = Application(loop=asyncio.get_running_loop(), timers=QUICK)
    return app, await app.connect(address, protocol=protocol, local_addr=("127.0.0.1", 0))


# The program controls both descriptions -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [UDP, TCP, WS])
async def test_a_caller_and_a_callee_talk_until_the_caller_has_enough(protocol: str) -> None:
    said: list[str] = []
    over = asyncio.Event()

    async def on_invite(request: IncomingRequest, message: Request) -> None:
        said.append(message.payload)
        dialog = await request.prepare(status_code=180)
        await dialog.reply(message, 200, payload=ANSWER)
        async for inside in dialog:
            said.append(inside.label)
            await dialog.reply(inside, 200)
        over.set()

    callee, address = await server(protocol, INVITE=on_invite)
    caller, peer = await client(address, protocol)
    call = await peer.invite(from_details=ROMEO, to_details=user("juliet", address), payload=SDP)
    assert (await call.ready()).payload == ANSWER
    assert (await call.request("INFO", headers={"Content-Type": "text/plain"}, payload="o")).status == 200
    await call.close()
    async with asyncio.timeout(PATIENCE):
        await over.wait()
    assert said == [SDP, "ACK", "INFO", "BYE"]
    await caller.close()
    await callee.close()


async def test_a_callee_hangs_up_and_the_callers_loop_ends() -> None:
    async def on_invite(request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(status_code=200, payload=ANSWER)
        async for _ in dialog:  # the ACK
            break
        await dialog.close()

    callee, address = await server(INVITE=on_invite)
    caller, peer = await client(address)
    labels = []
    async with asyncio.timeout(PATIENCE):
        async with await peer.invite(from_details=ROMEO, to_details=user("juliet", address), payload=SDP) as call:
            async for message in call:
                labels.append(message.label)
    assert labels == ["100 Trying", "200 OK", "BYE"]
    await caller.close()
    await callee.close()


async def test_a_caller_who_loses_patience_takes_the_call_back() -> None:
    taken_back = asyncio.Event()

    async def on_invite(request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(status_code=180)
        async for inside in dialog:
            if inside.label == "CANCEL":
                taken_back.set()

    callee, address = await server(INVITE=on_invite)
    caller, peer = await client(address)
    call = await peer.invite(from_details=ROMEO, to_details=user("juliet", address), payload=SDP)
    async for message in call.wait_for_terminate():
        if message.status_code == 180:
            await call.close()
    async with asyncio.timeout(PATIENCE):
        await taken_back.wait()
        assert (await call.ready()).status == 487
    await caller.close()
    await callee.close()


# What others keep for us ----------------------------------------------------------------------------------------------


class Registrar:
    """A registrar that wants a password, and a notifier that counts."""

    def __init__(self) -> None:
        self.digest = DigestServer("verona.example", lambda: {"romeo": "rosaline"}, b"secret")
        self.where: dict[str, str] = {}
        self.asked = 0
        self.over = asyncio.Event()  # a subscription was given up

    async def on_register(self, request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(100)
        await self.answer(dialog, message)
        async for again in dialog:
            if isinstance(again, Request) and await self.answer(dialog, again):
                return

    async def answer(self, dialog: Dialog, message: Request) -> bool:
        """Whether nothing is left."""
        self.asked += 1
        now = dialog.app.now()
        name = self.digest.judge(message, "anywhere", now).account
        if name is None:
            await dialog.reply(message, 401, headers={"WWW-Authenticate": self.digest.challenges("anywhere", now)[0]})
            return False
        contact, expires = message.contact_details, int(message.headers["Expires"])
        if contact is not None and expires:
            self.where[name] = contact.host
        else:
            self.where.pop(name, None)
        await dialog.reply(message, 200, headers={"Expires": expires, "Contact": contact})
        return not expires

    async def on_subscribe(self, request: IncomingRequest, message: Request) -> None:
        found = self.where.get(message.to_details.user or "")
        dialog = await request.prepare(200 if found else 404, headers={"Expires": message.headers["Expires"]})
        if found is None:
            return
        await dialog.notify(payload=found, headers={"Content-Type": "text/plain"})
        async for again in dialog:
            if isinstance(again, Request):
                await dialog.reply(again, 200, headers={"Expires": again.headers["Expires"]})
                if not int(again.headers["Expires"]):
                    break
        self.over.set()


async def test_a_registration_lasts_as_long_as_the_program_holds_it() -> None:
    registrar = Registrar()
    app, address = await server(REGISTER=registrar.on_register)
    phone, peer = await client(address)
    who: dict[str, Any] = {"from_details": ROMEO, "to_details": ROMEO, "contact_details": ROMEO}
    async with await peer.register(**who, password="rosaline", expires=600) as registration:
        assert registration.status_code == 200
        assert registrar.where == {"romeo": "127.0.0.1"}
        assert registrar.asked == 2, "once without a password, once with it"
    assert registrar.where == {}
    assert registrar.asked == 3, "the nonce was good for a second time"
    wrong = await peer.register(**who, password="benvolio", expires=600)
    assert (wrong.status_code, registrar.where) == (401, {})
    asked = registrar.asked
    await wrong.close()
    assert registrar.asked == asked, "nothing is taken back that nobody gave"
    await phone.close()
    await app.close()


async def test_a_subscription_tells_until_it_is_closed() -> None:
    registrar = Registrar()
    app, address = await server(REGISTER=registrar.on_register, SUBSCRIBE=registrar.on_subscribe)
    phone, peer = await client(address)
    nobody = await peer.subscribe(from_details=ROMEO, to_details=user("romeo", address))
    assert nobody.status_code == 404
    registrar.where["romeo"] = "192.0.2.1"
    subscription = await peer.subscribe(from_details=ROMEO, to_details=user("romeo", address), expires=60)
    assert subscription.status_code == 200
    async for request in subscription:
        assert request.payload == "192.0.2.1"
        await subscription.reply(request, status_code=200)
        break
    async with asyncio.timeout(PATIENCE):
        await subscription.close()
    async with asyncio.timeout(PATIENCE):
        await registrar.over.wait()
    await phone.close()
    await app.close()


# Between two others ---------------------------------------------------------------------------------------------------


async def test_a_program_between_two_carries_what_each_says_to_the_other() -> None:
    """Back to back: a call that comes in is placed again, with the description that came; both ends hang up alike."""
    far_over = asyncio.Event()

    async def on_far_invite(request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(180)
        await dialog.reply(message, 200, payload=message.payload.replace("40000", "40004"))
        async for _ in dialog:
            pass
        far_over.set()

    far, far_address = await server(INVITE=on_far_invite)

    async def on_invite(request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(100)
        peer = await middle.connect(far_address)
        onward = await peer.invite(from_details=message.from_details, to_details=user("juliet", far_address),
                                   payload=message.payload)  # fmt: skip
        async for heard in onward.wait_for_terminate():
            if heard.status_code > 100:
                await dialog.reply(message, heard.status_code, payload=heard.payload)
        async for _ in dialog:
            pass
        await onward.close()

    middle, address = await server(INVITE=on_invite)
    caller, peer = await client(address)
    call = await peer.invite(from_details=ROMEO, to_details=user("juliet", address), payload=SDP)
    async with asyncio.timeout(PATIENCE):
        assert (await call.ready()).payload == SDP.replace("40000", "40004")
        await call.close()
        await far_over.wait()
    for app in (caller, middle, far):
        await app.close()


async def test_event_state_is_published_kept_and_taken_back() -> None:
    """RFC 3903 §4: what is published has a tag, by which it is refreshed and removed, and which changes each time."""
    kept: dict[str, str] = {}

    async def on_publish(request: IncomingRequest, message: Request) -> None:
        tag, expires = message.headers.get("SIP-If-Match"), message.headers.get("Expires") or ""
        if tag is not None and tag not in kept:
            await request.prepare(412)
            return
        state = message.payload if tag is None else kept.pop(tag)
        new = f"tag{len(kept)}{expires}"
        if expires != "0":
            kept[new] = state
        await request.prepare(200, headers={"SIP-ETag": new, "Expires": expires})

    app, address = await server(PUBLISH=on_publish)
    phone, peer = await client(address)

    async def publish(expires: int, tag: str = "", payload: str = "") -> Dialog:
        headers = {"Event": "presence", "Expires": expires, **({"SIP-If-Match": tag} if tag else {})}
        if payload:
            headers["Content-Type"] = "application/pidf+xml"
        return await peer.request(
            "PUBLISH", from_details=ROMEO, to_details=ROMEO, uri=f"sip:{address[0]}:{address[1]}",
            headers=headers, payload=payload,
        )  # fmt: skip

    def tag_of(published: Dialog) -> str:
        assert published.last is not None
        return published.last.headers.get("SIP-ETag") or ""

    first = await publish(600, payload="<presence/>")
    assert kept == {tag_of(first): "<presence/>"}
    again = await publish(900, tag_of(first))
    assert kept == {tag_of(again): "<presence/>"}
    assert (await publish(900, tag_of(first))).status_code == 412
    assert (await publish(0, tag_of(again))).status_code == 200
    assert kept == {}
    with contextlib.suppress(asyncio.CancelledError):
        await phone.close()
    await app.close()


async def test_a_single_request_and_its_answer() -> None:
    async def on_message(request: IncomingRequest, message: Request) -> None:
        await request.prepare(202 if message.payload == "o Romeo" else 488)

    app, address = await server(MESSAGE=on_message)
    phone, peer = await client(address)
    for payload, code in (("o Romeo", 202), ("", 488)):
        sent = await peer.request(
            "MESSAGE", from_details=ROMEO, to_details=user("juliet", address), payload=payload,
            headers={"Content-Type": "text/plain"},
        )  # fmt: skip
        assert sent.status_code == code
    assert (await peer.request("OPTIONS", from_details=ROMEO, to_details=user("juliet", address))).status_code == 405
    with contextlib.suppress(asyncio.CancelledError):
        await phone.close()
    await app.close()
