"""Sounds that are made and not recorded: the network's tones, music for those who wait, the noise of a quiet line.

Everything is PCM, 8 kHz, 16 bit, mono, and made so that it can be repeated without a seam. Nothing here needs a clock,
a file or chance, so that every worker plays the same.
"""

from __future__ import annotations

import array
import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

RATE = 8_000
_LEVEL = 6_000  # peak of a tone: 15 dB below full scale, as the network's tones are
_NOISE = 24  # peak of comfort noise: about -60 dBm0


@dataclass(frozen=True, slots=True)
class Tone:
    """Frequencies that sound together (Hz), and the cadence: seconds of sound and silence in turn."""

    frequencies: tuple[int, ...]
    cadence: tuple[float, ...]


# ITU-T E.180 Supplement 2: ringing and busy tones by country, where they differ from 425 Hz in the usual cadence.
_RINGBACK = Tone((425,), (1.0, 4.0))
_NOTICE = Tone((1_400,), (0.4, 0.2, 0.4, 0.2))  # as recorders on telephone lines beep
_BUSY = Tone((425,), (0.5, 0.5))
_WARNING = Tone((1_000,), (0.2, 0.2))
_RINGBACKS = {
    "AU": Tone((400, 425, 450), (0.4, 0.2, 0.4, 2.0)),
    "BE": Tone((425,), (1.0, 3.0)),
    "CA": Tone((440, 480), (2.0, 4.0)),
    "CN": Tone((450,), (1.0, 4.0)),
    "FR": Tone((440,), (1.5, 3.5)),
    "GB": Tone((400, 450), (0.4, 0.2, 0.4, 2.0)),
    "IE": Tone((400, 450), (0.4, 0.2, 0.4, 2.0)),
    "JP": Tone((400,), (1.0, 2.0)),
    "NZ": Tone((400, 450), (0.4, 0.2, 0.4, 2.0)),
    "US": Tone((440, 480), (2.0, 4.0)),
}
_BUSIES = {
    "AU": Tone((425,), (0.375, 0.375)),
    "CA": Tone((480, 620), (0.5, 0.5)),
    "CN": Tone((450,), (0.35, 0.35)),
    "DE": Tone((425,), (0.48, 0.48)),
    "FR": Tone((440,), (0.5, 0.5)),
    "GB": Tone((400,), (0.375, 0.375)),
    "JP": Tone((400,), (0.5, 0.5)),
    "NZ": Tone((400,), (0.5, 0.5)),
    "US": Tone((480, 620), (0.5, 0.5)),
}

# A broken chord a bar: notes as semitones above A4.
_BARS = (
    (3, 7, 10, 14),
    (0, 3, 7, 10),
    (-4, 0, 3, 7),
    (-2, 2, 5, 10),
    (3, 7, 12, 10),
    (0, 7, 12, 7),
    (-4, 3, 8, 3),
    (-2, 5, 10, 5),
)
_BEAT = 0.5  # s
_FADING = 0.45  # s, until a note has lost two thirds of its strength
_LASTING = 1.6  # s, after which it is not heard any more
_QUIET = 2_600  # peak of one note; several sound together


# ITU-T Q.23: a key's row and column, Hz
ROWS, COLUMNS = (697, 770, 852, 941), (1_209, 1_336, 1_477, 1_633)
KEYS = "123A456B789C*0#D"
_DIGIT_LEVEL = 5_000  # peak of each of the two, about -13 dBm0
_DIGIT_PAUSE = 80  # ms


def digits(keys: str, duration: int) -> bytes:
    """What these keys sound like, `duration` ms each (Q.24: at least 40), with pauses, the last one too."""
    size = duration * RATE // 1000
    made = []
    for key in keys.upper():
        row, column = divmod(KEYS.index(key), 4)
        turns = [2 * math.pi * frequency / RATE for frequency in (ROWS[row], COLUMNS[column])]
        made.append(_pcm([round(_DIGIT_LEVEL * sum(math.sin(turn * n) for turn in turns)) for n in range(size)]))
        made.append(bytes(_DIGIT_PAUSE * RATE // 1000 * 2))
    return b"".join(made)


def ringback(region: str = "") -> bytes:
    """One period of what a caller hears while it rings; `region` is a country's code (ISO 3166), any case."""
    return _made(_RINGBACKS.get(region.upper(), _RINGBACK))


def busy(region: str = "") -> bytes:
    """One period of the busy tone."""
    return _made(_BUSIES.get(region.upper(), _BUSY))


def warning() -> bytes:
    """Three short pips, once: the call is about to end."""
    return _made(_WARNING) * 3


def notice() -> bytes:
    """Two beeps: the call is recorded."""
    return _made(_NOTICE)


@functools.lru_cache(maxsize=8)
def _made(tone: Tone) -> bytes:
    # Frequencies are whole, so their sum repeats after this many samples.
    period = RATE // math.gcd(RATE, *tone.frequencies)
    level = _LEVEL / len(tone.frequencies)
    once = _pcm(
        [
            round(level * sum(math.sin(2 * math.pi * frequency * n / RATE) for frequency in tone.frequencies))
            for n in range(period)
        ]
    )
    pieces = []
    for number, seconds in enumerate(tone.cadence):
        size = round(seconds * RATE) * 2
        pieces.append(bytes(size) if number % 2 else (once * (size // len(once) + 1))[:size])
    return b"".join(pieces)


@functools.lru_cache(maxsize=1)
def music() -> bytes:
    """Sixteen seconds of quiet broken chords; the last notes ring on into the first ones."""
    beat = round(_BEAT * RATE)
    melody = [note for bar in _BARS for note in bar]
    mixed = array.array("d", bytes(8 * beat * len(melody)))
    notes = {semitones: _note(440 * 2 ** (semitones / 12)) for semitones in set(melody)}
    for number, semitones in enumerate(melody):
        note = notes[semitones]
        start = number * beat
        room = min(len(note), len(mixed) - start)
        mixed[start : start + room] = _sum(mixed[start : start + room], note[:room])
        mixed[: len(note) - room] = _sum(mixed[: len(note) - room], note[room:])
    return _pcm(map(round, mixed))


def _sum(one: array.array[float], other: array.array[float]) -> array.array[float]:
    return array.array("d", map(float.__add__, one, other))


def _note(frequency: float) -> array.array[float]:
    """A string that is plucked: a sine that fades, computed as a damped resonator computes it."""
    damping = math.exp(-1 / (_FADING * RATE))
    turn = 2 * math.pi * frequency / RATE
    first, second = 2 * damping * math.cos(turn), damping * damping
    before, now = 0.0, _QUIET * damping * math.sin(turn)
    samples = array.array("d", [0.0])
    for _ in range(round(_LASTING * RATE) - 1):
        samples.append(now)
        before, now = now, first * now - second * before
    return samples


@functools.lru_cache(maxsize=1)
def noise() -> bytes:
    """A second of the noise that a line has when nobody speaks: silence would sound as if the call had broken."""
    state, samples = 1, []
    for _ in range(RATE):
        state = (state * 1_664_525 + 1_013_904_223) & 0xFFFFFFFF
        samples.append((state >> 16) % (2 * _NOISE + 1) - _NOISE)
    return _pcm(samples)


def _pcm(samples: Iterable[int]) -> bytes:
    return array.array("h", samples).tobytes()
