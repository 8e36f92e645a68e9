from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from gateway.media.bridge import Path
from gateway.media.g711 import decode_alaw, encode_alaw, encode_ulaw
from gateway.media.opus import Encoder as OpusEncoder
from gateway.media.rtp import HEADER, Outgoing, Packet
from gateway.session.model import Codec, Stream
from tests.media.ends import EVENT_8, EVENT_48, OPUS, PCMA, PCMU, Opus, alaw, packet, sine, stream

G729 = Codec(9, "G729", 8_000)
CN = Codec(13, "CN", 8_000)


class Far:
    """The far side of a path: what it was sent, as (PT with marker, sequence, timestamp, payload)."""

    def __init__(self, source: Stream, sink: Stream) -> None:
        self.packet = Packet()
        self.sent: list[tuple[int, int, int, bytes]] = []
        self.out = Outgoing(99, 1_000, 50_000, sink.send.clock_rate)
        self.path = Path(source, sink, self.out, self._send)

    def _send(self) -> None:
        _, second, seq, timestamp, ssrc = HEADER.unpack_from(self.packet.data)
        assert ssrc == 99
        self.sent.append((second, seq, timestamp, bytes(self.packet)[12:]))

    def give(self, pt: int, seq: int, timestamp: int, body: bytes, *, now: float = 0.0) -> str | None:
        self.packet.fill(packet(pt, seq, timestamp, 7, body))
        return self.path.forward(self.packet, now)


def event(code: int, duration: int, *, end: bool = False) -> bytes:
    return struct.pack("!BBH", code, 0x8A if end else 10, duration)


@pytest.mark.parametrize("codec", [PCMA, PCMU, G729, OPUS])
def test_the_same_codec_is_relayed_under_the_far_ends_number(codec: Codec) -> None:
    far = Far(stream(codec), stream(replace(codec, pt=77)))
    assert far.give(codec.pt, 5, 1_600, b"anything") is None
    assert far.give(codec.pt, 6, 1_760, b"at all") is None
    assert far.sent == [(0x80 | 77, 1_001, 50_000, b"anything"), (77, 1_002, 50_160, b"at all")]


def test_opus_becomes_g711_at_its_clock() -> None:
    encode = Opus()
    packets = [one for at in range(0, 4_800, 960) for one in encode(sine(500, 960, at, 48_000))]
    far = Far(stream(OPUS), stream(PCMA))
    for number, one in enumerate(packets):
        assert far.give(111, number, 960 * number, one) is None
    assert [(second, seq, timestamp) for second, seq, timestamp, _ in far.sent] == [
        (8 | (number == 0) << 7, 1_001 + number, 50_000 + 160 * number) for number in range(len(packets))
    ]
    assert {len(body) for *_, body in far.sent} == {160}


def test_g711_becomes_opus_at_its_clock() -> None:
    far = Far(stream(PCMU), stream(OPUS))
    for number in range(3):
        assert far.give(0, number, 160 * number, b"\xff" * 160) is None
    assert [timestamp for _, _, timestamp, _ in far.sent] == [50_000, 50_960, 51_920]


def test_an_event_is_relayed_as_it_is_where_clocks_agree() -> None:
    far = Far(stream(PCMA, EVENT_8), stream(PCMA, replace(EVENT_8, pt=96)))
    far.give(8, 5, 1_600, b"voice")
    assert far.give(101, 6, 1_760, event(5, 160)) is None
    assert far.sent[-1] == (96, 1_002, 50_160, event(5, 160))


def test_an_event_changes_its_clock_with_the_voice_around_it() -> None:
    far = Far(stream(OPUS, EVENT_48), stream(PCMA, EVENT_8))
    for number, one in enumerate(Opus()(sine(500, 1_920, 0, 48_000))):
        far.give(111, number, 960 * number, one)
    before = len(far.sent)
    assert far.give(110, 2, 1_920, event(5, 960)) is None
    assert far.give(110, 3, 1_920, event(5, 4_800, end=True)) is None
    assert [(second & 0x7F, timestamp, body) for second, _, timestamp, body in far.sent[before:]] == [
        (101, 50_320, event(5, 160)),
        (101, 50_320, event(5, 800, end=True)),
    ]
    back = Far(stream(PCMA, EVENT_8), stream(OPUS, EVENT_48))
    back.give(8, 0, 0, bytes(160))
    back.give(101, 1, 160, event(5, 800, end=True))
    assert back.sent[-1][2:] == (50_960, event(5, 4_800, end=True))


def test_an_event_that_comes_first_is_carried_too() -> None:
    far = Far(stream(OPUS, EVENT_48), stream(PCMA, EVENT_8))
    assert far.give(110, 1, 500, event(1, 960)) is None
    assert far.sent == [(101, 1_001, 50_000, event(1, 160))]


@pytest.mark.parametrize("sink", [PCMA, OPUS])
def test_an_event_is_left_out_without_a_hole_where_the_far_end_takes_none(sink: Codec) -> None:
    far = Far(stream(PCMA, EVENT_8), stream(sink))
    far.give(8, 5, 0, bytes(160))
    assert far.give(101, 6, 160, event(5, 160)) == "event"
    far.give(8, 7, 320, bytes(160))
    assert [seq for _, seq, _, _ in far.sent] == [1_001, 1_002]


