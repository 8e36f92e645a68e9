"""A contact's picture, drawn here: a telephone receiver, and for a number the calling code of its country below it.

64 x 64 dots of two colours, less than 200 octets of PNG. The calling code picks the ground out of a dozen colours, so
that neighbours in a contact list are told apart at a glance. No flags: they are disputed where numbers are not.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

SIZE = 64

_Colour = tuple[int, int, int]

_INK: _Colour = (255, 255, 255)
_PLAIN: _Colour = (69, 90, 100)  # of what has no calling code
_GROUNDS: tuple[_Colour, ...] = (
    (183, 28, 28), (136, 14, 79), (74, 20, 140), (49, 27, 146), (26, 35, 126), (13, 71, 161),
    (1, 87, 155), (0, 96, 100), (0, 77, 64), (27, 94, 32), (191, 54, 12), (62, 39, 35),
)  # fmt: skip

# A receiver as it lies on its telephone, 14 x 7, drawn three times as large.
_RECEIVER = (
    "...########...",
    ".############.",
    "####......####",
    "####......####",
    "####......####",
    "####......####",
    ".##........##.",
)
# 3 x 5, drawn three times as large.
_GLYPHS = {
    "+": (".#.", ".#.", "###", ".#.", ".#."),
    "0": ("###", "#.#", "#.#", "#.#", "###"),
    "1": (".#.", "##.", ".#.", ".#.", "###"),
    "2": ("###", "..#", "###", "#..", "###"),
    "3": ("###", "..#", "###", "..#", "###"),
    "4": ("#.#", "#.#", "###", "..#", "..#"),
    "5": ("###", "#..", "###", "..#", "###"),
    "6": ("###", "#..", "###", "#.#", "###"),
    "7": ("###", "..#", "..#", ".#.", ".#."),
    "8": ("###", "#.#", "###", "#.#", "###"),
    "9": ("###", "#.#", "###", "..#", "###"),
}
_SCALE = 3


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG, and its SHA-1 in hexadecimal, by which XEP-0153 and XEP-0084 know it."""

    data: bytes
    sha1: str


@lru_cache(maxsize=300)  # there are some two hundred calling codes
def picture(calling_code: int = 0) -> Picture:
    """The picture for numbers with this calling code; 0 for what has none."""
    rows = [bytearray(SIZE) for _ in range(SIZE)]
    text = f"+{calling_code}"[:5] if calling_code else ""
    _stamp(rows, _RECEIVER, (SIZE - 14 * _SCALE) // 2, 10 if text else 21)
    width = (4 * len(text) - 1) * _SCALE
    for number, character in enumerate(text):
        _stamp(rows, _GLYPHS[character], (SIZE - width) // 2 + 4 * _SCALE * number, 40)
    data = _png(rows, (_GROUNDS[calling_code % len(_GROUNDS)] if calling_code else _PLAIN, _INK))
    return Picture(data, hashlib.sha1(data, usedforsecurity=False).hexdigest())


def _stamp(rows: list[bytearray], shape: tuple[str, ...], left: int, top: int) -> None:
    for y, line in enumerate(shape):
        for x, dot in enumerate(line):
            if dot == "#":
                for row in rows[top + y * _SCALE : top + (y + 1) * _SCALE]:
                    row[left + x * _SCALE : left + (x + 1) * _SCALE] = b"\x01" * _SCALE


def _png(rows: list[bytearray], palette: tuple[_Colour, ...]) -> bytes:
    """A PNG of one bit for each dot, with a palette (ISO/IEC 15948 §11)."""
    packed = b"".join(b"\0" + _packed(row) for row in rows)  # 0: unfiltered
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 1, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", bytes(value for colour in palette for value in colour)),
        (b"IDAT", zlib.compress(packed, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _packed(row: bytearray) -> bytes:
    return bytes(int("".join(map(str, row[at : at + 8])), 2) for at in range(0, SIZE, 8))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
