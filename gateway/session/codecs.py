"""Codecs by name and number: which have a static payload type, which are the same, which can be turned into each other.

Static payload types: RFC 3551 §6, tables 4 and 5. Dynamic ones are numbered from 96 on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

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
_BY_NAME = {codec.name.upper(): codec for codec in reversed(_TABLE)}

# RFC 7587 §4.1 and §6.1: always 48000/2; the parameters are what we like to receive.
OPUS = Codec(111, "opus", 48_000, 2, (("minptime", "10"), ("useinbandfec", "1")))
_DYNAMIC = {
    codec.name.upper(): codec
    for codec in (
        OPUS,
        Codec(96, "speex", 8000),
        Codec(96, "iLBC", 8000),
        Codec(96, "G726-32", 8000),
        Codec(96, "AMR", 8000),
        Codec(96, "AMR-WB", 16_000),
    )
}
# Truth values of opus' parameters (RFC 7587 §6.1).
_OPUS_FLAGS = frozenset({"useinbandfec", "usedtx", "stereo", "sprop-stereo", "cbr"})
_TRUTH = {"1": "1", "true": "1", "0": "0", "false": "0"}


def named(name: str) -> Codec | None:
    """The codec that an operator means by this name; None for one that nobody could offer without more to say."""
    return _BY_NAME.get(name.upper()) or _DYNAMIC.get(name.upper())


def is_opus(codec: Codec) -> bool:
    return codec.name.lower() == "opus"


def is_transcodable(codec: Codec) -> bool:
    """Whether the media engine can decode and encode it: opus, G722, PCMA and PCMU."""
    if is_opus(codec):
        return codec.clock_rate == OPUS.clock_rate
    return codec.name.upper() in ("PCMA", "PCMU", "G722") and codec.clock_rate == 8000 and codec.channels == 1


def twin(codec: Codec, others: Iterable[Codec]) -> Codec | None:
    """The same encoding among the others; opus is opus, whatever number of channels a sloppy end wrote."""
    return next((o for o in others if o.same_as(codec) or (is_opus(o) and is_opus(codec))), None)


def rank(codec: Codec, order: tuple[str, ...]) -> int:
    """Its place in a list of names, behind all when it is not there."""
    return next((i for i, name in enumerate(order) if name.lower() == codec.name.lower()), len(order))


def numbered(codecs: Iterable[Codec]) -> tuple[Codec, ...]:
    """Give those that have no static payload type one from 96 on."""
    found: list[Codec] = []
    free = 96
    for codec in codecs:
        if codec.pt in STATIC:
            found.append(codec)
        else:
            found.append(replace(codec, pt=free))
            free += 1
    return tuple(found)


def passed_on(codec: Codec, other: Codec) -> Codec:
    """This codec with the parameters of the end that will hear it, since what it hears is relayed as it comes.

    COMPAT: Monal (2024-10) writes opus' flags as "true", which SIP phones do not know, and ends when it reads any value
    that is no truth value: flags are spelt 0 and 1, or left out.
    """
    pairs = []
    for name, value in other.parameters:
        if is_opus(other) and name in _OPUS_FLAGS:
            if value in _TRUTH:
                pairs.append((name, _TRUTH[value]))
        else:
            pairs.append((name, value))
    return replace(codec, parameters=tuple(pairs), feedback=())


def between(codec: Codec, other: Codec) -> Codec:
    """What we say of a codec to its end while `other` is spoken at the far one: relayed, or turned by us."""
    return passed_on(codec, other) if twin(codec, (other,)) is not None else ours(codec)


def ours(codec: Codec) -> Codec:
    """This codec with our own parameters, since it ends here."""
    return replace(codec, parameters=OPUS.parameters if is_opus(codec) else (), feedback=())
