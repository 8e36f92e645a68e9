"""Two channels as a WAV file: PCM, 8 kHz, 16 bit. Its header tells the size: it is written again once that is known."""

from __future__ import annotations

import struct

from gateway.media.transcode import RATE

SUFFIX = "wav"
_PCM = 1  # WAVE_FORMAT_PCM
_FRAME = 4  # bytes: a sample of each channel
_SHAPE = struct.Struct("<4sI4s4sIHHIIHH4sI")
_UNKNOWN = 0xFFFFFFFF  # what those who write as they go put for a size; players read on to the end


class WavFile:
    """Bytes to append, out of interleaved samples."""

    suffix = SUFFIX

    def __init__(self) -> None:
        self._octets = 0

    def begin(self) -> bytes:
        return _header(_UNKNOWN)

    def feed(self, pcm: bytes) -> bytes:
        self._octets += len(pcm)
        return pcm

    def end(self) -> bytes:
        return b""

    def head(self) -> bytes:
        """What has to stand at the beginning in the end."""
        return _header(self._octets)


def _header(octets: int) -> bytes:
    whole = _UNKNOWN if octets == _UNKNOWN else octets + _SHAPE.size - 8
    shape = (16, _PCM, 2, RATE, RATE * _FRAME, _FRAME, 16)
    return _SHAPE.pack(b"RIFF", whole, b"WAVE", b"fmt ", *shape, b"data", octets)
