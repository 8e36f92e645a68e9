from __future__ import annotations

import numpy as np

from gateway.media import g711
from tests.media.ends import alaw, sine, ulaw

TONE = sine(1_000, 800)


def test_alaw_is_what_others_make_of_the_same_samples() -> None:
    assert g711.encode_alaw(TONE.tobytes()) == alaw(TONE)
    assert g711.encode_ulaw(TONE.tobytes()) == ulaw(TONE)


def test_decoding_is_as_near_as_eight_bits_allow() -> None:
    for decode, coded in ((g711.decode_alaw, alaw(TONE)), (g711.decode_ulaw, ulaw(TONE))):
        back = np.frombuffer(decode(coded), np.int16).astype(int)
        assert np.abs(back - TONE).max() < 300


def test_silence_has_the_well_known_bytes() -> None:
    assert g711.encode_ulaw(bytes(2)) == b"\xff"
    assert g711.encode_alaw(bytes(2)) == b"\xd5"
