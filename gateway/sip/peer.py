"""A far end, and the requests that a program makes to it outside of dialogs: INVITE, REGISTER, SUBSCRIBE and others.

peer = await app.connect(("192.0.2.1", 5060))
call = await peer.invite(from_details=…, to_details=…, payload=sdp)
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Protocol

from gateway.sip.agent import Agent
from gateway.sip.dialogs import Dialog, Stack, fill
from gateway.sip.digest import Authenticator, Credentials
from gateway.sip.headers import NameAddr, bracketed
from gateway.sip.layer import Flow
from gateway.sip.message import Headers, Request, checked
from gateway.sip.usage import ALLOW, Usage, user_of


class Owner(Stack, Protocol):
    """What a peer needs of the application that it belongs to."""

    agent: Agent

    def adopt(self, dialog: Dialog) -> None: ...


class Peer:
    """A far end: whom our requests go to, until a route set says otherwise."""

    def __init__(self, app: Owner, next_hop: str, hint: Flow | None, *, trusted: bool) -> None:
        self.app = app
        self.next_hop = next_hop
        self._hint = hint
        self._trusted = trusted

    async def invite(
        self,
        *,
        from_details: NameAddr,
        to_details: NameAddr,
        headers: Mapping[str, object] | None = None,
        payload: str | bytes = b"",
        password: str | None = None,
        username: str | None = None,
        uri: str | None = None,
        max_forwards: int = 70,
        call_id: str = "",
        patience: float | None = None,
    ) -> Dialog:
        """Place a call; the dialog is given at once, and its iteration tells how it goes.

        `uri` is the Request-URI when it is not that of `to_details`; `username` for digest is the From's by default.
        `patience` is how many seconds each target of the peer may say nothing, by default 64*T1 for the last of them.
        """
        session = self.app.agent.client(call_id)
        self._identify(session, from_details, username, password)
        request = _request("INVITE", session, from_details, to_details, uri=uri, max_forwards=max_forwards)
        request.headers.add("Allow", ALLOW)
        request.body = fill(request.headers, headers, payload)
        dialog = Dialog(self.app, session)
        self.app.adopt(dialog)
        session.invite(request, self.next_hop, hint=self._hint).patience = patience
        self.app.pump()
        return dialog

    async def request(
        self,
        method: str,
        *,
        from_details: NameAddr,
        to_details: NameAddr,
        headers: Mapping[str, object] | None = None,
        payload: str | bytes = b"",
        password: str | None = None,
        username: str | None = None,
        uri: str | None = None,
        max_forwards: int = 70,
        dialog: Dialog | None = None,
        patience: float | None = None,
    ) -> Dialog:
        """Send a request and wait for its final response, `dialog.status_code` then. With `dialog` it is the next one
        of that sequence, as REGISTER wants it (RFC 3261 §10.2). `patience` is how many seconds each target of the peer
        may say nothing, 64*T1 by default."""
        usage = dialog.usage if dialog is not None else self.app.agent.usage()
        self._identify(usage, from_details, username, password)
        request = _request(method, usage, from_details, to_details, uri=uri, max_forwards=max_forwards)
        request.body = fill(request.headers, headers, payload)
        dialog = dialog or Dialog(self.app, usage)
        self.app.adopt(dialog)
        exchange = usage.start(request, self.next_hop, hint=self._hint)
        exchange.patience = patience
        response = await self.app.outcome(exchange)
        dialog.status_code = response.status
        dialog.last = response
        dialog.settle(response)
        return dialog

    async def register(
        self,
        *,
        from_details: NameAddr,
        to_details: NameAddr,
        contact_details: NameAddr | None = None,
        expires: int = 3600,
        headers: Mapping[str, object] | None = None,
        **others: Any,
    ) -> Dialog:
        fields: dict[str, object] = {"Expires": expires, **(headers or {})}
        if contact_details is not None:
            fields["Contact"] = contact_details
        uri = others.pop("uri", None) or f"sip:{bracketed(to_details.host)}"
        who: dict[str, Any] = {"from_details": from_details, "to_details": to_details, "uri": uri, **others}
        made = await self.request("REGISTER", headers=fields, **who)
        if expires and _went_well(made):
            again = {**who, "headers": {**fields, "Expires": 0}, "dialog": made}
            made.kept(lambda: self.request("REGISTER", **again))
        return made

    async def subscribe(
        self,
        *,
        from_details: NameAddr,
        to_details: NameAddr,
        expires: int = 3600,
        headers: Mapping[str, object] | None = None,
        **others: Any,
    ) -> Dialog:
        fields: dict[str, object] = {"Event": "presence", "Expires": expires, **(headers or {})}
        made = await self.request(
            "SUBSCRIBE", from_details=from_details, to_details=to_details, headers=fields, **others
        )
        if expires and _went_well(made):
            made.kept(lambda: made.request("SUBSCRIBE", headers={**fields, "Expires": 0}))
        return made

    def _identify(self, usage: Usage, from_details: NameAddr, username: str | None, password: str | None) -> None:
        """Who we are in this usage, and with which credentials."""
        usage.contact_user = user_of(from_details)
        usage.trusted = self._trusted
        if password is not None and usage.authenticator is None:
            credentials = Credentials(username if username is not None else usage.contact_user, password)
            usage.authenticator = Authenticator(credentials, secrets.token_hex)


def _went_well(dialog: Dialog) -> bool:
    return dialog.status_code is not None and 200 <= dialog.status_code < 300


def _request(
    method: str, usage: Usage, from_details: NameAddr, to_details: NameAddr, *, uri: str | None, max_forwards: int
) -> Request:
    """The first request of a usage; it numbers it. Raises ValueError as `fill` does."""
    said = (
        ("Max-Forwards", str(max_forwards)),
        ("From", checked(str(from_details.with_tag(usage.tag)))),
        ("To", checked(str(to_details))),
        ("Call-ID", checked(usage.call_id)),
    )
    return Request(checked(method), checked(uri or to_details.uri), Headers(said))
