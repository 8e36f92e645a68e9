"""What a program holds in its hand: a Dialog, which it iterates, answers and closes, and an IncomingRequest before it.

    async def on_invite(request: IncomingRequest, message):
        dialog = await request.prepare(status_code=180)
        await dialog.reply(message, 200, payload=sdp)
        async for message in dialog: …          # ends on BYE

Nothing is decided here: a Dialog queues what the agent tells it and hands on what the program wants.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

from gateway.errors import SipError
from gateway.sip.layer import Flow
from gateway.sip.message import Headers, Message, Request, Response, checked
from gateway.sip.usage import Exchange, Usage

MAX_QUEUED = 256  # messages that a program may leave unread in one dialog


class Stack(Protocol):
    """What a dialog needs of the application that it belongs to."""

    def now(self) -> float: ...
    def pump(self) -> None: ...
    async def outcome(self, exchange: Exchange) -> Response: ...


class Dialog:
    """One call, subscription, registration or single request. Iterating gives what the far side sends, to the end.

    A call that we place gives each response to its INVITE, a time-out as a local 408 and a dead transport as a local
    503, then the requests inside the dialog. The first final response of 300 or more, BYE and CANCEL are the last.
    """

    def __init__(self, app: Stack, usage: Usage) -> None:
        self.app = app
        self.usage = usage
        self.status_code: int | None = None
        self.last: Response | None = None  # the final response to our latest request of a sequence
        self.event = ""  # what they subscribed to
        self._queue: list[Message] = []  # short: an empty deque is larger than all the rest of a dialog
        self._waiting: list[asyncio.Future[None]] = []
        self._ended = False
        self._final: Response | None = None
        self._undo: Callable[[], Awaitable[object]] | None = None
        self._settled = False  # there is a final response, or there will be none

    @property
    def call_id(self) -> str:
        return self.usage.call_id

    @property
    def ended(self) -> bool:
        return self._ended

    async def ready(self) -> Response:
        """The final response to the request that we began with. Raises SipError when there will be none."""
        while not self._settled:
            await self._change()
        if self._final is None:
            raise SipError("the dialog ended without a final response", 487)
        return self._final

    async def reply(
        self,
        request: Message,
        status_code: int,
        status_message: str = "",
        *,
        headers: Mapping[str, object] | None = None,
        payload: str | bytes = b"",
    ) -> None:
        """Answer a request. One that has its final response already, as every BYE has, is left alone."""
        self.respond(request, status_code, status_message, headers=headers, payload=payload)

    def respond(
        self,
        request: Message,
        status_code: int,
        status_message: str = "",
        *,
        headers: Mapping[str, object] | None = None,
        payload: str | bytes = b"",
    ) -> None:
        """What `reply` does, for callers that cannot wait."""
        if isinstance(request, Request):
            self.status_code = status_code
            fields, body = content(headers, payload)
            self.usage.reply(request, status_code, fields, self.app.now(), reason=status_message, body=body)
            self.app.pump()

    async def request(
        self, method: str, *, headers: Mapping[str, object] | None = None, payload: str | bytes = b""
    ) -> Response:
        """Send a request inside the dialog and wait for its final response. Raises SipError when there is no dialog."""
        fields, body = content(headers, payload)
        exchange = self.usage.ask(method, fields, body, self.app.now())
        if exchange is None:
            raise SipError("there is no dialog", 481)
        return await self.app.outcome(exchange)

    def acknowledge(self, payload: str | bytes) -> None:
        """Our answer to a callee that made the offer because our INVITE had none: it leaves with the ACK, or with the
        PRACK where the offer came in a provisional response that must arrive (RFC 3262 §5)."""
        self.usage.acknowledge(payload.encode() if isinstance(payload, str) else payload, self.app.now())
        self.app.pump()

    async def notify(self, *, payload: str | bytes = b"", headers: Mapping[str, object] | None = None) -> Response:
        """A NOTIFY of the subscription that this dialog is."""
        fields: dict[str, object] = {
            "Event": self.event or "presence",
            "Subscription-State": "active",
            **(headers or {}),
        }
        return await self.request("NOTIFY", headers=fields, payload=payload)

    async def close(self, status_code: int = 480, *, headers: Mapping[str, object] | None = None) -> None:
        """End it, whatever that takes: CANCEL, BYE, a final response of `status_code`, or the same request with
        `Expires: 0` for what a registrar or a notifier keeps for us (and it is waited for its answer)."""
        undo, self._undo = self._undo, None
        if undo is not None and not self._ended:
            await undo()
        self.hang_up(status_code, headers=headers)

    def kept(self, undo: Callable[[], Awaitable[object]]) -> None:
        """The far side keeps something for us now, which `undo` takes back."""
        self._undo = undo

    def hang_up(self, status_code: int = 480, *, headers: Mapping[str, object] | None = None) -> None:
        """What `close` does, for callers that cannot wait."""
        fields, _ = content(headers, b"")
        self.usage.close(status_code, fields, self.app.now())
        self.app.pump()

    async def wait_for_terminate(self) -> AsyncIterator[Response]:
        """The responses to our INVITE up to the final one, which ends this iteration but not the call."""
        async for message in self:
            if isinstance(message, Response):
                yield message
                if message.status >= 200:
                    return

    def __aiter__(self) -> Dialog:
        return self

    async def __anext__(self) -> Message:
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            await self._change()
        return self._queue.pop(0)

    async def __aenter__(self) -> Dialog:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # The application's side

    def put(self, message: Message) -> None:
        if isinstance(message, Response):
            self.status_code = message.status
            if message.status >= 200:
                self.settle(message)
        elif isinstance(message, Request) and len(self._queue) >= MAX_QUEUED and message.method != "BYE":
            self.respond(message, 503)
            return
        self._queue.append(message)
        self._changed()

    def settle(self, response: Response) -> None:
        self._final = self._final or response
        self._settled = True
        self._changed()

    def finish(self) -> None:
        self._ended = self._settled = True
        self._changed()

    async def _change(self) -> None:
        """Until something happens here; who waits looks again what it was."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:  # whoever lost his patience
                self._waiting.remove(future)

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class IncomingRequest:
    """A request that the dialplan gave to a handler."""

    def __init__(self, app: Stack, usage: Usage, message: Request, flow: Flow) -> None:
        self.app = app
        self.message = message
        self.flow = flow
        self.dialog = Dialog(app, usage)
        self.dialog.event = message.headers.get("Event") or ""

    async def prepare(
        self,
        status_code: int,
        *,
        headers: Mapping[str, object] | None = None,
        payload: str | bytes = b"",
    ) -> Dialog:
        """Answer for the first time, and get the dialog. The 100 of an INVITE has been sent already."""
        if status_code > 100:
            self.dialog.respond(self.message, status_code, headers=headers, payload=payload)
        return self.dialog


def content(headers: Mapping[str, object] | None, payload: str | bytes) -> tuple[Headers, bytes]:
    """Headers and body of a message; SDP is what a body is when nobody says otherwise. Raises ValueError."""
    fields = Headers()
    return fields, fill(fields, headers, payload)


def fill(fields: Headers, headers: Mapping[str, object] | None, payload: str | bytes) -> bytes:
    """Add to `fields` what a program wants there, and give the body. Raises ValueError for a field with a line break: a
    local mistake, told to whoever made it.
    """
    for name, value in (headers or {}).items():
        fields.add(checked(name), checked(str(value)))
    body = payload.encode() if isinstance(payload, str) else payload
    if body and "Content-Type" not in fields:
        fields.add("Content-Type", "application/sdp")
    return body
