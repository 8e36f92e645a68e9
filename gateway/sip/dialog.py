"""One SIP dialog (RFC 3261 §12): who the two ends are, which way requests go, and whose number comes next. Pure.

    UAC:  routes = Record-Route of the response, reversed     target = Contact of the response
    UAS:  routes = Record-Route of the request, in order      target = Contact of the request

Route set and tags never change after that; the target follows each re-INVITE and UPDATE (§12.2).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.errors import SipError
from gateway.sip.headers import NameAddr, parameters
from gateway.sip.message import Headers, Request, Response

Key = tuple[str, str, str]  # Call-ID, our tag, their tag

MAX_ROUTES = 32

REFRESHING = (
    "INVITE",
    "UPDATE",
    "SUBSCRIBE",
    "NOTIFY",
)  # RFC 3261 §12.2, 3311 §5.1, 6665 §4.4.1: these move the target


@dataclass(slots=True)
class Dialog:
    call_id: str
    local: NameAddr  # with our tag
    remote: NameAddr  # with theirs, when they gave one (RFC 2543 peers do not)
    routes: tuple[str, ...]  # Route values as they were written
    target: str  # the URI of their Contact
    local_sequence: int
    remote_sequence: int | None
    early: bool = True
    key: Key = field(init=False)
    _ends: tuple[str, str] | None = field(init=False, default=None, compare=False)  # From and To of our requests

    def __post_init__(self) -> None:
        self.key = self.call_id, self.local.tag or "", self.remote.tag or ""

    @classmethod
    def of_response(cls, request: Request, response: Response) -> Dialog:
        """Our request made this dialog (§12.1.2). Raises SipError."""
        contact = response.contact
        return cls(
            call_id=request.call_id,
            local=request.from_,
            remote=response.to,
            routes=_routes(response.headers, backwards=True),
            # A response that makes a dialog has a Contact. COMPAT: peers that leave it out of 1xx, and some of 200.
            target=contact.uri if contact is not None else request.uri,
            local_sequence=request.cseq.number,
            remote_sequence=None,
            early=response.status < 200,
        )

    @classmethod
    def of_request(cls, request: Request, tag: str) -> Dialog:
        """Their request makes this dialog, our tag in it is `tag` (§12.1.1). Raises SipError: no Contact, no dialog.

        Who has no tag either speaks RFC 2543, where a Contact could be left out, and is where his From says.
        """
        contact = request.contact or (request.from_ if request.from_.tag is None else None)
        if contact is None:
            raise SipError(f"an {request.method} without a Contact")
        return cls(
            call_id=request.call_id,
            local=request.to.with_tag(tag),
            remote=request.from_,
            routes=_routes(request.headers, backwards=False),
            target=contact.uri,
            local_sequence=0,
            remote_sequence=request.cseq.number,
        )

    @property
    def next_hop(self) -> str:
        """The URI that says where our requests go: the first route, strict or loose, or the target."""
        return NameAddr.parse(self.routes[0]).uri if self.routes else self.target

    def confirm(self, response: Response) -> None:
        """A 2xx to our INVITE: the dialog stands, and its route set is that of the 2xx (RFC 3261 §13.2.2.4)."""
        self.routes = _routes(response.headers, backwards=True)
        contact = response.contact
        if contact is not None:
            self.target = contact.uri
        self.early = False

    def request(
        self, method: str, sequence: int | None = None, *, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Request:
        """A request inside the dialog (§12.2.1.1), with Route and these headers, and without Via and Contact.

        `sequence` is given for ACK, whose number is its INVITE's; every other request takes the next one.
        """
        if sequence is None:
            self.local_sequence += 1
            sequence = self.local_sequence
        uri, routes = self.target, self.routes
        if routes and not _is_loose(routes[0]):
            # A strict router wants its own URI as Request-URI, and the target last.
            uri, routes = NameAddr.parse(routes[0]).uri, (*routes[1:], f"<{self.target}>")
        if self._ends is None:
            self._ends = str(self.local), str(self.remote)
        said = [("Route", route) for route in routes]
        said += [
            ("Max-Forwards", "70"),
            ("From", self._ends[0]),
            ("To", self._ends[1]),
            ("Call-ID", self.call_id),
            ("CSeq", f"{sequence} {method}"),
            *headers,
        ]
        return Request(method, uri, Headers(said), body)

    def receive(self, request: Request) -> int | None:
        """A request inside the dialog, other than ACK and CANCEL: None, or the status to refuse it with (§12.2.2).

        Raises SipError for a Contact that cannot be read.
        """
        number = request.cseq.number
        if self.remote_sequence is not None and number < self.remote_sequence:
            return 500
        if self.remote_sequence == number:
            return 500  # its repeats end in the transaction; this is another request with a used number
        self.remote_sequence = number
        if request.method in REFRESHING:
            contact = request.contact
            if contact is not None:
                self.target = contact.uri
        return None

    def refresh(self, response: Response) -> None:
        """A 2xx to a target refresh of ours; a Contact that cannot be read leaves the target where it was."""
        with contextlib.suppress(SipError):
            contact = response.contact
            if contact is not None:
                self.target = contact.uri


def _routes(headers: Headers, *, backwards: bool) -> tuple[str, ...]:
    routes = headers.listed("Record-Route")
    if len(routes) > MAX_ROUTES:
        raise SipError(f"more than {MAX_ROUTES} routes")
    for route in routes:
        NameAddr.parse(route)  # now, and not when the first request needs it
    return tuple(reversed(routes)) if backwards else tuple(routes)


def _is_loose(route: str) -> bool:
    uri = NameAddr.parse(route).uri
    return any(name == "lr" for name, _ in parameters(uri.partition("?")[0].partition(";")[2]))
