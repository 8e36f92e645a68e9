"""A stage for whole calls: the gateway's own rooms, with a user's devices on one side and a SIP phone on the other.

    Device ── stanzas ──> Component ─ Switchboard ─ Telephony ── UDP on loopback ──> Phone
                                          │
                                      FakeEngine (media that remembers what it was asked)

Only two things are not the real ones: the XMPP server (stanzas are handed over as elements) and the media engine.
Everybody on stage remembers what he heard, so that a scene ends with what each of them was told, in order.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType, TracebackType
from typing import Protocol, Self, cast

from gateway.accounts import Accounts
from gateway.addresses import SipUri
from gateway.call.causes import Cause
from gateway.call.trace import Traced
from gateway.dialplan.plan import InboundMatch, InboundRule, Kind, Match, Plan, Rule, Trunk
from gateway.errors import SipError
from gateway.ops.trace import Rung, ladder
from gateway.session import jingle as spelling
from gateway.session import sdp
from gateway.session.model import Direction, Session
from gateway.sip.application import Application
from gateway.sip.message import Message, Request, Response, respond
from gateway.sip.parser import parse
from gateway.sip.telephony import SipSettings, Telephony
from gateway.storage.records import CallRecord
from gateway.switchboard import Switchboard
from gateway.xmpp import stanzas
from gateway.xmpp.component import Component, XmppSettings
from tests.scenarios.clock import patience
from tests.support import FakeEngine, phone_session, webrtc_session
from tests.till import Till

DOMAIN = "sip.example.com"
JULIET = "juliet@shakespeare.lit"
NUMBER = "+12025550123"
CONTACT = f"{NUMBER}@{DOMAIN}"  # what Juliet calls
OUR_NUMBER = f"sip:+12025550100@{DOMAIN}"  # what leads to her
CALLING = f"+12025550199@{DOMAIN}"  # as whom she sees its caller


class Person:
    """Somebody on stage: `heard` has the label of everything he was sent, `hears` waits for the next of a kind."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._unread: list[tuple[str, object]] = []
        self._news = asyncio.Event()

    def _take(self, label: str, what: object) -> None:
        self.heard.append(label)
        self._unread.append((label, what))
        self._news.set()

    async def _next(self, label: str, like: Callable[[object], bool] = lambda what: True) -> object:
        """The first unread message with this label that is like this; what came before it counts as read."""
        try:
            async with asyncio.timeout(patience()):
                while True:
                    for position, (found, what) in enumerate(self._unread):
                        if found == label and like(what):
                            del self._unread[: position + 1]
                            return what
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"waited for {label!r}, heard {self.heard[-50:]}") from None


