"""Payload types that need no rtpmap (RFC 3551 §6, tables 4 and 5)."""

from __future__ import annotations

from gateway.session.model import Codec

_TABLE = (
    Codec(0, "PCMU", 8000),
    Codec(3, "GSM", 8000),
    Codec(4, "G723", 8000),
    Codec(5, "DVI4", 8000),
    Codec(6, "DVI4", 16000),
    Codec(7, "LPC", 8000),
    Codec(8, "PCMA", 8000),
    Codec(9, "G722", 8000),  # samples at 16 kHz; the clock is an old mistake that stayed (RFC 3551 §4.5.2)
    Codec(10, "L16", 44100, 2),
    Codec(11, "L16", 44100),
    Codec(12, "QCELP", 8000),
    Codec(13, "CN", 8000),
    Codec(14, "MPA", 90000),
    Codec(15, "G728", 8000),
    Codec(16, "DVI4", 11025),
    Codec(17, "DVI4", 22050),
    Codec(18, "G729", 8000),
    Codec(25, "CelB", 90000),
    Codec(26, "JPEG", 90000),
    Codec(28, "nv", 90000),
    Codec(31, "H261", 90000),
    Codec(32, "MPV", 90000),
    Codec(33, "MP2T", 90000),
    Codec(34, "H263", 90000),
)
STATIC: dict[int, Codec] = {codec.pt: codec for codec in _TABLE}
NUMBERS: dict[str, int] = {codec.name.upper(): codec.pt for codec in reversed(_TABLE)}
