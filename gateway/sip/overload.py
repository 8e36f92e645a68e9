"""Who is heard at all, and when we have too much to do: decided before a request costs anything. Pure.

    new request ──> a trunk's ────────────────────────────────────┬─> too much to do? 503, Retry-After
                ├─> a guest's (some rule is for anybody) ─ rates ─┘      (trunks last)
                │       └ over a datagram, too many: come by a stream
                ├─> of one who may prove to be a trunk ─> 401, at a guest's rate, then silence
                └─> a stranger's ──> silence, counted, or 403

A source address in a datagram is easily forged, one of a stream is not: it took a handshake. So all guests by datagram
share one rate, and those above it are sent to the stream; forged ones never come.
"""

from __future__ import annotations

import enum
import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

MAX_SOURCES = 10_000  # whose rates are kept; the one that was quiet for longest is forgotten first


class Standing(enum.Enum):
    TRUNK = "trunk"
    GUEST = "guest"  # nobody we know, and somebody may call who is nobody we know
    UNPROVEN = "unproven"  # nobody we know, who may have a trunk's credentials
    STRANGER = "stranger"


class Source(NamedTuple):
    """Where a request comes from: `names` are what a verified certificate says of it (TLS names)."""

    address: str
    port: int
    transport: str  # "UDP", "TCP", "TLS", "WS", "WSS"
    names: tuple[str, ...] = ()


StandingOf = Callable[[Source], Standing]


@dataclass(frozen=True, slots=True)
class Rate:
    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class Door:
    """What is let in. `calls` is how many usages we carry; guests and strangers find us full at half of that.

    A guest's requests have a rate of their own (as many a minute as the dialplan lets one begin calls), and all that
    came by datagram another: 2 calls/s that each ring for 55 s leave most of what strangers may have to those who
    proved their address.
    """

    strangers: Literal["silent", "refuse"] = "silent"
    calls: int = 10_000
    backlog: int = 400  # ms that datagrams may wait for us before new calls are refused; at 500 all is sent twice (T1)
    guest: Rate = Rate(1.0, 30.0)
    datagrams: Rate = Rate(2.0, 40.0)
    retry_after: int = 10


class Load(NamedTuple):
    calls: int = 0
    backlog: int = 0  # ms
    full: bool = False  # there is no room for another transaction


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a request that is not let in: a `status` of 0 is silence, `stream` a port of ours to come by."""

    status: int
    label: str  # for the counter
    retry_after: int | None = None
    stream: int | None = None


class Bucket:
    """Tokens that come back at a rate, up to a burst."""

    __slots__ = ("_at", "_left")

    def __init__(self, rate: Rate, now: float) -> None:
        self._left = rate.burst
        self._at = now

    def take(self, rate: Rate, now: float) -> bool:
        self._left = min(rate.burst, self._left + max(now - self._at, 0.0) * rate.per_second)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Gate:
    """Judges what is new; requests inside dialogs and repeats are never asked about.

    `counts` is for metrics; `stream` is the port on which we take TCP, if we do.
    """

    def __init__(self, door: Door | None = None) -> None:
        self.door = door or Door()
        self.stream: int | None = None
        self.counts: Counter[str] = Counter()
        self._guests: OrderedDict[str, Bucket] = OrderedDict()
        self._datagrams: Bucket | None = None

    def judge(self, method: str, source: Source, standing: Standing, load: Load, now: float) -> Verdict | None:
        """None: it may come in."""
        verdict = self._judge(method, source, standing, load, now)
        if verdict is not None:
            self.counts[verdict.label] += 1
        return verdict

    def _judge(self, method: str, source: Source, standing: Standing, load: Load, now: float) -> Verdict | None:
        door = self.door
        if standing is Standing.STRANGER:
            return Verdict(403, "refused") if door.strangers == "refuse" else Verdict(0, "ignored")
        if standing is Standing.UNPROVEN:
            often = not self._bucket(source, now).take(door.guest, now)
            return Verdict(0, "ignored") if often else Verdict(401, "challenged")
        guest = standing is Standing.GUEST
        if method == "INVITE" and self._is_full(load, share=0.5 if guest else 1.0):
            return Verdict(503, "overloaded", door.retry_after)
        if guest:
            if not self._bucket(source, now).take(door.guest, now):
                return Verdict(503, "too often", door.retry_after)
            if method == "INVITE" and source.transport == "UDP":
                self._datagrams = self._datagrams or Bucket(door.datagrams, now)
                if not self._datagrams.take(door.datagrams, now):
                    if self.stream is None:
                        return Verdict(503, "too many datagrams", door.retry_after)
                    return Verdict(302, "sent to a stream", stream=self.stream)
        return None

    def _is_full(self, load: Load, *, share: float) -> bool:
        if load.full:
            return True
        return load.calls >= self.door.calls * share or load.backlog >= self.door.backlog * share

    def _bucket(self, source: Source, now: float) -> Bucket:
        network = network_of(source.address)
        bucket = self._guests.pop(network, None) or Bucket(self.door.guest, now)
        self._guests[network] = bucket
        if len(self._guests) > MAX_SOURCES:
            self._guests.popitem(last=False)
        return bucket


def network_of(address: str) -> str:
    """What one source has for an address: whoever has IPv6 has more addresses than anybody could count, a /64."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    ip = mapped or ip
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)
