"""The link against a server of a few lines: handshake, refusals, loss, reconnecting; and slixmpp's traps."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from gateway.call.causes import Cause
from gateway.call.events import HungUp, Leg, Report
from gateway.call.leg import Admitted, LegControl
from gateway.call.trace import Traced
from gateway.session.model import Session
from gateway.xmpp import component, disco, stanzas
from gateway.xmpp.component import Backoff, Component, IncomingCall, Link, LinkRefusedError, XmppSettings
from tests.patience import PATIENCE

DOMAIN = "sip.example.com"
JULIET = "juliet@shakespeare.lit/balcony"
ROMEO = f"romeo%shakespeare.lit@{DOMAIN}"
HEADER = (
    "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' "
    f"id='3BF96D32' from='{DOMAIN}'>"
)


class Server:
    """As much of XEP-0114 as a component needs; one link at a time."""

    def __init__(self, secret: str = "secret", error: str = "") -> None:
        self.secret = secret
        self.error = error  # what it says instead of accepting
        self.links = 0
        self.text = ""
        self.port = 0
        self._news = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.drop()

    def drop(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()

    def say(self, text: str) -> None:
        assert self._writer is not None
        self._writer.write(text.encode())

    async def linked(self, times: int) -> None:
        """Until the component has connected so often."""
        async with asyncio.timeout(PATIENCE):
            while self.links < times:
                self._news.clear()
                await self._news.wait()

    async def heard(self, pattern: str) -> str:
        """Until the component has said this; what it said up to there is forgotten."""
        async with asyncio.timeout(PATIENCE):
            while not (found := re.search(pattern, self.text, re.DOTALL)):
                self._news.clear()
                await self._news.wait()
        self.text = self.text[found.end() :]
        return found.group()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.links += 1
        self._news.set()
        self._writer = writer
        self.text = ""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.text += data.decode()
                if f'to="{DOMAIN}">' in self.text:
                    self.text = ""
                    self.say(HEADER)
                if found := re.search("<handshake[^>]*>([0-9a-f]+)</handshake>", self.text):
                    self.text = ""
                    self._judge(found.group(1))
                self._news.set()
                if self.text.endswith("</stream:stream>"):
                    self.say("</stream:stream>")
                    break
        writer.close()

    def _judge(self, digest: str) -> None:
        right = hashlib.sha1(f"3BF96D32{self.secret}".encode()).hexdigest() == digest
        error = self.error if right else "not-authorized"
        self.say("<handshake/>" if not error else "")
        if error:
            body = f"<{error} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
            text = "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>because</text>"
            self.say(f"<stream:error>{body}{text}</stream:error></stream:stream>")


class Room:
    """A component with a recording switchboard."""

    def __init__(self, port: int, secret: str = "secret") -> None:
        self.calls: list[tuple[IncomingCall, LegControl]] = []
        self.reports: list[Report] = []
        self.traces: list[Traced] = []
        self.told, self.called = asyncio.Event(), asyncio.Event()
        settings = XmppSettings(DOMAIN, "127.0.0.1", port, secret, ("shakespeare.lit",))
        self.component = Component(settings, self.mappable, self.on_call, self.traces.append)
        self.task = asyncio.create_task(self.component.run())

    def mappable(self, local: str) -> bool:
        if local == "boom":
            raise RuntimeError("a fault of ours")
        return local != "nobody"

    def on_call(self, incoming: IncomingCall, leg: LegControl) -> Admitted:
        self.calls.append((incoming, leg))
        self.called.set()
        return Admitted("call-1", self.sink)

    def sink(self, report: Report) -> None:
        self.reports.append(report)
        self.told.set()

    async def connected(self) -> None:
        await asyncio.wait_for(self.component.ready(), PATIENCE)
        assert self.component.connected


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def room(server: Server, quick: None) -> AsyncIterator[Room]:
    room = Room(server.port)
    await room.connected()
    yield room
    await room.component.stop()
    await room.task


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "FIRST_WAIT", 0.001)


async def test_a_component_shakes_hands_and_answers(server: Server, room: Room) -> None:
    server.say(f"<presence from='{JULIET}' to='{ROMEO}'><temppres xmlns='urn:xmpp:temppres:0'/></presence>")
    answer = await server.heard("<presence.*?</presence>")
    assert f'from="{ROMEO}"' in answer
    assert f'to="{JULIET}"' in answer
    assert "<c xmlns=" in answer


@pytest.mark.parametrize(("error", "text"), [("", "the secret is wrong"), ("host-unknown", "no such component")])
async def test_a_refusal_for_good_is_one_clear_error(server: Server, error: str, text: str) -> None:
    server.error = error
    room = Room(server.port, "secret" if error else "wrong")
    with pytest.raises(LinkRefusedError) as caught:
        await asyncio.wait_for(room.task, PATIENCE)
    said = str(caught.value)
    assert text in said
    assert "\n" not in said
    assert f"127.0.0.1:{server.port}" in said
    assert server.links == 1


async def test_a_conflict_is_waited_out(server: Server, quick: None) -> None:
    server.error = "conflict"
    room = Room(server.port)
    await server.linked(2)
    server.error = ""
    await room.connected()
    await room.component.stop()
    await room.task


async def test_a_server_that_is_down_at_first_is_waited_for(
    server: Server, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = asyncio.Event()

    def wait(self: Backoff) -> float:
        waits.set()
        return 0.001

    monkeypatch.setattr(Backoff, "wait", wait)
    await server.stop()
    room = Room(server.port)
    await asyncio.wait_for(waits.wait(), PATIENCE)
    await server.start()
    await room.connected()
    await room.component.stop()
    await room.task


async def test_a_lost_link_comes_back_and_asks_after_the_sessions(
    server: Server, room: Room, our_offer: Session
) -> None:
    content = (
        "<content name='a'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>"
        "<payload-type id='8' name='PCMA'/></description></content>"
    )
    server.say(
        f"<iq type='set' id='1' from='{JULIET}' to='{ROMEO}'>"
        f"<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='s1'>{content}</jingle></iq>"
    )
    await server.heard('type="result"')
    (_, leg) = room.calls[0]
    server.drop()
    await asyncio.wait_for(room.component._lost.wait(), PATIENCE)
    assert not room.component.connected
    leg.answer(our_offer)
    await room.connected()
    await server.heard('action="session-accept"')
    ping = await server.heard('<iq [^>]*><jingle [^>]*action="session-info"[^>]*/></iq>')
    found = re.search(' id="([^"]*)"', ping)
    assert found
    server.say(
        f"<iq type='error' id='{found.group(1)}' from='{JULIET}' to='{ROMEO}'><error type='cancel'>"
        "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    )
    await asyncio.wait_for(room.told.wait(), PATIENCE)
    assert [(type(report), report.cause) for report in room.reports if isinstance(report, HungUp)] == [
        (HungUp, Cause.LINK_LOST)
    ]


async def test_reports_come_after_the_call_that_caused_them(room: Room, our_offer: Session) -> None:
    server_is_gone = room.component
    leg = server_is_gone.callee("call-9", 1, "juliet@shakespeare.lit", ROMEO, room.sink)
    await server_is_gone.stop()
    await room.task
    leg.dial(our_offer)
    assert room.reports == []
    await asyncio.wait_for(room.told.wait(), PATIENCE)
    assert [report.cause for report in room.reports if isinstance(report, HungUp)] == [Cause.LINK_LOST]


@pytest.mark.parametrize(
    ("user", "contact"), [("a@@b", ROMEO), ("juliet@shakespeare.lit", "a b@sip.example.com"), ("", ROMEO)]
)
async def test_an_address_that_is_no_jid_fails_when_it_is_dialled(
    room: Room, our_offer: Session, user: str, contact: str
) -> None:
    leg = room.component.callee("call-9", 2, user, contact, room.sink)
    for repeat in (leg.alert, leg.ask):
        repeat()
    leg.answer(our_offer)
    leg.reanswer(None)
    leg.dial(our_offer)
    leg.hang_up(Cause.NORMAL)
    await asyncio.wait_for(room.told.wait(), PATIENCE)
    (told,) = room.reports
    assert isinstance(told, HungUp)
    assert (told.leg, told.attempt, told.cause) == (Leg.CALLEE, 2, Cause.NOT_FOUND)


async def test_a_callees_address_is_prepared(server: Server, room: Room, our_offer: Session) -> None:
    leg = room.component.callee("call-9", 1, "Juliet@Shakespeare.lit/x", ROMEO, room.sink)
    leg.dial(our_offer)
    propose = await server.heard("<message.*?</message>")
    assert 'to="juliet@shakespeare.lit"' in propose


async def test_a_fault_of_ours_is_answered_and_survived(server: Server, room: Room) -> None:
    with capture_logs() as logs:
        server.say(f"<iq type='get' id='7' from='{JULIET}' to='boom@{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>")
        assert "internal-server-error" in await server.heard("<iq.*?</iq>")
        server.say(f"<presence type='probe' from='{JULIET}' to='boom@{DOMAIN}'/>")
        server.say(f"<iq type='get' id='8' from='{JULIET}' to='{ROMEO}'><ping xmlns='urn:xmpp:ping'/></iq>")
        await server.heard('id="8"')
    assert [line["log_level"] for line in logs] == ["error", "error"]


async def test_no_character_of_sips_breaks_the_stream(server: Server, room: Room) -> None:
    server.say(
        f"<message type='chat' from='{JULIET}' to='{ROMEO}'>"
        "<propose xmlns='urn:xmpp:jingle-message:0' id='s&quot;1'/></message>"
    )
    await asyncio.wait_for(room.called.wait(), PATIENCE)
    room.calls[0][1].hang_up(Cause.BUSY, 'a\x00\ud800<b>&"\ufffe')
    reject = await server.heard("<message.*?</message>")
    ET.fromstring(reject)


async def test_a_server_that_reads_nothing_counts_as_lost(
    server: Server, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(component, "MOST_UNSENT", -1)
    server.say(f"<iq type='get' id='7' from='{JULIET}' to='{ROMEO}'><ping xmlns='urn:xmpp:ping'/></iq>")
    await server.linked(2)
    monkeypatch.undo()
    await room.connected()


async def test_a_deadline_is_kept(server: Server, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.xmpp.presence.SHARE_LASTS", 0.01)
    server.say(f"<presence from='{JULIET}' to='{ROMEO}'><temppres xmlns='urn:xmpp:temppres:0'/></presence>")
    await server.heard('type="unavailable"')


def test_the_back_off_doubles_to_a_bound_and_begins_anew() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    assert [backoff.wait() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    backoff.reset()
    assert backoff.wait() == 1
    assert Backoff(jitter=lambda: 0.0).wait() == 0.5


def test_settings_do_not_show_the_secret() -> None:
    assert "hush" not in repr(XmppSettings(DOMAIN, "127.0.0.1", 5347, "hush", ()))


def presence_of(number: int) -> str:
    """A stranger's; every other asks for presence."""
    asks = "<temppres xmlns='urn:xmpp:temppres:0'/>" if number % 2 else ""
    return f"<presence from='s{number}@verona.lit/x' to='{ROMEO}'>{asks}</presence>"


