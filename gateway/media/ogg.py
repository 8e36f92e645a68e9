"""Ogg files (RFC 3533), as Opus comes in (RFC 7845): packets out of pages, and into them.

One logical stream, of those that are read the first one; no seeking.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

from gateway.errors import MediaError

_PAGE = struct.Struct("<4sBBqIIIB")  # §6: pattern, version, type, granule position, serial, number, checksum, segments
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_REVERSED = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))
HEAD = b"OpusHead"


def packets(data: bytes) -> Iterator[bytes]:
    """Whole packets in their order; one that the file's end cuts off is left out. Raises MediaError."""
    at, stream, begun = 0, None, b""
    while at < len(data):
        if len(data) - at < _PAGE.size:
            return
        pattern, version, kind, _, serial, _, _, segments = _PAGE.unpack_from(data, at)
        if pattern != b"OggS" or version != 0:
            raise MediaError("not an Ogg file")
        table = data[at + _PAGE.size : at + _PAGE.size + segments]
        at += _PAGE.size + segments
        end = at + sum(table)
        if stream is None:
            stream = serial
        if serial != stream:
            at = end
            continue
        if not kind & _CONTINUED:
            begun = b""
        for length in table:
            begun += data[at : at + length]
            at += length
            if length < 255:  # §5: a segment that is not full ends its packet
                if at <= len(data):
                    yield begun
                begun = b""
        at = end


def opus(data: bytes) -> tuple[int, list[bytes]]:
    """The samples at 48 kHz to leave out at the beginning, and the sound's packets. Raises MediaError."""
    found = list(packets(data))
    if not found or not found[0].startswith(HEAD) or len(found[0]) < 19:
        raise MediaError("no Opus in this Ogg file")
    channels, skip, mapping = found[0][9], int.from_bytes(found[0][10:12], "little"), found[0][18]
    if mapping != 0 or channels not in (1, 2):
        raise MediaError("an Opus file of one or two channels is needed")  # RFC 7845 §5.1.1.1
    return skip, found[2:]


class Pages:
    """Whole packets as pages of one stream."""

    def __init__(self, serial: int) -> None:
        self._serial = serial
        self._number = 0

    def page(self, packets: Sequence[bytes], granule: int, *, first: bool = False, last: bool = False) -> bytes:
        """`granule` is the position at its end. Raises MediaError for more than a page holds: 255 segments."""
        table = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
        if len(table) > 255:
            raise MediaError("too much for one page")
        kind = (_FIRST if first else 0) | (_LAST if last else 0)
        fields = (b"OggS", 0, kind, granule, self._serial, self._number)
        rest = table + b"".join(packets)
        self._number += 1
        checked = checksum(_PAGE.pack(*fields, 0, len(table)) + rest)
        return _PAGE.pack(*fields, checked, len(table)) + rest


def checksum(data: bytes) -> int:
    """§6: CRC with 0x04c11db7, from zero, the highest bit first; zlib's is the same with every byte the other way."""
    found = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(found.to_bytes(4, "little").translate(_REVERSED), "big")
