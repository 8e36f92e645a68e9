"""A call's legs: who hears whom, and in which channel of a recording each of them is."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.media.engine import VIDEO
from gateway.media.leg import Leg
from gateway.media.recorder import Recording
from gateway.media.tape import LEFT, RIGHT


@dataclass(slots=True)
class Call:
    legs: dict[str, Leg] = field(default_factory=dict)
    peers: dict[str, str] = field(default_factory=dict)  # both ways; may name legs that are yet to come
    recording: Recording | None = None
    channels: dict[str, int] = field(default_factory=dict)  # of legs that are recorded

    def meet(self, one: str, other: str) -> None:
        """These two shall hear each other; whoever they were promised to before is not."""
        for name in (one, other):
            self.peers.pop(self.peers.pop(name, ""), None)
        self.peers[one], self.peers[other] = other, one

    def wire(self, name: str) -> None:
        """Bridge this leg with its peer, once both streams are known."""
        leg, peer = self.legs[name], self.legs.get(self.peers.get(name, ""))
        if peer is not None and peer.stream is not None and leg.stream is not None:
            leg.bridge(peer)
            self.tape(leg, peer)

    def record(self, recording: Recording) -> None:
        self.recording = recording
        for leg in list(self.legs.values()):
            if leg.peer is not None:
                self.tape(leg, leg.peer)

    def tape(self, leg: Leg, peer: Leg) -> None:
        """Record these two. Who comes in place of another gets his channel; the first caller's is the left one.

        Pictures are not recorded.
        """
        if self.recording is None or leg.name.endswith(VIDEO):
            return
        seats = self.channels
        for one, other in ((leg, peer), (peer, leg)):
            if one.name not in seats:
                seats[one.name] = RIGHT - seats[other.name] if other.name in seats else _seat(one.name)
        for one in (leg, peer):
            one.record(self.recording, seats[one.name])


def _seat(name: str) -> int:
    return LEFT if name == "caller" else RIGHT
