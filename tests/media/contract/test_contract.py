"""What every engine does for a call, whatever it is made of; where they differ is one table, DIFFERENCES."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aioice.ice
import numpy as np
import pytest

from gateway.call.causes import Cause
from gateway.errors import MediaError
from gateway.media import tones
from gateway.media.ears import key_of
from gateway.media.engine import Connected, Digit, LegKind, Lost, Recorded
from gateway.media.rtcp import Block, Report, Sent, write
from gateway.media.rtp import DigitReader, Packet, Pressed, steps
from gateway.media.sdes import SUITES, master
from gateway.media.sdes import ours as keys
from gateway.media.srtp import Keys, Srtp
from gateway.session.model import Codec, Direction, Dtmf, Ice, Setup, Stream
from tests.media.ends import (
    EVENT_8,
    EVENT_48,
    G722,
    OPUS,
    PCMA,
    PCMU,
    SAFETY,
    Browser,
    Decoding,
    End,
    Opus,
    Phone,
    alaw,
    loudest,
    packet,
    sine,
    stream,
    ulaw,
    wide,
)

pytestmark = pytest.mark.slow

Backend = Any  # conftest.Backend
MakeBackend = Any


async def bridged(backend: Backend, browser: Browser, phone: Phone, caller: Stream, callee: Stream) -> None:
    """A call from the browser to the phone, as bridge.py brings it about."""
    engine = backend.engine
    theirs = await engine.allocate("call", "callee1", LegKind.RTP, controlling=True)
    remote = await browser.open(Setup.ACTIVE)
    ours = await engine.allocate("call", "caller", LegKind.WEBRTC, setup=Setup.PASSIVE)
    phone.far = (str(theirs.address), theirs.port)
    await engine.connect("call", "callee1", phone.transport, callee, peer="caller")
    await engine.connect("call", "caller", remote, caller, peer="callee1", setup=Setup.PASSIVE)
    await browser.connect(ours, Setup.ACTIVE)
    await backend.events.of(Connected, "caller")


def frames(codec: Codec, frequency: float) -> list[bytes]:
    """A second of a tone in packets of 20 ms."""
    if codec.name == "opus":
        encode, tone = Opus(), sine(frequency, 48_000, rate=48_000)
        return [one for at in range(0, 48_000, 960) for one in encode(tone[at : at + 960])]
    if codec.name == "G722":
        coded = wide(sine(frequency, 16_000, rate=16_000))
    else:
        coded = (alaw if codec.name == "PCMA" else ulaw)(sine(frequency, 8_000))
    return [coded[at : at + 160] for at in range(0, 8_000, 160)]


@contextlib.asynccontextmanager
async def talking(end: End, codec: Codec, frequency: float) -> AsyncIterator[None]:
    """This end says a tone, at the pace of speech, until the block ends."""

    async def say() -> None:
        while True:
            for one in frames(codec, frequency):
                end.say(codec, one, 20 * codec.clock_rate // 1000)
                await asyncio.sleep(0.02)

    task = asyncio.create_task(say())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def hears(end: End, codec: Codec, frequency: float, packets: int = 25) -> None:
    """Until this end hears a tone of this frequency in this codec; what is older goes by."""
    decode = Decoding(codec)
    pieces: list[np.ndarray] = []
    async with asyncio.timeout(SAFETY * 2):
        while True:
            heard = await end.hear()
            if heard[1] & 0x7F != codec.pt:
                pieces.clear()
                continue
            pieces = [*pieces[-packets:], decode(heard[12:])]
            sound = np.concatenate(pieces)
            rate = decode.rate
            if len(sound) >= rate * 0.3 and abs(loudest(sound, rate) - frequency) < 6 and np.abs(sound).max() > 1_000:
                return


async def carried(speaker: End, listener: End, packets: int) -> range:
    """So many packets to the far end, one after the other; how many it may have been altogether: one that is lost is
    said again (COMPAT: rtpengine 10.5 was seen to let go of one).
    """
    said = heard = 0
    async with asyncio.timeout(SAFETY):
        while heard < packets:
            speaker.say(PCMA, b"\x01" * 160, 160)
            said += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAFETY / 30):
                    await listener.heard.get()
                    heard += 1
    return range(packets, said + 1)


def drain(end: End) -> None:
    while not end.heard.empty():
        end.heard.get_nowait()


CODECS = [(OPUS, PCMA), (PCMU, PCMU), (PCMA, PCMU), (OPUS, replace(OPUS, pt=96)), (OPUS, G722)]


@pytest.mark.parametrize(("caller", "callee"), CODECS, ids=["transcode", "relay", "g711", "renumbered", "wide"])
async def test_both_ends_hear_each_other(
    make_backend: MakeBackend, browser: Browser, phone: Phone, caller: Codec, callee: Codec
) -> None:
    backend = await make_backend()
    await bridged(backend, browser, phone, stream(caller), stream(callee))
    there, back = random.randrange(400, 1_000), random.randrange(1_300, 2_500)
    async with talking(browser, caller, there), talking(phone, callee, back):
        await hears(phone, callee, there)
        await hears(browser, caller, back)
    await backend.events.of(Connected, "callee1")


@pytest.mark.parametrize(("caller", "event"), [(OPUS, EVENT_48), (PCMA, EVENT_8)], ids=["transcoded", "relayed"])
async def test_digits_go_both_ways_and_are_told(
    make_backend: MakeBackend, browser: Browser, phone: Phone, caller: Codec, event: Codec
) -> None:
    backend = await make_backend()
    await bridged(backend, browser, phone, stream(caller, event), stream(PCMA, EVENT_8))
    async with talking(browser, caller, 500), talking(phone, PCMA, 700):
        await hears(phone, PCMA, 500)
        await hears(browser, caller, 700)
    for end, codec, other, other_codec, leg in (
        (browser, event, phone, EVENT_8, "caller"),
        (phone, EVENT_8, browser, event, "callee1"),
    ):
        drain(other)
        digits = "".join(random.choices("0123456789*#ABCD", k=2))
        begin = end.timestamp
        for step in steps(digits, 100, codec.clock_rate):
            end.timestamp = begin + step.timestamp
            end.say(codec, step.body, 0, marker=step.marker)
            await asyncio.sleep(0.02)
        reader = DigitReader()
        heard: list[Pressed] = []
        while len(heard) < len(digits):
            got = await other.hear()
            if got[1] & 0x7F == other_codec.pt:
                heard += reader.read(int.from_bytes(got[4:8]), got[12:], other_codec.clock_rate, 0.0)
        assert [one.digit for one in heard] == list(digits)

        def told(leg: str = leg, digits: str = digits) -> list[Digit] | None:
            found = [one for one in backend.events.all if isinstance(one, Digit) and one.leg == leg]
            return found if len(found) >= len(digits) else None

        found = await backend.events.until(told)
        assert [one.digit for one in found] == list(digits)
        assert [one.duration for one in found] == [pytest.approx(100, abs=25)] * 2


async def test_digits_by_signalling_are_said_to_either_end(
    make_backend: MakeBackend, browser: Browser, phone: Phone
) -> None:
    backend = await make_backend()
    await bridged(backend, browser, phone, stream(OPUS, EVENT_48), stream(PCMA, EVENT_8))
    async with talking(browser, OPUS, 500), talking(phone, PCMA, 700):
        await hears(phone, PCMA, 500)
        await hears(browser, OPUS, 700)
        for leg, end, codec in (("callee1", phone, EVENT_8), ("caller", browser, EVENT_48)):
            await backend.engine.dtmf("call", leg, "4#", 120)
            reader = DigitReader()
            heard: list[Pressed] = []
            while len(heard) < 2:
                got = await end.hear()
                if got[1] & 0x7F == codec.pt:
                    heard += reader.read(int.from_bytes(got[4:8]), got[12:], codec.clock_rate, 0.0)
            assert [one.digit for one in heard] == ["4", "#"]


async def test_a_hold_is_heard_as_music_and_the_talk_goes_on(
    make_backend: MakeBackend, browser: Browser, phone: Phone
) -> None:
    backend = await make_backend()
    await bridged(backend, browser, phone, stream(OPUS), stream(PCMA))
    async with talking(phone, PCMA, 500), talking(browser, OPUS, 900):
        await hears(browser, OPUS, 500)
        held = replace(stream(PCMA), direction=Direction.RECVONLY)
        await backend.engine.connect("call", "callee1", phone.transport, held, peer="caller")
        await backend.engine.play("call", "caller", "hold")
        drain(browser)
        decode = Decoding(OPUS)
        loudness: list[int] = []
        while len(loudness) < 60:
            heard = await browser.hear()
            if heard[1] & 0x7F == OPUS.pt:
                loudness.append(np.abs(decode(heard[12:]).astype(int)).max())
        assert max(loudness[20:]) > 200
        await backend.engine.stop_playing("call", "caller")
        await backend.engine.connect("call", "callee1", phone.transport, stream(PCMA), peer="caller")
        await hears(browser, OPUS, 500)
        await hears(phone, PCMA, 900)


async def test_a_caller_hears_ringing_until_it_is_stopped(
    make_backend: MakeBackend, browser: Browser, phone: Phone
) -> None:
    backend = await make_backend()
    await bridged(backend, browser, phone, stream(PCMA), stream(PCMA))
    async with talking(phone, PCMA, 900):
        await backend.engine.play("call", "caller", "ringback")
        drain(browser)
        await hears(browser, PCMA, 425)
        await backend.engine.stop_playing("call", "caller")
        await hears(browser, PCMA, 900)
        await backend.engine.stop_playing("call", "caller")


async def test_a_telephone_that_offers_anew_is_followed_to_its_new_address_and_codec(
    make_backend: MakeBackend, browser: Browser, phone: Phone, stranger: Phone
) -> None:
    backend = await make_backend()
    await bridged(backend, browser, phone, stream(OPUS), stream(PCMA))
    async with talking(phone, PCMA, 500):
        await hears(browser, OPUS, 500)
    stranger.far = phone.far
    await backend.engine.connect("call", "callee1", stranger.transport, stream(PCMU), peer="caller")
    async with talking(stranger, PCMU, 800), talking(browser, OPUS, 600):
        await hears(browser, OPUS, 800)
        await hears(stranger, PCMU, 600)


async def test_a_transfer_pairs_a_leg_with_another(
    make_backend: MakeBackend, browser: Browser, phone: Phone, stranger: Phone
) -> None:
    backend = await make_backend()
    await bridged(backend, browser, phone, stream(OPUS), stream(PCMA))
    async with talking(phone, PCMA, 500):
        await hears(browser, OPUS, 500)
        theirs = await backend.engine.allocate("call", "callee2", LegKind.RTP)
        stranger.far = (str(theirs.address), theirs.port)
        await backend.engine.connect("call", "callee2", stranger.transport, stream(PCMU), peer="caller")
        async with talking(stranger, PCMU, 700), talking(browser, OPUS, 1_000):
            await hears(browser, OPUS, 700)
            await hears(stranger, PCMU, 1_000)
            assert set(await backend.engine.release("call", "callee1")) == {"callee1"}
            drain(browser)
            await hears(browser, OPUS, 700)
            await hears(stranger, PCMU, 1_000)


async def test_of_several_who_are_asked_one_answers_and_the_others_are_given_back(
    make_backend: MakeBackend, browser: Browser, phone: Phone
) -> None:
    backend = await make_backend()
    engine = backend.engine
    await engine.allocate("call", "callee1", LegKind.RTP, controlling=True)
    theirs = await engine.allocate("call", "callee2", LegKind.RTP, controlling=True)
    await engine.allocate("call", "callee3", LegKind.WEBRTC, controlling=True)
    assert set(await engine.release("call", "callee1")) == {"callee1"}
    remote = await browser.open(Setup.PASSIVE)
    ours = await engine.allocate("call", "caller", LegKind.WEBRTC, setup=Setup.ACTIVE)
    phone.far = (str(theirs.address), theirs.port)
    await engine.connect("call", "callee2", phone.transport, stream(PCMA), peer="caller")
    await engine.connect("call", "caller", remote, stream(PCMA), peer="callee2", setup=Setup.ACTIVE)
    await engine.release("call", "callee3")
    await browser.connect(ours, Setup.PASSIVE)
    async with talking(browser, PCMA, 500), talking(phone, PCMA, 900):
        await hears(phone, PCMA, 500)
        await hears(browser, PCMA, 900)


async def test_a_user_who_is_called_answers_the_telephone(
    make_backend: MakeBackend, browser: Browser, phone: Phone
) -> None:
    backend = await make_backend()
    engine = backend.engine
    remote = await browser.open(Setup.ACTIVE, controlling=False)
    ours = await engine.allocate("call", "callee1", LegKind.WEBRTC, controlling=True)
    assert ours.fingerprint is not None
    assert ours.fingerprint.setup is Setup.ACTPASS
    theirs = await engine.allocate("call", "caller", LegKind.RTP)
    phone.far = (str(theirs.address), theirs.port)
    await engine.connect("call", "callee1", remote, stream(OPUS), peer="caller", setup=Setup.PASSIVE)
    await engine.connect("call", "caller", phone.transport, stream(PCMU), peer="callee1")
    await browser.connect(ours, Setup.ACTIVE)
    async with talking(browser, OPUS, 500), talking(phone, PCMU, 900):
        await hears(phone, PCMU, 500)
        await hears(browser, OPUS, 900)


async def test_a_candidate_that_comes_later_is_used(make_backend: MakeBackend, browser: Browser, phone: Phone) -> None:
    backend = await make_backend()
    engine = backend.engine
    theirs = await engine.allocate("call", "callee1", LegKind.RTP)
    phone.far = (str(theirs.address), theirs.port)
    remote = await browser.open(Setup.ACTIVE)
    assert remote.ice is not None
    ours = await engine.allocate("call", "caller", LegKind.WEBRTC, setup=Setup.PASSIVE)
    await engine.connect("call", "callee1", phone.transport, stream(PCMA), peer="caller")
    bare = replace(remote, ice=replace(remote.ice, candidates=()))
    await engine.connect("call", "caller", bare, stream(PCMA), peer="callee1", setup=Setup.PASSIVE)
    await engine.candidates("call", "caller", remote.ice.candidates, complete=True)
    await browser.connect(ours, Setup.ACTIVE)
    async with talking(browser, PCMA, 500):
        await hears(phone, PCMA, 500)


async def test_a_browser_that_changes_its_network_is_found_again(
    make_backend: MakeBackend, browser: Browser, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await make_backend()
    await bridged(backend, browser, phone, stream(PCMA), stream(PCMA))
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.3"])
    answer = await backend.engine.restart("call", "caller", await browser.restart())
    await browser.follow(answer)
    browser.vanish()
    async with talking(browser, PCMA, 500), talking(phone, PCMA, 900):
        await hears(phone, PCMA, 500)
        await hears(browser, PCMA, 900)


async def test_the_counters_of_both_legs_are_given_back_with_the_call(
    make_backend: MakeBackend, browser: Browser, phone: Phone
) -> None:
    backend = await make_backend()
    await bridged(backend, browser, phone, stream(PCMA), stream(PCMA))
    there, back = await carried(browser, phone, 10), await carried(phone, browser, 5)
    counted = await backend.engine.statistics("call")
    assert counted["caller"].received_packets in there
    assert counted["callee1"].received_packets in back
    counted = await backend.engine.release("call")
    assert counted["caller"].received_packets in there
    assert counted["caller"].sent_packets in back
    assert counted["callee1"].received_packets in back
    assert counted["callee1"].sent_packets in there
    assert {name: one.codec for name, one in counted.items()} == {"caller": "PCMA", "callee1": "PCMA"}
    assert counted["caller"].connected
    assert await backend.engine.release("call") == {}
    assert await backend.engine.statistics("call") == {}


async def test_what_an_end_reports_of_what_it_hears_is_in_its_counters(
    make_backend: MakeBackend, browser: Browser, phone: Phone
) -> None:
    backend = await make_backend()
    await bridged(backend, browser, phone, stream(PCMA), stream(PCMA))
    assert phone.far is not None
    beside = (phone.far[0], phone.far[1] + 1)  # its port for RTCP
    for _ in range(20):
        phone.say(PCMA, b"\x55" * 160, 160)
        browser.say(PCMA, b"\x55" * 160, 160)
        to_browser, to_phone = await browser.hear(), await phone.hear()

    def report(end: End, ntp: int, heard: bytes, said: int, lost: int) -> bytes:
        about = Block(int.from_bytes(heard[8:12]), lost / 20, lost, end.seq, 40, said >> 16 & 0xFFFFFFFF, 0.05)
        return write(Report(end.ssrc, Sent(ntp, end.timestamp, 20, 3_200), (about,)), "end")

    async with asyncio.timeout(SAFETY):
        for number in itertools.count():
            then, now = (1 << 62) + (number << 32), (1 << 62) + (number + 1 << 32)
            phone.sock.sendto(report(phone, now, to_phone, then, 0), beside)
            browser.send(report(browser, now, to_browser, then, 3))
            await asyncio.sleep(0.05)
            told = (await backend.engine.statistics("call"))["caller"]
            if told.far_mos is not None:
                break
    assert (told.far_lost, told.far_jitter) == (3, 5.0)
    assert 2.0 < told.far_mos < 4.5


async def test_a_stranger_is_not_heard_and_hears_nothing(
    make_backend: MakeBackend, browser: Browser, phone: Phone, stranger: Phone
) -> None:
    backend = await make_backend()
    await bridged(backend, browser, phone, stream(PCMA), stream(PCMA))
    phone.say(PCMA, b"m" * 160, 160)
    assert (await browser.hear())[12:] == b"m" * 160
    stranger.far = phone.far
    for _ in range(50):
        stranger.say(PCMA, b"s" * 160, 160)
        await asyncio.sleep(0.005)
    phone.say(PCMA, b"a" * 160, 160)
    browser.say(PCMA, b"y" * 160, 160)
    assert (await browser.hear())[12:] == b"a" * 160
    assert (await phone.hear())[12:] == b"y" * 160
    assert stranger.heard.empty()
    assert browser.heard.empty()


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("keyed", [True, False], ids=["protected", "offered and not taken"])
async def test_a_telephone_with_keys_in_its_sdp_is_spoken_to_in_secret(
    make_backend: MakeBackend, browser: Browser, phone: Phone, suite: str, keyed: bool
) -> None:
    backend = await make_backend()
    engine = backend.engine
    theirs = await engine.allocate("call", "callee1", LegKind.RTP, controlling=True, sdes=True)
    phone.far = (str(theirs.address), theirs.port)
    (its,) = (one for one in theirs.crypto if one.suite == suite)
    mine = replace(next(one for one in keys(secrets.token_bytes) if one.suite == suite), tag=its.tag)
    remote = await browser.open(Setup.ACTIVE)
    web = await engine.allocate("call", "caller", LegKind.WEBRTC, setup=Setup.PASSIVE)
    agreed = replace(phone.transport, crypto=(mine,)) if keyed else phone.transport
    await engine.connect("call", "callee1", agreed, stream(PCMA), peer="caller")
    await engine.connect("call", "caller", remote, stream(PCMA), peer="callee1", setup=Setup.PASSIVE)
    await browser.connect(web, Setup.ACTIVE)
    box = Packet()
    srtp = Srtp(Keys(SUITES[suite], master(mine), master(its)), box)
    box.fill(packet(8, 1, 160, 7, b"s" * 160))
    assert not keyed or srtp.protect()
    phone.send(bytes(box))
    assert (await browser.hear())[12:] == b"s" * 160
    browser.say(PCMA, b"t" * 160, 160)
    box.fill(await phone.hear())
    assert (box.length == 172) is not keyed
    assert not keyed or srtp.unprotect()
    assert bytes(box)[12:] == b"t" * 160


@pytest.mark.parametrize("first", [True, False], ids=["none ever came", "they stopped"])
async def test_silence_is_lost_media(make_backend: MakeBackend, browser: Browser, phone: Phone, first: bool) -> None:
    backend = await make_backend(first=0.4 if first else 30.0, silence=1.0)
    await bridged(backend, browser, phone, stream(PCMA), stream(PCMA))
    if not first:
        phone.say(PCMA, b"\x01" * 160, 160)
    assert (await backend.events.of(Lost, "callee1")).cause is Cause.MEDIA_LOST


async def test_an_end_that_cannot_be_reached_is_failed_media(make_backend: MakeBackend, browser: Browser) -> None:
    backend = await make_backend(connect=0.3)
    await backend.engine.allocate("call", "callee1", LegKind.WEBRTC, controlling=True)
    await backend.engine.connect("call", "callee1", await browser.open(Setup.PASSIVE), stream(OPUS))
    assert (await backend.events.of(Lost, "callee1")).cause is Cause.MEDIA_FAILED


async def test_what_carried_the_media_dies_and_its_calls_are_lost(make_backend: MakeBackend, phone: Phone) -> None:
    backend = await make_backend()
    await backend.engine.allocate("call", "caller", LegKind.RTP)
    await backend.engine.allocate("call", "callee1", LegKind.WEBRTC)
    backend.kill()
    for leg in ("caller", "callee1"):
        assert (await backend.events.of(Lost, leg)).cause is Cause.INTERNAL
    assert await backend.engine.release("call") == {}


async def test_an_unknown_call_is_an_error_and_its_release_is_none(make_backend: MakeBackend, phone: Phone) -> None:
    engine = (await make_backend()).engine
    for asked in (
        engine.connect("call", "leg", phone.transport, stream(PCMA)),
        engine.candidates("call", "leg", ()),
        engine.play("call", "leg", "hold"),
        engine.loop("call", "leg"),
        engine.stop_playing("call", "leg"),
        engine.dtmf("call", "leg", "1"),
    ):
        with pytest.raises(MediaError, match="unknown call"):
            await asked
    assert await engine.release("call") == {}
    assert await engine.statistics("call") == {}


async def test_asked_again_for_a_leg_it_answers_the_same(make_backend: MakeBackend) -> None:
    engine = (await make_backend()).engine
    for kind in LegKind:
        assert await engine.allocate("call", kind, kind) == await engine.allocate("call", kind, kind)


# Where they differ


async def _fingerprint(backend: Backend, browser: Browser, phone: Phone) -> object:
    """The cause of a call whose certificate is not the one that was announced."""
    remote = await browser.open(Setup.ACTIVE)
    assert remote.fingerprint is not None
    wrong = replace(remote, fingerprint=replace(remote.fingerprint, value=":".join(["AB"] * 32)))
    ours = await backend.engine.allocate("call", "caller", LegKind.WEBRTC, setup=Setup.PASSIVE)
    await backend.engine.connect("call", "caller", wrong, stream(OPUS), setup=Setup.PASSIVE)
    with contextlib.suppress(Exception):  # its end may or may not see DTLS through
        await browser.connect(ours, Setup.ACTIVE)
    return (await backend.events.of(Lost, "caller")).cause


async def _loop(backend: Backend, browser: Browser, phone: Phone) -> object:
    """Whether a leg can hear itself."""
    await backend.engine.allocate("call", "caller", LegKind.RTP)
    await backend.engine.connect("call", "caller", phone.transport, stream(PCMA))
    try:
        await backend.engine.loop("call", "caller")
    except MediaError as error:
        return str(error)
    return None


async def _codec_less_digits(backend: Backend, browser: Browser, phone: Phone) -> object:
    """Digits to a leg that talks with nobody."""
    await backend.engine.allocate("call", "caller", LegKind.RTP)
    await backend.engine.connect("call", "caller", phone.transport, stream(PCMA, EVENT_8))
    try:
        await backend.engine.dtmf("call", "caller", "1")
    except MediaError as error:
        return str(error)
    return None


async def _quality(backend: Backend, browser: Browser, phone: Phone) -> object:
    """Whether lost packets of an end are counted."""
    await bridged(backend, browser, phone, stream(PCMA), stream(PCMA))
    for number in range(6):
        if number == 3:
            phone.seq += 2
        phone.say(PCMA, b"\x02" * 160, 160)
    engine = backend.engine
    while (await engine.statistics("call"))["callee1"].received_packets < 6:  # noqa: ASYNC110 -- asked for, not told
        await asyncio.sleep(0.01)
    return (await backend.engine.release("call"))["callee1"].lost


async def _strangers(backend: Backend, browser: Browser, phone: Phone) -> object:
    """How many packets count as received when nine of ten were a stranger's, who is not heard."""
    await bridged(backend, browser, phone, stream(PCMA), stream(PCMA))
    phone.say(PCMA, b"m" * 160, 160)
    await browser.hear()
    stranger = Phone("127.0.0.2")
    stranger.far = phone.far
    for _ in range(9):
        stranger.say(PCMA, b"s" * 160, 160)
    browser.say(PCMA, b"y" * 160, 160)
    await phone.hear()
    await stranger.close()
    return (await backend.engine.release("call"))["callee1"].received_packets


