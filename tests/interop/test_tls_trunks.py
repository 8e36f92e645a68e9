"""A trunk over TLS: both ends prove who they are, and the keys of the media travel where nobody reads them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.interop.client.client import Client, both_hear
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip, Credentials
from tests.interop.peers.carrier import OURS, THEIRS, plan
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.kamailio import DOMAIN, PASSWORD, Kamailio
from tests.interop.peers.process import HOST, PATIENCE, PHONE_HOST, free_port
from tests.interop.peers.server import Server
from tests.interop.peers.sipp import Sipp
from tests.sip.authority import Authority

CARRIER = "carrier.example"  # the name in the trunk's certificate
KEYS = (f'server_name = "{CARRIER}"', f'tls_names = ["{CARRIER}"]', 'srtp = "required"')


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def quiet_juliet(server: Server) -> AsyncIterator[Client]:
    async with Client(*server.account("juliet")) as client:
        yield client


class TlsGateway(Gateway):
    """It listens for TLS alone, with a certificate, believes this authority, and refuses strangers aloud."""

    def __init__(
        self, server: Server, text: str, authority: Authority, passwords: Mapping[str, str] | None = None
    ) -> None:
        port = free_port()
        self.shown = authority.issue(HOST)
        super().__init__(
            server,
            text,
            passwords=passwords,
            sip__listen=f"tls:{HOST}:{port}",
            sip__certificate=str(self.shown[0]),
            sip__key=str(self.shown[1]),
            sip__ca=str(authority.ca),
            sip__strangers="refuse",
        )
        self.sip_port = port
        self.sip_host = f"{HOST}:{port}"


def credentials(authority: Authority, *names: str, of: Authority | None = None) -> Credentials:
    """A certificate with these names, signed by `of`; its holder believes `authority`."""
    return Credentials(*(of or authority).issue(*names), authority.ca)


async def test_calls_both_ways_with_certificates_and_keys(
    server: Server, quiet_juliet: Client, authority: Authority
) -> None:
    """The trunk's calls come from another address than its own: its certificate is what it is known by."""
    juliet = quiet_juliet
    async with (
        Baresip(
            THEIRS,
            tone=tones.draw(juliet.tone),
            transport="tls",
            encryption="srtp-mand",
            credentials=credentials(authority, CARRIER),
        ) as phone,
        TlsGateway(server, plan(phone.proxy, *KEYS), authority) as gateway,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact(THEIRS))
        await call.answered()
        await both_hear(call, phone)
        await call.hang_up()
        await phone.event("CALL_CLOSED")
        await phone.dial(gateway.sip_uri(OURS))
        call = await juliet.incoming()
        await call.accept()
        await both_hear(call, phone)
        await phone.hang_up()
        await call.ended()


@pytest.mark.parametrize("wrong", ["name", "authority"])
async def test_a_certificate_that_is_not_the_trunks_brings_no_call_and_takes_none(
    server: Server, quiet_juliet: Client, authority: Authority, tmp_path: Path, wrong: str
) -> None:
    juliet = quiet_juliet
    if wrong == "name":
        shown, said = credentials(authority, "mallory.example"), "not that of carrier.example, but of mallory.example"
    else:
        shown, said = credentials(authority, CARRIER, of=Authority(tmp_path, "mallory")), "certificate verify failed"
    async with (
        Baresip(THEIRS, transport="tls", encryption="srtp-mand", credentials=shown) as phone,
        TlsGateway(server, plan(phone.proxy, *KEYS), authority) as gateway,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact(THEIRS))
        assert await call.ended() == "reject"
        assert not phone.events  # nothing was said to it
        failure = await gateway.logged("sip call not trusted")
        assert said in failure["error"]
        await gateway.logged("ended", call=failure["call"], cause="certificate", text=failure["error"])
        if wrong == "name":
            await phone.dial(gateway.sip_uri(OURS))
            assert "403" in (await phone.event("CALL_CLOSED"))["param"]
        else:
            assert await asyncio.to_thread(heard, gateway, shown) == b""
            refused = await gateway.logged("sip connection refused", kind="certificate")
            assert refused["source"].startswith(f"{HOST}:")
            assert said in refused["reason"]
            await gateway.counted('gateway_sip_connections_refused_total{why="certificate"} 1.0')
        assert not juliet.calls[1:]


