"""One ladder per call: Jingle on the left, SIP on the right, the gateway between them.

    call 5f2c1a · 2026-11-22 13:05:01 UTC
         time  XMPP                          gateway                            SIP
        0.000  │───────── session-initiate ────────>│                            │
        0.004  │                                    │───────── INVITE ──────────>│
        0.120  │                                    │<────── 180 Ringing ────────│
        1.502  │ · media: connected callee1                                      │

Drawing is pure: records of gateway.call.trace with their time in, lines of text out, also from a log written as JSON
lines, and from a call record. The Recorder is the Tracer that the rooms are given: it writes that log, and gives a call
that is over its ladder, without the messages' text, for the record.
All are bounded in calls and in lines a call, and print nothing of a peer's text that could move a cursor.
"""

from __future__ import annotations

import json
import textwrap
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar, cast

from gateway.call.trace import Peer, Traced
from gateway.ops import log
from gateway.storage.records import AttemptRecord, CallRecord, Step

WIDTH = 100  # columns
CALLS = 1_000  # ladders that one log gives; the latest ones
LINES = 2_000  # of one call
NOTE = 30  # lines of one note
LIVE = 5_000  # calls whose ladders wait for their record
OVER = 1_000  # calls that have theirs, and of which more may be told: the answer to a BYE
KEPT = 300  # lines of one call that go into its record, the latest ones
LABEL, KEY, TEXT = 100, 255, 200  # characters of each of them
LINE = 262_144  # characters of a log line; longer ones are none of ours

_TIME = 9  # columns of the time
_LEFT = _TIME + 2  # the XMPP lane's column
_PEERS: Final[frozenset[str]] = frozenset({"xmpp", "sip", "media"})
_OUR_KEYS = frozenset({"event", "timestamp", "level", "call", "logger", "exc_info", "exception", "stack"})


@dataclass(frozen=True, slots=True)
class Rung:
    """One line of a ladder: what happened when, in seconds since the epoch. A str is a note of the gateway's own."""

    at: float
    what: Traced | str


Kept = TypeVar("Kept", Rung, Step)


@dataclass(slots=True)
class _Calls(Generic[Kept]):
    """Rungs by call, the calls in the order in which they were first seen, bounded both ways."""

    calls: int
    lines: int
    rungs: OrderedDict[str, list[Kept]] = field(default_factory=OrderedDict)

    def add(self, call: str, rung: Kept) -> None:
        rungs = self.rungs.get(call)
        if rungs is None:
            rungs = self.rungs[call] = []  # an empty deque is as large as the ladder of a usual call
            if len(self.rungs) > self.calls:
                self.rungs.popitem(last=False)
        rungs.append(rung)
        if len(rungs) > self.lines:
            del rungs[0]