class Device(Person):
    """One of a user's clients. It acknowledges every request, as XMPP demands; the rest a scene tells it to say."""

    def __init__(self, jid: str, send: Callable[[ET.Element], None]) -> None:
        super().__init__()
        self.jid = jid
        self.results = 0  # of its requests
        self.forgets = False  # a client that was restarted: every session is unknown
        self._send = send
        self._ids = itertools.count(1)

    def receive(self, stanza: ET.Element) -> None:
        if stanza.tag == stanzas.IQ and stanza.get("type") in ("get", "set"):
            unknown = stanzas.error(stanza, "item-not-found", jingle="unknown-session")
            self._send(unknown if self.forgets else stanzas.result(stanza))
        label, _ = stanzas.describe(stanza)
        if label == "error":
            label = f"error {stanzas.condition(stanza).name}"
        self.results += label == "result"
        if label != "result" and not label.startswith("presence"):
            self._take(label, stanza)

    async def hears(self, label: str) -> ET.Element:
        stanza = await self._next(label)
        if not isinstance(stanza, ET.Element):
            raise TypeError(label)
        return stanza

    async def hears_reason(self, label: str) -> str:
        """The Jingle reason of what is heard."""
        stanza = await self.hears(label)
        element = stanzas.jingle_of(stanza)
        reason = spelling.parse_reason(element) if element is not None else None
        spoken = stanzas.jmi_of(stanza)
        if spoken is not None:
            reason = spoken.reason
        return "" if reason is None else reason.condition

    def proposes(self, contact: str, sid: str) -> None:
        stanza = stanzas.message(contact, self.jid, id=f"jm-propose-{sid}")
        propose = ET.SubElement(stanza, f"{{{stanzas.JMI}}}propose", {"id": sid})
        ET.SubElement(propose, f"{{{stanzas.RTP}}}description", {"media": "audio"})
        self._send(stanza)

    def says(self, kind: str, contact: str, sid: str, reason: str = "") -> None:
        """A Jingle message: ringing, proceed, reject, retract, finish."""
        said = spelling.Reason(reason) if reason else None
        self._send(stanzas.jmi(kind, sid, contact, self.jid, reason=said))

    def initiates(self, contact: str, sid: str, offer: Session | None = None) -> None:
        element = stanzas.jingle("session-initiate", sid, initiator=self.jid)
        element.extend(spelling.contents(offer or webrtc_session(), initiator=True))
        self._request(contact, element)

    def accepts(self, contact: str, sid: str, answer: Session | None = None) -> None:
        element = stanzas.jingle("session-accept", sid, responder=self.jid)
        element.extend(spelling.contents(answer or webrtc_session(), initiator=False))
        self._request(contact, element)

    def terminates(self, contact: str, sid: str, reason: str = "success") -> None:
        self._request(contact, stanzas.terminate(sid, spelling.Reason(reason)))

    def sends(self, stanza: ET.Element) -> None:
        """Any stanza at all."""
        self._send(stanza)

    def leaves(self, contact: str) -> None:
        self._send(stanzas.presence(contact, self.jid, type="unavailable"))

    def _request(self, contact: str, element: ET.Element) -> None:
        request = stanzas.iq(contact, self.jid, id=f"d{next(self._ids)}")
        request.append(element)
        self._send(request)


def _same(response: Response, request: Request) -> bool:
    return all(response.headers.get(name) == request.headers.get(name) for name in ("Call-ID", "CSeq"))


