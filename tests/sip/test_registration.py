"""gateway.sip.registration: refresh and back-off on a clock set by hand; and once over a socket."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.addresses import SipUri
from gateway.sip import telephony
from gateway.sip.application import Application
from gateway.sip.message import Headers, Response
from gateway.sip.registration import (
    FIRST_PAUSE,
    FORBIDDEN_PAUSE,
    LAST_PAUSE,
    LONGEST,
    OUTAGE_PAUSE,
    SHORTEST,
    Registration,
    granted_seconds,
)
from gateway.sip.telephony import Account, Credentials, SipSettings, Telephony
from tests.patience import PATIENCE
from tests.sip.wire import Datagrams, answer, field, tag


def account(registrar: str = "sip:registrar.example") -> Account:
    return Account("carrier", SipUri.parse(registrar), SipUri.parse("sip:romeo@carrier.example"), Credentials("r", "s"))


def said(status: int, **headers: str) -> Response:
    return Response(status, "", Headers((name.replace("_", "-"), value) for name, value in headers.items()))


def test_it_is_refreshed_before_it_expires() -> None:
    registration = Registration(account(), 10.0)
    assert registration.deadline == 10.0
    registration.asked()
    assert registration.deadline is None
    registration.answered(said(200, Contact="<sip:romeo@192.0.2.1>;expires=600"), "romeo", 11.0)
    assert registration.registered
    assert registration.deadline == 11.0 + 540


def test_failures_are_retried_with_growing_patience() -> None:
    registration, pauses = Registration(account(), 0.0), []
    for _ in range(9):
        registration.answered(said(503), "romeo", 0.0)
        pauses.append(registration.deadline)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LAST_PAUSE
    assert registration.problem == "503 Service Unavailable"
    registration.answered(said(200), "romeo", 0.0)
    registration.answered(said(408), "romeo", 0.0)
    assert registration.deadline == FIRST_PAUSE


def test_a_registrar_that_is_away_is_looked_for_every_two_minutes_at_least() -> None:
    registration, pauses = Registration(account(), 0.0), []
    for _ in range(9):
        registration.answered(Response(503, "nothing listens there", Headers(), local=True), "romeo", 0.0)
        pauses.append(registration.deadline)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == OUTAGE_PAUSE
    assert registration.problem == "nothing listens there"  # and no 503, which nobody said


def test_a_retry_after_is_respected_and_bounded() -> None:
    registration = Registration(account(), 0.0)
    registration.answered(said(503, Retry_After="120 (maintenance)"), "romeo", 0.0)
    assert registration.deadline == 120
    registration.answered(said(503, Retry_After="999999999"), "romeo", 0.0)
    assert registration.deadline == LAST_PAUSE


@pytest.mark.parametrize("status", [401, 403, 404, 407])
def test_a_wrong_password_is_not_tried_often(status: int) -> None:
    registration = Registration(account(), 0.0)
    registration.answered(said(status), "romeo", 0.0)
    assert registration.deadline == FORBIDDEN_PAUSE


def test_too_brief_is_answered_once_with_what_the_registrar_wants() -> None:
    registration = Registration(account(), 0.0)
    registration.answered(said(423, Min_Expires="7200"), "romeo", 5.0)
    assert (registration.expires, registration.deadline) == (7200, 5.0)
    registration.answered(said(423, Min_Expires="9000"), "romeo", 5.0)
    assert registration.deadline == 5.0 + FIRST_PAUSE


def test_what_a_registrar_grants() -> None:
    both = said(200, Contact="<sip:other@h>;expires=99, nonsense, <sip:romeo@h>;expires=600, <sip:romeo@i>;expires=300")
    assert granted_seconds(both, "romeo", 3600) == 600
    assert granted_seconds(said(200, Expires="1200"), "romeo", 3600) == 1200
    assert granted_seconds(said(200, Expires="soon"), "romeo", 3600) == 3600
    assert granted_seconds(said(200, Expires="1"), "romeo", 3600) == SHORTEST
    assert granted_seconds(said(200, Expires="999999999"), "romeo", 3600) == LONGEST


def test_a_registrar_that_may_have_forgotten_us_is_asked_before_its_time() -> None:
    registration = Registration(account(), 0.0)
    registration.again(1.0)
    assert registration.deadline == 0.0  # it is due already
    registration.asked()
    registration.again(1.0)
    assert registration.deadline is None  # it is being asked
    registration.answered(said(503), "romeo", 2.0)
    registration.again(3.0)
    assert registration.deadline == 2.0 + FIRST_PAUSE  # who has failed waits as he was to
    registration.answered(said(200), "romeo", 20.0)
    registration.again(21.0)
    assert registration.deadline == 20.0 + FIRST_PAUSE  # one that hangs up each time is not asked all the time
    registration.answered(said(200), "romeo", 40.0)
    registration.again(1000.0)
    assert registration.deadline == 1000.0


async def test_a_registration_is_made_anew_when_its_connection_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can be called back who came by a WebSocket, nor behind NAT (RFC 5626 §4.5)."""
    monkeypatch.setattr("gateway.sip.registration.FIRST_PAUSE", 0.0)
    room = Telephony(
        Application(), SipSettings("gw.example", ("tcp:127.0.0.1:0",)), lambda *_: pytest.fail("a call"), lambda _: None
    )
    changes: list[tuple[str, bool]] = []
    room.on_registration = lambda name, registered: changes.append((name, registered))
    await room.start()
    heard: asyncio.Queue[tuple[bytes, asyncio.StreamWriter]] = asyncio.Queue()

    async def on_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                heard.put_nowait((request, writer))
                writer.write(answer(request.decode(), 200).encode())

    server = await asyncio.start_server(on_stream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    room.register(account(f"sip:127.0.0.1:{port};transport=tcp"))
    async with asyncio.timeout(PATIENCE):
        first, connection = await heard.get()
        while not changes:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)
        connection.close()
        second, connection = await heard.get()
        assert field(second.decode(), "CSeq") == "2 REGISTER"
        assert field(second.decode(), "Call-ID") == field(first.decode(), "Call-ID")
        while len(changes) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        room.register_again("carrier")  # it was away, as its OPTIONS tell
        room.register_again("unheard of")
        third, _ = await heard.get()
        assert field(third.decode(), "CSeq") == "3 REGISTER"
        assert changes[:2] == [("carrier", True)] * 2
        await room.stop()
        server.close()
        await server.wait_closed()


