from __future__ import annotations

import struct

import pytest

from gateway.errors import MediaError
from gateway.media import ogg


def page(body: list[bytes], *, serial: int = 7, kind: int = 0, open_end: bool = False) -> bytes:
    table = b""
    for number, packet in enumerate(body):
        table += b"\xff" * (len(packet) // 255)
        if not (open_end and number == len(body) - 1):
            table += bytes([len(packet) % 255])
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, kind, 0, serial, 0, 0, len(table))
    return head + table + b"".join(body)


HEAD = b"OpusHead\x01\x01" + struct.pack("<HIhB", 312, 48_000, 0, 0)


def test_packets_come_in_their_order_over_pages() -> None:
    data = page([b"one", b"two"]) + page([b"x" * 255], open_end=True) + page([b"y"], kind=1)
    assert list(ogg.packets(data)) == [b"one", b"two", b"x" * 255 + b"y"]


def test_another_stream_is_left_out() -> None:
    assert list(ogg.packets(page([b"one"]) + page([b"video"], serial=8) + page([b"two"]))) == [b"one", b"two"]


def test_a_file_that_is_cut_off_ends_with_its_last_whole_packet() -> None:
    whole = page([b"one"]) + page([b"two"])
    for length in range(len(whole)):
        assert list(ogg.packets(whole[:length])) == [b"one"] * (length >= len(page([b"one"])))


def test_a_beginning_that_was_lost_makes_no_packet() -> None:
    assert list(ogg.packets(page([b"x" * 255], open_end=True) + page([b"two"]))) == [b"two"]


def test_what_is_no_ogg_is_said() -> None:
    with pytest.raises(MediaError, match="Ogg"):
        list(ogg.packets(bytes(100)))


def test_opus_is_told_by_its_head() -> None:
    assert ogg.opus(page([HEAD]) + page([b"OpusTags"]) + page([b"sound"])) == (312, [b"sound"])
    for bad in (b"", page([b"vorbis"]), page([HEAD[:12]])):
        with pytest.raises(MediaError, match="no Opus"):
            ogg.opus(bad)
    for head in (HEAD[:9] + b"\x06" + HEAD[10:], HEAD[:18] + b"\x01"):
        with pytest.raises(MediaError, match="channels"):
            ogg.opus(page([head]))


def test_what_is_written_is_read_back() -> None:
    pages = ogg.Pages(7)
    packets = [b"one", b"x" * 255, b"", b"y" * 1_000]
    data = pages.page([b"head"], 0, first=True) + pages.page(packets, 960) + pages.page([b"end"], 1_920, last=True)
    assert list(ogg.packets(data)) == [b"head", *packets, b"end"]


def test_a_pages_checksum_is_that_of_the_format() -> None:
    assert ogg.checksum(b"123456789") == 0x89A1897F  # the check value of this CRC in catalogues (CKSUM's, inverted)


def test_more_than_a_page_holds_is_refused() -> None:
    with pytest.raises(MediaError, match="one page"):
        ogg.Pages(1).page([b"x"] * 256, 0)