async def _recording(backend: Backend, browser: Browser, phone: Phone) -> object:
    """What becomes of a conversation that is to be recorded."""
    await bridged(backend, browser, phone, stream(PCMA), stream(PCMA))
    try:
        await backend.engine.record("call", "20260102T030405Z-call")
    except MediaError as error:
        return str(error)
    return await backend.engine.recorded("call")


async def _restart_alone(backend: Backend, browser: Browser, phone: Phone) -> object:
    """An ICE restart of an end that talks with nobody yet."""
    remote = await browser.open(Setup.ACTIVE)
    ours = await backend.engine.allocate("call", "caller", LegKind.WEBRTC, setup=Setup.PASSIVE)
    await backend.engine.connect("call", "caller", remote, stream(OPUS), setup=Setup.PASSIVE)
    try:
        anew = await backend.engine.restart("call", "caller", Ice("anew", "n" * 22))
    except MediaError as error:
        return str(error)
    return anew.ice is not None and ours.ice is not None and anew.ice.ufrag != ours.ice.ufrag


async def _two_components(backend: Backend, browser: Browser, phone: Phone) -> object:
    """Whether an end that muxes nothing gets a component for RTCP."""
    ours = await backend.engine.allocate("call", "caller", LegKind.WEBRTC, rtcp_mux=False)
    return not ours.rtcp_mux


