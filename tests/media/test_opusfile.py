from __future__ import annotations

import io

import av
import numpy as np
import pytest

from gateway.media.opusfile import OpusFile
from tests.media.ends import loudest, sine


def made(left: np.ndarray, right: np.ndarray, piece: int = 1_000) -> bytes:
    file, pcm = OpusFile(), np.column_stack([left, right]).tobytes()
    pieces = [file.feed(pcm[at : at + piece * 4]) for at in range(0, len(pcm), piece * 4)]
    return file.begin() + b"".join(pieces) + file.end()


def heard(data: bytes) -> np.ndarray:
    """Both channels at 48 kHz, by FFmpeg's reader and its own decoder."""
    with av.open(io.BytesIO(data), "r") as read:
        assert read.streams.audio[0].codec_context.channels == 2
        return np.concatenate([frame.to_ndarray() for frame in read.decode(audio=0)], axis=1)


def test_two_voices_are_heard_each_in_its_channel() -> None:
    left, right = heard(made(sine(500, 24_000), sine(800, 24_000)))
    assert loudest(left, 48_000) == pytest.approx(500, abs=2)
    assert loudest(right, 48_000) == pytest.approx(800, abs=2)


def test_nothing_of_one_is_heard_where_the_other_is() -> None:
    left, right = heard(made(sine(500, 24_000), np.zeros(24_000, np.int16)))
    scale = np.abs(left.astype(float)).max()
    assert np.abs(right.astype(float)).max() < scale / 1_000


@pytest.mark.parametrize("samples", [159, 160, 8_000, 8_001, 20_123])
def test_a_file_lasts_as_long_as_what_it_was_fed(samples: int) -> None:
    assert heard(made(sine(500, samples), sine(800, samples), piece=777)).shape[1] == pytest.approx(samples * 6, abs=1)


def test_a_sound_is_where_it_was() -> None:
    click = np.zeros(16_000, np.int16)
    click[8_000:8_400] = sine(1_000, 400)
    left, _ = heard(made(click, click))
    loud = np.flatnonzero(np.abs(left.astype(float)) > np.abs(left.astype(float)).max() / 4)
    assert loud[0] / 6 == pytest.approx(8_000, abs=40)
    assert loud[-1] / 6 == pytest.approx(8_400, abs=80)


def test_an_hour_is_less_than_25_megabytes() -> None:
    minute = np.tile(sine(500, 8_000), 4)
    assert len(made(minute, minute)) / 4 * 3600 < 25_000_000
