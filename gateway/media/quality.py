"""How a call sounds, estimated from what can be counted: the E-model (ITU-T G.107), simplified for a telephone call.

    R = 93.2 − Id(delay) − Ie,eff(codec, loss)        MOS = 1 … 4.5 of R (G.107 Annex B)

It is an estimate: loss is taken as random, echo as cancelled, and the listener's jitter buffer as twice the jitter.
"""

from __future__ import annotations

_BEST = 93.2
_PACKET = 40.0  # ms: one frame to fill, one in the codec's look-ahead and on the sound card
# G.113 Appendix I: equipment impairment, and robustness against random loss (with concealment).
_ROBUSTNESS = {"pcma": 25.1, "pcmu": 25.1, "g722": 20.0, "opus": 30.0}  # the last two by analogy: not in G.113


def mos(codec: str, loss: float, jitter: float, round_trip: float | None) -> float:
    """The mean opinion score, 1.0 to 4.5. `loss` is a share, `jitter` and `round_trip` ms."""
    delay = (round_trip or 0.0) / 2 + 2 * jitter + _PACKET
    # G.107 §3.5 by its usual linear approximation (G.107 has no closed form that is short)
    impaired = 0.024 * delay + (0.11 * (delay - 177.3) if delay > 177.3 else 0.0)
    percent = 100 * min(max(loss, 0.0), 1.0)
    robustness = _ROBUSTNESS.get(codec.lower(), 15.0)
    impaired += 95 * percent / (percent + robustness)
    rating = min(max(_BEST - impaired, 0.0), 100.0)
    return round(max(1.0, 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6), 2)
