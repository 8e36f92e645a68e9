"""What the gateway counts, in Prometheus' vocabulary, on a registry of its own.

    gateway_calls_total{direction, cause}            ended calls; cause is the label of gateway.call.causes
    gateway_calls_live{direction}                    calls that have begun and not ended
    gateway_call_setup_seconds{direction}            from the offer to the answer, answered calls only
    gateway_call_seconds{direction}                  from the answer to the end
    gateway_xmpp_link_up                             1 while the server takes our stanzas
    gateway_xmpp_ignored_stanzas_total{reason}       stanzas that were neither answered nor acted upon
    gateway_sip_turned_away_total{why}               new requests that were not let in: strangers, too many, too busy
    gateway_sip_connections_refused_total{why}       no seat, or no handshake: certificate, no tls, late, left
    gateway_trunk_up{trunk}                          1 while it answers our OPTIONS, of trunks that are asked
    gateway_trunk_registered{trunk}                  1 while its registrar knows us, of trunks with `register`
    gateway_dialplan_reloads_total{outcome}          ok, or fault: then the old one stays
    gateway_media_workers_alive                      of gateway_media_workers_configured
    gateway_media_dropped_packets_total{reason}      packets that no leg took
    gateway_call_records_dropped_total               call records that could not be written
    gateway_bookings_total{outcome}                  what the database said to calls that cost: granted, exhausted,
                                                     frozen, away
    gateway_booking_seconds                          until it said so
    gateway_bookings_away                            1 while it says nothing: calls that cost are refused
    gateway_accounts_frozen_total                    accounts that were frozen by what their users did

Every label has few values that we choose; nothing that a peer sent becomes one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cache
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from gateway.accounts import OUTCOMES
from gateway.call.causes import Cause

Direction = Literal["outbound", "inbound", "test"]  # XMPP to SIP, SIP to XMPP, a test line
DIRECTIONS: tuple[Direction, ...] = ("outbound", "inbound", "test")

REASONS = 32  # distinct reasons of dropped packets; further ones are counted as "other"
_SETUP = (0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 45, 60, 90, 120)
_BOOKING = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2)
_LENGTH = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)


class Metrics:
    """The counters. Methods are for the event loop's thread; `render` may be called from any."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._calls = Counter("gateway_calls", "Ended calls.", ["direction", "cause"], registry=self.registry)
        self._live = Gauge("gateway_calls_live", "Calls in progress.", ["direction"], registry=self.registry)
        self._setup = Histogram(
            "gateway_call_setup_seconds",
            "From the offer to the answer.",
            ["direction"],
            buckets=_SETUP,
            registry=self.registry,
        )
        self._length = Histogram(
            "gateway_call_seconds",
            "From the answer to the end.",
            ["direction"],
            buckets=_LENGTH,
            registry=self.registry,
        )
        self._link = Gauge("gateway_xmpp_link_up", "The link to the XMPP server is up.", registry=self.registry)
        self._alive = Gauge("gateway_media_workers_alive", "Media workers that run.", registry=self.registry)
        self._configured = Gauge(
            "gateway_media_workers_configured", "Media workers that should run.", registry=self.registry
        )
        self._dropped = Counter(
            "gateway_media_dropped_packets", "Packets that no leg took.", ["reason"], registry=self.registry
        )
        self._ignored = Counter(
            "gateway_xmpp_ignored_stanzas", "Stanzas that nothing came of.", ["reason"], registry=self.registry
        )
        self._reloads = Counter(
            "gateway_dialplan_reloads", "How often the dialplan was read anew.", ["outcome"], registry=self.registry
        )
        for outcome in ("ok", "fault"):
            self._reloads.labels(outcome)
        self._trunks = Gauge(
            "gateway_trunk_up", "Whether a trunk answers our OPTIONS.", ["trunk"], registry=self.registry
        )
        self._registered = Gauge(
            "gateway_trunk_registered", "Whether we are registered at a trunk.", ["trunk"], registry=self.registry
        )
        self._turned_away = Counter(
            "gateway_sip_turned_away", "New SIP requests that were not let in.", ["why"], registry=self.registry
        )
        self._refused = Counter(
            "gateway_sip_connections_refused", "Connections that did not get in.", ["why"], registry=self.registry
        )
        self._counted: dict[tuple[Counter, str], int] = {}
        self._records = Counter(
            "gateway_call_records_dropped", "Call records that could not be written.", registry=self.registry
        )
        self._bookings = Counter(
            "gateway_bookings", "What was said to calls that cost.", ["outcome"], registry=self.registry
        )
        for outcome in OUTCOMES:
            self._bookings.labels(outcome)
        self._booking = Histogram(
            "gateway_booking_seconds", "Until a booking was answered.", buckets=_BOOKING, registry=self.registry
        )
        self._away = Gauge(
            "gateway_bookings_away", "Nothing can be booked: calls that cost are refused.", registry=self.registry
        )
        self._frozen = Counter(
            "gateway_accounts_frozen", "Accounts frozen by what their users did.", registry=self.registry
        )
        self._reasons: set[str] = set()
        # A series that begins at 0 can be alerted on; and what every call counts is at hand.
        self._live_in = {direction: self._live.labels(direction) for direction in DIRECTIONS}
        self._setup_in = {direction: self._setup.labels(direction) for direction in DIRECTIONS}
        self._length_in = {direction: self._length.labels(direction) for direction in DIRECTIONS}
        self._ended_as = cache(lambda direction, cause: self._calls.labels(direction, cause.label))
        for direction in DIRECTIONS:
            self._ended_as(direction, Cause.NORMAL)

    def call_began(self, direction: Direction) -> None:
        self._live_in[direction].inc()

    def call_ended(
        self, direction: Direction, cause: Cause, *, setup: float | None = None, length: float | None = None
    ) -> None:
        """`setup` and `length` in seconds, both None for a call that was never answered."""
        self._live_in[direction].dec()
        self._ended_as(direction, cause).inc()
        if setup is not None:
            self._setup_in[direction].observe(max(setup, 0.0))
        if length is not None:
            self._length_in[direction].observe(max(length, 0.0))

    def trunk(self, name: str, up: bool) -> None:
        """`name` is one of the dialplan's trunks."""
        self._trunks.labels(name).set(1 if up else 0)

    def registered(self, name: str, well: bool) -> None:
        """The same, of a trunk that is registered at."""
        self._registered.labels(name).set(1 if well else 0)

    def trunk_forgotten(self, name: str) -> None:
        """It is asked no more: what was known of it is stale."""
        with contextlib.suppress(KeyError):
            self._trunks.remove(name)

    def registration_forgotten(self, name: str) -> None:
        with contextlib.suppress(KeyError):
            self._registered.remove(name)

    def requests_turned_away(self, counts: Mapping[str, int]) -> None:
        """How often until now, by one of the SIP room's own labels."""
        self._counted_until_now(self._turned_away, counts)

    def connections_refused(self, counts: Mapping[str, int]) -> None:
        """The same, of those who connect."""
        self._counted_until_now(self._refused, counts)

    def _counted_until_now(self, counter: Counter, counts: Mapping[str, int]) -> None:
        for label, count in counts.items():
            counter.labels(label).inc(count - self._counted.get((counter, label), 0))
            self._counted[counter, label] = count

    def reloaded(self, well: bool) -> None:
        """The dialplan was read again, or could not be."""
        self._reloads.labels("ok" if well else "fault").inc()

    def link(self, up: bool) -> None:
        self._link.set(1 if up else 0)

    def workers(self, alive: int, configured: int) -> None:
        self._alive.set(alive)
        self._configured.set(configured)

    def packets_dropped(self, reason: str, count: int = 1) -> None:
        if reason not in self._reasons:
            if len(self._reasons) >= REASONS:
                reason = "other"
            else:
                self._reasons.add(reason)
        self._dropped.labels(reason).inc(count)

    def stanza_ignored(self, reason: str) -> None:
        """`reason` is one of the XMPP room's own dozen."""
        self._ignored.labels(reason).inc()

    def booked(self, outcome: str, seconds: float) -> None:
        """`outcome` is one of gateway.accounts.OUTCOMES."""
        self._bookings.labels(outcome).inc()
        self._booking.observe(max(seconds, 0.0))
        self.bookings_away(outcome == "away")

    def bookings_away(self, away: bool) -> None:
        self._away.set(1 if away else 0)

    def account_frozen(self) -> None:
        self._frozen.inc()

    def record_dropped(self, count: int = 1) -> None:
        self._records.inc(count)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition for a scraper that accepts these media types, and the type that it is."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type
