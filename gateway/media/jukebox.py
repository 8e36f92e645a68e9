"""The prompts as WAV files that fit into one datagram, for a daemon that plays what it is sent.

A WAV of A-law is a byte a sample: seven seconds. A longer sound is cut there, and one that is endless begins anew.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass, field

from gateway.media.g711 import encode_alaw
from gateway.media.prompts import Prompts
from gateway.media.transcode import RATE

MAX_SAMPLES = 7 * RATE
_ALAW = 6  # WAVE_FORMAT_ALAW


@dataclass(frozen=True, slots=True)
class Record:
    """A WAV file. `wav` is text as ng.py takes octets: UTF-8 with surrogates for what is none."""

    wav: str = field(repr=False)
    endless: bool
    seconds: float = 0.0  # of one turn


class Jukebox:
    """`hold` and `region` as of Prompts. Raises MediaError for a file that cannot be played."""

    def __init__(self, hold: str = "", region: str = "") -> None:
        self._prompts = Prompts(hold, region)
        self.record = functools.lru_cache(maxsize=16)(self._record)

    def _record(self, name: str) -> Record:
        """Raises MediaError for a name that nobody knows."""
        sound = self._prompts.named(name)
        alaw = encode_alaw(sound.pcm[: MAX_SAMPLES * 2])
        return Record(wav(alaw).decode("utf-8", "surrogateescape"), sound.endless, len(alaw) / RATE)


def wav(alaw: bytes) -> bytes:
    """A WAV file of A-law at 8 kHz, mono (RFC 2361 §A.6)."""
    shape = struct.pack("<4sIHHIIHHH", b"fmt ", 18, _ALAW, 1, RATE, RATE, 1, 8, 0)
    fact = struct.pack("<4sII", b"fact", 4, len(alaw))
    body = shape + fact + struct.pack("<4sI", b"data", len(alaw)) + alaw
    return struct.pack("<4sI4s", b"RIFF", len(body) + 4, b"WAVE") + body
