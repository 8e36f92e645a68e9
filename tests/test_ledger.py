"""What the record of a call says that was just carried out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from gateway.bridge import Bridge
from gateway.call import effects as do
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.machine import Call
from gateway.call.meter import Meter
from gateway.dialplan.booking import Tariff
from gateway.dialplan.plan import Plan
from gateway.ledger import record_of, spoken
from gateway.line import Facts, Fare, Line
from gateway.media.engine import LegStatistics, Recorded
from gateway.session.model import Session
from gateway.session.policy import Towards
from gateway.storage.records import CallRecord, Quality
from tests.support import FakeEngine, FakeLeg

RESERVE, CARRIER = Destination("reserve", "sip:1@reserve"), Destination("carrier", "sip:1@carrier")
ELAPSED = 1_000_000.0


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(ELAPSED + seconds, UTC)


def line() -> Line:
    made = Line(
        id="c1",
        machine=Call(),
        caller=FakeLeg(),
        bridge=Bridge(cast(Any, FakeEngine()), "c1", Towards.XMPP),
        facts=Facts("outbound", "juliet@shakespeare.lit", "+12025550123", "all numbers", "sid"),
        plan=Plan(),
    )
    made.journal.began = 0.0
    return made


def carried(made: Line, *told: tuple[float, ev.Event]) -> do.Record:
    """Let this happen to the line's call, and end it."""
    for now, event in told:
        made.journal.heard(event, now)
        for effect in made.machine.handle(event, now):
            made.journal.did(effect, now)
            match effect:
                case do.PrepareOffer(attempt, destination):
                    made.destinations[attempt] = destination
                case do.Record():
                    return effect
    raise AssertionError("the call has not ended")


def recorded(made: Line, *told: tuple[float, ev.Event], **counters: LegStatistics) -> CallRecord:
    return record_of(made, carried(made, *told), counters, ELAPSED)


OFFERED = (1.0, ev.Offered(((RESERVE,), (CARRIER,)), Session(()), frozenset({Cause.CONGESTION})))
FAILED = (
    (2.0, ev.OfferReady(1, Session(()))),
    (3.0, ev.HungUp(Leg.CALLEE, Cause.CONGESTION, 1, "no lines", 34)),
    (4.0, ev.OfferReady(2, Session(()))),
)
TALK = (
    (5.0, ev.Ringing(2)),
    (6.0, ev.Answered(2, Session(()))),
    (6.5, ev.AnswerReady(2, Session(()))),
    (66.5, ev.HungUp(Leg.CALLER, Cause.NORMAL)),
)


def test_a_call_says_who_called_whom_by_which_rule_and_when_each_stage_was_reached() -> None:
    record = recorded(line(), OFFERED, *FAILED, *TALK)
    assert (record.caller, record.dialled, record.rule, record.key) == (
        "juliet@shakespeare.lit",
        "+12025550123",
        "all numbers",
        "sid",
    )
    assert (record.callee, record.via, record.cause, record.blame, record.by) == (
        "sip:1@carrier",
        "carrier",
        "normal",
        "nobody",
        "caller",
    )
    stages = (record.offered, record.routed, record.asked, record.progress, record.rang, record.answered, record.ended)
    assert stages == tuple(at(seconds) for seconds in (0.0, 1.0, 2.0, 5.0, 5.0, 6.5, 66.5))
    assert record.duration == 60.0


def test_each_attempt_says_what_became_of_it_and_whose_fault_it_was() -> None:
    first, second = recorded(line(), OFFERED, *FAILED, *TALK).attempts
    assert (first.number, first.via, first.cause, first.blame, first.text, first.q850) == (
        1,
        "reserve",
        "congestion",
        "network",
        "no lines",
        34,
    )
    assert (first.began, first.dialled, first.ended, first.answered) == (at(1.0), at(2.0), at(3.0), None)
    assert (second.number, second.via, second.cause, second.ended) == (2, "carrier", "normal", at(66.5))


def test_the_networks_own_code_is_the_calls_when_it_is_why_the_call_failed() -> None:
    told = (4.5, ev.HungUp(Leg.CALLEE, Cause.CONGESTION, 2, "", 42))
    assert recorded(line(), OFFERED, *FAILED, told).q850 == 34
    assert recorded(line(), OFFERED, *FAILED, *TALK).q850 == 16


def test_a_refused_call_has_no_callee_and_no_attempts() -> None:
    record = recorded(line(), (1.0, ev.Refused(Cause.FORBIDDEN, "premium numbers are not allowed here")))
    assert (record.callee, record.via, record.trunk, record.attempts, record.asked) == ("", "", "", (), None)
    assert (record.text, record.blame) == ("premium numbers are not allowed here", "caller")


