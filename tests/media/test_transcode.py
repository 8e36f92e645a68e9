from __future__ import annotations

import numpy as np
import pytest

from gateway.media import g722
from gateway.media.transcode import Framed, Transcoder, can
from gateway.session.model import Codec
from tests.media.ends import G722, OPUS, PCMA, PCMU, Decoding, Opus, alaw, loudest, sine, ulaw


def run(transcoder: Transcoder, packets: list[bytes], samples: int) -> list[tuple[int, bytes]]:
    return [frame for n, data in enumerate(packets) for frame in transcoder.feed(n * samples, data, 0)]


def test_only_what_can_be_coded_and_decoded_can_be_transcoded() -> None:
    assert all(map(can, (OPUS, PCMA, PCMU, G722, Codec(0, "pcmu", 8_000))))
    assert not can(Codec(96, "AMR", 8_000))


def test_g722_is_left_out_where_its_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(g722, "_library", lambda: None)
    assert [can(codec) for codec in (G722, PCMA)] == [False, True]


def test_a_tone_goes_to_g722_and_back() -> None:
    coded = alaw(sine(900, 8_000))
    frames = run(Transcoder(PCMA, G722, 20), [coded[at : at + 160] for at in range(0, 8_000, 160)], 160)
    assert [at for at, _ in frames] == list(range(0, 8_000, 160))
    decode = Decoding(G722)
    heard = np.concatenate([decode(frame) for _, frame in frames])
    assert loudest(heard, decode.rate) == pytest.approx(900, abs=3)
    frames = run(Transcoder(G722, PCMU, 20), [frame for _, frame in frames], 160)
    back = np.concatenate([Decoding(PCMU)(frame) for _, frame in frames])
    assert loudest(back) == pytest.approx(900, abs=3)


@pytest.mark.parametrize("law", [PCMA, PCMU])
def test_a_tone_goes_from_g711_to_opus_in_step(law: Codec) -> None:
    tone = sine(900, 8_000)
    coded = (alaw if law is PCMA else ulaw)(tone)
    frames = run(Transcoder(law, OPUS, 20), [coded[at : at + 160] for at in range(0, 8_000, 160)], 160)
    decode = Decoding(OPUS)
    assert [at for at, _ in frames] == list(range(0, 8_000, 160))
    heard = np.concatenate([decode(frame) for _, frame in frames])
    assert loudest(heard[9_600:], 48_000) == pytest.approx(900, abs=3)


def test_a_tone_goes_from_opus_to_g711_in_step() -> None:
    tone, encode, decode = sine(900, 48_000, rate=48_000), Opus(), Decoding(PCMU)
    packets = [packet for at in range(0, 48_000, 960) for packet in encode(tone[at : at + 960])]
    frames = run(Transcoder(OPUS, PCMU, 20), packets, 160)
    assert [at for at, _ in frames] == list(range(0, len(packets) * 160, 160))
    heard = np.concatenate([decode(frame) for _, frame in frames])
    assert loudest(heard[1_600:]) == pytest.approx(900, abs=3)


@pytest.mark.parametrize("frequency", [900, 5_200])
def test_what_a_telephone_of_today_hears_above_four_khz_stays(frequency: int) -> None:
    tone, encode = sine(frequency, 48_000, rate=48_000), Opus()
    packets = [packet for at in range(0, 48_000, 960) for packet in encode(tone[at : at + 960])]
    coded = run(Transcoder(OPUS, G722, 20), packets, 160)
    assert [(at, len(frame)) for at, frame in coded] == [(at, 160) for at in range(0, len(packets) * 160, 160)]
    back = run(Transcoder(G722, OPUS, 20), [frame for _, frame in coded], 160)
    assert [at for at, _ in back] == [at for at, _ in coded]
    for frames, codec in ((coded, G722), (back, OPUS)):
        decode = Decoding(codec)
        heard = np.concatenate([decode(frame) for _, frame in frames])[decode.rate // 5 :]
        assert loudest(heard, decode.rate) == pytest.approx(frequency, abs=5)
        assert np.abs(heard.astype(float)).max() > 3_000


def test_a_loss_between_wide_codecs_is_filled_in_step() -> None:
    encode = Opus()
    packets = [packet for at in range(0, 9_600, 960) for packet in encode(sine(500, 960, at, 48_000))]
    transcoder = Transcoder(OPUS, G722, 20)
    frames = [*transcoder.feed(0, packets[0], 0), *transcoder.feed(480, packets[3], 2)]
    assert [(at, len(frame)) for at, frame in frames] == [(at, 160) for at in (0, 160, 320, 480)]


def test_frames_are_cut_to_what_the_far_end_wants() -> None:
    packets = [alaw(sine(400, 240, at)) for at in range(0, 2_400, 240)]  # 30 ms each
    frames = run(Transcoder(PCMA, PCMU, 20), packets, 240)
    assert [len(frame) for _, frame in frames] == [160] * 15
    assert [at for at, _ in frames] == list(range(0, 2_400, 160))


@pytest.mark.parametrize(
    ("codec", "ptime", "frame"), [(OPUS, 30, 20), (OPUS, 5, 10), (OPUS, 100, 60), (PCMA, 30, 30), (PCMU, 20, 20)]
)
def test_a_frame_is_the_longest_allowed_within_ptime(codec: Codec, ptime: int, frame: int) -> None:
    assert Framed(codec, ptime).frame_ms == frame


def test_a_short_loss_is_filled_and_time_goes_on() -> None:
    transcoder = Transcoder(PCMA, PCMU, 20)
    list(transcoder.feed(0, alaw(sine(400, 160)), 0))
    frames = list(transcoder.feed(480, alaw(sine(400, 160)), 2))
    assert [at for at, _ in frames] == [160, 320, 480]
    assert frames[0][1] != frames[1][1] == b"\xff" * 160  # the last frame again, then silence


def test_a_lost_opus_packet_is_filled() -> None:
    encode = Opus()
    packets = [packet for at in range(0, 9_600, 960) for packet in encode(sine(500, 960, at, 48_000))]
    transcoder = Transcoder(OPUS, PCMA, 20)
    frames = list(transcoder.feed(0, packets[0], 0)) + list(transcoder.feed(320, packets[2], 1))
    assert [at for at, _ in frames] == [0, 160, 320]


def test_a_pause_of_the_talker_stays_a_pause() -> None:
    transcoder = Transcoder(PCMA, PCMU, 20)
    list(transcoder.feed(0, alaw(sine(400, 240)), 0))  # leaves 10 ms over
    assert [at for at, _ in transcoder.feed(4_000, alaw(sine(400, 160)), 0)] == [4_000]


def test_a_source_that_begins_anew_brings_nothing_old() -> None:
    transcoder = Transcoder(PCMA, PCMU, 20)
    list(transcoder.feed(0, alaw(sine(400, 240)), 0))
    transcoder.restart()
    assert [at for at, _ in transcoder.feed(0, alaw(sine(400, 160)), 5)] == [0]
