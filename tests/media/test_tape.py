from __future__ import annotations

import struct

import numpy as np
import pytest

from gateway.media.tape import LATE, LEFT, RIGHT, Heard, Tape
from gateway.session.model import Codec
from tests.media.ends import EVENT_8, G722, OPUS, PCMA, Opus, alaw, loudest, packet, sine

BEGAN = 100.0


class Machine:
    """A tape, and time as it goes on."""

    def __init__(self) -> None:
        self.tape = Tape(BEGAN)
        self.taken = b""

    def say(
        self,
        channel: int,
        at: float,
        sound: bytes,
        *,
        seq: int = 1,
        timestamp: int | None = None,
        ssrc: int = 7,
        codec: Codec = PCMA,
    ) -> None:
        stamp = round(at * 8_000) if timestamp is None else timestamp
        heard = packet(codec.pt, seq, stamp, ssrc, sound)
        self.tape.put(Heard(BEGAN + at, channel, (codec,), heard))

    def talk(self, channel: int, begin: float, sound: np.ndarray, *, late: float = 0.0) -> None:
        coded = alaw(sound)
        for number, at in enumerate(range(0, len(coded), 160)):
            self.say(
                channel, begin + number * 0.02 + late, coded[at : at + 160], seq=number, timestamp=5_000 + at, ssrc=9
            )

    def take(self, now: float) -> None:
        self.taken += self.tape.take(BEGAN + now)

    def end(self, now: float) -> tuple[np.ndarray, np.ndarray]:
        self.taken += self.tape.end(BEGAN + now)
        both = np.frombuffer(self.taken, np.int16)
        return both[0::2], both[1::2]


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_each_end_is_in_its_channel_at_the_time_it_spoke(machine: Machine) -> None:
    machine.talk(LEFT, 0.5, sine(500, 4_000))
    machine.talk(RIGHT, 1.5, sine(800, 4_000))
    left, right = machine.end(2.5)
    assert len(left) == len(right) == 20_000
    assert loudest(left[4_000:8_000]) == pytest.approx(500, abs=3)
    assert loudest(right[12_000:16_000]) == pytest.approx(800, abs=3)
    for silent in (left[:4_000], left[8_000:], right[:12_000], right[16_000:]):
        assert not silent.any()


def test_what_is_taken_in_pieces_is_the_same_as_at_once() -> None:
    sounds = []
    for steps in (1, 7):
        machine = Machine()
        machine.talk(LEFT, 0.0, sine(500, 8_000))
        machine.talk(RIGHT, 0.3, sine(700, 4_000))
        for step in range(steps):
            machine.take(2.0 * step / steps)
        sounds.append(machine.end(2.0))
    for one, other in zip(*sounds, strict=True):
        assert np.array_equal(one, other)


def test_packets_that_come_unevenly_are_where_their_timestamps_say(machine: Machine) -> None:
    coded = alaw(sine(500, 1_600))
    for number, wait in enumerate((0.0, 0.05, 0.01, 0.08, 0.0, 0.03, 0.06, 0.0, 0.0, 0.02)):
        at = number * 160
        machine.say(LEFT, number * 0.02 + wait, coded[at : at + 160], seq=number, timestamp=at)
    left, _ = machine.end(1.0)
    whole = Machine()
    whole.talk(LEFT, 0.0, sine(500, 1_600))
    assert np.array_equal(left, whole.end(1.0)[0])


def test_a_lost_packet_is_silence_of_its_length(machine: Machine) -> None:
    coded = alaw(sine(500, 480))
    for number in (0, 2):
        machine.say(LEFT, number * 0.02, coded[number * 160 :][:160], seq=number, timestamp=number * 160)
    left, _ = machine.end(0.06)
    assert left[:160].any()
    assert not left[160:320].any()
    assert left[320:480].any()


def test_a_packet_that_was_overtaken_finds_its_place(machine: Machine) -> None:
    coded = alaw(sine(500, 480))
    for number in (0, 2, 1):
        machine.say(LEFT, 0.05, coded[number * 160 :][:160], seq=number, timestamp=number * 160)
    left, _ = machine.end(1.0)
    assert loudest(left[400:880]) == pytest.approx(500, abs=20)
    assert np.abs(left[560:720]).max() > 8_000


def test_a_packet_whose_place_was_taken_is_left_out(machine: Machine) -> None:
    machine.say(LEFT, 0.0, alaw(sine(500, 160)), seq=1, timestamp=0)
    machine.take(1.0 + LATE)
    machine.say(LEFT, 0.02, alaw(sine(500, 160)), seq=2, timestamp=160)
    left, _ = machine.end(2.0)
    assert not left[160:].any()


