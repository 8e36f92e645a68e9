"""Two channels as Opus in an Ogg file (RFC 7845): each is a stream of its own, so that nothing of one is in the other.

Channel mapping family 1 with two streams, none of them coupled (§5.1.1.2): what a stereo encoder saves by looking at
both at once is not worth a voice that is heard on the wrong side.
"""

from __future__ import annotations

import struct

from cffi import FFI  # type: ignore[import-untyped]  # cffi ships no types

from gateway.errors import MediaError
from gateway.media import ogg, opus
from gateway.media.transcode import RATE

SUFFIX = "opus"
BITRATE = 40_000  # of both together
COMPLEXITY = 1  # of 10: at this bit rate more is hardly heard, and costs others' packets their time
FRAME = RATE // 50  # samples: 20 ms
_PER_PAGE = 50  # frames: a second
_FULL = 200  # segments, of the 255 that a page may have
_CLOCK = 48_000 // RATE  # granule positions count samples at 48 kHz (§4)
_ROOM = 2 * 1_275 + 2
_GET_LOOKAHEAD = 4027

_ffi = FFI()
_ffi.cdef("""
typedef struct OpusMSEncoder OpusMSEncoder;
OpusMSEncoder *opus_multistream_encoder_create(int32_t rate, int channels, int streams, int coupled,
    const unsigned char *mapping, int application, int *error);
int opus_multistream_encoder_ctl(OpusMSEncoder *encoder, int request, ...);
int opus_multistream_encode(OpusMSEncoder *encoder, const int16_t *pcm, int samples, unsigned char *data, int32_t room);
void opus_multistream_encoder_destroy(OpusMSEncoder *encoder);
""")


class OpusFile:
    """Bytes to append, out of interleaved samples. Raises MediaError."""

    suffix = SUFFIX

    def __init__(self, serial: int = 1) -> None:
        library, error = opus.loaded(_ffi), _ffi.new("int *")
        state = library.opus_multistream_encoder_create(RATE, 2, 2, 0, b"\x00\x01", opus.VOIP, error)
        if error[0]:
            raise MediaError(f"Opus encoder: error {error[0]}")
        self._state = _ffi.gc(state, library.opus_multistream_encoder_destroy)
        for request, value in ((opus.SET_BITRATE, BITRATE), (opus.SET_COMPLEXITY, COMPLEXITY)):
            library.opus_multistream_encoder_ctl(self._state, request, _ffi.cast("int", value))
        ahead = _ffi.new("int *")
        library.opus_multistream_encoder_ctl(self._state, _GET_LOOKAHEAD, ahead)
        self._skip = int(ahead[0])  # samples that are not ours (§4.2)
        self._encode, self._out = library.opus_multistream_encode, _ffi.new("unsigned char[]", _ROOM)
        self._pages = ogg.Pages(serial)
        self._rest = b""
        self._frames: list[bytes] = []
        self._segments = self._coded = self._samples = 0

    def begin(self) -> bytes:
        """The two headers (§5), each on a page of its own."""
        head = struct.pack("<8sBBHIhBBB2B", ogg.HEAD, 1, 2, self._skip * _CLOCK, RATE, 0, 1, 2, 0, 0, 1)
        vendor = b"xmpp-sip-gateway"
        tags = struct.pack("<8sI", b"OpusTags", len(vendor)) + vendor + struct.pack("<I", 0)
        return self._pages.page([head], 0, first=True) + self._pages.page([tags], 0)

    def feed(self, pcm: bytes) -> bytes:
        self._samples += len(pcm) // 4
        self._rest += pcm
        made = b""
        while len(self._rest) >= FRAME * 4:
            self._code(self._rest[: FRAME * 4])
            self._rest = self._rest[FRAME * 4 :]
            if len(self._frames) == _PER_PAGE or self._segments > _FULL:
                made += self._page(self._coded * _CLOCK)
        return made

    def end(self) -> bytes:
        """The last page, cut to the sample (§4.5); what the encoder looks ahead is pushed out with silence."""
        while self._coded < self._samples + self._skip:
            self._code(self._rest.ljust(FRAME * 4, b"\0"))
            self._rest = b""
        return self._page((self._samples + self._skip) * _CLOCK, last=True)

    def head(self) -> bytes:
        """Nothing has to be written again."""
        return b""

    def _code(self, pcm: bytes) -> None:
        length = self._encode(self._state, _ffi.from_buffer("int16_t[]", pcm), FRAME, self._out, _ROOM)
        if length < 0:
            raise MediaError(f"Opus encoder: error {length}")
        self._frames.append(bytes(_ffi.buffer(self._out, length)))
        self._segments += length // 255 + 1
        self._coded += FRAME

    def _page(self, granule: int, *, last: bool = False) -> bytes:
        frames, self._frames, self._segments = self._frames, [], 0
        return self._pages.page(frames, granule, last=last)
