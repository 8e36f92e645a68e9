"""G.711 (ITU-T G.711; RFC 3551 §4.5.14): A-law and µ-law, between each other and to 16-bit PCM at 8 kHz."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # The standard library's audioop is deprecated since 3.11 and gone in 3.13, where audioop-lts takes its name; both
    # are the same C code, a hundred times faster than what Python could do.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

__all__ = ["audioop", "decode_alaw", "decode_ulaw", "encode_alaw", "encode_ulaw"]


def decode_alaw(data: bytes) -> bytes:
    return audioop.alaw2lin(data, 2)


def encode_alaw(pcm: bytes) -> bytes:
    return audioop.lin2alaw(pcm, 2)


def decode_ulaw(data: bytes) -> bytes:
    return audioop.ulaw2lin(data, 2)


def encode_ulaw(pcm: bytes) -> bytes:
    return audioop.lin2ulaw(pcm, 2)
