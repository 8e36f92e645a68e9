from __future__ import annotations

import numpy as np
import pytest

from gateway.errors import MediaError
from gateway.media import g722
from tests.media.ends import loudest, sine


def test_a_tone_keeps_its_level_and_frequency() -> None:
    encoder, decoder = g722.Encoder(), g722.Decoder()
    tone = sine(1_000, 8_000)
    packets = [encoder.encode(tone[at : at + 160].tobytes()) for at in range(0, 8_000, 160)]
    assert {len(packet) for packet in packets} == {160}
    heard = np.frombuffer(b"".join(map(decoder.decode, packets)), np.int16).astype(float)[800:]
    sent = tone.astype(float)[800:]
    assert abs(20 * np.log10(np.sqrt((heard**2).mean() / (sent**2).mean()))) < 0.5
    assert abs(loudest(heard) - 1_000) <= 1.2


def test_a_packet_is_not_longer_than_can_be() -> None:
    with pytest.raises(MediaError, match="120 ms"):
        g722.Decoder().decode(bytes(g722.MAX_PACKET + 1))
    assert g722.Decoder().decode(b"") == b""


def test_a_loss_is_filled_with_the_last_frame_once() -> None:
    decoder = g722.Decoder()
    last = decoder.decode(g722.Encoder().encode(sine(500, 160).tobytes()))
    assert decoder.conceal(200) == last + bytes(80)
    assert decoder.conceal(160) == bytes(320)


def test_a_machine_without_the_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(g722, "_library", lambda: None)
    assert not g722.available()
    with pytest.raises(MediaError, match="libspandsp2"):
        g722.Encoder()


def test_what_is_missing_is_noticed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def dlopen(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(g722, "_ffi", type("Ffi", (), {"dlopen": staticmethod(dlopen)}))
    g722._library.cache_clear()
    assert not g722.available()
    g722._library.cache_clear()
