"""Packets out of an Ogg file (RFC 3533), as Opus comes in (RFC 7845). One logical stream, the first one; no seeking."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from gateway.errors import MediaError

_PAGE = struct.Struct("<4sBBqIIIB")  # §6: pattern, version, type, granule position, serial, number, checksum, segments
_CONTINUED = 1
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
