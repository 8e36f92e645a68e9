from __future__ import annotations

import asyncio
import itertools
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.call.causes import Cause
from gateway.errors import MediaError
from gateway.media import speech
from gateway.media.engine import Connected, Digit, Lost, MediaEvent
from gateway.media.g711 import decode_alaw, encode_alaw
from gateway.media.leg import Leg
from gateway.media.prompts import Sound
from gateway.media.rtp import Packet
from gateway.media.tones import digits
from gateway.session.model import Codec, Direction, Dtmf, Stream
from tests.media.ends import EVENT_8, EVENT_48, OPUS, PCMA, PCMU, ListLeg, Opus, packet, sine, stream
from tests.patience import PATIENCE

AMR = Codec(96, "AMR", 8_000)


class Told(ListLeg):
    """`clock` is its time."""

    def __init__(self, name: str, shared: Packet, agreed: Stream | None = None, pacer: Any = None) -> None:
        self.events: list[MediaEvent] = []
        super().__init__("call", name, shared, self.events.append, pacer)
        self.clock = 0.0
        self._now = lambda: self.clock
        if agreed is not None:
            self.agree(agreed)

    def hear(self, pt: int, seq: int, timestamp: int, body: bytes, now: float = 0.0) -> None:
        self.packet.fill(packet(pt, seq, timestamp, 7, body))
        self.take(now)


def silence(size: int) -> Sound:
    return Sound("silence", bytes(size))


def pair(one: Stream, other: Stream) -> tuple[Told, Told]:
    shared = Packet()
    a, b = Told("a", shared, one), Told("b", shared, other)
    a.bridge(b)
    return a, b


class Beat:
    """A pacer whose time is the test's."""

    def __init__(self) -> None:
        self.watched: list[Told] = []

    def watch(self, leg: Told, wanted: bool) -> None:
        if wanted is not (leg in self.watched):
            (self.watched.append if wanted else self.watched.remove)(leg)

    def run(self, begin: float, end: float) -> None:
        for number in range(round(begin * 50), round(end * 50) + 1):
            for leg in list(self.watched):
                leg.clock = number / 50
                leg.fill(leg.clock)


