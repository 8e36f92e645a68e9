from __future__ import annotations

import pytest

from gateway.media.quality import mos


def test_a_clean_call_sounds_as_g711_can() -> None:
    assert mos("PCMA", 0.0, 0.0, 20.0) == pytest.approx(4.38, abs=0.03)  # G.107 Annex B: R of 92


@pytest.mark.parametrize("codec", ["PCMA", "opus", "G722", "AMR"])
def test_more_loss_and_delay_and_jitter_is_worse(codec: str) -> None:
    losses = [mos(codec, share / 100, 0.0, 20.0) for share in (0, 1, 3, 5, 10, 30, 100)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[3] > 0.2
    assert mos(codec, 0.0, 0.0, 800.0) < mos(codec, 0.0, 0.0, 300.0) < mos(codec, 0.0, 0.0, None)
    assert mos(codec, 0.0, 100.0, 20.0) < mos(codec, 0.0, 1.0, 20.0)


def test_it_stays_on_its_scale() -> None:
    for loss in (-1.0, 0.0, 0.5, 1.0, 7.0):
        for delay in (None, 0.0, 10_000.0):
            assert 1.0 <= mos("PCMU", loss, 5.0, delay) <= 4.5


def test_robust_codecs_stand_loss_better() -> None:
    assert mos("opus", 0.05, 0.0, 20.0) > mos("PCMA", 0.05, 0.0, 20.0) > mos("G729", 0.05, 0.0, 20.0)