def heard(gateway: Gateway, shown: Credentials) -> bytes:
    """What comes on a TLS connection with this certificate: nothing if it is closed at once.

    The end of TLS 1.3's handshake is no proof for who connects: his certificate is looked at after it.
    """
    context = ssl.create_default_context(cafile=str(shown.ca))
    context.load_cert_chain(shown.certificate, shown.key)
    with (
        socket.create_connection((HOST, gateway.sip_port), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as protected,
        contextlib.suppress(ConnectionResetError),
    ):
        return protected.recv(1)
    return b""


async def test_a_renewed_certificate_is_taken_on_a_signal_and_cuts_no_connection(
    server: Server, authority: Authority
) -> None:
    """What is broken is named by the log, and the old certificate is shown on."""
    async with TlsGateway(server, plan("sip:127.0.0.3"), authority) as gateway:
        await gateway.ready()
        async with connected(gateway, authority) as (reader, writer, before):
            certificate, key = authority.issue(HOST)
            certificate.replace(gateway.shown[0])
            gateway.child.tell(signal.SIGHUP)
            fault = (await gateway.logged("dialplan not reloaded"))["fault"]
            assert "cannot be used: [X509: KEY_VALUES_MISMATCH]" in fault
            async with connected(gateway, authority) as (_, _, shown):
                assert shown == before
            key.replace(gateway.shown[1])
            gateway.child.tell(signal.SIGHUP)
            await gateway.logged("tls files reloaded")
            async with connected(gateway, authority) as (_, _, shown):
                assert shown != before
            writer.write(b"\r\n\r\n")
            async with asyncio.timeout(PATIENCE):
                assert await reader.readexactly(2) == b"\r\n", "a ping is answered (RFC 5626 §3.5.1)"


@contextlib.asynccontextmanager
async def connected(
    gateway: Gateway, authority: Authority
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, str]]:
    """A connection to the gateway, and the number of the certificate that it showed."""
    context = ssl.create_default_context(cafile=str(authority.ca))
    reader, writer = await asyncio.open_connection(HOST, gateway.sip_port, ssl=context)
    try:
        yield reader, writer, writer.get_extra_info("peercert")["serialNumber"]
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_trunk_that_has_to_protect_its_media_and_does_not_has_no_calls(
    server: Server, quiet_juliet: Client
) -> None:
    juliet = quiet_juliet
    async with (
        Sipp("answer_challenged", algorithm="MD5", address=PHONE_HOST) as carrier,
        Baresip(THEIRS) as phone,
        Gateway(
            server,
            plan(f"sip:{carrier.host}", 'srtp = "required"', 'username = "me"', 'password_file = "password"'),
            passwords={"password": "secret"},
        ) as gateway,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact(THEIRS))
        assert await call.ended() == "security-error"
        await gateway.logged("ended", cause="security")
        await phone.dial(gateway.sip_uri(OURS))
        assert "488" in (await phone.event("CALL_CLOSED"))["param"]
        assert not juliet.calls[1:]


async def test_keys_are_offered_to_whoever_takes_them(server: Server, quiet_juliet: Client) -> None:
    """RFC 8643: keys beside RTP/AVP."""
    juliet = quiet_juliet
    async with (
        Baresip(THEIRS, tone=tones.draw(juliet.tone), encryption="srtp") as phone,
        Gateway(server, plan(phone.proxy, 'srtp = "optional"')) as gateway,
    ):
        await gateway.ready()
        call = await juliet.call(gateway.contact(THEIRS))
        await call.answered()
        await both_hear(call, phone)
        offer, answer = (line.split()[2] for line in phone.child.lines if line.startswith("m=audio"))
        assert (offer, answer) == ("RTP/AVP", "RTP/AVP")
        # Two suites are offered; one is taken, under its own number.
        keys = [line.split()[0] for line in phone.child.lines if line.startswith("a=crypto")]
        assert keys == ["a=crypto:1", "a=crypto:2", "a=crypto:1"]


@pytest.mark.parametrize("transport", ["tls", "ws", "wss"])
async def test_a_registrar_over_a_stream_brings_calls_and_takes_them(
    server: Server, quiet_juliet: Client, authority: Authority, transport: str
) -> None:
    """The gateway registers at Kamailio with a digest, and over TLS with a certificate; a telephone is there by UDP."""
    juliet = quiet_juliet
    certificate, key = authority.issue(HOST)
    account = ('username = "verona"', 'password_file = "password"', "register = true", f'from_host = "{DOMAIN}"')
    kamailio = Kamailio(certificate, key, authority.ca, demands=True)
    place = {
        "tls": kamailio.uri("TLS"),
        "ws": f"ws://{HOST}:{kamailio.port}/sip",
        "wss": f"wss://{HOST}:{kamailio.tls_port}/sip",
    }[transport]
    async with (
        kamailio,
        Baresip(
            THEIRS,
            tone=tones.draw(juliet.tone),
            proxy=f"{HOST}:{kamailio.port}",
            account=f"sip:{THEIRS}@{DOMAIN}",
            password=PASSWORD,
        ) as phone,
        TlsGateway(
            server,
            plan(place, *account).replace(f'number = "{OURS}"', 'user = "verona"'),
            authority,
            passwords={"password": PASSWORD},
        ) as gateway,
    ):
        await gateway.ready()
        await phone.event("REGISTER_OK")
        await gateway.logged("sip registration", trunk="carrier", registered=True)
        call = await juliet.call(gateway.contact(THEIRS))
        await call.answered()
        await both_hear(call, phone)
        await call.hang_up()
        await phone.event("CALL_CLOSED")
        await phone.dial(f"sip:verona@{DOMAIN}")
        call = await juliet.incoming()
        await call.accept()
        await both_hear(call, phone)
        await phone.hang_up()
        await call.ended()
        heard = [line.partition("heard ")[2] for line in kamailio.process.lines]
        for each in ("REGISTER", "INVITE", "BYE"):
            assert f"{each} from {transport}" in heard
        assert {"INVITE from udp", "BYE from udp"} <= set(heard)
