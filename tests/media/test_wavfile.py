from __future__ import annotations

import io
import wave

import av
import numpy as np

from gateway.media.wavfile import WavFile
from tests.media.ends import sine


def both(samples: int = 8_000) -> bytes:
    return np.column_stack([sine(500, samples), sine(800, samples)]).tobytes()


def test_a_finished_file_says_how_long_it_is() -> None:
    file, pcm = WavFile(), both()
    body = file.begin() + file.feed(pcm[:100]) + file.feed(pcm[100:]) + file.end()
    head = file.head()
    with wave.open(io.BytesIO(head + body[len(head) :])) as read:
        assert (read.getnchannels(), read.getframerate(), read.getsampwidth()) == (2, 8_000, 2)
        assert read.getnframes() == 8_000
        assert read.readframes(8_000) == pcm


def test_a_file_that_was_never_finished_can_be_heard() -> None:
    file, pcm = WavFile(), both()
    with av.open(io.BytesIO(file.begin() + file.feed(pcm)), "r") as read:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in read.decode(audio=0)])
    assert heard.tobytes() == pcm