def paced(one: Stream, other: Stream) -> tuple[Told, Told, Beat]:
    shared, beat = Packet(), Beat()
    a, b = Told("a", shared, one, beat), Told("b", shared, other, beat)
    a.bridge(b)
    for leg in (a, b):
        leg.tell_connected()
    return a, b, beat


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts and digits take no time."""

    async def until(when: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(speech, "until", until)


async def spoken(leg: Leg) -> None:
    if leg.speaker._task is not None:
        await leg.speaker._task


async def test_bridged_legs_hear_each_other() -> None:
    a, b = pair(stream(PCMA), stream(PCMA))
    a.hear(8, 1, 160, b"from a")
    b.hear(8, 1, 160, b"from b")
    assert [got[-1] for got in b.got] == [b"from a"]
    assert [got[-1] for got in a.got] == [b"from b"]
    assert a.statistics().received_packets == b.statistics().sent_packets == 1


async def test_a_new_peer_replaces_the_old_one_on_both_sides() -> None:
    a, b = pair(stream(PCMA), stream(PCMA))
    c = Told("c", a.packet, stream(PCMA))
    c.bridge(a)
    b.hear(8, 1, 160, b"from b")
    c.hear(8, 1, 160, b"from c")
    a.hear(8, 1, 160, b"from a")
    assert [got[-1] for got in a.got] == [b"from c"]
    assert (len(b.got), len(c.got)) == (0, 1)
    assert dict(b.statistics().dropped) == {"unbridged": 1}


async def test_a_leg_may_hear_itself() -> None:
    leg = Told("a", Packet(), stream(PCMA))
    leg.bridge(leg)
    leg.hear(8, 1, 160, b"echo")
    assert [got[-1] for got in leg.got] == [b"echo"]


async def test_who_is_on_hold_neither_hears_nor_is_heard() -> None:
    a, b = pair(stream(PCMA, direction=Direction.SENDONLY), stream(PCMA))
    a.hear(8, 1, 160, b"not wanted")
    b.hear(8, 1, 160, b"music")
    a.agree(stream(PCMA, direction=Direction.RECVONLY))
    b.hear(8, 2, 320, b"not sent")
    assert (len(b.got), [got[-1] for got in a.got]) == (0, [b"music"])
    assert dict(a.statistics().dropped) == {"held": 1}


async def test_a_digit_is_told_and_passed_on_and_told_where_it_cannot_be() -> None:
    body = struct.pack("!BBH", 5, 0x8A, 800)
    for sink, passed in ((EVENT_8, 3), (None, 0)):
        a, b = pair(stream(PCMA, EVENT_8), stream(PCMA, sink))
        for number in range(3):
            a.hear(101, number, 160, body)
        assert a.events == [Digit("call", "a", "5", 100)]
        assert [pt for pt, *_ in b.got] == [101] * passed


def pressed(a: Told, digit: str) -> None:
    """As tones in PCMA, 100 ms and a pause."""
    sound = digits(digit, 100)
    for number, at in enumerate(range(0, len(sound), 320)):
        a.hear(8, number, number * 160, encode_alaw(sound[at : at + 320]))


async def test_tones_are_told_where_digits_come_so_and_go_on_as_events_to_who_takes_them() -> None:
    for sink, events in ((EVENT_8, {101}), (None, set())):
        a, b = pair(stream(PCMA, dtmf=Dtmf.INBAND), stream(PCMA, sink))
        pressed(a, "7")
        assert a.events == [Digit("call", "a", "7", 100)]
        assert [pt for pt, *_ in b.got][:5] == [8] * 5  # the tones themselves
        b.connected.set()
        b.ready.set()
        async with asyncio.timeout(PATIENCE):
            while events - {pt for pt, *_ in b.got}:  # noqa: ASYNC110 -- a list tells nobody
                await asyncio.sleep(0.01)
        assert {pt for pt, *_ in b.got} == {8} | events
        await b.close()


async def test_tones_are_sound_where_digits_come_as_events() -> None:
    a, b = pair(stream(PCMA), stream(PCMA))
    pressed(a, "7")
    assert a.events == []
    assert len(b.got) == 9


async def test_an_end_that_hears_of_digits_in_signalling_gets_no_tones() -> None:
    a, b = pair(stream(PCMA, EVENT_8), stream(PCMA, dtmf=Dtmf.INFO))
    a.hear(101, 1, 160, struct.pack("!BBH", 5, 0x8A, 800))
    assert a.events == [Digit("call", "a", "5", 100)]
    assert not b.speaker.busy
    assert b.got == []


async def test_a_digit_whose_end_is_lost_is_told_in_time() -> None:
    a, _ = pair(stream(PCMA, EVENT_8), stream(PCMA))
    a.hear(101, 1, 160, struct.pack("!BBH", 5, 10, 400), now=1.0)
    a.tick(1.1)
    assert a.events == []
    a.tick(2.0)
    assert a.events == [Digit("call", "a", "5", 50)]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("codec", "step"), [(PCMA, 160), (OPUS, 960)])
async def test_a_prompt_is_said_in_the_legs_codec_when_there_is_somewhere_to_say_it(codec: Codec, step: int) -> None:
    leg = Told("a", Packet(), stream(codec))
    leg.play(silence(320 * 3 + 100))
    await asyncio.sleep(0)
    assert leg.got == []
    leg.tell_connected()
    await spoken(leg)
    first = leg.got[0]
    assert [(pt, seq - first[1], timestamp - first[2]) for pt, seq, timestamp, _ in leg.got] == [
        (codec.pt, number, number * step) for number in range(4)
    ]
    assert leg.events == [Connected("call", "a")]


@pytest.mark.usefixtures("at_once")
async def test_while_a_leg_is_spoken_to_it_does_not_hear_its_peer() -> None:
    a, b = pair(stream(PCMA), stream(PCMA))
    b.play(silence(3_200))
    a.hear(8, 1, 160, b"from a")
    b.tell_connected()
    await spoken(b)
    a.hear(8, 2, 320, b"from a")
    assert [got[-1] == b"from a" for got in b.got] == [False] * 10 + [True]
    assert [seq - b.got[0][1] for _, seq, _, _ in b.got] == list(range(11))


@pytest.mark.usefixtures("at_once")
async def test_digits_follow_a_prompt_in_their_own_payload_type() -> None:
    leg = Told("a", Packet(), stream(PCMA, EVENT_8))
    leg.tell_connected()
    leg.play(silence(320))
    leg.dial("12", 60)
    await spoken(leg)
    assert [pt for pt, *_ in leg.got] == [8] + [101] * 10
    assert [body[0] for pt, _, _, body in leg.got if pt == 101] == [1] * 5 + [2] * 5


@pytest.mark.usefixtures("at_once")
async def test_an_end_that_takes_no_events_hears_tones() -> None:
    a, b = pair(stream(OPUS, EVENT_48), stream(PCMA))
    b.tell_connected()
    for number in range(3):
        a.hear(110, number, 960, struct.pack("!BBH", 5, 0x8A, 4_800))
    await spoken(b)
    heard = np.frombuffer(b"".join(decode_alaw(body) for *_, body in b.got), np.int16)[:800]
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(800)))
    assert {round(at * 10, -2) for at in np.argsort(spectrum)[-2:]} == {800, 1_300}  # 770 and 1336 Hz
    assert a.events == [Digit("call", "a", "5", 100)]
    b.got.clear()
    b.dial("12", 100)
    await asyncio.sleep(0)
    b.stop_playing()
    await spoken(b)
    assert len(b.got) == 18
    assert {pt for pt, *_ in b.got} == {8}


@pytest.mark.usefixtures("at_once")
async def test_what_cannot_be_said_is_refused_or_left_out() -> None:
    leg = Told("a", Packet(), stream(AMR))
    with pytest.raises(MediaError, match="telephone events"):
        leg.dial("1", 100)
    leg.tell_connected()
    leg.play(silence(320))
    await spoken(leg)
    assert leg.got == []


async def test_nobody_can_make_a_leg_talk_for_ever() -> None:
    leg = Told("a", Packet(), stream(PCMA))
    for _ in range(speech.MAX_WAITING):
        leg.play(silence(320))
    with pytest.raises(MediaError, match="too much"):
        leg.play(silence(320))
    await leg.close()
    with pytest.raises(MediaError, match="over"):
        leg.play(silence(320))


async def test_the_end_is_told_once_and_nothing_after_it() -> None:
    leg = Told("a", Packet(), stream(PCMA))
    leg.lose(Cause.MEDIA_LOST, "silence")
    leg.lose(Cause.SECURITY, "too late")
    leg.tell_connected()
    assert leg.events == [Lost("call", "a", Cause.MEDIA_LOST, "silence")]
    assert not leg.statistics().connected


async def test_a_leg_that_is_closed_tells_nothing() -> None:
    leg = Told("a", Packet(), stream(PCMA))
    await leg.close()
    leg.lose(Cause.MEDIA_LOST, "closed")
    assert leg.events == []


@pytest.mark.parametrize("codec", [PCMA, OPUS], ids=["pcma", "opus"])
async def test_who_waits_for_an_end_on_hold_hears_that_the_line_lives(codec: Codec) -> None:
    a, b, beat = paced(stream(codec), stream(codec))
    a.hear(codec.pt, 1, 160, b"from a", now=1.0)
    b.hear(codec.pt, 1, 160, b"from b", now=1.0)
    assert beat.watched == []
    b.agree(stream(codec, direction=Direction.INACTIVE))
    assert beat.watched == [a]
    beat.run(1.02, 2.0)
    assert len(b.got) == 1
    quiet = [timestamp for *_, timestamp, _ in a.got]
    assert len(quiet) == 1 + 48  # from 60 ms after the last word
    assert quiet[1] - quiet[0] == round(0.06 * codec.clock_rate)
    assert {later - earlier for earlier, later in itertools.pairwise(quiet[1:])} == {codec.clock_rate // 50}
    b.agree(stream(codec))
    b.hear(codec.pt, 2, 320, b"back", now=2.02)
    assert [seq - a.got[0][1] for _, seq, _, _ in a.got] == list(range(50))
    assert a.got[-1][2] - a.got[-2][2] == codec.clock_rate // 50
    assert beat.watched == []


async def test_an_end_on_hold_before_a_word_was_said_is_not_silent_either() -> None:
    for direction in Direction:  # RECVONLY: phones announce music that they do not have
        a, _, beat = paced(stream(PCMA), stream(PCMA, direction=direction))
        beat.run(0.0, 0.1)
        assert len(a.got) == (0 if direction is Direction.SENDRECV else 6)


async def test_a_pause_of_the_talker_is_filled_where_we_transcode_and_left_alone_where_not() -> None:
    for sink, filled in ((PCMA, True), (OPUS, False)):
        a, b, beat = paced(stream(OPUS), stream(sink))
        beat.run(0.0, 0.5)
        assert b.got == []  # nothing was said yet
        a.hear(111, 1, 960, b"\xf8\xff\xfe", now=0.5)
        b.clock = 0.5
        beat.run(0.52, 1.0)
        assert (len(b.got) > 20) is filled


async def test_a_leg_that_lost_its_peer_is_kept_alive_until_it_has_another() -> None:
    a, b, beat = paced(stream(PCMA), stream(PCMA))
    c = Told("c", a.packet, stream(PCMA), beat)
    b.hear(8, 1, 160, b"from b", now=1.0)
    a.part()
    b.part()
    assert a in beat.watched
    beat.run(1.02, 1.2)
    a.bridge(c)
    c.hear(8, 700, 16_000, b"from c", now=1.22)
    assert [seq - a.got[0][1] for _, seq, _, _ in a.got] == list(range(len(a.got)))
    steps = [later - earlier for (_, _, earlier, _), (_, _, later, _) in itertools.pairwise(a.got)]
    assert steps == [480, *[160] * (len(steps) - 1)]
    assert a not in beat.watched


async def test_while_music_plays_there_is_no_noise_and_after_the_end_neither() -> None:
    a, b, beat = paced(stream(PCMA), stream(PCMA))
    b.agree(stream(PCMA, direction=Direction.INACTIVE))
    a.ready.clear()
    a.speaker.busy = True
    beat.run(0.0, 1.0)
    assert a.got == []
    a.speaker.busy = False
    await a.close()
    assert beat.watched == []


@pytest.mark.parametrize(
    ("direction", "plays", "hears", "speaks"),
    [
        (Direction.SENDRECV, True, True, True),
        (Direction.SENDONLY, True, True, False),
        (Direction.RECVONLY, False, False, True),
        (Direction.INACTIVE, False, False, False),
    ],
)
@pytest.mark.usefixtures("at_once")
async def test_each_direction_means_what_it_says(direction: Direction, plays: bool, hears: bool, speaks: bool) -> None:
    a, b = pair(stream(PCMA, EVENT_8, direction=direction), stream(PCMA))
    a.tell_connected()
    a.hear(8, 1, 160, b"from a")
    b.hear(8, 1, 160, b"from b")
    assert (bool(b.got), bool(a.got)) == (speaks, hears)
    a.got.clear()
    a.play(silence(320))
    a.dial("1", 60)
    await spoken(a)
    assert bool(a.got) is plays


async def test_a_refresh_and_a_hold_do_not_interrupt_the_stream() -> None:
    a, b = pair(stream(PCMA), stream(PCMA))
    for number in range(6):
        a.agree(stream(PCMA))
        b.agree(stream(PCMA, direction=Direction.INACTIVE))
        b.agree(stream(PCMA))
        a.hear(8, number, 160 * number, b"x", now=number * 0.0213)  # arrives unevenly
    steps = [later[2] - earlier[2] for earlier, later in itertools.pairwise(b.got)]
    assert steps == [160] * 5
    a.hear(8, 3, 480, b"late", now=1.0)
    assert b.got[-1][2] == b.got[3][2]


async def test_a_leg_that_gets_another_peer_goes_on_as_one_stream() -> None:
    a, b = pair(stream(PCMA), stream(PCMA))
    c = Told("c", a.packet, stream(OPUS))
    for number in range(3):
        b.hear(8, 700 + number, 99_000 + 160 * number, b"from b", now=number * 0.02)
    encoder = Opus()
    c.bridge(a)
    said = [packet for at in range(0, 4_800, 960) for packet in encoder(sine(500, 960, at, 48_000))]
    for number, body in enumerate(said):
        c.hear(111, 20 + number, 5 + 960 * number, body, now=1.0 + number * 0.02)
    first = a.got[0]
    assert [seq - first[1] for _, seq, _, _ in a.got] == list(range(3 + len(said)))
    steps = [later[2] - earlier[2] for earlier, later in itertools.pairwise(a.got)]
    assert steps == [160, 160, round(0.96 * 8_000), *[160] * (len(said) - 1)]
    assert {pt for pt, *_ in a.got} == {8}


async def test_who_sends_more_than_is_allowed_is_cut_to_it() -> None:
    a, b = pair(stream(PCMA), stream(PCMA))
    a.limit(64_000)
    start = a._ticked
    for number in range(300):
        a.hear(8, number, 160 * number, bytes(160))
    burst = len(b.got)
    assert burst == 16_000 // 172
    assert a.dropped["flood"] == 300 - burst
    a.tick(start + 1.0)
    for number in range(300, 600):
        a.hear(8, number, 160 * number, bytes(160))
    assert len(b.got) - burst == pytest.approx(8_000 // 172, abs=1)
    a.tick(start + 1_000.0)
    for number in range(600, 900):
        a.hear(8, number, 160 * number, bytes(160))
    assert len(b.got) - 2 * burst == pytest.approx(8_000 // 172, abs=2)


async def test_a_codec_that_changes_takes_its_clock_along() -> None:
    shared: Any = Packet()
    a, b = Told("a", shared, stream(PCMA)), Told("b", shared)
    a.bridge(b)
    a.hear(8, 1, 160, bytes(160))
    b.agree(stream(OPUS))
    a.wire()
    a.hear(8, 2, 320, bytes(160))
    a.hear(8, 3, 480, bytes(160))
    assert [pt for pt, *_ in b.got] == [111, 111]
    assert b.got[1][2] - b.got[0][2] == 960
    b.agree(replace(stream(PCMU), ptime=40))
    b.wire()
    a.hear(8, 4, 640, bytes(160))
    a.hear(8, 5, 800, bytes(160))
    assert b.got[2][0] == 0
    assert len(b.got[2][3]) == 320