class Recorder:
    """A Tracer: every message goes to the log as an event "trace", and what it was stays here until its call is over.
    For one thread.

    It writes to the log that is configured when it is made.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._calls: _Calls[Step] = _Calls(LIVE, KEPT)
        self._over: OrderedDict[str, None] = OrderedDict()
        self._clock = clock
        self._tell = log.teller("trace")

    def __call__(self, traced: Traced) -> None:
        call, peer, sent, label, key, text = traced
        if call not in self._over:
            # A media event's text is a reason of our own; the messages' text is in the log, and too much for a row.
            kept = text[:TEXT] if peer == "media" else ""
            self._calls.add(call, (self._clock(), peer, sent, label[:LABEL], key[:KEY], kept))
        self._tell({"call": call, "peer": peer, "sent": sent, "label": label, "key": key, "text": text})

    def take(self, call: str) -> tuple[Step, ...]:
        """The ladder of a call that is over, as a CallRecord has it. What comes later is in the log alone."""
        self._over[call] = None
        if len(self._over) > OVER:
            self._over.popitem(last=False)
        return tuple(self._calls.rungs.pop(call, ()))


def ladders(
    lines: Iterable[str], call: str | None = None, *, detail: bool = False, width: int = WIDTH
) -> Iterator[str]:
    """The ladders of a log's calls, oldest first, an empty line between two.

    `lines` are JSON lines; what is none, or has no call, is passed over. `call` asks for the calls with this id, a SIP
    Call-ID or a Jingle sid. With `detail` each message's text follows it.
    """
    found: _Calls[Rung] = _Calls(CALLS, LINES)
    for line in lines:
        if (read := _read(line)) is not None:
            found.add(*read)
    wanted = [(name, rungs) for name, rungs in found.rungs.items() if _concerns(name, rungs, call)]
    for position, (name, rungs) in enumerate(wanted):
        if position:
            yield ""
        yield from ladder(name, rungs, detail=detail, width=width)


def recorded(record: CallRecord, *, width: int = WIDTH) -> Iterator[str]:
    """The ladder of a call record: its messages, and between them what the gateway made of it."""
    rungs = [Rung(record.offered.timestamp(), f"{record.direction} call from {record.caller} to {record.dialled}")]
    if record.routed is not None:
        rungs.append(Rung(record.routed.timestamp(), f"rule: {record.rule or 'none'}"))
    for attempt in record.attempts:
        rungs += _attempted(attempt)
    for at, peer, sent, label, key, text in record.ladder:
        if peer in _PEERS:
            rungs.append(Rung(at, Traced(record.id, cast(Peer, peer), sent, label, key, text)))
    by = f" by the {record.by}" if record.by else ""
    rungs.append(Rung(record.ended.timestamp(), f"ended{by}: {record.cause}, {record.text}".rstrip(" ,")))
    yield from ladder(record.id, rungs, width=width)


def _attempted(attempt: AttemptRecord) -> Iterator[Rung]:
    how = "" if attempt.origin == "route" else f" ({attempt.origin})"
    yield Rung(attempt.began.timestamp(), f"attempt {attempt.number}: {attempt.via} {attempt.target}{how}")
    if attempt.ended is not None:
        fault = "" if attempt.blame == "nobody" else f", the fault of the {attempt.blame}"
        words = f"attempt {attempt.number} is over: {attempt.cause}{fault}"
        yield Rung(attempt.ended.timestamp(), f"{words}, {attempt.text}" if attempt.text else words)


def _concerns(name: str, rungs: Iterable[Rung], call: str | None) -> bool:
    return call is None or name == call or any(isinstance(r.what, Traced) and r.what.key == call for r in rungs)


def _read(line: str) -> tuple[str, Rung] | None:
    """A log line's call and its rung, or None."""
    if len(line) > LINE or not line.lstrip().startswith("{"):
        return None
    try:
        entry = json.loads(line)
        call, at = entry["call"], datetime.fromisoformat(entry["timestamp"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(call, str):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    peer: Peer | None = entry.get("peer") if entry.get("peer") in _PEERS else None
    if entry.get("event") == "trace" and peer is not None:
        told = {name: str(entry.get(name, "")) for name in ("label", "key", "text")}
        return call, Rung(at.timestamp(), Traced(call, peer, entry.get("sent") is True, **told))
    return call, Rung(at.timestamp(), _note(entry))


def _note(entry: Mapping[str, Any]) -> str:
    """A log line that is no message: its event and facts in one line, lists of sentences (steps) below it."""
    words, below = [str(entry.get("event", ""))], []
    for key, value in entry.items():
        if key in _OUR_KEYS:
            continue
        if isinstance(value, list) and any(isinstance(item, str) and " " in item for item in value):
            below += [f"- {item}" for item in value]
        else:
            words.append(f"{key}={_value(value)}")
    if entry.get("level") in ("warning", "error", "critical"):
        words.insert(0, f"{entry['level']}:")
    return "\n".join([" ".join(words), *below])


def _value(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f'"{value}"' if " " in value or not value else value


def ladder(call: str, rungs: Iterable[Rung], *, detail: bool = False, width: int = WIDTH) -> Iterator[str]:
    """One call's ladder, its times relative to the first rung; nothing when there are no rungs."""
    ordered = sorted(rungs, key=lambda rung: rung.at)
    if not ordered:
        return
    zone = max((width - _LEFT - 3) // 2, 20)  # columns between two lanes
    start = ordered[0].at
    began = datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield f"call {plain(call)} · {began}"
    yield _heads(zone)
    numbers = _numbers(ordered)
    for rung in ordered:
        when = f"{rung.at - start:{_TIME}.3f}  "
        if isinstance(rung.what, str):
            yield from _remark(when, rung.what, zone)
            continue
        traced = rung.what
        label = plain(traced.label) + numbers.get((traced.peer, traced.key), "")
        if traced.peer == "media":
            yield from _remark(when, f"{'to ' if traced.sent else ''}media: {label} {traced.text}".rstrip(), zone)
            continue
        # Left to right is from XMPP towards the gateway, and from the gateway towards SIP.
        arrow = _arrow(label, zone, rightwards=traced.sent == (traced.peer == "sip"))
        empty = " " * zone
        left, right = (arrow, empty) if traced.peer == "xmpp" else (empty, arrow)
        yield f"{when}│{left}│{right}│"
        if detail:
            for line in traced.text.splitlines():
                yield f"{' ' * (_LEFT + 4)}{plain(line)}".rstrip()


def _heads(zone: int) -> str:
    middle, end = _LEFT + zone + 1, _LEFT + 2 * (zone + 1)
    line = f"{'time':>{_TIME}}  XMPP"
    line = line.ljust(middle - len("gateway") // 2) + "gateway"
    return line.ljust(end - 2) + "SIP"


def _numbers(rungs: Iterable[Rung]) -> dict[tuple[str, str], str]:
    """`#1`, `#2`, … for the dialogs of a lane that has several (parallel attempts, several devices)."""
    keys: dict[str, list[str]] = {}
    for rung in rungs:
        if isinstance(rung.what, Traced) and rung.what.key not in (seen := keys.setdefault(rung.what.peer, [])):
            seen.append(rung.what.key)
    return {
        (peer, key): f" #{index}"
        for peer, seen in keys.items()
        if len(seen) > 1 and peer != "media"
        for index, key in enumerate(seen, 1)
    }


def _arrow(label: str, zone: int, *, rightwards: bool) -> str:
    room = zone - 6
    if len(label) > room:
        label = label[: room - 1] + "…"
    shaft = f" {label} ".center(zone - 1, "─")
    return f"{shaft}>" if rightwards else f"<{shaft}"


def _remark(when: str, text: str, zone: int) -> Iterator[str]:
    """A note across the whole ladder, on as many lines as it takes, at most NOTE."""
    room = 2 * zone - 1
    pieces: list[str] = []
    for number, line in enumerate(text.split("\n")):
        pieces += textwrap.wrap(("  " if number else "· ") + plain(line), room, subsequent_indent="    ")
    if len(pieces) > NOTE:
        pieces[NOTE - 1 :] = ["    …"]
    for piece in pieces:
        yield f"{when}│ {piece.ljust(room)} │"
        when = " " * len(when)


def plain(text: str) -> str:
    """Without anything that a terminal would obey (a peer chose it)."""
    return "".join(c if c.isprintable() else "·" for c in text)
