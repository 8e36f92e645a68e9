"""Users of an XMPP server call a test line and a telephone, through the gateway and with real peers at both ends."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.interop.client.client import Call, Client, both_hear
from tests.interop.client.jingle import DTMF_48000, G722, LIBWEBRTC, OPUS, PCMA, PCMU, Codec
from tests.interop.peers import tones
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.gateway import Gateway
from tests.interop.peers.process import PHONE_HOST
from tests.interop.peers.server import Server
from tests.interop.peers.servers import ON_EVERY_SERVER
from tests.interop.peers.sipp import Sipp


@pytest.fixture
async def old_juliet(server: Server, gateway: Gateway) -> AsyncIterator[Client]:
    """A user whose client knows no Jingle Message Initiation."""
    client = Client(*server.account("juliet"), jmi=False)
    async with client:
        yield client


@pytest.fixture
async def patient_phone(juliet: Client) -> AsyncIterator[Baresip]:
    """A telephone that rings until the test lets it do something."""
    async with Baresip(tone=tones.draw(juliet.tone), answer="manual") as baresip:
        yield baresip


async def call_up(caller: Client, contact: str) -> Call:
    call = await caller.call(contact)
    await call.answered()
    return call


async def test_a_user_calls_the_test_line_and_hears_himself(juliet: Client, gateway: Gateway) -> None:
    call = await call_up(juliet, gateway.contact("echo"))
    await call.voice.hears(juliet.tone, seconds=2.0)
    await call.hang_up()


async def test_a_user_with_a_simple_client_calls_the_test_line(old_juliet: Client, gateway: Gateway) -> None:
    call = await call_up(old_juliet, await old_juliet.add(gateway.contact("echo")))
    await call.voice.hears(old_juliet.tone)
    await call.hang_up()


@ON_EVERY_SERVER
async def test_a_user_calls_a_telephone(juliet: Client, phone: Baresip, gateway: Gateway) -> None:
    call = await call_up(juliet, gateway.contact_of(phone.uri))
    await both_hear(call, phone)
    await call.hang_up()
    await phone.event("CALL_CLOSED")


@ON_EVERY_SERVER
async def test_a_user_with_a_simple_client_calls_a_telephone(old_juliet: Client, gateway: Gateway) -> None:
    async with Baresip(tone=tones.draw(old_juliet.tone)) as phone:
        address = await old_juliet.add(gateway.contact_of(phone.uri))
        call = await call_up(old_juliet, address)
        await both_hear(call, phone)
        await call.hang_up()
        await phone.event("CALL_CLOSED")


@ON_EVERY_SERVER
async def test_a_stranger_is_called_after_asking_for_his_presence(old_juliet: Client, gateway: Gateway) -> None:
    """XEP-0276: no subscription, no roster; the answer's JID is enough for a direct call."""
    async with Baresip(tone=tones.draw(old_juliet.tone)) as phone:
        contact = gateway.contact_of(phone.uri)
        address = await old_juliet.request_presence(contact)
        assert "urn:xmpp:jingle:apps:rtp:audio" in await old_juliet.features(address)
        call = await call_up(old_juliet, address)
        await both_hear(call, phone)
        await call.hang_up()


@pytest.mark.parametrize(
    ("offered", "spoken"),
    [
        (LIBWEBRTC, {"PCMU", "PCMA"}),
        ((PCMA,), {"PCMA"}),
        ((OPUS, DTMF_48000), {"opus"}),
        ((G722, PCMU), {"PCMU"}),
    ],
    ids=["all of libwebrtc's", "PCMA alone", "opus alone is transcoded", "G722 is not the telephone's"],
)
async def test_codecs_are_relayed_where_they_match_and_transcoded_where_they_do_not(
    juliet: Client, phone: Baresip, gateway: Gateway, offered: tuple[Codec, ...], spoken: set[str]
) -> None:
    call = await juliet.call(gateway.contact_of(phone.uri), offered)
    await call.answered()
    assert call.remote is not None
    assert call.remote.codecs[0].name in spoken
    await both_hear(call, phone)
    await call.hang_up()


async def test_a_telephone_that_hears_more_than_most_is_understood_by_a_user_with_opus(
    juliet: Client, gateway: Gateway
) -> None:
    async with Baresip(tone=tones.draw(juliet.tone), codecs=("G722/16000/1",)) as phone:
        call = await juliet.call(gateway.contact_of(phone.uri), (OPUS, DTMF_48000))
        await call.answered()
        assert call.remote is not None
        assert call.remote.codecs[0].name == "opus"
        await both_hear(call, phone)
        await call.hang_up()


