"""A call that is over becomes its record: what the line, its machine, its journal and the media engine know, in one row
for the call and one for each callee that was tried.

The machine's times are the event loop's, a record's are the calendar's: `elapsed` is what has to be added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from gateway.bridge import end_name
from gateway.call import effects as do
from gateway.call import journal
from gateway.call.causes import Blame
from gateway.line import Line
from gateway.media.engine import VIDEO, LegStatistics, Recorded
from gateway.storage.records import AttemptRecord, CallRecord, Quality, Step


def record_of(
    line: Line,
    end: do.Record,
    counters: Mapping[str, LegStatistics],
    elapsed: float,
    recorded: Recorded | None = None,
    ladder: tuple[Step, ...] = (),
) -> CallRecord:
    """The record of this line's call."""

    def when(at: float | None) -> datetime | None:
        return None if at is None else datetime.fromtimestamp(at + elapsed, UTC)

    noted, facts = line.journal, line.facts
    to = end.destination or next(iter(line.destinations.values()), None)
    began = noted.began if noted.began is not None else end.offered_at
    price, currency = _price(line)
    # The telephone network's own code for it says more than the one that every such cause has.
    code = next((a.q850 for a in noted.attempts.values() if a.q850 is not None and a.cause is end.cause), None)
    return CallRecord(
        id=line.id,
        direction=facts.direction,
        caller=facts.caller,
        callee=to.target if to else "",
        dialled=facts.callee,
        rule=facts.rule,
        via=to.via if to else "",
        cause=end.cause.label,
        blame=end.cause.blame.value,
        text=end.cause.worded(end.text),
        by=end.by.value if end.by else "",
        offered=datetime.fromtimestamp(began + elapsed, UTC),
        ended=datetime.fromtimestamp(end.ended_at + elapsed, UTC),
        rang=when(end.rang_at),
        answered=when(end.answered_at),
        duration=end.ended_at - end.answered_at if end.answered_at is not None else 0.0,
        q850=end.cause.q850 if code is None else code,
        media={leg: asdict(statistics) for leg, statistics in counters.items()},
        key=facts.key,
        trunk=line.trunk or (to.via if to and to.via in line.plan.trunks else ""),
        routed=when(noted.routed),
        asked=when(noted.dialled),
        progress=when(noted.progress),
        connected=when(noted.connected),
        emergency=line.emergency is not None,
        hops=line.hops,
        recording=recorded.file if recorded else "",
        recording_fault=recorded.fault if recorded else "",
        price=price,
        currency=currency,
        quality=_worst(_quality(each) for leg, each in counters.items() if each.codec and not leg.endswith(VIDEO)),
        attempts=tuple(_attempt(attempt, counters, elapsed) for attempt in noted.attempts.values()),
        ladder=ladder,
    )


def _price(line: Line) -> tuple[int | None, str]:
    """What all legs of the call cost that somebody charges for; what is in several currencies has no sum."""
    known = [fare.meter.price for fare in line.fares if fare.meter.price is not None]
    currencies = {currency for _, currency in known}
    return (sum(price for price, _ in known), currencies.pop()) if len(currencies) == 1 else (None, "")


def _attempt(attempt: journal.Attempt, counters: Mapping[str, LegStatistics], elapsed: float) -> AttemptRecord:
    def when(at: float | None) -> datetime | None:
        return None if at is None else datetime.fromtimestamp(at + elapsed, UTC)

    cause, statistics = attempt.cause, counters.get(end_name(attempt.number))
    elsewhere = "redirected" if attempt.redirected else ""
    return AttemptRecord(
        number=attempt.number,
        via=attempt.destination.via,
        target=attempt.destination.target,
        origin=attempt.origin,
        cause=cause.label if cause else elsewhere,
        blame=(cause.blame if cause else Blame.NOBODY).value,
        text=cause.worded(attempt.text) if cause else attempt.text,
        q850=attempt.q850 if attempt.q850 is not None else cause.q850 if cause else 0,
        began=datetime.fromtimestamp(attempt.began + elapsed, UTC),
        dialled=when(attempt.dialled),
        progress=when(attempt.progress),
        rang=when(attempt.rang),
        answered=when(attempt.answered),
        connected=when(attempt.connected),
        ended=when(attempt.ended),
        quality=_quality(statistics) if statistics is not None else Quality(),
    )


def _quality(leg: LegStatistics) -> Quality:
    """How this leg sounded, in whichever direction was worse; unknown where nothing was received."""
    losses = [_percent(leg.lost, leg.lost + leg.received_packets), _percent(leg.far_lost, leg.sent_packets)]
    scores = [score for score in (leg.mos, leg.far_mos) if score is not None]
    return Quality(
        codec=leg.codec,
        loss=max((loss for loss in losses if loss is not None), default=None),
        jitter=round(max(leg.jitter, leg.far_jitter), 1) if leg.received_packets > 0 else None,
        round_trip=round(leg.round_trip, 1) if leg.round_trip is not None else None,
        mos=round(min(scores), 2) if scores else None,
    )


def _percent(lost: int, of: int) -> float | None:
    """None where there was nothing that could have been lost."""
    return round(min(100.0, max(0.0, 100 * lost / of)), 2) if of > 0 else None


def _worst(legs: Iterable[Quality]) -> Quality:
    """A call is as good as its worst leg."""
    known = list(legs)
    return Quality(
        codec=" ".join(dict.fromkeys(leg.codec for leg in known)),
        loss=max((leg.loss for leg in known if leg.loss is not None), default=None),
        jitter=max((leg.jitter for leg in known if leg.jitter is not None), default=None),
        round_trip=max((leg.round_trip for leg in known if leg.round_trip is not None), default=None),
        mos=min((leg.mos for leg in known if leg.mos is not None), default=None),
    )


def spoken(leg: str, statistics: LegStatistics) -> str:
    """A leg's counters in one line, for its ladder."""
    quality = _quality(statistics)
    counted = f"{statistics.received_packets} packets in, {statistics.sent_packets} out"
    words = [f"{leg} ended: {statistics.codec or 'no codec'}", counted]
    for value, unit in (
        (quality.loss, " % lost"),
        (quality.jitter, " ms jitter"),
        (quality.round_trip, " ms round trip"),
    ):
        if value is not None:
            words.append(f"{value:g}{unit}")
    if quality.mos is not None:
        words.append(f"MOS {quality.mos:g}")
    return ", ".join(words)
