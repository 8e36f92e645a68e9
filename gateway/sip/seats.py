"""How many connections others may open to us: in all, from one source, half open. Strangers never fill the house. Pure.

take ──> half open ── settle ──> seated ── leave
  └ why not
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gateway.sip.overload import network_of


@dataclass(frozen=True, slots=True)
class Room:
    strangers: int = 1500  # whatever they do, trunks find
    trunks: int = 500  # as many more
    per_source: int = 64  # a stranger's; a trunk may be a whole carrier behind one address
    half_open: int = 256  # accepted, and not through with the handshake
    half_open_per_source: int = 16


@dataclass(slots=True)
class _Seat:
    network: str
    trunk: bool
    half_open: bool = True


class Seats:
    def __init__(self, room: Room | None = None) -> None:
        self.room = room or Room()
        self._seats: dict[int, _Seat] = {}
        self._taken: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._seats)

    def take(self, number: int, source: str, *, trunk: bool) -> str:
        """A connection from this source: "" when it has a seat now, or why there is none."""
        seat = _Seat(network_of(source), trunk)
        if not trunk:
            if self._of("half open") >= self.room.half_open:
                return "too many handshakes"
            if self._of("half open", seat.network) >= self.room.half_open_per_source:
                return "too many handshakes of one source"
            if self._of("stranger", seat.network) >= self.room.per_source:
                return "too many connections of one source"
            if self._of("stranger") >= self.room.strangers:
                return "too many connections"
        elif self._of("trunk") >= self.room.trunks:
            return "too many connections of trunks"
        self._seats[number] = seat
        self._count(seat, 1)
        return ""

    def settle(self, number: int, *, trunk: bool) -> None:
        """Its handshake is through; a certificate may have shown it to be a trunk."""
        seat = self._seats.get(number)
        if seat is not None:
            self._count(seat, -1)
            seat.half_open, seat.trunk = False, trunk
            self._count(seat, 1)

    def leave(self, number: int) -> None:
        seat = self._seats.pop(number, None)
        if seat is not None:
            self._count(seat, -1)

    def _of(self, kind: str, network: str = "") -> int:
        return self._taken[kind, network]

    def _count(self, seat: _Seat, by: int) -> None:
        kinds = ["trunk" if seat.trunk else "stranger"]
        if seat.half_open and not seat.trunk:
            kinds.append("half open")
        for key in ((kind, network) for kind in kinds for network in ("", seat.network)):
            self._taken[key] += by
            if not self._taken[key]:
                del self._taken[key]
