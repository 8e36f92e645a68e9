from __future__ import annotations

import random

import pytest
from aiortc.rtp import RtcpPacket, RtcpReceiverInfo, RtcpRrPacket, RtcpSdesPacket, RtcpSenderInfo, RtcpSrPacket

from gateway.media.rtcp import Block, Report, Sent, read, write

BLOCK = Block(9, 0.25, 17, 70_000, 40, 0xABCD1234, 1.5)
FULL = Report(7, Sent(2**63 + 5, 160, 10, 1_600), (BLOCK,))


@pytest.mark.parametrize("report", [FULL, Report(7, None, (BLOCK,)), Report(7, None, ())])
def test_a_report_that_was_written_is_read(report: Report) -> None:
    assert read(write(report, "nobody")) == (report,)


@pytest.mark.parametrize("cname", ["", "a", "ab", "abc", "abcdefghijkl"])
def test_others_understand_what_we_write(cname: str) -> None:
    first, second = RtcpPacket.parse(write(FULL, cname))
    assert isinstance(first, RtcpSrPacket)
    assert (first.ssrc, first.sender_info.packet_count, first.sender_info.octet_count) == (7, 10, 1_600)
    (block,) = first.reports
    assert (block.ssrc, block.fraction_lost, block.packets_lost, block.highest_sequence) == (9, 64, 17, 70_000)
    assert (block.jitter, block.lsr, block.dlsr) == (40, 0xABCD1234, 98_304)
    assert isinstance(second, RtcpSdesPacket)
    assert second.chunks[0].items == [(1, cname.encode())]


def test_we_understand_what_others_write() -> None:
    info = RtcpReceiverInfo(9, 64, -3, 70_000, 40, 5, 65_536)
    sent = RtcpSenderInfo(2**40, 160, 10, 1_600)
    data = bytes(RtcpSrPacket(7, sent, [info])) + bytes(RtcpSdesPacket()) + bytes(RtcpRrPacket(8, [info, info]))
    reports = read(data)
    assert reports is not None
    block = Block(9, 0.25, -3, 70_000, 40, 5, 1.0)
    assert reports == (Report(7, Sent(2**40, 160, 10, 1_600), (block,)), Report(8, None, (block, block)))


def test_what_does_not_fit_is_cut_to_the_field() -> None:
    block = Block(9, 1.0, 2**30, 2**40 + 1, 2**33 + 2, 3, 10.0**6)
    reports = read(write(Report(7, Sent(2**65 + 1, 2**32 + 1, 2**32, 2**33), (block,)), "x"))
    assert reports is not None
    (back,) = reports[0].blocks
    assert (back.fraction, back.lost, back.highest, back.jitter) == (255 / 256, 0x7FFFFF, 1, 2)
    assert back.delay == pytest.approx(65_536, abs=1)
    assert reports[0].sent == Sent(1, 1, 0, 0)


def test_what_is_no_rtcp_is_none() -> None:
    whole = write(FULL, "nobody")
    for data in (b"", b"\x80", whole[:-1], whole[:30], b"\x00" + whole[1:], b"\x80\x64\x00\x01" + bytes(4)):
        assert read(data) is None
    assert read(b"\x82\xc9\x00\x01" + bytes(4)) is None  # two blocks, of which there is none
    assert read(b"\x80\xc8\x00\x01" + bytes(4)) is None  # no sender information
    assert read(b"\x80\xcb\x00\x01" + bytes(4)) == ()  # BYE is no report
    assert read(b"\x80\xcb\x00\x00") is None


def test_any_bytes_are_reports_or_none() -> None:
    source, whole = random.Random(1), write(FULL, "nobody")
    for _ in range(5_000):
        data = bytearray(whole)
        for _ in range(source.randint(1, 6)):
            data[source.randrange(len(data))] = source.getrandbits(8)
        read(bytes(data[: source.randint(0, len(data))]))
