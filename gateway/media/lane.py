"""The fast lane: an orderly packet of a voice that both ends speak, from one leg to the other in one function.

Most packets are the next one of the same source with the same payload type. For those `heard` (leg.py) comes to adding
one here and there, and rewriting the header (rtp.Relay); this file does just that. Everything else, and one packet in
256 of what is orderly, goes the long way, which alone knows what to do about it and keeps both in step.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from gateway.media.reception import Reception
from gateway.media.rtp import HEADER, Outgoing, Packet, Relay

_TAIL = struct.Struct("!BHII")  # of the header, behind its first byte


class Counters(Protocol):
    """What is needed of the leg that a packet comes from."""

    allowance: float
    packet: Packet
    received_octets: int
    received_packets: int


def lane(
    leg: Counters,
    reception: Reception,
    relay: Relay,
    out: Outgoing,
    pt: int,
    to: int,
    send: Callable[[], None],
    otherwise: Callable[[float], None],
) -> Callable[[float], None]:
    """What takes the packets of `leg` whose payload type is `pt`, and sends them as `to`."""
    packet, data = leg.packet, leg.packet.data
    unpack, pack = HEADER.unpack_from, _TAIL.pack_into

    def heard(now: float) -> None:
        _, second, seq, timestamp, ssrc = unpack(data)
        octets = leg.received_octets + packet.length
        step = timestamp - reception.timestamp
        if not (
            second & 0x7F == pt
            and seq == reception.highest_seq + 1 == relay.highest + 1
            and seq & 0xFF
            and ssrc == reception.ssrc == relay.ssrc
            and out.source is relay
            and 0 < step < 0x80000000
            and octets <= leg.allowance
        ):
            otherwise(now)
            return
        leg.received_packets += 1
        leg.received_octets = octets
        reception.highest_seq = relay.highest = seq
        reception.received += 1
        late = (now - reception.at) * reception.clock - step
        reception.spread += ((late if late >= 0 else -late) - reception.spread) / 16
        reception.timestamp, reception.at = timestamp, now
        out.seq = (seq + relay.seq) & 0xFFFF
        out.timestamp = (timestamp + relay.timestamp) & 0xFFFFFFFF
        out.at = now
        pack(data, 1, second & 0x80 | to, out.seq, out.timestamp, out.ssrc)
        send()

    return heard
