"""Keys out of sound: the tones of a telephone's keypad (ITU-T Q.23) in what a leg hears, for trunks that dial so.

    payload ── decode ──> PCM, 8 kHz ── 20 ms each ──> two of eight frequencies, and little else? ──> a key

How much of a frequency there is in a block is found by comparing it with a cosine and a sine of that frequency, sample
by sample, which audioop does in C. A key counts when two blocks in a row have it: one that is pressed for 60 ms always
does (Q.24 asks for 40), if its tones are within 1 % of what they should be (1.5), and a voice hardly ever. One block
without it ends it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator

from gateway.media.g711 import audioop
from gateway.media.rtp import Pressed
from gateway.media.tones import COLUMNS, KEYS, RATE, ROWS
from gateway.media.transcode import carries_tones, decoder
from gateway.session.model import Codec

BLOCK = 20  # ms
_SAMPLES = BLOCK * RATE // 1000
_PEAK = 16_000  # of the waves that blocks are compared with
_FAINTEST = 300.0  # peak of either tone: about -36 dBm0
_PURITY = 0.8  # the share of a block's power that the two have to have
_TWIST = 8.0  # how much stronger one of the two may be (9 dB; Q.24 asks for 4 to 8)
_APART = 4.0  # how much stronger it has to be than its neighbours


def _waves(frequency: int) -> tuple[bytes, bytes]:
    turns = [2 * math.pi * frequency * n / RATE for n in range(_SAMPLES)]
    cosine, sine = ([round(_PEAK * wave(turn)) for turn in turns] for wave in (math.cos, math.sin))
    return struct.pack(f"{_SAMPLES}h", *cosine), struct.pack(f"{_SAMPLES}h", *sine)


_ROWS, _COLUMNS = [_waves(frequency) for frequency in ROWS], [_waves(frequency) for frequency in COLUMNS]


def key_of(block: bytes) -> str:
    """The key whose two tones are in these 20 ms of PCM at 8 kHz; "" where there is none."""
    power = float(audioop.rms(block, 2)) ** 2
    if power < _FAINTEST**2:  # two tones of that peak
        return ""
    row, row_power = _strongest(block, _ROWS)
    column, column_power = _strongest(block, _COLUMNS)
    found = row >= 0 <= column and min(row_power, column_power) >= _FAINTEST**2
    if not found or not 1 / _TWIST <= row_power / column_power <= _TWIST:
        return ""
    if (row_power + column_power) / 2 < _PURITY * power:
        return ""
    return KEYS[row * 4 + column]


def _strongest(block: bytes, waves: list[tuple[bytes, bytes]]) -> tuple[int, float]:
    """Which of them stands out, and the square of its peak; -1 when none does."""
    found = []
    for cosine, sine in waves:
        re, im = audioop.findfactor(block, cosine), audioop.findfactor(block, sine)
        found.append((re * re + im * im) * _PEAK * _PEAK)
    first, second = sorted(found, reverse=True)[:2]
    return (found.index(first), first) if first > _APART * second else (-1, 0.0)


class Ears:
    """Of one leg, for the codecs that its end may send. Packets are taken as they come; a lost one is not missed."""

    def __init__(self, codecs: Iterable[Codec]) -> None:
        self._decoders = {codec.pt: decoder(codec) for codec in codecs if carries_tones(codec)}
        self._rest = b""
        self._key, self._blocks = "", 0

    def hear(self, pt: int, body: bytes) -> tuple[Pressed, ...]:
        """Keys that are over now. Raises MediaError for a payload that is none of its codec."""
        decode = self._decoders.get(pt)
        return tuple(self._keys(self._rest + decode.decode(body))) if decode is not None else ()

    def _keys(self, pcm: bytes) -> Iterator[Pressed]:
        size = _SAMPLES * 2
        whole = len(pcm) // size * size
        self._rest = pcm[whole:]
        for at in range(0, whole, size):
            key = key_of(pcm[at : at + size])
            if key == self._key:
                self._blocks += 1
                continue
            if self._key and self._blocks > 1:
                yield Pressed(self._key, self._blocks * BLOCK)
            self._key, self._blocks = key, 1
