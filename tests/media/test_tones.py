from __future__ import annotations

import numpy as np
import pytest

from gateway.media import tones


def samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, np.int16).astype(float)


def frequencies(sound: np.ndarray) -> list[int]:
    """Those with a good part of the strongest one's energy, in Hz."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    peaks = [n for n in range(1, len(spectrum) - 1) if spectrum[n - 1] < spectrum[n] >= spectrum[n + 1]]
    return [round(n * tones.RATE / len(sound)) for n in peaks if spectrum[n] > spectrum.max() / 2]


@pytest.mark.parametrize(
    ("region", "expected", "sound", "period"),
    [("", [425], 1.0, 5.0), ("us", [440, 480], 2.0, 6.0), ("GB", [400, 450], 0.4, 3.0), ("XX", [425], 1.0, 5.0)],
)
def test_it_rings_as_the_callers_country_rings(region: str, expected: list[int], sound: float, period: float) -> None:
    made = samples(tones.ringback(region))
    begin = round(sound * tones.RATE)
    assert len(made) == round(period * tones.RATE)
    assert frequencies(made[:begin]) == expected
    assert not made[begin : begin + 800].any()


@pytest.mark.parametrize(
    ("region", "expected", "half"), [("", [425], 0.5), ("US", [480, 620], 0.5), ("de", [425], 0.48)]
)
def test_busy_is_as_long_as_its_pause(region: str, expected: list[int], half: float) -> None:
    made = samples(tones.busy(region))
    begin = round(half * tones.RATE)
    assert frequencies(made[:begin]) == pytest.approx(expected, abs=1.1)  # as far as so short a sound tells
    assert not made[begin:].any()
    assert len(made) == 2 * begin


@pytest.mark.parametrize(
    ("key", "pair"), [("1", [697, 1_209]), ("0", [941, 1_336]), ("#", [941, 1_477]), ("d", [941, 1_633])]
)
def test_a_key_is_its_row_and_its_column(key: str, pair: list[int]) -> None:
    made = samples(tones.digits(key + "5", 100))
    assert len(made) == 2 * (800 + 640)
    assert frequencies(made[:800]) == pytest.approx(pair, abs=6)
    assert not made[800:1_440].any()
    assert np.abs(made).max() <= 10_000


def test_tones_are_as_loud_as_a_networks() -> None:
    for region in ("", "US", "AU"):
        assert 3_000 < np.abs(samples(tones.ringback(region))).max() <= 6_000


def test_music_is_quiet_and_has_no_seam() -> None:
    music = samples(tones.music())
    level = 20 * np.log10(np.sqrt((music**2).mean()) / 32_768)
    assert -36 < level < -24
    assert np.abs(music).max() < 8_000
    steps = np.abs(np.diff(np.concatenate([music, music[:1]])))
    assert steps[-1] <= np.sort(steps)[-5]
    assert len(music) == 16 * tones.RATE


def test_comfort_noise_is_hardly_heard() -> None:
    noise = samples(tones.noise())
    assert 5 < np.sqrt((noise**2).mean()) < 30
    assert abs(noise.mean()) < 1
    assert len(noise) == tones.RATE


def test_a_call_that_is_about_to_end_pips_three_times() -> None:
    made = samples(tones.warning())
    pips = made.reshape(6, -1)
    assert len(made) == round(1.2 * tones.RATE)
    assert [pip.any() for pip in pips] == [True, False] * 3
    assert frequencies(pips[0]) == [1_000]