class Phone(Person, asyncio.DatagramProtocol):
    """A SIP phone that is also the trunk's proxy: it acknowledges what has to be, the rest a scene tells it to say."""

    def __init__(self, gateway: Callable[[], tuple[str, int]], first: int = 1) -> None:
        super().__init__()
        self.confirming = False  # every 200 to an INVITE of its own, by itself
        self.busy = False  # every INVITE is refused, by itself
        self._gateway = gateway
        self._wire: asyncio.DatagramTransport | None = None
        self._seen: set[bytes] = set()
        self._calls = itertools.count(first)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast(asyncio.DatagramTransport, transport)

    @property
    def address(self) -> tuple[str, int]:
        if self._wire is None:
            raise AssertionError("the phone is not connected")
        host, port = self._wire.get_extra_info("sockname")[:2]
        return str(host), int(port)

    def datagram_received(self, data: bytes, _source: tuple[str, int]) -> None:
        if data in self._seen:  # a repeat, which a test on a busy machine may see
            return
        self._seen.add(data)
        try:
            message = parse(data)
        except SipError:  # it echoes a mutant
            self._take("an unreadable answer", data)
            return
        if isinstance(message, Request) and message.method in ("BYE", "CANCEL", "NOTIFY"):
            self.answers(message, 200)
        if isinstance(message, Request) and message.method == "INVITE" and self.busy:
            self.answers(message, 486)
        to_invite = (message.headers.get("CSeq") or "").endswith("INVITE")  # it echoes what we sent, mutants too
        if isinstance(message, Response) and to_invite and message.status_code >= 300:
            self._acknowledges(message)
        elif isinstance(message, Response) and to_invite and message.status_code >= 200 and self.confirming:
            self.confirms(message)
        self._take(message.label, message)

    async def hears(self, label: str, caller: str = "") -> Request:
        """The next request of this method; `caller` is part of the From that it has."""
        message = await self._next(label, lambda m: isinstance(m, Request) and caller in (m.headers.get("From") or ""))
        if not isinstance(message, Request):
            raise TypeError(label)
        return message

    async def notified(self) -> bytes:
        """How the transfer that it asked for ended: the status line of the last NOTIFY (RFC 3515 §2.4.5)."""
        while True:
            notify = await self.hears("NOTIFY")
            if "terminated" in (notify.headers.get("Subscription-State") or ""):
                return notify.body

    async def hears_back(self, label: str) -> Response:
        message = await self._next(label)
        if not isinstance(message, Response):
            raise TypeError(label)
        return message

    async def answer_to(self, request: Request) -> Response:
        """The next final response to a request of this Call-ID and CSeq."""
        label = ""
        async with asyncio.timeout(patience()):
            while True:
                for label, message in self._unread:
                    if isinstance(message, Response) and message.status_code >= 200 and _same(message, request):
                        del self._unread[: self._unread.index((label, message)) + 1]
                        return message
                self._news.clear()
                await self._news.wait()

    def answers(
        self, request: Request, status: int, session: Session | None = None, *, contact: str = "", route: str = ""
    ) -> None:
        response = respond(request, status, tag="phone")
        response.headers.add("Contact", contact or self._contact)
        if route:
            response.headers.add("Record-Route", route)
        if session is not None:
            response.headers.add("Content-Type", "application/sdp")
            response.body = sdp.render(session).encode()
        self._say(response)

    def calls(
        self,
        uri: str,
        session: Session | None = None,
        *,
        caller: str = "sip:+12025550199@carrier.example",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Request:
        """An INVITE, and it as it was sent, for CANCEL."""
        number = next(self._calls)
        invite = self._request("INVITE", uri, f"call{number}", 1, (f"<{caller}>;tag=phone", f"<{uri}>"))
        for name, value in {**headers, "Content-Type": "application/sdp"}.items():
            invite.headers.add(name, value)
        invite.body = sdp.render(session or phone_session()).encode()
        self._say(invite)
        return invite

    def request(self, method: str, dialog: Message | None, call_id: str) -> Request:
        """A request inside a dialog, or the first of one; not sent yet."""
        if dialog is not None:
            return self._inside(dialog, method, next(self._calls) + 10)
        ends = f"<sip:+12025550199@carrier.example>;tag={call_id}", f"<{OUR_NUMBER}>"
        return self._request(method, OUR_NUMBER, call_id, 1, ends)

    def cancels(self, invite: Request) -> None:
        cancel = Request("CANCEL", invite.uri)
        for name in ("Via", "From", "To", "Call-ID", "Max-Forwards"):
            cancel.headers.add(name, invite.headers[name])
        cancel.headers.add("CSeq", "1 CANCEL")
        self._say(cancel)

    def confirms(self, ok: Response) -> None:
        """The ACK of a 200 to an INVITE of ours."""
        self._say(self._inside(ok, "ACK", ok.cseq.number))

    async def reoffers(self, dialog: Message, direction: Direction) -> Session:
        """A re-INVITE, and what it is answered with: SENDONLY holds, SENDRECV resumes (RFC 3264 §8.4)."""
        again = self._inside(dialog, "INVITE", next(self._calls) + 100)
        again.headers.add("Content-Type", "application/sdp")
        (medium,) = phone_session().media
        again.body = sdp.render(Session((replace(medium, direction=direction),))).encode()
        self._say(again)
        answer = await self.answer_to(again)
        if answer.status_code != 200:
            raise AssertionError(f"the re-INVITE was answered with {answer.status_code}")
        self._say(self._inside(answer, "ACK", answer.cseq.number))
        return sdp.parse(answer.body.decode())

    def hangs_up(self, dialog: Message) -> None:
        """BYE in a dialog: `dialog` is the INVITE that was heard, or the 200 to our own."""
        self._say(self._inside(dialog, "BYE", 2))

    def sends(self, data: bytes) -> None:
        """Any octets at all."""
        if self._wire is not None and data:
            self._wire.sendto(data, self._gateway())

    async def is_heard(self) -> None:
        """Until the gateway has taken everything that was sent so far (datagrams on loopback keep their order)."""
        number = next(self._calls)
        options = self._request("OPTIONS", "sip:gateway", f"ask{number}", 1, ("<sip:a@b>;tag=phone", "<sip:gateway>"))
        self._say(options)
        await self._next("200 OK", lambda m: isinstance(m, Response) and m.headers.get("Call-ID") == f"ask{number}")

    def _inside(self, dialog: Message, method: str, number: int) -> Request:
        theirs = dialog.contact
        if theirs is None:
            raise AssertionError("no Contact to send to")
        ends = dialog.headers["From"], dialog.headers["To"]
        if isinstance(dialog, Request):  # they called: the dialog's ends are the other way round
            ends = f"{ends[1]};tag=phone", ends[0]
        return self._request(method, theirs.uri, dialog.call_id, number, ends)

    def _acknowledges(self, response: Response) -> None:
        """RFC 3261 §17.1.1.3: the ACK of a refusal goes with the INVITE's branch."""
        ack = Request("ACK", "sip:gateway")
        for name in ("Via", "From", "To", "Call-ID"):
            ack.headers.add(name, response.headers.get(name) or "")
        ack.headers.add("Max-Forwards", "70")
        ack.headers.add("CSeq", f"{(response.headers.get('CSeq') or '').partition(' ')[0]} ACK")
        self._say(ack)

    @property
    def _contact(self) -> str:
        return f"<sip:phone@{self.address[0]}:{self.address[1]}>"

    def _request(self, method: str, uri: str, call_id: str, number: int, ends: tuple[str, str]) -> Request:
        """`ends` are From and To."""
        request = Request(method, uri)
        host, port = self.address
        branch = f"z9hG4bK-{call_id}-{number}-{method}"
        for name, value in (
            ("Via", f"SIP/2.0/UDP {host}:{port};branch={branch}"),
            ("Max-Forwards", "70"),
            ("From", ends[0]),
            ("To", ends[1]),
            ("Call-ID", call_id),
            ("CSeq", f"{number} {method}"),
            ("Contact", self._contact),
        ):
            request.headers.add(name, value)
        return request

    def _say(self, message: Message) -> None:
        if self._wire is not None:
            self._wire.sendto(bytes(message), self._gateway())

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()


class Home(Protocol):
    """A user's own server, for scripted clients (tests/clients/home.py)."""

    def deliver(self, stanza: ET.Element) -> None:
        """From the gateway."""


class _Server:
    """The XMPP server's end of the component's link: it delivers to the devices, to a bare JID to all of a user's."""

    unsent = 0

    def __init__(self, deliver: Callable[[ET.Element], None]) -> None:
        self._deliver = deliver

    def is_connected(self) -> bool:
        return True

    def write(self, stanza: ET.Element) -> None:
        # Over the wire's spelling, and never from within what is being done.
        asyncio.get_running_loop().call_soon(self._deliver, ET.fromstring(ET.tostring(stanza)))

    def abort(self) -> None: ...

    def close(self) -> None: ...


class Scene:
    """The stage. Made by `async with Scene() as scene`; at the end no call may be left in any room."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.till = Till()  # what calls that cost are booked in
        self.records: asyncio.Queue[CallRecord] = asyncio.Queue()
        self.traced: list[Rung] = []
        self.devices: list[Device] = []
        self.homes: dict[str, Home] = {}  # servers of users whose clients are scripted, by account
        self.phone = Phone(lambda: self._sip)  # the trunk, 127.0.0.1
        self.stranger = Phone(lambda: self._sip, first=1001)  # 127.0.0.2; no Call-ID is the other one's
        self._sip = ("127.0.0.1", 0)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self.phone, local_addr=("127.0.0.1", 0))
        await loop.create_datagram_endpoint(lambda: self.stranger, local_addr=("127.0.0.2", 0))
        self.switchboard = Switchboard(
            self.plan(),
            self.engine,
            domain=DOMAIN,
            sip_domain=DOMAIN,
            trace=self._trace,
            on_end=self._ended,
            look_up=self.look_up,
            unix_now=lambda: 1_700_000_000.0,
            accounts=Accounts(self.till),
        )
        self.app = Application(permit=self.permit)
        settings = SipSettings(DOMAIN, ("udp:127.0.0.1:0",))
        self.telephony = Telephony(self.app, settings, self.switchboard.on_sip_call, self._trace)
        await self.telephony.start()
        ((_, self._sip),) = self.app.transports.listening
        self.component = Component(
            XmppSettings(DOMAIN, "127.0.0.1", 1, "secret", ("shakespeare.lit",)),
            self.switchboard.mappable,
            self.switchboard.on_xmpp_call,
            self._trace,
            may_call=self.switchboard.routing.may_call,
            may_dial=self.switchboard.routing.may_dial,
            has_video=self.switchboard.routing.has_video,
        )
        self.component._link = _Server(self._deliver)  # type: ignore[assignment]  # all of a Link that is used
        self.component._router.link_up()
        self.switchboard.attach(self.component, self.telephony)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None
    ) -> None:
        left = [
            *(f"call {call}" for call in self.switchboard._lines),
            *(f"XMPP leg {line.leg.sid}" for line in self.component._router._calls._lines),
        ]
        await self.switchboard.drain()
        await self.telephony.stop()
        self.component._router.link_down()
        if self.component._timer is not None:
            self.component._timer.cancel()
        self.phone.close()
        self.stranger.close()
        await asyncio.sleep(0)
        if error is not None:
            error.add_note(self.ladder())
        elif left:
            raise AssertionError(f"{left} is left\n{self.ladder()}")

    async def look_up(self, uri: SipUri) -> frozenset[str]:
        """The addresses of a host: on stage only those that are addresses already."""
        return frozenset({uri.host} if uri.host[:1].isdigit() else ())

    def permit(self, address: str) -> bool:
        """Whether SIP may go to an address that somebody names."""
        return address in ("127.0.0.1", "127.0.0.2")

    def device(self, jid: str = f"{JULIET}/balcony") -> Device:
        made = Device(jid, self.from_server)
        self.devices.append(made)
        return made

    def link_breaks(self) -> None:
        self.component._router.link_down()

    def link_is_back(self) -> None:
        self.component._router.link_up()

    async def over(self) -> CallRecord:
        """The record of the call that ends next."""
        async with asyncio.timeout(patience()):
            return await self.records.get()

    def ladder(self) -> str:
        calls: dict[str, list[Rung]] = {}
        for rung in self.traced:
            if isinstance(rung.what, Traced):
                calls.setdefault(rung.what.call, []).append(rung)
        latest = list(calls.items())[-5:]
        return "\n".join(line for call, rungs in latest for line in ladder(call, rungs))

    def plan(self) -> Plan:
        host, port = self.phone.address
        trunk = Trunk("carrier", SipUri("sip", None, host, port), allow=(ipaddress.ip_network(f"{host}/32"),))
        return Plan(
            users=("shakespeare.lit",),
            own=frozenset({DOMAIN}),
            region="US",
            trunks={"carrier": trunk},
            routes=(
                Rule(
                    "premium",
                    Match(kind=(Kind.NUMBER,), type=("premium_rate",)),
                    refuse="premium numbers are not allowed",
                ),
                Rule("numbers", Match(kind=(Kind.NUMBER,)), via=("carrier",)),
                Rule("test line", Match(kind=(Kind.NAME,), name=("echo",)), via=("echo",)),
            ),
            inbound=(InboundRule("main", InboundMatch(number=("+12025550100",)), (JULIET,)),),
        )

    def _deliver(self, stanza: ET.Element) -> None:
        to = stanza.get("to", "")
        home = self.homes.get(stanzas.bare(to))
        if home is not None:
            home.deliver(stanza)
        for device in self.devices:
            if to in (device.jid, stanzas.bare(device.jid)):
                device.receive(stanza)

    def from_server(self, stanza: ET.Element) -> None:
        """A stanza of a user's, for the gateway."""
        self.component._received(ET.fromstring(ET.tostring(stanza)))

    def _trace(self, traced: Traced) -> None:
        self.traced.append(Rung(asyncio.get_running_loop().time(), traced))

    def _ended(self, record: CallRecord, _cause: Cause) -> None:
        self.records.put_nowait(record)