class Flood:
    """A component that nobody listens to."""

    def __init__(self) -> None:
        settings = XmppSettings(DOMAIN, "127.0.0.1", 1, "secret", ("shakespeare.lit",))
        self.component = Component(settings, lambda local: True, self.on_call, lambda traced: None)
        self.component._router.connected = True
        self.link = Link(settings, self.component._received)

    def on_call(self, incoming: IncomingCall, leg: LegControl) -> Admitted:
        raise AssertionError

    def __enter__(self) -> Flood:
        return self

    def __exit__(self, *exc: object) -> None:
        self.link.close()
        if self.component._timer is not None:
            self.component._timer.cancel()

    def memory(self) -> int:
        """Blocks that Python holds."""
        gc.collect()
        return sys.getallocatedblocks()


@pytest.mark.slow
async def test_a_hundred_thousand_strangers_leave_memory_flat() -> None:
    with Flood() as flood:
        asks, says = (ET.fromstring(f"<s xmlns='{stanzas.STREAM}'>{presence_of(n)}</s>")[0] for n in (1, 2))
        before = 0
        for n in range(100_000):
            if n == 20_000:
                before = flood.memory()
            stanza = asks if n % 2 else says
            stanza.set("from", f"s{n}@verona.lit/x")
            flood.component._received(stanza)
        assert flood.memory() - before < 2_000


