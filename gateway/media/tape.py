"""The two ends of a call as two channels that stay in step, out of packets as they came. Pure.

    left    the caller   ──■■■■■■──────■■■──■■■──>    a packet goes where its timestamp puts it, counted from when its
    right   the callee   ────────■■■■■───────────>    source was first heard; where nothing came there is silence

A source whose time runs away from ours (another clock, a pause that its timestamps do not count) is anchored anew at
when its packet came. Digits are not to be got out of a recording: telephone events make no sound, and a keypad's tones
are silenced with what is next to them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.errors import MediaError
from gateway.media.ears import key_of
from gateway.media.g711 import audioop
from gateway.media.rtp import HEADER, Packet, payload
from gateway.media.transcode import RATE, Decoder, can, decoder
from gateway.session.model import Codec

BLOCK = 160  # samples: 20 ms, in which keys are looked for
LATE = 0.4  # s, how long the place of a packet is kept free
DRIFT = RATE // 4  # samples by which a source may be away from when its packets come
LEFT, RIGHT = 0, 1

_SILENCE = bytes(BLOCK * 2)


@dataclass(frozen=True, slots=True)
class Heard:
    """An RTP packet of one end, when it came (seconds), and what its payload types stand for."""

    at: float
    channel: int
    codecs: tuple[Codec, ...]
    packet: bytes


class Channel:
    """One end's voice as PCM, 8 kHz, 16 bit. Positions are samples since the recording began."""

    def __init__(self) -> None:
        self._decoders: dict[Codec, Decoder] = {}
        self._ssrc: int | None = None
        self._seq = self._timestamp = 0  # of the last packet
        self._position = 0  # where it was put
        self._pcm = bytearray()  # what is not taken yet
        self._base = 0  # where that begins
        self._keys: tuple[bool, bool] = (False, False)  # of the blocks before: whether a key was heard
        self._held: bytes | None = None  # the block that waits for the next one

    def put(self, codec: Codec, header: tuple[int, int, int], body: bytes, arrived: int) -> None:
        """A packet with this sequence, timestamp and SSRC; `arrived` is when, in samples. Raises MediaError."""
        seq, timestamp, ssrc = header
        if ssrc == self._ssrc and seq == self._seq:
            return  # a second time
        step = (timestamp - self._timestamp) & 0xFFFFFFFF
        step -= 0x100000000 if step >= 0x80000000 else 0
        position = self._position + step * RATE // codec.clock_rate
        if ssrc != self._ssrc or abs(position - arrived) > DRIFT:
            position = arrived
        self._ssrc, self._seq, self._timestamp, self._position = ssrc, seq, timestamp, position
        if codec not in self._decoders:
            self._decoders[codec] = decoder(codec)
        self._write(position, self._decoders[codec].decode(body))

    def _write(self, position: int, pcm: bytes) -> None:
        late = self._base - position
        if late > 0:  # its place, or part of it, has been taken
            pcm, position = pcm[late * 2 :], self._base
        start = (position - self._base) * 2
        if len(self._pcm) < start:
            self._pcm += bytes(start - len(self._pcm))
        self._pcm[start : start + len(pcm)] = pcm

    def take(self, until: int) -> Iterator[bytes]:
        """The blocks before this position, which is a whole number of them; the last one waits for what follows it."""
        while self._base < until:
            block = bytes(self._pcm[: BLOCK * 2]).ljust(BLOCK * 2, b"\0")
            del self._pcm[: BLOCK * 2]
            self._base += BLOCK
            key = bool(key_of(block))
            if self._held is not None:
                yield _SILENCE if key or any(self._keys) else self._held
            self._keys, self._held = (self._keys[1], key), block


class Tape:
    """`began` is the time at which both channels begin, in seconds."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._channels = (Channel(), Channel())
        self._packet = Packet()
        self.unheard: set[str] = set()  # codecs that nobody here can decode

    def put(self, heard: Heard) -> None:
        """What is no voice, or cannot be decoded, leaves silence."""
        packet = self._packet
        if len(heard.packet) > len(packet.data):
            return
        packet.fill(heard.packet)
        _, second, seq, timestamp, ssrc = HEADER.unpack_from(packet.data)
        codec = next((one for one in heard.codecs if one.pt == second & 0x7F), None)
        span = payload(packet)
        if codec is None or span is None or span[0] == span[1]:
            return
        if not can(codec):
            self.unheard.add(codec.name)
            return
        body = bytes(packet.view[span[0] : span[1]])
        try:
            self._channels[heard.channel].put(codec, (seq, timestamp, ssrc), body, self._samples(heard.at))
        except (MediaError, struct.error):
            return

    def take(self, now: float) -> bytes:
        """Both channels, interleaved, as far as nothing more is expected for them."""
        return self._take(self._samples(now - LATE) // BLOCK * BLOCK)

    def end(self, now: float) -> bytes:
        """The rest, up to now."""
        # The last block of all waits for one that never comes: ask for one more than there is.
        return self._take(-(-self._samples(now) // BLOCK) * BLOCK + BLOCK)

    def _take(self, until: int) -> bytes:
        left, right = (b"".join(channel.take(until)) for channel in self._channels)
        return bytes(audioop.add(audioop.tostereo(left, 2, 1, 0), audioop.tostereo(right, 2, 0, 1), 2))

    def _samples(self, at: float) -> int:
        return max(0, round((at - self._began) * RATE))
