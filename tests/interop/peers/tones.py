"""Tones: making them, and finding them in what somebody recorded.

A tone counts as heard when one line of the spectrum holds most of the energy of a quarter of a second. Samples are
float arrays between -1 and 1, mono.
"""

from __future__ import annotations

import asyncio
import random
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]

WINDOW = 0.25  # s
TOLERANCE = 10.0  # Hz
SHARE = 0.6  # of a window's energy, that the tone must hold
LOUDNESS = 0.01  # RMS below which a window is silence


def draw(*others: float) -> float:
    """A frequency that a telephone carries well, far from `others` and from DTMF's own."""
    while True:
        frequency = float(random.randrange(300, 640, 20))
        if all(abs(frequency - other) >= 60 for other in others):
            return frequency


def sine(frequency: float, seconds: float, rate: int, *, start: int = 0, level: float = 0.4) -> Samples:
    """A piece of a sine that begins with sample number `start`; frequency 0 is silence."""
    position = np.arange(start, start + round(seconds * rate), dtype=np.float64)
    return np.asarray(level * np.sin(2 * np.pi * frequency * position / rate), dtype=np.float64)


def strongest(window: Samples, rate: int) -> tuple[float, float, float]:
    """The strongest frequency in a window, its share of the energy, and the window's RMS."""
    loudness = float(np.sqrt(np.mean(window**2)))
    spectrum = np.abs(np.fft.rfft(window * np.hanning(len(window)))) ** 2
    spectrum[: max(1, round(40 * len(window) / rate))] = 0  # mains hum and offset are no tone
    peak = int(spectrum.argmax())
    total = float(spectrum.sum())
    share = float(spectrum[max(0, peak - 3) : peak + 4].sum()) / total if total else 0.0
    return peak * rate / len(window), share, loudness


def seconds_of(frequency: float, samples: Samples, rate: int) -> float:
    """For how long this tone stands out in the recording."""
    size = round(WINDOW * rate)
    windows = (samples[at : at + size] for at in range(0, len(samples) - size + 1, size))
    return WINDOW * sum(is_tone(frequency, *strongest(window, rate)) for window in windows)


def is_tone(wanted: float, frequency: float, share: float, loudness: float) -> bool:
    """Whether a window of which `strongest` said this holds the wanted tone."""
    return abs(frequency - wanted) <= TOLERANCE and share >= SHARE and loudness >= LOUDNESS


def has_tone(wanted: float, samples: Samples, rate: int) -> bool:
    """Whether this tone stands out in all of these samples."""
    return is_tone(wanted, *strongest(samples, rate))


def has_key(key: str, samples: Samples, rate: int) -> bool:
    """Whether the two tones of a telephone's key (ITU-T Q.23) stand out somewhere in these samples."""
    at = "123A456B789C*0#D".index(key)
    pair = (697, 770, 852, 941)[at // 4], (1209, 1336, 1477, 1633)[at % 4]
    size = round(0.05 * rate)
    for start in range(0, len(samples) - size + 1, size):
        window = samples[start : start + size]
        spectrum = np.abs(np.fft.rfft(window * np.hanning(size))) ** 2
        lines = [spectrum[round(f * size / rate) - 2 : round(f * size / rate) + 3].sum() for f in pair]
        if np.sqrt(np.mean(window**2)) >= LOUDNESS and min(lines) >= 0.2 * spectrum.sum():
            return True
    return False


def describe(samples: Samples, rate: int) -> str:
    """What the recording's last two seconds sound like, for a failed assertion."""
    size = round(WINDOW * rate)
    tail = samples[-8 * size :]
    windows = [strongest(tail[at : at + size], rate) for at in range(0, len(tail) - size + 1, size)]
    heard = ", ".join(f"{f:.0f} Hz ({share:.0%}, {loudness:.3f})" for f, share, loudness in windows) or "nothing"
    return f"{len(samples) / rate:.1f} s recorded, at the end {heard}"


async def heard(frequency: float, recording: Callable[[], tuple[Samples, int]], seconds: float, timeout: float) -> None:
    """Waits until a recording that grows holds this tone for so long. Raises AssertionError if it never does."""
    try:
        async with asyncio.timeout(timeout):
            while seconds_of(frequency, *recording()) < seconds:
                await asyncio.sleep(0.1)  # it is a file of another process
    except TimeoutError:
        raise AssertionError(f"was to hear {frequency:.0f} Hz: {describe(*recording())}") from None


def silence() -> tuple[Samples, int]:
    """A recording of nothing."""
    return np.zeros(0), 8000


def write_wav(path: Path, samples: Samples, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def read_wav(path: Path) -> tuple[Samples, int]:
    """Samples and rate of a 16 bit recording that may still be growing: the lengths in its header are not believed."""
    raw = path.read_bytes()
    chunk = raw.find(b"fmt ")
    data = raw.find(b"data")
    if chunk < 0 or data < 0:
        return silence()
    channels = int.from_bytes(raw[chunk + 10 : chunk + 12], "little")
    rate = int.from_bytes(raw[chunk + 12 : chunk + 16], "little")
    frame = 2 * channels
    body = raw[data + 8 :]
    body = body[: len(body) // frame * frame]
    return np.frombuffer(body, "<i2").reshape(-1, channels).mean(axis=1) / 32768, rate
