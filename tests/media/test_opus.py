from __future__ import annotations

import numpy as np
import pytest

from gateway.errors import MediaError
from gateway.media import opus
from tests.media.ends import OPUS, Decoding, Opus, loudest, sine


def test_a_foreign_decoder_hears_the_tone() -> None:
    encoder, decode = opus.Encoder(), Decoding(OPUS)
    tone = sine(700, 8_000)
    heard = np.concatenate([decode(encoder.encode(tone[at : at + 160].tobytes())) for at in range(0, 8_000, 160)])
    assert loudest(heard[9_600:], 48_000) == pytest.approx(700, abs=3)


def test_a_foreign_encoder_is_heard_at_8_khz() -> None:
    encode, decoder = Opus(), opus.Decoder()
    tone = sine(700, 48_000, rate=48_000)
    packets = [packet for at in range(0, 48_000, 960) for packet in encode(tone[at : at + 960])]
    pieces = [decoder.decode(packet) for packet in packets]
    assert {len(piece) for piece in pieces} == {320}
    assert loudest(np.frombuffer(b"".join(pieces[10:]), np.int16)) == pytest.approx(700, abs=3)


@pytest.mark.parametrize("ms", opus.FRAMES)
def test_every_frame_size_goes_through(ms: int) -> None:
    assert len(opus.Decoder().decode(opus.Encoder().encode(bytes(16 * ms)))) == 16 * ms


def test_a_lost_packet_is_made_up_for_its_length() -> None:
    decoder, encoder = opus.Decoder(), opus.Encoder()
    packets = [encoder.encode(sine(500, 160, at).tobytes()) for at in range(0, 1_600, 160)]
    decoder.decode(packets[0])
    assert len(decoder.conceal(160)) == 320
    assert len(decoder.conceal(160, packets[2])) == 320
    assert len(decoder.conceal(170)) == 320
    assert decoder.conceal(7) == b""


def test_what_is_no_opus_is_an_error() -> None:
    with pytest.raises(MediaError):
        opus.Decoder().decode(b"\xff\xff\xff")
    with pytest.raises(MediaError):
        opus.Encoder().encode(bytes(34))


def noisy() -> list[bytes]:
    """Frames of something that is worth an effort."""
    noise = np.random.default_rng(1).normal(0, 6_000, 8_000).cumsum()
    pcm = (noise - noise.mean()).clip(-30_000, 30_000).astype(np.int16)
    return [pcm[at : at + 160].tobytes() for at in range(0, 8_000, 160)]


def test_encoders_try_as_hard_as_the_process_has_time_for_from_one_frame_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = noisy()
    early, told = opus.Encoder(), opus.Encoder(complexity=opus.Encoder.common)
    before = [early.encode(frame) for frame in frames[:25]], [told.encode(frame) for frame in frames[:25]]
    assert before[0] == before[1]
    monkeypatch.setattr(opus.Encoder, "common", 0)
    assert [early.encode(frame) for frame in frames[25:]] != [told.encode(frame) for frame in frames[25:]]
    late, least = opus.Encoder(), opus.Encoder(complexity=0)
    assert [late.encode(frame) for frame in frames] == [least.encode(frame) for frame in frames]


def test_silence_is_left_out_where_that_is_wanted_but_for_one_packet_now_and_then() -> None:
    quiet, plain = opus.Encoder(dtx=True), opus.Encoder()
    packets = [quiet.encode(bytes(320)) for _ in range(200)]
    assert packets[0]
    assert 0.85 < packets.count(b"") / len(packets) < 1 - 1 / 40
    assert all(plain.encode(bytes(320)) for _ in range(200))
