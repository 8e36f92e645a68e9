from __future__ import annotations

import io

import av
import numpy as np
import pytest

from gateway.errors import MediaError
from gateway.media.jukebox import MAX_SAMPLES, Jukebox, wav
from gateway.media.ng import MAX_DATAGRAM
from tests.media.ends import alaw, loudest, sine


def heard(data: bytes) -> np.ndarray:
    """By FFmpeg, which is what rtpengine plays with."""
    with av.open(io.BytesIO(data), "r") as file:
        return np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])


def test_a_record_is_a_wav_file_that_others_can_play() -> None:
    sound = heard(wav(alaw(sine(440, 8_000))))
    assert len(sound) == 8_000
    assert loudest(sound) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(
    ("name", "endless"), [("hold", True), ("ringback", True), ("busy-gb", True), ("echo", False), ("warning", False)]
)
def test_every_prompt_fits_into_a_datagram(name: str, endless: bool) -> None:
    record = Jukebox().record(name)
    data = record.wav.encode("utf-8", "surrogateescape")
    assert len(data) < MAX_DATAGRAM - 1_000
    assert record.endless is endless
    assert 0 < len(heard(data)) <= MAX_SAMPLES
    assert record.seconds == len(heard(data)) / 8_000


def test_an_unknown_prompt_is_an_error() -> None:
    with pytest.raises(MediaError, match="no prompt"):
        Jukebox().record("nothing")
