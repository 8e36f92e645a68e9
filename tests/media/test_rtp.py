from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media import rtp
from gateway.media.rtp import Arrivals, DigitReader, Outgoing, Packet, Pressed, Relay


def packet(seq: int, timestamp: int, ssrc: int = 7, pt: int = 8, body: bytes = b"voice") -> Packet:
    one = Packet()
    one.write(pt, seq & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, body)
    return one


def header(one: Packet) -> tuple[int, int, int, int]:
    """PT with marker, sequence, timestamp, SSRC."""
    _, second, seq, timestamp, ssrc = rtp.HEADER.unpack_from(one.data)
    return second, seq, timestamp, ssrc


# what is RTP, and where its payload is


@pytest.mark.parametrize(
    ("raw", "is_rtp"),
    [
        (b"\x80\x08" + bytes(10), True),
        (b"\x80\x88" + bytes(10), True),
        (b"\x80\x08" + bytes(9), False),
        (b"\x40\x08" + bytes(10), False),
        (b"\x80\xc8" + bytes(20), False),
        (b"\x80\xdf" + bytes(20), False),
        (b"", False),
    ],
)
def test_rtp_is_told_from_rtcp_and_noise(raw: bytes, is_rtp: bool) -> None:
    one = Packet()
    one.fill(b"\xff" * 40)  # what an earlier packet left
    one.fill(raw)
    assert rtp.is_rtp(one) is is_rtp


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"\x80\x08" + bytes(10) + b"abc", b"abc"),
        (b"\x82\x08" + bytes(10) + bytes(8) + b"abc", b"abc"),
        (b"\x90\x08" + bytes(10) + b"\xbe\xde\x00\x01xxxx" + b"abc", b"abc"),
        (b"\xa0\x08" + bytes(10) + b"abc\x00\x02", b"abc"),
        (b"\x80\x08" + bytes(10), b""),
        (b"\x8f\x08" + bytes(10), None),
        (b"\x90\x08" + bytes(10) + b"\xbe", None),
        (b"\x90\x08" + bytes(10) + b"\xbe\xde\xff\xff", None),
        (b"\xa0\x08" + bytes(10) + b"\x00", None),
        (b"\xa0\x08" + bytes(10) + b"\x09", None),
    ],
)
def test_the_payload_is_found_between_extension_and_padding(raw: bytes, body: bytes | None) -> None:
    one = Packet()
    one.fill(raw)
    span = rtp.payload(one)
    assert (None if span is None else bytes(one.view[slice(*span)])) == body


# one stream towards a leg


def test_a_relayed_stream_keeps_its_steps_under_our_numbers() -> None:
    out = Outgoing(ssrc=99, seq=16, timestamp=1_000)
    relay = Relay(out)
    sent = []
    for number in range(3):
        one = packet(900 + number, 50_000 + 160 * number)
        assert relay.rewrite(one, 0, now=number * 0.02)
        sent.append(header(one))
        assert bytes(one)[12:] == b"voice"
    assert sent == [(0x80, 17, 1_000, 99), (0, 18, 1_160, 99), (0, 19, 1_320, 99)]


def test_a_new_source_goes_on_where_the_last_one_stopped() -> None:
    out = Outgoing(99, 16, 1_000)
    relay = Relay(out)
    relay.rewrite(packet(900, 5_000), 8, 0.0)
    one = packet(5, 3, ssrc=8)
    relay.rewrite(one, 8, 1.0)
    assert header(one) == (0x88, 18, 1_000 + 8_000, 99)


def test_a_source_that_begins_anew_under_its_old_name_is_a_new_source() -> None:
    relay = Relay(Outgoing(99, 16, 1_000))
    relay.rewrite(packet(900, 5_000), 8, 0.0)
    one = packet(30_000, 1, ssrc=7)
    relay.rewrite(one, 8, 0.02)
    assert header(one) == (0x88, 18, 1_160, 99)


def test_what_a_source_sent_before_its_anchor_never_takes_a_used_number() -> None:
    relay = Relay(Outgoing(99, 16, 1_000))
    relay.rewrite(packet(900, 5_000), 8, 0.0)
    assert not relay.rewrite(packet(899, 4_840), 8, 0.0)
    assert relay.rewrite(packet(902, 5_320), 8, 0.0)
    late = packet(901, 5_160)
    assert relay.rewrite(late, 8, 0.0)
    assert header(late)[1:3] == (18, 1_160)


def test_a_left_out_packet_leaves_no_hole() -> None:
    relay = Relay(Outgoing(99, 16, 1_000))
    relay.rewrite(packet(900, 5_000), 8, 0.0)
    relay.skip(packet(901, 5_160))
    relay.skip(packet(901, 5_160))
    one = packet(902, 5_320)
    relay.rewrite(one, 8, 0.04)
    assert header(one)[1:3] == (18, 1_320)
    assert not relay.rewrite(packet(900, 5_000), 8, 0.04)


def test_whoever_interrupts_is_followed_without_a_hole() -> None:
    out = Outgoing(99, 16, 1_000)
    relay = Relay(out)
    relay.rewrite(packet(900, 5_000), 8, 0.0)
    seq, timestamp = out.begin("prompt", 0.5)
    out.used(seq, timestamp, 0.5)
    one = packet(926, 9_160)
    relay.rewrite(one, 8, 0.52)
    assert header(one) == (0x88, 19, timestamp + 160, 99)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=400), st.integers(0, 0xFFFF))
