"""The pictures: PNGs that a decoder reads, small, each calling code its own."""

from __future__ import annotations

import hashlib
import struct
import zlib

from gateway.xmpp import avatar


def chunks(data: bytes) -> dict[bytes, bytes]:
    """A PNG's chunks, their checksums checked."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    found, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length) == (zlib.crc32(name + body),)
        found[name] = body
        at += 12 + length
    return found


def dots(data: bytes) -> list[str]:
    """The picture's lines, # for ink."""
    raw, width = zlib.decompress(chunks(data)[b"IDAT"]), 1 + avatar.SIZE // 8
    lines = [raw[at : at + width] for at in range(0, len(raw), width)]
    assert all(line[0] == 0 for line in lines)
    return ["".join(f"{octet:08b}" for octet in line[1:]).replace("1", "#").replace("0", ".") for line in lines]


def test_a_picture_is_a_small_png() -> None:
    picture = avatar.picture(44)
    found = chunks(picture.data)
    assert list(found) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", found[b"IHDR"]) == (64, 64, 1, 3, 0, 0, 0)
    assert len(dots(picture.data)) == 64
    assert len(picture.data) < 300
    assert picture.sha1 == hashlib.sha1(picture.data, usedforsecurity=False).hexdigest()


def test_the_calling_code_stands_below_the_receiver() -> None:
    plain, british = dots(avatar.picture().data), dots(avatar.picture(44).data)
    assert not any("#" in line for line in plain[45:])
    assert [line[15:48:3] for line in british[40:55:3]] == [
        ".#..#.#.#.#",
        ".#..#.#.#.#",
        "###.###.###",
        ".#....#...#",
        ".#....#...#",
    ]


def test_each_calling_code_has_its_picture_and_it_is_drawn_once() -> None:
    codes = range(1, 1000)
    assert len({avatar.picture(code).sha1 for code in codes}) == len(codes)
    assert avatar.picture(44) is avatar.picture(44)
