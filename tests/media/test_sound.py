"""How it sounds after us: tones keep their level and pitch, and speech that lost packets on the way stays close to what
it would have been.

Everything is coded and decoded by FFmpeg, so that our codecs are not proved by themselves. The speech is the greeting
of the test line. The measures of a loss are against the same way without one:

    log-spectral distance    mean over frames of 32 ms with speech, in dB, of sqrt(mean over frequency of (dB - dB)²)
    segmental SNR            mean over the same frames, in dB, each between -10 and 35
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import av
import numpy as np
import pytest

from gateway.media.bridge import Path
from gateway.media.prompts import PACKAGED, read
from gateway.media.rtp import MINIMUM, Outgoing, Packet
from gateway.session.model import Codec
from tests.media.ends import G722, OPUS, PCMA, PCMU, Decoding, alaw, packet, stream, ulaw

CODECS = (OPUS, PCMA, PCMU, G722)
SECONDS = 2
FRAME = 256  # samples: 32 ms
Sound = np.ndarray


def resampled(pcm: Sound, rate: int) -> Sound:
    """From 8 kHz to a multiple of it, by zeros in the spectrum."""
    if rate == 8_000:
        return pcm
    spectrum, factor = np.fft.rfft(pcm.astype(float)), rate // 8_000
    padded = np.zeros(len(pcm) * factor // 2 + 1, complex)
    padded[: len(spectrum)] = spectrum * factor
    return np.clip(np.round(np.fft.irfft(padded)), -32_768, 32_767).astype(np.int16)


def coded(codec: Codec, pcm: Sound) -> list[bytes]:
    """Payloads of 20 ms out of samples at 8 kHz."""
    if codec.name in ("PCMA", "PCMU"):
        data = (alaw if codec.name == "PCMA" else ulaw)(pcm)
        return [data[at : at + 160] for at in range(0, len(data), 160)]
    encoder = av.CodecContext.create("g722" if codec.name == "G722" else "libopus", "w")
    encoder.sample_rate = rate = 16_000 if codec.name == "G722" else 48_000
    encoder.layout, encoder.format = "mono", "s16"
    if codec.name == "opus":
        encoder.bit_rate = 32_000
        encoder.options = {"application": "voip", "fec": "1", "packet_loss": "10"}
    wide, size, payloads = resampled(pcm, rate), rate // 50, []
    for at in range(0, len(wide), size):
        frame = av.AudioFrame.from_ndarray(wide[at : at + size].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = rate
        payloads += [bytes(piece) for piece in encoder.encode(frame)]
    return payloads


def through(source: Codec, sink: Codec, payloads: list[bytes], lost: Iterable[int] = ()) -> tuple[Sound, int]:
    """What the far end hears, and its rate; `lost` are the packets that do not come."""
    box, gone, heard, decode = Packet(), set(lost), [], Decoding(sink)
    out = Outgoing(1, 0, 0, sink.clock_rate)
    path = Path(stream(source), stream(sink), out, lambda: heard.append(bytes(box)))
    step = source.clock_rate // 50
    for number, body in enumerate(payloads):
        if number not in gone:
            box.fill(packet(source.pt, number, number * step, 7, body))
            assert path.forward(box, number * 0.02) is None
    first = int.from_bytes(heard[0][4:8])
    sound = np.zeros(len(payloads) * decode.rate // 50 + decode.rate, np.int16)
    for one in heard:
        at = ((int.from_bytes(one[4:8]) - first) & 0xFFFFFFFF) * decode.rate // sink.clock_rate
        pcm = decode(one[MINIMUM:])
        sound[at : at + len(pcm)] = pcm
    return sound[: len(payloads) * decode.rate // 50], decode.rate


def tone(frequency: float, amplitude: float = 8_000.0) -> Sound:
    return np.round(amplitude * np.sin(2 * np.pi * frequency * np.arange(SECONDS * 8_000) / 8_000)).astype(np.int16)


def measured(sound: Sound, rate: int) -> tuple[float, float]:
    """Frequency (Hz) and amplitude of the strongest tone, in the second half, between the bins of the spectrum."""
    half = sound[len(sound) // 2 :].astype(float)
    window = np.hanning(len(half))
    size = len(half) * 8
    spectrum = np.abs(np.fft.rfft(half * window, size))
    peak = int(np.argmax(spectrum))
    left, top, right = np.log(spectrum[peak - 1 : peak + 2])
    shift = (left - right) / (2 * (left - 2 * top + right))
    return (peak + shift) * rate / size, 2 * spectrum[peak] / window.sum()


def distances(one: Sound, other: Sound, rate: int) -> tuple[float, float]:
    """Log-spectral distance and segmental SNR of the second against the first, in dB."""
    size = FRAME * rate // 8_000
    starts = range(0, len(one) - size, size // 2)
    frames = [(one[at : at + size].astype(float), other[at : at + size].astype(float)) for at in starts]
    loudest = max(np.sum(clean**2) for clean, _ in frames)
    window, spectral, ratios = np.hanning(size), [], []
    for clean, heard in frames:
        if np.sum(clean**2) < loudest / 10_000:  # 40 dB below: no speech
            continue
        band = slice(0, size * 3_400 // rate)
        spectra = [np.abs(np.fft.rfft(each * window))[band] ** 2 for each in (clean, heard)]
        floor = np.max(spectra[0]) / 1e5
        difference = 10 * np.log10(np.maximum(spectra[0], floor) / np.maximum(spectra[1], floor))
        spectral.append(float(np.sqrt(np.mean(difference**2))))
        noise = np.sum((clean - heard) ** 2)
        ratios.append(float(np.clip(10 * np.log10(np.sum(clean**2) / max(noise, 1e-9)), -10, 35)))
    return float(np.mean(spectral)), float(np.mean(ratios))


def speech() -> Sound:
    return np.frombuffer(read(PACKAGED / "echo.wav"), np.int16)


PAIRS = [(one, other) for one in CODECS for other in CODECS]
DIFFERENT = [(one, other) for one, other in PAIRS if one is not other]


def named(codec: Codec) -> str:
    return codec.name


@pytest.mark.parametrize(("source", "sink"), PAIRS, ids=named)
@pytest.mark.parametrize(("frequency", "decibels"), [(1_004.0, 0.5), (350.0, 1.0), (2_500.0, 1.0)])
def test_a_tone_keeps_its_level_and_its_pitch(source: Codec, sink: Codec, frequency: float, decibels: float) -> None:
    sound, rate = through(source, sink, coded(source, tone(frequency)))
    heard, amplitude = measured(sound, rate)
    assert abs(heard - frequency) < 1.0
    assert abs(20 * np.log10(amplitude / 8_000)) < decibels


@pytest.mark.parametrize("level", [-40, -30, -20, -3])
def test_a_soft_tone_is_as_soft_as_it_was_and_a_loud_one_as_loud(level: int) -> None:
    amplitude = 32_000 * 10 ** (level / 20)
    for source, sink in ((OPUS, PCMA), (PCMA, OPUS)):
        sound, rate = through(source, sink, coded(source, tone(1_004, amplitude)))
        assert abs(20 * np.log10(measured(sound, rate)[1] / amplitude)) < 0.5


@pytest.mark.parametrize("codec", CODECS, ids=named)
def test_between_ends_of_one_codec_what_comes_is_what_went_in(codec: Codec) -> None:
    box, heard = Packet(), []
    path = Path(stream(codec), stream(codec), Outgoing(1, 0, 0), lambda: heard.append(bytes(box)))
    payloads = coded(codec, speech()[:8_000])
    for number, body in enumerate(payloads):
        box.fill(packet(codec.pt, number, number * 160, 7, body))
        assert path.forward(box, number * 0.02) is None
    assert [one[MINIMUM:] for one in heard] == payloads


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("source", "sink"), DIFFERENT, ids=named)
def test_speech_that_lost_a_packet_in_twenty_stays_close_to_what_it_was(source: Codec, sink: Codec, seed: int) -> None:
    rng, payloads = random.Random(seed), coded(source, speech())
    lost = {number for number in range(10, len(payloads)) if rng.random() < 0.05}
    clean, rate = through(source, sink, payloads)
    heard, _ = through(source, sink, payloads, lost)
    spectral, ratio = distances(clean, heard, rate)
    assert spectral < 5.0
    assert ratio > 14.0
    assert np.median([abs(loudness(clean, rate, number) - loudness(heard, rate, number)) for number in lost]) < 6.0


def loudness(sound: Sound, rate: int, number: int) -> float:
    """dB of the 20 ms of this packet; silence is 0."""
    span = sound[number * rate // 50 : (number + 1) * rate // 50].astype(float)
    return float(10 * np.log10(np.mean(span**2) + 1)) if len(span) else 0.0
