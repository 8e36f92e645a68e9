from __future__ import annotations

import asyncio
import itertools
import os
import pathlib
import random
import signal
from dataclasses import replace
from functools import partial
from typing import Any

import aioice.ice
import av
import numpy as np
import pytest

from gateway.call.causes import Cause
from gateway.errors import MediaError
from gateway.media import embedded
from gateway.media.embedded import EmbeddedEngine, MediaSettings, Slot, share
from gateway.media.engine import Connected, Digit, LegKind, Lost, Recorded
from gateway.media.ng import NgClient
from gateway.media.rtp import DigitReader, Pressed, steps
from gateway.session.model import Codec, Direction, Ice, Setup, Stream, Transport
from tests.media.ends import (
    EVENT_8,
    EVENT_48,
    OPUS,
    PCMA,
    PCMU,
    SAFETY,
    Browser,
    Decoding,
    End,
    Events,
    Opus,
    Phone,
    alaw,
    loudest,
    sine,
    stream,
    ulaw,
)

pytestmark = pytest.mark.slow  # workers are processes

MakeEngine = Any  # conftest.MakeEngine
SECONDS = 1.0


def events(engine: EmbeddedEngine) -> Events:
    assert isinstance(engine.on_event, Events)
    return engine.on_event


async def bridged(engine: EmbeddedEngine, browser: Browser, phone: Phone, caller: Stream, callee: Stream) -> None:
    """A call from the browser to the phone, up to the point where media flows both ways."""
    remote = await browser.open(Setup.ACTIVE)
    ours = await engine.allocate("call", "caller", LegKind.WEBRTC, setup=Setup.PASSIVE)
    theirs = await engine.allocate("call", "callee", LegKind.RTP)
    phone.far = (str(theirs.address), theirs.port)
    await engine.connect("call", "callee", phone.transport, callee, peer="caller")
    await engine.connect("call", "caller", remote, caller, peer="callee", setup=Setup.PASSIVE)
    await browser.connect(ours, Setup.ACTIVE)
    await events(engine).of(Connected, "caller")


def frames(codec: Codec, frequency: float) -> list[bytes]:
    """A second of a tone in packets of 20 ms."""
    if codec.name == "opus":
        encode, tone = Opus(), sine(frequency, 48_000, rate=48_000)
        return [one for at in range(0, 48_000, 960) for one in encode(tone[at : at + 960])]
    coded = (alaw if codec.name == "PCMA" else ulaw)(sine(frequency, 8_000))
    return [coded[at : at + 160] for at in range(0, 8_000, 160)]


async def listen(end: End, codec: Codec, packets: int) -> np.ndarray:
    """The samples of so many packets, which must be of this codec and in an unbroken sequence."""
    decode, pieces, before = Decoding(codec), [], None
    for _ in range(packets):
        heard = await end.hear()
        seq = int.from_bytes(heard[2:4])
        assert heard[1] & 0x7F == codec.pt
        assert before is None or seq == (before + 1) & 0xFFFF
        before = seq
        pieces.append(decode(heard[12:]))
    return np.concatenate(pieces)


