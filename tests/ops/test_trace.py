from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator

import pytest
import structlog

from gateway.call.trace import Peer, Traced
from gateway.ops import log
from gateway.ops.trace import (
    KEPT,
    LABEL,
    LINE,
    LINES,
    LIVE,
    NOTE,
    OVER,
    TEXT,
    WIDTH,
    Recorder,
    Rung,
    ladder,
    ladders,
    recorded,
)
from tests.storage.test_records import CALL

START = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def told(peer: Peer, sent: bool, label: str, key: str = "k", text: str = "") -> Traced:
    return Traced("c1", peer, sent, label, key, text)


def line(at: str = "2023-11-14T22:13:20Z", **fields: object) -> str:
    return json.dumps({"event": "trace", "call": "c1", "timestamp": at, "level": "info"} | fields)


def drawn(*rungs: tuple[float, Traced | str], detail: bool = False) -> list[str]:
    return list(ladder("c1", [Rung(START + at, what) for at, what in rungs], detail=detail))


def test_a_call_is_drawn_as_a_ladder_with_times_from_its_first_line() -> None:
    rungs = [
        Rung(START, told("xmpp", False, "session-initiate", "sid")),
        Rung(START + 0.004, told("sip", True, "INVITE", "call-id")),
        Rung(START + 0.12, told("sip", False, "180 Ringing", "call-id")),
        Rung(START + 0.121, told("xmpp", True, "ringing", "sid")),
        Rung(START + 1.5, told("media", False, "connected", "callee1")),
    ]
    assert list(ladder("c1", rungs, width=72)) == [
        "call c1 · 2023-11-14 22:13:20 UTC",
        "     time  XMPP                       gateway                        SIP",
        "    0.000  │───── session-initiate ─────>│                             │",
        "    0.004  │                             │────────── INVITE ──────────>│",
        "    0.120  │                             │<─────── 180 Ringing ────────│",
        "    0.121  │<───────── ringing ──────────│                             │",
        "    1.500  │ · media: connected                                        │",
    ]


def test_no_line_is_wider_than_the_terminal() -> None:
    lines = drawn((0, told("xmpp", True, "x" * 500)), (1, "y" * 5000), (2, told("media", True, "z " * 300)))
    assert max(map(len, lines)) <= WIDTH
    assert any("…" in text for text in lines)


def test_the_dialogs_of_a_call_with_several_are_numbered() -> None:
    lines = drawn(
        (0, told("xmpp", False, "propose", "sid")),
        (1, told("sip", True, "INVITE", "a")),
        (2, told("sip", True, "INVITE", "b")),
        (3, told("sip", True, "CANCEL", "a")),
    )
    assert [text.replace("─", "").split("│")[1:3] for text in lines[2:]] == [
        [" propose >", " " * len(lines[3].split("│")[1])],
        *([lines[3].split("│")[1], f" {label} >"] for label in ("INVITE #1", "INVITE #2", "CANCEL #1")),
    ]


def test_detail_prints_each_message_under_its_arrow() -> None:
    lines = drawn((0, told("sip", True, "INVITE", text="INVITE sip:a@b SIP/2.0\r\nMax-Forwards: 70")), detail=True)
    assert [text.strip() for text in lines[3:]] == ["INVITE sip:a@b SIP/2.0", "Max-Forwards: 70"]


def test_nothing_that_a_terminal_would_obey_is_printed() -> None:
    lines = drawn(
        (0, told("sip", False, "180 \x1b[2J\r", text="a\x9bb\u202e")), (1, "note\x07\n\x1b]0;title"), detail=True
    )
    assert all(text.isprintable() for text in lines)


def test_a_call_without_lines_has_no_ladder() -> None:
    assert drawn() == []


def test_a_log_gives_a_ladder_for_each_call_with_its_decisions_as_notes() -> None:
    log_lines = [
        line(peer="xmpp", sent=False, label="propose", key="sid", text=""),
        line("2023-11-14T22:13:21Z", event="routed", rule="north america", via=["carrier"], attempt=1),
        line("2023-11-14T22:13:22Z", event="cut", level="warning", call="c2"),
        line("2023-11-14T22:13:23.5Z", peer="sip", sent=True, label="INVITE", key="call-id", text=""),
    ]
    text = list(ladders(log_lines))
    assert [t for t in text if t.startswith("call")] == [
        "call c1 · 2023-11-14 22:13:20 UTC",
        "call c2 · 2023-11-14 22:13:22 UTC",
    ]
    assert '    1.000  │ · routed rule="north america" via=["carrier"] attempt=1' in text[3]
    assert text[4].startswith("    3.500  │ ")
    assert " INVITE " in text[4]
    assert text[5] == ""
    assert "· warning: cut" in text[-1]


def test_the_steps_of_a_decision_stand_below_it_each_on_its_own_line() -> None:
    text = list(ladders([line(event="routed", to="+1202", steps=["is a number", "rule premium: no match"], via=["a"])]))
    assert [row.strip(" │") for row in text[2:]] == [
        '0.000  │ · routed to=+1202 via=["a"]',
        "- is a number",
        "- rule premium: no match",
    ]


def test_a_note_without_end_is_cut() -> None:
    text = list(ladders([line(event="routed", steps=["a step"] * 1000)]))
    assert len(text) == NOTE + 2
    assert "…" in text[-1]


