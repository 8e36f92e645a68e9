"""RTCP feedback about video (RFC 4585, RFC 5104 §4.3.1), as values and as bytes; nothing here knows a clock.

    PT 206, FMT 1   PLI    the picture is broken: send a whole one
    PT 206, FMT 4   FIR    the same as a command, numbered, so that a repeated one is not another
    PT 205, FMT 1   NACK   these packets never came

Everything else (REMB, transport-cc, bit rates) speaks of a path that is not the sender's alone: it is only counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

_HEAD = struct.Struct("!BBHII")
_FIR = struct.Struct("!IB3x")
_NACK = struct.Struct("!HH")
_RTPFB, _PSFB = 205, 206
_ABOUT_NACK, _ABOUT_PLI, _ABOUT_FIR = 1, 1, 4
MOST_LOST = 256  # numbers taken from one compound packet


@dataclass(frozen=True, slots=True)
class Feedback:
    """What an end wants of the stream that it gets: a whole picture, these packets again, and what we cannot do."""

    picture: bool = False
    lost: tuple[int, ...] = ()
    other: int = 0


NONE = Feedback()


def read(data: bytes, ssrc: int) -> Feedback:
    """The feedback of a compound packet about our stream. What is cut off or about another stream is passed over.

    COMPAT: phones that name no stream (0), of which each end has one.
    """
    picture, lost, other, at = False, list[int](), 0, 0
    while len(data) - at >= 4:
        first, kind, length = struct.unpack_from("!BBH", data, at)
        end = at + 4 + 4 * length
        if first >> 6 != 2 or end > len(data):
            break
        if kind in (_RTPFB, _PSFB) and end - at >= _HEAD.size:
            about, named, body = first & 0x1F, _HEAD.unpack_from(data, at)[4], data[at + _HEAD.size : end]
            if (kind, about) == (_PSFB, _ABOUT_FIR):  # the stream is named in the entries alone
                picture = picture or any(entry == ssrc for entry, _ in _FIR.iter_unpack(_whole(body, _FIR.size)))
            elif named in (ssrc, 0) and (kind, about) == (_PSFB, _ABOUT_PLI):
                picture = True
            elif named in (ssrc, 0) and (kind, about) == (_RTPFB, _ABOUT_NACK):
                lost += _lost(body)
            else:
                other += 1
        at = end
    return Feedback(picture, tuple(dict.fromkeys(lost))[:MOST_LOST], other)


def pli(sender: int, about: int) -> bytes:
    return _HEAD.pack(0x80 | _ABOUT_PLI, _PSFB, 2, sender, about)


def fir(sender: int, about: int, number: int) -> bytes:
    """`number` counts the commands; the same again is the same command (RFC 5104 §4.3.1.1)."""
    return _HEAD.pack(0x80 | _ABOUT_FIR, _PSFB, 4, sender, 0) + _FIR.pack(about, number & 0xFF)


def nack(sender: int, about: int, lost: Iterable[int]) -> bytes:
    """`lost` are sequence numbers in the order of the stream."""
    entries: list[list[int]] = []
    for seq in lost:
        if entries and 0 < (seq - entries[-1][0]) & 0xFFFF <= 16:
            entries[-1][1] |= 1 << ((seq - entries[-1][0]) & 0xFFFF) - 1
        else:
            entries.append([seq, 0])
    body = b"".join(_NACK.pack(*entry) for entry in entries)
    return _HEAD.pack(0x80 | _ABOUT_NACK, _RTPFB, 2 + len(entries), sender, about) + body


def _lost(body: bytes) -> list[int]:
    """RFC 4585 §6.2.1: a packet, and a bit for each of the sixteen behind it."""
    return [
        (first + behind) & 0xFFFF
        for first, mask in _NACK.iter_unpack(_whole(body, _NACK.size))
        for behind in range(17)
        if behind == 0 or mask >> (behind - 1) & 1
    ]


def _whole(body: bytes, size: int) -> bytes:
    return body[: len(body) // size * size]
