"""RTCP reports (RFC 3550 §6) as values and as bytes. Everything but reports is passed over; nothing here knows a clock.

compound    SR or RR | SDES with our CNAME     what we send (§6.1)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SR, RR, SDES, BYE = 200, 201, 202, 203
_HEAD = struct.Struct("!BBHI")
_SENDER = struct.Struct("!QIII")
_BLOCK = struct.Struct("!IIIIII")
_CNAME = 1


@dataclass(frozen=True, slots=True)
class Block:
    """What one end says of what it gets from `ssrc` (§6.4.1)."""

    ssrc: int
    fraction: float  # lost since the report before
    lost: int
    highest: int
    jitter: int  # timestamp units
    last_sr: int  # the middle of the NTP time of the sender report that came last, 0 if none came
    delay: float  # s, since then


@dataclass(frozen=True, slots=True)
class Sent:
    """What one end says of what it sends."""

    ntp: int  # 32.32 fixed point, seconds since 1900
    timestamp: int
    packets: int
    octets: int


@dataclass(frozen=True, slots=True)
class Report:
    ssrc: int
    sent: Sent | None
    blocks: tuple[Block, ...]


def read(data: bytes) -> tuple[Report, ...] | None:
    """The reports of a compound packet; None for what is no RTCP (§A.2)."""
    reports: list[Report] = []
    at = 0
    while at < len(data):
        if len(data) - at < _HEAD.size:
            return None
        first, kind, length, ssrc = _HEAD.unpack_from(data, at)
        end = at + 4 + 4 * length
        if first >> 6 != 2 or end > len(data) or not 192 <= kind <= 223:
            return None
        if kind in (SR, RR):
            body, sent = at + _HEAD.size, None
            if kind == SR:
                if end - body < _SENDER.size:
                    return None
                sent = Sent(*_SENDER.unpack_from(data, body))
                body += _SENDER.size
            if end - body < (first & 0x1F) * _BLOCK.size:
                return None
            reports.append(Report(ssrc, sent, tuple(_block(data, body, n) for n in range(first & 0x1F))))
        at = end
    return tuple(reports) if at else None


def _block(data: bytes, body: int, number: int) -> Block:
    ssrc, loss, highest, jitter, last, delay = _BLOCK.unpack_from(data, body + number * _BLOCK.size)
    lost = loss & 0xFFFFFF
    return Block(
        ssrc,
        (loss >> 24) / 256,
        lost - 0x1000000 if lost & 0x800000 else lost,
        highest,
        jitter,
        last,
        delay / 65_536,
    )


def write(report: Report, cname: str) -> bytes:
    """A compound packet: the report and who speaks. `cname` is short ASCII."""
    kind, sender = RR, b""
    if report.sent is not None:
        kind, sent = SR, report.sent
        counted = (sent.timestamp & 0xFFFFFFFF, sent.packets & 0xFFFFFFFF, sent.octets & 0xFFFFFFFF)
        sender = _SENDER.pack(sent.ntp & 0xFFFFFFFFFFFFFFFF, *counted)
    body = sender + b"".join(map(_written, report.blocks))
    name = cname.encode("ascii")
    item = struct.pack("!BB", _CNAME, len(name)) + name
    item += bytes(4 - len(item) % 4)  # §6.5: the list ends with a null octet and is padded to the next word
    return (
        _HEAD.pack(0x80 | len(report.blocks), kind, 1 + len(body) // 4, report.ssrc)
        + body
        + _HEAD.pack(0x81, SDES, 1 + len(item) // 4, report.ssrc)
        + item
    )


def _written(block: Block) -> bytes:
    loss = min(255, round(block.fraction * 256)) << 24 | min(max(block.lost, -0x800000), 0x7FFFFF) & 0xFFFFFF
    delay = min(round(block.delay * 65_536), 0xFFFFFFFF)
    return _BLOCK.pack(block.ssrc, loss, block.highest & 0xFFFFFFFF, block.jitter & 0xFFFFFFFF, block.last_sr, delay)
