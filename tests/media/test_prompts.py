from __future__ import annotations

import pathlib
import struct
import wave

import numpy as np
import pytest

from gateway.errors import MediaError
from gateway.media import opus, prompts, tones
from gateway.media.prompts import Encoded, Prompts, Sound, encoded, read
from tests.media.ends import OPUS, PCMA, Decoding, alaw, loudest, sine
from tests.media.test_ogg import HEAD, page


def wav(file: pathlib.Path, pcm: bytes, *, rate: int = 8_000, width: int = 2, channels: int = 1) -> pathlib.Path:
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(pcm)
    return file


def test_a_name_is_a_sound_and_others_are_refused() -> None:
    known = Prompts(region="US")
    expected = {
        "hold": Sound("hold", tones.music(), endless=True),
        "ringback": Sound("ringback", tones.ringback("US"), endless=True),
        "ringback-gb": Sound("ringback-gb", tones.ringback("GB"), endless=True),
        "busy": Sound("busy", tones.busy("US"), endless=True),
        "warning": Sound("warning", tones.warning()),
    }
    # As names: a difference of thousands of samples takes pytest minutes to explain.
    assert [name for name, sound in expected.items() if known.named(name).pcm != sound.pcm] == []
    assert known.named("hold").endless
    assert known.named("busy").endless
    assert not known.named("warning").endless
    for name in ("opera", "../echo", "", "echo.wav", "x" * 40):
        with pytest.raises(MediaError, match="no prompt"):
            known.named(name)


def test_the_greeting_is_short_and_has_sound_in_it() -> None:
    echo = Prompts().named("echo")
    assert 8_000 < len(echo.pcm) // 2 < 5 * 8_000
    assert len(set(echo.pcm)) > 100
    assert not echo.endless


def test_an_operators_music_is_played_instead_of_ours(tmp_path: pathlib.Path) -> None:
    file = wav(tmp_path / "own.wav", sine(500, 8_000).tobytes())
    same = Prompts(str(file)).named("hold").pcm == sine(500, 8_000).tobytes()
    assert same


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (44_100, 2), (16_000, 1)])
def test_a_wav_file_of_any_usual_shape_is_read(tmp_path: pathlib.Path, rate: int, channels: int) -> None:
    pcm = np.repeat(sine(500, rate, rate=rate), channels)
    heard = np.frombuffer(read(wav(tmp_path / "a.wav", pcm.tobytes(), rate=rate, channels=channels)), np.int16)
    assert abs(len(heard) - 8_000) <= 1
    assert abs(loudest(heard) - 500) <= 1.5


def test_a_wav_file_of_bytes_is_read(tmp_path: pathlib.Path) -> None:
    pcm = ((sine(500, 8_000).astype(int) >> 8) + 128).astype(np.uint8)
    heard = np.frombuffer(read(wav(tmp_path / "a.wav", pcm.tobytes(), width=1)), np.int16)
    assert abs(loudest(heard) - 500) <= 1.5
    assert abs(heard.mean()) < 200


def test_an_opus_file_is_read(tmp_path: pathlib.Path) -> None:
    encoder = opus.Encoder()
    packets = [encoder.encode(sine(500, 160, at).tobytes()) for at in range(0, 8_000, 160)]
    file = tmp_path / "a.opus"
    file.write_bytes(page([HEAD]) + page([b"OpusTags"]) + b"".join(page([packet]) for packet in packets))
    heard = np.frombuffer(read(file), np.int16)
    assert len(heard) == 8_000 - 312 * 8 // 48
    assert abs(loudest(heard) - 500) <= 1.5


def test_a_file_that_cannot_be_played_says_why(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bad.wav"
    for data, reason in (
        (b"", "bad.wav"),
        (b"RIFF" + bytes(60), "bad.wav"),
        (b"OggS" + bytes(30), "no Opus"),
        (page([HEAD]), "no sound"),
    ):
        file.write_bytes(data)
        with pytest.raises(MediaError, match=reason):
            Prompts(str(file))
    with pytest.raises(MediaError, match="3 channels"):
        read(wav(file, bytes(60), channels=3))
    with pytest.raises(MediaError, match="No such file"):
        read(tmp_path / "none.wav")
    monkeypatch.setattr(prompts, "MAX_FILE", 20)
    with pytest.raises(MediaError, match="larger"):
        read(wav(file, bytes(600)))


def test_a_file_is_played_for_so_long_and_no_longer(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "MAX_SECONDS", 1)
    assert len(read(wav(tmp_path / "long.wav", bytes(2 * 24_000)))) == 16_000
    packet = opus.Encoder().encode(bytes(320))
    file = tmp_path / "long.opus"
    file.write_bytes(page([HEAD]) + page([b"OpusTags"]) + page([packet] * 200))
    assert len(read(file)) <= 16_320


def test_a_sound_is_encoded_once_and_ends_or_begins_again() -> None:
    tone = sine(400, 400).tobytes()
    once = Encoded(Sound("once", tone), PCMA, 20)
    assert [once.frame(number) for number in (2, 0, 1)] == [
        alaw(np.concatenate([sine(400, 80, 320), np.zeros(80, np.int16)])),
        alaw(sine(400, 160)),
        alaw(sine(400, 160, 160)),
    ]
    assert once.frame(3) is None
    endless = Encoded(Sound("round", tone, endless=True), PCMA, 20)
    assert [endless.frame(number) for number in (2, 3, 100)] == [once.frame(0), once.frame(1), once.frame(0)]
    assert encoded(Sound("a", tone), "pcma", 20) is encoded(Sound("a", tone), "pcma", 20)


def test_what_is_shorter_than_a_frame_is_a_frame() -> None:
    for endless in (False, True):
        assert Encoded(Sound("tick", bytes(10), endless=endless), PCMA, 20).frame(0) == alaw(np.zeros(160, np.int16))


def test_a_sound_in_opus_is_the_same_sound() -> None:
    frames = Encoded(Sound("tone", sine(600, 8_000).tobytes()), OPUS, 20)
    decode = Decoding(OPUS)
    heard = np.concatenate([decode(frames.frame(number) or b"") for number in range(len(frames))])
    assert abs(loudest(heard, 48_000) - 600) <= 1.5
    assert struct.calcsize("h") == heard.itemsize


def test_that_a_call_is_recorded_is_said_once_by_a_tone_or_the_operators_file(tmp_path: pathlib.Path) -> None:
    beeps = Prompts().named("notice")
    assert not beeps.endless
    samples = np.frombuffer(beeps.pcm, np.int16)
    assert loudest(samples[:3_200]) == pytest.approx(1_400, abs=3)
    assert 0.5 < len(samples) / 8_000 < 2.0
    file = wav(tmp_path / "notice.wav", sine(600, 8_000).tobytes())
    assert Prompts(notice=str(file)).named("notice").pcm != beeps.pcm
    with pytest.raises(MediaError, match="cannot be played"):
        Prompts(notice=str(tmp_path / "none.wav"))
