"""gateway.sip.outbound: the ways to a next hop."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from pathlib import Path

import pytest
import structlog

from gateway.sip import agent
from gateway.sip.application import TLS, UDP, WS, Application, Contact, Dialog, IncomingRequest
from gateway.sip.locate import Question, Srv
from gateway.sip.message import Request
from gateway.sip.outbound import LARGE
from gateway.sip.resolver import Resolver
from gateway.sip.targets import Penalties
from gateway.sip.tls import TlsSettings
from gateway.sip.usage import UNTRUSTED
from tests.patience import PATIENCE
from tests.sip.authority import Authority, Demanding
from tests.sip.programs import QUICK, ROMEO, Dialplan, calling, serving, to
from tests.sip.wire import SDP, Caller, Datagrams, answer, field, method


async def test_a_large_request_goes_over_a_stream_where_the_target_lets_it() -> None:
    async with calling() as app, Datagrams() as peer:
        accepted: asyncio.Queue[bytes] = asyncio.Queue()

        async def on_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.put_nowait(await reader.readuntil(b"\r\n\r\n"))
            writer.close()

        server = await asyncio.start_server(on_stream, "127.0.0.1", peer.port)
        far = await app.connect(("127.0.0.1", peer.port))
        await far.invite(from_details=ROMEO, to_details=to(("127.0.0.1", peer.port)), payload=LARGE * "v")
        async with asyncio.timeout(PATIENCE):
            assert b"Via: SIP/2.0/TCP" in await accepted.get()
        server.close()
        await server.wait_closed()
        named = await app.connect(("127.0.0.1", peer.port), UDP)
        await named.invite(from_details=ROMEO, to_details=to(("127.0.0.1", peer.port)), payload=LARGE * "v")
        assert method(await peer.receive("INVITE")) == "INVITE"
        await far.invite(from_details=ROMEO, to_details=to(("127.0.0.1", peer.port)), payload=LARGE * "v")
        assert method(await peer.receive("INVITE")) == "INVITE"  # nobody listens there any more


async def test_an_address_without_a_permit_is_asked_nothing() -> None:
    async with calling(permit=lambda address: address != "127.0.0.1") as app, Datagrams() as peer:
        far = await app.connect(("127.0.0.1", peer.port))
        dialog = await far.invite(from_details=ROMEO, to_details=ROMEO)
        response = await dialog.ready()
        assert (response.status, response.local) == (503, True)
        assert response.told == "no address that may be asked was found for 127.0.0.1"
        trusted = await app.connect(("127.0.0.1", peer.port), trusted=True)
        await trusted.invite(from_details=ROMEO, to_details=ROMEO)
        assert method(await peer.receive("INVITE")) == "INVITE"


async def test_it_is_said_why_nobody_was_reached() -> None:
    async with calling() as app, Datagrams() as gone:
        gone.socket.close()
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        closed = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        for hop, reason in (
            (f"sip:127.0.0.1:{gone.port}", f"nothing listens at 127.0.0.1:{gone.port}"),
            (f"sip:127.0.0.1:{closed};transport=tcp", f"no connection to 127.0.0.1:{closed}: connection refused"),
            ("sip:[::1]:5060", "we listen at no UDP address from which ::1 could be reached"),
            ("sip:nowhere.invalid", "no address that may be asked was found for nowhere.invalid"),
        ):
            with structlog.testing.capture_logs() as logs:
                dialog = await (await app.connect(hop, trusted=True)).request(
                    "OPTIONS", from_details=ROMEO, to_details=ROMEO
                )
            assert dialog.last is not None
            assert dialog.last.local
            assert re.fullmatch(reason, dialog.last.told, re.IGNORECASE), dialog.last.told
            told = [entry["error"] for entry in logs if entry["event"] == "sip next hop not reachable"]
            assert told == ([] if "nothing" in reason else [dialog.last.told])  # there it was sent


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


# --- several targets (RFC 3263 §4.3) ----------------------------------------------------------------------------------


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], list[object]]:
    """A DNS to be filled in: (name, kind) -> records."""
    table: dict[tuple[str, str], list[object]] = {}

    async def ask(_: object, question: Question) -> list[object]:
        return table.get((question.name, question.kind), [])

    monkeypatch.setattr(Resolver, "ask", ask)
    return table


def services(dns: dict[tuple[str, str], list[object]], *ports: int, transport: str = "udp") -> None:
    """One domain, carrier.example, with a server behind each port, in this order."""
    dns[f"_sip._{transport}.carrier.example", "SRV"] = [
        Srv(priority, 0, port, "host.carrier.example") for priority, port in enumerate(ports)
    ]
    dns["host.carrier.example", "A"] = ["127.0.0.1"]


CARRIER = "sip:carrier.example"
JULIET = Contact.from_header("sip:juliet@carrier.example")


async def invited(app: Application, dns: dict[tuple[str, str], list[object]], *servers: Datagrams) -> Dialog:
    """A call to carrier.example, whose servers these are, in this order."""
    services(dns, *(server.port for server in servers))
    far = await app.connect(CARRIER)
    return await far.invite(from_details=ROMEO, to_details=JULIET, payload=SDP)


async def test_a_server_that_says_503_leads_to_the_next_and_is_left_alone_for_a_while(
    dns: dict[tuple[str, str], list[object]],
) -> None:
    async with calling() as app, Datagrams() as busy, Datagrams() as good:
        services(dns, busy.port, good.port)
        far = await app.connect(CARRIER)
        call = await far.invite(from_details=ROMEO, to_details=JULIET, payload=SDP)
        first = await busy.receive("INVITE")
        busy.send(answer(first, 503, extra="Retry-After: 60"))
        second = await good.receive("INVITE")
        assert field(await busy.receive("ACK"), "Via") == field(first, "Via")
        assert field(second, "Via") != field(first, "Via")  # a transaction of its own
        assert [field(second, name) for name in ("Call-ID", "CSeq", "From")] == [
            field(first, name) for name in ("Call-ID", "CSeq", "From")
        ]
        good.send(answer(second, 486))
        assert (await call.ready()).status == 486  # the 503 of the first one was nobody's business
        await far.invite(from_details=ROMEO, to_details=JULIET, payload=SDP)
        await good.receive("INVITE")  # the first one rests
        assert await busy.silent()


async def test_a_server_that_does_not_answer_leads_to_the_next(dns: dict[tuple[str, str], list[object]]) -> None:
    async with calling() as app, Datagrams() as dead, Datagrams() as good:
        services(dns, dead.port, good.port)
        far = await app.connect(CARRIER)
        asking = asyncio.ensure_future(far.request("OPTIONS", from_details=ROMEO, to_details=JULIET))
        good.send(answer(await good.receive("OPTIONS"), 200))
        assert (await asking).status_code == 200
        await dead.receive("OPTIONS")


async def test_a_server_that_is_not_there_leads_to_the_next_at_once(
    dns: dict[tuple[str, str], list[object]],
) -> None:
    """Its machine says so by ICMP; the timers are those of the RFC, and nobody waits for one."""
    app = Application()
    await app.run(local_addr=("127.0.0.1", 0))
    async with Datagrams() as gone, Datagrams() as good:
        gone.socket.close()
        services(dns, gone.port, good.port)
        far = await app.connect(CARRIER)
        call = await far.invite(from_details=ROMEO, to_details=JULIET, payload=SDP)
        invite = await good.receive("INVITE")
        good.send(answer(invite, 486))
        assert (await call.ready()).status == 486
        alone = await app.connect(("127.0.0.1", gone.port))
        async with asyncio.timeout(PATIENCE):
            nobody = await alone.request("OPTIONS", from_details=ROMEO, to_details=JULIET)
        assert nobody.last is not None
        assert (nobody.last.status, nobody.last.local) == (503, True)
        again = await far.invite(from_details=ROMEO, to_details=JULIET, payload=SDP)
        assert field(await good.receive("INVITE"), "Call-ID") == again.call_id
        assert [target.port for target in app._outbound.penalties._until] == [gone.port]
    await app.close()


async def test_a_server_that_refuses_the_connection_leads_to_the_next(
    dns: dict[tuple[str, str], list[object]],
) -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def on_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(on_stream, "127.0.0.1", 0)
    async with calling() as app, Datagrams() as nobody:  # no one listens for TCP on its port
        services(dns, nobody.port, server.sockets[0].getsockname()[1], transport="tcp")
        far = await app.connect(f"{CARRIER};transport=tcp")
        await far.invite(from_details=ROMEO, to_details=JULIET, payload=SDP)
        async with asyncio.timeout(PATIENCE):
            assert (await got.get()).startswith(b"INVITE ")
    server.close()
    await server.wait_closed()


async def test_when_all_fail_the_last_failure_is_told(dns: dict[tuple[str, str], list[object]]) -> None:
    async with calling() as app, Datagrams() as one, Datagrams() as two:
        call = await invited(app, dns, one, two)
        for peer in (one, two):
            peer.send(answer(await peer.receive("INVITE"), 503))
        response = await call.ready()
        assert (response.status, response.local) == (503, False)
        assert app.dialogs == []


async def test_a_server_that_begins_to_ring_when_the_next_one_is_asked_is_cancelled(
    dns: dict[tuple[str, str], list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "SILENCE", 0.1)
    async with calling() as app, Datagrams() as slow, Datagrams() as good:
        call = await invited(app, dns, slow, good)
        second = await good.receive("INVITE")
        first = await slow.receive("INVITE")
        slow.send(answer(first, 183, to_tag="slow", content=SDP))
        cancel = await slow.receive("CANCEL")
        assert field(cancel, "Via") == field(first, "Via")
        slow.send(answer(cancel, 200))
        slow.send(answer(first, 487, to_tag="slow"))
        await slow.receive("ACK")
        good.send(answer(second, 200, extra=f"Contact: <sip:juliet@127.0.0.1:{good.port}>", content=SDP))
        assert (await call.ready()).status == 200
        await good.receive("ACK")


async def test_a_server_that_answers_when_the_next_one_is_asked_is_hung_up_there_and_the_call_goes_on_here(
    dns: dict[tuple[str, str], list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "SILENCE", 0.1)
    nowhere = "Contact: <sip:juliet@10.9.9.9>"  # an address behind NAT: only the way that they came by leads there
    async with calling(permit=lambda found: found != "10.9.9.9") as app, Datagrams() as slow, Datagrams() as good:
        call = await invited(app, dns, slow, good)
        second = await good.receive("INVITE")
        slow.send(answer(await slow.receive("INVITE"), 200, to_tag="slow", extra=nowhere, content=SDP))
        await slow.receive("ACK")
        slow.send(answer(await slow.receive("BYE"), 200))
        good.send(answer(second, 200, to_tag="good", extra=nowhere, content=SDP))
        assert (await call.ready()).status == 200
        await good.receive("ACK")
        await call.close()
        good.send(answer(await good.receive("BYE"), 200))


async def test_what_rang_once_does_not_begin_again_elsewhere(dns: dict[tuple[str, str], list[object]]) -> None:
    async with calling() as app, Datagrams() as one, Datagrams() as two:
        call = await invited(app, dns, one, two)
        invite = await one.receive("INVITE")
        one.send(answer(invite, 180))
        one.send(answer(invite, 503))
        assert (await call.ready()).status == 503
        assert await two.silent()


async def test_a_call_that_is_given_up_goes_nowhere_else(dns: dict[tuple[str, str], list[object]]) -> None:
    async with calling() as app, Datagrams() as one, Datagrams() as two:
        call = await invited(app, dns, one, two)
        invite = await one.receive("INVITE")
        call.hang_up()
        one.send(answer(invite, 503))
        assert (await call.ready()).status == 503
        assert await two.silent()


async def test_credentials_go_to_who_asked_for_them(dns: dict[tuple[str, str], list[object]]) -> None:
    async with calling() as app, Datagrams() as one, Datagrams() as two:
        services(dns, one.port, two.port)
        far = await app.connect(CARRIER)
        asking = asyncio.ensure_future(
            far.request("MESSAGE", from_details=ROMEO, to_details=JULIET, username="romeo", password="secret")
        )
        challenge = 'WWW-Authenticate: Digest realm="carrier", nonce="1", algorithm=MD5'
        one.send(answer(await one.receive("MESSAGE"), 401, extra=challenge))
        again = await one.receive("MESSAGE")
        assert field(again, "Authorization").startswith("Digest ")
        one.send(answer(again, 503))
        elsewhere = await two.receive("MESSAGE")
        two.send(answer(elsewhere, 200))
        assert (await asking).status_code == 200


async def test_what_follows_in_a_dialog_goes_to_the_server_that_has_it(
    dns: dict[tuple[str, str], list[object]],
) -> None:
    async with calling() as app, Datagrams() as one, Datagrams() as two:
        call = await invited(app, dns, one, two)
        one.send(answer(await one.receive("INVITE"), 503))
        contact = "Contact: <sip:juliet@carrier.example>"  # which names both of them
        two.send(answer(await two.receive("INVITE"), 200, extra=contact, content=SDP))
        await two.receive("ACK")
        app._outbound.penalties = Penalties()  # all is forgiven: by its order alone the first one would be asked
        await call.close()
        await two.receive("BYE")
        await one.receive("ACK")
        assert await one.silent()


async def test_a_server_that_wants_no_new_calls_hears_of_the_end_of_those_that_it_has(
    dns: dict[tuple[str, str], list[object]],
) -> None:
    async with calling() as app, Datagrams() as one, Datagrams() as two:
        services(dns, one.port, two.port)
        far = await app.connect(CARRIER)
        call = await far.invite(from_details=ROMEO, to_details=JULIET, payload=SDP)
        contact = "Contact: <sip:juliet@carrier.example>"  # which names both of them
        one.send(answer(await one.receive("INVITE"), 200, extra=contact, content=SDP))
        await one.receive("ACK")
        await far.invite(from_details=ROMEO, to_details=JULIET, payload=SDP)
        one.send(answer(await one.receive("INVITE"), 503, extra="Retry-After: 60"))
        two.send(answer(await two.receive("INVITE"), 486))
        await call.close()
        assert method(await one.receive("BYE")) == "BYE"


async def test_a_name_that_only_has_ipv6_is_reached_by_it(dns: dict[tuple[str, str], list[object]]) -> None:
    dns["six.example", "AAAA"] = ["::1"]
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.bind(("::1", 0))
        peer.setblocking(False)
        app = Application(timers=QUICK)
        await app.run(local_addr=("::1", 0))
        far = await app.connect(f"sip:six.example:{peer.getsockname()[1]}")
        await far.invite(from_details=ROMEO, to_details=JULIET, payload=SDP)
        async with asyncio.timeout(PATIENCE):
            invite = (await loop.sock_recvfrom(peer, 65_535))[0].decode()
        assert field(invite, "Via").startswith("SIP/2.0/UDP [::1]:")
        assert "@[::1]:" in field(invite, "Contact")
        await app.close()


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_a_call_over_tls_by_the_name_of_its_domain(
    dns: dict[tuple[str, str], list[object]], tmp_path: Path
) -> None:
    """SRV leads to another host; the certificate is the domain's (RFC 5922 §7.3), and the whole call stays in it."""
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("sip:carrier.example", "host.carrier.example"))
    said: list[str] = []
    over = asyncio.Event()

    async def carrier(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if size := int(field(head, "Content-Length")):
                    await reader.readexactly(size)
                said.append(method(head))
                port = writer.get_extra_info("sockname")[1]
                contact = f"Contact: <sips:juliet@127.0.0.1:{port}>"
                if said[-1] == "INVITE":
                    assert field(head, "Contact").startswith("<sips:")
                    writer.write(answer(head, 200, extra=contact, content=SDP).encode())
                elif said[-1] == "BYE":
                    writer.write(answer(head, 200).encode())
                    over.set()
        writer.close()

    server = await asyncio.start_server(carrier, "127.0.0.1", 0, ssl=context)
    dns["_sips._tcp.carrier.example", "SRV"] = [Srv(0, 0, server.sockets[0].getsockname()[1], "host.carrier.example")]
    dns["host.carrier.example", "A"] = ["127.0.0.1"]
    async with calling(tls=TlsSettings(ca=authority.ca)) as app:
        far = await app.connect("sips:carrier.example")
        secure = Contact.from_header("sips:juliet@carrier.example")
        call = await far.invite(from_details=ROMEO, to_details=secure, payload=SDP)
        assert (await call.ready()).status == 200
        await call.close()
        async with asyncio.timeout(PATIENCE):
            await over.wait()
        assert said == ["INVITE", "ACK", "BYE"]
        wrong = await app.connect(f"sip:other.example:{server.sockets[0].getsockname()[1]};transport=tls")
        dns["other.example", "A"] = ["127.0.0.1"]
        refused = await wrong.invite(from_details=ROMEO, to_details=JULIET, payload=SDP)
        response = await refused.ready()
        assert (response.status, response.local) == (UNTRUSTED, True)
        assert response.reason == "the certificate is not that of other.example, but of carrier.example"
    server.close()
    await server.wait_closed()
    assert said == ["INVITE", "ACK", "BYE"]


async def test_who_is_not_trusted_is_left_for_who_is(dns: dict[tuple[str, str], list[object]], tmp_path: Path) -> None:
    """Of two servers of a domain the first has a certificate that has expired; it is told of with the call's id."""
    authority = Authority(tmp_path)
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def on_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    servers = []
    for days in (-1, 1):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*authority.issue("carrier.example", days=days))
        servers.append(await asyncio.start_server(on_stream, "127.0.0.1", 0, ssl=context))
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    dns["_sips._tcp.carrier.example", "SRV"] = [Srv(n, 0, port, "host.carrier.example") for n, port in enumerate(ports)]
    dns["host.carrier.example", "A"] = ["127.0.0.1"]
    async with calling(tls=TlsSettings(ca=authority.ca)) as app:
        far = await app.connect(f"{CARRIER};transport=tls")
        with structlog.testing.capture_logs() as events:
            call = await far.invite(from_details=ROMEO, to_details=JULIET, payload=SDP)
            async with asyncio.timeout(PATIENCE):
                assert (await got.get()).startswith(b"INVITE ")
        assert [(event["call_id"], event["error"], event["remote"]) for event in events] == [
            (
                call.call_id,
                "no TLS with carrier.example: certificate verify failed: certificate has expired",
                f"127.0.0.1:{ports[0]}",
            )
        ]
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_who_does_not_trust_us_is_told_of_as_such(
    dns: dict[tuple[str, str], list[object]], tmp_path: Path
) -> None:
    """The alert comes after the handshake of TLS 1.3, when the INVITE has left."""
    authority = Authority(tmp_path)
    server = Demanding(authority, "carrier.example")
    dns["carrier.example", "A"] = ["127.0.0.1"]
    async with calling(tls=TlsSettings(ca=authority.ca)) as app:
        meeting = asyncio.create_task(asyncio.to_thread(server.meet))
        far = await app.connect(f"{CARRIER}:{server.address[1]};transport=tls")
        call = await far.invite(from_details=ROMEO, to_details=JULIET, payload=SDP)
        response = await call.ready()
        assert (response.status, response.local) == (UNTRUSTED, True)
        assert response.reason == "no TLS with carrier.example: tlsv13 alert certificate required"
        await meeting