@pytest.mark.parametrize(
    ("caller", "callee"),
    [(OPUS, PCMA), (PCMU, PCMU), (PCMA, PCMU)],
    ids=lambda codec: f"{codec.name}-{codec.pt}",
)
async def test_a_tone_goes_both_ways(
    make_engine: MakeEngine, browser: Browser, phone: Phone, caller: Codec, callee: Codec
) -> None:
    engine = await make_engine()
    await bridged(engine, browser, phone, stream(caller), stream(callee))
    there, back = random.randrange(300, 1_200), random.randrange(1_300, 2_800)
    for one, other in zip(frames(caller, there), frames(callee, back), strict=True):
        browser.say(caller, one, 20 * caller.clock_rate // 1000)
        phone.say(callee, other, 20 * callee.clock_rate // 1000)
        await asyncio.sleep(0.001)  # so that no socket's buffer overflows
    at_phone, at_browser = await listen(phone, callee, 48), await listen(browser, caller, 48)
    for heard, codec, frequency in ((at_phone, callee, there), (at_browser, caller, back)):
        assert loudest(heard[len(heard) // 5 :], codec.clock_rate) == pytest.approx(frequency, abs=5)


@pytest.mark.parametrize(("caller", "event"), [(OPUS, EVENT_48), (PCMA, EVENT_8)], ids=["transcoded", "relayed"])
async def test_digits_go_both_ways_and_are_told_once(
    make_engine: MakeEngine, browser: Browser, phone: Phone, caller: Codec, event: Codec
) -> None:
    engine = await make_engine()
    await bridged(engine, browser, phone, stream(caller, event), stream(PCMA, EVENT_8))
    for end, codec, other, other_codec in ((browser, event, phone, EVENT_8), (phone, EVENT_8, browser, event)):
        digits = "".join(random.choices("0123456789*#ABCD", k=3))
        begin = end.timestamp
        for step in steps(digits, 60, codec.clock_rate):
            end.timestamp = begin + step.timestamp
            end.say(codec, step.body, 0, marker=step.marker)
        reader = DigitReader()
        heard: list[Pressed] = []
        while len(heard) < 3:
            got = await other.hear()
            assert got[1] & 0x7F == other_codec.pt
            heard += reader.read(int.from_bytes(got[4:8]), got[12:], other_codec.clock_rate, 0.0)
        assert [(one.digit, one.duration) for one in heard] == [(digit, 60) for digit in digits]
        leg = "caller" if end is browser else "callee"
        told = await events(engine).until(partial(_digits, engine, leg, 3))
        assert told == [Digit("call", leg, digit, 60) for digit in digits]


def _digits(engine: EmbeddedEngine, leg: str, at_least: int) -> list[Digit] | None:
    found = [event for event in events(engine).all if isinstance(event, Digit) and event.leg == leg]
    return found if len(found) >= at_least else None


async def test_digits_by_signalling_are_said_to_a_leg(make_engine: MakeEngine, browser: Browser, phone: Phone) -> None:
    engine = await make_engine()
    await bridged(engine, browser, phone, stream(OPUS, EVENT_48), stream(PCMA, EVENT_8))
    for leg, end, codec in (("callee", phone, EVENT_8), ("caller", browser, EVENT_48)):
        await engine.dtmf("call", leg, "4#", 60)
        reader = DigitReader()
        heard: list[Pressed] = []
        while len(heard) < 2:
            got = await end.hear()
            heard += reader.read(int.from_bytes(got[4:8]), got[12:], codec.clock_rate, 0.0)
        assert [(one.digit, one.duration) for one in heard] == [("4", 60), ("#", 60)]


async def test_digits_to_an_end_that_takes_none_are_tones_or_refused(make_engine: MakeEngine, phone: Phone) -> None:
    engine = await make_engine()
    await engine.allocate("call", "callee", LegKind.RTP)
    await engine.connect("call", "callee", phone.transport, stream(OPUS))
    with pytest.raises(MediaError, match="telephone events"):
        await engine.dtmf("call", "callee", "1")
    await engine.connect("call", "callee", phone.transport, stream(PCMA))
    await engine.dtmf("call", "callee", "1", 200)
    sound = await listen(phone, PCMA, 10)
    assert loudest(sound) in (pytest.approx(697, abs=6), pytest.approx(1_209, abs=6))


async def test_the_test_line_says_something_and_then_echoes(make_engine: MakeEngine, browser: Browser) -> None:
    engine = await make_engine()
    remote = await browser.open(Setup.ACTIVE)
    ours = await engine.allocate("call", "caller", LegKind.WEBRTC, setup=Setup.PASSIVE)
    await engine.connect("call", "caller", remote, stream(OPUS), setup=Setup.PASSIVE)
    await engine.play("call", "caller", "echo")
    await engine.loop("call", "caller")
    await browser.connect(ours, Setup.ACTIVE)
    prompt = await listen(browser, OPUS, 50)
    assert np.abs(prompt.astype(int)).max() > 2_000
    # The prompt goes on for some seconds; what is said meanwhile is not heard, what is said after it is.
    mine = b"\x01" * 160
    async with asyncio.timeout(SAFETY * 2):
        while (await browser.hear())[12:] != mine:
            browser.say(OPUS, mine, 960)


async def test_a_telephones_hold_is_silence_that_lives_and_then_music_in_one_unbroken_stream(
    make_engine: MakeEngine, browser: Browser, phone: Phone
) -> None:
    engine = await make_engine()
    await bridged(engine, browser, phone, stream(OPUS), stream(PCMA))
    for piece in frames(PCMA, 500)[:5]:
        phone.say(PCMA, piece, 160)
    first = await browser.hear()
    held = replace(stream(PCMA), direction=Direction.INACTIVE)
    await engine.connect("call", "callee", phone.transport, held, peer="caller")
    heard = [first, *[await browser.hear() for _ in range(15)]]
    await engine.play("call", "caller", "hold")
    music = [await browser.hear() for _ in range(40)]
    await engine.stop_playing("call", "caller")
    await engine.connect("call", "callee", phone.transport, stream(PCMA), peer="caller")
    mine = frames(PCMA, 900) * 2
    for piece in mine:
        phone.say(PCMA, piece, 160)
    heard += music
    while len(heard) < 16 + 40 + 60:
        heard.append(await browser.hear())
    assert {one[8:12] for one in heard} == {first[8:12]}
    assert {one[1] & 0x7F for one in heard} == {OPUS.pt}
    numbers = [int.from_bytes(one[2:4]) for one in heard]
    assert [(number - numbers[0]) & 0xFFFF for number in numbers] == list(range(len(heard)))
    times = [int.from_bytes(one[4:8]) for one in heard]
    assert all(0 < (later - earlier) & 0xFFFFFFFF < 48_000 for earlier, later in itertools.pairwise(times))
    decode = Decoding(OPUS)
    sound = [float(np.abs(decode(one[12:]).astype(int)).max()) for one in heard]
    assert max(sound[9:15]) < 200 < max(sound[25:56])
    assert max(sound[-20:]) > 5_000


async def test_a_transfer_pairs_a_leg_with_another_and_its_stream_goes_on(
    make_engine: MakeEngine, browser: Browser, phone: Phone, stranger: Phone
) -> None:
    engine = await make_engine()
    await bridged(engine, browser, phone, stream(OPUS), stream(PCMA))
    for piece in frames(PCMA, 500)[:10]:
        phone.say(PCMA, piece, 160)
    before = [await browser.hear() for _ in range(10)]
    theirs = await engine.allocate("call", "callee2", LegKind.RTP)
    stranger.far = (str(theirs.address), theirs.port)
    await engine.connect("call", "callee2", stranger.transport, stream(PCMU), peer="caller")
    phone.say(PCMA, alaw(sine(500, 160)), 160)
    for piece in frames(PCMU, 700):
        stranger.say(PCMU, piece, 160)
    after: list[bytes] = []
    while len(after) < 40:
        after.append(await browser.hear())
    numbers = [int.from_bytes(one[2:4]) for one in before + after]
    assert [(number - numbers[0]) & 0xFFFF for number in numbers] == list(range(50))
    assert len({one[8:12] for one in before + after}) == 1
    decode = Decoding(OPUS)
    sound = np.concatenate([decode(one[12:]) for one in before + after])
    assert loudest(sound[-24_000:], 48_000) == pytest.approx(700, abs=3)
    assert (await engine.release("call", "callee"))["callee"].received_packets == 11
    browser.say(OPUS, Opus()(sine(400, 960, rate=48_000))[0], 960)
    assert (await stranger.hear())[1] & 0x7F == 0


async def test_an_ice_restart_through_the_engine_keeps_the_call(
    make_engine: MakeEngine, browser: Browser, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine()
    await bridged(engine, browser, phone, stream(PCMA), stream(PCMA))
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.3"])
    answer = await engine.restart("call", "caller", await browser.restart())
    await browser.follow(answer)
    browser.vanish()
    browser.say(PCMA, b"from a new network", 160)
    assert (await phone.hear())[12:] == b"from a new network"
    async with asyncio.timeout(SAFETY):
        while browser.heard.empty():
            phone.say(PCMA, b"heard there", 160)
            await asyncio.sleep(0.01)
    assert [type(event) for event in events(engine).all if event.leg == "caller"] == [Connected]
    with pytest.raises(MediaError, match="no ICE"):
        await engine.restart("call", "callee", Ice("u", "p" * 22))


async def test_keys_for_a_telephone_are_asked_for(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    assert (await engine.allocate("call", "plain", LegKind.RTP)).crypto == ()
    secure = await engine.allocate("call", "secure", LegKind.RTP, sdes=True)
    assert [crypto.tag for crypto in secure.crypto] == [1, 2]
    counted = await engine.release("call")
    assert counted["secure"].mos is None
    assert counted["secure"].jitter == 0.0


async def test_a_certificate_that_was_not_announced_ends_the_leg(make_engine: MakeEngine, browser: Browser) -> None:
    engine = await make_engine()
    remote = await browser.open(Setup.ACTIVE)
    assert remote.fingerprint is not None
    wrong = replace(remote, fingerprint=replace(remote.fingerprint, value=":".join(["AB"] * 32)))
    ours = await engine.allocate("call", "caller", LegKind.WEBRTC, setup=Setup.PASSIVE)
    await engine.connect("call", "caller", wrong, stream(OPUS), setup=Setup.PASSIVE)
    await browser.connect(ours, Setup.ACTIVE)
    assert (await events(engine).of(Lost, "caller")).cause is Cause.SECURITY


async def test_a_stranger_is_not_heard_and_hears_nothing(
    make_engine: MakeEngine, browser: Browser, phone: Phone, stranger: Phone
) -> None:
    engine = await make_engine()
    await bridged(engine, browser, phone, stream(PCMA), stream(PCMA))
    phone.say(PCMA, b"mine", 160)
    assert (await browser.hear())[12:] == b"mine"
    stranger.far = phone.far
    for _ in range(20):
        stranger.say(PCMA, b"not mine", 160)
    phone.say(PCMA, b"mine again", 160)
    browser.say(PCMA, b"yours", 160)
    assert (await browser.hear())[12:] == b"mine again"
    assert (await phone.hear())[12:] == b"yours"
    counted = await engine.release("call")
    assert (counted["callee"].received_packets, counted["caller"].sent_packets) == (2, 2)
    assert stranger.heard.empty()
    assert browser.heard.empty()


async def test_silence_is_lost_media(make_engine: MakeEngine, phone: Phone) -> None:
    engine = await make_engine(first=0.05)
    await engine.allocate("call", "callee", LegKind.RTP)
    await engine.connect("call", "callee", phone.transport, stream(PCMA))
    assert (await events(engine).of(Lost, "callee")).cause is Cause.MEDIA_LOST


async def test_an_end_that_cannot_be_reached_is_failed_media(make_engine: MakeEngine, browser: Browser) -> None:
    engine = await make_engine(connect=0.05)
    await engine.allocate("call", "caller", LegKind.WEBRTC, controlling=True)
    await engine.connect("call", "caller", await browser.open(Setup.PASSIVE), stream(OPUS))
    assert (await events(engine).of(Lost, "caller")).cause is Cause.MEDIA_FAILED


# the pool


async def test_calls_go_to_the_least_loaded_worker_and_stay_there(make_engine: MakeEngine) -> None:
    engine = await make_engine(workers=2)
    assert len(engine.processes) == 2
    ports = {}
    for call in "abcd":
        first = await engine.allocate(call, "caller", LegKind.RTP)
        second = await engine.allocate(call, "callee", LegKind.RTP)
        ports[call] = {_half(engine, transport) for transport in (first, second)}
    assert [len(halves) for halves in ports.values()] == [1] * 4
    assert sorted(half for halves in ports.values() for half in halves) == [0, 0, 1, 1]
    await engine.release("a")
    await engine.release("c")
    again = await engine.allocate("e", "caller", LegKind.RTP)
    assert _half(engine, again) in ports["a"] & ports["c"]


def _half(engine: EmbeddedEngine, transport: Transport) -> int:
    low, high = engine._settings.ports
    return int(transport.port > (low + high) // 2)


async def test_a_killed_worker_loses_its_calls_and_comes_back(make_engine: MakeEngine, phone: Phone) -> None:
    engine = await make_engine()
    await engine.allocate("call", "caller", LegKind.WEBRTC)
    await engine.allocate("call", "callee", LegKind.RTP)
    (process,) = engine.processes
    os.kill(process, signal.SIGKILL)
    for leg in ("caller", "callee"):
        lost = await events(engine).of(Lost, leg)
        assert lost.cause is Cause.INTERNAL
    assert await engine.release("call") == {}
    ours = await engine.allocate("next", "callee", LegKind.RTP)
    await engine.connect("next", "callee", phone.transport, stream(PCMA))
    await engine.loop("next", "callee")
    phone.far = (str(ours.address), ours.port)
    phone.say(PCMA, b"again", 160)
    assert (await phone.hear())[12:] == b"again"
    assert engine.processes != (process,)


async def test_legs_that_wait_for_a_worker_come_to_the_same_one(make_engine: MakeEngine) -> None:
    engine = await make_engine(workers=2)
    for leg in ("one", "other"):  # a call in each worker, so that both deaths are told
        await engine.allocate(leg, leg, LegKind.RTP)
    for process in engine.processes:
        os.kill(process, signal.SIGKILL)
    for leg in ("one", "other"):
        await events(engine).of(Lost, leg)
    both = await asyncio.gather(*(engine.allocate("new", leg, LegKind.RTP) for leg in ("callee1", "callee2")))
    assert len({_half(engine, transport) for transport in both}) == 1


async def test_a_call_in_hand_when_its_worker_dies_is_an_error_not_a_wait(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    await engine.allocate("call", "caller", LegKind.RTP)
    (process,) = engine.processes
    os.kill(process, signal.SIGSTOP)
    asked = asyncio.ensure_future(engine.statistics("call"))
    await asyncio.sleep(0)
    os.kill(process, signal.SIGKILL)
    with pytest.raises(MediaError, match="gone"):
        await asked


async def test_a_worker_that_hangs_is_replaced(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, hanging = Slot._answers, 0

    async def patient_with_others(process: asyncio.subprocess.Process, client: NgClient, patience: float) -> None:
        await answers(process, client, patience if process.pid == hanging else SAFETY)

    monkeypatch.setattr(Slot, "_answers", staticmethod(patient_with_others))
    monkeypatch.setattr(embedded, "_HEARTBEAT", 0.1)
    engine = await make_engine()
    await engine.allocate("call", "caller", LegKind.RTP)
    (hanging,) = engine.processes
    os.kill(hanging, signal.SIGSTOP)
    assert (await events(engine).of(Lost, "caller")).cause is Cause.INTERNAL
    await engine.allocate("next", "caller", LegKind.RTP)
    assert engine.processes != (hanging,)


async def test_a_worker_that_was_late_keeps_its_calls(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, late, in_time = Slot._answers, 0, asyncio.Event()

    async def late_twice(process: asyncio.subprocess.Process, client: NgClient, patience: float) -> None:
        nonlocal late
        if late > 0:
            late -= 1
            if late > 0:
                raise MediaError("no answer to ping")
            in_time.set()
        await answers(process, client, SAFETY)

    monkeypatch.setattr(Slot, "_answers", staticmethod(late_twice))
    monkeypatch.setattr(embedded, "_HEARTBEAT", 0.1)
    engine = await make_engine()
    await engine.allocate("call", "caller", LegKind.RTP)
    before, late = engine.processes, 3
    await asyncio.wait_for(in_time.wait(), SAFETY)
    assert engine.processes == before
    assert "caller" in await engine.statistics("call")


async def test_the_dead_tell_no_more_of_calls_that_were_released(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    await engine.allocate("call", "caller", LegKind.RTP)
    await engine.allocate("other", "caller", LegKind.RTP)
    await engine.release("call")
    os.kill(engine.processes[0], signal.SIGKILL)
    await events(engine).of(Lost, "caller")
    assert [event.call for event in events(engine).all] == ["other"]


async def test_an_unknown_call_is_an_error_except_to_give_it_back(make_engine: MakeEngine, phone: Phone) -> None:
    engine = await make_engine()
    for asked in (
        engine.connect("call", "leg", phone.transport, stream(PCMA)),
        engine.candidates("call", "leg", ()),
        engine.play("call", "leg", "echo"),
        engine.loop("call", "leg"),
        engine.stop_playing("call", "leg"),
        engine.restart("call", "leg", Ice("u", "p")),
        engine.dtmf("call", "leg", "1"),
    ):
        with pytest.raises(MediaError, match="unknown call"):
            await asked
    assert await engine.release("call") == {}
    assert await engine.release("call", "leg") == {}
    assert await engine.statistics("call") == {}


async def test_a_port_that_is_not_there_is_an_error_and_the_call_is_not_kept(ports: tuple[int, int]) -> None:
    engine = EmbeddedEngine(MediaSettings("127.0.0.1", None, (ports[0], ports[0] + 3), 1))
    await engine.start()
    for leg in "ab":
        await engine.allocate("call", leg, LegKind.RTP)
    with pytest.raises(MediaError, match="in use"):
        await engine.allocate("next", "a", LegKind.RTP)
    assert await engine.release("next") == {}
    assert set(await engine.release("call", "a")) == {"a"}
    assert set(await engine.statistics("call")) == {"b"}
    await engine.stop()


@pytest.mark.parametrize(
    "settings",
    [
        MediaSettings("nowhere"),
        MediaSettings("127.0.0.1", allow=("10.0.0.0/99",)),
        MediaSettings("127.0.0.1", ports=(20_000, 20_002)),
        MediaSettings("203.0.113.7", ports=(20_000, 20_010), workers=4),
    ],
)
async def test_settings_that_cannot_work_are_refused_before_anything_is_started(settings: MediaSettings) -> None:
    engine = EmbeddedEngine(settings)
    with pytest.raises(MediaError):
        await engine.start()
    assert engine.processes == ()
    with pytest.raises(MediaError, match="not running"):
        await engine.allocate("call", "leg", LegKind.RTP)


@pytest.mark.parametrize(
    ("ports", "workers", "shares"),
    [
        ((20_000, 20_099), 2, [(20_000, 20_049), (20_050, 20_099)]),
        ((20_000, 20_013), 3, [(20_000, 20_003), (20_004, 20_007), (20_008, 20_011)]),
    ],
)
def test_ports_are_shared_evenly(ports: tuple[int, int], workers: int, shares: list[tuple[int, int]]) -> None:
    assert share(ports, workers) == shares


async def test_a_leg_that_does_not_mux_announces_both_components(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    both = await engine.allocate("call", "caller", LegKind.WEBRTC, rtcp_mux=False)
    muxed = await engine.allocate("call", "callee", LegKind.WEBRTC)
    assert both.ice is not None
    assert muxed.ice is not None
    assert [(c.component, c.port) for c in both.ice.candidates] == [(1, both.port), (2, both.port + 1)]
    assert [c.component for c in muxed.ice.candidates] == [1]
    assert (both.rtcp_mux, muxed.rtcp_mux) == (False, True)


@pytest.mark.parametrize("caller", [OPUS, PCMA], ids=["transcoded", "relayed"])
@pytest.mark.parametrize("form", ["wav", "opus"])
async def test_a_recorded_call_is_in_a_file_with_the_caller_left_and_the_callee_right(
    ports: tuple[int, int], browser: Browser, phone: Phone, tmp_path: pathlib.Path, caller: Codec, form: str
) -> None:
    settings = MediaSettings(
        "127.0.0.1", None, ports, 1, ("127.0.0.0/8",), recordings=str(tmp_path), record_format=form
    )
    engine = EmbeddedEngine(settings)
    engine.on_event = Events()
    await engine.start()
    try:
        await bridged(engine, browser, phone, stream(caller), stream(PCMA))
        await engine.record("call", "20260102T030405Z-call")
        with pytest.raises(MediaError, match="already"):
            await engine.record("call", "again")
        for one, other in zip(frames(caller, 500), frames(PCMA, 900), strict=True):
            browser.say(caller, one, 20 * caller.clock_rate // 1000)
            phone.say(PCMA, other, 160)
            await asyncio.sleep(0.02)
        assert loudest((await listen(phone, PCMA, 45))[1_600:]) == pytest.approx(500, abs=5)
        recorded = await engine.recorded("call")
        assert recorded == Recorded(f"20260102T030405Z-call.{form}")
        assert await engine.recorded("call") is None
    finally:
        await engine.stop()
    with av.open(str(tmp_path / recorded.file)) as file:
        rate = file.streams.audio[0].codec_context.sample_rate
        pieces = [frame.to_ndarray() for frame in file.decode(audio=0)]
    both = np.concatenate(pieces, axis=1)
    left, right = both if form == "opus" else (both[0, 0::2], both[0, 1::2])
    assert loudest(left, rate) == pytest.approx(500, abs=3)
    assert loudest(right, rate) == pytest.approx(900, abs=3)


async def test_who_hears_that_the_call_is_recorded_hears_nothing_else_meanwhile(
    make_engine: MakeEngine, browser: Browser, phone: Phone
) -> None:
    engine = await make_engine()
    await bridged(engine, browser, phone, stream(PCMA), stream(PCMA))
    await engine.play("call", "callee", "notice")
    for one in frames(PCMA, 500)[:30]:
        browser.say(PCMA, one, 160)
        await asyncio.sleep(0.001)
    heard = await listen(phone, PCMA, 20)
    assert loudest(heard[:3_200]) == pytest.approx(1_400, abs=5)
