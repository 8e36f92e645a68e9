"""libwebrtc as caller and callee of a telephone, by both media engines; what brings them together is the gateway's."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.bridge import Bridge
from gateway.call.events import Leg, Reoffered, Trickled
from gateway.media.engine import Connected, MediaEngine
from gateway.session.model import Codec, Media, Session, Transport
from gateway.session.policy import Policy, Towards, Transcode
from tests.interop.peers import tones
from tests.interop.web.libwebrtc import LibWebRtc
from tests.media.contract.test_contract import hears, talking
from tests.media.ends import OPUS, PCMA, PCMU, Events, Phone

pytestmark = pytest.mark.slow

ANYWHERE = ("0.0.0.0/0", "::/0")  # it has the addresses of the machine, which may be private ones
RELAYED = Policy(("PCMA",), Transcode.NEVER)
TRANSCODED = Policy(("PCMA", "PCMU"), Transcode.PREFER_OPUS)
RINGS = 320.0  # Hz, of a ringing tone that the telephone makes itself


@pytest.fixture
async def engine(make_backend: Any) -> MediaEngine:
    backend = await make_backend(allow=ANYWHERE)
    started: MediaEngine = backend.engine
    return started


@pytest.fixture
async def browser() -> AsyncIterator[LibWebRtc]:
    async with LibWebRtc(float(random.randrange(420, 640, 20))) as end:
        yield end


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    phone = Phone()
    yield phone
    await phone.close()


def said(phone: Phone, *codecs: Codec) -> Session:
    """What the telephone says of itself."""
    return Session((Media("audio", "audio", codecs or (PCMA,), phone.transport),))


def found(phone: Phone, ours: Session) -> None:
    assert ours.audio is not None
    where: Transport = ours.audio.transport
    phone.far = (str(where.address), where.port)


async def connected(engine: MediaEngine, leg: str) -> None:
    assert isinstance(engine.on_event, Events)
    await engine.on_event.of(Connected, leg)


async def called(engine: MediaEngine, browser: LibWebRtc, phone: Phone, policy: Policy) -> Bridge:
    """libwebrtc calls the telephone."""
    bridge, offer = Bridge(engine, "call", Towards.XMPP), await browser.offer()
    found(phone, await bridge.offer(1, Towards.SIP, policy, offer))
    await browser.accept(await bridge.answer(1, policy, said(phone), offer))
    await connected(engine, "caller")
    return bridge


async def both_hear(browser: LibWebRtc, phone: Phone, codec: Codec = PCMA) -> None:
    frequency = tones.draw(browser.tone)
    async with talking(phone, codec, frequency):
        await browser.hears(frequency)
        await hears(phone, codec, browser.tone)


@pytest.mark.parametrize("policy", [RELAYED, TRANSCODED], ids=["relayed", "transcoded"])
async def test_libwebrtc_calls_a_telephone(
    engine: MediaEngine, browser: LibWebRtc, phone: Phone, policy: Policy
) -> None:
    await called(engine, browser, phone, policy)
    await both_hear(browser, phone)


@pytest.mark.parametrize("policy", [RELAYED, TRANSCODED], ids=["relayed", "transcoded"])
async def test_a_telephone_calls_libwebrtc(
    engine: MediaEngine, browser: LibWebRtc, phone: Phone, policy: Policy
) -> None:
    bridge, offer = Bridge(engine, "call", Towards.SIP), said(phone)
    callee = await browser.answer(await bridge.offer(1, Towards.XMPP, policy, offer))
    found(phone, await bridge.answer(1, policy, callee, offer))
    await connected(engine, "callee1")
    await both_hear(browser, phone)
    assert callee.audio is not None
    assert (callee.audio.codecs[0].name == OPUS.name) is (policy is TRANSCODED)


async def test_libwebrtc_restarts_ice_and_the_talk_goes_on(
    engine: MediaEngine, browser: LibWebRtc, phone: Phone
) -> None:
    bridge = await called(engine, browser, phone, RELAYED)
    await both_hear(browser, phone)
    anew = await browser.offer(restart=True)
    assert anew.audio is not None
    ice = anew.audio.transport.ice
    assert ice is not None
    answer = await bridge.trickle(Trickled(Leg.CALLER, 0, ice.candidates, ice, complete=True))
    assert answer is not None
    assert answer.audio is not None
    await browser.accept(answer)
    await both_hear(browser, phone)


async def test_a_telephone_that_moves_and_changes_its_codec_is_heard_again(
    engine: MediaEngine, browser: LibWebRtc, phone: Phone
) -> None:
    bridge = await called(engine, browser, phone, TRANSCODED)
    await both_hear(browser, phone)
    elsewhere = Phone("127.0.0.2")
    elsewhere.far = phone.far
    try:
        await bridge.reoffer(Reoffered(Leg.CALLEE, 1, replace(said(elsewhere, PCMU), version=1)))
        await both_hear(browser, elsewhere, PCMU)
    finally:
        await elsewhere.close()


async def test_what_comes_before_the_answer_is_heard(engine: MediaEngine, browser: LibWebRtc, phone: Phone) -> None:
    """Early media: the telephone's network speaks with a 183, and the telephone that answers is another."""
    bridge = await called(engine, browser, phone, TRANSCODED)
    async with talking(phone, PCMA, RINGS):
        await browser.hears(RINGS)
    answering = Phone("127.0.0.2")
    try:
        answering.far = phone.far
        await bridge.reoffer(Reoffered(Leg.CALLEE, 1, replace(said(answering), version=1)))
        await both_hear(browser, answering)
    finally:
        await answering.close()