async def test_a_trunk_is_called_over_the_connection_that_it_opened(
    dns: dict[tuple[str, str], list[object]], tmp_path: Path
) -> None:
    """RFC 5923: both have shown a certificate, and the trunk's Via says `alias`; nobody listens on its port."""
    authority = Authority(tmp_path)
    ours, key = authority.issue("gw.example")

    async def on_options(request: IncomingRequest, message: Request) -> None:
        await request.prepare(200)

    gateway = Application(dialplan=Dialplan(OPTIONS=on_options), tls=TlsSettings(ours, key, authority.ca))
    address = await gateway.run(protocol=TLS, local_addr=("127.0.0.1", 0))
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(*authority.issue("carrier.example"))
    reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="gw.example")
    caller = Caller("127.0.0.1", 9, "sip:gw.example", transport="TLS")
    writer.write(caller.request("OPTIONS").replace(";rport", ";rport;alias").encode())
    async with asyncio.timeout(PATIENCE):
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        dns["carrier.example", "A"] = ["127.0.0.1"]
        far = await gateway.connect("sip:carrier.example:9;transport=tls")
        asking = asyncio.ensure_future(far.request("OPTIONS", from_details=ROMEO, to_details=JULIET))
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert field(request, "Via").endswith(";alias")
        writer.write(answer(request, 200).encode())
        assert (await asking).status_code == 200
    writer.close()
    await gateway.close()


async def test_a_browser_is_called_back_over_its_own_connection() -> None:
    """Its Contact is a host that nobody has; what we send in the dialog goes where it came from (RFC 7118)."""
    said = asyncio.Event()

    async def on_invite(request: IncomingRequest, message: Request) -> None:
        dialog = await request.prepare(200, payload=SDP)
        assert (await anext(dialog)).label == "ACK"
        await dialog.close()
        said.set()

    async with serving(WS, INVITE=on_invite) as (_, address):
        browser = Application(timers=QUICK)
        far = await browser.connect(address, protocol=WS)
        contact = {"Contact": "<sip:romeo@df7jal23ls0d.invalid;transport=ws>"}
        call = await far.invite(from_details=ROMEO, to_details=to(address), headers=contact, payload=SDP)
        labels: list[str] = []
        async with asyncio.timeout(PATIENCE):
            async for message in call:
                labels.append(message.label)
            await said.wait()
        assert labels == ["100 Trying", "200 OK", "BYE"]
        await browser.close()
