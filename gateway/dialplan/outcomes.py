"""What is decided about a call: where it goes, who it is said to come from, what limits it; or that it goes nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.dialplan.booking import Booking
from gateway.dialplan.fields import Record
from gateway.dialplan.numbers import Kind


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, as one via is to show him; numbers are spelled as its number policy wants them.

    `from_user` is the user part of From, None for our own form (the JID at our SIP domain). `asserted` is the user part
    of P-Asserted-Identity, None for no such header; only trunks get one (RFC 3325 §5). `anonymous`: From is
    "Anonymous" <sip:anonymous@anonymous.invalid> with `Privacy: id` (RFC 3323 §4.1.1.3, RFC 3325 §9.3).
    """

    from_user: str | None = None
    display: str = ""
    asserted: str | None = None
    anonymous: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """What may run at a time, begin within a minute, and last, counted under `key`; None: no limit.

    Keys are "user JID", "group NAME", "trunk NAME" and "rule NAME". A trunk's counts for the attempt through it, the
    others for the whole call. `longest` is in seconds.
    """

    key: str
    concurrent: int | None = None
    per_minute: int | None = None
    longest: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """`targets` has a SIP URI per `via`, None for the test line; `target` is the first. `number` is E.164.

    `identities` has one per `via`. `early_media`: what comes before the answer is heard. `transcode`: the rule's own
    word, or the user's. `transfers`: the vias whose callees may send the caller elsewhere (safety rule 5). `failover`:
    labels of the causes that lead to the next via, None for the usual ones. `ring_seconds`: how long each via has,
    None: they have the usual time together. `booking`: what is booked before anybody is asked, None: nothing. `record`:
    whether the conversation is, and with "notice" both hear so first. `ask`: the number that ENUM was to be asked for,
    and was not: with its answer the decision may be another one. An address that ENUM has is a "direct" via.
    An emergency call has none of these and no `limits`, may have a `callback` number in E.164 and a `geolocation`, a
    PIDF-LO document (RFC 4119, 5139) to go along as RFC 6442 says.
    """

    kind: Kind
    number: str | None
    target: str | None
    via: tuple[str, ...]
    targets: tuple[str | None, ...]
    rule: str
    steps: tuple[str, ...]
    identities: tuple[Identity, ...] = ()
    limits: tuple[Limit, ...] = ()
    emergency: bool = False
    geolocation: str | None = None
    callback: str | None = None
    early_media: bool = False
    transcode: str | None = None
    transfers: tuple[str, ...] = ()
    failover: tuple[str, ...] | None = None
    ring_seconds: float | None = None
    booking: Booking | None = None
    record: Record = "no"
    ask: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nobody is called. `rule` is None when no rule said so; `kind` None when the address means nothing. `wanted`: the
    rule is there to refuse, and `reason` is its text. `ask` as in Route.
    """

    kind: Kind | None
    number: str | None
    rule: str | None
    reason: str
    steps: tuple[str, ...]
    wanted: bool = False
    ask: str | None = None


@dataclass(frozen=True, slots=True)
class InboundRoute:
    """Bare JIDs to ring, together or one after the other. `number` is what was dialled, in E.164, if it was one.

    `ring_seconds` is how long each of them rings, None: as usual. `transcode`: the rule's own word.
    """

    to: tuple[str, ...]
    ring: Literal["parallel", "sequence"]
    rule: str
    steps: tuple[str, ...]
    number: str | None = None
    limits: tuple[Limit, ...] = ()
    ring_seconds: float | None = None
    transcode: str | None = None
    record: Record = "no"