def test_a_callee_that_pointed_elsewhere_is_redirected() -> None:
    made = line()
    made.hops = 1
    told = ((2.0, ev.OfferReady(1, Session(()))), (3.0, ev.Detour(1, ((CARRIER,),))), (4.0, ev.Stopped(Cause.SHUTDOWN)))
    record = recorded(made, OFFERED, *told)
    assert [(a.cause, a.origin) for a in record.attempts] == [("redirected", "route"), ("shutdown", "redirect")]
    assert record.hops == 1


def test_a_call_that_came_by_a_trunk_names_it() -> None:
    made = line()
    made.trunk = "carrier"
    assert recorded(made, (1.0, ev.Refused(Cause.FORBIDDEN))).trunk == "carrier"


def test_a_call_is_as_good_as_its_worst_leg_in_its_worse_direction() -> None:
    caller = LegStatistics(
        received_packets=98,
        sent_packets=100,
        lost=2,
        far_lost=5,
        codec="opus",
        jitter=3.04,
        far_jitter=9.0,
        round_trip=80.04,
        mos=4.3,
        far_mos=3.9,
    )
    callee = LegStatistics(received_packets=100, sent_packets=98, codec="PCMA", jitter=12.0, mos=4.2)
    idle = LegStatistics()
    record = recorded(line(), OFFERED, *FAILED, *TALK, caller=caller, callee2=callee, callee1=idle)
    assert record.quality == Quality("opus PCMA", 5.0, 12.0, 80.0, 3.9)
    assert record.attempts[0].quality == Quality()
    assert record.attempts[1].quality == Quality("PCMA", 0.0, 12.0, None, 4.2)
    assert record.media["caller"]["far_lost"] == 5
    assert spoken("caller", caller) == (
        "caller ended: opus, 98 packets in, 100 out, 5 % lost, 9 ms jitter, 80 ms round trip, MOS 3.9"
    )
    assert spoken("callee1", idle) == "callee1 ended: no codec, 0 packets in, 0 out"


def test_a_poor_picture_makes_no_poor_voice() -> None:
    voice = LegStatistics(received_packets=100, sent_packets=100, codec="PCMA", mos=4.2)
    picture = LegStatistics(received_packets=100, sent_packets=100, lost=50, codec="VP8", jitter=80.0)
    record = recorded(line(), OFFERED, *FAILED, *TALK, **{"caller": voice, "caller.video": picture})
    assert record.quality == Quality("PCMA", 0.0, 0.0, None, 4.2)
    assert record.media["caller.video"]["lost"] == 50


def test_peers_that_count_wrongly_lose_no_more_than_everything() -> None:
    silly = LegStatistics(sent_packets=10, far_lost=1000, received_packets=10, lost=-5, codec="opus")
    quality = recorded(line(), OFFERED, *FAILED, *TALK, caller=silly).quality
    assert quality.loss == 100.0


def test_a_recorded_call_names_its_file_and_what_is_missing_of_it() -> None:
    made = line()
    end = carried(made, (0.0, ev.Refused(Cause.FORBIDDEN)))
    record = record_of(made, end, {}, ELAPSED, Recorded("20260102T030405Z-c1.wav", "No space left on device"))
    assert (record.recording, record.recording_fault) == ("20260102T030405Z-c1.wav", "No space left on device")
    record = record_of(made, end, {}, ELAPSED)
    assert (record.recording, record.recording_fault) == ("", "")


def paid(made: Line, tariff: Tariff | None, seconds: float) -> None:
    meter = Meter(60, 0.0)
    meter.answer(tariff, 0.0)
    meter.end(seconds)
    made.fares.append(Fare("c1", meter, {}))


def test_a_call_costs_what_all_of_its_legs_cost() -> None:
    made = line()
    paid(made, Tariff("EUR", connect=5), 0)
    paid(made, None, 60)  # nobody charges for it
    paid(made, Tariff("EUR", per_minute=60), 12)
    record = recorded(made, OFFERED, *FAILED, *TALK)
    assert (record.price, record.currency) == (5 + 12, "EUR")


def test_what_has_no_price_and_what_has_two_currencies_has_no_sum() -> None:
    assert recorded(line(), OFFERED, *FAILED, *TALK).price is None
    made = line()
    paid(made, Tariff("EUR", connect=5), 0)
    paid(made, Tariff("USD", connect=5), 0)
    record = recorded(made, OFFERED, *FAILED, *TALK)
    assert (record.price, record.currency) == (None, "")