async def test_a_telephone_that_takes_no_events_hears_keys_as_tones(
    make_backend: MakeBackend, browser: Browser, phone: Phone
) -> None:
    backend = await make_backend()
    inband = replace(stream(PCMA), dtmf=Dtmf.INBAND)
    await bridged(backend, browser, phone, stream(PCMA, EVENT_8), inband)
    async with talking(browser, PCMA, 500), talking(phone, PCMA, 700):
        await hears(phone, PCMA, 500)
        await backend.engine.dtmf("call", "callee1", "5", 200)
        keys_heard = [key_of(Decoding(PCMA)((await phone.hear())[12:]).tobytes()) for _ in range(40)]
        assert set(keys_heard) == {"", "5"}


async def _tones_of_keys(backend: Backend, browser: Browser, phone: Phone) -> object:
    """What is told when a telephone says a key as tones."""
    await bridged(backend, browser, phone, stream(PCMA, EVENT_8), replace(stream(PCMA), dtmf=Dtmf.INBAND))
    said = said_as_tones("5")
    for at in range(0, len(said), 160):
        phone.say(PCMA, said[at : at + 160], 160)
        await asyncio.sleep(0.02)
    return [one.digit for one in backend.events.all if isinstance(one, Digit)]


def said_as_tones(key: str) -> bytes:
    return alaw(np.frombuffer(tones.digits(key, 200) + bytes(6_400), np.int16))


@dataclass(frozen=True)
class Difference:
    embedded: object
    rtpengine: object


DIFFERENCES = {
    _fingerprint: Difference(Cause.SECURITY, Cause.MEDIA_FAILED),  # it says so in its log alone
    _loop: Difference(None, "rtpengine cannot let a leg hear itself"),
    _codec_less_digits: Difference(None, "caller has no peer in whose place digits could be sent"),
    _strangers: Difference(1, 10),  # it counts before it looks at the source
    _quality: Difference(2, 0),
    _restart_alone: Difference(True, "caller has no peer"),
    _two_components: Difference(True, False),
    _tones_of_keys: Difference(["5"], []),
    _recording: Difference(
        Recorded("20260102T030405Z-call.wav"), "rtpengine records by a daemon of its own, which is not asked"
    ),
}


@pytest.mark.parametrize("what", DIFFERENCES, ids=lambda what: what.__name__.strip("_"))
async def test_they_differ_as_the_table_says(
    make_backend: MakeBackend, browser: Browser, phone: Phone, what: Any
) -> None:
    backend = await make_backend(connect=2.0)
    assert await what(backend, browser, phone) == getattr(DIFFERENCES[what], backend.name)
