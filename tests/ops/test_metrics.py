from __future__ import annotations

from gateway.call.causes import Cause
from gateway.ops.metrics import REASONS, Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_call_is_live_from_its_beginning_to_its_end_and_then_counted_by_its_cause() -> None:
    metrics = Metrics()
    metrics.call_began("outbound")
    metrics.call_began("outbound")
    assert value(metrics, "gateway_calls_live", direction="outbound") == 2
    metrics.call_ended("outbound", Cause.BUSY)
    assert value(metrics, "gateway_calls_live", direction="outbound") == 1
    assert value(metrics, "gateway_calls_total", direction="outbound", cause="busy") == 1
    assert value(metrics, "gateway_calls_live", direction="inbound") == 0


def test_set_up_and_length_are_those_of_answered_calls() -> None:
    metrics = Metrics()
    metrics.call_began("inbound")
    metrics.call_ended("inbound", Cause.NO_ANSWER)
    assert value(metrics, "gateway_call_setup_seconds_count", direction="inbound") == 0
    metrics.call_began("inbound")
    metrics.call_ended("inbound", Cause.NORMAL, setup=4.0, length=61.5)
    assert value(metrics, "gateway_call_setup_seconds_sum", direction="inbound") == 4.0
    assert value(metrics, "gateway_call_setup_seconds_bucket", direction="inbound", le="3.0") == 0
    assert value(metrics, "gateway_call_setup_seconds_bucket", direction="inbound", le="5.0") == 1
    assert value(metrics, "gateway_call_seconds_sum", direction="inbound") == 61.5


def test_the_link_and_the_workers_are_shown_as_they_are() -> None:
    metrics = Metrics()
    assert value(metrics, "gateway_xmpp_link_up") == 0
    metrics.link(True)
    metrics.workers(1, 2)
    assert value(metrics, "gateway_xmpp_link_up") == 1
    assert value(metrics, "gateway_media_workers_alive") == 1
    assert value(metrics, "gateway_media_workers_configured") == 2


def test_an_endless_choice_of_reasons_makes_no_endless_list_of_series() -> None:
    metrics = Metrics()
    for n in range(REASONS + 10):
        metrics.packets_dropped(f"reason {n}")
    metrics.packets_dropped("reason 0", 5)
    assert value(metrics, "gateway_media_dropped_packets_total", reason="reason 0") == 6
    assert value(metrics, "gateway_media_dropped_packets_total", reason="other") == 10


def test_ignored_stanzas_are_counted_by_their_reason() -> None:
    metrics = Metrics()
    for reason in ("too many", "not for us", "too many"):
        metrics.stanza_ignored(reason)
    assert value(metrics, "gateway_xmpp_ignored_stanzas_total", reason="too many") == 2


def test_lost_call_records_are_counted() -> None:
    metrics = Metrics()
    metrics.record_dropped(3)
    assert value(metrics, "gateway_call_records_dropped_total") == 3


def test_every_series_begins_at_nought_so_that_it_can_be_alerted_on() -> None:
    body, _ = Metrics().render()
    for direction in ("outbound", "inbound", "test"):
        assert f'gateway_calls_total{{cause="normal",direction="{direction}"}} 0.0' in body.decode()


def test_a_scraper_gets_the_format_that_it_asks_for() -> None:
    metrics = Metrics()
    body, content_type = metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert metrics.render()[1].startswith("text/plain")


def test_two_gateways_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.link(True)
    assert value(other, "gateway_xmpp_link_up") == 0


def test_requests_that_were_turned_away_are_counted_once_however_often_they_are_reported() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.requests_turned_away({"ignored": 3})
    metrics.requests_turned_away({"ignored": 5})
    metrics.connections_refused({"ignored": 1, "certificate": 2})
    metrics.trunk("carrier", up=True)
    text = metrics.render()[0].decode()
    assert 'gateway_sip_turned_away_total{why="ignored"} 5.0' in text
    assert 'gateway_sip_connections_refused_total{why="ignored"} 1.0' in text
    assert 'gateway_sip_connections_refused_total{why="certificate"} 2.0' in text
    assert 'gateway_trunk_up{trunk="carrier"} 1.0' in text


def test_trunks_that_are_asked_no_more_are_in_no_metric() -> None:
    metrics = Metrics()
    metrics.trunk("carrier", up=False)
    metrics.registered("carrier", well=False)
    metrics.registered("backup", well=True)
    metrics.trunk_forgotten("carrier")
    metrics.registration_forgotten("carrier")
    metrics.trunk_forgotten("never asked")
    text = metrics.render()[0].decode()
    assert 'trunk="carrier"' not in text
    assert 'gateway_trunk_registered{trunk="backup"} 1.0' in text


def test_what_calls_that_cost_were_told_is_counted_and_that_nobody_answers_shows() -> None:
    metrics = Metrics()
    for outcome in ("granted", "exhausted", "frozen"):
        metrics.booked(outcome, 0.002)
        assert value(metrics, "gateway_bookings_away") == 0
    metrics.booked("away", 1.0)
    assert value(metrics, "gateway_bookings_away") == 1
    metrics.bookings_away(False)
    metrics.account_frozen()
    assert value(metrics, "gateway_bookings_away") == 0
    text = metrics.render()[0].decode()
    for line in (
        'gateway_bookings_total{outcome="away"} 1.0',
        "gateway_booking_seconds_count 4.0",
        "gateway_accounts_frozen_total 1.0",
    ):
        assert line in text
