from __future__ import annotations

import itertools

import numpy as np
import pytest

from gateway.media import g722, tones
from gateway.media.ears import Ears, key_of
from gateway.media.rtp import Pressed
from gateway.session.model import Codec
from tests.media.ends import G722, OPUS, PCMA, PCMU, alaw, sine, ulaw

KEYS = "123A456B789C*0#D"


def pcm(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.int16)


def heard(ears: Ears, codec: Codec, payload: bytes, size: int = 160) -> list[Pressed]:
    """In packets of `size` samples of G.711."""
    packets = (payload[at : at + size] for at in range(0, len(payload), size))
    return [pressed for body in packets for pressed in ears.hear(codec.pt, body)]


@pytest.mark.parametrize("size", [80, 160, 240, 480])
@pytest.mark.parametrize(("codec", "coded"), [(PCMA, alaw), (PCMU, ulaw)], ids=["PCMA", "PCMU"])
def test_every_key_is_heard_once_in_packets_of_every_size(codec: Codec, coded: object, size: int) -> None:
    assert callable(coded)
    pressed = heard(Ears((codec,)), codec, coded(pcm(tones.digits(KEYS, 100) + bytes(960))), size)
    assert "".join(digit.digit for digit in pressed) == KEYS
    assert all(80 <= digit.duration <= 120 for digit in pressed)


@pytest.mark.parametrize("offset", range(0, 160, 20))
def test_keys_of_sixty_milliseconds_are_heard_wherever_they_begin_and_repeats_are_told_apart(offset: int) -> None:
    sound = alaw(pcm(bytes(offset * 2) + tones.digits("5577", 60) + bytes(960)))
    assert [digit.digit for digit in heard(Ears((PCMA,)), PCMA, sound)] == ["5", "5", "7", "7"]


@pytest.mark.parametrize("gain", [0.08, 0.5, 2.5])
def test_keys_are_heard_faint_and_loud(gain: float) -> None:
    sound = (pcm(tones.digits("0#", 80) + bytes(960)) * gain).astype(np.int16)
    assert [digit.digit for digit in heard(Ears((PCMA,)), PCMA, alaw(sound))] == ["0", "#"]


def test_a_key_is_heard_through_the_noise_of_a_line() -> None:
    chance = np.random.default_rng(7)
    sound = pcm(tones.digits("19", 100) + bytes(960))
    noisy = (sound + chance.normal(0, 600, len(sound))).astype(np.int16)  # 18 dB below the tones
    assert [digit.digit for digit in heard(Ears((PCMA,)), PCMA, alaw(noisy))] == ["1", "9"]


def test_tones_one_octave_too_low_or_with_a_third_beside_them_are_no_key() -> None:
    for frequencies in ((697,), (697, 770), (1_209, 1_336), (350, 440), (425,), (697, 1_209, 1_000), (480, 620)):
        block = sum(sine(frequency, 160) // 3 for frequency in frequencies)
        assert isinstance(block, np.ndarray)
        assert key_of(block.astype(np.int16).tobytes()) == "", frequencies


def test_what_sounds_like_speech_presses_no_key() -> None:
    """A minute of vowels: a fundamental that glides, its harmonics weighed by two formants, and breath."""
    chance = np.random.default_rng(11)
    pieces = []
    for _ in range(300):
        time = np.arange(1_600) / 8_000
        pitch = chance.uniform(90, 280) * (1 + chance.uniform(-0.3, 0.3) * time)
        formants = chance.uniform(300, 900), chance.uniform(900, 2_400)
        phase = 2 * np.pi * np.cumsum(pitch) / 8_000
        weights = [
            sum(np.exp(-(((number * pitch.mean() - formant) / 250) ** 2)) for formant in formants) + 0.02
            for number in range(1, 14)
        ]
        voice = sum(weight * np.sin(number * phase) for number, weight in enumerate(weights, 1))
        pieces.append(voice / np.abs(voice).max() * 12_000 + chance.normal(0, 500, 1_600))
    sound = np.concatenate(pieces).astype(np.int16)
    assert heard(Ears((PCMA,)), PCMA, alaw(sound)) == []


def test_a_click_of_twenty_milliseconds_is_no_key() -> None:
    click = tones.digits("5", 100)[:320]
    assert key_of(click) == "5"
    assert heard(Ears((PCMA,)), PCMA, alaw(pcm(click + bytes(960)))) == []


def test_silence_and_noise_press_no_key() -> None:
    chance = np.random.default_rng(3)
    for sound in (np.zeros(8_000, np.int16), chance.normal(0, 3_000, 40_000).astype(np.int16)):
        assert heard(Ears((PCMA,)), PCMA, alaw(sound)) == []
    assert key_of(tones.noise()[:320]) == ""


def test_music_that_we_play_presses_no_key() -> None:
    assert heard(Ears((PCMA,)), PCMA, alaw(pcm(tones.music()))) == []


def test_a_codec_that_bends_tones_and_one_that_was_not_agreed_are_not_listened_to() -> None:
    ears = Ears((OPUS, PCMA))
    assert ears.hear(OPUS.pt, b"anything") == ()
    assert ears.hear(PCMU.pt, bytes(160)) == ()


def test_wide_band_calls_dial_too() -> None:
    encode = g722.Encoder().encode
    sound = tones.digits("42", 100) + bytes(960)
    ears = Ears((G722,))
    frames = (sound[at : at + 320] for at in range(0, len(sound), 320))
    pressed = itertools.chain.from_iterable(ears.hear(G722.pt, encode(frame)) for frame in frames if len(frame) == 320)
    assert [digit.digit for digit in pressed] == ["4", "2"]