@pytest.mark.parametrize(
    ("source", "sink", "pt", "body", "reason"),
    [
        (PCMA, PCMA, 13, b"\x40", "payload"),
        (G729, PCMA, 9, bytes(160), "payload"),
        (PCMA, G729, 8, bytes(160), "payload"),
        (OPUS, PCMA, 111, b"\xff\xff\xff", "undecodable"),
        (OPUS, PCMA, 111, b"", "malformed"),
        (OPUS, PCMA, 101, b"\x01", "malformed"),
        (PCMA, PCMA, 101, b"\x01", "malformed"),
    ],
)
def test_what_cannot_be_passed_on_is_dropped_with_its_reason(
    source: Codec, sink: Codec, pt: int, body: bytes, reason: str
) -> None:
    far = Far(stream(source, EVENT_8), stream(sink, EVENT_8))
    assert far.give(pt, 1, 160, body) == reason
    assert far.sent == []


@pytest.mark.parametrize("sink", [PCMA, PCMU])
def test_late_and_repeated_packets_are_not_heard_twice(sink: Codec) -> None:
    far = Far(stream(PCMA, EVENT_8), stream(sink, EVENT_8))
    far.give(8, 5, 800, bytes(160))
    assert far.give(8, 4, 640, bytes(160)) == "late"
    assert far.give(101, 3, 480, event(1, 160)) == "late"
    assert len(far.sent) == 1


def test_a_source_may_change_its_codec_between_packets() -> None:
    both = Stream(PCMA, (PCMA, PCMU))
    far = Far(both, stream(PCMA))
    far.give(8, 5, 0, alaw(sine(400, 160)), now=0.0)
    far.give(0, 6, 160, bytes(160), now=0.02)
    far.give(8, 7, 320, alaw(sine(400, 160)), now=0.04)
    assert [(second & 0x7F, seq, timestamp) for second, seq, timestamp, _ in far.sent] == [
        (8, 1_001, 50_000),
        (8, 1_002, 50_160),
        (8, 1_003, 50_320),
    ]


def test_a_timestamp_that_wraps_is_only_the_next_one() -> None:
    far = Far(stream(PCMA), stream(PCMU))
    far.give(8, 5, 2**32 - 160, bytes(160))
    far.give(8, 6, 0, bytes(160))
    assert [timestamp for _, _, timestamp, _ in far.sent] == [50_000, 50_160]


def test_once_packets_overtook_each_other_they_are_put_in_order() -> None:
    far = Far(stream(PCMA), stream(PCMU))
    frames = [alaw(sine(300 + 100 * number, 160)) for number in range(9)]
    reasons = [far.give(8, number, 160 * number, frames[number]) for number in (0, 2, 1, 4, 3, 5, 8, 7, 6)]
    assert reasons == [None, None, "late", None, None, None, None, None, None]
    assert [timestamp - 50_000 for _, _, timestamp, _ in far.sent] == [160 * number for number in range(9)]
    assert [seq for _, seq, _, _ in far.sent] == list(range(1_001, 1_010))
    bodies = [body for *_, body in far.sent]
    assert [bodies[number] for number in range(2, 9)] == [encode_ulaw(decode_alaw(frame)) for frame in frames[2:]]


def test_a_digit_does_not_wait_for_a_voice_that_is_missing() -> None:
    far = Far(stream(PCMA, EVENT_8), stream(PCMU, EVENT_8))
    for number in (0, 2, 1, 3, 5):
        far.give(8, number, 160 * number, bytes(160))
    assert far.give(101, 6, 960, event(5, 160)) is None
    assert far.give(8, 7, 1_120, bytes(160)) is None
    assert [second & 0x7F for second, *_ in far.sent[-4:]] == [0, 0, 101, 0]


def test_what_opus_lost_is_taken_from_the_packet_after_it() -> None:
    encoder = OpusEncoder()
    speech = [sine(400, 160, 160 * number).tobytes() for number in range(60)]
    packets = [encoder.encode(pcm) for pcm in speech]
    far = Far(stream(OPUS), stream(PCMA))
    whole = Far(stream(OPUS), stream(PCMA))
    for number, one in enumerate(packets):
        whole.give(111, number, 960 * number, one)
        if number not in (30, 40, 41):
            far.give(111, number, 960 * number, one)
    assert [timestamp for _, _, timestamp, _ in far.sent] == [timestamp for _, _, timestamp, _ in whole.sent]
    assert {len(body) for *_, body in far.sent} == {160}


def test_an_end_that_likes_pauses_is_sent_no_silence() -> None:
    likes = replace(OPUS, parameters=(("useinbandfec", "1"), ("usedtx", "1")))
    far, plain = Far(stream(PCMA), stream(likes)), Far(stream(PCMA), stream(OPUS))
    voice, pause = alaw(sine(500, 8_000)), encode_alaw(bytes(320))
    said = [voice[at : at + 160] for at in range(0, 4_000, 160)] + [pause] * 100 + [voice[:160], voice[160:320]]
    for number, body in enumerate(said):
        for each in (far, plain):
            assert each.give(8, number, 160 * number, body, now=number * 0.02) is None
    assert len(plain.sent) == len(said)
    assert 25 + 2 < len(far.sent) < 25 + 2 + 40
    assert [seq for _, seq, _, _ in far.sent] == [1_001 + number for number in range(len(far.sent))]
    begins = [timestamp for second, _, timestamp, _ in far.sent if second & 0x80]
    assert begins[0] == 50_000
    assert begins[-1] == 50_000 + 960 * 125, "the time of the pause has passed, and a talkspurt begins"
    assert far.out.at == (len(said) - 1) * 0.02


def test_a_pause_that_is_wanted_is_no_gap() -> None:
    far = Far(stream(PCMA), stream(replace(OPUS, parameters=(("usedtx", "1"),))))
    for number in range(60):
        far.give(8, number, 160 * number, encode_alaw(bytes(320)), now=number * 0.02)
    assert far.sent[-1][2] < far.out.timestamp == 50_000 + 960 * 59
    assert far.out.at == 59 * 0.02
