"""G.722 (ITU-T G.722; RFC 3551 §4.5.2) by the system's libspandsp, where it is installed.

At 8 kHz only the lower half of its band is used, where the other side is a narrow telephone; at 16 kHz all of it. Its
RTP clock is 8 kHz either way, by a mistake that RFC 3551 made into a rule: a byte is one tick.
"""

from __future__ import annotations

import functools
from typing import Any

from cffi import FFI  # type: ignore[import-untyped]  # cffi ships no types

from gateway.errors import MediaError

MAX_PACKET = 8_000 * 120 // 1000  # bytes, one for each tick of the RTP clock
_RATE = 64_000  # bit/s
NARROW = 8_000  # Hz
_AT_8000 = 0x0001

_ffi = FFI()
_ffi.cdef("""
typedef struct g722_encode_state_s g722_encode_state_t;
typedef struct g722_decode_state_s g722_decode_state_t;
g722_encode_state_t *g722_encode_init(g722_encode_state_t *s, int rate, int options);
int g722_encode(g722_encode_state_t *s, uint8_t data[], const int16_t pcm[], int samples);
int g722_encode_free(g722_encode_state_t *s);
g722_decode_state_t *g722_decode_init(g722_decode_state_t *s, int rate, int options);
int g722_decode(g722_decode_state_t *s, int16_t pcm[], const uint8_t data[], int length);
int g722_decode_free(g722_decode_state_t *s);
""")


@functools.cache
def _library() -> Any:
    try:
        return _ffi.dlopen("libspandsp.so.2")
    except OSError:
        return None


def available() -> bool:
    """Whether this machine can do G.722 (Debian and Ubuntu: apt install libspandsp2)."""
    return _library() is not None


def _opened(init: str, free: str, rate: int) -> Any:
    library, options = _library(), _AT_8000 if rate == NARROW else 0
    state = getattr(library, init)(_ffi.NULL, _RATE, options) if library is not None else _ffi.NULL
    if state == _ffi.NULL:
        raise MediaError("libspandsp.so.2 is not installed (Debian and Ubuntu: apt install libspandsp2)")
    return _ffi.gc(state, getattr(library, free))


class Encoder:
    """PCM at 8 or 16 kHz in, a byte for each tick out. Raises MediaError without the library."""

    def __init__(self, rate: int = NARROW) -> None:
        self._state = _opened("g722_encode_init", "g722_encode_free", rate)
        self._most = MAX_PACKET * rate // NARROW  # samples
        self._out = _ffi.new("uint8_t[]", MAX_PACKET + 2)
        self._encode = _library().g722_encode

    def encode(self, pcm: bytes) -> bytes:
        """`pcm` is at most 120 ms."""
        samples = min(len(pcm) // 2, self._most)
        length = self._encode(self._state, self._out, _ffi.from_buffer("int16_t[]", pcm), samples)
        return bytes(_ffi.buffer(self._out, length))


class Decoder:
    """One packet in, PCM at 8 or 16 kHz out. Any bytes are G.722; only too many of them raise MediaError."""

    def __init__(self, rate: int = NARROW) -> None:
        self._state = _opened("g722_decode_init", "g722_decode_free", rate)
        self._out = _ffi.new("int16_t[]", 2 * MAX_PACKET + 4)
        self._decode = _library().g722_decode
        self._last = b""

    def decode(self, data: bytes) -> bytes:
        if len(data) > MAX_PACKET:
            raise MediaError("more than 120 ms of G.722 in one packet")
        samples = self._decode(self._state, self._out, data, len(data))
        self._last = bytes(_ffi.buffer(self._out, samples * 2))
        return self._last

    def conceal(self, samples: int, following: bytes | None = None) -> bytes:
        """What was lost: the last frame once more, then silence."""
        del following
        last, self._last = self._last[: samples * 2], b""
        return last + bytes(samples * 2 - len(last))
