"""From one codec to another, frame by frame as they come: no jitter buffer, because both ends have one.

    payload ── decode ──> PCM, mono ── cut into frames of the far end's ptime ── encode ──> payloads

PCM has 16 kHz between two codecs that hear that far, 8 kHz where one of them is a telephone's. Time is counted in ticks
of 8 kHz whatever the PCM has; the callers convert to the clocks of RTP. Short losses are concealed here, so that
the far end's frames stay in step; long ones, and pauses of the talker (DTX), are left as a gap in time. An end that
would rather have pauses itself than packets of silence (RFC 7587 §6.1: usedtx) is sent none of those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from gateway.media import g711, g722, opus
from gateway.session.model import Codec

RATE = 8_000  # ticks a second, and samples unless both codecs are wide
WIDE = 16_000
MAX_CONCEALED = RATE * 120 // 1000


class Decoder(Protocol):
    def decode(self, data: bytes) -> bytes: ...

    def conceal(self, samples: int, following: bytes | None = None) -> bytes: ...


class _G711Decoder:
    """A-law or µ-law; a loss is filled with the last frame once, then with silence."""

    def __init__(self, decode: Callable[[bytes], bytes]) -> None:
        self._decode = decode
        self._last = b""

    def decode(self, data: bytes) -> bytes:
        self._last = self._decode(data)
        return self._last

    def conceal(self, samples: int, following: bytes | None = None) -> bytes:
        last, self._last = self._last[: samples * 2], b""
        return last + bytes(samples * 2 - len(last))


@dataclass(frozen=True, slots=True)
class _Encoding:
    frames: tuple[int, ...]  # ms, allowed sizes from long to short
    decoder: Callable[[int], Decoder]  # for PCM of that many Hz
    encoder: Callable[[int, bool], Callable[[bytes], bytes]]  # the same; whether silence may be left out
    wide: bool = False


_FRAMES = (60, 50, 40, 30, 20, 10)
_ENCODINGS = {
    "pcma": _Encoding(_FRAMES, lambda rate: _G711Decoder(g711.decode_alaw), lambda rate, dtx: g711.encode_alaw),
    "pcmu": _Encoding(_FRAMES, lambda rate: _G711Decoder(g711.decode_ulaw), lambda rate, dtx: g711.encode_ulaw),
    "g722": _Encoding(_FRAMES, g722.Decoder, lambda rate, dtx: g722.Encoder(rate).encode, wide=True),
    "opus": _Encoding(opus.FRAMES, opus.Decoder, lambda rate, dtx: opus.Encoder(rate, dtx=dtx).encode, wide=True),
}


def can(codec: Codec) -> bool:
    """Whether this codec can be transcoded from and to."""
    name = codec.name.lower()
    return name in _ENCODINGS and (name != "g722" or g722.available())


def carries_tones(codec: Codec) -> bool:
    """Whether digits can be heard through it as tones; Opus is made for voices and bends them."""
    return can(codec) and codec.name.lower() != "opus"


def decoder(codec: Codec) -> Decoder:
    """To PCM at 8 kHz, mono; of a codec that `can` be."""
    return _ENCODINGS[codec.name.lower()].decoder(RATE)


def rate_between(one: Codec, other: Codec) -> int:
    """Hz of the PCM between two codecs that `can` be transcoded."""
    return WIDE if _ENCODINGS[one.name.lower()].wide and _ENCODINGS[other.name.lower()].wide else RATE


class Framed:
    """PCM of `rate` Hz in pieces of any size, encoded frames of `ptime` (or the next shorter allowed size) out.

    With `dtx` a frame of silence may be empty.
    """

    def __init__(self, codec: Codec, ptime: int, rate: int = RATE, *, dtx: bool = False) -> None:
        encoding = _ENCODINGS[codec.name.lower()]
        self.frame_ms = next((size for size in encoding.frames if size <= ptime), encoding.frames[-1])
        self.ticks = self.frame_ms * RATE // 1000
        self._tick = 2 * rate // RATE  # bytes
        self._encode = encoding.encoder(rate, dtx)
        self._rest = b""

    def feed(self, pcm: bytes) -> list[bytes]:
        size = self.ticks * self._tick
        if not self._rest and len(pcm) == size:
            return [self._encode(pcm)]
        pcm = self._rest + pcm
        whole = len(pcm) // size * size
        self._rest = pcm[whole:]
        return [self._encode(pcm[at : at + size]) for at in range(0, whole, size)]

    @property
    def waiting(self) -> int:
        """Ticks that wait for the rest of their frame."""
        return len(self._rest) // self._tick

    def reset(self) -> None:
        self._rest = b""


class Transcoder:
    """One direction of one call. Timestamps in and out are ticks of 8 kHz since the source began."""

    def __init__(self, source: Codec, sink: Codec, ptime: int) -> None:
        rate = rate_between(source, sink)
        self._decoder = _ENCODINGS[source.name.lower()].decoder(rate)
        self._framed = Framed(sink, ptime, rate, dtx=("usedtx", "1") in sink.parameters)
        self._samples = rate // RATE  # in a tick
        self._expected: int | None = None  # the timestamp that comes next if nothing is missing

    @property
    def frame_ms(self) -> int:
        return self._framed.frame_ms

    def restart(self) -> None:
        """The source began anew; its time is counted from zero again."""
        self._expected = None
        self._framed.reset()

    def feed(self, timestamp: int, data: bytes, lost: int) -> Iterator[tuple[int, bytes]]:
        """Timestamp and payload of each frame that is whole now; an empty one is not to be sent.

        `lost` packets are missing before this one. Raises MediaError.
        """
        missing = 0 if self._expected is None else timestamp - self._expected
        pcm = b""
        if lost and 0 < missing <= MAX_CONCEALED:
            # The packet at hand may hold the one before it a second time (Opus in-band FEC); those before are made up.
            before = missing - missing // lost
            pcm = self._decoder.conceal(before * self._samples) if before else b""
            pcm += self._decoder.conceal((missing - before) * self._samples, data)
        elif missing:
            self._framed.reset()
        start = timestamp - self._ticks(pcm) - self._framed.waiting
        decoded = self._decoder.decode(data)
        self._expected = timestamp + self._ticks(decoded)
        for index, frame in enumerate(self._framed.feed(pcm + decoded)):
            yield start + index * self._framed.ticks, frame

    def _ticks(self, pcm: bytes) -> int:
        return len(pcm) // (2 * self._samples)