def test_no_number_is_ever_used_for_two_packets(jumps: list[int], start: int) -> None:
    """Reordered and repeated as a network does it, from any start, with another speaker now and then."""
    out = Outgoing(99, 16, 1_000)
    relay = Relay(out)
    used: dict[int, int] = {}
    at = start
    for index, jump in enumerate(jumps):
        at += jump - 1
        if jump == 3 and index % 7 == 0:
            seq, timestamp = out.begin("prompt", index)
            out.used(seq, timestamp, index)
            assert seq not in used
            used[seq] = -index - 1
            continue
        one = packet(at, at * 160)
        if relay.rewrite(one, 8, float(index)):
            seq = header(one)[1]
            # The same packet may come twice under one number; another one may not.
            assert used.setdefault(seq, at) == at


def test_arrivals_tell_order_loss_and_new_sources() -> None:
    arrivals = Arrivals()
    assert arrivals.lost(65_534, 1) is None
    assert arrivals.lost(65_535, 1) == 0
    assert arrivals.lost(2, 1) == 2
    assert arrivals.lost(1, 1) == -1
    assert arrivals.lost(2, 1) == -1
    assert arrivals.lost(3, 2) is None
    assert arrivals.lost(20_000, 2) is None


# digits


def event(code: int, duration: int, *, end: bool = False) -> bytes:
    return struct.pack("!BBH", code, 0x8A if end else 10, duration)


def test_a_digit_is_heard_once_however_often_it_is_sent() -> None:
    reader = DigitReader()
    heard: list[Pressed] = []
    for duration in (160, 320, 640):
        heard += reader.read(1_000, event(5, duration), 8_000, 0.0)
    for _ in range(3):
        heard += reader.read(1_000, event(5, 800, end=True), 8_000, 0.1)
    assert heard == [Pressed("5", 100)]
    assert reader.idle(10.0) == ()


def test_the_same_digit_pressed_twice_is_heard_twice() -> None:
    reader = DigitReader()
    heard = reader.read(1_000, event(11, 4_800, end=True), 48_000, 0.0)
    heard += reader.read(1_000, event(11, 4_800, end=True), 48_000, 0.0)
    heard += reader.read(9_000, event(11, 4_800, end=True), 48_000, 0.2)
    assert heard == (Pressed("#", 100), Pressed("#", 100))


def test_a_digit_whose_end_was_lost_is_over_with_the_next_or_with_time() -> None:
    reader = DigitReader()
    reader.read(1_000, event(1, 400), 8_000, 0.0)
    assert reader.read(3_000, event(2, 400), 8_000, 0.2) == (Pressed("1", 50),)
    assert reader.idle(0.3) == ()
    assert reader.idle(0.7) == (Pressed("2", 50),)
    assert reader.idle(0.9) == ()


def test_a_packet_of_an_earlier_digit_is_no_new_digit() -> None:
    reader = DigitReader()
    reader.read(1_000, event(1, 800, end=True), 8_000, 0.0)
    reader.read(3_000, event(2, 800, end=True), 8_000, 0.0)
    assert reader.read(1_000, event(1, 800, end=True), 8_000, 0.0) == ()


def test_the_segments_of_a_long_digit_are_one_digit() -> None:
    reader = DigitReader()
    heard = reader.read(0, event(9, 0xFFFF), 48_000, 0.0)
    heard += reader.read(0xFFFF, event(9, 0xFFFF), 48_000, 1.3)
    heard += reader.read(0x1FFFE, event(9, 4_802, end=True), 48_000, 2.6)
    assert heard == (Pressed("9", 2_830),)


@pytest.mark.parametrize("body", [b"", b"\x05\x0a\x00", event(16, 100, end=True)])
def test_what_is_no_digit_is_none(body: bytes) -> None:
    assert DigitReader().read(1_000, body, 8_000, 0.0) == ()


@pytest.mark.parametrize(
    ("before", "from_", "to", "after"),
    [(800, 8_000, 48_000, 4_800), (4_800, 48_000, 8_000, 800), (60_000, 8_000, 48_000, 0xFFFF), (7, 8_000, 8_000, 7)],
)
def test_a_duration_is_converted_between_clocks(before: int, from_: int, to: int, after: int) -> None:
    one = packet(1, 1, body=event(5, before, end=True))
    rtp.convert_duration(one, 12, from_, to)
    assert bytes(one)[12:] == event(5, after, end=True)


@pytest.mark.parametrize("clock", [8_000, 48_000])
def test_generated_digits_are_read_back(clock: int) -> None:
    reader, before = DigitReader(), -1.0
    heard: list[Pressed] = []
    for step in rtp.steps("1a#", 100, clock):
        assert step.at > before
        before = step.at
        heard += reader.read(step.timestamp, step.body, clock, step.at)
    assert heard == [Pressed("1", 100), Pressed("A", 100), Pressed("#", 100)]


def test_a_generated_digit_begins_with_a_marker_and_ends_three_times() -> None:
    steps = list(rtp.steps("7", 60, 8_000))
    assert [step.marker for step in steps] == [True, False, False, False, False]
    assert [step.body[1] >> 7 for step in steps] == [0, 0, 1, 1, 1]
    assert [round(step.at * 1000) for step in steps] == [0, 20, 40, 60, 80]
    assert [step.marker for step in rtp.steps("7", 20, 8_000)] == [True, False, False]