@pytest.mark.slow
async def test_slixmpp_remembers_no_stranger_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its roster would keep 1.5 kB of each; ours is bounded to hardly any here."""
    monkeypatch.setattr("gateway.xmpp.presence.REMEMBERED_OF_STRANGERS", 10)
    monkeypatch.setattr("gateway.xmpp.router.RATED_USERS", 10)
    with Flood() as flood:
        flood.link.init_parser()
        flood.link.data_received(HEADER)
        for n in range(4_000):
            if n == 2_000:
                before = flood.memory()
            flood.link.data_received(presence_of(n))
        assert flood.memory() - before < 1_000
        assert list(flood.link.roster) == [DOMAIN]


async def test_a_bounced_stanza_is_read_as_what_it_says(server: Server, room: Room, our_offer: Session) -> None:
    """Not as feature-not-implemented, which slixmpp makes of the component's namespace."""
    leg = room.component.callee("call-9", 1, "juliet@elsewhere.lit", ROMEO, room.sink)
    leg.dial(our_offer)
    propose = ET.fromstring(await server.heard("<message.*?</message>"))
    server.say(
        f"<message type='error' id='{propose.get('id')}' from='juliet@elsewhere.lit' to='{ROMEO}/sip'>"
        "<error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )
    await asyncio.wait_for(room.told.wait(), PATIENCE)
    assert [(r.cause, r.text) for r in room.reports if isinstance(r, HungUp)] == [
        (Cause.NOT_FOUND, "remote-server-not-found")
    ]


async def test_a_subscriber_of_an_earlier_run_is_told_when_we_come_and_when_we_go(server: Server) -> None:
    kept: list[tuple[str, str, str]] = []
    settings = XmppSettings(DOMAIN, "127.0.0.1", server.port, "secret", ("shakespeare.lit",), inline_candidates=True)
    component = Component(
        settings,
        lambda local: True,
        lambda incoming, leg: Admitted("call-1", lambda report: None),
        lambda traced: None,
        on_subscription=lambda *change: kept.append(change),
    )
    component.restore([("juliet@shakespeare.lit", ROMEO, "sees seen asked")])
    assert component.subscribed("juliet@shakespeare.lit", ROMEO)
    running = asyncio.create_task(component.run())
    shown = await server.heard("<presence[^>]*>.*?</presence>")
    assert 'to="juliet@shakespeare.lit"' in shown
    assert f'from="{ROMEO}/sip"' in shown
    assert disco.sets(inline_candidates=True).contact.ver in shown
    server.say(f"<presence type='unsubscribed' from='juliet@shakespeare.lit' to='{ROMEO}'/>")
    server.say(f"<iq type='get' id='1' from='{JULIET}' to='{ROMEO}'><ping xmlns='urn:xmpp:ping'/></iq>")
    await server.heard('<iq[^>]*type="result"')
    assert kept == [("juliet@shakespeare.lit", ROMEO, "sees")]
    assert not component.subscribed("juliet@shakespeare.lit", ROMEO)
    await component.stop()
    await running
    gone = await server.heard('<presence[^>]*type="unavailable"[^>]*>')
    assert 'to="juliet@shakespeare.lit"' in gone


@pytest.mark.parametrize("ringing_after", [None, 7.0])
def test_what_the_operator_set_for_calls_reaches_them(ringing_after: float | None) -> None:
    settings = XmppSettings(DOMAIN, "127.0.0.1", 1, "secret", (), ringing_after=ringing_after, chat_dtmf=True)
    built = Component(settings, lambda local: True, lambda incoming, leg: Admitted("", lambda report: None), print)
    calls = built._router._calls
    assert (calls._ringing_after, calls._chat_dtmf) == (ringing_after, True)
