"""RTCP of one leg (RFC 3550 §6): what its end reports, what we report to it, and when.

Each leg has reports of its own, in our SSRC: its end hears about the stream that we send, and about what came from it.
Only where a voice is passed on unchanged does its sender hear about the whole way, so that it can protect what it sends
(Opus: redundancy) against a loss behind us too.
"""

from __future__ import annotations

from collections import OrderedDict

from gateway.media.quality import mos
from gateway.media.reception import Reception
from gateway.media.rtcp import Block, Report, Sent, read, write
from gateway.media.rtp import Outgoing

INTERVAL = 5.0  # s, §6.2: the least, times 0.5 to 1.5
_KEPT = 8  # sender reports that answers are recognised for
_1900 = 2_208_988_800  # s from there to 1970


class Control:
    """`now` is seconds of a steady clock, `wall` seconds since 1970."""

    def __init__(self, out: Outgoing, cname: str) -> None:
        self.reception = Reception()
        self.reported: Block | None = None  # what the far end says of our stream
        self.round_trip: float | None = None  # ms
        self._out, self.cname = out, cname
        self._said: OrderedDict[int, float] = OrderedDict()  # our sender reports: middle of NTP time, when
        self._heard_report: tuple[int, float] | None = None  # their last one, and when
        self._packets_then = 0

    def heard(self, data: bytes, now: float) -> bool:
        """Take a compound packet in; False if it is none."""
        reports = read(data)
        if reports is None:
            return False
        for report in reports:
            if report.sent is not None and report.ssrc == self.reception.ssrc:
                self._heard_report = (report.sent.ntp >> 16 & 0xFFFFFFFF, now)
            for block in report.blocks:
                if block.ssrc == self._out.ssrc:
                    self._told(block, now)
        return True

    def compose(self, now: float, wall: float, packets: int, octets: int, beyond: float = 0.0) -> bytes:
        """What is due: a sender report if we sent something since the last one. `packets` and `octets` are what we
        sent (§6.4.1), `beyond` the share of this end's voice that is lost behind us.
        """
        out, sent = self._out, None
        if packets > self._packets_then and out.at is not None:
            ntp = int((wall + _1900) * 2**32)
            sent = Sent(ntp, out.timestamp + round((now - out.at) * out.clock), packets, octets)
            self._said[ntp >> 16 & 0xFFFFFFFF] = now
            if len(self._said) > _KEPT:
                self._said.popitem(last=False)
        self._packets_then = packets
        return write(Report(out.ssrc, sent, self._block(now, beyond)), self.cname)

    @property
    def lost_there(self) -> float:
        """The share of our stream that the far end lost, by its last report."""
        return 0.0 if self.reported is None else self.reported.fraction

    def mos_here(self, codec: str) -> float | None:
        """How this end's voice sounds where it arrives here."""
        reception = self.reception
        if not reception.expected:
            return None
        return mos(codec, 1 - reception.received / reception.expected, reception.jitter_ms, self.round_trip)

    def mos_there(self, codec: str, packets: int) -> float | None:
        """How our stream sounds where this end hears it, by its own reports."""
        if self.reported is None or not packets:
            return None
        jitter = self.reported.jitter * 1000 / self._out.clock
        return mos(codec, max(0, self.reported.lost) / packets, jitter, self.round_trip)

    def _block(self, now: float, beyond: float) -> tuple[Block, ...]:
        reception = self.reception
        if reception.ssrc is None:
            return ()
        fraction = 1 - (1 - reception.fraction()) * (1 - beyond)
        last, delay = 0, 0.0
        if self._heard_report is not None:
            last, delay = self._heard_report[0], now - self._heard_report[1]
        return (Block(reception.ssrc, fraction, reception.lost, reception.highest, reception.jitter, last, delay),)

    def _told(self, block: Block, now: float) -> None:
        self.reported = block
        said = self._said.get(block.last_sr)  # one that we did send, so that nobody can make a time up
        if said is not None and now - said >= block.delay:
            self.round_trip = (now - said - block.delay) * 1000