async def test_a_trunk_is_registered_over_the_wire() -> None:
    room = Telephony(
        Application(), SipSettings("gw.example", ("udp:127.0.0.1:0",)), lambda *_: pytest.fail("a call"), lambda _: None
    )
    await room.start()
    async with Datagrams() as registrar:
        registration = room.register(account(f"sip:127.0.0.1:{registrar.port}"))
        first = await registrar.receive("REGISTER")
        assert first.startswith("REGISTER sip:carrier.example SIP/2.0")
        assert field(first, "Contact").startswith("<sip:romeo@127.0.0.1:")
        assert tag(field(first, "To")) == ""
        registrar.send(answer(first, 401, extra='WWW-Authenticate: Digest realm="r", nonce="n"'))
        second = await registrar.receive("REGISTER")
        assert field(second, "CSeq") == "2 REGISTER"
        assert field(second, "Call-ID") == field(first, "Call-ID")
        assert field(second, "Authorization")
        registrar.send(answer(second, 423, extra="Min-Expires: 7200"))
        third = await registrar.receive("REGISTER")
        assert field(third, "Expires") == "7200"
        assert field(third, "CSeq") == "3 REGISTER"
        registrar.send(answer(third, 200, extra=f"Contact: {field(third, 'Contact')};expires=7200"))
        while not registration.registered:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)
        stopping = asyncio.ensure_future(room.stop())
        last = await registrar.receive("REGISTER")
        assert (field(last, "Expires"), field(last, "CSeq")) == ("0", "4 REGISTER")
        registrar.send(answer(last, 200))
        await stopping


async def test_a_registrar_that_is_gone_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telephony, "GOODBYE", 0.01)
    room = Telephony(
        Application(), SipSettings("gw.example", ("udp:127.0.0.1:0",)), lambda *_: pytest.fail("a call"), lambda _: None
    )
    await room.start()
    async with Datagrams() as registrar:
        registration = room.register(account(f"sip:127.0.0.1:{registrar.port}"))
        registrar.send(answer(await registrar.receive("REGISTER"), 200))
        while not registration.registered:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)
        await room.stop()