def test_a_source_that_begins_anew_is_put_where_it_comes(machine: Machine) -> None:
    machine.say(LEFT, 0.0, alaw(sine(500, 160)), timestamp=1_000, ssrc=1)
    machine.say(LEFT, 0.5, alaw(sine(500, 160)), timestamp=4_000_000_000, ssrc=2)
    left, _ = machine.end(1.0)
    assert left[4_000:4_160].any()


@pytest.mark.parametrize("jump", [80_000, -80_000, 2_000_000_000])
def test_a_timestamp_that_jumps_does_not_move_the_voice_away_from_its_time(machine: Machine, jump: int) -> None:
    machine.say(LEFT, 0.0, alaw(sine(500, 160)), seq=1, timestamp=2_100_000_000)
    machine.say(LEFT, 0.02, alaw(sine(500, 160)), seq=2, timestamp=2_100_000_000 + jump)
    left, _ = machine.end(1.0)
    assert len(left) == 8_000
    assert left[160:320].any()
    assert not left[320:].any()


def test_timestamps_that_wrap_go_on(machine: Machine) -> None:
    coded = alaw(sine(500, 320))
    machine.say(LEFT, 0.0, coded[:160], seq=1, timestamp=2**32 - 160)
    machine.say(LEFT, 0.1, coded[160:], seq=2, timestamp=0)
    left, _ = machine.end(1.0)
    assert left[160:320].any()
    assert not left[400:].any()


def test_a_packet_that_comes_twice_is_heard_once(machine: Machine) -> None:
    opus = Opus()(sine(500, 960, rate=48_000))[0]
    for _ in range(2):
        machine.say(LEFT, 0.0, opus, codec=OPUS, timestamp=0)
    left, _ = machine.end(1.0)
    assert not left[160:].any()


def test_opus_is_counted_in_its_own_clock(machine: Machine) -> None:
    encode = Opus()
    tone = sine(500, 48_000, rate=48_000)
    for number in range(50):
        (coded,) = encode(tone[number * 960 :][:960])
        machine.say(LEFT, number * 0.02, coded, seq=number, timestamp=number * 960, codec=OPUS)
    left, _ = machine.end(1.0)
    assert loudest(left[2_000:]) == pytest.approx(500, abs=3)
    assert np.abs(left[7_000:]).max() > 4_000


def test_digits_make_no_sound(machine: Machine) -> None:
    heard = packet(EVENT_8.pt, 1, 0, 7, struct.pack("!BBH", 4, 10, 800))
    machine.tape.put(Heard(BEGAN, LEFT, (PCMA,), heard))
    left, _ = machine.end(1.0)
    assert not left.any()


@pytest.mark.parametrize("late", [0.0, 0.007, 0.013])
def test_the_tones_of_keys_are_silenced_and_speech_around_them_is_not(machine: Machine, late: float) -> None:
    voice = sine(300, 8_000)
    key = (sine(770, 800) // 2 + sine(1_209, 800) // 2).astype(np.int16)
    voice[3_200:4_000] = key
    machine.talk(LEFT, 0.0, voice, late=late)
    left, _ = machine.end(1.2)
    begin = round(late * 8_000)
    assert not left[begin + 3_200 : begin + 4_000].any()
    assert left[begin + 2_500 : begin + 2_700].any()
    assert left[begin + 4_500 : begin + 4_700].any()


def test_a_codec_that_nobody_decodes_is_silence_and_is_told(machine: Machine) -> None:
    machine.say(LEFT, 0.0, b"x" * 20, codec=Codec(18, "G729", 8_000))
    left, _ = machine.end(1.0)
    assert machine.tape.unheard == {"G729"}
    assert not left.any()


@pytest.mark.parametrize(
    ("codecs", "data"),
    [
        ((PCMA,), packet(8, 1, 1, 1, b"")),
        ((PCMA,), packet(0, 1, 1, 1, b"x" * 160)),
        ((PCMA,), b"\x8f\x08" + bytes(10)),
        ((OPUS,), packet(111, 1, 1, 1, b"\xff" * 3)),
        ((G722,), packet(9, 1, 1, 1, bytes(1_400))),
        ((PCMA,), bytes(3_000)),
        ((), packet(8, 1, 1, 1, b"x" * 160)),
    ],
    ids=["empty", "not agreed", "cut off", "no Opus", "too long", "longer than any packet", "nothing agreed"],
)
def test_what_is_no_voice_leaves_silence(machine: Machine, codecs: tuple[Codec, ...], data: bytes) -> None:
    machine.tape.put(Heard(BEGAN, LEFT, codecs, data))
    left, right = machine.end(0.1)
    assert len(left) == 800
    assert not left.any()
    assert not right.any()