async def test_it_rings_only_when_the_telephone_rings(juliet: Client, patient_phone: Baresip, gateway: Gateway) -> None:
    call = await juliet.call(gateway.contact_of(patient_phone.uri))
    await patient_phone.event("CALL_INCOMING")
    await call.ringing()
    await patient_phone.accept()
    await call.answered()
    await both_hear(call, patient_phone)
    await call.hang_up()


async def test_keys_go_both_ways(juliet: Client, phone: Baresip, gateway: Gateway) -> None:
    call = await call_up(juliet, gateway.contact_of(phone.uri))
    await both_hear(call, phone)
    call.voice.press("12#")  # RFC 4733
    await phone.pressed("12#")
    await call.press("90*")  # XEP-0181
    await phone.pressed("90*")
    await phone.press("456")
    await call.voice.pressed("456")
    assert phone.digits == "12#90*"
    assert call.voice.digits == "456"
    await call.hang_up()


async def test_keys_go_both_ways_when_the_voice_is_transcoded(juliet: Client, phone: Baresip, gateway: Gateway) -> None:
    """The clock of events is Opus's on one side and G.711's on the other (RFC 4733 §2.1)."""
    call = await juliet.call(gateway.contact_of(phone.uri), (OPUS, DTMF_48000))
    await call.answered()
    await both_hear(call, phone)
    call.voice.press("7")
    await phone.pressed("7")
    await phone.press("8")
    await call.voice.pressed("8")
    assert 0.03 <= call.voice.durations[0] <= 1.0
    await call.hang_up()


async def test_the_telephone_hangs_up(juliet: Client, phone: Baresip, gateway: Gateway) -> None:
    call = await call_up(juliet, gateway.contact_of(phone.uri))
    await both_hear(call, phone)
    await phone.hang_up()
    assert await call.ended() == "success"


@pytest.mark.parametrize(
    ("status", "reason"),
    [("486 Busy Here", "busy"), ("603 Decline", "decline"), ("404 Not Found", "gone"), ("480 Gone Out", "timeout")],
)
async def test_a_refusal_reaches_the_user_with_its_reason(
    old_juliet: Client, gateway: Gateway, status: str, reason: str
) -> None:
    async with Sipp("refuse", address=PHONE_HOST, status=status) as phone:
        call = await old_juliet.call(await old_juliet.add(gateway.contact_of(f"sip:romeo@{phone.host}")))
        assert await call.ended() == reason
        await phone.done()


async def test_a_busy_telephone_rejects_an_announced_call(
    juliet: Client, patient_phone: Baresip, gateway: Gateway
) -> None:
    call = await juliet.call(gateway.contact_of(patient_phone.uri))
    await patient_phone.event("CALL_INCOMING")
    await patient_phone.hang_up()
    assert await call.ended() == "reject"
    assert "← proceed" not in call.transcript


async def test_nobody_is_at_the_address(juliet: Client, gateway: Gateway) -> None:
    async with Baresip() as phone:
        nobody = phone.uri.replace("romeo", "nobody")
        call = await juliet.call(gateway.contact_of(nobody))
        assert await call.ended() == "reject"


async def test_a_user_cancels_while_it_rings(juliet: Client, patient_phone: Baresip, gateway: Gateway) -> None:
    call = await juliet.call(gateway.contact_of(patient_phone.uri))
    await call.ringing()
    await call.hang_up()
    await patient_phone.event("CALL_CLOSED")


async def test_a_user_with_a_simple_client_cancels_while_it_rings(old_juliet: Client, gateway: Gateway) -> None:
    async with Baresip(answer="manual") as phone:
        call = await old_juliet.call(await old_juliet.add(gateway.contact_of(phone.uri)))
        await call.ringing()
        await call.hang_up()
        await phone.event("CALL_CLOSED")


async def test_a_call_that_no_rule_allows_is_refused(juliet: Client, gateway: Gateway) -> None:
    call = await juliet.call(gateway.contact("romeo%example.com"))
    assert await call.ended() == "reject"


async def test_calls_follow_each_other_and_run_side_by_side(juliet: Client, phone: Baresip, gateway: Gateway) -> None:
    echo = await call_up(juliet, gateway.contact("echo"))
    for _ in range(3):
        call = await call_up(juliet, gateway.contact_of(phone.uri))
        await both_hear(call, phone)
        await call.hang_up()
        await phone.event("CALL_CLOSED")
        phone.events.clear()
    echo.voice.forget()
    await echo.voice.hears(juliet.tone)
    await echo.hang_up()
