"""Opus (RFC 6716) by the system's libopus, mono, at the rate of the other side: 8 kHz for a telephone, 16 for G.722.

libopus codes and decodes at these rates itself, whatever rate the far end works at (RFC 7587 §4.1: the RTP clock is
48 kHz regardless), so no resampler is needed.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

from cffi import FFI  # type: ignore[import-untyped]  # cffi ships no types

from gateway.errors import MediaError
from gateway.media.effort import COMPLEXITY

RATE = 8_000
MAX_MS = 120  # RFC 6716 §2.1.4: at most that in a packet
MAX_PACKET = 1_275
FRAMES = (60, 40, 20, 10)  # ms, what an encoder may be given (5 and 2.5 are left out)

VOIP = 2048
SET_BITRATE, SET_COMPLEXITY = 4002, 4010
_SET_INBAND_FEC, _SET_PACKET_LOSS, _SET_DTX = 4012, 4014, 4016
_NOTHING = 2  # octets, and fewer: a frame that need not be sent (opus_encode(3))

_ffi = FFI()
_ffi.cdef("""
typedef struct OpusEncoder OpusEncoder;
typedef struct OpusDecoder OpusDecoder;
OpusEncoder *opus_encoder_create(int32_t rate, int channels, int application, int *error);
int opus_encoder_ctl(OpusEncoder *encoder, int request, ...);
int32_t opus_encode(OpusEncoder *encoder, const int16_t *pcm, int samples, unsigned char *data, int32_t room);
void opus_encoder_destroy(OpusEncoder *encoder);
OpusDecoder *opus_decoder_create(int32_t rate, int channels, int *error);
int opus_decode(OpusDecoder *decoder, const unsigned char *data, int32_t length, int16_t *pcm, int samples, int fec);
void opus_decoder_destroy(OpusDecoder *decoder);
""")


@functools.cache
def loaded(ffi: Any = _ffi) -> Any:
    """The system's libopus, with the functions that this `ffi` declares. Raises MediaError."""
    try:
        return ffi.dlopen("libopus.so.0")
    except OSError as error:
        raise MediaError("libopus.so.0 is not installed (Debian and Ubuntu: apt install libopus0)") from error


def available() -> bool:
    """Whether this machine can do Opus."""
    try:
        loaded()
    except MediaError:
        return False
    return True


class Encoder:
    """PCM at `rate` in, one Opus packet out. Raises MediaError.

    Without a `complexity` of its own it works at that of all encoders of the process, which changes with the load. With
    `dtx` a packet of silence is empty, but for one now and then, and is not to be sent.
    """

    common: ClassVar[int] = COMPLEXITY

    def __init__(
        self, rate: int = RATE, *, complexity: int | None = None, bitrate: int = 24_000, dtx: bool = False
    ) -> None:
        libopus, error = loaded(), _ffi.new("int *")
        state = libopus.opus_encoder_create(rate, 1, VOIP, error)
        if error[0]:
            raise MediaError(f"Opus encoder: error {error[0]}")
        self._state = _ffi.gc(state, libopus.opus_encoder_destroy)
        self._out = _ffi.new("unsigned char[]", MAX_PACKET)
        self._encode = libopus.opus_encode
        self._dtx = dtx
        self._own, self._complexity = complexity is not None, self.common if complexity is None else complexity
        for request, value in (
            (SET_BITRATE, bitrate),
            (SET_COMPLEXITY, self._complexity),
            (_SET_INBAND_FEC, 1),
            (_SET_PACKET_LOSS, 5),
            (_SET_DTX, dtx),
        ):
            self._control(request, value)

    def encode(self, pcm: bytes) -> bytes:
        """`pcm` is one frame of FRAMES."""
        if self._complexity != self.common and not self._own:
            self._complexity = self.common
            self._control(SET_COMPLEXITY, self._complexity)
        length = self._encode(self._state, _ffi.from_buffer("int16_t[]", pcm), len(pcm) // 2, self._out, MAX_PACKET)
        if length < 0:
            raise MediaError(f"Opus encoder: error {length}")
        return b"" if self._dtx and length <= _NOTHING else bytes(_ffi.buffer(self._out, length))

    def _control(self, request: int, value: int) -> None:
        loaded().opus_encoder_ctl(self._state, request, _ffi.cast("int", value))


class Decoder:
    """One Opus packet in, PCM at `rate` out. Raises MediaError on what is no Opus."""

    def __init__(self, rate: int = RATE) -> None:
        libopus, error = loaded(), _ffi.new("int *")
        state = libopus.opus_decoder_create(rate, 1, error)
        if error[0]:
            raise MediaError(f"Opus decoder: error {error[0]}")
        self._state = _ffi.gc(state, libopus.opus_decoder_destroy)
        self._most = rate * MAX_MS // 1000  # samples
        self._step = rate * 25 // 10_000  # 2.5 ms, what all durations are multiples of
        self._out = _ffi.new("int16_t[]", self._most)
        self._decode = libopus.opus_decode

    def decode(self, data: bytes) -> bytes:
        return self._pcm(self._decode(self._state, data, len(data), self._out, self._most, 0))

    def conceal(self, samples: int, following: bytes | None = None) -> bytes:
        """What was lost: from the redundancy that the packet after it may carry (in-band FEC), else made up."""
        samples = min(samples, self._most) // self._step * self._step
        if not samples:
            return b""
        if following is not None:
            return self._pcm(self._decode(self._state, following, len(following), self._out, samples, 1))
        return self._pcm(self._decode(self._state, _ffi.NULL, 0, self._out, samples, 0))

    def _pcm(self, samples: int) -> bytes:
        if samples < 0:
            raise MediaError(f"Opus decoder: error {samples}")
        return bytes(_ffi.buffer(self._out, samples * 2))