@pytest.mark.parametrize("wanted", ["c1", "sid", "call-id"])
def test_a_call_is_found_by_its_id_by_its_sid_and_by_its_call_id(wanted: str) -> None:
    log_lines = [
        line(peer="xmpp", sent=False, label="propose", key="sid"),
        line(peer="sip", sent=True, label="INVITE", key="call-id"),
        line(peer="sip", sent=True, label="BYE", key="another", call="c2"),
    ]
    assert [t.split()[1] for t in ladders(log_lines, wanted) if t.startswith("call")] == ["c1"]


@pytest.mark.parametrize(
    "strange",
    [
        "",
        "2026-11-22 [info] started",
        "{",
        "[" * 100_000,
        '{"a":' * 100_000,
        "{}",
        '{"call": "c1"}',
        '{"call": "c1", "timestamp": 5}',
        '{"call": "c1", "timestamp": "yesterday"}',
        '{"call": ["c1"], "timestamp": "2023-11-14T22:13:20Z"}',
        '{"call": "c1", "timestamp": "2023-11-14T22:13:20Z", "text": "' + "x" * LINE + '"}',
    ],
    ids=lambda text: text[:40],
)
def test_a_line_that_is_none_of_ours_is_passed_over(strange: str) -> None:
    assert list(ladders([strange])) == []


def test_a_trace_of_an_unknown_peer_is_a_note_and_a_naive_time_is_utc() -> None:
    text = list(ladders([line("2023-11-14T22:13:20", peer="carrier pigeon", sent=True, label="coo")]))
    assert text[0] == "call c1 · 2023-11-14 22:13:20 UTC"
    assert "label=coo" in text[2]


def test_a_log_without_end_leaves_memory_flat() -> None:
    many = (line(peer="sip", sent=True, label=f"OPTIONS {n}", key="k") for n in range(LINES + 50))
    text = list(ladders(many))
    assert len(text) == LINES + 2
    assert "OPTIONS 50 " in text[2]


def test_the_recorder_logs_each_message_and_the_log_gives_the_same_ladder() -> None:
    out = io.StringIO()
    log.configure("info", "json", out)
    recorder = Recorder(clock=lambda: START)
    recorder(told("xmpp", False, "propose", "sid", "<propose/>"))
    recorder(told("sip", True, "INVITE", "call-id"))
    entry = json.loads(out.getvalue().splitlines()[0])
    told_again = {name: entry[name] for name in ("event", "call", "peer", "sent", "label", "key", "text")}
    assert told_again == {
        "event": "trace",
        "call": "c1",
        "peer": "xmpp",
        "sent": False,
        "label": "propose",
        "key": "sid",
        "text": "<propose/>",
    }
    arrows = list(ladders(out.getvalue().splitlines()))[2:]
    assert ["propose" in arrows[0], "INVITE" in arrows[1], len(arrows)] == [True, True, 2]


def test_of_a_call_that_says_much_the_latest_is_kept() -> None:
    log.configure("error", "json", io.StringIO())
    recorder = Recorder(clock=lambda: START)
    for n in range(KEPT + 3):
        recorder(Traced("c1", "sip", True, f"message {n}", "k"))
    labels = [label for _, _, _, label, _, _ in recorder.take("c1")]
    assert (labels[0], labels[-1], len(labels)) == ("message 3", f"message {KEPT + 2}", KEPT)


def test_a_call_that_is_over_gives_its_ladder_once_without_what_the_messages_say() -> None:
    log.configure("error", "json", io.StringIO())
    clock = itertools.count(int(START))
    recorder = Recorder(clock=lambda: next(clock))
    recorder(told("sip", True, "INVITE" + "x" * 500, "call-id", "INVITE sip:a@b SIP/2.0"))
    recorder(told("media", False, "caller lost", "caller", "no packets " * 100))
    assert recorder.take("c1") == (
        (START, "sip", True, ("INVITE" + "x" * 500)[:LABEL], "call-id", ""),
        (START + 1, "media", False, "caller lost", "caller", ("no packets " * 100)[:TEXT]),
    )
    assert recorder.take("c1") == ()


def test_what_is_told_of_a_call_that_is_over_takes_no_place_among_those_that_wait() -> None:
    out = io.StringIO()
    log.configure("info", "json", out)
    recorder = Recorder(clock=lambda: START)
    recorder(told("sip", True, "BYE", "call-id"))
    recorder.take("c1")
    recorder(told("sip", False, "200 OK", "call-id"))
    assert not recorder._calls.rungs
    assert "200 OK" in list(ladders(out.getvalue().splitlines()))[-1]
    for n in range(OVER + 10):
        recorder.take(f"c{n}")
    assert len(recorder._over) == OVER


def test_calls_that_never_end_leave_memory_flat() -> None:
    log.configure("error", "json", io.StringIO())
    recorder = Recorder(clock=lambda: START)
    for n in range(LIVE + 10):
        recorder(Traced(f"c{n}", "sip", True, "INVITE", "k"))
    for _ in range(KEPT + 10):
        recorder(told("sip", True, "OPTIONS"))
    assert len(recorder._calls.rungs) == LIVE
    assert len(recorder.take("c1")) == KEPT


def test_a_record_is_a_ladder_with_what_the_gateway_made_of_the_call() -> None:
    assert [text.split("│", 1)[1].strip("│ ") if "│" in text else text for text in recorded(CALL)][2:] == [
        "· outbound call from juliet@shakespeare.lit to +12025550123",
        "· attempt 1: reserve sip:+12025550123@reserve.example",
        "───────────────── INVITE ─────────────────>",
        "· rule: north america",
        "· attempt 1 is over: congestion, the fault of the network, out of lines",
        "· attempt 2: carrier sip:+12025550123@sbc.carrier.example (redirect)",
        "· media: up",
        "· ended by the caller: normal",
    ]
